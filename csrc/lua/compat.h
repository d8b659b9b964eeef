/* SPDX-License-Identifier: MIT
 * compat.h - the C API of Lua 5.4 on 5.3 and on 5.1, so that all other files
 * are written for one version.  What is missing has a twin in compat.c with a
 * prefix of our own: other libraries of the program may bring theirs.
 *
 * A module built for 5.1 serves PUC Lua 5.1 and LuaJIT: it uses no symbol that
 * only one of them has. */
#ifndef DX_COMPAT_H
#define DX_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 501 || LUA_VERSION_NUM == 502
#error "Duplex needs Lua 5.1 (or LuaJIT), 5.3, 5.4 or newer"
#endif

#define DX_EXPORT __attribute__((visibility("default")))

#if LUA_VERSION_NUM >= 504
#define dx_resume(co, n, results) lua_resume(co, NULL, n, results)
#if LUA_VERSION_RELEASE_NUM >= 50406
#define dx_close_coroutine(co) lua_closethread(co, NULL)
#else
#define dx_close_coroutine(co) lua_resetthread(co)
#endif
#else
#define dx_close_coroutine(co) ((void)(co)) /* nothing in it can be closed */
int dx_resume(lua_State *co, int n, int *results);
/* User values are in a table, which such a userdata always has. */
void *dx_newuserdata(lua_State *L, size_t size, int values);
void dx_getuservalue(lua_State *L, int index, int n);
void dx_setuservalue(lua_State *L, int index, int n);
#define lua_newuserdatauv dx_newuserdata
#define lua_getiuservalue dx_getuservalue
#define lua_setiuservalue dx_setuservalue
#endif

#if LUA_VERSION_NUM == 501
/* How tasks wait in spite of it is in task51.c. */
#define DX_NO_CONTINUATIONS
#define LUA_OK 0
typedef ptrdiff_t lua_KContext;
typedef int (*lua_KFunction)(lua_State *L, int status, lua_KContext ctx);

typedef struct dx_textbuffer { /* of a size that is known before */
  lua_State *L;
  char *bytes;
} dx_textbuffer;
char *dx_buffinitsize(lua_State *L, dx_textbuffer *b, size_t size);
void dx_pushresultsize(dx_textbuffer *b, size_t size);
#define luaL_Buffer dx_textbuffer
#define luaL_buffinitsize dx_buffinitsize
#define luaL_pushresultsize dx_pushresultsize

void dx_rawgetp(lua_State *L, int index, const void *p);
void dx_rawsetp(lua_State *L, int index, const void *p);
lua_Integer dx_tointegerx(lua_State *L, int index, int *exact);
void dx_setfuncs(lua_State *L, const luaL_Reg *list, int upvalues);
void dx_tolstring(lua_State *L, int index);
void dx_traceback(lua_State *L, lua_State *co, const char *text);
#define lua_rawgetp dx_rawgetp
#define lua_rawsetp dx_rawsetp
#define lua_rawlen lua_objlen
#define lua_rawgeti(L, index, n) lua_rawgeti(L, index, (int)(n))
#define lua_rawseti(L, index, n) lua_rawseti(L, index, (int)(n))
#define lua_rawget(L, i) (lua_rawget(L, i), lua_type(L, -1))
#define lua_tointegerx dx_tointegerx
#define luaL_checkversion(L) ((void)(L))
#define luaL_setfuncs dx_setfuncs
#define luaL_setmetatable(L, name)                                             \
  (luaL_getmetatable(L, name), lua_setmetatable(L, -2))
#define luaL_tolstring(L, index, size) dx_tolstring(L, index)
#define luaL_traceback(L, co, text, level) dx_traceback(L, co, text)

#define DX_WRAPPER "=duplex" /* name of the chunk of task51.c */
#endif

/* What a program does wrong is raised here.  These name its line and the
 * function that it called, whatever of this library is between. */
int dx_raise(lua_State *L, const char *format, ...);
int dx_argerror(lua_State *L, int arg, const char *text);
int dx_typeerror(lua_State *L, int arg, const char *expected);
void dx_checktype(lua_State *L, int arg, int type);
lua_Number dx_checknumber(lua_State *L, int arg);
const char *dx_checklstring(lua_State *L, int arg, size_t *n);
#define luaL_error dx_raise
#define luaL_argerror dx_argerror
#define luaL_typeerror dx_typeerror
#define luaL_checktype dx_checktype
#define luaL_checknumber dx_checknumber
#define luaL_checklstring dx_checklstring
#undef luaL_argcheck
#define luaL_argcheck(L, fine, arg, text)                                      \
  ((void)((fine) || luaL_argerror(L, arg, text)))

/* Push nil, "ID: text", "ID": how every call of this library fails. */
static inline int dx_push_failure(lua_State *L, const char *id,
                                  const char *text) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", id, text);
  lua_pushstring(L, id);
  return 3;
}

#endif

/* SPDX-License-Identifier: MIT
 * compat.c - what compat.h promises on versions before 5.4. */
#include "compat.h"

#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#if LUA_VERSION_NUM == 501
#define lua_getuservalue lua_getfenv
#define lua_setuservalue lua_setfenv
#endif

#if LUA_VERSION_NUM < 504
void *dx_newuserdata(lua_State *L, size_t size, int values) {
  void *p = lua_newuserdata(L, size);
  if (values) {
    lua_createtable(L, values, 0);
    lua_setuservalue(L, -2);
  }
  return p;
}

void dx_getuservalue(lua_State *L, int index, int n) {
  lua_getuservalue(L, index);
  lua_rawgeti(L, -1, n);
  lua_remove(L, -2);
}

void dx_setuservalue(lua_State *L, int index, int n) {
  lua_getuservalue(L, index);
  lua_insert(L, -2);
  lua_rawseti(L, -2, n);
  lua_pop(L, 1);
}

int dx_typeerror(lua_State *L, int arg, const char *expected) {
  const char *text = lua_pushfstring(L, "%s expected, got %s", expected,
                                     luaL_typename(L, arg));
  return luaL_argerror(L, arg, text);
}
#endif

#if LUA_VERSION_NUM == 503
int dx_resume(lua_State *co, int n, int *results) {
  int status = lua_resume(co, NULL, n);
  *results = lua_gettop(co);
  return status;
}
#endif

#if LUA_VERSION_NUM == 501
int dx_resume(lua_State *co, int n, int *results) {
  int status = lua_resume(co, n);
  *results = lua_gettop(co);
  return status;
}

char *dx_buffinitsize(lua_State *L, dx_textbuffer *b, size_t size) {
  b->L = L;
  return b->bytes = lua_newuserdata(L, size);
}

void dx_pushresultsize(dx_textbuffer *b, size_t size) {
  lua_pushlstring(b->L, b->bytes, size);
  lua_remove(b->L, -2);
}

void dx_rawgetp(lua_State *L, int index, const void *p) {
  lua_pushvalue(L, index);
  lua_pushlightuserdata(L, (void *)(uintptr_t)p);
  (lua_rawget)(L, -2);
  lua_remove(L, -2);
}

void dx_rawsetp(lua_State *L, int index, const void *p) {
  lua_pushvalue(L, index);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, (void *)(uintptr_t)p);
  lua_insert(L, -2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

lua_Integer dx_tointegerx(lua_State *L, int index, int *exact) {
  lua_Integer n = lua_tointeger(L, index);
  *exact = lua_isnumber(L, index) && (lua_Number)n == lua_tonumber(L, index);
  return *exact ? n : 0;
}

void dx_setfuncs(lua_State *L, const luaL_Reg *list, int upvalues) {
  int first = lua_gettop(L) - upvalues + 1;
  for (; list->name; list++) {
    for (int i = 0; i < upvalues; i++)
      lua_pushvalue(L, first + i);
    lua_pushcclosure(L, list->func, upvalues);
    lua_setfield(L, first - 1, list->name);
  }
  lua_settop(L, first - 1);
}

/* Push _LOADED[library][name]: the program may have other globals. */
static int push_function(lua_State *L, const char *library, const char *name) {
  int top = lua_gettop(L);
  lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
  lua_getfield(L, -1, library);
  if (lua_istable(L, -1))
    lua_getfield(L, -1, name);
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  if (lua_isfunction(L, -1))
    return 1;
  lua_settop(L, top);
  return 0;
}

void dx_tolstring(lua_State *L, int index) {
  lua_pushvalue(L, index);
  if (!push_function(L, "_G", "tostring"))
    return;
  lua_insert(L, -2);
  lua_call(L, 1, 1);
}

void dx_traceback(lua_State *L, lua_State *co, const char *text) {
  int found = push_function(L, "debug", "traceback");
  if (found) {
    lua_pushthread(co);
    lua_xmove(co, L, 1);
  }
  lua_pushstring(L, text);
  if (found)
    lua_call(L, 2, 1);
}

/* ---- errors ---- */

/* The level of the first function that is of the program: neither C nor what
 * task51.c puts around C. */
static int program_level(lua_State *L, lua_Debug *ar) {
  for (int level = 1; lua_getstack(L, level, ar); level++) {
    lua_getinfo(L, "Sl", ar);
    if (ar->currentline > 0 && strcmp(ar->source, DX_WRAPPER) != 0)
      return level;
  }
  return 0;
}

int dx_raise(lua_State *L, const char *format, ...) {
  lua_Debug ar;
  luaL_where(L, program_level(L, &ar));
  va_list arguments;
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  lua_concat(L, 2);
  return lua_error(L);
}

int dx_argerror(lua_State *L, int arg, const char *text) {
  lua_Debug ar;
  int level = program_level(L, &ar);
  /* What the program called is named where that is called. */
  if (level == 0 || !lua_getstack(L, level - 1, &ar))
    return dx_raise(L, "bad argument #%d (%s)", arg, text);
  lua_getinfo(L, "n", &ar);
  if (strcmp(ar.namewhat, "method") == 0 && --arg == 0)
    return dx_raise(L, "calling '%s' on bad self (%s)", ar.name, text);
  return dx_raise(L, "bad argument #%d to '%s' (%s)", arg,
                  ar.name ? ar.name : "?", text);
}

lua_Number dx_checknumber(lua_State *L, int arg) {
  if (!lua_isnumber(L, arg))
    luaL_typeerror(L, arg, "number");
  return lua_tonumber(L, arg);
}
#endif

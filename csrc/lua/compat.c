/* SPDX-License-Identifier: MIT
 * compat.c - what compat.h promises: the C API of 5.4, and errors that blame
 * the program. */
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
#endif

/* ---- errors ---- */

/* How the sources of this library's Lua files begin; their length is 0 where
 * that is not known.  The text lives as long as the files are loaded. */
static const char *folder(lua_State *L, size_t *length) {
  static const char file[] = "duplex/failure.lua";
  const size_t n = sizeof file - 1, name = n - sizeof "duplex";
  lua_Debug ar = {0};
  int top = lua_gettop(L);
  *length = 0;
  lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
  lua_getfield(L, -1, "duplex.failure");
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "of");
    if (lua_isfunction(L, -1)) {
      lua_getinfo(L, ">S", &ar);
      size_t all = strlen(ar.source);
      if (all > n && strcmp(ar.source + all - n, file) == 0)
        *length = all - name;
    }
  }
  lua_settop(L, top);
  return ar.source;
}

static int is_ours(const lua_Debug *ar, const char *begin, size_t length) {
#ifdef DX_WRAPPER
  if (strcmp(ar->source, DX_WRAPPER) == 0)
    return 1;
#endif
  return length > 0 && strncmp(ar->source, begin, length) == 0;
}

/* The level of the innermost function that is of the program, and of what it
 * has 'called'.  Where there is none, as in a task of the library's own, the
 * library's function is as good. */
static int program_level(lua_State *L, int *called) {
  size_t length;
  const char *begin = folder(L, &length);
  lua_Debug ar;
  int first = 0;
  *called = 0;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0)
      continue; /* C */
    if (!is_ours(&ar, begin, length))
      return level;
    *called = level;
    if (first == 0)
      first = level;
  }
  *called = 0;
  return first;
}

static int raise_at(lua_State *L, int level) { /* the text is on top */
  luaL_where(L, level);
  lua_insert(L, -2);
  lua_concat(L, 2);
  return lua_error(L);
}

int dx_raise(lua_State *L, const char *format, ...) {
  int called;
  va_list arguments;
  va_start(arguments, format);
  lua_pushvfstring(L, format, arguments);
  va_end(arguments);
  return raise_at(L, program_level(L, &called));
}

int dx_argerror(lua_State *L, int arg, const char *text) {
  lua_Debug ar;
  int called, level = program_level(L, &called);
  lua_getstack(L, called, &ar);
  lua_getinfo(L, "n", &ar);
  if (strcmp(ar.namewhat, "method") == 0 && --arg == 0)
    lua_pushfstring(L, "calling '%s' on bad self (%s)", ar.name, text);
  else
    lua_pushfstring(L, "bad argument #%d to '%s' (%s)", arg,
                    ar.name ? ar.name : "?", text);
  return raise_at(L, level);
}

int dx_typeerror(lua_State *L, int arg, const char *expected) {
  const char *type = luaL_typename(L, arg);
  if (luaL_getmetafield(L, arg, "__name") && lua_type(L, -1) == LUA_TSTRING)
    type = lua_tostring(L, -1);
  return luaL_argerror(
      L, arg, lua_pushfstring(L, "%s expected, got %s", expected, type));
}

void dx_checktype(lua_State *L, int arg, int type) {
  if (lua_type(L, arg) != type)
    luaL_typeerror(L, arg, lua_typename(L, type));
}

lua_Number dx_checknumber(lua_State *L, int arg) {
  lua_Number number = lua_tonumber(L, arg);
  if (number == 0 && !lua_isnumber(L, arg))
    luaL_typeerror(L, arg, "number");
  return number;
}

const char *dx_checklstring(lua_State *L, int arg, size_t *n) {
  const char *text = lua_tolstring(L, arg, n);
  if (text == NULL)
    luaL_typeerror(L, arg, "string");
  return text;
}

/* SPDX-License-Identifier: MIT
 * task51.c - waiting on Lua 5.1 and LuaJIT, where C functions have no
 * continuations: what lua_yieldk does elsewhere is done by a few lines of Lua.
 *
 *   program        this chunk            C
 *   ws:receive() -> start(...)        -> ltask_wait: lua_yield of its own stack
 *                   WAITED, stack... <-  ltask_run resumes with the same values
 *                   go_on(stack...)   -> k: the stack and upvalues are as
 * before
 *
 * So C code is the same for all versions of Lua. */
#include "task.h"

#ifdef DX_NO_CONTINUATIONS
#include <dlfcn.h>
#include <string.h>

/* Two addresses as names: of what stands first when a wait is over, and of the
 * chunk's function in the registry. */
static char waited, wrap;

/* LuaJIT's, which is not one of 5.1: found when a module is loaded. */
static int (*isyieldable)(lua_State *);

static const char chunk[] =
    "local waited, type = ...\n"
    "local finish\n"
    "local function resume(go_on, first, ...)\n"
    "  if type(first) == 'function' then return first(...) end\n"
    "  return finish(go_on, go_on(first, ...))\n"
    "end\n"
    "finish = function(go_on, first, ...)\n"
    "  if first ~= waited then return first, ... end\n"
    "  return resume(go_on, ...)\n"
    "end\n"
    "return function(start, go_on)\n"
    "  return function(...) return finish(go_on, start(...)) end\n"
    "end\n";

/* Go on after a wait, with the stack of then. */
static int go_on(lua_State *L) {
  ltask *t = lloop_get(L)->current;
  lua_KFunction k = t->k;
  t->k = NULL;
  return k(L, LUA_YIELD, t->ctx);
}

static void push_wrap(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &wrap);
  if (lua_isfunction(L, -1))
    return;
  lua_pop(L, 1);
  if (luaL_loadbuffer(L, chunk, sizeof chunk - 1, DX_WRAPPER))
    lua_error(L);
  lua_pushlightuserdata(L, &waited);
  lua_getglobal(L, "type");
  lua_call(L, 2, 1);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &wrap);
  lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
  lua_getfield(L, -1, "jit");
  if (lua_istable(L, -1))
    *(void **)&isyieldable = dlsym(RTLD_DEFAULT, "lua_isyieldable");
  lua_pop(L, 2);
}

void ltask_pushwaiter(lua_State *L, lua_CFunction f, int upvalues) {
  int first = lua_gettop(L) - upvalues + 1;
  luaL_checkstack(L, upvalues + 4, "too many upvalues");
  push_wrap(L);
  for (int i = 0; i < upvalues; i++)
    lua_pushvalue(L, first + i);
  lua_pushcclosure(L, f, upvalues);
  for (int i = 0; i < upvalues; i++)
    lua_pushvalue(L, first + i);
  lua_pushcclosure(L, go_on, upvalues);
  lua_call(L, 2, 1);
  lua_replace(L, first);
  lua_settop(L, first);
}

void ltask_setwaiters(lua_State *L, const luaL_Reg *list, int upvalues) {
  int first = lua_gettop(L) - upvalues + 1;
  for (; list->name; list++) {
    for (int i = 0; i < upvalues; i++)
      lua_pushvalue(L, first + i);
    ltask_pushwaiter(L, list->func, upvalues);
    lua_setfield(L, first - 1, list->name);
  }
  lua_settop(L, first - 1);
}

int ltask_call(lua_State *L) {
  lua_pushlightuserdata(L, &waited);
  lua_insert(L, 1);
  return lua_gettop(L);
}

int ltask_suspend(lua_State *L, ltask *t, lua_KContext ctx, lua_KFunction k) {
  int result = lua_yield(L, lua_gettop(L)); /* nothing is done if it raises */
  t->k = k;
  t->ctx = ctx;
  return result;
}

int ltask_arguments(ltask *t) {
  if (t->k == NULL)
    return 0;
  lua_pushlightuserdata(t->co, &waited);
  lua_insert(t->co, 1);
  return lua_gettop(t->co);
}

/* PUC Lua 5.1 cannot yield while C is between: pcall, string.gsub, ...  That it
 * cannot in metamethods and iterators written in Lua is for lua_yield to say.
 */
int ltask_isyieldable(lua_State *L) {
  if (isyieldable)
    return isyieldable(L);
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "S", &ar);
    if (strcmp(ar.what, "C") == 0)
      return 0;
  }
  return 1;
}

const char *ltask_hides_waits(const char *text) {
  return isyieldable ? "" : text;
}

#else
typedef int ltask_continuations_are_lua_s; /* a file must not be empty */
#endif

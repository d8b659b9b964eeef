/* SPDX-License-Identifier: MIT
 * compat.h - what differs between Lua versions, under names of our own. */
#ifndef DX_COMPAT_H
#define DX_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 504
#error "this version of Duplex needs Lua 5.4 or newer"
#endif

#if LUA_VERSION_RELEASE_NUM >= 50406
#define dx_close_coroutine(co) lua_closethread(co, NULL)
#else
#define dx_close_coroutine(co) lua_resetthread(co)
#endif

#define DX_EXPORT __attribute__((visibility("default")))

/* Push nil, "ID: text", "ID": how every call of this library fails. */
static inline int dx_push_failure(lua_State *L, const char *id,
                                  const char *text) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", id, text);
  lua_pushstring(L, id);
  return 3;
}

#endif

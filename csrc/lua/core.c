/* SPDX-License-Identifier: MIT
 * core.c - the module duplex.core: the protocol, without any I/O. */
#include "../core/version.h"
#include "lconn.h"

#include <time.h>

/* now() -> seconds of a monotonic clock, for hosts that have none */
static int core_now(lua_State *L) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec * 1e-9);
  return 1;
}

DX_EXPORT int luaopen_duplex_core(lua_State *L) {
  luaL_checkversion(L);
  lua_newtable(L);
  luaL_setfuncs(L, lconn_functions, 0);
  luaL_setfuncs(L, lmessage_functions, 0);
  luaL_setfuncs(L, lprepared_functions, 0);
  luaL_setfuncs(L, lhttp_functions, 0);
  luaL_setfuncs(L, lbytes_functions, 0);
  luaL_setfuncs(L, ltotals_functions, 0);
  lua_pushcfunction(L, core_now);
  lua_setfield(L, -2, "now");
  lua_pushliteral(L, DX_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushliteral(L, DX_STAMP);
  lua_setfield(L, -2, "stamp");
  return 1;
}

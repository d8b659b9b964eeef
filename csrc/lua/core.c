/* SPDX-License-Identifier: MIT
 * core.c - the module duplex.core: the protocol, without any I/O. */
#include "../core/version.h"
#include "lconn.h"

DX_EXPORT int luaopen_duplex_core(lua_State *L) {
  luaL_checkversion(L);
  lua_newtable(L);
  luaL_setfuncs(L, lconn_functions, 0);
  luaL_setfuncs(L, lmessage_functions, 0);
  luaL_setfuncs(L, lhttp_functions, 0);
  luaL_setfuncs(L, lbytes_functions, 0);
  lua_pushliteral(L, DX_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushliteral(L, DX_STAMP);
  lua_setfield(L, -2, "stamp");
  return 1;
}

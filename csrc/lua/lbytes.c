/* SPDX-License-Identifier: MIT
 * lbytes.c - functions of bytes that pure Lua would be slow or unsafe at. */
#include "lconn.h"

#include "../core/base64.h"
#include "../core/excerpt.h"
#include "../core/sha1.h"

/* sha1(bytes) -> 20 bytes */
static int bytes_sha1(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  uint8_t digest[20];
  dx_sha1(digest, p, n);
  lua_pushlstring(L, (const char *)digest, sizeof digest);
  return 1;
}

/* base64(bytes) -> text */
static int bytes_base64(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, (n + 2) / 3 * 4 + 1);
  luaL_pushresultsize(&b, dx_base64_encode(out, p, n));
  return 1;
}

/* base64_decode(text) -> bytes | nil when it is not canonical base64 */
static int bytes_base64_decode(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  luaL_Buffer b;
  size_t room = n / 4 * 3 + 3;
  char *out = luaL_buffinitsize(L, &b, room);
  long size = dx_base64_decode((uint8_t *)out, room, p, n);
  luaL_pushresultsize(&b, size < 0 ? 0 : (size_t)size);
  if (size < 0)
    lua_pushnil(L);
  return 1;
}

static int bytes_utf8_valid(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  lua_pushboolean(L, dx_utf8_valid((const uint8_t *)p, n));
  return 1;
}

/* utf8_feed(state, bytes) -> state | nil: text in parts; the first state is 0,
 * and text that ends in another one is not complete */
static int bytes_utf8_feed(lua_State *L) {
  dx_utf8 u = {(uint32_t)luaL_checkinteger(L, 1)};
  size_t n;
  const char *p = luaL_checklstring(L, 2, &n);
  if (dx_utf8_feed(&u, (const uint8_t *)p, n))
    lua_pushinteger(L, u.state);
  else
    lua_pushnil(L);
  return 1;
}

/* excerpt(bytes [, most]) -> text of at most 'most' (75) bytes that is fit for
 * a log, see excerpt.h */
static int bytes_excerpt(lua_State *L) {
  size_t n;
  const char *p = luaL_checklstring(L, 1, &n);
  lua_Integer most = luaL_optinteger(L, 2, 75);
  luaL_argcheck(L, most >= DX_EXCERPT_LEAST && most <= 65536, 2,
                "must be 16..65536");
  luaL_Buffer b;
  char *out = luaL_buffinitsize(L, &b, (size_t)most);
  luaL_pushresultsize(&b, dx_excerpt(out, (size_t)most, (const uint8_t *)p, n));
  return 1;
}

const luaL_Reg lbytes_functions[] = {{"sha1", bytes_sha1},
                                     {"base64", bytes_base64},
                                     {"base64_decode", bytes_base64_decode},
                                     {"utf8_valid", bytes_utf8_valid},
                                     {"utf8_feed", bytes_utf8_feed},
                                     {"excerpt", bytes_excerpt},
                                     {NULL, NULL}};

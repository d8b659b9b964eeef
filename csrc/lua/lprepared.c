/* SPDX-License-Identifier: MIT
 * lprepared.c - one message for many connections. */
#include "lconn.h"

#include <math.h>
#include <string.h>

/* ---- the type ---- */

static const lprepared *check(lua_State *L) {
  return luaL_checkudata(L, 1, LPREPARED);
}

static const char *kind_of(const lprepared *p) {
  return p->message.opcode == DX_TEXT ? "text" : "binary";
}

static int prepared_index(lua_State *L) {
  const lprepared *p = check(L);
  const char *name = lua_tostring(L, 2);
  if (name && strcmp(name, "data") == 0)
    lua_getiuservalue(L, 1, 1);
  else if (name && strcmp(name, "kind") == 0)
    lua_pushstring(L, kind_of(p));
  else
    lua_pushnil(L);
  return 1;
}

static int prepared_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)check(L)->message.n);
  return 1;
}

static int prepared_gc(lua_State *L) {
  lprepared *p = luaL_checkudata(L, 1, LPREPARED);
  p->mark = 0;
  dx_packed_clear(&p->packed);
  return 0;
}

static int prepared_tostring(lua_State *L) {
  const lprepared *p = check(L);
  lua_pushfstring(L, "message (%s, ", kind_of(p));
  lua_pushinteger(L, (lua_Integer)p->message.n);
  lua_pushliteral(L, " bytes)");
  lua_concat(L, 3);
  return 1;
}

/* prepare(data [, kind]) -> message */
static int prepare(lua_State *L) {
  dx_message m;
  luaL_checktype(L, 1, LUA_TSTRING);
  lmessage_get(L, 1, &m);
  lprepared *p = lua_newuserdatauv(L, sizeof *p, 1);
  *p = (lprepared){.mark = LPREPARED_MARK, .message = m};
  p->message.packed = &p->packed;
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (luaL_newmetatable(L, LPREPARED)) {
    static const luaL_Reg meta[] = {{"__index", prepared_index},
                                    {"__len", prepared_len},
                                    {"__gc", prepared_gc},
                                    {"__tostring", prepared_tostring},
                                    {NULL, NULL}};
    luaL_setfuncs(L, meta, 0);
  }
  lua_setmetatable(L, -2);
  return 1;
}

/* ---- to many ---- */

enum { SET = 1, MESSAGE, KIND, MOST, SPARE, TOUCHED, FULL, KEY };

/* Append the key to the list at 'index', which is made for its first. */
static void list_key(lua_State *L, int index, size_t *n) {
  if (*n == 0) {
    lua_newtable(L);
    lua_replace(L, index);
  }
  lua_pushvalue(L, KEY);
  *n += 1;
  lua_rawseti(L, index, (lua_Integer)*n);
}

/* broadcast(set, data or message [, kind [, most [, spare]]]) -> count, list of
 * those whose transport has to be told or nil, list of full ones or nil, type
 * of a key that is no connection.
 *
 * Full ones are failed, or if 'spare' listed.  No Lua runs in here, as it could
 * wait or change the set: what transports in Lua do is left to the caller. */
static int broadcast(lua_State *L) {
  luaL_checktype(L, SET, LUA_TTABLE);
  dx_message m;
  lmessage_get(L, MESSAGE, &m);
  double most = luaL_optnumber(L, MOST, INFINITY);
  int spare = lua_toboolean(L, SPARE);
  /* Should the loop below be left by an error, this is freed by the next. */
  dx_packed **passing = &lconn_shared(L)->core.codecs.passing;
  dx_packed_clear(passing);
  if (m.packed == NULL)
    m.packed = passing;
  lua_settop(L, FULL);
  for (int i = TOUCHED; i <= FULL; i++) {
    lua_pushnil(L);
    lua_replace(L, i);
  }
  lua_Integer count = 0;
  size_t touched = 0, full = 0;
  const char *wrong = NULL;
  lua_pushnil(L);
  while (lua_next(L, SET)) {
    lua_pop(L, 1);
    lconn *c = lconn_test(L, KEY);
    if (c == NULL) {
      wrong = luaL_typename(L, KEY);
      lua_pop(L, 1);
      break;
    }
    if (dx_conn_may_send(&c->conn))
      continue;
    int knows = dx_conn_outbox(&c->conn) > 0; /* the transport, that is */
    size_t limit = c->conn.limits->max_outbox;
    if (most < (double)limit)
      limit = (size_t)most;
    if (lmessage_full(c, m.n, limit)) {
      if (spare) {
        list_key(L, FULL, &full);
        continue;
      }
      dx_conn_fail(&c->conn, DX_ERR_TOO_SLOW);
      knows = 0;
    } else if (dx_conn_put_message(&c->conn, &m) == DX_OK) {
      count++;
    }
    if (c->transport == NULL)
      list_key(L, TOUCHED, &touched);
    else if (!knows)
      lconn_touch(c);
  }
  dx_packed_clear(passing);
  lua_pushinteger(L, count);
  lua_pushvalue(L, TOUCHED);
  lua_pushvalue(L, FULL);
  lua_pushstring(L, wrong);
  return 4;
}

const luaL_Reg lprepared_functions[] = {
    {"prepare", prepare}, {"broadcast", broadcast}, {NULL, NULL}};

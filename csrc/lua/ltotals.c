/* SPDX-License-Identifier: MIT
 * ltotals.c - what is counted, for Lua: over all connections of a server, and
 * of those that are open. */
#include "lconn.h"

/* Set field 'name' of the table on top to { text =, binary =, ... }: messages,
 * or bytes. */
static void set_flows(lua_State *L, const char *name, const dx_flow *flows,
                      int bytes) {
  static const char *const names[DX_PONG + 1] = {[DX_TEXT] = "text",
                                                 [DX_BINARY] = "binary",
                                                 [DX_CLOSE] = "close",
                                                 [DX_PING] = "ping",
                                                 [DX_PONG] = "pong"};
  lua_createtable(L, 0, 5);
  for (int i = 0; i <= DX_PONG; i++) {
    if (names[i] == NULL)
      continue;
    lua_pushinteger(L,
                    (lua_Integer)(bytes ? flows[i].bytes : flows[i].messages));
    lua_setfield(L, -2, names[i]);
  }
  lua_setfield(L, -2, name);
}

/* Set field 'name' of the table on top to { payload =, wire = }. */
static void set_sizes(lua_State *L, const char *name, uint64_t payload,
                      uint64_t wire) {
  lua_createtable(L, 0, 2);
  lua_pushinteger(L, (lua_Integer)payload);
  lua_setfield(L, -2, "payload");
  lua_pushinteger(L, (lua_Integer)wire);
  lua_setfield(L, -2, "wire");
  lua_setfield(L, -2, name);
}

/* { count, sum, { bound, how many up to it }, ... } */
static void push_round_trips(lua_State *L, const dx_totals *t) {
  uint64_t count = 0;
  lua_createtable(L, DX_BOUNDS, 2);
  for (int i = 0; i < DX_BOUNDS; i++) {
    count += t->round_trips[i];
    lua_createtable(L, 2, 0);
    lua_pushnumber(L, dx_bounds[i]);
    lua_rawseti(L, -2, 1);
    lua_pushinteger(L, (lua_Integer)count);
    lua_rawseti(L, -2, 2);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushinteger(L, (lua_Integer)(count + t->round_trips[DX_BOUNDS]));
  lua_setfield(L, -2, "count");
  lua_pushnumber(L, t->round_trip_sum);
  lua_setfield(L, -2, "sum");
}

/* totals(settings) -> table: messages_in, bytes_in, messages_out, bytes_out by
 * kind; sizes_in, sizes_out; round_trips */
static int totals(lua_State *L) {
  lsettings **box = luaL_checkudata(L, 1, LSETTINGS);
  const dx_totals *t = &(*box)->totals;
  lua_createtable(L, 0, 7);
  set_flows(L, "messages_in", t->in, 0);
  set_flows(L, "bytes_in", t->in, 1);
  set_flows(L, "messages_out", t->out, 0);
  set_flows(L, "bytes_out", t->out, 1);
  set_sizes(L, "sizes_in", t->payload_in, t->wire_in);
  set_sizes(L, "sizes_out", t->payload_out, t->wire_out);
  push_round_trips(L, t);
  lua_setfield(L, -2, "round_trips");
  return 1;
}

/* waiting(set) -> how many connections are its keys; messages that wait in
 * their queues, and the most in one; bytes in their outboxes, the most in one
 */
static int waiting(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer count = 0;
  size_t queued = 0, most_queued = 0, outbox = 0, most_outbox = 0;
  lua_settop(L, 1);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
    const lconn *c = lconn_test(L, -2);
    if (c == NULL)
      continue;
    size_t n = dx_queue_length(c->conn.queue), bytes = dx_conn_outbox(&c->conn);
    count++;
    queued += n;
    most_queued = n > most_queued ? n : most_queued;
    outbox += bytes;
    most_outbox = bytes > most_outbox ? bytes : most_outbox;
  }
  lua_pushinteger(L, count);
  lua_pushinteger(L, (lua_Integer)queued);
  lua_pushinteger(L, (lua_Integer)most_queued);
  lua_pushinteger(L, (lua_Integer)outbox);
  lua_pushinteger(L, (lua_Integer)most_outbox);
  return 5;
}

const luaL_Reg ltotals_functions[] = {
    {"totals", totals}, {"waiting", waiting}, {NULL, NULL}};

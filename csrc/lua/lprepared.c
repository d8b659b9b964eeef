/* SPDX-License-Identifier: MIT
 * lprepared.c - one message for many connections. */
#include "lconn.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- the type ---- */

static lprepared *check(lua_State *L) {
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

static int prepared_tostring(lua_State *L) {
  const lprepared *p = check(L);
  lua_pushfstring(L, "message (%s, ", kind_of(p));
  lua_pushinteger(L, (lua_Integer)p->message.n);
  lua_pushliteral(L, " bytes)");
  lua_concat(L, 3);
  return 1;
}

static int prepared_gc(lua_State *L) {
  lprepared *p = check(L);
  p->mark = 0;
  dx_bytes_leave(p->frame);
  p->frame = NULL;
  dx_packed_clear(&p->packed);
  return 0;
}

/* prepare(data [, kind]) -> message */
static int prepare(lua_State *L) {
  dx_message m;
  if (lua_type(L, 1) != LUA_TSTRING)
    return luaL_error(L, "the message must be a string, got %s",
                      luaL_typename(L, 1));
  lmessage_get(L, 1, &m);
  lprepared *p = lua_newuserdatauv(L, sizeof *p, 1);
  m.frame = &p->frame;
  m.packed = &p->packed;
  *p = (lprepared){.mark = LPREPARED_MARK, .message = m};
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (luaL_newmetatable(L, LPREPARED)) {
    static const luaL_Reg meta[] = {{"__index", prepared_index},
                                    {"__len", prepared_len},
                                    {"__tostring", prepared_tostring},
                                    {"__gc", prepared_gc},
                                    {NULL, NULL}};
    luaL_setfuncs(L, meta, 0);
  }
  lua_setmetatable(L, -2);
  return 1;
}

/* ---- to many ---- */

enum { SET = 1, MESSAGE, KIND, MOST, SPARE, TOUCHED, FULL, KEYS };

/* What a call of broadcast is given, and how long its lists are. */
typedef struct crowd {
  dx_message message;
  double most;
  int spare;
  size_t count, touched, full;
} crowd;

/* With many connections most of the time goes to waiting for memory.  So some
 * are looked up at a time, and by their turn all are in the cache. */
#define AT_A_TIME 32

/* Append the value at 'from' to the list at 'index', which is made for its
 * first. */
static void append(lua_State *L, int index, int from, size_t *n) {
  if (*n == 0) {
    lua_newtable(L);
    lua_replace(L, index);
  }
  lua_pushvalue(L, from);
  *n += 1;
  lua_rawseti(L, index, (lua_Integer)*n);
}

/* The message for one of them, which stands at 'index'. */
static void deliver(lua_State *L, crowd *w, lconn *c, int index) {
  if (dx_conn_may_send(&c->conn))
    return;
  int knows = dx_conn_outbox(&c->conn) > 0; /* the transport, that is */
  size_t limit = c->conn.limits->max_outbox;
  if (w->most < (double)limit)
    limit = (size_t)w->most;
  if (lmessage_full(c, w->message.n, limit)) {
    if (w->spare) {
      append(L, FULL, index, &w->full);
      return;
    }
    dx_conn_fail(&c->conn, DX_ERR_TOO_SLOW);
    knows = 0;
  } else if (dx_conn_put_message(&c->conn, &w->message) == DX_OK) {
    w->count++;
  }
  if (c->transport == NULL)
    append(L, TOUCHED, index, &w->touched);
  else if (!knows)
    c->ops->joined(c->transport);
}

/* The next keys of the set, behind the one on top of the stack, which they
 * replace: they stand from KEYS on, the last one twice.  Returns how many. */
static int next_keys(lua_State *L) {
  int n = 0;
  lua_replace(L, KEYS);
  lua_settop(L, KEYS);
  while (n < AT_A_TIME && lua_next(L, SET)) {
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    n++;
  }
  return n;
}

/* Returns how many of the 'n' keys are connections, up to the first that is
 * none. */
static int look_up(lua_State *L, lconn **all, int n) {
  for (int i = 0; i < n; i++) {
    all[i] = lua_touserdata(L, KEYS + i);
    /* All that is needed is within the first 128 bytes, in any three lines. */
    for (uintptr_t at = 0; at < 128; at += 56)
      __builtin_prefetch((void *)((uintptr_t)all[i] + at), 1);
  }
  for (int i = 0; i < n; i++) {
    if (lconn_test(L, KEYS + i) == NULL)
      return i;
    __builtin_prefetch(all[i]->conn.out, 1);
  }
  return n;
}

/* Only outboxes keep a frame from now on: Lua's collector does not know how
 * large it is, and would be in no hurry. */
static void let_go(dx_bytes **frame) {
  dx_bytes_leave(*frame);
  *frame = NULL;
}

/* Tell the collector, too, what a prepared message was compressed to, 'had'
 * and what is behind it before: it is kept for the next time. */
static void account(lua_State *L, const dx_packed *p, const dx_packed *had) {
  size_t n = 0;
  for (; p != had; p = p->next)
    n += p->n;
  n /= 1024;
#ifdef LUA_GCISRUNNING
  if (n && !lua_gc(L, LUA_GCISRUNNING, 0))
    return;
#endif
  if (n)
    lua_gc(L, LUA_GCSTEP, n < INT_MAX ? (int)n : INT_MAX);
}

/* broadcast(set, data or message [, kind [, most [, spare]]]) -> count, list of
 * those whose transport has to be told or nil, list of full ones or nil, type
 * of a key that is no connection.
 *
 * Full ones are failed, or if 'spare' listed.  No Lua runs in here, as it could
 * wait or change the set: what transports in Lua do is left to the caller. */
static int broadcast(lua_State *L) {
  luaL_checktype(L, SET, LUA_TTABLE);
  crowd w = {.most = luaL_optnumber(L, MOST, INFINITY),
             .spare = lua_toboolean(L, SPARE)};
  lmessage_get(L, MESSAGE, &w.message);
  /* Should the loop below be left by an error, this is freed by the next. */
  lshared *all_share = lconn_shared(L);
  dx_packed **passing = &all_share->core.codecs.passing;
  dx_packed_clear(passing);
  let_go(&all_share->passing);
  if (w.message.packed == NULL) {
    w.message.packed = passing;
    w.message.frame = &all_share->passing;
  }
  const dx_packed *had = *w.message.packed;
  luaL_checkstack(L, KEYS + AT_A_TIME, NULL);
  lua_settop(L, SPARE);
  lua_settop(L, KEYS); /* the lists and the first key are nil */
  lconn *all[AT_A_TIME];
  const char *wrong = NULL;
  int n;
  do {
    n = next_keys(L);
    int fine = look_up(L, all, n);
    for (int i = 0; i < fine; i++)
      deliver(L, &w, all[i], KEYS + i);
    if (fine < n)
      wrong = luaL_typename(L, KEYS + fine);
  } while (n == AT_A_TIME && !wrong);
  dx_packed_clear(passing);
  let_go(w.message.frame);
  account(L, *w.message.packed, had);
  lua_pushinteger(L, (lua_Integer)w.count);
  lua_pushvalue(L, TOUCHED);
  lua_pushvalue(L, FULL);
  lua_pushstring(L, wrong);
  return 4;
}

const luaL_Reg lprepared_functions[] = {
    {"prepare", prepare}, {"broadcast", broadcast}, {NULL, NULL}};

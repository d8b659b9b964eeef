/* SPDX-License-Identifier: MIT
 * lmessage.c - messages and bytes, into connections and out of them. */
#include "lconn.h"

#include <stdlib.h>
#include <string.h>

/* true, or nil, message, id */
static int outcome(lua_State *L, lconn *c, dx_error e) {
  if (e)
    return lconn_failure(L, c, e);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- messages out ----
 *
 * What is wrong with a message is said without the number of an argument: it
 * may come by way of others of this library, which have it elsewhere. */

static uint8_t kind_at(lua_State *L, int index) {
  size_t n = 0;
  const char *kind = lua_tolstring(L, index, &n);
  if (n == 6 && memcmp(kind, "binary", 6) == 0)
    return DX_BINARY;
  if (n == 4 && memcmp(kind, "text", 4) == 0)
    return DX_TEXT;
  if (!lua_isnoneornil(L, index))
    luaL_error(L, "kind must be \"text\" or \"binary\"");
  return DX_TEXT;
}

static const lprepared *prepared_at(lua_State *L, int index) {
  const lprepared *p = lua_touserdata(L, index);
  if (p == NULL || lua_rawlen(L, index) != sizeof *p ||
      p->mark != LPREPARED_MARK)
    luaL_error(L, "the message must be a string or prepared, got %s",
               luaL_typename(L, index));
  if (!lua_isnoneornil(L, index + 1))
    luaL_error(L, "the kind was given to duplex.prepare");
  return p;
}

void lmessage_get(lua_State *L, int index, dx_message *m) {
  if (lua_type(L, index) != LUA_TSTRING) {
    *m = prepared_at(L, index)->message;
    return;
  }
  m->how = 0;
  m->packed = NULL;
  m->frame = NULL;
  m->opcode = kind_at(L, index + 1);
  m->data = (const uint8_t *)lua_tolstring(L, index, &m->n);
  if (m->opcode == DX_TEXT && !dx_utf8_valid(m->data, m->n))
    luaL_error(L, "text is not valid UTF-8; send bytes with kind \"binary\"");
}

uint8_t lmessage_how(lua_State *L, int index) {
  if (lua_isnoneornil(L, index))
    return 0;
  luaL_checktype(L, index, LUA_TTABLE);
  uint8_t how = 0;
  lua_pushnil(L);
  while (lua_next(L, index)) {
    if (lua_type(L, -2) != LUA_TSTRING ||
        strcmp(lua_tostring(L, -2), "compress") != 0)
      luaL_argerror(L, index, "the one option of send is 'compress'");
    if (!lua_isboolean(L, -1))
      luaL_argerror(L, index, "option 'compress' must be true or false");
    how = lua_toboolean(L, -1) ? DX_COMPRESS : DX_PLAIN;
    lua_pop(L, 1);
  }
  return how;
}

static int put(lua_State *L, lconn *c, const dx_message *m) {
  dx_error e = dx_conn_put_message(&c->conn, m);
  lconn_touch(c);
  return outcome(L, c, e);
}

/* put(ws, data or message [, kind [, options]]) -> true | nil, message, id;
 * queued, never waits */
static int message_put(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_message m;
  lmessage_get(L, 2, &m);
  m.how = lmessage_how(L, 4);
  return put(L, c, &m);
}

static int over_limit(const dx_conn *c, size_t n, size_t most) {
  size_t queued = dx_conn_outbox(c);
  return c->state == DX_OPEN && queued > 0 && queued + n > most;
}

int lmessage_full(lconn *c, size_t n, size_t most) {
  if (!over_limit(&c->conn, n, most))
    return 0;
  if (c->transport)
    c->ops->push(c->transport);
  return over_limit(&c->conn, n, most);
}

/* try_put(ws, data or message [, kind [, options]]): as put, but FULL rather
 * than over max_outbox */
static int message_try_put(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_message m;
  lmessage_get(L, 2, &m);
  m.how = lmessage_how(L, 4);
  if (lmessage_full(c, m.n, c->conn.limits->max_outbox))
    return lconn_failure(L, c, DX_ERR_FULL);
  return put(L, c, &m);
}

/* put_fragment(ws, data, kind, first, last [, options]) -> true | nil, message,
 * id.  The caller checks that the text of all of them is UTF-8. */
static int message_put_fragment(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  size_t n;
  const char *data = luaL_checklstring(L, 2, &n);
  uint8_t opcode = kind_at(L, 3);
  uint8_t first = lua_toboolean(L, 4) ? opcode : DX_CONTINUATION;
  if (lua_toboolean(L, 5))
    first |= DX_FIN;
  dx_error e = dx_conn_put(&c->conn, first, data, n,
                           DX_IN_FRAGMENTS | lmessage_how(L, 6));
  lconn_touch(c);
  return outcome(L, c, e);
}

/* put_raw(ws, bytes): before the WebSocket is open */
static int message_put_raw(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  dx_error e = dx_conn_put_raw(&c->conn, bytes, n);
  lconn_touch(c);
  return outcome(L, c, e);
}

/* ping(ws [, payload]) -> number | nil, message, id.  Raises when the payload
 * is longer than a ping may carry (RFC 6455 5.5). */
static int message_ping(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  uint32_t number = 0;
  size_t n = 0;
  const char *payload = luaL_optlstring(L, 2, NULL, &n);
  luaL_argcheck(L, n <= DX_MAX_CONTROL, 2, "a ping carries at most 125 bytes");
  dx_error e = dx_conn_ping(&c->conn, payload, n, &number);
  lconn_touch(c);
  if (e)
    return lconn_failure(L, c, e);
  lua_pushinteger(L, number);
  return 1;
}

/* answered(ws, number) -> whether that ping, or a later one, was answered */
static int message_answered(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  uint32_t number = (uint32_t)luaL_checkinteger(L, 2);
  lua_pushboolean(L, (int32_t)(c->conn.ping_seen - number) >= 0);
  return 1;
}

/* ---- messages in ---- */

/* next(ws, now) -> data, kind, last | nil (nothing yet) | nil, message, id.
 * 'last' is false for pieces but the last one. */
static int message_next(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_event ev;
  dx_kind kind = dx_conn_next(&c->conn, &ev, luaL_checknumber(L, 2));
  lconn_touch(c);
  switch (kind) {
  case DX_MESSAGE:
  case DX_PIECE:
    lua_pushlstring(L, (const char *)ev.data, ev.n);
    lua_pushstring(L, ev.opcode == DX_TEXT ? "text" : "binary");
    lua_pushboolean(L, ev.last);
    return 3;
  case DX_WANT:
    lua_pushnil(L);
    return 1;
  default:
    return lconn_failure(L, c, dx_conn_end(&c->conn));
  }
}

/* pieces(ws, on): whether next() gives the next message in pieces */
static int message_pieces(lua_State *L) {
  dx_conn_pieces(&lconn_check(L, 1)->conn, lua_toboolean(L, 2));
  return 0;
}

/* hold(ws, data or message [, kind [, options]]): who is to send this has to
 * wait first, see conn.h; raises what put would */
static int message_hold(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_message m;
  lmessage_get(L, 2, &m);
  lmessage_how(L, 4);
  dx_conn_hold(&c->conn, 1);
  return 0;
}

/* release(ws): what was held for is put */
static int message_release(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_conn_hold(&c->conn, 0);
  lconn_touch(c);
  return 0;
}

static int message_pump(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_conn_pump(&c->conn, luaL_checknumber(L, 2));
  lconn_touch(c);
  return 0;
}

/* settle(ws, now): answer a close frame now, for those who take no messages */
static int message_settle(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  double now = luaL_checknumber(L, 2);
  dx_conn_pump(&c->conn, now);
  dx_conn_settle(&c->conn);
  lconn_touch(c);
  return 0;
}

/* ---- bytes, for transports that are written in Lua ---- */

/* feed(ws, bytes, now): only while hungry(ws), and after next() or pump() used
 * up what came before */
static int message_feed(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  double now = luaL_checknumber(L, 3);
  if (dx_conn_unread(&c->conn))
    return luaL_error(L, "feed: input is left over");
  dx_conn_alive(&c->conn, now);
  if (n == 0)
    return 0;
  /* Input is unmasked in place, and Lua's strings must not change. */
  uint8_t *copy = malloc(n);
  if (copy == NULL)
    return luaL_error(L, "out of memory");
  memcpy(copy, bytes, n);
  dx_conn_lend(&c->conn, copy, n, now);
  c->conn.kept = copy;
  return 0;
}

/* eof(ws, now [, lost]): no more will come, as the peer hung up or was lost */
static int message_eof(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_conn_eof(&c->conn, lua_toboolean(L, 3) ? DX_ERR_LOST : DX_ERR_LOST_EOF);
  dx_conn_pump(&c->conn, luaL_checknumber(L, 2));
  return 0;
}

/* hungry(ws) -> whether more bytes may be fed */
static int message_hungry(lua_State *L) {
  const dx_conn *c = &lconn_check(L, 1)->conn;
  lua_pushboolean(L, dx_conn_hungry(c) && !dx_conn_unread(c));
  return 1;
}

/* output(ws, now [, max]) -> bytes to send, "" for none; they count as sent */
static int message_output(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  double now = luaL_checknumber(L, 2);
  lua_Number max = luaL_optnumber(L, 3, 1e15);
  const uint8_t *p;
  size_t n = dx_conn_output(&c->conn, &p);
  if ((lua_Number)n > max)
    n = (size_t)max;
  lua_pushlstring(L, n ? (const char *)p : "", n);
  if (n)
    dx_conn_sent(&c->conn, n, now);
  return 1;
}

const luaL_Reg lmessage_functions[] = {{"put", message_put},
                                       {"try_put", message_try_put},
                                       {"put_fragment", message_put_fragment},
                                       {"put_raw", message_put_raw},
                                       {"ping", message_ping},
                                       {"answered", message_answered},
                                       {"next", message_next},
                                       {"pieces", message_pieces},
                                       {"hold", message_hold},
                                       {"release", message_release},
                                       {"pump", message_pump},
                                       {"settle", message_settle},
                                       {"feed", message_feed},
                                       {"eof", message_eof},
                                       {"hungry", message_hungry},
                                       {"output", message_output},
                                       {NULL, NULL}};

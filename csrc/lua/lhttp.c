/* SPDX-License-Identifier: MIT
 * lhttp.c - HTTP heads and opening handshakes for Lua. */
#include "../core/handshake.h"
#include "lconn.h"

#include "../core/base64.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static dx_slice slice_at(lua_State *L, int index) {
  dx_slice s;
  s.p = luaL_optlstring(L, index, "", &s.n);
  return s;
}

static void push_slice(lua_State *L, dx_slice s) {
  if (s.p)
    lua_pushlstring(L, s.p, s.n);
  else
    lua_pushnil(L);
}

/* proxy_header(ws) -> true | nil (more is needed) | nil, message, id.  The
 * client of the connection is then whom the header names, if anybody. */
static int http_proxy_header(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_proxy h;
  int got = dx_conn_proxy(&c->conn, &h);
  if (got < 0)
    return lconn_failure(L, c, (dx_error)-got);
  if (got == 0)
    return 0;
  c->client = h.family & 3u;
  memcpy(c->client_address, h.address, sizeof h.address);
  c->client_port = h.port;
  c->scheme = h.secure ? LCONN_HTTPS : LCONN_UNTOLD;
  lua_pushboolean(L, 1);
  return 1;
}

/* head(ws) -> head | nil (more is needed) | nil, message, id.  What follows
 * the head stays in the connection: take() it, or open() the WebSocket. */
static int http_head(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  const char *head;
  size_t n;
  int got = dx_conn_head(&c->conn, &head, &n);
  if (got < 0)
    return lconn_failure(L, c, (dx_error)-got);
  if (got == 0)
    return 0;
  lua_pushlstring(L, head, n);
  dx_conn_head_done(&c->conn);
  return 1;
}

/* again(ws, now): another head may come, and open_timeout begins anew */
static int http_again(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  c->conn.beat.since = luaL_checknumber(L, 2);
  return 0;
}

/* take(ws, max) -> bytes behind the head, "" if there are none yet; or nil,
 * message, id when none will come */
static int http_take(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  lua_Integer max = luaL_checkinteger(L, 2);
  luaL_argcheck(L, max > 0, 2, "must be positive");
  luaL_Buffer b;
  char *p = luaL_buffinitsize(L, &b, (size_t)max);
  size_t n = dx_conn_take(&c->conn, p, (size_t)max);
  luaL_pushresultsize(&b, n);
  if (n == 0 && c->conn.eof)
    return lconn_failure(L, c, (dx_error)c->conn.eof);
  return 1;
}

/* examine(head, max_headers) -> "upgrade", host, origin or nil
 *                             | "http", keep-alive, whether a body follows
 *                             | "bad", status, text */
static int http_examine(lua_State *L) {
  size_t n;
  const char *raw = luaL_checklstring(L, 1, &n);
  dx_http_head h;
  h.max_fields = (size_t)luaL_checkinteger(L, 2);
  dx_http_body body;
  dx_http_error e = dx_http_parse_request(&h, raw, n);
  if (!e)
    e = dx_http_framing(&h, &body);
  if (e) {
    lua_pushliteral(L, "bad");
    lua_pushinteger(L, dx_http_error_status(e));
    lua_pushstring(L, dx_http_error_text(e));
    return 3;
  }
  int wanted = dx_upgrade_wanted(&h);
  if (!wanted && h.minor > 0 && dx_http_count(&h, "Host") != 1) {
    lua_pushliteral(L, "bad"); /* RFC 9112 3.2 */
    lua_pushinteger(L, 400);
    lua_pushliteral(L, "Host is missing or repeated");
    return 3;
  }
  if (!wanted) {
    lua_pushliteral(L, "http");
    /* RFC 9112 9.3: a client of HTTP/1.0 would have to be told so. */
    lua_pushboolean(L, body.keep_alive && h.minor > 0);
    lua_pushboolean(L, body.length > 0 || body.has_transfer);
    return 3;
  }
  dx_upgrade u;
  dx_upgrade_error ue = dx_upgrade_check(&h, &u);
  if (ue) {
    lua_pushliteral(L, "bad");
    lua_pushinteger(L, dx_upgrade_error_status(ue));
    lua_pushstring(L, dx_upgrade_error_text(ue));
    return 3;
  }
  lua_pushliteral(L, "upgrade");
  push_slice(L, u.host);
  push_slice(L, u.origin);
  return 3;
}

/* Run a writer of handshake.h twice: for the size, then into the outbox. */
typedef size_t (*writer)(char *out, size_t cap, const dx_slice *args);

static size_t write_response(char *out, size_t cap, const dx_slice *a) {
  return dx_upgrade_write_response(out, cap, a[0], a[1], a[2], a[3]);
}

static size_t write_request(char *out, size_t cap, const dx_slice *a) {
  return dx_upgrade_write_request(out, cap, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int write_head(lua_State *L, lconn *c, writer write,
                      const dx_slice *args) {
  size_t n = write(NULL, 0, args);
  if (n == 0)
    return luaL_error(L, "a handshake header has bytes that would break it");
  char *p = malloc(n);
  if (p == NULL)
    return luaL_error(L, "out of memory");
  write(p, n, args);
  dx_error e = dx_conn_put_raw(&c->conn, p, n);
  free(p);
  lconn_touch(c);
  if (e)
    return lconn_failure(L, c, e);
  return 0;
}

/* accept(ws, head, now [, protocol [, extra]]) -> true | nil, message, id:
 * answers a request that examine() called an upgrade; the WebSocket is open */
static int http_accept(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  size_t n;
  const char *raw = luaL_checklstring(L, 2, &n);
  double now = luaL_checknumber(L, 3);
  if (c->conn.eof) /* open_timeout ran out, or the peer hung up, meanwhile */
    return lconn_failure(L, c, (dx_error)c->conn.eof);
  dx_http_head h;
  h.max_fields = DX_HTTP_MAX_FIELDS;
  dx_upgrade u;
  if (dx_http_parse_request(&h, raw, n) || dx_upgrade_check(&h, &u))
    return luaL_argerror(L, 2, "not a request to upgrade");
  dx_deflate_params agreed;
  char text[DX_MAX_EXTENSIONS];
  size_t text_n = 0;
  if (dx_extensions_choose(&h, lconn_wish(c), &agreed)) {
    if (dx_conn_compress(&c->conn, &agreed))
      return lconn_failure(L, c, DX_ERR_NO_MEMORY);
    text_n = dx_extensions_text(text, &agreed);
  }
  dx_slice args[4] = {u.key, slice_at(L, 4), {text, text_n}, slice_at(L, 5)};
  int failed = write_head(L, c, write_response, args);
  if (failed)
    return failed;
  dx_conn_open(&c->conn, now);
  lua_pushboolean(L, 1);
  return 1;
}

/* request(ws, host, target [, protocols [, extra]]) -> accept key to verify()
 * the response with | nil, message, id */
static int http_request(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  luaL_checkstring(L, 2);
  luaL_checkstring(L, 3);
  uint8_t nonce[16];
  char key[DX_KEY_SIZE], accept[DX_ACCEPT_SIZE];
  if (dx_random_bytes(c->conn.shared->random, nonce, sizeof nonce))
    return lconn_failure(L, c, DX_ERR_NO_ENTROPY);
  dx_base64_encode(key, nonce, sizeof nonce);
  char text[DX_MAX_EXTENSIONS];
  size_t text_n = dx_extensions_offer(text, lconn_wish(c));
  dx_slice args[6] = {slice_at(L, 2), slice_at(L, 3), {key, sizeof key},
                      slice_at(L, 4), {text, text_n}, slice_at(L, 5)};
  int failed = write_head(L, c, write_request, args);
  if (failed)
    return failed;
  dx_accept_key(accept, key, sizeof key);
  lua_pushlstring(L, accept, sizeof accept);
  return 1;
}

/* Names in lower case; the values of repeated fields joined by ", ". */
static void push_fields(lua_State *L, const dx_http_head *h) {
  lua_createtable(L, 0, (int)h->count);
  for (size_t i = 0; i < h->count; i++) {
    const dx_field *f = &h->fields[i];
    luaL_Buffer b;
    char *p = luaL_buffinitsize(L, &b, f->name.n);
    for (size_t k = 0; k < f->name.n; k++)
      p[k] = (char)tolower((unsigned char)f->name.p[k]);
    luaL_pushresultsize(&b, f->name.n);
    lua_pushvalue(L, -1);
    if (lua_rawget(L, -3) == LUA_TNIL) {
      lua_pop(L, 1);
      push_slice(L, f->value);
    } else {
      lua_pushliteral(L, ", ");
      push_slice(L, f->value);
      lua_concat(L, 3);
    }
    lua_rawset(L, -3);
  }
}

/* Parse the head at index 1 with one of the two parsers; 0, or 2 with nil and
 * text pushed. */
static int parse_head(lua_State *L, dx_http_head *h,
                      dx_http_error (*parse)(dx_http_head *, const char *,
                                             size_t)) {
  size_t n;
  const char *raw = luaL_checklstring(L, 1, &n);
  h->max_fields = DX_HTTP_MAX_FIELDS;
  dx_http_error e = parse(h, raw, n);
  if (!e)
    return 0;
  lua_pushnil(L);
  lua_pushstring(L, dx_http_error_text(e));
  return 2;
}

/* parse_request(head) -> method, target, headers, minor version | nil, text */
static int http_parse_request(lua_State *L) {
  dx_http_head h;
  int failed = parse_head(L, &h, dx_http_parse_request);
  if (failed)
    return failed;
  push_slice(L, h.method);
  push_slice(L, h.target);
  push_fields(L, &h);
  lua_pushinteger(L, h.minor);
  return 4;
}

/* parse_response(head) -> status, reason, headers | nil, text */
static int http_parse_response(lua_State *L) {
  dx_http_head h;
  int failed = parse_head(L, &h, dx_http_parse_response);
  if (failed)
    return failed;
  lua_pushinteger(L, h.status);
  push_slice(L, h.reason);
  push_fields(L, &h);
  return 3;
}

/* open(ws, now): a client's handshake is done */
static int http_open(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_conn_open(&c->conn, luaL_checknumber(L, 2));
  lconn_touch(c); /* what followed the head, or reading that was paused */
  return 0;
}

/* verify(ws, head, accept, offered) -> subprotocol or "" | nil, text: RFC 6455
 * 4.1 for a response with status 101 */
static int http_verify(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  size_t n, accept_n;
  const char *raw = luaL_checklstring(L, 2, &n);
  const char *accept = luaL_checklstring(L, 3, &accept_n);
  luaL_argcheck(L, accept_n == DX_ACCEPT_SIZE, 3, "not an accept key");
  dx_http_head h;
  h.max_fields = DX_HTTP_MAX_FIELDS;
  dx_http_error e = dx_http_parse_response(&h, raw, n);
  dx_slice protocol = {"", 0};
  dx_upgrade_error ue = DX_UPGRADE_OK;
  dx_deflate_params agreed = {0};
  if (!e)
    ue = dx_upgrade_verify(&h, accept, slice_at(L, 4), lconn_wish(c), &protocol,
                           &agreed);
  if (e || ue) {
    lua_pushnil(L);
    lua_pushstring(L, e ? dx_http_error_text(e) : dx_upgrade_error_text(ue));
    return 2;
  }
  if (agreed.level && dx_conn_compress(&c->conn, &agreed))
    return luaL_error(L, "out of memory");
  push_slice(L, protocol.p ? protocol : (dx_slice){"", 0});
  return 1;
}

/* extensions(ws) -> what was agreed on, "" for nothing */
static int http_extensions(lua_State *L) {
  const dx_deflate *d = lconn_check(L, 1)->conn.reader.deflate;
  char text[DX_MAX_EXTENSIONS];
  lua_pushlstring(L, text, d ? dx_extensions_text(text, &d->agreed) : 0);
  return 1;
}

/* offered(head) -> list of the subprotocols that a request offers */
static int http_offered(lua_State *L) {
  size_t n;
  const char *raw = luaL_checklstring(L, 1, &n);
  dx_http_head h;
  h.max_fields = DX_HTTP_MAX_FIELDS;
  lua_newtable(L);
  if (dx_http_parse_request(&h, raw, n))
    return 1;
  dx_protocols it = {.h = &h};
  dx_slice protocol;
  for (lua_Integer i = 1; dx_protocols_next(&it, &protocol); i++) {
    push_slice(L, protocol);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

/* header_ok(name, value) -> whether both may stand in a head as they are */
static int http_header_ok(lua_State *L) {
  size_t name_n, value_n;
  const char *name = luaL_checklstring(L, 1, &name_n);
  const char *value = luaL_checklstring(L, 2, &value_n);
  lua_pushboolean(L, dx_http_name_ok(name, name_n) &&
                         dx_http_value_ok(value, value_n));
  return 1;
}

const luaL_Reg lhttp_functions[] = {{"proxy_header", http_proxy_header},
                                    {"head", http_head},
                                    {"again", http_again},
                                    {"take", http_take},
                                    {"examine", http_examine},
                                    {"accept", http_accept},
                                    {"request", http_request},
                                    {"open", http_open},
                                    {"parse_request", http_parse_request},
                                    {"parse_response", http_parse_response},
                                    {"verify", http_verify},
                                    {"extensions", http_extensions},
                                    {"offered", http_offered},
                                    {"header_ok", http_header_ok},
                                    {NULL, NULL}};

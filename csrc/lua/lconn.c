/* SPDX-License-Identifier: MIT
 * lconn.c - the type of connections for Lua: making them, what they tell about
 * themselves, their end.  Here nothing waits; what waits is in connection.lua
 * and in llink.c. */
#include "lconn.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED "duplex.shared"

/* ---- what connections share ---- */

static int shared_gc(lua_State *L) {
  lshared *s = lua_touserdata(L, 1);
  free(s->core.spare.small);
  free(s->core.spare.large);
  s->core.spare = (dx_spare){0};
  dx_codecs_clear(&s->core.codecs);
  dx_bytes_leave(s->passing);
  s->passing = NULL;
  dx_random_free(s->core.random);
  s->core.random = NULL;
  ltrace_free(s->core.tap);
  s->core.tap = NULL;
  return 0;
}

lshared *lconn_shared(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, SHARED);
  lshared *s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (s)
    return s;
  s = lua_newuserdatauv(L, sizeof *s, 0);
  *s = (lshared){0};
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, shared_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  s->core.random = dx_random_new();
  if (s->core.random == NULL)
    luaL_error(L, "duplex: no memory for masking keys");
  s->core.tap = ltrace_new();
  lua_setfield(L, LUA_REGISTRYINDEX, SHARED);
  return s;
}

static void settings_leave(lsettings *s) {
  while (s && --s->users == 0) {
    lsettings *counter = s->counter;
    free(s);
    s = counter;
  }
}

static int settings_gc(lua_State *L) {
  lsettings **box = lua_touserdata(L, 1);
  settings_leave(*box);
  *box = NULL;
  return 0;
}

/* Of the table on top. */
static double number_field(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  double value = lua_tonumber(L, -1); /* false and nil: 0, which is "off" */
  lua_pop(L, 1);
  return value;
}

static uint8_t flag_field(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  uint8_t value = lua_toboolean(L, -1) != 0;
  lua_pop(L, 1);
  return value;
}

/* Of the table of compression options on top. */
static void read_compression(lua_State *L, dx_deflate_params *p) {
  p->server_reset = flag_field(L, "server_no_context_takeover");
  p->client_reset = flag_field(L, "client_no_context_takeover");
  p->server_bits = (uint8_t)number_field(L, "server_max_window_bits");
  p->client_bits = (uint8_t)number_field(L, "client_max_window_bits");
  p->any_server_bits = flag_field(L, "any_server_bits");
  p->level = (uint8_t)number_field(L, "level");
  p->memory = (uint8_t)number_field(L, "memory_level");
  p->threshold = (uint32_t)number_field(L, "threshold");
}

/* settings(options, counter) -> settings for connection(); the options were
 * checked by options.lua, which is where names, units and defaults are.  What
 * passes is counted in the settings 'counter', if there are such. */
static int settings_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lsettings **counter =
      lua_isnoneornil(L, 2) ? NULL : luaL_checkudata(L, 2, LSETTINGS);
  lsettings **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  if (luaL_newmetatable(L, LSETTINGS)) {
    lua_pushcfunction(L, settings_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
  lsettings *s = calloc(1, sizeof *s);
  if (s == NULL)
    return luaL_error(L, "out of memory");
  *box = s;
  s->users = 1;
  lua_pushvalue(L, 1);
  dx_limits *l = &s->limits;
  l->totals = &s->totals;
  if (counter) {
    s->counter = *counter;
    s->counter->users++;
    l->totals = &s->counter->totals;
  }
  l->max_message = (uint64_t)number_field(L, "max_message");
  l->max_header_bytes = (size_t)number_field(L, "max_header_bytes");
  l->max_queue_bytes = (size_t)number_field(L, "max_queue_bytes");
  l->high_mark = (size_t)number_field(L, "high_mark");
  l->max_outbox = (size_t)number_field(L, "max_outbox");
  l->max_queue = (uint32_t)number_field(L, "max_queue");
  l->max_fragments = (uint32_t)number_field(L, "max_fragments");
  l->max_headers = (uint32_t)number_field(L, "max_headers");
  l->max_control_rate = (uint32_t)number_field(L, "max_control_rate");
  l->open_timeout = number_field(L, "open_timeout");
  l->ping_interval = number_field(L, "ping_interval");
  l->ping_timeout = number_field(L, "ping_timeout");
  l->close_timeout = number_field(L, "close_timeout");
  l->send_timeout = number_field(L, "send_timeout");
  lua_getfield(L, -1, "compression");
  if (lua_istable(L, -1))
    read_compression(L, &s->compression);
  lua_pop(L, 2);
  return 1;
}

/* ---- the type ---- */

/* connection(role, settings, metatable, now) -> connection */
static int conn_new(lua_State *L) {
  static const char *const roles[] = {"client", "server", NULL};
  int server = luaL_checkoption(L, 1, NULL, roles);
  lsettings **settings = luaL_checkudata(L, 2, LSETTINGS);
  luaL_checktype(L, 3, LUA_TTABLE);
  double now = luaL_checknumber(L, 4);
  lshared *all = lconn_shared(L);
  lconn *c = lua_newuserdatauv(L, sizeof *c, LCONN_VALUES);
  *c = (lconn){.mark = LCONN_MARK, .id = ++all->last_id};
  (*settings)->users++;
  dx_conn_init(&c->conn, server, &(*settings)->limits, &all->core, now);
  lua_pushvalue(L, 3);
  lua_setmetatable(L, -2);
  return 1;
}

static int conn_gc(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  if (c->transport)
    c->ops->dropped(c->transport);
  c->transport = NULL;
  if (c->explained)
    free(c->why);
  if (c->conn.shared->tap)
    ltrace_forget(c->conn.shared->tap, c);
  /* When the whole state is closed the spare may already be gone. */
  c->conn.shared = NULL;
  dx_conn_clear(&c->conn);
  settings_leave((lsettings *)(uintptr_t)c->conn.limits);
  c->mark = 0;
  return 0;
}

static int conn_tostring(lua_State *L) {
  static const char *const states[] = {"handshake", "open", "closing",
                                       "closed"};
  const lconn *c = lconn_check(L, 1);
  char id[16];
  snprintf(id, sizeof id, "%" PRIu32, c->id);
  lua_pushfstring(L, "websocket#%s (%s %s)", id,
                  c->conn.server ? "server" : "client", states[c->conn.state]);
  return 1;
}

/* Methods come first and by raw access; then values that are computed. */
static int conn_index(lua_State *L) {
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
    return 1;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TNIL)
    return 1;
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static int conn_newindex(lua_State *L) {
  lconn_check(L, 1);
  const char *name = luaL_checkstring(L, 2);
  if (strcmp(name, "data") != 0)
    return luaL_error(L,
                      "'%s' of a connection cannot be set; keep values of "
                      "your own in ws.data",
                      name);
  lua_settop(L, 3);
  lua_setiuservalue(L, 1, LCONN_DATA);
  return 0;
}

/* class(methods, getters) -> metatable.  ws.x is methods.x, or else what
 * getters.x(ws) returns. */
static int conn_class(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_createtable(L, 0, 6);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, conn_index, 2);
  lua_setfield(L, -2, "__index");
  static const luaL_Reg meta[] = {{"__newindex", conn_newindex},
                                  {"__gc", conn_gc},
                                  {"__tostring", conn_tostring},
                                  {NULL, NULL}};
  luaL_setfuncs(L, meta, 0);
  lua_pushliteral(L, "duplex.connection");
  lua_setfield(L, -2, "__name");
  return 1;
}

/* value(ws, n [, new]) -> the n-th user value, after setting it */
static int conn_value(lua_State *L) {
  lconn_check(L, 1);
  int n = (int)luaL_checkinteger(L, 2);
  luaL_argcheck(L, n >= 1 && n <= LCONN_VALUES, 2, "no such value");
  if (lua_gettop(L) > 2) {
    lua_settop(L, 3);
    lua_setiuservalue(L, 1, n);
  }
  lua_getiuservalue(L, 1, n);
  return 1;
}

/* ---- errors ---- */

int lconn_failure(lua_State *L, const lconn *c, dx_error e) {
  const dx_error_row *row = &dx_errors[e];
  if (e == DX_ERR_TLS || e == DX_ERR_LOST_TLS) {
    const dx_secure *s = c->transport ? c->ops->secure(c->transport) : NULL;
    const char *why = s ? s->ops->problem(s) : c->explained ? c->why : NULL;
    return dx_push_failure(L, row->id, why ? why : row->text);
  }
  if (e != DX_ERR_LOST || c->system_error == 0)
    return dx_push_failure(L, row->id, row->text);
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s: %s", row->id, row->text,
                  strerror(c->system_error));
  lua_pushstring(L, row->id);
  return 3;
}

/* ---- time ---- */

/* due(ws) -> when expire(ws, now) must be called, on the clock of 'now' */
static int conn_due(lua_State *L) {
  lua_pushnumber(L, dx_conn_due(&lconn_check(L, 1)->conn));
  return 1;
}

static int conn_expire(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_conn_expire(&c->conn, luaL_checknumber(L, 2));
  lconn_touch(c);
  return 0;
}

/* listens(ws, now): reading goes on after a pause, in which silence meant
 * nothing */
static int conn_listens(lua_State *L) {
  dx_conn_pause(&lconn_check(L, 1)->conn, 0, luaL_checknumber(L, 2));
  return 0;
}

/* send_timeout(ws) -> seconds that the peer may take nothing | nil: for ever */
static int conn_send_timeout(lua_State *L) {
  double seconds = lconn_check(L, 1)->conn.limits->send_timeout;
  if (seconds > 0)
    lua_pushnumber(L, seconds);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- end ---- */

/* close(ws, code, reason, now): begin the closing handshake */
static int conn_close(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  lua_Integer code = luaL_checkinteger(L, 2);
  size_t n;
  const char *reason = luaL_checklstring(L, 3, &n);
  double now = luaL_checknumber(L, 4);
  luaL_argcheck(
      L, code == DX_CODE_NONE || (code > 0 && dx_close_code_ok((unsigned)code)),
      2, "close code must be 1000..1003, 1007..1014 or 3000..4999");
  luaL_argcheck(L, dx_utf8_valid((const uint8_t *)reason, n), 3,
                "close reason is not valid UTF-8");
  dx_conn_close(&c->conn, (unsigned)code, reason, n, now);
  lconn_touch(c);
  return 0;
}

/* fail(ws, name): it is over, because of that row of errors.def */
static int conn_fail(lua_State *L) {
  static const char *const names[] = {
#define X(name, id, code, text) #name,
#include "../core/errors.def"
#undef X
      NULL};
  lconn *c = lconn_check(L, 1);
  dx_conn_fail(&c->conn, (dx_error)luaL_checkoption(L, 2, NULL, names));
  lconn_touch(c);
  return 0;
}

/* ended(ws) -> nil | nil, message, id as every call after the end returns */
static int conn_ended(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_error e = dx_conn_end(&c->conn);
  return e ? lconn_failure(L, c, e) : 0;
}

/* close_error(ws) -> message | nil: how it ended, if not cleanly */
static int conn_close_error(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_error e = (dx_error)c->conn.error;
  if (e == DX_OK || e == DX_ERR_CLOSED)
    return 0;
  lconn_failure(L, c, e);
  lua_pop(L, 1);
  return 1;
}

/* numbers(ws) -> bytes in, out; messages in, out; queued messages; outbox */
static int conn_numbers(lua_State *L) {
  const dx_conn *c = &lconn_check(L, 1)->conn;
  lua_pushinteger(L, (lua_Integer)c->bytes_in);
  lua_pushinteger(L, (lua_Integer)c->out_total);
  lua_pushinteger(L, (lua_Integer)c->messages_in);
  lua_pushinteger(L, (lua_Integer)c->messages_out);
  lua_pushinteger(L, (lua_Integer)dx_queue_length(c->queue));
  lua_pushinteger(L, (lua_Integer)dx_conn_outbox(c));
  return 6;
}

/* compression(ws) -> bytes of messages that came, the same as frames carried
 * them, of messages that were sent, the same; or nothing without compression */
static int conn_compression(lua_State *L) {
  const dx_deflate *d = lconn_check(L, 1)->conn.reader.deflate;
  if (d == NULL)
    return 0;
  lua_pushinteger(L, (lua_Integer)d->payload_in);
  lua_pushinteger(L, (lua_Integer)d->wire_in);
  lua_pushinteger(L, (lua_Integer)d->payload_out);
  lua_pushinteger(L, (lua_Integer)d->wire_out);
  return 4;
}

static int conn_id(lua_State *L) {
  lua_pushinteger(L, lconn_check(L, 1)->id);
  return 1;
}

/* "open" until a close frame of ours, "closing", then "closed" */
static int conn_state(lua_State *L) {
  static const char *const states[] = {"handshake", "open", "closing",
                                       "closed"};
  lua_pushstring(L, states[lconn_check(L, 1)->conn.state]);
  return 1;
}

/* secure(ws [, new]) -> whether it is, or was, spoken over TLS; after setting
 * it */
static int conn_secure(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  if (!lua_isnoneornil(L, 2))
    c->secure = lua_toboolean(L, 2) != 0;
  lua_pushboolean(L, c->secure);
  return 1;
}

/* client(ws) -> address or nil, port or nil, secure or nil: who the peer, which
 * is a proxy, speaks for, as far as it told */
static int conn_client(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  char text[INET6_ADDRSTRLEN];
  if (c->client == DX_PROXY_NONE)
    lua_pushnil(L);
  else if (c->client == DX_PROXY_UNIX)
    lua_pushliteral(L, "unix");
  else
    lua_pushstring(L, inet_ntop(c->client == DX_PROXY_IPV4 ? AF_INET : AF_INET6,
                                c->client_address, text, sizeof text));
  if (c->client_port)
    lua_pushinteger(L, c->client_port);
  else
    lua_pushnil(L);
  if (c->scheme)
    lua_pushboolean(L, c->scheme == LCONN_HTTPS);
  else
    lua_pushnil(L);
  return 3;
}

/* set_client(ws, bytes or nil [, port [, secure]]): nil means the peer itself;
 * 'bytes' are 4 or 16 */
static int conn_set_client(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  size_t n;
  const char *bytes = luaL_optlstring(L, 2, "", &n);
  luaL_argcheck(L, n == 0 || n == 4 || n == 16, 2, "4 or 16 bytes expected");
  lua_Integer port = luaL_optinteger(L, 3, 0);
  luaL_argcheck(L, port >= 0 && port <= 65535, 3, "not a port");
  c->client = n == 0 ? DX_PROXY_NONE : n == 4 ? DX_PROXY_IPV4 : DX_PROXY_IPV6;
  memcpy(c->client_address, bytes, n);
  c->client_port = (uint16_t)port;
  c->scheme = lua_isnoneornil(L, 4) ? LCONN_UNTOLD
              : lua_toboolean(L, 4) ? LCONN_HTTPS
                                    : LCONN_HTTP;
  return 0;
}

/* idle(ws, now) -> seconds since the last byte came, or since reading went on
 */
static int conn_idle(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  lua_pushnumber(L, dx_conn_idle(&c->conn, luaL_checknumber(L, 2)));
  return 1;
}

static int conn_latency(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  if (c->conn.latency < 0)
    return 0;
  lua_pushnumber(L, (lua_Number)c->conn.latency);
  return 1;
}

static int conn_code(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  if (c->conn.state != DX_CLOSED)
    return 0;
  lua_pushinteger(L, c->conn.code);
  return 1;
}

/* close_sent(ws) -> code of our close frame (1005: it had none) | nil */
static int conn_close_sent(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  if (c->conn.close_sent == 0)
    return 0;
  lua_pushinteger(L, c->conn.close_sent);
  return 1;
}

static int conn_reason(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  if (c->conn.state != DX_CLOSED)
    return 0;
  lua_pushlstring(L, c->conn.reason ? c->conn.reason : "", c->conn.reason_n);
  return 1;
}

static int conn_outbox(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)dx_conn_outbox(&lconn_check(L, 1)->conn));
  return 1;
}

/* high(ws [, own]) -> whether to send must wait.  'own': for the next fragment
 * of a message, which what waits for the end of that message cannot hold up.
 * Nothing has to wait once the connection is over. */
static int conn_high(lua_State *L) {
  const dx_conn *c = &lconn_check(L, 1)->conn;
  size_t n = lua_toboolean(L, 2) ? dx_buffer_length(c->out) : dx_conn_outbox(c);
  lua_pushboolean(L, n > c->limits->high_mark && c->state <= DX_OPEN);
  return 1;
}

const luaL_Reg lconn_functions[] = {{"settings", settings_new},
                                    {"class", conn_class},
                                    {"connection", conn_new},
                                    {"value", conn_value},
                                    {"close", conn_close},
                                    {"fail", conn_fail},
                                    {"ended", conn_ended},
                                    {"close_error", conn_close_error},
                                    {"numbers", conn_numbers},
                                    {"compression", conn_compression},
                                    {"id", conn_id},
                                    {"state", conn_state},
                                    {"secure", conn_secure},
                                    {"client", conn_client},
                                    {"set_client", conn_set_client},
                                    {"idle", conn_idle},
                                    {"latency", conn_latency},
                                    {"close_code", conn_code},
                                    {"close_reason", conn_reason},
                                    {"close_sent", conn_close_sent},
                                    {"outbox", conn_outbox},
                                    {"high", conn_high},
                                    {"due", conn_due},
                                    {"expire", conn_expire},
                                    {"listens", conn_listens},
                                    {"send_timeout", conn_send_timeout},
                                    {NULL, NULL}};

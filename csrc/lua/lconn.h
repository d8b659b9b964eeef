/* SPDX-License-Identifier: MIT
 * lconn.h - the Lua type "connection": a full userdata around dx_conn, shared
 * by all modules of this library.
 *
 * User values: 1 the request head (a string until somebody looks into it), 2
 * ws.data, 3 a table of what few connections need (on_close, response, ...) or
 * nil.  The metatable belongs to a class (lua/duplex/connection.lua); what
 * makes a userdata a connection is the mark at its start. */
#ifndef DX_LCONN_H
#define DX_LCONN_H

#include "../core/conn.h"
#include "compat.h"

enum { LCONN_REQUEST = 1, LCONN_DATA, LCONN_EXTRA, LCONN_VALUES = 3 };

#define LCONN_MARK 0x4475706c65780001u

/* Limits are shared by the connections of a server, and live as long as the
 * last of them. */
typedef struct lsettings {
  dx_limits limits;
  size_t users;
} lsettings;

/* What all connections of one Lua state share; it lives in the registry. */
typedef struct lshared {
  dx_spare spare;
  dx_random *random;
  lua_Integer last_id;
} lshared;

/* The type of a transport that is written in C, see csrc/lua/lsocket.c. */
typedef struct lconn_ops {
  void (*touched)(void *transport); /* there is something to send or to end */
  void (*dropped)(void *transport); /* the connection is being collected */
} lconn_ops;

typedef struct lconn {
  uint64_t mark;
  dx_conn conn;
  lsettings *settings;
  const lconn_ops *ops;
  void *transport; /* belongs to ops; NULL when there is none (any more) */
  struct lconn *next_ended; /* in a list of the native loop */
  lua_Integer id;
  int system_error; /* errno that goes with DX_ERR_LOST, or 0 */
  uint16_t port;    /* of the peer, on the network's side; see peer */
  uint8_t family;   /* AF_INET, AF_INET6, AF_UNIX, or 0: in memory */
  uint8_t peer[16]; /* the peer's IP address */
  uint8_t watched;  /* a function waits for its end */
} lconn;

/* The connection at 'index', or NULL. */
static inline lconn *lconn_test(lua_State *L, int index) {
  lconn *c = lua_touserdata(L, index);
  if (c == NULL || lua_type(L, index) != LUA_TUSERDATA ||
      lua_rawlen(L, index) != sizeof *c || c->mark != LCONN_MARK)
    return NULL;
  return c;
}

/* The connection at 'index'; raises if it is something else. */
static inline lconn *lconn_check(lua_State *L, int index) {
  lconn *c = lconn_test(L, index);
  if (c == NULL)
    luaL_typeerror(L, index, "connection");
  return c;
}

/* Tell the transport that output, an end or an appetite for input came up. */
static inline void lconn_touch(lconn *c) {
  if (c->transport)
    c->ops->touched(c->transport);
}

/* Push nil, message, id for an error of a call on 'c'. */
int lconn_failure(lua_State *L, const lconn *c, dx_error e);

/* "text" or "binary" at 'index' (nothing: text) as an opcode; raises. */
uint8_t lconn_kind(lua_State *L, int index);

/* The message at 'index', after checking that a text is UTF-8 (raises). */
const char *lconn_message(lua_State *L, int index, uint8_t opcode, size_t *n);

/* Put the message at 'index' as one frame, checked likewise. */
dx_error lconn_put(lua_State *L, lconn *c, int index, uint8_t opcode);

/* Functions of duplex.core, one list a file. */
extern const luaL_Reg lconn_functions[];
extern const luaL_Reg lhttp_functions[];
extern const luaL_Reg lbytes_functions[];

#endif

/* SPDX-License-Identifier: MIT
 * lconn.h - the Lua type "connection": a full userdata around dx_conn, shared
 * by all modules of this library.
 *
 * User values: 1 the head of the request, or a table of that and of what few
 * connections need (on_close, response, ...); 2 ws.data.  The metatable belongs
 * to a class (lua/duplex/connection.lua); what makes a userdata a connection is
 * the mark at its start. */
#ifndef DX_LCONN_H
#define DX_LCONN_H

#include "../core/conn.h"
#include "../net/secure.h"
#include "compat.h"

enum { LCONN_EXTRA = 1, LCONN_DATA, LCONN_VALUES = LCONN_DATA };

enum { LCONN_UNTOLD, LCONN_HTTP, LCONN_HTTPS }; /* lconn.scheme */

#define LCONN_MARK 0x44786331u

/* Limits are shared by the connections of a server, and live as long as the
 * last of them. */
typedef struct lsettings {
  dx_limits limits;              /* first: conn.limits points here */
  dx_deflate_params compression; /* what to offer or accept */
  dx_totals totals;              /* limits.totals points here, ... */
  struct lsettings *counter;     /* or to its totals; NULL, or used by this */
  size_t users;
} lsettings;

/* The type of a box of lsettings. */
#define LSETTINGS "duplex.settings"

/* What all connections of one Lua state share; it lives in the registry. */
typedef struct lshared {
  dx_shared core;
  dx_bytes *passing; /* the frame of what goes to many just now, or NULL */
  uint32_t last_id;
} lshared;

/* The type of a transport that is written in C, see llink.c. */
typedef struct lconn_ops {
  void (*touched)(void *transport); /* there is something to send or to end */
  void (*joined)(void *transport);  /* as one of many: after those not */
  void (*push)(void *transport);    /* send what can be sent, now */
  void (*dropped)(void *transport); /* the connection is being collected */
  dx_secure *(*secure)(void *transport); /* its TLS, or NULL */
} lconn_ops;

/* The type of TLS engines for Lua: a box of a dx_secure, see ltls.c. */
#define LTLS_ENGINE "duplex.tls.engine"

typedef struct lconn {
  uint32_t mark;
  uint16_t port;         /* of the peer */
  uint8_t family;        /* AF_INET, AF_INET6, AF_UNIX, or 0: in memory */
  uint8_t watched : 1;   /* a function waits for its end */
  uint8_t told : 1;      /* a call that waits has reported the end */
  uint8_t secure : 1;    /* it is, or was, spoken over TLS */
  uint8_t explained : 1; /* over, and 'why' tells what TLS broke of */
  uint8_t client : 2;    /* a proxy told who the client is: dx_proxy_family */
  uint8_t scheme : 2;    /* and what it speaks: LCONN_HTTP, ... */
  union {
    const lconn_ops *ops;
    char *why; /* instead of ops, once it is over: malloc'd */
  };
  void *transport; /* belongs to ops; NULL when there is none (any more) */
  dx_conn conn;
  uint32_t id;      /* counts connections of this Lua state */
  int system_error; /* errno that goes with DX_ERR_LOST, or 0 */
  uint8_t peer[16]; /* the peer's IP address */
  uint8_t client_address[16];
  uint16_t client_port; /* 0: not known */
} lconn;

static inline lconn *lconn_of(dx_conn *conn) {
  return (lconn *)((char *)conn - offsetof(lconn, conn));
}

/* What a connection would have of compression. */
static inline const dx_deflate_params *lconn_wish(const lconn *c) {
  return &((const lsettings *)(const void *)c->conn.limits)->compression;
}

/* The connection at 'index', or NULL. */
static inline lconn *lconn_test(lua_State *L, int index) {
  lconn *c = lua_touserdata(L, index);
  /* A light userdata has no length, so what is read below is ours to read. */
  if (c == NULL || lua_rawlen(L, index) != sizeof *c || c->mark != LCONN_MARK)
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

/* What all connections of this Lua state share. */
lshared *lconn_shared(lua_State *L);

/* Push nil, message, id for an error of a call on 'c'. */
int lconn_failure(lua_State *L, const lconn *c, dx_error e);

/* What is to be sent: the string at 'index', of the kind behind it, or the
 * prepared message there.  Raises for what is neither, and for a text that is
 * not UTF-8.  Good as long as 'index' keeps it. */
void lmessage_get(lua_State *L, int index, dx_message *m);

/* Options of send at 'index' (nothing, or a table), as dx_conn_put takes them;
 * raises. */
uint8_t lmessage_how(lua_State *L, int index);

/* Must a message of 'n' bytes be refused, as more than 'most' would be queued
 * with it?  One always fits into an empty outbox: a large message says nothing
 * about the peer.  And what was queued in this very turn does not either: the
 * kernel is offered it first. */
int lmessage_full(lconn *c, size_t n, size_t most);

/* A message that is prepared once and sent to many: a userdata with its string
 * as user value.  What makes one is the mark, as with connections. */
#define LPREPARED_MARK 0x44786d31u
#define LPREPARED "duplex.message"

typedef struct lprepared {
  uint32_t mark;
  dx_message message;
  dx_bytes *frame;   /* message.frame points here */
  dx_packed *packed; /* message.packed points here */
} lprepared;

/* A tap that shows what passes on stderr, if the environment asks for it
 * (DUPLEX_TRACE), else NULL; and what it knows of a connection goes. */
dx_tap *ltrace_new(void);
void ltrace_forget(dx_tap *tap, const lconn *c);
void ltrace_free(dx_tap *tap);

/* Functions of duplex.core, one list a file. */
extern const luaL_Reg ltotals_functions[];
extern const luaL_Reg lconn_functions[];
extern const luaL_Reg lmessage_functions[];
extern const luaL_Reg lprepared_functions[];
extern const luaL_Reg lhttp_functions[];
extern const luaL_Reg lbytes_functions[];

#endif

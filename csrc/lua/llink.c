/* SPDX-License-Identifier: MIT
 * llink.c - connections on the native loop: what every message passes through,
 * and all else that waits for a connection. */
#include "llink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* What a task on link->waiters waits for; input has a place of its own. */
enum { WAIT_DRAIN = 1, WAIT_CHANGE = 2, WAIT_END = 4, WAIT_ROOM = 8 };

/* Upvalues of the methods below, behind the loop. */
enum { UP_TEXT = 2, UP_BINARY, UP_SEND_SOURCE, UP_NEXT = 4 };

static lloop *loop_of(const dx_link *l) { return (lloop *)dx_link_loop(l); }

/* ---- hooks ---- */

/* Whoever waits for a message is resumed straight from the event; when nobody
 * does, pings are answered and messages queued. */
void llink_input(dx_link *l) {
  lloop *loop = loop_of(l);
  ltask *reader = l->reader;
  loop->taken = 0;
  if (reader) {
    ltask_stop_waiting(loop, reader, LWOKEN);
    if (reader->co) /* the main thread goes on by itself */
      ltask_run(loop, reader);
  }
  /* The connection may have gone meanwhile, and the link with it.  A reader
   * that let others go first is not to be overtaken. */
  if (l->conn && l->conn->state != DX_HANDSHAKE && l->reader == NULL &&
      (loop->paused || dx_conn_pump_turn(l->conn, loop->net.now)))
    dx_link_later(l);
  if (l->conn && l->waiters)
    ltask_wake_all(loop, (ltask **)&l->waiters, WAIT_CHANGE, LWOKEN);
}

void llink_drained(dx_link *l) {
  uint8_t who = WAIT_ROOM;
  if (dx_conn_outbox(l->conn) <= l->conn->limits->high_mark / 4) {
    l->wants_drain = 0;
    who |= WAIT_DRAIN;
  }
  ltask_wake_all(loop_of(l), (ltask **)&l->waiters, who, LWOKEN);
}

void llink_ended(dx_link *l) {
  lloop *loop = loop_of(l);
  lconn *c = lconn_of(l->conn);
  if (c->watched)
    loop->ended_conns[loop->ended_count++] = c;
  c->system_error = l->error;
  c->transport = NULL;
  const char *why = l->secure ? l->secure->ops->problem(l->secure) : NULL;
  c->why = why ? strdup(why) : NULL;
  c->explained = c->why != NULL;
  if (l->reader)
    ltask_wake(loop, l->reader, LWOKEN);
  ltask_wake_all(loop, (ltask **)&l->waiters, 0xff, LWOKEN);
}

static void touched(void *link) { dx_link_touch(link); }
static void joined(void *link) { dx_link_touch_crowd(link); }
static void dropped(void *link) { dx_link_drop(link); }

static void push(void *link) { dx_link_send(link); }

static dx_secure *secure_of(void *link) { return ((dx_link *)link)->secure; }

static const lconn_ops ops = {touched, joined, push, dropped, secure_of};

/* ---- messages in ---- */

/* Wait for input as the one reader of a link. */
static int wait_input(lua_State *L, lloop *loop, ltask *t, dx_link *l,
                      double deadline, lconn *c, lua_KFunction k) {
  if (l->reader)
    return luaL_error(L, "another task is receiving from this connection");
  /* A list of one, so that whatever wakes the task takes it out of the link. */
  return ltask_wait(L, loop, t, (ltask **)&l->reader, deadline, (lua_KContext)c,
                    k);
}

/* After a wait that began in this call: who are we? */
static ltask *resumed(lloop *loop) {
  return loop->current ? loop->current : &loop->top;
}

static int ended_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lconn *c = (lconn *)ctx;
  return lconn_failure(L, c, dx_conn_end(&c->conn));
}

/* The end is reported at once; but whoever asks again and again, in a loop that
 * does not look at the results, must let the others run. */
#define TOLD_BEFORE 0.001 /* seconds */

static int report_end(lua_State *L, lloop *loop, lconn *c) {
  ltask *t = loop->current;
  if (!c->told || t == NULL || t->co != L || !lua_isyieldable(L)) {
    c->told = 1;
    return lconn_failure(L, c, dx_conn_end(&c->conn));
  }
  return ltask_wait(L, loop, t, NULL, dx_loop_clock() + TOLD_BEFORE,
                    (lua_KContext)c, ended_k);
}

static int receive_k(lua_State *L, int status, lua_KContext ctx);

/* However many messages came at once, others have their turn after so long. */
#define TURN_AT_MOST 0.004 /* seconds */

/* To look at the clock costs something too: it is done after so many bytes, of
 * which each message counts some more. */
#define LOOK_AFTER ((size_t)32 * 1024)
#define A_MESSAGE ((size_t)4 * 1024)

static int is_over_time(lua_State *L, lloop *loop, double deadline) {
  if (loop->taken < LOOK_AFTER)
    return 0;
  loop->taken = 0;
  const ltask *t = loop->current;
  double now = dx_loop_clock();
  return now - loop->net.now > TURN_AT_MOST && deadline > now && t &&
         t->co == L && lua_isyieldable(L);
}

/* The main thread goes on where it waited, rather than one call deeper with
 * each wake-up: a peer decides how many of these there are. */
static int go_on(lua_State *L, int status, lua_KContext ctx) {
  (void)L;
  (void)status;
  (void)ctx;
  return 0;
}

static int receive(lua_State *L, lloop *loop, lconn *c, ltask *t,
                   double deadline) {
  dx_event ev;
  dx_link *l;
again:
  if (is_over_time(L, loop, deadline))
    return ltask_pause(L, loop, loop->current, deadline, (lua_KContext)c,
                       receive_k);
  l = c->transport;
  dx_kind kind = dx_conn_next_turn(&c->conn, &ev, loop->net.now);
  if (l)
    dx_link_touch(l);
  if (kind == DX_MESSAGE) {
    loop->taken += ev.n + A_MESSAGE;
    lua_pushlstring(L, (const char *)ev.data, ev.n);
    lua_pushvalue(L,
                  lua_upvalueindex(ev.opcode == DX_TEXT ? UP_TEXT : UP_BINARY));
    return 2;
  }
  if (kind != DX_WANT) {
    if (kind == DX_PIECE)
      return luaL_error(L, "this message was begun with receive_to, which has "
                           "to finish it");
    if (kind == DX_FAILED)
      return report_end(L, loop, c);
    loop->taken = LOOK_AFTER; /* DX_LATER */
    goto again;
  }
  if (l == NULL)
    return lconn_failure(L, c, DX_ERR_LOST);
  if (t == NULL)
    t = ltask_self(L, loop);
  if (t->co)
    return wait_input(L, loop, t, l, deadline, c, receive_k);
  wait_input(L, loop, t, l, deadline, c, go_on);
  if (t->why == LTIMEOUT)
    return lloop_push_timeout(L);
  goto again;
}

static int receive_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lconn *c = (lconn *)ctx;
  const dx_link *l = c->transport;
  lloop *loop = l ? loop_of(l) : lloop_get(L);
  ltask *t = resumed(loop);
  if (t->why == LTIMEOUT)
    return lloop_push_timeout(L);
  return receive(L, loop, c, t, t->deadline);
}

static int begin_receive(lua_State *L, double deadline) {
  lconn *c = lconn_check(L, 1);
  const dx_link *l = c->transport;
  if (l && l->reader)
    return luaL_error(L, "another task is receiving from this connection");
  lloop *loop = l ? loop_of(l) : lloop_get(L);
  return receive(L, loop, c, NULL, deadline);
}

/* ws:receive([timeout]) -> data, kind | nil, message, id */
static int method_receive(lua_State *L) {
  return begin_receive(L, ltask_deadline(L, 2));
}

/* The iterator of ws:messages(): its second argument is the last message. */
static int method_next_message(lua_State *L) {
  return begin_receive(L, INFINITY);
}

/* for data, kind in ws:messages() */
static int method_messages(lua_State *L) {
  lconn_check(L, 1);
  lua_pushvalue(L, lua_upvalueindex(UP_NEXT));
  lua_pushvalue(L, 1);
  return 2;
}

/* ---- messages out ---- */

/* It takes time, too: to compress it, above all. */
static dx_error put_large(dx_link *l, dx_conn *c, const dx_message *m) {
  loop_of(l)->taken += m->n;
  if (c->server && !m->frame && !dx_conn_deflates(c, m->n, m->how))
    return dx_link_put_large(l, m);
  return dx_conn_put_message(c, m);
}

static inline __attribute__((always_inline)) int put(lua_State *L, lconn *c,
                                                     int waited) {
  dx_link *l = c->transport;
  dx_error e;
  dx_message m;
  lmessage_get(L, 2, &m);
  m.how = c->conn.reader.deflate ? lmessage_how(L, 4) : 0;
  if (l && m.n >= DX_LARGE)
    e = put_large(l, &c->conn, &m);
  else
    e = dx_conn_put_message(&c->conn, &m);
  if (waited)
    dx_conn_hold(&c->conn, 0);
  if (e)
    return dx_conn_end(&c->conn) ? report_end(L, lloop_get(L), c)
                                 : lconn_failure(L, c, e);
  if (l)
    dx_link_touch(l);
  lua_pushboolean(L, 1);
  return 1;
}

/* Does the outbox take no more, whatever can be sent now? */
DX_APART static int stays_high(lconn *c) {
  dx_link *l = c->transport;
  dx_link_send(l);
  dx_link_touch(l);
  return dx_conn_outbox(&c->conn) > c->conn.limits->high_mark &&
         c->conn.state == DX_OPEN;
}

static inline int is_high(lconn *c) {
  return c->transport && dx_conn_outbox(&c->conn) > c->conn.limits->high_mark &&
         stays_high(c);
}

static int drained_k(lua_State *L, int status, lua_KContext ctx);

static int wait_drained(lua_State *L, lconn *c) {
  lloop *loop = lloop_get(L);
  ltask *t = ltask_self(L, loop);
  dx_link *l = c->transport;
  t->what = WAIT_DRAIN;
  l->wants_drain = 1;
  dx_conn_hold(&c->conn, 1);
  return ltask_wait(L, loop, t, (ltask **)&l->waiters, INFINITY,
                    (lua_KContext)c, drained_k);
}

static int drained_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lconn *c = (lconn *)ctx;
  return is_high(c) ? wait_drained(L, c) : put(L, c, 1);
}

/* ws:send(data, message or source [, kind [, options]]) -> true | nil, message,
 * id */
static int method_send(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  if (lua_type(L, 2) == LUA_TFUNCTION) {
    lua_pushvalue(L, lua_upvalueindex(UP_SEND_SOURCE));
    lua_insert(L, 1);
    return ltask_call(L);
  }
  if (lua_gettop(L) > 3) {
    lmessage_how(L, 4); /* bad ones are refused at once, and in any case */
    lua_settop(L, 4);
  }
  if (!is_high(c))
    return put(L, c, 0);
  dx_message m;
  lmessage_get(L, 2, &m); /* or what waits is refused behind the wait */
  return wait_drained(L, c);
}

/* ---- other waits ---- */

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lloop *loop = lloop_get(L);
  ltask *t = resumed(loop);
  if (t->why == LTIMEOUT)
    return lloop_push_timeout(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* wait(ws, what [, timeout [, pieces]]) -> true | nil, message, "TIMEOUT".
 * True says to look again: "input" came, the outbox may take more ("drain"),
 * something may have "change"d, the "end" came, or there is "room" for the next
 * fragment.  After the end it is true at once.  With 'pieces' messages are
 * taken in pieces meanwhile. */
static int link_wait(lua_State *L) {
  static const char *const names[] = {"input", "drain", "change",
                                      "end",   "room",  NULL};
  lloop *loop = lloop_get(L);
  lconn *c = lconn_check(L, 1);
  int what = luaL_checkoption(L, 2, NULL, names);
  double deadline = ltask_deadline(L, 3);
  dx_link *l = c->transport;
  if (l == NULL) {
    lua_pushboolean(L, 1);
    return 1;
  }
  ltask *t = ltask_self(L, loop);
  dx_link_touch(l);
  if (what == 0) {
    if (l->reader == NULL && lua_toboolean(L, 4))
      dx_conn_pieces(&c->conn, 1);
    return wait_input(L, loop, t, l, deadline, c, wait_k);
  }
  t->what = (uint8_t)(1 << (what - 1));
  if (t->what & (WAIT_DRAIN | WAIT_ROOM))
    l->wants_drain = 1;
  return ltask_wait(L, loop, t, (ltask **)&l->waiters, deadline,
                    (lua_KContext)c, wait_k);
}

/* Push what all methods have as upvalues: the loop and the two kinds. */
static void push_upvalues(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushliteral(L, "text");
  lua_pushliteral(L, "binary");
}

/* on_end(ws, fn): fn() is called, in a task, when ws is over */
static int link_on_end(lua_State *L) {
  lloop *loop = lloop_get(L);
  lconn *c = lconn_check(L, 1);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  if (c->transport == NULL || c->watched) {
    if (c->transport == NULL)
      ltask_spawn(L, loop, 0, 0, 1);
    return 0;
  }
  if (loop->watched == loop->ended_room) {
    /* Room for all that are watched, so that an end needs no memory. */
    int room = loop->ended_room ? loop->ended_room * 2 : 16;
    lconn **list = realloc(loop->ended_conns, (size_t)room * sizeof *list);
    if (list == NULL)
      return luaL_error(L, "out of memory");
    loop->ended_conns = list;
    loop->ended_room = room;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
  lua_getiuservalue(L, -1, LLOOP_ENDS);
  lua_pushvalue(L, 2);
  lua_rawsetp(L, -2, c);
  c->watched = 1;
  loop->watched++;
  return 0;
}

/* methods(send_source) -> { receive =, messages =, send = } in C: what every
 * message passes through */
static int link_methods(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_newtable(L);
  push_upvalues(L);
  ltask_pushwaiter(L, method_receive, 3);
  lua_setfield(L, -2, "receive");
  push_upvalues(L);
  push_upvalues(L);
  ltask_pushwaiter(L, method_next_message, 3);
  lua_pushcclosure(L, method_messages, UP_NEXT);
  lua_setfield(L, -2, "messages");
  push_upvalues(L);
  lua_pushvalue(L, 1);
  ltask_pushwaiter(L, method_send, UP_SEND_SOURCE);
  lua_setfield(L, -2, "send");
  return 1;
}

/* ---- descriptors ---- */

/* The connection gets its descriptor; 0 or a negated errno. */
int llink_attach(lloop *loop, lconn *c, int fd, const dx_address *peer) {
  const struct sockaddr *s = (const struct sockaddr *)&peer->storage;
  const struct sockaddr_in *in = (const void *)s;
  const struct sockaddr_in6 *in6 = (const void *)s;
  c->family = (uint8_t)(peer->length ? s->sa_family : AF_UNIX);
  if (c->family == AF_INET) {
    memcpy(c->peer, &in->sin_addr, 4);
    c->port = ntohs(in->sin_port);
  } else if (c->family == AF_INET6) {
    memcpy(c->peer, &in6->sin6_addr, 16);
    c->port = ntohs(in6->sin6_port);
  }
  loop->net.now = dx_loop_clock();
  dx_link *l = dx_link_open(&loop->net, fd, &c->conn);
  if (l == NULL)
    return -errno;
  c->ops = &ops;
  c->transport = l;
  c->conn.beat.since = c->conn.beat.last_in = loop->net.now;
  return 0;
}

/* secure(ws, engine [, begun]) -> true | nil, message, "TLS": from now on all
 * bytes pass through a TLS engine; through two, if one is there already (that
 * of a proxy).  The handshake goes on by itself: wait for "input" and look at
 * the engine.  Bytes that came before are refused, or if 'begun' are the first
 * of the handshake. */
static int link_secure(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  dx_secure **box = luaL_checkudata(L, 2, LTLS_ENGINE);
  luaL_argcheck(L, *box != NULL, 2, "the engine is closed");
  dx_link *l = c->transport;
  if (l == NULL)
    return lconn_failure(L, c, DX_ERR_LOST);
  int begun = lua_toboolean(L, 3);
  if (dx_conn_unread(&c->conn) && !begun)
    return dx_push_failure(L, "TLS", "bytes came before the handshake");
  if (dx_link_secure(l, *box, begun))
    return dx_push_failure(L, "TLS", "cannot begin a handshake");
  lua_pushboolean(L, 1);
  return 1;
}

/* peer(ws) -> address, port | nil for a connection in memory */
static int link_peer(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  char text[INET6_ADDRSTRLEN];
  if (c->family == 0)
    return 0;
  if (c->family == AF_UNIX) {
    lua_pushliteral(L, "unix");
    return 1;
  }
  lua_pushstring(L, inet_ntop(c->family, c->peer, text, sizeof text));
  lua_pushinteger(L, c->port);
  return 2;
}

const luaL_Reg llink_waiters[] = {{"wait", link_wait}, {NULL, NULL}};

const luaL_Reg llink_functions[] = {{"methods", link_methods},
                                    {"on_end", link_on_end},
                                    {"peer", link_peer},
                                    {"secure", link_secure},
                                    {NULL, NULL}};

/* SPDX-License-Identifier: MIT */
#include "lsocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* What a task on link->waiters waits for; input has a place of its own. */
enum { WAIT_DRAIN = 1, WAIT_CHANGE = 2, WAIT_END = 4, WAIT_ALL = 7 };

/* Upvalues of the methods below, behind the loop. */
enum { UP_TEXT = 2, UP_BINARY, UP_SEND_SOURCE, UP_NEXT = 4 };

static lloop *loop_of(const dx_link *l) { return (lloop *)dx_link_loop(l); }

/* ---- hooks ---- */

/* Whoever waits for a message is resumed straight from the event; when nobody
 * does, pings are answered and messages queued. */
void lsocket_input(dx_link *l) {
  lloop *loop = loop_of(l);
  ltask *reader = l->reader;
  if (reader && reader->waiting) {
    if (reader->co) {
      dx_timers_set(&loop->net.timers, &reader->timer, INFINITY);
      reader->waiting = 0;
      reader->why = LWOKEN;
      l->reader = NULL;
      ltask_run(loop, reader);
    } else {
      l->reader = NULL;
      ltask_wake(loop, reader, LWOKEN);
    }
  }
  /* The connection may have gone meanwhile, and the link with it. */
  reader = l->reader;
  if (l->conn && l->conn->state != DX_HANDSHAKE &&
      (reader == NULL || !reader->waiting))
    dx_conn_pump(l->conn, loop->net.now);
  if (l->waiters)
    ltask_wake_all(loop, (ltask **)&l->waiters, WAIT_CHANGE, LWOKEN);
}

void lsocket_drained(dx_link *l) {
  l->wants_drain = 0;
  ltask_wake_all(loop_of(l), (ltask **)&l->waiters, WAIT_DRAIN, LWOKEN);
}

void lsocket_ended(dx_link *l) {
  lloop *loop = loop_of(l);
  lconn *c = lconn_of(l->conn);
  if (c->watched)
    loop->ended_conns[loop->ended_count++] = c;
  c->system_error = l->error;
  c->transport = NULL;
  if (l->reader)
    ltask_wake(loop, l->reader, LWOKEN);
  l->reader = NULL;
  ltask_wake_all(loop, (ltask **)&l->waiters, 0xff, LWOKEN);
}

static void touched(void *link) { dx_link_touch(link); }
static void dropped(void *link) { dx_link_drop(link); }

static const lconn_ops ops = {touched, dropped};

/* ---- messages in ---- */

/* Wait for input as the one reader of a link. */
static int wait_input(lua_State *L, lloop *loop, ltask *t, dx_link *l,
                      double deadline, lconn *c, lua_KFunction k) {
  if (l->reader)
    return luaL_error(L, "another task is receiving from this connection");
  l->reader = t;
  return ltask_wait(L, loop, t, NULL, deadline, (lua_KContext)c, k);
}

/* After a wait that began in this call: who are we, and why do we go on?  A
 * reader that was woken by its deadline still stands in the link. */
static ltask *resumed(lloop *loop, const lconn *c) {
  ltask *t = loop->current ? loop->current : &loop->top;
  dx_link *l = c->transport;
  if (l && l->reader == t)
    l->reader = NULL;
  return t;
}

static int receive_k(lua_State *L, int status, lua_KContext ctx);

static int receive(lua_State *L, lloop *loop, lconn *c, ltask *t,
                   double deadline) {
  dx_event ev;
  dx_link *l = c->transport;
  dx_kind kind = dx_conn_next(&c->conn, &ev, loop->net.now);
  if (l)
    dx_link_touch(l);
  if (kind == DX_MESSAGE) {
    lua_pushlstring(L, (const char *)ev.data, ev.n);
    lua_pushvalue(L, lua_upvalueindex(ev.opcode == DX_TEXT ? UP_TEXT
                                                           : UP_BINARY));
    return 2;
  }
  if (kind == DX_PIECE)
    return luaL_error(L, "this message was begun with receive_to, which has to "
                         "finish it");
  if (kind == DX_FAILED || l == NULL)
    return lconn_failure(L, c, kind == DX_FAILED ? dx_conn_end(&c->conn)
                                                 : DX_ERR_LOST);
  if (t == NULL)
    t = ltask_self(L, loop);
  return wait_input(L, loop, t, l, deadline, c, receive_k);
}

static int receive_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lconn *c = (lconn *)ctx;
  const dx_link *l = c->transport;
  lloop *loop = l ? loop_of(l) : lloop_get(L);
  ltask *t = resumed(loop, c);
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

static int send_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lconn *c = (lconn *)ctx;
  dx_link *l = c->transport;
  size_t high = c->conn.limits->high_mark;
  if (l && dx_conn_outbox(&c->conn) > high) {
    dx_link_send(l);
    dx_link_touch(l);
    if (dx_conn_outbox(&c->conn) > high && c->conn.state == DX_OPEN) {
      lloop *loop = lloop_get(L);
      ltask *t = ltask_self(L, loop);
      t->what = WAIT_DRAIN;
      l->wants_drain = 1;
      return ltask_wait(L, loop, t, (ltask **)&l->waiters, INFINITY, ctx,
                        send_k);
    }
  }
  dx_error e;
  uint8_t opcode = lconn_kind(L, 3);
  size_t n;
  const char *data = lconn_message(L, 2, opcode, &n);
  if (l && n >= DX_LARGE && c->conn.server)
    e = dx_link_put_large(l, opcode, data, n);
  else
    e = dx_conn_put(&c->conn, DX_FIN | opcode, data, n, 0);
  if (e)
    return lconn_failure(L, c, e);
  if (l)
    dx_link_touch(l);
  lua_pushboolean(L, 1);
  return 1;
}

static int return_all(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L);
}

/* ws:send(data or source [, kind [, options]]) -> true | nil, message, id */
static int method_send(lua_State *L) {
  lconn *c = lconn_check(L, 1);
  int type = lua_type(L, 2);
  if (type == LUA_TFUNCTION) {
    lua_pushvalue(L, lua_upvalueindex(UP_SEND_SOURCE));
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, return_all);
    return lua_gettop(L);
  }
  if (type != LUA_TSTRING)
    luaL_typeerror(L, 2, "string");
  if (lua_gettop(L) > 3) {
    if (!lua_isnil(L, 4))
      luaL_checktype(L, 4, LUA_TTABLE);
    lua_settop(L, 3);
  }
  return send_k(L, LUA_OK, (lua_KContext)c);
}

/* ---- other waits ---- */

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lloop *loop = lloop_get(L);
  ltask *t = resumed(loop, (lconn *)ctx);
  if (t->why == LTIMEOUT)
    return lloop_push_timeout(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* wait(ws, what [, timeout]) -> true | nil, message, "TIMEOUT".  True says to
 * look again: "input" came, the outbox may take more ("drain"), something may
 * have "change"d, or the "end" came.  After the end it is true at once. */
static int socket_wait(lua_State *L) {
  static const char *const names[] = {"input", "drain", "change", "end", NULL};
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
  if (what == 0)
    return wait_input(L, loop, t, l, deadline, c, wait_k);
  t->what = (uint8_t)(1 << (what - 1));
  if (t->what == WAIT_DRAIN)
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
static int socket_on_end(lua_State *L) {
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
static int socket_methods(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_newtable(L);
  push_upvalues(L);
  lua_pushcclosure(L, method_receive, 3);
  lua_setfield(L, -2, "receive");
  push_upvalues(L);
  push_upvalues(L);
  lua_pushcclosure(L, method_next_message, 3);
  lua_pushcclosure(L, method_messages, UP_NEXT);
  lua_setfield(L, -2, "messages");
  push_upvalues(L);
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, method_send, UP_SEND_SOURCE);
  lua_setfield(L, -2, "send");
  return 1;
}

/* ---- descriptors ---- */

/* A descriptor that is watched for one thing at a time. */
typedef struct lwatch {
  uv_poll_t poll;
  lloop *loop;
  ltask *waiters;
} lwatch;

static void watch_closed(uv_handle_t *handle) { free(handle); }

static void watch_ready(uv_poll_t *handle, int status, int events) {
  lwatch *w = (lwatch *)handle;
  (void)status;
  (void)events;
  uv_poll_stop(handle);
  ltask_wake_all(w->loop, &w->waiters, 0xff, LWOKEN);
}

static lwatch *watch_new(lloop *loop, int fd) {
  lwatch *w = calloc(1, sizeof *w);
  if (w && uv_poll_init(&loop->net.uv, &w->poll, fd) == 0) {
    w->loop = loop;
    return w;
  }
  free(w);
  return NULL;
}

static void watch_free(lwatch *w) {
  ltask_wake_all(w->loop, &w->waiters, 0xff, LWOKEN);
  uv_poll_stop(&w->poll);
  uv_close((uv_handle_t *)&w->poll, watch_closed);
}

/* The connection gets its descriptor; 0 or a negated errno. */
static int attach(lloop *loop, lconn *c, int fd, const dx_address *peer) {
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

/* peer(ws) -> address, port | nil for a connection in memory */
static int socket_peer(lua_State *L) {
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

static lconn *check_unattached(lua_State *L, int index) {
  lconn *c = lconn_check(L, index);
  luaL_argcheck(L, c->transport == NULL && c->conn.state == DX_HANDSHAKE,
                index, "connection is in use");
  return c;
}

/* ---- connecting ---- */

typedef struct lconnect {
  lwatch *watch;
  dx_address address;
  int fd;
} lconnect;

static int connect_gc(lua_State *L) {
  lconnect *x = lua_touserdata(L, 1);
  if (x->watch)
    watch_free(x->watch);
  if (x->fd >= 0)
    close(x->fd);
  x->watch = NULL;
  x->fd = -1;
  return 0;
}

static int connect_failure(lua_State *L, int error) {
  return dx_push_failure(L, "CONNECT", strerror(error));
}

static int connected(lua_State *L, lloop *loop, lconnect *x) {
  int fd = x->fd;
  x->fd = -1;
  int e = attach(loop, lconn_check(L, 1), fd, &x->address);
  if (e)
    return connect_failure(L, -e);
  lua_pushboolean(L, 1);
  return 1;
}

static int connect_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  ltask *t = (ltask *)ctx;
  lconnect *x = luaL_checkudata(L, 4, "duplex.connecting");
  if (x->watch)
    watch_free(x->watch);
  x->watch = NULL;
  int e = t->why == LTIMEOUT ? -ETIMEDOUT : dx_socket_connected(x->fd);
  if (e == 0)
    return connected(L, lloop_get(L), x);
  close(x->fd);
  x->fd = -1;
  return t->why == LTIMEOUT ? lloop_push_timeout(L) : connect_failure(L, -e);
}

/* connect(ws, address, port or nil [, timeout]) -> true | nil, message,
 * "CONNECT" or "TIMEOUT": a numeric address, or the path of a Unix socket */
static int socket_connect(lua_State *L) {
  lloop *loop = lloop_get(L);
  check_unattached(L, 1);
  const char *host = luaL_checkstring(L, 2);
  lua_Integer port = luaL_optinteger(L, 3, 0);
  double deadline = ltask_deadline(L, 4);
  ltask *t = ltask_self(L, loop);
  lua_settop(L, 3);
  lconnect *x = lua_newuserdatauv(L, sizeof *x, 0);
  *x = (lconnect){.fd = -1};
  luaL_setmetatable(L, "duplex.connecting");
  int e = lua_isnil(L, 3)
              ? dx_address_unix(&x->address, host)
              : dx_address_numeric(&x->address, host, (int)port);
  int pending = 0;
  if (e == 0)
    e = x->fd = dx_socket_connect(&x->address, &pending);
  if (e < 0)
    return connect_failure(L, -e);
  if (!pending)
    return connected(L, loop, x);
  x->watch = watch_new(loop, x->fd);
  if (x->watch == NULL)
    return connect_failure(L, ENOMEM);
  uv_poll_start(&x->watch->poll, UV_WRITABLE, watch_ready);
  t->what = 0xff;
  return ltask_wait(L, loop, t, &x->watch->waiters, deadline, (lua_KContext)t,
                    connect_k);
}

/* ---- listening ---- */

/* Connections accepted in a row before others get their turn. */
#define ACCEPT_AT_MOST 32

typedef struct llistener {
  lwatch *watch;
  int fd;
  int burst; /* accepted since it last waited */
  dx_address address; /* whose Unix path goes when it is closed */
} llistener;

static llistener *check_listener(lua_State *L) {
  return luaL_checkudata(L, 1, "duplex.listener");
}

/* l:close(): those who wait in accept get CLOSED */
static int listener_close(lua_State *L) {
  llistener *x = check_listener(L);
  if (x->watch)
    watch_free(x->watch);
  x->watch = NULL;
  if (x->fd < 0)
    return 0;
  close(x->fd);
  x->fd = -1;
  char path[128];
  int port;
  if (x->address.storage.ss_family == AF_UNIX &&
      dx_address_text(&x->address, path, sizeof path, &port) == 0)
    unlink(path);
  return 0;
}

/* l:address() -> host, port | path of a Unix socket, nil */
static int listener_address(lua_State *L) {
  const llistener *x = check_listener(L);
  dx_address a;
  char text[128];
  int port;
  if (x->fd < 0 || dx_socket_name(x->fd, &a) ||
      dx_address_text(&a, text, sizeof text, &port))
    return 0;
  lua_pushstring(L, text);
  if (a.storage.ss_family == AF_UNIX)
    return 1;
  lua_pushinteger(L, port);
  return 2;
}

static int accept_k(lua_State *L, int status, lua_KContext ctx);

/* l:accept(ws) -> true | nil, message, id: the next connection becomes that
 * of 'ws'.  CLOSED: the listener was closed; LIMIT: descriptors or memory are
 * short, try again later. */
static int listener_accept(lua_State *L) {
  llistener *x = check_listener(L);
  lconn *c = check_unattached(L, 2);
  lloop *loop = lloop_get(L);
  if (x->fd < 0)
    return dx_push_failure(L, "CLOSED", "the listener is closed");
  dx_address peer;
  int fd = x->burst < ACCEPT_AT_MOST ? dx_socket_accept(x->fd, &peer) : -EAGAIN;
  if (fd >= 0) {
    x->burst++;
    int e = attach(loop, c, fd, &peer);
    if (e)
      return dx_push_failure(L, "LIMIT", strerror(-e));
    lua_pushboolean(L, 1);
    return 1;
  }
  if (fd != -EAGAIN)
    return dx_push_failure(L, "LIMIT", strerror(-fd));
  ltask *t = ltask_self(L, loop);
  x->burst = 0;
  uv_poll_start(&x->watch->poll, UV_READABLE, watch_ready);
  t->what = 0xff;
  return ltask_wait(L, loop, t, &x->watch->waiters, INFINITY, 0, accept_k);
}

static int accept_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return listener_accept(L);
}

static int address_failure(lua_State *L, int error) {
  return dx_push_failure(L, "ADDRESS", strerror(error));
}

/* listen(host, port, backlog, reuseport) | listen(path, nil, backlog) |
 * listen(fd) -> listener | nil, message, "ADDRESS".  'host' is numeric. */
static int socket_listen(lua_State *L) {
  lloop *loop = lloop_get(L);
  llistener *x = lua_newuserdatauv(L, sizeof *x, 0);
  *x = (llistener){.fd = -1};
  luaL_setmetatable(L, "duplex.listener");
  int e;
  if (lua_type(L, 1) == LUA_TNUMBER) {
    int fd = (int)luaL_checkinteger(L, 1), listens = 0;
    socklen_t n = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0)
      return address_failure(L, errno);
    if (!listens)
      return dx_push_failure(L, "ADDRESS",
                             "the descriptor is not a listening socket");
    e = dx_socket_adopt(fd);
    if (e == 0)
      x->fd = fd;
  } else {
    const char *host = luaL_checkstring(L, 1);
    dx_address a;
    e = lua_isnil(L, 2)
            ? dx_address_unix(&a, host)
            : dx_address_numeric(&a, host, (int)luaL_checkinteger(L, 2));
    if (e == 0)
      e = x->fd = dx_socket_listen(&a, (int)luaL_optinteger(L, 3, 511),
                                   lua_toboolean(L, 4) ? DX_REUSEPORT : 0);
    if (e >= 0)
      x->address = a;
  }
  if (e < 0)
    return address_failure(L, -e);
  x->watch = watch_new(loop, x->fd);
  return x->watch ? 1 : address_failure(L, ENOMEM);
}

/* ---- reading from others' descriptors ---- */

typedef struct linput {
  lwatch *watch; /* NULL: a file, which is always ready */
  int fd;
} linput;

static int input_gc(lua_State *L) {
  linput *x = lua_touserdata(L, 1);
  if (x->watch)
    watch_free(x->watch);
  x->watch = NULL;
  return 0;
}

/* input(fd) -> what x:read() reads from: a terminal, a pipe or a file */
static int socket_input(lua_State *L) {
  int fd = (int)luaL_checkinteger(L, 1);
  linput *x = lua_newuserdatauv(L, sizeof *x, 0);
  *x = (linput){.fd = fd};
  luaL_setmetatable(L, "duplex.input");
  int flags = fcntl(fd, F_GETFL);
  x->watch = watch_new(lloop_get(L), fd);
  /* libuv makes it non-blocking; on a terminal, standard output would be so
   * too.  Reading only what poll announced does not block anyway. */
  if (x->watch && flags >= 0)
    fcntl(fd, F_SETFL, flags);
  return 1;
}

static int input_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  linput *x = (linput *)ctx;
  char bytes[4096];
  ssize_t n;
  do
    n = read(x->fd, bytes, sizeof bytes);
  while (n < 0 && errno == EINTR);
  if (n <= 0)
    return 0;
  lua_pushlstring(L, bytes, (size_t)n);
  return 1;
}

/* x:read() -> some bytes | nil at the end */
static int input_read(lua_State *L) {
  lloop *loop = lloop_get(L);
  linput *x = luaL_checkudata(L, 1, "duplex.input");
  ltask *t = ltask_self(L, loop);
  if (x->watch == NULL)
    return input_k(L, LUA_OK, (lua_KContext)x);
  uv_poll_start(&x->watch->poll, UV_READABLE, watch_ready);
  t->what = 0xff;
  return ltask_wait(L, loop, t, &x->watch->waiters, INFINITY, (lua_KContext)x,
                    input_k);
}

/* descriptors(raise) -> how many descriptors this process may have, after
 * raising the soft limit to the hard one if 'raise' */
static int socket_descriptors(lua_State *L) {
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r) < 0)
    return 0;
  if (lua_toboolean(L, 1) && r.rlim_cur < r.rlim_max) {
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) < 0)
      getrlimit(RLIMIT_NOFILE, &r);
  }
  lua_pushnumber(L, r.rlim_cur == RLIM_INFINITY ? HUGE_VAL
                                                : (lua_Number)r.rlim_cur);
  return 1;
}

const luaL_Reg lsocket_functions[] = {
    {"methods", socket_methods}, {"wait", socket_wait},
    {"on_end", socket_on_end},
    {"peer", socket_peer},       {"connect", socket_connect},
    {"listen", socket_listen},   {"descriptors", socket_descriptors},
    {"input", socket_input},
    {NULL, NULL}};

void lsocket_types(lua_State *L, int loop) {
  static const luaL_Reg listener[] = {{"accept", listener_accept},
                                      {"address", listener_address},
                                      {"close", listener_close},
                                      {NULL, NULL}};
  luaL_newmetatable(L, "duplex.connecting");
  lua_pushcfunction(L, connect_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newmetatable(L, "duplex.input");
  lua_pushcfunction(L, input_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  lua_pushvalue(L, loop);
  lua_pushcclosure(L, input_read, 1);
  lua_setfield(L, -2, "read");
  lua_setfield(L, -2, "__index");
  luaL_newmetatable(L, "duplex.listener");
  lua_pushcfunction(L, listener_close);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  lua_pushvalue(L, loop);
  luaL_setfuncs(L, listener, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 3);
}

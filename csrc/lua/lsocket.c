/* SPDX-License-Identifier: MIT
 * lsocket.c - descriptors for Lua: listening, accepting, connecting, reading
 * from a terminal or a pipe. */
#include "llink.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

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

static lconn *check_unattached(lua_State *L, int index) {
  lconn *c = lconn_check(L, index);
  luaL_argcheck(L, c->transport == NULL && c->conn.state == DX_HANDSHAKE, index,
                "connection is in use");
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
  int e = llink_attach(loop, lconn_check(L, 1), fd, &x->address);
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
  int e = lua_isnil(L, 3) ? dx_address_unix(&x->address, host)
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
  int burst;          /* accepted since it last waited */
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
    int e = llink_attach(loop, c, fd, &peer);
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

/* nil, message, "ADDRESS", whether this machine just has no such address */
static int address_failure(lua_State *L, int error) {
  dx_push_failure(L, "ADDRESS", strerror(error));
  lua_pushboolean(L, error == EADDRNOTAVAIL || error == EAFNOSUPPORT);
  return 4;
}

/* listen(host, port, backlog, reuseport) | listen(path, nil, backlog) |
 * listen(fd) -> listener | nil, message, "ADDRESS" [, whether this machine
 * only lacks the address].  'host' is numeric. */
static int socket_listen(lua_State *L) {
  lloop *loop = lloop_get(L);
  lua_settop(L, 4);
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

static int input_read(lua_State *L);

static int input_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  linput *x = (linput *)ctx;
  char bytes[4096];
  ssize_t n;
  do
    n = read(x->fd, bytes, sizeof bytes);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno == EAGAIN && x->watch)
    return input_read(L); /* others read from it too, and were quicker */
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

const luaL_Reg lsocket_waiters[] = {{"connect", socket_connect}, {NULL, NULL}};

const luaL_Reg lsocket_functions[] = {{"listen", socket_listen},
                                      {"input", socket_input},
                                      {"descriptors", socket_descriptors},
                                      {NULL, NULL}};

void lsocket_types(lua_State *L, int loop) {
  static const luaL_Reg waiters[] = {{"accept", listener_accept}, {NULL, NULL}};
  static const luaL_Reg listener[] = {
      {"address", listener_address}, {"close", listener_close}, {NULL, NULL}};
  luaL_newmetatable(L, "duplex.connecting");
  lua_pushcfunction(L, connect_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newmetatable(L, "duplex.input");
  lua_pushcfunction(L, input_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  lua_pushvalue(L, loop);
  ltask_pushwaiter(L, input_read, 1);
  lua_setfield(L, -2, "read");
  lua_setfield(L, -2, "__index");
  luaL_newmetatable(L, "duplex.listener");
  lua_pushcfunction(L, listener_close);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  lua_pushvalue(L, loop);
  luaL_setfuncs(L, listener, 1);
  lua_pushvalue(L, loop);
  ltask_setwaiters(L, waiters, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 3);
}

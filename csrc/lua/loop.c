/* SPDX-License-Identifier: MIT
 * loop.c - the module duplex.loop: the native host's scheduler for Lua.  What
 * waits for descriptors is in llink.c and lsocket.c. */
#include "../core/version.h"
#include "../net/interrupt.h"
#include "llink.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- time ---- */

/* now() -> seconds of a monotonic clock */
static int loop_now(lua_State *L) {
  lua_pushnumber(L, dx_loop_clock());
  return 1;
}

static int sleep_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  if (((ltask *)ctx)->why == LSTOPPED || lloop_get(L)->stopping)
    return lloop_push_stopped(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int last_sleep_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lloop_push_stopped(L);
}

/* While the loop is stopping a sleep is at most so long, but never over at
 * once: a task that sleeps in a loop without looking at the result must not
 * keep everybody from stopping. */
#define LAST_SLEEP 0.02

/* sleep(seconds) -> true | nil, message, "STOPPED" */
static int loop_sleep(lua_State *L) {
  lloop *loop = lloop_get(L);
  luaL_checknumber(L, 1);
  double deadline = ltask_deadline(L, 1);
  ltask *t = ltask_self(L, loop);
  if (loop->stopping)
    deadline = fmin(deadline, dx_loop_clock() + LAST_SLEEP);
  t->what = 0xff;
  return ltask_wait(L, loop, t, &loop->sleepers, deadline, (lua_KContext)t,
                    loop->stopping ? last_sleep_k : sleep_k);
}

/* ---- tasks ---- */

static int start(lua_State *L, int brief) {
  lloop *loop = lloop_get(L);
  luaL_checktype(L, 1, LUA_TFUNCTION);
  /* spawn(fn, done, ...): the function goes to where its arguments begin */
  luaL_checkany(L, 2);
  lua_pushvalue(L, 1);
  lua_insert(L, 3);
  ltask_spawn(L, loop, lua_isfunction(L, 2) ? 2 : 0, lua_gettop(L) - 3, brief);
  return 0;
}

/* spawn(fn, done or nil, ...): run fn(...) as a task; then, however it ended,
 * done(what it died of or nil, its first argument, what was raised) */
static int loop_spawn(lua_State *L) { return start(L, 0); }

/* brief(fn, done or nil, ...): as spawn, for what will not take long: its
 * coroutine is used again */
static int loop_brief(lua_State *L) { return start(L, 1); }

/* ---- events ---- */

typedef struct levent {
  ltask *waiters;
  int set;
} levent;

static int event_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  if (((ltask *)ctx)->why == LTIMEOUT)
    return lloop_push_timeout(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* e:wait([timeout]) -> true | nil, message, "TIMEOUT" */
static int event_wait(lua_State *L) {
  levent *e = luaL_checkudata(L, 1, "duplex.event");
  lloop *loop = lloop_get(L);
  double deadline = ltask_deadline(L, 2);
  if (e->set) {
    lua_pushboolean(L, 1);
    return 1;
  }
  ltask *t = ltask_self(L, loop);
  t->what = 0xff;
  return ltask_wait(L, loop, t, &e->waiters, deadline, (lua_KContext)t,
                    event_k);
}

/* e:set(): wakes all who wait, and lets pass all who come, until e:clear() */
static int event_set(lua_State *L) {
  levent *e = luaL_checkudata(L, 1, "duplex.event");
  e->set = 1;
  ltask_wake_all(lloop_get(L), &e->waiters, 0xff, LWOKEN);
  return 0;
}

static int event_clear(lua_State *L) {
  levent *e = luaL_checkudata(L, 1, "duplex.event");
  e->set = 0;
  return 0;
}

/* Whose coroutine was closed may still stand here. */
static int event_gc(lua_State *L) {
  levent *e = lua_touserdata(L, 1);
  while (e->waiters)
    ltask_unlink(e->waiters);
  return 0;
}

static int loop_event(lua_State *L) {
  levent *e = lua_newuserdatauv(L, sizeof *e, 0);
  *e = (levent){0};
  luaL_setmetatable(L, "duplex.event");
  return 1;
}

/* ---- signals ---- */

static const struct {
  const char *name;
  int number;
} signals[] = {{"SIGHUP", SIGHUP},   {"SIGINT", SIGINT},
               {"SIGTERM", SIGTERM}, {"SIGUSR1", SIGUSR1},
               {"SIGUSR2", SIGUSR2}, {"SIGQUIT", SIGQUIT},
               {"SIGCHLD", SIGCHLD}, {"SIGWINCH", SIGWINCH}};

enum { SIGNALS = sizeof signals / sizeof *signals }; /* bits of a byte */

/* Once asked for, a signal is caught for good: what came between two waits is
 * kept for the next. */
static void signal_came(uv_signal_t *handle, int number) {
  lloop *loop = handle->data;
  for (int i = 0; i < SIGNALS; i++)
    if (signals[i].number == number)
      loop->signals_came |= (uint8_t)(1 << i);
  ltask_wake_all(loop, &loop->signal_waiters, loop->signals_came, LWOKEN);
}

static void catch_signal(lua_State *L, lloop *loop, int i) {
  if (loop->signals[i])
    return;
  uv_signal_t *handle = malloc(sizeof *handle);
  if (handle == NULL)
    luaL_error(L, "out of memory");
  uv_signal_init(&loop->net.uv, handle);
  handle->data = loop;
  uv_signal_start(handle, signal_came, signals[i].number);
  uv_unref((uv_handle_t *)handle);
  loop->signals[i] = handle;
  dx_interrupt_leave(signals[i].number);
}

static int signal_k(lua_State *L, int status, lua_KContext ctx);

/* At top level, where nothing else may go on, signals keep the loop waiting. */
static void refer_signals(lloop *loop, uint8_t bits,
                          void (*refer)(uv_handle_t *)) {
  for (int i = 0; i < SIGNALS; i++)
    if (bits & (1 << i))
      refer((uv_handle_t *)loop->signals[i]);
}

static int take_signal(lua_State *L, lloop *loop, uint8_t bits) {
  for (int i = 0; i < SIGNALS; i++) {
    if (bits & loop->signals_came & (1 << i)) {
      loop->signals_came &= (uint8_t) ~(1 << i);
      lua_pushstring(L, signals[i].name);
      return 1;
    }
  }
  ltask *t = ltask_self(L, loop);
  t->what = bits;
  if (t->co == NULL)
    refer_signals(loop, bits, uv_ref);
  return ltask_wait(L, loop, t, &loop->signal_waiters, INFINITY,
                    (lua_KContext)bits, signal_k);
}

static int signal_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lloop *loop = lloop_get(L);
  refer_signals(loop, (uint8_t)ctx, uv_unref);
  return take_signal(L, loop, (uint8_t)ctx);
}

/* signal(name, ...) -> name of the one that came.  From the first call on what
 * it does by default does not happen any more. */
static int loop_signal(lua_State *L) {
  lloop *loop = lloop_get(L);
  int n = lua_gettop(L);
  uint8_t bits = 0;
  luaL_argcheck(L, n >= 1, 1, "name of a signal expected");
  for (int k = 1; k <= n; k++) {
    const char *name = luaL_checkstring(L, k);
    int i = 0;
    while (i < SIGNALS && strcmp(signals[i].name, name) != 0)
      i++;
    if (i == SIGNALS)
      return luaL_argerror(L, k,
                           "unknown signal (SIGHUP, SIGINT, SIGTERM, SIGUSR1, "
                           "SIGUSR2, SIGQUIT, SIGCHLD, SIGWINCH)");
    catch_signal(L, loop, i);
    bits |= (uint8_t)(1 << i);
  }
  return take_signal(L, loop, bits);
}

/* ---- names ---- */

typedef struct lresolve {
  uv_getaddrinfo_t request;
  lloop *loop;
  ltask *waiters;
  struct addrinfo *found;
  int status, done;
} lresolve;

static void resolve_free(lresolve *r) {
  if (r->found)
    uv_freeaddrinfo(r->found);
  free(r);
}

static void resolved(uv_getaddrinfo_t *request, int status,
                     struct addrinfo *found) {
  lresolve *r = (lresolve *)request;
  r->status = status;
  r->found = found;
  if (r->done || r->loop->closing) { /* nobody waits any more */
    resolve_free(r);
    return;
  }
  r->done = 1;
  ltask_wake_all(r->loop, &r->waiters, 0xff, LWOKEN);
}

static int resolve_k(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  lresolve *r = (lresolve *)ctx;
  if (!r->done) { /* timed out: the answer will come to nobody */
    r->done = 1;
    uv_cancel((uv_req_t *)&r->request);
    return lloop_push_timeout(L);
  }
  if (r->status < 0) {
    const char *text = uv_strerror(r->status);
    resolve_free(r);
    return dx_push_failure(L, "DNS", text);
  }
  /* Texts are made before the list is, so that nothing raises in between. */
  lua_newtable(L);
  lua_Integer n = 0;
  for (struct addrinfo *a = r->found; a; a = a->ai_next) {
    dx_address address = {.length = a->ai_addrlen};
    char text[INET6_ADDRSTRLEN + 1];
    int port;
    memcpy(&address.storage, a->ai_addr, a->ai_addrlen);
    if (dx_address_text(&address, text, sizeof text, &port) == 0) {
      lua_pushstring(L, text);
      lua_rawseti(L, -2, ++n);
    }
  }
  resolve_free(r);
  return 1;
}

/* resolve(name [, timeout]) -> list of numeric addresses, in the order of the
 * system | nil, message, "DNS" or "TIMEOUT" */
static int loop_resolve(lua_State *L) {
  lloop *loop = lloop_get(L);
  const char *name = luaL_checkstring(L, 1);
  double deadline = ltask_deadline(L, 2);
  dx_address numeric;
  if (dx_address_numeric(&numeric, name, 0) == 0) {
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    return 1;
  }
  ltask *t = ltask_self(L, loop);
  t->what = 0xff;
  lresolve *r = calloc(1, sizeof *r);
  if (r == NULL)
    return luaL_error(L, "out of memory");
  r->loop = loop;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  int e =
      uv_getaddrinfo(&loop->net.uv, &r->request, resolved, name, NULL, &hints);
  if (e < 0) {
    free(r);
    return dx_push_failure(L, "DNS", uv_strerror(e));
  }
  return ltask_wait(L, loop, t, &r->waiters, deadline, (lua_KContext)r,
                    resolve_k);
}

/* ---- running ---- */

/* Is there still something that run() has to wait for? */
static int alive(const lloop *loop) {
  return loop->tasks > 0 || loop->net.unsent > 0 || loop->net.dirty;
}

/* What did not end when everything was stopped may go on one day, but nobody
 * waits for it any more. */
static void leave_tasks(lloop *loop) {
  for (int i = 0; i < loop->slots; i++)
    if (loop->all[i])
      loop->all[i]->left = 1;
  loop->tasks = 0;
}

/* counts([false]) -> whether run() waits for the task that calls this; with
 * false it does not any more */
static int loop_counts(lua_State *L) {
  lloop *loop = lloop_get(L);
  ltask *t = ltask_self(L, loop);
  if (!lua_isnone(L, 1) && t->co && !t->left) {
    t->left = 1;
    loop->tasks--;
  }
  lua_pushboolean(L, !t->left);
  return 1;
}

/* run(): turn the loop until nothing is left to do, or quit() */
static int loop_run(lua_State *L) {
  lloop *loop = lloop_get(L);
  if (loop->turning || loop->closing)
    return luaL_error(L, "the loop is running already");
  while (alive(loop) && !loop->quit)
    ltask_turn(L, loop, 1);
  if (loop->quit)
    leave_tasks(loop);
  loop->quit = 0;
  return 0;
}

static int loop_quit(lua_State *L) {
  lloop_get(L)->quit = 1;
  return 0;
}

/* unsent() -> connections that are over and have something still to send */
static int loop_unsent(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lloop_get(L)->net.unsent);
  return 1;
}

/* turning() -> whether the loop is: in run, in step, or for a wait at top level
 */
static int loop_turning(lua_State *L) {
  lua_pushboolean(L, lloop_get(L)->turning);
  return 1;
}

/* can_wait() -> whether a call that waits may be made here */
static int loop_can_wait(lua_State *L) {
  lloop *loop = lloop_get(L);
  int is_main = lua_pushthread(L);
  int in_task = loop->current && loop->current->co == L && lua_isyieldable(L);
  lua_pushboolean(L, in_task || (is_main && !loop->turning &&
                                 !loop->top.waiting && !loop->closing));
  return 1;
}

static void wait_over(uv_timer_t *timer) { uv_stop(timer->loop); }

/* step([timeout]) -> whether something is left to do: waits for events at most
 * so long (0), and handles them */
static int loop_step(lua_State *L) {
  lloop *loop = lloop_get(L);
  double timeout = luaL_optnumber(L, 1, 0);
  if (loop->turning || loop->closing)
    return luaL_error(L, "the loop is running already");
  int wait = timeout > 0 && loop->ready == NULL;
  if (wait) {
    uv_timer_t *timer = &loop->patience;
    uv_update_time(&loop->net.uv);
    uv_timer_start(timer, wait_over,
                   (uint64_t)(fmin(timeout, DX_FOREVER) * 1000), 0);
  }
  ltask_turn(L, loop, wait);
  uv_timer_stop(&loop->patience);
  lua_pushboolean(L, alive(loop));
  return 1;
}

/* fd() -> a descriptor that is readable when step() has something to do */
static int loop_fd(lua_State *L) {
  lua_pushinteger(L, uv_backend_fd(&lloop_get(L)->net.uv));
  return 1;
}

/* timeout() -> seconds until step() is due even if fd() is not readable, or
 * nil when there is no such time */
static int loop_timeout(lua_State *L) {
  lloop *loop = lloop_get(L);
  double first = dx_timers_first(&loop->net.timers) - dx_loop_clock();
  if (loop->ready || loop->ended || loop->net.dirty || first < 0 ||
      (uv_loop_alive(&loop->net.uv) && uv_backend_timeout(&loop->net.uv) == 0))
    first = 0; /* libuv tells the kernel what to watch when it runs next */
  if (first == INFINITY)
    return 0;
  lua_pushnumber(L, first);
  return 1;
}

/* stopping(on): sleepers wake, and waits that begin now fail, with STOPPED */
static int loop_stopping(lua_State *L) {
  lloop *loop = lloop_get(L);
  loop->stopping = lua_toboolean(L, 1);
  if (loop->stopping)
    ltask_wake_all(loop, &loop->sleepers, 0xff, LSTOPPED);
  return 0;
}

/* Does the program take care of it itself? */
static int is_caught(const lloop *loop, int number) {
  for (int i = 0; i < SIGNALS; i++)
    if (signals[i].number == number && loop->signals[i])
      return 1;
  return 0;
}

static void interrupted(uv_signal_t *handle, int number) {
  lloop *loop = handle->data;
  if (!is_caught(loop, number))
    loop->signal = number;
}

/* interrupts(fn or nil): call fn(number) in a task for SIGINT and SIGTERM */
static int loop_interrupts(lua_State *L) {
  lloop *loop = lloop_get(L);
  lua_settop(L, 1);
  int on = lua_isfunction(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
  lua_insert(L, 1);
  lua_setiuservalue(L, 1, LLOOP_SIGNAL);
  static const int numbers[2] = {SIGINT, SIGTERM};
  for (int i = 0; i < 2; i++) {
    if (on) {
      uv_signal_start(&loop->interrupts[i], interrupted, numbers[i]);
      if (!is_caught(loop, numbers[i]))
        dx_interrupt_watch(numbers[i]);
    } else {
      dx_interrupt_leave(numbers[i]);
      uv_signal_stop(&loop->interrupts[i]);
    }
  }
  return 0;
}

/* raise(number): let a signal do what it does by default */
static int loop_raise(lua_State *L) {
  int number = (int)luaL_checkinteger(L, 1);
  signal(number, SIG_DFL);
  raise(number);
  return 0;
}

/* keep_freed(bytes): let the allocator keep so much freed memory rather than
 * give it back at once, and serve large blocks from it.  It concerns the whole
 * process, so it is for programs to call.  No effect but with glibc. */
static int loop_keep_freed(lua_State *L) {
  lua_Integer bytes = luaL_checkinteger(L, 1);
  luaL_argcheck(L, bytes >= 0 && bytes <= INT_MAX, 1, "out of range");
#ifdef __GLIBC__
  mallopt(M_TRIM_THRESHOLD, (int)bytes);
  mallopt(M_MMAP_THRESHOLD, (int)bytes);
#endif
  return 0;
}

static void timer_expired(dx_loop *net, dx_timer *timer) {
  ltask *t = (ltask *)((char *)timer - offsetof(ltask, timer));
  ltask_wake((lloop *)net, t, LTIMEOUT);
}

static const dx_hooks hooks = {.input = llink_input,
                               .drained = llink_drained,
                               .ended = llink_ended,
                               .expired = timer_expired};

static int loop_gc(lua_State *L) {
  lloop *loop = lua_touserdata(L, 1);
  if (loop->net.input == NULL)
    return 0;
  loop->closing = 1;
  /* Finalizers to come may look at the lists that tasks wait in. */
  for (int i = 0; i < loop->slots; i++)
    if (loop->all[i])
      ltask_unlink(loop->all[i]);
  ltask_unlink(&loop->top);
  dx_loop_close(&loop->net);
  for (int i = 0; i < loop->slots; i++)
    free(loop->all[i]);
  free(loop->all);
  free(loop->ended_conns);
  free(loop->done_users);
  for (int i = 0; i < SIGNALS; i++)
    free(loop->signals[i]);
  loop->all = NULL;
  loop->ended_conns = NULL;
  return 0;
}

static lloop *new_loop(lua_State *L) {
  lloop *loop = lua_newuserdatauv(L, sizeof *loop, LLOOP_VALUES);
  memset(loop, 0, sizeof *loop);
  loop->free_slot = -1;
  loop->top.timer.kind = DX_TIMER_OTHER;
  int e = dx_loop_init(&loop->net, &hooks);
  if (e)
    luaL_error(L, "duplex.loop: %s", strerror(-e));
  uv_timer_init(&loop->net.uv, &loop->patience);
  for (int i = 0; i < 2; i++) {
    uv_signal_init(&loop->net.uv, &loop->interrupts[i]);
    loop->interrupts[i].data = loop;
  }
  lua_newtable(L);
  lua_setiuservalue(L, -2, LLOOP_ANCHORS);
  lua_newtable(L);
  lua_setiuservalue(L, -2, LLOOP_IDLE);
  lua_newtable(L);
  lua_setiuservalue(L, -2, LLOOP_ENDS);
  lua_newtable(L);
  lua_setiuservalue(L, -2, LLOOP_DONES);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, loop_gc);
  lua_setfield(L, -2, "__gc");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, loop);
  return loop;
}

static const luaL_Reg event_waiters[] = {{"wait", event_wait}, {NULL, NULL}};

static const luaL_Reg event_methods[] = {
    {"set", event_set}, {"clear", event_clear}, {NULL, NULL}};

static const luaL_Reg waiters[] = {{"sleep", loop_sleep},
                                   {"signal", loop_signal},
                                   {"resolve", loop_resolve},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"now", loop_now},
                                     {"spawn", loop_spawn},
                                     {"brief", loop_brief},
                                     {"event", loop_event},
                                     {"run", loop_run},
                                     {"unsent", loop_unsent},
                                     {"quit", loop_quit},
                                     {"can_wait", loop_can_wait},
                                     {"turning", loop_turning},
                                     {"step", loop_step},
                                     {"fd", loop_fd},
                                     {"timeout", loop_timeout},
                                     {"stopping", loop_stopping},
                                     {"counts", loop_counts},
                                     {"interrupts", loop_interrupts},
                                     {"raise", loop_raise},
                                     {"keep_freed", loop_keep_freed},
                                     {NULL, NULL}};

static void set_functions(lua_State *L, int loop, const luaL_Reg *list,
                          const luaL_Reg *waiting) {
  lua_pushvalue(L, loop);
  luaL_setfuncs(L, list, 1);
  lua_pushvalue(L, loop);
  ltask_setwaiters(L, waiting, 1);
}

DX_EXPORT int luaopen_duplex_loop(lua_State *L) {
  luaL_checkversion(L);
  new_loop(L); /* the upvalue of every function */
  int loop = lua_gettop(L);
  luaL_newmetatable(L, "duplex.event");
  lua_pushcfunction(L, event_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  set_functions(L, loop, event_methods, event_waiters);
  lua_setfield(L, -2, "__index");
  lua_newtable(L);
  set_functions(L, loop, functions, waiters);
  set_functions(L, loop, llink_functions, llink_waiters);
  set_functions(L, loop, lsocket_functions, lsocket_waiters);
  lsocket_types(L, loop);
  lua_pushliteral(L, DX_STAMP);
  lua_setfield(L, -2, "stamp");
  return 1;
}

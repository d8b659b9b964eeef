/* SPDX-License-Identifier: MIT */
#include "task.h"

#include "lconn.h"

#include "../core/error.h"

#include <stdlib.h>
#include <string.h>

#define IDLE_AT_MOST 64 /* coroutines kept for brief tasks */

/* ---- lists: rings, so that one pointer makes a queue ---- */

void ltask_link(ltask **list, ltask *t) {
  ltask *first = *list;
  t->list = list;
  if (first == NULL) {
    t->next = t->prev = t;
    *list = t;
    return;
  }
  t->next = first;
  t->prev = first->prev;
  first->prev->next = t;
  first->prev = t;
}

void ltask_unlink(ltask *t) {
  if (t->list == NULL)
    return;
  if (t->next == t) {
    *t->list = NULL;
  } else {
    t->next->prev = t->prev;
    t->prev->next = t->next;
    if (*t->list == t)
      *t->list = t->next;
  }
  t->list = NULL;
}

/* ---- waiting ---- */

void ltask_stop_waiting(lloop *loop, ltask *t, lwhy why) {
  ltask_unlink(t);
  if (t->timer.place)
    dx_timers_set(&loop->net.timers, &t->timer, INFINITY);
  t->waiting = 0;
  t->why = (uint8_t)why;
}

void ltask_wake(lloop *loop, ltask *t, lwhy why) {
  if (!t->waiting)
    return;
  ltask_stop_waiting(loop, t, why);
  if (t->co)
    ltask_link(&loop->ready, t);
}

void ltask_wake_all(lloop *loop, ltask **list, uint8_t mask, lwhy why) {
  ltask *first = *list;
  if (first == NULL)
    return;
  /* Waking takes out of the ring, so the end is counted, not met. */
  size_t n = 1;
  for (ltask *t = first->next; t != first; t = t->next)
    n++;
  for (ltask *t = first, *next; n > 0; n--, t = next) {
    next = t->next;
    if (t->what & mask)
      ltask_wake(loop, t, why);
  }
}

ltask *ltask_self(lua_State *L, lloop *loop) {
  ltask *t = loop->current;
  if (t && t->co == L) {
    if (!lua_isyieldable(L))
      luaL_error(L,
                 "cannot wait here: inside a function written in C, such as "
                 "%sstring.gsub, table.sort or require",
                 ltask_hides_waits("pcall, "));
    return t;
  }
  int is_main = lua_pushthread(L);
  lua_pop(L, 1);
  if (!is_main)
    luaL_error(L, "cannot wait here: this coroutine was not started by "
                  "duplex.run or duplex.spawn");
  if (loop->closing)
    luaL_error(L, "cannot wait here: the Lua state is being closed");
  if (loop->turning || loop->top.waiting) /* a finalizer while main waits */
    luaL_error(L, "cannot wait here: the loop is running");
  return &loop->top;
}

int ltask_wait(lua_State *L, lloop *loop, ltask *t, ltask **list,
               double deadline, lua_KContext ctx, lua_KFunction k) {
#ifdef DX_NO_CONTINUATIONS
  /* First, as it may raise; it takes effect when all functions have returned.
   */
  int yielded = t->co ? ltask_suspend(L, t, ctx, k) : 0;
#endif
  t->deadline = deadline;
  t->waiting = 1;
  if (list)
    ltask_link(list, t);
  /* A deadline that there is no memory for has come. */
  if (deadline < INFINITY &&
      dx_timers_set(&loop->net.timers, &t->timer, deadline))
    ltask_wake(loop, t, LTIMEOUT);
#ifdef DX_NO_CONTINUATIONS
  if (t->co)
    return yielded;
#else
  if (t->co)
    return lua_yieldk(L, 0, ctx, k);
#endif
  while (t->waiting) {
    if (!loop->ready && !loop->ended && !loop->net.dirty &&
        !uv_loop_alive(&loop->net.uv) &&
        isinf(dx_timers_first(&loop->net.timers))) {
      ltask_stop_waiting(loop, t, LWOKEN);
      return luaL_error(L, "this would wait for ever: nothing is left that "
                           "could wake it");
    }
    ltask_turn(L, loop, 1);
  }
  return k(L, LUA_YIELD, ctx);
}

int ltask_pause(lua_State *L, lloop *loop, ltask *t, double deadline,
                lua_KContext ctx, lua_KFunction k) {
#ifdef DX_NO_CONTINUATIONS
  int yielded = ltask_suspend(L, t, ctx, k);
#endif
  t->deadline = deadline;
  t->why = LWOKEN;
  ltask_link(&loop->ready, t);
  loop->paused = 1;
#ifdef DX_NO_CONTINUATIONS
  return yielded;
#else
  return lua_yieldk(L, 0, ctx, k);
#endif
}

#ifndef DX_NO_CONTINUATIONS
static int return_all(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  return lua_gettop(L);
}

int ltask_call(lua_State *L) {
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, return_all);
  return lua_gettop(L);
}
#endif

double ltask_deadline(lua_State *L, int index) {
  if (lua_isnoneornil(L, index))
    return INFINITY;
  double seconds = luaL_checknumber(L, index);
  luaL_argcheck(L, seconds >= 0, index, "seconds must not be negative");
  return dx_loop_clock() + seconds;
}

int lloop_push_timeout(lua_State *L) {
  return dx_push_failure(L, "TIMEOUT", dx_errors[DX_ERR_TIMEOUT].text);
}

int lloop_push_stopped(lua_State *L) {
  return dx_push_failure(L, "STOPPED", dx_errors[DX_ERR_STOPPED].text);
}

/* ---- tasks ---- */

static void push_value(lua_State *L, lloop *loop, int n) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
  lua_getiuservalue(L, -1, n);
  lua_remove(L, -2);
}

/* The number of the function at 'index' among those to call when a task
 * ended; 0 for 0.  Each use is counted. */
static uint16_t done_number(lua_State *L, lloop *loop, int index) {
  if (index == 0)
    return 0;
  push_value(L, loop, LLOOP_DONES);
  lua_pushvalue(L, index);
  lua_rawget(L, -2);
  lua_Integer n = lua_tointeger(L, -1);
  lua_pop(L, 1);
  if (n == 0) {
    for (n = 1; n <= loop->dones && loop->done_users[n]; n++)
      ;
    if (n > UINT16_MAX - 1)
      luaL_error(L, "too many different functions wait for tasks to end");
    if (n > loop->dones) {
      size_t *users =
          realloc(loop->done_users, ((size_t)n + 1) * sizeof *users);
      if (users == NULL)
        luaL_error(L, "out of memory");
      users[n] = 0;
      loop->done_users = users;
      loop->dones = (uint16_t)n;
    }
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, n);
    lua_pushvalue(L, index);
    lua_pushinteger(L, n);
    lua_rawset(L, -3);
  }
  lua_pop(L, 1);
  loop->done_users[n]++;
  return (uint16_t)n;
}

/* Push what number 'n' stands for, nil for 0, which is then used once less. */
static void push_done(lua_State *L, lloop *loop, uint16_t n) {
  if (n == 0) {
    lua_pushnil(L);
    return;
  }
  push_value(L, loop, LLOOP_DONES);
  lua_rawgeti(L, -1, n);
  if (--loop->done_users[n] == 0) {
    lua_pushvalue(L, -1);
    lua_pushnil(L);
    lua_rawset(L, -4);
    lua_pushnil(L);
    lua_rawseti(L, -3, n);
  }
  lua_remove(L, -2);
}

/* A task's coroutine and its first argument stand in two places of the table
 * of anchors, from 2 * slot + 1 on.  The first place of a free slot holds the
 * number of the next free one. */
enum { ANCHOR_CO = 1, ANCHOR_ARGUMENT };

static void set_anchor(lua_State *L, int slot, int which) {
  lua_rawseti(L, -2, 2 * (lua_Integer)slot + which);
}

static void push_anchor(lua_State *L, int slot, int which) {
  lua_rawgeti(L, -1, 2 * (lua_Integer)slot + which);
}

/* Anchor the coroutine on top of the stack, which is popped, and the argument
 * at index 'arg' or none.  Returns the slot. */
static int anchor(lua_State *L, lloop *loop, int arg) {
  int slot = loop->free_slot;
  if (slot < 0 && loop->slots == loop->room) {
    int room = loop->room ? loop->room * 2 : 64;
    ltask **all = realloc(loop->all, (size_t)room * sizeof *all);
    if (all == NULL)
      luaL_error(L, "out of memory");
    loop->all = all;
    loop->room = room;
  }
  push_value(L, loop, LLOOP_ANCHORS);
  if (slot >= 0) {
    push_anchor(L, slot, ANCHOR_CO);
    loop->free_slot = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  } else {
    slot = loop->slots++;
  }
  loop->all[slot] = NULL;
  lua_insert(L, -2);
  set_anchor(L, slot, ANCHOR_CO);
  if (arg)
    lua_pushvalue(L, arg);
  else
    lua_pushboolean(L, 0);
  set_anchor(L, slot, ANCHOR_ARGUMENT);
  lua_pop(L, 1);
  return slot;
}

static void release(lua_State *L, lloop *loop, int slot) {
  push_value(L, loop, LLOOP_ANCHORS);
  lua_pushinteger(L, loop->free_slot);
  set_anchor(L, slot, ANCHOR_CO);
  lua_pushboolean(L, 0);
  set_anchor(L, slot, ANCHOR_ARGUMENT);
  lua_pop(L, 1);
  loop->free_slot = slot;
  loop->all[slot] = NULL;
}

/* Push a coroutine: one that a brief task left, or a new one. */
static lua_State *push_coroutine(lua_State *L, lloop *loop, int brief) {
  if (!brief || loop->idle == 0)
    return lua_newthread(L);
  push_value(L, loop, LLOOP_IDLE);
  lua_rawgeti(L, -1, loop->idle);
  lua_pushnil(L);
  lua_rawseti(L, -3, loop->idle--);
  lua_remove(L, -2);
  return lua_tothread(L, -1);
}

static void keep_coroutine(lua_State *L, lloop *loop, ltask *t) {
  if (loop->idle >= IDLE_AT_MOST)
    return;
  lua_settop(t->co, 0);
  push_value(L, loop, LLOOP_IDLE);
  push_value(L, loop, LLOOP_ANCHORS);
  push_anchor(L, t->slot, ANCHOR_CO);
  lua_rawseti(L, -3, ++loop->idle);
  lua_pop(L, 2);
}

ltask *ltask_spawn(lua_State *L, lloop *loop, int done, int n, int brief) {
  int first = lua_gettop(L) - n; /* the function; arguments follow */
  luaL_checktype(L, first, LUA_TFUNCTION);
  if (loop->closing)
    luaL_error(L, "cannot spawn: the Lua state is being closed");
  lua_State *co = push_coroutine(L, loop, brief);
  if (!lua_checkstack(co, n + 2))
    luaL_error(L, "too many arguments for a task");
  int slot = anchor(L, loop, n ? first + 1 : 0);
  uint16_t number = done_number(L, loop, done);
  ltask *t = calloc(1, sizeof *t);
  if (t == NULL) {
    release(L, loop, slot);
    push_done(L, loop, number);
    luaL_error(L, "out of memory");
  }
  t->co = co;
  t->slot = slot;
  loop->all[slot] = t;
  t->brief = brief != 0;
  t->timer.kind = DX_TIMER_OTHER;
  t->timer.note = number;
  loop->tasks++;
  lua_xmove(L, co, n + 1);
  ltask_link(&loop->ready, t);
  return t;
}

void ltask_run(lloop *loop, ltask *t) {
  int results = 0, arguments = 0;
  if (!t->begun) {
    t->begun = 1;
    arguments = lua_gettop(t->co) - 1;
  }
#ifdef DX_NO_CONTINUATIONS
  else
    arguments = ltask_arguments(t);
#endif
  loop->current = t;
  int status = dx_resume(t->co, arguments, &results);
  loop->current = NULL;
  if (status == LUA_YIELD) {
#ifdef DX_NO_CONTINUATIONS
    if (t->k)
      return; /* what it yielded is what it goes on with */
#endif
    if (results)
      lua_pop(t->co, results);
    if (!t->waiting && t->list == NULL)
      ltask_link(&loop->ready, t); /* coroutine.yield: let others run */
    return;
  }
  t->why = (uint8_t)status;
  ltask_link(&loop->ended, t);
}

static int describe(lua_State *L) {
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* Push what a failed task raised, and the text of that with its traceback.  A
 * __tostring of the program's may fail, and before Lua 5.3 return anything. */
static void push_error(lua_State *L, ltask *t) {
  lua_xmove(t->co, L, 1);
  lua_pushcfunction(L, describe);
  lua_pushvalue(L, -2);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK || !lua_isstring(L, -1)) {
    lua_pop(L, 1);
    lua_pushliteral(L, "(error object whose __tostring fails)");
  }
  const char *message = lua_tostring(L, -1);
  luaL_traceback(L, t->co, message, 0);
  lua_remove(L, -2);
}

/* A task is over: call what waits for that, in a task of its own. */
static void bury(lua_State *L, lloop *loop, ltask *t) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 16, "too many nested calls");
  ltask_unlink(t);
  if (t->why != LUA_OK)
    push_error(L, t);
  lua_settop(L, top + 2);
  push_done(L, loop, t->timer.note);
  lua_pushvalue(L, top + 2);
  push_value(L, loop, LLOOP_ANCHORS);
  push_anchor(L, t->slot, ANCHOR_ARGUMENT);
  lua_remove(L, -2);
  lua_pushvalue(L, top + 1);
  if (t->why != LUA_OK)
    dx_close_coroutine(t->co); /* closes what is still to be closed */
  else if (t->brief)
    keep_coroutine(L, loop, t);
  if (lua_isfunction(L, top + 3))
    ltask_spawn(L, loop, 0, 3, 1);
  release(L, loop, t->slot);
  loop->tasks -= !t->left;
  free(t);
  lua_settop(L, top);
}

/* Connections that are over and have somebody who wants to know.  The table
 * keeps them alive through what is called. */
static void announce_ends(lua_State *L, lloop *loop) {
  push_value(L, loop, LLOOP_ENDS);
  while (loop->ended_count > 0) {
    lconn *c = loop->ended_conns[--loop->ended_count];
    loop->watched--;
    c->watched = 0;
    lua_rawgetp(L, -1, c);
    lua_pushnil(L);
    lua_rawsetp(L, -3, c);
    ltask_spawn(L, loop, 0, 0, 1);
  }
  lua_pop(L, 1);
}

void ltask_turn(lua_State *L, lloop *loop, int wait) {
  loop->turning = 1;
  if (loop->paused) { /* the events that it was for */
    loop->paused = 0;
    dx_loop_turn(&loop->net, 0);
  }
  /* Those that get ready meanwhile wait for the next turn, after events. */
  ltask *last = loop->ready ? loop->ready->prev : NULL;
  while (last) {
    ltask *t = loop->ready;
    if (t == last)
      last = NULL;
    ltask_unlink(t);
    ltask_run(loop, t);
  }
  /* Looking after connections may make tasks ready: before the wait. */
  if (dx_loop_flush(&loop->net))
    wait = 0;
  dx_loop_turn(&loop->net, wait && loop->ready == NULL && loop->ended == NULL &&
                               loop->ended_count == 0 && loop->signal == 0);
  loop->turning = 0;
  while (loop->ended)
    bury(L, loop, loop->ended);
  if (loop->ended_count)
    announce_ends(L, loop);
  if (loop->signal) {
    push_value(L, loop, LLOOP_SIGNAL);
    lua_pushinteger(L, loop->signal);
    loop->signal = 0;
    if (lua_isfunction(L, -2))
      ltask_spawn(L, loop, 0, 1, 1);
    else
      lua_pop(L, 2);
  }
}

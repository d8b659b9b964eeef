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

static void stop_waiting(lloop *loop, ltask *t, lwhy why) {
  ltask_unlink(t);
  if (t->timer.place)
    dx_timers_set(&loop->net.timers, &t->timer, INFINITY);
  t->waiting = 0;
  t->why = (uint8_t)why;
}

void ltask_wake(lloop *loop, ltask *t, lwhy why) {
  if (!t->waiting)
    return;
  stop_waiting(loop, t, why);
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
      luaL_error(L, "cannot wait here: inside a function written in C, such "
                    "as string.gsub, table.sort or require");
    return t;
  }
  int is_main = lua_pushthread(L);
  lua_pop(L, 1);
  if (!is_main)
    luaL_error(L, "cannot wait here: this coroutine was not started by "
                  "duplex.run or duplex.spawn");
  if (loop->turning)
    luaL_error(L, "cannot wait here: the loop is running");
  return &loop->top;
}

int ltask_wait(lua_State *L, lloop *loop, ltask *t, ltask **list,
               double deadline, lua_KContext ctx, lua_KFunction k) {
  t->deadline = deadline;
  t->waiting = 1;
  if (list)
    ltask_link(list, t);
  if (deadline < INFINITY &&
      dx_timers_set(&loop->net.timers, &t->timer, deadline)) {
    stop_waiting(loop, t, LWOKEN);
    return luaL_error(L, "out of memory");
  }
  if (t->co)
    return lua_yieldk(L, 0, ctx, k);
  while (t->waiting)
    ltask_turn(L, loop, 1);
  return k(L, LUA_YIELD, ctx);
}

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

/* A task's coroutine, the function to call when it ended and the argument of
 * that stand in three places of the table of anchors, from 3 * slot + 1 on.
 * The first place of a free slot holds the number of the next free one. */
static void push_anchors(lua_State *L, lloop *loop) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
  lua_getiuservalue(L, -1, LLOOP_ANCHORS);
  lua_remove(L, -2);
}

/* Anchor the coroutine on top of the stack, which is popped; 'done' and 'arg'
 * are stack indices or 0.  Returns the slot. */
static int anchor(lua_State *L, lloop *loop, int done, int arg) {
  int slot = loop->free_slot;
  if (slot < 0 && loop->slots == loop->room) {
    int room = loop->room ? loop->room * 2 : 64;
    ltask **all = realloc(loop->all, (size_t)room * sizeof *all);
    if (all == NULL)
      luaL_error(L, "out of memory");
    loop->all = all;
    loop->room = room;
  }
  push_anchors(L, loop);
  if (slot >= 0) {
    lua_rawgeti(L, -1, 3 * slot + 1);
    loop->free_slot = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  } else {
    slot = loop->slots++;
  }
  loop->all[slot] = NULL;
  lua_insert(L, -2);
  lua_rawseti(L, -2, 3 * slot + 1);
  int others[2] = {done, arg};
  for (int i = 0; i < 2; i++) {
    if (others[i])
      lua_pushvalue(L, others[i]);
    else
      lua_pushboolean(L, 0);
    lua_rawseti(L, -2, 3 * slot + 2 + i);
  }
  lua_pop(L, 1);
  return slot;
}

static void release(lua_State *L, lloop *loop, int slot) {
  push_anchors(L, loop);
  lua_pushinteger(L, loop->free_slot);
  lua_rawseti(L, -2, 3 * slot + 1);
  for (int i = 2; i <= 3; i++) {
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, 3 * slot + i);
  }
  lua_pop(L, 1);
  loop->free_slot = slot;
  loop->all[slot] = NULL;
}

/* Push a coroutine: one that a brief task left, or a new one. */
static lua_State *push_coroutine(lua_State *L, lloop *loop, int brief) {
  if (!brief || loop->idle == 0)
    return lua_newthread(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
  lua_getiuservalue(L, -1, LLOOP_IDLE);
  lua_rawgeti(L, -1, loop->idle);
  lua_pushnil(L);
  lua_rawseti(L, -3, loop->idle--);
  lua_replace(L, -3);
  lua_pop(L, 1);
  return lua_tothread(L, -1);
}

static void keep_coroutine(lua_State *L, lloop *loop, ltask *t) {
  if (loop->idle >= IDLE_AT_MOST)
    return;
  lua_settop(t->co, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
  lua_getiuservalue(L, -1, LLOOP_IDLE);
  push_anchors(L, loop);
  lua_rawgeti(L, -1, 3 * t->slot + 1);
  lua_rawseti(L, -3, ++loop->idle);
  lua_pop(L, 3);
}

ltask *ltask_spawn(lua_State *L, lloop *loop, int done, int n, int brief) {
  int first = lua_gettop(L) - n; /* the function; arguments follow */
  luaL_checktype(L, first, LUA_TFUNCTION);
  lua_State *co = push_coroutine(L, loop, brief);
  if (!lua_checkstack(co, n + 2))
    luaL_error(L, "too many arguments for a task");
  int slot = anchor(L, loop, done, n ? first + 1 : 0);
  ltask *t = calloc(1, sizeof *t);
  if (t == NULL) {
    release(L, loop, slot);
    luaL_error(L, "out of memory");
  }
  t->co = co;
  t->slot = slot;
  loop->all[slot] = t;
  t->brief = (uint8_t)brief;
  t->timer.kind = DX_TIMER_OTHER;
  loop->tasks++;
  lua_xmove(L, co, n + 1);
  ltask_link(&loop->ready, t);
  return t;
}

void ltask_run(lloop *loop, ltask *t) {
  int results = 0;
  int begins = lua_status(t->co) == LUA_OK;
  int arguments = begins ? lua_gettop(t->co) - 1 : 0;
  loop->current = t;
  int status = lua_resume(t->co, NULL, arguments, &results);
  loop->current = NULL;
  if (status == LUA_YIELD) {
    lua_pop(t->co, results);
    if (!t->waiting && t->list == NULL)
      ltask_link(&loop->ready, t); /* coroutine.yield: let others run */
    return;
  }
  t->status = (uint8_t)status;
  ltask_link(&loop->ended, t);
}

/* Push what a failed task died of, with its traceback. */
static void push_error(lua_State *L, ltask *t) {
  lua_xmove(t->co, L, 1);
  const char *message = luaL_tolstring(L, -1, NULL);
  luaL_traceback(L, t->co, message, 0);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* A task is over: call what waits for that, in a task of its own. */
static void bury(lua_State *L, lloop *loop, ltask *t) {
  int top = lua_gettop(L);
  luaL_checkstack(L, 16, "too many nested calls");
  ltask_unlink(t);
  if (t->status == LUA_OK)
    lua_pushnil(L);
  else
    push_error(L, t);
  push_anchors(L, loop);
  lua_rawgeti(L, -1, 3 * t->slot + 2);
  lua_pushvalue(L, top + 1);
  lua_rawgeti(L, top + 2, 3 * t->slot + 3);
  if (t->status != LUA_OK)
    dx_close_coroutine(t->co); /* closes what is still to be closed */
  else if (t->brief)
    keep_coroutine(L, loop, t);
  if (lua_toboolean(L, top + 3))
    ltask_spawn(L, loop, 0, 2, 1);
  release(L, loop, t->slot);
  loop->tasks--;
  free(t);
  lua_settop(L, top);
}

/* Connections that are over and have somebody who wants to know.  The table
 * keeps them alive through what is called. */
static void announce_ends(lua_State *L, lloop *loop) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
  lua_getiuservalue(L, -1, LLOOP_ENDS);
  while (loop->ended_conns) {
    lconn *c = loop->ended_conns;
    loop->ended_conns = c->next_ended;
    c->watched = 0;
    lua_rawgetp(L, -1, c);
    lua_pushnil(L);
    lua_rawsetp(L, -3, c);
    ltask_spawn(L, loop, 0, 0, 1);
  }
  lua_pop(L, 2);
}

void ltask_turn(lua_State *L, lloop *loop, int wait) {
  loop->turning = 1;
  /* Those that get ready meanwhile wait for the next turn, after events. */
  ltask *last = loop->ready ? loop->ready->prev : NULL;
  while (last) {
    ltask *t = loop->ready;
    if (t == last)
      last = NULL;
    ltask_unlink(t);
    ltask_run(loop, t);
  }
  dx_loop_turn(&loop->net, wait && loop->ready == NULL && loop->ended == NULL &&
                               loop->ended_conns == NULL && loop->signal == 0);
  loop->turning = 0;
  while (loop->ended)
    bury(L, loop, loop->ended);
  if (loop->ended_conns)
    announce_ends(L, loop);
  if (loop->signal) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, loop);
    lua_getiuservalue(L, -1, LLOOP_SIGNAL);
    lua_remove(L, -2);
    lua_pushinteger(L, loop->signal);
    loop->signal = 0;
    if (lua_isfunction(L, -2))
      ltask_spawn(L, loop, 0, 1, 1);
    else
      lua_pop(L, 2);
  }
}

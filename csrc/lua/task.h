/* SPDX-License-Identifier: MIT
 * task.h - the native scheduler: coroutines that wait.
 *
 * A task waits in at most one list and for at most one deadline; waking it
 * takes it out of both and queues it.  No task resumes another: tasks run from
 * ltask_turn, or, for the sake of speed, straight from the event they waited
 * for.  A callback of libuv calls no Lua function that can raise, but for
 * lua_resume, which catches.
 *
 * The program's main thread can wait too: then it turns the loop itself until
 * it is woken. */
#ifndef DX_TASK_H
#define DX_TASK_H

#include "../net/loop.h"
#include "compat.h"

typedef enum lwhy { LWOKEN, LTIMEOUT, LSTOPPED } lwhy;

typedef struct ltask {
  lua_State *co; /* NULL: the main thread of the program */
  struct ltask *next, *prev;
  struct ltask **list; /* where it is linked, a ring; NULL: nowhere */
  double deadline;     /* of what it waits for; INFINITY: none */
  dx_timer timer;      /* its note: number of what to call when it ended */
  int slot;            /* where it is anchored */
  uint8_t why;         /* lwhy; once ended, LUA_OK or an error */
  uint8_t what;        /* for the owner of the list: what it waits for */
  uint8_t waiting;
  uint8_t begun : 1; /* it ran at least once */
  uint8_t brief : 1; /* its coroutine is used again */
  uint8_t left : 1;  /* run() was stopped in spite of it: it does not count */
#ifdef DX_NO_CONTINUATIONS
  lua_KFunction k; /* how to go on; NULL when it does not wait */
  lua_KContext ctx;
#endif
} ltask;

typedef struct lloop {
  dx_loop net;
  ltask top; /* stands for the main thread */
  ltask *current;
  ltask *ready, *ended, *sleepers; /* lists */
  int slots, free_slot;            /* of the table of anchors */
  size_t *done_users; /* tasks that have a 'done', by number; 0: it is free */
  uint16_t dones;     /* numbers in use or free, from 1 on */
  ltask **all;        /* by slot, NULL where it is free */
  int room;           /* of 'all' */
  int closing;        /* the state is being closed */
  int quit;           /* run() is to return */
  struct lconn **ended_conns; /* are over, and somebody wants to know */
  int ended_count, ended_room;
  int watched;         /* connections whose end somebody wants to know of */
  int idle;            /* coroutines to be used again */
  size_t tasks;        /* alive */
  int turning;         /* ltask_turn is running */
  int paused;          /* a task lets others have their turn first */
  int stopping;        /* waits get STOPPED */
  uv_timer_t patience; /* of step() */
  uv_signal_t interrupts[2]; /* SIGINT and SIGTERM, while run() runs */
  int signal;                /* one of these that came */
  uv_signal_t *signals[8];   /* those that signal() was asked for */
  size_t taken;          /* bytes since the clock was looked at, see llink.c */
  uint8_t signals_came;  /* and that nobody has taken yet, by bit */
  ltask *signal_waiters; /* list; 'what' has their bits */
} lloop;

/* The loop of this state, from the first upvalue of a function. */
static inline lloop *lloop_get(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* User values of the loop's userdata. */
enum {
  LLOOP_ANCHORS = 1,
  LLOOP_IDLE,   /* coroutines to be used again */
  LLOOP_SIGNAL, /* what to call for SIGINT and SIGTERM */
  LLOOP_ENDS,   /* what to call when a connection is over, by its address */
  LLOOP_DONES,  /* what to call when a task is over: many share few functions,
                   so a task has only a number; t[n] = fn, t[fn] = n */
  LLOOP_VALUES = LLOOP_DONES
};

void ltask_link(ltask **list, ltask *t);
void ltask_unlink(ltask *t);

/* Take a task that waits out of its list and its deadline, without queueing it:
 * for who runs it at once. */
void ltask_stop_waiting(lloop *loop, ltask *t, lwhy why);

/* Wake a task, or all in a list whose 'what' meets 'mask'. */
void ltask_wake(lloop *loop, ltask *t, lwhy why);
void ltask_wake_all(lloop *loop, ltask **list, uint8_t mask, lwhy why);

/* The task that runs 'L'; raises when L cannot wait. */
ltask *ltask_self(lua_State *L, lloop *loop);

/* Wait in 'list' (or NULL) until woken or until 'deadline', then go on with
 * k(L, status, ctx); to be returned: return ltask_wait(...).  t->why tells. */
int ltask_wait(lua_State *L, lloop *loop, ltask *t, ltask **list,
               double deadline, lua_KContext ctx, lua_KFunction k);

/* Let others have their turn, events included, then go on with k; as
 * ltask_wait, but for tasks only. */
int ltask_pause(lua_State *L, lloop *loop, ltask *t, double deadline,
                lua_KContext ctx, lua_KFunction k);

/* return ltask_call(L): call the function at index 1, which may wait, with the
 * arguments above it, and return what it returns.  For functions that are made
 * by what follows. */
int ltask_call(lua_State *L);

/* Functions that call ltask_wait are made by these, with the loop as their
 * first upvalue, rather than by lua_pushcclosure and luaL_setfuncs. */
#ifdef DX_NO_CONTINUATIONS
void ltask_pushwaiter(lua_State *L, lua_CFunction f, int upvalues);
void ltask_setwaiters(lua_State *L, const luaL_Reg *list, int upvalues);
int ltask_isyieldable(lua_State *L);
#define lua_isyieldable ltask_isyieldable
/* 'text' where nothing can wait inside pcall, else "". */
const char *ltask_hides_waits(const char *text);
/* What ltask_wait and ltask_run do rather than yield with a continuation. */
int ltask_suspend(lua_State *L, ltask *t, lua_KContext ctx, lua_KFunction k);
int ltask_arguments(ltask *t);
#else
#define ltask_pushwaiter lua_pushcclosure
#define ltask_setwaiters luaL_setfuncs
#define ltask_hides_waits(text) ""
#endif

/* Resume a task now, rather than queue it. */
void ltask_run(lloop *loop, ltask *t);

/* A function at the stack top below 'n' arguments becomes a task.  'done', at
 * stack index 'done', is called in a task of its own as done(error or nil,
 * first argument) when it ended. */
ltask *ltask_spawn(lua_State *L, lloop *loop, int done, int n, int brief);

/* Run what is ready, then wait for events if 'wait' and nothing is ready. */
void ltask_turn(lua_State *L, lloop *loop, int wait);

/* Seconds at 'index' as a deadline: nil is none, 0 polls; raises. */
double ltask_deadline(lua_State *L, int index);

int lloop_push_timeout(lua_State *L);
int lloop_push_stopped(lua_State *L);

#endif

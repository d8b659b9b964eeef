/* SPDX-License-Identifier: MIT
 * timers.h - many deadlines, one clock: a binary heap, so that no connection
 * and no waiting task needs a timer object of the event loop.
 *
 * A dx_timer is embedded in what it belongs to and is not owned here.  Times
 * are seconds of the loop's monotonic clock. */
#ifndef DX_TIMERS_H
#define DX_TIMERS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dx_timer {
  uint32_t place; /* 1 + index in the heap; 0: not set */
  uint8_t kind;   /* the owner's, to tell what the timer is part of */
  uint16_t note;  /* the owner's, for what else it likes to keep here */
} dx_timer;

typedef struct dx_timers { /* zero to start; free 'heap' at the end */
  struct dx_timer_entry {
    double at;
    dx_timer *timer;
  } * heap;
  uint32_t count, room;
} dx_timers;

/* Set 't', or set it anew, to go off at 'at'; INFINITY unsets it.  Returns 0,
 * or -1 when memory is out (the timer is then not set). */
int dx_timers_set(dx_timers *h, dx_timer *t, double at);

/* When 't' goes off; INFINITY if it is not set. */
static inline double dx_timers_at(const dx_timers *h, const dx_timer *t) {
  return t->place ? h->heap[t->place - 1].at : INFINITY;
}

/* When the first one goes off; INFINITY if none is set. */
static inline double dx_timers_first(const dx_timers *h) {
  return h->count ? h->heap[0].at : INFINITY;
}

/* Unset and return a timer that is due at 'now', or NULL. */
dx_timer *dx_timers_expired(dx_timers *h, double now);

#endif

/* SPDX-License-Identifier: MIT */
#include "timers.h"

#include <stdlib.h>

static void place(dx_timers *h, uint32_t i, struct dx_timer_entry e) {
  h->heap[i] = e;
  e.timer->place = i + 1;
}

static void up(dx_timers *h, uint32_t i, struct dx_timer_entry e) {
  while (i > 0) {
    uint32_t parent = (i - 1) / 2;
    if (h->heap[parent].at <= e.at)
      break;
    place(h, i, h->heap[parent]);
    i = parent;
  }
  place(h, i, e);
}

static void down(dx_timers *h, uint32_t i, struct dx_timer_entry e) {
  for (;;) {
    uint32_t child = 2 * i + 1;
    if (child >= h->count)
      break;
    if (child + 1 < h->count && h->heap[child + 1].at < h->heap[child].at)
      child++;
    if (h->heap[child].at >= e.at)
      break;
    place(h, i, h->heap[child]);
    i = child;
  }
  place(h, i, e);
}

/* The entry at 'i' gets another value: it moves one way or the other. */
static void settle(dx_timers *h, uint32_t i, struct dx_timer_entry e) {
  if (i > 0 && h->heap[(i - 1) / 2].at > e.at)
    up(h, i, e);
  else
    down(h, i, e);
}

static void unset(dx_timers *h, dx_timer *t) {
  uint32_t i = t->place - 1;
  t->place = 0;
  struct dx_timer_entry last = h->heap[--h->count];
  if (last.timer != t)
    settle(h, i, last);
}

int dx_timers_set(dx_timers *h, dx_timer *t, double at) {
  if (isinf(at)) {
    if (t->place)
      unset(h, t);
    return 0;
  }
  struct dx_timer_entry e = {at, t};
  if (t->place) {
    settle(h, t->place - 1, e);
    return 0;
  }
  if (h->count == h->room) {
    uint32_t room = h->room ? h->room * 2 : 64;
    void *heap = realloc(h->heap, room * sizeof *h->heap);
    if (heap == NULL)
      return -1;
    h->heap = heap;
    h->room = room;
  }
  up(h, h->count++, e);
  return 0;
}

dx_timer *dx_timers_expired(dx_timers *h, double now) {
  if (h->count == 0 || h->heap[0].at > now)
    return NULL;
  dx_timer *t = h->heap[0].timer;
  unset(h, t);
  return t;
}

/* SPDX-License-Identifier: MIT
 * queue.h - messages that were decoded before anybody asked for them.
 *
 * A queue is one pointer, NULL while it is empty.  It owns its messages; one
 * that was taken stays in memory until the next call.  Sizes are in bytes. */
#ifndef DX_QUEUE_H
#define DX_QUEUE_H

#include "limits.h"
#include "reader.h"

typedef struct dx_queue dx_queue;

/* Append a copy of an event.  0, or -1 when memory is out. */
int dx_queue_push(dx_queue **queue, dx_kind kind, const dx_event *ev);

/* The oldest one, whose data is good until the next call; or DX_WANT. */
dx_kind dx_queue_pop(dx_queue **queue, dx_event *ev);

/* Does anything wait to be taken?  And how many messages? */
size_t dx_queue_length(const dx_queue *queue);

/* Must nothing be added?  One always fits into an empty queue. */
int dx_queue_full(const dx_queue *queue, const dx_limits *limits);

void dx_queue_clear(dx_queue **queue);

#endif

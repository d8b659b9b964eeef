/* SPDX-License-Identifier: MIT */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

typedef struct dx_message {
  struct dx_message *next;
  size_t n;
  uint8_t opcode, last, kind;
  uint8_t data[];
} dx_message;

struct dx_queue {
  dx_message *first, *last; /* oldest first; NULL when empty */
  dx_message *taken;        /* what the last event pointed to, or NULL */
  size_t bytes;
  uint32_t length;
};

int dx_queue_push(dx_queue **queue, dx_kind kind, const dx_event *ev) {
  if (*queue == NULL)
    *queue = calloc(1, sizeof **queue);
  dx_queue *q = *queue;
  dx_message *m = q ? malloc(sizeof *m + ev->n) : NULL;
  if (m == NULL)
    return -1;
  m->next = NULL;
  m->n = ev->n;
  m->opcode = ev->opcode;
  m->last = ev->last;
  m->kind = (uint8_t)kind;
  if (ev->n)
    memcpy(m->data, ev->data, ev->n);
  if (q->first)
    q->last->next = m;
  else
    q->first = m;
  q->last = m;
  q->bytes += ev->n;
  q->length++;
  return 0;
}

dx_kind dx_queue_pop(dx_queue **queue, dx_event *ev) {
  dx_queue *q = *queue;
  if (q == NULL)
    return DX_WANT;
  free(q->taken);
  dx_message *m = q->taken = q->first;
  if (m == NULL) {
    free(q);
    *queue = NULL;
    return DX_WANT;
  }
  q->first = m->next;
  q->bytes -= m->n;
  q->length--;
  *ev = (dx_event){m->data, m->n, m->opcode, m->last};
  return (dx_kind)m->kind;
}

size_t dx_queue_length(const dx_queue *q) { return q ? q->length : 0; }

int dx_queue_full(const dx_queue *q, const dx_limits *limits) {
  return q && (q->length >= limits->max_queue ||
               q->bytes >= limits->max_queue_bytes);
}

void dx_queue_clear(dx_queue **queue) {
  dx_event ev;
  while (*queue)
    dx_queue_pop(queue, &ev);
}

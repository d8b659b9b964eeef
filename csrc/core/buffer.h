/* SPDX-License-Identifier: MIT
 * buffer.h - a growable queue of bytes, and the spare that busy ones share.
 *
 * A queue is one pointer, NULL while it is empty: an idle connection owns
 * nothing.  An emptied queue hands its block to the spare of its loop, and the
 * next one to need a block takes it from there, still warm in the cache.
 *
 * What many are to get that read slowly is not copied for each: a queue that is
 * empty can take bytes that it shares with others, until it gets more.
 * Sizes are in bytes. */
#ifndef DX_BUFFER_H
#define DX_BUFFER_H

#include <stddef.h>
#include <stdint.h>

/* Blocks up to DX_SMALL serve small needs only, larger ones large needs only:
 * so a peer that does not read cannot hold much memory with few bytes.  Blocks
 * above DX_LARGEST go back to malloc. */
#define DX_SMALL ((size_t)64 * 1024)
#define DX_LARGEST ((size_t)2 * 1024 * 1024)

/* Bytes with several users: nobody changes them, the last to leave frees them.
 * Who makes them is the first. */
typedef struct dx_bytes {
  size_t users, n;
  uint8_t p[];
} dx_bytes;

dx_bytes *dx_bytes_new(size_t n); /* or NULL: memory is out */
void dx_bytes_leave(dx_bytes *bytes);

typedef struct dx_block { /* the bytes queued are p[start .. end) */
  size_t start, end, size;
  uint8_t *p;       /* behind this struct, or in 'shared' */
  dx_bytes *shared; /* or NULL */
} dx_block;

typedef dx_block *dx_buffer; /* NULL: empty */

/* At most one block of each kind, shared by all connections of a loop.  Zero
 * it to start; the owner frees both at the end. */
typedef struct dx_spare {
  dx_block *small, *large;
} dx_spare;

static inline size_t dx_buffer_length(const dx_block *b) {
  return b ? b->end - b->start : 0;
}

/* The first byte queued; NULL when there is none. */
static inline uint8_t *dx_buffer_bytes(dx_block *b) {
  return b ? b->p + b->start : NULL;
}

/* How many bytes fit behind those queued without growing. */
static inline size_t dx_buffer_room(const dx_block *b) {
  return b ? b->size - b->end : 0;
}

/* Make room for 'n' > 0 bytes more; returns where they go, or NULL when memory
 * is out (the queue is then unchanged).  The pointer is good until the next
 * call; dx_buffer_add says how many were put there. */
uint8_t *dx_buffer_reserve(dx_buffer *b, dx_spare *spare, size_t n);

static inline void dx_buffer_add(dx_buffer b, size_t n) { b->end += n; }

/* Queue all of these, of which the queue, empty so far, becomes a user.  0, or
 * -1: memory is out. */
int dx_buffer_share(dx_buffer *b, dx_bytes *bytes);

/* Drop the first 'n' bytes; an emptied queue gives its block away. */
void dx_buffer_consume(dx_buffer *b, dx_spare *spare, size_t n);

/* Drop everything and own nothing. */
void dx_buffer_clear(dx_buffer *b, dx_spare *spare);

#endif

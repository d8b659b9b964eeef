/* SPDX-License-Identifier: MIT
 * buffer.h - a growable queue of bytes, and the spare that busy ones share.
 *
 * An idle connection owns no memory here: an emptied buffer hands its block
 * back to the spare of its loop, and the next one to need a block takes it
 * from there, still warm in the cache.  Sizes are in bytes. */
#ifndef DX_BUFFER_H
#define DX_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#define DX_SPARE_MAX ((size_t)256 * 1024) /* larger blocks go back to malloc */

/* At most one block, shared by all connections of a loop.  Zero it to start;
 * the owner frees 'block' at the end. */
typedef struct dx_spare {
  uint8_t *block;
  size_t size;
} dx_spare;

/* Zero it to start.  The bytes queued are p[start .. end). */
typedef struct dx_buffer {
  uint8_t *p;
  size_t start, end, size;
} dx_buffer;

static inline size_t dx_buffer_length(const dx_buffer *b) {
  return b->end - b->start;
}

/* Make room for 'n' bytes more; returns where they go, or NULL when memory is
 * out (the buffer is then unchanged).  The pointer is good until the next
 * call; 'end' is advanced by the caller. */
uint8_t *dx_buffer_reserve(dx_buffer *b, dx_spare *spare, size_t n);

/* Drop the first 'n' bytes; an emptied buffer gives its block away. */
void dx_buffer_consume(dx_buffer *b, dx_spare *spare, size_t n);

/* Drop everything and own nothing. */
void dx_buffer_clear(dx_buffer *b, dx_spare *spare);

#endif

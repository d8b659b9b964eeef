/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE ((size_t)2048)

dx_bytes *dx_bytes_new(size_t n) {
  dx_bytes *bytes = malloc(sizeof *bytes + n);
  if (bytes) {
    bytes->users = 1;
    bytes->n = n;
  }
  return bytes;
}

void dx_bytes_leave(dx_bytes *bytes) {
  if (bytes && --bytes->users == 0)
    free(bytes);
}

static void free_block(dx_block *block) {
  if (block)
    dx_bytes_leave(block->shared);
  free(block);
}

static dx_block **place(dx_spare *spare, size_t n) {
  return n > DX_SMALL ? &spare->large : &spare->small;
}

/* The spare, if it is large enough. */
static dx_block *take_spare(dx_spare *spare, size_t n) {
  dx_block **kept = spare ? place(spare, n) : NULL;
  if (kept == NULL || *kept == NULL || (*kept)->size < n)
    return NULL;
  dx_block *block = *kept;
  *kept = NULL;
  return block;
}

uint8_t *dx_buffer_reserve(dx_buffer *b, dx_spare *spare, size_t n) {
  dx_block *old = *b;
  if (dx_buffer_room(old) >= n)
    return old->p + old->end;
  size_t length = dx_buffer_length(old);
  if (n > SIZE_MAX / 4 - length)
    return NULL;
  dx_block *block = old;
  if (old == NULL || old->shared || old->start < length ||
      old->size - length < n) {
    size_t size = old ? old->size * 2 : FIRST_SIZE;
    while (size < length + n)
      size *= 2;
    block = take_spare(spare, length + n);
    if (block == NULL) {
      /* Where nothing was consumed, the allocator may let it grow in place: a
       * large block is not there twice then. */
      dx_block *grown = old && !old->shared && old->start == 0 ? old : NULL;
      block = realloc(grown, sizeof *block + size);
      if (block == NULL)
        return NULL;
      block->size = size;
      block->p = (uint8_t *)(block + 1);
      block->shared = NULL;
      if (grown) {
        *b = block;
        return block->p + length;
      }
    }
  }
  /* In place only when more than half was consumed: moving the rest then
   * costs less than what was already sent, so the work stays linear. */
  if (length)
    memcpy(block->p, old->p + old->start, length);
  if (block != old)
    free_block(old);
  block->start = 0;
  block->end = length;
  *b = block;
  return block->p + length;
}

int dx_buffer_share(dx_buffer *b, dx_bytes *bytes) {
  dx_block *block = malloc(sizeof *block);
  if (block == NULL)
    return -1;
  bytes->users++;
  *block = (dx_block){0, bytes->n, bytes->n, bytes->p, bytes};
  *b = block;
  return 0;
}

void dx_buffer_consume(dx_buffer *b, dx_spare *spare, size_t n) {
  dx_block *block = *b;
  if (block == NULL)
    return;
  block->start += n;
  if (block->start == block->end)
    dx_buffer_clear(b, spare);
}

void dx_buffer_clear(dx_buffer *b, dx_spare *spare) {
  dx_block *block = *b;
  *b = NULL;
  if (block == NULL)
    return;
  dx_block **kept = spare && !block->shared ? place(spare, block->size) : NULL;
  if (kept && *kept == NULL && block->size <= DX_LARGEST)
    *kept = block;
  else
    free_block(block);
}

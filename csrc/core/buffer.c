/* SPDX-License-Identifier: MIT */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE ((size_t)2048)

static uint8_t *take_spare(dx_spare *spare, size_t n, size_t *size) {
  if (spare == NULL || spare->block == NULL || spare->size < n)
    return NULL;
  uint8_t *block = spare->block;
  *size = spare->size;
  spare->block = NULL;
  return block;
}

uint8_t *dx_buffer_reserve(dx_buffer *b, dx_spare *spare, size_t n) {
  if (b->size - b->end >= n)
    return b->p + b->end;
  size_t length = b->end - b->start;
  if (n > SIZE_MAX / 4 - length)
    return NULL;
  if (b->p != NULL && b->start >= length && b->size - length >= n) {
    /* More than half was consumed: moving the rest costs less than what was
     * already sent, so the work stays linear. */
    memcpy(b->p, b->p + b->start, length);
  } else {
    size_t size = b->size ? b->size * 2 : FIRST_SIZE;
    while (size < length + n)
      size *= 2;
    uint8_t *p = b->p == NULL ? take_spare(spare, length + n, &size) : NULL;
    if (p == NULL)
      p = malloc(size);
    if (p == NULL)
      return NULL;
    if (length)
      memcpy(p, b->p + b->start, length);
    free(b->p);
    b->p = p;
    b->size = size;
  }
  b->start = 0;
  b->end = length;
  return b->p + length;
}

void dx_buffer_consume(dx_buffer *b, dx_spare *spare, size_t n) {
  b->start += n;
  if (b->start == b->end)
    dx_buffer_clear(b, spare);
}

void dx_buffer_clear(dx_buffer *b, dx_spare *spare) {
  if (spare && spare->block == NULL && b->p && b->size <= DX_SPARE_MAX) {
    spare->block = b->p;
    spare->size = b->size;
  } else {
    free(b->p);
  }
  *b = (dx_buffer){0};
}

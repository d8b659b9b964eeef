/* SPDX-License-Identifier: MIT */
#include "frame.h"

#include <string.h>

int dx_head_decode(dx_head *h, const uint8_t *p, size_t n) {
  if (n < 2)
    return 0;
  h->fin = p[0] >> 7;
  h->rsv = (p[0] >> 4) & 7;
  h->opcode = p[0] & 15;
  h->masked = p[1] >> 7;
  h->length = p[1] & 127;
  /* Until the whole length is here, and good, it stays 126 or 127: so a long
   * control frame fails alike however its header is cut. */
  uint64_t length = 0;
  size_t size = 2;
  if (h->length == 126) {
    if (n < 4)
      return 0;
    length = (uint64_t)p[2] << 8 | p[3];
    if (length < 126)
      return -1;
    size = 4;
  } else if (h->length == 127) {
    if (n < 10)
      return 0;
    for (int i = 2; i < 10; i++)
      length = length << 8 | p[i];
    if (length < 65536 || length >> 63)
      return -1;
    size = 10;
  }
  size_t extended = size - 2;
  if (h->masked) {
    if (n < size + 4)
      return 0;
    memcpy(h->key, p + size, 4);
    size += 4;
  }
  if (extended)
    h->length = length;
  return (int)size;
}

size_t dx_head_encode(uint8_t *p, uint8_t first, uint64_t length,
                      const uint8_t *key) {
  size_t size = 2;
  p[0] = first;
  if (length < 126) {
    p[1] = (uint8_t)length;
  } else if (length < 65536) {
    p[1] = 126;
    p[2] = (uint8_t)(length >> 8);
    p[3] = (uint8_t)length;
    size = 4;
  } else {
    p[1] = 127;
    for (int i = 0; i < 8; i++)
      p[2 + i] = (uint8_t)(length >> (56 - 8 * i));
    size = 10;
  }
  if (key) {
    p[1] |= 0x80;
    memcpy(p + size, key, 4);
    size += 4;
  }
  return size;
}

int dx_close_code_ok(unsigned code) {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
         (code >= 3000 && code <= 4999);
}

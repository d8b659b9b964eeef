/* SPDX-License-Identifier: MIT */
/* sha1.c - SHA-1 with the names of RFC 3174. */
#include "sha1.h"

#include <string.h>

#define BLOCK 64

static inline uint32_t rotl(uint32_t x, int by) {
  return x << by | x >> (32 - by);
}

static void put32(uint8_t *p, uint32_t x) {
  for (int i = 0; i < 4; i++)
    p[i] = (uint8_t)(x >> (24 - 8 * i));
}

/* RFC 3174 6.1 */
static void add_block(uint32_t h[5], const uint8_t *p) {
  uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
  for (int t = 0; t < 16; t++, p += 4)
    w[t] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
  for (int t = 16; t < 80; t++)
    w[t] = rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
  for (int t = 0; t < 80; t++) {
    uint32_t f, k;
    if (t < 20)
      f = (b & c) | (~b & d), k = 0x5A827999;
    else if (t < 40)
      f = b ^ c ^ d, k = 0x6ED9EBA1;
    else if (t < 60)
      f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
    else
      f = b ^ c ^ d, k = 0xCA62C1D6;
    uint32_t temp = rotl(a, 5) + f + e + w[t] + k;
    e = d, d = c, c = rotl(b, 30), b = a, a = temp;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

void dx_sha1(uint8_t out[20], const void *p, size_t n) {
  uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  const uint8_t *in = p;
  size_t left = n;
  for (; left >= BLOCK; in += BLOCK, left -= BLOCK)
    add_block(h, in);

  /* RFC 3174 4: one bit, zeros, and the length in bits as the last 8 bytes;
   * a second block when they do not fit behind the rest. */
  uint8_t last[2 * BLOCK] = {0};
  size_t size = left < BLOCK - 8 ? BLOCK : 2 * BLOCK;
  if (left)
    memcpy(last, in, left);
  last[left] = 0x80;
  put32(last + size - 8, (uint32_t)((uint64_t)n >> 29));
  put32(last + size - 4, (uint32_t)((uint64_t)n << 3));
  for (size_t i = 0; i < size; i += BLOCK)
    add_block(h, last + i);
  for (int i = 0; i < 5; i++)
    put32(out + 4 * i, h[i]);
}

/* SPDX-License-Identifier: MIT */
/* base64.c - base64, four characters at a time. */
#include "base64.h"

static const char alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

size_t dx_base64_encode(char *out, const void *p, size_t n) {
  const uint8_t *in = p;
  char *o = out;
  for (size_t i = 0; i < n; i += 3, o += 4) {
    size_t left = n - i;
    uint32_t bits = (uint32_t)in[i] << 16;
    if (left > 1)
      bits |= (uint32_t)in[i + 1] << 8;
    if (left > 2)
      bits |= in[i + 2];
    o[0] = alphabet[bits >> 18];
    o[1] = alphabet[bits >> 12 & 63];
    o[2] = left > 1 ? alphabet[bits >> 6 & 63] : '=';
    o[3] = left > 2 ? alphabet[bits & 63] : '=';
  }
  return (size_t)(o - out);
}

/* The six bits of a character, or -1. */
static int value_of(char c) {
  /* clang-format off */
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+')             return 62;
  if (c == '/')             return 63;
  return -1;
  /* clang-format on */
}

long dx_base64_decode(uint8_t *out, size_t cap, const char *p, size_t n) {
  if (n == 0)
    return 0;
  if (n % 4)
    return -1;
  size_t padding = p[n - 1] != '=' ? 0 : p[n - 2] != '=' ? 1 : 2;
  size_t size = n / 4 * 3 - padding;
  if (size > cap)
    return -1;
  uint32_t bits = 0;
  for (size_t i = 0, at = 0; i < n; i++) {
    int value = i < n - padding ? value_of(p[i]) : 0;
    if (value < 0)
      return -1;
    bits = bits << 6 | (uint32_t)value;
    if (i % 4 < 3)
      continue;
    for (int shift = 16; shift >= 0 && at < size; shift -= 8)
      out[at++] = (uint8_t)(bits >> shift);
  }
  /* What the padding stands for, 8 or 16 bits, must be zero. */
  return bits & ((1u << 8 * padding) - 1) ? -1 : (long)size;
}

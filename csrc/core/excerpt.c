/* SPDX-License-Identifier: MIT */
#include "excerpt.h"

#include "utf8.h"

#include <string.h>

#define WIDEST 4 /* bytes that one byte, or one character, is shown as */

/* Does this character of UTF-8 do something, rather than look like something?
 * C1 controls, line separators, and what turns the direction of text. */
static int acts(const uint8_t *p, size_t n) {
  if (n == 2)
    return p[0] == 0xc2 && p[1] < 0xa0;
  if (n != 3 || p[0] != 0xe2)
    return 0;
  return (p[1] == 0x80 &&
          (p[2] == 0x8e || p[2] == 0x8f || (p[2] >= 0xa8 && p[2] <= 0xae))) ||
         (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
}

static size_t escape(char *out, uint8_t byte) {
  static const char digits[] = "0123456789abcdef";
  static const char named[] = "\nn\rr\tt\"\"\\\\";
  out[0] = '\\';
  for (const char *s = named; *s; s += 2) {
    if ((uint8_t)*s == byte) {
      out[1] = s[1];
      return 2;
    }
  }
  out[1] = 'x';
  out[2] = digits[byte >> 4];
  out[3] = digits[byte & 15];
  return 4;
}

/* The next character, or byte of none: returns how many bytes it is, and
 * writes it to 'out', *shown bytes. */
static size_t next(const uint8_t *p, size_t n, char *out, size_t *shown) {
  uint8_t c = p[0];
  size_t size = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  int plain = size == 1 ? c >= ' ' && c != 0x7f && c != '"' && c != '\\'
                        : size <= n && dx_utf8_valid(p, size) && !acts(p, size);
  if (!plain) {
    *shown = escape(out, c);
    return 1;
  }
  memcpy(out, p, size);
  *shown = size;
  return size;
}

/* As much as is shown as at most 'most' bytes; *used is how much that is. */
static size_t show(char *out, size_t most, const uint8_t *p, size_t n,
                   size_t *used) {
  size_t length = 0;
  *used = 0;
  while (*used < n) {
    char one[WIDEST];
    size_t shown, size = next(p + *used, n - *used, one, &shown);
    if (length + shown > most)
      break;
    memcpy(out + length, one, shown);
    length += shown;
    *used += size;
  }
  return length;
}

/* Where the end of 'p' begins that is shown as at most 'most' bytes. */
static size_t begin_of_end(size_t most, const uint8_t *p, size_t n) {
  size_t at = n > most ? n - most : 0, length = 0, size, shown;
  char one[WIDEST];
  while (at < n && (p[at] & 0xc0) == 0x80)
    at++;
  for (size_t i = at; i < n; i += size, length += shown)
    size = next(p + i, n - i, one, &shown);
  for (; length > most; at += size, length -= shown)
    size = next(p + at, n - at, one, &shown);
  return at;
}

size_t dx_excerpt(char *out, size_t most, const uint8_t *p, size_t n) {
  size_t used, length = show(out, most, p, n, &used);
  if (used == n)
    return length;
  size_t end_most = (most - 3) / 3;
  length = show(out, most - 3 - end_most, p, n, &used);
  memcpy(out + length, "...", 3);
  length += 3;
  size_t at = used + begin_of_end(end_most, p + used, n - used);
  return length + show(out + length, end_most, p + at, n - at, &used);
}

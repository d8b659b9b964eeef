/* SPDX-License-Identifier: MIT */
/* utf8.h - UTF-8 by RFC 3629: no surrogates, nothing overlong, at most
 * U+10FFFF. Pure functions: no allocation, no I/O.  The caller owns all memory;
 * nothing is read outside the 'n' bytes given, and 'p' may be NULL when n == 0.
 * Lengths are in bytes. */
#ifndef DX_UTF8_H
#define DX_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Where a text that comes in pieces stands.  All zero is the start. */
typedef struct dx_utf8 {
  uint32_t state; /* a dx_utf8_* state below; private */
} dx_utf8;

/* Take the next 'n' bytes of the text.  Returns 1 while all of it can still
 * become valid UTF-8, else 0: no later than with the piece that holds the first
 * byte which makes the text impossible (F4 90 fails at the 90, wherever the
 * pieces are cut).  After a 0 every later call returns 0. */
int dx_utf8_feed(dx_utf8 *u, const uint8_t *p, size_t n);

/* Whether the text may end here: 1, or 0 when it is invalid or the last
 * character still lacks bytes. */
int dx_utf8_complete(const dx_utf8 *u);

/* Whether these bytes are a whole valid text: 1 or 0. */
int dx_utf8_valid(const uint8_t *p, size_t n);

/* The length of the longest prefix of at most 'max' bytes that ends between two
 * characters.  The 'n' bytes must be valid; of other bytes it returns some
 * length within the same bounds. */
size_t dx_utf8_cut(const uint8_t *p, size_t n, size_t max);

typedef int dx_utf8_fn(dx_utf8 *u, const uint8_t *p, size_t n);

/* One way to do the same; every 'fn' keeps the contract of dx_utf8_feed for
 * every n, and may be called only where 'supported' returns non-zero. */
typedef struct dx_utf8_kernel {
  const char *name; /* what DX_KERNEL in the environment may say */
  int (*supported)(void);
  dx_utf8_fn *fn;
} dx_utf8_kernel;

/* Slowest first, ended by a row whose name is NULL.  Chosen at the first feed
 * of 32 bytes or more, as dx_mask_kernels are (see mask.h); shorter pieces are
 * not worth a vector and always take the same portable path. */
extern const dx_utf8_kernel dx_utf8_kernels[];

/* What follows is for the kernels alone. */

dx_utf8_fn dx_utf8_sse2, dx_utf8_ssse3, dx_utf8_avx2, dx_utf8_neon;

/* The state after 'n' more bytes, by the automaton of utf8.c. */
uint32_t dx_utf8_run(uint32_t state, const uint8_t *p, size_t n);

/* The state at the end of 'n' bytes, at least 3, which are known to be free of
 * errors except that the last character may be cut or impossible. */
uint32_t dx_utf8_last(const uint8_t *p, size_t n);

/* The two states that a kernel may have to tell; see utf8.c for the others. */
enum { DX_UTF8_START = 0, DX_UTF8_BAD = 48 };

#endif

/* SPDX-License-Identifier: MIT */
/* mask.h - the XOR mask of RFC 6455 5.3, and whether the outcome is ASCII.
 * Pure functions: no allocation, no I/O.  The caller owns all memory; nothing
 * is read or written outside the 'n' bytes given.  Lengths are in bytes. */
#ifndef DX_MASK_H
#define DX_MASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* XOR 'n' bytes of 'src' into 'dst', byte i with key[(phase + i) & 3].  'phase'
 * is the number of payload bytes which came before (only its low two bits
 * count, so it may wrap).  'dst' is 'src', or the two do not overlap; with n
 * == 0 both may be NULL.
 *
 * Returns a byte whose top bit is set exactly when some output byte is 0x80 or
 * above; the other bits mean nothing.  So unmasked text whose top bit stays
 * clear is ASCII and needs no UTF-8 validation. */
uint8_t dx_mask(uint8_t *dst, const uint8_t *src, size_t n,
                const uint8_t key[4], size_t phase);

typedef uint8_t dx_mask_fn(uint8_t *dst, const uint8_t *src, size_t n,
                           const uint8_t key[4], size_t phase);

/* One way to do the same; every 'fn' keeps the contract of dx_mask for every
 * n, and may be called only where 'supported' returns non-zero. */
typedef struct dx_mask_kernel {
  const char *name; /* what DX_KERNEL in the environment may say */
  int (*supported)(void);
  dx_mask_fn *fn;
} dx_mask_kernel;

/* Slowest first, ended by a row whose name is NULL.  The first dx_mask of more
 * than 125 bytes settles on the last supported row, or on the one which the
 * environment variable DX_KERNEL names (for debugging; a name which is unknown
 * or not supported here is ignored).  Up to 125 bytes, a control frame or a
 * chat message, the choice would cost more than it gains: those always take
 * the widest step that every CPU of the architecture has. */
extern const dx_mask_kernel dx_mask_kernels[];

/* What follows is for the kernels alone. */

dx_mask_fn dx_mask_words, dx_mask_sse2, dx_mask_avx2, dx_mask_neon;

/* The key from 'phase' on, twice, laid out in memory order on either byte
 * order.  A tail of 4, 8, 16 or 32 bytes at the end of n bytes starts at phase
 * + n, because those sizes are multiples of the key's. */
static inline uint64_t dx_mask_spread(const uint8_t key[4], size_t phase) {
  uint32_t k, turn = 8 * (uint32_t)(phase & 3), back = (32 - turn) & 31;
  memcpy(&k, key, 4);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  k = k << turn | k >> back;
#else
  k = k >> turn | k << back;
#endif
  return (uint64_t)k << 32 | k;
}

#endif

/* SPDX-License-Identifier: MIT */
/* base64.h - base64 with the standard alphabet and padding (RFC 4648 4), as the
 * handshake keys are written.  Pure functions: no allocation, no I/O, the
 * caller owns all memory.  Lengths are in bytes. */
#ifndef DX_BASE64_H
#define DX_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* The length of 'n' bytes encoded.  'n' is at most three quarters of SIZE_MAX,
 * which any n that fits beside its own encoding is. */
#define DX_BASE64_SIZE(n) (((n) + 2) / 3 * 4)

/* Encode 'n' bytes.  Returns the number of characters written to 'out', which
 * is DX_BASE64_SIZE(n) and must fit there; no NUL is added.  The two may not
 * overlap; 'p' may be NULL when n == 0. */
size_t dx_base64_encode(char *out, const void *p, size_t n);

/* Decode 'n' characters into at most 'cap' bytes.  Returns the number of bytes
 * written, or -1 when they would not fit or the text is not the one canonical
 * encoding of some bytes: a character outside the alphabet (white space too), a
 * length that is not a multiple of four, missing or misplaced padding, or bits
 * set under the padding (RFC 4648 3.5).  'out' is then in no defined state. */
long dx_base64_decode(uint8_t *out, size_t cap, const char *p, size_t n);

#endif

/* SPDX-License-Identifier: MIT */
/* random.h - unpredictable bytes from the operating system, in batches.
 *
 * A masking key must come from a strong source of entropy and not be known in
 * advance (RFC 6455 5.3), and a system call a frame would cost more than the
 * frame.  So a pool is filled at once and handed out; what has been handed out
 * is wiped from it.  A child after fork() never repeats its parent's bytes.
 *
 * The pool is owned by whoever made it and must not be used by two threads at
 * once; there is no state beside it.  Lengths are in bytes. */
#ifndef DX_RANDOM_H
#define DX_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DX_RANDOM_POOL 4080 /* with the three words before it: one page */

/* Private but for dx_random_key.  It lives in memory of its own that reads as
 * zeros after a fork, so zero has to mean "empty, and not known to be wiped".
 */
typedef struct dx_random {
  uint32_t left;  /* bytes not handed out yet: the first ones of 'pool' */
  uint32_t wiped; /* non-zero when the kernel zeroes this page in a child */
  int64_t owner;  /* process that filled the pool; compared when not 'wiped' */
  uint8_t pool[DX_RANDOM_POOL];
} dx_random;

/* Returns an empty pool, to be given to dx_random_free, or NULL when the system
 * has no memory.  No entropy is drawn before the first use. */
dx_random *dx_random_new(void);

/* Frees the pool; NULL is allowed. */
void dx_random_free(dx_random *r);

/* Write 'n' unpredictable bytes to 'out'.  Returns 0, or -1 when the system
 * gives none; 'out' is then in no defined state and must not be used. */
int dx_random_bytes(dx_random *r, void *out, size_t n);

/* The same for one masking key, quick enough for every frame. */
static inline int dx_random_key(dx_random *r, uint8_t key[4]) {
  if (r->left < 4 || !r->wiped)
    return dx_random_bytes(r, key, 4);
  r->left -= 4;
  memcpy(key, r->pool + r->left, 4);
  memset(r->pool + r->left, 0, 4);
  return 0;
}

#endif

/* SPDX-License-Identifier: MIT */
/* mask.c - choice of the masking kernel, and the two portable kernels. */
#include "mask.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SHORT_MAX 125 /* the longest payload with a one byte length */

/* The definition, and what every other kernel is tested against. */
static uint8_t mask_bytes(uint8_t *dst, const uint8_t *src, size_t n,
                          const uint8_t key[4], size_t phase) {
  uint8_t seen = 0;
  for (size_t i = 0; i < n; i++)
    seen |= dst[i] = src[i] ^ key[(phase + i) & 3];
  return seen;
}

/* 4 to 7 bytes: two words that overlap.  Both are loaded before either is
 * stored, because in place the second would else be masked twice. */
static inline uint8_t mask_4_to_7(uint8_t *dst, const uint8_t *src, size_t n,
                                  const uint8_t key[4], size_t phase) {
  uint32_t head, tail;
  memcpy(&head, src, 4);
  memcpy(&tail, src + n - 4, 4);
  head ^= (uint32_t)dx_mask_spread(key, phase);
  tail ^= (uint32_t)dx_mask_spread(key, phase + n);
  memcpy(dst, &head, 4);
  memcpy(dst + n - 4, &tail, 4);
  return (head | tail) & 0x80808080u ? 0x80 : 0;
}

/* Whole words, then the last eight bytes as one word that may overlap the one
 * before.  It is loaded first and stored last, for the reason above. */
static inline uint8_t mask_words(uint8_t *dst, const uint8_t *src, size_t n,
                                 const uint8_t key[4], size_t phase) {
  if (n < 4)
    return mask_bytes(dst, src, n, key, phase);
  if (n < 8)
    return mask_4_to_7(dst, src, n, key, phase);
  uint64_t k = dx_mask_spread(key, phase), tail, seen, word;
  memcpy(&tail, src + n - 8, 8);
  seen = tail ^= dx_mask_spread(key, phase + n);
  for (size_t i = 0; i < n - 8; i += 8) {
    memcpy(&word, src + i, 8);
    seen |= word ^= k;
    memcpy(dst + i, &word, 8);
  }
  memcpy(dst + n - 8, &tail, 8);
  return seen & 0x8080808080808080u ? 0x80 : 0;
}

uint8_t dx_mask_words(uint8_t *dst, const uint8_t *src, size_t n,
                      const uint8_t key[4], size_t phase) {
  return mask_words(dst, src, n, key, phase);
}

static int always(void) { return 1; }

#if defined(__x86_64__)
#define mask_short dx_mask_sse2
static int has_avx2(void) { return __builtin_cpu_supports("avx2"); }
#elif defined(__aarch64__)
#define mask_short dx_mask_neon
#else
#define mask_short mask_words
#endif

/* clang-format off */
const dx_mask_kernel dx_mask_kernels[] = {
    {"bytes", always, mask_bytes},
    {"words", always, dx_mask_words},
#if defined(__x86_64__)
    {"sse2", always, dx_mask_sse2},
    {"avx2", has_avx2, dx_mask_avx2},
#elif defined(__aarch64__)
    {"neon", always, dx_mask_neon},
#endif
    {NULL, NULL, NULL}};
/* clang-format on */

static dx_mask_fn mask_first;
static _Atomic(dx_mask_fn *) chosen = mask_first;

/* Where 'chosen' points until the first use.  Threads which race here all
 * arrive at the same kernel, so the store needs no order. */
static uint8_t mask_first(uint8_t *dst, const uint8_t *src, size_t n,
                          const uint8_t key[4], size_t phase) {
  const char *forced = getenv("DX_KERNEL");
  dx_mask_fn *best = mask_bytes;
  for (const dx_mask_kernel *k = dx_mask_kernels; k->name; k++) {
    if (!k->supported())
      continue;
    best = k->fn;
    if (forced && strcmp(forced, k->name) == 0)
      break;
  }
  atomic_store_explicit(&chosen, best, memory_order_relaxed);
  return best(dst, src, n, key, phase);
}

uint8_t dx_mask(uint8_t *dst, const uint8_t *src, size_t n,
                const uint8_t key[4], size_t phase) {
  if (n <= SHORT_MAX)
    return mask_short(dst, src, n, key, phase);
  return atomic_load_explicit(&chosen, memory_order_relaxed)(dst, src, n, key,
                                                             phase);
}

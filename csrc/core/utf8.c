/* SPDX-License-Identifier: MIT */
/* utf8.c - the UTF-8 automaton, and the choice of a faster kernel.
 *
 *            00..7F                      the states, by what must come next:
 *   START  ----------> START
 *          C2..DF ---> LAST1             80..BF -> START
 *          E0 -------> AFTER_E0          A0..BF -> LAST1
 *          E1..EF ---> LAST2             80..BF -> LAST1    (all but ED)
 *          ED -------> AFTER_ED          80..9F -> LAST1
 *          F0 -------> AFTER_F0          90..BF -> LAST2
 *          F1..F3 ---> LAST3             80..BF -> LAST2
 *          F4 -------> AFTER_F4          80..8F -> LAST2
 *   everything else -> BAD, for good
 *
 * This is the grammar of RFC 3629 4, so it fails at the first impossible byte.
 * A state is a bit position: the row of a byte holds, at each state's position,
 * the six bits of the state that follows.  A step is then one load that does
 * not depend on the state, and one shift: no branch to mispredict. */
#include "utf8.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_MAX 31

enum {
  START = DX_UTF8_START,
  LAST1 = 6,
  LAST2 = 12,
  LAST3 = 18,
  AFTER_E0 = 24,
  AFTER_ED = 30,
  AFTER_F0 = 36,
  AFTER_F4 = 42,
  BAD = DX_UTF8_BAD
};

/* ROW sends every state to BAD; GO, XORed onto it, makes one exception. */
#define ROW (BAD * UINT64_C(0x1041041041041))
#define GO(from, to) ((uint64_t)(BAD ^ (to)) << (from))
#define TAIL (ROW ^ GO(LAST1, START) ^ GO(LAST2, LAST1) ^ GO(LAST3, LAST2))

/* clang-format off */
static const uint64_t rows[256] = {
    [0x00 ... 0x7F] = ROW ^ GO(START, START),
    [0x80 ... 0x8F] = TAIL ^ GO(AFTER_ED, LAST1) ^ GO(AFTER_F4, LAST2),
    [0x90 ... 0x9F] = TAIL ^ GO(AFTER_ED, LAST1) ^ GO(AFTER_F0, LAST2),
    [0xA0 ... 0xBF] = TAIL ^ GO(AFTER_E0, LAST1) ^ GO(AFTER_F0, LAST2),
    [0xC0 ... 0xC1] = ROW,
    [0xC2 ... 0xDF] = ROW ^ GO(START, LAST1),
    [0xE0]          = ROW ^ GO(START, AFTER_E0),
    [0xE1 ... 0xEC] = ROW ^ GO(START, LAST2),
    [0xED]          = ROW ^ GO(START, AFTER_ED),
    [0xEE ... 0xEF] = ROW ^ GO(START, LAST2),
    [0xF0]          = ROW ^ GO(START, AFTER_F0),
    [0xF1 ... 0xF3] = ROW ^ GO(START, LAST3),
    [0xF4]          = ROW ^ GO(START, AFTER_F4),
    [0xF5 ... 0xFF] = ROW};
/* clang-format on */

uint32_t dx_utf8_run(uint32_t state, const uint8_t *p, size_t n) {
  uint64_t s = state;
  for (size_t i = 0; i < n; i++)
    s = rows[p[i]] >> (s & 63);
  return (uint32_t)(s & 63);
}

uint32_t dx_utf8_last(const uint8_t *p, size_t n) {
  for (size_t back = 1; back <= 3; back++) {
    uint8_t byte = p[n - back];
    if (byte >= 0xC0)
      return dx_utf8_run(START, p + n - back, back);
    if (byte < 0x80)
      break;
  }
  /* After ASCII, or three bytes after a lead which can want no more. */
  return START;
}

/* The reference.  The break keeps a long invalid text from costing more. */
static int feed_bytes(dx_utf8 *u, const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n && u->state != BAD; i += 64)
    u->state = dx_utf8_run(u->state, p + i, n - i < 64 ? n - i : 64);
  return u->state != BAD;
}

static inline uint64_t load_word(const uint8_t *p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}

/* Most short texts are ASCII all through, which four loads that may overlap can
 * tell of 8 to 31 bytes. */
static inline int short_ascii(const uint8_t *p, size_t n) {
  uint64_t all = load_word(p) | load_word(p + n - 8);
  if (n > 16)
    all |= load_word(p + 8) | load_word(p + n - 16);
  return !(all & 0x8080808080808080u);
}

static int always(void) { return 1; }

#if defined(__x86_64__)
static int has_ssse3(void) { return __builtin_cpu_supports("ssse3"); }
static int has_avx2(void) { return __builtin_cpu_supports("avx2"); }
#endif

/* clang-format off */
const dx_utf8_kernel dx_utf8_kernels[] = {
    {"bytes", always, feed_bytes},
#if defined(__x86_64__)
    {"sse2", always, dx_utf8_sse2},
    {"ssse3", has_ssse3, dx_utf8_ssse3},
    {"avx2", has_avx2, dx_utf8_avx2},
#elif defined(__aarch64__)
    {"neon", always, dx_utf8_neon},
#endif
    {NULL, NULL, NULL}};
/* clang-format on */

static dx_utf8_fn feed_first;
static _Atomic(dx_utf8_fn *) chosen = feed_first;

/* Where 'chosen' points until the first use.  Threads which race here all
 * arrive at the same kernel, so the store needs no order. */
static int feed_first(dx_utf8 *u, const uint8_t *p, size_t n) {
  const char *forced = getenv("DX_KERNEL");
  dx_utf8_fn *best = feed_bytes;
  for (const dx_utf8_kernel *k = dx_utf8_kernels; k->name; k++) {
    if (!k->supported())
      continue;
    best = k->fn;
    if (forced && strcmp(forced, k->name) == 0)
      break;
  }
  atomic_store_explicit(&chosen, best, memory_order_relaxed);
  return best(u, p, n);
}

int dx_utf8_feed(dx_utf8 *u, const uint8_t *p, size_t n) {
  if (n > SHORT_MAX)
    return atomic_load_explicit(&chosen, memory_order_relaxed)(u, p, n);
  if (n >= 8 && u->state == START && short_ascii(p, n))
    return 1;
  u->state = dx_utf8_run(u->state, p, n);
  return u->state != BAD;
}

int dx_utf8_complete(const dx_utf8 *u) { return u->state == START; }

int dx_utf8_valid(const uint8_t *p, size_t n) {
  dx_utf8 u = {START};
  return dx_utf8_feed(&u, p, n) && dx_utf8_complete(&u);
}

size_t dx_utf8_cut(const uint8_t *p, size_t n, size_t max) {
  if (n <= max)
    return n;
  while (max > 0 && (p[max] & 0xC0) == 0x80)
    max--;
  return max;
}

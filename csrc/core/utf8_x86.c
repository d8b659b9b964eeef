/* SPDX-License-Identifier: MIT */
/* utf8_x86.c - UTF-8 by vectors: skipping ASCII (SSE2), and validating
 * everything by table lookup (SSSE3, AVX2) after the idea of Keiser and Lemire,
 * "Validating UTF-8 in less than one instruction per byte" (2021).
 *
 * Whether a byte may follow the one before it depends on three nibbles: both of
 * the byte before, and the high one of the byte itself.  Each nibble looks up
 * the set of errors which it leaves possible; what is in all three sets is
 * wrong.  A continuation after a continuation (TWICE) is wrong by this rule,
 * but is exactly what must be there two bytes after a lead of E0 and above, or
 * three after one of F0 and above: so TWICE is compared with that.
 *
 * The verdict on a byte depends on it and the three before it, which are read
 * from memory again, unaligned; so blocks may start at any offset from 3 on,
 * and the last may overlap its predecessor.  The first three bytes, which carry
 * on from the piece before, and the last character, which may be cut, are run
 * through the automaton. */
#include "utf8.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
  SHORT = 1,      /* a lead, not followed by a continuation */
  LONG = 2,       /* ASCII, followed by a continuation */
  OVER2 = 4,      /* C0 or C1: overlong */
  OVER3 = 8,      /* E0 80..9F: overlong */
  SURROGATE = 16, /* ED A0..BF */
  LARGE = 32,     /* F4 90..BF, or F5..FF 90..BF: above U+10FFFF */
  EDGE4 = 64,     /* F0 80..8F: overlong, or F5..FF 80..8F: too large */
  TWICE = 128,    /* a continuation after a continuation */
  ANY = SHORT | LONG | TWICE /* what the low nibble has no say in */
};

/* One entry a nibble, 0 to F. */
/* clang-format off */
#define BEFORE_HIGH                                                            \
  LONG, LONG, LONG, LONG, LONG, LONG, LONG, LONG,                              \
  TWICE, TWICE, TWICE, TWICE,                                                  \
  SHORT | OVER2, SHORT, SHORT | OVER3 | SURROGATE, SHORT | LARGE | EDGE4

#define BEFORE_LOW                                                             \
  ANY | OVER2 | OVER3 | EDGE4, ANY | OVER2, ANY, ANY, ANY | LARGE,             \
  ANY | LARGE | EDGE4, ANY | LARGE | EDGE4, ANY | LARGE | EDGE4,               \
  ANY | LARGE | EDGE4, ANY | LARGE | EDGE4, ANY | LARGE | EDGE4,               \
  ANY | LARGE | EDGE4, ANY | LARGE | EDGE4,                                    \
  ANY | LARGE | EDGE4 | SURROGATE, ANY | LARGE | EDGE4, ANY | LARGE | EDGE4

#define ITSELF_HIGH                                                            \
  SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT, SHORT,                      \
  LONG | TWICE | OVER2 | OVER3 | EDGE4, LONG | TWICE | OVER2 | OVER3 | LARGE,  \
  LONG | TWICE | OVER2 | SURROGATE | LARGE,                                    \
  LONG | TWICE | OVER2 | SURROGATE | LARGE, SHORT, SHORT, SHORT, SHORT
/* clang-format on */

static const uint8_t before_high[16] = {BEFORE_HIGH};
static const uint8_t before_low[16] = {BEFORE_LOW};
static const uint8_t itself_high[16] = {ITSELF_HIGH};

static inline __m128i load16(const uint8_t *p) {
  return _mm_loadu_si128((const __m128i *)p);
}

/* Blocks are skipped only between characters; one that is not ASCII goes
 * through the automaton whole. */
int dx_utf8_sse2(dx_utf8 *u, const uint8_t *p, size_t n) {
  uint32_t state = u->state;
  size_t i = 0;
  for (; i + 16 <= n && state != DX_UTF8_BAD; i += 16)
    if (state != DX_UTF8_START || _mm_movemask_epi8(load16(p + i)))
      state = dx_utf8_run(state, p + i, 16);
  u->state = dx_utf8_run(state, p + i, n - i);
  return u->state != DX_UTF8_BAD;
}

/* What vectors cannot tell: the start, and the end when the rest is 'good'. */
static int conclude(dx_utf8 *u, const uint8_t *p, size_t n, int good) {
  good = good && dx_utf8_run(u->state, p, 3) != DX_UTF8_BAD;
  u->state = good ? dx_utf8_last(p, n) : DX_UTF8_BAD;
  return u->state != DX_UTF8_BAD;
}

#define SSSE3 __attribute__((target("ssse3")))

SSSE3 static inline __m128i high16(__m128i v) {
  return _mm_and_si128(_mm_srli_epi16(v, 4), _mm_set1_epi8(15));
}

/* The errors of the 16 bytes at 'p': zero where there is none.  Less 0x60
 * (0x70), saturating, only leads of E0 (F0) and above keep a top bit, the one
 * of TWICE. */
SSSE3 static inline __m128i errors16(const uint8_t *p, __m128i v) {
  __m128i before = load16(p - 1);
  __m128i low = _mm_and_si128(before, _mm_set1_epi8(15));
  __m128i e = _mm_and_si128(
      _mm_and_si128(_mm_shuffle_epi8(load16(before_high), high16(before)),
                    _mm_shuffle_epi8(load16(before_low), low)),
      _mm_shuffle_epi8(load16(itself_high), high16(v)));
  __m128i third = _mm_subs_epu8(load16(p - 2), _mm_set1_epi8(0x60));
  __m128i fourth = _mm_subs_epu8(load16(p - 3), _mm_set1_epi8(0x70));
  __m128i due = _mm_or_si128(third, fourth);
  return _mm_xor_si128(e, _mm_and_si128(due, _mm_set1_epi8(-128)));
}

SSSE3 int dx_utf8_ssse3(dx_utf8 *u, const uint8_t *p, size_t n) {
  if (n < 3 + 16)
    return dx_utf8_sse2(u, p, n);
  __m128i bad = _mm_setzero_si128();
  for (size_t i = 3; i < n; i += 16) {
    const uint8_t *at = p + (i < n - 16 ? i : n - 16);
    __m128i v = load16(at);
    if (_mm_movemask_epi8(_mm_or_si128(v, load16(at - 3))))
      bad = _mm_or_si128(bad, errors16(at, v));
  }
  int good = _mm_movemask_epi8(_mm_cmpeq_epi8(bad, _mm_setzero_si128()));
  return conclude(u, p, n, good == 0xFFFF);
}

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i load32(const uint8_t *p) {
  return _mm256_loadu_si256((const __m256i *)p);
}

AVX2 static inline __m256i look_up(const uint8_t table[16], __m256i nibbles) {
  __m256i both = _mm256_broadcastsi128_si256(load16(table));
  return _mm256_shuffle_epi8(both, nibbles);
}

AVX2 static inline __m256i high32(__m256i v) {
  return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
}

/* errors16, twice as wide. */
AVX2 static inline __m256i errors32(const uint8_t *p) {
  __m256i before = load32(p - 1);
  __m256i low = _mm256_and_si256(before, _mm256_set1_epi8(15));
  __m256i e =
      _mm256_and_si256(_mm256_and_si256(look_up(before_high, high32(before)),
                                        look_up(before_low, low)),
                       look_up(itself_high, high32(load32(p))));
  __m256i third = _mm256_subs_epu8(load32(p - 2), _mm256_set1_epi8(0x60));
  __m256i fourth = _mm256_subs_epu8(load32(p - 3), _mm256_set1_epi8(0x70));
  __m256i due = _mm256_or_si256(third, fourth);
  return _mm256_xor_si256(e, _mm256_and_si256(due, _mm256_set1_epi8(-128)));
}

/* Whether the 128 bytes at 'p' and the three before them are ASCII. */
AVX2 static inline int ascii128(const uint8_t *p) {
  __m256i a = _mm256_or_si256(load32(p - 3), load32(p));
  __m256i b = _mm256_or_si256(load32(p + 32), load32(p + 64));
  a = _mm256_or_si256(_mm256_or_si256(a, b), load32(p + 96));
  return !_mm256_movemask_epi8(a);
}

AVX2 int dx_utf8_avx2(dx_utf8 *u, const uint8_t *p, size_t n) {
  if (n < 3 + 32)
    return dx_utf8_ssse3(u, p, n);
  __m256i bad = _mm256_setzero_si256();
  size_t i = 3;
  for (; i + 128 <= n; i += 128)
    if (!ascii128(p + i))
      for (size_t j = i; j < i + 128; j += 32)
        bad = _mm256_or_si256(bad, errors32(p + j));
  for (; i < n; i += 32)
    bad = _mm256_or_si256(bad, errors32(p + (i < n - 32 ? i : n - 32)));
  return conclude(u, p, n, _mm256_testz_si256(bad, bad));
}
#endif

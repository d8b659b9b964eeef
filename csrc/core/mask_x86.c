/* SPDX-License-Identifier: MIT */
/* mask_x86.c - masking by 16 bytes (SSE2) and by 32 bytes (AVX2). */
#include "mask.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* As in the portable kernel the tail is loaded first and stored last, since in
 * place it may overlap the block before. */
uint8_t dx_mask_sse2(uint8_t *dst, const uint8_t *src, size_t n,
                     const uint8_t key[4], size_t phase) {
  if (n < 16)
    return dx_mask_words(dst, src, n, key, phase);
  __m128i k = _mm_set1_epi64x((long long)dx_mask_spread(key, phase));
  __m128i tail_key = _mm_set1_epi64x((long long)dx_mask_spread(key, phase + n));
  __m128i tail = _mm_loadu_si128((const __m128i *)(src + n - 16));
  __m128i seen = tail = _mm_xor_si128(tail, tail_key);
  for (size_t i = 0; i < n - 16; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(src + i));
    v = _mm_xor_si128(v, k);
    seen = _mm_or_si128(seen, v);
    _mm_storeu_si128((__m128i *)(dst + i), v);
  }
  _mm_storeu_si128((__m128i *)(dst + n - 16), tail);
  return _mm_movemask_epi8(seen) ? 0x80 : 0;
}

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i load(const uint8_t *p) {
  return _mm256_loadu_si256((const __m256i *)p);
}

AVX2 static inline void store(uint8_t *p, __m256i v) {
  _mm256_storeu_si256((__m256i *)p, v);
}

AVX2 static inline __m256i key_at(const uint8_t key[4], size_t phase) {
  return _mm256_set1_epi64x((long long)dx_mask_spread(key, phase));
}

/* A payload starts anywhere, and every second unaligned store would cross a
 * cache line.  So the head is done like the tail, as one block loaded first
 * and stored last, and the blocks between them are aligned in 'dst'. */
AVX2 uint8_t dx_mask_avx2(uint8_t *dst, const uint8_t *src, size_t n,
                          const uint8_t key[4], size_t phase) {
  if (n < 64)
    return dx_mask_sse2(dst, src, n, key, phase);
  size_t i = 32 - ((uintptr_t)dst & 31), last = n - 32;
  __m256i k = key_at(key, phase + i);
  __m256i head = _mm256_xor_si256(load(src), key_at(key, phase));
  __m256i tail = _mm256_xor_si256(load(src + last), key_at(key, phase + n));
  __m256i seen = _mm256_or_si256(head, tail), more = seen;
  for (; i + 64 <= last; i += 64) {
    __m256i a = _mm256_xor_si256(load(src + i), k);
    __m256i b = _mm256_xor_si256(load(src + i + 32), k);
    seen = _mm256_or_si256(seen, a);
    more = _mm256_or_si256(more, b);
    store(dst + i, a);
    store(dst + i + 32, b);
  }
  for (; i < last; i += 32) {
    __m256i a = _mm256_xor_si256(load(src + i), k);
    seen = _mm256_or_si256(seen, a);
    store(dst + i, a);
  }
  store(dst, head);
  store(dst + last, tail);
  return _mm256_movemask_epi8(_mm256_or_si256(seen, more)) ? 0x80 : 0;
}
#endif

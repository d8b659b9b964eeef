/* SPDX-License-Identifier: MIT */
/* mask_neon.c - masking by 16 bytes on aarch64, where NEON is always there. */
#include "mask.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* As in the portable kernel the tail is loaded first and stored last, since in
 * place it may overlap the block before. */
uint8_t dx_mask_neon(uint8_t *dst, const uint8_t *src, size_t n,
                     const uint8_t key[4], size_t phase) {
  if (n < 16)
    return dx_mask_words(dst, src, n, key, phase);
  uint8x16_t k = vreinterpretq_u8_u64(vdupq_n_u64(dx_mask_spread(key, phase)));
  uint8x16_t tail_key =
      vreinterpretq_u8_u64(vdupq_n_u64(dx_mask_spread(key, phase + n)));
  uint8x16_t tail = veorq_u8(vld1q_u8(src + n - 16), tail_key), seen = tail;
  for (size_t i = 0; i < n - 16; i += 16) {
    uint8x16_t v = veorq_u8(vld1q_u8(src + i), k);
    seen = vorrq_u8(seen, v);
    vst1q_u8(dst + i, v);
  }
  vst1q_u8(dst + n - 16, tail);
  return vmaxvq_u8(seen) & 0x80;
}
#endif

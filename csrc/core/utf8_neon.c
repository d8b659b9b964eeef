/* SPDX-License-Identifier: MIT */
/* utf8_neon.c - UTF-8 on aarch64: ASCII is skipped by 32 bytes. */
#include "utf8.h"

#if defined(__aarch64__)
#include <arm_neon.h>

/* Blocks are skipped only between characters; one that is not ASCII goes
 * through the automaton whole. */
int dx_utf8_neon(dx_utf8 *u, const uint8_t *p, size_t n) {
  uint32_t state = u->state;
  size_t i = 0;
  for (; i + 32 <= n && state != DX_UTF8_BAD; i += 32) {
    uint8x16_t all = vorrq_u8(vld1q_u8(p + i), vld1q_u8(p + i + 16));
    if (state != DX_UTF8_START || vmaxvq_u8(all) >= 0x80)
      state = dx_utf8_run(state, p + i, 32);
  }
  u->state = dx_utf8_run(state, p + i, n - i);
  return u->state != DX_UTF8_BAD;
}
#endif

/* SPDX-License-Identifier: MIT
 * tap.h - the one callback of the core: who looks for a mistake sees what
 * passes.  Bytes are borrowed, sizes are in bytes. */
#ifndef DX_TAP_H
#define DX_TAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct dx_conn dx_conn;

/* Sees what passes through connections, for people who look for a mistake
 * (docs/design.md says why).  DX_SEEN_HEAD: a whole HTTP head of the peer;
 * DX_SEEN_IN: bytes of frames as they came, some of a frame or several;
 * DX_SEEN_OUT: bytes that go out, HTTP too while the state is DX_HANDSHAKE. */
typedef enum dx_seen { DX_SEEN_HEAD, DX_SEEN_IN, DX_SEEN_OUT } dx_seen;
typedef struct dx_tap {
  void (*see)(struct dx_tap *tap, const dx_conn *c, dx_seen what,
              const uint8_t *p, size_t n);
} dx_tap;

#endif

/* SPDX-License-Identifier: MIT
 * frame.h - one RFC 6455 frame header, as bytes and as a struct, and the
 * close codes.  Pure functions: no state, no allocation, no I/O.  Lengths are
 * in bytes. */
#ifndef DX_FRAME_H
#define DX_FRAME_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

#define DX_MAX_HEAD 14     /* 2 + 8 length + 4 masking key: the longest */
#define DX_MAX_CONTROL 125 /* payload of a control frame, RFC 6455 5.5 */
#define DX_MAX_REASON 123  /* bytes of a close reason: 125 - 2 of the code */

/* RFC 6455 5.2 */
enum {
  DX_CONTINUATION = 0,
  DX_TEXT = 1,
  DX_BINARY = 2,
  DX_CLOSE = 8,
  DX_PING = 9,
  DX_PONG = 10
};

/* RFC 6455 7.4.1; both stand for something not on the wire. */
enum { DX_CODE_NONE = 1005, DX_CODE_ABNORMAL = 1006 };

typedef struct dx_head {
  uint64_t length; /* payload length; the top bit is never set */
  uint8_t key[4];  /* masking key, valid only when 'masked' */
  uint8_t opcode;  /* 4 bits as received: may be a reserved value */
  uint8_t rsv;     /* RSV1 = 4, RSV2 = 2, RSV3 = 1 */
  uint8_t fin, masked;
} dx_head;

/* Decode the header at the start of 'p'.  Returns its size (2..DX_MAX_HEAD),
 * 0 if 'n' bytes are not enough yet, or -1 if the length is not in its
 * shortest form or has the top bit set (RFC 6455 5.2).  What the first bytes
 * already tell ('fin', 'rsv', 'opcode', 'masked' from 2 bytes on) is written
 * even when 0 or -1 is returned, so that a bad header fails at once. */
int dx_head_decode(dx_head *h, const uint8_t *p, size_t n);

/* Write a header with FIN and opcode 'first' (as on the wire), the shortest
 * length, and 'key' if it is not NULL.  Returns its size; 'p' has room for
 * DX_MAX_HEAD. */
size_t dx_head_encode(uint8_t *p, uint8_t first, uint64_t length,
                      const uint8_t *key);

/* May this close code be on the wire?  RFC 6455 7.4 and the IANA registry:
 * 1000..1003, 1007..1014 and 3000..4999. */
int dx_close_code_ok(unsigned code);

#endif

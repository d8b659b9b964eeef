/* SPDX-License-Identifier: MIT
 * message.h - a whole message on its way out, to one connection or to many.
 * Data, frame and packed belong to the caller; sizes are in bytes. */
#ifndef DX_MESSAGE_H
#define DX_MESSAGE_H

#include "buffer.h"
#include "deflate.h"

/* A text is known to be UTF-8. */
typedef struct dx_message {
  const uint8_t *data;
  size_t n;
  dx_bytes **frame;   /* of one for many: its frame, once it is made; or NULL */
  dx_packed **packed; /* of one for many: what it was compressed to; or NULL */
  uint8_t opcode;     /* DX_TEXT or DX_BINARY */
  uint8_t how;        /* DX_PLAIN, DX_COMPRESS or 0, as it is long enough */
} dx_message;

/* From so many bytes on a message for many is not copied into empty outboxes.
 * Less costs less to copy, and several leave together. */
#define DX_SHARED ((size_t)8 * 1024)

#endif

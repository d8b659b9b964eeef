/* SPDX-License-Identifier: MIT
 * reader.h - bytes from the peer become messages and control frames
 * (RFC 6455 5).  No role but the direction of masking, no I/O, no clock.
 *
 * Memory: input is borrowed from the caller until DX_WANT is returned, and is
 * unmasked in place.  A message that lies whole in the input is handed out
 * where it is; anything else is collected in a block that the reader owns, and
 * so is what compressed messages become.
 * Event data is good until the next call. */
#ifndef DX_READER_H
#define DX_READER_H

#include "deflate.h"
#include "frame.h"
#include "limits.h"
#include "utf8.h"

typedef enum dx_kind {
  DX_FAILED = -1, /* for good: the object says why */
  DX_WANT = 0,    /* all input is used up, more is needed */
  DX_LATER,       /* much was inflated, and input is left: others first */
  DX_MESSAGE,     /* a whole message */
  DX_PIECE,       /* some of a message, when 'pieces' is set; 'last' tells */
  DX_GOT_PING,
  DX_GOT_PONG,
  DX_GOT_CLOSE
} dx_kind;

typedef struct dx_event {
  const uint8_t *data;
  size_t n;       /* bytes */
  uint8_t opcode; /* of the message: DX_TEXT or DX_BINARY */
  uint8_t last;
} dx_event;

typedef struct dx_reader {
  uint8_t *in; /* borrowed input not yet used */
  size_t n;
  dx_deflate *deflate; /* set by the owner: compression agreed on, or NULL */
  dx_buffer body;      /* payload collected so far; then a cut control frame */
  uint64_t left;       /* payload bytes of the current frame still to come */
  uint64_t length;     /* bytes of the message up to the end of this frame */
  uint32_t fragments;  /* frames of the message begun so far */
  uint32_t cut;        /* bytes of a control payload behind the body */
  dx_utf8 utf8;        /* where the text of the message stands */
  uint8_t head[DX_MAX_HEAD]; /* a header that has not come whole */
  uint8_t head_n;
  uint8_t key[4];
  uint8_t phase;      /* which key byte meets the next payload byte */
  uint8_t opcode;     /* of the current frame */
  uint8_t message;    /* opcode of the message in progress, 0 if none */
  uint8_t compressed; /* so is that message */
  uint8_t fin, state;
  uint8_t given;  /* the last event pointed into the body */
  uint8_t server; /* set by the owner: frames from the peer are masked */
  uint8_t pieces; /* set by the owner: the next message comes in pieces */
  uint8_t error;  /* dx_error, once failed */
} dx_reader;

/* Lend 'n' bytes.  Only when the last call of dx_reader_next returned
 * DX_WANT, or nothing was lent yet. */
void dx_reader_lend(dx_reader *r, uint8_t *p, size_t n);

/* The next event.  DX_FAILED is final: r->error says why. */
dx_kind dx_reader_next(dx_reader *r, const dx_limits *limits, dx_spare *spare,
                       dx_event *ev);

/* Inside a large payload the next bytes may be received straight into the
 * message: returns how many fit at *p, or 0 if the ordinary way serves
 * better.  Only after DX_WANT. */
size_t dx_reader_room(dx_reader *r, dx_spare *spare, uint8_t **p);

/* 'n' bytes were received at the place that dx_reader_room gave. */
void dx_reader_filled(dx_reader *r, size_t n);

/* After this the reader wants nothing more: input is ignored. */
void dx_reader_finish(dx_reader *r, dx_spare *spare);

#endif

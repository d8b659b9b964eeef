/* SPDX-License-Identifier: MIT
 * deflate.h - messages compressed and inflated (RFC 7692 7.2): what one
 * connection needs for it, and what all of a Lua state share.  The one place
 * that knows zlib, and libdeflate.
 *
 * Memory: a dx_deflate belongs to its connection, its contexts come with the
 * first message that needs them.  Where no context outlives a message, the
 * connections share compressors, and an inflater.  Sizes are in bytes. */
#ifndef DX_DEFLATE_H
#define DX_DEFLATE_H

#include "buffer.h"
#include "error.h"
#include "extensions.h"
#include "totals.h"

/* The bit of a first frame's header that says "compressed", RFC 7692 6. */
#define DX_RSV1 0x40

/* Functions that are not to be inlined: what every message passes through must
 * not pay for compressed ones. */
#define DX_APART __attribute__((noinline))

struct z_stream_s; /* zlib's */
struct dx_compressor;

/* What connections without context takeover share.  Zero it to start. */
typedef struct dx_codecs {
  struct dx_compressor *compressors; /* a list: one for each kind */
  struct z_stream_s *inflater;       /* or NULL, so far */
  struct dx_packed *passing; /* what is being sent to many just now, or NULL */
} dx_codecs;

void dx_codecs_clear(dx_codecs *codecs);

typedef struct dx_deflate {
  dx_deflate_params agreed;
  dx_codecs *codecs;      /* borrowed */
  struct z_stream_s *out; /* our compressor, or NULL */
  struct z_stream_s *in;  /* our inflater, or NULL; or the shared one */
  uint64_t payload_in, payload_out; /* bytes of messages, inflated */
  uint64_t wire_in, wire_out;       /* the same as frames carry them */
  uint64_t inflated;                /* of the message that is coming */
  size_t clear; /* bytes at the start of the input that are unmasked already */
  uint8_t out_bits, in_bits;   /* windows: of what we send, what comes */
  uint8_t out_reset, in_reset; /* no context takeover */
  uint8_t may_end;  /* what we send may have a final block, RFC 7692 7.2.3.4 */
  uint8_t more;     /* the inflater may have more without more input */
  uint8_t borrowed; /* 'in' is the shared inflater */
  uint8_t ended;    /* the last block said that it was the last one */
  uint8_t stale;    /* the peer's window has what our compressor did not see */
  uint8_t running;  /* our compressor is within a message */
} dx_deflate;

/* NULL when memory is out.  'codecs' outlives all calls but dx_deflate_free. */
dx_deflate *dx_deflate_new(const dx_deflate_params *agreed, int server,
                           dx_codecs *codecs);
void dx_deflate_free(dx_deflate *d);

/* The connection is over: only the numbers stay. */
void dx_deflate_rest(dx_deflate *d);

/* A message, or a piece of one, came; 'wire' bytes of frames with it. */
static inline void dx_deflate_count_in(dx_deflate *d, dx_totals *t, size_t n,
                                       uint64_t wire) {
  d->payload_in += n;
  d->wire_in += wire;
  t->payload_in += n;
  t->wire_in += wire;
}
static inline void dx_deflate_count_out(dx_deflate *d, dx_totals *t, size_t n,
                                        size_t wire) {
  d->payload_out += n;
  d->wire_out += wire;
  t->payload_out += n;
  t->wire_out += wire;
}

/* ---- inflating ---- */

typedef struct dx_span { /* both ends move on as bytes are used and made */
  const uint8_t *in;
  size_t in_n;
  uint8_t *out;
  size_t out_n;
} dx_span;

/* A compressed message begins. */
void dx_inflate_begin(dx_deflate *d);

/* Inflate what is there.  1: the input is used up, and all that comes of it was
 * made; 0: 'out' is full; < 0: a negated dx_error.  'last': no input of this
 * message follows.  Then 1 is its end, and verified.  'whole': it is all of the
 * message, and the caller goes on until it has 1 or an error. */
int dx_inflate(dx_deflate *d, dx_span *f, int last, int whole);

/* Others may inflate before this message goes on. */
void dx_inflate_interrupt(dx_deflate *d);

/* ---- compressing ---- */

enum { DX_BEGINS = 1, DX_ENDS = 2 }; /* which part of a message it is */

/* Append the compressed form of 'n' bytes to 'out', which is empty.  DX_OK; or
 * DX_ERR_NO_MEMORY.  'out' is left empty when a message is better sent as it
 * is: it would not be smaller, and no later one needs it as a context. */
dx_error dx_deflate_put(dx_deflate *d, dx_buffer *out, dx_spare *spare,
                        const void *data, size_t n, int parts);

/* A message that was compressed on its own, so that all connections whose
 * compressors are of one kind may send it.  A list of them, one for each kind,
 * belongs to whoever has the message. */
typedef struct dx_packed {
  struct dx_packed *next;
  uint8_t bits, level, memory;
  uint8_t may_end; /* see dx_deflate: for such peers only */
  size_t n;        /* 0: it is better sent as it is */
  uint8_t bytes[];
} dx_packed;

/* The one for the kind of 'd', made if it is not in the list yet; or NULL when
 * memory is out. */
const dx_packed *dx_packed_get(dx_packed **list, const dx_deflate *d,
                               const void *data, size_t n);
void dx_packed_clear(dx_packed **list);

#endif

/* SPDX-License-Identifier: MIT
 *
 *   AT_HEAD -> IN_PAYLOAD -> AT_HEAD ...     FINISHED: input is ignored
 *          any error -> BROKEN, for good */
#include "reader.h"

#include "mask.h"

#include <string.h>

enum { AT_HEAD, IN_PAYLOAD, FINISHED, BROKEN };

/* A payload of at least this many bytes still to come is worth receiving in
 * place. */
#define IN_PLACE ((size_t)32 * 1024)

/* This much is set aside at first, however long the frame claims to be; it
 * grows with what really comes.  Memory set aside but not written is not
 * resident, so a header alone costs next to nothing. */
#define AT_FIRST ((size_t)1024 * 1024)

/* Of a compressed message: what is set aside at first, in multiples of its
 * bytes, what is handed out at a time in pieces, what is inflated at a time, a
 * millisecond's work, and how much more than twice max_message may be on the
 * wire. */
#define INFLATE_FIRST 4
#define INFLATE_PIECE ((size_t)64 * 1024)
#define INFLATE_TURN ((size_t)256 * 1024)
#define COMPRESSED_MORE ((size_t)64 * 1024)

void dx_reader_lend(dx_reader *r, uint8_t *p, size_t n) {
  r->in = p;
  r->n = n;
}

static dx_kind fail(dx_reader *r, dx_error e) {
  r->error = (uint8_t)e;
  r->state = BROKEN;
  r->n = 0;
  return DX_FAILED;
}

static void consume(dx_reader *r, size_t n) {
  r->in += n;
  r->n -= n;
}

/* RFC 7692 6.1: RSV1, of the first frame of a message. */
static int may_be_compressed(const dx_head *h, const dx_reader *r) {
  return r->deflate && h->rsv == 4 &&
         (h->opcode == DX_TEXT || h->opcode == DX_BINARY);
}

/* Every MUST about a header, in the order of RFC 6455 5.2 to 5.5. */
static dx_error check_head(const dx_head *h, const dx_reader *r) {
  /* clang-format off */
  int control = h->opcode & 8;
  if (h->rsv && !may_be_compressed(h, r))
                                   return DX_ERR_RESERVED_BITS;
  if ((h->opcode & 7) > 2)         return DX_ERR_BAD_OPCODE;
  if (h->masked != r->server)      return r->server ? DX_ERR_UNMASKED
                                                    : DX_ERR_MASKED;
  if (control && !h->fin)          return DX_ERR_FRAGMENTED_CONTROL;
  if (control && h->length > DX_MAX_CONTROL)
                                   return DX_ERR_LONG_CONTROL;
  if (!control && h->opcode == DX_CONTINUATION && !r->message)
                                   return DX_ERR_CONTINUATION;
  if (!control && h->opcode != DX_CONTINUATION && r->message)
                                   return DX_ERR_INTERLEAVED;
  return DX_OK;
  /* clang-format on */
}

static int exceeds(const dx_reader *r, const dx_head *h, uint64_t most) {
  return h->length > most || r->length > most - h->length;
}

/* What a data frame does to the message it belongs to.  What a compressed one
 * becomes is counted then; its own limit is for blocks without content. */
static dx_error begin_frame(dx_reader *r, const dx_head *h,
                            const dx_limits *limits) {
  if (h->opcode != DX_CONTINUATION) {
    r->message = h->opcode;
    r->length = 0;
    r->fragments = 0;
    r->utf8 = (dx_utf8){0};
    r->compressed = h->rsv;
    if (h->rsv)
      dx_inflate_begin(r->deflate);
  }
  /* Empty fragments count too: they cost time, if no memory. */
  if (++r->fragments > limits->max_fragments)
    return DX_ERR_FRAGMENTS;
  if (exceeds(r, h, limits->max_message) &&
      (!r->compressed ||
       exceeds(r, h, 2 * limits->max_message + COMPRESSED_MORE)))
    return DX_ERR_TOO_BIG;
  r->length += h->length;
  return DX_OK;
}

/* A header that comes in parts waits in r->head.  Returns like
 * dx_head_decode, and uses input up only with success or 0. */
static int take_head(dx_reader *r, dx_head *h) {
  if (r->head_n == 0) {
    int size = dx_head_decode(h, r->in, r->n);
    if (size > 0) {
      consume(r, (size_t)size);
    } else if (size == 0) {
      memcpy(r->head, r->in, r->n);
      r->head_n = (uint8_t)r->n;
      consume(r, r->n);
    }
    return size;
  }
  size_t had = r->head_n;
  size_t more = sizeof r->head - had;
  if (more > r->n)
    more = r->n;
  memcpy(r->head + had, r->in, more);
  int size = dx_head_decode(h, r->head, had + more);
  if (size == 0) {
    r->head_n = (uint8_t)(had + more);
    consume(r, more);
  } else if (size > 0) {
    r->head_n = 0;
    consume(r, (size_t)size - had);
  }
  return size;
}

/* Unmask 'n' payload bytes at 'dst' (from 'src', or in place) and check text.
 * Fails fast: at the first byte that no text can contain (RFC 6455 8.1). */
static int admit(dx_reader *r, uint8_t *dst, const uint8_t *src, size_t n) {
  int ascii = 0;
  if (r->server) {
    ascii = !(dx_mask(dst, src, n, r->key, r->phase) & 0x80);
    r->phase = (uint8_t)((r->phase + n) & 3);
  } else if (dst != src) {
    memcpy(dst, src, n);
  }
  r->left -= n;
  if (r->message != DX_TEXT || r->opcode & 8)
    return 1;
  if (ascii && dx_utf8_complete(&r->utf8))
    return 1;
  return dx_utf8_feed(&r->utf8, dst, n);
}

static dx_kind control_event(dx_reader *r, dx_event *ev, const uint8_t *p,
                             size_t n) {
  /* Behind a message in progress the body must stay as it is. */
  r->given = dx_buffer_length(r->body) == 0;
  *ev = (dx_event){.data = p, .n = n};
  r->state = AT_HEAD;
  return r->opcode == DX_PING   ? DX_GOT_PING
         : r->opcode == DX_PONG ? DX_GOT_PONG
                                : DX_GOT_CLOSE;
}

/* A control payload; one that comes in parts is kept behind the body, which
 * cannot grow meanwhile. */
static dx_kind control_payload(dx_reader *r, dx_spare *spare, dx_event *ev) {
  size_t n = r->left < r->n ? (size_t)r->left : r->n;
  if (n == r->left && r->cut == 0) {
    uint8_t *p = r->in;
    admit(r, p, p, n);
    consume(r, n);
    return control_event(r, ev, p, n);
  }
  uint8_t *p = dx_buffer_reserve(&r->body, spare, DX_MAX_CONTROL);
  if (p == NULL)
    return fail(r, DX_ERR_NO_MEMORY);
  admit(r, p + r->cut, r->in, n);
  consume(r, n);
  r->cut += (uint32_t)n;
  if (r->left)
    return DX_WANT;
  n = r->cut;
  r->cut = 0;
  return control_event(r, ev, p, n);
}

/* The end of a frame of a message: what is ready goes out. */
static inline dx_kind end_frame(dx_reader *r, dx_event *ev, const uint8_t *p,
                                size_t n) {
  r->state = AT_HEAD;
  *ev = (dx_event){p, n, r->message, r->fin};
  if (r->fin) {
    if (r->message == DX_TEXT && !dx_utf8_complete(&r->utf8))
      return fail(r, DX_ERR_BAD_UTF8);
    r->message = 0;
  }
  r->given = 1;
  if (r->pieces && r->fin) { /* asked for one message at a time */
    r->pieces = 0;
    return DX_PIECE;
  }
  return r->pieces ? DX_PIECE : DX_MESSAGE;
}

/* Make room in the body for the bytes that are here, and with luck for those
 * to come. */
static uint8_t *grow_body(dx_reader *r, dx_spare *spare, size_t here) {
  size_t want = here;
  if (dx_buffer_room(r->body) < here && r->left > here) {
    want = here + AT_FIRST + 3 * dx_buffer_length(r->body);
    if (want > r->left)
      want = (size_t)r->left;
  }
  return dx_buffer_reserve(&r->body, spare, want);
}

/* DX_WANT here means "no event, go on". */
static dx_kind data_payload(dx_reader *r, dx_spare *spare, dx_event *ev) {
  size_t n = r->left < r->n ? (size_t)r->left : r->n;
  int whole = n == r->left;
  if (dx_buffer_length(r->body) == 0 && (r->pieces || (whole && r->fin))) {
    uint8_t *p = r->in;
    if (!admit(r, p, p, n))
      return fail(r, DX_ERR_BAD_UTF8);
    consume(r, n);
    if (whole && (r->fin || n))
      return end_frame(r, ev, p, n);
    *ev = (dx_event){p, n, r->message, 0};
    if (whole)
      r->state = AT_HEAD;
    return n ? DX_PIECE : DX_WANT;
  }
  if (n) {
    uint8_t *p = grow_body(r, spare, n);
    if (p == NULL)
      return fail(r, DX_ERR_NO_MEMORY);
    if (!admit(r, p, r->in, n))
      return fail(r, DX_ERR_BAD_UTF8);
    dx_buffer_add(r->body, n);
    consume(r, n);
  }
  if (!whole)
    return DX_WANT;
  if (!r->fin && !r->pieces) {
    r->state = AT_HEAD;
    return DX_WANT;
  }
  return end_frame(r, ev, r->body->p, r->body->end);
}

/* ---- compressed messages ---- */

/* Where inflated bytes go next, and how many fit at *n.  Past the limit that is
 * one byte at 'probe', as then there may be none to come. */
static uint8_t *inflate_room(dx_reader *r, const dx_limits *limits,
                             dx_spare *spare, size_t *n, uint8_t *probe) {
  uint64_t most = limits->max_message - r->deflate->inflated;
  if (most == 0) {
    *n = 1;
    return probe;
  }
  size_t had = dx_buffer_length(r->body);
  size_t want = had ? had : *n * INFLATE_FIRST;
  if (want > most)
    want = (size_t)most;
  if (r->pieces && want > INFLATE_PIECE)
    want = INFLATE_PIECE;
  if (dx_buffer_room(r->body))
    want = 1; /* what is there first */
  uint8_t *p = dx_buffer_reserve(&r->body, spare, want ? want : 1);
  size_t room = p ? dx_buffer_room(r->body) : 0;
  *n = room < most ? room : (size_t)most;
  return p;
}

/* Inflate once, to the end of the body.  Returns like dx_inflate. */
static int inflate_some(dx_reader *r, const dx_limits *limits, dx_spare *spare,
                        size_t n, int last) {
  dx_deflate *d = r->deflate;
  uint8_t probe;
  size_t room = n;
  uint8_t *out = inflate_room(r, limits, spare, &room, &probe);
  if (out == NULL)
    return -DX_ERR_NO_MEMORY;
  if (room > INFLATE_TURN)
    room = INFLATE_TURN;
  dx_span f = {r->in, n, out, room};
  int whole = !r->pieces && last && r->fragments == 1 && n == r->length;
  int done = dx_inflate(d, &f, last, whole);
  size_t used = n - f.in_n, made = room - f.out_n;
  consume(r, used);
  r->left -= used;
  if (r->server)
    d->clear -= used;
  if (made && out == &probe)
    return -DX_ERR_TOO_BIG;
  if (made) {
    dx_buffer_add(r->body, made);
    d->inflated += made;
    if (r->message == DX_TEXT && !dx_utf8_feed(&r->utf8, out, made))
      return -DX_ERR_BAD_UTF8;
  }
  return done;
}

/* Is there output that asks for no more input? */
static int more_to_inflate(const dx_reader *r) {
  return r->compressed && !(r->opcode & 8) && r->deflate->more;
}

/* As data_payload. */
DX_APART static dx_kind compressed_payload(dx_reader *r,
                                           const dx_limits *limits,
                                           dx_spare *spare, dx_event *ev) {
  dx_deflate *d = r->deflate;
  size_t n = r->left < r->n ? (size_t)r->left : r->n;
  if (r->server && n > d->clear) {
    uint8_t *p = r->in + d->clear;
    dx_mask(p, p, n - d->clear, r->key, r->phase);
    r->phase = (uint8_t)((r->phase + n - d->clear) & 3);
    d->clear = n;
  }
  int done;
  uint64_t turn = d->inflated + INFLATE_TURN;
  do {
    n = r->left < r->n ? (size_t)r->left : r->n;
    done = inflate_some(r, limits, spare, n, r->fin && n == r->left);
  } while (done == 0 && !r->pieces && (r->n == 0 || d->inflated < turn));
  if (done < 0)
    return fail(r, (dx_error)-done);
  if (done == 0 && !r->pieces) {
    dx_inflate_interrupt(d);
    return DX_LATER;
  }
  size_t made = dx_buffer_length(r->body);
  uint8_t *p = dx_buffer_bytes(r->body);
  if (done && r->left == 0) {
    if (r->fin)
      return end_frame(r, ev, p, made);
    r->state = AT_HEAD;
  }
  if (!r->pieces || made == 0)
    return DX_WANT;
  *ev = (dx_event){p, made, r->message, 0};
  r->given = 1;
  return DX_PIECE;
}

dx_kind dx_reader_next(dx_reader *r, const dx_limits *limits, dx_spare *spare,
                       dx_event *ev) {
  if (r->given) { /* what the last event pointed to is done with */
    r->given = 0;
    dx_buffer_clear(&r->body, spare);
  }
  if (r->pieces && dx_buffer_length(r->body) && r->cut == 0) {
    /* Collected before anybody asked for pieces. */
    *ev = (dx_event){r->body->p, r->body->end, r->message, 0};
    r->given = 1;
    return DX_PIECE;
  }
  for (;;) {
    switch (r->state) {
    case AT_HEAD: {
      if (r->n == 0)
        return DX_WANT;
      dx_head h;
      int size = take_head(r, &h);
      /* Two bytes tell enough to refuse most bad frames at once. */
      dx_error e = size || r->head_n >= 2 ? check_head(&h, r) : DX_OK;
      if (!e && size < 0)
        e = DX_ERR_LENGTH;
      if (!e && size > 0 && !(h.opcode & 8))
        e = begin_frame(r, &h, limits);
      if (e)
        return fail(r, e);
      if (size == 0)
        return DX_WANT;
      memcpy(r->key, h.key, 4);
      r->phase = 0;
      r->left = h.length;
      r->opcode = h.opcode;
      if (!(h.opcode & 8))
        r->fin = h.fin;
      r->state = IN_PAYLOAD;
    } /* fall through */
    case IN_PAYLOAD: {
      if (r->n == 0 && r->left && !more_to_inflate(r))
        return DX_WANT;
      dx_kind kind = r->opcode & 8   ? control_payload(r, spare, ev)
                     : r->compressed ? compressed_payload(r, limits, spare, ev)
                                     : data_payload(r, spare, ev);
      if (kind != DX_WANT)
        return kind;
      if (r->state == IN_PAYLOAD && r->n == 0)
        return DX_WANT;
      continue;
    }
    case FINISHED:
      r->n = 0;
      return DX_WANT;
    default:
      return DX_FAILED;
    }
  }
}

size_t dx_reader_room(dx_reader *r, dx_spare *spare, uint8_t **p) {
  if (r->state != IN_PAYLOAD || r->opcode & 8 || r->left < IN_PLACE ||
      r->pieces || r->compressed)
    return 0;
  *p = grow_body(r, spare, 1);
  size_t room = *p ? dx_buffer_room(r->body) : 0;
  return room < r->left ? room : (size_t)r->left;
}

void dx_reader_filled(dx_reader *r, size_t n) {
  uint8_t *p = r->body->p + r->body->end;
  if (!admit(r, p, p, n))
    fail(r, DX_ERR_BAD_UTF8);
  else
    dx_buffer_add(r->body, n);
}

void dx_reader_finish(dx_reader *r, dx_spare *spare) {
  dx_buffer_clear(&r->body, spare);
  if (r->state != BROKEN)
    r->state = FINISHED;
  r->n = 0;
}

/* SPDX-License-Identifier: MIT
 * conn_out.c - the half of conn.h that sends: frames and messages on their way
 * into the outbox, and what left it. */
#include "conn.h"

#include "mask.h"

#include <string.h>

void dx_conn_show(const dx_conn *c, dx_seen what, const void *p, size_t n) {
  c->shared->tap->see(c->shared->tap, c, what, p, n);
}

static void goes_out(dx_conn *c, const void *p, size_t n) {
  c->out_total += n;
  dx_conn_see(c, DX_SEEN_OUT, p, n);
}

/* One frame at the end of 'b'; the caller has checked that it may be sent. */
static inline __attribute__((always_inline)) dx_error
append(dx_conn *c, dx_buffer *b, uint8_t first, const void *data, size_t n) {
  uint8_t key[4];
  if (!c->server && dx_random_key(c->shared->random, key))
    return DX_ERR_NO_ENTROPY;
  if (n > SIZE_MAX - DX_MAX_HEAD)
    return DX_ERR_NO_MEMORY;
  uint8_t *p = dx_buffer_reserve(b, dx_conn_spare(c), DX_MAX_HEAD + n);
  if (p == NULL)
    return DX_ERR_NO_MEMORY;
  size_t head = dx_head_encode(p, first, n, c->server ? NULL : key);
  if (n) {
    if (c->server)
      memcpy(p + head, data, n);
    else
      dx_mask(p + head, data, n, key, 0);
  }
  dx_buffer_add(*b, head + n);
  if (b == &c->out)
    goes_out(c, p, head + n);
  return DX_OK;
}

static dx_error append_raw(dx_conn *c, dx_buffer *b, const void *bytes,
                           size_t n) {
  if (n == 0)
    return DX_OK;
  uint8_t *p = dx_buffer_reserve(b, dx_conn_spare(c), n);
  if (p == NULL)
    return DX_ERR_NO_MEMORY;
  memcpy(p, bytes, n);
  dx_buffer_add(*b, n);
  if (b == &c->out)
    goes_out(c, p, n);
  return DX_OK;
}

/* After a close frame of ours nothing may follow (RFC 6455 5.5.1). */
dx_error dx_conn_may_send(const dx_conn *c) {
  if (c->state == DX_OPEN && !c->close_sent)
    return DX_OK;
  return c->error || c->asked ? dx_conn_end(c) : DX_ERR_CLOSED;
}

/* Where frames of other messages go: behind the one in fragments, if any. */
static dx_buffer *queue_for_frames(dx_conn *c) {
  return c->sending ? &c->held : &c->out;
}

/* The fragmented message ended: what waited for that goes out now.  It was
 * accepted, so it does not vanish without the connection. */
static dx_error release_held(dx_conn *c) {
  c->sending = 0;
  dx_error e = append_raw(c, &c->out, dx_buffer_bytes(c->held),
                          dx_buffer_length(c->held));
  dx_buffer_clear(&c->held, dx_conn_spare(c));
  if (e)
    dx_conn_fail(c, e);
  return e;
}

/* Whether a frame is to be compressed: what its message began as, and others
 * not while the compressor is within a message that they are no part of. */
static int compresses(const dx_conn *c, uint8_t first, size_t n, int how) {
  const dx_deflate *d = c->reader.deflate;
  if (!(first & 15))
    return d->running;
  if (!(first & DX_FIN)) /* who knows how long it will be */
    n = SIZE_MAX;
  return dx_conn_deflates(c, n, how) && (!d->running || d->out_reset);
}

/* As append, for a data frame where compression was agreed on. */
DX_APART static dx_error append_message(dx_conn *c, dx_buffer *b, uint8_t first,
                                        const void *data, size_t n, int how) {
  dx_deflate *d = c->reader.deflate;
  dx_buffer z = NULL;
  dx_error e = DX_OK;
  size_t size = n;
  if (compresses(c, first, n, how)) {
    int parts = (first & 15 ? DX_BEGINS : 0) | (first & DX_FIN ? DX_ENDS : 0);
    e = dx_deflate_put(d, &z, dx_conn_spare(c), data, n, parts);
    if (!e && z) {
      data = dx_buffer_bytes(z);
      size = dx_buffer_length(z);
      first |= first & 15 ? DX_RSV1 : 0;
    }
  }
  if (!e)
    e = append(c, b, first, data, size);
  dx_buffer_clear(&z, dx_conn_spare(c));
  if (e) {
    d->stale = 1; /* our compressor may have seen what nobody will get */
    if (first & 15 && !(first & DX_FIN))
      d->running = 0; /* that message has not begun */
    return e;
  }
  dx_deflate_count_out(d, c->limits->totals, n, size);
  return DX_OK;
}

dx_error dx_conn_put(dx_conn *c, uint8_t first, const void *data, size_t n,
                     int how) {
  dx_error e = dx_conn_may_send(c);
  if (e)
    return e;
  int in_fragments = how & DX_IN_FRAGMENTS;
  dx_buffer *b = in_fragments || first & 8 ? &c->out : queue_for_frames(c);
  e = c->reader.deflate && !(first & 8)
          ? append_message(c, b, first, data, n, how)
          : append(c, b, first, data, n);
  if (e) {
    if (in_fragments && c->sending) /* half a message cannot be taken back */
      dx_conn_fail(c, e);
    return e;
  }
  uint8_t opcode = first & 15 ? first & 15 : c->sending;
  dx_flow_add(c->limits->totals->out, opcode, n, first >> 7);
  if (!(first & DX_FIN))
    c->sending = opcode;
  else if (!(first & 8))
    c->messages_out++;
  return in_fragments && first & DX_FIN ? release_held(c) : DX_OK;
}

/* A whole message goes out, by another way than that above. */
static void count_message(dx_conn *c, uint8_t opcode, size_t n) {
  c->messages_out++;
  dx_flow_add(c->limits->totals->out, opcode, n, 1);
}

/* A message for many, compressed on its own and once for all connections with
 * equal parameters.  Whatever comes next cannot refer to it. */
DX_APART static dx_error put_packed(dx_conn *c, const dx_message *m) {
  dx_deflate *d = c->reader.deflate;
  const dx_packed *z = dx_packed_get(m->packed, d, m->data, m->n);
  if (z == NULL)
    return DX_ERR_NO_MEMORY;
  if (z->n == 0) {
    dx_message plain = *m;
    plain.how = DX_PLAIN;
    return dx_conn_put_shared(c, &plain);
  }
  dx_error e = append(c, queue_for_frames(c), DX_FIN | DX_RSV1 | m->opcode,
                      z->bytes, z->n);
  if (e)
    return e;
  d->stale = 1;
  dx_deflate_count_out(d, c->limits->totals, m->n, z->n);
  count_message(c, m->opcode, m->n);
  return DX_OK;
}

/* The frame that all clients of a server get, made for the first of them. */
static dx_bytes *frame_of(const dx_message *m) {
  if (*m->frame)
    return *m->frame;
  uint8_t head[DX_MAX_HEAD];
  size_t head_n = dx_head_encode(head, DX_FIN | m->opcode, m->n, NULL);
  dx_bytes *frame = *m->frame = dx_bytes_new(head_n + m->n);
  if (frame) {
    memcpy(frame->p, head, head_n);
    memcpy(frame->p + head_n, m->data, m->n);
  }
  return frame;
}

static dx_error put_shared(dx_conn *c, const dx_message *m) {
  dx_bytes *frame = frame_of(m);
  if (frame == NULL || dx_buffer_share(&c->out, frame))
    return DX_ERR_NO_MEMORY;
  if (c->reader.deflate)
    dx_deflate_count_out(c->reader.deflate, c->limits->totals, m->n, m->n);
  goes_out(c, frame->p, frame->n);
  count_message(c, m->opcode, m->n);
  return DX_OK;
}

dx_error dx_conn_put_shared(dx_conn *c, const dx_message *m) {
  if (m->packed && dx_conn_deflates(c, m->n, m->how) && !dx_conn_may_send(c))
    return put_packed(c, m);
  if (m->frame && m->n >= DX_SHARED && c->server && !c->out && !c->sending &&
      !dx_conn_may_send(c))
    return put_shared(c, m);
  return dx_conn_put(c, DX_FIN | m->opcode, m->data, m->n, m->how);
}

static dx_error append_rest(dx_conn *c, const uint8_t *head, size_t head_n,
                            const uint8_t *data, size_t n, size_t gone) {
  goes_out(c, head, gone < head_n ? gone : head_n);
  if (gone < head_n) {
    dx_error e = append_raw(c, &c->out, head + gone, head_n - gone);
    return e ? e : append_raw(c, &c->out, data, n);
  }
  gone -= head_n;
  goes_out(c, data, gone);
  return append_raw(c, &c->out, data + gone, n - gone);
}

dx_error dx_conn_put_rest(dx_conn *c, const uint8_t *head, size_t head_n,
                          const uint8_t *data, size_t n, size_t gone) {
  count_message(c, head[0] & 15, n);
  if (c->reader.deflate)
    dx_deflate_count_out(c->reader.deflate, c->limits->totals, n, n);
  dx_error e = append_rest(c, head, head_n, data, n, gone);
  if (e) /* half a frame is out, and nothing fits behind, no close frame */
    dx_conn_fail(c, DX_ERR_LOST);
  return e;
}

dx_error dx_conn_put_raw(dx_conn *c, const void *bytes, size_t n) {
  if (c->state != DX_HANDSHAKE)
    return DX_ERR_CLOSED;
  return append_raw(c, &c->out, bytes, n);
}

void dx_conn_sent(dx_conn *c, size_t n, double now) {
  dx_buffer_consume(&c->out, dx_conn_spare(c), n);
  size_t rest = dx_buffer_length(c->out);
  c->beat.stalled = rest ? now : 0;
  if (c->beat.pinged && c->beat.since <= 0 &&
      c->out_total - rest >= c->ping_end)
    c->beat.since = now;
  if (c->carried && c->carried->has_late && rest <= c->limits->high_mark) {
    c->carried->has_late = 0;
    dx_conn_put(c, DX_FIN | DX_PONG, c->carried->late, c->carried->late_n, 0);
  }
}

/* SPDX-License-Identifier: MIT
 *
 * How an end travels: what the reader, a close frame or EOF brings is first
 * noted in 'over' (or 'eof', while input is left).  It takes effect in
 * finish(), when the messages before it were taken; so they are delivered, and
 * may be answered, before the close frame goes out. */
#include "conn.h"

#include <stdlib.h>
#include <string.h>

void dx_conn_init(dx_conn *c, int server, const dx_limits *limits,
                  dx_shared *shared, double now) {
  *c = (dx_conn){.limits = limits,
                 .shared = shared,
                 .server = (uint8_t)server,
                 .latency = -1,
                 .code = DX_CODE_ABNORMAL,
                 .beat = {.since = now, .last_in = now}};
  c->reader.server = (uint8_t)server;
}

static void drop_kept(dx_conn *c) {
  free(c->kept);
  c->kept = NULL;
}

void dx_conn_clear(dx_conn *c) {
  dx_queue_clear(&c->queue);
  drop_kept(c);
  dx_buffer_clear(&c->reader.body, dx_conn_spare(c));
  dx_buffer_clear(&c->out, dx_conn_spare(c));
  dx_buffer_clear(&c->held, dx_conn_spare(c));
  dx_deflate_free(c->reader.deflate);
  c->reader.deflate = NULL;
  free(c->reason);
  free(c->carried);
  c->reason = NULL;
  c->carried = NULL;
  c->reason_n = 0;
  c->reader.n = 0;
}

/* ---- pings ---- */

static dx_carried *carried(dx_conn *c) {
  if (c->carried == NULL)
    c->carried = calloc(1, sizeof *c->carried);
  return c->carried;
}

dx_error dx_conn_ping(dx_conn *c, const void *payload, size_t n,
                      uint32_t *number) {
  uint32_t k = c->ping_sent + 1;
  uint8_t counted[4] = {(uint8_t)(k >> 24), (uint8_t)(k >> 16),
                        (uint8_t)(k >> 8), (uint8_t)k};
  if (payload && carried(c) == NULL)
    return DX_ERR_NO_MEMORY;
  dx_error e = payload ? dx_conn_put(c, DX_FIN | DX_PING, payload, n, 0)
                       : dx_conn_put(c, DX_FIN | DX_PING, counted, 4, 0);
  if (e)
    return e;
  *number = c->ping_sent = k;
  if (payload) {
    c->carried->number = k;
    c->carried->has_ours = 1;
    c->carried->ours_n = (uint8_t)n;
    memcpy(c->carried->ours, payload, n);
  }
  if (!c->beat.pinged) {
    c->beat.pinged = 1;
    c->beat.since = 0;
    c->ping_timed = k;
    c->ping_end = c->out_total;
  }
  return DX_OK;
}

/* ---- end ---- */

static void put_close(dx_conn *c, unsigned code, const char *reason, size_t n) {
  uint8_t payload[DX_MAX_CONTROL];
  payload[0] = (uint8_t)(code >> 8);
  payload[1] = (uint8_t)code;
  if (code == DX_CODE_NONE) {
    n = 0;
  } else {
    n = dx_utf8_cut((const uint8_t *)reason, n, DX_MAX_REASON);
    if (n)
      memcpy(payload + 2, reason, n);
    n += 2;
  }
  /* Without memory for it the peer sees the connection end all the same. */
  dx_conn_put(c, DX_FIN | DX_CLOSE, payload, n, 0);
  c->close_sent = (uint16_t)code;
  dx_buffer_clear(&c->held, dx_conn_spare(c));
}

static void end(dx_conn *c, dx_error e) {
  c->state = DX_CLOSED;
  c->error = (uint8_t)e;
  dx_reader_finish(&c->reader, dx_conn_spare(c));
  if (c->reader.deflate)
    dx_deflate_rest(c->reader.deflate);
  drop_kept(c);
}

void dx_conn_fail(dx_conn *c, dx_error e) {
  if (c->state == DX_CLOSED)
    return;
  const dx_error_row *row = &dx_errors[e];
  if (c->state == DX_OPEN && row->close_code && !c->close_sent)
    put_close(c, (unsigned)row->close_code, row->text, strlen(row->text));
  end(c, e);
}

/* Whatever was noted takes effect. */
static void finish(dx_conn *c) {
  dx_error e = c->over ? (dx_error)c->over : (dx_error)c->eof;
  if (e == DX_ERR_CLOSED && c->state == DX_OPEN)
    put_close(c, c->code, "", 0); /* RFC 6455 5.5.1: the same code back */
  if (e)
    dx_conn_fail(c, e);
}

void dx_conn_close(dx_conn *c, unsigned code, const char *reason, size_t n,
                   double now) {
  if (c->state == DX_CLOSED || c->close_sent)
    return;
  c->asked = 1;
  dx_queue_clear(&c->queue);
  if (c->state == DX_HANDSHAKE) {
    end(c, DX_ERR_CLOSED);
    return;
  }
  if (c->over) {
    finish(c);
    return;
  }
  put_close(c, code, reason, n);
  c->state = DX_CLOSING;
  c->beat.since = now;
}

void dx_conn_settle(dx_conn *c) {
  if (c->state == DX_HANDSHAKE)
    return;
  if (!c->over && !c->eof)
    c->eof = c->gone;
  if (c->over || c->eof)
    finish(c);
}

/* ---- input ---- */

void dx_conn_lend(dx_conn *c, uint8_t *p, size_t n, double now) {
  drop_kept(c);
  c->beat.last_in = now;
  c->bytes_in += n;
  if (c->state == DX_CLOSED)
    return;
  if (c->state != DX_HANDSHAKE)
    dx_conn_see(c, DX_SEEN_IN, p, n);
  dx_reader_lend(&c->reader, p, n);
}

void dx_conn_filled(dx_conn *c, size_t n, double now) {
  c->beat.last_in = now;
  c->bytes_in += n;
  dx_conn_see(c, DX_SEEN_IN, c->reader.body->p + c->reader.body->end, n);
  dx_reader_filled(&c->reader, n);
}

void dx_conn_eof(dx_conn *c, dx_error e) {
  if (!c->eof)
    c->eof = (uint8_t)e;
}

int dx_conn_keep(dx_conn *c) {
  dx_reader *r = &c->reader;
  if (r->n == 0 || c->kept)
    return 0;
  c->kept = malloc(r->n);
  if (c->kept == NULL) {
    r->n = 0;
    dx_conn_fail(c, DX_ERR_NO_MEMORY);
    return -1;
  }
  memcpy(c->kept, r->in, r->n);
  r->in = c->kept;
  return 0;
}

int dx_conn_proxy(dx_conn *c, dx_proxy *h) {
  dx_reader *r = &c->reader;
  size_t had = dx_buffer_length(r->body), n = r->n;
  if (n == 0)
    return c->eof ? -(int)c->eof : 0;
  int size = had ? 0 : dx_proxy_decode(h, r->in, n);
  if (size == 0) { /* what is there is no whole header without what comes */
    if (n > DX_PROXY_MOST - had)
      n = DX_PROXY_MOST - had;
    uint8_t *p = dx_buffer_reserve(&r->body, dx_conn_spare(c), n);
    if (p == NULL)
      return -DX_ERR_NO_MEMORY;
    memcpy(p, r->in, n);
    dx_buffer_add(r->body, n);
    size = dx_proxy_decode(h, dx_buffer_bytes(r->body), had + n);
  }
  if (size < 0)
    return -DX_ERR_PROXY_HEADER;
  size_t used = size ? (size_t)size - had : n;
  r->in += used;
  r->n -= used;
  if (size == 0)
    return c->eof ? -(int)c->eof : 0;
  dx_buffer_clear(&r->body, dx_conn_spare(c));
  c->bytes_in -= (size_t)size; /* they are no part of what is proxied */
  return 1;
}

int dx_conn_head(dx_conn *c, const char **head, size_t *n) {
  dx_reader *r = &c->reader;
  size_t had = dx_buffer_length(r->body);
  if (r->n == 0)
    return c->eof ? -(int)c->eof : 0;
  long size = dx_http_scan_feed(&c->scan, r->in, r->n);
  if (size < 0)
    return -DX_ERR_HEAD_BYTES;
  size_t used = size ? (size_t)size : r->n;
  if (had + used > c->limits->max_header_bytes)
    return -DX_ERR_HEAD_TOO_BIG;
  *head = (const char *)r->in;
  *n = used;
  if (!size || had) {
    uint8_t *p = dx_buffer_reserve(&r->body, dx_conn_spare(c), used);
    if (p == NULL)
      return -DX_ERR_NO_MEMORY;
    memcpy(p, r->in, used);
    dx_buffer_add(r->body, used);
    *head = (const char *)r->body->p;
    *n = r->body->end;
  }
  r->in += used;
  r->n -= used;
  if (size == 0)
    return c->eof ? -(int)c->eof : 0;
  dx_conn_see(c, DX_SEEN_HEAD, *head, *n);
  return 1;
}

void dx_conn_head_done(dx_conn *c) {
  dx_buffer_clear(&c->reader.body, dx_conn_spare(c));
  c->scan = (dx_http_scan){0};
}

size_t dx_conn_take(dx_conn *c, char *to, size_t max) {
  dx_reader *r = &c->reader;
  size_t n = r->n < max ? r->n : max;
  if (n == 0)
    return 0;
  memcpy(to, r->in, n);
  r->in += n;
  r->n -= n;
  return n;
}

int dx_conn_compress(dx_conn *c, const dx_deflate_params *agreed) {
  c->reader.deflate = dx_deflate_new(agreed, c->server, &c->shared->codecs);
  return c->reader.deflate ? 0 : -1;
}

void dx_conn_open(dx_conn *c, double now) {
  dx_conn_head_done(c);
  dx_conn_see(c, DX_SEEN_IN, c->reader.in, c->reader.n);
  c->state = DX_OPEN;
  if (c->eof == DX_ERR_TLS) /* it broke behind the handshake */
    c->eof = DX_ERR_LOST_TLS;
  c->beat.since = 0;
  c->beat.last_in = now;
}

static void got_ping(dx_conn *c, const dx_event *ev) {
  if (dx_buffer_length(c->out) <= c->limits->high_mark) {
    dx_conn_put(c, DX_FIN | DX_PONG, ev->data, ev->n, 0);
    return;
  }
  /* The peer does not read.  RFC 6455 5.5.3 lets us answer only the latest. */
  if (carried(c) == NULL)
    return;
  c->carried->has_late = 1;
  c->carried->late_n = (uint8_t)ev->n;
  if (ev->n)
    memcpy(c->carried->late, ev->data, ev->n);
}

/* Which ping of ours a pong answers.  Returns 0 when that is none. */
static int answers(const dx_conn *c, const dx_event *ev, uint32_t *number) {
  const dx_carried *own = c->carried;
  const uint8_t *p = ev->data;
  if (own && own->has_ours && (int32_t)(own->number - c->ping_seen) > 0 &&
      own->ours_n == ev->n &&
      (ev->n == 0 || memcmp(own->ours, p, ev->n) == 0)) {
    *number = own->number;
    return 1;
  }
  if (ev->n != 4)
    return 0;
  *number =
      (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
  return 1;
}

/* A pong answers its ping and all before it; others are allowed and ignored
 * (RFC 6455 5.5.3). */
static void got_pong(dx_conn *c, const dx_event *ev, double now) {
  uint32_t k;
  if (!answers(c, ev, &k))
    return;
  /* Numbers wrap, so "newer" is a signed distance. */
  if ((int32_t)(k - c->ping_seen) <= 0 || (int32_t)(c->ping_sent - k) < 0)
    return;
  c->ping_seen = k;
  if ((int32_t)(k - c->ping_timed) < 0)
    return;
  if (k == c->ping_timed && c->beat.since > 0) {
    c->latency = (float)(now - c->beat.since);
    dx_totals_round_trip(c->limits->totals, now - c->beat.since);
  }
  c->beat.pinged = k != c->ping_sent;
  /* When a ping behind this one left was not noted: it is not timed. */
  c->ping_timed = k;
  c->beat.since = c->beat.pinged ? now : 0;
}

static dx_error got_close(dx_conn *c, const dx_event *ev) {
  c->code = DX_CODE_NONE;
  if (ev->n == 0)
    return DX_ERR_CLOSED;
  c->code = DX_CODE_ABNORMAL;
  if (ev->n == 1)
    return DX_ERR_CLOSE_LENGTH;
  unsigned code = (unsigned)ev->data[0] << 8 | ev->data[1];
  if (!dx_close_code_ok(code))
    return DX_ERR_CLOSE_CODE;
  if (!dx_utf8_valid(ev->data + 2, ev->n - 2))
    return DX_ERR_CLOSE_UTF8;
  c->code = (uint16_t)code;
  if (ev->n > 2 && (c->reason = malloc(ev->n - 2))) {
    c->reason_n = (uint8_t)(ev->n - 2);
    memcpy(c->reason, ev->data + 2, ev->n - 2);
  }
  return DX_ERR_CLOSED;
}

static dx_error count_control(dx_conn *c, uint8_t opcode, size_t n,
                              double now) {
  dx_flow_add(c->limits->totals->in, opcode, n, 1);
  if ((uint32_t)now != c->control_second) {
    c->control_second = (uint32_t)now;
    c->control = 0;
  }
  return ++c->control > c->limits->max_control_rate ? DX_ERR_CONTROL_RATE
                                                    : DX_OK;
}

/* The next event that somebody may want; an end is only noted. */
static inline __attribute__((always_inline)) dx_kind
step(dx_conn *c, dx_event *ev, double now) {
  while (!c->over) {
    dx_kind kind = dx_reader_next(&c->reader, c->limits, dx_conn_spare(c), ev);
    dx_error e = DX_OK;
    switch (kind) {
    case DX_MESSAGE:
    case DX_PIECE:
      if (c->state == DX_CLOSING)
        continue; /* RFC 6455 1.4: nobody is there to take it */
      c->messages_in += ev->last;
      if (c->reader.deflate)
        dx_deflate_count_in(c->reader.deflate, c->limits->totals, ev->n,
                            ev->last ? c->reader.length : 0);
      dx_flow_add(c->limits->totals->in, ev->opcode, ev->n, ev->last);
      return kind;
    case DX_GOT_PING:
      e = count_control(c, DX_PING, ev->n, now);
      if (!e)
        got_ping(c, ev);
      break;
    case DX_GOT_PONG:
      e = count_control(c, DX_PONG, ev->n, now);
      got_pong(c, ev, now);
      break;
    case DX_GOT_CLOSE:
      dx_flow_add(c->limits->totals->in, DX_CLOSE, ev->n, 1);
      e = got_close(c, ev);
      break;
    case DX_WANT:
      drop_kept(c);
      e = (dx_error)c->eof;
      if (!e)
        return DX_WANT;
      break;
    case DX_LATER:
      return DX_LATER;
    case DX_FAILED:
      e = (dx_error)c->reader.error;
      break;
    }
    c->over = (uint8_t)e;
  }
  return DX_FAILED;
}

int dx_conn_hungry(const dx_conn *c) {
  return c->state != DX_CLOSED && !c->eof && !c->over &&
         !dx_queue_full(c->queue, c->limits);
}

/* What becomes of the message that was taken last: nothing (0), something may
 * be sent because of it, or that waits for room in the outbox. */
enum { ANSWER_DUE = 1, ANSWER_HELD = 2 };

/* Behind a close frame of our own no answer goes out, so none is waited for. */
static int awaits_answer(const dx_conn *c) {
  return c->answer == ANSWER_HELD && c->over == DX_ERR_CLOSED &&
         c->state == DX_OPEN;
}

/* The end that nobody comes for. */
static void finish_pumping(dx_conn *c) {
  if (c->over && dx_queue_length(c->queue) == 0 && !awaits_answer(c))
    finish(c);
}

void dx_conn_hold(dx_conn *c, int on) {
  if (on && c->answer != ANSWER_DUE)
    return;
  c->answer = on ? ANSWER_HELD : 0;
  finish_pumping(c);
}

void dx_conn_pieces(dx_conn *c, int on) {
  if (!on || dx_queue_length(c->queue) == 0)
    c->reader.pieces = (uint8_t)on;
}

int dx_conn_pump_turn(dx_conn *c, double now) {
  if (c->state == DX_HANDSHAKE)
    return 0;
  while (c->state != DX_CLOSED && !c->over &&
         !dx_queue_full(c->queue, c->limits)) {
    dx_event ev;
    dx_kind kind = step(c, &ev, now);
    if (kind == DX_WANT || kind == DX_LATER)
      return kind == DX_LATER;
    if (kind != DX_FAILED && dx_queue_push(&c->queue, kind, &ev))
      c->over = DX_ERR_NO_MEMORY;
  }
  finish_pumping(c);
  return 0;
}

void dx_conn_pump(dx_conn *c, double now) {
  while (dx_conn_pump_turn(c, now))
    ;
}

dx_kind dx_conn_next_turn(dx_conn *c, dx_event *ev, double now) {
  if (c->asked)
    return DX_FAILED;
  dx_kind kind = c->queue ? dx_queue_pop(&c->queue, ev) : DX_WANT;
  if (kind == DX_WANT) {
    if (c->state == DX_CLOSED)
      return DX_FAILED;
    kind = step(c, ev, now);
    if (kind == DX_FAILED)
      finish(c);
  }
  c->answer = kind >= DX_MESSAGE ? ANSWER_DUE : 0;
  return kind;
}

dx_kind dx_conn_next(dx_conn *c, dx_event *ev, double now) {
  dx_kind kind;
  do {
    kind = dx_conn_next_turn(c, ev, now);
  } while (kind == DX_LATER);
  return kind;
}

/* ---- time ---- */

static dx_wait waiting_for(const dx_conn *c) {
  switch (c->state) {
  case DX_HANDSHAKE:
    return c->eof ? DX_WAIT_SENT : DX_WAIT_HANDSHAKE;
  case DX_OPEN:
    return DX_WAIT_OPEN;
  case DX_CLOSING:
    return DX_WAIT_CLOSE;
  default:
    return DX_WAIT_NOTHING;
  }
}

double dx_conn_due(const dx_conn *c) {
  return dx_beat_due(&c->beat, c->limits, waiting_for(c));
}

void dx_conn_expire(dx_conn *c, double now) {
  if (now < dx_conn_due(c))
    return;
  const dx_limits *l = c->limits;
  uint32_t number;
  if (c->beat.stalled > 0 && l->send_timeout > 0 &&
      now >= c->beat.stalled + l->send_timeout)
    dx_conn_fail(c, DX_ERR_LOST_SEND);
  else if (c->state == DX_HANDSHAKE)
    dx_conn_eof(c, DX_ERR_HANDSHAKE_SLOW);
  else if (c->state == DX_CLOSING)
    end(c, DX_ERR_LOST_CLOSE);
  else if (c->beat.pinged)
    dx_conn_fail(c, DX_ERR_LOST_PONG);
  else if (dx_conn_ping(c, NULL, 0, &number))
    dx_conn_fail(c, DX_ERR_NO_MEMORY);
}

void dx_conn_pause(dx_conn *c, int paused, double now) {
  c->beat.paused = (uint8_t)paused;
  if (!paused)
    c->beat.last_in = now;
}

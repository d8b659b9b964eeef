/* SPDX-License-Identifier: MIT
 * conn.h - one WebSocket connection without any I/O: bytes in, events out,
 * bytes out, time in (RFC 6455, both roles).
 *
 *   HANDSHAKE --open--> OPEN --our close frame--> CLOSING --> CLOSED
 *                         \--their close frame or an error----/
 *
 * The owner lends what it receives, takes events until DX_WANT, and sends what
 * dx_conn_output shows.  While nobody takes events the owner pumps: pings are
 * answered, messages are kept in a bounded queue.
 *
 * Memory: 'limits' and 'shared' are borrowed and outlive the
 * connection; blocks inside belong to it and go with dx_conn_clear.  Input is
 * borrowed until DX_WANT, dx_conn_keep or dx_conn_clear.  Times are seconds of
 * one monotonic clock; sizes are bytes. */
#ifndef DX_CONN_H
#define DX_CONN_H

#include "heartbeat.h"
#include "http.h"
#include "message.h"
#include "proxy.h"
#include "queue.h"
#include "random.h"
#include "tap.h"
#include "totals.h"

typedef enum dx_state {
  DX_HANDSHAKE, /* HTTP: heads come in, anything goes out */
  DX_OPEN,
  DX_CLOSING, /* our close frame is out or on its way */
  DX_CLOSED   /* over; the outbox may still have to be sent */
} dx_state;

/* What the connections of one Lua state share. */
typedef struct dx_shared {
  dx_spare spare;
  dx_random *random; /* masking keys: clients only */
  dx_codecs codecs;  /* compression without context takeover */
  dx_tap *tap;       /* or NULL: nobody looks */
} dx_shared;

/* Payloads of control frames that have to be remembered: few are. */
typedef struct dx_carried {
  uint32_t number;  /* of the ping of ours that carries 'ours' */
  uint8_t has_ours; /* it is the newest that carries one */
  uint8_t has_late; /* 'late' is that of a ping still to answer */
  uint8_t ours_n, late_n;
  uint8_t ours[DX_MAX_CONTROL], late[DX_MAX_CONTROL];
} dx_carried;

/* Most connections are idle: what few need is behind a pointer.  What each
 * message out needs comes first: one that goes to many finds none of it in the
 * cache. */
struct dx_conn {
  const dx_limits *limits;
  dx_shared *shared;  /* or NULL, for a server */
  dx_buffer out;      /* bytes to send */
  dx_buffer held;     /* frames behind a fragmented message */
  uint64_t out_total; /* bytes ever put into 'out' */
  uint64_t messages_out;
  uint8_t state;   /* dx_state */
  uint8_t server;  /* our role */
  uint8_t error;   /* dx_error: how it ended */
  uint8_t sending; /* opcode of a message of ours in fragments, or 0 */
  uint8_t asked;   /* the close was our own wish, not the peer's doing */
  uint8_t eof;     /* dx_error that follows the input; 0: input goes on */
  uint8_t over;    /* dx_error that follows the queue; 0: none yet */
  uint8_t gone;    /* dx_error for settle: they hung up, not all was read */
  uint8_t reason_n, answer; /* answer: see dx_conn_hold */
  uint16_t close_sent; /* code of our close frame, which is in the outbox or
                          beyond; 0: there is none */
  uint16_t code; /* the peer's close code; DX_CODE_NONE, DX_CODE_ABNORMAL */
  dx_reader reader;
  uint8_t *kept;        /* input that had to be copied, or NULL */
  dx_queue *queue;      /* decoded messages that nobody took yet */
  char *reason;         /* the peer's close reason, or NULL */
  dx_carried *carried;  /* payloads of pings, or NULL */
  uint64_t ping_end;    /* out_total where our last ping ended */
  uint64_t bytes_in;    /* of the WebSocket and its handshake */
  uint64_t messages_in; /* whole messages */
  dx_beat beat;
  float latency;           /* seconds of the last answered ping; < 0: none */
  uint32_t ping_sent;      /* number of our last ping */
  uint32_t ping_seen;      /* newest of them that was answered */
  uint32_t ping_timed;     /* the one whose round trip is measured */
  uint32_t control;        /* control frames in this second */
  uint32_t control_second; /* which that is */
  dx_http_scan scan;
};

/* Nobody looks, as a rule: what then has to be done is as little as can be. */
__attribute__((cold)) void dx_conn_show(const dx_conn *c, dx_seen what,
                                        const void *p, size_t n);
static inline void dx_conn_see(const dx_conn *c, dx_seen what, const void *p,
                               size_t n) {
  if (c->shared && c->shared->tap)
    dx_conn_show(c, what, p, n);
}

static inline dx_spare *dx_conn_spare(const dx_conn *c) {
  return c->shared ? &c->shared->spare : NULL;
}

void dx_conn_init(dx_conn *c, int server, const dx_limits *limits,
                  dx_shared *shared, double now);
void dx_conn_clear(dx_conn *c);

/* ---- input ---- */

/* 'n' bytes came.  Lent: see above.  Only when nothing lent is left over. */
void dx_conn_lend(dx_conn *c, uint8_t *p, size_t n, double now);

/* Input is over: 'e' is how (DX_ERR_LOST_EOF, ...).  Messages before it are
 * still delivered. */
void dx_conn_eof(dx_conn *c, dx_error e);

/* Copy what is left of lent input, so that its memory may be used again.
 * Returns 0, or -1 when memory is out and the connection was failed. */
int dx_conn_keep(dx_conn *c);

/* Is there input that nobody looked at? */
static inline int dx_conn_unread(const dx_conn *c) { return c->reader.n > 0; }

/* Before anything else: the header of the PROXY protocol.  1: it is in 'h', and
 * what follows it is left; 0: more is needed; < 0: a negated dx_error. */
int dx_conn_proxy(dx_conn *c, dx_proxy *h);

/* Before DX_OPEN: the next whole HTTP head.  1: '*head' is *n bytes, good
 * until dx_conn_head_done; 0: more is needed; < 0: a negated dx_error. */
int dx_conn_head(dx_conn *c, const char **head, size_t *n);
void dx_conn_head_done(dx_conn *c);
/* Bytes behind a head (a body): returns how many of at most 'max' were put
 * at 'to'. */
size_t dx_conn_take(dx_conn *c, char *to, size_t max);
/* Compression was agreed on.  0, or -1 when memory is out. */
int dx_conn_compress(dx_conn *c, const dx_deflate_params *agreed);
/* The handshake is done: frames from now on. */
void dx_conn_open(dx_conn *c, double now);

/* The next message or piece, or DX_WANT, or DX_FAILED: over, see c->error; of
 * those who take turns with others also DX_LATER.
 * Control frames are answered on the way and never returned. */
dx_kind dx_conn_next_turn(dx_conn *c, dx_event *ev, double now);
dx_kind dx_conn_next(dx_conn *c, dx_event *ev, double now);

/* Who has taken the last message has to wait before sending (on = 1), and has
 * sent (0): in between a close frame of the peer does not take effect, but for
 * settle.  Once for each message, as a program that only sends is not to put it
 * off for ever. */
void dx_conn_hold(dx_conn *c, int on);

/* Do what can be done while nobody takes messages; or some of it, and return 1:
 * others first. */
int dx_conn_pump_turn(dx_conn *c, double now);
void dx_conn_pump(dx_conn *c, double now);

/* Answer a close frame or an error now, although messages before it were not
 * taken: for those who only wait for the end. */
void dx_conn_settle(dx_conn *c);

/* May more be received?  False while the queue is full, and after the end. */
int dx_conn_hungry(const dx_conn *c);

/* As dx_reader_room and dx_reader_filled. */
static inline size_t dx_conn_room(dx_conn *c, uint8_t **p) {
  return c->state == DX_OPEN ? dx_reader_room(&c->reader, dx_conn_spare(c), p)
                             : 0;
}
void dx_conn_filled(dx_conn *c, size_t n, double now);

/* Hand the next message, or the rest of one that has begun, out in pieces.
 * When some of it is queued the reader may be behind its end already, in a
 * message that nobody has asked for. */
void dx_conn_pieces(dx_conn *c, int on);

/* ---- output ---- */

/* Frames of messages.  'first' is the first byte of the frame: opcode and
 * FIN (0x80).  Data frames of others wait while a message is in fragments:
 * DX_IN_FRAGMENTS marks those that belong to it.  Where compression was agreed
 * on, what is long enough is compressed; DX_PLAIN and DX_COMPRESS decide
 * otherwise, for fragments with the first of them. */
#define DX_FIN 0x80
enum { DX_IN_FRAGMENTS = 1, DX_PLAIN = 2, DX_COMPRESS = 4 };
dx_error dx_conn_put(dx_conn *c, uint8_t first, const void *data, size_t n,
                     int how);
/* Would a message of 'n' bytes be compressed? */
static inline int dx_conn_deflates(const dx_conn *c, size_t n, int how) {
  const dx_deflate *d = c->reader.deflate;
  return d && d->out_bits >= DX_MIN_DEFLATE_BITS && !(how & DX_PLAIN) &&
         (how & DX_COMPRESS || n >= d->agreed.threshold);
}
dx_error dx_conn_may_send(const dx_conn *c); /* DX_OK while it is open */

/* A whole message, for one connection or for many. */
dx_error dx_conn_put_shared(dx_conn *c, const dx_message *m); /* one for many */
static inline dx_error dx_conn_put_message(dx_conn *c, const dx_message *m) {
  if (m->frame || m->packed)
    return dx_conn_put_shared(c, m);
  return dx_conn_put(c, DX_FIN | m->opcode, m->data, m->n, m->how);
}
/* Raw bytes, before DX_OPEN. */
dx_error dx_conn_put_raw(dx_conn *c, const void *bytes, size_t n);

/* A ping of ours; returns its number in *number.  It carries the 'n' bytes at
 * 'payload' (at most DX_MAX_CONTROL), or its number when that is NULL. */
dx_error dx_conn_ping(dx_conn *c, const void *payload, size_t n,
                      uint32_t *number);

/* What is to be sent next; sent() drops the first n bytes of it. */
static inline size_t dx_conn_output(const dx_conn *c, const uint8_t **p) {
  *p = dx_buffer_bytes(c->out);
  return dx_buffer_length(c->out);
}
void dx_conn_sent(dx_conn *c, size_t n, double now);
/* A server's frame of which the first 'gone' bytes, header included, left
 * without having been in the outbox (which is empty): the rest is queued. */
dx_error dx_conn_put_rest(dx_conn *c, const uint8_t *head, size_t head_n,
                          const uint8_t *data, size_t n, size_t gone);
/* Bytes that wait to be sent. */
static inline size_t dx_conn_outbox(const dx_conn *c) {
  return dx_buffer_length(c->out) + dx_buffer_length(c->held);
}
/* Nothing could be sent (stalled = 1), or nothing is left to send. */
static inline void dx_conn_stalled(dx_conn *c, int stalled, double now) {
  c->beat.stalled = stalled ? now : 0;
}

/* ---- end ---- */

/* Begin the closing handshake; 'code' DX_CODE_NONE sends an empty close frame.
 * The reason is cut at DX_MAX_REASON on a character boundary.  No effect
 * after a first close. */
void dx_conn_close(dx_conn *c, unsigned code, const char *reason, size_t n,
                   double now);
/* It is over: tell the peer (if the row of 'e' has a close code and nothing
 * was said yet) and refuse everything from now on. */
void dx_conn_fail(dx_conn *c, dx_error e);
/* What calls return after the end, and already while CLOSING: 'closed' when we
 * asked for it, whatever the peer did then (c->error). */
static inline dx_error dx_conn_end(const dx_conn *c) {
  return c->asked ? DX_ERR_CLOSED : (dx_error)c->error;
}

/* ---- time ---- */

double dx_conn_due(const dx_conn *c);
/* Seconds since the last byte came, or since reading goes on after a pause. */
static inline double dx_conn_idle(const dx_conn *c, double now) {
  return now > c->beat.last_in ? now - c->beat.last_in : 0;
}
/* It is 'now': send a ping, give up on the peer, or nothing. */
void dx_conn_expire(dx_conn *c, double now);
/* Bytes came of which nothing can be seen yet: a part of a TLS record. */
static inline void dx_conn_alive(dx_conn *c, double now) {
  c->beat.last_in = now;
}
/* Reading was paused or goes on. */
void dx_conn_pause(dx_conn *c, int paused, double now);

#endif

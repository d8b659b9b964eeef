/* SPDX-License-Identifier: MIT */
#include "loop.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLUSH_AT_MOST 64 /* links looked after before other events */

/* Links whose time is up that are looked at in one turn, and then. */
#define EXPIRE_AT_ONCE 64
#define EXPIRE_A_SECOND 32e3
#define SEAL_AT_MOST ((size_t)48 * 1024) /* encrypted before it is sent */
#define LINGER 10.0      /* seconds for a peer to take some of the rest */
#define LINGER_MOST 60.0 /* seconds in all */

double dx_loop_clock(void) { return (double)uv_hrtime() * 1e-9; }

/* ---- links: descriptors ---- */

#define loop_of dx_link_loop

static void on_poll(uv_poll_t *handle, int status, int events);

static void watch(dx_link *l, int events) {
  if (l->closed || l->events == events)
    return;
  l->events = (uint8_t)events;
  if (events)
    uv_poll_start(&l->poll, events, on_poll);
  else
    uv_poll_stop(&l->poll);
}

static void on_closed(uv_handle_t *handle) { free(handle); }

static void forget_rest(dx_link *l) {
  if (l->conn || l->rest == NULL)
    return;
  dx_buffer_clear(&l->rest, NULL);
  loop_of(l)->unsent--;
}

static void forget_secure(dx_link *l) {
  dx_secure_leave(l->secure);
  l->secure = NULL;
}

static void close_link(dx_link *l) {
  if (l->closed)
    return;
  forget_secure(l);
  dx_timers_set(&loop_of(l)->timers, &l->timer, INFINITY);
  l->closed = 1;
  loop_of(l)->links--;
  forget_rest(l);
  if (loop_of(l)->borrower == l)
    loop_of(l)->borrower = NULL;
  /* libuv must forget the descriptor before it is closed. */
  uv_poll_stop(&l->poll);
  close(l->fd);
  if (!l->dirty)
    uv_close((uv_handle_t *)&l->poll, on_closed);
}

dx_link *dx_link_open(dx_loop *loop, int fd, dx_conn *conn) {
  dx_link *l = calloc(1, sizeof *l);
  int e = l ? uv_poll_init(&loop->uv, &l->poll, fd) : -ENOMEM;
  if (e < 0) {
    free(l);
    close(fd);
    errno = -e;
    return NULL;
  }
  l->poll.data = l; /* tells links from other handles */
  l->fd = fd;
  l->conn = conn;
  l->timer.kind = DX_TIMER_LINK;
  loop->links++;
  dx_link_touch(l);
  return l;
}

void dx_link_touch(dx_link *l) {
  if (l->dirty || l->closed)
    return;
  dx_loop *loop = loop_of(l);
  dx_link **place = loop->last_alone ? &loop->last_alone->next : &loop->dirty;
  l->dirty = 1;
  l->next = *place;
  *place = l;
  loop->last_alone = l;
  if (l->next == NULL)
    loop->dirty_end = l;
}

void dx_link_touch_crowd(dx_link *l) {
  if (l->dirty || l->closed)
    return;
  dx_loop *loop = loop_of(l);
  l->dirty = 1;
  l->next = NULL;
  if (loop->dirty)
    loop->dirty_end->next = l;
  else
    loop->dirty = l;
  loop->dirty_end = l;
}

void dx_link_later(dx_link *l) {
  double next_turn = loop_of(l)->now + 1e-6;
  l->later = !dx_timers_set(&loop_of(l)->timers, &l->timer, next_turn);
}

/* ---- links: sending ---- */

/* Sending failed for good.  What the peer sent before may still be read, and
 * may hold its close frame; reading will find the end. */
static void send_failed(dx_link *l, int error) {
  l->error = error;
  l->blocked = 1;
  if (l->secure)
    dx_buffer_clear(l->secure->wire, l->secure->spare);
  if (l->conn) {
    dx_buffer_clear(&l->conn->out, dx_conn_spare(l->conn));
    l->conn->beat.stalled = 0;
    /* After another error, half a frame may be out, and nothing fits behind. */
    if (!dx_conn_hungry(l->conn) || (error != EPIPE && error != ECONNRESET))
      dx_conn_fail(l->conn, DX_ERR_LOST);
  } else {
    close_link(l);
  }
}

/* A round trip begins when its ping leaves, not when this event began. */
static void read_clock(dx_link *l) {
  if (l->conn->beat.pinged && l->conn->beat.since <= 0)
    loop_of(l)->now = dx_loop_clock();
}

static dx_error tls_error(const dx_conn *c) {
  return c->state == DX_HANDSHAKE ? DX_ERR_TLS : DX_ERR_LOST_TLS;
}

static void tls_failed(dx_link *l) {
  dx_buffer_clear(&l->conn->out, dx_conn_spare(l->conn));
  dx_conn_fail(l->conn, tls_error(l->conn));
}

/* Few large records rather than many small ones: what is queued is encrypted
 * when it can leave, a few records at a time, and sent with one call. */
static int seal(dx_link *l) {
  dx_conn *c = l->conn;
  const uint8_t *p;
  size_t n = dx_conn_output(c, &p);
  if (n == 0 || !l->secure->ready)
    return 0;
  if (n > SEAL_AT_MOST)
    n = SEAL_AT_MOST;
  int e = l->secure->ops->write(l->secure, p, n);
  if (e && e != -EAGAIN)
    tls_failed(l);
  if (e)
    return 0;
  read_clock(l);
  dx_conn_sent(c, n, loop_of(l)->now);
  return 1;
}

static void send_wire(dx_link *l) {
  dx_conn *c = l->conn;
  dx_secure *s = l->secure;
  size_t n = dx_buffer_length(*s->wire);
  ssize_t r = dx_socket_send(l->fd, dx_buffer_bytes(*s->wire), n);
  if (r < 0 && r != -EAGAIN) {
    send_failed(l, (int)-r);
    return;
  }
  if (r > 0)
    dx_buffer_consume(s->wire, s->spare, (size_t)r);
  l->blocked = r < (ssize_t)n;
  if (l->blocked ? r > 0 || c->beat.stalled <= 0
                 : dx_buffer_length(c->out) == 0)
    dx_conn_stalled(c, l->blocked, loop_of(l)->now);
}

static void send_secure(dx_link *l) {
  while (!l->blocked && (dx_buffer_length(*l->secure->wire) || seal(l)))
    send_wire(l);
}

void dx_link_send(dx_link *l) {
  dx_conn *c = l->conn;
  if (c == NULL || l->blocked || l->closed)
    return;
  if (l->secure) {
    send_secure(l);
    return;
  }
  const uint8_t *p;
  size_t n = dx_conn_output(c, &p);
  if (n == 0)
    return;
  ssize_t r = dx_socket_send(l->fd, p, n);
  read_clock(l);
  if (r >= 0) {
    dx_conn_sent(c, (size_t)r, loop_of(l)->now);
    l->blocked = (size_t)r < n;
  } else if (r == -EAGAIN) {
    l->blocked = 1;
    if (c->beat.stalled <= 0)
      dx_conn_stalled(c, 1, loop_of(l)->now);
  } else {
    send_failed(l, (int)-r);
  }
}

/* dx_link_put_large with TLS: encrypted from 'data'.  The header is in the
 * first record, with as much of the payload as that holds. */
static dx_error put_large_secure(dx_link *l, const dx_message *m) {
  dx_conn *c = l->conn;
  dx_secure *s = l->secure;
  uint8_t record[DX_RECORD];
  size_t head_n = dx_head_encode(record, DX_FIN | m->opcode, m->n, NULL);
  size_t all = head_n + m->n, gone = sizeof record < all ? sizeof record : all;
  memcpy(record + head_n, m->data, gone - head_n);
  int e = s->ops->write(s, record, gone);
  if (e)
    gone = 0;
  while (!e && !l->blocked && gone < all) {
    size_t k = all - gone < SEAL_AT_MOST ? all - gone : SEAL_AT_MOST;
    e = s->ops->write(s, m->data + (gone - head_n), k);
    gone += e ? 0 : k;
    send_wire(l);
  }
  dx_link_touch(l);
  if (e && e != -EAGAIN)
    tls_failed(l);
  if (c->state != DX_OPEN)
    return dx_conn_end(c);
  return dx_conn_put_rest(c, record, head_n, m->data, m->n, gone);
}

dx_error dx_link_put_large(dx_link *l, const dx_message *m) {
  dx_conn *c = l->conn;
  if (l->blocked || c->sending || !c->server || c->state != DX_OPEN)
    return dx_conn_put_message(c, m);
  if (l->secure) {
    send_secure(l); /* what was queued before */
    if (l->blocked || c->out || c->state != DX_OPEN)
      return dx_conn_put_message(c, m);
    return put_large_secure(l, m);
  }
  uint8_t head[DX_MAX_HEAD];
  size_t head_n = dx_head_encode(head, DX_FIN | m->opcode, m->n, NULL);
  const uint8_t *p;
  size_t before = dx_conn_output(c, &p);
  struct iovec parts[3] = {{(void *)(uintptr_t)p, before},
                           {head, head_n},
                           {(void *)(uintptr_t)m->data, m->n}};
  ssize_t r = before ? dx_socket_sendv(l->fd, parts, 3)
                     : dx_socket_sendv(l->fd, parts + 1, 2);
  l->blocked = r < 0 || (size_t)r < before + head_n + m->n;
  dx_link_touch(l);
  if (r < 0 && r != -EAGAIN)
    l->blocked = 0; /* dx_link_send will meet the error again */
  if (r < (ssize_t)before || r <= 0) {
    if (r > 0)
      dx_conn_sent(c, (size_t)r, loop_of(l)->now);
    return dx_conn_put_message(c, m);
  }
  if (before)
    dx_conn_sent(c, before, loop_of(l)->now);
  dx_error e =
      dx_conn_put_rest(c, head, head_n, m->data, m->n, (size_t)r - before);
  if (l->blocked)
    dx_conn_stalled(c, 1, loop_of(l)->now);
  return e;
}

/* ---- links: the end ---- */

static int cut_at_once(dx_error e) {
  return e == DX_ERR_LOST || e == DX_ERR_LOST_SEND || e == DX_ERR_LOST_CLOSE;
}

/* The peer gets a while more to take bytes, or to hang up. */
static void be_patient(dx_link *l) {
  double now = loop_of(l)->now;
  dx_timers_set(&loop_of(l)->timers, &l->timer, fmin(now + LINGER, l->until));
}

/* What is still to be sent, as it goes to the peer. */
static dx_buffer take_rest(dx_link *l) {
  dx_buffer *out = &l->conn->out;
  if (l->secure) {
    while (seal(l))
      ;
    l->secure->ops->finish(l->secure);
    out = l->secure->wire;
  }
  dx_buffer rest = *out;
  *out = NULL;
  return rest;
}

/* The connection is over: keep what has to be sent, let go of the rest. */
static void detach(dx_link *l) {
  dx_conn *c = l->conn;
  int cut = cut_at_once((dx_error)c->error);
  dx_buffer rest = cut ? NULL : take_rest(l);
  if (rest)
    loop_of(l)->unsent++;
  if (loop_of(l)->borrower == l)
    loop_of(l)->borrower = NULL;
  loop_of(l)->hooks->ended(l);
  forget_secure(l);
  l->conn = NULL;
  l->rest = rest;
  l->until = loop_of(l)->now + LINGER_MOST;
  if (cut)
    close_link(l);
  else
    be_patient(l);
}

static void tend_lingering(dx_link *l) {
  if (l->rest && !l->blocked) {
    size_t n = dx_buffer_length(l->rest);
    ssize_t r = dx_socket_send(l->fd, dx_buffer_bytes(l->rest), n);
    if (r < 0 && r != -EAGAIN) {
      close_link(l);
      return;
    }
    l->blocked = r < (ssize_t)n;
    if (r == (ssize_t)n)
      forget_rest(l);
    else if (r > 0) {
      dx_buffer_consume(&l->rest, NULL, (size_t)r);
      be_patient(l);
    }
  }
  if (l->rest == NULL && !l->shut) {
    l->shut = 1;
    shutdown(l->fd, SHUT_WR);
  }
  if (l->rest == NULL && l->hung_up) {
    close_link(l);
    return;
  }
  watch(l, (l->hung_up ? 0 : UV_READABLE) | (l->rest ? UV_WRITABLE : 0));
}

void dx_link_drop(dx_link *l) {
  if (l->conn == NULL || l->closed)
    return;
  loop_of(l)->now = dx_loop_clock();
  dx_conn_close(l->conn, 1001, "", 0, loop_of(l)->now);
  dx_conn_fail(l->conn, DX_ERR_CLOSED);
  dx_link_send(l);
  if (!l->closed && l->conn)
    detach(l);
  dx_link_touch(l);
}

/* ---- links: looking after ---- */

/* Reading makes TLS answer (alerts, keys to update): who does not read these
 * answers shall not make us keep many. */
static int choked(const dx_link *l) {
  return l->secure && dx_buffer_length(*l->secure->wire) > DX_INPUT_SIZE;
}

static void tend(dx_link *l) {
  dx_conn *c = l->conn;
  if (c == NULL) {
    tend_lingering(l);
    return;
  }
  dx_link_send(l);
  if (c->state == DX_CLOSED) {
    detach(l);
    if (!l->closed)
      tend_lingering(l);
    return;
  }
  /* The queue has room again, or who waits for a message has to be told. */
  if ((c->state > DX_HANDSHAKE && dx_conn_unread(c) && !l->later &&
       dx_conn_hungry(c)) ||
      (c->asked && l->reader)) {
    loop_of(l)->hooks->input(l);
    dx_link_touch(l); /* pongs may have to be sent, or it may be gone */
    return;
  }
  if (l->wants_drain && dx_buffer_length(c->out) <= c->limits->high_mark / 4)
    loop_of(l)->hooks->drained(l);
  int reads = dx_conn_hungry(c) && !dx_conn_unread(c) && !choked(l);
  if (reads == c->beat.paused)
    dx_conn_pause(c, !reads, loop_of(l)->now);
  int input = reads ? UV_READABLE : c->gone ? 0 : UV_DISCONNECT;
  watch(l, input | (l->blocked ? UV_WRITABLE : 0));
  double due = dx_conn_due(c);
  if (due < dx_timers_at(&loop_of(l)->timers, &l->timer))
    dx_timers_set(&loop_of(l)->timers, &l->timer, due);
}

int dx_loop_flush(dx_loop *loop) {
  if (loop->dirty == NULL)
    return 0; /* as a rule: several times in each turn */
  for (int i = 0; loop->dirty && i < FLUSH_AT_MOST; i++) {
    dx_link *l = loop->dirty;
    loop->dirty = l->next;
    if (l == loop->last_alone)
      loop->last_alone = NULL;
    l->dirty = 0;
    if (l->closed)
      uv_close((uv_handle_t *)&l->poll, on_closed);
    else
      tend(l);
  }
  return loop->dirty != NULL;
}

/* ---- links: receiving ---- */

/* The receive buffer is about to be filled: whoever has unread input there
 * takes it along. */
static void reclaim_input(dx_loop *loop) {
  if (loop->borrower && loop->borrower->conn) {
    if (dx_conn_keep(loop->borrower->conn))
      dx_link_touch(loop->borrower);
  }
  loop->borrower = NULL;
}

/* The peer sends no more, or receiving failed. */
static void hung_up(dx_link *l, ssize_t r) {
  l->hung_up = 1;
  if (r < 0)
    l->error = (int)-r;
  if (l->conn)
    dx_conn_eof(l->conn, l->error ? DX_ERR_LOST : DX_ERR_LOST_EOF);
  else if (r < 0)
    forget_rest(l); /* there is nobody to send it to */
}

/* Decrypt all that came: into a large message as far as it goes, and what is
 * behind it into the receive buffer. */
static void decrypt(dx_link *l) {
  dx_loop *loop = loop_of(l);
  dx_conn *c = l->conn;
  dx_secure *s = l->secure;
  uint8_t *p;
  size_t room, n = 0;
  ssize_t r = 1;
  while (r > 0 && (room = dx_conn_room(c, &p)) > 0)
    if ((r = s->ops->read(s, p, room)) > 0)
      dx_conn_filled(c, (size_t)r, loop->now);
  while (r > 0 && n < DX_INPUT_SIZE)
    if ((r = s->ops->read(s, loop->input + n, DX_INPUT_SIZE - n)) > 0)
      n += (size_t)r;
  if (n) {
    dx_conn_lend(c, loop->input, n, loop->now);
    loop->borrower = l;
  }
  if (r == 0)
    hung_up(l, 0);
  else if (r == -EPROTO)
    dx_conn_eof(c, tls_error(c));
}

/* Input that came as plain bytes was the beginning of the handshake. */
static void reread(dx_link *l) {
  dx_loop *loop = loop_of(l);
  size_t n = dx_conn_take(l->conn, (char *)loop->wire, DX_WIRE_SIZE);
  l->conn->bytes_in -= n; /* only what is in them counts */
  reclaim_input(loop);
  l->secure->ops->lend(l->secure, loop->wire, n);
  decrypt(l);
}

int dx_link_secure(dx_link *l, dx_secure *s, int begun) {
  dx_loop *loop = loop_of(l);
  if (l->conn == NULL || l->closed || s->taken)
    return -1;
  size_t unread = l->conn->reader.n;
  if (unread && (!begun || l->secure || unread > DX_WIRE_SIZE))
    return -1;
  if (loop->wire == NULL && (loop->wire = malloc(DX_WIRE_SIZE)) == NULL)
    return -1;
  if (l->secure && s->ops->nest(s, l->secure))
    return -1;
  dx_secure_leave(l->secure);
  l->secure = s;
  s->users++;
  s->taken = 1;
  dx_link_touch(l);
  if (unread)
    reread(l);
  return 0;
}

static void readable_secure(dx_link *l) {
  dx_loop *loop = loop_of(l);
  reclaim_input(loop);
  size_t room = DX_INPUT_SIZE - l->secure->layers * DX_CUT_RECORD;
  ssize_t r = dx_socket_receive(l->fd, loop->wire, room);
  if (r == -EAGAIN)
    return;
  if (r <= 0) {
    hung_up(l, r);
  } else {
    l->secure->ops->lend(l->secure, loop->wire, (size_t)r);
    decrypt(l);
    if (!l->conn->eof) /* a farewell is no sign of life */
      dx_conn_alive(l->conn, loop->now);
  }
  loop->hooks->input(l);
}

static void readable(dx_link *l) {
  dx_loop *loop = loop_of(l);
  dx_conn *c = l->conn;
  uint8_t *p = loop->input;
  if (c && (dx_conn_unread(c) || !dx_conn_hungry(c)))
    return; /* watch() is about to stop this */
  if (l->secure) {
    readable_secure(l);
    return;
  }
  size_t room = c ? dx_conn_room(c, &p) : 0;
  if (room == 0) {
    reclaim_input(loop);
    p = loop->input;
  }
  ssize_t r = dx_socket_receive(l->fd, p, room ? room : DX_INPUT_SIZE);
  if (r == -EAGAIN)
    return;
  if (r <= 0) {
    hung_up(l, r);
    if (c == NULL)
      return;
  } else if (c == NULL) {
    return; /* said after the end: nobody is interested */
  } else if (room) {
    dx_conn_filled(c, (size_t)r, loop->now);
  } else {
    dx_conn_lend(c, p, (size_t)r, loop->now);
    loop->borrower = l;
  }
  loop->hooks->input(l);
}

/* The peer hung up while we do not read.  What it sent before is there for
 * whoever takes messages; those who only wait for the end get it now. */
static void disconnected(dx_link *l) {
  l->error = -dx_socket_connected(l->fd);
  l->conn->gone = l->error ? DX_ERR_LOST : DX_ERR_LOST_EOF;
  loop_of(l)->hooks->input(l);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
  dx_link *l = (dx_link *)handle;
  dx_loop *loop = loop_of(l);
  if (l->closed)
    return;
  /* Milliseconds will do, and libuv has just read the clock; but a pong may
   * come with these bytes, and round trips are shorter. */
  loop->now = l->conn && l->conn->beat.pinged
                  ? dx_loop_clock()
                  : (double)uv_now(&loop->uv) * 1e-3;
  if (status < 0) {
    /* The descriptor has an error, and libuv stopped watching it; receiving
     * tells which, after what the peer sent before. */
    l->events = 0;
    events = l->conn && l->conn->beat.paused ? UV_DISCONNECT : UV_READABLE;
    l->blocked = 0;
  }
  if (events & UV_DISCONNECT && l->conn && l->conn->beat.paused)
    disconnected(l);
  if (events & UV_WRITABLE)
    l->blocked = 0;
  if (events & UV_READABLE)
    readable(l);
  /* An answer does not wait for the many that others have to be sent. */
  dx_link_send(l);
  dx_link_touch(l);
  dx_loop_flush(loop);
}

/* ---- the loop ---- */

/* libuv counts whole milliseconds, so an alarm may go off before its time:
 * then it has to be set again.  And some versions run timers only before they
 * wait for events: after that there would be nothing to end the wait. */
static void on_alarm(uv_timer_t *alarm) {
  ((dx_loop *)alarm->loop)->alarm_at = NAN;
  uv_stop(alarm->loop);
}

int dx_loop_init(dx_loop *loop, const dx_hooks *hooks) {
  *loop = (dx_loop){.hooks = hooks, .alarm_at = INFINITY};
  loop->input = malloc(DX_INPUT_SIZE);
  if (loop->input == NULL)
    return -ENOMEM;
  int e = uv_loop_init(&loop->uv);
  if (e < 0) {
    free(loop->input);
    return e;
  }
  uv_timer_init(&loop->uv, &loop->alarm);
  loop->now = dx_loop_clock();
  return 0;
}

static void close_handle(uv_handle_t *handle, void *unused) {
  (void)unused;
  if (uv_is_closing(handle))
    return;
  if (handle->data == handle) {
    dx_link *l = (dx_link *)handle;
    l->dirty = 0; /* the list is given up with the loop */
    close_link(l);
  } else {
    uv_close(handle, NULL);
  }
}

void dx_loop_close(dx_loop *loop) {
  while (dx_loop_flush(loop))
    ;
  uv_walk(&loop->uv, close_handle, NULL);
  uv_run(&loop->uv, UV_RUN_DEFAULT);
  uv_loop_close(&loop->uv);
  free(loop->input);
  free(loop->wire);
  free(loop->timers.heap);
  loop->input = loop->wire = NULL;
}

static void set_alarm(dx_loop *loop) {
  double first = dx_timers_first(&loop->timers);
  if (first == loop->alarm_at)
    return;
  loop->alarm_at = first;
  if (isinf(first)) {
    uv_timer_stop(&loop->alarm);
    return;
  }
  double wait = ceil(fmin(first - dx_loop_clock(), DX_FOREVER) * 1000);
  uv_update_time(&loop->uv);
  uv_timer_start(&loop->alarm, on_alarm, wait > 0 ? (uint64_t)wait : 0, 0);
}

static void link_expired(dx_link *l) {
  dx_conn *c = l->conn;
  if (c == NULL) {
    close_link(l);
    return;
  }
  int due = loop_of(l)->now >= dx_conn_due(c), later = l->later;
  l->later = 0;
  if (due)
    dx_conn_expire(c, loop_of(l)->now);
  if (due || later) /* what is left may be the end alone */
    loop_of(l)->hooks->input(l);
  dx_link_touch(l); /* sets the timer anew */
}

/* Connections that came, or were written to, at one time are due at one time
 * too: the first of them are looked at now, the others soon, so that nobody
 * waits for all of them, now or at the next time. */
static void run_timers(dx_loop *loop) {
  dx_timer *t;
  int links = 0;
  loop->now = dx_loop_clock();
  if (dx_timers_first(&loop->timers) > loop->now)
    return;
  loop->alarm_at = NAN; /* it went off, or is about to: set it again */
  while ((t = dx_timers_expired(&loop->timers, loop->now))) {
    if (t->kind != DX_TIMER_LINK)
      loop->hooks->expired(loop, t);
    else if (++links <= EXPIRE_AT_ONCE)
      link_expired((dx_link *)((char *)t - offsetof(dx_link, timer)));
    else
      dx_timers_set(&loop->timers, t, loop->now + links / EXPIRE_A_SECOND);
  }
}

void dx_loop_turn(dx_loop *loop, int wait) {
  if (dx_loop_flush(loop))
    wait = 0;
  set_alarm(loop);
  uv_run(&loop->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
  run_timers(loop);
  dx_loop_flush(loop);
}

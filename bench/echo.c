/* SPDX-License-Identifier: MIT */
/* echo.c - send messages, count the echoes, and see what the server paid.
 *
 * Every connection keeps 'inflight' messages on their way.  It starts with all
 * of them in one send; from then on, whatever number of replies one receive
 * completes, as many new messages leave in one send.  So a server that answers
 * in bursts is fed in bursts, and one that answers one by one is not made to
 * look better than it is. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum { ROOM = 1 << 16, EVENTS = 256 };

typedef struct peer {
  client link;
  bool blocked;  /* waits for EPOLLOUT too */
  size_t at;     /* bytes of the current reply that have come */
  squeeze reply; /* the same of replies of all lengths */
  size_t phase;  /* byte of the frames that is sent next */
  size_t next;   /* the frame that follows the window */
  size_t unsent; /* bytes of the window that have not left */
} peer;

typedef struct bench {
  const load_frames *frames;
  int epoll;
  uint64_t replies;
  uint64_t bytes; /* of payloads of replies that only they know the length of */
  uint8_t in[ROOM];
} bench;

static void watch(bench *b, peer *p, int how) {
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
  if (p->blocked)
    e.events |= EPOLLOUT;
  if (epoll_ctl(b->epoll, how, p->link.fd, &e))
    load_fail("epoll_ctl: %s", strerror(errno));
}

/* Frames go round and round, so where to go on after a short send is a matter
 * of counting: no queue, no copy. */
static void send_window(bench *b, peer *p) {
  const load_frames *f = b->frames;
  while (p->unsent) {
    ssize_t n = client_send(&p->link, f->burst + p->phase, p->unsent);
    if (n < 0 && errno != EAGAIN)
      load_fail("send: %s", strerror(errno));
    if (n < 0)
      break;
    p->unsent -= (size_t)n;
    p->phase = (p->phase + (size_t)n) % f->length;
  }
  if (p->blocked != (p->unsent > 0)) {
    p->blocked = p->unsent > 0;
    watch(b, p, EPOLL_CTL_MOD);
  }
}

/* As many messages more may be on their way. */
static void widen(const load_frames *f, peer *p, size_t messages) {
  while (messages--) {
    p->unsent += f->lengths[p->next];
    p->next = p->next + 1 == f->count ? 0 : p->next + 1;
  }
}

/* Step over n received bytes: headers are compared, payloads are not. */
static size_t count_replies(bench *b, peer *p, const uint8_t *in, size_t n) {
  const load_frames *f = b->frames;
  size_t whole = 0;
  if (!f->head_length) {
    uint64_t before = p->reply.bytes;
    whole = squeeze_step(&p->reply, in, n);
    b->bytes += p->reply.bytes - before;
    return whole;
  }
  while (n) {
    size_t step;
    if (p->at < f->head_length) {
      step = f->head_length - p->at < n ? f->head_length - p->at : n;
      if (memcmp(in, f->head + p->at, step))
        load_fail("a reply has another opcode or length: it begins %02x %02x",
                  in[0], n > 1 ? in[1] : 0);
    } else {
      step = f->reply_length - p->at < n ? f->reply_length - p->at : n;
    }
    in += step;
    n -= step;
    p->at += step;
    if (p->at == f->reply_length) {
      p->at = 0;
      whole++;
    }
  }
  return whole;
}

/* Returns how many replies one receive completes.  The payload of a long one is
 * dropped in the kernel (MSG_TRUNC on a TCP socket) if it comes in the clear:
 * no server gets its messages for less. */
static size_t receive(bench *b, peer *p) {
  const load_frames *f = b->frames;
  size_t left = f->reply_length - p->at;
  bool drop = f->head_length && !p->link.tls && p->at >= f->head_length &&
              left > ROOM / 4;
  ssize_t n = drop ? recv(p->link.fd, NULL, left, MSG_TRUNC)
                   : client_receive(&p->link, b->in, ROOM);
  if (n < 0 && errno == EAGAIN)
    return 0;
  if (n <= 0)
    load_fail("receive: %s", n ? strerror(errno) : "the server hung up");
  if (!drop)
    return count_replies(b, p, b->in, (size_t)n);
  p->at = (p->at + (size_t)n) % f->reply_length;
  return p->at == 0;
}

static void on_readable(bench *b, peer *p) {
  size_t whole = receive(b, p);
  while (client_pending(&p->link))
    whole += receive(b, p);
  b->replies += whole;
  widen(b->frames, p, whole);
  if (whole && !p->blocked)
    send_window(b, p);
}

/* Run until the clock says 'end'.  Returns when it really was. */
static double run_until(bench *b, double end) {
  struct epoll_event events[EVENTS];
  double silent_since = load_now();
  for (;;) {
    int n = epoll_wait(b->epoll, events, EVENTS, 50);
    double now = load_now();
    if (n > 0)
      silent_since = now;
    else if (now > silent_since + 10)
      load_fail("no reply for 10 s");
    for (int i = 0; i < n; i++) {
      if (events[i].events & EPOLLOUT)
        send_window(b, events[i].data.ptr);
      if (events[i].events & ~(unsigned)EPOLLOUT)
        on_readable(b, events[i].data.ptr);
    }
    if (now >= end)
      return load_now();
  }
}

static peer *open_all(bench *b, const load_options *o) {
  peer *peers = calloc((size_t)o->connections, sizeof *peers);
  if (!peers)
    load_fail("out of memory");
  for (int i = 0; i < o->connections; i++) {
    if (!client_open(&peers[i].link, o, i ? 0 : 10))
      load_fail("only %d connections: %s", i, strerror(errno));
    client_check(&peers[i].link, b->frames);
    client_nonblocking(&peers[i].link);
    watch(b, &peers[i], EPOLL_CTL_ADD);
  }
  for (int i = 0; i < o->connections; i++) {
    widen(b->frames, &peers[i], (size_t)o->inflight);
    send_window(b, &peers[i]);
  }
  return peers;
}

void echo_run(const load_options *o) {
  static bench b;
  load_frames frames;
  if (o->data)
    squeeze_frames(&frames, o);
  else
    client_frames(&frames, o->size, o->inflight, o->text, 0);
  b.frames = &frames;
  b.epoll = epoll_create1(EPOLL_CLOEXEC);
  peer *peers = open_all(&b, o);

  double start = run_until(&b, load_now() + o->warmup);
  double cpu = o->pid ? proc_cpu(o->pid) : 0;
  clock_t own = clock();
  b.replies = b.bytes = 0;
  double end = run_until(&b, start + o->seconds);
  cpu = o->pid ? proc_cpu(o->pid) - cpu : 0;
  printf("messages %llu seconds %.4f server_cpu %.6f load_cpu %.3f",
         (unsigned long long)b.replies, end - start, cpu,
         (double)(clock() - own) / CLOCKS_PER_SEC);
  if (o->data)
    printf(" ratio %.4f",
           (double)b.bytes / ((double)b.replies * (double)o->size));
  if (o->tls)
    printf(" cipher %s", tls_cipher(peers[0].link.tls));
  putchar('\n');
}

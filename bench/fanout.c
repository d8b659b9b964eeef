/* SPDX-License-Identifier: MIT */
/* fanout.c - one publishes, many receive, and somebody else wants an answer.
 *
 * The server echoes every message, with two exceptions that their first byte
 * tells: who sends an 'S' gets it back and is a subscriber from then on, and a
 * 'P' goes to all subscribers.  The next messages are published when all but
 * the last ones have arrived everywhere: so the server always has work, and
 * what it keeps for slow readers does not grow.
 *
 * The echo beside is a process of its own, so that its latency is not that of
 * a load generator that has many sockets to read. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 1 << 16, EVENTS = 512 };

#define EVERY 0.002 /* seconds between two messages of the echo beside */

typedef struct subscriber {
  client link;
  size_t at; /* bytes of the current message that have come */
} subscriber;

typedef struct fanout {
  const load_frames *frames;
  const load_options *o;
  client publisher, echo;
  int epoll;
  uint64_t published, received; /* of all subscribers together */
  uint8_t in[ROOM];
} fanout;

/* ---- the echo beside ---- */

typedef struct latency {
  double p50, p99, worst;
} latency;

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void sleep_until(double when) {
  double left = when - load_now();
  if (left > 0)
    nanosleep(&(struct timespec){.tv_nsec = (long)(left * 1e9)}, NULL);
}

/* One message at a time, so an answer that takes long is one figure, however
 * many would have been due meanwhile. */
static latency measure(const client *c, const load_options *o, double start,
                       double end) {
  size_t room = (size_t)((end - start) / EVERY) + 1, n = 0;
  double *seconds = calloc(room, sizeof *seconds);
  load_frames f;
  client_frames(&f, o->size, 1, o->text, 'E');
  if (!seconds)
    load_fail("out of memory");
  setpriority(PRIO_PROCESS, 0, -10); /* it matters, and costs next to nothing */
  for (double began; (began = load_now()) < end;) {
    client_check(c, &f);
    if (load_now() >= start && n < room)
      seconds[n++] = load_now() - began;
    sleep_until(began + EVERY);
  }
  if (n == 0)
    load_fail("the echo beside had no answer");
  qsort(seconds, n, sizeof *seconds, compare);
  return (latency){seconds[n / 2], seconds[n * 99 / 100], seconds[n - 1]};
}

/* Returns what its figures can be read from. */
static int start_echo(const client *c, const load_options *o, double start,
                      double end) {
  int ends[2];
  if (pipe(ends))
    load_fail("pipe: %s", strerror(errno));
  pid_t pid = fork();
  if (pid < 0)
    load_fail("fork: %s", strerror(errno));
  if (pid == 0) {
    latency l = measure(c, o, start, end);
    _exit(write(ends[1], &l, sizeof l) != sizeof l);
  }
  close(ends[1]);
  return ends[0];
}

/* ---- publishing ---- */

static void publish(fanout *f) {
  const load_frames *p = f->frames;
  size_t n = p->length * (size_t)f->o->inflight;
  if (client_send(&f->publisher, p->burst, n) != (ssize_t)n)
    load_fail("publish: %s", strerror(errno));
  f->published += (uint64_t)f->o->inflight * (uint64_t)f->o->connections;
}

/* Steps over what came; of each message the header is compared. */
static void count(fanout *f, subscriber *s, size_t n) {
  const load_frames *m = f->frames;
  size_t next = s->at ? m->reply_length - s->at : 0; /* where one begins */
  for (; next + 1 < n; next += m->reply_length)
    if (f->in[next] != m->head[0] || f->in[next + 1] != m->head[1])
      load_fail("a subscriber got another message: it begins %02x %02x",
                f->in[next], f->in[next + 1]);
  s->at += n;
  f->received += s->at / m->reply_length;
  s->at %= m->reply_length;
}

static void receive(fanout *f, subscriber *s) {
  do {
    ssize_t n = client_receive(&s->link, f->in, ROOM);
    if (n < 0 && errno == EAGAIN)
      return;
    if (n <= 0)
      load_fail("receive: %s", n ? strerror(errno) : "the server hung up");
    count(f, s, (size_t)n);
  } while (client_pending(&s->link));
}

/* Run until the clock says 'end'.  Returns when it really was. */
static double run_until(fanout *f, double end) {
  struct epoll_event events[EVENTS];
  double silent_since = load_now();
  uint64_t batch = (uint64_t)f->o->inflight * (uint64_t)f->o->connections;
  for (;;) {
    if (f->received + batch >= f->published)
      publish(f);
    int n = epoll_wait(f->epoll, events, EVENTS, 50);
    double now = load_now();
    if (n > 0)
      silent_since = now;
    else if (now > silent_since + 10)
      load_fail("no message for 10 s");
    for (int i = 0; i < n; i++)
      receive(f, events[i].data.ptr);
    if (now >= end)
      return load_now();
  }
}

static void open_all(fanout *f) {
  const load_options *o = f->o;
  load_frames subscribe;
  client_frames(&subscribe, 1, 1, o->text, 'S');
  subscriber *all = calloc((size_t)o->connections, sizeof *all);
  if (!all)
    load_fail("out of memory");
  for (int i = 0; i < o->connections; i++) {
    client *c = &all[i].link;
    if (!client_open(c, o, i ? 0 : 10))
      load_fail("only %d connections: %s", i, strerror(errno));
    client_check(c, &subscribe);
    client_nonblocking(c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &all[i]};
    if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, c->fd, &e))
      load_fail("epoll_ctl: %s", strerror(errno));
  }
  if (!client_open(&f->publisher, o, 0) || !client_open(&f->echo, o, 0))
    load_fail("no publisher: %s", strerror(errno));
}

void fanout_run(const load_options *o) {
  static fanout f;
  load_frames frames;
  latency echo;
  client_frames(&frames, o->size, o->inflight, o->text, 'P');
  f.frames = &frames;
  f.o = o;
  f.epoll = epoll_create1(EPOLL_CLOEXEC);
  open_all(&f);

  double start = load_now() + o->warmup, end = start + o->seconds;
  int from_echo = start_echo(&f.echo, o, start, end);
  start = run_until(&f, start);
  double cpu = o->pid ? proc_cpu(o->pid) : 0;
  clock_t own = clock();
  uint64_t before = f.received;
  end = run_until(&f, end);
  cpu = o->pid ? proc_cpu(o->pid) - cpu : 0;
  printf("messages %llu seconds %.4f server_cpu %.6f load_cpu %.3f",
         (unsigned long long)(f.received - before), end - start, cpu,
         (double)(clock() - own) / CLOCKS_PER_SEC);
  fflush(stdout);
  if (read(from_echo, &echo, sizeof echo) != sizeof echo)
    load_fail("the echo beside failed");
  printf(" p50 %.6f p99 %.6f worst %.6f\n", echo.p50, echo.p99, echo.worst);
}

/* SPDX-License-Identifier: MIT */
/* idle.c - hold connections that say nothing, or no more, and see what the
 * server keeps for each of them. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Opened before the first look at the server's memory: what it allocates once,
 * with its first connections, is not a price of each. */
enum { FIRST = 64, EVENTS = 256 };

/* Stable means: within SLACK bytes for CALM seconds. */
enum { SLACK = 64 * 1024, CALM = 3, AT_MOST = 30 };

static int opened, lost;

/* A server's ping arrives whole and is answered, as a browser would. */
static void on_readable(int epoll, const client *c) {
  static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
  uint8_t in[256], out[6 + 125] = {0x8a};
  ssize_t n = client_receive(c, in, sizeof in);
  if (n < 0 && errno == EAGAIN)
    return;
  if (n >= 2 && in[0] == 0x89 && in[1] <= 125 && n == 2 + in[1]) {
    out[1] = in[1] | 0x80;
    memcpy(out + 2, key, sizeof key);
    for (int i = 0; i < in[1]; i++)
      out[6 + i] = in[2 + i] ^ key[i & 3];
    if (client_send(c, out, (size_t)in[1] + 6) > 0)
      return;
  }
  epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
  lost++;
}

/* Answer what has come, for at most 'milliseconds'.  Returns false once stdin,
 * if it is watched, has come to its end. */
static bool answer(int epoll, int milliseconds) {
  struct epoll_event events[EVENTS];
  char byte;
  int n = epoll_wait(epoll, events, EVENTS, milliseconds);
  for (int i = 0; i < n; i++) {
    if (events[i].data.ptr)
      on_readable(epoll, events[i].data.ptr);
    else if (read(STDIN_FILENO, &byte, 1) <= 0)
      return false;
  }
  return true;
}

/* With 'frames' each exchanges a message, which makes what it is compressed
 * with. */
static void open_more(int epoll, const load_options *o, int count,
                      const load_frames *frames) {
  client *clients = calloc((size_t)count, sizeof *clients);
  if (!clients)
    load_fail("out of memory");
  for (int i = 0; i < count; i++) {
    client *c = &clients[i];
    if (!client_open(c, o, opened ? 0 : 10)) {
      fprintf(stderr, "load: only %d of %d connections could be opened: %s\n",
              opened, o->connections + FIRST, strerror(errno));
      return;
    }
    opened++;
    if (frames)
      client_check(c, frames);
    client_nonblocking(c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
    if (i % 64 == 0)
      answer(epoll, 0);
  }
}

/* Wait until the server's memory has come to rest, and return it. */
static uint64_t settled_memory(int epoll, pid_t pid) {
  uint64_t low = 0, high = 0, now = 0;
  double start = load_now(), since = start;
  while (load_now() < since + CALM && load_now() < start + AT_MOST) {
    now = proc_memory(pid);
    low = now < low ? now : low;
    high = now > high ? now : high;
    if (high - low > SLACK || !low) {
      low = high = now;
      since = load_now();
    }
    double next = load_now() + 0.25;
    while (load_now() < next)
      answer(epoll, 50);
  }
  return now;
}

void idle_run(const load_options *o) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  uint64_t before = 0, after = 0;
  load_frames made, *frames = o->data ? &made : NULL;
  if (frames)
    squeeze_frames(frames, o);
  open_more(epoll, o, FIRST, frames);
  if (o->pid)
    before = settled_memory(epoll, o->pid);
  open_more(epoll, o, o->connections, frames);
  if (o->pid)
    after = settled_memory(epoll, o->pid);
  printf("open %d lost %d before %llu after %llu\n", opened - FIRST, lost,
         (unsigned long long)before, (unsigned long long)after);
  fflush(stdout);
  if (o->hold) {
    struct epoll_event e = {.events = EPOLLIN}; /* no client: stdin */
    if (!epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e))
      while (answer(epoll, -1))
        continue;
  }
}

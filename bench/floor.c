/* SPDX-License-Identifier: MIT */
/* floor.c - a bare WebSocket echo on epoll: what the kernel and the masking of
 * RFC 6455 cost when nothing else is done.  Nothing is checked, limited or
 * timed, so this is no server; it is the floor that servers are compared with.
 *
 * One epoll_wait for all, one recv and one send for each readable connection.
 * Frames are read into one shared buffer and answered from another.  What is
 * incomplete at its end is copied away: a short rest to 'tail', a long frame
 * to 'big', where the rest of it is then received without another copy.
 *
 * With a certificate it speaks TLS, and floor_tls.c stands between: what one
 * recv brings is opened at once, and one send takes all records of an answer.
 */
#include "floor.h"
#include "../csrc/core/base64.h"
#include "../csrc/core/sha1.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  ROOM = 512 * 1024,    /* the shared buffers */
  TAIL_MAX = 64 * 1024, /* longer frames get a buffer of their own */
  FRAME_MAX = 16 << 20,
  EVENTS = 256
};

typedef struct conn {
  int fd;
  SSL *tls;  /* NULL in the clear */
  bool open; /* hands have been shaken */
  uint8_t *tail, *big, *out;
  size_t tail_length;
  size_t big_length, big_have;
  uint8_t *unsent; /* within 'out' */
  size_t unsent_length;
} conn;

typedef struct frame {
  uint8_t first;
  uint8_t key[4];
  size_t head, length; /* of the header with its key, of the payload */
} frame;

static uint8_t in[ROOM], out[ROOM], sealed_in[ROOM];
static int epoll;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void drop(conn *c) {
  close(c->fd);
  SSL_free(c->tls);
  free(c->tail);
  free(c->big);
  free(c->out);
  free(c);
}

static void watch(conn *c, int how, uint32_t events) {
  struct epoll_event e = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll, how, c->fd, &e))
    die("epoll_ctl");
}

/* Returns false while the header is not complete. */
static bool read_head(frame *f, const uint8_t *p, size_t n) {
  size_t length = n > 1 ? p[1] & 127 : 0;
  size_t extra = length < 126 ? 0 : length == 126 ? 2 : 8;
  f->head = 2 + extra + 4;
  if (n < f->head)
    return false;
  if (extra)
    length = 0;
  for (size_t i = 0; i < extra; i++)
    length = length << 8 | p[2 + i];
  f->first = p[0] == 0x89 ? 0x8a : p[0]; /* a ping is answered by a pong */
  memcpy(f->key, p + 2 + extra, 4);
  f->length = length;
  return true;
}

static size_t write_head(uint8_t *p, const frame *f) {
  size_t extra = f->head - 6;
  p[0] = f->first;
  p[1] = (uint8_t)(extra == 0 ? f->length : extra == 2 ? 126 : 127);
  for (size_t i = 0; i < extra; i++)
    p[2 + i] = (uint8_t)((uint64_t)f->length >> (8 * (extra - 1 - i)));
  return 2 + extra;
}

static void unmask(uint8_t *to, const uint8_t *from, const frame *f) {
  uint64_t key, word;
  size_t i = 0;
  memcpy(&key, f->key, 4);
  memcpy((uint8_t *)&key + 4, f->key, 4);
  for (; i + 8 <= f->length; i += 8) {
    memcpy(&word, from + i, 8);
    word ^= key;
    memcpy(to + i, &word, 8);
  }
  for (; i < f->length; i++)
    to[i] = from[i] ^ f->key[i & 3];
}

static void keep_more(conn *c, const uint8_t *p, size_t n) {
  uint8_t *all = malloc(c->unsent_length + n);
  if (!all)
    die("malloc");
  memcpy(all, c->unsent, c->unsent_length);
  memcpy(all + c->unsent_length, p, n);
  free(c->out);
  c->out = c->unsent = all;
  c->unsent_length += n;
}

/* Keep what the socket does not take now; until it has, receive nothing more.
 * 'owner', which 'p' lies in, is taken over, or NULL if 'p' is borrowed. */
static bool send_or_keep(conn *c, uint8_t *p, size_t n, uint8_t *owner) {
  ssize_t done = send(c->fd, p, n, MSG_NOSIGNAL);
  if (done < 0 && errno != EAGAIN) {
    free(owner);
    return false;
  }
  done = done < 0 ? 0 : done;
  if ((size_t)done == n) {
    free(owner);
    return true;
  }
  c->unsent = p + done;
  c->unsent_length = n - (size_t)done;
  c->out = owner;
  if (!owner) {
    if (!(c->out = malloc(c->unsent_length)))
      die("malloc");
    c->unsent = memcpy(c->out, c->unsent, c->unsent_length);
  }
  watch(c, EPOLL_CTL_MOD, EPOLLOUT);
  return true;
}

/* Send what has been sealed, behind what is kept. */
static bool flush(conn *c) {
  uint8_t *p;
  size_t n = tls_sealed(&p);
  if (n && c->unsent_length)
    keep_more(c, p, n);
  return n == 0 || c->unsent_length || send_or_keep(c, p, n, NULL);
}

/* As send_or_keep, for what has yet to be sealed if it must be. */
static bool answer(conn *c, uint8_t *p, size_t n, uint8_t *owner) {
  bool ok = true;
  if (!c->tls)
    return send_or_keep(c, p, n, owner);
  for (size_t step; ok && n; p += step, n -= step) {
    step = n < TLS_SEAL_MAX ? n : TLS_SEAL_MAX;
    ok = tls_seal(c->tls, p, step) && flush(c);
  }
  free(owner);
  return ok;
}

static bool on_writable(conn *c) {
  ssize_t done = send(c->fd, c->unsent, c->unsent_length, MSG_NOSIGNAL);
  if (done < 0)
    return errno == EAGAIN;
  c->unsent += done;
  c->unsent_length -= (size_t)done;
  if (c->unsent_length == 0) {
    free(c->out);
    c->out = NULL;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
  }
  return true;
}

/* Copy an incomplete frame away. */
static bool keep_rest(conn *c, const uint8_t *p, size_t n) {
  frame f;
  size_t whole = 0;
  if (read_head(&f, p, n)) {
    if (f.length > FRAME_MAX)
      return false;
    whole = f.head + f.length;
  }
  uint8_t *copy = malloc(whole > TAIL_MAX ? whole : n);
  if (!copy)
    die("malloc");
  memcpy(copy, p, n);
  if (whole > TAIL_MAX) {
    c->big = copy;
    c->big_length = whole;
    c->big_have = n;
  } else {
    c->tail = copy;
    c->tail_length = n;
  }
  return true;
}

/* Answer every whole frame in 'n' bytes of the shared buffer. */
static bool echo_frames(conn *c, size_t n) {
  size_t at = 0, length = 0;
  frame f;
  while (read_head(&f, in + at, n - at) && f.length <= n - at - f.head) {
    length += write_head(out + length, &f);
    unmask(out + length, in + at + f.head, &f);
    length += f.length;
    at += f.head + f.length;
  }
  if (at < n && !keep_rest(c, in + at, n - at))
    return false;
  return length == 0 || answer(c, out, length, NULL);
}

/* The reply takes the place of the frame: its header is 4 bytes shorter. */
static bool echo_big(conn *c) {
  uint8_t *big = c->big, head[14];
  frame f;
  read_head(&f, big, c->big_length);
  unmask(big + f.head, big + f.head, &f);
  memcpy(big + 4, head, write_head(head, &f));
  c->big = NULL;
  return answer(c, big + 4, c->big_length - 4, big);
}

static bool shake_hands(conn *c, size_t n) {
  static const char name[] = "\r\nsec-websocket-key:";
  static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  char text[128], accept[32];
  uint8_t digest[20];
  in[n] = 0;
  if (!strstr((char *)in, "\r\n\r\n")) {
    c->tail = malloc(n);
    c->tail_length = n;
    return c->tail && memcpy(c->tail, in, n) && n < 16384;
  }
  const char *key = strcasestr((char *)in, name);
  if (!key)
    return false;
  key += sizeof name - 1;
  key += strspn(key, " \t");
  int length = snprintf(text, sizeof text, "%.24s%s", key, guid);
  dx_sha1(digest, text, (size_t)length);
  size_t accept_length = dx_base64_encode(accept, digest, sizeof digest);
  length = snprintf((char *)out, ROOM,
                    "HTTP/1.1 101 Switching Protocols\r\n"
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: %.*s\r\n\r\n",
                    (int)accept_length, accept);
  c->open = true;
  return answer(c, out, (size_t)length, NULL);
}

/* Receive, or open what has been received, and answer it. */
static bool take(conn *c) {
  uint8_t *to = c->big ? c->big + c->big_have : in + c->tail_length;
  size_t room =
      c->big ? c->big_length - c->big_have : ROOM - c->tail_length - 1;
  if (c->tail)
    memcpy(in, c->tail, c->tail_length);
  ssize_t n = c->tls ? tls_open(c->tls, to, room) : recv(c->fd, to, room, 0);
  if (n <= 0)
    return n < 0 && errno == EAGAIN;
  free(c->tail);
  c->tail = NULL;
  if (c->big) {
    c->big_have += (size_t)n;
    return c->big_have < c->big_length || echo_big(c);
  }
  size_t have = c->tail_length + (size_t)n;
  c->tail_length = 0;
  return c->open ? echo_frames(c, have) : shake_hands(c, have);
}

static bool on_readable(conn *c) {
  if (!c->tls)
    return take(c);
  ssize_t n = recv(c->fd, sealed_in, sizeof sealed_in, 0);
  if (n <= 0)
    return n < 0 && errno == EAGAIN;
  tls_feed(sealed_in, (size_t)n);
  bool ok = true;
  while (ok && tls_more(c->tls))
    ok = take(c);
  return flush(c) && ok;
}

static void accept_all(int listener, bool secure) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
         0) {
    conn *c = calloc(1, sizeof *c);
    if (!c)
      die("calloc");
    c->fd = fd;
    c->tls = secure ? tls_new() : NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
  }
}

static int listen_on(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET};
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  a.sin_port = htons((uint16_t)port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 4096))
    die("listen");
  return fd;
}

/* floor [CERTIFICATE KEY] PORT */
int main(int argc, char **argv) {
  struct epoll_event events[EVENTS];
  bool secure = argc == 4;
  if (secure)
    tls_start(argv[1], argv[2]);
  conn listener = {.fd = listen_on(argc > 1 ? atoi(argv[argc - 1]) : 0)};
  /* Large buffers are used again, not given back to the kernel in between. */
  mallopt(M_MMAP_THRESHOLD, 2 * FRAME_MAX);
  mallopt(M_TRIM_THRESHOLD, 64 * FRAME_MAX);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
  for (;;) {
    int n = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      conn *c = events[i].data.ptr;
      if (c == &listener)
        accept_all(c->fd, secure);
      else if (!(c->unsent_length ? on_writable(c) : on_readable(c)))
        drop(c);
    }
  }
}

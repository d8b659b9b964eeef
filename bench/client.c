/* SPDX-License-Identifier: MIT */
/* client.c - the far end of a connection, as little of it as will do. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* What Chromium sends: servers that keep the head pay for a real one.  The key
 * and its answer are those of RFC 6455 1.3, so nothing is computed here. */
static const char request[] =
    "GET /chat?room=lobby HTTP/1.1\r\n"
    "Host: 127.0.0.1:%d\r\n"
    "Connection: Upgrade\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 "
    "(KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36\r\n"
    "Upgrade: websocket\r\n"
    "Origin: http://127.0.0.1:%d\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    "\r\n";
static const char accept_value[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/* A socket whose local address is 127.0.0.'source'.  The kernel picks the port
 * at connect, when it knows both ends, so all ports serve every source. */
static int socket_from(int source) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in a = {.sin_family = AF_INET};
  struct timeval limit = {.tv_sec = 20};
  a.sin_addr.s_addr = htonl(0x7f000000u + (unsigned)source);
  if (fd < 0)
    return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (bind(fd, (struct sockaddr *)&a, sizeof a))
    load_fail("bind to 127.0.0.%d: %s", source, strerror(errno));
  return fd;
}

static int connect_to(int port, double patience) {
  static int source = 1; /* moves on when its ephemeral ports are used up */
  struct sockaddr_in a = {.sin_family = AF_INET};
  double give_up = load_now() + patience;
  a.sin_port = htons((uint16_t)port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (;;) {
    int fd = socket_from(source);
    if (fd < 0 || !connect(fd, (struct sockaddr *)&a, sizeof a))
      return fd;
    int why = errno;
    close(fd);
    errno = why;
    if (why == EADDRNOTAVAIL && source < 250)
      source++;
    else if (why == ECONNREFUSED && load_now() < give_up)
      usleep(20 * 1000);
    else if (why == EADDRNOTAVAIL)
      return -1;
    else
      load_fail("connect to port %d: %s", port, strerror(why));
  }
}

ssize_t client_send(const client *c, const void *data, size_t n) {
  return c->tls ? tls_send(c->tls, data, n)
                : send(c->fd, data, n, MSG_NOSIGNAL);
}

ssize_t client_receive(const client *c, void *data, size_t room) {
  return c->tls ? tls_receive(c->tls, data, room) : recv(c->fd, data, room, 0);
}

bool client_pending(const client *c) {
  return c->tls && SSL_has_pending(c->tls);
}

static void send_all(const client *c, const void *data, size_t n) {
  const uint8_t *p = data;
  while (n) {
    ssize_t done = client_send(c, p, n);
    if (done < 0)
      load_fail("send: %s", strerror(errno));
    p += done;
    n -= (size_t)done;
  }
}

static size_t receive_some(const client *c, void *data, size_t room) {
  ssize_t n = client_receive(c, data, room);
  if (n <= 0)
    load_fail("receive: %s", n ? strerror(errno) : "the server hung up");
  return (size_t)n;
}

/* Returns false with errno set if no answer came: a server that has run out of
 * descriptors leaves connections in the backlog and says nothing. */
static bool shake_hands(const client *c, const load_options *o) {
  char head[2048];
  size_t have = 0;
  int length = snprintf(head, sizeof head, request, o->port, o->port);
  send_all(c, head, (size_t)length);
  do {
    ssize_t n = client_receive(c, head + have, sizeof head - 1 - have);
    if (n <= 0) {
      errno = n == 0 ? ECONNRESET : errno == EAGAIN ? ETIMEDOUT : errno;
      return false;
    }
    have += (size_t)n;
    head[have] = 0;
  } while (!strstr(head, "\r\n\r\n"));
  if (strncmp(head, "HTTP/1.1 101 ", 13) || !strstr(head, accept_value))
    load_fail("handshake refused: %s", head);
  bool compresses = strcasestr(head, "\r\nSec-WebSocket-Extensions:");
  if (compresses != (o->data != NULL))
    load_fail("the server %s", compresses
                                   ? "compresses; turn that off to compare"
                                   : "does not compress");
  return true;
}

bool client_open(client *c, const load_options *o, double patience) {
  *c = (client){.fd = connect_to(o->port, patience)};
  if (c->fd < 0)
    return false;
  if ((!o->tls || tls_open(c)) && shake_hands(c, o))
    return true;
  int why = errno;
  SSL_free(c->tls);
  close(c->fd);
  errno = why;
  return false;
}

void client_nonblocking(const client *c) {
  fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
}

size_t client_head(uint8_t *p, uint8_t first, size_t size) {
  size_t extra = size < 126 ? 0 : size < 65536 ? 2 : 8;
  p[0] = first;
  p[1] = (uint8_t)(extra == 0 ? size : extra == 2 ? 126 : 127);
  for (size_t i = 0; i < extra; i++)
    p[2 + i] = (uint8_t)((uint64_t)size >> (8 * (extra - 1 - i)));
  return 2 + extra;
}

void client_frames(load_frames *f, size_t size, int inflight, bool text,
                   char first) {
  static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
  uint32_t noise = 1;
  *f = (load_frames){.count = 1, .size = size};
  f->head_length = client_head(f->head, text ? 0x81 : 0x82, size);
  f->reply_length = f->head_length + size;
  f->length = f->reply_length + sizeof key;
  f->payload = malloc(size + 1);
  f->burst = malloc(f->length * ((size_t)inflight + 1));
  f->lengths = malloc(sizeof *f->lengths);
  if (!f->payload || !f->burst || !f->lengths)
    load_fail("out of memory");
  f->lengths[0] = f->length;
  for (size_t i = 0; i < size; i++) {
    noise = noise * 1664525u + 1013904223u;
    f->payload[i] = (uint8_t)(text ? 32 + (noise >> 24) % 95 : noise >> 24);
  }
  memcpy(f->burst, f->head, f->head_length);
  if (first && size)
    f->payload[0] = (uint8_t)first;
  f->burst[1] |= 0x80;
  memcpy(f->burst + f->head_length, key, sizeof key);
  for (size_t i = 0; i < size; i++)
    f->burst[f->head_length + 4 + i] = f->payload[i] ^ key[i & 3];
  for (int i = 1; i <= inflight; i++)
    memcpy(f->burst + f->length * (size_t)i, f->burst, f->length);
}

void client_check(const client *c, const load_frames *f) {
  uint8_t *reply = malloc(f->reply_length + 1);
  if (!reply)
    load_fail("out of memory");
  send_all(c, f->burst, f->lengths[0]);
  if (!f->head_length) {
    squeeze_check(c, f);
    free(reply);
    return;
  }
  for (size_t have = 0; have < f->reply_length;)
    have += receive_some(c, reply + have, f->reply_length - have);
  if (memcmp(reply, f->head, f->head_length) ||
      memcmp(reply + f->head_length, f->payload, f->size))
    load_fail("the reply is not what was sent");
  free(reply);
}

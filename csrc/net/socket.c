/* SPDX-License-Identifier: MIT */
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* where it is missing, SO_NOSIGPIPE is set instead */
#endif

int dx_address_text(const dx_address *a, char *text, size_t size, int *port) {
  const struct sockaddr *s = (const struct sockaddr *)&a->storage;
  *port = 0;
  text[0] = '\0';
  if (a->length == 0)
    return 0;
  if (s->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const void *)s;
    *port = ntohs(in->sin_port);
    return inet_ntop(AF_INET, &in->sin_addr, text, (socklen_t)size) ? 0
                                                                    : -errno;
  }
  if (s->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const void *)s;
    *port = ntohs(in6->sin6_port);
    return inet_ntop(AF_INET6, &in6->sin6_addr, text, (socklen_t)size) ? 0
                                                                       : -errno;
  }
  if (s->sa_family == AF_UNIX) {
    const struct sockaddr_un *un = (const void *)s;
    size_t n = a->length > offsetof(struct sockaddr_un, sun_path)
                   ? strnlen(un->sun_path, sizeof un->sun_path)
                   : 0;
    if (n >= size)
      return -ENAMETOOLONG;
    memcpy(text, un->sun_path, n);
    text[n] = '\0';
  }
  return 0;
}

int dx_address_numeric(dx_address *a, const char *host, int port) {
  *a = (dx_address){0};
  struct sockaddr_in *in = (void *)&a->storage;
  struct sockaddr_in6 *in6 = (void *)&a->storage;
  if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    a->length = sizeof *in;
    return 0;
  }
  if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    a->length = sizeof *in6;
    return 0;
  }
  return -EINVAL;
}

int dx_address_unix(dx_address *a, const char *path) {
  *a = (dx_address){0};
  struct sockaddr_un *un = (void *)&a->storage;
  size_t n = strlen(path);
  if (n == 0 || n >= sizeof un->sun_path)
    return n ? -ENAMETOOLONG : -EINVAL;
  un->sun_family = AF_UNIX;
  memcpy(un->sun_path, path, n + 1);
  a->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
  return 0;
}

int dx_socket_adopt(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
      fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
    return -errno;
  int on = 1;
  /* Fails on a Unix socket, which has no delay to switch off. */
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#ifdef SO_NOSIGPIPE
  setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
  return 0;
}

static int close_with(int fd, int error) {
  close(fd);
  return -error;
}

static int open_socket(const dx_address *a) {
#ifdef SOCK_CLOEXEC
  int fd = socket(a->storage.ss_family,
                  SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
#else
  int fd = socket(a->storage.ss_family, SOCK_STREAM, 0);
#endif
  if (fd < 0)
    return -errno;
  int e = dx_socket_adopt(fd);
  return e ? close_with(fd, -e) : fd;
}

static int call_connect(int fd, const dx_address *a) {
  int r;
  do
    r = connect(fd, (const struct sockaddr *)&a->storage, a->length);
  while (r < 0 && errno == EINTR);
  return r < 0 ? -errno : 0;
}

/* A socket file stays behind when its server dies: it may go if it is a
 * socket and nobody answers there. */
static int is_stale(const dx_address *a) {
  const struct sockaddr_un *un = (const void *)&a->storage;
  struct stat st;
  if (lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
    return 0;
  int fd = open_socket(a);
  if (fd < 0)
    return 0;
  int e = call_connect(fd, a);
  close(fd);
  return e == -ECONNREFUSED;
}

int dx_socket_listen(const dx_address *a, int backlog, int flags) {
  int fd = open_socket(a);
  if (fd < 0)
    return fd;
  int on = 1;
  sa_family_t family = a->storage.ss_family;
  if (family != AF_UNIX)
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (family == AF_INET6)
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (flags & DX_REUSEPORT) {
#ifdef SO_REUSEPORT
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0)
      return close_with(fd, errno);
#else
    return close_with(fd, ENOTSUP);
#endif
  }
  const struct sockaddr *s = (const struct sockaddr *)&a->storage;
  int bound = bind(fd, s, a->length);
  if (bound < 0 && errno == EADDRINUSE && family == AF_UNIX) {
    errno = EADDRINUSE;
    if (is_stale(a)) {
      unlink(((const struct sockaddr_un *)s)->sun_path);
      bound = bind(fd, s, a->length);
    } else {
      errno = EADDRINUSE;
    }
  }
  if (bound < 0 || listen(fd, backlog) < 0)
    return close_with(fd, errno);
  return fd;
}

int dx_socket_accept(int fd, dx_address *peer) {
  int got;
  do {
    peer->length = sizeof peer->storage;
#ifdef SOCK_CLOEXEC
    got = accept4(fd, (struct sockaddr *)&peer->storage, &peer->length,
                  SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
    got = accept(fd, (struct sockaddr *)&peer->storage, &peer->length);
#endif
    /* Whoever gave up while waiting in the queue is not our error. */
  } while (got < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (got < 0)
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
  int on = 1;
#ifdef SOCK_CLOEXEC
  if (peer->storage.ss_family != AF_UNIX)
    setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
#else
  (void)on;
  int e = dx_socket_adopt(got);
  if (e)
    return close_with(got, -e);
#endif
  return got;
}

int dx_socket_connect(const dx_address *a, int *pending) {
  int fd = open_socket(a);
  if (fd < 0)
    return fd;
  int e = call_connect(fd, a);
  /* A second call after EINTR may find the first one under way, or done. */
  *pending = e == -EINPROGRESS || e == -EALREADY;
  return e && !*pending && e != -EISCONN ? close_with(fd, -e) : fd;
}

int dx_socket_connected(int fd) {
  int error = 0;
  socklen_t n = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
    return -errno;
  return -error;
}

int dx_socket_name(int fd, dx_address *a) {
  a->length = sizeof a->storage;
  return getsockname(fd, (struct sockaddr *)&a->storage, &a->length) < 0
             ? -errno
             : 0;
}

static ssize_t result(ssize_t r) {
  if (r >= 0)
    return r;
  return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

ssize_t dx_socket_receive(int fd, void *p, size_t n) {
  ssize_t r;
  do
    r = recv(fd, p, n, 0);
  while (r < 0 && errno == EINTR);
  return result(r);
}

ssize_t dx_socket_send(int fd, const void *p, size_t n) {
  ssize_t r;
  do
    r = send(fd, p, n, MSG_NOSIGNAL);
  while (r < 0 && errno == EINTR);
  return result(r);
}

ssize_t dx_socket_sendv(int fd, const struct iovec *parts, int count) {
  struct msghdr m = {.msg_iov = (struct iovec *)parts,
                     .msg_iovlen = (size_t)count};
  ssize_t r;
  do
    r = sendmsg(fd, &m, MSG_NOSIGNAL);
  while (r < 0 && errno == EINTR);
  return result(r);
}

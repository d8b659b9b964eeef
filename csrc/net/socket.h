/* SPDX-License-Identifier: MIT
 * socket.h - addresses and non-blocking descriptors (TCP and Unix sockets).
 *
 * Functions return 0 or a descriptor, or a negated errno.  Descriptors are
 * the caller's to close; all are non-blocking and closed on exec.  EINTR is
 * handled inside, SIGPIPE is never raised. */
#ifndef DX_SOCKET_H
#define DX_SOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef struct dx_address {
  struct sockaddr_storage storage;
  socklen_t length;
} dx_address;

/* The host as text, and the port, of TCP addresses; a Unix address has its path
 * and port 0 ("" for an unnamed peer).  'size' of at least 110 always suffices.
 */
int dx_address_text(const dx_address *a, char *text, size_t size, int *port);
/* A numeric IPv4 or IPv6 address; -EINVAL for anything else. */
int dx_address_numeric(dx_address *a, const char *host, int port);
/* -ENAMETOOLONG for what does not fit in a sockaddr_un. */
int dx_address_unix(dx_address *a, const char *path);

enum { DX_REUSEPORT = 1 };

/* Bind and listen.  A Unix path that nobody listens on any more is taken
 * over; TCP listeners get SO_REUSEADDR, IPv6 ones serve IPv6 only. */
int dx_socket_listen(const dx_address *a, int backlog, int flags);
/* Accept one connection; 'peer' is filled in.  -EAGAIN when there is none. */
int dx_socket_accept(int fd, dx_address *peer);
/* Begin to connect: the descriptor, with *pending set while it goes on. */
int dx_socket_connect(const dx_address *a, int *pending);
/* How a connect that was pending ended: 0 or a negated errno. */
int dx_socket_connected(int fd);
/* The address this end is bound to. */
int dx_socket_name(int fd, dx_address *a);
/* Make a descriptor of others fit: non-blocking, closed on exec, no delay. */
int dx_socket_adopt(int fd);

/* > 0 bytes, 0 = the peer sends no more, or a negated errno (-EAGAIN). */
ssize_t dx_socket_receive(int fd, void *p, size_t n);
ssize_t dx_socket_send(int fd, const void *p, size_t n);
ssize_t dx_socket_sendv(int fd, const struct iovec *parts, int count);

#endif

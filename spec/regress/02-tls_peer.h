/* SPDX-License-Identifier: MIT
 * 02-tls_peer.h: what the peers in C of these specs have in common.  They end
 * when anything is not as it should be. */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char buffer[100000];

static inline struct sockaddr_in local(int port) {
  return (struct sockaddr_in){.sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline int connect_to(const char *port) {
  struct sockaddr_in a = local(atoi(port));
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  return connect(fd, (struct sockaddr *)&a, sizeof a) ? -1 : fd;
}

static inline int listen_somewhere(void) {
  struct sockaddr_in a = local(0);
  socklen_t n = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&a, n) || listen(fd, 8) ||
      getsockname(fd, (struct sockaddr *)&a, &n))
    exit(1);
  printf("listening on :%d\n", ntohs(a.sin_port));
  return fd;
}

static inline void put(int fd, const void *p, size_t n) {
  if (write(fd, p, n) != (ssize_t)n)
    exit(1);
}

/* Exactly n bytes, or the end of this program. */
static inline void get(SSL *ssl, unsigned char *p, size_t n) {
  for (size_t got; n; p += got, n -= got)
    if (SSL_read_ex(ssl, p, n, &got) != 1)
      exit(0);
}

static inline char *get_head(SSL *ssl) {
  size_t n = 0;
  do {
    get(ssl, buffer + n++, 1);
    buffer[n] = '\0';
  } while (n < 4 || memcmp(buffer + n - 4, "\r\n\r\n", 4) != 0);
  return (char *)buffer;
}

/* For servers. */
static inline SSL_CTX *identity(const char *certificate, const char *key) {
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_num_tickets(context, 0);
  SSL_CTX_set_session_id_context(context, (const unsigned char *)"p", 1);
  if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
    exit(1);
  return context;
}

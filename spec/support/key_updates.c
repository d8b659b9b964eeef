/* SPDX-License-Identifier: MIT
 * key_updates.c PATH: a WebSocket over TLS 1.3 and a Unix socket, which holds
 * little, that asks for new keys again and again (RFC 8446 4.6.3) and reads
 * none of the answers.  Prints "stuck N" when nothing goes any more after N of
 * them, "ended N" when the server hung up, or "took N" when it took all; then
 * waits to be killed. */
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define AT_MOST 200000
#define PATIENCE 300 /* milliseconds */

static const char request[] =
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n\r\n";

static int connect_to(const char *path) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  strncpy(to.sun_path, path, sizeof to.sun_path - 1);
  return connect(fd, (struct sockaddr *)&to, sizeof to) ? -1 : fd;
}

int main(int argc, char **argv) {
  int fd = connect_to(argc > 1 ? argv[1] : ""), n = 0;
  SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
  char answer[1000];
  SSL_set_fd(ssl, fd);
  if (fd < 0 || SSL_connect(ssl) != 1 ||
      SSL_write(ssl, request, (int)strlen(request)) <= 0 ||
      SSL_read(ssl, answer, sizeof answer) <= 0)
    return 1;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  const char *end = "took";
  while (n < AT_MOST) {
    if (SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE)
      SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
    int r = SSL_do_handshake(ssl);
    struct pollfd p = {fd, POLLOUT, 0};
    if (r == 1) {
      n++;
    } else if (SSL_get_error(ssl, r) != SSL_ERROR_WANT_WRITE) {
      end = "ended";
      break;
    } else if (poll(&p, 1, PATIENCE) == 0) {
      end = "stuck";
      break;
    }
  }
  printf("%s %d\n", end, n);
  fflush(stdout);
  pause();
  return 0;
}

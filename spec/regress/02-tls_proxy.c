/* SPDX-License-Identifier: MIT
 * 02-tls_proxy.c CERTIFICATE KEY PORT: an https proxy to PORT of this machine.
 * It sends a session ticket in the first tunnel when that is up.  The second
 * one it keeps to itself, claims to be the server with what it has, and prints
 * what became of that.  Before all it prints where it listens. */
#include "02-tls_peer.h"

#include <poll.h>

static void relay(SSL *ssl, int client, int server) {
  int ticket = 0;
  for (;;) {
    struct pollfd p[2] = {{client, POLLIN, 0}, {server, POLLIN, 0}};
    if (SSL_pending(ssl) == 0)
      poll(p, 2, -1);
    if (SSL_pending(ssl) || p[0].revents) {
      int n = SSL_read(ssl, buffer, sizeof buffer);
      if (n <= 0)
        return;
      put(server, buffer, (size_t)n);
    } else {
      ssize_t n = read(server, buffer, sizeof buffer);
      if (n <= 0)
        return;
      if (!ticket++) { /* the inner handshake is under way */
        SSL_new_session_ticket(ssl);
        SSL_do_handshake(ssl);
      }
      SSL_write(ssl, buffer, (int)n);
    }
  }
}

static void claim(SSL_CTX *context, SSL *outer) {
  BIO *b = BIO_new(BIO_f_ssl());
  SSL *inner = SSL_new(context);
  BIO_set_ssl(b, outer, BIO_NOCLOSE);
  SSL_set_bio(inner, b, b);
  if (SSL_accept(inner) != 1) {
    printf("refused\n");
    return;
  }
  get_head(inner);
  printf("accepted, resumed: %d\n", SSL_session_reused(inner));
  SSL_write(inner, "HTTP/1.1 403 Mine\r\nContent-Length: 0\r\n\r\n", 40);
}

int main(int argc, char **argv) {
  if (argc != 4)
    return 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  SSL_CTX *context = identity(argv[1], argv[2]);
  int listener = listen_somewhere();
  for (int count = 1; count <= 2; count++) {
    int client = accept(listener, NULL, NULL);
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, client);
    if (SSL_accept(ssl) != 1)
      exit(1);
    get_head(ssl);
    SSL_write(ssl, "HTTP/1.1 200 OK\r\n\r\n", 19);
    if (count == 1)
      relay(ssl, client, connect_to(argv[3]));
    else
      claim(context, ssl);
    close(client);
  }
}

/* SPDX-License-Identifier: MIT */
/* tls.c - OpenSSL below a client.  Nothing is verified: servers have throw-away
 * certificates.  One cipher is offered, so that all servers pay for the same.
 */
#include "load.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>

/* Bytes that one read may fetch: many records. */
enum { READ_AHEAD = 128 * 1024 };

static SSL_CTX *make_context(void) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
      !SSL_CTX_set_ciphersuites(context, "TLS_AES_256_GCM_SHA384"))
    load_fail("OpenSSL cannot do TLS 1.3");
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
  signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
  return context;
}

bool tls_open(client *c) {
  static SSL_CTX *context;
  if (!context)
    context = make_context();
  c->tls = SSL_new(context);
  if (!c->tls || !SSL_set_fd(c->tls, c->fd))
    load_fail("out of memory");
  errno = 0;
  if (SSL_connect(c->tls) == 1)
    return true;
  if (ERR_peek_error())
    load_fail("TLS: %s", ERR_reason_error_string(ERR_get_error()));
  errno = errno == EAGAIN ? ETIMEDOUT : errno ? errno : ECONNRESET;
  return false;
}

/* What a call of OpenSSL returned, in the terms of send and recv. */
static ssize_t outcome(SSL *tls, int n) {
  if (n > 0)
    return n;
  switch (SSL_get_error(tls, n)) {
  case SSL_ERROR_WANT_READ:
  case SSL_ERROR_WANT_WRITE:
    errno = EAGAIN;
    return -1;
  case SSL_ERROR_ZERO_RETURN:
    return 0;
  case SSL_ERROR_SYSCALL:
    return errno ? -1 : 0;
  default:
    load_fail("TLS: %s", ERR_reason_error_string(ERR_get_error()));
  }
}

ssize_t tls_send(SSL *tls, const void *data, size_t n) {
  errno = 0;
  return outcome(tls, SSL_write(tls, data, (int)n));
}

ssize_t tls_receive(SSL *tls, void *data, size_t room) {
  errno = 0;
  return outcome(tls, SSL_read(tls, data, (int)room));
}

const char *tls_cipher(SSL *tls) { return SSL_get_cipher_name(tls); }

/* SPDX-License-Identifier: MIT */
/* floor_tls.c - TLS for the floor: one BIO for all connections, which reads
 * what one recv brought and gathers records for one send. */
#include "floor.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for what is sealed at once, 22 bytes more for each record, and the
 * longest flight of a handshake. */
static uint8_t sealed[TLS_SEAL_MAX + 64 * 1024];
static size_t sealed_length;
static const uint8_t *fed;
static size_t fed_length;
static SSL_CTX *context;
static BIO *bio;

static int on_read(BIO *b, char *to, int room) {
  size_t n = fed_length < (size_t)room ? fed_length : (size_t)room;
  BIO_clear_retry_flags(b);
  if (n == 0) {
    BIO_set_retry_read(b);
    return -1;
  }
  memcpy(to, fed, n);
  fed += n;
  fed_length -= n;
  return (int)n;
}

static int on_write(BIO *b, const char *p, int n) {
  BIO_clear_retry_flags(b);
  if ((size_t)n > sizeof sealed - sealed_length)
    return -1;
  memcpy(sealed + sealed_length, p, (size_t)n);
  sealed_length += (size_t)n;
  return n;
}

static long on_control(BIO *b, int command, long number, void *p) {
  (void)b, (void)number, (void)p;
  return command == BIO_CTRL_FLUSH;
}

void tls_start(const char *certificate, const char *key) {
  BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "floor");
  context = SSL_CTX_new(TLS_server_method());
  if (!context || !method || !BIO_meth_set_read(method, on_read) ||
      !BIO_meth_set_write(method, on_write) ||
      !BIO_meth_set_ctrl(method, on_control) || !(bio = BIO_new(method)) ||
      SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    ERR_print_errors_fp(stderr);
    exit(1);
  }
  BIO_set_init(bio, 1);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}

SSL *tls_new(void) {
  SSL *tls = SSL_new(context);
  if (!tls)
    exit(1);
  BIO_up_ref(bio);
  SSL_set_bio(tls, bio, bio);
  SSL_set_accept_state(tls);
  return tls;
}

void tls_feed(const uint8_t *p, size_t n) {
  fed = p;
  fed_length = n;
}

bool tls_more(const SSL *tls) { return fed_length > 0 || SSL_pending(tls) > 0; }

ssize_t tls_open(SSL *tls, uint8_t *to, size_t room) {
  size_t have = 0;
  while (have < room && tls_more(tls)) {
    int n = SSL_read(tls, to + have, (int)(room - have));
    if (n <= 0 && SSL_get_error(tls, n) != SSL_ERROR_WANT_READ) {
      ERR_clear_error();
      fed_length = 0;
      return 0;
    }
    have += n > 0 ? (size_t)n : 0;
  }
  errno = EAGAIN;
  return have > 0 ? (ssize_t)have : -1;
}

bool tls_seal(SSL *tls, const uint8_t *p, size_t n) {
  return SSL_write(tls, p, (int)n) == (int)n;
}

size_t tls_sealed(uint8_t **p) {
  size_t n = sealed_length;
  *p = sealed;
  sealed_length = 0;
  return n;
}

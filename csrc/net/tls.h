/* SPDX-License-Identifier: MIT
 * tls.h - TLS on OpenSSL (RFC 8446, RFC 5246): contexts, which hold what many
 * connections share, and engines, one for each connection (secure.h).
 *
 * Contexts are counted: an engine holds the one it was made with, so that a
 * server can exchange its certificates while connections live.  Functions
 * that can fail write why into a dx_tls_problem and return nonzero. */
#ifndef DX_TLS_H
#define DX_TLS_H

#include "secure.h"

#include <openssl/ssl.h>

#if OPENSSL_VERSION_NUMBER < 0x10101000L
#error "Duplex needs OpenSSL 1.1.1 or newer"
#endif
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#define SSL_get1_peer_certificate SSL_get_peer_certificate
#endif

/* A certificate with its key. */
typedef struct dx_identity {
  X509 *certificate;
  STACK_OF(X509) * chain; /* of the authorities between, without the root */
  EVP_PKEY *key;
  uint8_t *ocsp; /* response to staple (RFC 6066 8), or NULL */
  size_t ocsp_n;
  struct dx_identity *next;
} dx_identity;

/* Whom a certificate is for. */
typedef struct dx_name {
  char *text; /* lower case; "*.example.com" is ".example.com" */
  const dx_identity *identity;
  unsigned order; /* in which they were added */
} dx_name;

/* A session that a client may resume. */
typedef struct dx_session {
  struct dx_session *next;
  SSL_SESSION *session;
  char name[]; /* "host:port" */
} dx_session;

/* Engines that keep the buffers of OpenSSL, 33 KiB each, between two uses. */
#define DX_WARM 64

typedef struct dx_tls_context {
  SSL_CTX *ssl;
  struct dx_tls *warm[DX_WARM]; /* those that were busy last */
  unsigned next_warm;           /* whose turn it is to lose them */
  dx_identity *identities; /* the first is for those who ask for no other */
  dx_name *names;          /* of all of them, sorted */
  size_t names_n;
  uint8_t *alpn; /* ours, best first, as on the wire */
  unsigned alpn_n;
  dx_session *sessions; /* newest first */
  dx_spare spare;       /* for the wires of its engines */
  unsigned users;
  uint8_t server;
  uint8_t verify; /* of clients: chain and name of the server are checked */
  uint8_t resume; /* of clients: sessions are kept */
} dx_tls_context;

typedef struct dx_tls_problem {
  char text[400];
} dx_tls_problem;

typedef struct dx_tls {
  dx_secure base; /* first */
  dx_tls_context *context;
  SSL *ssl;
  struct dx_tls *below; /* TLS to a proxy, which this is spoken in, or NULL */
  dx_buffer own_wire;
  const uint8_t *in;
  size_t in_n;
  char *host;       /* of clients: the name to verify, as people write it */
  char *text;       /* why it broke */
  uint16_t port;    /* of clients */
  uint8_t warm;     /* it has a place in context->warm */
  uint8_t begun;    /* the peer's first byte was looked at */
  uint8_t accepted; /* by the peer: with TLS 1.3 a client is ready before the
                       server has looked at its certificate */
} dx_tls;

/* ---- contexts: tls_context.c ---- */

/* Sources are a path, or PEM text itself.  The context starts with one user. */
dx_tls_context *dx_tls_context_new(int server, dx_tls_problem *why);
void dx_tls_context_leave(dx_tls_context *c);

/* Trust these authorities: a file, a directory (of hashed names) or PEM text;
 * NULL: those of the system. */
int dx_tls_context_trust(dx_tls_context *c, const char *source,
                         dx_tls_problem *why);
/* A certificate chain and its key; 'key' NULL: it is in the same source. */
int dx_tls_context_identify(dx_tls_context *c, const char *certificate,
                            const char *key, const char *passphrase,
                            const char *ocsp, dx_tls_problem *why);
/* Versions as TLS1_2_VERSION; 0: no limit of ours. */
int dx_tls_context_versions(dx_tls_context *c, int least, int most,
                            dx_tls_problem *why);
/* Names as OpenSSL has them; NULL: its defaults. */
int dx_tls_context_ciphers(dx_tls_context *c, const char *ciphers,
                           const char *suites, dx_tls_problem *why);
/* Protocols as on the wire (RFC 7301 3.1): each behind its length. */
int dx_tls_context_alpn(dx_tls_context *c, const uint8_t *p, unsigned n,
                        dx_tls_problem *why);
/* Ask clients for a certificate; one that is given is verified. */
void dx_tls_context_ask(dx_tls_context *c, int required);
void dx_tls_context_no_tickets(dx_tls_context *c);
/* All is set: to be called once, last. */
int dx_tls_context_finish(dx_tls_context *c, dx_tls_problem *why);

/* ---- engines: tls.c ---- */

/* NULL without memory.  'host' and 'port', of clients: whom to reach; NULL or
 * "" for nobody in particular.  It starts with one user. */
dx_tls *dx_tls_new(dx_tls_context *c, const char *host, unsigned port);

/* The engine of an SSL of ours. */
static inline dx_tls *dx_tls_of(const SSL *ssl) {
  return SSL_get_app_data(ssl);
}

/* Why the certificate is refused, into the engine's text: for OpenSSL, called
 * for each certificate of the chain. */
int dx_tls_on_verify(int fine, X509_STORE_CTX *store);

/* A session that may be resumed came: for OpenSSL. */
int dx_tls_on_session(SSL *ssl, SSL_SESSION *session);

/* The first of OpenSSL's own errors, in its words; forgets them all. */
const char *dx_tls_reason(void);

#endif

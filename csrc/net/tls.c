/* SPDX-License-Identifier: MIT
 * tls.c - one connection's TLS: OpenSSL between bytes that were lent and bytes
 * to send.
 *
 *   lend -> [BIO] -> SSL_read -> plaintext
 *   plaintext -> SSL_write -> [BIO] -> wire
 *
 * OpenSSL writes whenever it likes, reads included, and the wire takes
 * everything: so "more is needed" is the only thing that it can be waiting for,
 * in writes too, when the peer is in the middle of a handshake message. */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OVERHEAD ((size_t)64) /* no cipher adds more to a record */
#define MAX_SESSIONS 64       /* that the clients of a context keep */
#define SESSIONS_EACH 2       /* of these, for one server */

/* What browsers and people get who speak HTTP to a port that speaks TLS. */
static const char plain_http[] =
    "HTTP/1.1 400 Bad Request\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n"
    "Content-Length: 71\r\n"
    "Connection: close\r\n"
    "\r\n"
    "This port speaks TLS: the address has to begin with https:// or wss://\n";

/* ---- the bytes below OpenSSL ---- */

static int wire_write(BIO *b, const char *p, int n) {
  dx_tls *t = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  uint8_t *to = dx_buffer_reserve(t->base.wire, t->base.spare, (size_t)n);
  if (to == NULL)
    return -1;
  memcpy(to, p, (size_t)n);
  dx_buffer_add(*t->base.wire, (size_t)n);
  return n;
}

static int wire_read(BIO *b, char *p, int n) {
  dx_tls *t = BIO_get_data(b);
  BIO_clear_retry_flags(b);
  if (t->in_n == 0) {
    BIO_set_retry_read(b);
    return -1;
  }
  size_t take = t->in_n < (size_t)n ? t->in_n : (size_t)n;
  memcpy(p, t->in, take);
  t->in += take;
  t->in_n -= take;
  return (int)take;
}

static long wire_ctrl(BIO *b, int command, long n, void *p) {
  (void)b;
  (void)n;
  (void)p;
  return command == BIO_CTRL_FLUSH;
}

static int wire_create(BIO *b) {
  BIO_set_init(b, 1);
  return 1;
}

static const BIO_METHOD *wire_method(void) {
  static BIO_METHOD *method; /* written once, never freed */
  if (method)
    return method;
  BIO_METHOD *m =
      BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "duplex wire");
  if (m) {
    BIO_meth_set_write(m, wire_write);
    BIO_meth_set_read(m, wire_read);
    BIO_meth_set_ctrl(m, wire_ctrl);
    BIO_meth_set_create(m, wire_create);
  }
  return method = m;
}

/* ---- why it broke ---- */

static int broken(dx_tls *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The first reason is the one that counts. */
static int broken(dx_tls *t, const char *format, ...) {
  char text[512];
  va_list args;
  t->base.failed = 1;
  t->in_n = 0;
  if (t->text == NULL) {
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    t->text = strdup(text);
  }
  ERR_clear_error();
  return -EPROTO;
}

/* Certificates are other people's text: only what is harmless in a message. */
static void harmless(char *text) {
  for (; *text; text++)
    if (*text < ' ' || *text > '~')
      *text = '?';
}

static void append(char *text, size_t size, const char *more) {
  size_t n = strlen(text);
  if (n + strlen(more) + sizeof ", , ..." > size)
    more = n < 3 || strcmp(text + n - 3, "...") != 0 ? "..." : "";
  if (n && *more)
    strcat(text, ", ");
  strcat(text, more);
}

/* The names a certificate is for: "a.example, *.b.example, 10.0.0.1".  Its
 * common name is none of them (RFC 9525 6.3). */
static void names_of(X509 *certificate, char *text, size_t size) {
  GENERAL_NAMES *names =
      X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
  *text = '\0';
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
    char one[256] = "";
    if (name->type == GEN_DNS)
      snprintf(one, sizeof one, "%.*s", ASN1_STRING_length(name->d.dNSName),
               (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    else if (name->type == GEN_IPADD &&
             ASN1_STRING_length(name->d.iPAddress) >= 4)
      inet_ntop(ASN1_STRING_length(name->d.iPAddress) == 16 ? AF_INET6
                                                            : AF_INET,
                ASN1_STRING_get0_data(name->d.iPAddress), one, sizeof one);
    if (*one)
      append(text, size, one);
  }
  GENERAL_NAMES_free(names);
  harmless(text);
}

static void common_name(X509_NAME *name, char *text, size_t size) {
  if (X509_NAME_get_text_by_NID(name, NID_commonName, text, (int)size) < 0)
    X509_NAME_oneline(name, text, (int)size);
  harmless(text);
}

static void date(const ASN1_TIME *time, char *text, size_t size) {
  struct tm tm;
  if (ASN1_TIME_to_tm(time, &tm))
    strftime(text, size, "%Y-%m-%d", &tm);
  else
    snprintf(text, size, "an unreadable date");
}

/* The reason in words, with what helps: whose, which, since when. */
static void refuse(dx_tls *t, X509 *x, int error, const char *whose) {
  char text[300] = "", issuer[128], day[40];
  switch (error) {
  case X509_V_ERR_CERT_HAS_EXPIRED:
    date(X509_get0_notAfter(x), day, sizeof day);
    snprintf(text, sizeof text, "has expired (on %s)", day);
    break;
  case X509_V_ERR_CERT_NOT_YET_VALID:
    date(X509_get0_notBefore(x), day, sizeof day);
    snprintf(text, sizeof text, "is not yet valid (before %s)", day);
    break;
  case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    snprintf(text, sizeof text, "is self-signed, and not in tls.ca");
    break;
  case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
  case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
  case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    common_name(X509_get_issuer_name(x), issuer, sizeof issuer);
    snprintf(text, sizeof text, "was issued by '%s', who is not trusted here",
             issuer);
    break;
  default:
    snprintf(text, sizeof text, "is refused: %s",
             X509_verify_cert_error_string(error));
  }
  broken(t, "the certificate %s%s", whose, text);
}

int dx_tls_on_verify(int fine, X509_STORE_CTX *store) {
  SSL *ssl =
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  dx_tls *t = dx_tls_of(ssl);
  if (fine || t->text)
    return fine;
  X509 *x = X509_STORE_CTX_get_current_cert(store);
  int error = X509_STORE_CTX_get_error(store);
  int depth = X509_STORE_CTX_get_error_depth(store);
  char whose[300], names[220];
  const char *who = t->context->server ? "the client"
                    : t->host          ? t->host
                                       : "the server";
  if (x == NULL) {
    broken(t, "no certificate to verify: %s",
           X509_verify_cert_error_string(error));
    return 0;
  }
  if (error == X509_V_ERR_HOSTNAME_MISMATCH ||
      error == X509_V_ERR_IP_ADDRESS_MISMATCH) {
    names_of(x, names, sizeof names);
    broken(t, "the certificate is for %s, not for %s",
           *names ? names : "nobody (no subject alternative name)", t->host);
    return 0;
  }
  if (depth == 0) {
    snprintf(whose, sizeof whose, "of %s ", who);
  } else {
    common_name(X509_get_subject_name(x), names, sizeof names);
    snprintf(whose, sizeof whose, "of the authority '%s' ", names);
  }
  refuse(t, x, error, whose);
  return 0;
}

/* What the peer's alerts and OpenSSL's reasons mean to whoever set this up. */
static const struct {
  int reason;
  const char *client, *server; /* what to tell there; NULL: the same */
} reasons[] = {
    {SSL_R_WRONG_VERSION_NUMBER, "the server does not speak TLS on this port",
     "the client does not speak TLS"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, "the server does not speak TLS on this port",
     "the client does not speak TLS"},
    {SSL_R_RECORD_LENGTH_MISMATCH, "the server does not speak TLS on this port",
     "the client does not speak TLS"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "no version of TLS in common", NULL},
    {SSL_R_VERSION_TOO_LOW, "no version of TLS in common", NULL},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
     "no version of TLS in common, says the server",
     "no version of TLS in common, says the client"},
    {SSL_R_NO_SHARED_CIPHER, "no cipher in common", NULL},
    {SSL_R_NO_CIPHERS_AVAILABLE, "no cipher fits the versions of TLS", NULL},
    {SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
     "the server refused the handshake: no cipher in common, or it wants a "
     "client certificate",
     "the client refused the handshake"},
    {SSL_R_TLSV1_ALERT_INSUFFICIENT_SECURITY,
     "the server refused the handshake: no cipher in common",
     "the client refused the handshake"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED,
     "the server wants a client certificate (tls.certificate)", NULL},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
     "the client gave no client certificate", NULL},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA,
     "the server does not trust the client certificate",
     "the client does not trust our certificate"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE,
     "the server refused the client certificate",
     "the client refused our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
     "the server refused the client certificate",
     "the client refused our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED,
     "the server says that the client certificate has expired",
     "the client says that our certificate has expired"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE,
     "the server refused the kind of the client certificate",
     "the client refused the kind of our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED,
     "the server says that the client certificate is revoked",
     "the client says that our certificate is revoked"},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED,
     "the server gives this client certificate no access",
     "the client gives our certificate no access"},
    {SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, "no protocol in common (alpn)",
     NULL},
    {SSL_R_NO_APPLICATION_PROTOCOL, "no protocol in common (alpn)", NULL},
};

static const char *words_for(int reason, int server) {
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].reason == reason)
      return server && reasons[i].server ? reasons[i].server
                                         : reasons[i].client;
  return NULL;
}

static int openssl_failed(dx_tls *t) {
  unsigned long e = ERR_peek_error();
  int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;
  int alert = reason >= SSL_AD_REASON_OFFSET;
  if (e == 0) /* that is how wire_write fails */
    return broken(t, "out of memory");
  if (alert && t->accepted)
    return broken(t, "the other end broke off: %s", dx_tls_reason());
  if (!alert && t->base.ready)
    return broken(t, "what came was damaged on the way (%s)", dx_tls_reason());
  const char *words = words_for(reason, t->context->server);
  if (words)
    return broken(t, "%s", words);
  return broken(t, "%s%s", alert ? "the other end refused: " : "",
                dx_tls_reason());
}

static int said_goodbye(const SSL *ssl) {
  return (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

static ssize_t outcome(dx_tls *t, int result) {
  switch (SSL_get_error(t->ssl, result)) {
  case SSL_ERROR_WANT_READ:
  case SSL_ERROR_WANT_WRITE: /* TLS in TLS: the outer one needs to read */
    return -EAGAIN;
  case SSL_ERROR_ZERO_RETURN:
    return 0;
  default:
    if (t->below && said_goodbye(t->below->ssl))
      return t->base.ready ? 0 : broken(t, "the other end hung up");
    return openssl_failed(t);
  }
}

/* ---- the engine ---- */

#define self(s) ((dx_tls *)(s))

static void lend(dx_secure *s, const uint8_t *p, size_t n) {
  dx_tls *t = self(s)->below ? self(s)->below : self(s);
  t->in = p;
  t->in_n = n;
}

/* A record of TLS never begins with a letter, a request of HTTP always does. */
static int is_plain_http(dx_tls *t) {
  if (t->begun || !t->context->server || t->in_n == 0)
    return 0;
  t->begun = 1;
  return t->in[0] >= 'A' && t->in[0] <= 'Z';
}

static ssize_t shake_hands(dx_tls *t) {
  if (is_plain_http(t)) {
    uint8_t *to =
        dx_buffer_reserve(t->base.wire, t->base.spare, sizeof plain_http - 1);
    if (to) {
      memcpy(to, plain_http, sizeof plain_http - 1);
      dx_buffer_add(*t->base.wire, sizeof plain_http - 1);
    }
    return broken(t, "the client speaks HTTP without TLS");
  }
  ERR_clear_error();
  int r = SSL_do_handshake(t->ssl);
  if (r != 1) {
    ssize_t e = outcome(t, r);
    return e ? e : broken(t, "the other end hung up");
  }
  t->base.ready = 1;
  t->accepted = t->context->server;
  return 1;
}

/* What others left would be taken for ours; to look is ten times cheaper than
 * to clear. */
static void forget_errors(void) {
  if (ERR_peek_error())
    ERR_clear_error();
}

static void release(SSL *ssl) {
  /* In the middle of a record SSL_free_buffers is safe from 3.0.14 on only
   * (CVE-2024-4741).  "RH": a record's header is to be read next. */
  if (!SSL_has_pending(ssl) && strcmp(SSL_rstate_string(ssl), "RH") == 0)
    SSL_free_buffers(ssl);
}

/* Thousands of idle connections shall own no buffers of OpenSSL, but to release
 * them after each record, as SSL_MODE_RELEASE_BUFFERS does, costs up to a fifth
 * of the throughput: they stay with the engines that were busy last. */
static void keep_warm(dx_tls *t) {
  dx_tls_context *c = t->context;
  if (t->warm)
    return;
  dx_tls **place = &c->warm[c->next_warm++ % DX_WARM];
  if (*place) {
    (*place)->warm = 0;
    release((*place)->ssl);
    if ((*place)->below)
      release((*place)->below->ssl);
  }
  *place = t;
  t->warm = 1;
}

static void cool_down(dx_tls *t) {
  for (int i = 0; t->warm && i < DX_WARM; i++)
    if (t->context->warm[i] == t) {
      t->context->warm[i] = NULL;
      t->warm = 0;
    }
}

static ssize_t engine_read(dx_secure *s, void *p, size_t n) {
  dx_tls *t = self(s);
  size_t got = 0;
  if (s->failed)
    return -EPROTO;
  keep_warm(t);
  if (!s->ready) {
    ssize_t r = shake_hands(t);
    if (r <= 0)
      return r;
  }
  if (n == 0)
    return -EAGAIN;
  /* To ask OpenSSL for what is not there costs as much as a small record. */
  if (t->in_n == 0 && !t->below && !SSL_has_pending(t->ssl))
    return said_goodbye(t->ssl) ? 0 : -EAGAIN;
  forget_errors();
  int r = SSL_read_ex(t->ssl, p, n, &got);
  if (r != 1)
    return outcome(t, r);
  t->accepted = 1;
  return (ssize_t)got;
}

static int engine_write(dx_secure *s, const void *p, size_t n) {
  dx_tls *t = self(s);
  size_t done;
  if (s->failed)
    return -EPROTO;
  if (!s->ready)
    return -EAGAIN;
  if (n == 0)
    return 0;
  if (dx_buffer_reserve(s->wire, s->spare,
                        n + (n / DX_RECORD + 1) * OVERHEAD) == NULL)
    return broken(t, "out of memory");
  keep_warm(t);
  forget_errors();
  int r = SSL_write_ex(t->ssl, p, n, &done);
  if (r == 1)
    return 0;
  ssize_t e = outcome(t, r);
  return e ? (int)e : broken(t, "the other end hung up");
}

static void finish(dx_secure *s) {
  if (!s->ready || s->failed)
    return;
  ERR_clear_error();
  SSL_shutdown(self(s)->ssl); /* the first call only sends close_notify */
  if (self(s)->below)
    SSL_shutdown(self(s)->below->ssl);
  ERR_clear_error();
}

static const char *text_of(const dx_secure *s) {
  const dx_tls *t = (const dx_tls *)s;
  return t->text ? t->text : s->failed ? "out of memory" : NULL;
}

static void drop(dx_secure *s) {
  dx_tls *t = self(s);
  cool_down(t);
  SSL_free(t->ssl); /* and its BIO, which may refer to what is below */
  if (t->below)
    dx_secure_leave(&t->below->base);
  dx_buffer_clear(&t->own_wire, &t->context->spare);
  free(t->host);
  free(t->text);
  dx_tls_context_leave(t->context);
  free(t);
}

static int begin(dx_tls *t) {
  return engine_read(&t->base, NULL, 0) == -EPROTO;
}

/* OpenSSL can speak through another SSL, as the BIO of this one. */
static int nest(dx_secure *s, dx_secure *other) {
  dx_tls *t = self(s), *outer = self(other);
  BIO *b = NULL;
  if (other->ready && !other->failed && !outer->below && !t->below &&
      t != outer)
    b = BIO_new(BIO_f_ssl());
  if (b == NULL)
    return -1;
  BIO_set_ssl(b, outer->ssl, BIO_NOCLOSE);
  SSL_set_bio(t->ssl, b, b);
  t->below = outer;
  other->users++;
  s->wire = other->wire;
  s->spare = other->spare;
  s->layers = (uint8_t)(other->layers + 1);
  /* Its handshake has begun already. */
  size_t n = dx_buffer_length(t->own_wire);
  int e = engine_write(other, dx_buffer_bytes(t->own_wire), n);
  dx_buffer_clear(&t->own_wire, &t->context->spare);
  return e;
}

static const dx_secure_ops ops = {lend, engine_read, engine_write, finish,
                                  nest, text_of,     drop};

/* ---- sessions of clients ---- */

static int session_name(const dx_tls *t, char *name, size_t size) {
  int n = snprintf(name, size, "%s:%d", t->host ? t->host : "", t->port);
  return n > 0 && (size_t)n < size;
}

static void forget_session(dx_session **place) {
  dx_session *s = *place;
  *place = s->next;
  SSL_SESSION_free(s->session);
  free(s);
}

/* Forget sessions of this name (or any: NULL) behind the newest 'most'. */
static void keep_sessions(dx_session **place, const char *name, int most) {
  while (*place) {
    int counts = name == NULL || strcmp((*place)->name, name) == 0;
    if (counts && most-- <= 0)
      forget_session(place);
    else
      place = &(*place)->next;
  }
}

int dx_tls_on_session(SSL *ssl, SSL_SESSION *session) {
  dx_tls *t = dx_tls_of(ssl);
  dx_session **list = &t->context->sessions;
  char name[300];
  if (!SSL_SESSION_is_resumable(session) || !session_name(t, name, sizeof name))
    return 0;
  dx_session *s = malloc(sizeof *s + strlen(name) + 1);
  if (s == NULL)
    return 0;
  s->session = session;
  strcpy(s->name, name);
  s->next = *list;
  *list = s;
  keep_sessions(list, name, SESSIONS_EACH);
  keep_sessions(list, NULL, MAX_SESSIONS);
  return 1;
}

static void resume(dx_tls *t) {
  char name[300];
  if (!session_name(t, name, sizeof name))
    return;
  for (dx_session **p = &t->context->sessions; *p; p = &(*p)->next) {
    dx_session *s = *p;
    if (strcmp(s->name, name))
      continue;
    SSL_set_session(t->ssl, s->session);
    if (SSL_SESSION_get_protocol_version(s->session) < TLS1_3_VERSION)
      return;
    forget_session(p); /* RFC 8446 C.4: to be used once */
    return;
  }
}

/* ---- making one ---- */

/* Whom to reach, and who the certificate has to name. */
static int aim(dx_tls *t, const char *host) {
  X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
  if (host == NULL || *host == '\0')
    return 1;
  t->host = strdup(host);
  if (t->host == NULL)
    return 0;
  size_t n = strlen(t->host);
  if (n > 1 && t->host[n - 1] == '.')
    t->host[n - 1] = '\0'; /* no certificate has the dot of the root */
  if (X509_VERIFY_PARAM_set1_ip_asc(param, t->host))
    return 1; /* RFC 6066 3: addresses are no server names */
  ERR_clear_error();
  X509_VERIFY_PARAM_set_hostflags(param,
                                  X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                      X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  return X509_VERIFY_PARAM_set1_host(param, t->host, 0) &&
         SSL_set_tlsext_host_name(t->ssl, t->host);
}

dx_tls *dx_tls_new(dx_tls_context *c, const char *host, unsigned port) {
  dx_tls *t = calloc(1, sizeof *t);
  const BIO_METHOD *method = wire_method();
  if (t == NULL || method == NULL) {
    free(t);
    return NULL;
  }
  t->base = (dx_secure){.ops = &ops,
                        .wire = &t->own_wire,
                        .spare = &c->spare,
                        .users = 1,
                        .layers = 1};
  t->context = c;
  c->users++;
  t->port = (uint16_t)port;
  ERR_clear_error();
  t->ssl = SSL_new(c->ssl);
  BIO *b = t->ssl ? BIO_new(method) : NULL;
  if (b == NULL) {
    drop(&t->base);
    return NULL;
  }
  BIO_set_data(b, t);
  SSL_set_bio(t->ssl, b, b);
  SSL_set_app_data(t->ssl, t);
  if (c->server) {
    SSL_set_accept_state(t->ssl);
    return t;
  }
  SSL_set_connect_state(t->ssl);
  if (!aim(t, host)) {
    drop(&t->base);
    return NULL;
  }
  if (c->resume)
    resume(t);
  begin(t); /* a failure shows at the next read */
  return t;
}

/* SPDX-License-Identifier: MIT
 * tls_context.c - what the connections of a server, or of the clients with the
 * same options, share: authorities, certificates, versions, sessions. */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_OCSP ((size_t)64 * 1024)

static int problem(dx_tls_problem *why, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int problem(dx_tls_problem *why, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(why->text, sizeof why->text, format, args);
  va_end(args);
  ERR_clear_error();
  return -1;
}

const char *dx_tls_reason(void) {
  unsigned long e = ERR_peek_error();
  const char *text = ERR_GET_LIB(e) == ERR_LIB_SYS ? strerror(ERR_GET_REASON(e))
                                                   : ERR_reason_error_string(e);
  ERR_clear_error();
  return text ? text : "unknown error of OpenSSL";
}

/* ---- sources: files, or PEM text ---- */

static int is_pem(const char *source) {
  return strstr(source, "-----BEGIN ") != NULL;
}

static const char *name_of(const char *source) {
  return is_pem(source) ? "(PEM text)" : source;
}

static BIO *open_source(const char *source, const char *what,
                        dx_tls_problem *why) {
  FILE *file = NULL;
  BIO *b;
  if (is_pem(source)) {
    b = BIO_new_mem_buf(source, -1);
  } else {
    file = fopen(source, "rb");
    if (file == NULL) {
      problem(why, "cannot read %s %s: %s", what, source, strerror(errno));
      return NULL;
    }
    b = BIO_new_fp(file, BIO_CLOSE);
  }
  if (b == NULL) {
    if (file)
      fclose(file);
    problem(why, "out of memory");
  }
  return b;
}

/* Whether what ended the reading of several certificates was just the end. */
static int only_end(void) {
  unsigned long e = ERR_peek_last_error();
  ERR_clear_error();
  return e == 0 || (ERR_GET_LIB(e) == ERR_LIB_PEM &&
                    ERR_GET_REASON(e) == PEM_R_NO_START_LINE);
}

/* ---- authorities ---- */

/* OpenSSL knows where its own packagers put the system's authorities; one that
 * was built elsewhere is shown the usual places. */
static int trust_system(SSL_CTX *ssl) {
  static const char *const bundles[] = {
      "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
      "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora and its kin */
      "/etc/ssl/ca-bundle.pem",             /* SUSE */
      "/etc/ssl/cert.pem",                  /* macOS, the BSDs */
      NULL};
  struct stat s;
  if (!SSL_CTX_set_default_verify_paths(ssl))
    return 0;
  if (getenv(X509_get_default_cert_file_env()) ||
      getenv(X509_get_default_cert_dir_env()) ||
      stat(X509_get_default_cert_file(), &s) == 0 ||
      stat(X509_get_default_cert_dir(), &s) == 0)
    return 1;
  for (int i = 0; bundles[i]; i++)
    if (stat(bundles[i], &s) == 0)
      return SSL_CTX_load_verify_locations(ssl, bundles[i], NULL);
  return 1;
}

static int trust_all(SSL_CTX *ssl, const char *source, dx_tls_problem *why) {
  BIO *in = open_source(source, "ca", why);
  if (in == NULL)
    return -1;
  X509 *x;
  int count = 0;
  while ((x = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ssl), x);
    SSL_CTX_add_client_CA(ssl, x); /* what a server tells its clients */
    X509_free(x);
    count++;
  }
  BIO_free(in);
  if (!only_end() || count == 0)
    return problem(why, "cannot read ca %s: %s", name_of(source),
                   count ? "a certificate in it is damaged"
                         : "there is no certificate in it");
  return 0;
}

int dx_tls_context_trust(dx_tls_context *c, const char *source,
                         dx_tls_problem *why) {
  struct stat s;
  if (source == NULL) {
    if (!trust_system(c->ssl))
      return problem(why, "cannot read the system's authorities: %s",
                     dx_tls_reason());
    return 0;
  }
  if (!is_pem(source) && stat(source, &s) == 0 && S_ISDIR(s.st_mode)) {
    if (!SSL_CTX_load_verify_locations(c->ssl, NULL, source))
      return problem(why, "cannot read ca %s: %s", source, dx_tls_reason());
    return 0;
  }
  return trust_all(c->ssl, source, why);
}

/* ---- certificates ---- */

static void free_identity(dx_identity *i) {
  X509_free(i->certificate);
  sk_X509_pop_free(i->chain, X509_free);
  EVP_PKEY_free(i->key);
  free(i->ocsp);
  free(i);
}

/* For OpenSSL, which would ask at the terminal without it. */
static int give_passphrase(char *to, int size, int writing, void *passphrase) {
  (void)writing;
  size_t n = passphrase ? strlen(passphrase) : 0;
  if (n == 0 || n > (size_t)size)
    return 0;
  memcpy(to, passphrase, n);
  return (int)n;
}

static int read_chain(dx_identity *i, const char *source, dx_tls_problem *why) {
  BIO *in = open_source(source, "certificate", why);
  if (in == NULL)
    return -1;
  X509 *x;
  i->certificate = PEM_read_bio_X509(in, NULL, NULL, NULL);
  i->chain = sk_X509_new_null();
  while (i->certificate && i->chain &&
         (x = PEM_read_bio_X509(in, NULL, NULL, NULL)))
    if (!sk_X509_push(i->chain, x))
      X509_free(x);
  BIO_free(in);
  if (i->certificate == NULL)
    return problem(why, "cannot read certificate %s: %s", name_of(source),
                   only_end() ? "there is no certificate in it"
                              : "the certificate in it is damaged");
  if (!only_end())
    return problem(why, "cannot read certificate %s: its chain is damaged",
                   name_of(source));
  return 0;
}

static int read_key(dx_identity *i, const char *source, const char *passphrase,
                    dx_tls_problem *why) {
  BIO *in = open_source(source, "key", why);
  if (in == NULL)
    return -1;
  i->key = PEM_read_bio_PrivateKey(in, NULL, give_passphrase,
                                   (void *)(uintptr_t)passphrase);
  int locked = 0;
  if (i->key == NULL) {
    /* An encrypted key says so in its text, whatever OpenSSL's error is. */
    char line[256];
    BIO_reset(in);
    while (!locked && BIO_gets(in, line, sizeof line) > 0)
      locked = strstr(line, "ENCRYPTED") != NULL;
  }
  BIO_free(in);
  if (i->key)
    return 0;
  if (locked)
    return problem(why,
                   "cannot read key %s: it is encrypted, and the "
                   "passphrase is %s",
                   name_of(source), passphrase ? "wrong" : "missing");
  return problem(why, "cannot read key %s: there is no private key in it",
                 name_of(source));
}

static int read_ocsp(dx_identity *i, const char *path, dx_tls_problem *why) {
  FILE *file = fopen(path, "rb");
  if (file == NULL)
    return problem(why, "cannot read ocsp %s: %s", path, strerror(errno));
  i->ocsp = malloc(MAX_OCSP);
  if (i->ocsp)
    i->ocsp_n = fread(i->ocsp, 1, MAX_OCSP, file);
  fclose(file);
  if (i->ocsp == NULL)
    return problem(why, "out of memory");
  if (i->ocsp_n == 0 || i->ocsp_n == MAX_OCSP || i->ocsp[0] != 0x30)
    return problem(why, "cannot read ocsp %s: there is no OCSP response in it",
                   path);
  return 0;
}

int dx_tls_context_identify(dx_tls_context *c, const char *certificate,
                            const char *key, const char *passphrase,
                            const char *ocsp, dx_tls_problem *why) {
  dx_identity *i = calloc(1, sizeof *i);
  if (i == NULL)
    return problem(why, "out of memory");
  dx_identity **end = &c->identities;
  while (*end)
    end = &(*end)->next;
  *end = i;
  if (read_chain(i, certificate, why) ||
      read_key(i, key ? key : certificate, passphrase, why) ||
      (ocsp && read_ocsp(i, ocsp, why)))
    return -1;
  if (X509_check_private_key(i->certificate, i->key) != 1)
    return problem(why, "key %s does not belong to certificate %s",
                   name_of(key ? key : certificate), name_of(certificate));
  return 0;
}

/* ---- certificates by name ---- */

static int by_text(const void *a, const void *b) {
  return strcmp(((const dx_name *)a)->text, ((const dx_name *)b)->text);
}

/* Names that several certificates have belong to the first of these. */
static int by_text_and_order(const void *a, const void *b) {
  int order = by_text(a, b);
  unsigned x = ((const dx_name *)a)->order, y = ((const dx_name *)b)->order;
  return order ? order : x < y ? -1 : x > y;
}

static void lower(char *to, const char *p, size_t n) {
  for (size_t k = 0; k < n; k++)
    to[k] = (char)tolower((unsigned char)p[k]);
  to[n] = '\0';
}

static int add_name(dx_tls_context *c, const dx_identity *i, const char *p,
                    size_t n) {
  dx_name *names = realloc(c->names, (c->names_n + 1) * sizeof *names);
  if (names == NULL)
    return -1;
  c->names = names;
  int wildcard = n > 1 && p[0] == '*' && p[1] == '.';
  char *text = malloc(n + 1);
  if (text == NULL)
    return -1;
  lower(text, p + wildcard, n - (size_t)wildcard);
  names[c->names_n] = (dx_name){text, i, (unsigned)c->names_n};
  c->names_n++;
  return 0;
}

static int add_names(dx_tls_context *c, const dx_identity *i) {
  X509 *x = i->certificate;
  GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
  int e = 0, count = 0;
  for (int k = 0; !e && k < sk_GENERAL_NAME_num(list); k++) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(list, k);
    if (name->type != GEN_DNS)
      continue;
    count++;
    e = add_name(c, i, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                 (size_t)ASN1_STRING_length(name->d.dNSName));
  }
  GENERAL_NAMES_free(list);
  char common[256];
  int n = X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName,
                                    common, sizeof common);
  if (!e && count == 0 && n > 0)
    e = add_name(c, i, common, strlen(common));
  return e;
}

static const dx_identity *find(const dx_tls_context *c, char *text) {
  dx_name key = {.text = text};
  const dx_name *name =
      c->names ? bsearch(&key, c->names, c->names_n, sizeof key, by_text)
               : NULL;
  while (name && name > c->names && by_text(name - 1, name) == 0)
    name--;
  return name ? name->identity : NULL;
}

/* The certificate to show: one for exactly the name that the client asks for,
 * or with a wildcard that covers it, or the first. */
static const dx_identity *choose(const dx_tls_context *c, SSL *ssl) {
  const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  const dx_identity *i = NULL;
  char name[256];
  size_t n = asked ? strlen(asked) : 0;
  if (n > 0 && n < sizeof name) {
    lower(name, asked, n);
    char *rest = strchr(name, '.');
    i = find(c, name);
    if (i == NULL && rest && rest != name)
      i = find(c, rest);
  }
  return i ? i : c->identities;
}

static int on_certificate(SSL *ssl, void *context) {
  const dx_identity *i = choose(context, ssl);
  SSL_certs_clear(ssl); /* there is a place for each kind of key */
  return SSL_use_cert_and_key(ssl, i->certificate, i->key, i->chain, 1);
}

/* A name that the client asked for is part of its session, so that one session
 * does not open the door of another name. */
static int on_servername(SSL *ssl, int *alert, void *context) {
  (void)alert;
  (void)context;
  return SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name)
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_NOACK;
}

static int on_status(SSL *ssl, void *context) {
  const dx_identity *i = choose(context, ssl);
  uint8_t *copy = i->ocsp ? OPENSSL_memdup(i->ocsp, i->ocsp_n) : NULL;
  if (copy == NULL)
    return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)i->ocsp_n);
  return SSL_TLSEXT_ERR_OK;
}

/* RFC 7301 3.2: a client that offers only other protocols is refused. */
static int on_alpn(SSL *ssl, const uint8_t **chosen, uint8_t *n,
                   const uint8_t *offered, unsigned offered_n, void *context) {
  const dx_tls_context *c = context;
  (void)ssl;
  return SSL_select_next_proto((uint8_t **)(uintptr_t)chosen, n, c->alpn,
                               c->alpn_n, offered,
                               offered_n) == OPENSSL_NPN_NEGOTIATED
             ? SSL_TLSEXT_ERR_OK
             : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- contexts ---- */

dx_tls_context *dx_tls_context_new(int server, dx_tls_problem *why) {
  dx_tls_context *c = calloc(1, sizeof *c);
  ERR_clear_error();
  if (c)
    c->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (c == NULL || c->ssl == NULL) {
    problem(why, "cannot begin: %s", c ? dx_tls_reason() : "out of memory");
    free(c);
    return NULL;
  }
  c->users = 1;
  c->server = (uint8_t)server;
  SSL_CTX_set_mode(c->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(c->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                  SSL_OP_CIPHER_SERVER_PREFERENCE);
  return c;
}

void dx_tls_context_leave(dx_tls_context *c) {
  if (c == NULL || --c->users)
    return;
  SSL_CTX_free(c->ssl);
  while (c->identities) {
    dx_identity *i = c->identities;
    c->identities = i->next;
    free_identity(i);
  }
  for (size_t k = 0; k < c->names_n; k++)
    free(c->names[k].text);
  free(c->names);
  while (c->sessions) {
    dx_session *s = c->sessions;
    c->sessions = s->next;
    SSL_SESSION_free(s->session);
    free(s);
  }
  free(c->spare.small);
  free(c->spare.large);
  free(c->alpn);
  free(c);
}

int dx_tls_context_versions(dx_tls_context *c, int least, int most,
                            dx_tls_problem *why) {
  if (!SSL_CTX_set_min_proto_version(c->ssl, least) ||
      !SSL_CTX_set_max_proto_version(c->ssl, most))
    return problem(why, "cannot set the versions of TLS: %s", dx_tls_reason());
  return 0;
}

int dx_tls_context_ciphers(dx_tls_context *c, const char *ciphers,
                           const char *suites, dx_tls_problem *why) {
  if (ciphers && !SSL_CTX_set_cipher_list(c->ssl, ciphers))
    return problem(why, "no cipher in '%.200s'", ciphers);
  if (suites && !SSL_CTX_set_ciphersuites(c->ssl, suites))
    return problem(why, "unknown ciphersuite in '%.200s'", suites);
  return 0;
}

int dx_tls_context_alpn(dx_tls_context *c, const uint8_t *p, unsigned n,
                        dx_tls_problem *why) {
  c->alpn = n ? malloc(n) : NULL;
  if (n && c->alpn == NULL)
    return problem(why, "out of memory");
  if (n)
    memcpy(c->alpn, p, n);
  c->alpn_n = n;
  if (c->server && n)
    SSL_CTX_set_alpn_select_cb(c->ssl, on_alpn, c);
  else if (n && SSL_CTX_set_alpn_protos(c->ssl, p, n))
    return problem(why, "cannot set alpn: %s", dx_tls_reason());
  return 0;
}

void dx_tls_context_ask(dx_tls_context *c, int required) {
  SSL_CTX_set_verify(c->ssl,
                     SSL_VERIFY_PEER |
                         (required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     dx_tls_on_verify);
}

void dx_tls_context_no_tickets(dx_tls_context *c) {
  SSL_CTX_set_options(c->ssl, SSL_OP_NO_TICKET);
  SSL_CTX_set_num_tickets(c->ssl, 0);
}

static void finish_server(dx_tls_context *c) {
  static const uint8_t id[] = "duplex";
  /* Sessions are in the tickets that clients keep, not here. */
  SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_session_id_context(c->ssl, id, sizeof id - 1);
  SSL_CTX_set_tlsext_servername_callback(c->ssl, on_servername);
  if (c->identities->next)
    SSL_CTX_set_cert_cb(c->ssl, on_certificate, c);
  for (const dx_identity *i = c->identities; i; i = i->next)
    if (i->ocsp) {
      SSL_CTX_set_tlsext_status_cb(c->ssl, on_status);
      SSL_CTX_set_tlsext_status_arg(c->ssl, c);
    }
}

static void finish_client(dx_tls_context *c) {
  SSL_CTX_set_verify(c->ssl, c->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
                     c->verify ? dx_tls_on_verify : NULL);
  SSL_CTX_set_session_cache_mode(
      c->ssl, c->resume ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
                        : SSL_SESS_CACHE_OFF);
  if (c->resume)
    SSL_CTX_sess_set_new_cb(c->ssl, dx_tls_on_session);
}

/* Each is tried now, so that none is found unfit in a handshake; the first one
 * last, as that is the one to stay. */
static int use_all(dx_tls_context *c, const dx_identity *i,
                   dx_tls_problem *why) {
  char name[200];
  if (i == NULL)
    return 0;
  if (add_names(c, i))
    return problem(why, "out of memory");
  if (use_all(c, i->next, why))
    return -1;
  if (SSL_CTX_use_cert_and_key(c->ssl, i->certificate, i->key, i->chain, 1))
    return 0;
  X509_NAME_oneline(X509_get_subject_name(i->certificate), name, sizeof name);
  return problem(why, "cannot use the certificate of %s: %s", name,
                 dx_tls_reason());
}

int dx_tls_context_finish(dx_tls_context *c, dx_tls_problem *why) {
  if (use_all(c, c->identities, why))
    return -1;
  if (c->names)
    qsort(c->names, c->names_n, sizeof *c->names, by_text_and_order);
  if (c->server)
    finish_server(c);
  else
    finish_client(c);
  ERR_clear_error();
  return 0;
}

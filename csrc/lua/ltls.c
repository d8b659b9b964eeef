/* SPDX-License-Identifier: MIT
 * ltls.c - the module duplex.tls: contexts and engines for Lua.
 *
 * An engine is used in one of two ways: a link takes it over (loop.secure),
 * and ciphertext never becomes a Lua string; or a stream of some other event
 * loop is served by feed, read, write and output. */
#include "../core/version.h"
#include "../net/tls.h"
#include "lconn.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CONTEXT "duplex.tls.context"

enum { READ_AT_MOST = 65536 }; /* bytes that read() returns by default */

static int tls_failure(lua_State *L, const char *text) {
  return dx_push_failure(L, "TLS", text);
}

/* ---- contexts ---- */

static int context_gc(lua_State *L) {
  dx_tls_context **box = luaL_checkudata(L, 1, CONTEXT);
  dx_tls_context_leave(*box);
  *box = NULL;
  return 0;
}

/* A string of the table at 'index', or NULL; the table keeps it. */
static const char *text_field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  const char *text = lua_tostring(L, -1);
  lua_pop(L, 1);
  return text;
}

static int flag_field(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  int flag = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return flag;
}

static int version_field(lua_State *L, const char *name, int none) {
  const char *text = text_field(L, 2, name);
  if (text == NULL)
    return none;
  return strcmp(text, "1.3") == 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
}

static int identify(lua_State *L, dx_tls_context *c, int index,
                    dx_tls_problem *why) {
  const char *certificate = text_field(L, index, "certificate");
  if (certificate == NULL)
    return 0;
  return dx_tls_context_identify(c, certificate, text_field(L, index, "key"),
                                 text_field(L, index, "passphrase"),
                                 text_field(L, index, "ocsp"), why);
}

static int identify_all(lua_State *L, dx_tls_context *c, dx_tls_problem *why) {
  int e = identify(L, c, 2, why);
  lua_getfield(L, 2, "certificates");
  int n = lua_istable(L, -1) ? (int)lua_rawlen(L, -1) : 0;
  for (int i = 1; !e && i <= n; i++) {
    lua_rawgeti(L, -1, i);
    e = identify(L, c, lua_gettop(L), why);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return e;
}

/* The list of protocols, in the form of RFC 7301 3.1. */
static int set_alpn(lua_State *L, dx_tls_context *c, dx_tls_problem *why) {
  size_t n;
  lua_getfield(L, 2, "alpn");
  int list = lua_gettop(L);
  int count = lua_istable(L, list) ? (int)lua_rawlen(L, list) : 0;
  luaL_checkstack(L, 2 * count + 2, "too many protocols");
  for (int i = 1; i <= count; i++) {
    lua_pushnil(L);
    lua_rawgeti(L, list, i);
    luaL_argcheck(L, lua_tolstring(L, -1, &n) && n > 0 && n < 256, 2,
                  "alpn: a name of 1..255 bytes");
    char length = (char)n;
    lua_pushlstring(L, &length, 1);
    lua_replace(L, -3);
  }
  lua_concat(L, 2 * count);
  const char *wire = lua_tolstring(L, -1, &n);
  int e = dx_tls_context_alpn(c, (const uint8_t *)wire, (unsigned)n, why);
  lua_settop(L, list - 1);
  return e;
}

static int set_up(lua_State *L, dx_tls_context *c, dx_tls_problem *why) {
  const char *ca = text_field(L, 2, "ca");
  const char *ask = text_field(L, 2, "client_certificates");
  c->verify = (uint8_t)flag_field(L, 2, "verify");
  c->resume = (uint8_t)flag_field(L, 2, "resume");
  if ((ca || (!c->server && c->verify)) && dx_tls_context_trust(c, ca, why))
    return -1;
  if (identify_all(L, c, why))
    return -1;
  if (dx_tls_context_versions(
          c, version_field(L, "minimum_version", TLS1_2_VERSION),
          version_field(L, "maximum_version", 0), why) ||
      dx_tls_context_ciphers(c, text_field(L, 2, "ciphers"),
                             text_field(L, 2, "ciphersuites"), why) ||
      set_alpn(L, c, why))
    return -1;
  if (ask)
    dx_tls_context_ask(c, strcmp(ask, "required") == 0);
  if (c->server && !flag_field(L, 2, "tickets"))
    dx_tls_context_no_tickets(c);
  return dx_tls_context_finish(c, why);
}

/* context(role, options) -> context | nil, message, "TLS".  The options were
 * checked by options.lua, which is where names and defaults are. */
static int context_new(lua_State *L) {
  static const char *const roles[] = {"client", "server", NULL};
  int server = luaL_checkoption(L, 1, NULL, roles);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  dx_tls_problem why = {"out of memory"};
  dx_tls_context **box = lua_newuserdatauv(L, sizeof *box, 0);
  *box = NULL;
  luaL_setmetatable(L, CONTEXT);
  *box = dx_tls_context_new(server, &why);
  if (*box == NULL || set_up(L, *box, &why))
    return tls_failure(L, why.text);
  return 1;
}

/* ---- engines ---- */

static dx_tls *check_engine(lua_State *L) {
  dx_tls **box = luaL_checkudata(L, 1, LTLS_ENGINE);
  luaL_argcheck(L, *box != NULL, 1, "the engine is closed");
  return *box;
}

/* engine:close(): it goes when its link does, or now if it has none.  To leave
 * that to the collector costs memory that the collector does not see. */
static int engine_close(lua_State *L) {
  dx_tls **box = luaL_checkudata(L, 1, LTLS_ENGINE);
  if (*box)
    dx_secure_leave(&(*box)->base);
  *box = NULL;
  return 0;
}

/* context:engine([host [, port]]) -> engine | nil, message, "TLS": for clients,
 * whom to reach */
static int context_engine(lua_State *L) {
  dx_tls_context **context = luaL_checkudata(L, 1, CONTEXT);
  luaL_argcheck(L, *context != NULL, 1, "the context is gone");
  const char *host = luaL_optstring(L, 2, NULL);
  luaL_argcheck(L, host || !(*context)->verify, 2, "whom to verify?");
  lua_Integer port = luaL_optinteger(L, 3, 0);
  /* Its user value is what was fed and not yet read. */
  dx_tls **box = lua_newuserdatauv(L, sizeof *box, 1);
  *box = NULL;
  luaL_setmetatable(L, LTLS_ENGINE);
  *box = dx_tls_new(*context, host, (unsigned)port);
  return *box ? 1 : tls_failure(L, "out of memory");
}

/* engine:feed(bytes): ciphertext that came from the peer */
static int engine_feed(lua_State *L) {
  dx_tls *t = check_engine(L);
  luaL_checkstring(L, 2);
  lua_settop(L, 2);
  if (t->in_n) {
    lua_pushlstring(L, (const char *)t->in, t->in_n);
    lua_insert(L, 2);
    lua_concat(L, 2);
  }
  size_t n;
  const char *bytes = lua_tolstring(L, 2, &n);
  lua_setiuservalue(L, 1, 1);
  t->base.ops->lend(&t->base, (const uint8_t *)bytes, n);
  return 0;
}

/* engine:read([max]) -> plaintext, "" when more has to be fed | nil, message,
 * "LOST" when the peer sends no more, "TLS" when it broke */
static int engine_read(lua_State *L) {
  dx_tls *t = check_engine(L);
  lua_Integer max = luaL_optinteger(L, 2, READ_AT_MOST);
  luaL_argcheck(L, max > 0 && max <= 1 << 30, 2, "not a number of bytes");
  luaL_Buffer b;
  char *p = luaL_buffinitsize(L, &b, (size_t)max);
  size_t n = 0;
  ssize_t r = 1;
  while (n < (size_t)max &&
         (r = t->base.ops->read(&t->base, p + n, (size_t)max - n)) > 0)
    n += (size_t)r;
  if (n || r == -EAGAIN) {
    luaL_pushresultsize(&b, n);
    return 1;
  }
  if (r == 0)
    return dx_push_failure(L, "LOST", "the peer sends no more");
  return tls_failure(L, t->base.ops->problem(&t->base));
}

/* engine:ready() -> whether the handshake is done | nil, message, "TLS" */
static int engine_ready(lua_State *L) {
  dx_tls *t = check_engine(L);
  if (!t->base.ready && !t->base.failed)
    t->base.ops->read(&t->base, NULL, 0);
  if (t->base.failed)
    return tls_failure(L, t->base.ops->problem(&t->base));
  lua_pushboolean(L, t->base.ready);
  return 1;
}

/* engine:write(plaintext) -> true | false: nothing was taken, as more has to be
 * fed before | nil, message, "TLS" */
static int engine_write(lua_State *L) {
  dx_tls *t = check_engine(L);
  size_t n;
  const char *bytes = luaL_checklstring(L, 2, &n);
  int e = t->base.ops->write(&t->base, bytes, n);
  if (e && e != -EAGAIN)
    return tls_failure(L, t->base.ops->problem(&t->base));
  lua_pushboolean(L, e == 0);
  return 1;
}

/* engine:output() -> ciphertext to send, "" when there is none */
static int engine_output(lua_State *L) {
  dx_tls *t = check_engine(L);
  size_t n = dx_buffer_length(*t->base.wire);
  lua_pushlstring(L, n ? (const char *)dx_buffer_bytes(*t->base.wire) : "", n);
  dx_buffer_clear(t->base.wire, t->base.spare);
  return 1;
}

/* engine:finish(): the last output says that we send no more */
static int engine_finish(lua_State *L) {
  dx_tls *t = check_engine(L);
  t->base.ops->finish(&t->base);
  return 0;
}

static int engine_tostring(lua_State *L) {
  dx_tls **box = luaL_checkudata(L, 1, LTLS_ENGINE);
  const dx_tls *t = *box;
  lua_pushfstring(L, "duplex.tls.engine (%s)",
                  t == NULL        ? "closed"
                  : t->base.failed ? "failed"
                  : t->base.ready  ? SSL_get_version(t->ssl)
                                   : "handshake");
  return 1;
}

/* ---- what is known of a connection ---- */

static void set_text(lua_State *L, const char *name, const char *text) {
  if (text == NULL)
    return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, name);
}

static void set_name(lua_State *L, const char *name, X509_NAME *x) {
  BIO *b = BIO_new(BIO_s_mem());
  char *text;
  if (b &&
      X509_NAME_print_ex(
          b, x, 0, XN_FLAG_RFC2253 & ~(unsigned)ASN1_STRFLGS_ESC_MSB) >= 0) {
    long n = BIO_get_mem_data(b, &text);
    char copy[512];
    snprintf(copy, sizeof copy, "%.*s", (int)n, text);
    BIO_free(b);
    set_text(L, name, copy);
  } else {
    BIO_free(b);
  }
}

static void set_fingerprint(lua_State *L, X509 *x) {
  uint8_t digest[EVP_MAX_MD_SIZE];
  char text[2 * EVP_MAX_MD_SIZE + 1] = "";
  unsigned n = 0;
  X509_digest(x, EVP_sha256(), digest, &n);
  for (unsigned i = 0; i < n; i++)
    snprintf(text + 2 * i, 3, "%02x", digest[i]);
  set_text(L, "fingerprint", text);
}

/* Pushes { version, cipher, alpn, server_name, resumed, subject, issuer,
 * fingerprint }, the last three of the peer's certificate; nil before the
 * handshake is done. */
static int push_info(lua_State *L, const dx_tls *t) {
  if (t == NULL || !t->base.ready)
    return 0;
  const unsigned char *alpn;
  unsigned alpn_n;
  lua_createtable(L, 0, 8);
  set_text(L, "version", SSL_get_version(t->ssl));
  set_text(L, "cipher", SSL_get_cipher_name(t->ssl));
  SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_n);
  if (alpn_n) {
    lua_pushlstring(L, (const char *)alpn, alpn_n);
    lua_setfield(L, -2, "alpn");
  }
  set_text(L, "server_name",
           SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name));
  lua_pushboolean(L, SSL_session_reused(t->ssl));
  lua_setfield(L, -2, "resumed");
  X509 *x = SSL_get1_peer_certificate(t->ssl);
  X509_free(x); /* the engine has it too, so it stays */
  if (x) {
    set_name(L, "subject", X509_get_subject_name(x));
    set_name(L, "issuer", X509_get_issuer_name(x));
    set_fingerprint(L, x);
  }
  return 1;
}

static int engine_info(lua_State *L) { return push_info(L, check_engine(L)); }

/* info(ws) -> the same of a connection on the native loop | nil without TLS */
static int tls_info(lua_State *L) {
  const lconn *c = lconn_check(L, 1);
  dx_secure *s = c->transport ? c->ops->secure(c->transport) : NULL;
  return push_info(L, (const dx_tls *)s);
}

/* file_stamp(path) -> a text that changes when the file does | nil: there is
 * none */
static int tls_file_stamp(lua_State *L) {
  struct stat s;
  if (stat(luaL_checkstring(L, 1), &s))
    return 0;
  char text[96];
  snprintf(text, sizeof text, "%llu:%lld:%lld.%ld",
           (unsigned long long)s.st_ino, (long long)s.st_size,
           (long long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
  lua_pushstring(L, text);
  return 1;
}

static const luaL_Reg engine_methods[] = {{"feed", engine_feed},
                                          {"read", engine_read},
                                          {"write", engine_write},
                                          {"output", engine_output},
                                          {"ready", engine_ready},
                                          {"finish", engine_finish},
                                          {"info", engine_info},
                                          {"close", engine_close},
                                          {NULL, NULL}};

static const luaL_Reg functions[] = {{"context", context_new},
                                     {"info", tls_info},
                                     {"file_stamp", tls_file_stamp},
                                     {NULL, NULL}};

static void type(lua_State *L, const char *name, lua_CFunction gc) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, gc);
  lua_setfield(L, -2, "__gc");
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
}

DX_EXPORT int luaopen_duplex_tls(lua_State *L) {
  luaL_checkversion(L);
  type(L, CONTEXT, context_gc);
  lua_pushcfunction(L, context_engine);
  lua_setfield(L, -2, "engine");
  type(L, LTLS_ENGINE, engine_close);
  luaL_setfuncs(L, engine_methods, 0);
  lua_pushcfunction(L, engine_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_newtable(L);
  luaL_setfuncs(L, functions, 0);
  lua_pushliteral(L, DX_STAMP);
  lua_setfield(L, -2, "stamp");
  lua_pushstring(L, OpenSSL_version(OPENSSL_VERSION));
  lua_setfield(L, -2, "openssl");
  return 1;
}

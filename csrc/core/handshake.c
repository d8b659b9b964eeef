/* SPDX-License-Identifier: MIT */
#include "handshake.h"
#include "base64.h"
#include "sha1.h"

#include <string.h>

static const struct {
  int status;
  const char *text;
} errors[] = {
#define X(id, status, text) {status, text},
    DX_UPGRADE_ERRORS(X)
#undef X
};

int dx_upgrade_error_status(dx_upgrade_error e) {
  return (size_t)e < sizeof errors / sizeof *errors ? errors[e].status : 500;
}

const char *dx_upgrade_error_text(dx_upgrade_error e) {
  return (size_t)e < sizeof errors / sizeof *errors ? errors[e].text
                                                    : "unknown error";
}

/* A literal as a slice. */
#define TEXT(s) ((dx_slice){"" s, sizeof(s) - 1})

/* The value of the field with this name if there is exactly one, or a slice
 * whose p is NULL. */
static dx_slice only(const dx_http_head *h, const char *name) {
  const dx_field *f = dx_http_field(h, name);
  if (!f || dx_http_next(h, name, f))
    return (dx_slice){NULL, 0};
  return f->value;
}

/* The server's side. */

int dx_upgrade_wanted(const dx_http_head *h) {
  return dx_http_has_token(h, "Upgrade", "websocket") &&
         dx_http_has_token(h, "Connection", "upgrade");
}

static int starts_with(dx_slice s, const char *prefix) {
  size_t n = strlen(prefix);
  return s.n >= n && dx_slice_is((dx_slice){s.p, n}, prefix);
}

/* RFC 6455 4.2.1, item 1: a path or an absolute URL.  RFC 6455 3 forbids
 * fragments, RFC 9112 3.2 does so for every target. */
static int target_ok(dx_slice t) {
  return (t.p[0] == '/' || starts_with(t, "http://") ||
          starts_with(t, "https://")) &&
         memchr(t.p, '#', t.n) == NULL;
}

/* RFC 9112 3.2, RFC 3986 3.2: a host and perhaps a port.  Who compares it with
 * an Origin must be able to trust that it is no more than that; so also no
 * comma, by which a proxy would have joined two of them. */
static int host_ok(dx_slice s) {
  for (size_t i = 0; i < s.n; i++)
    if (memchr("/?#@\\,\"<>", s.p[i], 9))
      return 0;
  return dx_http_target_ok(s.p, s.n);
}

/* RFC 6455 4.2.1, item 5: what is 16 bytes once decoded.  The last letter has
 * four bits too many; some clients draw it at random, and nobody is harmed. */
static int key_ok(dx_slice key) {
  uint8_t nonce[18];
  char strict[DX_KEY_SIZE];
  if (key.n != DX_KEY_SIZE)
    return 0;
  memcpy(strict, key.p, DX_KEY_SIZE);
  char *last = &strict[DX_KEY_SIZE - 3];
  if ((*last >= 'A' && *last <= 'Z') || (*last >= 'a' && *last <= 'z') ||
      (*last >= '0' && *last <= '9') || *last == '+' || *last == '/')
    *last = 'A';
  return dx_base64_decode(nonce, sizeof nonce, strict, DX_KEY_SIZE) == 16;
}

int dx_protocols_next(dx_protocols *it, dx_slice *protocol) {
  while (!dx_list_next(&it->rest, protocol)) {
    /* The end of the last field stays: 'field' NULL would start again. */
    const dx_field *f =
        dx_http_next(it->h, "Sec-WebSocket-Protocol", it->field);
    if (!f)
      return 0;
    it->field = f;
    it->rest = f->value;
  }
  return 1;
}

/* RFC 6455 4.1, item 10: distinct tokens.  A field without any is a client's
 * clumsy way to offer none and does no harm. */
static dx_upgrade_error check_protocols(const dx_http_head *h) {
  dx_slice seen[DX_MAX_PROTOCOLS], p;
  dx_protocols it = {.h = h};
  for (size_t n = 0; dx_protocols_next(&it, &p); n++) {
    if (!dx_http_name_ok(p.p, p.n))
      return DX_UPGRADE_PROTOCOLS;
    if (n == DX_MAX_PROTOCOLS)
      return DX_UPGRADE_PROTOCOL_MANY;
    for (size_t i = 0; i < n; i++)
      if (dx_slice_same(seen[i], p))
        return DX_UPGRADE_PROTOCOL_TWIN;
    seen[n] = p;
  }
  return DX_UPGRADE_OK;
}

/* Bytes after the head are frames for us but might be a body for a proxy in
 * between, which is how requests are smuggled: no upgrade has a body. */
static int has_body(const dx_http_head *h) {
  dx_http_body body;
  return dx_http_framing(h, &body) || body.has_transfer || body.length > 0;
}

dx_upgrade_error dx_upgrade_check(const dx_http_head *h, dx_upgrade *u) {
  /* The numbers are the items of RFC 6455 4.2.1. */
  if (!dx_slice_same(h->method, TEXT("GET"))) /* 1 */
    return DX_UPGRADE_METHOD;
  if (h->minor < 1) /* 1; RFC 9110 7.8 */
    return DX_UPGRADE_HTTP_1_0;
  if (!target_ok(h->target)) /* 1 */
    return DX_UPGRADE_TARGET;
  dx_slice host = only(h, "Host"); /* 2; RFC 9112 3.2 */
  if (!host_ok(host))
    return DX_UPGRADE_HOST;
  if (!dx_http_has_token(h, "Upgrade", "websocket")) /* 3 */
    return DX_UPGRADE_NOT_WANTED;
  if (!dx_http_has_token(h, "Connection", "upgrade")) /* 4 */
    return DX_UPGRADE_CONNECTION;
  dx_slice key = only(h, "Sec-WebSocket-Key"); /* 5; RFC 6455 11.3.1 */
  if (!key_ok(key))
    return DX_UPGRADE_KEY;
  dx_slice version = only(h, "Sec-WebSocket-Version"); /* 6; RFC 6455 11.3.5 */
  if (!version.p)
    return DX_UPGRADE_NO_VERSION;
  if (!dx_slice_same(version, TEXT("13"))) /* RFC 6455 4.4 */
    return DX_UPGRADE_VERSION;
  dx_slice origin = only(h, "Origin"); /* 7; RFC 6454 7.3 */
  if (!origin.p && dx_http_field(h, "Origin"))
    return DX_UPGRADE_ORIGIN;
  dx_upgrade_error e = check_protocols(h); /* 8 */
  if (e)
    return e;
  if (!dx_extensions_ok(h)) /* 9; RFC 6455 9.1 */
    return DX_UPGRADE_EXTENSIONS;
  if (has_body(h))
    return DX_UPGRADE_BODY;
  *u = (dx_upgrade){.host = host, .origin = origin, .key = key};
  return DX_UPGRADE_OK;
}

/* Writers. */

void dx_accept_key(char out[DX_ACCEPT_SIZE], const char *key, size_t n) {
  static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  char buf[DX_KEY_SIZE + sizeof guid - 1];
  uint8_t digest[20];
  if (n > DX_KEY_SIZE)
    n = DX_KEY_SIZE;
  if (n)
    memcpy(buf, key, n);
  memcpy(buf + n, guid, sizeof guid - 1);
  dx_sha1(digest, buf, n + sizeof guid - 1);
  dx_base64_encode(out, digest, sizeof digest);
}

/* All parts one after the other, or nothing if they do not fit. */
static size_t join(char *out, size_t cap, const dx_slice *parts, size_t n) {
  size_t size = 0;
  for (size_t i = 0; i < n; i++)
    size += parts[i].n;
  if (size > cap)
    return size;
  for (size_t i = 0; i < n; i++)
    if (parts[i].n) {
      memcpy(out, parts[i].p, parts[i].n);
      out += parts[i].n;
    }
  return size;
}

/* A piece of a line which is there only if its value is. */
static dx_slice when(dx_slice value, const char *text) {
  return value.n ? (dx_slice){text, strlen(text)} : (dx_slice){NULL, 0};
}

static int value_ok(dx_slice s) { return dx_http_value_ok(s.p, s.n); }

size_t dx_upgrade_write_response(char *out, size_t cap, dx_slice key,
                                 dx_slice protocol, dx_slice extensions,
                                 dx_slice extra) {
  char accept[DX_ACCEPT_SIZE];
  if (!key_ok(key) || !value_ok(protocol) || !value_ok(extensions))
    return 0;
  dx_accept_key(accept, key.p, key.n);
  /* RFC 6455 4.2.2, item 5. */
  const dx_slice parts[] = {
      TEXT("HTTP/1.1 101 Switching Protocols\r\n"
           "Upgrade: websocket\r\n"
           "Connection: Upgrade\r\n"
           "Sec-WebSocket-Accept: "),
      {accept, sizeof accept},
      when(protocol, "\r\nSec-WebSocket-Protocol: "),
      protocol,
      when(extensions, "\r\nSec-WebSocket-Extensions: "),
      extensions,
      TEXT("\r\n"),
      extra,
      TEXT("\r\n"),
  };
  return join(out, cap, parts, sizeof parts / sizeof *parts);
}

size_t dx_upgrade_write_request(char *out, size_t cap, dx_slice host,
                                dx_slice target, dx_slice key,
                                dx_slice protocols, dx_slice extensions,
                                dx_slice extra) {
  if (!host_ok(host) || !dx_http_target_ok(target.p, target.n) ||
      !key_ok(key) || !value_ok(protocols) || !value_ok(extensions))
    return 0;
  /* RFC 6455 4.1, the requirements on the request. */
  const dx_slice parts[] = {
      TEXT("GET "),
      target,
      TEXT(" HTTP/1.1\r\nHost: "),
      host,
      TEXT("\r\nUpgrade: websocket\r\n"
           "Connection: Upgrade\r\n"
           "Sec-WebSocket-Key: "),
      key,
      TEXT("\r\nSec-WebSocket-Version: 13"),
      when(protocols, "\r\nSec-WebSocket-Protocol: "),
      protocols,
      when(extensions, "\r\nSec-WebSocket-Extensions: "),
      extensions,
      TEXT("\r\n"),
      extra,
      TEXT("\r\n"),
  };
  return join(out, cap, parts, sizeof parts / sizeof *parts);
}

/* The client's side. */

static int listed(dx_slice list, dx_slice wanted) {
  dx_slice item;
  while (dx_list_next(&list, &item))
    if (dx_slice_same(item, wanted))
      return 1;
  return 0;
}

dx_upgrade_error
dx_upgrade_verify(const dx_http_head *h, const char accept[DX_ACCEPT_SIZE],
                  dx_slice offered_protocols, const dx_deflate_params *wish,
                  dx_slice *protocol, dx_deflate_params *agreed) {
  /* The numbers are the items of RFC 6455 4.1 on the server's response. */
  if (h->status != 101) /* 1 */
    return DX_UPGRADE_STATUS;
  if (!dx_slice_is(only(h, "Upgrade"), "websocket")) /* 2 */
    return DX_UPGRADE_NO_UPGRADE;
  if (!dx_http_has_token(h, "Connection", "upgrade")) /* 3 */
    return DX_UPGRADE_NO_CONNECTION;
  /* 4; RFC 6455 11.3.3: not more than once. */
  if (!dx_slice_same(only(h, "Sec-WebSocket-Accept"),
                     (dx_slice){accept, DX_ACCEPT_SIZE}))
    return DX_UPGRADE_ACCEPT;
  agreed->level = 0;
  if (dx_extensions_verify(h, wish, agreed) < 0) /* 5 */
    return DX_UPGRADE_EXTENSION;
  /* 6; RFC 6455 11.3.4: not more than once. */
  dx_slice chosen = only(h, "Sec-WebSocket-Protocol");
  if (dx_http_field(h, "Sec-WebSocket-Protocol") &&
      !listed(offered_protocols, chosen))
    return DX_UPGRADE_PROTOCOL;
  *protocol = chosen;
  return DX_UPGRADE_OK;
}

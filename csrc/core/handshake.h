/* SPDX-License-Identifier: MIT */
/* handshake.h - the opening handshake of RFC 6455 section 4, for both roles.
 *
 * Pure functions without state, allocation or I/O over a parsed HTTP head.
 * Every slice that comes out borrows the bytes the head was parsed from.
 * Sizes are in bytes.  All work is linear in the size of the head. */
#ifndef DX_HANDSHAKE_H
#define DX_HANDSHAKE_H

#include "extensions.h"

#define DX_KEY_SIZE 24      /* 16 bytes in base64 */
#define DX_ACCEPT_SIZE 28   /* 20 bytes in base64 */
#define DX_MAX_PROTOCOLS 64 /* offered by a client: twins cost a search */

/* Every way for an opening handshake to fail: id, status to answer with (0 for
 * what only a client finds), text.  With 405 goes "Allow: GET", with both 426
 * "Upgrade: websocket", "Connection: Upgrade" and "Sec-WebSocket-Version: 13".
 * After each of them the server has to close the connection: a proxy in
 * between may have taken the request for an upgrade. */
/* clang-format off */
#define DX_UPGRADE_ERRORS(X)                                                   \
  X(OK,              0, "no error")                                            \
  X(METHOD,        405, "method is not GET")                                   \
  X(HTTP_1_0,      400, "an upgrade needs HTTP/1.1")                           \
  X(TARGET,        400, "request target is neither a path nor an http URL")    \
  X(HOST,          400, "Host is missing, repeated or malformed")              \
  X(NOT_WANTED,    426, "not a request to upgrade to websocket")               \
  X(CONNECTION,    400, "Connection lacks the token 'upgrade'")                \
  X(KEY,           400, "Sec-WebSocket-Key is missing, repeated or malformed") \
  X(NO_VERSION,    400, "Sec-WebSocket-Version is missing or repeated")        \
  X(VERSION,       426, "Sec-WebSocket-Version is not 13")                     \
  X(ORIGIN,        400, "Origin is repeated")                                  \
  X(PROTOCOLS,     400, "Sec-WebSocket-Protocol is not a list of tokens")      \
  X(PROTOCOL_TWIN, 400, "Sec-WebSocket-Protocol has a value twice")            \
  X(PROTOCOL_MANY, 400, "Sec-WebSocket-Protocol has too many values")          \
  X(EXTENSIONS,    400, "Sec-WebSocket-Extensions is malformed")               \
  X(BODY,          400, "request to upgrade has a body")                       \
  X(STATUS,          0, "status is not 101")                                   \
  X(NO_UPGRADE,      0, "response: Upgrade is not 'websocket'")                \
  X(NO_CONNECTION,   0, "response: Connection lacks the token 'upgrade'")      \
  X(ACCEPT,          0, "response: Sec-WebSocket-Accept is missing or wrong")  \
  X(PROTOCOL,        0, "response: subprotocol was not offered")               \
  X(EXTENSION,       0, "response: extensions are no answer to what was offered")
/* clang-format on */

typedef enum dx_upgrade_error {
#define X(id, status, text) DX_UPGRADE_##id,
  DX_UPGRADE_ERRORS(X)
#undef X
} dx_upgrade_error;

int dx_upgrade_error_status(dx_upgrade_error e);
const char *dx_upgrade_error_text(dx_upgrade_error e); /* static, never NULL */

/* What a server needs of a valid request. */
typedef struct dx_upgrade {
  dx_slice host;   /* with port, as received */
  dx_slice origin; /* p is NULL when there was none */
  dx_slice key;    /* DX_KEY_SIZE bytes */
} dx_upgrade;

/* Whether the request tries to upgrade to websocket at all, well or badly:
 * Upgrade has the token "websocket" and Connection "upgrade". */
int dx_upgrade_wanted(const dx_http_head *h);

/* Whether the request is a valid opening handshake (RFC 6455 4.2.1):
 * DX_UPGRADE_OK with 'u' filled in, or the first rule it breaks.  Who may
 * connect, on account of Host or Origin, is left to the caller. */
dx_upgrade_error dx_upgrade_check(const dx_http_head *h, dx_upgrade *u);

/* The subprotocols offered in a request, in the client's order of preference,
 * over all repeated fields.  Zero but for 'h' before the first call. */
typedef struct dx_protocols {
  const dx_http_head *h;
  const dx_field *field;
  dx_slice rest;
} dx_protocols;

/* 1 with the next one in 'protocol', or 0 at the end.  After a successful
 * dx_upgrade_check each is a token and different from all others. */
int dx_protocols_next(dx_protocols *it, dx_slice *protocol);

/* Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455 4.2.2, item 5), not
 * terminated.  'n' is DX_KEY_SIZE; more is cut, so that nobody accepts it. */
void dx_accept_key(char out[DX_ACCEPT_SIZE], const char *key, size_t n);

/* The 101 response or the opening request, as bytes in 'out'.  Both return the
 * size needed and write only if that is at most 'cap' ('out' may be NULL when
 * 'cap' is 0); or 0 if 'host', 'target' or 'key' is not a valid one, or
 * 'protocol' or 'extensions' has bytes that would break the head.  Subprotocols
 * and extensions with an empty value are left out.  'extra' is empty or whole
 * header lines, each with its CRLF, which the caller has made of names and
 * values that dx_http_name_ok and dx_http_value_ok accept: it is not checked
 * again. */
size_t dx_upgrade_write_response(char *out, size_t cap, dx_slice key,
                                 dx_slice protocol, dx_slice extensions,
                                 dx_slice extra);
size_t dx_upgrade_write_request(char *out, size_t cap, dx_slice host,
                                dx_slice target, dx_slice key,
                                dx_slice protocols, dx_slice extensions,
                                dx_slice extra);

/* Whether the response accepts our request (RFC 6455 4.1): DX_UPGRADE_OK with
 * the subprotocol chosen in 'protocol' (empty for none), or the first rule it
 * breaks.  DX_UPGRADE_STATUS is an ordinary HTTP answer and no broken rule.
 * 'accept' is dx_accept_key of the key we sent, 'offered_protocols' the list
 * we sent, 'wish' what we offered of compression.  What the server chose of
 * that is in 'agreed', whose level is 0 when it chose nothing. */
dx_upgrade_error
dx_upgrade_verify(const dx_http_head *h, const char accept[DX_ACCEPT_SIZE],
                  dx_slice offered_protocols, const dx_deflate_params *wish,
                  dx_slice *protocol, dx_deflate_params *agreed);

#endif

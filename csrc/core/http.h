/* SPDX-License-Identifier: MIT */
/* http.h - the head of an HTTP/1.1 message: where it ends, what it says.
 *
 * Pure functions without state, allocation or I/O.  A parsed head is made of
 * slices of the bytes it was parsed from: they belong to the caller and must
 * stay where they are as long as the head is in use.  Sizes are in bytes.
 * All work is linear in the bytes given, whatever a peer puts in them.
 *
 * The parser is strict where leniency has let requests be smuggled: there are
 * no bare line feeds, folded lines or spaces before a colon. */
#ifndef DX_HTTP_H
#define DX_HTTP_H

#include <stddef.h>
#include <stdint.h>

#define DX_HTTP_MAX_FIELDS 256     /* room in a dx_http_head */
#define DX_HTTP_DEFAULT_FIELDS 100 /* what max_fields = 0 stands for */
#define DX_HTTP_MAX_BLANKS 2       /* empty lines allowed before a request */

/* Every way for a head to be wrong: id, status to answer with, text. */
/* clang-format off */
#define DX_HTTP_ERRORS(X)                                                      \
  X(OK,            0, "no error")                                              \
  X(BAD_BYTE,    400, "control character in the head")                         \
  X(BAD_END,     400, "head does not end with an empty line")                  \
  X(BAD_METHOD,  400, "method is not a token")                                 \
  X(BAD_TARGET,  400, "request target is empty or has a forbidden character")  \
  X(BAD_VERSION, 400, "malformed HTTP version")                                \
  X(BAD_STATUS,  400, "malformed status code")                                 \
  X(BAD_NAME,    400, "header name is not a token followed by a colon")        \
  X(BAD_FOLD,    400, "folded header line")                                    \
  X(BAD_LENGTH,  400, "malformed or contradictory Content-Length")             \
  X(LIMIT,       431, "more header fields or bytes than allowed")              \
  X(VERSION,     505, "HTTP version not supported")
/* clang-format on */

typedef enum dx_http_error {
#define X(id, status, text) DX_HTTP_##id,
  DX_HTTP_ERRORS(X)
#undef X
} dx_http_error;

/* The HTTP status a server answers this error with; 0 for DX_HTTP_OK. */
int dx_http_error_status(dx_http_error e);

/* A sentence fragment in English, static; never NULL. */
const char *dx_http_error_text(dx_http_error e);

typedef struct dx_slice {
  const char *p; /* borrowed; not terminated; may be NULL when n is 0 */
  size_t n;
} dx_slice;

typedef struct dx_field {
  dx_slice name, value; /* the value without white space around it */
} dx_field;

typedef struct dx_http_head {
  size_t max_fields; /* set by the caller before parsing; 0 = default */
  dx_slice method;   /* request only */
  dx_slice target;   /* request only, as received */
  dx_slice reason;   /* response only; may be empty */
  int status;        /* response only: 100..999 */
  int minor;         /* the x of HTTP/1.x: 0..9 */
  size_t count;      /* of fields in use */
  dx_field fields[DX_HTTP_MAX_FIELDS];
} dx_http_head;

typedef struct dx_http_scan { /* all zero: before the first byte */
  uint8_t state, blanks;
} dx_http_scan;

/* Look for the end of a head in the next 'n' bytes of the stream.  Each byte
 * is looked at once, so a head that comes byte by byte costs no more.
 * > 0: the head ends after that many bytes of 'p'; 0: it needs more;
 * -1: no HTTP head has this byte (for good, until 's' is zeroed).  The first
 * byte of a TLS ClientHello is such a byte.  Zero 's' for the next head. */
long dx_http_scan_feed(dx_http_scan *s, const uint8_t *p, size_t n);

/* Parse one complete head, from its first byte (a request may begin with
 * DX_HTTP_MAX_BLANKS empty lines) through the empty line that ends it and not
 * further.  'h' need not be initialised but for max_fields, which stays.  After
 * any result but DX_HTTP_OK 'h' is empty. */
dx_http_error dx_http_parse_request(dx_http_head *h, const char *p, size_t n);
dx_http_error dx_http_parse_response(dx_http_head *h, const char *p, size_t n);

/* The first field after 'last' (of this head; NULL = from the start) with this
 * name in any case, or NULL. */
const dx_field *dx_http_next(const dx_http_head *h, const char *name,
                             const dx_field *last);

/* The first field with this name in any case, or NULL. */
const dx_field *dx_http_field(const dx_http_head *h, const char *name);

/* How many fields have this name. */
size_t dx_http_count(const dx_http_head *h, const char *name);

/* Whether the comma-separated tokens of all fields with this name include
 * 'token', in any case and as a whole: "notupgrade" is not "upgrade". */
int dx_http_has_token(const dx_http_head *h, const char *name,
                      const char *token);

typedef struct dx_http_body {
  uint64_t length;  /* of the body in bytes; 0 without Content-Length */
  int has_length;   /* there is a Content-Length */
  int has_transfer; /* there is a Transfer-Encoding: length does not count */
  int keep_alive;   /* the connection stays open after this message */
} dx_http_body;

/* What the head says about the body and the connection after it: DX_HTTP_OK or
 * DX_HTTP_BAD_LENGTH.  'b' is written only on success. */
dx_http_error dx_http_framing(const dx_http_head *h, dx_http_body *b);

/* Take the next element off a comma-separated list without quoted strings:
 * 1 with 'item' not empty and without white space around it, or 0 at the end.
 * Empty elements are skipped. */
int dx_list_next(dx_slice *list, dx_slice *item);

/* Whether two slices hold the same bytes; dx_slice_is: the same ASCII text in
 * any case. */
int dx_slice_same(dx_slice a, dx_slice b);
int dx_slice_is(dx_slice s, const char *text);

/* Whether bytes from a user may stand in a head without changing its shape (no
 * CR, LF or other controls): as a header name or other token, as a header's
 * value (which may be empty), as a request target. */
int dx_http_name_ok(const char *p, size_t n);
int dx_http_value_ok(const char *p, size_t n);
int dx_http_target_ok(const char *p, size_t n);

#endif

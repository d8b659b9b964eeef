/* SPDX-License-Identifier: MIT */
#include "http.h"

#include <string.h>

static const struct {
  int status;
  const char *text;
} errors[] = {
#define X(id, status, text) {status, text},
    DX_HTTP_ERRORS(X)
#undef X
};

int dx_http_error_status(dx_http_error e) {
  return (size_t)e < sizeof errors / sizeof *errors ? errors[e].status : 500;
}

const char *dx_http_error_text(dx_http_error e) {
  return (size_t)e < sizeof errors / sizeof *errors ? errors[e].text
                                                    : "unknown error";
}

/* Bytes and slices. */

/* RFC 9110 5.6.2.  No <ctype.h>: what a token is does not follow a locale. */
static int is_tchar(uint8_t c) {
  uint8_t low = c | 0x20;
  return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') ||
         (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* RFC 9110 5.5: visible, space, tab or obs-text.  This holds for a whole line
 * of a head, its stricter parts are checked one by one. */
static int is_text(uint8_t c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; }

static int is_digit(char c) { return c >= '0' && c <= '9'; }

static int is_space(char c) { return c == ' ' || c == '\t'; }

static uint8_t lower(char c) {
  return (uint8_t)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static void skip(dx_slice *s, size_t n) {
  s->p += n;
  s->n -= n;
}

/* Without the OWS of RFC 9110 5.6.3 at both ends. */
static dx_slice trim(dx_slice s) {
  while (s.n && is_space(s.p[0]))
    skip(&s, 1);
  while (s.n && is_space(s.p[s.n - 1]))
    s.n--;
  return s;
}

int dx_slice_same(dx_slice a, dx_slice b) {
  return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

int dx_slice_is(dx_slice s, const char *text) {
  size_t i = 0;
  while (i < s.n && text[i] && lower(s.p[i]) == lower(text[i]))
    i++;
  return i == s.n && text[i] == 0;
}

int dx_http_name_ok(const char *p, size_t n) {
  size_t i = 0;
  while (i < n && is_tchar((uint8_t)p[i]))
    i++;
  return i == n && n > 0;
}

int dx_http_value_ok(const char *p, size_t n) {
  size_t i = 0;
  while (i < n && is_text((uint8_t)p[i]))
    i++;
  return i == n;
}

/* RFC 9112 3.2: URIs are visible ASCII, all else comes percent-encoded. */
int dx_http_target_ok(const char *p, size_t n) {
  size_t i = 0;
  while (i < n && p[i] > 0x20 && p[i] < 0x7f)
    i++;
  return i == n && n > 0;
}

/* The end of a head.
 *
 *   AT_START -> IN_LINE -> LINE_LF -> AT_LINE -> LAST_LF -> AT_END
 *    |    ^        ^                     |
 *   BLANK_LF       +---------------------+       any other byte -> BROKEN
 */
enum { AT_START, BLANK_LF, IN_LINE, LINE_LF, AT_LINE, LAST_LF, AT_END, BROKEN };

static uint8_t scan_step(dx_http_scan *s, uint8_t c) {
  switch (s->state) {
  case AT_START: /* RFC 9112 2.2: empty lines before a request are ignored. */
    if (c == '\r')
      return s->blanks++ < DX_HTTP_MAX_BLANKS ? BLANK_LF : BROKEN;
    return is_text(c) ? IN_LINE : BROKEN;
  case BLANK_LF:
    return c == '\n' ? AT_START : BROKEN;
  case IN_LINE:
    if (c == '\r')
      return LINE_LF;
    return is_text(c) ? IN_LINE : BROKEN;
  case LINE_LF: /* RFC 9112 2.2: a bare CR is invalid. */
    return c == '\n' ? AT_LINE : BROKEN;
  case AT_LINE:
    if (c == '\r')
      return LAST_LF;
    return is_text(c) ? IN_LINE : BROKEN;
  case LAST_LF:
    return c == '\n' ? AT_END : BROKEN;
  }
  return BROKEN;
}

long dx_http_scan_feed(dx_http_scan *s, const uint8_t *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    s->state = scan_step(s, p[i]);
    if (s->state == AT_END)
      return (long)(i + 1);
    if (s->state == BROKEN)
      return -1;
  }
  return s->state == BROKEN ? -1 : 0;
}

/* The parser. */

/* One line, without the CRLF that ends it and is taken with it. */
static dx_http_error take_line(dx_slice *rest, dx_slice *line) {
  size_t i = 0;
  while (i < rest->n && is_text((uint8_t)rest->p[i]))
    i++;
  if (i == rest->n || (rest->p[i] == '\r' && i + 1 == rest->n))
    return DX_HTTP_BAD_END;
  if (rest->p[i] != '\r' || rest->p[i + 1] != '\n')
    return DX_HTTP_BAD_BYTE;
  *line = (dx_slice){rest->p, i};
  skip(rest, i + 2);
  return DX_HTTP_OK;
}

/* The bytes before the next space, which is taken too.  RFC 9112 3: exactly
 * one space separates the parts, so a second one ends up in the next part,
 * where it is an error. */
static dx_slice take_word(dx_slice *line) {
  const char *space = line->n ? memchr(line->p, ' ', line->n) : NULL;
  dx_slice word = {line->p, space ? (size_t)(space - line->p) : line->n};
  skip(line, word.n + (space != NULL));
  return word;
}

static dx_http_error parse_version(dx_http_head *h, dx_slice v) {
  /* RFC 9112 2.3: case-sensitive, one digit, a dot, one digit. */
  if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || !is_digit(v.p[5]) ||
      v.p[6] != '.' || !is_digit(v.p[7]))
    return DX_HTTP_BAD_VERSION;
  if (v.p[5] != '1')
    return DX_HTTP_VERSION;
  h->minor = v.p[7] - '0';
  return DX_HTTP_OK;
}

static dx_http_error parse_request_line(dx_http_head *h, dx_slice line) {
  h->method = take_word(&line);
  if (!dx_http_name_ok(h->method.p, h->method.n))
    return DX_HTTP_BAD_METHOD;
  h->target = take_word(&line);
  if (!dx_http_target_ok(h->target.p, h->target.n))
    return DX_HTTP_BAD_TARGET;
  return parse_version(h, line);
}

static dx_http_error parse_status_line(dx_http_head *h, dx_slice line) {
  dx_http_error e = parse_version(h, take_word(&line));
  if (e)
    return e;
  dx_slice code = take_word(&line);
  /* RFC 9110 15: three digits, the first of which is the class. */
  if (code.n != 3 || !is_digit(code.p[0]) || !is_digit(code.p[1]) ||
      !is_digit(code.p[2]) || code.p[0] == '0')
    return DX_HTTP_BAD_STATUS;
  h->status =
      (code.p[0] - '0') * 100 + (code.p[1] - '0') * 10 + (code.p[2] - '0');
  /* The space before an empty reason is missing often enough to bear it. */
  h->reason = line;
  return DX_HTTP_OK;
}

static dx_http_error parse_field(dx_field *f, dx_slice line) {
  /* RFC 9112 5.2 and 2.2: a line that begins with white space continues the
   * one before for some readers and not for others. */
  if (is_space(line.p[0]))
    return DX_HTTP_BAD_FOLD;
  const char *colon = memchr(line.p, ':', line.n);
  if (!colon)
    return DX_HTTP_BAD_NAME;
  f->name = (dx_slice){line.p, (size_t)(colon - line.p)};
  /* RFC 9112 5.1: no white space before the colon; it is not in a token. */
  if (!dx_http_name_ok(f->name.p, f->name.n))
    return DX_HTTP_BAD_NAME;
  skip(&line, f->name.n + 1);
  f->value = trim(line);
  return DX_HTTP_OK;
}

static dx_http_error parse_fields(dx_http_head *h, dx_slice rest) {
  size_t max = h->max_fields ? h->max_fields : DX_HTTP_DEFAULT_FIELDS;
  if (max > DX_HTTP_MAX_FIELDS)
    max = DX_HTTP_MAX_FIELDS;
  for (h->count = 0;; h->count++) {
    dx_slice line;
    dx_http_error e = take_line(&rest, &line);
    if (e)
      return e;
    if (line.n == 0)
      return rest.n ? DX_HTTP_BAD_END : DX_HTTP_OK;
    if (h->count == max)
      return DX_HTTP_LIMIT;
    e = parse_field(&h->fields[h->count], line);
    if (e)
      return e;
  }
}

/* Empty but for max_fields; 'count' hides what the array holds. */
static void clear(dx_http_head *h) {
  h->method = h->target = h->reason = (dx_slice){NULL, 0};
  h->status = h->minor = 0;
  h->count = 0;
}

/* A head that is wrong anywhere is empty, so that nobody acts on half of it. */
static dx_http_error finish(dx_http_head *h, dx_http_error e) {
  if (e)
    clear(h);
  return e;
}

dx_http_error dx_http_parse_request(dx_http_head *h, const char *p, size_t n) {
  dx_slice rest = {p, n}, line;
  clear(h);
  for (int i = 0; i < DX_HTTP_MAX_BLANKS; i++)
    if (rest.n >= 2 && memcmp(rest.p, "\r\n", 2) == 0)
      skip(&rest, 2); /* RFC 9112 2.2 */
  dx_http_error e = take_line(&rest, &line);
  if (!e)
    e = parse_request_line(h, line);
  return finish(h, e ? e : parse_fields(h, rest));
}

dx_http_error dx_http_parse_response(dx_http_head *h, const char *p, size_t n) {
  dx_slice rest = {p, n}, line;
  clear(h);
  dx_http_error e = take_line(&rest, &line);
  if (!e)
    e = parse_status_line(h, line);
  return finish(h, e ? e : parse_fields(h, rest));
}

/* Questions about a parsed head. */

const dx_field *dx_http_next(const dx_http_head *h, const char *name,
                             const dx_field *last) {
  const dx_field *end = h->fields + h->count;
  for (const dx_field *f = last ? last + 1 : h->fields; f < end; f++)
    if (dx_slice_is(f->name, name))
      return f;
  return NULL;
}

const dx_field *dx_http_field(const dx_http_head *h, const char *name) {
  return dx_http_next(h, name, NULL);
}

size_t dx_http_count(const dx_http_head *h, const char *name) {
  size_t count = 0;
  for (const dx_field *f = NULL; (f = dx_http_next(h, name, f)) != NULL;)
    count++;
  return count;
}

int dx_list_next(dx_slice *list, dx_slice *item) {
  /* RFC 9110 5.6.1.2: a recipient ignores empty elements. */
  while (list->n) {
    const char *comma = memchr(list->p, ',', list->n);
    size_t n = comma ? (size_t)(comma - list->p) : list->n;
    *item = trim((dx_slice){list->p, n});
    skip(list, n + (comma != NULL));
    if (item->n)
      return 1;
  }
  return 0;
}

int dx_http_has_token(const dx_http_head *h, const char *name,
                      const char *token) {
  for (const dx_field *f = NULL; (f = dx_http_next(h, name, f)) != NULL;) {
    dx_slice list = f->value, item;
    while (dx_list_next(&list, &item))
      if (dx_slice_is(item, token))
        return 1;
  }
  return 0;
}

/* RFC 9110 8.6: one or more digits; a number that does not fit is an error and
 * not a large body. */
static int parse_length(dx_slice s, uint64_t *length) {
  uint64_t n = 0;
  for (size_t i = 0; i < s.n; i++) {
    if (!is_digit(s.p[i]) || n > (UINT64_MAX - 9) / 10)
      return 0;
    n = n * 10 + (uint64_t)(s.p[i] - '0');
  }
  *length = n;
  return s.n > 0;
}

dx_http_error dx_http_framing(const dx_http_head *h, dx_http_body *b) {
  dx_http_body r = {0};
  for (const dx_field *f = NULL;
       (f = dx_http_next(h, "Content-Length", f)) != NULL;) {
    uint64_t length;
    /* RFC 9112 6.3: repeats that agree are harmless, others are an attack. */
    if (!parse_length(f->value, &length) ||
        (r.has_length && length != r.length))
      return DX_HTTP_BAD_LENGTH;
    r.has_length = 1;
    r.length = length;
  }
  r.has_transfer = dx_http_field(h, "Transfer-Encoding") != NULL;
  /* RFC 9112 9.3; with both lengths nobody knows where the next message would
   * begin, RFC 9112 6.1. */
  r.keep_alive =
      !(r.has_length && r.has_transfer) &&
      !dx_http_has_token(h, "Connection", "close") &&
      (h->minor >= 1 || dx_http_has_token(h, "Connection", "keep-alive"));
  *b = r;
  return DX_HTTP_OK;
}

/* SPDX-License-Identifier: MIT */
/* The head of an HTTP/1.1 message: scanner, parser, lists, framing. */
#include "../../csrc/core/http.h"
#include "check.h"

/* The opening requests of Chrome, Firefox and curl. */
static const char chrome[] =
    "GET /chat?room=1 HTTP/1.1\r\n"
    "Host: localhost:8080\r\n"
    "Connection: Upgrade\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, "
    "like Gecko) Chrome/126.0.0.0 Safari/537.36\r\n"
    "Upgrade: websocket\r\n"
    "Origin: http://localhost:8080\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    "\r\n";
static const char firefox[] =
    "GET /chat HTTP/1.1\r\n"
    "Host: localhost:8080\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 "
    "Firefox/128.0\r\n"
    "Accept: */*\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Origin: http://localhost:8080\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "DNT: 1\r\n"
    "Connection: keep-alive, Upgrade\r\n"
    "Cookie: a=1; b=\"2\"\r\n"
    "Sec-Fetch-Dest: empty\r\n"
    "Sec-Fetch-Mode: websocket\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "Pragma: no-cache\r\n"
    "Cache-Control: no-cache\r\n"
    "Upgrade: websocket\r\n"
    "\r\n";
static const char curl[] = "GET /chat HTTP/1.1\r\n"
                           "Host: localhost:8080\r\n"
                           "User-Agent: curl/8.5.0\r\n"
                           "Accept: */*\r\n"
                           "Upgrade: websocket\r\n"
                           "Connection: Upgrade\r\n"
                           "Sec-WebSocket-Version: 13\r\n"
                           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                           "\r\n";

static dx_http_head head;

#define LIT(s) (s), sizeof(s) - 1
#define CHECK_SLICE(s, text) CHECK_EQ_MEM((s).p, (s).n, text, strlen(text))

/* Parse from memory that ends exactly where the input does.  The last input
 * stays mapped, because 'head' points into it. */
static dx_http_error parse(int request, const char *p, size_t n) {
  static uint8_t *last;
  static size_t last_n;
  if (last)
    guarded_free(last, last_n);
  last = guarded_end(n);
  last_n = n;
  memcpy(last, p, n);
  return request ? dx_http_parse_request(&head, (const char *)last, n)
                 : dx_http_parse_response(&head, (const char *)last, n);
}

static dx_http_error parse_text(int request, const char *text) {
  return parse(request, text, strlen(text));
}

/* Scanner. */

/* Feed p[0..cut) and then the rest, each from guarded memory; the sum of the
 * bytes used, 0 or -1. */
static long scan_cut(const char *p, size_t n, size_t cut) {
  dx_http_scan s = {0};
  uint8_t *a = guarded_end(cut), *b = guarded_end(n - cut);
  memcpy(a, p, cut);
  memcpy(b, p + cut, n - cut);
  long r = dx_http_scan_feed(&s, a, cut);
  if (r == 0) {
    r = dx_http_scan_feed(&s, b, n - cut);
    r += r > 0 ? (long)cut : 0;
  }
  guarded_free(a, cut);
  guarded_free(b, n - cut);
  return r;
}

static long scan_bytes(const char *p, size_t n) {
  dx_http_scan s = {0};
  for (size_t i = 0; i < n; i++) {
    long r = dx_http_scan_feed(&s, (const uint8_t *)p + i, 1);
    if (r)
      return r < 0 ? r : (long)i + r;
  }
  return 0;
}

static void test_scan_heads(void) {
  static const struct {
    const char *p;
    long end; /* -1: refused, 0: incomplete */
  } rows[] = {
      {chrome, sizeof chrome - 1},
      {firefox, sizeof firefox - 1},
      {curl, sizeof curl - 1},
      {"GET / HTTP/1.1\r\n\r\n", 18},
      {"GET / HTTP/1.1\r\n\r\n\x81\x05hello", 18},
      {"HTTP/1.1 101 Switching\r\nA: b\r\n\r\n\r\n", 32},
      {"\r\nGET / HTTP/1.1\r\n\r\n", 20},
      {"\r\n\r\nGET / HTTP/1.1\r\n\r\n", 22},
      {"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", -1},
      {"GET / HTTP/1.1\r\nA: \xc3\xa4\tb\r\n\r\n", 27},
      {"GET / HTTP/1.1\r\n", 0},
      {"GET / HTTP/1.1\r\n\r", 0},
      {"", 0},
      {"\r", 0},
      {"GET / HTTP/1.1\n\n", -1},
      {"GET / HTTP/1.1\r\n\n", -1},
      {"GET / HTTP/1.1\r\rA: b\r\n\r\n", -1},
      {"GET / HTTP/1.1\r\nA: b\r\n\rx", -1},
      {"\n", -1},
      {"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n", -1},
      {"\x16\x03\x01\x02", -1},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t n = strlen(rows[i].p);
    CHECK_EQ_INT(scan_bytes(rows[i].p, n), rows[i].end);
    for (size_t cut = 0; cut <= n; cut++)
      CHECK_EQ_INT(scan_cut(rows[i].p, n, cut), rows[i].end);
  }
}

static void test_scan_bytes(void) {
  /* A TLS ClientHello or other noise is refused at its first byte. */
  for (int c = 0; c < 256; c++) {
    dx_http_scan s = {0};
    uint8_t byte = (uint8_t)c;
    int control = (c < 0x20 && c != '\t' && c != '\r') || c == 0x7f;
    CHECK_EQ_INT(dx_http_scan_feed(&s, &byte, 1), control ? -1 : 0);
    /* Once refused, refused for good. */
    CHECK_EQ_INT(dx_http_scan_feed(&s, (const uint8_t *)"\n", 1),
                 c == '\r' ? 0 : -1);
    CHECK_EQ_INT(dx_http_scan_feed(&s, (const uint8_t *)"", 0),
                 c == '\r' ? 0 : -1);
  }
}

/* Parser. */

static void test_real_heads(void) {
  CHECK_EQ_INT(parse(1, LIT(chrome)), DX_HTTP_OK);
  CHECK_SLICE(head.method, "GET");
  CHECK_SLICE(head.target, "/chat?room=1");
  CHECK_EQ_INT(head.minor, 1);
  CHECK_EQ_INT(head.count, 12);
  CHECK_SLICE(head.fields[0].name, "Host");
  CHECK_SLICE(head.fields[0].value, "localhost:8080");
  CHECK_SLICE(head.fields[11].value,
              "permessage-deflate; client_max_window_bits");
  CHECK_EQ_INT(parse(1, LIT(firefox)), DX_HTTP_OK);
  CHECK_EQ_INT(head.count, 18);
  CHECK(dx_http_has_token(&head, "connection", "upgrade"));
  CHECK_EQ_INT(parse(1, LIT(curl)), DX_HTTP_OK);
  CHECK_EQ_INT(head.count, 7);
  CHECK_SLICE(dx_http_field(&head, "ACCEPT")->value, "*/*");
}

/* A head that stops anywhere is not a head, and is not read past. */
static void test_truncated(void) {
  for (size_t n = 0; n < sizeof chrome - 1; n++) {
    CHECK(parse(1, chrome, n) != DX_HTTP_OK);
    CHECK(parse(0, chrome, n) != DX_HTTP_OK);
  }
  CHECK_EQ_INT(parse_text(1, "GET / HTTP/1.1\r\n\r\nx"), DX_HTTP_BAD_END);
}

static void test_requests(void) {
  static const struct {
    const char *p;
    dx_http_error e;
    int status;
  } rows[] = {
#define REST "Host: a\r\n\r\n"
      {"GET / HTTP/1.1\r\n" REST, DX_HTTP_OK, 0},
      {"\r\n\r\nGET / HTTP/1.1\r\n" REST, DX_HTTP_OK, 0},
      {"GET / HTTP/1.0\r\n\r\n", DX_HTTP_OK, 0},
      {"GET / HTTP/1.9\r\n" REST, DX_HTTP_OK, 0},
      {"OPTIONS * HTTP/1.1\r\n" REST, DX_HTTP_OK, 0},
      {"!#$%&'*+-.^_`|~ / HTTP/1.1\r\n" REST, DX_HTTP_OK, 0},
      {"\r\n\r\n\r\nGET / HTTP/1.1\r\n" REST, DX_HTTP_BAD_METHOD, 400},
      {" GET / HTTP/1.1\r\n" REST, DX_HTTP_BAD_METHOD, 400},
      {"G(T / HTTP/1.1\r\n" REST, DX_HTTP_BAD_METHOD, 400},
      {"G\xc3\x84T / HTTP/1.1\r\n" REST, DX_HTTP_BAD_METHOD, 400},
      {"GET\t/ HTTP/1.1\r\n" REST, DX_HTTP_BAD_METHOD, 400},
      {"GET  / HTTP/1.1\r\n" REST, DX_HTTP_BAD_TARGET, 400},
      {"GET  HTTP/1.1\r\n" REST, DX_HTTP_BAD_TARGET, 400},
      {"GET\r\n" REST, DX_HTTP_BAD_TARGET, 400},
      {"GET /\tx HTTP/1.1\r\n" REST, DX_HTTP_BAD_TARGET, 400},
      {"GET /\xc3\xa4 HTTP/1.1\r\n" REST, DX_HTTP_BAD_TARGET, 400},
      {"GET /a b HTTP/1.1\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET /  HTTP/1.1\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / HTTP/1.1 \r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET /\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / \r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / http/1.1\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / HTTP/11\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / HTTP/1.10\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / HTTP/1,1\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / HTTP/x.1\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / ICAP/1.0\r\n" REST, DX_HTTP_BAD_VERSION, 400},
      {"GET / HTTP/0.9\r\n" REST, DX_HTTP_VERSION, 505},
      {"PRI * HTTP/2.0\r\n\r\n", DX_HTTP_VERSION, 505},
#undef REST
#define LINE "GET / HTTP/1.1\r\n"
      {LINE "A:b\r\n\r\n", DX_HTTP_OK, 0},
      {LINE "A:\r\n\r\n", DX_HTTP_OK, 0},
      {LINE "A: \xff\x80 \"x\"\r\n\r\n", DX_HTTP_OK, 0},
      {LINE "A : b\r\n\r\n", DX_HTTP_BAD_NAME, 400},
      {LINE "A\t: b\r\n\r\n", DX_HTTP_BAD_NAME, 400},
      {LINE "A b: c\r\n\r\n", DX_HTTP_BAD_NAME, 400},
      {LINE ": b\r\n\r\n", DX_HTTP_BAD_NAME, 400},
      {LINE "A\r\n\r\n", DX_HTTP_BAD_NAME, 400},
      {LINE "A\xc3\x84: b\r\n\r\n", DX_HTTP_BAD_NAME, 400},
      {LINE "A[]: b\r\n\r\n", DX_HTTP_BAD_NAME, 400},
      {LINE "A: b\r\n c\r\n\r\n", DX_HTTP_BAD_FOLD, 400},
      {LINE "A: b\r\n\tc: d\r\n\r\n", DX_HTTP_BAD_FOLD, 400},
      {LINE " A: b\r\n\r\n", DX_HTTP_BAD_FOLD, 400},
      {LINE "A: b\r\n \r\n\r\n", DX_HTTP_BAD_FOLD, 400},
      {LINE "A: b\nC: d\r\n\r\n", DX_HTTP_BAD_BYTE, 400},
      {LINE "A: b\rC: d\r\n\r\n", DX_HTTP_BAD_BYTE, 400},
      {LINE "A: b\x01\r\n\r\n", DX_HTTP_BAD_BYTE, 400},
      {LINE "A: b\x7f\r\n\r\n", DX_HTTP_BAD_BYTE, 400},
      {LINE "A: b\r\n\n", DX_HTTP_BAD_BYTE, 400},
      {LINE "A: b\r\n\r\n\r\n", DX_HTTP_BAD_END, 400},
      {LINE "A: b\r\n", DX_HTTP_BAD_END, 400},
      {LINE "A: b", DX_HTTP_BAD_END, 400},
#undef LINE
      {"", DX_HTTP_BAD_END, 400},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (!CHECK_EQ_INT(parse_text(1, rows[i].p), rows[i].e) ||
        !CHECK_EQ_INT(dx_http_error_status(rows[i].e), rows[i].status))
      fprintf(stderr, "  in row %zu: %s\n", i, rows[i].p);
  CHECK_EQ_INT(parse(1, LIT("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n")),
               DX_HTTP_BAD_BYTE);
  CHECK_EQ_INT(dx_http_parse_request(&head, NULL, 0), DX_HTTP_BAD_END);
}

static void test_responses(void) {
  static const struct {
    const char *p;
    dx_http_error e;
    int status;
    const char *reason;
  } rows[] = {
      {"HTTP/1.1 101 Switching Protocols\r\n\r\n", DX_HTTP_OK, 101,
       "Switching Protocols"},
      {"HTTP/1.0 404 Not Found\r\n\r\n", DX_HTTP_OK, 404, "Not Found"},
      {"HTTP/1.1 200 \r\n\r\n", DX_HTTP_OK, 200, ""},
      {"HTTP/1.1 200\r\n\r\n", DX_HTTP_OK, 200, ""},
      {"HTTP/1.1 999 \xc3\xa4\r\n\r\n", DX_HTTP_OK, 999, "\xc3\xa4"},
      {"HTTP/1.1 099 x\r\n\r\n", DX_HTTP_BAD_STATUS, 0, ""},
      {"HTTP/1.1 20 x\r\n\r\n", DX_HTTP_BAD_STATUS, 0, ""},
      {"HTTP/1.1 2000 x\r\n\r\n", DX_HTTP_BAD_STATUS, 0, ""},
      {"HTTP/1.1 2x0 x\r\n\r\n", DX_HTTP_BAD_STATUS, 0, ""},
      {"HTTP/1.1 -10 x\r\n\r\n", DX_HTTP_BAD_STATUS, 0, ""},
      {"HTTP/1.1  200 x\r\n\r\n", DX_HTTP_BAD_STATUS, 0, ""},
      {"HTTP/1.1\r\n\r\n", DX_HTTP_BAD_STATUS, 0, ""},
      {"ICY 200 OK\r\n\r\n", DX_HTTP_BAD_VERSION, 0, ""},
      {"HTTP/2 200 OK\r\n\r\n", DX_HTTP_BAD_VERSION, 0, ""},
      {"HTTP/2.0 200 OK\r\n\r\n", DX_HTTP_VERSION, 0, ""},
      {"\r\nHTTP/1.1 200 OK\r\n\r\n", DX_HTTP_BAD_VERSION, 0, ""},
      {"HTTP/1.1 200 O\tK\x01\r\n\r\n", DX_HTTP_BAD_BYTE, 0, ""},
      {"HTTP/1.1 200 OK\r\n x\r\n\r\n", DX_HTTP_BAD_FOLD, 0, ""},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    CHECK_EQ_INT(parse_text(0, rows[i].p), rows[i].e);
    CHECK_EQ_INT(head.status, rows[i].status);
    CHECK_SLICE(head.reason, rows[i].reason);
  }
}

static void test_values_are_trimmed(void) {
  CHECK_EQ_INT(parse_text(1, "GET / HTTP/1.1\r\n"
                             "A: \t b c\t \r\nB: \t \r\nC:d\r\n\r\n"),
               DX_HTTP_OK);
  CHECK_SLICE(head.fields[0].value, "b c");
  CHECK_SLICE(head.fields[1].value, "");
  CHECK_SLICE(head.fields[2].value, "d");
}

/* A head with 'fields' fields parsed under the limit 'max'. */
static dx_http_error parse_many(size_t max, int fields) {
  static char text[8192];
  size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\n");
  for (int i = 0; i < fields; i++)
    n += (size_t)sprintf(text + n, "F%d: %d\r\n", i, i);
  n += (size_t)sprintf(text + n, "\r\n");
  head.max_fields = max;
  dx_http_error e = parse(1, text, n);
  CHECK_EQ_INT(head.max_fields, max);
  head.max_fields = 0;
  return e;
}

static void test_limits(void) {
  static const struct {
    size_t max;
    int fits;
  } rows[] = {{0, 100}, {1, 1}, {5, 5}, {256, 256}, {257, 256}, {1 << 20, 256}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    CHECK_EQ_INT(parse_many(rows[i].max, rows[i].fits), DX_HTTP_OK);
    CHECK_EQ_INT(head.count, rows[i].fits);
    CHECK_EQ_INT(parse_many(rows[i].max, rows[i].fits + 1), DX_HTTP_LIMIT);
    CHECK_EQ_INT(head.count, 0);
  }
  CHECK_EQ_INT(dx_http_error_status(DX_HTTP_LIMIT), 431);
}

static void test_errors_have_texts(void) {
  for (int e = DX_HTTP_OK; e <= DX_HTTP_VERSION; e++)
    CHECK(strlen(dx_http_error_text((dx_http_error)e)) > 0);
  CHECK_EQ_INT(dx_http_error_status((dx_http_error)99), 500);
  CHECK_EQ_STR(dx_http_error_text((dx_http_error)99), "unknown error");
}

/* Questions about a head. */

static void test_fields(void) {
  CHECK_EQ_INT(parse_text(1, "GET / HTTP/1.1\r\nSet: 1\r\nSetter: x\r\n"
                             "sEt: 2\r\nSe: y\r\nSET: 3\r\n\r\n"),
               DX_HTTP_OK);
  const dx_field *f = dx_http_field(&head, "set");
  CHECK_SLICE(f->value, "1");
  f = dx_http_next(&head, "Set", f);
  CHECK_SLICE(f->value, "2");
  f = dx_http_next(&head, "Set", f);
  CHECK_SLICE(f->value, "3");
  CHECK(dx_http_next(&head, "Set", f) == NULL);
  CHECK_EQ_INT(dx_http_count(&head, "set"), 3);
  CHECK_EQ_INT(dx_http_count(&head, "absent"), 0);
  CHECK(dx_http_field(&head, "absent") == NULL);
  CHECK(dx_http_field(&head, "") == NULL);
}

static void test_slices(void) {
  dx_slice a = {"Abc", 3}, b = {"abc", 3};
  CHECK(dx_slice_same(a, a) && !dx_slice_same(a, b));
  CHECK(dx_slice_same((dx_slice){NULL, 0}, (dx_slice){"x", 0}));
  CHECK(!dx_slice_same(a, (dx_slice){"Abcd", 4}));
  CHECK(dx_slice_is(a, "aBC") && dx_slice_is((dx_slice){NULL, 0}, ""));
  CHECK(!dx_slice_is(a, "ab") && !dx_slice_is(a, "abcd"));
  /* Case is a matter of ASCII letters alone. */
  CHECK(!dx_slice_is((dx_slice){"@[", 2}, "`{"));
}

static void test_tokens(void) {
  static const struct {
    const char *fields;
    int has;
  } rows[] = {
      {"Connection: upgrade\r\n", 1},
      {"connection: UPGRADE\r\n", 1},
      {"Connection: keep-alive, Upgrade\r\n", 1},
      {"Connection: keep-alive,Upgrade\r\n", 1},
      {"Connection:\t,, \t upgrade\t ,\r\n", 1},
      {"Connection: close\r\nConnection: x, upgrade\r\n", 1},
      {"Connection: notupgrade\r\n", 0},
      {"Connection: upgrades\r\n", 0},
      {"Connection: upgrad\r\n", 0},
      {"Connection: up, grade\r\n", 0},
      {"Connection: keep-alive Upgrade\r\n", 0},
      {"Connection: upgrade;q=1\r\n", 0},
      {"Connection: \"upgrade\"\r\n", 0},
      {"Connection: up\r\nConnection: grade\r\n", 0},
      {"Connection: \r\n", 0},
      {"Connection: ,,,\r\n", 0},
      {"X-Connection: upgrade\r\n", 0},
      {"", 0},
  };
  char text[200];
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\n%s\r\n", rows[i].fields);
    CHECK_EQ_INT(parse_text(1, text), DX_HTTP_OK);
    CHECK_EQ_INT(dx_http_has_token(&head, "Connection", "upgrade"),
                 rows[i].has);
  }
}

/* Values made to be slow: a megabyte of each pattern, walked once.  Quadratic
 * work would take minutes here. */
static void test_hostile_lists(void) {
  static const char *const patterns[] = {",",  " ",   "\"", "\\",
                                         "a,", "\",", ", "};
  size_t size = 1 << 20;
  char *text = malloc(size + 64);
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
    size_t n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nConnection: x");
    size_t step = strlen(patterns[i]);
    for (size_t k = 0; k + step <= size; k += step, n += step)
      memcpy(text + n, patterns[i], step);
    n += (size_t)sprintf(text + n, "y\r\n\r\n");
    dx_http_scan s = {0};
    CHECK_EQ_INT(dx_http_scan_feed(&s, (uint8_t *)text, n), n);
    CHECK_EQ_INT(dx_http_parse_request(&head, text, n), DX_HTTP_OK);
    CHECK(!dx_http_has_token(&head, "Connection", "upgrade"));
  }
  free(text);
}

static void test_framing(void) {
  static const struct {
    const char *p;
    dx_http_error e;
    uint64_t length;
    int has_length, has_transfer, keep_alive;
  } rows[] = {
#define V1 "GET / HTTP/1.1\r\n"
#define V0 "GET / HTTP/1.0\r\n"
#define CL "Content-Length: "
#define BAD DX_HTTP_BAD_LENGTH, 0, 0, 0, 0
      {V1, DX_HTTP_OK, 0, 0, 0, 1},
      {V0, DX_HTTP_OK, 0, 0, 0, 0},
      {V0 "Connection: x, Keep-Alive\r\n", DX_HTTP_OK, 0, 0, 0, 1},
      {V0 "Connection: keep-alive, close\r\n", DX_HTTP_OK, 0, 0, 0, 0},
      {V1 "Connection: Close\r\n", DX_HTTP_OK, 0, 0, 0, 0},
      {V1 CL "0\r\n", DX_HTTP_OK, 0, 1, 0, 1},
      {V1 CL "42\r\n", DX_HTTP_OK, 42, 1, 0, 1},
      {V1 CL "007\r\n" CL "7\r\n", DX_HTTP_OK, 7, 1, 0, 1},
      {V1 "Transfer-Encoding: chunked\r\n", DX_HTTP_OK, 0, 0, 1, 1},
      {V1 "Transfer-Encoding: chunked\r\n" CL "5\r\n", DX_HTTP_OK, 5, 1, 1, 0},
      {V1 CL "9223372036854775807\r\n", DX_HTTP_OK, INT64_MAX, 1, 0, 1},
      {V1 CL "18446744073709551616\r\n", BAD},
      {V1 CL "99999999999999999999999999\r\n", BAD},
      {V1 CL "7\r\n" CL "8\r\n", BAD},
      {V1 CL "0\r\n" CL "8\r\n", BAD},
      {V1 CL "7, 7\r\n", BAD},
      {V1 CL "\r\n", BAD},
      {V1 CL "-1\r\n", BAD},
      {V1 CL "+1\r\n", BAD},
      {V1 CL "0x10\r\n", BAD},
      {V1 CL "1 2\r\n", BAD},
      {V1 CL "1.0\r\n", BAD},
#undef V1
#undef V0
#undef CL
#undef BAD
  };
  char text[200];
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    dx_http_body b = {0};
    snprintf(text, sizeof text, "%s\r\n", rows[i].p);
    CHECK_EQ_INT(parse_text(1, text), DX_HTTP_OK);
    CHECK_EQ_INT(dx_http_framing(&head, &b), rows[i].e);
    CHECK_EQ_INT(b.length, rows[i].length);
    CHECK_EQ_INT(b.has_length, rows[i].has_length);
    CHECK_EQ_INT(b.has_transfer, rows[i].has_transfer);
    CHECK_EQ_INT(b.keep_alive, rows[i].keep_alive);
  }
}

/* What users may put into a head. */
static void test_validators(void) {
  static const char tokens[] = "!#$%&'*+-.^_`|~0123456789"
                               "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  for (int c = 0; c < 256; c++) {
    char s[] = {'a', (char)c, 'b'};
    int control = (c < 0x20 && c != '\t') || c == 0x7f;
    CHECK_EQ_INT(dx_http_name_ok(s, 3), c && strchr(tokens, c) != NULL);
    CHECK_EQ_INT(dx_http_value_ok(s, 3), !control);
    CHECK_EQ_INT(dx_http_target_ok(s, 3), c > 0x20 && c < 0x7f);
  }
  CHECK(!dx_http_name_ok(NULL, 0));
  CHECK(dx_http_value_ok(NULL, 0));
  CHECK(!dx_http_target_ok(NULL, 0));
  CHECK(!dx_http_value_ok(LIT("a\r\nSet-Cookie: b")));
}

int main(void) {
  test_scan_heads();
  test_scan_bytes();
  test_real_heads();
  test_truncated();
  test_requests();
  test_responses();
  test_values_are_trimmed();
  test_limits();
  test_errors_have_texts();
  test_fields();
  test_slices();
  test_tokens();
  test_hostile_lists();
  test_framing();
  test_validators();
  return check_done("http");
}

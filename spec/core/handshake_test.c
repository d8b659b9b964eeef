/* SPDX-License-Identifier: MIT */
/* The opening handshake of RFC 6455 section 4, as server and as client. */
#include "../../csrc/core/handshake.h"
#include "check.h"

static dx_http_head head;

#define S(text) ((dx_slice){"" text, sizeof(text) - 1})
#define CHECK_SLICE(s, text) CHECK_EQ_MEM((s).p, (s).n, text, strlen(text))

static const dx_slice none;
static const dx_deflate_params no_wish; /* no compression */
static const dx_deflate_params some_wish = {
    .server_bits = 15, .client_bits = 15, .level = 6, .memory = 8};
static dx_deflate_params agreed;
static const dx_slice key = {"dGhlIHNhbXBsZSBub25jZQ==", 24};
static const char accept_text[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/* Parse 'text' from memory that ends where the text does and stays mapped
 * until the next call, because 'head' points into it. */
static int parse(int request, const char *text) {
  static uint8_t *last;
  static size_t last_n;
  if (last)
    guarded_free(last, last_n);
  last_n = strlen(text);
  last = guarded_end(last_n);
  memcpy(last, text, last_n);
  return CHECK_EQ_INT(
      request ? dx_http_parse_request(&head, (const char *)last, last_n)
              : dx_http_parse_response(&head, (const char *)last, last_n),
      DX_HTTP_OK);
}

/* The server's side. */

#define GET "GET /chat HTTP/1.1\r\n"
#define HOST "Host: server.example.com\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define PROTOCOL "Sec-WebSocket-Protocol: "
#define REST UPGRADE CONNECTION KEY VERSION
#define VALID GET HOST REST

static const struct request_row {
  const char *p; /* without the empty line */
  dx_upgrade_error e;
  int status;
} requests[] = {
    {VALID, DX_UPGRADE_OK, 0},
    /* RFC 6455 1.3 */
    {VALID "Origin: http://example.com\r\n" PROTOCOL "chat, superchat\r\n",
     DX_UPGRADE_OK, 0},
    {"GET /a?b=c HTTP/1.2\r\n" HOST REST, DX_UPGRADE_OK, 0},
    {"GET http://a/chat HTTP/1.1\r\n" HOST REST, DX_UPGRADE_OK, 0},
    {"GET HTTPS://a/chat HTTP/1.1\r\n" HOST REST, DX_UPGRADE_OK, 0},
    {GET "Host: [::1]:8080\r\n" REST, DX_UPGRADE_OK, 0},
    {GET HOST
     "UPGRADE: WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" KEY VERSION,
     DX_UPGRADE_OK, 0},
    {GET HOST "Upgrade: h2c, websocket\r\n" CONNECTION KEY VERSION,
     DX_UPGRADE_OK, 0},
    {VALID "Content-Length: 0\r\n", DX_UPGRADE_OK, 0},
    {VALID "Origin: null\r\n", DX_UPGRADE_OK, 0},
    {VALID PROTOCOL "\r\n", DX_UPGRADE_OK, 0},
    {VALID PROTOCOL ",, a,,b ,\r\n", DX_UPGRADE_OK, 0},
    {VALID PROTOCOL "chat, Chat\r\n", DX_UPGRADE_OK, 0},
    /* Chrome's order, then Firefox's; their full heads are in http_test.c. */
    {GET "Host: localhost:8080\r\n" CONNECTION
         "Cache-Control: no-cache\r\n" UPGRADE
         "Origin: http://localhost:8080\r\n" VERSION KEY
         "Sec-WebSocket-Extensions: permessage-deflate; "
         "client_max_window_bits\r\n",
     DX_UPGRADE_OK, 0},
    {GET "Host: localhost:8080\r\nAccept: */*\r\n" VERSION
         "Origin: http://localhost:8080\r\n"
         "Sec-WebSocket-Extensions: permessage-deflate\r\n" KEY
         "Connection: keep-alive, Upgrade\r\n" UPGRADE,
     DX_UPGRADE_OK, 0},
    /* 4.2.1, item 1 */
    {"POST / HTTP/1.1\r\n" HOST REST, DX_UPGRADE_METHOD, 405},
    {"HEAD / HTTP/1.1\r\n" HOST REST, DX_UPGRADE_METHOD, 405},
    {"get / HTTP/1.1\r\n" HOST REST, DX_UPGRADE_METHOD, 405},
    {"GETT / HTTP/1.1\r\n" HOST REST, DX_UPGRADE_METHOD, 405},
    {"GET / HTTP/1.0\r\n" HOST REST, DX_UPGRADE_HTTP_1_0, 400},
    {"GET chat HTTP/1.1\r\n" HOST REST, DX_UPGRADE_TARGET, 400},
    {"GET * HTTP/1.1\r\n" HOST REST, DX_UPGRADE_TARGET, 400},
    {"GET h HTTP/1.1\r\n" HOST REST, DX_UPGRADE_TARGET, 400},
    {"GET ftp://a/ HTTP/1.1\r\n" HOST REST, DX_UPGRADE_TARGET, 400},
    {"GET /chat#x HTTP/1.1\r\n" HOST REST, DX_UPGRADE_TARGET, 400},
    /* Item 2 */
    {GET REST, DX_UPGRADE_HOST, 400},
    {GET "Host:\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET HOST HOST REST, DX_UPGRADE_HOST, 400},
    {GET HOST "host: evil.example\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET "Host: a, b\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET "Host: a,b\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET "Host: a b\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET "Host: a/b\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET "Host: user@a\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET "Host: a\\b\r\n" REST, DX_UPGRADE_HOST, 400},
    {GET "Host: \xc3\xa4.de\r\n" REST, DX_UPGRADE_HOST, 400},
    /* Items 3 and 4 */
    {GET HOST, DX_UPGRADE_NOT_WANTED, 426},
    {GET HOST CONNECTION KEY VERSION, DX_UPGRADE_NOT_WANTED, 426},
    {GET HOST "Upgrade: h2c\r\n" CONNECTION, DX_UPGRADE_NOT_WANTED, 426},
    {GET HOST "Upgrade: websockets\r\n" CONNECTION KEY VERSION,
     DX_UPGRADE_NOT_WANTED, 426},
    {GET HOST UPGRADE KEY VERSION, DX_UPGRADE_CONNECTION, 400},
    {GET HOST UPGRADE "Connection: keep-alive\r\n" KEY VERSION,
     DX_UPGRADE_CONNECTION, 400},
    {GET HOST UPGRADE "Connection: notupgrade\r\n" KEY VERSION,
     DX_UPGRADE_CONNECTION, 400},
/* Item 5 */
#define UC GET HOST UPGRADE CONNECTION
#define K "Sec-WebSocket-Key: "
    {UC VERSION, DX_UPGRADE_KEY, 400},
    {VALID KEY, DX_UPGRADE_KEY, 400},
    {UC VERSION K "\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "c2hvcnQ=\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "MTIzNDU2Nzg5MDEyMzQ1\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "MTIzNDU2Nzg5MDEyMzQ1Njc=\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "MTIzNDU2Nzg5MDEyMzQ1Njc4\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "dGhlIHNhbXBsZSBub25jZQ\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "dGhlIHNhbXBsZSBub25jZQ=\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "dGhlIHNhbXBsZSBub25j!Q==\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "dGhlIHNhbXBs ZSBub25jZQ==\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "dGhlIHNhbXBsZSBub25jZ!==\r\n", DX_UPGRADE_KEY, 400},
    {UC VERSION K "========================\r\n", DX_UPGRADE_KEY, 400},
/* Item 6 */
#define V "Sec-WebSocket-Version: "
    {UC KEY, DX_UPGRADE_NO_VERSION, 400},
    {VALID VERSION, DX_UPGRADE_NO_VERSION, 400},
    {VALID V "8\r\n", DX_UPGRADE_NO_VERSION, 400},
    {UC KEY V "8\r\n", DX_UPGRADE_VERSION, 426},
    {UC KEY V "14\r\n", DX_UPGRADE_VERSION, 426},
    {UC KEY V "\r\n", DX_UPGRADE_VERSION, 426},
    {UC KEY V "013\r\n", DX_UPGRADE_VERSION, 426},
    {UC KEY V "130\r\n", DX_UPGRADE_VERSION, 426},
    {UC KEY V "13, 8\r\n", DX_UPGRADE_VERSION, 426},
#undef UC
#undef K
#undef V
    /* Items 7 and 8 */
    {VALID "Origin: http://a\r\nOrigin: http://b\r\n", DX_UPGRADE_ORIGIN, 400},
    {VALID PROTOCOL "a b\r\n", DX_UPGRADE_PROTOCOLS, 400},
    {VALID PROTOCOL "a, b/c\r\n", DX_UPGRADE_PROTOCOLS, 400},
    {VALID PROTOCOL "\"a, b\"\r\n", DX_UPGRADE_PROTOCOLS, 400},
    {VALID PROTOCOL "a, \xc3\xa4\r\n", DX_UPGRADE_PROTOCOLS, 400},
    {VALID PROTOCOL "a\r\n" PROTOCOL "b;q=1\r\n", DX_UPGRADE_PROTOCOLS, 400},
    {VALID PROTOCOL "a, b, a\r\n", DX_UPGRADE_PROTOCOL_TWIN, 400},
    {VALID PROTOCOL "a\r\n" PROTOCOL "b,a\r\n", DX_UPGRADE_PROTOCOL_TWIN, 400},
    /* A body */
    {VALID "Content-Length: 1\r\n", DX_UPGRADE_BODY, 400},
    {VALID "Content-Length: x\r\n", DX_UPGRADE_BODY, 400},
    {VALID "Content-Length: 0\r\nContent-Length: 5\r\n", DX_UPGRADE_BODY, 400},
    {VALID "Transfer-Encoding: chunked\r\n", DX_UPGRADE_BODY, 400},
    {VALID "Transfer-Encoding: identity\r\n", DX_UPGRADE_BODY, 400},
    {VALID "Transfer-Encoding:\r\n", DX_UPGRADE_BODY, 400},
};

/* Some clients draw all 22 letters of a key at random. */
static void test_sloppy_key(void) {
  char text[1000];
  dx_upgrade u;
  snprintf(text, sizeof text, "%s\r\n",
           GET HOST UPGRADE CONNECTION VERSION
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n");
  parse(1, text);
  CHECK_EQ_INT(dx_upgrade_check(&head, &u), DX_UPGRADE_OK);
  CHECK_SLICE(u.key, "dGhlIHNhbXBsZSBub25jZR==");
}

static void test_requests(void) {
  char text[1000];
  for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
    const struct request_row *row = &requests[i];
    dx_upgrade u = {.key = {"untouched", 9}};
    snprintf(text, sizeof text, "%s\r\n", row->p);
    parse(1, text);
    if (!CHECK_EQ_INT(dx_upgrade_check(&head, &u), row->e) ||
        !CHECK_EQ_INT(dx_upgrade_error_status(row->e), row->status))
      fprintf(stderr, "  in row %zu:\n%s", i, row->p);
    CHECK_SLICE(u.key, row->e ? "untouched" : "dGhlIHNhbXBsZSBub25jZQ==");
    /* What is not wanted is what a server may answer with a page. */
    if (row->e == DX_UPGRADE_NOT_WANTED || row->e == DX_UPGRADE_CONNECTION)
      CHECK(!dx_upgrade_wanted(&head));
    else
      CHECK(dx_upgrade_wanted(&head));
  }
}

static void test_what_is_found(void) {
  dx_upgrade u;
  parse(1, VALID "Origin:\t http://example.com \r\n\r\n");
  CHECK_EQ_INT(dx_upgrade_check(&head, &u), DX_UPGRADE_OK);
  CHECK_SLICE(u.host, "server.example.com");
  CHECK_SLICE(u.origin, "http://example.com");
  CHECK_SLICE(u.key, "dGhlIHNhbXBsZSBub25jZQ==");
  parse(1, VALID "\r\n");
  CHECK_EQ_INT(dx_upgrade_check(&head, &u), DX_UPGRADE_OK);
  CHECK(u.origin.p == NULL);
  parse(1, VALID "Origin:\r\n\r\n");
  CHECK_EQ_INT(dx_upgrade_check(&head, &u), DX_UPGRADE_OK);
  CHECK(u.origin.p != NULL && u.origin.n == 0);
}

static void test_protocols(void) {
  static const char *const expected[] = {"chat", "superchat", "v2.x", "Chat"};
  parse(1, VALID PROTOCOL ", chat ,superchat\r\n" PROTOCOL
                          "\r\nX: nochat\r\n" PROTOCOL "v2.x,\tChat,,\r\n\r\n");
  dx_protocols it = {.h = &head};
  dx_slice p;
  for (size_t i = 0; i < 4; i++) {
    CHECK_EQ_INT(dx_protocols_next(&it, &p), 1);
    CHECK_SLICE(p, expected[i]);
  }
  for (int i = 0; i < 3; i++) /* the end stays the end */
    CHECK_EQ_INT(dx_protocols_next(&it, &p), 0);
  parse(1, VALID "\r\n");
  it = (dx_protocols){.h = &head};
  CHECK_EQ_INT(dx_protocols_next(&it, &p), 0);
}

/* 'n' different subprotocols: as many as allowed, one more, and thousands,
 * which must not be compared each with each. */
static void test_many_protocols(void) {
  static const struct {
    int n;
    dx_upgrade_error e;
  } rows[] = {{DX_MAX_PROTOCOLS, DX_UPGRADE_OK},
              {DX_MAX_PROTOCOLS + 1, DX_UPGRADE_PROTOCOL_MANY},
              {100000, DX_UPGRADE_PROTOCOL_MANY}};
  char *text = malloc(1 << 20);
  dx_upgrade u;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t n = (size_t)sprintf(text, "%s", VALID PROTOCOL);
    for (int k = 0; k < rows[i].n; k++)
      n += (size_t)sprintf(text + n, "p%d, ", k);
    sprintf(text + n, "\r\n\r\n");
    parse(1, text);
    CHECK_EQ_INT(dx_upgrade_check(&head, &u), rows[i].e);
  }
  free(text);
}

/* A megabyte of separators and the like in each list that is looked at. */
static void test_hostile_lists(void) {
  static const char *const names[] = {
      "Connection", "Upgrade",           "Sec-WebSocket-Protocol",
      "Host",       "Sec-WebSocket-Key", "Content-Length"};
  static const char bytes[] = ", \t\"\\=0";
  size_t size = 1 << 20;
  char *text = malloc(size + 1000);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (const char *c = bytes; *c; c++) {
      dx_upgrade u;
      size_t n = (size_t)sprintf(text, "%s%s: x", VALID, names[i]);
      memset(text + n, *c, size);
      sprintf(text + n + size, "y\r\n\r\n");
      parse(1, text);
      /* Strange tokens beside the good one change nothing; of the others only
       * an offer of x and y, or of one very long subprotocol, is valid. */
      int valid = i < 2 || (i == 2 && (*c == ',' || *c == '0'));
      CHECK_EQ_INT(dx_upgrade_check(&head, &u) == DX_UPGRADE_OK, valid);
    }
  free(text);
}

/* Keys and writers. */

static void test_accept_key(void) {
  char out[DX_ACCEPT_SIZE];
  dx_accept_key(out, key.p, key.n); /* RFC 6455 1.3 */
  CHECK_EQ_MEM(out, sizeof out, accept_text, 28);
  dx_accept_key(out, NULL, 0);
  CHECK_EQ_MEM(out, sizeof out, "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=", 28);
  dx_accept_key(out, "dGhlIHNhbXBsZSBub25jZQ==more", 28);
  CHECK_EQ_MEM(out, sizeof out, accept_text, 28);
}

/* Both writers behind one signature, with the RFC's example as arguments but
 * for those given. */
static size_t write_head(int request, char *out, size_t cap, dx_slice protocol,
                         dx_slice extensions, dx_slice extra) {
  return request ? dx_upgrade_write_request(out, cap, S("server.example.com"),
                                            S("/chat"), key, protocol,
                                            extensions, extra)
                 : dx_upgrade_write_response(out, cap, key, protocol,
                                             extensions, extra);
}

static void test_writers(void) {
  static const struct {
    int request;
    dx_slice protocol, extensions, extra;
    const char *expected;
  } rows[] = {
#define RESPONSE                                                               \
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"                 \
  "Connection: Upgrade\r\n"                                                    \
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
      {0, {0}, {0}, {0}, RESPONSE "\r\n"},
      {0, {"chat", 4}, {0}, {0}, RESPONSE PROTOCOL "chat\r\n\r\n"},
      {0,
       {"chat", 4},
       {"a; b=1", 6},
       {"X: y\r\nZ: z\r\n", 12},
       RESPONSE PROTOCOL "chat\r\nSec-WebSocket-Extensions: a; b=1\r\n"
                         "X: y\r\nZ: z\r\n\r\n"},
      {1, {0}, {0}, {0}, VALID "\r\n"},
      {1,
       {"a, b", 4},
       {"e", 1},
       {"X: y\r\n", 6},
       VALID PROTOCOL "a, b\r\nSec-WebSocket-Extensions: e\r\nX: y\r\n\r\n"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    size_t n = write_head(rows[i].request, NULL, 0, rows[i].protocol,
                          rows[i].extensions, rows[i].extra);
    CHECK_EQ_INT(n, strlen(rows[i].expected));
    /* Too small by one: nothing is written; exact: nothing is written past. */
    for (size_t cap = n - 1; cap <= n; cap++) {
      char *out = (char *)guarded_end(cap);
      CHECK_EQ_INT(write_head(rows[i].request, out, cap, rows[i].protocol,
                              rows[i].extensions, rows[i].extra),
                   n);
      if (cap == n)
        CHECK_EQ_MEM(out, n, rows[i].expected, n);
      else
        CHECK_EQ_INT(out[0], 0);
      guarded_free(out, cap);
    }
  }
}

/* What would end a line or a request early never leaves. */
static void test_injection(void) {
  static const dx_slice bad[] = {{"a\r\nX: y", 7}, {"a\n", 2}, {"a\0b", 3}};
  char out[1000];
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    CHECK_EQ_INT(write_head(0, out, sizeof out, bad[i], none, none), 0);
    CHECK_EQ_INT(write_head(0, out, sizeof out, none, bad[i], none), 0);
    CHECK_EQ_INT(write_head(1, out, sizeof out, bad[i], none, none), 0);
    CHECK_EQ_INT(write_head(1, out, sizeof out, none, bad[i], none), 0);
    CHECK_EQ_INT(dx_upgrade_write_request(out, sizeof out, bad[i], S("/"), key,
                                          none, none, none),
                 0);
    CHECK_EQ_INT(dx_upgrade_write_request(out, sizeof out, S("a"), bad[i], key,
                                          none, none, none),
                 0);
    CHECK_EQ_INT(dx_upgrade_write_request(out, sizeof out, S("a"), S("/"),
                                          bad[i], none, none, none),
                 0);
    CHECK_EQ_INT(
        dx_upgrade_write_response(out, sizeof out, bad[i], none, none, none),
        0);
  }
  CHECK_EQ_INT(dx_upgrade_write_request(out, sizeof out, S("a"), S("/ b"), key,
                                        none, none, none),
               0);
  CHECK_EQ_INT(dx_upgrade_write_request(out, sizeof out, none, S("/"), key,
                                        none, none, none),
               0);
}

/* What we write, we accept. */
static void test_round_trip(void) {
  char out[1000];
  dx_upgrade u;
  dx_slice chosen;
  size_t n = write_head(1, out, sizeof out - 1, S("chat, x"), none, none);
  out[n] = 0;
  parse(1, out);
  CHECK_EQ_INT(dx_upgrade_check(&head, &u), DX_UPGRADE_OK);
  n = dx_upgrade_write_response(out, sizeof out - 1, u.key, S("x"), none, none);
  out[n] = 0;
  parse(0, out);
  CHECK_EQ_INT(dx_upgrade_verify(&head, accept_text, S("chat, x"), &no_wish,
                                 &chosen, &agreed),
               DX_UPGRADE_OK);
  CHECK_SLICE(chosen, "x");
}

/* The client's side. */

#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
#define VALID_ANSWER SWITCHING UPGRADE CONNECTION ACCEPT
#define EXTENSIONS "Sec-WebSocket-Extensions: permessage-deflate\r\n"

static const struct answer_row {
  const char *p; /* without the empty line */
  const char *offered;
  int extensions;
  dx_upgrade_error e;
  const char *protocol;
} answers[] = {
    {VALID_ANSWER, "", 0, DX_UPGRADE_OK, ""},
    {VALID_ANSWER, "chat", 1, DX_UPGRADE_OK, ""},
    {"HTTP/1.1 101\r\nupgrade: WebSocket\r\nconnection: x, UPGRADE\r\n" ACCEPT,
     "", 0, DX_UPGRADE_OK, ""},
    {VALID_ANSWER PROTOCOL "chat\r\n", "chat, superchat", 0, DX_UPGRADE_OK,
     "chat"},
    {VALID_ANSWER PROTOCOL "superchat\r\n", "chat,superchat", 0, DX_UPGRADE_OK,
     "superchat"},
    {VALID_ANSWER EXTENSIONS, "", 1, DX_UPGRADE_OK, ""},
    {"HTTP/1.1 200 OK\r\n" UPGRADE CONNECTION ACCEPT, "", 0, DX_UPGRADE_STATUS,
     NULL},
    {"HTTP/1.1 302 Found\r\n", "", 0, DX_UPGRADE_STATUS, NULL},
    {"HTTP/1.1 401 Unauthorized\r\n", "", 0, DX_UPGRADE_STATUS, NULL},
    {SWITCHING CONNECTION ACCEPT, "", 0, DX_UPGRADE_NO_UPGRADE, NULL},
    {SWITCHING "Upgrade: h2c\r\n" CONNECTION ACCEPT, "", 0,
     DX_UPGRADE_NO_UPGRADE, NULL},
    {SWITCHING "Upgrade: websocket, h2c\r\n" CONNECTION ACCEPT, "", 0,
     DX_UPGRADE_NO_UPGRADE, NULL},
    {SWITCHING "Upgrade: h2c\r\n" UPGRADE CONNECTION ACCEPT, "", 0,
     DX_UPGRADE_NO_UPGRADE, NULL},
    {SWITCHING UPGRADE ACCEPT, "", 0, DX_UPGRADE_NO_CONNECTION, NULL},
    {SWITCHING UPGRADE "Connection: notupgrade\r\n" ACCEPT, "", 0,
     DX_UPGRADE_NO_CONNECTION, NULL},
    {SWITCHING UPGRADE CONNECTION, "", 0, DX_UPGRADE_ACCEPT, NULL},
    {VALID_ANSWER ACCEPT, "", 0, DX_UPGRADE_ACCEPT, NULL},
    {SWITCHING UPGRADE CONNECTION "Sec-WebSocket-Accept:\r\n", "", 0,
     DX_UPGRADE_ACCEPT, NULL},
    {SWITCHING UPGRADE CONNECTION
     "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
     "", 0, DX_UPGRADE_ACCEPT, NULL},
    {SWITCHING UPGRADE CONNECTION
     "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=, x\r\n",
     "", 0, DX_UPGRADE_ACCEPT, NULL},
    {SWITCHING UPGRADE CONNECTION KEY, "", 0, DX_UPGRADE_ACCEPT, NULL},
    {VALID_ANSWER EXTENSIONS, "", 0, DX_UPGRADE_EXTENSION, NULL},
    {VALID_ANSWER PROTOCOL "chat\r\n", "", 0, DX_UPGRADE_PROTOCOL, NULL},
    {VALID_ANSWER PROTOCOL "x\r\n", "chat", 0, DX_UPGRADE_PROTOCOL, NULL},
    {VALID_ANSWER PROTOCOL "Chat\r\n", "chat", 0, DX_UPGRADE_PROTOCOL, NULL},
    {VALID_ANSWER PROTOCOL "\r\n", "chat", 0, DX_UPGRADE_PROTOCOL, NULL},
    {VALID_ANSWER PROTOCOL "\r\n", "", 0, DX_UPGRADE_PROTOCOL, NULL},
    {VALID_ANSWER PROTOCOL "a, b\r\n", "a, b", 0, DX_UPGRADE_PROTOCOL, NULL},
    {VALID_ANSWER PROTOCOL "a\r\n" PROTOCOL "a\r\n", "a, b", 0,
     DX_UPGRADE_PROTOCOL, NULL},
};

static void test_answers(void) {
  char text[1000];
  for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
    const struct answer_row *row = &answers[i];
    dx_slice chosen = {"untouched", 9};
    snprintf(text, sizeof text, "%s\r\n", row->p);
    parse(0, text);
    if (!CHECK_EQ_INT(
            dx_upgrade_verify(&head, accept_text,
                              (dx_slice){row->offered, strlen(row->offered)},
                              row->extensions ? &some_wish : &no_wish, &chosen,
                              &agreed),
            row->e))
      fprintf(stderr, "  in row %zu:\n%s", i, row->p);
    CHECK_SLICE(chosen, row->protocol ? row->protocol : "untouched");
  }
}

static void test_errors_have_texts(void) {
  for (int e = DX_UPGRADE_OK; e <= DX_UPGRADE_EXTENSION; e++)
    CHECK(strlen(dx_upgrade_error_text((dx_upgrade_error)e)) > 0);
  CHECK_EQ_INT(dx_upgrade_error_status((dx_upgrade_error)99), 500);
  CHECK_EQ_STR(dx_upgrade_error_text((dx_upgrade_error)99), "unknown error");
}

int main(void) {
  test_requests();
  test_sloppy_key();
  test_what_is_found();
  test_protocols();
  test_many_protocols();
  test_hostile_lists();
  test_accept_key();
  test_writers();
  test_injection();
  test_round_trip();
  test_answers();
  test_errors_have_texts();
  return check_done("handshake");
}

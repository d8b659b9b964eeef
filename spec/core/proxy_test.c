/* SPDX-License-Identifier: MIT */
/* The PROXY protocol: headers of both versions, whole, cut and wrong. */
#include "../../csrc/core/proxy.h"
#include "check.h"

#define LIT(s) (s), sizeof(s) - 1
#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define SOURCE6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define OTHER6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\2"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2\1"
#define PORTS "\xdc\x04\x01\xbb" /* 56324 443 */
#define IPV4 "\xc0\0\2\1\xc6\x33\x64\2" PORTS
#define X27 "xxxxxxxxxxxxxxxxxxxxxxxxxxx"

typedef struct row {
  const char *bytes;
  size_t n;
  int family; /* -1: no header begins so */
  const char *address;
  int port, secure;
} row;

static const row rows[] = {
    /* ---- version 1 ---- */
    {LIT("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"), DX_PROXY_IPV4,
     "\xc0\0\2\1", 56324, 0},
    {LIT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
     DX_PROXY_IPV4, "\xff\xff\xff\xff", 65535, 0},
    {LIT("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), DX_PROXY_IPV4, "\0\0\0\0", 0,
     0},
    {LIT("PROXY TCP6 2001:db8::1 2001:DB8::2 56324 443\r\n"), DX_PROXY_IPV6,
     SOURCE6, 56324, 0},
    {LIT("PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 1 1\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     DX_PROXY_IPV6,
     "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 65535,
     0},
    {LIT("PROXY TCP6 ::1 :: 1 2\r\n"), DX_PROXY_IPV6,
     "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 1, 0},
    {LIT("PROXY TCP6 1:2:3::7:8 1:: 1 2\r\n"), DX_PROXY_IPV6,
     "\0\1\0\2\0\3\0\0\0\0\0\0\0\7\0\10", 1, 0},
    {LIT("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"), DX_PROXY_IPV4,
     "\xc0\0\2\1", 1, 0},
    {LIT("PROXY TCP6 64:ff9b::192.0.2.1 1:2:3:4:5:6:1.2.3.4 1 2\r\n"),
     DX_PROXY_IPV6, "\0\x64\xff\x9b\0\0\0\0\0\0\0\0\xc0\0\2\1", 1, 0},
    {LIT("PROXY UNKNOWN\r\n"), DX_PROXY_NONE, 0, 0, 0},
    {LIT("PROXY UNKNOWN 1.2.3.4 anything\tgoes\r\n"), DX_PROXY_NONE, 0, 0, 0},
    {LIT("PROXY UNKNOWN " X27 X27 X27 "xxxxxxxxxx\r\n"), DX_PROXY_NONE, 0, 0,
     0}, /* 107 bytes */
    {LIT("PROXY UNKNOWN " X27 X27 X27 "xxxxxxxxxxx\r\n"), -1, 0, 0, 0},
    {LIT("PROXY UNKNOWN " X27 X27 X27 X27), -1, 0, 0, 0},
    {LIT("PROXY UNKNOWN\n"
         "\r\n"),
     -1, 0, 0, 0},
    {LIT("PROXY UNKNOWN\rx"), -1, 0, 0, 0},
    {LIT("PROXY UNKNOWNX\r\n"), -1, 0, 0, 0},
    {LIT("PROXY \r\n"), -1, 0, 0, 0},
    {LIT("PROXY\r\n"), -1, 0, 0, 0},
    {LIT("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 \r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4\t1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 4294967297 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3. 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 1.2.3.4 name 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP4 ::1 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 : ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 ::: ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1::2::3 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1:2:3:4:5:6:7: ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 :1:2:3:4:5:6:7 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1:2:3:4::5:6:7:8 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 12345:: ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 g:: ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1.2.3.4:: ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 1:1.2.3.4::2 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), -1, 0, 0, 0},
    {LIT("GET / HTTP/1.1\r\n"), -1, 0, 0, 0},
    {LIT("POST"), -1, 0, 0, 0},
    {LIT("\x16\x03\x01"), -1, 0, 0, 0},
    {LIT("\0"), -1, 0, 0, 0},
    /* ---- version 2 ---- */
    {LIT(SIGNATURE "\x21\x11\0\x0c" IPV4), DX_PROXY_IPV4, "\xc0\0\2\1", 56324,
     0},
    {LIT(SIGNATURE "\x21\x21\0\x24" SOURCE6 OTHER6 PORTS), DX_PROXY_IPV6,
     SOURCE6, 56324, 0},
    {LIT(SIGNATURE "\x21\x21\0\x24" MAPPED MAPPED PORTS), DX_PROXY_IPV4,
     "\xc0\0\2\1", 56324, 0},
    {LIT(SIGNATURE "\x20\0\0\0"), DX_PROXY_NONE, 0, 0, 0}, /* LOCAL */
    {LIT(SIGNATURE "\x20\x11\0\x0c" IPV4), DX_PROXY_NONE, 0, 0, 0},
    {LIT(SIGNATURE "\x20\xff\0\3abc"), DX_PROXY_NONE, 0, 0, 0},
    {LIT(SIGNATURE "\x21\0\0\0"), DX_PROXY_NONE, 0, 0, 0}, /* UNSPEC */
    {LIT(SIGNATURE "\x21\0\0\5abcde"), DX_PROXY_NONE, 0, 0, 0},
    {LIT(SIGNATURE "\x21\x12\0\x0c" IPV4), DX_PROXY_NONE, 0, 0, 0}, /* UDP */
    /* TLVs: skipped, but for TLS */
    {LIT(SIGNATURE "\x21\x11\0\x17" IPV4 "\4\0\0\x01\0\5h2abc"), DX_PROXY_IPV4,
     "\xc0\0\2\1", 56324, 0},
    {LIT(SIGNATURE "\x21\x11\0\x14" IPV4 "\x20\0\5\1\0\0\0\0"), DX_PROXY_IPV4,
     "\xc0\0\2\1", 56324, 1},
    {LIT(SIGNATURE "\x21\x11\0\x18" IPV4 "\4\0\1\0"
                   "\x20\0\5\7\0\0\0\0"),
     DX_PROXY_IPV4, "\xc0\0\2\1", 56324, 1},
    {LIT(SIGNATURE "\x21\x11\0\x14" IPV4 "\x20\0\5\6\0\0\0\0"), DX_PROXY_IPV4,
     "\xc0\0\2\1", 56324, 0},
    {LIT(SIGNATURE "\x21\x11\0\x0f" IPV4 "\x20\0\0"), DX_PROXY_IPV4,
     "\xc0\0\2\1", 56324, 0},
    {LIT(SIGNATURE "\x21\x11\0\x10" IPV4 "\x20\0\2\1"), DX_PROXY_IPV4,
     "\xc0\0\2\1", 56324, 0}, /* longer than what is there */
    {LIT(SIGNATURE "\x21\x11\0\x0e" IPV4 "\x20\0"), DX_PROXY_IPV4, "\xc0\0\2\1",
     56324, 0},
    {LIT(SIGNATURE "\x21\x11\0\x0b"), 0, 0, 0, 0}, /* needs its block first */
    {LIT(SIGNATURE "\x21\x11\0\x0b"
                   "abcdefghijk"),
     -1, 0, 0, 0},
    {LIT(SIGNATURE "\x21\x21\0\x0c" IPV4), -1, 0, 0, 0},
    {LIT(SIGNATURE "\x21\x31\0\x0c" IPV4), -1, 0, 0, 0},
    {LIT(SIGNATURE "\x21\x41\0\x0c" IPV4), -1, 0, 0, 0},
    {LIT(SIGNATURE "\x21\x13\0\x0c" IPV4), -1, 0, 0, 0},
    {LIT(SIGNATURE "\x22\x11\0\x0c" IPV4), -1, 0, 0, 0},
    {LIT(SIGNATURE "\x11\x11\0\x0c" IPV4), -1, 0, 0, 0},
    {LIT(SIGNATURE "\x31\x11\0\x0c" IPV4), -1, 0, 0, 0},
    {LIT(SIGNATURE "\x21\x11\x0f\xf1"), -1, 0, 0, 0}, /* 4097 bytes */
    {LIT(SIGNATURE "\x21\x11\xff\xff"), -1, 0, 0, 0},
    {LIT("\r\n\r\n\0\r\nQUIT\r"), -1, 0, 0, 0},
    {LIT("\r\nGET"), -1, 0, 0, 0},
};

/* From memory that ends where the input does. */
static int decode(dx_proxy *h, const char *bytes, size_t n) {
  uint8_t *p = guarded_end(n ? n : 1);
  memcpy(p + (n ? 0 : 1), bytes, n);
  int r = dx_proxy_decode(h, p + (n ? 0 : 1), n);
  guarded_free(p, n ? n : 1);
  return r;
}

static int check_row(const row *r) {
  dx_proxy h, untouched;
  memset(&h, 0x5a, sizeof h);
  untouched = h;
  int wrong = r->family < 0;
  int got = decode(&h, r->bytes, r->n);
  int whole = wrong ? -1 : (int)r->n;
  if (r->n == 16 && r->bytes[15] == 0x0b)
    whole = 0;
  int fine = CHECK_EQ_INT(got, whole);
  if (got <= 0) {
    fine &= CHECK_EQ_MEM(&h, sizeof h, &untouched, sizeof h);
  } else {
    size_t n = h.family == DX_PROXY_IPV4   ? 4
               : h.family == DX_PROXY_IPV6 ? 16
                                           : 0;
    fine &= CHECK_EQ_INT(h.family, r->family);
    fine &= CHECK_EQ_INT(h.port, r->port);
    fine &= CHECK_EQ_INT(h.secure, r->secure);
    fine &= CHECK_EQ_MEM(h.address, n, r->address, n);
  }
  /* Cut anywhere: more is needed, or it was wrong already; never more. */
  int last = 0;
  for (size_t n = 0; n < r->n; n++) {
    int part = decode(&h, r->bytes, n);
    fine &= CHECK(wrong ? part <= 0 && part <= last : part == 0);
    last = part;
  }
  /* What follows does not matter. */
  char longer[512];
  memcpy(longer, r->bytes, r->n);
  memset(longer + r->n, '\n', 300);
  if (whole)
    fine &= CHECK_EQ_INT(decode(&h, longer, r->n + 300), whole);
  return fine;
}

static void unix_sockets(void) {
  char bytes[16 + 216] = SIGNATURE "\x21\x31\0\xd8/run/client.sock";
  dx_proxy h;
  CHECK_EQ_INT(decode(&h, bytes, sizeof bytes), 232);
  CHECK_EQ_INT(h.family, DX_PROXY_UNIX);
  CHECK_EQ_INT(h.port, 0);
  for (size_t n = 0; n < sizeof bytes; n++)
    CHECK_EQ_INT(decode(&h, bytes, n), 0);
}

/* As large as may be. */
static void most(void) {
  static char bytes[DX_PROXY_MOST + 10] = SIGNATURE "\x21\x11\x0f\xf0" IPV4;
  dx_proxy h;
  CHECK_EQ_INT(decode(&h, bytes, DX_PROXY_MOST - 1), 0);
  CHECK_EQ_INT(decode(&h, bytes, DX_PROXY_MOST), DX_PROXY_MOST);
  CHECK_EQ_INT(decode(&h, bytes, sizeof bytes), DX_PROXY_MOST);
  CHECK_EQ_INT(h.family, DX_PROXY_IPV4);
}

/* Headers with bytes changed: nothing else than one of the three results. */
static void changed(void) {
  uint64_t seed = 1;
  for (int i = 0; i < 200000; i++) {
    const row *r = &rows[check_random(&seed) % (sizeof rows / sizeof *rows)];
    char bytes[256];
    memcpy(bytes, r->bytes, r->n);
    for (uint64_t k = check_random(&seed) % 4; k-- > 0;)
      bytes[check_random(&seed) % r->n] = (char)check_random(&seed);
    dx_proxy h = {0};
    int got = dx_proxy_decode(&h, (const uint8_t *)bytes, r->n);
    if (got < -1 || got > (int)r->n)
      CHECK(0);
  }
}

int main(void) {
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    if (!check_row(&rows[i]))
      fprintf(stderr, "  that was row %zu: %.*s\n", i, (int)rows[i].n,
              rows[i].bytes);
  unix_sockets();
  most();
  changed();
  return check_done("proxy");
}

/* SPDX-License-Identifier: MIT */
/* sha1_test.c - the vectors of RFC 3174, and the padding's edges. */
#include "../../csrc/core/sha1.h"
#include "check.h"

static void check_digest(const void *p, size_t n, const char *expected) {
  uint8_t out[20];
  char hex[41];
  dx_sha1(out, p, n);
  for (int i = 0; i < 20; i++)
    snprintf(hex + 2 * i, 3, "%02x", out[i]);
  CHECK_EQ_STR(hex, expected);
}

/* RFC 3174 7.3, each text repeated as often as it says there. */
static void test_rfc(void) {
  static const struct {
    const char *text;
    size_t times;
    const char *digest;
  } rows[] = {
      {"abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
       "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
      {"a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"},
      {"0123456701234567012345670123456701234567012345670123456701234567", 10,
       "dea356a2cddd90c7a7ecedc5ebb563934f460452"},
  };
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    size_t one = strlen(rows[row].text), n = one * rows[row].times;
    uint8_t *p = guarded_end(n);
    for (size_t i = 0; i < n; i += one)
      memcpy(p + i, rows[row].text, one);
    check_digest(p, n, rows[row].digest);
    guarded_free(p, n);
  }
}

/* Where the length still fits behind the text, and where it does not: 'a'
 * repeated, digests by sha1sum of GNU coreutils. */
static void test_padding(void) {
  static const struct {
    size_t n;
    const char *digest;
  } rows[] = {
      {0, "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
      {1, "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"},
      {54, "b05d71c64979cb95fa74a33cdb31a40d258ae02e"},
      {55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
      {56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
      {57, "f08f24908d682555111be7ff6f004e78283d989a"},
      {63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"},
      {64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
      {65, "11655326c708d70319be2610e8a57d9a5b959d3b"},
      {118, "d0572de8e494e0b7b8e50302003fc4ae0596ef4d"},
      {119, "ee971065aaa017e0632a8ca6c77bb3bf8b1dfc56"},
      {120, "f34c1488385346a55709ba056ddd08280dd4c6d6"},
      {121, "fa6b5a6f8ac27182f838fe7841ec6d2aef3ade29"},
      {127, "89d95fa32ed44a7c610b7ee38517ddf57e0bb975"},
      {128, "ad5b3fdbcb526778c2839d2f151ea753995e26a0"},
      {129, "d96debf1bdcbc896e6c134ea76e8141f40d78536"},
  };
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    uint8_t *p = guarded_end(rows[row].n);
    memset(p, 'a', rows[row].n);
    check_digest(p, rows[row].n, rows[row].digest);
    guarded_free(p, rows[row].n);
  }
  check_digest(NULL, 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
}

/* RFC 6455 1.3 gives the digest of its example in hex. */
static void test_accept(void) {
  static const char text[] =
      "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  check_digest(text, sizeof text - 1,
               "b37a4f2cc0624f1690f64606cf385945b2bec4ea");
}

int main(void) {
  test_rfc();
  test_padding();
  test_accept();
  return check_done("sha1");
}

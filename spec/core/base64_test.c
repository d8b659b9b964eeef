/* SPDX-License-Identifier: MIT */
/* base64_test.c - the vectors of RFC 4648 10, and what a strict decoder has to
 * refuse. */
#include "../../csrc/core/base64.h"
#include "../../csrc/core/sha1.h"
#include "check.h"

static void test_vectors(void) {
  static const struct {
    const char *plain, *text;
  } rows[] = {
      {"", ""},
      {"f", "Zg=="},
      {"fo", "Zm8="},
      {"foo", "Zm9v"},
      {"foob", "Zm9vYg=="},
      {"fooba", "Zm9vYmE="},
      {"foobar", "Zm9vYmFy"},
      {"the sample nonce", "dGhlIHNhbXBsZSBub25jZQ=="},
      {"\xfb\xff\xfe", "+//+"},
      {"\xff\xff", "//8="},
  };
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    size_t plain = strlen(rows[row].plain), text = strlen(rows[row].text);
    char *encoded = (char *)guarded_end(text);
    uint8_t *decoded = guarded_end(plain);
    CHECK_EQ_INT(DX_BASE64_SIZE(plain), text);
    CHECK_EQ_INT(dx_base64_encode(encoded, rows[row].plain, plain), text);
    CHECK_EQ_MEM(encoded, text, rows[row].text, text);
    CHECK_EQ_INT(dx_base64_decode(decoded, plain, encoded, text), plain);
    CHECK_EQ_MEM(decoded, plain, rows[row].plain, plain);
    if (plain)
      CHECK_EQ_INT(dx_base64_decode(decoded, plain - 1, encoded, text), -1);
    guarded_free(encoded, text);
    guarded_free(decoded, plain);
  }
}

/* All 64 characters in order, from the bytes that hold 0 to 63. */
static void test_alphabet(void) {
  static const char text[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static const uint8_t plain[48] = {
      0x00, 0x10, 0x83, 0x10, 0x51, 0x87, 0x20, 0x92, 0x8b, 0x30, 0xd3, 0x8f,
      0x41, 0x14, 0x93, 0x51, 0x55, 0x97, 0x61, 0x96, 0x9b, 0x71, 0xd7, 0x9f,
      0x82, 0x18, 0xa3, 0x92, 0x59, 0xa7, 0xa2, 0x9a, 0xab, 0xb2, 0xdb, 0xaf,
      0xc3, 0x1c, 0xb3, 0xd3, 0x5d, 0xb7, 0xe3, 0x9e, 0xbb, 0xf3, 0xdf, 0xbf};
  char encoded[64];
  uint8_t decoded[48];
  CHECK_EQ_INT(dx_base64_encode(encoded, plain, 48), 64);
  CHECK_EQ_MEM(encoded, 64, text, 64);
  CHECK_EQ_INT(dx_base64_decode(decoded, 48, text, 64), 48);
  CHECK_EQ_MEM(decoded, 48, plain, 48);
}

static void test_refused(void) {
  static const char *const rows[] = {
      "Z",        "Zg",       "Zg=",      "Zm9vY",        /* length */
      "====",     "Z===",     "=g==",     "Zg=v",         /* padding */
      "Zg==Zg==", "Zm8=Zm8=", "Zm9v====", "Zg===",        /* padding inside */
      "Zh==",     "Zv==",     "Zm9=",     "Zm+=",         /* trailing bits */
      "Zm 9",     "Zm9\n",    "Zm-_",     "Zm9v\r\nYg==", /* alphabet */
  };
  uint8_t out[32];
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++)
    CHECK_EQ_INT(dx_base64_decode(out, 32, rows[row], strlen(rows[row])), -1);
  CHECK_EQ_INT(dx_base64_decode(out, 32, "Zm\0v", 4), -1);
  CHECK_EQ_INT(dx_base64_decode(NULL, 0, NULL, 0), 0);

  /* Every byte outside the alphabet, at every place. */
  for (int c = 0; c < 256; c++)
    for (size_t at = 0; at < 8; at++) {
      char text[] = "Zm9vYmFy";
      int letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
      int known = letter || (c >= '0' && c <= '9') || c == '+' || c == '/';
      text[at] = (char)c;
      long size = c == '=' && at == 7 ? -1 : known ? 6 : -1;
      CHECK_EQ_INT(dx_base64_decode(out, 32, text, 8), size);
    }
}

/* Canonical: of the 64 second characters only four decode before "==", and of
 * the 64 third ones only sixteen before "=". */
static void test_trailing_bits(void) {
  static const char text[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  uint8_t out[2];
  for (int i = 0; i < 64; i++) {
    char one[5] = "ZA==", two[5] = "ZmA=";
    one[1] = two[2] = text[i];
    CHECK_EQ_INT(dx_base64_decode(out, 2, one, 4), i % 16 ? -1 : 1);
    CHECK_EQ_INT(dx_base64_decode(out, 2, two, 4), i % 4 ? -1 : 2);
  }
}

/* RFC 6455 1.3 */
static void test_accept(void) {
  static const char text[] =
      "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  uint8_t digest[20];
  char accept[DX_BASE64_SIZE(20)];
  dx_sha1(digest, text, sizeof text - 1);
  CHECK_EQ_INT(dx_base64_encode(accept, digest, 20), 28);
  CHECK_EQ_MEM(accept, 28, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28);
}

int main(void) {
  test_vectors();
  test_alphabet();
  test_refused();
  test_trailing_bits();
  test_accept();
  return check_done("base64");
}

/* SPDX-License-Identifier: MIT */
/* mask_test.c - RFC 6455 5.3: every kernel against the definition. */
#include "../../csrc/core/mask.h"
#include "check.h"

#define MAX_N 300
#define ALIGNS 64

static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};

/* The definition, written again here so that the library's own plain loop is
 * tested as well. */
static uint8_t naive(uint8_t *dst, const uint8_t *src, size_t n, size_t phase) {
  uint8_t top = 0;
  for (size_t i = 0; i < n; i++) {
    dst[i] = (uint8_t)(src[i] ^ key[(i + phase) % 4]);
    top |= dst[i] & 0x80;
  }
  return top;
}

/* RFC 6455 5.7: "Hello", as a masked frame carries it. */
static void test_example(dx_mask_fn *fn) {
  const uint8_t masked[5] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
  uint8_t out[5];
  CHECK_EQ_INT(fn(out, masked, 5, key, 0) & 0x80, 0);
  CHECK_EQ_MEM(out, 5, "Hello", 5);
  CHECK_EQ_INT(fn(out, (const uint8_t *)"Hello", 5, key, 0) & 0x80, 0x80);
  CHECK_EQ_MEM(out, 5, masked, 5);
  for (size_t i = 0; i < 5; i++)
    fn(out + i, masked + i, 1, key, i);
  CHECK_EQ_MEM(out, 5, "Hello", 5);
  fn(NULL, NULL, 0, key, 0);
}

/* 'dst' and 'src' touch faulting pages on one side each; then both on the
 * other; then one in place. */
static void test_lengths(dx_mask_fn *fn, const uint8_t *data) {
  uint8_t expected[MAX_N];
  uint8_t *a = guarded_end(MAX_N), *b = guarded_start(MAX_N);
  for (size_t n = 0; n <= MAX_N; n++)
    for (size_t phase = 0; phase < 4; phase++) {
      uint8_t top = naive(expected, data, n, phase);
      uint8_t *end = a + MAX_N - n;

      memcpy(end, data, n);
      CHECK_EQ_INT(fn(b, end, n, key, phase) & 0x80, top);
      CHECK_EQ_MEM(b, n, expected, n);
      CHECK_EQ_MEM(end, n, data, n);
      CHECK_EQ_INT(fn(end, end, n, key, phase) & 0x80, top);
      CHECK_EQ_MEM(end, n, expected, n);

      memcpy(b, data, n);
      CHECK_EQ_INT(fn(end, b, n, key, phase) & 0x80, top);
      CHECK_EQ_MEM(end, n, expected, n);
      CHECK_EQ_INT(fn(b, b, n, key, phase) & 0x80, top);
      CHECK_EQ_MEM(b, n, expected, n);
    }
  guarded_free(a, MAX_N);
  guarded_free(b, MAX_N);
}

/* In place, and into a buffer of another alignment; the bytes around the range
 * stay what they were. */
static void test_alignments(dx_mask_fn *fn, const uint8_t *data) {
  _Alignas(64) uint8_t buffer[MAX_N + 2 * ALIGNS], around[sizeof buffer];
  uint8_t expected[MAX_N];
  memset(around, 0x5a, sizeof around);
  for (size_t align = 0; align < ALIGNS; align++)
    for (size_t n = 0; n <= MAX_N; n++) {
      size_t phase = (align ^ n) & 3, after = align + n;
      uint8_t top = naive(expected, data, n, phase);
      uint8_t *p = buffer + align;

      memset(buffer, 0x5a, sizeof buffer);
      memcpy(p, data, n);
      CHECK_EQ_INT(fn(p, p, n, key, phase) & 0x80, top);
      CHECK_EQ_MEM(p, n, expected, n);
      CHECK_EQ_MEM(buffer, align, around, align);
      CHECK_EQ_MEM(p + n, sizeof buffer - after, around, sizeof buffer - after);

      memset(p, 0, n);
      CHECK_EQ_INT(fn(p, data, n, key, phase) & 0x80, top);
      CHECK_EQ_MEM(p, n, expected, n);
    }
}

/* The top bit is seen wherever the one byte is that is not ASCII, and no other
 * bit pattern passes for it. */
static void test_ascii(dx_mask_fn *fn) {
  uint8_t text[MAX_N], out[MAX_N];
  const size_t lengths[] = {1,  3,  4,  7,  8,   15,  16,
                            31, 33, 64, 65, 125, 200, 300};
  for (size_t row = 0; row < sizeof lengths / sizeof *lengths; row++) {
    size_t n = lengths[row];
    memset(text, 0x7f, n);
    naive(text, text, n, 0);
    CHECK_EQ_INT(fn(out, text, n, key, 0) & 0x80, 0);
    for (size_t i = 0; i < n; i++) {
      text[i] ^= 0x80;
      CHECK_EQ_INT(fn(out, text, n, key, 0) & 0x80, 0x80);
      text[i] ^= 0x80;
    }
  }
}

/* Cut anywhere, the pieces give what the whole gives; a phase may wrap. */
static void test_cuts(dx_mask_fn *fn, const uint8_t *data) {
  uint8_t expected[MAX_N], out[MAX_N];
  for (size_t cut = 0; cut <= MAX_N; cut++) {
    size_t start = (size_t)0 - 4;
    naive(expected, data, MAX_N, 0);
    fn(out, data, cut, key, start);
    fn(out + cut, data + cut, MAX_N - cut, key, start + cut);
    CHECK_EQ_MEM(out, MAX_N, expected, MAX_N);
  }
}

static void test_long(dx_mask_fn *fn) {
  size_t n = 100003;
  uint8_t *p = guarded_end(n), *expected = guarded_end(n);
  for (size_t i = 0; i < n; i++)
    p[i] = (uint8_t)(i * i >> 3);
  uint8_t top = naive(expected, p, n, 1);
  CHECK_EQ_INT(fn(p, p, n, key, 1) & 0x80, top);
  CHECK_EQ_MEM(p, n, expected, n);
  guarded_free(p, n);
  guarded_free(expected, n);
}

static void test_all(dx_mask_fn *fn) {
  uint8_t data[MAX_N];
  uint64_t seed = 1;
  for (size_t i = 0; i < MAX_N; i++)
    data[i] = (uint8_t)check_random(&seed);
  test_example(fn);
  test_lengths(fn, data);
  test_alignments(fn, data);
  test_ascii(fn);
  test_cuts(fn, data);
  test_long(fn);
}

int main(void) {
  size_t rows = 0;
  for (const dx_mask_kernel *k = dx_mask_kernels; k->name; k++, rows++) {
    unsigned long before = check_failed;
    if (k->supported())
      test_all(k->fn);
    if (check_failed != before)
      fprintf(stderr, "the above: kernel %s\n", k->name);
  }
  CHECK(rows >= 2);
  CHECK_EQ_STR(dx_mask_kernels[0].name, "bytes");
  CHECK(dx_mask_kernels[0].supported());
  test_all(dx_mask);
  return check_done("mask");
}

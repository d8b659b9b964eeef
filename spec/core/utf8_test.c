/* SPDX-License-Identifier: MIT */
/* utf8_test.c - RFC 3629: every kernel against the definition. */
#include "../../csrc/core/utf8.h"
#include "check.h"

#define MAX_N 300

/* Whether some character begins with these 'n' bytes, n > 0: the code points
 * that they leave possible are decoded as a range, by RFC 3629 3, and one of
 * them has to be a scalar value which needs that many bytes. */
static int viable(const uint8_t *p, size_t n, size_t *size) {
  static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
  uint32_t low, high;
  if (p[0] < 0x80)
    *size = 1, low = p[0];
  else if (p[0] >> 5 == 6)
    *size = 2, low = p[0] & 31;
  else if (p[0] >> 4 == 14)
    *size = 3, low = p[0] & 15;
  else if (p[0] >> 3 == 30)
    *size = 4, low = p[0] & 7;
  else
    return 0;
  high = low;
  for (size_t i = 1; i < *size; i++) {
    if (i < n && p[i] >> 6 != 2)
      return 0;
    low = low << 6 | (i < n ? p[i] & 63 : 0);
    high = high << 6 | (i < n ? p[i] & 63 : 63);
  }
  if (low < least[*size])
    low = least[*size];
  if (high > 0x10FFFF)
    high = 0x10FFFF;
  return low <= high && !(low >= 0xD800 && high <= 0xDFFF);
}

/* The number of bytes before the first impossible one; 'n' if there is none,
 * and then '*complete' says whether the text may end there. */
static size_t naive(const uint8_t *p, size_t n, int *complete) {
  size_t start = 0, size = 0;
  for (size_t i = 0; i < n; i++) {
    if (!viable(p + start, i + 1 - start, &size))
      return i;
    if (i + 1 - start == size)
      start = i + 1;
  }
  *complete = start == n;
  return n;
}

/* Feed the text cut in three; 'bad' is the offset of its first impossible byte,
 * or n.  The piece which holds that byte has to fail, and no earlier one. */
static void check_pieces(dx_utf8_fn *fn, const uint8_t *p, size_t n, size_t i,
                         size_t j, size_t bad, int complete) {
  dx_utf8 u = {0};
  CHECK_EQ_INT(fn(&u, p, i), bad >= i);
  CHECK_EQ_INT(fn(&u, p + i, j - i), bad >= j);
  CHECK_EQ_INT(fn(&u, p + j, n - j), bad >= n);
  CHECK_EQ_INT(dx_utf8_complete(&u), bad == n && complete);
  CHECK_EQ_INT(fn(&u, p, 0), bad == n);
}

/* Fed whole, and then, when it came out well, ended. */
static int valid(dx_utf8_fn *fn, const uint8_t *p, size_t n) {
  dx_utf8 u = {0};
  return fn(&u, p, n) && dx_utf8_complete(&u);
}

/* The kernels which run here, and the function that chooses among them. */
static dx_utf8_fn *kernels[16];
static size_t kernel_count;

/* One sequence, bare and inside ASCII long enough that vectors see it, at an
 * offset where it straddles two blocks. */
static void check_sequence(const uint8_t *p, size_t n) {
  uint8_t text[48];
  int complete = 0, good = naive(p, n, &complete) == n && complete;
  memset(text, 'a', sizeof text);
  memcpy(text + 18, p, n);
  for (size_t k = 0; k < kernel_count; k++) {
    int bare = valid(kernels[k], p, n);
    int inside = valid(kernels[k], text, sizeof text);
    if (bare == good && inside == good)
      continue; /* seventeen million checks are not worth counting */
    CHECK_EQ_INT(bare, good);
    CHECK_EQ_MEM(text, inside == good ? sizeof text : 0, text, sizeof text);
  }
}

/* Bytes at and just beside every boundary that the grammar has. */
static const uint8_t edges[] = {0x00, 0x7f, 0x80, 0x8f, 0x90,
                                0x9f, 0xa0, 0xbf, 0xc0, 0xff};

/* Every sequence of one, two and three bytes, and every second byte behind the
 * leads that may ask for four, with edges behind. */
static void test_sequences(void) {
  for (uint32_t s = 0; s < 1 << 24; s++) {
    uint8_t p[4] = {(uint8_t)(s >> 16), (uint8_t)(s >> 8), (uint8_t)s, 0};
    check_sequence(p, 3);
    if (p[2] == 0)
      check_sequence(p, 2);
    if (p[1] == 0 && p[2] == 0)
      check_sequence(p, 1);
    if (p[2] != 0 || p[0] < 0xEF)
      continue;
    for (size_t i = 0; i < sizeof edges * sizeof edges; i++) {
      p[2] = edges[i / sizeof edges], p[3] = edges[i % sizeof edges];
      check_sequence(p, 4);
    }
  }
}

/* Texts with the offset of the first impossible byte, or -1, and whether a text
 * without one may end there. */
static const struct {
  const char *text;
  int bad, complete;
} texts[] = {
    {"", -1, 1},
    {"plain", -1, 1},
    {"\x7f", -1, 1},
    {"\xc2\x80\xdf\xbf", -1, 1},
    {"\xe0\xa0\x80\xef\xbf\xbf", -1, 1},
    {"\xed\x9f\xbf\xee\x80\x80", -1, 1},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", -1, 1},
    {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5", -1, 1},
    {"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", -1, 1},
    {"\xc2", -1, 0},
    {"\xe0", -1, 0},
    {"\xe1\x80", -1, 0},
    {"\xed\x9f", -1, 0},
    {"\xf0\x90", -1, 0},
    {"\xf1\x80\x80", -1, 0},
    {"\xf4\x8f\xbf", -1, 0},
    {"\x80", 0, 0},
    {"\xbf\x41", 0, 0},
    {"\xc0\x80", 0, 0},
    {"\xc1\xbf", 0, 0},
    {"\xf5\x80\x80\x80", 0, 0},
    {"\xf8\x88\x80\x80\x80", 0, 0},
    {"\xfe", 0, 0},
    {"\xff", 0, 0},
    {"\xc2\x41", 1, 0},
    {"\xc2\xc2\x80", 1, 0},
    {"\xe0\x80\x80", 1, 0},
    {"\xe0\x9f\xbf", 1, 0},
    {"\xed\xa0\x80", 1, 0},
    {"\xed\xbf\xbf", 1, 0},
    {"\xf0\x80\x80\x80", 1, 0},
    {"\xf0\x8f\xbf\xbf", 1, 0},
    {"\xf4\x90\x80\x80", 1, 0},
    {"\xe1\x80\x41", 2, 0},
    {"\xe1\x80\xe1\x80\x80", 2, 0},
    {"\xc2\x80\x80", 2, 0},
    {"\xf1\x80\x41", 2, 0},
    {"\xf1\x80\x80\xc0", 3, 0},
    {"\xe2\x82\xac\x80", 3, 0},
    {"\xf0\x9f\x98\x80\x80", 4, 0},
    {"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80zz", 12, 0},
};

/* RFC 6455 8.1: an endpoint fails as soon as the text cannot be valid.  Every
 * text at every cut in three; then behind 1 to 80 other bytes at every cut. */
static void test_fail_fast(dx_utf8_fn *fn) {
  for (size_t row = 0; row < sizeof texts / sizeof *texts; row++) {
    const uint8_t *p = (const uint8_t *)texts[row].text;
    size_t n = strlen(texts[row].text);
    size_t bad = texts[row].bad < 0 ? n : (size_t)texts[row].bad;
    for (size_t i = 0; i <= n; i++)
      for (size_t j = i; j <= n; j++)
        check_pieces(fn, p, n, i, j, bad, texts[row].complete);

    for (size_t before = 1; before <= 80; before++) {
      uint8_t text[128];
      size_t all = before + n;
      memset(text, 'a', before);
      if (before % 2 && before > 4) /* so that it is not only ASCII */
        memcpy(text, "\xf0\x9f\x98\x80", 4);
      memcpy(text + before, p, n);
      for (size_t i = 0; i <= all; i++)
        check_pieces(fn, text, all, i, all, before + bad, texts[row].complete);
    }
  }
}

/* The same texts with ASCII behind, so that the fault, or the character which
 * it leaves open, is well inside: also just before blocks that are skipped. */
static void test_inside(dx_utf8_fn *fn) {
  static const size_t behind[] = {1,  2,  7,  15, 16,  17,
                                  31, 32, 33, 64, 129, 160};
  for (size_t row = 0; row < sizeof texts / sizeof *texts; row++)
    for (size_t before = 0; before <= 140; before++)
      for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        uint8_t text[400];
        size_t n = strlen(texts[row].text), all = before + n + behind[i];
        dx_utf8 u = {0};
        memset(text, 'a', sizeof text);
        memcpy(text + before, texts[row].text, n);
        CHECK_EQ_INT(fn(&u, text, all), texts[row].complete);
        CHECK_EQ_INT(dx_utf8_complete(&u), texts[row].complete);
      }
}

/* Write random characters, of all lengths and with runs of ASCII, until less
 * than four bytes are left.  Returns the length. */
static size_t random_text(uint8_t *p, size_t max, uint64_t *seed) {
  static const char *const characters[] = {"\xc2\x80",
                                           "\xdf\xbf",
                                           "\xc3\xa9",
                                           "\xe0\xa0\x80",
                                           "\xed\x9f\xbf",
                                           "\xe2\x82\xac",
                                           "\xef\xbf\xbf",
                                           "\xf0\x90\x80\x80",
                                           "\xf4\x8f\xbf\xbf",
                                           "\xf0\x9f\x98\x80",
                                           "a",
                                           "\x7f"};
  size_t n = 0;
  while (n + 4 <= max) {
    uint64_t dice = check_random(seed);
    const char *c = characters[dice % 12];
    memcpy(p + n, c, strlen(c));
    n += strlen(c);
    size_t run = dice >> 32 & 15 ? 0 : dice >> 40 & 63;
    for (; run && n + 4 <= max; run--)
      p[n++] = 'x';
  }
  return n;
}

/* Long valid texts, whole and with one byte replaced, at every offset. */
static void test_corruption(dx_utf8_fn *fn) {
  uint8_t text[600];
  uint64_t seed = 7;
  for (int round = 0; round < 8; round++) {
    size_t n = random_text(text, sizeof text, &seed);
    CHECK(valid(fn, text, n));
    for (size_t i = 0; i < n; i++) {
      uint64_t dice = check_random(&seed);
      uint8_t kept = text[i];
      int complete = 0;
      text[i] = (uint8_t)dice;
      size_t bad = naive(text, n, &complete), cut = (dice >> 8) % (n + 1);
      size_t second = cut + (dice >> 32) % (n + 1 - cut);
      CHECK_EQ_INT(valid(fn, text, n), bad == n && complete);
      check_pieces(fn, text, n, cut, second, bad, complete);
      text[i] = kept;
    }
  }
}

/* All lengths and alignments, at the end and the start of readable memory; most
 * lengths cut a character. */
static void test_bounds(dx_utf8_fn *fn) {
  uint8_t text[MAX_N + 4];
  uint64_t seed = 3;
  random_text(text, sizeof text, &seed);
  uint8_t *a = guarded_end(MAX_N), *b = guarded_start(MAX_N);
  for (size_t n = 0; n <= MAX_N; n++)
    for (size_t cut = n < 40 ? 0 : n - 40; cut <= n; cut++) {
      int complete = 0;
      size_t bad = naive(text, n, &complete);
      uint8_t *end = a + MAX_N - n;
      memcpy(end, text, n);
      memcpy(b, text, n);
      CHECK_EQ_INT(bad, n);
      check_pieces(fn, end, n, cut, n, n, complete);
      check_pieces(fn, b, n, n - cut, n, n, complete);
    }
  guarded_free(a, MAX_N);
  guarded_free(b, MAX_N);
}

static void test_cut(void) {
  static const struct {
    const char *text;
    size_t max, cut;
  } rows[] = {
      {"", 0, 0},
      {"", 5, 0},
      {"abc", 0, 0},
      {"abc", 2, 2},
      {"abc", 3, 3},
      {"abc", (size_t)-1, 3},
      {"a\xc3\xa9z", 1, 1},
      {"a\xc3\xa9z", 2, 1},
      {"a\xc3\xa9z", 3, 3},
      {"\xe2\x82\xac", 1, 0},
      {"\xe2\x82\xac", 2, 0},
      {"\xe2\x82\xac", 3, 3},
      {"x\xf0\x9f\x98\x80y", 4, 1},
      {"x\xf0\x9f\x98\x80y", 5, 5},
      {"x\xf0\x9f\x98\x80y", 6, 6},
      {"\x80\x80\x80", 2, 0}, /* not valid: in bounds is enough */
  };
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    size_t n = strlen(rows[row].text);
    uint8_t *p = guarded_end(n);
    memcpy(p, rows[row].text, n);
    CHECK_EQ_INT(dx_utf8_cut(p, n, rows[row].max), rows[row].cut);
    guarded_free(p, n);
  }
}

static void test_valid(void) {
  for (size_t row = 0; row < sizeof texts / sizeof *texts; row++) {
    const uint8_t *p = (const uint8_t *)texts[row].text;
    CHECK_EQ_INT(dx_utf8_valid(p, strlen(texts[row].text)),
                 texts[row].complete);
  }
  CHECK(dx_utf8_valid(NULL, 0));
}

static void test_all(dx_utf8_fn *fn, const char *name) {
  unsigned long before = check_failed;
  kernels[kernel_count++] = fn;
  test_fail_fast(fn);
  test_inside(fn);
  test_corruption(fn);
  test_bounds(fn);
  if (check_failed != before)
    fprintf(stderr, "the above: kernel %s\n", name);
}

int main(void) {
  CHECK_EQ_STR(dx_utf8_kernels[0].name, "bytes");
  for (const dx_utf8_kernel *k = dx_utf8_kernels; k->name; k++)
    if (k->supported())
      test_all(k->fn, k->name);
  test_all(dx_utf8_feed, "chosen");
  test_sequences();
  test_cut();
  test_valid();
  return check_done("utf8");
}

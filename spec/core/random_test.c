/* SPDX-License-Identifier: MIT */
/* random_test.c - keys differ, also across fork, and have no absurd bias. */
#include "../../csrc/core/random.h"
#include "check.h"

#include <sys/wait.h>

#define KEYS 1000000

/* Each of the 32 bits is set in half of the keys, give or take 8 standard
 * deviations (500 each), and each byte value comes as often as any other, give
 * or take 8 (62 each): a fair source fails once in 10^12 runs. */
static void test_bias(dx_random *r) {
  static uint32_t bits[32], values[4][256];
  for (int i = 0; i < KEYS; i++) {
    uint8_t key[4];
    if (!CHECK_EQ_INT(dx_random_key(r, key), 0))
      return;
    for (int b = 0; b < 32; b++)
      bits[b] += key[b / 8] >> b % 8 & 1;
    for (int b = 0; b < 4; b++)
      values[b][key[b]]++;
  }
  for (int b = 0; b < 32; b++)
    CHECK(bits[b] > KEYS / 2 - 4000 && bits[b] < KEYS / 2 + 4000);
  for (int b = 0; b < 4; b++)
    for (int v = 0; v < 256; v++)
      CHECK(values[b][v] > KEYS / 256 - 500 && values[b][v] < KEYS / 256 + 500);
}

static int all_zero(const uint8_t *p, size_t n) {
  uint8_t seen = 0;
  for (size_t i = 0; i < n; i++)
    seen |= p[i];
  return !seen;
}

/* Sizes around the pool's: exactly those bytes are written, and two draws of 16
 * bytes or more never agree. */
static void test_sizes(dx_random *r) {
  /* clang-format off */
  static const size_t sizes[] = {
      0, 1, 3, 4, 5, 16, 100, DX_RANDOM_POOL - 1, DX_RANDOM_POOL,
      DX_RANDOM_POOL + 1, 3 * DX_RANDOM_POOL};
  /* clang-format on */
  for (size_t row = 0; row < sizeof sizes / sizeof *sizes; row++) {
    size_t n = sizes[row];
    uint8_t *a = guarded_end(n), *b = guarded_start(n);
    CHECK_EQ_INT(dx_random_bytes(r, a, n), 0);
    CHECK_EQ_INT(dx_random_bytes(r, b, n), 0);
    if (n >= 16) {
      CHECK(memcmp(a, b, n) != 0);
      CHECK(!all_zero(a, 16) && !all_zero(a + n - 16, 16));
    }
    guarded_free(a, n);
    guarded_free(b, n);
  }
}

/* What was handed out is no longer in the pool. */
static void test_wiped(dx_random *r) {
  uint8_t out[64];
  for (int i = 0; i < 1000; i++) {
    CHECK_EQ_INT(i & 1 ? dx_random_key(r, out) : dx_random_bytes(r, out, 33),
                 0);
    CHECK(r->left <= sizeof r->pool);
    CHECK(all_zero(r->pool + r->left, sizeof r->pool - r->left));
  }
}

/* The first 64 bytes that a forked child draws, as keys. */
static void child_bytes(dx_random *r, uint8_t out[64]) {
  int ends[2];
  if (pipe(ends)) {
    perror("pipe");
    abort();
  }
  pid_t child = fork();
  if (child == 0) {
    uint8_t mine[64];
    int bad = 0;
    for (int i = 0; i < 64; i += 4)
      bad |= dx_random_key(r, mine + i);
    bad |= write(ends[1], mine, 64) != 64;
    _exit(bad != 0);
  }
  int status = -1;
  CHECK(child > 0);
  CHECK_EQ_INT(read(ends[0], out, 64), 64);
  CHECK_EQ_INT(waitpid(child, &status, 0), child);
  CHECK_EQ_INT(status, 0);
  close(ends[0]);
  close(ends[1]);
}

/* Two children and the parent, which all inherit the same filled pool, draw
 * different bytes. */
static void test_fork(dx_random *r) {
  uint8_t mine[64], first[64], second[64];
  CHECK_EQ_INT(dx_random_bytes(r, mine, 4), 0);
  child_bytes(r, first);
  child_bytes(r, second);
  for (int i = 0; i < 64; i += 4)
    CHECK_EQ_INT(dx_random_key(r, mine + i), 0);
  for (int i = 0; i < 64; i += 16) {
    CHECK(memcmp(mine + i, first + i, 16) != 0);
    CHECK(memcmp(mine + i, second + i, 16) != 0);
    CHECK(memcmp(first + i, second + i, 16) != 0);
  }
}

/* The same where the kernel cannot wipe, which falls back on comparing process
 * ids: a pool that does not begin a page cannot be advised to be wiped. */
static void test_fork_unwiped(void) {
  uint8_t key[4], *memory = guarded_start(2 * sizeof(dx_random));
  dx_random *copy = (dx_random *)(void *)(memory + 8);
  CHECK_EQ_INT(dx_random_bytes(copy, key, 4), 0);
  CHECK_EQ_INT(copy->wiped, 0);
  CHECK_EQ_INT(copy->left, DX_RANDOM_POOL - 4);
  test_fork(copy);
  CHECK_EQ_INT(copy->wiped, 0);
  guarded_free(memory, 2 * sizeof(dx_random));
}

int main(void) {
  dx_random *r = dx_random_new();
  if (!CHECK(r != NULL))
    return check_done("random");
  CHECK_EQ_INT(sizeof *r, 4096);
  test_sizes(r);
  test_wiped(r);
  test_bias(r);
  test_fork(r);
  test_fork_unwiped();
  dx_random_free(r);
  dx_random_free(NULL);
  return check_done("random");
}

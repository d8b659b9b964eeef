/* SPDX-License-Identifier: MIT */
/* check.h - what the C specs need: checks which count, guarded memory, dice.
 *
 * A spec includes it in its one file, checks, and ends main with
 * 'return check_done("name");'.  A failed check prints file, line and values
 * and the spec goes on; every CHECK is an expression whose value is whether it
 * held, so that 'if (!CHECK(p)) return;' stops early where going on makes no
 * sense.  Arguments are evaluated once.  The counters are per spec and not
 * safe between threads. */
#ifndef DX_SPEC_CHECK_H
#define DX_SPEC_CHECK_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK_MAX_PRINTED 20 /* a broken kernel fails a million times */

static unsigned long check_total, check_failed;

/* Count one check.  Returns whether its failure still has to be printed. */
static inline int check_count(int ok, const char *file, int line) {
  check_total++;
  if (ok)
    return 0;
  if (++check_failed > CHECK_MAX_PRINTED)
    return 0;
  fprintf(stderr, "%s:%d: ", file, line);
  return 1;
}

static inline int check_true(int ok, const char *text, const char *file,
                             int line) {
  if (check_count(ok, file, line))
    fprintf(stderr, "not true: %s\n", text);
  return ok;
}

static inline int check_eq_int(long long a, long long b, const char *text,
                               const char *file, int line) {
  if (check_count(a == b, file, line))
    fprintf(stderr, "%s: %lld, expected %lld\n", text, a, b);
  return a == b;
}

/* Print at most 32 bytes from 'from' on, in hex. */
static inline void check_hex(const char *label, const uint8_t *p, size_t n,
                             size_t from) {
  size_t end = n - from > 32 ? from + 32 : n;
  fprintf(stderr, "  %s [%zu bytes], from %zu:", label, n, from);
  for (size_t i = from; i < end; i++)
    fprintf(stderr, " %02x", p[i]);
  fprintf(stderr, "%s\n", end < n ? " ..." : "");
}

static inline int check_eq_mem(const void *a, size_t an, const void *b,
                               size_t bn, const char *text, const char *file,
                               int line) {
  const uint8_t *p = a, *q = b;
  size_t i = 0, n = an < bn ? an : bn;
  while (i < n && p[i] == q[i])
    i++;
  int ok = i == an && i == bn;
  if (check_count(ok, file, line)) {
    size_t from = i > 8 ? i - 8 : 0;
    fprintf(stderr, "%s: differs at byte %zu\n", text, i);
    check_hex("got     ", p, an, from);
    check_hex("expected", q, bn, from);
  }
  return ok;
}

#define CHECK(cond) check_true(!!(cond), #cond, __FILE__, __LINE__)

/* The value under test comes first, the expected one second. */
#define CHECK_EQ_INT(a, b)                                                     \
  check_eq_int((long long)(a), (long long)(b), #a, __FILE__, __LINE__)
#define CHECK_EQ_MEM(a, an, b, bn)                                             \
  check_eq_mem(a, an, b, bn, #a, __FILE__, __LINE__)

/* The same for NUL-terminated text; neither may be NULL. */
#define CHECK_EQ_STR(a, b) check_eq_str(a, b, #a, __FILE__, __LINE__)
static inline int check_eq_str(const char *a, const char *b, const char *text,
                               const char *file, int line) {
  return check_eq_mem(a, strlen(a), b, strlen(b), text, file, line);
}

/* Print the outcome.  Returns the exit status for main: 0 when all held; a
 * spec that checked nothing fails, because it cannot have been meant. */
static inline int check_done(const char *name) {
  if (check_failed)
    fprintf(stderr, "%s: %lu of %lu checks FAILED\n", name, check_failed,
            check_total);
  else
    printf("%s: %lu checks\n", name, check_total);
  return check_failed || !check_total;
}

/* Map 'n' bytes, rounded up to pages, between two pages that fault on any
 * access, and return the first of the inner pages. */
static inline uint8_t *check_map(size_t n, size_t *rounded) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  *rounded = (n + page - 1) / page * page;
  uint8_t *base = mmap(NULL, *rounded + 2 * page, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED ||
      (n && mprotect(base + page, *rounded, PROT_READ | PROT_WRITE))) {
    perror("check.h: mmap");
    abort();
  }
  return base + page;
}

/* 'n' zero bytes which end exactly where a page begins that faults on any
 * access: reading one byte too far crashes.  Give them back with
 * guarded_free(p, n); a few that live until the end may be left. */
static inline uint8_t *guarded_end(size_t n) {
  size_t rounded;
  uint8_t *p = check_map(n, &rounded);
  return p + (rounded - n);
}

/* The same, but the faulting page lies exactly before the first byte. */
static inline uint8_t *guarded_start(size_t n) {
  size_t rounded;
  return check_map(n, &rounded);
}

/* Unmap what guarded_end(n) or guarded_start(n) returned, with the same n. */
static inline void guarded_free(void *p, size_t n) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t inside = (uintptr_t)p % page;
  munmap((uint8_t *)p - inside - page, (n + page - 1) / page * page + 2 * page);
}

/* Reproducible dice (splitmix64): the next 64 bits; '*seed' may start as any
 * number. */
static inline uint64_t check_random(uint64_t *seed) {
  uint64_t z = *seed += 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

#endif

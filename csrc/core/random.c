/* SPDX-License-Identifier: MIT */
/* random.c - the entropy pool, and the systems' sources. */
#include "random.h"

#include <sys/mman.h>
#include <unistd.h>

#if defined(__linux__)
#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>

static int device_bytes(uint8_t *out, size_t n) {
  int fd;
  do
    fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd < 0)
    return -1;
  while (n) {
    ssize_t got = read(fd, out, n);
    if (got <= 0 && !(got < 0 && errno == EINTR))
      break;
    if (got > 0)
      out += got, n -= (size_t)got;
  }
  close(fd);
  return n ? -1 : 0;
}

/* An old kernel (ENOSYS) or a sandbox (EPERM) may lack getrandom, but have the
 * device. */
static int system_bytes(uint8_t *out, size_t n) {
  while (n) {
    ssize_t got = getrandom(out, n, 0);
    if (got < 0 && errno != EINTR)
      return device_bytes(out, n);
    if (got > 0)
      out += got, n -= (size_t)got;
  }
  return 0;
}
#else
#include <stdlib.h>

/* The BSDs and macOS: it cannot fail. */
static int system_bytes(uint8_t *out, size_t n) {
  arc4random_buf(out, n);
  return 0;
}
#endif

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/* Ask that a child see zeros.  Some emulators of Linux say yes to any advice;
 * one that takes an impossible advice is not believed. */
static uint32_t wipe_on_fork(dx_random *r) {
#ifdef MADV_WIPEONFORK
  return madvise(r, sizeof *r, -1) != 0 &&
         madvise(r, sizeof *r, MADV_WIPEONFORK) == 0;
#else
  (void)r;
  return 0;
#endif
}

dx_random *dx_random_new(void) {
  dx_random *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (r == MAP_FAILED)
    return NULL;
#ifdef MADV_DONTDUMP
  /* Keys to come have no business in a core file; it is only a hope. */
  (void)madvise(r, sizeof *r, MADV_DONTDUMP);
#endif
  return r;
}

void dx_random_free(dx_random *r) {
  if (r)
    munmap(r, sizeof *r);
}

/* A child arrives here with 'wiped' zeroed, so it is asked for anew. */
static int refill(dx_random *r) {
  r->left = 0;
  r->wiped = wipe_on_fork(r);
  r->owner = getpid();
  if (system_bytes(r->pool, sizeof r->pool) != 0)
    return -1;
  r->left = sizeof r->pool;
  return 0;
}

int dx_random_bytes(dx_random *r, void *out, size_t n) {
  uint8_t *o = out;
  if (n > sizeof r->pool)
    return system_bytes(o, n);
  if (!r->wiped && r->owner != getpid())
    r->left = 0;
  while (n) {
    if (r->left == 0 && refill(r) != 0)
      return -1;
    uint32_t part = n < r->left ? (uint32_t)n : r->left;
    r->left -= part;
    memcpy(o, r->pool + r->left, part);
    memset(r->pool + r->left, 0, part);
    o += part, n -= part;
  }
  return 0;
}

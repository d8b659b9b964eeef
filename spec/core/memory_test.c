/* SPDX-License-Identifier: MIT */
/* Messages that are sent while memory runs out: what was accepted arrives, what
 * was refused does not, and nothing else ever does. */
#include "../../csrc/core/conn.h"
#include "check.h"

#include <dlfcn.h>
#include <stdlib.h>

/* Allocations are counted down from 'allowed', and the one at 0 is refused. */
static int allowed = -1, refused;

static int refuse(void) {
  if (allowed == 0)
    refused = 1;
  return allowed >= 0 && allowed-- == 0;
}

/* As a compiler may make this of realloc(NULL, n). */
void *malloc(size_t n) {
  static void *(*real)(size_t);
  if (real == NULL)
    *(void **)&real = dlsym(RTLD_NEXT, "malloc");
  return refuse() ? NULL : real(n);
}

void *realloc(void *p, size_t n) {
  static void *(*real)(void *, size_t);
  if (real == NULL)
    *(void **)&real = dlsym(RTLD_NEXT, "realloc");
  return refuse() ? NULL : real(p, n);
}

#define MOST 64
static char sent[MOST][32]; /* beginnings of what is to arrive, in this order */
static size_t sizes[MOST];
static int count;

static void note(const char *data, size_t n) {
  memcpy(sent[count], data, sizeof sent[count]);
  sizes[count++] = n;
}

/* A message in three fragments, of 3 * n bytes, with a whole one in between. */
static void put_fragments(dx_conn *c, const char *data, size_t n, int how) {
  how |= DX_IN_FRAGMENTS;
  if (dx_conn_put(c, DX_TEXT, data, n, how))
    return;
  int also = !dx_conn_put(c, DX_FIN | DX_BINARY, data, n, 0);
  if (dx_conn_put(c, 0, data, n, how) || dx_conn_put(c, DX_FIN, data, n, how))
    return;
  note(data, 3 * n);
  if (also)
    note(data, n);
}

static void put(dx_conn *c, const char *data, size_t n, int shared) {
  dx_bytes *frame = NULL;
  dx_packed *packed = NULL;
  dx_message m = {.data = (const uint8_t *)data, .n = n, .opcode = DX_TEXT};
  if (shared) {
    m.frame = &frame;
    m.packed = &packed;
  }
  if (!dx_conn_put_message(c, &m))
    note(data, n);
  dx_bytes_leave(frame);
  dx_packed_clear(&packed);
}

static void arrive(dx_conn *from, dx_conn *to) {
  const uint8_t *p;
  size_t n = dx_conn_output(from, &p);
  uint8_t *copy = malloc(n + 1);
  if (n)
    memcpy(copy, p, n);
  dx_conn_lend(to, copy, n, 0);
  dx_event ev;
  int got = 0;
  while (dx_conn_next(to, &ev, 0) == DX_MESSAGE) {
    CHECK(got < count && ev.n == sizes[got]);
    CHECK(memcmp(ev.data, sent[got], sizeof sent[got]) == 0);
    got++;
  }
  CHECK(got == count && to->error == DX_OK);
  free(copy);
}

static void play(const dx_deflate_params *agreed, int nth) {
  static char text[12000];
  for (size_t i = 0; i < sizeof text; i++) /* compresses, but not to nothing */
    text[i] = (char)('a' + (i * i / 7 + i / 3) % 23);
  dx_totals totals = {0};
  dx_limits limits = {.max_message = 1 << 20,
                      .max_queue = 16,
                      .max_queue_bytes = 1 << 20,
                      .high_mark = 1 << 16,
                      .max_fragments = 100,
                      .totals = &totals};
  dx_shared shared = {.random = dx_random_new()};
  dx_conn server, client;
  dx_conn_init(&server, 1, &limits, &shared, 0);
  dx_conn_init(&client, 0, &limits, &shared, 0);
  CHECK(!dx_conn_compress(&server, agreed) &&
        !dx_conn_compress(&client, agreed));
  dx_conn_open(&server, 0);
  dx_conn_open(&client, 0);
  count = 0;
  allowed = nth;
  for (int i = 0; i < 3; i++) {
    put_fragments(&server, text + i, 3000, i == 1 ? DX_PLAIN : 0);
    put(&server, text + 100 * i, 9000, 0);
    put(&server, text + 200 * i, 9000, 1);
  }
  allowed = -1;
  if (server.state == DX_OPEN) /* else half a message could not be taken back */
    arrive(&server, &client);
  dx_conn_clear(&server);
  dx_conn_clear(&client);
  dx_codecs_clear(&shared.codecs);
  dx_random_free(shared.random);
  free(shared.spare.small);
  free(shared.spare.large);
}

int main(void) {
  for (int reset = 0; reset < 2; reset++) {
    dx_deflate_params agreed = {.server_bits = 12,
                                .client_bits = 12,
                                .level = 6,
                                .memory = 5,
                                .server_reset = (uint8_t)reset};
    int nth = 0;
    do {
      refused = 0;
      play(&agreed, nth++);
    } while (refused);
    CHECK(nth > 10); /* it was refused at all */
  }
  return check_done("memory");
}

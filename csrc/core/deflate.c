/* SPDX-License-Identifier: MIT
 *
 * A message is a run of DEFLATE blocks (RFC 1951) that ends as a "sync flush"
 * does, but for the last four bytes, which all of them have in common. */
#include "deflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#ifdef DX_LIBDEFLATE
#include <libdeflate.h>
#endif

static const uint8_t tail[4] = {0x00, 0x00, 0xff, 0xff}; /* RFC 7692 7.2.1 */

/* A compressor that connections share, by what it was made for. */
typedef struct dx_compressor {
  struct dx_compressor *next;
  z_stream *z;
  struct libdeflate_compressor *fast; /* or NULL */
  uint8_t bits, level, memory;
} dx_compressor;

/* ---- making and freeing ---- */

static z_stream *new_compressor(const dx_deflate *d) {
  z_stream *z = calloc(1, sizeof *z);
  if (z && deflateInit2(z, d->agreed.level, Z_DEFLATED, -(int)d->out_bits,
                        d->agreed.memory, Z_DEFAULT_STRATEGY) != Z_OK) {
    free(z);
    z = NULL;
  }
  return z;
}

static z_stream *new_inflater(int bits) {
  z_stream *z = calloc(1, sizeof *z);
  if (z && inflateInit2(z, -bits) != Z_OK) {
    free(z);
    z = NULL;
  }
  return z;
}

static void end_compressor(z_stream **z) {
  if (*z)
    deflateEnd(*z);
  free(*z);
  *z = NULL;
}

static void end_inflater(z_stream **z) {
  if (*z)
    inflateEnd(*z);
  free(*z);
  *z = NULL;
}

/* ---- libdeflate, where it is there ----
 *
 * It compresses whole messages in less time than zlib.  Its window is always 32
 * KiB: so it is good for messages that are no longer than what was agreed on.
 */

#ifdef DX_LIBDEFLATE
static void new_fast(dx_compressor *c) {
  c->fast = libdeflate_alloc_compressor(c->level);
}

static void end_fast(dx_compressor *c) {
  if (c->fast)
    libdeflate_free_compressor(c->fast);
}

static int is_fast(const dx_compressor *c, size_t n) {
  return c->fast && n <= (size_t)1 << c->bits;
}

/* It ends with a block that says it is the last one: RFC 7692 7.2.3.4. */
static dx_error put_fast(dx_compressor *c, dx_buffer *out, dx_spare *spare,
                         const void *data, size_t n) {
  if (n < 3)
    return DX_OK;
  uint8_t *p = dx_buffer_reserve(out, spare, n);
  if (p == NULL)
    return DX_ERR_NO_MEMORY;
  size_t size = libdeflate_deflate_compress(c->fast, data, n, p, n - 2);
  if (size == 0) {
    dx_buffer_clear(out, spare);
    return DX_OK;
  }
  p[size] = 0;
  dx_buffer_add(*out, size + 1);
  return DX_OK;
}
#else
static void new_fast(dx_compressor *c) { c->fast = NULL; }
static void end_fast(dx_compressor *c) { (void)c; }
static int is_fast(const dx_compressor *c, size_t n) {
  (void)c, (void)n;
  return 0;
}
static dx_error put_fast(dx_compressor *c, dx_buffer *out, dx_spare *spare,
                         const void *data, size_t n) {
  (void)c, (void)out, (void)spare, (void)data, (void)n;
  return DX_OK;
}
#endif

void dx_packed_clear(dx_packed **list) {
  dx_packed *p = *list;
  *list = NULL;
  while (p) {
    dx_packed *next = p->next;
    free(p);
    p = next;
  }
}

void dx_codecs_clear(dx_codecs *codecs) {
  dx_packed_clear(&codecs->passing);
  dx_compressor *c = codecs->compressors;
  while (c) {
    dx_compressor *next = c->next;
    end_compressor(&c->z);
    end_fast(c);
    free(c);
    c = next;
  }
  codecs->compressors = NULL;
  end_inflater(&codecs->inflater);
}

dx_deflate *dx_deflate_new(const dx_deflate_params *agreed, int server,
                           dx_codecs *codecs) {
  dx_deflate *d = malloc(sizeof *d);
  if (d == NULL)
    return NULL;
  *d = (dx_deflate){.agreed = *agreed, .codecs = codecs};
  d->out_bits = server ? agreed->server_bits : agreed->client_bits;
  d->in_bits = server ? agreed->client_bits : agreed->server_bits;
  d->out_reset = server ? agreed->server_reset : agreed->client_reset;
  d->in_reset = server ? agreed->client_reset : agreed->server_reset;
  /* Some peers end their inflater at a final block; and servers made with
   * uWebSockets take none at all (it sends them, though). */
  d->may_end = server && d->out_reset;
  return d;
}

void dx_deflate_rest(dx_deflate *d) {
  if (d->borrowed)
    d->in = NULL;
  d->borrowed = 0;
  end_inflater(&d->in);
  end_compressor(&d->out);
}

void dx_deflate_free(dx_deflate *d) {
  if (d)
    dx_deflate_rest(d);
  free(d);
}

/* ---- inflating ---- */

void dx_inflate_begin(dx_deflate *d) {
  d->inflated = 0;
  d->clear = 0;
  d->more = 0;
  d->ended = 0;
}

/* The inflater for a message that begins, or for the rest of it. */
static int need_inflater(dx_deflate *d, int whole) {
  if (d->in)
    return 1;
  if (d->in_reset && whole) {
    /* A window of 15 bits serves for all others. */
    if (d->codecs->inflater == NULL)
      d->codecs->inflater = new_inflater(DX_MAX_BITS);
    else
      inflateReset(d->codecs->inflater);
    d->in = d->codecs->inflater;
    d->borrowed = 1;
  } else {
    /* Compressors of zlib that were asked for 8 bits have used 9. */
    d->in = new_inflater(d->in_bits < 9 ? 9 : d->in_bits);
  }
  return d->in != NULL;
}

static void end_message(dx_deflate *d) {
  if (d->borrowed)
    d->in = NULL;
  else if (d->in_reset)
    end_inflater(&d->in);
  d->borrowed = 0;
}

static uInt as_uint(size_t n) { return n > UINT_MAX ? UINT_MAX : (uInt)n; }

/* One call of zlib: its result. */
static int step(z_stream *z, dx_span *f) {
  uInt in_n = as_uint(f->in_n), out_n = as_uint(f->out_n);
  z->next_in = (uint8_t *)(uintptr_t)f->in;
  z->avail_in = in_n;
  z->next_out = f->out;
  z->avail_out = out_n;
  int result = inflate(z, Z_SYNC_FLUSH);
  f->in += in_n - z->avail_in;
  f->in_n -= in_n - z->avail_in;
  f->out += out_n - z->avail_out;
  f->out_n -= out_n - z->avail_out;
  return result;
}

/* What every sender leaves out: it has to be an empty block, no data, and to
 * end where the next message can begin. */
static int take_tail(z_stream *z) {
  uint8_t none;
  dx_span f = {tail, sizeof tail, &none, 1};
  int result = step(z, &f);
  if (f.in_n || f.out_n != 1)
    return 0;
  if (result == Z_STREAM_END) { /* the empty block was the last one, 7.2.3.4 */
    inflateResetKeep(z);
    return 1;
  }
  return result == Z_OK && (z->data_type & 128) && !(z->data_type & 63);
}

int dx_inflate(dx_deflate *d, dx_span *f, int last, int whole) {
  if (!need_inflater(d, whole))
    return -DX_ERR_NO_MEMORY;
  do {
    if (f->in_n)
      d->ended = 0;
    switch (step(d->in, f)) {
    case Z_OK:
    case Z_BUF_ERROR: /* there is nothing to do */
      break;
    case Z_STREAM_END: /* RFC 7692 7.2.3.4: others may follow */
      d->ended = 1;
      /* Unlike inflateReset it keeps the window. */
      inflateResetKeep(d->in);
      break;
    case Z_MEM_ERROR:
      return -DX_ERR_NO_MEMORY;
    default:
      return -DX_ERR_BAD_DEFLATE;
    }
    if (f->out_n == 0) {
      d->more = 1;
      return 0;
    }
  } while (f->in_n);
  d->more = 0;
  if (last) {
    if (!d->ended && !take_tail(d->in))
      return -DX_ERR_BAD_DEFLATE;
    end_message(d);
  }
  return 1;
}

/* The shared inflater is this connection's own then, until the message ends. */
void dx_inflate_interrupt(dx_deflate *d) {
  if (d->borrowed)
    d->codecs->inflater = NULL;
  d->borrowed = 0;
}

/* ---- compressing ---- */

/* What compresses messages for all connections whose parameters are those of
 * 'd'; NULL when memory is out. */
static dx_compressor *shared_compressor(const dx_deflate *d) {
  dx_codecs *all = d->codecs;
  for (dx_compressor *c = all->compressors; c; c = c->next)
    if (c->bits == d->out_bits && c->level == d->agreed.level &&
        c->memory == d->agreed.memory)
      return c;
  dx_compressor *c = calloc(1, sizeof *c);
  z_stream *z = c ? new_compressor(d) : NULL;
  if (z == NULL) {
    free(c);
    return NULL;
  }
  *c = (dx_compressor){.next = all->compressors,
                       .z = z,
                       .bits = d->out_bits,
                       .level = d->agreed.level,
                       .memory = d->agreed.memory};
  new_fast(c);
  all->compressors = c;
  return c;
}

/* Twice what is there, but no less than this: zlib wants room for the end of a
 * flush in one piece. */
#define LEAST_ROOM ((size_t)256)

static dx_error run(z_stream *z, dx_buffer *out, dx_spare *spare,
                    const uint8_t *data, size_t n, size_t most) {
  z->next_in = (uint8_t *)(uintptr_t)data;
  do {
    uInt now = as_uint(n);
    z->avail_in = now;
    n -= now;
    do {
      size_t had = dx_buffer_length(*out);
      size_t want = had ? had : now / 4;
      uint8_t *p =
          dx_buffer_reserve(out, spare, want < LEAST_ROOM ? LEAST_ROOM : want);
      if (p == NULL)
        return DX_ERR_NO_MEMORY;
      uInt room = as_uint(dx_buffer_room(*out));
      z->next_out = p;
      z->avail_out = room;
      deflate(z, n ? Z_NO_FLUSH : Z_SYNC_FLUSH);
      dx_buffer_add(*out, room - z->avail_out);
      if (dx_buffer_length(*out) > most)
        return DX_OK;
    } while (z->avail_out == 0);
  } while (n);
  return DX_OK;
}

/* Append a message that needs no other to be inflated, if it gets smaller. */
static dx_error put_alone(const dx_deflate *d, dx_buffer *out, dx_spare *spare,
                          const void *data, size_t n) {
  dx_compressor *c = shared_compressor(d);
  if (c == NULL)
    return DX_ERR_NO_MEMORY;
  if (d->may_end && is_fast(c, n))
    return put_fast(c, out, spare, data, n);
  deflateReset(c->z);
  /* With the tail, which then goes. */
  size_t most = n + sizeof tail - 1;
  dx_error e = run(c->z, out, spare, data, n, most);
  if (e || dx_buffer_length(*out) > most)
    dx_buffer_clear(out, spare);
  else
    (*out)->end -= sizeof tail;
  return e;
}

dx_error dx_deflate_put(dx_deflate *d, dx_buffer *out, dx_spare *spare,
                        const void *data, size_t n, int parts) {
  int whole = parts == (DX_BEGINS | DX_ENDS);
  if (whole && d->out_reset)
    return put_alone(d, out, spare, data, n);
  if (parts & DX_BEGINS) {
    if (d->out == NULL)
      d->out = new_compressor(d);
    else if (d->stale)
      deflateReset(d->out);
    d->stale = 0;
  }
  if (d->out == NULL)
    return DX_ERR_NO_MEMORY;
  dx_error e = run(d->out, out, spare, data, n, SIZE_MAX);
  if (e) {
    dx_buffer_clear(out, spare);
    return e;
  }
  d->running = !(parts & DX_ENDS);
  if (d->running)
    return DX_OK;
  dx_block *b = *out;
  if (dx_buffer_length(b) > sizeof tail)
    b->end -= sizeof tail;
  else /* nothing came since the last flush: RFC 7692 7.2.3.6 */
    b->p[b->end++] = 0;
  if (d->out_reset)
    end_compressor(&d->out);
  return DX_OK;
}

const dx_packed *dx_packed_get(dx_packed **list, const dx_deflate *d,
                               const void *data, size_t n) {
  for (const dx_packed *p = *list; p; p = p->next)
    if (p->bits == d->out_bits && p->level == d->agreed.level &&
        p->memory == d->agreed.memory && p->may_end == d->may_end)
      return p;
  dx_buffer out = NULL;
  if (put_alone(d, &out, NULL, data, n))
    return NULL;
  size_t size = dx_buffer_length(out);
  dx_packed *p = malloc(sizeof *p + size);
  if (p) {
    *p = (dx_packed){.next = *list,
                     .bits = d->out_bits,
                     .level = d->agreed.level,
                     .memory = d->agreed.memory,
                     .may_end = d->may_end,
                     .n = size};
    if (size)
      memcpy(p->bytes, dx_buffer_bytes(out), size);
    *list = p;
  }
  dx_buffer_clear(&out, NULL);
  return p;
}

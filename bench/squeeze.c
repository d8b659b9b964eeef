/* SPDX-License-Identifier: MIT */
/* squeeze.c - compressed messages (RFC 7692): made once, before anything is
 * measured, and stepped over when they come back.
 *
 * Every message is compressed on its own, which a client may always do, so that
 * all servers get the same bytes and the frames can be sent round and round.
 * What servers do with their own contexts shows in the answers. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MOST = 1 << 24 }; /* bytes of the file that are used */

static uint8_t *read_file(const char *name, size_t *n) {
  FILE *file = fopen(name, "rb");
  uint8_t *data = malloc(MOST);
  if (!file || !data)
    load_fail("cannot read %s", name);
  *n = fread(data, 1, MOST, file);
  fclose(file);
  return data;
}

/* One frame, masked, at 'out'.  Returns its size. */
static size_t make_frame(z_stream *z, uint8_t *out, size_t room,
                         const uint8_t *data, size_t n, bool text) {
  static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
  enum { BEFORE = 14 }; /* the longest header of a client */
  uint8_t *payload = out + BEFORE;
  deflateReset(z);
  z->next_in = (uint8_t *)(uintptr_t)data;
  z->avail_in = (uInt)n;
  z->next_out = payload;
  z->avail_out = (uInt)(room - BEFORE);
  deflate(z, Z_SYNC_FLUSH);
  size_t size = room - BEFORE - z->avail_out - 4; /* RFC 7692 7.2.1 */
  size_t head = client_head(out, text ? 0xc1 : 0xc2, size);
  out[1] |= 0x80;
  memcpy(out + head, key, sizeof key);
  memmove(out + head + sizeof key, payload, size);
  for (size_t i = 0; i < size; i++)
    out[head + sizeof key + i] ^= key[i & 3];
  return head + sizeof key + size;
}

void squeeze_frames(load_frames *f, const load_options *o) {
  size_t n, most = o->size + o->size / 8 + 64; /* of a frame */
  uint8_t *data = read_file(o->data, &n);
  size_t count = n / o->size, again = (size_t)o->inflight;
  z_stream z = {0};
  if (o->size == 0 || count < again)
    load_fail("%s is too short for messages of %zu bytes", o->data, o->size);
  *f = (load_frames){.payload = data, .count = count, .size = o->size};
  f->lengths = calloc(count, sizeof *f->lengths);
  f->burst = malloc(most * (count + again + 1));
  /* A window that all servers take.  */
  if (!f->lengths || !f->burst ||
      deflateInit2(&z, 6, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    load_fail("out of memory");
  for (size_t i = 0; i < count; i++) {
    f->lengths[i] = make_frame(&z, f->burst + f->length, most,
                               data + i * o->size, o->size, o->text);
    f->length += f->lengths[i];
  }
  deflateEnd(&z);
  size_t end = f->length;
  for (size_t i = 0; i < again; i++) {
    memcpy(f->burst + end, f->burst + (end - f->length), f->lengths[i]);
    end += f->lengths[i];
  }
}

/* The size of the head at 'p', of which n bytes have come; 0 if not all. */
static size_t head_size(const uint8_t *p, size_t n) {
  size_t size = n < 2 ? 0 : p[1] == 126 ? 4 : p[1] == 127 ? 10 : 2;
  return size <= n ? size : 0;
}

static uint64_t payload_size(const uint8_t *p, size_t size) {
  uint64_t n = 0;
  for (size_t i = 2; i < size; i++)
    n = n << 8 | p[i];
  return size == 2 ? p[1] : n;
}

size_t squeeze_step(squeeze *s, const uint8_t *in, size_t n) {
  size_t whole = 0;
  while (n) {
    if (s->left == 0) {
      s->head[s->have++] = *in++;
      n--;
      size_t size = head_size(s->head, s->have);
      if (!size)
        continue;
      if (!(s->head[0] & 3) || !(s->head[0] & 0x80))
        load_fail("a reply has another opcode: it begins %02x", s->head[0]);
      s->left = payload_size(s->head, size);
      s->bytes += s->left;
      s->have = 0;
      whole += s->left == 0;
    }
    size_t step = s->left < n ? (size_t)s->left : n;
    if (!step)
      continue;
    in += step;
    n -= step;
    s->left -= step;
    whole += s->left == 0;
  }
  return whole;
}

/* The first reply of a connection: nothing can come before it. */
void squeeze_check(const client *c, const load_frames *f) {
  size_t room = f->size + f->size / 8 + 1024, have = 0, size = 0;
  uint8_t *reply = malloc(room + 4), *data = malloc(f->size + 1);
  z_stream z = {0};
  if (!reply || !data || inflateInit2(&z, -15) != Z_OK)
    load_fail("out of memory");
  while (!size || have < size + payload_size(reply, size)) {
    ssize_t n = client_receive(c, reply + have, room - have);
    if (n <= 0)
      load_fail("no reply to a compressed message");
    have += (size_t)n;
    size = head_size(reply, have);
  }
  if (reply[0] & 0x40) {
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    memcpy(reply + have, tail, sizeof tail);
    z.next_in = reply + size;
    z.avail_in = (uInt)(have - size + sizeof tail);
    z.next_out = data;
    z.avail_out = (uInt)f->size + 1;
    int result = inflate(&z, Z_SYNC_FLUSH); /* a final block is fine, too */
    if ((result != Z_OK && result != Z_STREAM_END) || z.avail_out != 1)
      load_fail("the reply is not what was sent");
  } else if (have - size != f->size) {
    load_fail("the reply has another size");
  } else {
    memcpy(data, reply + size, f->size);
  }
  if (memcmp(data, f->payload, f->size))
    load_fail("the reply is not what was sent");
  inflateEnd(&z);
  free(data);
  free(reply);
}

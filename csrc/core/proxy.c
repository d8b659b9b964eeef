/* SPDX-License-Identifier: MIT */
#include "proxy.h"

#include <string.h>

/* ---- version 1: a line of text (2.1) ---- */

/* Decimal without superfluous zeros, at most 'max'; -1 otherwise.  '*p' is
 * left behind it. */
static int number(const char **p, const char *end, int max) {
  const char *start = *p;
  int value = 0;
  while (*p < end && **p >= '0' && **p <= '9' && value <= max)
    value = value * 10 + (*(*p)++ - '0');
  size_t digits = (size_t)(*p - start);
  if (digits == 0 || value > max || (digits > 1 && *start == '0'))
    return -1;
  return value;
}

static int read_ipv4(uint8_t *to, const char *p, const char *end) {
  for (int i = 0; i < 4; i++) {
    int byte = i == 0 || (p < end && *p++ == '.') ? number(&p, end, 255) : -1;
    if (byte < 0)
      return -1;
    to[i] = (uint8_t)byte;
  }
  return p == end ? 0 : -1;
}

static int hex(char c) {
  int low = c | 0x20;
  return c >= '0' && c <= '9'       ? c - '0'
         : low >= 'a' && low <= 'f' ? low - 'a' + 10
                                    : -1;
}

/* Groups of RFC 4291 2.2 into 'to', which has room for 'room' bytes; the last
 * may be an IPv4 address.  Returns how many bytes they are, or -1. */
static int read_groups(uint8_t *to, int room, const char *p, const char *end) {
  int n = 0;
  while (p < end) {
    const char *stop = memchr(p, ':', (size_t)(end - p));
    if (stop == NULL)
      stop = end;
    if (stop == end && n + 4 <= room && read_ipv4(to + n, p, end) == 0)
      return n + 4;
    if (stop == p || stop - p > 4 || n + 2 > room)
      return -1;
    unsigned group = 0;
    for (; p < stop; p++) {
      if (hex(*p) < 0)
        return -1;
      group = group << 4 | (unsigned)hex(*p);
    }
    to[n++] = (uint8_t)(group >> 8);
    to[n++] = (uint8_t)group;
    if (stop < end && ++p == end)
      return -1; /* nothing behind the colon */
  }
  return n;
}

static int read_ipv6(uint8_t *to, const char *p, const char *end) {
  const char *gap = p;
  while (gap + 1 < end && (gap[0] != ':' || gap[1] != ':'))
    gap++;
  if (gap + 1 >= end)
    return read_groups(to, 16, p, end) == 16 ? 0 : -1;
  uint8_t tail[16];
  int head_n = read_groups(to, 14, p, gap);
  /* An IPv4 address is only the end of the whole. */
  if (head_n < 0 || memchr(p, '.', (size_t)(gap - p)))
    return -1;
  int tail_n = read_groups(tail, 14 - head_n, gap + 2, end);
  if (tail_n < 0)
    return -1;
  memset(to + head_n, 0, (size_t)(16 - head_n));
  memcpy(to + 16 - tail_n, tail, (size_t)tail_n);
  return 0;
}

/* The next word of the line, which ends at one space or at 'end'. */
static const char *word(const char **p, const char *end) {
  const char *start = *p, *stop = memchr(start, ' ', (size_t)(end - start));
  *p = stop ? stop + 1 : NULL;
  return stop ? stop : end;
}

/* "TCP4 source destination port port"; 'end' is where the CRLF is. */
static int read_line(dx_proxy *h, const char *p, const char *end) {
  const char *at = p;
  const char *stop = word(&p, end);
  size_t n = (size_t)(stop - at);
  if (n == 7 && memcmp(at, "UNKNOWN", 7) == 0)
    return 0; /* what follows has no meaning */
  if (n != 4 || (memcmp(at, "TCP4", 4) != 0 && memcmp(at, "TCP6", 4) != 0))
    return -1;
  h->family = at[3] == '4' ? DX_PROXY_IPV4 : DX_PROXY_IPV6;
  int (*read)(uint8_t *, const char *, const char *) =
      h->family == DX_PROXY_IPV4 ? read_ipv4 : read_ipv6;
  uint8_t destination[16];
  for (int i = 0; i < 2; i++) {
    if ((at = p) == NULL)
      return -1;
    stop = word(&p, end);
    if (read(i ? destination : h->address, at, stop))
      return -1;
  }
  int port = p ? number(&p, end, 65535) : -1;
  if (port < 0 || p == end || *p++ != ' ')
    return -1;
  h->port = (uint16_t)port;
  return number(&p, end, 65535) >= 0 && p == end ? 0 : -1;
}

static int decode_line(dx_proxy *h, const char *p, size_t n) {
  size_t most = n < DX_PROXY_LINE ? n : DX_PROXY_LINE;
  const char *cr = memchr(p, '\r', most);
  if (cr == NULL || cr + 1 == p + most)
    return n < DX_PROXY_LINE ? 0 : -1;
  if (cr[1] != '\n' || read_line(h, p + 6, cr))
    return -1;
  return (int)(cr + 2 - p);
}

/* ---- version 2: binary (2.2) ---- */

enum { FIXED = 16, TLV_SSL = 0x20, SSL_CLIENT = 0x01 };

static size_t two(const uint8_t *p) { return (size_t)p[0] << 8 | p[1]; }

/* 2.2.5: does a TLV say that the client came over TLS? */
static uint8_t over_tls(const uint8_t *p, size_t n) {
  while (n > 3 && two(p + 1) <= n - 3) {
    size_t length = two(p + 1);
    if (p[0] == TLV_SSL && length > 0)
      return p[3] & SSL_CLIENT;
    p += 3 + length;
    n -= 3 + length;
  }
  return 0;
}

/* The block behind the fixed part, of 'n' bytes. */
static int read_block(dx_proxy *h, uint8_t family, const uint8_t *p, size_t n) {
  static const uint8_t sizes[] = {0, 12, 36, 216};
  unsigned kind = family >> 4, transport = family & 15;
  /* Unassigned ones must be refused; those that are no streams can come only
   * by mistake, but are well formed: they name nobody. */
  if (kind > DX_PROXY_UNIX || transport > 2 || n < sizes[kind])
    return -1;
  h->secure = over_tls(p + sizes[kind], n - sizes[kind]);
  if (transport != 1)
    return 0;
  h->family = (uint8_t)kind;
  size_t address_n = kind == DX_PROXY_IPV4 ? 4 : 16;
  if (kind == DX_PROXY_NONE || kind == DX_PROXY_UNIX)
    return 0;
  memcpy(h->address, p, address_n);
  h->port = (uint16_t)two(p + 2 * address_n);
  return 0;
}

static int decode_block(dx_proxy *h, const uint8_t *p, size_t n) {
  if (n < FIXED)
    return 0;
  size_t size = FIXED + two(p + 14);
  unsigned version = p[12] >> 4, command = p[12] & 15;
  if (version != 2 || command > 1 || size > DX_PROXY_MOST)
    return -1;
  if (n < size)
    return 0;
  /* LOCAL: the block is to be skipped, whatever it is. */
  if (command == 1 && read_block(h, p[13], p + FIXED, size - FIXED))
    return -1;
  return (int)size;
}

/* ---- either ---- */

/* An IPv4 address is one, however a proxy wrote it (RFC 4291 2.5.5.2). */
static void unmap(dx_proxy *h) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (h->family != DX_PROXY_IPV6 || memcmp(h->address, mapped, 12) != 0)
    return;
  h->family = DX_PROXY_IPV4;
  memmove(h->address, h->address + 12, 4);
  memset(h->address + 4, 0, 12);
}

int dx_proxy_decode(dx_proxy *h, const uint8_t *p, size_t n) {
  static const uint8_t line[] = "PROXY ", block[] = "\r\n\r\n\0\r\nQUIT\n";
  if (n == 0)
    return 0;
  int is_line = p[0] == line[0];
  size_t signature_n = is_line ? sizeof line - 1 : sizeof block - 1;
  size_t known = n < signature_n ? n : signature_n;
  if (memcmp(p, is_line ? line : block, known) != 0)
    return -1;
  if (n < signature_n)
    return 0;
  dx_proxy found = {0};
  int size = is_line ? decode_line(&found, (const char *)p, n)
                     : decode_block(&found, p, n);
  if (size > 0) {
    unmap(&found);
    *h = found;
  }
  return size;
}

/* SPDX-License-Identifier: MIT
 * proxy.h - the PROXY protocol, versions 1 and 2: a header at the start of a
 * connection by which a proxy says whose connection it passes on (HAProxy's
 * doc/proxy-protocol.txt, whose sections are named below).
 * Pure functions: no state, no allocation, no I/O. */
#ifndef DX_PROXY_H
#define DX_PROXY_H

#include <stddef.h>
#include <stdint.h>

#define DX_PROXY_LINE 107  /* 2.1: longest line of version 1, with its CRLF */
#define DX_PROXY_MOST 4096 /* bytes of a header with all its TLVs */

/* What a client is known by.  NONE: the header names nobody, as the proxy
 * speaks for itself (LOCAL) or does not know; UNIX: a socket of its machine. */
typedef enum dx_proxy_family {
  DX_PROXY_NONE,
  DX_PROXY_IPV4,
  DX_PROXY_IPV6,
  DX_PROXY_UNIX
} dx_proxy_family;

typedef struct dx_proxy {
  uint8_t family;      /* dx_proxy_family */
  uint8_t secure;      /* the client speaks TLS with the proxy (PP2_TYPE_SSL) */
  uint16_t port;       /* the client's; 0 unless it has an IP address */
  uint8_t address[16]; /* of IPv4 the first 4; never ::ffff:0:0/96 */
} dx_proxy;

/* Decode the header at the start of 'p'.  Returns its size (at most
 * DX_PROXY_MOST), 0 if 'n' bytes are not enough yet, or -1 if no header begins
 * so.  'h' is written only on success. */
int dx_proxy_decode(dx_proxy *h, const uint8_t *p, size_t n);

#endif

/* SPDX-License-Identifier: MIT
 * extensions.h - Sec-WebSocket-Extensions (RFC 6455 9.1), of which there is
 * one: permessage-deflate (RFC 7692 7).  Both roles.
 *
 * Pure functions without state, allocation or I/O over a parsed HTTP head.  All
 * work is linear in the size of the head. */
#ifndef DX_EXTENSIONS_H
#define DX_EXTENSIONS_H

#include "http.h"

#define DX_MAX_BITS 15        /* of a window, and what no parameter means */
#define DX_MIN_BITS 8         /* RFC 7692 7.1.2 */
#define DX_MIN_DEFLATE_BITS 9 /* zlib has no compressor for less */
#define DX_MAX_EXTENSIONS 256 /* bytes of the text that we send */

/* Parameters of permessage-deflate.  As a wish: what we would have.  As an
 * agreement: what both sides do from now on. */
typedef struct dx_deflate_params {
  uint8_t server_bits, client_bits;   /* window of what each of them sends */
  uint8_t server_reset, client_reset; /* no context takeover */
  uint8_t says_server_bits; /* agreement: the response has that parameter */
  uint8_t says_client_bits;
  uint8_t any_server_bits; /* a client's wish: better larger than nothing */
  /* Of our own compressor, and nobody else's business: */
  uint8_t level;      /* 1..9; 0 in a wish: no compression at all */
  uint8_t memory;     /* zlib's memLevel, 1..9 */
  uint32_t threshold; /* bytes: shorter messages go as they are */
} dx_deflate_params;

/* Whether all fields of that name are well formed (RFC 6455 9.1). */
int dx_extensions_ok(const dx_http_head *h);

/* A server's choice: the first offer that we can accept (RFC 7692 5.1, 7.1).
 * 1 with what is agreed in 'agreed', or 0. */
int dx_extensions_choose(const dx_http_head *h, const dx_deflate_params *wish,
                         dx_deflate_params *agreed);

/* A client's check of what the server chose: 1 with what is agreed in 'agreed',
 * 0 when it chose nothing, -1 when the connection has to fail: it is malformed,
 * was not offered, or is no answer to it (RFC 7692 5.1, 7.1). */
int dx_extensions_verify(const dx_http_head *h, const dx_deflate_params *wish,
                         dx_deflate_params *agreed);

/* The value of the field: what a client offers, or what was agreed.  Both write
 * at most DX_MAX_EXTENSIONS bytes, not terminated, and return how many. */
size_t dx_extensions_offer(char *out, const dx_deflate_params *wish);
size_t dx_extensions_text(char *out, const dx_deflate_params *agreed);

#endif

/* SPDX-License-Identifier: MIT */
/* sha1.h - SHA-1 (RFC 3174), for Sec-WebSocket-Accept (RFC 6455 4.2.2).
 * Small rather than fast: it sees 60 bytes a handshake.  SHA-1 is broken as a
 * signature; the handshake only asks it to prove that the peer read the key,
 * and nothing else should use it. */
#ifndef DX_SHA1_H
#define DX_SHA1_H

#include <stddef.h>
#include <stdint.h>

/* Write the digest of the 'n' bytes at 'p' to the 20 bytes at 'out'.  Pure: no
 * allocation, no I/O; 'p' may be NULL when n == 0.  It cannot fail. */
void dx_sha1(uint8_t out[20], const void *p, size_t n);

#endif

/* SPDX-License-Identifier: MIT */
/* floor.h - TLS for the floor, with as little as OpenSSL can do it.
 * No connection has buffers for sealed bytes: they pass through two that all
 * share, so what is fed must be opened, and what is sealed be sent, before
 * another connection has its turn.  Sizes are in bytes. */
#ifndef FLOOR_H
#define FLOOR_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Most that is sealed at once: a few full records, which stay in a cache. */
enum { TLS_SEAL_MAX = 48 * 1024 };

/* Load the certificate and its key, PEM files, or end the process. */
void tls_start(const char *certificate, const char *key);
SSL *tls_new(void);

/* What a recv has brought.  It is borrowed until tls_more says no. */
void tls_feed(const uint8_t *p, size_t n);
bool tls_more(const SSL *tls);

/* Open as much as there is and fits: its size, 0 at the end or after an error,
 * or -1 with errno set to EAGAIN if no record is complete. */
ssize_t tls_open(SSL *tls, uint8_t *to, size_t room);

/* Seal n bytes, no more than TLS_SEAL_MAX. */
bool tls_seal(SSL *tls, const uint8_t *p, size_t n);

/* Take what has been sealed, handshakes included: its size. */
size_t tls_sealed(uint8_t **p);

#endif

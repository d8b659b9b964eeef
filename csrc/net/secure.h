/* SPDX-License-Identifier: MIT
 * secure.h - what encrypts for a link: TLS, seen from outside.  Ciphertext is
 * lent and plaintext read; plaintext is written and ciphertext gathers in
 * 'wire', which the owner of the descriptor or stream sends.  No I/O happens
 * here, so one engine serves descriptors and the streams of other hosts.
 *
 * The loop calls it through these pointers: so it is not linked with OpenSSL,
 * and who needs no TLS does not load that. */
#ifndef DX_SECURE_H
#define DX_SECURE_H

#include "../core/buffer.h"

#include <sys/types.h>

#define DX_RECORD ((size_t)16384) /* plaintext of a record, RFC 8446 5.1 */

typedef struct dx_secure dx_secure;

typedef struct dx_secure_ops {
  /* 'n' bytes came from the peer; borrowed until read() returns -EAGAIN. */
  void (*lend)(dx_secure *s, const uint8_t *p, size_t n);
  /* Plaintext: > 0 bytes; 0: the peer said that it sends no more; -EAGAIN: more
   * is needed; -EPROTO: broken for good, see problem().  Until 'ready' this
   * carries on with the handshake.  Any call may add to 'wire'. */
  ssize_t (*read)(dx_secure *s, void *p, size_t n);
  /* Encrypt all of it into 'wire': 0, -EPROTO, or -EAGAIN: none of it, before
   * 'ready' and in the middle of a handshake message of the peer's. */
  int (*write)(dx_secure *s, const void *p, size_t n);
  /* We send no more: the last thing in 'wire' says so (close_notify). */
  void (*finish)(dx_secure *s);
  /* 's', which is new, is spoken inside of 'outer', which is ready: TLS to a
   * server through TLS to a proxy.  It becomes a user of 'outer'. */
  int (*nest)(dx_secure *s, dx_secure *outer);
  /* Why it broke, in words; NULL if it did not. */
  const char *(*problem)(const dx_secure *s);
  /* Free it: nobody uses it any more. */
  void (*drop)(dx_secure *s);
} dx_secure_ops;

struct dx_secure {
  const dx_secure_ops *ops;
  dx_buffer *wire; /* ciphertext to send; of the outermost, if nested */
  dx_spare *spare; /* where its block goes when it is empty */
  unsigned users;  /* who hold it: a link, a Lua value, an inner one */
  uint8_t taken;   /* a link has it, or had */
  uint8_t layers;  /* of TLS: 1, or 2 to a server through TLS to a proxy */
  uint8_t ready;   /* the handshake is done */
  uint8_t failed;
};

static inline void dx_secure_leave(dx_secure *s) {
  if (s && --s->users == 0)
    s->ops->drop(s);
}

#endif

/* SPDX-License-Identifier: MIT */
/* load.h - what the parts of the load generator share.
 * Sizes are in bytes, times in seconds.  Everything runs in one thread; a
 * function that cannot go on prints why to stderr and ends the process,
 * because half a measurement is worse than none. */
#ifndef LOAD_H
#define LOAD_H

#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The command line.  A pid of 0 means that no process is watched. */
typedef struct load_options {
  int port, connections, inflight;
  size_t size;
  double seconds, warmup;
  bool text, hold, tls;
  const char *data; /* a file: its pieces are sent, compressed; or NULL */
  pid_t pid;
} load_options;

/* The messages that are sent, over and over: one, or of a file all pieces.
 * 'burst' holds their frames, and then the first 'inflight' of them again, so
 * that any number of messages up to inflight leaves in one send, from any byte
 * of a frame. */
typedef struct load_frames {
  uint8_t *burst, *payload;
  size_t *lengths; /* of each frame */
  size_t count;    /* of frames */
  size_t length;   /* of all of them */
  size_t size;     /* of a message */
  /* Where nothing is compressed all replies have the same head: */
  uint8_t head[10]; /* unmasked, shortest form */
  size_t head_length, reply_length;
} load_frames;

_Noreturn void load_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
double load_now(void);

/* client.c: the far end of a connection. */
typedef struct client {
  int fd;
  SSL *tls; /* NULL in the clear */
} client;

/* Connect to 127.0.0.1 and shake hands, blocking.  A port that nobody listens
 * on yet is tried again for 'patience' seconds.  Returns false with errno set
 * when either side has no descriptor or address left. */
bool client_open(client *c, const load_options *o, double patience);
void client_nonblocking(const client *c);

/* As send and recv do: -1 with errno set to EAGAIN if it would block, 0 at the
 * end of what comes.  With TLS a receive returns no more than one record. */
ssize_t client_send(const client *c, const void *data, size_t n);
ssize_t client_receive(const client *c, void *data, size_t room);

/* Whether a receive may return something without asking the kernel. */
bool client_pending(const client *c);

/* Build the frames for messages of 'size' bytes, the first of which is 'first'
 * unless that is 0.  They are never freed. */
void client_frames(load_frames *f, size_t size, int inflight, bool text,
                   char first);

/* Send one message and compare every byte of the reply, blocking. */
void client_check(const client *c, const load_frames *f);

/* The header of RFC 6455 5.2 without the mask bit.  Returns its size. */
size_t client_head(uint8_t *p, uint8_t first, size_t size);

/* squeeze.c: the same for compressed messages; the pieces of a file. */
void squeeze_frames(load_frames *f, const load_options *o);
void squeeze_check(const client *c, const load_frames *f);

/* What has been received of replies whose length only they say. */
typedef struct squeeze {
  uint8_t head[10];
  size_t have;    /* bytes of the head */
  uint64_t left;  /* bytes of the payload that have not come */
  uint64_t bytes; /* of payloads so far */
} squeeze;

/* Step over n received bytes.  Returns how many replies they complete. */
size_t squeeze_step(squeeze *s, const uint8_t *in, size_t n);

/* tls.c: OpenSSL below a client. */
bool tls_open(client *c); /* false, as client_open */
ssize_t tls_send(SSL *tls, const void *data, size_t n);
ssize_t tls_receive(SSL *tls, void *data, size_t room);
const char *tls_cipher(SSL *tls);

/* proc.c: what a process costs, with its threads and living children. */
double proc_cpu(pid_t pid);      /* seconds of CPU time since its start */
uint64_t proc_memory(pid_t pid); /* resident bytes */

/* The measurements. */
void echo_run(const load_options *o);
void fanout_run(const load_options *o);
void idle_run(const load_options *o);

#endif

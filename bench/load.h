/* SPDX-License-Identifier: MIT */
/* load.h - what the parts of the load generator share.
 * Sizes are in bytes, times in seconds.  Everything runs in one thread; a
 * function that cannot go on prints why to stderr and ends the process,
 * because half a measurement is worse than none. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The command line.  A pid of 0 means that no process is watched. */
typedef struct load_options {
  int port, connections, inflight;
  size_t size;
  double seconds, warmup;
  bool text, hold;
  pid_t pid;
} load_options;

/* The one message that is sent, and the head that every reply must have.
 * 'burst' holds inflight + 1 copies of the frame, so that any number of
 * messages up to inflight leaves in one send, from any byte of a frame. */
typedef struct load_frames {
  uint8_t *burst, *payload;
  size_t frame_length, size, reply_length;
  uint8_t head[10]; /* the header of a reply: unmasked, shortest form */
  size_t head_length;
} load_frames;

_Noreturn void load_fail(const char *format, ...)
    __attribute__((format(printf, 1, 2)));
double load_now(void);

/* client.c: the far end of a connection. */

/* Connect to 127.0.0.1 and shake hands, blocking.  A port that nobody listens
 * on yet is tried again for 'patience' seconds.  Returns the descriptor, or -1
 * with errno set when either side has no descriptor or address left. */
int client_open(int port, double patience);
void client_nonblocking(int fd);

/* Build the frames for messages of 'size' bytes.  They are never freed. */
void client_frames(load_frames *f, size_t size, int inflight, bool text);

/* Send one message and compare every byte of the reply, blocking. */
void client_check(int fd, const load_frames *f);

/* proc.c: what a process costs, with its threads and living children. */
double proc_cpu(pid_t pid);      /* seconds of CPU time since its start */
uint64_t proc_memory(pid_t pid); /* resident bytes */

/* The two measurements. */
void echo_run(const load_options *o);
void idle_run(const load_options *o);

#endif

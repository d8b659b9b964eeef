/* SPDX-License-Identifier: MIT */
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t again;
static struct sigaction behind[2]; /* libuv's: of SIGINT, SIGTERM */

static struct sigaction *behind_of(int number) {
  return &behind[number == SIGTERM];
}

/* In here everything has to be safe at any time. */
static void came(int number) {
  if (again) {
    signal(number, SIG_DFL);
    raise(number); /* takes effect when this returns */
  }
  again = 1;
  behind_of(number)->sa_handler(number);
}

static int is_ours(const struct sigaction *a) {
  return !(a->sa_flags & SA_SIGINFO) && a->sa_handler == came;
}

void dx_interrupt_watch(int number) {
  struct sigaction a;
  again = 0;
  if (sigaction(number, NULL, &a) || is_ours(&a) || a.sa_flags & SA_SIGINFO ||
      a.sa_handler == SIG_DFL || a.sa_handler == SIG_IGN)
    return;
  *behind_of(number) = a;
  a.sa_handler = came;
  sigaction(number, &a, NULL);
}

void dx_interrupt_leave(int number) {
  struct sigaction a;
  if (sigaction(number, NULL, &a) == 0 && is_ours(&a))
    sigaction(number, behind_of(number), NULL);
}

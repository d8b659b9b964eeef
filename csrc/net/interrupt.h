/* SPDX-License-Identifier: MIT
 * interrupt.h - the second signal that asks for an end kills, even while the
 * loop cannot see it, since a task computes.
 *
 * libuv's handlers only note what came, for the next turn of the loop.  Ours is
 * in front of them: it counts, and calls them. */
#ifndef DX_INTERRUPT_H
#define DX_INTERRUPT_H

/* SIGINT or SIGTERM, for which libuv has a handler; and before that one goes.
 * Like signals these belong to the process. */
void dx_interrupt_watch(int number);
void dx_interrupt_leave(int number);

#endif

/* SPDX-License-Identifier: MIT
 * loop.h - the native event loop: connections on descriptors, driven by
 * libuv's readiness and one heap of deadlines.  It knows no Lua; whoever does
 * sets the hooks.
 *
 * A link is one connected descriptor with the connection it serves.  When the
 * connection is over the link lives on without it: it sends what is left,
 * says that no more will come, and waits a while for the peer to hang up, so
 * that a last close frame is not lost to a reset.
 *
 * Links are made by dx_link_open and free themselves.  Times are seconds of
 * dx_loop_clock. */
#ifndef DX_LOOP_H
#define DX_LOOP_H

#include "../core/conn.h"
#include "secure.h"
#include "socket.h"
#include "timers.h"

#include <uv.h>

/* One receive buffer serves all links, as large as one outbox may be before
 * pings are answered sparingly: so a burst of pings is answered in full. */
#define DX_INPUT_SIZE ((size_t)64 * 1024)

/* Most that an engine keeps of a record that was cut: all the ciphertext
 * received at a time, and this, decrypts into the receive buffer. */
#define DX_CUT_RECORD ((size_t)17 * 1024)
#define DX_WIRE_SIZE (DX_INPUT_SIZE - DX_CUT_RECORD)

enum { DX_TIMER_LINK, DX_TIMER_OTHER }; /* dx_timer.kind */

typedef struct dx_loop dx_loop;
typedef struct dx_link dx_link;

typedef struct dx_hooks {
  /* Input was lent to the connection, or it is known to be over. */
  void (*input)(dx_link *link);
  /* The outbox is low again. */
  void (*drained)(dx_link *link);
  /* The connection is over; the link forgets it after this call. */
  void (*ended)(dx_link *link);
  /* A timer of kind DX_TIMER_OTHER went off. */
  void (*expired)(dx_loop *loop, dx_timer *timer);
} dx_hooks;

struct dx_link {
  uv_poll_t poll;
  dx_conn *conn; /* NULL when it is over */
  union {
    void *reader;   /* the hooks': who waits for a message */
    dx_buffer rest; /* once it is over: what is still to be sent */
  };
  union {
    void *waiters; /* the hooks': who wait for something else */
    double until;  /* once it is over: when patience ends in any case */
  };
  dx_link *next;     /* in the list of links to look after */
  dx_secure *secure; /* TLS, or NULL */
  dx_timer timer;
  int fd;
  int error;           /* errno of a failed call, for the owner to report */
  uint8_t events;      /* what libuv watches for */
  uint8_t dirty;       /* in the list */
  uint8_t blocked;     /* the kernel takes no more for now */
  uint8_t hung_up;     /* the peer sends no more */
  uint8_t shut;        /* we said that we send no more */
  uint8_t wants_drain; /* somebody waits for 'drained' */
  uint8_t closed;      /* being freed */
  uint8_t later;       /* what is unread waits for the timer */
};

struct dx_loop {
  uv_loop_t uv; /* first, see dx_link_loop */
  uv_timer_t alarm;
  double alarm_at; /* what 'alarm' is set to */
  double now;      /* read at each event */
  dx_timers timers;
  uint8_t *input; /* DX_INPUT_SIZE bytes; 'borrower' may have some unread */
  uint8_t *wire;  /* DX_WIRE_SIZE bytes of ciphertext, once there is TLS */
  dx_link *borrower;
  dx_link *dirty, *dirty_end; /* links to look after: first those touched alone,
                                 up to 'last_alone', then those of a crowd */
  dx_link *last_alone;        /* or NULL */
  const dx_hooks *hooks;
  size_t links;  /* in all, those that only linger included */
  size_t unsent; /* of these, lingering with something still to send */
};

/* Seconds that a timer of libuv can count: 30 years. */
#define DX_FOREVER 1e9

double dx_loop_clock(void);

/* 0 or a negated errno.  dx_loop_close cuts what is open. */
int dx_loop_init(dx_loop *loop, const dx_hooks *hooks);
void dx_loop_close(dx_loop *loop);

/* Wait for events (not at all if !wait, else at most until the first timer)
 * and handle them. */
void dx_loop_turn(dx_loop *loop, int wait);

/* Look after links that were touched: send, arm, end.  A bounded number, the
 * rest with the next turn.  Returns whether some are left. */
int dx_loop_flush(dx_loop *loop);

/* Serve 'conn' on 'fd' from now on: the descriptor belongs to the link.
 * NULL with errno set when that fails; the descriptor is then closed. */
dx_link *dx_link_open(dx_loop *loop, int fd, dx_conn *conn);

/* Everything passes through 's' from now on: inside of what it passes through
 * already, if there is something.  The link becomes a user of 's'.  Input that
 * nobody looked at is refused, or if 'begun' is what the peer's handshake
 * begins with (at most DX_WIRE_SIZE bytes, and not inside of another).  0, or
 * -1: it cannot begin now. */
int dx_link_secure(dx_link *link, dx_secure *s, int begun);

static inline dx_loop *dx_link_loop(const dx_link *link) {
  return (dx_loop *)link->poll.loop; /* its first member */
}

/* There may be something to send, to end or to receive. */
void dx_link_touch(dx_link *link);

/* The same for one of many that get a message: others do not wait for them. */
void dx_link_touch_crowd(dx_link *link);

/* There is input to go on with when others had their turn. */
void dx_link_later(dx_link *link);

/* The connection goes away now, whatever state it is in. */
void dx_link_drop(dx_link *link);

/* Send what is in the outbox now rather than after this event. */
void dx_link_send(dx_link *link);

/* A server's message that is worth a call of its own: sent straight from
 * 'data'; only what the kernel does not take is copied. */
#define DX_LARGE ((size_t)8 * 1024)
dx_error dx_link_put_large(dx_link *link, const dx_message *m);

#endif

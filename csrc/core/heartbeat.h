/* SPDX-License-Identifier: MIT
 * heartbeat.h - when a connection must be looked at again: a pure function of
 * what happened and when.  Times are seconds on one monotonic clock. */
#ifndef DX_HEARTBEAT_H
#define DX_HEARTBEAT_H

#include "limits.h"

#include <math.h>

#define DX_NEVER INFINITY

typedef enum dx_wait {
  DX_WAIT_HANDSHAKE, /* no WebSocket yet: open_timeout runs */
  DX_WAIT_OPEN,      /* heartbeats */
  DX_WAIT_CLOSE,     /* our close frame waits for the peer's */
  DX_WAIT_SENT,      /* no more input, but an answer may be on its way */
  DX_WAIT_NOTHING
} dx_wait;

typedef struct dx_beat {
  double since;   /* when what is waited for began: the handshake, the closing
                     or, while open, when the last byte of an unanswered ping
                     left (0: it has not) */
  double last_in; /* when the last byte came: any byte is life */
  double stalled; /* since when the outbox moved nothing; 0: it moves */
  uint8_t pinged; /* a ping is unanswered, even if it has not left yet */
  uint8_t paused; /* we do not read, so silence says nothing about the peer */
} dx_beat;

/* When dx_conn_expire has to be called, if nothing happens before. */
double dx_beat_due(const dx_beat *b, const dx_limits *limits, dx_wait wait);

#endif

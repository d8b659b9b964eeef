/* SPDX-License-Identifier: MIT */
#include "heartbeat.h"

static double earlier(double due, double since, double timeout) {
  return timeout > 0 && since + timeout < due ? since + timeout : due;
}

double dx_beat_due(const dx_beat *b, const dx_limits *limits, dx_wait wait) {
  double due = DX_NEVER;
  if (wait == DX_WAIT_NOTHING)
    return due;
  if (b->stalled > 0)
    due = earlier(due, b->stalled, limits->send_timeout);
  if (wait == DX_WAIT_SENT)
    return due;
  if (wait == DX_WAIT_HANDSHAKE)
    return earlier(due, b->since, limits->open_timeout);
  if (wait == DX_WAIT_CLOSE) {
    double last = b->since + limits->close_timeout;
    return last < due ? last : due;
  }
  /* A pong can only be seen by those who read: back-pressure of our own must
   * not kill a healthy peer. */
  if (b->paused)
    return due;
  if (!b->pinged)
    return earlier(due, b->last_in, limits->ping_interval);
  if (b->since <= 0)
    return due; /* it has not left: send_timeout watches */
  double life = b->last_in > b->since ? b->last_in : b->since;
  return earlier(due, life, limits->ping_timeout);
}

/* SPDX-License-Identifier: MIT
 * limits.h - what one connection may cost, shared by many connections.
 * Defaults and ranges are the rows of lua/duplex/options.lua; whoever creates
 * connections owns the struct and keeps it alive longer than they are. */
#ifndef DX_LIMITS_H
#define DX_LIMITS_H

#include <stddef.h>
#include <stdint.h>

struct dx_totals;

typedef struct dx_limits {
  uint64_t max_message;      /* bytes of a whole message */
  size_t max_header_bytes;   /* bytes of an HTTP head */
  size_t max_queue_bytes;    /* bytes of decoded messages nobody took yet */
  size_t high_mark;          /* bytes in the outbox above which send waits */
  size_t max_outbox;         /* bytes in the outbox that try_send respects */
  uint32_t max_queue;        /* decoded messages nobody took yet */
  uint32_t max_fragments;    /* frames of one message */
  uint32_t max_headers;      /* fields of an HTTP head */
  uint32_t max_control_rate; /* control frames received in one second */
  double open_timeout;       /* seconds, as all below; 0: no limit */
  double ping_interval;      /* of silence before a ping; 0: no pings */
  double ping_timeout;
  double close_timeout; /* 0: no waiting */
  double send_timeout;
  struct dx_totals *totals; /* where they are counted; never NULL */
} dx_limits;

#endif

/* SPDX-License-Identifier: MIT
 * totals.h - what passed through all connections that share one dx_limits, as
 * those of a server do.  Plain counters, which never go down; sizes are bytes,
 * times are seconds. */
#ifndef DX_TOTALS_H
#define DX_TOTALS_H

#include "frame.h"

/* Of text and binary whole messages, with the bytes of payload that programs
 * send and receive; of control frames each. */
typedef struct dx_flow {
  uint64_t messages, bytes;
} dx_flow;

/* Upper bounds of the classes of round trips; one more is above all. */
#define DX_BOUNDS 13
extern const double dx_bounds[DX_BOUNDS];

typedef struct dx_totals {
  dx_flow in[DX_PONG + 1], out[DX_PONG + 1]; /* by opcode */
  /* Bytes of messages on connections with compression, as in dx_deflate. */
  uint64_t payload_in, wire_in, payload_out, wire_out;
  uint64_t round_trips[DX_BOUNDS + 1]; /* of pings, by class */
  double round_trip_sum;
} dx_totals;

/* A message or some of it, or a control frame; 'whole' is 1 at its end. */
static inline void dx_flow_add(dx_flow *flows, unsigned opcode, size_t n,
                               unsigned whole) {
  flows[opcode].messages += whole;
  flows[opcode].bytes += n;
}

/* A pong came this long after its ping. */
void dx_totals_round_trip(dx_totals *t, double seconds);

#endif

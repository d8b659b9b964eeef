/* SPDX-License-Identifier: MIT */
#include "totals.h"

const double dx_bounds[DX_BOUNDS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

void dx_totals_round_trip(dx_totals *t, double seconds) {
  int i = 0;
  while (i < DX_BOUNDS && seconds > dx_bounds[i])
    i++;
  t->round_trips[i]++;
  t->round_trip_sum += seconds;
}

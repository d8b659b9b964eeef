/* SPDX-License-Identifier: MIT
 * error.h - the table of errors.def as an enum and as rows. */
#ifndef DX_ERROR_H
#define DX_ERROR_H

typedef enum dx_error {
#define X(name, id, code, text) DX_ERR_##name,
#include "errors.def"
#undef X
  DX_ERR_COUNT
} dx_error;

#define DX_OK DX_ERR_OK

typedef struct dx_error_row {
  const char *id;   /* what a program compares: "PROTOCOL", "LOST", ... */
  const char *text; /* what a person reads; static, never freed */
  int close_code;   /* what the peer is told; 0: no close frame is sent */
} dx_error_row;

/* Indexed by dx_error. */
extern const dx_error_row dx_errors[DX_ERR_COUNT];

#endif

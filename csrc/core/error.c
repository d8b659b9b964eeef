/* SPDX-License-Identifier: MIT */
#include "error.h"

const dx_error_row dx_errors[DX_ERR_COUNT] = {
#define X(name, id, code, text) {id, text, code},
#include "errors.def"
#undef X
};

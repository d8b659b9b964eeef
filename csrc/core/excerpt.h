/* SPDX-License-Identifier: MIT
 * excerpt.h - bytes of a peer, made fit to be shown to people: in a log, on a
 * terminal. */
#ifndef DX_EXCERPT_H
#define DX_EXCERPT_H

#include <stddef.h>
#include <stdint.h>

#define DX_EXCERPT_LEAST 16 /* of 'most', below */

/* Write at most 'most' bytes to 'out' (DX_EXCERPT_LEAST or more); returns how
 * many.  UTF-8 stays as it is, but for what may move a cursor, begin a line or
 * turn the direction of text; that, quotation marks, backslashes and what is
 * no UTF-8 are escaped.  What is too long has "..." in its middle. */
size_t dx_excerpt(char *out, size_t most, const uint8_t *p, size_t n);

#endif

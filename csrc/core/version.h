/* SPDX-License-Identifier: MIT
 * version.h - the one place of the version; a spec compares the rockspec and
 * the changelog with it. */
#ifndef DX_VERSION_H
#define DX_VERSION_H

#define DX_VERSION "0.1.0"

/* Modules of one build share the layout of a connection; their stamps tell
 * them apart from those of another.  DX_BUILD comes from the Makefile. */
#define DX_STAMP DX_VERSION " " DX_BUILD

#endif

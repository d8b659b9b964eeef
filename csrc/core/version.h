/* SPDX-License-Identifier: MIT
 * version.h - the one place of the version; a spec compares the rockspec and
 * the changelog with it. */
#ifndef DX_VERSION_H
#define DX_VERSION_H

#define DX_VERSION "0.1.0"

#endif

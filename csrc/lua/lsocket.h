/* SPDX-License-Identifier: MIT
 * lsocket.h - what waits for descriptors: connections on the native loop,
 * listeners, connecting. */
#ifndef DX_LSOCKET_H
#define DX_LSOCKET_H

#include "lconn.h"
#include "task.h"

/* Hooks of the loop, see net/loop.h. */
void lsocket_input(dx_link *link);
void lsocket_drained(dx_link *link);
void lsocket_ended(dx_link *link);

extern const luaL_Reg lsocket_functions[];
/* Make the metatables; 'loop' is the stack index of the loop's userdata. */
void lsocket_types(lua_State *L, int loop);

#endif

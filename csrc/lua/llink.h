/* SPDX-License-Identifier: MIT
 * llink.h - connections on the native loop, and other descriptors. */
#ifndef DX_LLINK_H
#define DX_LLINK_H

#include "lconn.h"
#include "task.h"

/* Hooks of the loop, see net/loop.h. */
void llink_input(dx_link *link);
void llink_drained(dx_link *link);
void llink_ended(dx_link *link);

/* The connection is served on 'fd', which belongs to it from now on, also when
 * this fails: 0 or a negated errno.  'peer' is its other end. */
int llink_attach(lloop *loop, lconn *c, int fd, const dx_address *peer);

/* Functions of duplex.loop; those that wait have lists of their own. */
extern const luaL_Reg llink_functions[], llink_waiters[];
extern const luaL_Reg lsocket_functions[], lsocket_waiters[];

/* Make the metatables of lsocket.c; 'loop' is the stack index of the loop. */
void lsocket_types(lua_State *L, int loop);

#endif

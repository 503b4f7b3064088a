/* tell.h - a tracker tells the nodes of its regions that a user's tickets count no more
 * (proto/revoke.h). Once, to everybody who is alive; a node that does not hear of it goes on
 * taking them until they expire, and the log says how many did not. */
#pragma once

#include "tracker/tracker_internal.h"

/* Those that were issued until now. Returns how many nodes are being told. */
size_t tell_revoked(struct tracker *t, const u8 user[TICKET_USER_BYTES]);

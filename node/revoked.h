/* revoked.h - revocations of tickets outlive the node that was told of them.
 *
 * A ticket is good for a minute and a half, a restart takes a second, and nobody tells a node twice
 * what it said that it knows. So what trackers revoke (proto/revoke.h) is written to `revoked` in
 * the store, a message as it comes by the wire, before it is acknowledged; it holds the latest
 * REVOKE_MAX of those that a ticket could still be concerned by. A file that cannot be read is
 * reported and left. Loop thread only; written in the disk pool. */
#pragma once

#include "node/tickets.h"
#include "runtime/pool.h"

struct revoked;

/* Reads what is there into `tickets`. All are borrowed. ERR_NOMEM. */
must_use int revoked_new(struct revoked **out, const char *dir, struct pool *disk,
                         struct tickets *tickets);
void revoked_del(struct revoked *r); /* no writing may be running */

/* Something was revoked: calls back when it is on the disk (0), or could not be written. ERR_NOMEM:
 * it does not. */
must_use int revoked_keep(struct revoked *r, void (*done)(void *arg, int rc), void *arg);

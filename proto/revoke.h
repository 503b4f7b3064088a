/* revoke.h - what a tracker tells nodes when users lose their permissions: their tickets end now.
 *
 * Why: a ticket is checked by the node alone, and good for a minute and a half. When an operator
 * revokes a user, nodes must not wait for that. Sent as POST /mesh/v1/revocations, with a
 * Dray-Peer, by a tracker to every node of its regions; it is repeated until it is acknowledged
 * with 2xx, which a node does when it is on its disk. A body is one msgpack
 * array:
 *
 *     [version, [[user, until], ...]]
 *
 * version is 1; user as in the ticket (ticket.h); tickets of that user that were issued at `until`
 * (Unix seconds) or before count no more. A node forgets it when none of them could be valid.
 * Not here: who may say so (the node asks its member list for a tracker). */
#pragma once

#include "proto/limits.h"
#include "proto/ticket.h"
#include "proto/wire.h"

#define REVOKE_PATH      "/mesh/v1/revocations"
#define REVOKE_MAX       256 /* users of one message */
#define REVOKE_BYTES_MAX (8 * KIB)

struct revoke {
    u8 user[TICKET_USER_BYTES];
    u64 until_s;
};

/* Writes a message of `n` users to `out` (REVOKE_BYTES_MAX); returns its length. */
size_t revoke_pack(const struct revoke *all, size_t n, u8 *out);
/* ERR_PROTO: malformed, or more than REVOKE_MAX; `*n` is then 0. */
must_use int revoke_unpack(struct revoke out[REVOKE_MAX], size_t *n, const void *data, size_t len);

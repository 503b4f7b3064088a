/* sticks.h - the layers of one image come from one node.
 *
 * Why: a pull asks for its layers one by one; sent to the same node they find one warm connection,
 * and the next user of the image finds all of it in one place. So the choice that was made for a
 * user, an address and a repository is remembered for STICKS_MS, and made again while that node is
 * as near as any (pick_stay()).
 *
 * A bounded table, one place for each key: what falls on a taken place takes it. Pure but for the
 * caller's clock. */
#pragma once

#include "proto/addr.h"
#include "proto/ticket.h"

#define STICKS_MS        120000 /* an image's layers are asked for within that */
#define STICKS_KEY_BYTES 32

struct sticks;

/* `hash_key`: random and nobody else's, so that nobody can aim at a place. ERR_NOMEM. */
must_use int sticks_new(struct sticks **out, const u8 hash_key[STICKS_KEY_BYTES]);
void sticks_del(struct sticks *s);

struct sticks_whose {
    const u8 *user; /* TICKET_USER_BYTES */
    const struct addr *from;
    const char *repository;
};
/* NULL: nothing is remembered. Borrowed until the next call. */
const struct node_key *sticks_find(const struct sticks *s, const struct sticks_whose *whose,
                                   u64 now_ms);
void sticks_set(struct sticks *s, const struct sticks_whose *whose, const struct node_key *node,
                u64 now_ms);

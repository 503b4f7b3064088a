/* peer_share.h - how many answers each peer takes at once: one that asks for much and reads it
 * slowly, or never, leaves room for the others. Owns one small entry for each peer that takes any.
 * Loop thread only. */
#pragma once

#include <stddef.h>

#include "proto/identity.h"

struct peer_shares {
    struct peer_share {
        struct node_key key;
        unsigned n;
    } * of;
    size_t n, cap;
};

/* Of so many answers at once in all, one peer has at most so many: half, or, of few, all but one.
 */
unsigned peer_share_most(unsigned allowed);
/* One more for this peer. False: it has `most`, or there is no memory. */
must_use bool peer_share_take(struct peer_shares *s, const struct node_key *k, unsigned most);
/* One of those that it took is over. */
void peer_share_leave(struct peer_shares *s, const struct node_key *k);
void peer_shares_fini(struct peer_shares *s);

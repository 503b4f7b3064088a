/* table.h - a hash table of structs that are keyed by digest, for the store's own bookkeeping.
 *
 * Why: pins, running ingests, idle partials and unwritten index changes are all looked up by
 * digest. Nodes are embedded in their owners' structs: the table allocates only its slots, so
 * putting one in cannot fail (without memory for more slots the chains just grow longer). Owns no
 * node; the loop's thread only. */
#pragma once

#include "proto/digest.h"

struct table_node {
    struct table_node *next; /* in its slot's chain */
    struct digest digest;    /* set by the owner before table_put */
};

struct table {
    struct table_node **slots; /* mask + 1 of them */
    size_t mask;
    size_t count;
    u64 seed; /* random: nobody who can choose digests can choose collisions */
};

/* ERR_NOMEM. */
must_use int table_init(struct table *t, u64 seed);
void table_fini(struct table *t); /* must be empty */

/* NULL when absent. */
struct table_node *table_find(const struct table *t, const struct digest *d);
/* No node of the same digest may be in it. */
void table_put(struct table *t, struct table_node *n);
/* `n` must be in it. */
void table_del(struct table *t, struct table_node *n);
/* The node after `n`, the first for NULL; NULL at the end. Nothing may be put or deleted between.
 */
struct table_node *table_next(const struct table *t, const struct table_node *n);

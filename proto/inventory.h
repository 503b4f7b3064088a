/* inventory.h - which node of the region holds which layer, as each node believes.
 *
 * Each node writes one table, its own: the sorted multiset of the 32-bit salted fingerprints of its
 * layers' digests, versioned by (epoch, n): n grows by one with each write. To replace one by
 * another is one write, so there are no tombstones. An op names what goes by its rank in the sorted
 * order, so nothing but the multiset is state. Everybody keeps everybody's table and the last ops
 * of each; whoever has them can hand on the ops since any version in reach, or a snapshot. A higher
 * epoch replaces all.
 *
 *   spreading     ops travel along one shared tree of the living members, in numbered batches; what
 *                 is missing is sent again; a silent neighbour is stood in for by its neighbours
 *   against loss  every 2 s each compares with one member at random: a hash over all (origin,
 *                 epoch, n); where it differs a byte per origin; then it asks for what it lacks
 *   joiners       fetch snapshots by stream, nearest first: fingerprints sorted, Golomb-Rice coded
 *                 (as BIP 158), 19 bits each
 *   ownership     the origin signs its head (epoch, n, hash) now and then, and at the beginning of
 *                 each epoch; an epoch without one is not believed, a table that does not fit one
 *                 is dropped and fetched anew from the origin itself
 *
 * Guarantees: a look-up takes microseconds; a hint may be wrong (one in 2^32 per layer, or late),
 * and then costs one round trip; 1,000 nodes of 20,000 layers fit in 200 MiB.
 *
 * Memory: tables, ops and the inverted index (fingerprint -> origins) live in a *pool* that is
 * passed in. A daemon has one of its own; the simulator's nodes share one, so that a thousand views
 * of the same tables cost one copy and, per view, a few bytes per origin. A view sees of the pool
 * what its own messages brought it, and no more: each origin at the version that it has. */
#pragma once

#include "proto/digest.h"
#include "proto/limits.h"
#include "proto/rng.h"
#include "proto/wire.h"

struct inventory_pool;
struct inventory;

/* --- the pool -------------------------------------------------------------------------------- */

/* `salt` comes from the region's name: inventory_salt(). ERR_NOMEM. */
must_use int inventory_pool_new(struct inventory_pool **out, u64 salt);
void inventory_pool_del(struct inventory_pool *p); /* no inventory may be left in it */
u64 inventory_salt(const char *region);
u64 inventory_pool_bytes(const struct inventory_pool *p); /* all memory it holds */

/* --- one node's view ------------------------------------------------------------------------- */

struct inventory_options {
    struct inventory_pool *pool; /* borrowed */
    struct node_key self;
    struct node_secret secret;
    u64 epoch; /* 1 + max(persisted, wall clock in ms, any seen for this key) */
    struct rng rng;
    size_t datagram_max; /* plain text of one */
    u64 batch_ns;        /* [200 ms]; 0: default */
    u64 anti_entropy_ns; /* [2 s] */
    u64 now_ns;
};
must_use int inventory_new(struct inventory **out, const struct inventory_options *opt);
void inventory_del(struct inventory *v);

/* Our own layers. At most LIMIT_INVENTORY_SLOTS, and of those whose fingerprints share the upper
 * half as many as others bear (256): beyond, ERR_FULL (the layer is just not told).
 * ERR_EXISTS, ERR_NOTFOUND. Not counted as reachable by others until the next batch goes. */
must_use int inventory_add(struct inventory *v, const struct digest *d, u64 now_ns);
must_use int inventory_remove(struct inventory *v, const struct digest *d, u64 now_ns);
/* Somebody says that our key wrote in a higher epoch (a lost store): ours becomes greater still.
 * The new epoch, to be persisted. */
u64 inventory_epoch(const struct inventory *v);

/* Who is alive: the tree and anti-entropy run among these. Down: not a holder any more; its table
 * is kept for ten minutes, for when it comes back in the same epoch. `distance_ns`: smaller is
 * nearer, for the order of first snapshots and of holders; told again, it changes. ERR_FULL,
 * ERR_NOMEM, ERR_EXISTS (a key made to collide with another). */
must_use int inventory_peer_up(struct inventory *v, const struct node_key *k, u64 distance_ns,
                               u64 now_ns);
void inventory_peer_down(struct inventory *v, const struct node_key *k, u64 now_ns);

/* Who holds it, ourselves left out: the nearest `max`, nearest first; returns how many there are in
 * all. */
size_t inventory_holders(const struct inventory *v, const struct digest *d, struct node_key *out,
                         size_t max);
/* Our own count of the region's copies, as an eviction policy asks: holders that are alive. */
size_t inventory_copies(const struct inventory *v, const struct digest *d);
bool inventory_is_held_by(const struct inventory *v, const struct digest *d,
                          const struct node_key *k);
/* Do we hold it ourselves, as inventory_add() was told? */
bool inventory_holds(const struct inventory *v, const struct digest *d);
/* A holder said 404: not asked for this again until it writes that slot anew. */
void inventory_wrong(struct inventory *v, const struct digest *d, const struct node_key *k);

/* --- talking, as in member.h ------------------------------------------------------------------ */

/* What is written is one whole message: an array that begins with its number. Readers and answerers
 * are given what follows the number; inventory_dialed() is given the answer whole. `from` must be
 * the authenticated sender. inventory_write() writes one message for one peer; call it until it
 * says no, then inventory_dial() until it says no. ERR_PROTO: malformed; ERR_UNSUPPORTED: a number
 * of nothing known here. */

must_use int inventory_read(struct inventory *v, const struct node_key *from, unsigned number,
                            struct wire_in *msg, u64 now_ns);
bool inventory_write(struct inventory *v, struct node_key *to, struct wire_out *w, u64 now_ns);
/* Half of what it can queue waits. Who reads many messages in a row writes it out then: of what
 * further ones make it say, what finds no room is lost (and counted). */
bool inventory_is_pressed(const struct inventory *v);
u64 inventory_next_expiry(const struct inventory *v);
/* A hint: it is called soon, with a message by this sender (its key's first bytes), or (NULL) with
 * none; see mesh_warm(). */
#define INVENTORY_WARM_STEPS 2
void inventory_warm(const struct inventory *v, unsigned step, const u8 *sender);
void inventory_expire(struct inventory *v, u64 now_ns);
bool inventory_dial(struct inventory *v, u32 *id, struct node_key *to, struct wire_out *w,
                    u64 now_ns);
void inventory_dialed(struct inventory *v, u32 id, int err, struct wire_in *answer, u64 now_ns);
must_use int inventory_answer(struct inventory *v, const struct node_key *from, unsigned number,
                              struct wire_in *request, struct wire_out *answer, u64 now_ns);

/* For simulations that begin in a settled region. First what each was told of its own layers is
 * written and signed at once; then `v` believes of `of`'s table (same pool, up in `v`) what `of`
 * has written, as if it had been told. */
void inventory_settle(struct inventory *v, u64 now_ns);
void inventory_prime(struct inventory *v, const struct inventory *of);

/* --- looking on ------------------------------------------------------------------------------ */

struct inventory_origin {
    struct node_key key;
    u64 epoch, n;
    size_t layers;
    bool complete; /* its table is here; false: known of, snapshot on its way */
};
bool inventory_each(const struct inventory *v, size_t *at, struct inventory_origin *out);
/* Of everything believed, contents included: equal in two nodes exactly when their views are (but
 * for one in 2^64). Walks all origins: for tests and people. */
u64 inventory_hash(const struct inventory *v);
u64 inventory_bytes(const struct inventory *v); /* the view's own memory, without the pool */

struct inventory_stats {
    u64 ops_sent, ops_received, ops_duplicate, gaps, resent, anti_entropy_rounds, deltas_sent;
    u64 snapshots_sent, snapshots_received, bad_heads, malformed, conflicts;
    u64 put_off; /* heads, of those who send too many */
    u64 unsent;  /* messages that found no room */
};
void inventory_stats(const struct inventory *v, struct inventory_stats *out);

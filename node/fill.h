/* fill.h - one fetch per miss: a blob on its way from a peer or a registry, to a disk and to
 * everyone who waits.
 *
 * Why: any number of clients may ask for the same cold blob at once; it crosses the long link once.
 * One *fill* per digest. It asks with one waiter's rights, streams what arrives to all readers from
 * a ring of recent blocks (older bytes from the file), while the disk pool writes and the hash pool
 * hashes.
 *
 * Guarantees
 *   - no whole-blob answer completes with wrong bytes: the last byte waits for the digest
 *   - wrong bytes are never kept; readers then see a short body
 *   - a waiter or reader that leaves, even the first, stops nobody
 *   - a refusal goes to the waiter whose right was asked; the next one's is tried
 *   - an upstream that breaks off is asked again, by Range, where it stopped; so is a partial file
 * that a former run left behind
 *   - where the asker's right is established and the size is known, peers that hold it are asked
 * first (proto/sourcing.h); who is slow, dead, full or lying is left, and the next one goes on at
 * the same byte; the registry last
 *   - where others live in the region, it takes part in the layer's swarm (fill_swarm.h): pieces in
 * any order, from many, each verified before it counts; one node alone reads from the registry
 *   - wrong bytes of which peers sent any: thrown away, and fetched once more from the registry
 * alone; a peer is blamed only when it sent all of them
 *   - who has a ticket is read for with the node's own credentials, and where there are none, or
 * they do not do, through the tracker that issued it, or another of its name (node/fill_tracker.c)
 *   - no room or a failing disk: *serve-through*, nothing kept, at the pace of the slowest reader
 *   - memory is bounded per fill (LIMIT_FILL_LAG_BYTES), whatever upstream, disk and readers do
 *
 *   ASKING --200/206--> STREAMING --all bytes--> CHECKING --digest right--> SOUND --committed-->
 * gone |                   |   ^                     | |                   |   +--resumed +--digest
 * wrong--> FAILED
 *     +--refused: next waiter's right, or FAILED    |
 *                         +--broken off too often--> FAILED
 *
 * Loop thread only, but for the jobs. */
#pragma once

#include "node/history.h"
#include "node/pace.h"
#include "node/peers.h"
#include "runtime/body.h"
#include "runtime/metrics.h"
#include "runtime/pool.h"
#include "runtime/upstream.h"
#include "store/store.h"

struct fills; /* all that run */
struct fill;

struct fills_options {
    uv_loop_t *loop;
    struct store *store;
    struct pool *disk, *hash;
    struct metrics *metrics;
    struct history *history;
    struct pace *pace;   /* of what comes in */
    struct pace *wan;    /* of what comes from registries, beside that; NULL: no such limit */
    struct peers *peers; /* NULL: there are none */
    /* With the region's swarms (all may be NULL): the upstream of this name; a layer that closed,
     * and its chain (taken). */
    struct upstream *(*upstream)(void *arg, const char *name);
    void (*closed)(void *arg, const struct digest *d, u64 size, struct chains *c);
    void *arg;
};

must_use int fills_new(struct fills **out, const struct fills_options *opt);
/* Ends every fill (waiters fail, partials are kept), for shutdown; what is verified is still
 * stored. Jobs may still run: wait until none is left (fills_running()), then fills_del(). */
void fills_stop(struct fills *s);
void fills_del(struct fills *s); /* none may be left */
size_t fills_running(const struct fills *s);
/* Once a second: progress lines, stalled retries. */
void fills_tick(struct fills *s);

/* With whose right, and where, a blob may be fetched. Copied by fill_join. */
struct fill_source {
    struct upstream *upstream;
    const char *repository;
    const char *authorization; /* the user's; NULL: anonymous */
    const char *ticket;        /* its text; NULL: none. Then there is no Authorization */
    struct node_key tracker;   /* who issued the ticket, and is read through */
    bool own;                  /* the node's credentials fetch; where they do not: as without */
    bool proven; /* this user's right is established already; else the fetch itself asks */
    u64 size; /* by the registry's word; 0, STORE_SIZE_UNKNOWN: not known, then no peer is asked */
};

/* The same, kept: the fill's own. */
struct fill_right {
    struct upstream *upstream;
    char *repository, *authorization, *ticket;
    struct node_key tracker;
    bool own;
};

/* One who waits for a fill's head. Embedded; zero it first. */
struct fill_waiter {
    /* The answer can begin: use fill_size(), fill_body(). May be called from inside fill_join().
     * The waiter is out of the fill by then. */
    void (*ready)(struct fill_waiter *w, struct fill *f);
    /* It cannot. `refusal`: the answer of the registry (with a ticket: or of the tracker) to this
     * waiter's own right (borrowed), else NULL
     * and `err` (ERR_UNREACHABLE, ERR_PROTO, ERR_FULL, ERR_EXISTS: it is in the store by now, ...)
     * and `why`. */
    void (*failed)(struct fill_waiter *w, int err, const char *why, const struct answer *refusal);
    /* the fill's own */
    struct fill *fill;
    struct fill_waiter *prev, *next;
    struct fill_right right;
    bool proven;
};

/* Joins the running fill of `d`, or starts one. ERR_NOMEM, ERR_FULL (too many run). */
must_use int fill_join(struct fills *s, const struct digest *d, const struct fill_source *src,
                       struct fill_waiter *w);
/* A waiter that is still in leaves; nothing is called. Safe on one that is out. */
void fill_leave(struct fill_waiter *w);

/* Is there a fill of `d` whose head is known, so that joining answers at once? */
bool fill_is_streaming(const struct fills *s, const struct digest *d);
/* The same, and it has the byte at `first`: for peers, who never make a fetch begin. */
struct fill *fill_with_byte(const struct fills *s, const struct digest *d, u64 first);

u64 fill_size(const struct fill *f);     /* STORE_SIZE_UNKNOWN when the upstream did not say */
bool fill_is_kept(const struct fill *f); /* it goes to the store; false: serve-through */
/* All of it is here and verified; only the store is not done with it yet. */
bool fill_is_sound(const struct fill *f);
/* What came last of it came from a peer; whoever asks after it was verified gets it from here. */
bool fill_is_from_peer(const struct fill *f);
/* The answer that began it came from where the registry redirected us. */
bool fill_was_redirected(const struct fill *f);

/* Bytes [first, end) as they come; end UINT64_MAX: to the end. `wake(arg)`: peek again. Only from
 * within `ready`, or at once after fill_with_byte(). NULL: out of memory. */
struct body *fill_body(struct fill *f, u64 first, u64 end, void (*wake)(void *arg), void *arg);

/* What a swarm wants done for a layer here: FETCH, YIELD, ASK, CANCEL, GIVE_UP (proto/swarm.h). */
void fills_step(struct fills *s, const struct swarm_step *step);
/* The chains of a layer on its way by a swarm. Borrowed for the loop's turn; NULL: none. */
struct chains *fill_chains(const struct fills *s, const struct digest *d);
/* How long such a layer is; 0: it is on its way by no swarm. */
u64 fill_pieces_size(const struct fills *s, const struct digest *d);
/* A descriptor in which bytes [first, end) of such a layer stand, all in pieces that are held.
 * Borrowed for the call; -1: no. `*size`: of the layer. */
int fill_pieces_fd(const struct fills *s, const struct digest *d, u64 first, u64 end, u64 *size);

/* How many read from a registry now. */
size_t fills_at_registry(const struct fills *s);
/* Bytes fetched from registries since the start. */
u64 fills_fetched_bytes(const struct fills *s);

/* For status and why. */
struct fill_status {
    struct digest digest;
    const char *repository, *upstream, *state; /* borrowed */
    const char *peer;                          /* who is asked right now; NULL: none. Borrowed */
    u64 received, size, bytes_per_s, age_ms;
    u32 pieces, held, neighbours, requests; /* of a swarm; pieces 0: it takes part in none */
    bool appointed;                         /* it reads for the region */
    unsigned clients;
    bool kept;
};
void fills_each(const struct fills *s, void (*each)(void *arg, const struct fill_status *st),
                void *arg);

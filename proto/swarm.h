/* swarm.h - one layer wanted by many: who fetches it, and which piece comes from whom.
 *
 * Why: at a rollout every rack wants the same cold gigabyte at once. It crosses the long link once,
 * by one *fetcher*, and everybody who has a piece gives it on; the last one is done little later
 * than the lines permit.
 *
 *   home        the living node that rendezvous hashing elects among those that can fetch, else
 *               among all. Askers JOIN there; it names neighbours, and appoints the fetcher, itself
 *               or an asker whose own right is at hand. Complete holders that the inventory names
 *               are seeds; while there is one, nobody is appointed.
 *
 *   lease       what the fetcher tells the first three ranks every 250 ms: still here, so far. It
 *               is void after 1 s of silence, when the fetcher is known to be dead, or when it
 *               resigns (cut from the WAN). A home that knows of no lease asks the next two ranks
 *               before it appoints. Of two leases the one of the lower-ranked home ends (YIELD),
 *               and its fetcher goes on as a peer. Registry slowness, 429 and 5xx ride on the lease
 *               as back-off: a fetcher that waits keeps it.
 *
 *   alone       who cannot reach the home joins at the next rank, which asks those above itself
 *               first and appoints only when they are silent. Who reaches none of the three asks
 *               three that are near: an office that is cut off reads one copy for all.
 *
 *   neighbours  about 20: 15 near and 5 at random, from what the home and neighbours name. They
 *               tell each other what they have: a map at first, then a numbered log of pieces, sent
 *               again until it is acknowledged.
 *
 *   places      the offices of a region: who is near whom. Each piece has an importer in each
 *               place, who asks for it far away; the others wait until somebody near has it.
 *
 *   pieces      rarest first among the neighbours, ties at random; now and then the one that a
 *               client waits for. As many at once as are given at once: whoever asks for more than
 *               all give keeps others waiting. What is offered is asked for beyond that. The last
 *               few pieces are asked of several, and what is not needed any more is cancelled.
 *
 *   serving     few at a time, so that whole pieces are soon there to be given on; who has few
 *               pieces, or some that take long, gives one at a time, so that these double as fast
 *               as can be, and then calls one of those who wait. Others hear *busy*, and ask
 *               elsewhere, and soon again. On lines with full queues, where a refusal takes as long
 *               as a piece, they wait in a line of ours instead, in which the starving, then the
 *               rarest piece, come first. A fetcher, or one of few seeds, offers each new piece to
 *               one peer, these in turn; it counts as delivered once a second one tells of it, and
 *               is offered again when that takes too long.
 *
 *              JOIN ──> WELCOME           HELLO <──> HELLO, then NEWS <──> NEWS
 *     (none) ──────────> asking ──────────────> exchanging ──> complete ──> seed ──> forgotten
 *                          │ appointed              │  ^ appointed             idle
 *                          v                        v  │
 *                        fetching <─── FETCH ───────┴──┘ ── YIELD ──> exchanging
 *
 * Guarantees: at most one fetcher per digest where views agree, at most two at any time; every
 * table, line and message is bounded; who is hostile costs time, never memory, and is avoided for
 * one layer at most; equal inputs and equal randomness give equal steps.
 * Not here: sockets, clocks, disks; what a piece must hash to (chain.h: claims travel by HTTP with
 * the pieces, between the same two nodes); whose permission it is. Sizes never come from here: each
 * node is told its own by its daemon.
 *
 * Driven like the rest of proto/: tell it what happened, then swarm_next() until false. A step is
 * an order; what became of it comes back as a call. Pieces are numbered from 0, as pieces.h cuts
 * them. Requests and serves have ids that are not used again.
 *
 *   step      what to do, and what comes back
 *   FETCH     read `digest` from its registry, from piece `first` on, pieces that are here already
 *             left out: swarm_have() for each as it is verified or, without a chain to check it
 *             by, hashed; swarm_registry() for whatever the registry does; swarm_complete() at the
 *             end. It may come for a layer that nobody here asked for: `origin` says where it is.
 *   YIELD     stop fetching at the end of the piece at hand; swarm_have() for that
 *   ASK       GET pieces first..first+count-1 from `peer`: swarm_started() with the first byte,
 *             swarm_came() for each piece, swarm_ended() once
 *   CANCEL    end the request; no swarm_ended()
 *   SERVE     the held request `id` may now be answered
 *   DROP      the held request `id` is not going to be answered: 503; no swarm_served()
 *   SEED      `peer` asks for `digest`, which the inventory says is here: swarm_seed(), if so
 *   GIVE_UP   nobody has it and nobody can fetch it, as far as anyone knows. Said again every few
 *             seconds while that is so; the swarm goes on looking until swarm_leave(). */
#pragma once

#include "proto/digest.h"
#include "proto/inventory.h"
#include "proto/member.h"
#include "proto/rng.h"

#define SWARM_ORIGIN_MAX 384 /* upstream and repository: opaque here */
#define SWARM_NO_PIECE   UINT32_MAX

#define SWARM_MS          1000000ull
#define SWARM_LEASE_NS    (250 * SWARM_MS)  /* told so often */
#define SWARM_VOID_NS     (1000 * SWARM_MS) /* of silence end it */
#define SWARM_UPLOADS     2                 /* pieces of a layer given at once, and asked for */
#define SWARM_LAYERS      6                 /* so many times that in all */
#define SWARM_UPLOADS_ONE 4                 /* of a layer that is one piece */
#define SWARM_NEIGHBOURS  20                /* sought */
#define SWARM_NEAR        15                /* of these */
/* Of a layer, where requests stand in queues; three times as many are asked for. */
#define SWARM_UPLOADS_QUEUED 4

struct swarm;

struct swarm_options {
    struct node_key self;
    const struct member *member;       /* borrowed */
    const struct inventory *inventory; /* borrowed */
    struct rng rng;
    size_t datagram_max;
    bool queued; /* from the start: as on real cables, where requests stand in queues */
    u64 now_ns;
};
must_use int swarm_new(struct swarm **out, const struct swarm_options *opt); /* ERR_NOMEM */
void swarm_del(struct swarm *s);

/* --- taking part ------------------------------------------------------------------------------ */

struct swarm_want {
    struct digest digest;
    u64 size;       /* of the layer: from manifest, registry or ticket */
    bool can_fetch; /* a right is at hand here: credentials, or a user's just granted */
    char origin[SWARM_ORIGIN_MAX + 1]; /* for whoever is appointed; "" when unknown */
};
/* We want it, and do not hold it (any more). Again: can_fetch and origin are taken anew. ERR_FULL:
 * LIMIT_SWARMS; ERR_INVAL: size 0 or more than LIMIT_PIECES hold; ERR_EXISTS: known here under
 * another size; ERR_NOMEM. */
must_use int swarm_join(struct swarm *s, const struct swarm_want *want, u64 now_ns);
/* We do not want it any more. Requests are cancelled without steps, held ones dropped by steps. */
void swarm_leave(struct swarm *s, const struct digest *d, u64 now_ns);
/* The answer to SEED, or unasked: the whole layer is held here. As swarm_join(). */
must_use int swarm_seed(struct swarm *s, const struct digest *d, u64 size, u64 now_ns);

/* Piece `piece` is here and right, by whatever way: disk, registry, peer. Idempotent. */
void swarm_have(struct swarm *s, const struct digest *d, u32 piece, u64 now_ns);
/* It is not, after all: its chain was forged. Everybody is told. */
void swarm_lost(struct swarm *s, const struct digest *d, u32 piece, u64 now_ns);
/* `k` signed a chain that the digest disproves, or is proved to have sent wrong pieces: neither
 * asked nor believed again for this layer, nor thought of as its home. What came by that chain:
 * swarm_lost(), piece by piece. */
void swarm_forged(struct swarm *s, const struct digest *d, const struct node_key *k, u64 now_ns);
/* The layer is closed on its digest and kept: from now on we seed, until nobody asks any more. */
void swarm_complete(struct swarm *s, const struct digest *d, u64 now_ns);
/* The first piece that a client waits for; SWARM_NO_PIECE: nobody waits. */
void swarm_position(struct swarm *s, const struct digest *d, u32 piece);

/* --- requests --------------------------------------------------------------------------------- */

/* The first byte came. */
void swarm_started(struct swarm *s, u32 request, u64 now_ns);
/* A piece of it is whole. `right`: it fits states that are believed. Not right: it is asked for
 * elsewhere, its sender is avoided for this layer while there are others, nobody is convicted. */
void swarm_came(struct swarm *s, u32 request, u32 piece, bool right, u64 now_ns);
enum swarm_outcome {
    SWARM_WORKED,
    SWARM_FAILED,  /* unreachable, timed out, broke off */
    SWARM_MISSING, /* it does not have the piece */
    SWARM_BUSY,
    SWARM_DENIED,
    SWARM_LIED, /* proved: never asked again for this layer */
};
const char *swarm_outcome_name(enum swarm_outcome o);
/* The request is over; pieces that did not come are asked for again. Unknown ids are passed over:
 * a CANCEL may cross it. */
void swarm_ended(struct swarm *s, u32 request, enum swarm_outcome outcome, u64 now_ns);

/* What the registry does to us, the fetcher. */
enum swarm_registry {
    SWARM_REGISTRY_WELL,
    SWARM_REGISTRY_BACKOFF, /* 429, 5xx, or slow: `for_ns` until it is asked again */
    SWARM_REGISTRY_CUT,     /* cannot be reached from here: another may */
    SWARM_REGISTRY_REFUSED, /* 401, 403, 404: our right does not do */
};
void swarm_registry(struct swarm *s, const struct digest *d, enum swarm_registry what, u64 for_ns,
                    u64 now_ns);

/* --- serving ---------------------------------------------------------------------------------- */

enum swarm_answer {
    SWARM_ANSWER_NOW,     /* send it; swarm_served() when that is over */
    SWARM_ANSWER_WAIT,    /* keep the request: SERVE or DROP follows */
    SWARM_ANSWER_BUSY,    /* 503 */
    SWARM_ANSWER_MISSING, /* 404 */
};
/* A peer asks for pieces first..first+count-1. `*id` is set with NOW and WAIT. */
enum swarm_answer swarm_serve(struct swarm *s, const struct node_key *peer, const struct digest *d,
                              u32 first, u32 count, u32 *id, u64 now_ns);
/* It was sent, or broke, or its asker left, also while it waited. */
void swarm_served(struct swarm *s, u32 id, bool whole, u64 now_ns);

/* --- steps ------------------------------------------------------------------------------------ */

enum swarm_do {
    SWARM_FETCH,
    SWARM_YIELD,
    SWARM_ASK,
    SWARM_CANCEL,
    SWARM_SERVE,
    SWARM_DROP,
    SWARM_SEED,
    SWARM_GIVE_UP,
};
struct swarm_step {
    enum swarm_do what;
    struct digest digest;
    u32 id;           /* of ASK, CANCEL: the request; of SERVE, DROP: the held one */
    u32 first, count; /* of ASK, and first of FETCH */
    struct node_key peer;
    struct addr addr;
    u64 size;                          /* of FETCH: as an asker said; the registry knows better */
    char origin[SWARM_ORIGIN_MAX + 1]; /* of FETCH */
    const char *reason;                /* static, for `why` */
};
bool swarm_next(struct swarm *s, struct swarm_step *out, u64 now_ns);

/* --- talking: messages MSG_SWARM_*, as in inventory.h ------------------------------------------
 */

must_use int swarm_read(struct swarm *s, const struct node_key *from, unsigned number,
                        struct wire_in *msg, u64 now_ns);
bool swarm_write(struct swarm *s, struct node_key *to, struct wire_out *w, u64 now_ns);
u64 swarm_next_expiry(const struct swarm *s);
void swarm_warm(const struct swarm *s); /* as mesh_warm() does */
void swarm_expire(struct swarm *s, u64 now_ns);
/* The process stood still, or somebody came or went. */
void swarm_peer_down(struct swarm *s, const struct node_key *k, u64 now_ns);

/* --- looking on ------------------------------------------------------------------------------- */

struct swarm_view {
    bool wanted, complete, fetching, is_home;
    u32 pieces, have, requests, neighbours, participants; /* participants: as its home knows */
    struct node_key home, fetcher;                        /* zeroed: nobody known */
    bool fetcher_known;
    u64 backoff_ns; /* left of the registry's */
};
/* False: no such swarm here. */
bool swarm_look(const struct swarm *s, const struct digest *d, struct swarm_view *out, u64 now_ns);
/* Was `k` appointed to fetch it, as far as is known here, now or before? Its claims are those that
 * clients may be served by before the layer closes. */
bool swarm_is_fetcher(const struct swarm *s, const struct digest *d, const struct node_key *k);

struct swarm_stats {
    u64 appointed, alone, takeovers, overlaps; /* overlaps: two fetchers were seen at once */
    u64 asked, came, wrong, missing, busy, failed, cancelled, late, duplicate;
    u64 offered, offered_again, served, held, refused;
    u64 misled;   /* refusals where others said that the layer is */
    u64 unheeded; /* appointments, by who is no home, or misled us too often */
    u64 malformed;
};
void swarm_stats(const struct swarm *s, struct swarm_stats *out);
u64 swarm_bytes(const struct swarm *s); /* memory */

/* sourcing.h - from whom one fetch takes its bytes: peers first, the registry last.
 *
 * Why: a miss should cross the long link only when nobody near holds the layer, and whoever serves
 * it may be slow, dead, full or lying. This core decides whom to ask next, when to leave somebody,
 * when to ask a second one beside the first, and how long to put up with "busy"; the daemon and the
 * simulator carry it out.
 *
 *             +---------------------------- ended, or left ---------------------------+
 *             v                                                                       |
 *   LOOK -> FRESH --ASK--> asked --first byte--> sends --piece after piece--> all of it is here
 *             |              | no byte for SOURCING_HEDGE_NS: a second one is asked, the first byte
 *             |              | of either wins; none for SOURCING_FIRST_BYTE_NS: left
 *             |              +-- 404: OUT   503: BUSY until it says   anything else: OUT
 *             +-- nobody fresh: who was busy, then who was merely slow, then a new LOOK, and then
 *                 REGISTRY. Somebody busy is waited for, SOURCING_BUSY_NS in all: load alone leads
 *                 to other peers, and to the registry only so that no client waits for ever.
 *
 * One source sends at a time. Whoever takes over goes on at the byte where the last one stopped.
 *
 * *Slow* is judged piece by piece: a piece is given four times what was expected of it, at least
 * SOURCING_PIECE_MIN_NS, at most SOURCING_PIECE_MAX_NS. Who misses that is left, once, for a peer
 * that was not tried; when nobody better is known it goes on, and only below SOURCING_FLOOR_BPS the
 * registry takes over. Time in which we ourselves took nothing (paused) does not count.
 *
 * How to drive it: after each call, and when sourcing_deadline() has come, call sourcing_next()
 * until it says SOURCING_REST, doing each step before the next call:
 *
 *   LOOK      sourcing_sources() with the usable entries of mesh_sources(), in their order
 *   ASK       mesh_fetch_started(), a request to `peer` from where the bytes end; it is `slot`
 *   LEAVE     end the request in `slot`, mesh_fetch_ended() with `outcome` (of who was left while
 *             it sent: WORKED, for its rate's sake); no sourcing_ended(), `slot` is free already
 *   REGISTRY  the registry is asked; sourcing_registry_ended() when that broke off
 *   GIVE_UP   nobody is left (only where the registry may not be asked)
 *
 * Guarantees: every call is O(peers); equal inputs and equal randomness give equal steps; a fetch
 * whose every source fails comes to REGISTRY or GIVE_UP after a bounded number of requests; a
 * source that lied is never asked again for this layer.
 * Not here: what is believed of a digest, whose right is used, sockets, clocks. Owns nothing: a
 * plain value. */
#pragma once

#include "proto/addr.h"
#include "proto/identity.h"
#include "proto/rng.h"

#define SOURCING_PEERS 16
#define SOURCING_SLOTS 2

#define SOURCING_MS            1000000ull
#define SOURCING_HEDGE_NS      (250 * SOURCING_MS)  /* a loaded disk answers sooner */
#define SOURCING_FIRST_BYTE_NS (1000 * SOURCING_MS) /* dead: goal is 1 s */
#define SOURCING_STALL_NS      (500 * SOURCING_MS)  /* between two bytes */
#define SOURCING_PIECE_MIN_NS  (600 * SOURCING_MS)  /* after a stall would have shown */
#define SOURCING_PIECE_MAX_NS  (4000 * SOURCING_MS)
#define SOURCING_FLOOR_BPS     65536                 /* slower than any link worth sparing */
#define SOURCING_BUSY_NS       (10000 * SOURCING_MS) /* in all: docker gives up after 15 s */
#define SOURCING_LOOK_NS       (1000 * SOURCING_MS)  /* a list older than this is asked for anew */

struct sourcing_peer {
    struct node_key key;
    struct addr addr;
    u64 expected_ns; /* for all bytes that were wanted when the list was made; 0: unknown */
};

enum sourcing_outcome {
    SOURCING_WORKED,  /* it sent all that was asked of it */
    SOURCING_FAILED,  /* unreachable, timed out, broke off */
    SOURCING_LIED,    /* another length or range than was asked for, or wrong bytes */
    SOURCING_MISSING, /* it does not hold it */
    SOURCING_BUSY,
    SOURCING_DENIED, /* it does not know us, or not yet */
    SOURCING_LEFT,   /* by us: slower than another may be, or not needed any more */
};
const char *sourcing_outcome_name(enum sourcing_outcome o);

enum sourcing_do {
    SOURCING_REST,
    SOURCING_LOOK,
    SOURCING_ASK,
    SOURCING_LEAVE,
    SOURCING_REGISTRY,
    SOURCING_GIVE_UP,
};
struct sourcing_step {
    enum sourcing_do what;
    unsigned slot;                 /* of ASK, LEAVE */
    struct sourcing_peer peer;     /* likewise */
    enum sourcing_outcome outcome; /* of LEAVE */
    const char *reason;            /* static, for `why`; "" when there is none */
};

/* --- inside ---------------------------------------------------------------------------------- */

#define SOURCING_KNOWN 32 /* peers that one fetch ever asks */

struct sourcing_known {
    struct sourcing_peer is;
    enum sourcing_state {
        SOURCING_FRESH,
        SOURCING_ASKED,
        SOURCING_FULL, /* said to be busy, until `until_ns` */
        SOURCING_SLOW, /* left for somebody else; better than nobody */
        SOURCING_OUT,
    } state;
    bool lied;
    unsigned failures;
    size_t rank; /* in the last list; SOURCING_KNOWN: not in it */
    u64 until_ns;
    u64 rate_bps; /* as it was with the last whole piece; 0: none yet */
};

struct sourcing_slot {
    bool used, paused;
    size_t peer;
    u64 started_ns, last_ns; /* asked; the last byte */
    u64 bytes;
    u64 piece_ns, piece_bytes; /* the piece at hand: since when, how much of it came */
    u64 paused_ns;
};

struct sourcing {
    struct rng rng;
    u64 size, piece;
    bool registry; /* may be asked */
    struct sourcing_known peers[SOURCING_KNOWN];
    size_t n_peers;
    struct sourcing_slot slots[SOURCING_SLOTS];
    bool looked, at_registry;
    u64 looked_ns;
    u64 waiting_ns; /* since when only the busy are left; 0: they are not */
    bool waited;    /* and the bound was reached */
};

struct sourcing_options {
    u64 size;      /* of the layer; from the registry, a manifest or a ticket */
    bool registry; /* it may be asked when no peer can help */
    struct rng rng;
};
void sourcing_init(struct sourcing *s, const struct sourcing_options *opt);

/* Who may be asked, best first; at most SOURCING_PEERS are taken. What was learnt of those that
 * were known before stays. */
void sourcing_sources(struct sourcing *s, const struct sourcing_peer *peers, size_t n, u64 now_ns);

void sourcing_next(struct sourcing *s, u64 now_ns, struct sourcing_step *out);
/* When sourcing_next() will say more than REST without any other call; UINT64_MAX: never. */
u64 sourcing_deadline(const struct sourcing *s);

/* `n` bytes of the layer came by `slot`. */
void sourcing_bytes(struct sourcing *s, unsigned slot, u64 n, u64 now_ns);
/* We do not take what it sends, for reasons of our own; and take it again. */
void sourcing_pause(struct sourcing *s, unsigned slot, bool paused, u64 now_ns);
/* The request is over. `retry_ns`: how long it said to be busy, 0: it did not. */
void sourcing_ended(struct sourcing *s, unsigned slot, enum sourcing_outcome outcome, u64 retry_ns,
                    u64 now_ns);
/* The registry broke off: peers are looked at again, then it is REGISTRY anew. */
void sourcing_registry_ended(struct sourcing *s, u64 now_ns);
/* Does anybody send, or was asked to? */
bool sourcing_is_asking(const struct sourcing *s);

/* choose.h - which peers a fetch should ask, in which order, and why.
 *
 * Labels first: same rack, then same subnet, same region, far. Within one of these tiers, of the
 * nearest eight (by measured or estimated round trip) two at random, and of these the one that is
 * expected to be done sooner (power of two choices: Mitzenmacher 2001); then again among the rest.
 * Expected: the round trip, or what a request lately lost to waiting if that is worse (peak-EWMA,
 * as in Finagle and linkerd: a slow answer counts at once and fades over ten seconds), and the
 * bytes in flight and wanted over the bandwidth seen, both stretched by the load the peer tells.
 *
 * Guarantee: healthy before suspected before busy before barred, whatever the distance; equal
 * inputs and equal randomness give equal answers. Each choice is explained. Owns nothing:
 * candidates are borrowed for the call. Not here: who is alive (member.h), who holds what
 * (inventory.h). */
#pragma once

#include "proto/identity.h"
#include "proto/rng.h"

enum choose_tier { CHOOSE_RACK, CHOOSE_SUBNET, CHOOSE_REGION, CHOOSE_FAR, CHOOSE_TIER_COUNT };
const char *choose_tier_name(enum choose_tier t);

/* One who may serve: what is known of it. */
struct choose_candidate {
    struct node_key key;
    enum choose_tier tier;
    u64 rtt_ns;         /* measured, or estimated; 0: unknown */
    u64 bandwidth_bps;  /* bytes per second, EWMA of our own fetches; 0: unknown */
    u64 inflight_bytes; /* what we still expect from it */
    u8 load;            /* as it says, 0 to 255 */
    bool busy;          /* said so a moment ago */
    bool suspect, barred;
};
/* How the choice went, for `why`: one line per candidate, in the order of preference. */
struct choose_verdict {
    size_t index; /* into the candidates */
    u64 expected_ns;
    const char *reason; /* static: "nearest of two", "busy", "barred", ... */
};

/* Orders candidates for `bytes` wanted (0: unknown): `out` has room for n, and every candidate is
 * in it once. Returns how many may be asked (the barred stand behind these, with their reason). */
size_t choose_order(const struct choose_candidate *c, size_t n, u64 bytes, struct rng *r,
                    struct choose_verdict *out);

/* When a request for `bytes` would be done. */
u64 choose_expected_ns(const struct choose_candidate *c, u64 bytes);

/* What fetches taught about one peer. Zero it first. */
struct choose_history {
    u64 bandwidth_bps;  /* EWMA over transfers long enough to tell */
    u64 peak_ns;        /* what a request lost to waiting: at once when worse, fading when better */
    u64 updated_ns;     /* of peak_ns */
    u64 inflight_bytes; /* asked for, not yet ended */
    u64 busy_until_ns;
};
void choose_started(struct choose_history *h, u64 expected);
/* `bytes` came (or did not: 0) in `took_ns` since the request; `expected` leaves what is in flight.
 */
void choose_ended(struct choose_history *h, u64 bytes, u64 expected, u64 took_ns, u64 now_ns);
/* We stopped asking, or it was never asked: `expected` leaves what is in flight, no more. */
void choose_left(struct choose_history *h, u64 expected);
void choose_busy(struct choose_history *h, u64 retry_after_ns, u64 now_ns);
/* Fills in what the history knows: bandwidth, bytes in flight, busy, and a worse round trip. */
void choose_recall(struct choose_candidate *c, const struct choose_history *h, u64 now_ns);

/* choose.h - which peers a fetch should ask, in which order, and why.
 *
 * Labels first (same rack, same subnet, same region), then measured round-trip times or Vivaldi
 * distance; among the nearest eight, two at random and the one that is expected to be done sooner
 * (power of two choices: Mitzenmacher 2001), expected by round trip, bytes in flight and a
 * peak-EWMA of its bandwidth (as in Finagle and linkerd). Each choice can be explained. Guarantee:
 * a dead, barred or busy peer is never chosen before a healthy one; equal inputs and equal
 * randomness give equal answers. Owns nothing: candidates are borrowed for the call. */
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

/* Orders candidates for `bytes` wanted: `out` has room for n; returns how many may be asked (the
 * barred stand behind these, with their reason). */
size_t choose_order(const struct choose_candidate *c, size_t n, u64 bytes, struct rng *r,
                    struct choose_verdict *out);

/* What fetches taught about one peer. Zero it first. */
struct choose_history {
    double bandwidth_bps, peak_ns; /* EWMA */
    u64 updated_ns, inflight_bytes, busy_until_ns;
};
void choose_started(struct choose_history *h, u64 bytes);
/* `bytes` came (or did not: 0) in `took_ns` since the request; `expected` leaves what is in flight.
 */
void choose_ended(struct choose_history *h, u64 bytes, u64 expected, u64 took_ns, u64 now_ns);
void choose_busy(struct choose_history *h, u64 retry_after_ns, u64 now_ns);
u64 choose_expected_ns(const struct choose_candidate *c, u64 bytes);

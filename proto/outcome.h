/* outcome.h - what nodes tell a tracker: how its tickets ended, how far users are, and what they
 * have done so far.
 *
 * Why: a tracker that sends a user elsewhere does not see what becomes of it. Nodes say when a
 * ticket was presented and how each transfer ended, so that a failure counts against the node and
 * an aborted range does not; which round-trip time they measured to networks of real clients, so
 * that the next user is sent to the nearest; and what they served and fetched since they started,
 * so that a tracker can show what did not cross the long line. Sent as POST /mesh/v1/outcomes, with
 * a Dray-Peer, to the tracker that issued the tickets. A report that is lost is no disaster:
 * nothing waits for one, and totals grow, so that the next report says them again.
 *
 * A body is one msgpack array, at most OUTCOME_BYTES_MAX bytes:
 *
 *     [version, [[event, user, digest, iat, bytes, ms, source], ...],
 *      [[prefix, rtt_us, samples], ...], totals]
 *
 * version is 1; user, digest and iat are the ticket's own (ticket.h), digest as there; bytes of the
 * body that were sent, ms since the request came, source where they came from (enum
 * outcome_source). prefix: 3 bytes, an IPv4 network of 24 bits, or 6, an IPv6 one of 48; rtt_us the
 * smallest measured there since the last report (to a tracker that has just started: the last that
 * is known). totals: an empty array, or the numbers of struct outcome_totals in their order.
 *
 * Guarantee: what is unpacked is whole and within these bounds, or nothing of it is believed. Who
 * speaks is the Dray-Peer's affair. */
#pragma once

#include "proto/limits.h"
#include "proto/ticket.h"
#include "proto/wire.h"

#define OUTCOME_PATH      "/mesh/v1/outcomes"
#define OUTCOME_MAX       256       /* tickets' events of one report */
#define OUTCOME_RTTS_MAX  256       /* networks of one report */
#define OUTCOME_RTT_MAX   60000000u /* us: more is no round trip */
#define OUTCOME_BYTES_MAX (48 * KIB)
#define OUTCOME_TOTAL_MAX                                                                          \
    (1ull << 56) /* of one number of totals: 64 PiB, more than a node can serve */

enum outcome_event {
    OUTCOME_BEGAN = 1, /* presented and valid: a transfer is alive */
    OUTCOME_DONE,      /* all that was asked for was sent */
    OUTCOME_LEFT,      /* the client left before the end: no fault of anybody */
    OUTCOME_FAILED,    /* the node could not serve it, or not to its end */
};
const char *outcome_event_name(enum outcome_event e); /* "failed"; static */

/* Where the bytes of an answer came from, as X-Dray-Source says it. */
enum outcome_source {
    OUTCOME_STORE,  /* held */
    OUTCOME_PEER,   /* fetched from a peer meanwhile */
    OUTCOME_ORIGIN, /* fetched from the registry meanwhile, once for everybody */
    OUTCOME_STREAM, /* from the registry, for this client alone */
    OUTCOME_SOURCES
};
const char *outcome_source_name(enum outcome_source s); /* "store"; static */

/* Each transfer has one OUTCOME_BEGAN and one of the others, perhaps in different reports; of a
 * ticket that is used several times at once (parallel ranges) each use is one. */
struct outcome {
    enum outcome_event event;
    u8 user[TICKET_USER_BYTES];
    struct digest digest;
    u64 iat_s;
    u64 bytes;
    u32 took_ms;
    enum outcome_source source;
};
/* Bytes since the node started (what it holds: now). Clients' alone: peers are not counted twice.
 */
struct outcome_totals {
    u64 served[OUTCOME_SOURCES]; /* of bodies, to clients */
    u64 from_peers, from_origin; /* layers fetched */
    u64 held_bytes, held_blobs, capacity_bytes;
    u64 serving; /* requests for layers that run now */
};
struct outcome_rtt {
    struct addr prefix; /* port 0, the bits beyond the network 0 */
    u32 rtt_us;
    u32 samples; /* at least 1 */
};
struct outcome_report {
    size_t n, n_rtts;
    struct outcome outcomes[OUTCOME_MAX];
    struct outcome_rtt rtts[OUTCOME_RTTS_MAX];
    bool has_totals;
    struct outcome_totals totals;
};

/* Network of a client's address: its first 24 bits of IPv4, 48 of IPv6. */
struct addr outcome_prefix(const struct addr *client);

/* Writes a report to `out` (OUTCOME_BYTES_MAX); returns its length. */
size_t outcome_pack(const struct outcome_report *r, u8 *out);
/* ERR_PROTO: malformed, or beyond a bound; `*r` is then empty. */
must_use int outcome_unpack(struct outcome_report *r, const void *data, size_t len);

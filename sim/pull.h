/* pull.h - users: who wants which image where, and how that ended.
 *
 * A user stands in an office and pulls by a node of it; each layer of the image is a request of its
 * own, answered from the node's store, by a fetch that runs, or by one that is begun. What fails is
 * tried again like docker does, PULL_TRIES times, by another node when this one is gone. A request
 * ends when its last byte is at the node: the office's own network is not modelled.
 * Judges two invariants: no answer completes with wrong bytes; no request is without an end. */
#pragma once

#include "sim/world.h"

#define PULL_ANY      UINT32_MAX
#define PULL_TRIES    6
#define PULL_PAUSE_NS (2 * SIM_S)
#define PULL_BOUND_NS (3600 * SIM_S) /* nothing takes longer, whatever happens */

struct pull {
    bool used;
    u32 node, image, left, failed; /* layers that are not done; that failed */
    u64 begun_ns;
};

struct pull_want { /* one layer of one pull */
    bool used;
    u32 pull, layer, node, tries;
    u64 begun_ns, bytes;
    u64 fetch; /* fetch_want()'s; 0: none, it waits for its next try */
};

struct pulls {
    struct pull *v;
    size_t n, cap, active;
    u32 *free;
    size_t n_free, free_cap;
    struct pull_want *wants;
    size_t n_wants, wants_cap, active_wants;
    u32 *wants_free;
    size_t n_wants_free, wants_free_cap;
    u64 requests, hits, failed, pulled, pulls_failed;
    u64 first_ns, last_ns; /* of all: the first began, the last ended */
    u64 *took_ns;          /* of whole pulls that worked */
    size_t n_took, took_cap;
};

void pull_init(struct world *w);
void pull_fini(struct world *w);
/* EV_PULL; image PULL_ANY: by popularity. */
void pull_begin(struct world *w, u32 node, u32 image);
/* The same counts for pulls that go another way (user.h). */
void pull_counts_begin(struct world *w, u32 layers);
void pull_counts_end(struct world *w, u64 took_ns, u32 failed);
void pull_retry(struct world *w, u32 want);
void pull_fetch_ended(struct world *w, u64 fetch, u32 node, int err, bool wrong);
/* Breaks "requests" if one has been waiting beyond all reason. */
void pull_check(struct world *w);

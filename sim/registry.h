/* registry.h - the central registry as the nodes meet it: rate, limits, and its bad days.
 *
 * Why: much of what a cache must get right is what it does when the registry is slow, says 429,
 * fails half-way, cannot be reached, or sends the wrong bytes.
 * Not here: its bytes on the lines (flow.h). */
#pragma once

#include "proto/rng.h"
#include "sim/knobs.h"

enum registry_mood {
    REGISTRY_WELL,
    REGISTRY_SLOW,     /* the first byte takes seconds, the stream a fiftieth of its rate */
    REGISTRY_LIMITING, /* most requests get 429 */
    REGISTRY_FAILING,  /* most requests get 5xx */
    REGISTRY_BREAKING, /* streams end early */
    REGISTRY_WRONG,    /* some answers carry wrong bytes */
    REGISTRY_GONE,     /* cannot be reached */
    REGISTRY_MOOD_COUNT
};
const char *registry_mood_name(enum registry_mood m);

struct registry {
    enum registry_mood mood;
    u64 stream_bps; /* 0: no cap */
    u64 slots, used;
    struct rng rng;
    u64 asked, served, limited, failed, bytes;
};

/* What becomes of one request, as its client will see it. */
struct registry_answer {
    int status;    /* 200, 429, 503; 0: no connection */
    u64 think_ns;  /* until its first byte leaves */
    double breaks; /* the stream ends after this part of it; 1: does not */
    bool wrong;    /* bytes are not the layer's */
};

void registry_init(struct registry *r, const struct knobs *k, const struct rng *rng);
/* 200 takes a slot, until registry_done(). */
void registry_ask(struct registry *r, struct registry_answer *a);
void registry_done(struct registry *r, u64 bytes);
/* What one stream gets at most just now; UINT64_MAX: as much as there is. */
u64 registry_slowness(const struct registry *r);

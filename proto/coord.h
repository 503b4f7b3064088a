/* coord.h - network distance without measuring every pair: Vivaldi coordinates.
 *
 * Dabek, Cox, Kaashoek, Morris, "Vivaldi: A Decentralized Network Coordinate System", SIGCOMM 2004:
 * four dimensions and a height, as in hashicorp/serf; the spring is damped by both sides' error.
 * One round-trip time and the peer's coordinate move one's own. Units: seconds, as f32 on the wire.
 * Guarantee: whatever a peer claims, the result stays finite and bounded, and one sample moves it
 * by a bounded step. Not here: labels (region, rack), which come first (choose.h). */
#pragma once

#include "proto/rng.h"
#include "proto/wire.h"

#define COORD_DIMENSIONS 4
#define COORD_ERROR_MAX  1.5f
#define COORD_FAR_MAX    10.0f  /* seconds, of each part: nothing on earth is farther */
#define COORD_HEIGHT_MIN 10e-6f /* seconds */
#define COORD_STEP_MAX   0.1f   /* seconds one sample may move us, whatever it says */

struct coord {
    float at[COORD_DIMENSIONS]; /* seconds */
    float height;               /* seconds, > 0: the access link */
    float error;                /* 0 (sure) to COORD_ERROR_MAX */
};

void coord_init(struct coord *c);
/* `rtt_ns` was measured to a peer at `peer`. Samples that cannot be (0, over 10 s) change nothing.
 * `r` breaks the tie when both stand on one point. */
void coord_update(struct coord *self, const struct coord *peer, u64 rtt_ns, struct rng *r);
/* Estimated round-trip time. */
u64 coord_distance_ns(const struct coord *a, const struct coord *b);

/* A bin of 24 bytes: four f32 and height and error, big-endian. */
void coord_put(struct wire_out *w, const struct coord *c);
void coord_get(struct wire_in *r, struct coord *c); /* not finite or out of bounds: bad */

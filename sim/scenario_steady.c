/* scenario_steady.c - a working day: images by Zipf's law, at an even pace. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->duration = 600 * SIM_S;
    k->pulls = 2;
    k->capacity = 40000000000u;
}

const struct scenario scenario_steady = {
    .name = "steady",
    .summary = "users pull images at an even pace, popular ones most",
    .text = "What share of the layers comes from the node's own store (hit_ratio), what share of "
            "the rest from peers (peer_hit_ratio), and how many copies crossed the WAN "
            "(origin_copies).",
    .tune = tune,
};

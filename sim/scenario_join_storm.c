/* scenario_join_storm.c - power returns: everybody starts at once, with full stores. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 500;
    k->layers = 1000;
    k->join_over = SIM_S;
    k->warm = 2 * SIM_S;
    k->duration = 30 * SIM_S;
    k->heal = 120 * SIM_S;
}

const struct scenario scenario_join_storm = {
    .name = "join-storm",
    .summary = "all nodes start within a second, with full stores",
    .text = "How soon all see all and know what each holds (figures.json: agree_ms, counted from "
            "the end of the faults' phase), and what the storm costs in bytes.",
    .tune = tune,
};

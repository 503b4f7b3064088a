/* scenario_idle.c - a large region in which nothing happens: what the mesh costs by itself. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 1000;
    k->layers = 100;
    k->warm = 60 * SIM_S;
    k->join_over = 10 * SIM_S;
    k->duration = 120 * SIM_S;
}

const struct scenario scenario_idle = {
    .name = "idle",
    .summary = "a region in which nothing happens: what the mesh costs by itself",
    .text = "mesh_bytes_per_node_s is what each node sends; false_dead must be 0.",
    .tune = tune,
};

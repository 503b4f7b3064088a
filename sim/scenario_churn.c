/* scenario_churn.c - a large region in which nodes come and go and layers change all the time. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 1000;
    k->layers = 200;
    k->changes = 1;
    k->loss = .01;
    k->crashes = 360;
    k->leaves = 120;
    k->down_for = 60 * SIM_S;
    k->duration = 120 * SIM_S;
    k->warm = 40 * SIM_S;
    k->join_over = 10 * SIM_S;
    k->heal = 120 * SIM_S;
}

const struct scenario scenario_churn = {
    .name = "churn",
    .summary = "nodes crash and return, each replaces a layer a second, 1 % of datagrams are lost",
    .text = "How long until a crash is known everywhere (detect_*), until a new layer is known to "
            "99 % of the nodes (converge_*; to all: figures.json), who was declared dead and was "
            "not (false_dead), and what that costs (mesh_bytes_per_node_s). --set layers=20000 is "
            "the full size.",
    .tune = tune,
};

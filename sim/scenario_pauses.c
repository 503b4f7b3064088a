/* scenario_pauses.c - a lossy region whose nodes are stopped for seconds: who is called dead? */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 1000;
    k->loss = .05;
    k->pauses = 60;
    k->pause_part = .01;
    k->pause_for = 5 * SIM_S;
    k->warm = 40 * SIM_S;
    k->join_over = 10 * SIM_S;
    k->duration = 600 * SIM_S;
    k->second = false;
}

const struct scenario scenario_pauses = {
    .name = "pauses",
    .summary = "5 % loss, and every minute 1 % of the nodes are stopped for 5 s: false deaths",
    .text = "Nobody dies, so nobody may be declared dead (false_dead). --set duration=24h for the "
            "long run.",
    .tune = tune,
};

/* scenario_flash_crowd.c - everybody wants the same new image at the same time. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 200;
    k->images = 1;
    k->image_bytes = 500000000;
    k->image_layers = 5;
    k->duration = 120 * SIM_S;
    k->heal = 300 * SIM_S;
}

static void plan(struct world *w)
{
    struct rng r = engine_rng(&w->engine, "flash crowd");
    for (u32 i = 0; i < w->n; i++)
        world_at(w, w->k.warm + (i > 0 ? w->k.ahead : 0) + rng_below(&r, w->k.crowd), EV_PULL, i,
                 0);
}

const struct scenario scenario_flash_crowd = {
    .name = "flash-crowd",
    .summary = "every node pulls the same new image within a second",
    .text = "How long until the last one has it (makespan_s) against what the lines permit "
            "(makespan_bound_s), and how many copies the registry sent (origin_copies). With "
            "--set offices=1 and node_up, node_down, wan and registry_rate alike it is the case of "
            "equal links; --set crowd=100ms lets all begin at once, and --set ahead=60s the first "
            "one so early that it holds all before the others come.",
    .tune = tune,
    .plan = plan,
};

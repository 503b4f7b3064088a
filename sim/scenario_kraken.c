/* scenario_kraken.c - the case that Uber published for Kraken: 2,600 hosts, 3 GB in two layers. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 2600;
    k->offices = 1;
    k->images = 1;
    k->image_bytes = 3000000000;
    k->image_layers = 2;
    k->node_up = k->node_down = 300000000;
    k->registry_rate = 300000000; /* one origin with the same line, in the same place */
    k->registry_rtt = SIM_MS;
    k->wan = 300000000;
    k->duration = 120 * SIM_S;
    k->warm = 60 * SIM_S;
    k->join_over = 20 * SIM_S;
    k->heal = 600 * SIM_S;
    k->disk = 1000000000;
}

static void plan(struct world *w)
{
    struct rng r = engine_rng(&w->engine, "kraken");
    for (u32 i = 0; i < w->n; i++)
        world_at(w, w->k.warm + rng_below(&r, 100 * SIM_MS), EV_PULL, i, 0);
}

const struct scenario scenario_kraken = {
    .name = "kraken",
    .summary = "Uber's published case: 2,600 hosts pull 3 GB in two layers at 300 MB/s each",
    .text = "Kraken: p50 10 s, p99 18 s, p99.9 22 s, against a bound of 10.15 s (its README). "
            "figures.json has pull, with p50, p99 and p999.",
    .tune = tune,
    .plan = plan,
};

/* scenario_partition.c - the region falls apart, one way and both ways, and comes together again.
 */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->layers = 100;
    k->changes = .2;
    k->pulls = 1;
    k->duration = 300 * SIM_S;
}

static void plan(struct world *w)
{
    struct rng r = engine_rng(&w->engine, "partition");
    u64 at = w->k.warm + 5 * SIM_S, each = w->k.duration / 4;
    static const enum fault_kind kinds[] = {FAULT_SPLIT, FAULT_SPLIT_ONE_WAY, FAULT_OFFICE_CUT,
                                            FAULT_SPLIT};
    for (size_t i = 0; i < countof(kinds); i++)
        fault_add(&w->faults, (struct fault){.at_ns = at + i * each,
                                             .for_ns = each / 2 + rng_below(&r, each / 4),
                                             .kind = kinds[i],
                                             .node = (u32)rng_below(&r, kinds[i] == FAULT_OFFICE_CUT
                                                                            ? w->topology.n_offices
                                                                            : w->n),
                                             .amount = 200 + rng_below(&r, 300)});
}

const struct scenario scenario_partition = {
    .name = "partition",
    .summary = "the region is cut in two, one way and both ways, and heals",
    .text = "Each side goes on alone; after healing, everybody must see everybody and hold the "
            "same inventories within the bound (figures.json: agree_ms). Deaths across a cut do "
            "not count as false.",
    .tune = tune,
    .plan = plan,
};

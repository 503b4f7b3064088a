/* scenario_origin_outage.c - the registry has every kind of bad day, one after the other. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->pulls = 2;
    k->images = 60;
    k->duration = 700 * SIM_S;
}

static void plan(struct world *w)
{
    u64 each = w->k.duration / REGISTRY_MOOD_COUNT;
    for (u64 mood = REGISTRY_SLOW; mood < REGISTRY_MOOD_COUNT; mood++)
        fault_add(&w->faults, (struct fault){.at_ns = w->k.warm + mood * each,
                                             .for_ns = each / 2,
                                             .kind = FAULT_ORIGIN,
                                             .amount = mood});
}

const struct scenario scenario_origin_outage = {
    .name = "origin-outage",
    .summary = "the registry is slow, answers 429 and 5xx, breaks off, lies, and is gone",
    .text = "What the region holds must still be served; what nobody holds fails in order and in "
            "time, and nothing wrong is ever kept or completed.",
    .tune = tune,
    .plan = plan,
};

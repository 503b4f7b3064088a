/* scenario_offices.c - several regions around the world, each with its day and its night, whose
 * users pull through two trackers; nodes and trackers fail. */
#include "sim/pull.h"
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 120;
    k->offices = 12;
    k->regions = 4;
    k->spread = 6 * SIM_MS;
    k->trackers = 2;
    k->images = 100;
    k->grace = 600 * SIM_S;
    k->crashes = 30;
    k->tracker_faults = 9;
    k->duration = 1200 * SIM_S; /* a day, seventy-two times faster */
}

static void plan(struct world *w)
{
    for (u32 o = 0; o < w->topology.n_offices; o++) {
        if (w->topology.offices[o].utc_offset_min == 0)
            w->topology.offices[o].utc_offset_min = (i64)o * 120 - 660;
        world_at(w, w->k.warm + o * SIM_MS, EV_SCENARIO, 0, o);
    }
}

/* Work begins at eight and ends at six: a hill of two straight lines, and little at night. */
static double busy(i64 minute)
{
    i64 m = (minute % 1440 + 1440) % 1440;
    if (m < 480 || m > 1080)
        return .05;
    return m < 780 ? (double)(m - 480) / 300 : (double)(1080 - m) / 300;
}

static void step(struct world *w, const struct event *ev)
{
    const struct topology_office *o = &w->topology.offices[ev->arg];
    double day = (double)(world_now(w) - w->k.warm) / (double)w->k.duration;
    double rate = .02 + busy((i64)(day * 1440) + o->utc_offset_min); /* pulls per second */
    if (w->phase == PHASE_HEALED)
        return;
    u32 node = o->first + (u32)rng_below(&w->rng_work, o->nodes);
    world_at(w, world_now(w), EV_PULL, node, PULL_ANY);
    world_at(w, world_now(w) + 1 + (u64)(2e9 * rng_unit(&w->rng_work) / rate), EV_SCENARIO, 0,
             ev->arg);
}

const struct scenario scenario_offices = {
    .name = "offices",
    .summary = "four regions, twelve time zones: users pull through two trackers; nodes and "
               "trackers fail",
    .text = "A day in twenty minutes. Half of the users have a profile (\"the Asia office\", or a "
            "node), some offices' nodes say whom they serve, of the rest the trackers learn how "
            "far they are. own_office_ratio is the share of layers, once half of the day is over, "
            "that a node of the user's own office served. A request that was given up though "
            "somebody could have served it breaks the run (stranded). --set topology=FILE places "
            "the offices, --set trackers=0 has users ask a node of theirs.",
    .tune = tune,
    .plan = plan,
    .step = step,
};

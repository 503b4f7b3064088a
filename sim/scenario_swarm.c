/* scenario_swarm.c - a run drawn at random: size, weather, work, and which faults how often.
 *
 * Swarm testing (Groce, Zhang, Eide, Chen, Regehr, ISSTA 2012): runs that each leave something out
 * find more than runs that mix everything. So most knobs are drawn to be off half of the time. */
#include "sim/world.h"

static double maybe(struct rng *r, double most)
{
    return rng_chance(r, .5) ? most * rng_unit(r) : 0;
}

static void tune(struct knobs *k, u64 seed)
{
    struct rng r;
    rng_seed(&r, seed ^ 0x737761726dull);
    k->nodes = rng_chance(&r, .2) ? 1 + rng_below(&r, 5) : 6 + rng_below(&r, 45);
    k->offices = 1 + rng_below(&r, k->nodes < 4 ? k->nodes : 4);
    k->seeds = 1 + rng_below(&r, 3);
    k->sealed = rng_chance(&r, .3);
    k->loss = maybe(&r, .2);
    k->duplicate = maybe(&r, .2);
    k->reorder = maybe(&r, .3);
    k->corrupt = k->sealed ? maybe(&r, .02) : 0;
    k->drift = rng_chance(&r, .5) ? rng_below(&r, 1000) : 0;
    k->layers = rng_chance(&r, .8) ? rng_below(&r, 300) : 0;
    k->catalog = 1 + k->layers + rng_below(&r, 4000);
    k->changes = k->layers ? maybe(&r, 3) : 0;
    k->pulls = rng_chance(&r, .7) ? 3 * rng_unit(&r) : 0;
    k->images = 1 + rng_below(&r, 60);
    k->capacity = rng_chance(&r, .5) ? 500000000 + rng_below(&r, 5000000000) : 500000000000;
    k->peer_slots = 1 + rng_below(&r, 64);
    k->registry_slots = 4 + rng_below(&r, 400);
    k->liars = rng_chance(&r, .2) ? .2 * rng_unit(&r) : 0;
    k->chaos = rng_chance(&r, .9) ? 60000 * rng_unit(&r) * rng_unit(&r) : 0;
    k->warm = 15 * SIM_S;
    k->join_over = rng_below(&r, 8 * SIM_S);
    k->duration = (20 + rng_below(&r, 60)) * SIM_S;
    k->heal = 180 * SIM_S;
    k->colluders = rng_chance(&r, .15) ? .3 * rng_unit(&r) : 0;
    k->upsets = rng_chance(&r, .6) ? 20000 * rng_unit(&r) * rng_unit(&r) : 0;
    k->spread = rng_chance(&r, .3) ? rng_below(&r, 20 * SIM_MS) : 0;
    struct rng wan; /* of its own: what is drawn below has not changed by it */
    rng_seed(&wan, seed ^ 0x77616e63757473ull);
    k->wan_cuts = maybe(&wan, 600);
    if (rng_chance(&r, .5))
        return; /* users ask a node of their office */
    k->trackers = 1 + rng_below(&r, 3);
    k->regions = 1 + rng_below(&r, k->offices);
    k->tracker_faults = maybe(&r, 400);
    k->users = 1 + rng_below(&r, 30);
    k->profiles = maybe(&r, 1);
    k->subnets = maybe(&r, 1);
    k->grace = rng_chance(&r, .5) ? rng_below(&r, 600 * SIM_S) : 0;
}

const struct scenario scenario_swarm = {
    .name = "swarm",
    .summary = "a run drawn at random from its seed: size, weather, work and faults",
    .text = "dray-sim swarm runs many of these, one seed after the other; a seed that fails is run "
            "again as dray-sim run swarm --seed S.",
    .tune = tune,
};

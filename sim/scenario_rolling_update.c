/* scenario_rolling_update.c - new versions of popular images, taken up rack after rack. */
#include "sim/world.h"

#define UPDATES 10

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->nodes = 200;
    k->images = 20;
    k->duration = 600 * SIM_S;
}

static void plan(struct world *w)
{
    for (u32 i = 0; i < UPDATES; i++)
        world_at(w, w->k.warm + i * w->k.duration / UPDATES, EV_SCENARIO, 0, i);
}

/* The first few nodes try it, then a tenth a tenth later, then all: as orchestrators do it. */
static void step(struct world *w, const struct event *ev)
{
    u32 image = catalog_publish(&w->catalog, (u32)ev->arg % w->catalog.n_images, &w->rng_work);
    u64 wave = w->k.duration / UPDATES / 12;
    for (u32 i = 0; i < w->n; i++)
        world_at(w, world_now(w) + (i * 10 / w->n) * wave + rng_below(&w->rng_work, wave), EV_PULL,
                 i, image);
}

const struct scenario scenario_rolling_update = {
    .name = "rolling-update",
    .summary = "new versions of an image are rolled out over the racks, a tenth at a time",
    .text = "Only the last layers of an image change. The first wave brings them into the region; "
            "the later ones should find them near (peer_hit_ratio, origin_copies).",
    .tune = tune,
    .plan = plan,
    .step = step,
};

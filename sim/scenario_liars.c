/* scenario_liars.c - some nodes hand out wrong bytes, claim what they do not hold, or trickle. */
#include "sim/world.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->pulls = 2;
    k->images = 40;
    k->liars = .1;
    k->colluders = .05;
    k->duration = 400 * SIM_S;
}

const struct scenario scenario_liars = {
    .name = "liars",
    .summary =
        "a tenth of the nodes serve wrong bytes, deny, claim or trickle; others lie together",
    .text =
        "No answer may complete with wrong bytes, and no honest node be convicted; the price "
        "is seen in makespan and origin_copies. A twentieth collude: they claim the "
        "same layers and share wrong bytes out among them. --set spoilers=10% is a tenth that sends "
        "wrong bytes, and forges what it is appointed to fetch.",
    .tune = tune,
};

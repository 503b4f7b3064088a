/* scenario.h - named runs: what each is about, its knobs, its work and its faults.
 *
 * Each stands in a file of its own, sim/scenario_NAME.c, and in the table of scenario.c. */
#pragma once

#include "sim/engine.h"
#include "sim/knobs.h"

struct world;

struct scenario {
    const char *name, *summary; /* a line */
    const char *text;           /* a paragraph: what it shows, what to look at */
    /* Its own values for knobs, which the seed may decide; may be NULL. */
    void (*tune)(struct knobs *k, u64 seed);
    /* Adds faults and work; may be NULL. */
    void (*plan)(struct world *w);
    /* An EV_SCENARIO of its own; may be NULL. */
    void (*step)(struct world *w, const struct event *ev);
};

extern const struct scenario scenario_steady, scenario_flash_crowd, scenario_rolling_update,
    scenario_churn, scenario_partition, scenario_origin_outage, scenario_join_storm,
    scenario_offices, scenario_liars, scenario_kraken, scenario_pauses, scenario_idle,
    scenario_swarm, scenario_trace;

/* NULL: no such name. */
const struct scenario *scenario_find(const char *name);
const struct scenario *scenario_at(size_t i); /* NULL at the end */
/* Standard knobs, then the scenario's. */
void scenario_knobs(const struct scenario *s, u64 seed, struct knobs *k);

/* scenario.c - the table of scenarios; see scenario.h. */
#include "sim/scenario.h"

#include <string.h>

static const struct scenario *const table[] = {
    &scenario_steady,    &scenario_flash_crowd,   &scenario_rolling_update, &scenario_churn,
    &scenario_partition, &scenario_origin_outage, &scenario_join_storm,     &scenario_offices,
    &scenario_liars,     &scenario_kraken,        &scenario_pauses,         &scenario_idle,
    &scenario_swarm,     &scenario_trace,
};

const struct scenario *scenario_at(size_t i)
{
    return i < countof(table) ? table[i] : NULL;
}

const struct scenario *scenario_find(const char *name)
{
    for (size_t i = 0; i < countof(table); i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

void scenario_knobs(const struct scenario *s, u64 seed, struct knobs *k)
{
    knobs_init(k);
    if (s->tune)
        s->tune(k, seed);
}

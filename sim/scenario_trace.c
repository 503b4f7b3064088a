/* scenario_trace.c - pulls from a file, at the times that stand there. */
#include <stdio.h>
#include <string.h>

#include "sim/pull.h"
#include "sim/trace.h"

static void tune(struct knobs *k, u64 seed)
{
    (void)seed;
    k->duration = 0;
    k->capacity = 40000000000u;
}

/* The office of that name; UINT32_MAX: there is none. */
static u32 office_named(const struct topology *t, const char *name)
{
    for (u32 i = 0; i < t->n_offices; i++)
        if (strcmp(t->offices[i].name, name) == 0)
            return i;
    return UINT32_MAX;
}

int scenario_trace_check(const struct trace *t, const struct topology *places, char why[256])
{
    for (size_t i = 0; i < t->n_pulls; i++)
        if (t->pulls[i].office[0] && office_named(places, t->pulls[i].office) == UINT32_MAX) {
            snprintf(why, 256, "trace: line %u: office: there is none of that name",
                     t->pulls[i].line);
            return ERR_INVAL;
        }
    return 0;
}

u32 scenario_trace_node(const struct topology *places, const struct trace_pull *p)
{
    if (!p->office[0])
        return (u32)(p->user % places->nodes);
    const struct topology_office *o = &places->offices[office_named(places, p->office)];
    return o->first + (u32)(p->user % o->nodes);
}

static void plan(struct world *w)
{
    world_at(w, w->k.warm + SIM_MS, EV_SCENARIO, 0, 0);
}

/* All that is due, then the wait for the next. */
static void step(struct world *w, const struct event *ev)
{
    const struct trace *t = w->trace;
    size_t i = ev->arg;
    if (w->phase == PHASE_HEALED)
        return;
    u64 at = t->pulls[i].at_ns;
    for (; i < t->n_pulls && t->pulls[i].at_ns == at; i++)
        pull_begin(w, scenario_trace_node(&w->topology, &t->pulls[i]), (u32)i);
    if (i < t->n_pulls)
        world_at(w, world_now(w) + (t->pulls[i].at_ns - at), EV_SCENARIO, 0, i);
}

const struct scenario scenario_trace = {
    .name = "trace",
    .summary = "pulls from a file: --set trace=FILE, CSV of time,user,repository,digest,bytes",
    .text = "What a registry's own log would have been with a mesh: hit_ratio, peer_hit_ratio, "
            "origin_copies. A user is a node, always the same, of the line's office if it names "
            "one. It goes on until the last line, or for `duration` where that is set; pulls, "
            "crashes, chaos and the other knobs come on top. Whole-blob fetches.",
    .tune = tune,
    .plan = plan,
    .step = step,
};

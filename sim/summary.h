/* summary.h - what a run came to: the line of JSON that scripts rely on, and the fuller figures.
 *
 * The keys of summary_print() are a promise (scripts, dashboards); null where a figure does not
 * apply. figures.json has everything else that was counted, and may grow. */
#pragma once

#include <stdio.h>

#include "sim/world.h"

struct summary {
    const char *scenario;
    u64 seed, nodes, events, state_hash;
    double virtual_s, wall_s;
    bool broken;
    char invariant[32], why[200];
    u64 broken_ns;
    double makespan_s, makespan_bound_s; /* 0: does not apply */
    double origin_copies;                /* < 0: likewise */
    double office_copies;                /* < 0 */
    u64 converge_p50_ns, converge_p99_ns, converge_n, detect_p50_ns, detect_p99_ns, detect_n;
    u64 false_dead;
    double mesh_bytes_per_node_s;        /* < 0 */
    double hit_ratio, peer_hit_ratio;    /* < 0 */
    double own_office_ratio;             /* < 0 */
    double rtt_error_p50, rtt_error_p90; /* < 0 */
};

/* Takes what is left open into the figures first: the run is over. */
void summary_take(struct summary *s, struct world *w, double wall_s);
void summary_print(const struct summary *s, FILE *out); /* one line */
void summary_figures(struct world *w, FILE *out);       /* a JSON object over several lines */
/* For people: the figures that apply, a line each. */
void summary_tell(struct world *w, const struct summary *s, FILE *out);

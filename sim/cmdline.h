/* cmdline.h - dray-sim's command line: what is asked for, or a sentence that says what is wrong. */
#pragma once

#include "sim/run.h"

enum cmdline_action {
    CMDLINE_HELP,
    CMDLINE_HELP_RUN, /* of a scenario when there is one: its text and knobs */
    CMDLINE_VERSION,
    CMDLINE_LIST,
    CMDLINE_RUN,
    CMDLINE_SWARM,
};

#define CMDLINE_SETS 64

struct cmdline {
    enum cmdline_action action;
    const struct scenario *scenario;
    u64 seed, nodes, runs; /* nodes 0: the scenario's */
    bool seed_given;
    const char *sets[CMDLINE_SETS]; /* key=value */
    size_t n_sets;
    const char *topology, *trace, *out, *faults; /* paths */
    bool shrink;
};

#define CMDLINE_WHY_MAX 256

must_use int cmdline_parse(struct cmdline *c, int argc, char **argv, char why[CMDLINE_WHY_MAX]);
/* The knobs of the scenario with this seed, then what was set. ERR_INVAL. */
must_use int cmdline_knobs(const struct cmdline *c, u64 seed, struct knobs *k,
                           char why[CMDLINE_WHY_MAX]);
void cmdline_help(FILE *out);
void cmdline_help_run(const struct cmdline *c);
void cmdline_list(void);

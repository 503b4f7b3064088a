/* run.h - one run from its beginning to its end, with progress for people and reports in a folder.
 *
 * Ctrl-C ends a run early, and in order: what was measured until then is reported. */
#pragma once

#include "sim/fault.h"
#include "sim/summary.h"

struct run_options {
    const struct scenario *scenario;
    struct knobs knobs;
    u64 seed;
    const char *topology_path; /* NULL: built in */
    const char *topology_text; /* what stands in it; borrowed */
    size_t topology_len;
    u32 nodes;                       /* of the topology; 0: as many as it says */
    const char *trace_path;          /* NULL: none */
    const struct trace *trace;       /* what stands in it; borrowed */
    const char *out;                 /* directory; NULL: no files */
    const struct fault_plan *faults; /* NULL: drawn */
    bool tell;                       /* figures for people, on stderr */
    bool progress;                   /* a bar, on stderr: a terminal */
};

struct run_result {
    struct summary summary;
    bool interrupted;
    struct fault_plan faults; /* those that were in the plan; fault_fini() */
};

/* 0, whether or not an invariant broke. ERR_INVAL, ERR_IO: it could not be run, or its files not
 * be written; `why`. */
must_use int run_once(const struct run_options *opt, struct run_result *out, char why[256]);

/* The command that runs it again. */
void run_replay(const struct run_options *opt, char *out, size_t size);
/* An invariant broke: says which, when, and how to see it again. */
void run_complain(const struct run_options *opt, const struct summary *s, FILE *out);

/* From now on SIGINT and SIGTERM end runs instead of the process; a second one ends that too. */
void run_catch_signals(void);
bool run_interrupted(void);

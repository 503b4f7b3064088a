/* run.c - see run.h. */
#include "sim/run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim/fetch.h"
#include "sim/pull.h"
#include "sim/report.h"

#define LOOK_EVERY 4096 /* events between two looks at the wall clock */
#define BAR        30

static volatile sig_atomic_t interrupted; /* a signal handler has no other place */

static char again[4096]; /* how to have this run again, for on_crash() */

/* An assertion of a core failed, or worse: the run is known, which is all that can be done here. */
static void on_crash(int number)
{
    ssize_t n = write(STDERR_FILENO, again, strlen(again));
    (void)n;
    signal(number, SIG_DFL);
    raise(number);
}

static void on_signal(int number)
{
    if (interrupted)
        _exit(128 + number);
    interrupted = 1;
}

void run_catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    sa.sa_handler = on_crash;
    sigaction(SIGABRT, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
}

bool run_interrupted(void)
{
    return interrupted != 0;
}

static double wall_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const char *phase_name(const struct world *w)
{
    if (w->phase == PHASE_WARM)
        return "forming";
    if (w->phase == PHASE_FAULTS)
        return w->faults.n > 0 ? "faults" : "working";
    return w->agreed_ns == UINT64_MAX ? "healing" : "ending";
}

static void show_progress(const struct world *w, double began, bool last)
{
    u64 whole = w->k.warm + w->k.duration;
    double part = (double)world_now(w) / (double)whole, took = wall_s() - began;
    int full = part >= 1 ? BAR : (int)(part * BAR);
    char bar[BAR + 1];
    memset(bar, '.', BAR);
    memset(bar, '#', (size_t)full);
    bar[BAR] = 0;
    fprintf(stderr, "\r%s [%s] %3.0f %%  %s, %.1f s virtual, %.2f M events/s, %.1f x real time   ",
            w->scenario->name, bar, part >= 1 ? 100 : 100 * part, phase_name(w),
            (double)world_now(w) / 1e9, took > 0 ? (double)w->engine.events / took / 1e6 : 0,
            took > 0 ? (double)world_now(w) / 1e9 / took : 0);
    if (last)
        fputc('\n', stderr);
}

static void drive(const struct run_options *opt, struct world *w, double began)
{
    double shown = 0;
    u64 steps = 0;
    while (!interrupted && world_step(w)) {
        if (!opt->progress || ++steps % LOOK_EVERY)
            continue;
        double now = wall_s();
        if (now - shown > .2) {
            show_progress(w, began, false);
            shown = now;
        }
    }
    if (opt->progress)
        show_progress(w, began, true);
}

static void keep_faults(const struct world *w, struct fault_plan *out)
{
    for (size_t i = 0; i < w->faults.n; i++)
        fault_add(out, w->faults.v[i]);
}

int run_once(const struct run_options *opt, struct run_result *out, char why[256])
{
    memset(out, 0, sizeof(*out));
    struct record *record = NULL;
    int rc = opt->out ? record_new(&record, opt->out, why) : 0;
    if (rc)
        return rc;
    struct world_options wo = {.scenario = opt->scenario,
                               .knobs = &opt->knobs,
                               .seed = opt->seed,
                               .topology_text = opt->topology_text,
                               .topology_len = opt->topology_len,
                               .nodes = opt->nodes,
                               .trace = opt->trace,
                               .record = record,
                               .faults = opt->faults};
    double began = wall_s();
    struct world *w = NULL;
    char replay[sizeof(again) - 64];
    run_replay(opt, replay, sizeof(replay));
    snprintf(again, sizeof(again), "\ndray-sim: crashed; again: %s\n", replay);
    rc = world_new(&w, &wo, why);
    if (rc == 0) {
        drive(opt, w, began);
        out->interrupted = interrupted;
        if (out->interrupted && w->phase == PHASE_FAULTS)
            measure_stop(w);
        summary_take(&out->summary, w, wall_s() - began);
        keep_faults(w, &out->faults);
        if (opt->tell)
            summary_tell(w, &out->summary, stderr);
    }
    if (record) {
        struct page *page = record_take_page(record);
        int written = record_del(record);
        if (rc == 0 && written) {
            snprintf(why, 256, "%.180s: could not be written", opt->out);
            rc = written;
        }
        char command[1024];
        run_replay(opt, command, sizeof(command));
        if (rc == 0)
            rc = report_write(opt->out, w, &out->summary, page, command, why);
        page_del(page);
    }
    if (w)
        world_del(w);
    return rc;
}

/* As a shell takes it back: in quotes where it has to be. Cut at `size`. */
static size_t put_path(const char *set, const char *path, char *out, size_t size)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./+:,@%";
    size_t n = (size_t)snprintf(out, size, " --set %s=", set);
    bool quote = path[0] == 0 || strspn(path, plain) != strlen(path);
    if (quote && n + 1 < size)
        out[n++] = '\'';
    for (const char *c = path; *c && n + 5 < size; c++) {
        if (*c == '\'') { /* ends the quotes, is quoted alone, and begins them again */
            memcpy(out + n, "'\\''", 4);
            n += 4;
        } else {
            out[n++] = *c;
        }
    }
    if (quote && n + 1 < size)
        out[n++] = '\'';
    if (n < size)
        out[n] = 0;
    return n < size ? n : size - 1;
}

void run_replay(const struct run_options *opt, char *out, size_t size)
{
    struct knobs base, changed = opt->knobs;
    scenario_knobs(opt->scenario, opt->seed, &base);
    size_t n = (size_t)snprintf(out, size, "dray-sim run %s --seed %" PRIu64, opt->scenario->name,
                                opt->seed);
    if (opt->topology_path)
        n += put_path("topology", opt->topology_path, out + n, size - n);
    if (opt->trace_path)
        n += put_path("trace", opt->trace_path, out + n, size - n);
    char nodes[40] = "";
    if (changed.nodes != base.nodes)
        snprintf(nodes, sizeof(nodes), " --nodes %" PRIu64, changed.nodes);
    if (n + strlen(nodes) < size)
        n += (size_t)snprintf(out + n, size - n, "%s", nodes);
    changed.nodes = base.nodes;
    knobs_print_changes(&changed, &base, out + n, size - n);
}

void run_complain(const struct run_options *opt, const struct summary *s, FILE *out)
{
    char replay[4096];
    run_replay(opt, replay, sizeof(replay));
    fprintf(out,
            "dray-sim: invariant broken: %s\n  %s\n  at %.6f s of virtual time, seed %" PRIu64
            "\n  again: %s\n",
            s->invariant, s->why, (double)s->broken_ns / 1e9, s->seed, replay);
}

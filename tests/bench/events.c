/* events.c - how many events a second the simulator does: dray-events SCENARIO [SEED] [key=value
 * ...]
 *
 * dray-sim says what a whole run took, its start and what else the machine did meanwhile included.
 * This runs the same world, and takes the processor time of each second of virtual time between the
 * warm-up and the healing: the median of these says what a run is like, the best what it is like
 * when nobody else has the caches. One line of JSON; `start_s` is until the first event after the
 * warm-up. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "sim/world.h"

#define SLICES_MAX 100000

struct slice {
    double events_per_s, times_real;
};

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_times_real(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;
    return a->times_real < b->times_real ? -1 : a->times_real > b->times_real;
}

static int by_events(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;
    return a->events_per_s < b->events_per_s ? -1 : a->events_per_s > b->events_per_s;
}

static void report(const struct world *w, double start, double cpu, u64 events, struct slice *v,
                   size_t n)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    double virtual_s = (double)n;
    printf("{\"scenario\": \"%s\", \"nodes\": %u, \"start_s\": %.2f, \"events\": %" PRIu64
           ", \"cpu_s\": %.2f, \"events_per_s\": %.0f, \"times_real\": %.1f",
           w->scenario->name, w->n, start, events, cpu, (double)events / cpu, virtual_s / cpu);
    qsort(v, n, sizeof(*v), by_events);
    printf(", \"events_per_s_median\": %.0f, \"events_per_s_best\": %.0f", v[n / 2].events_per_s,
           v[n - 1].events_per_s);
    qsort(v, n, sizeof(*v), by_times_real);
    printf(", \"times_real_median\": %.1f, \"times_real_best\": %.1f, \"mib\": %ld, "
           "\"state_hash\": \"%016" PRIx64 "\", \"broken\": \"%s\"}\n",
           v[n / 2].times_real, v[n - 1].times_real, r.ru_maxrss / 1024, w->engine.hash,
           w->measure.broken ? w->measure.invariant : "");
}

static void measure_run(struct world *w)
{
    static struct slice slices[SLICES_MAX];
    size_t n = 0;
    double began = cpu_s(), start = 0, last = 0, first = 0;
    u64 next_ns = w->k.warm, last_events = 0, first_events = 0;
    while (world_step(w) && w->phase != PHASE_HEALED && n < SLICES_MAX) {
        if (world_now(w) < next_ns)
            continue;
        double now = cpu_s();
        if (next_ns == w->k.warm) {
            start = now - began;
            first = now;
            first_events = w->engine.events;
        } else {
            slices[n++] = (struct slice){(double)(w->engine.events - last_events) / (now - last),
                                         1 / (now - last)};
        }
        last = now;
        last_events = w->engine.events;
        next_ns += SIM_S;
    }
    if (n > 0)
        report(w, start, last - first, last_events - first_events, slices, n);
}

int main(int argc, char **argv)
{
    /* As dray-sim does: see there. */
    if (!getenv("GLIBC_TUNABLES") && !setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 0))
        execv("/proc/self/exe", argv);
    const struct scenario *s = argc > 1 ? scenario_find(argv[1]) : NULL;
    if (!s || sodium_init() < 0) {
        fprintf(stderr, "dray-events SCENARIO [SEED] [key=value ...]\n");
        return 2;
    }
    int at = 2;
    u64 seed = argc > 2 && !strchr(argv[2], '=') ? strtoull(argv[at++], NULL, 10) : 1;
    struct knobs k;
    char why[256];
    scenario_knobs(s, seed, &k);
    for (; at < argc; at++)
        if (knobs_set(&k, argv[at], why)) {
            fprintf(stderr, "dray-events: %s\n", why);
            return 2;
        }
    struct world *w;
    struct world_options opt = {.scenario = s, .knobs = &k, .seed = seed};
    if (world_new(&w, &opt, why)) {
        fprintf(stderr, "dray-events: %s\n", why);
        return 2;
    }
    measure_run(w);
    world_del(w);
    return 0;
}

/* lost.c - dray-lost: when whoever reads a layer for all is lost, or lies, how much later is the
 * last one done?
 *
 *   dray-lost [key=value ...]
 *     fault=kill       kill: the process dies and its machine refuses; dark: the machine is gone;
 *                      freeze: it stands still; cut: from the registry; lie: its bytes are wrong
 *     role=home        home: the fetcher is the layer's home; asker: it is neither rank
 *     share=0.5        struck when it has so much of the layer (lie: when it is appointed)
 *     then=0           the next one too, when it has so much; 0: one alone
 *     lost=2           with then: so many in a row
 *     from=1 seeds=50  of each seed a run without a fault, and one with it
 *     story=0          1: what happens, of each run; 2: without a fault too
 *   and the simulator's knobs. As the lab's case: six nodes of one office, 25 Mbit/s, 16 MiB.
 *
 * A line for each seed, and at the end the added times in order. Virtual time: the same each time.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "proto/rendezvous.h"
#include "sim/fetch_impl.h"
#include "sim/host.h"
#include "sim/mem.h"
#include "sim/pull.h"
#include "sim/world.h"

#define SEEDS_MAX 100000
#define LOST_MAX  16

enum what { KILL, DARK, FREEZE, CUT, LIE };
static const char *const names[] = {"kill", "dark", "freeze", "cut", "lie"};

struct plan {
    enum what what;
    bool asker;
    double share, then;
    u32 lost, story;
    u64 from, seeds;
    struct knobs k;
};

struct run {
    const struct plan *plan;
    struct world *w;
    bool calm;
    u32 layer, lost[LOST_MAX], n_lost, first; /* first: the fetcher at first */
    u64 begun_ns, struck_ns, last_ns, told_ns;
    bool rest_begun;
};

static double s_of(const struct run *r, u64 at_ns)
{
    return ((double)at_ns - (double)r->begun_ns) / 1e9;
}

static bool is_lost(const struct run *r, u32 node)
{
    for (u32 i = 0; i < r->n_lost; i++)
        if (r->lost[i] == node)
            return true;
    return false;
}

static const struct fetch *fetch_of(const struct run *r, u32 node)
{
    u32 id = fetch_find(r->w, node, r->layer);
    return id == FETCH_NONE ? NULL : &r->w->fetches->v[id];
}

/* Who reads it for all, and is not lost; UINT32_MAX: nobody. */
static u32 fetcher_of(const struct run *r)
{
    for (u32 i = 0; i < r->w->n; i++) {
        const struct fetch *f = fetch_of(r, i);
        if (f && f->fetches && !is_lost(r, i))
            return i;
    }
    return UINT32_MAX;
}

static void strike(struct run *r, u32 node)
{
    struct world *w = r->w;
    struct host *h = &w->hosts[node];
    r->lost[r->n_lost++] = node;
    r->struck_ns = world_now(w);
    if (r->plan->story)
        printf("  %6.2f  node %u is lost: %s\n", s_of(r, world_now(w)), node, names[r->plan->what]);
    switch (r->plan->what) {
    case KILL: host_crash(w, node, false); break;
    case DARK: host_crash(w, node, true); break;
    case FREEZE: host_pause(w, node, 3600 * SIM_S); break;
    case CUT:
        h->wan_cuts++;
        fetch_reachability_changed(w);
        break;
    case LIE: {
        host_lie(w, node, HOST_SPOILS);
        struct fetch *f = &w->fetches->v[fetch_find(w, node, r->layer)];
        f->content = (int)node + 1;
        break;
    }
    }
}

static bool all_done(const struct run *r)
{
    for (u32 i = 0; i < r->w->n; i++)
        if (!(is_lost(r, i) && r->plan->what != CUT) &&
            !shelf_find(&r->w->hosts[i].shelf, r->layer))
            return false;
    return true;
}

/* Who has how much, and who fetches. */
static void tell(struct run *r)
{
    struct world *w = r->w;
    if (world_now(w) < r->told_ns)
        return;
    r->told_ns = world_now(w) + SIM_S / 4;
    printf("  %6.2f ", s_of(r, world_now(w)));
    for (u32 i = 0; i < w->n; i++) {
        const struct fetch *f = fetch_of(r, i);
        struct swarm_view v = {0};
        struct digest d;
        catalog_digest(&w->catalog, r->layer, &d);
        bool seen = w->hosts[i].mesh &&
                    swarm_look(mesh_swarm(w->hosts[i].mesh), &d, &v, host_now(w, &w->hosts[i]));
        printf("  %s%s%s", w->hosts[i].state == HOST_UP ? "" : "(", seen && v.is_home ? "H" : "",
               f && f->fetches      ? "*"
               : seen && v.fetching ? "+"
                                    : "");
        if (shelf_find(&w->hosts[i].shelf, r->layer))
            printf("all");
        else if (f)
            printf("%u/%u%s", f->map.have, v.requests, f->content ? "!" : "");
        else
            printf("-");
        printf("%s", w->hosts[i].state == HOST_UP ? "" : ")");
    }
    printf("\n");
}

static void look(struct run *r)
{
    struct world *w = r->w;
    const struct plan *p = r->plan;
    u32 node = fetcher_of(r);
    if (node == UINT32_MAX)
        return;
    if (!r->rest_begun) { /* the others join once it is known who reads */
        r->rest_begun = true;
        r->first = node;
        for (u32 i = 0; p->asker && i < w->n; i++)
            if (i != node)
                pull_begin(w, i, 0);
    }
    if (r->calm || r->n_lost >= (p->then > 0 ? p->lost : 1))
        return;
    const struct fetch *f = fetch_of(r, node);
    double share = p->what == LIE ? 0 : r->n_lost == 0 ? p->share : p->then;
    if (f->map.have >= share * f->map.n && f->map.have < f->map.n)
        strike(r, node);
}

/* --- one run --------------------------------------------------------------------------------- */

/* By hand, so that the fetcher's role is known. */
static void begin(struct run *r)
{
    struct world *w = r->w;
    struct digest d;
    u32 home = 0;
    r->layer = w->catalog.layers[w->catalog.images[0].first];
    catalog_digest(&w->catalog, r->layer, &d);
    for (u32 i = 1; i < w->n; i++)
        if (rendezvous_before(&w->hosts[i].key, &w->hosts[home].key, &d))
            home = i;
    r->begun_ns = world_now(w);
    if (r->plan->asker) {
        assert(w->n > 1);
        pull_begin(w, (home + 1) % w->n, 0);
        return;
    }
    for (u32 i = 0; i < w->n; i++)
        pull_begin(w, i, 0);
}

static const struct scenario quiet = {.name = "lost", .summary = "", .text = ""};

/* Seconds until the last one of those who are left is done; -1: not within the run. */
static double play(struct run *r, u64 seed)
{
    char why[256];
    struct world_options opt = {.scenario = &quiet, .knobs = &r->plan->k, .seed = seed};
    if (world_new(&r->w, &opt, why)) {
        fprintf(stderr, "dray-lost: %s\n", why);
        exit(2);
    }
    struct world *w = r->w;
    bool apart = false;
    while (world_step(w) && w->phase != PHASE_HEALED) {
        if (!apart && world_now(w) >= SIM_S) { /* users' own rights alone, as in the lab */
            apart = true;
            for (u32 i = 0; i < w->n; i++) {
                mesh_set_can_fetch(w->hosts[i].mesh, false, host_now(w, &w->hosts[i]));
                host_drive(w, i);
            }
        }
        if (w->phase != PHASE_FAULTS)
            continue;
        if (r->begun_ns == 0)
            begin(r);
        look(r);
        if (r->plan->story > (r->calm ? 1u : 0u))
            tell(r);
        if (r->rest_begun && all_done(r)) {
            r->last_ns = world_now(w);
            break;
        }
    }
    if (w->measure.broken)
        printf("  broken: %s: %s\n", w->measure.invariant, w->measure.why);
    double took = r->last_ns ? s_of(r, r->last_ns) : -1;
    world_del(w);
    return took;
}

/* --- all of them ----------------------------------------------------------------------------- */

static int by_size(const void *left, const void *right)
{
    const double *a = left, *b = right;
    return *a < *b ? -1 : *a > *b;
}

static void play_all(const struct plan *p)
{
    static double added[SEEDS_MAX];
    u64 n = 0, never = 0;
    double calm_sum = 0;
    for (u64 seed = p->from; seed < p->from + p->seeds; seed++) {
        struct run calm = {.plan = p, .calm = true}, run = {.plan = p};
        double plain = play(&calm, seed), took = play(&run, seed);
        printf("seed %" PRIu64 ": %.2f s undisturbed, %.2f s, added %.2f; lost:", seed, plain, took,
               took - plain);
        for (u32 i = 0; i < run.n_lost; i++)
            printf(" node %u", run.lost[i]);
        printf("\n");
        calm_sum += plain;
        if (took < 0)
            never++;
        else
            added[n++] = took - plain;
    }
    qsort(added, n, sizeof(*added), by_size);
    printf("{\"undisturbed_s\": %.2f, \"runs\": %" PRIu64 ", \"never_done\": %" PRIu64,
           calm_sum / (double)p->seeds, p->seeds, never);
    if (n > 0)
        printf(", \"added_p50_s\": %.2f, \"added_p90_s\": %.2f, \"added_p99_s\": %.2f, "
               "\"added_most_s\": %.2f",
               added[n / 2], added[n * 9 / 10], added[n * 99 / 100], added[n - 1]);
    printf("}\n");
}

static bool take(struct plan *p, const char *text, char why[KNOBS_WHY_MAX])
{
    const char *value = strchr(text, '=');
    if (!value++)
        return false;
    if (strncmp(text, "fault=", 6) == 0) {
        for (size_t i = 0; i < countof(names); i++)
            if (strcmp(value, names[i]) == 0) {
                p->what = (enum what)i;
                return true;
            }
        return false;
    }
    if (strncmp(text, "role=", 5) == 0)
        p->asker = strcmp(value, "asker") == 0;
    else if (strncmp(text, "share=", 6) == 0)
        p->share = strtod(value, NULL);
    else if (strncmp(text, "then=", 5) == 0)
        p->then = strtod(value, NULL);
    else if (strncmp(text, "lost=", 5) == 0)
        p->lost = (u32)strtoul(value, NULL, 10);
    else if (strncmp(text, "from=", 5) == 0)
        p->from = strtoull(value, NULL, 10);
    else if (strncmp(text, "seeds=", 6) == 0 && strtoull(value, NULL, 10) <= SEEDS_MAX)
        p->seeds = strtoull(value, NULL, 10);
    else if (strncmp(text, "story=", 6) == 0)
        p->story = (u32)strtoul(value, NULL, 10);
    else
        return knobs_set(&p->k, text, why) == 0;
    return p->lost <= LOST_MAX;
}

int main(int argc, char **argv)
{
    static const char *const standard[] = {"nodes=6",
                                           "offices=1",
                                           "settled=1",
                                           "warm=5s",
                                           "duration=120s",
                                           "heal=60s",
                                           "images=1",
                                           "image_layers=1",
                                           "node_up=25Mbit",
                                           "node_down=25Mbit",
                                           "wan=25Mbit",
                                           "registry_rate=25Mbit",
                                           "image_bytes=16777216B"};
    struct plan p = {.share = .5, .lost = 2, .from = 1, .seeds = 50};
    char why[KNOBS_WHY_MAX] = "see the head of its source";
    if (sodium_init() < 0)
        return 2;
    knobs_init(&p.k);
    for (size_t i = 0; i < countof(standard); i++)
        if (knobs_set(&p.k, standard[i], why)) {
            fprintf(stderr, "dray-lost: %s\n", why);
            return 2;
        }
    for (int i = 1; i < argc; i++)
        if (!take(&p, argv[i], why)) {
            fprintf(stderr, "dray-lost: %s: %s\n", argv[i], why);
            return 2;
        }
    play_all(&p);
    return 0;
}

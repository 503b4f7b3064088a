/* fault.c - see fault.h. */
#include "sim/fault.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/carry.h"
#include "sim/fault_impl.h"
#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/mem.h"
#include "sim/tracker.h"

static const struct {
    const char *text;
    u32 weight;
} kinds[FAULT_KIND_COUNT] = {
#define X(name, weight, text) {text, weight},
    FAULTS(X)
#undef X
};

const char *fault_name(enum fault_kind k)
{
    assert(k < FAULT_KIND_COUNT);
    return kinds[k].text;
}

void fault_add(struct fault_plan *p, struct fault f)
{
    p->v = mem_grow(p->v, &p->cap, p->n + 1, sizeof(*p->v));
    p->v[p->n++] = f;
}

void fault_fini(struct fault_plan *p)
{
    free(p->v);
    memset(p, 0, sizeof(*p));
}

/* --- drawing --------------------------------------------------------------------------------- */

/* Calls of a Poisson process, near enough without a logarithm: the gaps are even between zero and
 * twice the mean. */
static u64 gap(struct rng *r, double per_hour)
{
    double mean = 3600e9 / per_hour;
    return 1 + (u64)(2 * mean * rng_unit(r));
}

static u64 around(struct rng *r, u64 mean_ns)
{
    return mean_ns / 2 + rng_below(r, mean_ns + 1);
}

static void draw_crashes(struct world *w, u64 from, u64 to, enum fault_kind kind, double rate)
{
    struct rng r = engine_rng_n(&w->engine, "crashes", kind);
    if (rate <= 0)
        return;
    for (u64 at = from + gap(&r, rate); at < to; at += gap(&r, rate)) {
        enum fault_kind k = kind == FAULT_CRASH && rng_chance(&r, .5) ? FAULT_CRASH_DARK : kind;
        fault_add(&w->faults, (struct fault){.at_ns = at,
                                             .for_ns = around(&r, w->k.down_for),
                                             .kind = k,
                                             .node = (u32)rng_below(&r, w->n)});
    }
}

static void draw_pauses(struct world *w, u64 from, u64 to)
{
    struct rng r = engine_rng(&w->engine, "pauses");
    if (w->k.pauses <= 0)
        return;
    for (u64 at = from + gap(&r, w->k.pauses); at < to; at += gap(&r, w->k.pauses))
        for (u32 i = 0; i < w->n; i++)
            if (rng_chance(&r, w->k.pause_part))
                fault_add(&w->faults, (struct fault){.at_ns = at + rng_below(&r, SIM_S),
                                                     .for_ns = w->k.pause_for,
                                                     .kind = FAULT_PAUSE,
                                                     .node = i});
}

static u64 amount_of(struct rng *r, enum fault_kind kind)
{
    switch (kind) {
    case FAULT_SLOW: return rng_below(r, 300) * SIM_MS;
    case FAULT_LOSSY: return 50 + rng_below(r, 500);
    case FAULT_SPLIT:
    case FAULT_SPLIT_ONE_WAY: return 50 + rng_below(r, 450);
    case FAULT_WEATHER: return rng_below(r, 300);
    case FAULT_CLOCK_JUMP: return (u64)((i64)rng_below(r, 7200000) - 3600000);
    case FAULT_CLOCK_DRIFT: return rng_below(r, 2000);
    case FAULT_REPLAY: return 1 + rng_below(r, 2000);
    case FAULT_ORIGIN: return 1 + rng_below(r, REGISTRY_MOOD_COUNT - 1);
    case FAULT_LIE: return rng_below(r, 3);
    case FAULT_OLD_KEY:
    case FAULT_UPGRADE: return rng_below(r, 2);
    case FAULT_COLLUDE: return 50 + rng_below(r, 300);
    default: return 0;
    }
}

static u64 length_of(struct rng *r, enum fault_kind kind)
{
    if (kind == FAULT_PAUSE || kind == FAULT_CLOG || kind == FAULT_TRACKER_PAUSE)
        return rng_below(r, 12 * SIM_S);
    return 2 * SIM_S + rng_below(r, 58 * SIM_S);
}

static bool is_of_office(enum fault_kind kind)
{
    return kind == FAULT_OFFICE_CUT || kind == FAULT_OFFICE_WAN_CUT;
}

static u32 whom(const struct world *w, enum fault_kind kind)
{
    if (kind >= FAULT_TRACKER_CRASH && kind < FAULT_WAN_CUT)
        return (u32)w->k.trackers;
    return is_of_office(kind) ? (u32)w->topology.n_offices : w->n;
}

/* Kinds from `first` until before `end`. */
static void draw_mixed(struct world *w, const char *stream, double rate, int first, int end)
{
    u64 from = w->k.warm, to = w->k.warm + w->k.duration;
    struct rng r = engine_rng(&w->engine, stream);
    if (rate <= 0)
        return;
    /* Swarm testing (Groce et al., ISSTA 2012): a run leaves some kinds out altogether. */
    u32 weights[FAULT_KIND_COUNT], sum = 0;
    for (int i = first; i < end; i++)
        sum += weights[i] = rng_chance(&r, .5) ? kinds[i].weight : 0;
    for (u64 at = from + gap(&r, rate); sum > 0 && at < to; at += gap(&r, rate)) {
        u32 x = (u32)rng_below(&r, sum);
        int kind = first;
        while (kind < end - 1 && x >= weights[kind])
            x -= weights[kind++];
        struct fault f = {.at_ns = at, .kind = (enum fault_kind)kind};
        f.for_ns = length_of(&r, f.kind);
        f.amount = amount_of(&r, f.kind);
        f.node = (u32)rng_below(&r, whom(w, f.kind));
        fault_add(&w->faults, f);
    }
}

/* The two kinds are one fault in two strengths: a run has both or none. */
static void draw_wan_cuts(struct world *w, u64 from, u64 to)
{
    struct rng r = engine_rng(&w->engine, "wan cuts");
    if (w->k.wan_cuts <= 0)
        return;
    for (u64 at = from + gap(&r, w->k.wan_cuts); at < to; at += gap(&r, w->k.wan_cuts)) {
        u32 sum = kinds[FAULT_WAN_CUT].weight + kinds[FAULT_OFFICE_WAN_CUT].weight;
        bool office = rng_below(&r, sum) < kinds[FAULT_OFFICE_WAN_CUT].weight;
        struct fault f = {.at_ns = at, .kind = office ? FAULT_OFFICE_WAN_CUT : FAULT_WAN_CUT};
        f.for_ns = length_of(&r, f.kind);
        f.node = (u32)rng_below(&r, whom(w, f.kind));
        fault_add(&w->faults, f);
    }
}

void fault_draw(struct world *w)
{
    u64 from = w->k.warm, to = w->k.warm + w->k.duration;
    draw_crashes(w, from, to, FAULT_CRASH, w->k.crashes);
    draw_crashes(w, from, to, FAULT_LEAVE, w->k.leaves);
    draw_pauses(w, from, to);
    draw_mixed(w, "chaos", w->k.chaos * w->n / 100, 0, FAULT_POWER_LOSS);
    draw_mixed(w, "upsets", w->k.upsets * w->n / 100, FAULT_POWER_LOSS, FAULT_TRACKER_CRASH);
    if (w->k.trackers)
        draw_mixed(w, "trackers", w->k.tracker_faults, FAULT_TRACKER_CRASH, FAULT_WAN_CUT);
    draw_wan_cuts(w, from, to);
}

void fault_schedule(struct world *w)
{
    for (size_t i = 0; i < w->faults.n; i++)
        world_at(w, w->faults.v[i].at_ns, EV_FAULT, 0, i);
}

/* --- striking -------------------------------------------------------------------------------- */

/* A part of the nodes, whole offices together where there are several, in group 1. */
static void split(struct world *w, const struct fault *f)
{
    struct rng r = engine_rng_n(&w->engine, "split", f->node);
    bool by_office = w->topology.n_offices > 1 && rng_chance(&r, .5);
    u64 salt = rng_u64(&r);
    for (u32 i = 0; i < w->members; i++) {
        struct rng one;
        u32 at = i < w->n ? i : w->n + w->hosts[i].place.rack; /* a tracker is in one place */
        rng_seed(&one, salt ^ (by_office ? w->hosts[i].place.office : at));
        w->net.nodes[i].group = rng_below(&one, 1000) < f->amount;
    }
    w->net.blocked[0] = 1u << 1;
    if (f->kind == FAULT_SPLIT)
        w->net.blocked[1] = 1u << 0;
}

static void cut_office(struct world *w, u32 office, bool cut)
{
    for (u32 i = 0; i < w->n; i++)
        if (w->hosts[i].place.office == office)
            w->net.nodes[i].group = cut ? 2 : 0;
    for (int g = 0; g < NET_GROUPS_MAX; g++)
        if (g != 2)
            w->net.blocked[g] =
                cut ? w->net.blocked[g] | 1u << 2 : w->net.blocked[g] & ~(u64)(1u << 2);
    w->net.blocked[2] = cut ? ~(u64)(1u << 2) : 0;
}

/* From the registry alone: peers, trackers and users are reached as before. */
static void cut_wan(struct world *w, const struct fault *f, bool cut)
{
    for (u32 i = 0; i < w->n; i++) {
        struct host *h = &w->hosts[i];
        if (f->kind == FAULT_WAN_CUT ? i != f->node : h->place.office != f->node)
            continue;
        assert(cut || h->wan_cuts > 0);
        h->wan_cuts += cut ? 1 : UINT32_MAX;
    }
    fetch_reachability_changed(w);
}

static void weather(struct world *w, u64 amount)
{
    double a = (double)amount / 1000;
    w->net.weather = (struct net_weather){.loss = w->k.loss + a,
                                          .duplicate = w->k.duplicate + a / 2,
                                          .reorder = w->k.reorder + a,
                                          .corrupt = w->k.corrupt + (w->k.sealed ? a / 10 : 0)};
}

static void lose_store(struct world *w, u32 node)
{
    struct host *h = &w->hosts[node];
    host_crash(w, node, false);
    partial_drop_all(&h->partials);
    shelf_fini(&h->shelf);
    shelf_init(&h->shelf, w->k.capacity);
    h->layers_n = 0;
    h->inventory_epoch = 0; /* it was kept in the store: the wall clock has to do */
}

static void rot(struct world *w, u32 node)
{
    u32 at = SHELF_NONE, n = 0;
    for (; n < 3 && shelf_each(&w->hosts[node].shelf, &at); n++)
        w->hosts[node].shelf.entries[at].rotten = true;
}

static void strike_line(struct world *w, const struct fault *f)
{
    struct net_node *line = &w->net.nodes[f->node < w->n ? f->node : 0];
    switch (f->kind) {
    case FAULT_SLOW: line->slow_ns = f->amount; break;
    case FAULT_LOSSY: line->loss = (double)f->amount / 1000; break;
    case FAULT_CLOG: line->clogged_ns = world_now(w) + f->for_ns; break;
    case FAULT_DEAF: line->deaf = true; break;
    case FAULT_MUTE: line->mute = true; break;
    case FAULT_SPLIT:
    case FAULT_SPLIT_ONE_WAY: split(w, f); break;
    case FAULT_OFFICE_CUT: cut_office(w, f->node, true); break;
    case FAULT_WEATHER: weather(w, f->amount); break;
    default: assert(!"a fault of the line");
    }
    measure_cut(w);
    fetch_reachability_changed(w);
}

/* But not who is a seed: nobody would find it again without a new configuration. */
static void move(struct world *w, u32 node)
{
    host_crash(w, node, false);
    if (!host_is_seed(w, node))
        w->hosts[node].addr.port++;
}

void fault_begins(struct world *w, u32 index)
{
    const struct fault *f = &w->faults.v[index];
    struct host *h = &w->hosts[f->node < w->n ? f->node : 0];
    if (w->phase == PHASE_HEALED)
        return;
    record_fault(w->record, world_now(w), f);
    switch (f->kind) {
    case FAULT_CRASH: host_crash(w, f->node, false); break;
    case FAULT_CRASH_DARK: host_crash(w, f->node, true); break;
    case FAULT_LOSE_STORE: lose_store(w, f->node); break;
    case FAULT_MOVE: move(w, f->node); break;
    case FAULT_LEAVE: host_leave(w, f->node); break;
    case FAULT_PAUSE: host_pause(w, f->node, f->for_ns); break;
    case FAULT_SLOW:
    case FAULT_LOSSY:
    case FAULT_CLOG:
    case FAULT_DEAF:
    case FAULT_MUTE:
    case FAULT_SPLIT:
    case FAULT_SPLIT_ONE_WAY:
    case FAULT_OFFICE_CUT:
    case FAULT_WEATHER: strike_line(w, f); break;
    case FAULT_CLOCK_JUMP: sim_clock_jump(&h->clock, (i64)f->amount); break;
    case FAULT_CLOCK_DRIFT:
        sim_clock_set_drift(&h->clock, world_now(w), 1000 * (i64)f->amount - 1000000);
        host_drive(w, f->node); /* its timer was computed by the old rate */
        break;
    case FAULT_REPLAY: carry_replay(w, (u32)f->amount); break;
    case FAULT_DISK_FULL: h->disk_full = true; break;
    case FAULT_DISK_ROT: rot(w, f->node); break;
    case FAULT_ORIGIN:
        w->registry.mood = (enum registry_mood)f->amount;
        w->faults.moods = index;
        fetch_reachability_changed(w);
        break;
    case FAULT_LIE:
        host_lie(w, f->node, HOST_LIES);
        host_drive(w, f->node);
        break;
    case FAULT_POWER_LOSS:
    case FAULT_OLD_KEY:
    case FAULT_UPGRADE:
    case FAULT_FORGE:
    case FAULT_COLLUDE: fault_upset_begins(w, f); break;
    case FAULT_TRACKER_CRASH:
    case FAULT_TRACKER_DARK:
    case FAULT_TRACKER_PAUSE: fault_tracker_begins(w, f); break;
    case FAULT_WAN_CUT:
    case FAULT_OFFICE_WAN_CUT: cut_wan(w, f, true); break;
    case FAULT_KIND_COUNT: break;
    }
    u64 for_ns = f->kind == FAULT_LEAVE ? SIM_S : f->for_ns; /* time to be heard, then it goes */
    if (for_ns > 0)
        world_at(w, world_now(w) + for_ns, EV_FAULT_ENDS, f->node, index);
}

void fault_ends(struct world *w, u32 index)
{
    const struct fault *f = &w->faults.v[index];
    struct net_node *line = &w->net.nodes[f->node < w->n ? f->node : 0];
    if (w->phase == PHASE_HEALED)
        return;
    switch (f->kind) {
    case FAULT_CRASH:
    case FAULT_CRASH_DARK:
    case FAULT_LOSE_STORE:
    case FAULT_MOVE: host_boot(w, f->node); break;
    case FAULT_LEAVE:
        if (w->hosts[f->node].leaving) {
            host_crash(w, f->node, false);
            world_at(w, world_now(w) + f->for_ns, EV_BOOT, f->node, 0);
        }
        break;
    case FAULT_SLOW: line->slow_ns = 0; break;
    case FAULT_LOSSY: line->loss = 0; break;
    case FAULT_DEAF: line->deaf = false; break;
    case FAULT_MUTE: line->mute = false; break;
    case FAULT_SPLIT:
    case FAULT_SPLIT_ONE_WAY:
    case FAULT_OFFICE_CUT: net_unpartition(&w->net); break;
    case FAULT_WEATHER: weather(w, 0); break;
    case FAULT_DISK_FULL: w->hosts[f->node].disk_full = false; break;
    case FAULT_ORIGIN:
        if (w->faults.moods == index)
            w->registry.mood = REGISTRY_WELL;
        break;
    case FAULT_POWER_LOSS:
    case FAULT_OLD_KEY:
    case FAULT_UPGRADE:
    case FAULT_FORGE:
    case FAULT_COLLUDE: fault_upset_ends(w, f); break;
    case FAULT_TRACKER_CRASH:
    case FAULT_TRACKER_DARK:
    case FAULT_TRACKER_PAUSE: fault_tracker_ends(w, f); break;
    case FAULT_WAN_CUT:
    case FAULT_OFFICE_WAN_CUT: cut_wan(w, f, false); break;
    case FAULT_PAUSE: /* ends by its own event */
    case FAULT_CLOG:
    case FAULT_CLOCK_JUMP:
    case FAULT_CLOCK_DRIFT:
    case FAULT_REPLAY:
    case FAULT_DISK_ROT:
    case FAULT_LIE:
    case FAULT_KIND_COUNT: break;
    }
    measure_cut(w);
    fetch_reachability_changed(w);
}

void fault_heal(struct world *w)
{
    net_heal(&w->net);
    w->registry.mood = REGISTRY_WELL;
    for (u32 i = 0; i < w->members; i++) {
        struct host *h = &w->hosts[i];
        h->disk_full = false;
        h->wan_cuts = 0;
        host_lie(w, i, HOST_HONEST);
        host_ring(w, i, HOST_RING_NOW);
        host_drive(w, i);
        if (h->state == HOST_PAUSED)
            host_resume(w, i);
        if (h->leaving)
            host_crash(w, i, false);
        if (h->state == HOST_OFF && i < w->n)
            host_boot(w, i);
    }
    for (u32 i = 0; i < w->k.trackers; i++)
        tracker_boot(w, i);
    fetch_reachability_changed(w);
}

void fault_print(const struct fault *f, char out[120])
{
    char amount[32] = "";
    if (f->kind == FAULT_ORIGIN)
        snprintf(amount, sizeof(amount), " %s", registry_mood_name((enum registry_mood)f->amount));
    else if (f->amount)
        snprintf(amount, sizeof(amount), " (%" PRId64 ")", (i64)f->amount);
    bool tracker = f->kind >= FAULT_TRACKER_CRASH && f->kind < FAULT_WAN_CUT;
    snprintf(out, 120, "%.3f s: %s%s, %s %u, for %.3f s", (double)f->at_ns / 1e9,
             fault_name(f->kind), amount,
             tracker                 ? "tracker"
             : is_of_office(f->kind) ? "office"
                                     : "node",
             f->node, (double)f->for_ns / 1e9);
}

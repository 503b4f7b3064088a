/* world.c - see world.h. */
#include "sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/carry.h"
#include "sim/copies.h"
#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/mem.h"
#include "sim/pull.h"
#include "sim/user.h"

#define SAMPLE_NS (50 * SIM_MS)
#define TOLD_AFTER_NS                                                                              \
    (10 * SIM_S) /* of a change, after which everybody must know, faults healed                    \
                  */

u64 world_now(const struct world *w)
{
    return w->engine.now_ns;
}

void world_at(struct world *w, u64 at_ns, enum event_kind kind, u32 node, u64 arg)
{
    engine_at(&w->engine, at_ns, kind, node, arg);
}

/* --- who is who ------------------------------------------------------------------------------ */

static void index_keys(struct world *w)
{
    w->by_key_size = 64;
    while (w->by_key_size < 4 * (size_t)w->members)
        w->by_key_size *= 2;
    w->by_key = mem_new(w->by_key_size, sizeof(*w->by_key));
    for (u32 i = 0; i < w->members; i++) {
        size_t at = node_key_word(&w->hosts[i].key) & (w->by_key_size - 1);
        while (w->by_key[at])
            at = (at + 1) & (w->by_key_size - 1);
        w->by_key[at] = i + 1;
    }
}

u32 world_by_key(const struct world *w, const struct node_key *k)
{
    size_t at = node_key_word(k) & (w->by_key_size - 1);
    for (; w->by_key[at]; at = (at + 1) & (w->by_key_size - 1))
        if (node_key_equal(&w->hosts[w->by_key[at] - 1].key, k))
            return w->by_key[at] - 1;
    return UINT32_MAX;
}

u32 world_by_addr(const struct world *w, const struct addr *a)
{
    u32 office = a->ip[13], index = (u32)a->ip[14] << 8 | a->ip[15], member = w->n + index;
    if (!addr_is_v4(a) || office == 0)
        return UINT32_MAX;
    if (office != TOPOLOGY_CENTRE + 1) {
        if (office > w->topology.n_offices || index >= w->topology.offices[office - 1].nodes)
            return UINT32_MAX;
        member = w->topology.offices[office - 1].first + index;
    }
    return member < w->members && addr_equal(&w->hosts[member].addr, a) ? member : UINT32_MAX;
}

u32 world_live(const struct world *w, u32 region)
{
    u32 n = 0;
    for (u32 i = 0; i < w->members; i++)
        n += w->hosts[i].place.region == region && w->hosts[i].state != HOST_OFF &&
             !w->hosts[i].leaving;
    return n;
}

/* --- making one ------------------------------------------------------------------------------ */

static int place_nodes(struct world *w, const struct world_options *opt, char why[256])
{
    if (opt->topology_text) {
        int rc =
            topology_read(&w->topology, opt->topology_text, opt->topology_len, opt->nodes, why);
        if (rc)
            return rc;
        w->k.nodes = w->topology.nodes;
    } else {
        topology_default(&w->topology, (u32)w->k.nodes, (u32)w->k.offices, (u32)w->k.regions);
    }
    for (size_t i = 0; w->k.registry_rtt > 0 && i < w->topology.n_offices; i++)
        w->topology.offices[i].registry_rtt_ns = w->k.registry_rtt;
    if (w->topology.trackers < 0)
        w->topology.trackers = (i64)w->k.trackers;
    w->k.trackers = (u64)w->topology.trackers;
    topology_spread(&w->topology, w->k.spread, opt->seed);
    w->n = w->topology.nodes;
    w->members = topology_members(&w->topology);
    u32 sizes[TOPOLOGY_OFFICES_MAX] = {0};
    for (size_t i = 0; i < w->topology.n_offices; i++)
        sizes[w->topology.offices[i].region] += w->topology.offices[i].nodes;
    for (size_t i = 0; i < w->topology.n_regions; i++)
        if (sizes[i] + w->k.trackers > LIMIT_MEMBERS) {
            snprintf(why, 256,
                     "region %s has %u nodes and %u trackers; a region has at most %d of both",
                     w->topology.regions[i], sizes[i], (u32)w->k.trackers, LIMIT_MEMBERS);
            topology_fini(&w->topology);
            return ERR_INVAL;
        }
    return 0;
}

/* A trace belongs to its scenario; without a `duration` the run is as long as the trace. */
static int take_trace(struct world *w, char why[256])
{
    if ((w->trace != NULL) != (w->scenario == &scenario_trace)) {
        snprintf(why, 256, "--set trace=FILE and the scenario trace belong together");
        topology_fini(&w->topology);
        return ERR_INVAL;
    }
    if (!w->trace)
        return 0;
    int rc = scenario_trace_check(w->trace, &w->topology, why);
    if (rc)
        topology_fini(&w->topology);
    else if (w->k.duration == 0)
        w->k.duration = w->trace->pulls[w->trace->n_pulls - 1].at_ns + SIM_S;
    return rc;
}

static void lay_lines(struct world *w)
{
    flow_init(&w->flows);
    w->registry_line = flow_line_new(&w->flows, w->k.registry_rate);
    w->wan_up = mem_new(w->topology.n_offices, sizeof(*w->wan_up));
    w->wan_down = mem_new(w->topology.n_offices, sizeof(*w->wan_down));
    for (size_t i = 0; i < w->topology.n_offices; i++) {
        const struct topology_office *o = &w->topology.offices[i];
        w->wan_up[i] = flow_line_new(&w->flows, w->k.wan ? w->k.wan : o->wan_up_bps);
        w->wan_down[i] = flow_line_new(&w->flows, w->k.wan ? w->k.wan : o->wan_down_bps);
    }
}

static void populate(struct world *w)
{
    w->hosts = mem_new(w->members, sizeof(*w->hosts));
    for (u32 i = 0; i < w->members; i++)
        host_init(w, i);
    index_keys(w);
    w->pools = mem_new(w->topology.n_regions, sizeof(*w->pools));
    for (size_t i = 0; i < w->topology.n_regions; i++)
        if (inventory_pool_new(&w->pools[i], inventory_salt(w->topology.regions[i]))) {
            fprintf(stderr, "dray-sim: out of memory\n");
            exit(2);
        }
    struct rng r = engine_rng(&w->engine, "mesh key");
    rng_bytes(&r, &w->mesh_key, sizeof(w->mesh_key));
    rng_bytes(&r, &w->removed_key, sizeof(w->removed_key));
}

/* Everybody starts within `join_over`, the seeds first; changes go on at their own pace. */
static void schedule(struct world *w)
{
    struct rng r = engine_rng(&w->engine, "joins");
    u32 met[TOPOLOGY_OFFICES_MAX] = {0}; /* nodes, by region */
    for (u32 i = 0; i < w->n; i++) {
        bool seed = met[w->hosts[i].place.region]++ < w->k.seeds;
        if (!w->k.settled)
            world_at(w, seed || !w->k.join_over ? 0 : rng_below(&r, w->k.join_over), EV_BOOT, i, 0);
        if (w->k.changes > 0 && w->k.layers > 0)
            world_at(w, w->k.warm + (u64)(1e9 * rng_unit(&r) / w->k.changes), EV_CHANGE, i, 0);
    }
    if (w->k.settled)
        world_at(w, 0, EV_SETTLED, 0, 0);
    for (u32 i = w->n; i < w->members; i++)
        world_at(w, SIM_S, EV_BOOT, i, 0);
    if (w->k.pulls > 0)
        world_at(w, w->k.warm + 1, EV_PULL, PULL_ANY, PULL_ANY);
    world_at(w, SAMPLE_NS, EV_SAMPLE, 0, 0);
    world_at(w, SIM_S, EV_SECOND, 0, 0);
}

int world_new(struct world **out, const struct world_options *opt, char why[256])
{
    struct world *w = mem_new(1, sizeof(*w));
    w->k = *opt->knobs;
    w->scenario = opt->scenario;
    w->record = opt->record;
    w->trace = opt->trace;
    int rc = place_nodes(w, opt, why);
    if (rc == 0)
        rc = take_trace(w, why);
    if (rc) {
        free(w);
        return rc;
    }
    engine_init(&w->engine, opt->seed);
    struct rng net = engine_rng(&w->engine, "net"), registry = engine_rng(&w->engine, "registry"),
               catalog = engine_rng(&w->engine, "catalog");
    net_init(&w->net, &w->topology, &net);
    w->net.weather = (struct net_weather){w->k.loss, w->k.duplicate, w->k.reorder, w->k.corrupt};
    w->rng_boot = engine_rng(&w->engine, "boot");
    w->rng_work = engine_rng(&w->engine, "work");
    w->rng_pause = engine_rng(&w->engine, "resume");
    lay_lines(w);
    catalog_init(&w->catalog, &w->k, &catalog);
    if (w->trace)
        catalog_take_trace(&w->catalog, w->trace);
    registry_init(&w->registry, &w->k, &registry);
    carry_init(w);
    fetch_init(w);
    copies_init(w);
    pull_init(w);
    populate(w);
    tracker_init(w);
    user_init(w);
    measure_init(w);
    w->phase = PHASE_WARM;
    w->flows_at_ns = w->healed_ns = w->agreed_ns = UINT64_MAX;
    w->end_ns = w->k.warm + w->k.duration + w->k.heal;
    schedule(w);
    if (!opt->faults)
        fault_draw(w);
    if (w->scenario->plan)
        w->scenario->plan(w);
    if (opt->faults) { /* the scenario's work, but these faults */
        w->faults.n = 0;
        for (size_t i = 0; i < opt->faults->n; i++)
            fault_add(&w->faults, opt->faults->v[i]);
    }
    fault_schedule(w);
    record_run(w->record, w);
    *out = w;
    return 0;
}

void world_del(struct world *w)
{
    for (u32 i = 0; i < w->members; i++)
        host_fini(&w->hosts[i]);
    for (size_t i = 0; i < w->topology.n_regions; i++)
        inventory_pool_del(w->pools[i]);
    measure_fini(w);
    user_fini(w);
    tracker_fini(w);
    pull_fini(w);
    copies_fini(w);
    fetch_fini(w);
    carry_fini(w);
    catalog_fini(&w->catalog);
    flow_fini(&w->flows);
    net_fini(&w->net);
    fault_fini(&w->faults);
    engine_fini(&w->engine);
    topology_fini(&w->topology);
    free(w->pools);
    free(w->wan_up);
    free(w->wan_down);
    free(w->hosts);
    free(w->by_key);
    free(w);
}

/* --- flows ----------------------------------------------------------------------------------- */

void world_flows_changed(struct world *w)
{
    u64 due = flow_due(&w->flows);
    if (due < world_now(w))
        due = world_now(w);
    if (due >= w->flows_at_ns) /* that one will look again */
        return;
    w->flows_at_ns = due;
    world_at(w, due, EV_FLOWS, 0, 0);
}

static void flows_tick(struct world *w, const struct event *ev)
{
    if (ev->at_ns != w->flows_at_ns)
        return;
    w->flows_at_ns = UINT64_MAX;
    for (u32 flow; (flow = flow_tick(&w->flows, world_now(w))) != FLOW_NONE;)
        if (w->flows.flows[flow].tag & USER_FLOW)
            user_flow_done(w, flow);
        else
            fetch_flow_done(w, flow);
    world_flows_changed(w);
}

/* --- phases ---------------------------------------------------------------------------------- */

static void heal(struct world *w)
{
    w->phase = PHASE_HEALED;
    w->healed_ns = world_now(w);
    record_phase(w->record, world_now(w), "healed");
    measure_stop(w);
    fault_heal(w);
}

static void turn(struct world *w)
{
    if (w->phase == PHASE_WARM && world_now(w) >= w->k.warm) {
        w->phase = PHASE_FAULTS;
        record_phase(w->record, world_now(w), "faults");
        measure_start(w);
    }
    if (w->phase == PHASE_FAULTS && world_now(w) >= w->k.warm + w->k.duration)
        heal(w);
    if (w->phase != PHASE_HEALED)
        return;
    if (w->agreed_ns == UINT64_MAX && measure_agreed(w)) {
        w->agreed_ns = world_now(w);
        record_phase(w->record, world_now(w), "agreed");
    }
    if (w->agreed_ns == UINT64_MAX)
        return;
    /* What is still on its way may take as long as it takes, within pull.h's bound; then there is
     * time for everybody to hear of the last layer. */
    w->end_ns = world_now(w) + SIM_S;
    if (w->pulls->active == 0 && w->users->active == 0 &&
        world_now(w) >= w->store_changed_ns + TOLD_AFTER_NS) {
        measure_truth(w);
        w->end_ns = world_now(w);
    }
}

static void change(struct world *w, u32 node)
{
    if (w->phase == PHASE_HEALED)
        return;
    struct host *h = &w->hosts[node];
    if (h->state == HOST_UP && h->layers_n > 0 && !h->leaving) {
        u32 layer = host_change(w, node);
        measure_changed(w, node, layer);
        host_drive(w, node);
    }
    u64 gap = (u64)(2e9 * rng_unit(&w->rng_work) / w->k.changes);
    world_at(w, world_now(w) + 1 + gap, EV_CHANGE, node, 0);
}

/* A pull; the steady stream of them (node PULL_ANY) goes on. */
static void pulled(struct world *w, const struct event *ev)
{
    if (w->phase == PHASE_HEALED)
        return;
    u32 node = ev->node;
    if (node == PULL_ANY) {
        node = (u32)rng_below(&w->rng_work, w->n);
        u64 gap = (u64)(2e9 * rng_unit(&w->rng_work) / w->k.pulls);
        world_at(w, world_now(w) + 1 + gap, EV_PULL, PULL_ANY, PULL_ANY);
    }
    if (w->k.trackers)
        user_begin(w, w->hosts[node].place.office, (u32)ev->arg);
    else
        pull_begin(w, node, (u32)ev->arg);
}

/* --- one event ------------------------------------------------------------------------------- */

static void deliver(struct world *w, const struct event *ev)
{
    switch ((enum event_kind)ev->kind) {
    case EV_BOOT: host_boot(w, ev->node); break;
    case EV_TIMER: host_timer(w, ev); break;
    case EV_PACKET:
    case EV_TALK_ASKS:
    case EV_TALK_ENDS: carry_deliver(w, ev); break;
    case EV_RESUME:
        if (w->hosts[ev->node].life == ev->arg)
            host_resume(w, ev->node);
        break;
    case EV_FLOWS: flows_tick(w, ev); break;
    case EV_FAULT: fault_begins(w, (u32)ev->arg); break;
    case EV_FAULT_ENDS: fault_ends(w, (u32)ev->arg); break;
    case EV_UPGRADE: fault_upgrade(w, ev); break;
    case EV_CHANGE: change(w, ev->node); break;
    case EV_PULL: pulled(w, ev); break;
    case EV_RETRY: pull_retry(w, (u32)ev->arg); break;
    case EV_ASKED: fetch_asked(w, ev); break;
    case EV_ANSWERED: fetch_answered(w, ev); break;
    case EV_ARRIVED: fetch_arrived(w, ev); break;
    case EV_REFUSE: fetch_refused(w, ev); break;
    case EV_POLL: fetch_poll(w); break;
    case EV_USER:
    case EV_USER_AT:
    case EV_USER_LATE: user_event(w, ev); break;
    case EV_TOLD:
        if (w->hosts[ev->node].state == HOST_PAUSED)
            host_keep(w, ev);
        else
            tracker_told(w, ev);
        break;
    case EV_SAMPLE:
        turn(w);
        measure_sample(w);
        world_at(w, world_now(w) + SAMPLE_NS, EV_SAMPLE, 0, 0);
        break;
    case EV_SECOND:
        measure_second(w);
        pull_check(w);
        if (w->k.trackers)
            user_look(w);
        world_at(w, world_now(w) + SIM_S, EV_SECOND, 0, 0);
        break;
    case EV_SCENARIO:
        if (w->scenario->step)
            w->scenario->step(w, ev);
        break;
    case EV_SETTLED: host_boot_settled(w); break;
    case EV_KIND_COUNT: break;
    }
}

/* --- what comes next ------------------------------------------------------------------------- */

/* The state of a thousand nodes is larger than any cache, and each event is at another: most of its
 * time would go into waiting for memory. What comes next is known: it is asked for while others are
 * delivered, a step nearer to what mesh_read() will look at with each. Nothing follows from it. */
static void warm(const struct world *w)
{
    static_assert(MESH_WARM_STEPS + 2 <= ENGINE_AHEAD, "a step for each event that comes before");
    for (unsigned i = 1; i <= MESH_WARM_STEPS + 1; i++) {
        const struct event *ev = engine_ahead(&w->engine, i);
        if (!ev)
            return;
        if (ev->kind != EV_PACKET && ev->kind != EV_TIMER)
            continue;
        const struct host *h = &w->hosts[ev->node];
        size_t len = 0;
        const void *bytes = NULL;
        if (ev->kind == EV_PACKET)
            bytes = carry_peek(w, ev, &len);
        if (i <= MESH_WARM_STEPS) {
            if (h->mesh)
                mesh_warm(h->mesh, MESH_WARM_STEPS - i, bytes, len);
            continue;
        }
        __builtin_prefetch(h);
        __builtin_prefetch((const char *)h + 64);
        __builtin_prefetch((const char *)h + 128);
        carry_warm(w, ev);
    }
}

bool world_step(struct world *w)
{
    struct event ev;
    if (w->measure.broken || !engine_next(&w->engine, w->end_ns, &ev)) {
        if (!w->measure.broken && w->phase == PHASE_HEALED && w->agreed_ns == UINT64_MAX)
            measure_break(w, "agreement", "%.0f s after healing %s", (double)w->k.heal / 1e9,
                          w->measure.apart);
        return false;
    }
    warm(w);
    deliver(w, &ev);
    return !w->measure.broken;
}

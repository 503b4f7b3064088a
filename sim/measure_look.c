/* measure_look.c - looks at the nodes from time to time, counts, and judges; see measure.h. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/measure.h"
#include "sim/pull.h"
#include "sim/user.h"

/* --- who knows of a new layer ---------------------------------------------------------------- */

static void drop_change(struct measure *m, size_t i)
{
    struct measure_change last = m->changes[--m->n_changes], gone = m->changes[i];
    m->changes[i] = last;
    m->changes[m->n_changes].knows = gone.knows;
}

/* True: it is over, everybody knows or its node is gone. */
static bool look_at_change(struct world *w, struct measure_change *c)
{
    struct measure *m = &w->measure;
    struct digest d;
    if (w->hosts[c->node].state == HOST_OFF || !host_holds(w, c->node, c->layer))
        return true;
    catalog_digest(&w->catalog, c->layer, &d);
    for (u32 i = 0; i < w->members; i++)
        if (!c->knows[i] && w->hosts[i].state == HOST_UP &&
            inventory_is_held_by(mesh_inventory(w->hosts[i].mesh), &d, &w->hosts[c->node].key)) {
            c->knows[i] = 1;
            c->knowing++;
        }
    if (!c->most_ns && c->knowing * 100ull >= c->needed * 99ull) {
        c->most_ns = world_now(w) - c->at_ns;
        samples_add(&m->know_most, c->most_ns);
    }
    if (c->knowing < c->needed)
        return false;
    samples_add(&m->know_all, world_now(w) - c->at_ns);
    record_known(w->record, world_now(w), c->node, c->most_ns, world_now(w) - c->at_ns);
    return true;
}

void measure_sample(struct world *w)
{
    struct measure *m = &w->measure;
    for (size_t i = 0; i < m->n_changes;)
        if (look_at_change(w, &m->changes[i]))
            drop_change(m, i);
        else
            i++;
}

/* --- look-ups -------------------------------------------------------------------------------- */

static void look_up(struct world *w, struct rng *r)
{
    struct measure *m = &w->measure;
    const struct host *h = &w->hosts[rng_below(r, w->members)];
    const struct host *of = &w->hosts[rng_below(r, w->members)];
    if (h->state != HOST_UP || of->layers_n == 0)
        return;
    /* One that a node of the region holds: what somebody without it would look for. */
    u32 layer = (u32)((of->layers_from + rng_below(r, of->layers_n)) % w->k.catalog);
    struct digest d;
    static struct node_key holders[LIMIT_MEMBERS]; /* 128 KiB: too much for the stack */
    catalog_digest(&w->catalog, layer, &d);
    size_t n = inventory_holders(mesh_inventory(h->mesh), &d, holders, countof(holders));
    m->lookups++;
    for (size_t i = 0; i < n && i < countof(holders); i++) {
        u32 node = world_by_key(w, &holders[i]);
        if (node == UINT32_MAX || w->hosts[node].state == HOST_OFF || !host_holds(w, node, layer))
            m->wrong_holders++;
    }
}

/* --- growth, memory -------------------------------------------------------------------------- */

static struct measure_seen *seen_of(struct world *w, size_t observer, u32 node)
{
    return &w->measure.seen[observer * w->members + node];
}

static void judge_growth(struct world *w, size_t o)
{
    struct measure *m = &w->measure;
    const struct host *h = &w->hosts[m->observers[o]];
    if (h->state != HOST_UP)
        return;
    if (m->observers_life[o] != h->life) { /* it has forgotten: so do we */
        memset(seen_of(w, o, 0), 0, w->members * sizeof(struct measure_seen));
        m->observers_life[o] = h->life;
    }
    size_t at = 0;
    for (struct member_view v; member_each(mesh_member(h->mesh), &at, &v);) {
        u32 node = world_by_key(w, &v.record->key);
        if (node == UINT32_MAX)
            continue;
        struct measure_seen *s = seen_of(w, o, node);
        if (v.record->epoch < s->epoch ||
            (v.record->epoch == s->epoch && v.record->incarnation < s->incarnation))
            measure_break(w, "growth", "node %u saw node %u go back from incarnation %ju to %ju",
                          h->index, node, (uintmax_t)s->incarnation,
                          (uintmax_t)v.record->incarnation);
        s->epoch = v.record->epoch;
        s->incarnation = v.record->incarnation;
    }
    at = 0;
    for (struct inventory_origin v; inventory_each(mesh_inventory(h->mesh), &at, &v);) {
        u32 node = world_by_key(w, &v.key);
        if (node == UINT32_MAX)
            continue;
        struct measure_seen *s = seen_of(w, o, node);
        if (v.epoch < s->inventory_epoch || (v.epoch == s->inventory_epoch && v.n < s->inventory_n))
            measure_break(w, "growth",
                          "node %u saw the inventory of node %u go back from %ju to %ju", h->index,
                          node, (uintmax_t)s->inventory_n, (uintmax_t)v.n);
        s->inventory_epoch = v.epoch;
        s->inventory_n = v.n;
    }
}

static void judge_memory(struct world *w, const struct host *h)
{
    u64 budget = w->k.memory ? w->k.memory : 32 * MIB + 64000ull * w->members;
    u64 bytes = h->mesh ? mesh_bytes(h->mesh) : 0;
    if (bytes > budget)
        measure_break(w, "memory", "the mesh of node %u holds %ju bytes; its budget is %ju",
                      h->index, (uintmax_t)bytes, (uintmax_t)budget);
}

/* Whatever happens to nodes, none of them says more than others look at. */
static void judge_rates(struct world *w, const struct host *h)
{
    struct member_stats member = {0};
    struct mesh_stats mesh = {0};
    struct inventory_stats inventory = {0};
    if (h->mesh) {
        member_stats(mesh_member(h->mesh), &member);
        mesh_stats(h->mesh, &mesh);
        inventory_stats(mesh_inventory(h->mesh), &inventory);
    }
    if (member.put_off + mesh.put_off + inventory.put_off > 0)
        measure_break(
            w, "rates",
            "node %u puts off what others say: %ju records, %ju orders, %ju of inventories",
            h->index, (uintmax_t)member.put_off, (uintmax_t)mesh.put_off,
            (uintmax_t)inventory.put_off);
}

/* --- deaths ---------------------------------------------------------------------------------- */

#define DETECTION_BOUND_NS (90 * SIM_S) /* several times what it takes in bad weather */

static void judge_detection(struct world *w)
{
    struct measure *m = &w->measure;
    for (size_t i = m->first_open; i < m->n_deaths; i++) {
        const struct measure_death *d = &m->deaths[i];
        u64 since = d->at_ns > m->cut_ns ? d->at_ns : m->cut_ns;
        if (!d->open || since > world_now(w) || world_now(w) - since < DETECTION_BOUND_NS)
            continue;
        for (u32 k = 0; k < w->members; k++)
            if (!d->knows[k] && measure_sees_alive(w, k, d->node) && w->hosts[k].state == HOST_UP &&
                !w->hosts[k].leaving && world_now(w) - w->hosts[k].since_ns > DETECTION_BOUND_NS) {
                measure_break(w, "detection", "node %u does not know that node %u died at %.3f s",
                              k, d->node, (double)d->at_ns / 1e9);
                return;
            }
    }
}

/* --- every second ---------------------------------------------------------------------------- */

static u64 mesh_bytes_sent(const struct world *w, u64 *talk, u64 *datagrams)
{
    u64 sum = 0;
    *talk = *datagrams = 0;
    for (u32 i = 0; i < w->members; i++) {
        struct mesh_stats s;
        host_stats(&w->hosts[i], &s);
        sum += s.bytes_out + s.talk_bytes_out;
        *talk += s.talk_bytes_out;
        *datagrams += s.datagrams_out;
    }
    return sum;
}

static void count_views(const struct world *w, struct record_second *s)
{
    u64 sum = 0;
    u32 views = 0;
    s->least_alive = UINT32_MAX;
    for (u32 i = 0; i < w->members; i++) {
        const struct host *h = &w->hosts[i];
        s->paused += h->state == HOST_PAUSED && i < w->n;
        if (h->state != HOST_UP)
            continue;
        u32 alive = (u32)member_count(mesh_member(h->mesh), MEMBER_ALIVE);
        s->up += i < w->n;
        views++;
        sum += alive;
        s->least_alive = alive < s->least_alive ? alive : s->least_alive;
        s->most_alive = alive > s->most_alive ? alive : s->most_alive;
    }
    s->least_alive = views ? s->least_alive : 0;
    s->mean_alive = views ? (double)sum / views : 0;
}

static void write_row(struct world *w)
{
    struct measure *m = &w->measure;
    u64 talk, datagrams, bytes = mesh_bytes_sent(w, &talk, &datagrams);
    struct record_second s = {.mesh_bytes = bytes - m->last_bytes,
                              .peer_bytes = w->fetches->peer_bytes - m->last_peer,
                              .registry_bytes = w->fetches->registry_bytes - m->last_wan,
                              .requests = w->pulls->requests,
                              .hits = w->pulls->hits,
                              .fetches = w->fetches->active,
                              .pulls = w->pulls->active + w->users->active,
                              .false_dead = m->false_dead};
    for (int i = 0; i < USER_SOURCES; i++)
        s.served += w->users->by[i];
    s.served_own = w->users->by[USER_OWN_OFFICE];
    count_views(w, &s);
    record_second(w->record, world_now(w), &s);
    m->last_bytes = bytes;
    m->last_peer = w->fetches->peer_bytes;
    m->last_wan = w->fetches->registry_bytes;
    for (u32 i = 0; i < w->topology.n_offices; i++)
        record_wan(w->record, world_now(w), i,
                   flow_line_bytes(&w->flows, w->wan_up[i], world_now(w)),
                   flow_line_bytes(&w->flows, w->wan_down[i], world_now(w)));
}

void measure_second(struct world *w)
{
    struct measure *m = &w->measure;
    struct rng r = engine_rng_n(&w->engine, "lookups", m->seconds++);
    for (u64 i = 0; w->phase == PHASE_FAULTS && i < w->k.lookups; i++)
        look_up(w, &r);
    for (size_t o = 0; o < m->n_observers; o++)
        if ((m->seconds + o) % 4 == 0)
            judge_growth(w, o);
    judge_memory(w, &w->hosts[m->seconds % w->members]);
    for (u32 i = 0; i < w->members; i++)
        judge_rates(w, &w->hosts[i]);
    judge_detection(w);
    if (w->k.second && w->record)
        write_row(w);
}

void measure_start(struct world *w)
{
    u64 talk;
    w->measure.bytes_from = mesh_bytes_sent(w, &talk, &w->measure.datagrams);
    w->measure.talk_bytes = talk;
    w->measure.bytes_from_ns = world_now(w);
}

#define PAIRS      20000
#define SETTLED_NS (60 * SIM_S) /* a process so old has found its place */

/* How far round trips are from what coordinates say of them (proto/coord.h), between any two that
 * have been up for a while: as a node asks that has not measured the other itself. */
static void measure_coordinates(struct world *w)
{
    struct measure *m = &w->measure;
    struct rng r = engine_rng(&w->engine, "pairs");
    for (int i = 0; i < PAIRS; i++) {
        u32 a = (u32)rng_below(&r, w->n), b = (u32)rng_below(&r, w->n);
        const struct host *x = &w->hosts[a], *y = &w->hosts[b];
        struct member_view v;
        u64 now = world_now(w);
        if (a == b || x->place.region != y->place.region || x->state != HOST_UP ||
            y->state != HOST_UP || now - x->since_ns < SETTLED_NS ||
            now - y->since_ns < SETTLED_NS || !member_find(mesh_member(x->mesh), &y->key, &v))
            continue;
        u64 is = net_rtt(&w->net, a, b);
        u64 said = coord_distance_ns(member_coord(mesh_member(x->mesh)), &v.coord);
        u64 error = (said > is ? said - is : is - said) * 1000000 / (is ? is : 1);
        samples_add(&m->rtt_error, error);
        if (x->place.office != y->place.office)
            samples_add(&m->rtt_error_offices, error);
    }
}

void measure_stop(struct world *w)
{
    measure_coordinates(w);
    u64 talk, datagrams;
    w->measure.bytes_to = mesh_bytes_sent(w, &talk, &datagrams);
    w->measure.talk_bytes = talk - w->measure.talk_bytes;
    w->measure.datagrams = datagrams - w->measure.datagrams;
    w->measure.bytes_to_ns = world_now(w);
}

/* --- agreement ------------------------------------------------------------------------------- */

static bool find_origin(const struct host *h, const struct node_key *k, struct inventory_origin *o)
{
    size_t at = 0;
    while (inventory_each(mesh_inventory(h->mesh), &at, o))
        if (node_key_equal(&o->key, k))
            return true;
    return false;
}

/* Whose layers two nodes know differently. */
static void say_difference(const struct world *w, const struct host *a, const struct host *b,
                           char why[200])
{
    int n = snprintf(why, 200, "the inventories of node %u and node %u differ", a->index, b->index);
    for (u32 i = 0; i < w->members; i++) {
        struct inventory_origin x = {0}, y = {0};
        bool here = find_origin(a, &w->hosts[i].key, &x),
             there = find_origin(b, &w->hosts[i].key, &y);
        if (here == there && x.epoch == y.epoch && x.n == y.n && x.complete == y.complete)
            continue;
        snprintf(why + n, (size_t)(200 - n),
                 " in what node %u holds: %s epoch %ju n %ju %s, %s epoch %ju n %ju %s", i,
                 here ? "known," : "not known,", (uintmax_t)x.epoch, (uintmax_t)x.n,
                 x.complete ? "complete" : "not complete", there ? "known," : "not known,",
                 (uintmax_t)y.epoch, (uintmax_t)y.n, y.complete ? "complete" : "not complete");
        return;
    }
}

/* `why`: who does not, and in what. */
static bool views_agree(const struct world *w, char why[200])
{
    u32 live[TOPOLOGY_OFFICES_MAX], first[TOPOLOGY_OFFICES_MAX];
    u64 hash[TOPOLOGY_OFFICES_MAX];
    for (u32 i = 0; i < w->topology.n_regions; i++) {
        live[i] = world_live(w, i);
        first[i] = UINT32_MAX;
    }
    for (u32 i = 0; i < w->members; i++) {
        const struct host *h = &w->hosts[i];
        u32 region = h->place.region;
        if (h->state != HOST_UP || h->leaving) {
            snprintf(why, 200, "node %u is not up", i);
            return false;
        }
        u32 alive = (u32)member_count(mesh_member(h->mesh), MEMBER_ALIVE);
        if (alive != live[region]) {
            snprintf(why, 200, "node %u sees %u of %u alive", i, alive, live[region]);
            return false;
        }
        u64 mine = inventory_hash(mesh_inventory(h->mesh));
        if (first[region] == UINT32_MAX) {
            first[region] = i;
            hash[region] = mine;
        } else if (hash[region] != mine) {
            say_difference(w, &w->hosts[first[region]], h, why);
            return false;
        }
    }
    return true;
}

/* Once nothing changes any more: what all agree on must also be so. */
void measure_truth(struct world *w)
{
    struct rng r = engine_rng(&w->engine, "truth");
    for (int i = 0; i < 200; i++) {
        const struct host *h = &w->hosts[rng_below(&r, w->members)];
        const struct host *of = &w->hosts[rng_below(&r, w->members)];
        u32 at = SHELF_NONE;
        const struct shelf_entry *e = i % 2 ? shelf_each(&of->shelf, &at) : NULL;
        if ((!e && of->layers_n == 0) || of == h || of->place.region != h->place.region)
            continue;
        u32 layer =
            e ? e->layer : (u32)((of->layers_from + rng_below(&r, of->layers_n)) % w->k.catalog);
        struct digest d;
        catalog_digest(&w->catalog, layer, &d);
        for (u32 k = 0; k < w->members; k++) {
            if (k == h->index || w->hosts[k].place.region != h->place.region)
                continue;
            bool says = inventory_is_held_by(mesh_inventory(h->mesh), &d, &w->hosts[k].key);
            if (says != host_holds(w, k, layer) && !w->hosts[k].denied)
                measure_break(w, "agreement", "all agree, but not node %u: node %u %s layer %u",
                              h->index, k, says ? "does not hold" : "holds", layer);
        }
    }
}

bool measure_agreed(struct world *w)
{
    if (world_now(w) - w->healed_ns < SIM_S || !views_agree(w, w->measure.apart))
        return false;
    samples_add(&w->measure.agree, world_now(w) - w->healed_ns);
    return true;
}

void measure_finish(struct world *w)
{
    struct measure *m = &w->measure;
    for (size_t i = 0; i < m->n_uses; i++)
        samples_add(&m->dead_use, m->uses[i].to_ns - m->uses[i].from_ns);
    m->n_uses = 0;
}

/* measure.c - see measure.h: what happened is taken in here; measure_look.c looks and judges. */
#include "sim/measure.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/host.h"
#include "sim/mem.h"

#define FALSE_AGAIN_NS (60 * SIM_S) /* one false death is told to everybody: it counts once */
#define SETTLED_NS     (15 * SIM_S)
#define CUT_AFTER_NS   (60 * SIM_S) /* after a cut the dead of the other side come back */

/* --- samples --------------------------------------------------------------------------------- */

void samples_add(struct samples *s, u64 v)
{
    s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
    s->v[s->n++] = v;
    s->sorted = false;
}

static int by_value(const void *left, const void *right)
{
    u64 a = *(const u64 *)left, b = *(const u64 *)right;
    return a < b ? -1 : a > b;
}

u64 samples_at(struct samples *s, double part)
{
    if (s->n == 0)
        return 0;
    if (!s->sorted)
        qsort(s->v, s->n, sizeof(*s->v), by_value);
    s->sorted = true;
    size_t i = (size_t)(part * (double)s->n);
    return s->v[i < s->n ? i : s->n - 1];
}

/* --- life ------------------------------------------------------------------------------------ */

void measure_init(struct world *w)
{
    struct measure *m = &w->measure;
    struct rng r = engine_rng(&w->engine, "observers");
    m->false_ns = mem_new(w->members, sizeof(*m->false_ns));
    m->seen = mem_new((size_t)MEASURE_OBSERVERS * w->members, sizeof(*m->seen));
    m->n_observers = w->members < MEASURE_OBSERVERS ? w->members : MEASURE_OBSERVERS;
    for (size_t i = 0; i < m->n_observers; i++)
        m->observers[i] = (u32)rng_below(&r, w->members);
    for (size_t i = 0; i < MEASURE_CHANGES; i++)
        m->changes[i].knows = mem_new(w->members, 1);
}

void measure_fini(struct world *w)
{
    struct measure *m = &w->measure;
    struct samples *all[] = {&m->detect,   &m->detect_all, &m->know_most, &m->know_all,
                             &m->dead_use, &m->agree,      &m->rtt_error, &m->rtt_error_offices};
    for (size_t i = 0; i < countof(all); i++)
        free(all[i]->v);
    for (size_t i = 0; i < m->n_deaths; i++)
        free(m->deaths[i].knows);
    for (size_t i = 0; i < MEASURE_CHANGES; i++)
        free(m->changes[i].knows);
    free(m->deaths);
    free(m->uses);
    free(m->false_ns);
    free(m->seen);
    memset(m, 0, sizeof(*m));
}

void measure_break(struct world *w, const char *invariant, const char *format, ...)
{
    struct measure *m = &w->measure;
    if (m->broken)
        return;
    m->broken = true;
    m->invariant = invariant;
    m->broken_ns = world_now(w);
    va_list args;
    va_start(args, format);
    vsnprintf(m->why, sizeof(m->why), format, args);
    va_end(args);
    record_broken(w->record, world_now(w), invariant, m->why);
}

/* --- deaths ---------------------------------------------------------------------------------- */

static void close_death(struct world *w, struct measure_death *d, bool complete)
{
    struct measure *m = &w->measure;
    d->open = false;
    free(d->knows);
    d->knows = NULL;
    if (complete) {
        samples_add(&m->detect_all, world_now(w) - d->at_ns);
        record_death_known(w->record, world_now(w), d->node, world_now(w) - d->at_ns);
    } else {
        m->censored++;
    }
    while (m->first_open < m->n_deaths && !m->deaths[m->first_open].open)
        m->first_open++;
}

static void check_death(struct world *w, struct measure_death *d)
{
    if (d->knowing == d->needed)
        close_death(w, d, d->needed > 0);
}

void measure_up(struct world *w, u32 node)
{
    struct measure *m = &w->measure;
    record_node(w->record, world_now(w), "up", node);
    for (size_t i = m->first_open; i < m->n_deaths; i++)
        if (m->deaths[i].open && m->deaths[i].node == node)
            close_death(w, &m->deaths[i], false);
}

static void end_uses(struct world *w, u32 peer)
{
    struct measure *m = &w->measure;
    size_t kept = 0;
    for (size_t i = 0; i < m->n_uses; i++) {
        if (m->uses[i].peer == peer || peer == UINT32_MAX)
            samples_add(&m->dead_use, m->uses[i].to_ns - m->uses[i].from_ns);
        else
            m->uses[kept++] = m->uses[i];
    }
    m->n_uses = kept;
}

/* A node that dies does not know of other deaths any more, nor is it waited for. */
static void forget_observer(struct world *w, u32 node)
{
    struct measure *m = &w->measure;
    for (size_t i = m->first_open; i < m->n_deaths; i++) {
        struct measure_death *d = &m->deaths[i];
        if (!d->open || d->knows[node])
            continue;
        d->knows[node] = 2;
        d->needed--;
        check_death(w, d);
    }
    for (size_t i = 0; i < m->n_changes; i++)
        if (!m->changes[i].knows[node]) {
            m->changes[i].knows[node] = 2;
            m->changes[i].needed--;
        }
}

bool measure_sees_alive(const struct world *w, u32 observer, u32 node)
{
    const struct host *h = &w->hosts[observer];
    struct member_view v;
    return h->mesh && member_find(mesh_member(h->mesh), &w->hosts[node].key, &v) &&
           (v.state == MEMBER_ALIVE || v.state == MEMBER_SUSPECT);
}

void measure_down(struct world *w, u32 node)
{
    struct measure *m = &w->measure;
    const struct host *h = &w->hosts[node];
    record_node(w->record, world_now(w), "down", node);
    forget_observer(w, node);
    end_uses(w, node);
    if (h->leaving || w->phase != PHASE_FAULTS)
        return;
    m->deaths = mem_grow(m->deaths, &m->deaths_cap, m->n_deaths + 1, sizeof(*m->deaths));
    struct measure_death *d = &m->deaths[m->n_deaths++];
    *d = (struct measure_death){.node = node, .at_ns = world_now(w), .open = true};
    d->knows = mem_new(w->members, 1);
    for (u32 i = 0; i < w->members; i++)
        if (i != node && w->hosts[i].state != HOST_OFF && measure_sees_alive(w, i, node))
            d->needed++;
        else
            d->knows[i] = 2;
    check_death(w, d);
}

static void knows_of_death(struct world *w, u32 observer, u32 node)
{
    struct measure *m = &w->measure;
    for (size_t i = m->first_open; i < m->n_deaths; i++) {
        struct measure_death *d = &m->deaths[i];
        if (!d->open || d->node != node || d->knows[observer])
            continue;
        d->knows[observer] = 1;
        d->knowing++;
        samples_add(&m->detect, world_now(w) - d->at_ns);
        check_death(w, d);
    }
}

/* --- views ----------------------------------------------------------------------------------- */

static bool is_cut(const struct world *w)
{
    for (int g = 0; g < NET_GROUPS_MAX; g++)
        if (w->net.blocked[g])
            return true;
    for (u32 i = 0; i < w->members; i++) {
        const struct net_node *n = &w->net.nodes[i];
        if (n->deaf || n->mute || n->clogged_ns > w->engine.now_ns || n->loss > .2 ||
            w->hosts[i].ring != HOST_RING_NOW)
            return true;
    }
    return w->net.weather.loss > .2;
}

void measure_cut(struct world *w)
{
    if (is_cut(w))
        w->measure.cut_ns = world_now(w) + CUT_AFTER_NS;
    else if (w->measure.cut_ns > world_now(w)) /* it has just been mended, or has not */
        w->measure.cut_ns = world_now(w) + CUT_AFTER_NS;
}

bool measure_is_cut(const struct world *w)
{
    return is_cut(w) || w->measure.cut_ns >= world_now(w);
}

static void said_dead(struct world *w, u32 observer, u32 node, enum member_state state)
{
    struct measure *m = &w->measure;
    struct host *h = &w->hosts[node];
    if (h->state == HOST_OFF) {
        knows_of_death(w, observer, node);
        return;
    }
    if (state != MEMBER_DEAD || h->leaving || w->phase == PHASE_WARM)
        return;
    if (w->agreed_ns != UINT64_MAX && world_now(w) > w->agreed_ns)
        measure_break(w, "calm", "node %u calls node %u dead, which is well, after all agreed",
                      observer, node);
    /* Who could not be heard was called dead with reason; so was the life before this one. */
    if (w->phase == PHASE_HEALED || is_cut(w) || m->cut_ns > world_now(w) ||
        world_now(w) - h->since_ns < FALSE_AGAIN_NS / 2) {
        m->cut_dead++;
        return;
    }
    if (m->false_ns[node] && world_now(w) - m->false_ns[node] < FALSE_AGAIN_NS)
        return;
    m->false_ns[node] = world_now(w);
    m->false_dead++;
    record_view(w->record, world_now(w), "false_dead", observer, node);
}

void measure_member(struct world *w, u32 observer, const struct member_event *ev)
{
    struct measure *m = &w->measure;
    u32 node = world_by_key(w, &ev->key);
    switch (ev->kind) {
    case MEMBER_EVENT_SUSPECT:
        m->suspicions++;
        record_view(w->record, world_now(w), "suspect", observer, node);
        break;
    case MEMBER_EVENT_DOWN:
        record_view(w->record, world_now(w), "dead", observer, node);
        if (node != UINT32_MAX && node != observer)
            said_dead(w, observer, node, ev->state);
        break;
    case MEMBER_EVENT_UP: record_view(w->record, world_now(w), "alive", observer, node); break;
    case MEMBER_EVENT_REFUTED: m->refutations++; break;
    case MEMBER_EVENT_CLONED:
    case MEMBER_EVENT_NAME_TAKEN:
        record_view(w->record, world_now(w), "refused", observer, node);
        break;
    default: break;
    }
}

/* --- layers ---------------------------------------------------------------------------------- */

#define CHANGE_EVERY_NS (SIM_S / 2)

/* One in a while is followed until everybody knows. */
void measure_changed(struct world *w, u32 node, u32 layer)
{
    struct measure *m = &w->measure;
    if (world_now(w) < m->next_change_ns || m->n_changes == MEASURE_CHANGES ||
        w->phase != PHASE_FAULTS)
        return;
    m->next_change_ns = world_now(w) + CHANGE_EVERY_NS;
    struct measure_change *c = &m->changes[m->n_changes++];
    u8 *knows = c->knows;
    *c = (struct measure_change){
        .node = node, .layer = layer, .at_ns = world_now(w), .knows = knows};
    for (u32 i = 0; i < w->members; i++) {
        bool asked = i != node && w->hosts[i].state != HOST_OFF &&
                     w->hosts[i].place.region == w->hosts[node].place.region;
        knows[i] = asked ? 0 : 2;
        c->needed += asked;
    }
}

/* --- requests -------------------------------------------------------------------------------- */

static struct measure_use *use_of(struct world *w, u32 node, u32 peer, u64 from_ns)
{
    struct measure *m = &w->measure;
    for (size_t i = 0; i < m->n_uses; i++)
        if (m->uses[i].node == node && m->uses[i].peer == peer)
            return &m->uses[i];
    m->uses = mem_grow(m->uses, &m->uses_cap, m->n_uses + 1, sizeof(*m->uses));
    struct measure_use *u = &m->uses[m->n_uses++];
    *u = (struct measure_use){node, peer, from_ns, from_ns};
    return u;
}

/* Of a dead peer: from its death, or from when this node first turned to it. */
void measure_asks(struct world *w, u32 node, u32 peer)
{
    if (w->hosts[peer].state == HOST_OFF)
        use_of(w, node, peer, world_now(w))->to_ns = world_now(w);
}

void measure_asked(struct world *w, u32 node, u32 peer, u64 since_ns)
{
    const struct host *p = &w->hosts[peer];
    if (p->state == HOST_OFF)
        use_of(w, node, peer, since_ns > p->since_ns ? since_ns : p->since_ns)->to_ns =
            world_now(w);
}

void measure_convicted(struct world *w, u32 node, u32 peer)
{
    if (!w->hosts[peer].served_wrong)
        measure_break(w, "convicted", "node %u convicts node %u, which is honest", node, peer);
}

/* Who has just started is not known to all, nor are all to it. */
static bool is_settled(const struct world *w)
{
    for (u32 i = 0; i < w->n; i++)
        if (w->hosts[i].lies != HOST_HONEST ||
            (w->hosts[i].state == HOST_UP && world_now(w) - w->hosts[i].since_ns < SETTLED_NS))
            return false;
    return true;
}

/* Two may meet after a cut or a death; more than two never. Liars can make more. */
void measure_fetchers(struct world *w, u32 layer, u32 n)
{
    if (n > 2 && is_settled(w) && !measure_is_cut(w) && w->phase == PHASE_FAULTS)
        measure_break(w, "fetchers", "%u nodes fetch layer %u from the registry at once", n, layer);
}

void measure_stray(struct world *w)
{
    w->measure.strays++;
}

/* pull.c - see pull.h. */
#include "sim/pull.h"

#include <assert.h>
#include <stdlib.h>

#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/mem.h"
#include "sim/user.h"

void pull_init(struct world *w)
{
    w->pulls = mem_new(1, sizeof(*w->pulls));
    w->pulls->first_ns = UINT64_MAX;
}

void pull_fini(struct world *w)
{
    struct pulls *s = w->pulls;
    if (!s)
        return;
    free(s->v);
    free(s->free);
    free(s->wants);
    free(s->wants_free);
    free(s->took_ns);
    free(s);
}

static u32 pull_new(struct pulls *s)
{
    if (s->n_free > 0)
        return s->free[--s->n_free];
    s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
    return (u32)s->n++;
}

static u32 want_new(struct pulls *s)
{
    if (s->n_wants_free > 0)
        return s->wants_free[--s->n_wants_free];
    s->wants = mem_grow(s->wants, &s->wants_cap, s->n_wants + 1, sizeof(*s->wants));
    return (u32)s->n_wants++;
}

void pull_counts_begin(struct world *w, u32 layers)
{
    if (w->pulls->first_ns == UINT64_MAX)
        w->pulls->first_ns = world_now(w);
    w->pulls->requests += layers;
}

void pull_counts_end(struct world *w, u64 took_ns, u32 failed)
{
    struct pulls *s = w->pulls;
    s->last_ns = world_now(w);
    if (failed) {
        s->pulls_failed++;
    } else {
        s->pulled++;
        s->took_ns = mem_grow(s->took_ns, &s->took_cap, s->n_took + 1, sizeof(*s->took_ns));
        s->took_ns[s->n_took++] = took_ns;
    }
}

static void pull_ends(struct world *w, u32 id)
{
    struct pulls *s = w->pulls;
    struct pull *p = &s->v[id];
    u64 took = world_now(w) - p->begun_ns;
    record_pull_ends(w->record, world_now(w), p->node, p->image, took, p->failed);
    pull_counts_end(w, took, p->failed);
    p->used = false;
    s->active--;
    s->free = mem_grow(s->free, &s->free_cap, s->n_free + 1, sizeof(*s->free));
    s->free[s->n_free++] = id;
}

static void want_ends(struct world *w, u32 id, bool worked)
{
    struct pulls *s = w->pulls;
    struct pull_want *q = &s->wants[id];
    u32 pull = q->pull;
    q->used = false;
    s->active_wants--;
    s->failed += !worked;
    s->v[pull].failed += !worked;
    s->wants_free =
        mem_grow(s->wants_free, &s->wants_free_cap, s->n_wants_free + 1, sizeof(*s->wants_free));
    s->wants_free[s->n_wants_free++] = id;
    if (--s->v[pull].left == 0)
        pull_ends(w, pull);
}

static void try_later(struct world *w, u32 id)
{
    struct pull_want *q = &w->pulls->wants[id];
    q->fetch = 0;
    if (++q->tries >= PULL_TRIES)
        want_ends(w, id, false);
    else
        world_at(w, world_now(w) + q->tries * PULL_PAUSE_NS, EV_RETRY, q->node, id);
}

/* This node, or the next one of its office that runs. */
static u32 node_near(struct world *w, u32 node)
{
    const struct topology_office *o = &w->topology.offices[w->hosts[node].place.office];
    for (u32 i = 0; i < o->nodes; i++) {
        u32 n = o->first + (node - o->first + i) % o->nodes;
        if (w->hosts[n].state == HOST_UP && !w->hosts[n].leaving)
            return n;
    }
    return PULL_ANY;
}

static void ask(struct world *w, u32 id)
{
    struct pulls *s = w->pulls;
    struct pull_want *q = &s->wants[id];
    u32 node = node_near(w, q->node), layer = q->layer;
    if (node == PULL_ANY) {
        try_later(w, id);
        return;
    }
    q->node = node;
    struct host *h = &w->hosts[node];
    struct shelf_entry *e = shelf_find(&h->shelf, layer);
    if (e || host_holds(w, node, layer)) {
        if (e)
            shelf_use(&h->shelf, e, host_unix_ms(w, h));
        s->hits += q->tries == 0;
        want_ends(w, id, true);
        return;
    }
    u64 fetch = fetch_want(w, node, layer);
    s->wants[id].fetch = fetch;
}

void pull_begin(struct world *w, u32 node, u32 image)
{
    struct pulls *s = w->pulls;
    if (image == PULL_ANY)
        image = catalog_draw(&w->catalog, &w->rng_work);
    struct catalog_image i = w->catalog.images[image];
    u32 id = pull_new(s);
    pull_counts_begin(w, i.n);
    s->v[id] = (struct pull){
        .used = true, .node = node, .image = image, .left = i.n, .begun_ns = world_now(w)};
    s->active++;
    s->active_wants += i.n;
    u32 wants[CATALOG_LAYERS_MAX];
    for (u32 k = 0; k < i.n; k++) {
        wants[k] = want_new(s);
        u32 layer = w->catalog.layers[i.first + k];
        s->wants[wants[k]] = (struct pull_want){.used = true,
                                                .pull = id,
                                                .layer = layer,
                                                .node = node,
                                                .begun_ns = world_now(w),
                                                .bytes = catalog_bytes(&w->catalog, layer)};
    }
    for (u32 k = 0; k < i.n; k++)
        ask(w, wants[k]);
}

void pull_retry(struct world *w, u32 want)
{
    if (w->pulls->wants[want].used)
        ask(w, want);
}

void pull_fetch_ended(struct world *w, u64 fetch, u32 node, int err, bool wrong)
{
    struct pulls *s = w->pulls;
    if (err == 0 && wrong)
        measure_break(w, "bytes", "node %u answered with wrong bytes, and in full", node);
    for (u32 i = 0; i < s->n_wants; i++)
        if (s->wants[i].used && s->wants[i].fetch == fetch) {
            s->wants[i].fetch = 0;
            if (err)
                try_later(w, i);
            else
                want_ends(w, i, true);
        }
    user_fetch_ended(w, fetch, err, wrong);
}

void pull_check(struct world *w)
{
    struct pulls *s = w->pulls;
    for (u32 i = 0; i < s->n_wants; i++)
        if (s->wants[i].used && world_now(w) - s->wants[i].begun_ns > PULL_BOUND_NS)
            measure_break(w, "requests", "a request at node %u waits since %.3f s",
                          s->wants[i].node, (double)s->wants[i].begun_ns / 1e9);
}

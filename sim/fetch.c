/* fetch.c - see fetch.h. Requests stand in fetch_request.c, the registry's stream in
 * fetch_registry.c, what bytes are in fetch_bytes.c. */
#include "sim/fetch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/copies.h"
#include "sim/fetch_impl.h"
#include "sim/host.h"
#include "sim/mem.h"
#include "sim/pull.h"

#define POLL_NS      (5 * SIM_MS)
#define CONVICTED_NS (600 * SIM_S) /* as in node/peers.c */
#define STEPS_MAX    20000

void fetch_init(struct world *w)
{
    w->fetches = mem_new(1, sizeof(*w->fetches));
    w->fetches->by_node_size = 1024;
    w->fetches->by_node = mem_new(w->fetches->by_node_size, sizeof(u32));
    w->fetches->names_size = 64;
    w->fetches->names = mem_new(w->fetches->names_size, sizeof(u32));
    shelf_init(&w->fetches->distinct, UINT64_MAX);
}

void fetch_fini(struct world *w)
{
    struct fetches *s = w->fetches;
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++)
        piece_map_fini(&s->v[i].map);
    free(s->v);
    free(s->free);
    free(s->by_node);
    free(s->names);
    free(s->requests);
    free(s->requests_free);
    free(s->convicted);
    free(s->first_byte.v);
    shelf_fini(&s->distinct);
    free(s);
}

u64 fetch_handle(const struct fetch *f, u32 id)
{
    return (u64)f->gen << 32 | id;
}

/* --- which there are ------------------------------------------------------------------------- */

static size_t cell_of(const struct fetches *s, u32 node, u32 layer)
{
    u64 h = ((u64)node << 32 | layer) * 0x9e3779b97f4a7c15u;
    return (size_t)(h >> 32) & (s->by_node_size - 1);
}

u32 fetch_find(const struct world *w, u32 node, u32 layer)
{
    const struct fetches *s = w->fetches;
    for (size_t at = cell_of(s, node, layer); s->by_node[at];
         at = (at + 1) & (s->by_node_size - 1)) {
        const struct fetch *f = &s->v[s->by_node[at] - 1];
        if (f->node == node && f->layer == layer)
            return s->by_node[at] - 1;
    }
    return FETCH_NONE;
}

static void index_put(struct fetches *s, u32 id)
{
    size_t at = cell_of(s, s->v[id].node, s->v[id].layer);
    while (s->by_node[at])
        at = (at + 1) & (s->by_node_size - 1);
    s->by_node[at] = id + 1;
}

static void index_take(struct fetches *s, u32 id)
{
    size_t mask = s->by_node_size - 1, at = cell_of(s, s->v[id].node, s->v[id].layer);
    while (s->by_node[at] != id + 1)
        at = (at + 1) & mask;
    size_t hole = at;
    for (at = (at + 1) & mask; s->by_node[at]; at = (at + 1) & mask) {
        const struct fetch *f = &s->v[s->by_node[at] - 1];
        size_t home = cell_of(s, f->node, f->layer);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            s->by_node[hole] = s->by_node[at];
            hole = at;
        }
    }
    s->by_node[hole] = 0;
}

static void index_grow(struct fetches *s)
{
    if (2 * (s->active + 1) < s->by_node_size)
        return;
    free(s->by_node);
    s->by_node_size *= 2;
    s->by_node = mem_new(s->by_node_size, sizeof(u32));
    for (u32 i = 0; i < s->n; i++)
        if (s->v[i].used)
            index_put(s, i);
}

/* --- which layer a digest names --------------------------------------------------------------- */

static size_t name_cell(const struct world *w, const struct digest *d)
{
    const struct fetches *s = w->fetches;
    size_t at = (size_t)digest_hash(d, 0) & (s->names_size - 1);
    for (; s->names[at]; at = (at + 1) & (s->names_size - 1)) {
        struct digest other;
        catalog_digest(&w->catalog, s->names[at] - 1, &other);
        if (digest_equal(&other, d))
            return at;
    }
    return at;
}

u32 fetch_layer_of(const struct world *w, const struct digest *d)
{
    return w->fetches->names[name_cell(w, d)] - 1;
}

static void name(struct world *w, u32 layer)
{
    struct fetches *s = w->fetches;
    struct digest d;
    if (2 * (s->n_names + 1) > s->names_size) {
        u32 *old = s->names;
        size_t n = s->names_size;
        s->names_size *= 2;
        s->names = mem_new(s->names_size, sizeof(*s->names));
        s->n_names = 0;
        for (size_t i = 0; i < n; i++)
            if (old[i])
                name(w, old[i] - 1);
        free(old);
    }
    catalog_digest(&w->catalog, layer, &d);
    u32 *cell = &s->names[name_cell(w, &d)];
    s->n_names += *cell == 0;
    *cell = layer + 1;
}

static u32 fetch_new(struct world *w, u32 node, u32 layer)
{
    struct fetches *s = w->fetches;
    u32 id;
    index_grow(s);
    if (s->n_free > 0) {
        id = s->free[--s->n_free];
    } else {
        s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
        id = (u32)s->n++;
    }
    struct fetch *f = &s->v[id];
    *f = (struct fetch){.used = true,
                        .gen = f->gen + 1,
                        .node = node,
                        .layer = layer,
                        .size = catalog_bytes(&w->catalog, layer),
                        .registry = FETCH_NONE,
                        .begun_ns = world_now(w),
                        .gained_ns = world_now(w)};
    if (piece_map_init(&f->map, piece_count(f->size)))
        abort();
    if (partial_take(&w->hosts[node].partials, layer, &f->map))
        s->pieces_there += f->map.have;
    name(w, layer);
    s->active++;
    s->begun++;
    index_put(s, id);
    record_fetch_begins(w->record, world_now(w), node, layer, f->size);
    if (!s->polling) {
        s->polling = true;
        world_at(w, world_now(w) + POLL_NS, EV_POLL, 0, 0);
    }
    return id;
}

/* With what is here already. An asker names the layer to whoever is appointed, and nobody else. */
static void join(struct world *w, u32 id)
{
    struct fetch *f = &w->fetches->v[id];
    struct host *h = &w->hosts[f->node];
    struct swarm_want want = {.size = f->size, .can_fetch = f->wanted};
    catalog_digest(&w->catalog, f->layer, &want.digest);
    if (f->wanted)
        snprintf(want.origin, sizeof(want.origin), "%u", f->layer);
    int rc = mesh_swarm_join(h->mesh, &want, host_now(w, h));
    if (rc)
        measure_break(w, "swarm", "node %u cannot join: %s", f->node, err_name(rc));
    for (u32 p = piece_map_next(&f->map, 0, true); p < f->map.n;
         p = piece_map_next(&f->map, p + 1, true))
        mesh_swarm_have(h->mesh, &want.digest, p, host_now(w, h));
    if (f->wanted)
        mesh_swarm_position(h->mesh, &want.digest, piece_map_next(&f->map, 0, false));
}

/* Appointed to fetch what nobody here wants, perhaps. */
u32 fetch_for_others(struct world *w, u32 node, u32 layer)
{
    u32 id = fetch_find(w, node, layer);
    if (id != FETCH_NONE)
        return id;
    id = fetch_new(w, node, layer);
    join(w, id);
    return id;
}

u64 fetch_want(struct world *w, u32 node, u32 layer)
{
    u32 id = fetch_find(w, node, layer);
    if (id == FETCH_NONE)
        id = fetch_new(w, node, layer);
    struct fetch *f = &w->fetches->v[id];
    if (!f->wanted) {
        f->wanted = true;
        join(w, id);
    }
    u64 wanted = fetch_handle(f, id);
    host_drive(w, node);
    return wanted;
}

/* --- its end --------------------------------------------------------------------------------- */

/* What came so far stays in the store, but for wrong pieces, which are found out. */
static void keep_partial(struct world *w, struct fetch *f)
{
    struct host *h = &w->hosts[f->node];
    bool right = f->content == CONTENT_RIGHT || f->content == (int)f->node + 1;
    if (f->map.have > 0 && right && !h->disk_full)
        partial_keep(&h->partials, f->layer, &f->map);
}

void fetch_finish(struct world *w, u32 id, int err)
{
    struct fetches *s = w->fetches;
    struct fetch *f = &s->v[id];
    fetch_registry_end(w, f);
    *(err ? &s->failed : &s->worked) += 1;
    record_fetch_ends(w->record, world_now(w), f, err);
    if (err == 0 && !shelf_find(&s->distinct, f->layer))
        shelf_put(&s->distinct, f->layer, f->size, 0);
    u64 was = fetch_handle(f, id);
    u32 node = f->node;
    bool wrong = f->content != CONTENT_RIGHT;
    while (s->v[id].n_mine > 0)
        fetch_request_del(w, s->v[id].mine[s->v[id].n_mine - 1]);
    f = &s->v[id];
    index_take(s, id);
    if (err)
        keep_partial(w, f);
    piece_map_fini(&f->map);
    f->used = false;
    s->active--;
    s->free = mem_grow(s->free, &s->free_cap, s->n_free + 1, sizeof(*s->free));
    s->free[s->n_free++] = id;
    pull_fetch_ended(w, was, node, err, wrong);
}

/* Kept where room can be made; then the region is told. */
static bool keep(struct world *w, const struct fetch *f)
{
    struct host *h = &w->hosts[f->node];
    u32 gone[256];
    size_t n = 0;
    if (h->disk_full || shelf_find(&h->shelf, f->layer))
        return false;
    int rc = shelf_make_room(&h->shelf, &w->catalog, f->size, gone, countof(gone), &n);
    for (size_t i = 0; i < n; i++) {
        struct digest d;
        catalog_digest(&w->catalog, gone[i], &d);
        mesh_swarm_leave(h->mesh, &d, host_now(w, h));
        host_hold(w, f->node, gone[i], false);
    }
    if (rc)
        return false;
    shelf_put(&h->shelf, f->layer, f->size, host_unix_ms(w, h));
    shelf_find(&h->shelf, f->layer)->stored_ms = world_now(w) / SIM_MS;
    host_hold(w, f->node, f->layer, true);
    return true;
}

static void convict(struct world *w, u32 node, u32 peer, u32 layer)
{
    struct fetches *s = w->fetches;
    s->convicted =
        mem_grow(s->convicted, &s->convicted_cap, s->n_convicted + 1, sizeof(*s->convicted));
    s->convicted[s->n_convicted++] =
        (struct fetch_conviction){node, peer, layer, world_now(w) + CONVICTED_NS};
    measure_convicted(w, node, peer);
}

/* All pieces are here and fit one chain; its end does not fit the digest. */
static void disprove(struct world *w, u32 id)
{
    struct fetch *f = &w->fetches->v[id];
    struct host *h = &w->hosts[f->node];
    struct digest d;
    catalog_digest(&w->catalog, f->layer, &d);
    w->fetches->wrong++;
    copies_disproved(w, id);
    if (f->content < 0)
        f->disproved |= 1u << -f->content;
    w->fetches->wrong_bytes += f->size;
    if (f->content > 0 && (u32)f->content - 1 != f->node) {
        u32 liar = (u32)f->content - 1;
        convict(w, f->node, liar, f->layer);
        mesh_swarm_forged(h->mesh, &d, &w->hosts[liar].key, host_now(w, h));
    } else if (f->content == CONTENT_REGISTRY || f->content == CONTENT_COLLUSION) {
        struct swarm_view v;
        if (swarm_look(mesh_swarm(h->mesh), &d, &v, host_now(w, h)) && v.fetcher_known &&
            !node_key_equal(&v.fetcher, &h->key))
            mesh_swarm_forged(h->mesh, &d, &v.fetcher, host_now(w, h));
    }
    for (u32 p = 0; p < f->map.n; p++)
        if (piece_map_clear(&f->map, p))
            mesh_swarm_lost(h->mesh, &d, p, host_now(w, h));
    f->content = CONTENT_RIGHT;
    if (f->fetches) {
        f->stream_at = 0;
        f->registry_from_ns = world_now(w) + SIM_S;
    }
}

static void judge(struct world *w, u32 id)
{
    struct fetch *f = &w->fetches->v[id];
    struct host *h = &w->hosts[f->node];
    struct digest d;
    catalog_digest(&w->catalog, f->layer, &d);
    if (f->content == (int)f->node + 1)
        f->content = CONTENT_RIGHT; /* who lies has the right bytes for itself */
    if (f->content != CONTENT_RIGHT) {
        disprove(w, id);
        return;
    }
    if (keep(w, f))
        mesh_swarm_complete(h->mesh, &d, host_now(w, h));
    else
        mesh_swarm_leave(h->mesh, &d, host_now(w, h));
    u32 node = f->node;
    fetch_finish(w, id, 0);
    host_drive(w, node);
}

void fetch_piece(struct world *w, u32 id, u32 piece)
{
    struct fetch *f = &w->fetches->v[id];
    struct host *h = &w->hosts[f->node];
    if (!piece_map_set(&f->map, piece))
        return;
    if (world_now(w) - f->gained_ns >= COPIES_STARVES_NS)
        f->starved_ns = world_now(w);
    f->gained_ns = world_now(w);
    if (piece == 0 && f->wanted && f->first_ns == 0) {
        f->first_ns = world_now(w);
        samples_add(&w->fetches->first_byte, world_now(w) - f->begun_ns);
    }
    if (piece_map_is_full(&f->map)) {
        judge(w, id);
    } else if (f->wanted && h->mesh) {
        struct digest d;
        catalog_digest(&w->catalog, f->layer, &d);
        mesh_swarm_position(h->mesh, &d, piece_map_next(&f->map, 0, false));
    }
}

/* --- what the core wants --------------------------------------------------------------------- */

static void seed(struct world *w, u32 node, u32 layer, const struct digest *d)
{
    struct host *h = &w->hosts[node];
    if (host_holds(w, node, layer) || host_claims(h, layer)) {
        int rc = mesh_swarm_seed(h->mesh, d, catalog_bytes(&w->catalog, layer), host_now(w, h));
        if (rc && rc != ERR_FULL)
            measure_break(w, "swarm", "node %u cannot seed: %s", node, err_name(rc));
    }
}

static void step(struct world *w, u32 node, const struct swarm_step *st)
{
    u32 layer = fetch_layer_of(w, &st->digest), id;
    if (layer == UINT32_MAX)
        return;
    switch (st->what) {
    case SWARM_FETCH: fetch_appointed(w, node, st); break;
    case SWARM_YIELD: fetch_yield(w, node, layer); break;
    case SWARM_ASK: fetch_ask(w, node, st); break;
    case SWARM_CANCEL: fetch_cancel(w, node, st); break;
    case SWARM_SERVE: fetch_held(w, node, st, true); break;
    case SWARM_DROP: fetch_held(w, node, st, false); break;
    case SWARM_SEED: seed(w, node, layer, &st->digest); break;
    case SWARM_GIVE_UP:
        id = fetch_find(w, node, layer);
        if (id != FETCH_NONE) {
            mesh_swarm_leave(w->hosts[node].mesh, &st->digest, host_now(w, &w->hosts[node]));
            fetch_finish(w, id, ERR_UNREACHABLE);
        }
        break;
    }
}

void fetch_steps(struct world *w, u32 node)
{
    struct swarm_step st;
    struct host *h = &w->hosts[node];
    for (int i = 0; h->mesh && mesh_swarm_next(h->mesh, &st, host_now(w, h)); i++) {
        step(w, node, &st);
        if (i == STEPS_MAX) {
            measure_break(w, "queues", "the swarms of node %u take more than %d steps at once",
                          node, STEPS_MAX);
            return;
        }
    }
}

void fetch_poll(struct world *w)
{
    struct fetches *s = w->fetches;
    for (u32 i = 0; i < s->n && s->streams > 0; i++)
        if (s->v[i].used && s->v[i].fetches)
            fetch_registry_poll(w, &s->v[i]);
    s->polling = s->active > 0;
    if (s->polling)
        world_at(w, world_now(w) + POLL_NS, EV_POLL, 0, 0);
}

/* --- looking on ------------------------------------------------------------------------------ */

static void add_stats(struct swarm_stats *sum, const struct mesh *m)
{
    struct swarm_stats s = {0};
    u64 *to = (u64 *)sum, *from = (u64 *)&s; /* nothing but counters */
    swarm_stats(mesh_swarm(m), &s);
    for (size_t i = 0; i < sizeof(s) / sizeof(u64); i++)
        to[i] += from[i];
}

void fetch_stats(const struct world *w, struct swarm_stats *out)
{
    *out = w->fetches->past;
    for (u32 i = 0; i < w->n; i++)
        if (w->hosts[i].mesh)
            add_stats(out, w->hosts[i].mesh);
}

void fetch_mesh_ends(struct world *w, const struct mesh *m)
{
    add_stats(&w->fetches->past, m);
}

/* --- death ----------------------------------------------------------------------------------- */

void fetch_host_died(struct world *w, u32 node)
{
    struct fetches *s = w->fetches;
    for (u32 i = 0; i < s->n; i++)
        if (s->v[i].used && s->v[i].node == node)
            fetch_finish(w, i, ERR_CANCELED);
    if (w->hosts[node].dark)
        partial_drop_all(&w->hosts[node].partials);
    for (u32 i = 0; i < s->n_requests; i++) {
        struct fetch_request *r = &s->requests[i];
        if (!r->used || r->server != node)
            continue;
        r->serve = 0; /* nobody is left to be told */
        u32 asks = s->v[r->fetch].node;
        if (r->flow != FLOW_NONE) {
            flow_end(&w->flows, r->flow, world_now(w));
            r->flow = FLOW_NONE;
            world_flows_changed(w);
        }
        r->state = REQUEST_ASKING;
        if (!w->hosts[node].dark && net_passes(&w->net, node, asks))
            fetch_later(w, i, net_stream_delay(&w->net, node, asks, world_now(w)), EV_REFUSE);
    }
}

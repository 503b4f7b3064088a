/* fetch.c - see fetch.h. What a request meets stands in fetch_request.c. */
#include "sim/fetch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/fetch_impl.h"
#include "sim/host.h"
#include "sim/mem.h"
#include "sim/pull.h"

#define POLL_NS           (20 * SIM_MS)
#define REGISTRY_RETRIES  3
#define REGISTRY_PAUSE_NS SIM_S
#define REGISTRY_STALL_NS (15 * SIM_S)
#define CONVICTED_NS      (600 * SIM_S) /* as in node/peers.c */

void fetch_init(struct world *w)
{
    w->fetches = mem_new(1, sizeof(*w->fetches));
    shelf_init(&w->fetches->distinct, UINT64_MAX);
}

void fetch_fini(struct world *w)
{
    struct fetches *s = w->fetches;
    if (!s)
        return;
    free(s->v);
    free(s->free);
    free(s->requests);
    free(s->requests_free);
    free(s->convicted);
    shelf_fini(&s->distinct);
    free(s);
}

static u64 handle(const struct fetch *f, u32 id)
{
    return (u64)f->gen << 32 | id;
}

u64 fetch_want(struct world *w, u32 node, u32 layer)
{
    struct fetches *s = w->fetches;
    for (u32 i = 0; i < s->n; i++)
        if (s->v[i].used && s->v[i].node == node && s->v[i].layer == layer)
            return handle(&s->v[i], i);
    u32 id;
    if (s->n_free > 0) {
        id = s->free[--s->n_free];
    } else {
        s->v = mem_grow(s->v, &s->cap, s->n + 1, sizeof(*s->v));
        id = (u32)s->n++;
    }
    struct fetch *f = &s->v[id];
    u32 gen = f->gen + 1;
    *f = (struct fetch){.used = true,
                        .gen = gen,
                        .node = node,
                        .layer = layer,
                        .size = catalog_bytes(&w->catalog, layer),
                        .slots = {FETCH_NONE, FETCH_NONE},
                        .registry = FETCH_NONE,
                        .sole = FETCH_NONE,
                        .begun_ns = world_now(w)};
    struct sourcing_options opt = {
        .size = f->size, .registry = true, .rng = engine_rng_n(&w->engine, "sourcing", s->begun++)};
    sourcing_init(&f->core, &opt);
    s->active++;
    record_fetch_begins(w->record, world_now(w), node, layer, f->size);
    u64 wanted = handle(f, id);
    fetch_steps(w, id);
    if (!s->polling && s->active > 0) {
        s->polling = true;
        world_at(w, world_now(w) + POLL_NS, EV_POLL, 0, 0);
    }
    return wanted;
}

/* --- its end --------------------------------------------------------------------------------- */

static void leave_all(struct world *w, struct fetch *f)
{
    for (unsigned i = 0; i < SOURCING_SLOTS; i++)
        if (f->slots[i] != FETCH_NONE) {
            fetch_request_end(w, f->slots[i], SOURCING_LEFT);
            f->slots[i] = FETCH_NONE;
        }
    if (f->registry != FETCH_NONE) {
        fetch_request_end(w, f->registry, SOURCING_LEFT);
        f->registry = FETCH_NONE;
    }
}

static void put(struct world *w, u32 id)
{
    struct fetches *s = w->fetches;
    s->v[id].used = false;
    s->active--;
    s->free = mem_grow(s->free, &s->free_cap, s->n_free + 1, sizeof(*s->free));
    s->free[s->n_free++] = id;
}

static void finish(struct world *w, u32 id, int err)
{
    struct fetch *f = &w->fetches->v[id];
    leave_all(w, f);
    *(err ? &w->fetches->failed : &w->fetches->worked) += 1;
    record_fetch_ends(w->record, world_now(w), f, err);
    if (err == 0 && !shelf_find(&w->fetches->distinct, f->layer))
        shelf_put(&w->fetches->distinct, f->layer, f->size, 0);
    u64 was = handle(f, id);
    u32 node = f->node;
    bool wrong = f->wrong;
    put(w, id);
    pull_fetch_ended(w, was, node, err, wrong);
}

/* Kept where room can be made; then the region is told. */
static void keep(struct world *w, const struct fetch *f)
{
    struct host *h = &w->hosts[f->node];
    u32 gone[256];
    size_t n = 0;
    if (h->disk_full || shelf_find(&h->shelf, f->layer))
        return;
    int rc = shelf_make_room(&h->shelf, &w->catalog, f->size, gone, countof(gone), &n);
    for (size_t i = 0; i < n; i++)
        host_hold(w, f->node, gone[i], false);
    if (rc == 0) {
        shelf_put(&h->shelf, f->layer, f->size, host_unix_ms(w, h));
        shelf_find(&h->shelf, f->layer)->stored_ms = world_now(w) / SIM_MS;
        host_hold(w, f->node, f->layer, true);
    }
    host_drive(w, f->node);
}

static void convict(struct world *w, u32 node, u32 peer)
{
    struct fetches *s = w->fetches;
    size_t i = 0;
    while (i < s->n_convicted && s->convicted[i].until_ns > world_now(w))
        i++;
    s->convicted = mem_grow(s->convicted, &s->convicted_cap, i + 1, sizeof(*s->convicted));
    s->convicted[i] = (struct fetch_conviction){node, peer, world_now(w) + CONVICTED_NS};
    if (i == s->n_convicted)
        s->n_convicted++;
    measure_convicted(w, node, peer);
}

bool fetch_is_convicted(const struct world *w, u32 node, u32 peer)
{
    const struct fetches *s = w->fetches;
    for (size_t i = 0; i < s->n_convicted; i++)
        if (s->convicted[i].node == node && s->convicted[i].peer == peer &&
            s->convicted[i].until_ns > world_now(w))
            return true;
    return false;
}

/* All bytes are here: do they make the layer? */
static bool is_right(const struct fetch *f)
{
    return !f->wrong;
}

static void judge(struct world *w, u32 id)
{
    struct fetch *f = &w->fetches->v[id];
    assert(f->got == f->size);
    if (is_right(f)) {
        keep(w, f);
        finish(w, id, 0);
        return;
    }
    w->fetches->wrong++;
    bool had_peers = f->peer_bytes > 0;
    if (f->sole != FETCH_NONE && f->sole != FETCH_REGISTRY)
        convict(w, f->node, f->sole);
    leave_all(w, f);
    if (!had_peers) {
        finish(w, id, ERR_CORRUPT);
        return;
    }
    f->got = f->peer_bytes = f->registry_bytes = 0;
    f->wrong = false;
    f->only_registry = f->wants_registry = true;
    f->sole = FETCH_NONE;
    fetch_steps(w, id);
}

/* --- its steps ------------------------------------------------------------------------------- */

static void look(struct world *w, struct fetch *f)
{
    struct mesh_source all[MESH_SOURCES_MAX];
    struct sourcing_peer peers[MESH_SOURCES_MAX];
    struct digest d;
    struct host *h = &w->hosts[f->node];
    catalog_digest(&w->catalog, f->layer, &d);
    size_t n = mesh_sources(h->mesh, &d, f->size - f->got, all, host_now(w, h)), used = 0;
    for (size_t i = 0; i < n; i++)
        if (all[i].usable && !fetch_is_convicted(w, f->node, world_by_key(w, &all[i].key)))
            peers[used++] = (struct sourcing_peer){
                .key = all[i].key, .addr = all[i].addr, .expected_ns = all[i].expected_ns};
    sourcing_sources(&f->core, peers, used, world_now(w));
}

static void to_registry(struct world *w, u32 id)
{
    struct fetch *f = &w->fetches->v[id];
    if (world_now(w) < f->registry_from_ns)
        return; /* fetch_poll() comes back */
    f->wants_registry = false;
    f->registry = fetch_request_new(w, id, FETCH_REGISTRY, 0);
}

void fetch_registry_failed(struct world *w, u32 id, bool progress)
{
    struct fetch *f = &w->fetches->v[id];
    f->registry = FETCH_NONE;
    f->registry_failures = progress ? 0 : f->registry_failures + 1;
    f->registry_from_ns = world_now(w) + REGISTRY_PAUSE_NS;
    if (f->registry_failures > REGISTRY_RETRIES) {
        finish(w, id, ERR_UNREACHABLE);
        return;
    }
    if (f->only_registry)
        f->wants_registry = true;
    else
        sourcing_registry_ended(&f->core, world_now(w));
    fetch_steps(w, id);
}

void fetch_steps(struct world *w, u32 id)
{
    bool stopped = w->hosts[w->fetches->v[id].node].state != HOST_UP;
    w->fetches->v[id].behind = stopped;
    if (stopped)
        return; /* fetch_poll() comes back */
    for (int i = 0; i < 1000; i++) {
        struct fetch *f = &w->fetches->v[id];
        if (f->wants_registry) {
            to_registry(w, id);
            return;
        }
        if (f->only_registry)
            return;
        struct sourcing_step step;
        sourcing_next(&f->core, world_now(w), &step);
        switch (step.what) {
        case SOURCING_REST: return;
        case SOURCING_LOOK: look(w, f); break;
        case SOURCING_ASK: {
            u32 r = fetch_request_new(w, id, world_by_key(w, &step.peer.key), step.slot);
            w->fetches->v[id].slots[step.slot] = r;
            break;
        }
        case SOURCING_LEAVE:
            fetch_request_end(w, f->slots[step.slot], step.outcome);
            f->slots[step.slot] = FETCH_NONE;
            break;
        case SOURCING_REGISTRY: f->wants_registry = true; break;
        case SOURCING_GIVE_UP: finish(w, id, ERR_UNREACHABLE); return;
        }
    }
    measure_break(w, "queues", "a fetch of node %u takes more than 1000 steps at once",
                  w->fetches->v[id].node);
}

/* The request in this slot is over. */
void fetch_peer_ended(struct world *w, u32 id, unsigned slot, enum sourcing_outcome outcome)
{
    struct fetch *f = &w->fetches->v[id];
    fetch_request_end(w, f->slots[slot], outcome);
    f->slots[slot] = FETCH_NONE;
    sourcing_ended(&f->core, slot, outcome, outcome == SOURCING_BUSY ? SIM_S : 0, world_now(w));
    fetch_steps(w, id);
}

/* `n` more bytes came by this request. True: all are here, and the fetch may be gone. */
bool fetch_took(struct world *w, u32 request, u64 n)
{
    struct fetch_request *r = &w->fetches->requests[request];
    u32 id = r->fetch, server = r->server;
    struct fetch *f = &w->fetches->v[id];
    if (n == 0)
        return false;
    assert(f->got + n <= f->size && r->taken + n <= r->length);
    r->taken += n;
    r->last_ns = world_now(w);
    f->got += n;
    f->wrong |= r->wrong;
    *(server == FETCH_REGISTRY ? &f->registry_bytes : &f->peer_bytes) += n;
    *(server == FETCH_REGISTRY ? &w->fetches->registry_bytes : &w->fetches->peer_bytes) += n;
    if (f->sole == FETCH_NONE)
        f->sole = server;
    else if (f->sole != server)
        f->sole = FETCH_REGISTRY;
    if (server != FETCH_REGISTRY)
        sourcing_bytes(&f->core, r->slot, n, world_now(w));
    if (f->got < f->size)
        return false;
    unsigned slot = r->slot;
    fetch_request_end(w, request, SOURCING_WORKED);
    if (server == FETCH_REGISTRY) {
        f->registry = FETCH_NONE;
    } else {
        f->slots[slot] = FETCH_NONE;
        sourcing_ended(&f->core, slot, SOURCING_WORKED, 0, world_now(w));
    }
    judge(w, id);
    return true;
}

void fetch_poll(struct world *w)
{
    struct fetches *s = w->fetches;
    for (u32 i = 0; i < s->n_requests; i++) {
        struct fetch_request *r = &s->requests[i];
        if (!r->used || r->state != REQUEST_STREAMING)
            continue;
        u64 n = flow_bytes(&w->flows, r->flow, world_now(w)) - r->taken;
        if (n > 0 && w->hosts[s->v[r->fetch].node].state == HOST_UP && r->taken + n < r->length) {
            u32 fetch = r->fetch;
            if (!fetch_took(w, i, n))
                fetch_steps(w, fetch);
        } else if (r->server == FETCH_REGISTRY && world_now(w) - r->last_ns > REGISTRY_STALL_NS) {
            u32 fetch = r->fetch;
            bool progress = r->taken > 0;
            fetch_request_end(w, i, SOURCING_FAILED);
            fetch_registry_failed(w, fetch, progress);
        }
    }
    for (u32 i = 0; i < s->n; i++) {
        struct fetch *f = &s->v[i];
        if (f->used && w->hosts[f->node].state == HOST_UP &&
            (f->wants_registry || f->behind || sourcing_deadline(&f->core) <= world_now(w)))
            fetch_steps(w, i);
    }
    s->polling = s->active > 0;
    if (s->polling)
        world_at(w, world_now(w) + POLL_NS, EV_POLL, 0, 0);
}

/* --- death ----------------------------------------------------------------------------------- */

void fetch_host_died(struct world *w, u32 node)
{
    struct fetches *s = w->fetches;
    for (u32 i = 0; i < s->n; i++)
        if (s->v[i].used && s->v[i].node == node)
            finish(w, i, ERR_CANCELED);
    for (u32 i = 0; i < s->n_requests; i++)
        if (s->requests[i].used && s->requests[i].server == node)
            fetch_request_server_died(w, i);
}

/* fetch_request.c - one request for a layer, as the network and its server treat it; see fetch.h.
 */
#include <assert.h>

#include "sim/fetch_impl.h"
#include "sim/host.h"
#include "sim/mem.h"

#define THINK_NS    (2 * SIM_MS) /* a peer's disk, until the first byte leaves */
#define TRICKLE_BPS 1000

enum lie { LIE_NONE, LIE_WRONG_BYTES, LIE_MISSING, LIE_TRICKLE, LIE_CLAIMS, LIE_TOGETHER };

static enum lie lie_of(const struct host *h)
{
    switch (h->lies) {
    case HOST_HONEST: return LIE_NONE;
    case HOST_LIES: return (enum lie)(1 + h->index % 4);
    case HOST_FORGES: return LIE_CLAIMS;
    case HOST_COLLUDES: break;
    }
    return LIE_TOGETHER;
}

static struct fetch_request *at(struct world *w, u32 id)
{
    assert(id < w->fetches->n_requests && w->fetches->requests[id].used);
    return &w->fetches->requests[id];
}

/* The request that an event speaks of; NULL: it ended since. */
static struct fetch_request *spoken_of(struct world *w, const struct event *ev)
{
    struct fetch_request *r = &w->fetches->requests[(u32)ev->arg];
    return r->used && r->gen == ev->arg >> 32 ? r : NULL;
}

static void later(struct world *w, u32 id, u64 delay_ns, enum event_kind kind)
{
    struct fetch_request *r = at(w, id);
    u32 node = kind == EV_ASKED ? r->server : w->fetches->v[r->fetch].node;
    world_at(w, world_now(w) + delay_ns, kind, node, (u64)r->gen << 32 | id);
}

static void ask_registry(struct world *w, u32 id)
{
    struct fetch_request *r = at(w, id);
    struct host *h = &w->hosts[w->fetches->v[r->fetch].node];
    u64 rtt = w->topology.offices[h->place.office].registry_rtt_ns;
    struct registry_answer a;
    registry_ask(&w->registry, &a);
    r->status = a.status;
    r->serving = a.status == 200;
    r->wrong = a.wrong;
    r->broken = a.breaks < 1;
    r->length = 1 + (u64)(a.breaks * (double)(r->wanted - 1));
    /* A handshake, TLS, and the request itself: three round trips. */
    later(w, id, 3 * rtt + a.think_ns, EV_ANSWERED);
}

u32 fetch_request_new(struct world *w, u32 fetch, u32 server, unsigned slot)
{
    struct fetches *s = w->fetches;
    u32 id;
    if (s->n_requests_free > 0) {
        id = s->requests_free[--s->n_requests_free];
    } else {
        s->requests =
            mem_grow(s->requests, &s->requests_cap, s->n_requests + 1, sizeof(*s->requests));
        id = (u32)s->n_requests++;
    }
    struct fetch *f = &s->v[fetch];
    struct fetch_request *r = &s->requests[id];
    *r = (struct fetch_request){.used = true,
                                .gen = r->gen + 1,
                                .fetch = fetch,
                                .server = server,
                                .slot = slot,
                                .asked_ns = world_now(w),
                                .start = f->got,
                                .wanted = f->size - f->got,
                                .length = f->size - f->got,
                                .flow = FLOW_NONE};
    if (server == FETCH_REGISTRY) {
        ask_registry(w, id);
        return id;
    }
    struct host *h = &w->hosts[f->node];
    r->key = w->hosts[server].key;
    mesh_fetch_started(h->mesh, &r->key, r->wanted);
    measure_asks(w, f->node, server);
    if (net_passes(&w->net, f->node, server) && net_passes(&w->net, server, f->node))
        later(w, id,
              net_stream_delay(&w->net, f->node, server, world_now(w)) +
                  net_stream_delay(&w->net, server, f->node, world_now(w)) +
                  net_stream_delay(&w->net, f->node, server, world_now(w)),
              EV_ASKED);
    return id;
}

static enum mesh_outcome for_mesh(enum sourcing_outcome o)
{
    switch (o) {
    case SOURCING_WORKED: return MESH_FETCH_WORKED;
    case SOURCING_MISSING: return MESH_FETCH_MISSING;
    case SOURCING_BUSY: return MESH_FETCH_BUSY;
    case SOURCING_LEFT: return MESH_FETCH_LEFT;
    case SOURCING_FAILED:
    case SOURCING_LIED:
    case SOURCING_DENIED: break;
    }
    return MESH_FETCH_FAILED;
}

static void stop_serving(struct world *w, struct fetch_request *r, u64 bytes)
{
    if (!r->serving)
        return;
    r->serving = false;
    if (r->server == FETCH_REGISTRY) {
        registry_done(&w->registry, bytes);
        return;
    }
    struct host *s = &w->hosts[r->server];
    assert(s->serving > 0);
    s->serving--;
    struct shelf_entry *e = shelf_find(&s->shelf, w->fetches->v[r->fetch].layer);
    if (e && e->pins > 0)
        e->pins--;
}

void fetch_request_end(struct world *w, u32 id, enum sourcing_outcome outcome)
{
    struct fetches *s = w->fetches;
    struct fetch_request *r = at(w, id);
    struct fetch *f = &s->v[r->fetch];
    struct host *h = &w->hosts[f->node];
    u64 bytes = r->taken;
    if (r->flow != FLOW_NONE) {
        flow_end(&w->flows, r->flow, world_now(w));
        world_flows_changed(w);
    }
    stop_serving(w, r, bytes);
    if (r->server != FETCH_REGISTRY) {
        struct digest d;
        catalog_digest(&w->catalog, f->layer, &d);
        measure_asked(w, f->node, r->server, r->asked_ns);
        record_request(w->record, world_now(w), f, r, sourcing_outcome_name(outcome));
        if (h->mesh) {
            mesh_fetch_ended(h->mesh, &r->key, &d, for_mesh(outcome), bytes, r->wanted,
                             world_now(w) - r->asked_ns, host_now(w, h));
            host_drive(w, h->index);
        }
    } else {
        record_request(w->record, world_now(w), f, r, sourcing_outcome_name(outcome));
    }
    at(w, id)->used = false;
    s->requests_free = mem_grow(s->requests_free, &s->requests_free_cap, s->n_requests_free + 1,
                                sizeof(*s->requests_free));
    s->requests_free[s->n_requests_free++] = id;
}

/* --- at the server --------------------------------------------------------------------------- */

/* Colluders have the same wrong bytes, and share each layer out among them, so that none can be
 * convicted alone: who is asked for the whole of it breaks off half-way. */
static void serve_together(struct fetch_request *r, struct host *s)
{
    r->wrong = s->served_wrong = true;
    if (r->start == 0 && r->wanted > 1)
        r->length = r->wanted / 2;
}

static void serve(struct world *w, u32 id)
{
    struct fetch_request *r = at(w, id);
    struct host *s = &w->hosts[r->server];
    u32 layer = w->fetches->v[r->fetch].layer;
    struct shelf_entry *e = shelf_find(&s->shelf, layer);
    const struct host *asks = &w->hosts[w->fetches->v[r->fetch].node];
    bool together = lie_of(s) == LIE_TOGETHER;
    bool holds = host_holds(w, r->server, layer) || (together && host_claims(s, layer));
    if (!host_opens(s, asks)) {
        r->status = 403; /* its Dray-Peer is sealed with a key that is not known here */
    } else if (!holds || lie_of(s) == LIE_MISSING) {
        r->status = 404;
        s->denied |= holds || s->claims; /* it may come to hold what it claimed */
    } else if (s->serving >= w->k.peer_slots) {
        r->status = 503;
    } else {
        r->status = 200;
        r->serving = true;
        r->wrong = lie_of(s) == LIE_WRONG_BYTES || (e && e->rotten);
        s->served_wrong |= r->wrong;
        if (together)
            serve_together(r, s);
        s->serving++;
        if (e) {
            e->pins++;
            shelf_use(&s->shelf, e, host_unix_ms(w, s));
        }
    }
}

void fetch_asked(struct world *w, const struct event *ev)
{
    struct fetch_request *r = spoken_of(w, ev);
    if (!r)
        return;
    struct host *s = &w->hosts[r->server];
    u32 id = (u32)ev->arg, node = w->fetches->v[r->fetch].node;
    if (s->state == HOST_PAUSED) {
        host_keep(w, ev);
        return;
    }
    if ((s->state == HOST_OFF && s->dark) || !net_passes(&w->net, r->server, node))
        return; /* silence */
    u64 back = net_stream_delay(&w->net, r->server, node, world_now(w));
    r->status = 0;
    if (s->state == HOST_UP)
        serve(w, id);
    later(w, id, back + (r->status == 200 ? THINK_NS : 0), EV_ANSWERED);
}

/* --- reachability ---------------------------------------------------------------------------- */

static bool stands_still(const struct world *w, const struct fetch_request *r)
{
    const struct fetch *f = &w->fetches->v[r->fetch];
    if (w->hosts[f->node].state != HOST_UP)
        return true;
    if (r->server == FETCH_REGISTRY)
        return w->registry.mood == REGISTRY_GONE || w->net.nodes[f->node].deaf ||
               w->net.nodes[f->node].mute;
    return w->hosts[r->server].state != HOST_UP || !r->serving ||
           !net_passes(&w->net, r->server, f->node) || !net_passes(&w->net, f->node, r->server);
}

/* What it may have just now: what ails its server ends when that is mended. */
static u64 cap_now(const struct world *w, const struct fetch_request *r)
{
    if (stands_still(w, r))
        return 0;
    u64 slow = r->server == FETCH_REGISTRY                   ? registry_slowness(&w->registry)
               : lie_of(&w->hosts[r->server]) == LIE_TRICKLE ? TRICKLE_BPS
                                                             : UINT64_MAX;
    return slow < w->k.disk ? slow : w->k.disk;
}

/* --- back at its node ------------------------------------------------------------------------ */

static bool same_office(const struct host *a, const struct host *b)
{
    return a->place.region == b->place.region && a->place.office == b->place.office;
}

static void stream(struct world *w, u32 id)
{
    struct fetch_request *r = at(w, id);
    struct host *h = &w->hosts[w->fetches->v[r->fetch].node];
    struct flow_spec spec = {
        .lines = {h->down, FLOW_NONE, FLOW_NONE, FLOW_NONE}, .bytes = r->length, .tag = id};
    if (r->server == FETCH_REGISTRY) {
        spec.lines[1] = w->registry_line;
        spec.lines[2] = w->wan_down[h->place.office];
    } else {
        struct host *s = &w->hosts[r->server];
        spec.lines[1] = s->up;
        if (!same_office(h, s)) {
            spec.lines[2] = w->wan_up[s->place.office];
            spec.lines[3] = w->wan_down[h->place.office];
        }
    }
    r->cap_bps = cap_now(w, r);
    spec.cap_bps = r->cap_bps ? r->cap_bps : 1;
    r->state = REQUEST_STREAMING;
    r->last_ns = world_now(w);
    r->flow = flow_begin(&w->flows, &spec, world_now(w));
    if (r->cap_bps == 0)
        flow_cap(&w->flows, r->flow, 0, world_now(w));
    world_flows_changed(w);
}

void fetch_answered(struct world *w, const struct event *ev)
{
    struct fetch_request *r = spoken_of(w, ev);
    if (!r || r->state == REQUEST_STREAMING)
        return;
    u32 id = (u32)ev->arg, fetch = r->fetch;
    if (r->status == 200) {
        stream(w, id);
        return;
    }
    if (r->server == FETCH_REGISTRY) {
        fetch_request_end(w, id, SOURCING_FAILED);
        fetch_registry_failed(w, fetch, false);
        return;
    }
    fetch_peer_ended(w, fetch, r->slot,
                     r->status == 404   ? SOURCING_MISSING
                     : r->status == 503 ? SOURCING_BUSY
                     : r->status == 403 ? SOURCING_DENIED
                                        : SOURCING_FAILED);
}

/* The stream ended in a reset. */
void fetch_refused(struct world *w, const struct event *ev)
{
    struct fetch_request *r = spoken_of(w, ev);
    if (r)
        fetch_peer_ended(w, r->fetch, r->slot, SOURCING_FAILED);
}

void fetch_flow_done(struct world *w, u32 flow)
{
    u32 id = w->flows.flows[flow].tag;
    struct fetch_request *r = at(w, id);
    u32 fetch = r->fetch, server = r->server, gen = r->gen;
    u64 taken = r->taken;
    assert(r->flow == flow);
    if (fetch_took(w, id, r->length - taken))
        return;
    /* Its stream is over, and the layer is not whole. Who was asked beside it, for the bytes that
     * came, is left before the next begins behind them. */
    if (server != FETCH_REGISTRY)
        fetch_steps(w, fetch);
    r = &w->fetches->requests[id];
    if (!r->used || r->gen != gen)
        return;
    bool progress = r->taken > 0;
    if (server == FETCH_REGISTRY) {
        fetch_request_end(w, id, SOURCING_FAILED);
        fetch_registry_failed(w, fetch, progress);
    } else {
        fetch_peer_ended(w, fetch, r->slot, SOURCING_LIED);
    }
}

void fetch_request_server_died(struct world *w, u32 id)
{
    struct fetch_request *r = at(w, id);
    struct host *s = &w->hosts[r->server];
    u32 node = w->fetches->v[r->fetch].node;
    stop_serving(w, r, r->taken);
    if (!s->dark && net_passes(&w->net, r->server, node))
        later(w, id, net_stream_delay(&w->net, r->server, node, world_now(w)), EV_REFUSE);
}

void fetch_reachability_changed(struct world *w)
{
    struct fetches *s = w->fetches;
    for (u32 i = 0; s && i < s->n_requests; i++) {
        struct fetch_request *r = &s->requests[i];
        if (!r->used || r->state != REQUEST_STREAMING || r->cap_bps == cap_now(w, r))
            continue;
        r->cap_bps = cap_now(w, r);
        flow_cap(&w->flows, r->flow, r->cap_bps, world_now(w));
        world_flows_changed(w);
    }
}

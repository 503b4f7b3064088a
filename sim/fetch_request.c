/* fetch_request.c - one request for a piece, as the network and its server treat it; see fetch.h.
 */
#include <assert.h>
#include <stdlib.h>

#include "sim/fetch_impl.h"
#include "sim/host.h"
#include "sim/mem.h"

#define HASH_BPS    1500000000ull
#define TRICKLE_BPS 1000
#define REFUSED_NS  (SIM_MS / 2)

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

void fetch_later(struct world *w, u32 id, u64 delay_ns, enum event_kind kind)
{
    struct fetch_request *r = at(w, id);
    u32 node = kind == EV_ASKED ? r->server : w->fetches->v[r->fetch].node;
    world_at(w, world_now(w) + delay_ns, kind, node, (u64)r->gen << 32 | id);
}

struct fetch_request *fetch_request_new(struct world *w, u32 fetch, u32 server, u32 *number)
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
    struct fetch_request *r = &s->requests[id];
    *r = (struct fetch_request){.used = true,
                                .gen = r->gen + 1,
                                .fetch = fetch,
                                .server = server,
                                .asked_ns = world_now(w),
                                .flow = FLOW_NONE};
    *number = id;
    struct fetch *f = &s->v[fetch];
    if (server != FETCH_REGISTRY) {
        assert(f->n_mine < FETCH_REQUESTS);
        f->mine[f->n_mine++] = id;
    }
    return r;
}

static void held_add(struct host *s, u32 serve, u32 request)
{
    s->held = mem_grow(s->held, &s->held_cap, s->n_held + 2, sizeof(*s->held));
    s->held[s->n_held++] = serve;
    s->held[s->n_held++] = request;
}

/* The request behind a serve; FETCH_NONE: none waits under it. */
static u32 held_take(struct host *s, u32 serve)
{
    for (size_t i = 0; i < s->n_held; i += 2)
        if (s->held[i] == serve) {
            u32 request = s->held[i + 1];
            s->held[i + 1] = s->held[--s->n_held];
            s->held[i] = s->held[--s->n_held];
            return request;
        }
    return FETCH_NONE;
}

/* Its server is told that it is over, if it was serving. */
static void unserve(struct world *w, struct fetch_request *r, bool whole)
{
    if (r->serve == 0)
        return;
    u32 serve = r->serve;
    r->serve = 0;
    if (r->server == FETCH_REGISTRY) {
        registry_done(&w->registry, r->taken);
        return;
    }
    struct host *s = &w->hosts[r->server];
    (void)held_take(s, serve);
    if (!s->mesh)
        return;
    mesh_swarm_served(s->mesh, serve, whole, host_now(w, s));
    if (s->state == HOST_UP)
        host_drive(w, s->index);
}

void fetch_request_del(struct world *w, u32 id)
{
    struct fetches *s = w->fetches;
    struct fetch_request *r = at(w, id);
    if (r->flow != FLOW_NONE) {
        if (r->server != FETCH_REGISTRY)
            r->taken = flow_bytes(&w->flows, r->flow, world_now(w));
        flow_end(&w->flows, r->flow, world_now(w));
        r->flow = FLOW_NONE;
        world_flows_changed(w);
    }
    r->used = false;
    struct fetch *f = &s->v[r->fetch];
    for (u32 i = 0; i < f->n_mine; i++)
        if (f->mine[i] == id)
            f->mine[i] = f->mine[--f->n_mine];
    unserve(w, r, false);
    s->requests_free = mem_grow(s->requests_free, &s->requests_free_cap, s->n_requests_free + 1,
                                sizeof(*s->requests_free));
    s->requests_free[s->n_requests_free++] = id;
}

/* --- asking ---------------------------------------------------------------------------------- */

void fetch_ask(struct world *w, u32 node, const struct swarm_step *st)
{
    u32 layer = fetch_layer_of(w, &st->digest), server = world_by_key(w, &st->peer), id;
    u32 fetch = fetch_find(w, node, layer);
    struct host *h = &w->hosts[node];
    if (fetch == FETCH_NONE || server == UINT32_MAX) {
        mesh_swarm_ended(h->mesh, st->id, SWARM_FAILED, host_now(w, h));
        return;
    }
    struct fetch_request *r = fetch_request_new(w, fetch, server, &id);
    r->id = st->id;
    r->first = st->first;
    r->pieces = 1;
    r->length = piece_bytes(w->fetches->v[fetch].size, st->first);
    measure_asks(w, node, server);
    if (net_passes(&w->net, node, server) && net_passes(&w->net, server, node))
        fetch_later(w, id, net_stream_delay(&w->net, node, server, world_now(w)), EV_ASKED);
}

static u32 find_request(const struct world *w, u32 fetch, u32 core_id)
{
    const struct fetches *s = w->fetches;
    for (u32 i = 0; i < s->v[fetch].n_mine; i++)
        if (s->requests[s->v[fetch].mine[i]].id == core_id)
            return s->v[fetch].mine[i];
    return FETCH_NONE;
}

static void over(struct world *w, u32 id, const char *outcome)
{
    struct fetch_request *r = at(w, id);
    const struct fetch *f = &w->fetches->v[r->fetch];
    measure_asked(w, f->node, r->server, r->asked_ns);
    record_request(w->record, world_now(w), f, r, outcome);
    fetch_request_del(w, id);
}

void fetch_cancel(struct world *w, u32 node, const struct swarm_step *st)
{
    u32 fetch = fetch_find(w, node, fetch_layer_of(w, &st->digest));
    u32 id = fetch == FETCH_NONE ? FETCH_NONE : find_request(w, fetch, st->id);
    if (id != FETCH_NONE)
        over(w, id, "left");
}

static void ended(struct world *w, u32 id, enum swarm_outcome outcome)
{
    struct fetch_request *r = at(w, id);
    struct host *h = &w->hosts[w->fetches->v[r->fetch].node];
    u32 core_id = r->id;
    over(w, id, swarm_outcome_name(outcome));
    if (!h->mesh)
        return;
    mesh_swarm_ended(h->mesh, core_id, outcome, host_now(w, h));
    host_drive(w, h->index);
}

/* --- at the server --------------------------------------------------------------------------- */

static bool same_office(const struct host *a, const struct host *b)
{
    return a->place.region == b->place.region && a->place.office == b->place.office;
}

static bool stands_still(const struct world *w, const struct fetch_request *r)
{
    const struct fetch *f = &w->fetches->v[r->fetch];
    if (w->hosts[f->node].state != HOST_UP)
        return true;
    if (r->server == FETCH_REGISTRY)
        return w->registry.mood == REGISTRY_GONE || w->net.nodes[f->node].deaf ||
               w->net.nodes[f->node].mute || w->hosts[f->node].wan_cuts;
    return w->hosts[r->server].state != HOST_UP || !net_passes(&w->net, r->server, f->node) ||
           !net_passes(&w->net, f->node, r->server);
}

/* What it may have just now: what ails its server ends when that is mended. */
static u64 cap_now(const struct world *w, const struct fetch_request *r)
{
    if (stands_still(w, r))
        return 0;
    u64 slow = UINT64_MAX;
    if (r->server == FETCH_REGISTRY)
        slow = registry_slowness(&w->registry);
    else if (w->hosts[r->server].lies == HOST_LIES && r->server % 4 == 2)
        slow = TRICKLE_BPS;
    return slow < w->k.disk ? slow : w->k.disk;
}

void fetch_begin_flow(struct world *w, u32 id, u64 bytes)
{
    struct fetch_request *r = at(w, id);
    struct host *h = &w->hosts[w->fetches->v[r->fetch].node];
    struct flow_spec spec = {
        .lines = {h->down, FLOW_NONE, FLOW_NONE, FLOW_NONE}, .bytes = bytes, .tag = id};
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
    r->flow = flow_begin(&w->flows, &spec, world_now(w));
    if (r->cap_bps == 0)
        flow_cap(&w->flows, r->flow, 0, world_now(w));
    world_flows_changed(w);
}

/* The server begins to send: the first byte is there a way later. */
static void send(struct world *w, u32 id)
{
    struct fetch_request *r = at(w, id);
    const struct fetch *f = &w->fetches->v[r->fetch];
    r->status = 200;
    r->content = fetch_content(w, r->server, f->layer);
    fetch_begin_flow(w, id, r->length);
    fetch_later(w, id, net_stream_delay(&w->net, r->server, f->node, world_now(w)), EV_ANSWERED);
}

static void answer(struct world *w, u32 id, int status)
{
    struct fetch_request *r = at(w, id);
    u32 node = w->fetches->v[r->fetch].node;
    r->status = status;
    fetch_later(w, id, net_stream_delay(&w->net, r->server, node, world_now(w)), EV_ANSWERED);
}

static void serve(struct world *w, u32 id)
{
    struct fetch_request *r = at(w, id);
    struct host *s = &w->hosts[r->server];
    const struct fetch *f = &w->fetches->v[r->fetch];
    const struct host *asks = &w->hosts[f->node];
    struct digest d;
    catalog_digest(&w->catalog, f->layer, &d);
    if (!host_opens(s, asks)) {
        answer(w, id, 403); /* its Dray-Peer is sealed with a key that is not known here */
        return;
    }
    bool denies = s->lies == HOST_LIES && s->index % 4 == 1;
    u32 its = fetch_find(w, r->server, f->layer);
    bool has = host_holds(w, r->server, f->layer) ||
               (its != FETCH_NONE && piece_map_has(&w->fetches->v[its].map, r->first));
    /* It claims so; or did, and its core seeds still. */
    bool empty =
        !has && (host_claims(s, f->layer) ? s->lies != HOST_COLLUDES : !fetch_lies_in_bytes(s));
    if (denies || empty) {
        s->denied |= denies || host_claims(s, f->layer);
        answer(w, id, 404);
        return;
    }
    u32 held;
    enum swarm_answer a =
        mesh_swarm_serve(s->mesh, &asks->key, &d, r->first, r->pieces, &held, host_now(w, s));
    switch (a) {
    case SWARM_ANSWER_NOW:
        r->serve = held;
        send(w, id);
        break;
    case SWARM_ANSWER_WAIT:
        r->serve = held;
        r->state = REQUEST_HELD;
        held_add(s, held, id);
        break;
    case SWARM_ANSWER_BUSY: answer(w, id, 503); break;
    case SWARM_ANSWER_MISSING: answer(w, id, 404); break;
    }
    host_drive(w, s->index);
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
    if (s->state == HOST_UP)
        serve(w, id);
    else
        answer(w, id, 0);
}

/* The core of a server has decided over a request that it held. */
void fetch_held(struct world *w, u32 server, const struct swarm_step *st, bool give)
{
    u32 id = held_take(&w->hosts[server], st->id);
    if (id == FETCH_NONE)
        return;
    if (give) {
        send(w, id);
        return;
    }
    struct fetch_request *r = at(w, id);
    r->serve = 0;
    r->state = REQUEST_ASKING;
    answer(w, id, 503);
}

/* --- back at its node ------------------------------------------------------------------------ */

static bool waits(struct world *w, const struct event *ev, struct fetch_request *r)
{
    const struct host *h = &w->hosts[w->fetches->v[r->fetch].node];
    if (h->state == HOST_PAUSED)
        host_keep(w, ev);
    return h->state != HOST_UP;
}

void fetch_answered(struct world *w, const struct event *ev)
{
    struct fetch_request *r = spoken_of(w, ev);
    if (!r || waits(w, ev, r))
        return;
    u32 id = (u32)ev->arg;
    struct host *h = &w->hosts[w->fetches->v[r->fetch].node];
    if (r->server == FETCH_REGISTRY) {
        fetch_registry_answered(w, id);
        return;
    }
    if (r->status == 200) {
        mesh_swarm_started(h->mesh, r->id, host_now(w, h));
        return;
    }
    ended(w, id,
          r->status == 404   ? SWARM_MISSING
          : r->status == 503 ? SWARM_BUSY
          : r->status == 403 ? SWARM_DENIED
                             : SWARM_FAILED);
}

/* The piece is whole, and was checked. */
void fetch_arrived(struct world *w, const struct event *ev)
{
    struct fetch_request *r = spoken_of(w, ev);
    if (!r || waits(w, ev, r))
        return;
    u32 id = (u32)ev->arg, fetch = r->fetch, piece = r->first, core_id = r->id;
    struct fetch *f = &w->fetches->v[fetch];
    struct host *h = &w->hosts[f->node];
    bool right = r->content == fetch_chain(w, f);
    int content = r->content;
    u64 bytes = r->length;
    r->taken = bytes;
    f->peer_bytes += bytes;
    w->fetches->peer_bytes += bytes;
    w->fetches->crossed_bytes += same_office(h, &w->hosts[r->server]) ? 0 : bytes;
    w->fetches->wrong_bytes += right ? 0 : bytes;
    over(w, id, right ? "worked" : "wrong");
    mesh_swarm_came(h->mesh, core_id, piece, right, host_now(w, h));
    if (right) {
        f = &w->fetches->v[fetch];
        f->content = content;
        fetch_piece(w, fetch, piece);
    }
    host_drive(w, h->index);
}

/* The stream ended in a reset. */
void fetch_refused(struct world *w, const struct event *ev)
{
    struct fetch_request *r = spoken_of(w, ev);
    if (r && !waits(w, ev, r))
        ended(w, (u32)ev->arg, SWARM_FAILED);
}

void fetch_flow_done(struct world *w, u32 flow)
{
    u32 id = w->flows.flows[flow].tag;
    struct fetch_request *r = at(w, id);
    assert(r->flow == flow);
    if (r->server == FETCH_REGISTRY) {
        fetch_registry_done(w, id);
        return;
    }
    u32 node = w->fetches->v[r->fetch].node;
    flow_end(&w->flows, flow, world_now(w));
    r->flow = FLOW_NONE;
    r->state = REQUEST_ARRIVING;
    world_flows_changed(w);
    fetch_later(w, id,
                net_stream_delay(&w->net, r->server, node, world_now(w)) +
                    r->length * SIM_S / HASH_BPS,
                EV_ARRIVED);
    unserve(w, r, true);
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

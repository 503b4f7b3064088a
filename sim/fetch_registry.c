/* fetch_registry.c - the registry's stream to the node that is appointed; see fetch.h. */
#include <assert.h>
#include <stdlib.h>

#include "sim/copies.h"
#include "sim/fetch_impl.h"
#include "sim/host.h"
#include "sim/mem.h"

#define PAUSE_NS SIM_S
#define FAILURES 2 /* in a row without an answer: it cannot be reached from here */
#define STALL_NS (5 * SIM_S)

static void tell(struct world *w, const struct fetch *f, enum swarm_registry what, u64 for_ns)
{
    struct host *h = &w->hosts[f->node];
    struct digest d;
    catalog_digest(&w->catalog, f->layer, &d);
    mesh_swarm_registry(h->mesh, &d, what, for_ns, host_now(w, h));
}

/* --- how many at once ------------------------------------------------------------------------ */

/* In one region: each fetches for itself. Who is stopped fetches nothing, and who leaves, as all
 * know, no more than its own users wait for. */
static u32 fetchers_of(const struct world *w, u32 region, u32 layer)
{
    const struct fetches *s = w->fetches;
    u32 n = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct fetch *f = &s->v[i];
        const struct host *h = &w->hosts[f->node];
        n += f->used && f->fetches && f->layer == layer && h->place.region == region &&
             h->state == HOST_UP && !h->leaving;
    }
    return n;
}

static void begins(struct world *w, struct fetch *f)
{
    f->fetches = true;
    w->fetches->streams++;
    u32 n = fetchers_of(w, w->hosts[f->node].place.region, f->layer);
    if (n > w->fetches->most_fetchers)
        w->fetches->most_fetchers = n;
    measure_fetchers(w, f->layer, n);
}

/* --- the stream ------------------------------------------------------------------------------ */

/* `outcome` for events.jsonl; one that has all its bytes worked, whatever ends it. */
static void end_stream(struct world *w, struct fetch *f, const char *outcome)
{
    if (f->registry == FETCH_NONE)
        return;
    u32 id = f->registry;
    const struct fetch_request *r = &w->fetches->requests[id];
    bool whole = r->taken == r->length && !r->broken;
    record_request(w->record, world_now(w), f, r, whole ? "worked" : outcome);
    f->registry = FETCH_NONE;
    fetch_request_del(w, id);
}

void fetch_registry_end(struct world *w, struct fetch *f)
{
    end_stream(w, f, "left");
    w->fetches->streams -= f->fetches;
    f->fetches = false;
    f->registry_from_ns = 0;
}

/* Asks for the next run of pieces that are not here. */
void fetch_registry_begin(struct world *w, u32 id)
{
    struct fetch *f = &w->fetches->v[id];
    struct host *h = &w->hosts[f->node];
    f->registry_from_ns = 0;
    f->stream_at = piece_map_next(&f->map, f->stream_at, false);
    if (f->stream_at >= f->map.n)
        return;
    u32 end = piece_map_next(&f->map, f->stream_at, true), number;
    struct fetch_request *r = fetch_request_new(w, id, FETCH_REGISTRY, &number);
    f = &w->fetches->v[id];
    f->registry = number;
    r->first = f->stream_at;
    r->pieces = end - r->first;
    u64 bytes = piece_first(f->size, end - 1) + piece_bytes(f->size, end - 1) -
                piece_first(f->size, r->first);
    u64 rtt = w->topology.offices[h->place.office].registry_rtt_ns;
    struct registry_answer a;
    registry_ask(&w->registry, &a);
    r->status = a.status;
    r->serve = a.status == 200; /* registry_done() when it is over */
    r->content = a.wrong ? CONTENT_REGISTRY : CONTENT_RIGHT;
    r->broken = a.breaks < 1;
    r->length = 1 + (u64)(a.breaks * (double)(bytes - 1));
    f->stream_last_ns = world_now(w);
    if (w->net.nodes[f->node].deaf || w->net.nodes[f->node].mute || h->wan_cuts)
        r->status = r->status == 200 ? 200 : 0; /* and then nothing comes */
    /* A handshake, TLS, and the request itself: three round trips; one where it only goes on. */
    fetch_later(w, number, (f->registry_bytes > 0 ? 1 : 3) * rtt + a.think_ns, EV_ANSWERED);
}

void fetch_appointed(struct world *w, u32 node, const struct swarm_step *st)
{
    u32 layer = (u32)strtoul(st->origin, NULL, 10);
    struct host *h = &w->hosts[node];
    struct digest d;
    catalog_digest(&w->catalog, layer, &d);
    if (!digest_equal(&d, &st->digest))
        return;
    u32 id = fetch_for_others(w, node, layer);
    struct fetch *f = &w->fetches->v[id];
    if (!f->fetches)
        begins(w, f);
    end_stream(w, f, "left");
    copies_appointed(w, id, st->first);
    f->stream_at = st->first;
    f->registry_failures = 0;
    if (fetch_lies_in_bytes(h) && f->map.have == 0)
        f->content = fetch_content(w, node, layer);
    fetch_registry_begin(w, id);
}

void fetch_yield(struct world *w, u32 node, u32 layer)
{
    u32 id = fetch_find(w, node, layer);
    if (id != FETCH_NONE)
        fetch_registry_end(w, &w->fetches->v[id]);
}

/* It said no, or broke off, or went silent. */
static void failed(struct world *w, u32 id, int status)
{
    struct fetch *f = &w->fetches->v[id];
    u32 node = f->node;
    end_stream(w, f, "failed");
    f->registry_failures = status == 0 ? f->registry_failures + 1 : 0;
    if (f->registry_failures >= FAILURES) {
        fetch_registry_end(w, f);
        tell(w, f, SWARM_REGISTRY_CUT, 0);
    } else {
        f->registry_from_ns = world_now(w) + PAUSE_NS;
        if (status != 0 && status != 200)
            tell(w, f, SWARM_REGISTRY_BACKOFF, PAUSE_NS);
    }
    host_drive(w, node);
}

void fetch_registry_answered(struct world *w, u32 request)
{
    struct fetch_request *r = &w->fetches->requests[request];
    struct fetch *f = &w->fetches->v[r->fetch];
    u32 node = f->node;
    if (r->status != 200) {
        failed(w, r->fetch, r->status);
        return;
    }
    if (!fetch_lies_in_bytes(&w->hosts[node]) && f->map.have == 0)
        f->content = r->content;
    f->stream_last_ns = world_now(w);
    tell(w, f, SWARM_REGISTRY_WELL, 0);
    fetch_begin_flow(w, request, r->length);
    host_drive(w, node);
}

/* Bytes came; whole pieces are taken, one after the other. */
static void took(struct world *w, u32 request, u64 bytes)
{
    struct fetches *s = w->fetches;
    struct fetch_request *r = &s->requests[request];
    u32 id = r->fetch, gen = r->gen;
    struct fetch *f = &s->v[id];
    struct host *h = &w->hosts[f->node];
    if (bytes > r->taken) {
        f->stream_last_ns = world_now(w);
        f->registry_failures = 0;
        f->registry_bytes += bytes - r->taken;
        s->registry_bytes += bytes - r->taken;
        r->taken = bytes;
    }
    bool any = false;
    u64 before = piece_first(f->size, r->first);
    while (r->used && r->gen == gen && f->stream_at < r->first + r->pieces &&
           piece_first(f->size, f->stream_at) + piece_bytes(f->size, f->stream_at) - before <=
               r->taken) {
        u32 piece = f->stream_at++;
        struct digest d;
        copies_came(w, id, piece);
        any = true;
        catalog_digest(&w->catalog, f->layer, &d);
        mesh_swarm_have(h->mesh, &d, piece, host_now(w, h));
        fetch_piece(w, id, piece);
        f = &s->v[id];
        r = &s->requests[request];
        if (r->used && r->gen == gen && f->stream_at < r->first + r->pieces &&
            piece_map_has(&f->map, f->stream_at)) {
            end_stream(w, f, "left"); /* it came from a peer: on behind it */
            fetch_registry_begin(w, id);
            break;
        }
    }
    if (any)
        host_drive(w, h->index);
}

void fetch_registry_poll(struct world *w, struct fetch *f)
{
    u32 id = (u32)(f - w->fetches->v), request = f->registry;
    if (w->hosts[f->node].state != HOST_UP)
        return;
    if (request == FETCH_NONE) {
        if (f->registry_from_ns && world_now(w) >= f->registry_from_ns)
            fetch_registry_begin(w, id);
        return;
    }
    struct fetch_request *r = &w->fetches->requests[request];
    if (r->state != REQUEST_STREAMING)
        return;
    u64 bytes = flow_bytes(&w->flows, r->flow, world_now(w));
    if (bytes < r->length)
        took(w, request, bytes);
    else
        return; /* fetch_registry_done() comes */
    f = &w->fetches->v[id];
    if (f->used && f->registry == request && world_now(w) - f->stream_last_ns > STALL_NS)
        failed(w, id, 0);
}

void fetch_registry_done(struct world *w, u32 request)
{
    struct fetch_request *r = &w->fetches->requests[request];
    u32 id = r->fetch, gen = w->fetches->v[id].gen;
    bool broken = r->broken;
    took(w, request, r->length);
    struct fetch *f = &w->fetches->v[id];
    if (!f->used || f->gen != gen || f->registry != request)
        return;
    if (broken) {
        failed(w, id, 200);
        return;
    }
    end_stream(w, f, "worked");
    fetch_registry_begin(w, id); /* the next hole, if there is one */
}

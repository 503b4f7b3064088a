/* carry.c - see carry.h. */
#include "sim/carry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim/host.h"
#include "sim/mem.h"

#define CHUNK        256
#define TALK_TIMEOUT ((u64)1 << 32) /* beside a talk's number: not its answer, its time-out */
#define TALK_BPS_MAX 20000000u      /* a talk's pace where lines are idle: small beside layers */

void carry_init(struct world *w)
{
    w->talk_buffer = mem_new(1, LIMIT_TALK_BYTES);
}

void carry_fini(struct world *w)
{
    for (size_t i = 0; i < (w->n_packets + CHUNK - 1) / CHUNK; i++)
        free(w->packets[i]);
    for (size_t i = 0; i < w->n_talks; i++)
        free(w->talks[i].bytes);
    free(w->packets);
    free(w->packets_free);
    free(w->talks);
    free(w->talks_free);
    free(w->talk_buffer);
}

/* --- datagrams ------------------------------------------------------------------------------- */

static struct packet *packet_at(const struct world *w, u32 id)
{
    assert(id < w->n_packets);
    return &w->packets[id / CHUNK][id % CHUNK];
}

static u32 packet_new(struct world *w)
{
    if (w->n_packets_free > 0)
        return w->packets_free[--w->n_packets_free];
    if (w->n_packets % CHUNK == 0) {
        w->packets =
            mem_grow(w->packets, &w->packets_cap, w->n_packets / CHUNK + 1, sizeof(*w->packets));
        w->packets[w->n_packets / CHUNK] = mem_new(CHUNK, sizeof(struct packet));
    }
    return (u32)w->n_packets++;
}

static void packet_put(struct world *w, u32 id)
{
    struct packet *p = packet_at(w, id);
    assert(p->refs > 0);
    if (--p->refs > 0)
        return;
    w->packets_free = mem_grow(w->packets_free, &w->packets_free_cap, w->n_packets_free + 1,
                               sizeof(*w->packets_free));
    w->packets_free[w->n_packets_free++] = id;
}

static void packet_send(struct world *w, u32 id, u32 to)
{
    struct packet *p = packet_at(w, id);
    struct net_fate fate;
    net_send(&w->net, p->from, to, p->len, world_now(w), &fate);
    p->refs = 1; /* ours, until all copies are on their way */
    for (int i = 0; i < fate.copies; i++) {
        u32 copy = id;
        if (fate.corrupt[i]) {
            copy = packet_new(w);
            struct packet *c = packet_at(w, copy);
            *c = *packet_at(w, id);
            c->refs = 0;
            net_flip(&w->net, c->bytes, c->len);
        }
        packet_at(w, copy)->refs++;
        world_at(w, fate.at_ns[i], EV_PACKET, to, copy);
    }
    packet_put(w, id);
}

bool carry_write(struct world *w, u32 node, u64 host_now_ns)
{
    struct host *h = &w->hosts[node];
    u32 id = packet_new(w);
    struct packet *p = packet_at(w, id);
    struct addr to;
    size_t len = mesh_write(h->mesh, &to, p->bytes, sizeof(p->bytes), host_now_ns);
    p->refs = 1;
    if (len == 0) {
        packet_put(w, id);
        return false;
    }
    assert(len <= sizeof(p->bytes));
    p->from = node;
    p->from_addr = h->addr;
    p->len = (u16)len;
    u32 target = world_by_addr(w, &to);
    if (target == UINT32_MAX || target == node) {
        measure_stray(w);
        packet_put(w, id);
        return true;
    }
    packet_send(w, id, target);
    return true;
}

void carry_replay(struct world *w, u32 count)
{
    for (u32 i = 0; i < count && w->n_packets > 0; i++) {
        /* Free packets keep their bytes until they are used again: what was heard lately. */
        u32 id = (u32)rng_below(&w->net.rng, w->n_packets);
        struct packet heard = *packet_at(w, id);
        if (heard.len == 0)
            continue;
        u32 copy = packet_new(w);
        *packet_at(w, copy) = heard;
        u32 from = (u32)rng_below(&w->net.rng, w->n), to = (u32)rng_below(&w->net.rng, w->n);
        packet_at(w, copy)->from = from;
        packet_at(w, copy)->from_addr = w->hosts[from].addr;
        packet_at(w, copy)->refs = 0;
        packet_send(w, copy, to);
    }
}

static void take_packet(struct world *w, const struct event *ev)
{
    struct host *h = &w->hosts[ev->node];
    struct packet *p = packet_at(w, (u32)ev->arg);
    if (h->state == HOST_UP) {
        engine_mix_bytes(&w->engine, p->bytes, p->len);
        (void)mesh_read(h->mesh, &p->from_addr, p->bytes, p->len, host_now(w, h));
        packet_put(w, (u32)ev->arg);
        host_drive(w, ev->node);
    } else {
        packet_put(w, (u32)ev->arg);
    }
}

/* --- talks ----------------------------------------------------------------------------------- */

static u32 talk_new(struct world *w)
{
    if (w->n_talks_free > 0)
        return w->talks_free[--w->n_talks_free];
    w->talks = mem_grow(w->talks, &w->talks_cap, w->n_talks + 1, sizeof(*w->talks));
    return (u32)w->n_talks++;
}

static void talk_at(struct world *w, u32 id, u64 delay_ns, enum event_kind kind)
{
    bool timeout = delay_ns == CARRY_TALK_TIMEOUT;
    w->talks[id].pending++;
    u32 node = kind == EV_TALK_ASKS ? w->talks[id].server : w->talks[id].client;
    world_at(w, world_now(w) + delay_ns, kind, node, id | (timeout ? TALK_TIMEOUT : 0));
}

static void talk_free(struct talk *t)
{
    free(t->bytes);
    t->bytes = NULL;
    t->len = 0;
}

static void talk_keep(struct talk *t, const void *bytes, size_t len)
{
    talk_free(t);
    t->bytes = mem_new(len, 1);
    memcpy(t->bytes, bytes, len);
    t->len = len;
}

static u64 pace_ns(const struct world *w, const struct host *from, size_t len)
{
    u64 bps = w->flows.lines[from->up].rate_bps;
    bps = bps > TALK_BPS_MAX ? TALK_BPS_MAX : bps;
    return (u64)len * SIM_S / (bps ? bps : 1);
}

bool carry_dial(struct world *w, u32 node, u64 host_now_ns)
{
    struct host *h = &w->hosts[node];
    struct addr to;
    u32 id;
    size_t len;
    if (!mesh_dial(h->mesh, &id, &to, w->talk_buffer, LIMIT_TALK_BYTES, &len, host_now_ns))
        return false;
    u32 at = talk_new(w), server = world_by_addr(w, &to);
    struct talk *t = &w->talks[at];
    t->client = node;
    t->client_life = h->life;
    t->server = server == UINT32_MAX ? node : server;
    t->id = id;
    t->from_addr = h->addr;
    talk_keep(t, w->talk_buffer, len);
    talk_at(w, at, CARRY_TALK_TIMEOUT, EV_TALK_ENDS);
    if (server == UINT32_MAX || server == node)
        measure_stray(w);
    else if (net_passes(&w->net, node, server) && net_passes(&w->net, server, node))
        talk_at(w, at,
                net_stream_delay(&w->net, node, server, world_now(w)) +
                    net_stream_delay(&w->net, server, node, world_now(w)) +
                    net_stream_delay(&w->net, node, server, world_now(w)) + pace_ns(w, h, len),
                EV_TALK_ASKS);
    return true;
}

static void talk_asks(struct world *w, u32 id)
{
    struct talk *t = &w->talks[id];
    struct host *s = &w->hosts[t->server];
    if (t->done || (s->state == HOST_OFF && s->dark) || !net_passes(&w->net, t->server, t->client))
        return; /* silence: the time-out will come */
    u64 back = net_stream_delay(&w->net, t->server, t->client, world_now(w));
    t->err = ERR_UNREACHABLE;
    if (s->state != HOST_OFF) {
        size_t len = 0;
        engine_mix_bytes(&w->engine, t->bytes, t->len);
        t->err = mesh_answer(s->mesh, &t->from_addr, t->bytes, t->len, w->talk_buffer,
                             LIMIT_TALK_BYTES, &len, host_now(w, s));
        if (t->err == 0) {
            talk_keep(t, w->talk_buffer, len);
            back += pace_ns(w, s, len);
        }
    }
    talk_at(w, id, back, EV_TALK_ENDS);
    host_drive(w, w->talks[id].server);
}

static void talk_ends(struct world *w, u32 id, bool timeout)
{
    struct talk *t = &w->talks[id];
    struct host *h = &w->hosts[t->client];
    if (t->done)
        return;
    t->done = true;
    t->err = timeout ? ERR_TIMEOUT : t->err;
    if (h->state != HOST_UP || h->life != t->client_life)
        return;
    engine_mix_bytes(&w->engine, t->bytes, t->err ? 0 : t->len);
    u32 client = t->client;
    mesh_dialed(h->mesh, t->id, t->err, t->err ? NULL : t->bytes, t->err ? 0 : t->len,
                host_now(w, h));
    talk_free(&w->talks[id]); /* its time-out is still to come, and needs none of them */
    host_drive(w, client);
}

static void talk_put(struct world *w, u32 id)
{
    struct talk *t = &w->talks[id];
    assert(t->pending > 0);
    if (--t->pending > 0)
        return;
    talk_free(t);
    memset(t, 0, sizeof(*t));
    w->talks_free =
        mem_grow(w->talks_free, &w->talks_free_cap, w->n_talks_free + 1, sizeof(*w->talks_free));
    w->talks_free[w->n_talks_free++] = id;
}

/* --- both ------------------------------------------------------------------------------------ */

void carry_deliver(struct world *w, const struct event *ev)
{
    struct host *h = &w->hosts[ev->node];
    if (h->state == HOST_PAUSED) {
        host_keep(w, ev);
        return;
    }
    if (ev->kind == EV_PACKET) {
        take_packet(w, ev);
        return;
    }
    if (ev->kind == EV_TALK_ASKS)
        talk_asks(w, (u32)ev->arg);
    else
        talk_ends(w, (u32)ev->arg, ev->arg & TALK_TIMEOUT);
    talk_put(w, (u32)ev->arg);
}

const void *carry_peek(const struct world *w, const struct event *ev, size_t *len)
{
    const struct packet *p = packet_at(w, (u32)ev->arg);
    *len = p->len;
    return p->bytes;
}

void carry_warm(const struct world *w, const struct event *ev)
{
    if (ev->kind != EV_PACKET)
        return;
    const char *p = (const char *)packet_at(w, (u32)ev->arg);
    for (size_t at = 0; at < 256; at += 64)
        __builtin_prefetch(p + at);
}

void carry_forget(struct world *w, const struct event *ev)
{
    if (ev->kind == EV_PACKET)
        packet_put(w, (u32)ev->arg);
    else
        talk_put(w, (u32)ev->arg);
}

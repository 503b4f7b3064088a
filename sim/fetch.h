/* fetch.h - layers on their way to a node, from peers and from the registry.
 *
 * Whom to ask, when to leave, when to ask a second one: proto/sourcing.h, the core that dray-node
 * runs. Here is what dray-node does around it (node/fill*.c): the order is mesh_sources(), the next
 * source goes on at the same byte, wrong bytes are thrown away and fetched once more from the
 * registry alone, and a peer is convicted only when it alone sent all of them. Streams are flows;
 * a request needs its handshake first, and finds its server busy, without the layer, stopped,
 * refusing, or silent.
 * Whole layers only: no pieces from several at once yet. */
#pragma once

#include "proto/sourcing.h"
#include "sim/world.h"

#define FETCH_REGISTRY UINT32_MAX /* in place of a node */
#define FETCH_NONE     (UINT32_MAX - 1)

enum fetch_request_state {
    REQUEST_ASKING,    /* on its way, or waiting for the first byte */
    REQUEST_STREAMING, /* its flow runs */
};

struct fetch_request {
    bool used, serving, wrong, broken;
    enum fetch_request_state state;
    u32 gen; /* an event of an earlier use of this number is stale */
    u32 fetch, server;
    unsigned slot;
    struct node_key key;
    u64 asked_ns, start, length; /* bytes from `start` on that will come */
    u64 taken, wanted, last_ns;  /* last: of its last byte */
    u32 flow;
    u64 cap_bps;
    int status;
};

struct fetch {
    bool used;
    u32 gen, node, layer;
    u64 size, got;
    struct sourcing core;
    u32 slots[SOURCING_SLOTS]; /* requests; FETCH_NONE */
    u32 registry;              /* likewise */
    u64 registry_from_ns;      /* not asked before: it was not well */
    bool wants_registry;
    bool behind; /* its next steps are due, and its node was stopped */
    unsigned registry_failures;
    bool wrong, only_registry;
    u32 sole; /* the one that sent all so far; FETCH_NONE: none yet; FETCH_REGISTRY: several */
    u64 begun_ns, peer_bytes, registry_bytes;
};

struct fetch_conviction {
    u32 node, peer;
    u64 until_ns;
};

struct fetches {
    struct fetch *v;
    size_t n, cap, active;
    u32 *free;
    size_t n_free, free_cap;
    struct fetch_request *requests;
    size_t n_requests, requests_cap;
    u32 *requests_free;
    size_t n_requests_free, requests_free_cap;
    struct fetch_conviction *convicted;
    size_t n_convicted, convicted_cap;
    bool polling;
    u64 registry_bytes, peer_bytes;
    u64 begun, worked, failed, wrong;
    struct shelf distinct; /* every layer that was ever fetched, once */
};

void fetch_init(struct world *w);
void fetch_fini(struct world *w);

/* The fetch of this layer at this node, begun if there is none; its number, and its generation
 * above it: what pull_fetch_ended() is told. */
u64 fetch_want(struct world *w, u32 node, u32 layer);

void fetch_asked(struct world *w, const struct event *ev);
void fetch_answered(struct world *w, const struct event *ev);
void fetch_refused(struct world *w, const struct event *ev);
void fetch_poll(struct world *w);
void fetch_flow_done(struct world *w, u32 flow);

/* A node is off now: its own fetches are gone, those from it break or go silent. */
void fetch_host_died(struct world *w, u32 node);
/* Something was cut, stopped or mended: streams stand still, or go on. */
void fetch_reachability_changed(struct world *w);

/* fetch.h - layers on their way to a node, piece by piece, from peers and from the registry.
 *
 * Who fetches, which piece from whom, whom to serve first: proto/swarm.h, the core that dray-node
 * runs. Here is what dray-node does around it: requests travel, are answered, held or refused, and
 * their bytes are flows; pieces are checked against the chain that is believed; a whole layer is
 * checked against its digest, kept, and told to the region.
 *
 *   request   one way to its server; NOW: its flow begins there, and each end of it is at its node
 *             a way later. Connections are kept, so that there is no handshake.
 *   piece     checked at HASH_BPS when its last byte is here, then told to the core
 *   chain     the layer's own, or forged: by a fetcher that lies, by the registry. Pieces that fit
 *             it are taken; who fits the other one is found wrong, and not convicted. At the end
 * the digest tells: a forged chain's pieces are all thrown away, who forged it is convicted
 *   registry  one stream from the piece on that the core names, over what is here already; it may
 *             be slow, refuse, break off, be away, send wrong bytes */
#pragma once

#include "proto/pieces.h"
#include "sim/world.h"

#define FETCH_REGISTRY UINT32_MAX /* in place of a node */
#define FETCH_NONE     (UINT32_MAX - 1)

#define FETCH_REQUESTS 64 /* of one fetch, to peers: more than the core makes */

/* What bytes are: the layer's, or one of many other things. A liar's own: its number + 1. */
enum { CONTENT_RIGHT = 0, CONTENT_ROT = -1, CONTENT_REGISTRY = -2, CONTENT_COLLUSION = -3 };

enum fetch_request_state {
    REQUEST_ASKING, /* on its way */
    REQUEST_HELD,   /* its server has no room yet */
    REQUEST_STREAMING,
    REQUEST_ARRIVING, /* all sent */
};

struct fetch_request {
    bool used, broken;
    enum fetch_request_state state;
    u32 gen; /* an event of an earlier use of this number is stale */
    u32 fetch, server;
    u32 id, serve; /* the core's, at both ends; serve 0: not served, or over */
    u32 first, pieces;
    int content;
    u64 asked_ns, length, taken;
    u32 flow;
    u64 cap_bps;
    int status;
};

struct fetch {
    bool used;
    u32 gen, node, layer;
    u64 size;
    struct piece_map map;
    int content;              /* of all pieces that are here */
    u32 disproved;            /* a bit for each kind of wrong CONTENT below 0 that was found out */
    bool wanted;              /* by a user here: pull.c */
    u32 mine[FETCH_REQUESTS]; /* its requests to peers */
    u32 n_mine;
    u32 registry; /* request; FETCH_NONE */
    bool fetches; /* appointed */
    u64 appointed_ns;
    bool was_cut, was_unsettled; /* the network, since; the region, then (copies.h) */
    u32 stream_at;               /* the piece that the registry is to send next */
    u64 stream_last_ns;          /* of its last byte */
    u64 registry_from_ns;        /* not asked before: it was not well; 0: no need to ask */
    unsigned registry_failures;
    u64 begun_ns, gained_ns, starved_ns, first_ns, peer_bytes,
        registry_bytes; /* first: piece 0 was here */
};

struct fetch_conviction {
    u32 node, peer, layer;
    u64 until_ns;
};

struct fetches {
    struct fetch *v;
    size_t n, cap, active;
    u32 *free;
    size_t n_free, free_cap;
    u32 *by_node; /* open addressing by node and layer: index + 1 */
    size_t by_node_size;
    struct fetch_request *requests;
    size_t n_requests, requests_cap;
    u32 *requests_free;
    size_t n_requests_free, requests_free_cap;
    struct fetch_conviction *convicted;
    size_t n_convicted, convicted_cap;
    u32 *names; /* open addressing by digest: layer + 1 */
    size_t names_size, n_names;
    u32 streams; /* from the registry, just now */
    bool polling;
    u64 registry_bytes, peer_bytes, wrong_bytes;
    u64 crossed_bytes; /* of the peers': from another office */
    u64 begun, worked, failed, wrong;
    u64 pieces_there; /* from the start, of an earlier fetch */
    struct samples first_byte;
    u32 most_fetchers;       /* of one layer, at once, in one region */
    struct swarm_stats past; /* of meshes that are gone */
    struct shelf distinct;   /* every layer that was ever fetched, once */
};

void fetch_init(struct world *w);
void fetch_fini(struct world *w);

/* The fetch of this layer at this node, begun if there is none; its number, and its generation
 * above it: what pull_fetch_ended() is told. */
u64 fetch_want(struct world *w, u32 node, u32 layer);

/* What the core of a node wants done: host_drive(). */
void fetch_steps(struct world *w, u32 node);

void fetch_asked(struct world *w, const struct event *ev);
void fetch_answered(struct world *w, const struct event *ev);
void fetch_arrived(struct world *w, const struct event *ev);
void fetch_refused(struct world *w, const struct event *ev);
void fetch_poll(struct world *w);
void fetch_flow_done(struct world *w, u32 flow);

/* A node is off now: its own fetches are gone, those from it break or go silent. */
void fetch_host_died(struct world *w, u32 node);
/* Something was cut, stopped or mended: streams stand still, or go on. */
void fetch_reachability_changed(struct world *w);
/* A mesh goes: what it counted stays. */
void fetch_mesh_ends(struct world *w, const struct mesh *m);
/* Of all nodes and lives. */
void fetch_stats(const struct world *w, struct swarm_stats *out);

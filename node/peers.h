/* peers.h - the other nodes, as they are asked for layers.
 *
 * Why: a fetch (fill_peers.c) decides with proto/sourcing.h whom to ask; here is how it is done and
 * remembered: who holds a layer by the region's word, the request with its Dray-Peer, what came of
 * it told to the mesh and counted, and who was proved to send wrong bytes.
 *
 * Guarantee: nothing a peer says is believed but its bytes, and these only under their digest.
 * Without a region, or before it is joined, nobody holds anything. Loop thread only. */
#pragma once

#include <uv.h>

#include "node/history.h"
#include "proto/chain.h"
#include "proto/range.h"
#include "proto/sourcing.h"
#include "runtime/http_client.h"
#include "runtime/metrics.h"
#include "runtime/region.h"

struct peers;

struct peers_options {
    struct region *region;      /* borrowed; NULL: none (yet), see peers_attach() */
    struct http_client *client; /* borrowed */
    struct metrics *metrics;    /* borrowed */
    struct history *history;    /* borrowed */
};
must_use int peers_new(struct peers **out, const struct peers_options *opt);
void peers_del(struct peers *p);
/* The region begins to be carried, or (NULL) is no more. */
void peers_attach(struct peers *p, struct region *region);

u64 peers_now_ns(const struct peers *p);
/* Does anybody in the region say that it holds this? */
bool peers_hold(const struct peers *p, const struct digest *d);
/* As mesh_sources(); who was convicted is not usable. */
size_t peers_look(struct peers *p, const struct digest *d, u64 bytes,
                  struct mesh_source out[MESH_SOURCES_MAX]);
/* How the order came about, in the history of `d`. */
void peers_note_order(struct peers *p, const struct digest *d, const struct mesh_source *list,
                      size_t n);

/* GET of bytes [first, ...) from one peer, announced to the mesh as `bytes` expected. ERR_NOMEM,
 * ERR_INVAL, ERR_UNREACHABLE (the region is off): then nothing was announced. */
must_use int peers_get(struct peers *p, const struct sourcing_peer *peer, const struct digest *d,
                       u64 first, u64 bytes, const struct http_transfer_events *on, void *arg,
                       struct http_transfer **out);

/* --- swarms: node/fill_swarm.h --------------------------------------------------------------- */

struct mesh *peers_mesh(const struct peers *p); /* NULL: none now */
/* Does anybody else live in the region, with whom a layer could be shared? */
bool peers_swarm(const struct peers *p);
void peers_kick(struct peers *p);
void peers_name(const struct peers *p, const struct node_key *k, char out[MEMBER_TEXT_MAX + 1]);

#define CHAIN_HEADS_SIZE 288   /* "Dray-Chain: " and three signers */
#define CHAIN_FIELD_MAX  10240 /* claims in an answer, in bytes before base64 */
/* GET of these bytes, with that line. As peers_get(). */
must_use int peers_get_pieces(struct peers *p, const struct sourcing_peer *peer,
                              const struct digest *d, const struct byte_range *bytes,
                              const char *chain, const struct http_transfer_events *on, void *arg,
                              struct http_transfer **out);

/* What is read through a tracker; all borrowed for the call. */
struct peers_origin {
    const struct node_key *tracker;
    const char *repository;
    const struct digest *digest;
    const char *ticket; /* which that tracker issued, or one behind the same name */
    u64 first;          /* byte */
};
/* A living tracker of the region that is not among `tried`; false: there is none. */
bool peers_other_tracker(struct peers *p, const struct node_key *tried, size_t n,
                         struct node_key *found);
/* GET of a layer from `first` on, by way of the tracker. ERR_NOTFOUND: no such tracker lives in the
 * region; else as peers_get(). Nothing is announced: it is no peer. */
must_use int peers_get_origin(struct peers *p, const struct peers_origin *o,
                              const struct http_transfer_events *on, void *arg,
                              struct http_transfer **out);

struct peers_result {
    const struct sourcing_peer *peer;
    const char *name;
    const struct digest *digest;
    enum sourcing_outcome outcome;
    const char *why; /* for people */
    u64 bytes, expected, took_ns;
};
/* It ended, or was left. Told to the mesh, counted, noted. */
void peers_ended(struct peers *p, const struct peers_result *r);
/* The same of a request for pieces; of these only what failed is noted. */
void peers_ended_piece(struct peers *p, const struct peers_result *r);

/* It signed a chain that is proved wrong; it sent a piece that does not fit the layer as it closed:
 * barred here for a while, by key. */
void peers_convict_chain(struct peers *p, const struct digest *d, const struct chain_evidence *e);
void peers_convict_piece(struct peers *p, const struct node_key *k, const struct digest *d,
                         u32 piece);
/* Is it barred for what was proved? */
bool peers_is_convicted(const struct peers *p, const struct node_key *k);

/* All bytes of a layer came from this peer, and they were not the layer: it is barred here for a
 * while, by its key. */
void peers_convict(struct peers *p, const struct sourcing_peer *peer, const char *name,
                   const struct digest *d);
/* Some of the bytes of a layer came from peers, and they were not the layer: its next fetch is from
 * the registry alone. */
void peers_distrust(struct peers *p, const struct digest *d);
/* The registry's were not, either: whoever else has it may have the layer. */
void peers_trust(struct peers *p, const struct digest *d);
bool peers_is_distrusted(const struct peers *p, const struct digest *d);

/* Layer bytes taken from peers since the start. */
u64 *peers_fetched_bytes(struct peers *p);

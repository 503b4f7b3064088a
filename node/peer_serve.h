/* peer_serve.h - layers for the other nodes: GET and HEAD of /mesh/v1/blobs/<digest>, with Range.
 *
 * Who asks is proved by Dray-Peer (mesh_peer_check()), for this one request; over TLS, or plain
 * where `peer_plain` says so or on loopback. A peer is a member of the region and may have any
 * layer: users are checked where they ask.
 * Answered from the store, or from a running fetch that already has the first byte asked for. A
 * peer never makes a fetch begin: what is neither held nor on its way is 404.
 *
 * *Pieces*: a request with Dray-Chain is one of a swarm (node/fill_ask.c): whole pieces, which the
 * swarm's core answers now, holds until it is their turn, or sends elsewhere; of a layer on its way
 * they are served as soon as they are held. Claims that the asker lacks come with them.
 *
 * *Busy*: over its limits the node answers 503 with Retry-After and "busy", and the asker goes to
 * another peer. The limits: streams at once (by cores and connections, and by what limits.upload
 * leaves a stream), of these a share for each peer (peer_share.h), and how late the loop is.
 * Clients are never told so: they have three quarters of limits.upload, and all of it while no peer
 * asks. */
#pragma once

#include "node/peer_share.h"
#include "proto/identity.h"
#include "proto/rate.h"
#include "runtime/http_server.h"

struct node;

struct piece_serving;

struct peer_serving {
    struct piece_serving *pieces;  /* requests of swarms: held, or being answered */
    unsigned streams, streams_max; /* answers with a body that run; at most */
    struct peer_shares shares;     /* of these, by peer */
    u64 *sent_bytes, *busy;
    u64 *denied, *plain;
    struct rate revoking; /* by tracker */
    u64 *revokes_put_off;
};

/* Once, when there are metrics. */
void peer_serve_open(struct node *n);
/* Is this target (as sent) answered here? */
bool peer_serve_takes(struct http_slice target);
void peer_serve(struct node *n, struct http_exchange *x);
/* Is this a request by a member, its Dray-Peer right for this method and target? False: answered
 * with 403. */
must_use bool peer_may_ask(struct node *n, struct http_exchange *x, const char *method,
                           struct node_key *from);
/* POST /mesh/v1/revocations (proto/revoke.h), by trackers alone. */
bool peer_revoke_takes(struct http_slice target);
void peer_revoke(struct node *n, struct http_exchange *x);
/* Is it over its limits? */
bool peer_serve_is_busy(const struct node *n);
/* One more answer with a body begins, to this peer. False: it has its share. */
must_use bool peer_serve_stream(struct node *n, const struct node_key *to);
void peer_serve_streamed(struct node *n, const struct node_key *to);
/* SERVE, DROP (proto/swarm.h). */
struct swarm_step;
void peer_serve_step(struct node *n, const struct swarm_step *step);
/* A request of a swarm, whose asker has shown who it is. */
void peer_serve_pieces(struct node *n, struct http_exchange *x, const struct digest *d,
                       const struct node_key *from);
/* Once a second: tells the region how loaded we are. */
void peer_serve_tick(struct node *n);

/* 0: idle, to 255: it answers "busy". */
u8 peer_serve_load(const struct node *n);

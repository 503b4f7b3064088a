/* mesh.h - one node of the mesh: the façade over member, inventory, choose, seal, purge and swarm.
 *
 * A daemon gives it datagrams and stream talk, the time, and what its store holds; it says what to
 * send, whom to dial, who holds a layer and whom to ask. It sees no socket and no clock: the same
 * object runs in dray-node and, by the thousand, in dray-sim.
 *
 * Driven in a fixed order after every input: mesh_write() until 0, mesh_dial() until false,
 * mesh_next_event() until false, then sleep until mesh_next_expiry() and call mesh_expire().
 * Time does not go back: a call with an earlier `now_ns` than one before counts as at that one's.
 *
 * Datagrams: a row of messages (message.h), sealed. What modules want to send to one address in a
 * row goes in one, and purge orders ride where room is left.
 *
 * Streams: a *talk* is one request and one answer, each one sealed message of at most
 * LIMIT_TALK_BYTES (POST /mesh/v1/talk). It serves what a datagram cannot: joining, snapshots, and
 * probing a peer whose UDP is lost. An answer names the request that it answers, and opens for that
 * one alone.
 *
 * Versions: each sealed message names its wire version. To a member goes the highest that both
 * understand; to an address where nobody is known yet, the newest and the oldest of ours in turns;
 * an answer has the version of its request. The program has called sodium_init(). */
#pragma once

#include "proto/chain.h"
#include "proto/choose.h"
#include "proto/inventory.h"
#include "proto/member.h"
#include "proto/purge.h"
#include "proto/seal.h"
#include "proto/swarm.h"

struct mesh;

struct mesh_options {
    /* Key, epoch and incarnation are filled in; versions too, where they are 0. */
    struct member_record self;
    u8 seed[32];         /* of the node key: identity.h */
    u64 boot_epoch;      /* greater than at any start before */
    u64 inventory_epoch; /* likewise: 1 + max(persisted, wall clock in ms) */
    const struct seal_key *keys;
    size_t n_keys;
    struct inventory_pool *pool; /* borrowed */
    struct member_timing timing; /* zeros: defaults */
    u64 rng_seed;
    bool swarm_queued; /* swarm.h */
    bool clear;        /* the simulator only: nothing is encrypted */
    u64 now_ns;
};
/* ERR_INVAL: keys, or what member_new() refuses; ERR_NOMEM. */
must_use int mesh_new(struct mesh **out, const struct mesh_options *opt);
void mesh_del(struct mesh *m);

/* --- the wire -------------------------------------------------------------------------------- */

/* A datagram came. Whatever it holds: nothing but counters changes if it is not for us. 0, or why
 * it was dropped: ERR_INVAL (see mesh_stats). */
int mesh_read(struct mesh *m, const struct addr *from, const void *buf, size_t len, u64 now_ns);
/* The next datagram to send: bytes written to `buf` (LIMIT_DATAGRAM_BYTES at least), 0: none. */
size_t mesh_write(struct mesh *m, struct addr *to, void *buf, size_t cap, u64 now_ns);
/* Reading more before mesh_write() would lose answers (inventory_is_pressed()). */
bool mesh_is_pressed(const struct mesh *m);
u64 mesh_next_expiry(const struct mesh *m);
/* A hint, for who drives thousands: `m` will be called soon, with this datagram (NULL: with none).
 * What it will look at is brought into the cache, a step further by each call, which needs that
 * what the one before asked for has come: a microsecond apart is well. Changes nothing. */
#define MESH_WARM_STEPS 5
void mesh_warm(const struct mesh *m, unsigned step, const void *buf, size_t len);
void mesh_expire(struct mesh *m, u64 now_ns);

/* The next talk to hold: its sealed request is written to `buf` (LIMIT_TALK_BYTES). */
bool mesh_dial(struct mesh *m, u32 *id, struct addr *to, void *buf, size_t cap, size_t *len,
               u64 now_ns);
/* It ended: the sealed answer, or `err` (ERR_UNREACHABLE, ERR_TIMEOUT, ...) and no bytes. */
void mesh_dialed(struct mesh *m, u32 id, int err, const void *buf, size_t len, u64 now_ns);
/* Somebody talks to us: `answer` has room for LIMIT_TALK_BYTES. ERR_DENIED: not sealed by the mesh
 * key, replayed, or a question for members alone by one whom we do not know yet (answer these with
 * 403); ERR_PROTO; ERR_NOMEM. */
must_use int mesh_answer(struct mesh *m, const struct addr *from, const void *request, size_t len,
                         void *answer, size_t cap, size_t *answer_len, u64 now_ns);

/* --- being told ------------------------------------------------------------------------------ */

must_use int mesh_seed(struct mesh *m, const struct addr *a);
void mesh_clear_seeds(struct mesh *m);
must_use int mesh_set_keys(struct mesh *m, const struct seal_key *keys, size_t n);
void mesh_lag(struct mesh *m, u64 lag_ns, u64 now_ns);
void mesh_set_load(struct mesh *m, u8 load);
void mesh_set_can_fetch(struct mesh *m, bool can, u64 now_ns);
/* We read so many layers from registries, as far as others should know. */
void mesh_set_fetches(struct mesh *m, u8 fetches, u64 now_ns);
/* How many all others of the region read that live, as they say. */
u32 mesh_fetches(const struct mesh *m);
void mesh_leave(struct mesh *m, u64 now_ns);

/* Our store gained or lost a layer. Only sha256 and sha512 digests; idempotent. */
void mesh_hold(struct mesh *m, const struct digest *d, u64 now_ns);
void mesh_drop(struct mesh *m, const struct digest *d, u64 now_ns);

/* Removes a blob region-wide and keeps it out until `until_ms` (Unix time): signed, gossiped, and
 * handed to joiners. We are told by MESH_EVENT_PURGE like everybody else. ERR_FULL, ERR_INVAL:
 * dates (purge.h). */
must_use int mesh_purge(struct mesh *m, const struct digest *d, u64 unix_ms, u64 until_ms,
                        u64 now_ns);
bool mesh_is_purged(const struct mesh *m, const struct digest *d, u64 unix_ms);
/* The wall clock, once before orders are loaded and then every minute or so: orders from the far
 * future are refused by it (purge.h). */
void mesh_clock(struct mesh *m, u64 unix_ms);
/* Orders outlive the program where it saves them: all there are (`*at` starts at 0), and one that
 * was saved (verified; errors as purge_import()). */
bool mesh_each_purge(const struct mesh *m, size_t *at, struct purge_order *out);
must_use int mesh_import_purge(struct mesh *m, const struct purge_order *order);

/* For simulations that begin in a settled region: mesh_settle() each, once its store has told what
 * it holds; then `m` believes of `of` what it says of itself and of its layers, as if it had heard
 * it long ago. Both of one region and one pool. ERR_FULL, ERR_NOMEM. */
void mesh_settle(struct mesh *m, u64 now_ns);
must_use int mesh_prime(struct mesh *m, const struct mesh *of, u64 now_ns);

/* --- fetching -------------------------------------------------------------------------------- */

#define MESH_SOURCES_MAX 16

struct mesh_source {
    struct node_key key;
    struct addr addr;
    char name[MEMBER_TEXT_MAX + 1];
    enum choose_tier tier;
    u64 expected_ns;
    const char *reason; /* static */
    bool usable;        /* false: listed for `why` only */
};
/* Who should be asked for a layer of `bytes` (0: unknown), best first. Returns how many. */
size_t mesh_sources(struct mesh *m, const struct digest *d, u64 bytes,
                    struct mesh_source out[MESH_SOURCES_MAX], u64 now_ns);
size_t mesh_copies(const struct mesh *m, const struct digest *d); /* in the region, ours left out */
/* How a request to a peer went. */
void mesh_fetch_started(struct mesh *m, const struct node_key *k, u64 bytes);
enum mesh_outcome {
    MESH_FETCH_WORKED,
    MESH_FETCH_FAILED,  /* unreachable, too slow, broke off, wrong bytes */
    MESH_FETCH_MISSING, /* it does not hold it: the hint was wrong */
    MESH_FETCH_BUSY,
    MESH_FETCH_LEFT, /* we stopped asking; says nothing of the peer */
};
void mesh_fetch_ended(struct mesh *m, const struct node_key *k, const struct digest *d,
                      enum mesh_outcome outcome, u64 bytes, u64 expected, u64 took_ns, u64 now_ns);

/* `Dray-Peer`: a sealed and signed statement {from, to, method, path}, made for one request.
 *
 * base64url, without padding, of a sealed message of the lane SEAL_PEER that holds
 *    [72, from, to, number, signature]
 * The signature (IDENTITY_PEER, by `from`) covers from, to, the seal's epoch, number, method and
 * path, so that another holder of the mesh key can neither make one nor use one again.
 *
 * Replay: *number* grows by one with each statement for this `to`, in each boot epoch of `from`.
 * `to` keeps a window of 1,024 per `from`: streams may be late and out of order by that many of
 * their own, however many datagrams and requests to others lie between. The window moves only for
 * statements whose signature is right. After a restart of `to` an old statement can be shown once
 * more. A request that is sent again needs a new one. */
#define MESH_PEER_HEADER_MAX 512
#define MESH_PEER_METHOD_MAX 16
/* ERR_TOOBIG: method (MESH_PEER_METHOD_MAX) or path (LIMIT_HTTP_TARGET_BYTES). ERR_NOTFOUND: `to`
 * is no member. ERR_NOMEM. */
must_use int mesh_peer_sign(struct mesh *m, const struct node_key *to, const char *method,
                            const char *path, char out[MESH_PEER_HEADER_MAX]);
/* ERR_DENIED: absent (NULL), forged, replayed, for another node, method or path, or by a node that
 * is not a living member here. `*from` is who asks. ERR_NOMEM. */
must_use int mesh_peer_check(struct mesh *m, const char *header, const char *method,
                             const char *path, struct node_key *from);

/* --- swarms: swarm.h says what each does -------------------------------------------------------
 */

/* After each of these: mesh_swarm_next() until false, besides the order above. Times are part of
 * mesh_next_expiry(); messages are part of mesh_read() and mesh_write(). */
must_use int mesh_swarm_join(struct mesh *m, const struct swarm_want *want, u64 now_ns);
void mesh_swarm_leave(struct mesh *m, const struct digest *d, u64 now_ns);
must_use int mesh_swarm_seed(struct mesh *m, const struct digest *d, u64 size, u64 now_ns);
void mesh_swarm_have(struct mesh *m, const struct digest *d, u32 piece, u64 now_ns);
void mesh_swarm_lost(struct mesh *m, const struct digest *d, u32 piece, u64 now_ns);
void mesh_swarm_forged(struct mesh *m, const struct digest *d, const struct node_key *k,
                       u64 now_ns);
/* Besides, mesh_hold(), as for any layer that the store keeps. */
void mesh_swarm_complete(struct mesh *m, const struct digest *d, u64 now_ns);
void mesh_swarm_position(struct mesh *m, const struct digest *d, u32 piece);
void mesh_swarm_started(struct mesh *m, u32 request, u64 now_ns);
void mesh_swarm_came(struct mesh *m, u32 request, u32 piece, bool right, u64 now_ns);
void mesh_swarm_ended(struct mesh *m, u32 request, enum swarm_outcome outcome, u64 now_ns);
void mesh_swarm_registry(struct mesh *m, const struct digest *d, enum swarm_registry what,
                         u64 for_ns, u64 now_ns);
enum swarm_answer mesh_swarm_serve(struct mesh *m, const struct node_key *peer,
                                   const struct digest *d, u32 first, u32 count, u32 *id,
                                   u64 now_ns);
void mesh_swarm_served(struct mesh *m, u32 id, bool whole, u64 now_ns);
bool mesh_swarm_next(struct mesh *m, struct swarm_step *out, u64 now_ns);
const struct swarm *mesh_swarm(const struct mesh *m); /* borrowed, to look on */
/* chains_write(), with our own key where the chain is ours. */
u32 mesh_chain_write(const struct mesh *m, struct chains *c, const struct node_key *signer,
                     u32 from, u32 max, struct wire_out *w);

/* --- what happened, and looking on ----------------------------------------------------------- */

enum mesh_event_kind {
    MESH_EVENT_MEMBER, /* `member` says what */
    MESH_EVENT_PURGE,  /* remove `digest`, keep it out */
    MESH_EVENT_EPOCH,  /* persist `epoch` for the inventory */
};
struct mesh_event {
    enum mesh_event_kind kind;
    struct member_event member;
    struct digest digest;
    u64 until_ms;
    u64 epoch;
};
bool mesh_next_event(struct mesh *m, struct mesh_event *ev);

const struct member *mesh_member(const struct mesh *m);       /* borrowed */
const struct inventory *mesh_inventory(const struct mesh *m); /* borrowed */
const struct node_key *mesh_key(const struct mesh *m);

struct mesh_stats {
    u64 dropped[SEAL_DROP_COUNT]; /* by reason; [SEAL_OK] counts what was accepted */
    u64 malformed, unknown;       /* sealed rightly, but no message of ours */
    u64 strangers;                /* messages for members alone, by one who is none */
    u64 peer_refused;             /* Dray-Peer statements, for whatever reason */
    u64 put_off;                  /* orders to purge, of those who give or send too many */
    u64 events_lost;              /* nobody took them: read mesh_member() anew */
    u64 datagrams_in, datagrams_out, bytes_in, bytes_out;
    u64 talks_in, talks_out, talk_bytes_in, talk_bytes_out;
};
void mesh_stats(const struct mesh *m, struct mesh_stats *out);
u64 mesh_bytes(const struct mesh *m); /* memory, without the pool */

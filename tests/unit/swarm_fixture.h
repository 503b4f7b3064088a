/* swarm_fixture.h - peers that have pieces of a layer and tell chains of it, and steps that the
 * test orders: what the tests of fills in a swarm share. */
#pragma once

#include "fill_peers_fixture.h"

#include <inttypes.h>
#include <sodium.h>

#include "node/fill_swarm.h"
#include "proto/chain.h"
#include "proto/pieces.h"
#include "proto/wire.h"
#include "store/hash.h"

#define PIECE PIECE_MIN_BYTES
#define SIZE  (5 * PIECE + 1000)
#define COUNT 6u
#define ALL   ((1ull << COUNT) - 1)

/* A peer that has pieces of its own idea of the layer, and tells a chain of it. */
struct holder {
    struct layer layer; /* `data` is its own */
    char chain[8192];   /* header line, or "" */
    struct node_key signer;
    bool as_told; /* as nodes do: who says that it has the chain is not told it again */
};
static struct holder holders[PEERS];
static u32 next_id;

static inline bool has_chain(const struct server_request *r, const struct node_key *signer)
{
    const char *text = request_field(r, "Dray-Chain");
    return text && chain_text_states(text, strlen(text), signer) >= COUNT - 1;
}

static inline void script_pieces(struct server_peer *p, const struct server_request *r, void *arg)
{
    const struct holder *h = arg;
    const char *range = request_field(r, "Range");
    size_t first = 0, last = SIZE - 1;
    if (range) {
        const char *number = strchr(range, '=') + 1;
        first = strtoull(number, (char **)&number, 10);
        if (number[1] >= '0' && number[1] <= '9')
            last = strtoull(number + 1, NULL, 10);
    }
    say(p, "HTTP/1.1 206 Part\r\nContent-Range: bytes %zu-%zu/%zu\r\nContent-Length: %zu\r\n",
        first, last, h->layer.len, last + 1 - first);
    if (!h->as_told || !has_chain(r, &h->signer))
        say_bytes(p, h->chain, strlen(h->chain));
    say(p, "\r\n");
    say_bytes(p, h->layer.data + first, last + 1 - first);
}

/* The chain of these bytes, by the key of peer `signer`; states `wrong` (0: none) to `last` are
 * lies.
 */
static inline void make_lie(struct holder *h, size_t signer, u32 wrong, u32 last)
{
    u8 seed[32] = {(u8)(signer + 1)}, bytes[4096], in[CHAIN_STATE_MAX], out[CHAIN_STATE_MAX];
    char text[6000];
    struct node_key key;
    struct node_secret secret;
    struct chains *c;
    struct wire_out w;
    identity_from_seed(seed, &key, &secret);
    assert_int_equal(chains_new(&c, &layer.digest, SIZE), 0);
    chain_state_first(DIGEST_SHA256, in);
    for (u32 k = 1; k < COUNT; k++) {
        struct hasher hash;
        hasher_import(&hash, DIGEST_SHA256, in, (k - 1) * PIECE);
        hasher_update(&hash, h->layer.data + (k - 1) * PIECE, PIECE);
        memset(out, 0, sizeof(out));
        hasher_export(&hash, out);
        memcpy(in, out, sizeof(in));
        if (wrong && k >= wrong && k <= last)
            out[5] ^= 1;
        assert_int_equal(chains_own(c, &key, k, out, true), 0);
    }
    wire_out_init(&w, bytes, sizeof(bytes));
    assert_int_equal(chains_write(c, &key, 0, COUNT, &secret, &w), COUNT - 1);
    sodium_bin2base64(text, sizeof(text), bytes, w.len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(h->chain, sizeof(h->chain), "Dray-Chain: %s\r\n", text);
    h->signer = key;
    chains_del(c);
}

static inline void make_chain(struct holder *h, size_t signer, u32 wrong)
{
    make_lie(h, signer, wrong, COUNT);
}

/* Peers hold pieces: nobody all of it, as far as the inventory says. */
static inline void begin_swarm_of(size_t n_peers, size_t size)
{
    open_rig(CAPACITY);
    mesh_double.swarm.on = true;
    layer_make(&layer, size, 11);
    registry = server_new(script_layer, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, NULL, NULL);
    memset(peers, 0, sizeof(peers));
    memset(holders, 0, sizeof(holders));
    for (size_t i = 0; i < n_peers; i++) {
        struct node_secret secret;
        u8 seed[32] = {(u8)(i + 1)};
        layer_make(&holders[i].layer, size, 11);
        peers[i] = server_new(script_pieces, &holders[i], NULL);
        size_t at = double_peer(peers[i]);
        mesh_double.peers[at].holds = false;
        identity_from_seed(seed, &mesh_double.peers[at].key, &secret);
    }
    mesh_double.swarm.fetcher = mesh_double.peers[0].key;
    next_id = 1;
    client_init(&client, &rig);
}

static inline void begin_swarm(size_t n_peers)
{
    begin_swarm_of(n_peers, SIZE);
}

static inline void end_swarm(void)
{
    finish();
    for (size_t i = 0; i < PEERS; i++)
        if (holders[i].layer.data)
            layer_free(&holders[i].layer);
}

/* With a registry that does as its script says. */
static inline void join_at(server_script script, void *arg)
{
    server_del(registry);
    registry = server_new(script, arg, NULL);
    struct fill_source src = {
        .upstream = rig_upstream(&rig, server_url(registry), NULL, NULL, NULL),
        .repository = "team/app",
        .proven = true,
        .size = SIZE,
    };
    assert_int_equal(client_join_as(&client, &layer.digest, &src), 0);
}

static inline u32 ask(size_t peer, u32 first, u32 count)
{
    struct swarm_step step = {.what = SWARM_ASK,
                              .digest = layer.digest,
                              .id = next_id++,
                              .first = first,
                              .count = count,
                              .peer = mesh_double.peers[peer].key,
                              .addr = mesh_double.peers[peer].addr};
    fills_step(rig.fills, &step);
    return step.id;
}

static inline void order(enum swarm_do what, u32 first)
{
    struct swarm_step step = {
        .what = what, .digest = layer.digest, .first = first, .reason = "by the test"};
    fills_step(rig.fills, &step);
}

/* For the bytes of these pieces? */
static inline bool asks_for(const struct server_request *r, u32 first, u32 count)
{
    char range[64];
    u64 end = first + count < COUNT ? (first + count) * PIECE : SIZE;
    snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, (u64)(first * PIECE), end - 1);
    return strcmp(request_field(r, "Range"), range) == 0;
}

static inline bool has_ended(void *arg)
{
    u32 id = *(u32 *)arg;
    for (size_t i = 0; i < mesh_double.swarm.n_ended; i++)
        if (mesh_double.swarm.ended[i].request == id)
            return true;
    return false;
}

static inline enum swarm_outcome outcome_of(u32 id)
{
    rig_wait(&rig, has_ended, &id);
    for (size_t i = 0; i < mesh_double.swarm.n_ended; i++)
        if (mesh_double.swarm.ended[i].request == id)
            return mesh_double.swarm.ended[i].outcome;
    return SWARM_FAILED;
}

static inline bool has_pieces(void *arg)
{
    return (mesh_double.swarm.have & *(u64 *)arg) == *(u64 *)arg;
}

static inline void wait_have(u64 pieces)
{
    rig_wait(&rig, has_pieces, &pieces);
}

static inline u64 bad_pieces(size_t peer)
{
    char labels[64];
    (void)peer;
    snprintf(labels, sizeof(labels), "peer=\"%02x%02x%02x%02x%02x%02x%02x%02x\"",
             mesh_double.peers[peer].key.bytes[0], mesh_double.peers[peer].key.bytes[1],
             mesh_double.peers[peer].key.bytes[2], mesh_double.peers[peer].key.bytes[3],
             mesh_double.peers[peer].key.bytes[4], mesh_double.peers[peer].key.bytes[5],
             mesh_double.peers[peer].key.bytes[6], mesh_double.peers[peer].key.bytes[7]);
    return rig_counter(&rig, "dray_bad_pieces_total", labels);
}

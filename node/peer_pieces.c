/* peer_pieces.c - pieces for the other nodes of a swarm; see peer_serve.h.
 *
 *   asked --MISSING--> 404     --BUSY, DROP--> 503
 *     +--NOW--------+
 *     +--WAIT--> held --SERVE--> answered --> told to the core when sent, or broken off */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/blob_body.h"
#include "node/node_internal.h"
#include "node/paced_body.h"
#include "node/piece_body.h"
#include "proto/range.h"
#include "proto/wire.h"
#include "runtime/clock.h"

struct piece_serving {
    struct node *node;
    struct http_exchange *x;
    struct digest digest;
    struct node_key from;
    u32 id; /* the core's; 0: not its any more */
    u64 first, end, size;
    bool answered, stream; /* stream: counted */
    struct piece_serving *prev, *next;
};

static void wake(void *arg)
{
    http_wake(arg);
}

static void refuse(struct piece_serving *s, int status, const char *text)
{
    s->answered = true;
    node_count(s->node, ROUTE_PEER, status);
    http_reply_text(s->x, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void refuse_busy(struct piece_serving *s)
{
    *s->node->serving.busy += 1;
    http_add(s->x, "Retry-After", "1");
    refuse(s, 503, "busy: ask another peer\n");
}

static struct mesh *mesh_of(const struct node *n)
{
    return n->region ? region_mesh(n->region) : NULL;
}

static void served(struct piece_serving *s, bool whole)
{
    struct mesh *m = mesh_of(s->node);
    if (s->id && m)
        mesh_swarm_served(m, s->id, whole, region_now_ns(s->node->region));
    s->id = 0;
    region_kick(s->node->region);
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct piece_serving *s = arg;
    struct node *n = s->node;
    if (s->prev)
        s->prev->next = s->next;
    else
        n->serving.pieces = s->next;
    if (s->next)
        s->next->prev = s->prev;
    if (s->stream)
        peer_serve_streamed(n, &s->from);
    *n->serving.sent_bytes += s->end > 0 && s->answered ? e->body_bytes : 0;
    served(s, e->complete);
    free(s);
}

/* --- claims ---------------------------------------------------------------------------------- */

static void add_claims(struct piece_serving *s)
{
    struct node *n = s->node;
    const struct http_slice *field = http_field(http_request(s->x), "Dray-Chain");
    struct chains *c = fill_chains(n->fills, &s->digest);
    struct chain_head heads[CHAINS_MAX];
    u8 bytes[CHAIN_FIELD_MAX];
    char text[sodium_base64_ENCODED_LEN(CHAIN_FIELD_MAX, sodium_base64_VARIANT_URLSAFE_NO_PADDING)];
    struct wire_out w;
    if (!c)
        c = seeds_chain(n->seeds, &s->digest);
    if (!c || !field)
        return;
    wire_out_init(&w, bytes, sizeof(bytes));
    size_t count = chains_heads(c, heads), state = chain_state_bytes(s->digest.alg);
    for (size_t i = 0; i < count; i++) {
        size_t room = wire_room(&w);
        if (room < 256)
            break;
        (void)mesh_chain_write(mesh_of(n), c, &heads[i].signer,
                               chain_text_states(field->p, field->n, &heads[i].signer),
                               (u32)((room - 160) / state), &w);
    }
    if (w.len == 0)
        return;
    sodium_bin2base64(text, sizeof(text), bytes, w.len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    http_add(s->x, "Dray-Chain", "%s", text);
}

/* --- answers --------------------------------------------------------------------------------- */

static struct body *body_of(struct piece_serving *s)
{
    struct node *n = s->node;
    struct store_blob *pin;
    u64 size;
    int fd = fill_pieces_fd(n->fills, &s->digest, s->first, s->end, &size);
    if (fd >= 0)
        return size == s->size ? piece_body(fd, n->disk, s->first, s->end, wake, s->x) : NULL;
    if (store_pin(n->store, &s->digest, wall_ms(), &pin))
        return NULL;
    struct body *body = store_blob_size(pin) == s->size
                            ? blob_body(n->store, pin, n->disk, s->first, s->end, wake, s->x)
                            : NULL;
    if (!body)
        store_unpin(n->store, pin);
    return body;
}

static void answer(struct piece_serving *s)
{
    struct node *n = s->node;
    s->stream = peer_serve_stream(n, &s->from);
    if (!s->stream) {
        s->end = 0;
        served(s, false);
        refuse_busy(s);
        return;
    }
    struct body *body = body_of(s);
    if (body)
        body = paced_body(body, &n->upload, PACE_PEERS, wake, s->x);
    if (!body) {
        s->end = 0;
        served(s, false);
        refuse(s, 404, "not held here\n");
        return;
    }
    s->answered = true;
    http_add(s->x, "Content-Type", "application/octet-stream");
    http_add(s->x, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, s->first, s->end - 1,
             s->size);
    http_add(s->x, "X-Dray-Node", "%s", n->config->name);
    add_claims(s);
    node_count(n, ROUTE_PEER, 206);
    http_reply(s->x, 206, body, s->end - s->first);
}

void peer_serve_step(struct node *n, const struct swarm_step *step)
{
    struct piece_serving *s = n->serving.pieces;
    while (s && s->id != step->id)
        s = s->next;
    if (!s || s->answered)
        return;
    if (step->what == SWARM_SERVE) {
        answer(s);
        return;
    }
    s->id = 0;
    refuse_busy(s);
}

/* --- asked ----------------------------------------------------------------------------------- */

/* The layer's size, as it is known here; 0: it is not. */
static u64 size_of(struct node *n, const struct digest *d)
{
    struct blob_info held;
    u64 size = fill_pieces_size(n->fills, d);
    return size ? size : store_lookup(n->store, d, &held) == 0 ? held.size : 0;
}

/* The pieces that a Range names; it must be whole ones. */
static bool read_pieces(struct piece_serving *s, u32 *first, u32 *count)
{
    const struct http_slice *range = http_field(http_request(s->x), "Range");
    struct byte_range part;
    if (s->size == 0 || piece_count(s->size) == 0 || !range ||
        range_parse(range->p, range->n, s->size, &part) != RANGE_PART)
        return false;
    u64 piece = piece_size(s->size);
    s->first = part.first;
    s->end = part.last + 1;
    *first = (u32)(s->first / piece);
    *count = (u32)((s->end + piece - 1) / piece) - *first;
    return s->first % piece == 0 && (s->end % piece == 0 || s->end == s->size);
}

void peer_serve_pieces(struct node *n, struct http_exchange *x, const struct digest *d,
                       const struct node_key *from)
{
    struct mesh *m = mesh_of(n);
    struct piece_serving *s = calloc(1, sizeof(*s));
    u32 first, count;
    if (!s || !m) {
        free(s);
        node_count(n, ROUTE_PEER, 503);
        http_reply_oci(x, OCI_UNAVAILABLE, "not now", NULL);
        return;
    }
    *s = (struct piece_serving){.node = n, .x = x, .digest = *d, .from = *from};
    s->next = n->serving.pieces;
    if (s->next)
        s->next->prev = s;
    n->serving.pieces = s;
    http_on_end(x, on_ended, s);
    s->size = size_of(n, d);
    if (s->size == 0) {
        refuse(s, 404, "not held here\n");
        return;
    }
    if (!read_pieces(s, &first, &count)) {
        s->end = 0;
        http_add(x, "Content-Range", "bytes */%" PRIu64, s->size);
        refuse(s, 416, "whole pieces only\n");
        return;
    }
    if (peer_serve_is_busy(n)) {
        refuse_busy(s);
        return;
    }
    switch (mesh_swarm_serve(m, from, d, first, count, &s->id, region_now_ns(n->region))) {
    case SWARM_ANSWER_NOW: answer(s); break;
    case SWARM_ANSWER_WAIT: break;
    case SWARM_ANSWER_BUSY: refuse_busy(s); break;
    case SWARM_ANSWER_MISSING: refuse(s, 404, "not held here\n"); break;
    }
    region_kick(n->region);
}

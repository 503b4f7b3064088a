/* fill_ask.c - pieces from peers: one GET by Range for a row of pieces, over kept connections;
 * claims of what they must hash to come with them; see fill_swarm.h.
 *
 *   Dray-Chain (request)   what the asker holds: "<signer, 64 hex>:<states>", up to three, by
 * comma;
 *                          "-" for none. It marks a request of a swarm
 *   Dray-Chain (answer)    base64url of claims, one after the other (proto/chain.h), as many states
 *                          as fit CHAIN_FIELD_MAX
 *
 * Whose claims count: those of fetchers, as the homes appointed them, and of nodes that by the
 * region's word hold the layer. Anybody else's could be made up together with the pieces. A node
 * that has just started knows neither for some seconds: what it gets until then is kept, claims and
 * pieces, and not asked for again. */
#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/fill_swarm.h"
#include "proto/range.h"
#include "proto/wire.h"

#define IGNORED_MAX (64 * KIB)

static void request_end(struct piece_request *r, enum swarm_outcome outcome, const char *why);

/* --- the table ------------------------------------------------------------------------------- */

struct piece_request *ask_find(const struct fill *f, u32 id)
{
    for (size_t i = 0; id && i < LIMIT_SWARM_REQUESTS; i++)
        if (f->swarm->requests[i].id == id)
            return (struct piece_request *)&f->swarm->requests[i];
    return NULL;
}

unsigned ask_running(const struct fill *f)
{
    unsigned n = 0;
    for (size_t i = 0; f->swarm && i < LIMIT_SWARM_REQUESTS; i++)
        n += f->swarm->requests[i].transfer != NULL;
    return n;
}

const char *ask_name(const struct fill *f)
{
    for (size_t i = 0; i < LIMIT_SWARM_REQUESTS; i++)
        if (f->swarm->requests[i].transfer)
            return f->swarm->requests[i].name;
    return NULL;
}

static u64 expected(const struct piece_request *r)
{
    u64 bytes = 0;
    for (u32 i = 0; i < r->count; i++)
        bytes += piece_bytes(r->fill->claimed, r->first + i);
    return bytes;
}

/* The transfer is over, by whomever; told to the mesh as every request to a peer is. */
static void transfer_over(struct piece_request *r, enum swarm_outcome outcome, bool left,
                          const char *why)
{
    static const enum sourcing_outcome same[] = {
        [SWARM_WORKED] = SOURCING_WORKED,   [SWARM_FAILED] = SOURCING_FAILED,
        [SWARM_MISSING] = SOURCING_MISSING, [SWARM_BUSY] = SOURCING_BUSY,
        [SWARM_DENIED] = SOURCING_DENIED,   [SWARM_LIED] = SOURCING_LIED};
    struct fill *f = r->fill;
    struct peers_result result = {
        .peer = &r->peer,
        .name = r->name,
        .digest = &f->digest,
        .outcome = left ? SOURCING_LEFT : same[outcome],
        .why = why,
        .bytes = r->bytes,
        .expected = expected(r),
        .took_ns = swarm_now(f) - r->started_ns,
    };
    if (r->transfer)
        http_transfer_cancel(r->transfer);
    r->transfer = NULL;
    piece_del(r->piece);
    r->piece = NULL;
    r->over = true;
    peers_ended_piece(f->set->opt.peers, &result);
}

/* Over, and nothing of it is being judged any more. */
static void maybe_free(struct piece_request *r)
{
    struct fill *f = r->fill;
    u32 id = r->id;
    if (!r->over || r->judging > 0 || !id)
        return;
    enum swarm_outcome outcome = r->verdict;
    r->id = 0;
    if (swarm_mesh(f))
        mesh_swarm_ended(swarm_mesh(f), id, outcome, swarm_now(f));
    peers_kick(f->set->opt.peers);
}

static void request_end(struct piece_request *r, enum swarm_outcome outcome, const char *why)
{
    transfer_over(r, outcome, false, why);
    r->verdict = outcome;
    maybe_free(r);
}

void ask_judged(struct fill *f, u32 id, u32 piece, bool right)
{
    struct piece_request *r = ask_find(f, id);
    if (!r || !swarm_mesh(f))
        return;
    assert(r->judging > 0);
    r->judging--;
    mesh_swarm_came(swarm_mesh(f), id, piece, right, swarm_now(f));
    maybe_free(r);
}

void ask_dropped(struct fill *f, u32 id, u32 piece, bool held)
{
    struct piece_request *r = ask_find(f, id);
    if (held) {
        ask_judged(f, id, piece, true);
    } else if (r) {
        assert(r->judging > 0);
        r->judging--;
        maybe_free(r);
    }
}

void ask_wait(struct fill *f, u32 id, u32 piece)
{
    struct fill_swarm *s = f->swarm;
    if (s->n_waits == SWARM_WAITS_MAX)
        ask_dropped(f, id, piece, false);
    else if (ask_find(f, id))
        s->waits[s->n_waits++] = (struct piece_wait){.request = id, .piece = piece};
}

void ask_waited(struct fill *f, u32 piece, bool held)
{
    struct fill_swarm *s = f->swarm;
    for (size_t i = 0; i < s->n_waits;) {
        struct piece_wait w = s->waits[i];
        if (piece != SWARM_NO_PIECE && w.piece != piece) {
            i++;
            continue;
        }
        s->waits[i] = s->waits[--s->n_waits];
        ask_dropped(f, w.request, w.piece, held);
    }
}

void ask_cancel(struct fill *f, u32 id)
{
    struct piece_request *r = ask_find(f, id);
    if (!r)
        return;
    if (!r->over)
        transfer_over(r, SWARM_FAILED, true, "another was first");
    r->id = 0;
}

void ask_close(struct fill *f)
{
    if (f->swarm)
        f->swarm->n_waits = 0;
    for (size_t i = 0; f->swarm && i < LIMIT_SWARM_REQUESTS; i++)
        if (f->swarm->requests[i].id)
            ask_cancel(f, f->swarm->requests[i].id);
}

/* --- claims ---------------------------------------------------------------------------------- */

static bool is_believed(const struct fill *f, const struct node_key *signer)
{
    const struct mesh *m = swarm_mesh(f);
    if (peers_is_convicted(f->set->opt.peers, signer))
        return false;
    return swarm_is_fetcher(mesh_swarm(m), &f->digest, signer) ||
           inventory_is_held_by(mesh_inventory(m), &f->digest, signer);
}

/* What became of the claims in an answer. */
struct claims_read {
    bool grown;   /* a chain that counts is longer */
    bool unknown; /* some are of signers that do not count, or not yet */
    bool refused; /* some were not taken */
};

static struct claims_read read_claims(struct fill *f, const struct node_key *relay,
                                      const char *text)
{
    struct claims_read found = {0};
    u8 bytes[CHAIN_FIELD_MAX];
    size_t len;
    struct wire_in in, peek;
    struct node_key signer;
    if (!text || sodium_base642bin(bytes, sizeof(bytes), text, strlen(text), NULL, &len, NULL,
                                   sodium_base64_VARIANT_URLSAFE_NO_PADDING))
        return found;
    wire_in_init(&in, bytes, len);
    for (int i = 0; i < CHAINS_MAX && wire_left(&in) > 0 && wire_ok(&in); i++) {
        u32 grew;
        peek = in;
        (void)wire_get_array(&peek, 8);
        wire_get_key(&peek, &signer);
        bool ours = node_key_equal(&signer, mesh_key(swarm_mesh(f)));
        if (!wire_ok(&peek) || ours || !is_believed(f, &signer)) {
            found.unknown = true;
            wire_skip(&in);
            continue;
        }
        if (swarm_is_fetcher(mesh_swarm(swarm_mesh(f)), &f->digest, &signer))
            chains_prefer(f->swarm->chains, &signer);
        int rc = chains_read(f->swarm->chains, &in, relay, mesh_key(swarm_mesh(f)), &grew);
        found.grown |= rc == 0 && grew > 0;
        found.refused |= rc != 0;
    }
    return found;
}

static void keep_claims(struct fill *f, const struct node_key *relay, const char *text)
{
    struct fill_swarm *s = f->swarm;
    struct kept_claims *k = NULL;
    for (size_t i = 0; i < SWARM_CLAIMS && !k; i++)
        if (s->kept[i].text && node_key_equal(&s->kept[i].relay, relay))
            k = &s->kept[i];
    if (!k)
        k = &s->kept[s->next_kept++ % SWARM_CLAIMS];
    free(k->text);
    k->relay = *relay;
    k->text = strdup(text);
}

void ask_believe(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    bool grown = false;
    for (size_t i = 0; i < SWARM_CLAIMS; i++) {
        struct kept_claims *k = &s->kept[i];
        struct claims_read found = read_claims(f, &k->relay, k->text);
        grown |= found.grown;
        if (found.unknown)
            continue;
        free(k->text);
        k->text = NULL;
    }
    if (grown)
        judge_there(f);
}

void ask_free(struct fill *f)
{
    for (size_t i = 0; i < SWARM_CLAIMS; i++) {
        free(f->swarm->kept[i].text);
        f->swarm->kept[i].text = NULL;
    }
}

static void take_claims(struct piece_request *r, const char *text)
{
    struct fill *f = r->fill;
    struct claims_read found = read_claims(f, &r->peer.key, text);
    r->excused |= found.unknown || found.refused;
    if (found.unknown)
        keep_claims(f, &r->peer.key, text);
    if (found.grown)
        judge_there(f);
}

/* What we hold, for the request. */
static void put_heads(const struct fill *f, const struct node_key *peer, char out[CHAIN_HEADS_SIZE])
{
    char text[CHAIN_TEXT_SIZE];
    chains_text(f->swarm->chains, peer, text);
    snprintf(out, CHAIN_HEADS_SIZE, "Dray-Chain: %s", text);
}

/* --- answers --------------------------------------------------------------------------------- */

static void refuse(struct piece_request *r, enum swarm_outcome verdict, const char *why)
{
    r->refused = true;
    r->verdict = verdict;
    r->why = why;
}

static bool is_what_was_asked(const struct piece_request *r, const struct http_response *h)
{
    const char *value = http_response_field(h, "Content-Range");
    struct byte_range range;
    u64 total, first = piece_first(r->fill->claimed, r->first), len = expected(r);
    return h->status == 206 && h->content_length == len && value &&
           !range_parse_content(value, strlen(value), &range, &total) && range.first == first &&
           range.last == first + len - 1 && total == r->fill->claimed;
}

static void on_head(void *arg, const struct http_response *h)
{
    struct piece_request *r = arg;
    r->answered = true;
    switch (h->status) {
    case 200:
    case 206:
        if (is_what_was_asked(r, h))
            take_claims(r, http_response_field(h, "Dray-Chain"));
        else
            refuse(r, SWARM_LIED, "it answered another length or range than was asked for");
        return;
    case 404:
    case 416: refuse(r, SWARM_MISSING, "it does not have the piece"); return;
    case 503: refuse(r, SWARM_BUSY, "it is busy"); return;
    case 401:
    case 403: refuse(r, SWARM_DENIED, "it refused us"); return;
    default: refuse(r, SWARM_FAILED, "it answered with an error");
    }
}

/* A whole piece: it is judged, and the next one begins. */
static void piece_whole(struct piece_request *r)
{
    struct piece *p = r->piece;
    r->piece = NULL;
    r->at++;
    r->judging++;
    judge_piece(p);
}

static enum http_data_verdict take(struct piece_request *r, const u8 *data, size_t len)
{
    struct fill *f = r->fill;
    if (!fetch_may_come(f, true))
        return HTTP_DATA_PAUSE;
    /* All that is shown is taken, or nothing: a piece more may begin within. */
    u64 need = r->piece ? r->piece->len - r->piece->got : 0;
    if (len > need && r->at + (r->piece != NULL) < r->first + r->count &&
        !swarm_may_take(f, r->piece, piece_size(f->claimed)))
        return HTTP_DATA_PAUSE;
    fetch_came(f, len, true);
    r->bytes += len;
    while (len > 0 && r->id && f->swarm) {
        if (!r->piece)
            r->piece = piece_new(f, r->at, PIECE_OF_PEER);
        if (!r->piece) {
            request_end(r, SWARM_FAILED, "out of memory");
            break;
        }
        struct piece *p = r->piece;
        p->request = r->id;
        p->peer = r->peer.key;
        p->excused = r->excused;
        size_t n = len < p->len - p->got ? len : (size_t)(p->len - p->got);
        memcpy(p->bytes + p->got, data, n);
        p->got += n;
        data += n;
        len -= n;
        if (p->got == p->len)
            piece_whole(r);
    }
    return HTTP_DATA_TAKEN;
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct piece_request *r = arg;
    struct fill *f = r->fill;
    if (r->refused) {
        r->ignored += len;
        if (r->ignored > IGNORED_MAX)
            request_end(r, r->verdict, r->why);
        return HTTP_DATA_TAKEN;
    }
    if (!r->started && swarm_mesh(f)) {
        r->started = true;
        mesh_swarm_started(swarm_mesh(f), r->id, swarm_now(f));
    }
    fill_hold(f);
    enum http_data_verdict verdict = take(r, data, len);
    r->paused = verdict == HTTP_DATA_PAUSE;
    fill_release(f);
    return verdict;
}

static void on_end(void *arg, int err, const char *why)
{
    struct piece_request *r = arg;
    struct fill *f = r->fill;
    r->transfer = NULL;
    fill_hold(f);
    if (r->refused)
        request_end(r, r->verdict, r->why);
    else if (r->answered && r->at == r->first + r->count)
        request_end(r, SWARM_WORKED, "");
    else
        request_end(r, err ? SWARM_FAILED : SWARM_LIED, err ? why : "it sent too little");
    fill_release(f);
}

/* --- asking ---------------------------------------------------------------------------------- */

static struct piece_request *free_place(struct fill *f)
{
    for (size_t i = 0; i < LIMIT_SWARM_REQUESTS; i++)
        if (!f->swarm->requests[i].id && !f->swarm->requests[i].transfer)
            return &f->swarm->requests[i];
    return NULL;
}

/* Is there nothing to be got by it? It is here, and waits for a chain, or for a job. */
static bool is_waiting(const struct fill *f, const struct swarm_step *step, u64 now)
{
    const struct fill_swarm *s = f->swarm;
    if (step->count != 1 || s->n_waits == SWARM_WAITS_MAX)
        return false;
    switch ((enum piece_state)s->state[step->first]) {
    case PIECE_MISSING:
    case PIECE_HELD: return false;
    case PIECE_READ:
    case PIECE_REREAD:
    case PIECE_JUDGED: return true;
    case PIECE_THERE:
    case PIECE_DOUBTED: return now - s->asked_ns < SWARM_CLAIMS_NS;
    }
    return false;
}

void ask_step(struct fill *f, const struct swarm_step *step)
{
    static const struct http_transfer_events on = {on_head, on_data, on_end};
    char chain[CHAIN_HEADS_SIZE];
    struct piece_request *r = free_place(f);
    u64 now = swarm_now(f);
    if (peers_is_convicted(f->set->opt.peers, &step->peer)) {
        mesh_swarm_ended(swarm_mesh(f), step->id, SWARM_LIED, now);
        return;
    }
    if (!r || f->state > FILL_STREAMING || step->count == 0 || step->first >= f->swarm->n ||
        step->count > f->swarm->n - step->first) {
        mesh_swarm_ended(swarm_mesh(f), step->id, SWARM_FAILED, now);
        return;
    }
    if (step->count == 1 && f->swarm->state[step->first] == PIECE_HELD) {
        mesh_swarm_ended(swarm_mesh(f), step->id, SWARM_WORKED, now); /* since it was decided */
        return;
    }
    *r = (struct piece_request){.fill = f,
                                .id = step->id,
                                .first = step->first,
                                .count = step->count,
                                .at = step->first,
                                .started_ns = now};
    r->peer.key = step->peer;
    r->peer.addr = step->addr;
    if (is_waiting(f, step, now)) {
        r->over = true;
        r->judging = 1;
        ask_wait(f, r->id, step->first);
        judge_there(f);
        return;
    }
    f->swarm->asked_ns = now;
    peers_name(f->set->opt.peers, &step->peer, r->name);
    put_heads(f, &step->peer, chain);
    struct byte_range bytes = {.first = piece_first(f->claimed, step->first)};
    bytes.last = bytes.first + expected(r) - 1;
    int rc = peers_get_pieces(f->set->opt.peers, &r->peer, &f->digest, &bytes, chain, &on, r,
                              &r->transfer);
    if (rc) {
        r->id = 0;
        mesh_swarm_ended(swarm_mesh(f), step->id, SWARM_FAILED, now);
    }
}

void ask_resume(struct fill *f)
{
    for (size_t i = 0; f->swarm && i < LIMIT_SWARM_REQUESTS; i++) {
        struct piece_request *r = &f->swarm->requests[i];
        if (!r->transfer || !r->paused)
            continue;
        r->paused = false;
        http_transfer_resume(r->transfer);
    }
}

/* fill_peers.c - a fill's dealings with other nodes: carries out what proto/sourcing.h decides; see
 * fill.h.
 *
 * A request to a peer is a GET from where the bytes end. Of a good answer everything is known
 * before: its status, its range, its length. Whatever differs is a lie, whatever comes beyond it
 * cannot come. The bytes themselves are judged by the digest, at the end. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "node/fill_internal.h"
#include "proto/range.h"
#include "runtime/log.h"

#define IGNORED_MAX                                                                                \
    (64 * KIB) /* of an answer that is no layer; beyond it the connection is given up */
#define RETRY_MAX_S 60

static u64 now_ns(const struct fill *f)
{
    return peers_now_ns(f->set->opt.peers);
}

/* --- slots ----------------------------------------------------------------------------------- */

static unsigned slot_number(const struct peer_slot *l)
{
    return (unsigned)(l - l->fill->peers->slots);
}

static bool is_any_paused(const struct fill_peers *p)
{
    for (size_t i = 0; i < SOURCING_SLOTS; i++)
        if (p->slots[i].transfer && p->slots[i].paused)
            return true;
    return false;
}

/* The request is over for us: what it came to is told. */
static void slot_close(struct peer_slot *l, enum sourcing_outcome outcome, const char *why)
{
    struct fill *f = l->fill;
    if (l->transfer)
        http_transfer_cancel(l->transfer);
    l->transfer = NULL;
    f->paused = is_any_paused(f->peers);
    struct peers_result result = {
        .peer = &l->peer,
        .name = l->name,
        .digest = &f->digest,
        .outcome = outcome,
        .why = why,
        .bytes = l->bytes,
        .expected = f->claimed - l->first,
        .took_ns = now_ns(f) - l->started_ns,
    };
    peers_ended(f->set->opt.peers, &result);
}

/* By the peer, or by what it said. */
static void slot_ended(struct peer_slot *l, enum sourcing_outcome outcome, const char *why)
{
    struct fill *f = l->fill;
    fill_hold(f);
    slot_close(l, outcome, why);
    sourcing_ended(&f->peers->core, slot_number(l), outcome, l->retry_ns, now_ns(f));
    if (outcome == SOURCING_WORKED)
        fetch_complete(f);
    else
        sources_drive(f);
    fill_release(f);
}

/* --- answers --------------------------------------------------------------------------------- */

static void refuse(struct peer_slot *l, enum sourcing_outcome verdict, const char *why)
{
    l->refused = true;
    l->verdict = verdict;
    l->verdict_why = why;
}

static u64 retry_after_ns(const struct http_response *r)
{
    const char *text = http_response_field(r, "Retry-After");
    u64 s = 0;
    for (; text && *text >= '0' && *text <= '9' && s < RETRY_MAX_S; text++)
        s = s * 10 + (u64)(*text - '0');
    return (s < RETRY_MAX_S ? s : RETRY_MAX_S) * 1000 * SOURCING_MS;
}

/* Is it exactly the rest of the layer? */
static bool is_the_rest(const struct peer_slot *l, const struct http_response *r)
{
    const struct fill *f = l->fill;
    const char *value = http_response_field(r, "Content-Range");
    struct byte_range range;
    u64 total;
    if (r->content_length != f->claimed - l->first)
        return false;
    if (r->status == 200)
        return l->first == 0;
    return value && !range_parse_content(value, strlen(value), &range, &total) &&
           range.first == l->first && range.last == f->claimed - 1 && total == f->claimed;
}

static void on_head(void *arg, const struct http_response *r)
{
    struct peer_slot *l = arg;
    l->answered = true;
    switch (r->status) {
    case 200:
    case 206:
        if (!is_the_rest(l, r))
            refuse(l, SOURCING_LIED, "it answered another length or range than was asked for");
        return;
    case 404: refuse(l, SOURCING_MISSING, "it does not hold it"); return;
    case 503:
        l->retry_ns = retry_after_ns(r);
        refuse(l, SOURCING_BUSY, "it is busy");
        return;
    case 401:
    case 403: refuse(l, SOURCING_DENIED, "it refused us"); return;
    default: refuse(l, SOURCING_FAILED, "it answered with an error");
    }
}

static void note_origin(struct fill *f, const struct peer_slot *l)
{
    if (f->origin == FILL_FROM_NOBODY && f->prefix == 0) {
        f->origin = FILL_FROM_ONE_PEER;
        f->sole = l->peer;
        memcpy(f->sole_name, l->name, sizeof(f->sole_name));
    } else if (f->origin != FILL_FROM_ONE_PEER || !node_key_equal(&f->sole.key, &l->peer.key)) {
        f->origin = FILL_FROM_SEVERAL;
    }
}

/* Bytes that follow, from whom nobody was faster. */
static enum http_data_verdict take(struct peer_slot *l, const void *data, size_t len)
{
    struct fill *f = l->fill;
    struct sourcing *core = &f->peers->core;
    if (f->state == FILL_ASKING) {
        f->redirected = false;
        f->from_peer = true;
        f->held_back = f->claimed <= FILL_HELD_BACK;
        fetch_begin(f, f->claimed, l->name);
        if (f->state != FILL_STREAMING)
            return HTTP_DATA_TAKEN;
    }
    int rc = fetch_take(f, data, len, true);
    if (f->state == FILL_FAILED)
        return HTTP_DATA_TAKEN;
    if (rc == ERR_AGAIN) {
        l->paused = true;
        sourcing_pause(core, slot_number(l), true, now_ns(f));
        return HTTP_DATA_PAUSE;
    }
    if (rc) {
        fill_fail(f, rc, "out of memory");
        return HTTP_DATA_TAKEN;
    }
    note_origin(f, l);
    l->bytes += len;
    f->peer_bytes += len;
    sourcing_bytes(core, slot_number(l), len, now_ns(f));
    sources_drive(f);
    return HTTP_DATA_TAKEN;
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct peer_slot *l = arg;
    struct fill *f = l->fill;
    if (l->refused) {
        l->ignored += len;
        if (l->ignored > IGNORED_MAX)
            slot_ended(l, l->verdict, l->verdict_why);
        return HTTP_DATA_TAKEN;
    }
    assert(l->first + l->bytes == f->received); /* whoever was slower has been left */
    if (len > f->claimed - f->received) {
        slot_ended(l, SOURCING_LIED, "it sent more bytes than it had said");
        return HTTP_DATA_TAKEN;
    }
    fill_hold(f);
    enum http_data_verdict verdict = take(l, data, len);
    fill_release(f);
    return verdict;
}

static int slot_send(struct peer_slot *l);

static void on_end(void *arg, int err, const char *why)
{
    struct peer_slot *l = arg;
    struct fill *f = l->fill;
    l->transfer = NULL;
    if (l->refused) {
        slot_ended(l, l->verdict, l->verdict_why);
    } else if (l->answered && l->first + l->bytes == f->claimed) {
        slot_ended(l, SOURCING_WORKED, "");
    } else if ((err == ERR_IO || err == ERR_EOF) && !l->answered && !l->again) {
        l->again = true; /* a kept connection may have died unnoticed */
        if (slot_send(l))
            slot_ended(l, SOURCING_FAILED, why);
    } else {
        slot_ended(l, err ? SOURCING_FAILED : SOURCING_LIED, err ? why : "it sent too little");
    }
}

/* --- asking ---------------------------------------------------------------------------------- */

static int slot_send(struct peer_slot *l)
{
    static const struct http_transfer_events on = {on_head, on_data, on_end};
    struct fill *f = l->fill;
    u64 announced = l->again ? 0 : f->claimed - l->first;
    return peers_get(f->set->opt.peers, &l->peer, &f->digest, l->first, announced, &on, l,
                     &l->transfer);
}

static void slot_ask(struct fill *f, const struct sourcing_step *step)
{
    struct peer_slot *l = &f->peers->slots[step->slot];
    *l = (struct peer_slot){
        .fill = f, .peer = step->peer, .first = f->received, .started_ns = now_ns(f)};
    node_key_format(&step->peer.key, l->name);
    for (size_t i = 0; i < f->peers->n_list; i++)
        if (node_key_equal(&f->peers->list[i].key, &step->peer.key))
            memcpy(l->name, f->peers->list[i].name, sizeof(l->name));
    history_note(f->set->opt.history, &f->digest, "asked", "%.64s from byte %" PRIu64 ": %s",
                 l->name, l->first, step->reason);
    int rc = slot_send(l);
    if (rc)
        sourcing_ended(&f->peers->core, step->slot, SOURCING_FAILED, 0, now_ns(f));
}

static void look(struct fill *f)
{
    struct fill_peers *p = f->peers;
    struct sourcing_peer usable[MESH_SOURCES_MAX];
    size_t n = 0;
    p->n_list = peers_look(f->set->opt.peers, &f->digest, f->claimed - f->received, p->list);
    peers_note_order(f->set->opt.peers, &f->digest, p->list, p->n_list);
    for (size_t i = 0; i < p->n_list; i++)
        if (p->list[i].usable)
            usable[n++] = (struct sourcing_peer){.key = p->list[i].key,
                                                 .addr = p->list[i].addr,
                                                 .expected_ns = p->list[i].expected_ns};
    sourcing_sources(&p->core, usable, n, now_ns(f));
}

static void registry_is_next(struct fill *f, const struct sourcing_step *step)
{
    if (f->peers->n_list > 0)
        history_note(f->set->opt.history, &f->digest, "registry", "asked from byte %" PRIu64 ": %s",
                     f->received, step->reason);
    if (f->attempts > 0)
        fetch_registry_later(f);
    else
        fetch_registry(f);
}

/* False: nothing more to do now. */
static bool carry_out(struct fill *f, const struct sourcing_step *step)
{
    switch (step->what) {
    case SOURCING_REST: return false;
    case SOURCING_LOOK: look(f); return true;
    case SOURCING_ASK: slot_ask(f, step); return true;
    case SOURCING_LEAVE:
        slot_close(&f->peers->slots[step->slot], step->outcome, step->reason);
        return true;
    case SOURCING_REGISTRY: registry_is_next(f, step); return false;
    case SOURCING_GIVE_UP: fill_fail(f, ERR_UNREACHABLE, step->reason); return false;
    }
    return false;
}

static void on_deadline(uv_timer_t *t)
{
    sources_drive(t->data);
}

void sources_drive(struct fill *f)
{
    struct sourcing_step step;
    fill_hold(f);
    while (f->peers && (f->state == FILL_ASKING || f->state == FILL_STREAMING)) {
        sourcing_next(&f->peers->core, now_ns(f), &step);
        if (!carry_out(f, &step))
            break;
    }
    u64 at = f->peers ? sourcing_deadline(&f->peers->core) : UINT64_MAX, now = now_ns(f);
    if (at == UINT64_MAX || f->state == FILL_FAILED)
        uv_timer_stop(&f->deadline);
    else
        uv_timer_start(&f->deadline, on_deadline, at > now ? (at - now) / SOURCING_MS + 1 : 1, 0);
    fill_release(f);
}

/* --- the fill's side ------------------------------------------------------------------------- */

static bool may_ask(const struct fill *f)
{
    struct peers *p = f->set->opt.peers;
    return p && f->claimed != STORE_SIZE_UNKNOWN && f->claimed > 0 &&
           !peers_is_distrusted(p, &f->digest);
}

bool sources_open(struct fill *f)
{
    if (f->peers)
        return !f->peers->core.at_registry;
    if (!may_ask(f))
        return false;
    if (f->received >= f->claimed) /* a partial file that is all of it, or too much */
        return false;
    f->peers = calloc(1, sizeof(*f->peers));
    if (!f->peers)
        return false;
    struct sourcing_options opt = {.size = f->claimed, .registry = true};
    rng_seed(&opt.rng, peers_now_ns(f->set->opt.peers));
    sourcing_init(&f->peers->core, &opt);
    return true;
}

void sources_registry_ended(struct fill *f)
{
    bool known = f->peers != NULL;
    if (known)
        sourcing_registry_ended(&f->peers->core, now_ns(f));
    if (known || (f->state == FILL_STREAMING && sources_open(f)))
        sources_drive(f);
    else
        fetch_registry_later(f);
}

bool sources_are_asked(const struct fill *f)
{
    return f->peers && !f->peers->core.at_registry;
}

void sources_resume(struct fill *f)
{
    for (size_t i = 0; f->peers && i < SOURCING_SLOTS; i++) {
        struct peer_slot *l = &f->peers->slots[i];
        if (!l->transfer || !l->paused)
            continue;
        l->paused = false;
        sourcing_pause(&f->peers->core, (unsigned)i, false, now_ns(f));
        http_transfer_resume(l->transfer);
        sources_drive(f);
    }
}

void sources_close(struct fill *f)
{
    uv_timer_stop(&f->deadline);
    for (size_t i = 0; f->peers && i < SOURCING_SLOTS; i++)
        if (f->peers->slots[i].transfer)
            slot_close(&f->peers->slots[i], SOURCING_LEFT, "the fetch is over");
}

void sources_free(struct fill *f)
{
    free(f->peers);
    f->peers = NULL;
}

bool sources_idle(const struct fill *f)
{
    return !f->peers || (!f->peers->slots[0].transfer && !f->peers->slots[1].transfer);
}

const char *sources_name(const struct fill *f)
{
    for (size_t i = 0; f->peers && i < SOURCING_SLOTS; i++)
        if (f->peers->slots[i].transfer)
            return f->peers->slots[i].name;
    return NULL;
}

void sources_judge(struct fill *f)
{
    bool proven = f->origin == FILL_FROM_ONE_PEER;
    log_with(LOG_ERROR, "peers sent wrong bytes: thrown away, the registry is asked",
             LOG_STR("digest", f->text), LOG_STR("peer", proven ? f->sole_name : "several"),
             LOG_NUM("bytes", f->received), LOG_NUM("from_peers", f->peer_bytes));
    if (proven)
        peers_convict(f->set->opt.peers, &f->sole, f->sole_name, &f->digest);
    peers_distrust(f->set->opt.peers, &f->digest);
}

/* pull_blob.c - a layer, or a part of it: permission first, then from the store, else by a fill.
 *
 * Nothing tells an asker without permission whether a blob is held, here or by a peer: who is not
 * known to be permitted is judged by one request to the registry with the user's own Authorization,
 * made alike in either case (on a miss in the whole region, without credentials of our own, that
 * request is the fetch itself, which asks and answers at once).
 *
 * A peer's bytes grant nothing, and their number is the registry's word: where peers hold what is
 * missing, the question comes first, and tells the size too. */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "node/blob_body.h"
#include "node/paced_body.h"
#include "node/pull.h"
#include "proto/range.h"
#include "runtime/clock.h"
#include "runtime/log.h"

static void ask(struct pull *p);

static const char away_text[] = "it does not answer, and nothing lately granted covers this";

/* --- the answer ------------------------------------------------------------------------------ */

/* Which part of `size` bytes is asked for. A Range under an If-Range that does not name this
 * digest, or of a blob of unknown size, is no Range. */
static enum range_kind wanted(struct pull *p, u64 size, struct byte_range *part)
{
    const struct http_request *r = http_request(p->x);
    const struct http_slice *range = http_field(r, "Range");
    const struct http_slice *condition = http_field(r, "If-Range");
    char digest[DIGEST_TEXT_SIZE];
    size_t n = digest_format(&p->route.digest, digest);
    if (!range || p->head || size == UINT64_MAX)
        return RANGE_NONE;
    if (condition && !(condition->n == n + 2 && memcmp(condition->p + 1, digest, n) == 0))
        return RANGE_NONE;
    return range_parse(range->p, range->n, size, part);
}

static void add_fields(struct pull *p, enum source source)
{
    char digest[DIGEST_TEXT_SIZE];
    digest_format(&p->route.digest, digest);
    http_add(p->x, "Content-Type", "application/octet-stream");
    http_add(p->x, "Docker-Content-Digest", "%s", digest);
    http_add(p->x, "Docker-Distribution-Api-Version", "registry/2.0");
    http_add(p->x, "ETag", "\"%s\"", digest);
    http_add(p->x, "Accept-Ranges", "bytes");
    pull_add_source(p, source);
}

static enum source source_of(const struct fill *f)
{
    if (fill_is_from_peer(f))
        return SOURCE_PEER;
    if (fill_is_sound(f))
        return SOURCE_STORE;
    return fill_is_kept(f) ? SOURCE_ORIGIN : SOURCE_STREAM;
}

/* What an answer covers: all, or a part. */
struct extent {
    enum range_kind kind;
    struct byte_range part;
    u64 first, end, size;
};

/* False: it cannot, and was answered. */
static bool read_extent(struct pull *p, u64 size, struct extent *e)
{
    *e = (struct extent){.end = size, .size = size};
    e->kind = wanted(p, size, &e->part);
    if (e->kind == RANGE_UNMET) {
        http_add(p->x, "Content-Range", "bytes */%" PRIu64, size);
        pull_error(p, OCI_RANGE_INVALID, NULL, NULL);
        return false;
    }
    if (e->kind == RANGE_PART) {
        e->first = e->part.first;
        e->end = e->part.last + 1;
    }
    return true;
}

/* Begins the answer; `body` is taken, NULL for a HEAD. */
static void begin(struct pull *p, const struct extent *e, enum source source, struct body *body)
{
    struct node *n = p->node;
    const struct paced_share share = {&n->upload, PACE_CLIENTS, pace_flow(&p->route.digest)};
    if (body)
        body = paced_body(body, &share, pull_wake, p->x);
    if (!body && !p->head) {
        pull_error(p, OCI_UNAVAILABLE, "out of memory", NULL);
        return;
    }
    add_fields(p, source);
    p->layer = !p->head;
    n->layers_now += p->layer;
    p->expected = e->end == UINT64_MAX ? 0 : e->end - e->first;
    if (e->kind == RANGE_PART)
        http_add(p->x, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, e->part.first,
                 e->part.last, e->size);
    pull_reply(p, e->kind == RANGE_PART ? 206 : 200, body,
               e->size == STORE_SIZE_UNKNOWN ? HTTP_LENGTH_UNKNOWN : e->end - e->first);
}

/* From either place: a pinned blob (taken) or a fill. */
static void reply(struct pull *p, struct store_blob *pin, struct fill *f, u64 size)
{
    struct node *n = p->node;
    struct extent e;
    struct body *body = NULL;
    bool good = read_extent(p, size, &e);
    if (good && pin && !p->head)
        body = blob_body(n->store, pin, n->disk, e.first, e.end, pull_wake, p->x);
    else if (good && !p->head)
        body = fill_body(f, e.first, e.end, pull_wake, p->x);
    if (pin && !body)
        store_unpin(n->store, pin);
    if (good)
        begin(p, &e, f ? source_of(f) : SOURCE_STORE, body);
}

/* --- an answer before its bytes
 * ------------------------------------------------------------------------------------------------
 */

/* Clients wait for ever (docker and containerd have no timeout here); another node, or the tracker
 * itself, may have what does not come. Longer than a registry may take to answer. */
#define PROMISE_MS 40000

void pull_promise_over(struct pull *p)
{
    if (!p->promise_at)
        return;
    *p->promise_at = p->promise_next;
    if (p->promise_next)
        p->promise_next->promise_at = p->promise_at;
    p->promise_at = NULL;
}

static void promise_wait(struct pull *p)
{
    struct node *n = p->node;
    p->promised_ms = uv_now(n->loop);
    p->promise_next = n->promises;
    p->promise_at = &n->promises;
    if (p->promise_next)
        p->promise_next->promise_at = &p->promise_next;
    n->promises = p;
}

/* See promised_body.h. What X-Dray-Source says is then what is expected; the audit line says what
 * came of it. */
static void promise(struct pull *p)
{
    struct extent e;
    enum source source = peers_hold(p->node->peers, &p->route.digest) ? SOURCE_PEER : SOURCE_ORIGIN;
    if (!p->ticket || p->head || p->size == UINT64_MAX ||
        wanted(p, p->size, &e.part) == RANGE_UNMET)
        return;
    struct body *body = promised_body(&p->promised);
    if (!body || !read_extent(p, p->size, &e))
        return;
    begin(p, &e, source, body);
    if (p->promised)
        promise_wait(p);
}

static void break_promise(struct pull *p, const char *why)
{
    char digest[DIGEST_TEXT_SIZE];
    digest_format(&p->route.digest, digest);
    log_with(LOG_WARN, "a layer that was promised cannot be served: the client goes elsewhere",
             LOG_STR("digest", digest), LOG_STR("why", why));
    pull_promise_over(p);
    promised_break(p->promised);
    http_wake(p->x);
}

void pull_promises_tick(struct node *n)
{
    u64 now = uv_now(n->loop);
    for (struct pull *p = n->promises, *next; p; p = next) {
        next = p->promise_next;
        if (now - p->promised_ms < PROMISE_MS)
            continue;
        fill_leave(&p->fill);
        break_promise(p, "no byte came in time");
    }
}

/* The fill begins; it may be of another size than the ticket said. */
static void keep_promise(struct pull *p, struct fill *f)
{
    struct extent e;
    if (fill_size(f) != STORE_SIZE_UNKNOWN && fill_size(f) != p->size) {
        break_promise(p, "it is of another size than the ticket says");
        return;
    }
    (void)read_extent(p, p->size, &e);
    struct body *body = fill_body(f, e.first, e.end, pull_wake, p->x);
    if (!body) {
        break_promise(p, "out of memory");
        return;
    }
    p->source = source_of(f);
    pull_promise_over(p);
    promised_keep(p->promised, body);
    http_wake(p->x);
}

/* The registry said yes, and perhaps how large it is. */
static void grant(struct pull *p, u64 size)
{
    pull_grant(p, &p->route.digest);
    authz_note_size(p->node->authz, upstream_name(p->up), p->route.name, &p->route.digest, size);
}

/* --- a fill
 * ------------------------------------------------------------------------------------------------
 */

static void on_ready(struct fill_waiter *w, struct fill *f)
{
    struct pull *p = container_of(w, struct pull, fill);
    if (p->promised) {
        keep_promise(p, f);
        return;
    }
    if (!w->proven && !(fill_was_redirected(f) && !upstream_redirect_proves(p->up)))
        grant(p, fill_size(f));
    reply(p, NULL, f, fill_size(f));
}

static void on_failed(struct fill_waiter *w, int err, const char *why, const struct answer *refusal)
{
    struct pull *p = container_of(w, struct pull, fill);
    if (p->promised) {
        break_promise(p, why);
    } else if (p->ticket) {
        pull_unavailable(p, why);
    } else if (refusal && refusal->status < 500) {
        *p->node->authz_count[AUTHZ_COUNT_REFUSED] += 1;
        pull_relay(p, refusal);
    } else if (refusal) {
        pull_unavailable(p, "it answers with a server error");
    } else if (err == ERR_PROTO || err == ERR_DENIED || err == ERR_TOOBIG) {
        pull_bad_gateway(p, why);
    } else {
        pull_unavailable(p, why);
    }
}

static void fetch(struct pull *p, bool proven)
{
    p->fill.ready = on_ready;
    p->fill.failed = on_failed;
    struct fill_source src = {
        .upstream = p->up,
        .repository = p->route.name,
        .authorization = p->authorization,
        .ticket = p->ticket_text,
        .own = proven && p->own,
        .proven = proven,
        .size = p->size,
    };
    if (p->ticket)
        src.tracker = p->ticket->tracker;
    int rc = fill_join(p->node->fills, &p->route.digest, &src, &p->fill);
    /* Too many run: that is no answer to somebody without a right, who would not get it either if
     * the blob were held. */
    if (rc == ERR_AGAIN || (rc && !proven))
        ask(p);
    else if (rc)
        pull_unavailable(p, err_text(rc));
    else if (p->fill.fill) /* it waits */
        promise(p);
}

/* --- permission ------------------------------------------------------------------------------ */

static bool serve_held(struct pull *p)
{
    struct store_blob *pin;
    if (store_pin(p->node->store, &p->route.digest, wall_ms(), &pin))
        return false;
    reply(p, pin, NULL, store_blob_size(pin));
    return true;
}

/* Where others live, a layer is fetched once for all of them: its right and size come first. */
static bool is_shared(const struct pull *p)
{
    return peers_swarm(p->node->peers) || peers_hold(p->node->peers, &p->route.digest);
}

/* Peers are asked for what is known to be so large; without peers the fetch itself tells. */
static bool knows_size(struct pull *p)
{
    if (p->size == UINT64_MAX)
        p->size = authz_size(p->node->authz, upstream_name(p->up), p->route.name, &p->route.digest);
    return p->size != UINT64_MAX || p->asked_for_size || !is_shared(p);
}

/* Permitted. */
void pull_serve(struct pull *p)
{
    if (serve_held(p))
        return;
    if (!p->head && knows_size(p)) {
        fetch(p, true);
    } else if (p->size != UINT64_MAX) {
        add_fields(p, SOURCE_ORIGIN);
        pull_reply(p, 200, NULL, p->size);
    } else if (!p->asked_for_size) {
        ask(p); /* its answer tells the size too */
    } else {
        pull_bad_gateway(p, "it does not say how large the layer is");
    }
}

/* The registry is away: what was granted lately, and is held. */
static void serve_grace(struct pull *p, const char *why)
{
    if (pull_check(p) != AUTHZ_UNKNOWN) {
        *p->node->authz_count[AUTHZ_COUNT_GRACE] += 1;
        if (serve_held(p))
            return;
        if (!p->head && knows_size(p) && p->size != UINT64_MAX &&
            peers_hold(p->node->peers, &p->route.digest)) {
            fetch(p, true);
            return;
        }
    }
    pull_unavailable(p, why);
}

static void on_answer(struct question_waiter *w, const struct answer *a)
{
    struct pull *p = container_of(w, struct pull, question);
    p->asked_for_size = true;
    switch (question_verdict(p->up, a, &p->size)) {
    case VERDICT_ALLOWED:
        grant(p, p->size);
        pull_serve(p);
        return;
    case VERDICT_ALLOWED_ONCE: pull_serve(p); return;
    case VERDICT_REFUSED:
        *p->node->authz_count[AUTHZ_COUNT_REFUSED] += 1;
        if (a->err)
            pull_bad_gateway(p, a->why);
        else
            pull_relay(p, a);
        return;
    case VERDICT_AWAY: serve_grace(p, answer_away_text(a)); return;
    }
}

static void ask(struct pull *p)
{
    struct question_text text = {
        .upstream = p->up,
        .repository = p->route.name,
        .authorization = p->authorization,
        .user = p->user,
        .digest = p->route.digest,
        .patience_ms = pull_check(p) == AUTHZ_UNKNOWN ? 0 : PULL_PATIENCE_MS,
    };
    p->question.answered = on_answer;
    *p->node->authz_count[AUTHZ_COUNT_ASKED] += 1;
    int rc = question_ask(p->node->questions, &text, &p->question);
    if (rc)
        pull_unavailable(p, err_text(rc));
}

void pull_blob(struct pull *p)
{
    struct blob_info held;
    enum authz_answer known = pull_check(p);
    if (known == AUTHZ_GRANTED) {
        *p->node->authz_count[AUTHZ_COUNT_REMEMBERED] += 1;
        pull_serve(p);
        return;
    }
    if (upstream_is_away(p->up) && known == AUTHZ_GRACE) {
        serve_grace(p, away_text);
        return;
    }
    bool cold = store_lookup(p->node->store, &p->route.digest, &held) != 0;
    if (cold && !p->head && !upstream_has_credentials(p->up) &&
        !fill_is_streaming(p->node->fills, &p->route.digest) && !is_shared(p)) {
        *p->node->authz_count[AUTHZ_COUNT_ASKED] += 1;
        fetch(p, false);
        return;
    }
    ask(p);
}

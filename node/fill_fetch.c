/* fill_fetch.c - a fill's dealings with the registry: asking, receiving, going on where it broke
 * off, and what a refusal means to whom; see fill.h. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "node/fill_internal.h"
#include "proto/oci.h"
#include "proto/range.h"
#include "runtime/log.h"

#define ATTEMPTS_MAX   6   /* upstream failures in a row without one byte between them */
#define RETRY_FIRST_MS 100 /* doubled each time, to at most */
#define RETRY_MAX_MS   5000
/* Who issued a ticket is in the region, or was a moment ago: word of it may still be under way. */
#define SIGHT_EVERY_MS 100
#define SIGHT_LOOKS    50

/* --- receiving ------------------------------------------------------------------------------- */

void fetch_leave(struct fill *f)
{
    if (f->call)
        upstream_call_cancel(f->call);
    if (f->reading)
        http_transfer_cancel(f->reading);
    f->call = NULL;
    f->reading = NULL;
}

/* Whom the right in use asks, for people. */
static const char *asked_name(const struct fill *f)
{
    return tracker_is_next(&f->right) ? "the tracker" : upstream_name(f->right.upstream);
}

static void on_retry(uv_timer_t *t)
{
    fetch_registry(t->data);
}

void fetch_registry_later(struct fill *f)
{
    u64 wait = f->attempts <= 1 ? 0 : RETRY_FIRST_MS << (f->attempts - 1);
    uv_timer_start(&f->retry, on_retry, wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS, 0);
}

/* It broke off: on from where it stopped, by a peer, or else by the registry again, later each time
 * nothing came. */
static void retry(struct fill *f, const char *why)
{
    if (++f->attempts > ATTEMPTS_MAX) {
        fill_fail(f, ERR_UNREACHABLE, why);
        return;
    }
    log_with(LOG_INFO, "fetch broke off, going on where it stopped", LOG_STR("digest", f->text),
             LOG_NUM("received", f->received), LOG_STR("why", why));
    *f->set->resumed += 1;
    sources_registry_ended(f);
}

/* All bytes are here. */
void fetch_complete(struct fill *f)
{
    if (f->size == STORE_SIZE_UNKNOWN)
        f->size = f->received;
    f->state = FILL_CHECKING;
    sink_pump(f);
}

void fetch_start_over(struct fill *f)
{
    assert(f->state != FILL_FAILED && f->state != FILL_SOUND && f->n_bodies == 0 && sink_idle(f));
    if (f->ingest)
        store_ingest_drop(f->ingest);
    f->ingest = NULL;
    sources_close(f);
    sources_free(f);
    swarm_close(f);
    swarm_free(f);
    f->state = FILL_ASKING;
    f->size = STORE_SIZE_UNKNOWN;
    f->frozen = f->held_back = f->from_peer = false;
    f->origin = FILL_FROM_NOBODY;
    f->paced = 0;
    f->fast = false;
    if (f->file >= 0) /* of the file that is no more */
        close(f->file);
    f->file = -1;
    f->peer_bytes = f->received = f->written = f->prefix = f->hashed = f->log_received = 0;
    ring_fini(&f->ring);
    ring_init(&f->ring, &f->set->cache, 0);
    fetch_start(f);
}

static bool is_of_nothing(const struct digest *d)
{
    struct digest nothing;
    hash_bytes(d->alg, (const u8 *)"", 0, &nothing);
    return digest_equal(d, &nothing);
}

/* What the head of a 200 or 206 says of sizes: 0, or ERR_PROTO with `why`. */
static int head_sizes(struct fill *f, const struct http_response *r, u64 *total, const char **why)
{
    struct byte_range range;
    *total = r->content_length;
    f->skip = 0;
    if (r->status == 206) {
        const char *value = http_response_field(r, "Content-Range");
        if (!value || range_parse_content(value, strlen(value), &range, total) ||
            range.first != f->received) {
            *why = "the registry answered another range than was asked for";
            return ERR_PROTO;
        }
    } else {
        f->skip = f->received;
    }
    if (f->size != STORE_SIZE_UNKNOWN && *total != STORE_SIZE_UNKNOWN && *total != f->size) {
        *why = "the registry now says another size for the same digest";
        return ERR_PROTO;
    }
    /* An answer without bytes is complete with its head: its digest cannot be waited for. */
    if (*total == 0 && !is_of_nothing(&f->digest)) {
        *why = "the registry says that the layer is empty; its digest says otherwise";
        return ERR_PROTO;
    }
    if (*total != STORE_SIZE_UNKNOWN && *total < f->received) {
        *why = "the partial file is longer than the layer";
        return ERR_PROTO;
    }
    return 0;
}

void fetch_begin(struct fill *f, u64 total, const char *from)
{
    f->size = f->claimed = total;
    f->state = FILL_STREAMING;
    f->progress_ms = uv_now(f->set->opt.loop);
    sink_open(f);
    history_note(f->set->opt.history, &f->digest, "fetching", "from %s, repository %s%s", from,
                 f->right.repository, f->received ? ", going on with a partial file" : "");
    sink_pump(f);
    if (f->held_back)
        return;
    waiters_ready(f);
    if (f->frozen && f->n_bodies == 0)
        fill_fail(f, ERR_FULL, "no room to keep it, and nobody to serve it to");
}

/* What came so far and what the registry says do not fit. If a peer sent some of it, the registry
 * alone is asked by another fill. */
static void misfit(struct fill *f, int rc, const char *why)
{
    if (f->peer_bytes > 0) {
        peers_distrust(f->set->opt.peers, &f->digest);
        f->keep_partial = false;
        f->again = true;
    }
    fill_fail(f, rc, why);
}

void fetch_head(struct fill *f, const struct http_response *r, bool redirected)
{
    const char *why = "";
    u64 total;
    if (r->status != 200 && r->status != 206) {
        f->refusing = true;
        answer_fini(&f->refusal);
        if (answer_head(&f->refusal, r, redirected)) {
            fetch_leave(f);
            fill_fail(f, ERR_NOMEM, "out of memory");
        }
        return;
    }
    int rc = head_sizes(f, r, &total, &why);
    if (rc) {
        fetch_leave(f);
        if (f->state == FILL_ASKING && f->ingest)
            fetch_start_over(f);
        else
            misfit(f, rc, why);
        return;
    }
    if (f->state == FILL_ASKING) {
        f->redirected = redirected;
        fill_hold(f);
        fetch_begin(f, total, asked_name(f));
        fill_release(f);
    }
}

void fetch_resume(struct fill *f)
{
    if (f->call && !f->swarm)
        upstream_call_resume(f->call);
    if (f->reading && !f->swarm)
        http_transfer_resume(f->reading);
    sources_resume(f);
    swarm_resume(f);
}

/* The limits on what comes in. False: fetch_resume() will be called. */
bool fetch_may_come(struct fill *f, bool from_peer)
{
    struct pace *const paces[] = {f->set->opt.pace, from_peer ? NULL : f->set->opt.wan};
    for (size_t i = 0; i < countof(paces); i++)
        if (paces[i] && !pace_is_open(paces[i], f->pace.flow)) {
            pace_wait(paces[i], &f->pace);
            return false;
        }
    return true;
}

void fetch_came(struct fill *f, size_t len, bool from_peer)
{
    pace_take(f->set->opt.pace, f->pace.flow, len);
    if (!from_peer && f->set->opt.wan)
        pace_take(f->set->opt.wan, f->pace.flow, len);
    *(from_peer ? peers_fetched_bytes(f->set->opt.peers) : f->set->fetched_bytes) += len;
    if (f->reading && !from_peer)
        *f->set->tracker_bytes += len;
    if (from_peer) {
        f->peer_bytes += len;
        f->origin = FILL_FROM_SEVERAL;
    }
}

int fetch_take(struct fill *f, const void *data, size_t len, bool from_peer)
{
    if (!sink_has_room(f, len)) {
        f->paused = true;
        return ERR_AGAIN;
    }
    if (!fetch_may_come(f, from_peer))
        return ERR_AGAIN;
    pace_take(f->set->opt.pace, f->pace.flow, len);
    if (!from_peer && f->set->opt.wan)
        pace_take(f->set->opt.wan, f->pace.flow, len);
    sink_reserve(f, len);
    size_t taken = ring_append(&f->ring, data, len);
    f->received += taken;
    if (taken > 0) { /* what was here already is no progress */
        f->attempts = 0;
        f->from_peer = from_peer;
    }
    if (taken > 0 && !from_peer)
        f->origin = f->origin == FILL_FROM_NOBODY && f->prefix == 0 ? FILL_FROM_REGISTRY
                    : f->origin == FILL_FROM_REGISTRY               ? FILL_FROM_REGISTRY
                                                                    : FILL_FROM_SEVERAL;
    *(from_peer ? peers_fetched_bytes(f->set->opt.peers) : f->set->fetched_bytes) += taken;
    if (f->reading && !from_peer)
        *f->set->tracker_bytes += taken;
    fill_hold(f);
    bodies_wake(f);
    sink_pump(f);
    fill_release(f);
    return taken < len ? ERR_NOMEM : 0;
}

enum http_data_verdict fetch_data(struct fill *f, const void *data, size_t len)
{
    if (f->refusing) {
        if (answer_data(&f->refusal, data, len, LIMIT_UPSTREAM_HEAD_BYTES)) {
            fetch_leave(f); /* a refusal without end: its status and fields are what counts */
            fetch_ended(f, 0, "");
        }
        return HTTP_DATA_TAKEN;
    }
    size_t unwanted = f->skip < len ? (size_t)f->skip : len;
    const u8 *wanted = (const u8 *)data + unwanted;
    len -= unwanted;
    if (f->size != STORE_SIZE_UNKNOWN && len > f->size - f->received) {
        fetch_leave(f);
        fill_fail(f, ERR_PROTO, "the registry sent more bytes than it had said");
        return HTTP_DATA_TAKEN;
    }
    fill_hold(f);
    int rc = fetch_take(f, wanted, len, false);
    if (rc != ERR_AGAIN) {
        f->skip -= unwanted;
        fetch_came(f, unwanted, false);
    }
    if (rc == ERR_NOMEM && f->state != FILL_FAILED) {
        fetch_leave(f);
        retry(f, "out of memory");
    }
    fill_release(f);
    return rc == ERR_AGAIN ? HTTP_DATA_PAUSE : HTTP_DATA_TAKEN;
}

/* Our own credentials do not open this, or (`tickets_only`) do not get to the registry: what each
 * waiter brought still may. */
static void drop_own(struct fill *f, bool tickets_only)
{
    for (struct fill_waiter *w = f->waiters; w; w = w->next)
        if (w->right.ticket || !tickets_only)
            w->right.own = false;
}

static bool same_tracker(const struct fill_right *a, const struct fill_right *b)
{
    return a->ticket && b->ticket && node_key_equal(&a->tracker, &b->tracker);
}

/* Is what was said to the right in use meant for this waiter, too? `away`: it was no refusal, but
 * whoever was asked cannot answer now. */
static bool is_meant(const struct fill *f, const struct fill_waiter *w, bool away)
{
    const struct fill_right *asked = &f->right;
    if (!away)
        return !asked->own && waiter_has_right(w, asked);
    if (tracker_is_next(asked))
        return tracker_is_next(&w->right) && same_tracker(&w->right, asked);
    return w->right.upstream == asked->upstream && !tracker_is_next(&w->right);
}

/* Who is meant fails; the next one's right is tried. */
static void fail_those_meant(struct fill *f, bool away, int err, const char *why,
                             const struct answer *refusal)
{
    fill_hold(f);
    for (struct fill_waiter *w = f->waiters, *next; w; w = next) {
        next = w->next;
        if (!is_meant(f, w, away))
            continue;
        waiter_unlink(w);
        w->failed(w, err, why, refusal);
        next = f->waiters; /* callbacks may have changed the list */
    }
    if (f->waiters)
        fetch_start(f);
    else
        fill_fail(f, err, why);
    fill_release(f);
}

/* The right in use was refused. */
static void refused(struct fill *f)
{
    struct answer refusal = f->refusal;
    bool away = refusal.status >= 500;
    answer_init(&f->refusal);
    f->refusing = false;
    if (f->right.own)
        drop_own(f, away);
    fail_those_meant(f, away, ERR_DENIED,
                     tracker_is_next(&f->right) ? "the tracker refused" : "the registry refused",
                     &refusal);
    answer_fini(&refusal);
}

/* While streaming: a refusal of a resume. */
static void resume_refused(struct fill *f)
{
    int status = f->refusal.status;
    bool for_now = status == 429 || status >= 500, ticket = f->right.own && f->right.ticket;
    f->refusing = false;
    if (status == 416 || (!for_now && f->n_alternates == 0 && !ticket)) {
        f->keep_partial = status != 416;
        fill_fail(f, ERR_DENIED, "the registry refused to go on with the layer");
        return;
    }
    if (!for_now && ticket) {
        f->right.own = false;
    } else if (!for_now) {
        right_fini(&f->right);
        f->right = f->alternates[--f->n_alternates];
        memset(&f->alternates[f->n_alternates], 0, sizeof(f->right));
    }
    retry(f, "the registry refused for now");
}

/* The first answer is a refusal; a 416 says that the partial file is all there is, or too much.
 * Some registries do not say which: the digest will. */
static void first_refused(struct fill *f)
{
    if (f->refusal.status != 416 || !f->ingest) {
        refused(f);
        return;
    }
    f->refusing = false;
    f->redirected = f->refusal.redirected;
    const char *value = answer_field(&f->refusal, "Content-Range");
    char whole[32];
    snprintf(whole, sizeof(whole), "bytes */%" PRIu64, f->received);
    if (value && strcmp(value, whole) != 0) {
        fetch_start_over(f);
        return;
    }
    fetch_begin(f, f->received, asked_name(f));
    if (f->state == FILL_STREAMING)
        fetch_complete(f);
}

/* Our own credentials did not even get to the registry. A token realm that is not permitted, or
 * refuses them, concerns them alone; where the registry is `away`, who has a ticket need not ask
 * it. Is anybody left who may ask otherwise? */
static bool without_own(struct fill *f, bool away, const char *why)
{
    bool left = false;
    if (!f->right.own)
        return false;
    drop_own(f, away);
    for (const struct fill_waiter *w = f->waiters; w; w = w->next)
        left |= !w->right.own;
    if (left)
        log_with(LOG_WARN, "the node's own credentials do not fetch: trying the user's",
                 LOG_STR("upstream", upstream_name(f->right.upstream)), LOG_STR("why", why));
    return left;
}

/* The first answer did not come. */
static void no_answer(struct fill *f, int err, const char *why)
{
    bool away = err != ERR_DENIED && err != ERR_PROTO;
    if (without_own(f, away, why))
        fail_those_meant(f, away, err, why, NULL);
    else if (tracker_is_next(&f->right))
        fail_those_meant(f, true, err, why, NULL);
    else
        fill_fail(f, err, why);
}

void fetch_ended(struct fill *f, int err, const char *why)
{
    bool refusing = f->refusing;
    fill_hold(f);
    f->paused = false;
    /* distribution 2.8 announces a long body with a 416, and sends a short one: its head says all
     */
    if (refusing && (!err || f->refusal.status == 416)) {
        if (f->state == FILL_ASKING)
            first_refused(f);
        else
            resume_refused(f);
    } else if (f->state == FILL_ASKING) {
        f->refusing = false;
        no_answer(f, err ? err : ERR_PROTO, err ? why : "no answer");
    } else if (!err && (f->size == STORE_SIZE_UNKNOWN || f->received == f->size)) {
        fetch_complete(f);
    } else {
        f->refusing = false;
        retry(f, err ? why : "the body ended early");
    }
    fill_release(f);
}

/* --- asking ---------------------------------------------------------------------------------- */

static void on_head(void *arg, const struct http_response *r, bool redirected)
{
    fetch_head(arg, r, redirected);
}
static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    return fetch_data(arg, data, len);
}
static void on_end(void *arg, int err, const char *why)
{
    struct fill *f = arg;
    f->call = NULL;
    fetch_ended(f, err, why);
}

static int registry_ask(struct fill *f)
{
    static const struct upstream_events on = {on_head, on_data, on_end};
    char path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32], range[32];
    snprintf(path, sizeof(path), "/v2/%s/blobs/%s", f->right.repository, f->text);
    snprintf(range, sizeof(range), "bytes=%" PRIu64 "-", f->received);
    struct upstream_request r = {
        .method = "GET",
        .path = path,
        .repository = f->right.repository,
        .authorization = f->right.authorization,
        .own = f->right.own,
        .follow = true,
        .range = f->received > 0 ? range : NULL,
    };
    return upstream_call(f->right.upstream, &r, &on, f, &f->call);
}

void fetch_registry(struct fill *f)
{
    if (f->size != STORE_SIZE_UNKNOWN && f->received == f->size) {
        fetch_complete(f);
        return;
    }
    int rc = tracker_is_next(&f->right) ? tracker_ask(f) : registry_ask(f);
    if (rc == ERR_NOTFOUND && f->state == FILL_ASKING && f->looks < SIGHT_LOOKS) {
        f->looks++;
        uv_timer_start(&f->retry, on_retry, SIGHT_EVERY_MS, 0);
        return;
    }
    f->looks = 0;
    if (rc)
        fetch_ended(f, rc, rc == ERR_NOTFOUND ? "its tracker is not in sight" : err_text(rc));
}

/* What is there of a former run, before the first request. */
static void open_partial(struct fill *f)
{
    if (f->in_order)
        return;
    f->in_order = true;
    sink_open_partial(f);
    f->received = f->log_received = f->prefix;
    ring_fini(&f->ring);
    ring_init(&f->ring, &f->set->cache, f->received);
}

void fetch_in_order(struct fill *f)
{
    open_partial(f);
    fetch_registry(f);
}

void fetch_start(struct fill *f)
{
    struct fill_waiter *w = waiter_to_ask(f);
    int rc = 0;
    if (f->state == FILL_ASKING && w) {
        struct fill_source src = right_view(&w->right);
        rc = right_set(&f->right, &src);
    }
    if (rc) {
        fill_fail(f, rc, err_text(rc));
        return;
    }
    if (f->state == FILL_ASKING && swarm_open(f))
        return; /* steps will come */
    open_partial(f);
    if (f->state == FILL_ASKING && sources_open(f))
        sources_drive(f);
    else
        fetch_registry(f);
}

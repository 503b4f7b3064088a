/* fill_fetch.c - a fill's dealings with the registry: asking, receiving, going on where it broke
 * off, and what a refusal means to whom; see fill.h. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/fill_internal.h"
#include "proto/oci.h"
#include "proto/range.h"
#include "runtime/log.h"

#define ATTEMPTS_MAX   6   /* upstream failures in a row without one byte between them */
#define RETRY_FIRST_MS 100 /* doubled each time, to at most */
#define RETRY_MAX_MS   5000

static void answer_ended(struct fill *f, int err, const char *why);

/* --- receiving ------------------------------------------------------------------------------- */

/* Nothing more comes from this call. */
static void call_stop(struct fill *f)
{
    if (f->call)
        upstream_call_cancel(f->call);
    f->call = NULL;
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
    f->state = FILL_ASKING;
    f->size = STORE_SIZE_UNKNOWN;
    f->frozen = f->held_back = f->from_peer = false;
    f->origin = FILL_FROM_NOBODY;
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

static void on_head(void *arg, const struct http_response *r, bool redirected)
{
    struct fill *f = arg;
    const char *why = "";
    u64 total;
    if (r->status != 200 && r->status != 206) {
        f->refusing = true;
        answer_fini(&f->refusal);
        if (answer_head(&f->refusal, r, redirected)) {
            call_stop(f);
            fill_fail(f, ERR_NOMEM, "out of memory");
        }
        return;
    }
    int rc = head_sizes(f, r, &total, &why);
    if (rc) {
        call_stop(f);
        if (f->state == FILL_ASKING && f->ingest)
            fetch_start_over(f);
        else
            misfit(f, rc, why);
        return;
    }
    if (f->state == FILL_ASKING) {
        f->redirected = redirected;
        fill_hold(f);
        fetch_begin(f, total, upstream_name(f->right.upstream));
        fill_release(f);
    }
}

void fetch_resume(struct fill *f)
{
    if (f->call)
        upstream_call_resume(f->call);
    sources_resume(f);
}

/* The limits on what comes in. False: fetch_resume() will be called. */
static bool may_come(struct fill *f, bool from_peer)
{
    struct pace *const paces[] = {f->set->opt.pace, from_peer ? NULL : f->set->opt.wan};
    for (size_t i = 0; i < countof(paces); i++)
        if (paces[i] && !pace_is_open(paces[i])) {
            pace_wait(paces[i], &f->pace);
            return false;
        }
    return true;
}

int fetch_take(struct fill *f, const void *data, size_t len, bool from_peer)
{
    if (!sink_has_room(f, len)) {
        f->paused = true;
        return ERR_AGAIN;
    }
    if (!may_come(f, from_peer))
        return ERR_AGAIN;
    pace_take(f->set->opt.pace, len);
    if (!from_peer && f->set->opt.wan)
        pace_take(f->set->opt.wan, len);
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
    fill_hold(f);
    bodies_wake(f);
    sink_pump(f);
    fill_release(f);
    return taken < len ? ERR_NOMEM : 0;
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct fill *f = arg;
    if (f->refusing) {
        if (answer_data(&f->refusal, data, len, LIMIT_UPSTREAM_HEAD_BYTES)) {
            call_stop(f); /* a refusal without end: its status and fields are what counts */
            answer_ended(f, 0, "");
        }
        return HTTP_DATA_TAKEN;
    }
    size_t unwanted = f->skip < len ? (size_t)f->skip : len;
    const u8 *wanted = (const u8 *)data + unwanted;
    len -= unwanted;
    if (f->size != STORE_SIZE_UNKNOWN && len > f->size - f->received) {
        call_stop(f);
        fill_fail(f, ERR_PROTO, "the registry sent more bytes than it had said");
        return HTTP_DATA_TAKEN;
    }
    fill_hold(f);
    int rc = fetch_take(f, wanted, len, false);
    if (rc != ERR_AGAIN)
        f->skip -= unwanted;
    if (rc == ERR_NOMEM && f->state != FILL_FAILED) {
        call_stop(f);
        retry(f, "out of memory");
    }
    fill_release(f);
    return rc == ERR_AGAIN ? HTTP_DATA_PAUSE : HTTP_DATA_TAKEN;
}

/* The registry refused the right in use. Who has the same right fails with it; the next one's is
 * tried. */
static void refused(struct fill *f)
{
    struct answer refusal = f->refusal;
    answer_init(&f->refusal);
    f->refusing = false;
    bool away = refusal.status >= 500;
    fill_hold(f);
    if (f->right.own && !away && f->waiters) {
        /* Our own credentials do not open this: each waiter's own right still may. */
        for (struct fill_waiter *w = f->waiters; w; w = w->next)
            w->own = false;
    } else {
        for (struct fill_waiter *w = f->waiters, *next; w; w = next) {
            next = w->next;
            if (!(away ? w->upstream == f->right.upstream : waiter_has_right(w, &f->right)))
                continue;
            waiter_unlink(w);
            w->failed(w, ERR_DENIED, "the registry refused", &refusal);
            next = f->waiters; /* callbacks may have changed the list */
        }
    }
    if (f->waiters)
        fetch_start(f);
    else
        fill_fail(f, ERR_DENIED, "the registry refused");
    answer_fini(&refusal);
    fill_release(f);
}

/* While streaming: a refusal of a resume. */
static void resume_refused(struct fill *f)
{
    int status = f->refusal.status;
    f->refusing = false;
    if (status == 416 || (status != 429 && status < 500 && f->n_alternates == 0)) {
        f->keep_partial = status != 416;
        fill_fail(f, ERR_DENIED, "the registry refused to go on with the layer");
        return;
    }
    if (status < 500 && status != 429) {
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
    fetch_begin(f, f->received, upstream_name(f->right.upstream));
    if (f->state == FILL_STREAMING)
        fetch_complete(f);
}

/* Our own credentials did not even get to the registry (a token realm that is not permitted, or
 * refuses them): the users' own rights are left. */
static bool without_own(struct fill *f, int err)
{
    if (!f->right.own || !f->waiters || (err != ERR_DENIED && err != ERR_PROTO))
        return false;
    for (struct fill_waiter *w = f->waiters; w; w = w->next)
        w->own = false;
    return true;
}

static void answer_ended(struct fill *f, int err, const char *why)
{
    bool refusing = f->refusing;
    fill_hold(f);
    f->paused = false;
    if (refusing && !err) {
        if (f->state == FILL_ASKING)
            first_refused(f);
        else
            resume_refused(f);
    } else if (f->state == FILL_ASKING) {
        f->refusing = false;
        if (without_own(f, err)) {
            log_with(LOG_WARN, "the node's own credentials do not fetch: trying the user's",
                     LOG_STR("upstream", upstream_name(f->right.upstream)), LOG_STR("why", why));
            fetch_start(f);
        } else {
            fill_fail(f, err ? err : ERR_PROTO, err ? why : "no answer");
        }
    } else if (!err && (f->size == STORE_SIZE_UNKNOWN || f->received == f->size)) {
        fetch_complete(f);
    } else {
        f->refusing = false;
        retry(f, err ? why : "the body ended early");
    }
    fill_release(f);
}

static void on_end(void *arg, int err, const char *why)
{
    struct fill *f = arg;
    f->call = NULL;
    answer_ended(f, err, why);
}

/* --- asking ---------------------------------------------------------------------------------- */

void fetch_registry(struct fill *f)
{
    static const struct upstream_events on = {on_head, on_data, on_end};
    char path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32], range[32];
    if (f->size != STORE_SIZE_UNKNOWN && f->received == f->size) {
        fetch_complete(f);
        return;
    }
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
    int rc = upstream_call(f->right.upstream, &r, &on, f, &f->call);
    if (rc)
        fill_fail(f, rc, err_text(rc));
}

void fetch_start(struct fill *f)
{
    struct fill_waiter *w = waiter_to_ask(f);
    int rc = 0;
    if (f->state == FILL_ASKING && w)
        rc = right_set(&f->right, w->upstream, w->repository, w->authorization, w->own);
    if (rc)
        fill_fail(f, rc, err_text(rc));
    else if (f->state == FILL_ASKING && sources_open(f))
        sources_drive(f);
    else
        fetch_registry(f);
}

/* fill.c - asking for a blob, and receiving it; see fill.h. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/fill_internal.h"
#include "proto/oci.h"
#include "proto/range.h"
#include "runtime/log.h"

#define ATTEMPTS_MAX    6   /* upstream failures in a row without one byte between them */
#define RETRY_FIRST_MS  100 /* doubled each time, to at most */
#define RETRY_MAX_MS    5000
#define PROGRESS_LOG_MS 10000

static void fill_request(struct fill *f);
static void answer_ended(struct fill *f, int err, const char *why);

/* --- rights ---------------------------------------------------------------------------------- */

static char *dup_or_null(const char *s)
{
    return s ? strdup(s) : NULL;
}

static void right_fini(struct fill_right *r)
{
    free(r->repository);
    free(r->authorization);
    memset(r, 0, sizeof(*r));
}

static int right_set(struct fill_right *r, struct upstream *up, const char *repository,
                     const char *authorization, bool own)
{
    struct fill_right fresh = {up, strdup(repository), dup_or_null(authorization), own};
    if (!fresh.repository || (authorization && !fresh.authorization)) {
        right_fini(&fresh);
        return ERR_NOMEM;
    }
    right_fini(r);
    *r = fresh;
    return 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool waiter_has_right(const struct fill_waiter *w, const struct fill_right *r)
{
    return w->upstream == r->upstream && strcmp(w->repository, r->repository) == 0 &&
           same_text(w->authorization, r->authorization);
}

/* --- waiters --------------------------------------------------------------------------------- */

static void waiter_unlink(struct fill_waiter *w)
{
    struct fill *f = w->fill;
    if (w->prev)
        w->prev->next = w->next;
    else
        f->waiters = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->fill = NULL;
    w->prev = w->next = NULL;
    free(w->repository);
    free(w->authorization);
    w->repository = w->authorization = NULL;
}

/* Its right may carry on when the one in use ends half way (a token expires). */
static void keep_alternate(struct fill *f, const struct fill_waiter *w)
{
    if (f->n_alternates == FILL_ALTERNATES || waiter_has_right(w, &f->right))
        return;
    for (size_t i = 0; i < f->n_alternates; i++)
        if (waiter_has_right(w, &f->alternates[i]))
            return;
    if (right_set(&f->alternates[f->n_alternates], w->upstream, w->repository, w->authorization,
                  false) == 0)
        f->n_alternates++;
}

static void waiters_ready(struct fill *f)
{
    fill_hold(f);
    while (f->waiters) {
        struct fill_waiter *w = f->waiters;
        keep_alternate(f, w);
        waiter_unlink(w);
        w->ready(w, f);
    }
    fill_release(f);
}

void fill_leave(struct fill_waiter *w)
{
    struct fill *f = w->fill;
    if (!f)
        return;
    fill_hold(f);
    waiter_unlink(w);
    fill_release(f);
}

/* --- the table ------------------------------------------------------------------------------- */

int fills_new(struct fills **out, const struct fills_options *opt)
{
    struct fills *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->opt = *opt;
    s->fetched_bytes = metrics_counter(opt->metrics, "dray_fetched_bytes_total", "from=\"origin\"",
                                       "Bytes of layers fetched, by where from.");
    s->corrupt = metrics_counter(opt->metrics, "dray_dropped_total", "reason=\"wrong_digest\"",
                                 "What was thrown away, by reason.");
    s->resumed = metrics_counter(opt->metrics, "dray_fetches_resumed_total", "",
                                 "Fetches taken up again by Range where they had stopped.");
    s->unkept = metrics_counter(opt->metrics, "dray_served_through_total", "",
                                "Layers served without being kept (no room, or a disk error).");
    s->fetch_seconds = metrics_histogram(opt->metrics, "dray_fetch_seconds", "",
                                         "Time to fetch and verify a layer.");
    *out = s;
    return 0;
}

size_t fills_running(const struct fills *s)
{
    return s->n;
}

static struct fill *fills_find(const struct fills *s, const struct digest *d)
{
    for (struct fill *f = s->first; f; f = f->next)
        if (f->listed && digest_equal(&f->digest, d))
            return f;
    return NULL;
}

bool fill_is_streaming(const struct fills *s, const struct digest *d)
{
    const struct fill *f = fills_find(s, d);
    return f && f->state != FILL_ASKING;
}

void fill_unlist(struct fill *f)
{
    f->listed = false;
}

static void on_timer_closed(uv_handle_t *h)
{
    struct fill *f = h->data;
    struct fills *s = f->set;
    if (f->prev)
        f->prev->next = f->next;
    else
        s->first = f->next;
    if (f->next)
        f->next->prev = f->prev;
    s->n--;
    ring_fini(&f->ring);
    right_fini(&f->right);
    for (size_t i = 0; i < f->n_alternates; i++)
        right_fini(&f->alternates[i]);
    answer_fini(&f->refusal);
    free(f);
}

void fill_maybe_free(struct fill *f)
{
    bool over = f->state == FILL_FAILED || (f->state == FILL_SOUND && !f->listed);
    if (!over || f->holds || f->closing || f->call || f->waiters || f->bodies || !sink_idle(f))
        return;
    f->closing = true;
    pace_leave(&f->pace);
    fill_unlist(f);
    if (f->ingest)
        store_ingest_drop(f->ingest);
    f->ingest = NULL;
    if (f->blob)
        store_unpin(f->set->opt.store, f->blob);
    f->blob = NULL;
    uv_close((uv_handle_t *)&f->retry, on_timer_closed);
}

void fill_fail(struct fill *f, int err, const char *why)
{
    if (f->state == FILL_FAILED)
        return;
    bool began = f->state != FILL_ASKING;
    fill_hold(f);
    f->state = FILL_FAILED;
    fill_unlist(f);
    uv_timer_stop(&f->retry);
    pace_leave(&f->pace);
    if (f->call)
        upstream_call_cancel(f->call);
    f->call = NULL;
    if (began)
        history_note(f->set->opt.history, &f->digest, "given up", "%s", why);
    if (began && err != ERR_CORRUPT)
        log_with(LOG_WARN, "fetch given up", LOG_STR("digest", f->text),
                 LOG_STR("upstream", upstream_name(f->right.upstream)), LOG_STR("why", why),
                 LOG_NUM("received", f->received));
    while (f->waiters) {
        struct fill_waiter *w = f->waiters;
        waiter_unlink(w);
        w->failed(w, err, why, NULL);
    }
    bodies_wake(f);
    sink_pump(f);
    fill_release(f);
}

void fills_stop(struct fills *s)
{
    for (struct fill *f = s->first, *next; f; f = next) {
        next = f->next;
        fill_fail(f, ERR_CANCELED, "the node is stopping");
    }
}

void fills_del(struct fills *s)
{
    if (!s)
        return;
    assert(!s->first);
    ring_cache_fini(&s->cache);
    free(s);
}

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
    fill_request(t->data);
}

/* It broke off: the same again from where it stopped, later each time nothing came. */
static void retry(struct fill *f, const char *why)
{
    if (++f->attempts > ATTEMPTS_MAX) {
        fill_fail(f, ERR_UNREACHABLE, why);
        return;
    }
    u64 wait = f->attempts == 1 ? 0 : RETRY_FIRST_MS << (f->attempts - 1);
    log_with(LOG_INFO, "fetch broke off, going on where it stopped", LOG_STR("digest", f->text),
             LOG_NUM("received", f->received), LOG_STR("why", why));
    *f->set->resumed += 1;
    uv_timer_start(&f->retry, on_retry, wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS, 0);
}

/* All bytes are here. */
static void complete(struct fill *f)
{
    if (f->size == STORE_SIZE_UNKNOWN)
        f->size = f->received;
    f->state = FILL_CHECKING;
    sink_pump(f);
}

/* Begins anew from the first byte: a partial that does not fit what the registry has. */
static void forget_partial(struct fill *f)
{
    assert(f->state == FILL_ASKING && f->ingest);
    store_ingest_drop(f->ingest);
    f->ingest = NULL;
    f->received = f->written = f->prefix = f->log_received = 0;
    ring_fini(&f->ring);
    ring_init(&f->ring, &f->set->cache, 0);
    fill_request(f);
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

static void begin_streaming(struct fill *f, u64 total)
{
    f->size = total;
    f->state = FILL_STREAMING;
    f->progress_ms = uv_now(f->set->opt.loop);
    sink_open(f);
    history_note(f->set->opt.history, &f->digest, "fetching", "from %s, repository %s%s",
                 upstream_name(f->right.upstream), f->right.repository,
                 f->received ? ", going on with a partial file" : "");
    sink_pump(f);
    waiters_ready(f);
    if (f->frozen && f->n_bodies == 0)
        fill_fail(f, ERR_FULL, "no room to keep it, and nobody to serve it to");
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
            forget_partial(f);
        else
            fill_fail(f, rc, why);
        return;
    }
    if (f->state == FILL_ASKING) {
        f->redirected = redirected;
        fill_hold(f);
        begin_streaming(f, total);
        fill_release(f);
    }
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
    if (!sink_has_room(f, len)) {
        f->paused = true;
        return HTTP_DATA_PAUSE;
    }
    if (!pace_is_open(f->set->opt.pace)) {
        pace_wait(f->set->opt.pace, &f->pace);
        return HTTP_DATA_PAUSE;
    }
    pace_take(f->set->opt.pace, len);
    f->skip -= unwanted;
    sink_reserve(f, len);
    size_t taken = ring_append(&f->ring, wanted, len);
    f->received += taken;
    if (taken > 0) /* what was here already is no progress */
        f->attempts = 0;
    *f->set->fetched_bytes += taken;
    if (taken < len) {
        call_stop(f);
        fill_hold(f);
        retry(f, "out of memory");
        fill_release(f);
        return HTTP_DATA_TAKEN;
    }
    fill_hold(f);
    bodies_wake(f);
    sink_pump(f);
    fill_release(f);
    return HTTP_DATA_TAKEN;
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
        fill_request(f);
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
        forget_partial(f);
        return;
    }
    begin_streaming(f, f->received);
    if (f->state == FILL_STREAMING)
        complete(f);
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
            fill_request(f);
        } else {
            fill_fail(f, err ? err : ERR_PROTO, err ? why : "no answer");
        }
    } else if (!err && (f->size == STORE_SIZE_UNKNOWN || f->received == f->size)) {
        complete(f);
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

/* Whose right is asked: the first one's, but of somebody unproven while there is one. They joined
 * for the answer to their own right (all of them share one), and must not get another's. */
static struct fill_waiter *whose_right(const struct fill *f)
{
    struct fill_waiter *w = f->waiters;
    while (w && w->proven)
        w = w->next;
    return w ? w : f->waiters;
}

static void fill_request(struct fill *f)
{
    static const struct upstream_events on = {on_head, on_data, on_end};
    char path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32], range[32];
    struct fill_waiter *w = whose_right(f);
    int rc = 0;
    if (f->size != STORE_SIZE_UNKNOWN && f->received == f->size) {
        complete(f);
        return;
    }
    if (f->state == FILL_ASKING && w)
        rc = right_set(&f->right, w->upstream, w->repository, w->authorization, w->own);
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
    if (rc == 0)
        rc = upstream_call(f->right.upstream, &r, &on, f, &f->call);
    if (rc)
        fill_fail(f, rc, err_text(rc));
}

static void on_pace(void *arg)
{
    struct fill *f = arg;
    if (f->call)
        upstream_call_resume(f->call);
}

static struct fill *fill_new(struct fills *s, const struct digest *d)
{
    struct fill *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->set = s;
    f->digest = *d;
    digest_format(d, f->text);
    f->size = STORE_SIZE_UNKNOWN;
    f->listed = true;
    f->keep_partial = true;
    f->started_ms = f->log_ms = uv_now(s->opt.loop);
    answer_init(&f->refusal);
    uv_timer_init(s->opt.loop, &f->retry);
    f->retry.data = f;
    f->pace = (struct pace_waiter){.open = on_pace, .arg = f};
    sink_open_partial(f);
    f->received = f->log_received = f->prefix;
    ring_init(&f->ring, &s->cache, f->received);
    f->next = s->first;
    if (f->next)
        f->next->prev = f;
    s->first = f;
    s->n++;
    return f;
}

static int waiter_link(struct fill *f, const struct fill_source *src, struct fill_waiter *w)
{
    w->upstream = src->upstream;
    w->own = src->own;
    w->proven = src->proven;
    w->repository = strdup(src->repository);
    w->authorization = dup_or_null(src->authorization);
    if (!w->repository || (src->authorization && !w->authorization)) {
        free(w->repository);
        free(w->authorization);
        w->repository = w->authorization = NULL;
        return ERR_NOMEM;
    }
    w->fill = f;
    w->prev = NULL;
    struct fill_waiter **at = &f->waiters; /* last: the first one's right is asked */
    while (*at) {
        w->prev = *at;
        at = &(*at)->next;
    }
    w->next = NULL;
    *at = w;
    return 0;
}

int fill_join(struct fills *s, const struct digest *d, const struct fill_source *src,
              struct fill_waiter *w)
{
    struct fill *f = fills_find(s, d);
    if (f && f->frozen && !body_can_start(f, 0)) {
        fill_unlist(f);
        f = NULL;
    }
    if (f) {
        int rc = waiter_link(f, src, w);
        /* An unproven right may share only the very question that is being asked. */
        bool same =
            f->state == FILL_ASKING && !f->right.own && rc == 0 && waiter_has_right(w, &f->right);
        if (rc == 0 && !src->proven && !same) {
            waiter_unlink(w);
            return ERR_AGAIN;
        }
        if (rc == 0 && f->state != FILL_ASKING)
            waiters_ready(f);
        return rc;
    }
    if (s->n >= LIMIT_FILLS)
        return ERR_FULL;
    f = fill_new(s, d);
    if (!f)
        return ERR_NOMEM;
    int rc = waiter_link(f, src, w);
    fill_hold(f);
    if (rc)
        fill_fail(f, rc, err_text(rc));
    else
        fill_request(f);
    fill_release(f);
    return rc;
}

/* --- looking on ------------------------------------------------------------------------------ */

u64 fills_fetched_bytes(const struct fills *s)
{
    return *s->fetched_bytes;
}
u64 fill_size(const struct fill *f)
{
    return f->size;
}
bool fill_is_kept(const struct fill *f)
{
    return !f->frozen;
}
bool fill_is_sound(const struct fill *f)
{
    return f->state == FILL_SOUND;
}
bool fill_was_redirected(const struct fill *f)
{
    return f->redirected;
}

void fills_tick(struct fills *s)
{
    u64 now = uv_now(s->opt.loop);
    for (struct fill *f = s->first; f; f = f->next) {
        if (f->state != FILL_STREAMING || now - f->log_ms < 1000)
            continue;
        f->bytes_per_s = (f->received - f->log_received) * 1000 / (now - f->log_ms);
        f->log_received = f->received;
        f->log_ms = now;
        if (now - f->progress_ms < PROGRESS_LOG_MS)
            continue;
        f->progress_ms = now;
        log_with(
            LOG_INFO, "fetching", LOG_STR("digest", f->text),
            LOG_STR("upstream", upstream_name(f->right.upstream)), LOG_NUM("received", f->received),
            LOG_NUM("percent",
                    f->size != STORE_SIZE_UNKNOWN && f->size ? f->received * 100 / f->size : 0),
            LOG_NUM("bytes_per_s", f->bytes_per_s), LOG_NUM("clients", f->n_bodies));
    }
}

void fills_each(const struct fills *s, void (*each)(void *arg, const struct fill_status *st),
                void *arg)
{
    static const char *const states[] = {"asking", "streaming", "checking", "storing", "failed"};
    for (const struct fill *f = s->first; f; f = f->next) {
        struct fill_status st = {
            .digest = f->digest,
            .repository = f->right.repository ? f->right.repository : "",
            .upstream = f->right.upstream ? upstream_name(f->right.upstream) : "",
            .state = states[f->state],
            .received = f->received,
            .size = f->size,
            .bytes_per_s = f->bytes_per_s,
            .age_ms = uv_now(s->opt.loop) - f->started_ms,
            .clients = f->n_bodies,
            .kept = !f->frozen,
        };
        each(arg, &st);
    }
}

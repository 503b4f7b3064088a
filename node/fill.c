/* fill.c - all fills that run: begun, joined, ended, looked at; see fill.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/fill_swarm.h"
#include "runtime/log.h"

#define PROGRESS_LOG_MS 10000

/* --- the table ------------------------------------------------------------------------------- */

int fills_new(struct fills **out, const struct fills_options *opt)
{
    struct fills *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->opt = *opt;
    s->fetched_bytes = metrics_counter(opt->metrics, "dray_fetched_bytes_total", "from=\"origin\"",
                                       "Bytes of layers fetched, by where from.");
    s->tracker_bytes = metrics_counter(opt->metrics, "dray_read_through_bytes_total", "",
                                       "Bytes of layers read through a tracker (of those from the "
                                       "origin).");
    s->corrupt = metrics_counter(opt->metrics, "dray_dropped_total", "reason=\"wrong_digest\"",
                                 "What was thrown away, by reason.");
    s->resumed = metrics_counter(opt->metrics, "dray_fetches_resumed_total", "",
                                 "Fetches taken up again by Range where they had stopped.");
    s->unkept = metrics_counter(opt->metrics, "dray_served_through_total", "",
                                "Layers served without being kept (no room, or a disk error).");
    s->fetch_seconds[0] = metrics_histogram(opt->metrics, "dray_fetch_seconds", "from=\"origin\"",
                                            "Time to fetch and verify a layer.");
    s->fetch_seconds[1] =
        metrics_histogram(opt->metrics, "dray_fetch_seconds", "from=\"peer\"", NULL);
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

/* Who joins is answered at once. */
static bool answers(const struct fill *f)
{
    return f->state != FILL_ASKING && !f->held_back && !f->again;
}

bool fill_is_streaming(const struct fills *s, const struct digest *d)
{
    const struct fill *f = fills_find(s, d);
    return f && answers(f);
}

struct fill *fill_with_byte(const struct fills *s, const struct digest *d, u64 first)
{
    struct fill *f = fills_find(s, d);
    bool has = f && answers(f) && f->state != FILL_FAILED && f->size != STORE_SIZE_UNKNOWN &&
               f->received > first && body_can_start(f, first);
    return has ? f : NULL;
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
    if (f->file >= 0)
        close(f->file);
    free(f);
}

static void on_deadline_closed(uv_handle_t *h)
{
    struct fill *f = h->data;
    uv_close((uv_handle_t *)&f->retry, on_timer_closed);
}

void fill_maybe_free(struct fill *f)
{
    bool over = f->state == FILL_FAILED || (f->state == FILL_SOUND && !f->listed);
    if (!over || f->holds || f->closing || fetch_is_called(f) || f->waiters || f->bodies ||
        f->again || !sink_idle(f) || !sources_idle(f) || ask_running(f) > 0)
        return;
    f->closing = true;
    sources_close(f);
    sources_free(f);
    swarm_free(f);
    pace_leave(&f->pace);
    fill_unlist(f);
    if (f->ingest)
        store_ingest_drop(f->ingest);
    f->ingest = NULL;
    if (f->blob)
        store_unpin(f->set->opt.store, f->blob);
    f->blob = NULL;
    uv_close((uv_handle_t *)&f->deadline, on_deadline_closed);
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
    fetch_leave(f);
    sources_close(f);
    swarm_close(f);
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

/* What is verified lacks the disk alone, which does not keep us long. */
void fills_stop(struct fills *s)
{
    s->stopping = true;
    for (struct fill *f = s->first, *next; f; f = next) {
        next = f->next;
        fill_hold(f);
        if (f->state != FILL_SOUND)
            fill_fail(f, ERR_CANCELED, "the node is stopping");
        fetch_leave(f);
        sources_close(f);
        fill_release(f);
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

/* --- the beginning --------------------------------------------------------------------------- */

static void on_pace(void *arg)
{
    fetch_resume(arg);
}

static struct fill *fill_new(struct fills *s, const struct digest *d)
{
    struct fill *f = calloc(1, sizeof(*f));
    if (!f)
        return NULL;
    f->set = s;
    f->digest = *d;
    digest_format(d, f->text);
    f->size = f->claimed = STORE_SIZE_UNKNOWN;
    f->listed = true;
    f->file = -1;
    f->keep_partial = true;
    f->started_ms = f->log_ms = uv_now(s->opt.loop);
    answer_init(&f->refusal);
    uv_timer_init(s->opt.loop, &f->retry);
    f->retry.data = f;
    uv_timer_init(s->opt.loop, &f->deadline);
    f->deadline.data = f;
    f->pace = (struct pace_waiter){.open = on_pace, .arg = f, .flow = pace_flow(d)};
    ring_init(&f->ring, &s->cache, 0);
    f->next = s->first;
    if (f->next)
        f->next->prev = f;
    s->first = f;
    s->n++;
    return f;
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
        bool same = f->state == FILL_ASKING && !f->right.own && !sources_are_asked(f) &&
                    !f->swarm && rc == 0 && waiter_has_right(w, &f->right);
        if (rc == 0 && !src->proven && !same) {
            waiter_unlink(w);
            return ERR_AGAIN;
        }
        if (rc == 0 && answers(f))
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
    if (src->proven && src->size > 0)
        f->claimed = src->size;
    if (rc)
        fill_fail(f, rc, err_text(rc));
    else
        fetch_start(f);
    fill_release(f);
    return rc;
}

struct fill *fill_for_region(struct fills *s, const struct digest *d, const struct fill_source *src,
                             u64 size)
{
    struct fill *f = fills_find(s, d) ? NULL : fill_new(s, d);
    if (!f)
        return NULL;
    fill_hold(f);
    f->for_region = true;
    f->claimed = size;
    bool joined = right_set(&f->right, src) == 0 && swarm_open(f);
    if (!joined)
        fill_fail(f, ERR_FULL, "no room to read it for the region");
    f->holds--;
    if (!joined)
        fill_maybe_free(f);
    return joined ? f : NULL;
}

void fill_refetch(const struct fill *old)
{
    struct fills *s = old->set;
    struct fill *f = !s->stopping && s->n < LIMIT_FILLS ? fill_new(s, &old->digest) : NULL;
    if (!f)
        return;
    struct fill_source src = right_view(&old->right);
    fill_hold(f);
    int rc = right_set(&f->right, &src);
    f->second = true;
    if (old->to_swarm)
        f->claimed = old->claimed;
    if (rc)
        fill_fail(f, rc, err_text(rc));
    else if (!old->to_swarm || !swarm_open(f))
        fetch_in_order(f);
    fill_release(f);
}

/* --- looking on ------------------------------------------------------------------------------ */

size_t fills_at_registry(const struct fills *s)
{
    size_t n = 0;
    for (const struct fill *f = s->first; f; f = f->next)
        n += fetch_is_called(f);
    return n;
}

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
bool fill_is_from_peer(const struct fill *f)
{
    return f->from_peer && !(f->state == FILL_SOUND && f->told);
}
bool fill_was_redirected(const struct fill *f)
{
    return f->redirected;
}

void fills_tick(struct fills *s)
{
    u64 now = uv_now(s->opt.loop);
    for (struct fill *f = s->first, *next; f; f = next) {
        next = f->next;
        fill_hold(f);
        swarm_tick(f);
        bodies_tick(f);
        fill_release(f);
    }
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
            .peer = sources_name(f),
            .state = states[f->state],
            .received = f->received,
            .size = f->size,
            .bytes_per_s = f->bytes_per_s,
            .age_ms = uv_now(s->opt.loop) - f->started_ms,
            .clients = f->n_bodies,
            .kept = !f->frozen,
        };
        swarm_status(f, &st);
        each(arg, &st);
    }
}

/* scrub.c - see scrub.h. */
#include "node/scrub.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "node/node_internal.h"
#include "runtime/clock.h"
#include "runtime/log.h"

#define PACE_BYTES MIB /* store_verify_fd calls back after each */

struct scrub {
    struct node *node;
    struct job job;
    bool running;
    atomic_bool stopping;
    struct store_blob *pin;
    struct blob_info blob;
    int rc;
    u64 pause_ns; /* after each MiB */
    u64 due_ms;   /* loop time of the next blob */
    u64 *passed, *healed, *rotten;
    struct fill_waiter refetch;
};

int scrub_new(struct scrub **out, struct node *n)
{
    struct scrub *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->node = n;
    s->passed = metrics_counter(n->metrics, "dray_scrubbed_total", "result=\"sound\"",
                                "Blobs read again and verified.");
    s->rotten = metrics_counter(n->metrics, "dray_scrubbed_total", "result=\"rotten\"", NULL);
    s->healed =
        metrics_counter(n->metrics, "dray_scrubbed_total", "result=\"fetched_again\"", NULL);
    *out = s;
    return 0;
}

void scrub_stop(struct scrub *s)
{
    atomic_store(&s->stopping, true);
    fill_leave(&s->refetch);
}

void scrub_del(struct scrub *s)
{
    assert(!s || !s->running);
    free(s);
}

static bool pace(void *arg)
{
    struct scrub *s = arg;
    struct timespec nap = {(time_t)(s->pause_ns / 1000000000), (long)(s->pause_ns % 1000000000)};
    nanosleep(&nap, NULL);
    return !atomic_load(&s->stopping);
}

static void scrub_work(struct job *j)
{
    struct scrub *s = container_of(j, struct scrub, job);
    s->rc = store_verify_fd(store_blob_fd(s->pin), &s->blob.digest, s->blob.size, pace, s);
}

/* --- healing --------------------------------------------------------------------------------- */

static void on_ready(struct fill_waiter *w, struct fill *f)
{
    struct scrub *s = container_of(w, struct scrub, refetch);
    (void)f; /* it goes to the store by itself */
    *s->healed += 1;
}

static void on_failed(struct fill_waiter *w, int err, const char *why, const struct answer *refusal)
{
    (void)w;
    (void)err;
    log_with(LOG_WARN, "rotten layer cannot be fetched again now; the next pull will",
             LOG_STR("why", refusal ? "the registry refused" : why));
}

static void heal(struct scrub *s)
{
    char digest[DIGEST_TEXT_SIZE];
    struct node *n = s->node;
    *s->rotten += 1;
    digest_format(&s->blob.digest, digest);
    log_with(LOG_ERROR, "scrub: bytes on disk no longer match their digest; removed",
             LOG_STR("digest", digest), LOG_STR("source", s->blob.source));
    history_note(n->history, &s->blob.digest, "rotten", "found by the scrubber, removed");
    memo_forget(n->memo, &s->blob.digest);
    if (store_remove(n->store, &s->blob.digest))
        return;
    char *repository = strchr(s->blob.source, ' ');
    if (!repository || s->refetch.fill || s->blob.media_type[0])
        return; /* a manifest comes back with its next pull */
    *repository++ = '\0';
    struct upstream *up = node_upstream(n, s->blob.source);
    struct fill_source src = {
        .upstream = up,
        .repository = repository,
        .own = true,
        .proven = true,
        .size = s->blob.size, /* as it was verified once: peers may heal it */
    };
    s->refetch.ready = on_ready;
    s->refetch.failed = on_failed;
    if (up && fill_join(n->fills, &s->blob.digest, &src, &s->refetch))
        log_warn("scrub: no room for another fetch; the next pull fetches it");
}

/* --- one after the other ------------------------------------------------------------------------
 */

static void scrub_done(struct job *j)
{
    struct scrub *s = container_of(j, struct scrub, job);
    struct node *n = s->node;
    s->running = false;
    store_unpin(n->store, s->pin);
    s->pin = NULL;
    if (s->rc == 0) {
        *s->passed += 1;
        store_scrub_passed(n->store, &s->blob.digest, wall_ms());
    } else if (s->rc == ERR_CORRUPT || s->rc == ERR_IO) {
        if (!atomic_load(&s->stopping))
            heal(s);
    }
}

/* Spreads a round evenly: a blob's share of it is its share of the bytes held. */
static u64 share_ms(const struct scrub *s, u64 size)
{
    struct store_stats st;
    store_stats(s->node->store, &st);
    double part = (double)(size + 65536) / ((double)st.blob_bytes + 65536.0 * (double)st.blobs + 1);
    return (u64)(part * (double)s->node->config->store.scrub_ms);
}

static void begin(struct scrub *s)
{
    struct node *n = s->node;
    u64 now = uv_now(n->loop), wall = wall_ms(), round = n->config->store.scrub_ms;
    if (store_scrub_next(n->store, &s->blob))
        return;
    if (s->blob.scrubbed_ms + round > wall && s->blob.scrubbed_ms <= wall)
        return; /* all are younger than a round */
    if (store_pin(n->store, &s->blob.digest, s->blob.used_ms, &s->pin))
        return;
    u64 share = share_ms(s, s->blob.size);
    s->due_ms = now + share;
    u64 pieces = s->blob.size / PACE_BYTES + 1;
    /* The naps of a large blob take half of its share at most. */
    s->pause_ns = share * 500000 / pieces;
    if (s->pause_ns > 200000000)
        s->pause_ns = 200000000;
    s->running = true;
    s->job.work = scrub_work;
    s->job.done = scrub_done;
    pool_submit(n->disk, &s->job);
}

void scrub_tick(struct scrub *s)
{
    u64 now = uv_now(s->node->loop);
    if (s->node->config->store.scrub_ms == 0 || s->running || atomic_load(&s->stopping) ||
        now < s->due_ms)
        return;
    begin(s);
}

/* fill_sink.c - where received bytes go: the hash, the file, the store; see fill.h.
 *
 * Two jobs at most run for a fill, one in each pool, each on a stretch of the ring that does not
 * change under it. When both are idle, what the state asks for is done: seal and commit, keep, or
 * drop. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "node/fill_internal.h"
#include "runtime/clock.h"
#include "runtime/log.h"

static void not_kept(struct fill *f, int rc)
{
    f->frozen = true;
    if (f->state == FILL_SOUND) /* nothing is waited for any more */
        fill_unlist(f);
    *f->set->unkept += 1;
    log_with(LOG_WARN, "layer is served through, not kept", LOG_STR("digest", f->text),
             LOG_STR("why", err_text(rc)));
}

int sink_open_partial(struct fill *f)
{
    struct fills *s = f->set;
    if (store_partial_size(s->opt.store, &f->digest) == 0)
        return 0;
    struct store_ingest_options opt = {
        .digest = f->digest, .size = STORE_SIZE_UNKNOWN, .now_ms = wall_ms()};
    if (store_ingest_begin(s->opt.store, &opt, &f->ingest))
        f->ingest = NULL;
    else
        f->prefix = f->written = store_ingest_written(f->ingest);
    return 0;
}

void sink_open(struct fill *f)
{
    struct fills *s = f->set;
    char source[STORE_SOURCE_MAX + 1];
    int rc;
    if (f->ingest) {
        rc = f->size == STORE_SIZE_UNKNOWN ? 0 : store_ingest_reserve(f->ingest, f->size);
        if (rc)
            not_kept(f, rc);
        return;
    }
    int n = snprintf(source, sizeof(source), "%s %s", upstream_name(f->right.upstream),
                     f->right.repository);
    struct store_ingest_options opt = {
        .digest = f->digest,
        .size = f->size,
        .source = n < (int)sizeof(source) ? source : NULL,
        .now_ms = wall_ms(),
    };
    rc = store_ingest_begin(s->opt.store, &opt, &f->ingest);
    if (rc) {
        f->ingest = NULL;
        hasher_init(&f->hasher, f->digest.alg);
        not_kept(f, rc);
        return;
    }
    /* A partial that appeared since we asked is not a prefix of what we receive: start it anew. */
    if (store_ingest_written(f->ingest) != 0) {
        store_ingest_drop(f->ingest);
        if (store_ingest_begin(s->opt.store, &opt, &f->ingest) != 0) {
            f->ingest = NULL;
            hasher_init(&f->hasher, f->digest.alg);
            not_kept(f, ERR_BUSY);
        }
    }
}

/* --- room ------------------------------------------------------------------------------------ */

/* How far the sinks may trail what is received: less for each when many run. */
u64 sink_lag_max(const struct fill *f)
{
    u64 share = 64 * MIB / (f->set->n ? f->set->n : 1);
    if (share > LIMIT_FILL_LAG_BYTES)
        return LIMIT_FILL_LAG_BYTES;
    return share < 4 * LIMIT_FILL_BLOCK_BYTES ? 4 * LIMIT_FILL_BLOCK_BYTES : share;
}

static bool keeps(const struct fill *f)
{
    return f->ingest && !f->frozen;
}

/* Bytes before this are needed by no job, and by no reader that cannot take them from the file. */
static u64 droppable(const struct fill *f)
{
    u64 to = f->hashed > f->prefix ? f->hashed : f->prefix;
    if (keeps(f)) {
        if (f->written < to)
            to = f->written;
        u64 window = sink_lag_max(f) / 2 < FILL_WINDOW ? sink_lag_max(f) / 2 : FILL_WINDOW;
        u64 recent = f->received > window ? f->received - window : 0;
        return to < recent ? to : recent;
    }
    u64 slowest = bodies_slowest(f);
    return slowest < to ? slowest : to;
}

bool sink_has_room(const struct fill *f, size_t len)
{
    u64 need = droppable(f);
    if (keeps(f)) {
        u64 to = f->hashed > f->prefix ? f->hashed : f->prefix;
        need = f->written < to ? f->written : to;
    }
    return f->received + len <= need + sink_lag_max(f) || f->received == need;
}

void sink_reserve(struct fill *f, size_t len)
{
    if (f->size != STORE_SIZE_UNKNOWN || !keeps(f))
        return;
    int rc = store_ingest_reserve(f->ingest, f->received + len);
    if (rc)
        not_kept(f, rc);
}

/* --- jobs ------------------------------------------------------------------------------------ */

static void hash_work(struct job *j)
{
    struct span_job *span = container_of(j, struct span_job, job);
    struct fill *f = span->fill;
    span->rc = 0;
    if (span->n_iov == 0) { /* what a former run left in the file */
        span->rc = store_ingest_hash_file(f->ingest, span->end);
        return;
    }
    for (int i = 0; i < span->n_iov; i++) {
        if (f->ingest)
            store_ingest_hash(f->ingest, span->iov[i].iov_base, span->iov[i].iov_len);
        else
            hasher_update(&f->hasher, span->iov[i].iov_base, span->iov[i].iov_len);
    }
}

static void write_work(struct job *j)
{
    struct span_job *span = container_of(j, struct span_job, job);
    span->rc = 0;
    for (int i = 0; i < span->n_iov && span->rc == 0; i++)
        span->rc =
            store_ingest_write(span->fill->ingest, span->iov[i].iov_base, span->iov[i].iov_len);
}

void sink_pace(struct fill *f)
{
    fill_hold(f);
    sink_pump(f);
    if (f->paused && sink_has_room(f, LIMIT_FILL_BLOCK_BYTES)) {
        f->paused = false;
        fetch_resume(f);
    }
    fill_release(f);
}

static void hash_done(struct job *j)
{
    struct span_job *span = container_of(j, struct span_job, job);
    struct fill *f = span->fill;
    span->running = false;
    if (span->rc && f->state != FILL_FAILED) {
        f->keep_partial = false;
        fill_hold(f);
        fill_fail(f, span->rc, "the partial file cannot be read");
        fill_release(f);
        return;
    }
    f->hashed = span->end;
    sink_pace(f);
}

static void write_done(struct job *j)
{
    struct span_job *span = container_of(j, struct span_job, job);
    struct fill *f = span->fill;
    span->running = false;
    f->written = store_ingest_written(f->ingest);
    if (span->rc && !f->frozen && f->state != FILL_FAILED)
        not_kept(f, span->rc);
    fill_hold(f); /* a partial is kept only below */
    bodies_wake(f);
    sink_pace(f);
    fill_release(f);
}

static void span_start(struct fill *f, struct span_job *span, struct pool *pool, u64 from,
                       void (*work)(struct job *), void (*done)(struct job *))
{
    span->fill = f;
    span->running = true;
    span->job.work = work;
    span->job.done = done;
    span->n_iov = ring_iov(&f->ring, from, f->received, span->iov, SPAN_IOVS, &span->end);
    assert(span->n_iov > 0);
    pool_submit(pool, &span->job);
}

static void hash_start(struct fill *f)
{
    if (f->hashed < f->prefix) {
        f->hash.fill = f;
        f->hash.running = true;
        f->hash.n_iov = 0;
        f->hash.end = f->prefix;
        f->hash.job.work = hash_work;
        f->hash.job.done = hash_done;
        pool_submit(f->set->opt.hash, &f->hash.job);
    } else if (f->hashed < f->received) {
        span_start(f, &f->hash, f->set->opt.hash, f->hashed, hash_work, hash_done);
    }
}

/* --- the end --------------------------------------------------------------------------------- */

static void seal_work(struct job *j)
{
    struct fill *f = container_of(j, struct fill, seal);
    f->seal_rc = store_ingest_seal(f->ingest);
}

static void seal_done(struct job *j)
{
    struct fill *f = container_of(j, struct fill, seal);
    fill_hold(f);
    f->seal_running = false;
    f->sealed = true;
    if (f->seal_rc == 0 && store_purged_until(f->set->opt.store, &f->digest, wall_ms()))
        f->seal_rc = ERR_DENIED; /* purged while it came */
    if (f->seal_rc) {
        not_kept(f, f->seal_rc); /* readers go on from the file, dropped with the last of them */
    } else {
        struct store_ingest *i = f->ingest;
        f->ingest = NULL;
        int rc = store_ingest_commit(i, wall_ms(), &f->blob);
        if (rc)
            log_with(LOG_ERROR, "layer could not be indexed", LOG_STR("digest", f->text),
                     LOG_STR("why", err_text(rc)));
        if (rc && f->n_bodies > 0)
            fill_fail(f, rc, "the index failed");
    }
    swarm_stored(f, f->seal_rc == 0);
    fill_unlist(f);
    fill_release(f);
}

/* Thrown away. Where peers sent any of it, the registry is asked once more, when the sinks are
 * idle: by this fill if nobody has got a byte of it yet, else by another. */
static void wrong(struct fill *f, int rc)
{
    *f->set->corrupt += 1;
    f->keep_partial = false;
    if (f->peer_bytes > 0) {
        sources_judge(f);
        f->again = true;
        if (f->n_bodies > 0)
            fill_fail(f, rc, err_text(rc));
        return;
    }
    if (f->set->opt.peers)
        peers_trust(f->set->opt.peers, &f->digest);
    log_with(LOG_ERROR, "registry sent wrong bytes: thrown away", LOG_STR("digest", f->text),
             LOG_STR("upstream", upstream_name(f->right.upstream)),
             LOG_STR("repository", f->right.repository), LOG_NUM("bytes", f->received));
    fill_fail(f, rc, err_text(rc));
}

void sink_sound(struct fill *f)
{
    f->state = FILL_SOUND;
    history_note(f->set->opt.history, &f->digest, "fetched", "%llu bytes in %llu ms, verified%s",
                 (unsigned long long)f->received,
                 (unsigned long long)(uv_now(f->set->opt.loop) - f->started_ms),
                 keeps(f) ? "" : ", not kept");
    histogram_observe(f->set->fetch_seconds[f->peer_bytes > 0],
                      (double)(uv_now(f->set->opt.loop) - f->started_ms) / 1000);
    if (!f->told) {
        f->held_back = false;
        waiters_ready(f);
    }
    bodies_wake(f);
    if (!keeps(f))
        fill_unlist(f);
}

static void check(struct fill *f)
{
    struct digest found;
    int rc = 0;
    if (f->ingest) {
        rc = store_ingest_verify(f->ingest);
    } else {
        hasher_digest(&f->hasher, &found);
        rc = digest_equal(&found, &f->digest) ? 0 : ERR_CORRUPT;
    }
    if (rc) {
        wrong(f, rc);
        return;
    }
    sink_sound(f);
}

bool sink_idle(const struct fill *f)
{
    return !f->hash.running && !f->write.running && !f->seal_running && swarm_idle(f);
}

static void settle(struct fill *f)
{
    if (f->state == FILL_FAILED && f->ingest) {
        if (f->keep_partial && !f->frozen)
            store_ingest_keep(f->ingest);
        else
            store_ingest_drop(f->ingest);
        f->ingest = NULL;
    }
    if (f->again && f->state == FILL_FAILED) {
        f->again = false;
        fill_refetch(f);
    } else if (f->again) {
        f->again = false;
        f->second = true;
        f->keep_partial = true;
        fetch_start_over(f);
    } else if (f->state == FILL_SOUND && keeps(f) && f->written == f->received && !f->sealed) {
        f->seal_running = true;
        f->seal.work = seal_work;
        f->seal.done = seal_done;
        pool_submit(f->set->opt.disk, &f->seal);
    }
}

void sink_pump(struct fill *f)
{
    /* It froze on the way, after its last reader had gone: there is nobody to fetch the rest for.
     */
    if (f->state == FILL_STREAMING && f->frozen && !f->waiters && f->n_bodies == 0 && !f->swarm) {
        fill_fail(f, ERR_FULL, "no room to keep it, and nobody to serve it to");
        return;
    }
    if (f->held_back && f->frozen && f->state == FILL_STREAMING) {
        f->held_back = false; /* nothing holds what came but its readers */
        waiters_ready(f);
    }
    if (f->state != FILL_ASKING && f->state != FILL_FAILED && !f->again && !f->swarm) {
        if (!f->hash.running)
            hash_start(f);
        if (keeps(f) && !f->write.running && f->written < f->received)
            span_start(f, &f->write, f->set->opt.disk, f->written, write_work, write_done);
        if (f->state == FILL_CHECKING && f->hashed == f->received)
            check(f);
    }
    /* A write that runs still reads its stretch, also when the file is frozen meanwhile. */
    if (!f->swarm && (!f->write.running || keeps(f)))
        ring_drop(&f->ring, droppable(f));
    if (sink_idle(f))
        settle(f);
}

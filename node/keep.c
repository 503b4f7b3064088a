/* keep.c - see keep.h. */
#include "node/keep.h"

#include <assert.h>
#include <stdlib.h>

#include "runtime/clock.h"
#include "runtime/log.h"

#define RUNNING_MAX 64

struct keeper {
    struct store *store;
    struct pool *disk;
    unsigned running;
};

struct keep {
    struct job job;
    struct keeper *keeper;
    struct store_ingest *ingest;
    struct document *document;
    int rc;
};

int keeper_new(struct keeper **out, struct store *store, struct pool *disk)
{
    struct keeper *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    k->store = store;
    k->disk = disk;
    *out = k;
    return 0;
}

void keeper_del(struct keeper *k)
{
    assert(!k || k->running == 0);
    free(k);
}

static void keep_work(struct job *j)
{
    struct keep *k = container_of(j, struct keep, job);
    const struct document *d = k->document;
    k->rc = store_ingest_write(k->ingest, d->data, d->len);
    if (k->rc == 0) {
        store_ingest_hash(k->ingest, d->data, d->len);
        k->rc = store_ingest_seal(k->ingest);
    }
}

static void keep_done(struct job *j)
{
    struct keep *k = container_of(j, struct keep, job);
    if (k->rc == 0)
        k->rc = store_ingest_commit(k->ingest, wall_ms(), NULL);
    else
        store_ingest_drop(k->ingest);
    if (k->rc) {
        char text[DIGEST_TEXT_SIZE];
        digest_format(&k->document->digest, text);
        log_with(LOG_WARN, "manifest could not be kept", LOG_STR("digest", text),
                 LOG_STR("why", err_text(k->rc)));
    }
    k->keeper->running--;
    document_release(k->document);
    free(k);
}

void keeper_keep(struct keeper *keeper, struct document *d, const char *source)
{
    struct blob_info held;
    if (keeper->running >= RUNNING_MAX || store_lookup(keeper->store, &d->digest, &held) == 0)
        return;
    struct keep *k = calloc(1, sizeof(*k));
    if (!k)
        return;
    struct store_ingest_options opt = {
        .digest = d->digest,
        .size = d->len,
        .media_type = d->media_type,
        .source = source,
        .now_ms = wall_ms(),
    };
    if (store_ingest_begin(keeper->store, &opt, &k->ingest)) {
        free(k); /* no room, or on its way in already */
        return;
    }
    if (store_ingest_written(k->ingest) != 0) { /* a former run's partial: not worth a resume */
        store_ingest_drop(k->ingest);
        if (store_ingest_begin(keeper->store, &opt, &k->ingest)) {
            free(k);
            return;
        }
    }
    k->keeper = keeper;
    k->document = d;
    d->refs++;
    keeper->running++;
    k->job.work = keep_work;
    k->job.done = keep_done;
    pool_submit(keeper->disk, &k->job);
}

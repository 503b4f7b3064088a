/* memo.c - see memo.h. */
#include "node/memo.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "runtime/http_server.h"

#define DOCUMENT_BYTES_MAX (16 * MIB)
#define DOCUMENT_BUCKETS   4096
#define SAYING_BUCKETS     1024 /* of four */
#define SAYING_BUCKET      4

struct memo {
    u64 seed;
    u64 bytes;
    struct document *newest, *oldest;
    struct document *buckets[DOCUMENT_BUCKETS];
    struct saying *sayings; /* SAYING_BUCKETS * SAYING_BUCKET, made when first needed */
};

int memo_new(struct memo **out)
{
    struct memo *m = calloc(1, sizeof(*m));
    if (!m)
        return ERR_NOMEM;
    randombytes_buf(&m->seed, sizeof(m->seed));
    *out = m;
    return 0;
}

static struct document **bucket_of(struct memo *m, const struct digest *d)
{
    return &m->buckets[digest_hash(d, m->seed) % DOCUMENT_BUCKETS];
}

static size_t cost(const struct document *d)
{
    return d->len + sizeof(*d) + 128;
}

static void age_unlink(struct memo *m, struct document *d)
{
    if (d->newer)
        d->newer->older = d->older;
    else
        m->newest = d->older;
    if (d->older)
        d->older->newer = d->newer;
    else
        m->oldest = d->newer;
    d->newer = d->older = NULL;
}

static void age_link(struct memo *m, struct document *d)
{
    d->older = m->newest;
    d->newer = NULL;
    if (d->older)
        d->older->newer = d;
    else
        m->oldest = d;
    m->newest = d;
}

void document_release(void *arg)
{
    struct document *d = arg;
    assert(d->refs > 0);
    if (--d->refs > 0)
        return;
    free(d->media_type);
    free(d->data);
    free(d);
}

static void drop(struct memo *m, struct document *d)
{
    struct document **at = bucket_of(m, &d->digest);
    while (*at != d)
        at = &(*at)->chain;
    *at = d->chain;
    age_unlink(m, d);
    m->bytes -= cost(d);
    document_release(d);
}

void memo_del(struct memo *m)
{
    if (!m)
        return;
    while (m->oldest)
        drop(m, m->oldest);
    free(m->sayings);
    free(m);
}

static struct document *find(struct memo *m, const struct digest *d)
{
    for (struct document *at = *bucket_of(m, d); at; at = at->chain)
        if (digest_equal(&at->digest, d))
            return at;
    return NULL;
}

struct document *memo_get(struct memo *m, const struct digest *d)
{
    struct document *found = find(m, d);
    if (!found)
        return NULL;
    if (m->newest != found) {
        age_unlink(m, found);
        age_link(m, found);
    }
    found->refs++;
    return found;
}

void memo_forget(struct memo *m, const struct digest *d)
{
    struct document *found = find(m, d);
    if (found)
        drop(m, found);
}

static void add_line(struct document *d, const char *name, const char *value)
{
    d->lines_len +=
        http_line(d->lines + d->lines_len, sizeof(d->lines) - d->lines_len, name, value);
}

static void make_lines(struct document *d)
{
    char digest[DIGEST_TEXT_SIZE], tag[DIGEST_TEXT_SIZE + 2];
    digest_format(&d->digest, digest);
    snprintf(tag, sizeof(tag), "\"%s\"", digest);
    add_line(d, "Content-Type", d->media_type);
    add_line(d, "Docker-Content-Digest", digest);
    add_line(d, "Docker-Distribution-Api-Version", "registry/2.0");
    add_line(d, "ETag", tag);
    add_line(d, "X-Dray-Source", "store");
}

struct document *memo_put(struct memo *m, const struct digest *d, const char *media_type,
                          const void *data, size_t len)
{
    struct document *made = memo_get(m, d);
    if (made || len > LIMIT_MANIFEST_BYTES)
        return made;
    made = calloc(1, sizeof(*made));
    if (!made)
        return NULL;
    made->digest = *d;
    made->refs = 1;
    made->media_type = strdup(media_type);
    made->data = malloc(len ? len : 1);
    if (!made->media_type || !made->data) {
        document_release(made);
        return NULL;
    }
    memcpy(made->data, data, len);
    made->len = len;
    make_lines(made);
    struct document **bucket = bucket_of(m, d);
    made->chain = *bucket;
    *bucket = made;
    age_link(m, made);
    made->refs++; /* the memo's */
    m->bytes += cost(made);
    for (struct document *old = m->oldest, *newer; old != made; old = newer) {
        if (m->bytes <= DOCUMENT_BYTES_MAX)
            break;
        newer = old->newer;
        drop(m, old);
    }
    return made;
}

/* --- sayings --------------------------------------------------------------------------------- */

static struct saying *saying_bucket(const struct memo *m, const u8 key[16])
{
    u32 bits;
    memcpy(&bits, key, sizeof(bits));
    return &m->sayings[(bits % SAYING_BUCKETS) * SAYING_BUCKET];
}

const struct saying *memo_recall(const struct memo *m, const u8 key[16])
{
    if (!m->sayings)
        return NULL;
    const struct saying *bucket = saying_bucket(m, key);
    for (int i = 0; i < SAYING_BUCKET; i++)
        if (bucket[i].at_ms && memcmp(bucket[i].key, key, 16) == 0)
            return &bucket[i];
    return NULL;
}

struct saying *memo_note(struct memo *m, const u8 key[16], u64 now_ms)
{
    if (!m->sayings) {
        m->sayings = calloc((size_t)SAYING_BUCKETS * SAYING_BUCKET, sizeof(*m->sayings));
        if (!m->sayings)
            return NULL;
    }
    struct saying *bucket = saying_bucket(m, key), *victim = bucket;
    for (int i = 0; i < SAYING_BUCKET; i++) {
        if (memcmp(bucket[i].key, key, 16) == 0 && bucket[i].at_ms) {
            victim = &bucket[i];
            break;
        }
        if (bucket[i].at_ms < victim->at_ms)
            victim = &bucket[i];
    }
    memset(victim, 0, sizeof(*victim));
    memcpy(victim->key, key, 16);
    victim->at_ms = now_ms;
    return victim;
}

/* seeds.c - see seeds.h. */
#include "node/seeds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/clock.h"
#include "store/hash.h"

#define READ_BYTES (256 * KIB)

struct seed {
    struct digest digest; /* alg DIGEST_NONE: free */
    u64 size, used;
    struct chains *chains;
};

/* A layer that is being hashed. */
struct seed_job {
    struct job job;
    struct seeds *set;
    struct digest digest;
    struct store_blob *pin;
    u64 size;
    u8 *states; /* one after the other */
    int rc;
};

/* One whose turn comes. */
struct seed_wait {
    struct digest digest;
    struct node_key asker;
};

struct seeds {
    struct seeds_options opt;
    struct seed list[SEEDS_MAX];
    u64 clock;
    struct seed_job *job;                 /* NULL: none runs */
    struct seed_wait waits[LIMIT_SWARMS]; /* the first come first */
    size_t n_waits;
    struct node_key last; /* whose turn it was */
    bool stopping;
};

static void next_job(struct seeds *s);

int seeds_new(struct seeds **out, const struct seeds_options *opt)
{
    struct seeds *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->opt = *opt;
    *out = s;
    return 0;
}

void seeds_del(struct seeds *s)
{
    for (size_t i = 0; s && i < SEEDS_MAX; i++)
        chains_del(s->list[i].chains);
    free(s);
}

static struct seed *find(struct seeds *s, const struct digest *d)
{
    for (size_t i = 0; i < SEEDS_MAX; i++)
        if (s->list[i].digest.alg != DIGEST_NONE && digest_equal(&s->list[i].digest, d))
            return &s->list[i];
    return NULL;
}

struct chains *seeds_chain(struct seeds *s, const struct digest *d)
{
    struct seed *e = find(s, d);
    if (e)
        e->used = ++s->clock;
    return e ? e->chains : NULL;
}

void seeds_put(struct seeds *s, const struct digest *d, u64 size, struct chains *c)
{
    struct seed *e = find(s, d);
    for (size_t i = 0; i < SEEDS_MAX && !e; i++)
        if (s->list[i].digest.alg == DIGEST_NONE)
            e = &s->list[i];
    for (size_t i = 0; i < SEEDS_MAX; i++)
        if (!e || (e->digest.alg != DIGEST_NONE && !digest_equal(&e->digest, d) &&
                   s->list[i].used < e->used))
            e = &s->list[i];
    chains_del(e->chains);
    *e = (struct seed){.digest = *d, .size = size, .used = ++s->clock, .chains = c};
}

static void tell(struct seeds *s, const struct digest *d, u64 size)
{
    struct mesh *m = peers_mesh(s->opt.peers);
    /* Refused: there are too many; others hold it, or it is read from the registry. */
    if (m)
        (void)!mesh_swarm_seed(m, d, size, peers_now_ns(s->opt.peers));
    peers_kick(s->opt.peers);
}

/* --- making a chain -------------------------------------------------------------------------- */

static int hash_piece(const struct seed_job *j, struct hasher *h, u8 *buffer, u64 at, u64 len)
{
    while (len > 0) {
        size_t want = len < READ_BYTES ? (size_t)len : READ_BYTES;
        ssize_t n = pread(store_blob_fd(j->pin), buffer, want, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        hasher_update(h, buffer, (size_t)n);
        at += (u64)n;
        len -= (u64)n;
    }
    return 0;
}

static void work(struct job *job)
{
    struct seed_job *j = container_of(job, struct seed_job, job);
    struct hasher h;
    struct digest found;
    u8 *buffer = malloc(READ_BYTES);
    u32 n = piece_count(j->size);
    size_t bytes = chain_state_bytes(j->digest.alg);
    hasher_init(&h, j->digest.alg);
    j->rc = buffer ? 0 : ERR_NOMEM;
    for (u32 i = 0; i < n && j->rc == 0; i++) {
        j->rc = hash_piece(j, &h, buffer, piece_first(j->size, i), piece_bytes(j->size, i));
        if (i + 1 < n)
            hasher_export(&h, j->states + i * bytes);
    }
    hasher_digest(&h, &found);
    if (j->rc == 0 && !digest_equal(&found, &j->digest))
        j->rc = ERR_CORRUPT; /* the scrubber will say so */
    free(buffer);
}

static int chain_from(const struct seed_job *j, struct chains **out)
{
    const struct mesh *m = peers_mesh(j->set->opt.peers);
    u32 n = piece_count(j->size);
    size_t bytes = chain_state_bytes(j->digest.alg);
    if (!m)
        return ERR_UNREACHABLE;
    int rc = chains_new(out, &j->digest, j->size);
    for (u32 k = 1; k < n && rc == 0; k++)
        rc = chains_own(*out, mesh_key(m), k, j->states + (k - 1) * bytes, true);
    if (rc && *out)
        chains_del(*out);
    return rc;
}

static void done(struct job *job)
{
    struct seed_job *j = container_of(job, struct seed_job, job);
    struct seeds *s = j->set;
    struct chains *c = NULL;
    s->job = NULL;
    store_unpin(s->opt.store, j->pin);
    if (j->rc == 0 && chain_from(j, &c) == 0) {
        seeds_put(s, &j->digest, j->size, c);
        tell(s, &j->digest, j->size);
    }
    free(j->states);
    free(j);
    next_job(s);
}

static void make(struct seeds *s, const struct digest *d)
{
    struct store_blob *pin;
    if (store_pin(s->opt.store, d, wall_ms(), &pin))
        return;
    u32 n = piece_count(store_blob_size(pin));
    struct seed_job *j = n > 0 ? calloc(1, sizeof(*j)) : NULL;
    if (j)
        j->states = calloc(n, chain_state_bytes(d->alg));
    if (!j || !j->states) {
        free(j);
        store_unpin(s->opt.store, pin);
        return;
    }
    j->set = s;
    j->digest = *d;
    j->pin = pin;
    j->size = store_blob_size(pin);
    s->job = j;
    j->job.work = work;
    j->job.done = done;
    pool_submit(s->opt.hash, &j->job);
}

/* --- whose turn it is ------------------------------------------------------------------------ */

/* Does a swarm still ask for it? */
static bool is_wanted(const struct seeds *s, const struct digest *d)
{
    struct swarm_view v;
    const struct mesh *m = peers_mesh(s->opt.peers);
    return m && swarm_look(mesh_swarm(m), d, &v, peers_now_ns(s->opt.peers));
}

/* The first of another asker than the last one, if there is one. */
static struct seed_wait take_turn(struct seeds *s)
{
    size_t at = 0;
    while (at < s->n_waits && node_key_equal(&s->waits[at].asker, &s->last))
        at++;
    if (at == s->n_waits)
        at = 0;
    const struct seed_wait w = s->waits[at];
    memmove(&s->waits[at], &s->waits[at + 1], (--s->n_waits - at) * sizeof(w));
    return w;
}

static void next_job(struct seeds *s)
{
    while (!s->job && s->n_waits > 0) {
        const struct seed_wait w = take_turn(s);
        if (!is_wanted(s, &w.digest))
            continue;
        s->last = w.asker;
        make(s, &w.digest);
    }
}

static bool is_to_come(const struct seeds *s, const struct digest *d)
{
    bool found = s->job && digest_equal(&s->job->digest, d);
    for (size_t i = 0; i < s->n_waits && !found; i++)
        found = digest_equal(&s->waits[i].digest, d);
    return found;
}

/* What nobody wants any more makes room. */
static void forget_left(struct seeds *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_waits; i++)
        if (is_wanted(s, &s->waits[i].digest))
            s->waits[n++] = s->waits[i];
    s->n_waits = n;
}

void seeds_ask(struct seeds *s, const struct digest *d, const struct node_key *asker)
{
    struct blob_info held;
    struct seed *e = find(s, d);
    if (s->stopping || store_lookup(s->opt.store, d, &held) || is_to_come(s, d))
        return;
    if (e) {
        tell(s, d, e->size);
        return;
    }
    if (s->n_waits == LIMIT_SWARMS)
        forget_left(s);
    if (s->n_waits == LIMIT_SWARMS)
        return; /* as many as there are swarms: it is asked again */
    s->waits[s->n_waits++] = (struct seed_wait){.digest = *d, .asker = *asker};
    next_job(s);
}

void seeds_stop(struct seeds *s)
{
    if (!s)
        return;
    s->n_waits = 0;
    s->stopping = true;
}

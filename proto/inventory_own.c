/* inventory_own.c - our own table: what the store says, told in writes; heads; epochs.
 *
 * Writes are staged for a moment, so that a removal and an addition become one op, and so that the
 * thousands a store begins with become one rewrite, which others fetch as a snapshot, instead of
 * thousands of ops. */
#include "proto/inventory_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define STAGE_NS       (20 * INVENTORY_MS)
#define REWRITE        128u /* more writes at once than this are a rewrite */
#define HEAD_MIN_NS    (30000 * INVENTORY_MS)
#define HEAD_MEMBER_NS (60 * INVENTORY_MS) /* of all members: 17 heads a second, however many */
#define HEAD_SOON_NS   (5000 * INVENTORY_MS)
#define HEAD_WRITES    128u                  /* the last head should stay within the ring */
#define NOP_NS         (5000 * INVENTORY_MS) /* an accusation is looked into before it is met */

static_assert(2 * HEAD_WRITES <= INVENTORY_RING_MAX, "heads within reach");

static struct inventory_table *own_table(const struct inventory *v)
{
    return inventory_table_at(v, v->seats[v->me].table);
}

int inventory_own_init(struct inventory *v, u64 epoch)
{
    struct inventory_own *w = &v->own;
    u16 t;
    int err = inventory_table_new(v->pool, v->me, epoch, 0, NULL, 0, &t);
    if (err)
        return err;
    inventory_attach(v, v->me, t, 0);
    w->commit_ns = w->head_ns = UINT64_MAX;
    w->head_due = true;
    return 0;
}

void inventory_own_fini(struct inventory *v)
{
    free(v->own.set);
    free(v->own.add);
    free(v->own.take);
}

u64 inventory_epoch(const struct inventory *v)
{
    return v->own.epoch;
}

/* --- the set of what we hold ----------------------------------------------------------------- */

static u64 *set_cell(const struct inventory_own *w, u64 hash)
{
    u32 mask = w->set_cap - 1, i = (u32)hash & mask;
    while (w->set[i] && w->set[i] != hash)
        i = (i + 1) & mask;
    return &w->set[i];
}

static bool set_has(const struct inventory_own *w, u64 hash)
{
    return w->set_cap && *set_cell(w, hash);
}

bool inventory_holds(const struct inventory *v, const struct digest *d)
{
    u64 hash = inventory_digest_hash(v->pool, d);
    return set_has(&v->own, hash ? hash : 1);
}

static int set_room(struct inventory *v)
{
    struct inventory_own *w = &v->own;
    if (4 * (w->set_len + 1) <= 3 * w->set_cap)
        return 0;
    u32 cap = w->set_cap ? 2 * w->set_cap : 64;
    u64 *set = calloc(cap, sizeof(*set)), *old = w->set;
    if (!set)
        return ERR_NOMEM;
    u32 old_cap = w->set_cap;
    v->bytes += (cap - old_cap) * sizeof(*set);
    w->set = set;
    w->set_cap = cap;
    for (u32 i = 0; i < old_cap; i++)
        if (old[i])
            *set_cell(w, old[i]) = old[i];
    free(old);
    return 0;
}

static void set_take(struct inventory_own *w, u64 hash)
{
    u32 mask = w->set_cap - 1, hole = (u32)(set_cell(w, hash) - w->set);
    for (u32 i = (hole + 1) & mask; w->set[i]; i = (i + 1) & mask)
        if (((i - (u32)w->set[i]) & mask) >= ((i - hole) & mask)) {
            w->set[hole] = w->set[i];
            hole = i;
        }
    w->set[hole] = 0;
    w->set_len--;
}

/* --- writes ---------------------------------------------------------------------------------- */

/* Takes back what was staged the other way, if it was. */
static bool unstage(u64 *list, u32 *n, u64 hash)
{
    for (u32 i = *n; i > 0; i--)
        if (list[i - 1] == hash) {
            list[i - 1] = list[--*n];
            return true;
        }
    return false;
}

static int staging_room(struct inventory *v)
{
    struct inventory_own *w = &v->own;
    u32 cap = w->staged_cap ? 2 * w->staged_cap : 16;
    u32 used = w->n_add > w->n_take ? w->n_add : w->n_take;
    if (used < w->staged_cap || w->staged_cap == INVENTORY_STAGED_MAX)
        return 0;
    u64 *add = realloc(w->add, cap * sizeof(*add));
    if (!add)
        return ERR_NOMEM;
    w->add = add;
    u64 *take = realloc(w->take, cap * sizeof(*take));
    if (!take)
        return ERR_NOMEM;
    w->take = take;
    v->bytes += 2 * (cap - w->staged_cap) * sizeof(u64);
    w->staged_cap = cap;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return (x > y) - (x < y);
}

static u32 *fingerprints(const u64 *hashes, u32 n)
{
    u32 *fp = malloc((n + 1) * sizeof(*fp));
    for (u32 i = 0; fp && i < n; i++)
        fp[i] = inventory_fingerprint(hashes[i]);
    if (fp)
        qsort(fp, n, sizeof(*fp), by_value); /* equal values are the same: any order will do */
    return fp;
}

static int rewrite(struct inventory *v)
{
    struct inventory_own *w = &v->own;
    struct inventory_seat *s = &v->seats[v->me];
    u32 *add = fingerprints(w->add, w->n_add), *take = fingerprints(w->take, w->n_take);
    u32 writes = w->n_add + w->n_take;
    int err = ERR_NOMEM;
    if (add && take)
        err = inventory_table_rewrite(v->pool, s->table, add, w->n_add, take, w->n_take, writes);
    free(add);
    free(take);
    if (err)
        return err;
    v->hash += writes * inventory_table_at(v, s->table)->step;
    s->n += writes;
    w->n_add = w->n_take = 0;
    w->head_due = true;
    return 0;
}

static int own_append(struct inventory *v, struct inventory_op *op)
{
    struct inventory_seat *s = &v->seats[v->me];
    struct inventory_table *t = own_table(v);
    int err = inventory_table_append(v->pool, s->table, op);
    if (err)
        return err;
    s->n++;
    v->hash += t->step;
    inventory_log(v, s->table, s->n, INVENTORY_NONE);
    return 0;
}

/* One op for an addition and a removal, as far as there are both. */
static int write_one(struct inventory *v)
{
    struct inventory_own *w = &v->own;
    const struct inventory_table *t = own_table(v);
    struct inventory_op op = {.rank_kind = INVENTORY_ADD};
    if (w->n_take > 0) {
        u32 rank = inventory_table_rank(t, inventory_fingerprint(w->take[w->n_take - 1]));
        op.rank_kind = rank << 2 | (w->n_add > 0 ? INVENTORY_REPLACE : INVENTORY_REMOVE);
    }
    if (w->n_add > 0)
        op.new_fp = inventory_fingerprint(w->add[w->n_add - 1]);
    int err = own_append(v, &op);
    if (err)
        return err;
    w->n_take -= w->n_take > 0;
    w->n_add -= w->n_add > 0;
    return 0;
}

static void commit(struct inventory *v, u64 now_ns)
{
    struct inventory_own *w = &v->own;
    int err = 0;
    if (own_table(v)->n > INVENTORY_N_MAX - 2 * INVENTORY_STAGED_MAX)
        inventory_own_renew(v, 0);
    if (w->n_add + w->n_take > REWRITE)
        err = rewrite(v);
    while (!err && w->n_add + w->n_take > 0)
        err = write_one(v);
    w->last_commit_ns = now_ns;
    w->commit_ns = err ? now_ns + v->batch_ns : UINT64_MAX; /* out of memory: later */
    if (own_table(v)->n == w->head_n || w->head_due)
        return;
    u64 period = inventory_max(HEAD_MIN_NS, v->n_order * HEAD_MEMBER_NS) / 1000 * w->head_share;
    if (own_table(v)->n - w->head_n >= HEAD_WRITES)
        period = HEAD_SOON_NS;
    w->head_ns = inventory_min(w->head_ns, inventory_max(w->last_head_ns + period, now_ns));
}

/* May it be one more of its upper half? Others refuse a table that is crowded there, and layers can
 * be made so that it would be. What is staged is looked through only where the counters, which are
 * of many halves each, leave it open. */
static bool half_has_room(const struct inventory *v, u64 hash)
{
    const struct inventory_own *w = &v->own;
    u32 n = inventory_table_half(own_table(v), inventory_fingerprint(hash));
    u8 staged = v->own_halves[hash >> 48 & 255];
    if (w->n_add == 0 || (staged < UINT8_MAX && n + staged < INVENTORY_HALF_MAX))
        return n < INVENTORY_HALF_MAX;
    for (u32 i = 0; i < w->n_add; i++)
        n += w->add[i] >> 48 == hash >> 48;
    return n < INVENTORY_HALF_MAX;
}

static void half_count(struct inventory *v, u64 hash)
{
    u8 *staged = &v->own_halves[hash >> 48 & 255];
    if (v->own.n_add == 0)
        memset(v->own_halves, 0, sizeof(v->own_halves));
    *staged += *staged < UINT8_MAX;
}

static int stage(struct inventory *v, u64 hash, bool add, u64 now_ns)
{
    struct inventory_own *w = &v->own;
    int err = staging_room(v);
    if (!err && w->n_add + w->n_take == INVENTORY_STAGED_MAX)
        commit(v, now_ns);
    if (!err && w->n_add + w->n_take == INVENTORY_STAGED_MAX)
        err = ERR_NOMEM;
    if (err)
        return err;
    u64 *other = add ? w->take : w->add;
    if (!unstage(other, add ? &w->n_take : &w->n_add, hash)) {
        if (add) {
            half_count(v, hash);
            w->add[w->n_add++] = hash;
        } else {
            w->take[w->n_take++] = hash;
        }
    }
    if (w->commit_ns == UINT64_MAX)
        w->commit_ns = inventory_max(now_ns + STAGE_NS, w->last_commit_ns + v->batch_ns);
    return 0;
}

/* Never 0, which marks a free cell. */
static u64 hash_of(const struct inventory *v, const struct digest *d)
{
    u64 hash = inventory_digest_hash(v->pool, d);
    return hash ? hash : 1;
}

int inventory_add(struct inventory *v, const struct digest *d, u64 now_ns)
{
    struct inventory_own *w = &v->own;
    u64 hash = hash_of(v, d);
    assert(d->alg != DIGEST_NONE);
    if (set_has(w, hash))
        return ERR_EXISTS;
    if (w->set_len >= LIMIT_INVENTORY_SLOTS || !half_has_room(v, hash))
        return ERR_FULL;
    int err = set_room(v);
    if (!err)
        err = stage(v, hash, true, now_ns);
    if (err)
        return err;
    *set_cell(w, hash) = hash;
    w->set_len++;
    return 0;
}

int inventory_remove(struct inventory *v, const struct digest *d, u64 now_ns)
{
    struct inventory_own *w = &v->own;
    u64 hash = hash_of(v, d);
    assert(d->alg != DIGEST_NONE);
    if (!set_has(w, hash))
        return ERR_NOTFOUND;
    int err = stage(v, hash, false, now_ns);
    if (!err)
        set_take(w, hash);
    return err;
}

/* --- heads and epochs ------------------------------------------------------------------------ */

static void sign(struct inventory *v, u64 now_ns)
{
    struct inventory_own *w = &v->own;
    struct inventory_seat *s = &v->seats[v->me];
    struct inventory_table *t = own_table(v);
    struct inventory_head h = {.n = t->n, .hash = inventory_table_hash256(v->pool, t, t->n)};
    inventory_head_sign(&v->secret, t->epoch, &h);
    inventory_head_keep(t, &h);
    v->notes[v->me].head_n = h.n + 1;
    w->head_n = h.n;
    w->head_due = false;
    w->head_ns = UINT64_MAX;
    w->last_head_ns = now_ns;
    /* Those that started together do not sign together. */
    w->head_share =
        (w->head_signed ? 750 : 250) + (u32)rng_below(&v->rng, w->head_signed ? 500 : 1000);
    w->head_signed = true;
    inventory_log(v, s->table, h.n, INVENTORY_NONE | INVENTORY_LOG_HEAD);
}

u64 inventory_own_due(const struct inventory *v)
{
    const struct inventory_own *w = &v->own;
    u64 t = inventory_min(w->commit_ns, w->head_ns);
    if (w->accused)
        t = inventory_min(t, w->accused_ns);
    return w->head_due && w->commit_ns == UINT64_MAX ? 0 : t;
}

void inventory_own_run(struct inventory *v, u64 now_ns)
{
    struct inventory_own *w = &v->own;
    if (now_ns >= w->commit_ns)
        commit(v, now_ns);
    if (w->accused && now_ns >= w->accused_ns) {
        struct inventory_op op = {.rank_kind = INVENTORY_NOP};
        w->accused = own_append(v, &op) != 0;
        w->accused_ns = now_ns + NOP_NS; /* out of memory: later */
        w->head_due = true;
    }
    /* What a store begins with comes before the first head. */
    if ((w->head_due && w->commit_ns == UINT64_MAX) || now_ns >= w->head_ns)
        sign(v, now_ns);
}

void inventory_settle(struct inventory *v, u64 now_ns)
{
    if (v->own.n_add + v->own.n_take > 0)
        commit(v, now_ns);
    if (v->own.head_due && v->own.commit_ns == UINT64_MAX)
        sign(v, now_ns);
}

void inventory_own_renew(struct inventory *v, u64 epoch_seen)
{
    const struct inventory_table *t = own_table(v);
    u64 epoch = inventory_max(epoch_seen, t->epoch) + 1;
    u16 fresh;
    if (epoch == 0)
        return; /* our own signature on the last number there is: nothing is greater */
    if (inventory_table_new(v->pool, v->me, epoch, 0, t->fp, t->len, &fresh))
        return; /* no memory: the next reminder comes */
    inventory_attach(v, v->me, fresh, 0);
    v->own.head_n = 0;
    v->own.head_due = true;
    v->own.accused = false;
}

/* Either we wrote it, in a life that we forgot, and signed it: then the answer makes us renew the
 * epoch. Or somebody lies: then our next write, which theirs contradicts, and the head after it
 * make everybody ask us. At most one of each in five seconds, however often it is said. */
void inventory_own_accused(struct inventory *v, u16 from, u64 now_ns)
{
    struct inventory_own *w = &v->own;
    if (w->accused)
        return;
    w->accused = true;
    w->accused_ns = now_ns + NOP_NS;
    inventory_ask_proof(v, from);
}

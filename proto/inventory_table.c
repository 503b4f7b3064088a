/* inventory_table.c - one origin's fingerprints: sorted, versioned, walked back; see
 * inventory_pool.h. */
#include "proto/inventory_pool.h"

#include <assert.h>
#include <endian.h>
#include <sodium/crypto_generichash.h>
#include <stdlib.h>
#include <string.h>

/* --- hashes ---------------------------------------------------------------------------------- */

#define HASH_ROW 256u /* fingerprints that are hashed at once */

static_assert(sizeof(struct inventory_hash256) == crypto_generichash_BYTES, "BLAKE2b-256");
static_assert(crypto_generichash_KEYBYTES_MIN == 16, "the salt is its key");

static void hash_begin(crypto_generichash_state *s, const struct inventory_pool *p)
{
    int err = crypto_generichash_init(s, p->salt, sizeof(p->salt), crypto_generichash_BYTES);
    assert(!err);
}

/* Not more than HASH_ROW. */
static void hash_more(crypto_generichash_state *s, const u32 *fp, u32 len)
{
    u32 row[HASH_ROW];
    assert(len <= HASH_ROW);
    for (u32 i = 0; i < len; i++)
        row[i] = htole32(fp[i]);
    crypto_generichash_update(s, (const u8 *)row, len * sizeof(*row));
}

static struct inventory_hash256 hash_end(crypto_generichash_state *s)
{
    struct inventory_hash256 h;
    crypto_generichash_final(s, h.bytes, sizeof(h.bytes));
    return h;
}

struct inventory_hash256 inventory_hash256(const struct inventory_pool *p, const u32 *fp, u32 len)
{
    crypto_generichash_state s;
    hash_begin(&s, p);
    for (u32 i = 0; i < len; i += HASH_ROW)
        hash_more(&s, fp + i, len - i < HASH_ROW ? len - i : HASH_ROW);
    return hash_end(&s);
}

bool inventory_hash256_equal(const struct inventory_hash256 *a, const struct inventory_hash256 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* --- sorted rows ----------------------------------------------------------------------------- */

static u32 lower_bound(const u32 *fp, u32 len, u32 x)
{
    u32 lo = 0, hi = len;
    while (lo < hi) {
        u32 mid = lo + (hi - lo) / 2;
        if (fp[mid] < x)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Takes the entry at `at` out and puts `x` in, where either may be absent (at == len: nothing goes;
 * x == 0: nothing comes). There is room. Only what lies between moves. */
static u32 shift(u32 *fp, u32 len, u32 at, u32 x)
{
    u32 to = x ? lower_bound(fp, len, x) : len;
    if (at == len) { /* in only */
        if (x) {
            memmove(fp + to + 1, fp + to, (len - to) * sizeof(*fp));
            fp[to] = x;
            len++;
        }
        return len;
    }
    if (!x) {
        memmove(fp + at, fp + at + 1, (len - at - 1) * sizeof(*fp));
        return len - 1;
    }
    if (to > at) {
        to--;
        memmove(fp + at, fp + at + 1, (to - at) * sizeof(*fp));
    } else {
        memmove(fp + to + 1, fp + to, (at - to) * sizeof(*fp));
    }
    fp[to] = x;
    return len;
}

u32 inventory_table_rank(const struct inventory_table *t, u32 fp)
{
    return lower_bound(t->fp, t->len, fp);
}

/* --- life ------------------------------------------------------------------------------------ */

static u64 mix(u64 x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static int table_slot(struct inventory_pool *p, u16 *out)
{
    for (u32 i = 0; i < p->n_tables; i++)
        if (!p->tables[i]) {
            *out = (u16)i;
            return 0;
        }
    if (p->n_tables >= INVENTORY_NO_TABLE)
        return ERR_FULL;
    if (p->n_tables == p->cap_tables) {
        u32 cap = p->cap_tables ? 2 * p->cap_tables : 16;
        void *tables = inventory_resize(&p->bytes, p->tables, p->cap_tables * sizeof(void *),
                                        cap * sizeof(void *));
        if (!tables)
            return ERR_NOMEM;
        p->tables = tables;
        p->cap_tables = cap;
    }
    p->tables[p->n_tables] = NULL;
    *out = (u16)p->n_tables++;
    return 0;
}

static int reserve(struct inventory_pool *p, struct inventory_table *t, u32 len)
{
    if (len <= t->cap)
        return 0;
    u32 cap = len + len / 32 + 8;
    void *fp = inventory_resize(&p->bytes, t->fp, t->cap * sizeof(u32), cap * sizeof(u32));
    if (!fp)
        return ERR_NOMEM;
    t->fp = fp;
    t->cap = cap;
    return 0;
}

static void coded_free(struct inventory_pool *p, struct inventory_table *t)
{
    if (t->coded)
        inventory_resize(&p->bytes, t->coded, sizeof(*t->coded) + t->coded->size, 0);
    t->coded = NULL;
}

static void table_free(struct inventory_pool *p, struct inventory_table *t)
{
    coded_free(p, t);
    inventory_resize(&p->bytes, t->fp, t->cap * sizeof(u32), 0);
    inventory_resize(&p->bytes, t->ring, t->ring_cap * sizeof(*t->ring), 0);
    inventory_resize(&p->bytes, t, sizeof(*t), 0);
}

static u64 base_of(u64 place, u64 epoch)
{
    return mix(place ^ mix(epoch + 0x9e3779b97f4a7c15u));
}

static u32 ref_of(u64 base)
{
    return (u32)(mix(base ^ 0x2545f4914f6cdd1du) >> 42);
}

u32 inventory_ref(u64 place, u64 epoch)
{
    return ref_of(base_of(place, epoch));
}

static void link_in(struct inventory_pool *p, u16 i)
{
    struct inventory_table *t = p->tables[i];
    u16 *head = &p->ref_heads[t->ref % INVENTORY_REF_HEADS];
    for (u16 k = *head; k != INVENTORY_NO_TABLE; k = p->tables[k]->next_ref) {
        struct inventory_table *other = p->tables[k];
        if (other->ref == t->ref && other->base != t->base)
            t->ambiguous = other->ambiguous = true;
    }
    t->next_ref = *head;
    *head = i;
    t->next_of_origin = p->names[t->origin].tables;
    p->names[t->origin].tables = i;
    p->names[t->origin].users++;
}

static void link_out(struct inventory_pool *p, u16 i)
{
    struct inventory_table *t = p->tables[i];
    u16 *at = &p->ref_heads[t->ref % INVENTORY_REF_HEADS];
    while (*at != i)
        at = &p->tables[*at]->next_ref;
    *at = t->next_ref;
    at = &p->names[t->origin].tables;
    while (*at != i)
        at = &p->tables[*at]->next_of_origin;
    *at = t->next_of_origin;
}

int inventory_table_new(struct inventory_pool *p, u16 origin, u64 epoch, u32 n, const u32 *fp,
                        u32 len, u16 *out)
{
    u16 i;
    int err = table_slot(p, &i);
    if (err)
        return err;
    struct inventory_table *t = inventory_resize(&p->bytes, NULL, 0, sizeof(*t));
    if (!t)
        return ERR_NOMEM;
    u64 place = p->names[origin].place;
    *t = (struct inventory_table){
        .epoch = epoch, .n = n, .reach = n, .origin = origin, .hashed_n = UINT32_MAX};
    t->base = base_of(place, epoch);
    t->step = mix(t->base) | 1;
    t->ref = ref_of(t->base);
    err = reserve(p, t, len);
    for (u32 k = 0; !err && k < len; k++) {
        err = inventory_index_add(&p->now, &p->bytes, fp[k], i);
        for (u32 back = k; err && back > 0; back--)
            inventory_index_take(&p->now, &p->bytes, fp[back - 1], i);
    }
    if (err) {
        table_free(p, t);
        return err;
    }
    if (len > 0)
        memcpy(t->fp, fp, len * sizeof(*fp));
    t->len = len;
    p->tables[i] = t;
    link_in(p, i);
    *out = i;
    return 0;
}

void inventory_table_get(struct inventory_pool *p, u16 t)
{
    p->tables[t]->users++;
}

static void forget_olds(struct inventory_pool *p, u16 i)
{
    struct inventory_table *t = p->tables[i];
    for (u32 n = t->reach; p->was.at && n < t->n; n++) {
        u32 old = inventory_table_op(t, n + 1)->old_fp;
        if (old)
            inventory_index_take(&p->was, &p->bytes, old, i);
    }
    t->reach = t->n;
}

void inventory_table_put(struct inventory_pool *p, u16 i)
{
    struct inventory_table *t = p->tables[i];
    u16 origin = t->origin;
    if (t->users > 0 && --t->users > 0)
        return;
    for (u32 k = 0; k < t->len; k++)
        inventory_index_take(&p->now, &p->bytes, t->fp[k], i);
    forget_olds(p, i);
    link_out(p, i);
    table_free(p, t);
    p->tables[i] = NULL;
    inventory_name_put(p, origin);
}

/* --- versions -------------------------------------------------------------------------------- */

bool inventory_table_reaches(const struct inventory_table *t, u32 n)
{
    return n >= t->reach && n <= t->n;
}

/* Room for one more op: a larger ring, or without the oldest. */
static int ring_room(struct inventory_pool *p, u16 i)
{
    struct inventory_table *t = p->tables[i];
    if (t->n - t->reach < t->ring_cap)
        return 0;
    if (t->ring_cap == INVENTORY_RING_MAX) {
        u32 old = inventory_table_op(t, t->reach + 1)->old_fp;
        if (old && p->was.at)
            inventory_index_take(&p->was, &p->bytes, old, i);
        t->reach++;
        return 0;
    }
    u32 cap = t->ring_cap ? 2 * t->ring_cap : 8;
    struct inventory_op *ring = inventory_resize(&p->bytes, NULL, 0, cap * sizeof(*ring));
    if (!ring)
        return ERR_NOMEM;
    for (u32 n = t->reach; n < t->n; n++)
        ring[(n + 1) & (cap - 1)] = *inventory_table_op(t, n + 1);
    inventory_resize(&p->bytes, t->ring, t->ring_cap * sizeof(*ring), 0);
    t->ring = ring;
    t->ring_cap = cap;
    return 0;
}

u32 inventory_table_half(const struct inventory_table *t, u32 fp)
{
    u32 at = lower_bound(t->fp, t->len, fp), end = at, half = fp >> 16;
    while (at > 0 && end - at < INVENTORY_HALF_MAX && t->fp[at - 1] >> 16 == half)
        at--;
    while (end < t->len && end - at < INVENTORY_HALF_MAX && t->fp[end] >> 16 == half)
        end++;
    return end - at;
}

bool inventory_halves_fit(const u32 *fp, u32 len)
{
    for (u32 i = INVENTORY_HALF_MAX; i < len; i++)
        if (fp[i] >> 16 == fp[i - INVENTORY_HALF_MAX] >> 16)
            return false;
    return true;
}

static bool op_fits(const struct inventory_table *t, const struct inventory_op *op)
{
    u32 rank = op->rank_kind >> 2;
    if (t->n >= INVENTORY_N_MAX)
        return false;
    if (op->new_fp && inventory_table_half(t, op->new_fp) >= INVENTORY_HALF_MAX)
        return false;
    switch ((enum inventory_kind)(op->rank_kind & 3)) {
    case INVENTORY_REPLACE: return rank < t->len && op->new_fp;
    case INVENTORY_ADD: return rank == 0 && op->new_fp && t->len < LIMIT_INVENTORY_SLOTS;
    case INVENTORY_REMOVE: return rank < t->len && !op->new_fp;
    case INVENTORY_NOP: return rank == 0 && !op->new_fp;
    }
    return false;
}

int inventory_table_append(struct inventory_pool *p, u16 i, struct inventory_op *op)
{
    struct inventory_table *t = p->tables[i];
    u32 kind = op->rank_kind & 3;
    if (!op_fits(t, op))
        return ERR_INVAL;
    u32 at = kind == INVENTORY_REPLACE || kind == INVENTORY_REMOVE ? op->rank_kind >> 2 : t->len;
    op->old_fp = at < t->len ? t->fp[at] : 0;
    int err = reserve(p, t, t->len + 1);
    if (!err)
        err = ring_room(p, i);
    if (!err && op->old_fp && p->was.at)
        err = inventory_index_add(&p->was, &p->bytes, op->old_fp, i);
    if (err)
        return err;
    if (op->new_fp)
        err = inventory_index_add(&p->now, &p->bytes, op->new_fp, i);
    if (err) {
        if (op->old_fp && p->was.at)
            inventory_index_take(&p->was, &p->bytes, op->old_fp, i);
        return err;
    }
    if (op->old_fp)
        inventory_index_take(&p->now, &p->bytes, op->old_fp, i);
    t->len = shift(t->fp, t->len, at, op->new_fp);
    t->n++;
    *inventory_table_op(t, t->n) = *op;
    return 0;
}

int inventory_table_rewrite(struct inventory_pool *p, u16 i, const u32 *add, u32 n_add,
                            const u32 *take, u32 n_take, u32 writes)
{
    struct inventory_table *t = p->tables[i];
    u32 len = t->len + n_add - n_take, from = 0, a = 0, k = 0, w = 0, cap = len + len / 32 + 8;
    u32 *fp = inventory_resize(&p->bytes, NULL, 0, cap * sizeof(*fp));
    if (!fp)
        return ERR_NOMEM;
    for (u32 j = 0; j < n_add; j++) {
        int err = inventory_index_add(&p->now, &p->bytes, add[j], i);
        if (!err)
            continue;
        while (j > 0)
            inventory_index_take(&p->now, &p->bytes, add[--j], i);
        inventory_resize(&p->bytes, fp, cap * sizeof(*fp), 0);
        return err;
    }
    for (; from < t->len; from++) {
        if (k < n_take && take[k] == t->fp[from]) {
            inventory_index_take(&p->now, &p->bytes, take[k++], i);
            continue;
        }
        while (a < n_add && add[a] < t->fp[from])
            fp[w++] = add[a++];
        fp[w++] = t->fp[from];
    }
    while (a < n_add)
        fp[w++] = add[a++];
    assert(w == len && k == n_take);
    forget_olds(p, i);
    inventory_resize(&p->bytes, t->fp, t->cap * sizeof(*fp), 0);
    t->fp = fp;
    t->len = len;
    t->cap = cap;
    t->n += writes;
    t->reach = t->n;
    return 0;
}

u32 inventory_table_len(const struct inventory_table *t, u32 n)
{
    u32 len = t->len;
    for (u32 v = t->n; v > n; v--) {
        const struct inventory_op *op = inventory_table_op(t, v);
        len = len - (op->new_fp != 0) + (op->old_fp != 0);
    }
    return len;
}

/* A table as it was at a version, read from its beginning: what stands there now, with what went
 * since and without what came. */
struct past {
    const struct inventory_table *t;
    u32 at, n_went, n_came, went_at, came_at;
    u32 went[INVENTORY_RING_MAX], came[INVENTORY_RING_MAX]; /* sorted */
};

static int by_value(const void *a, const void *b)
{
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return (x > y) - (x < y);
}

static void past_init(struct past *p, const struct inventory_table *t, u32 n)
{
    assert(inventory_table_reaches(t, n) && t->n - n <= INVENTORY_RING_MAX);
    p->t = t;
    p->at = p->n_went = p->n_came = p->went_at = p->came_at = 0;
    for (u32 v = t->n; v > n; v--) {
        const struct inventory_op *op = inventory_table_op(t, v);
        if (op->old_fp)
            p->went[p->n_went++] = op->old_fp;
        if (op->new_fp)
            p->came[p->n_came++] = op->new_fp;
    }
    qsort(p->went, p->n_went, sizeof(u32), by_value); /* equal values are the same */
    qsort(p->came, p->n_came, sizeof(u32), by_value);
}

/* The next, at most `max`; how many there were. What came since stands in the row, or it went. */
static u32 past_read(struct past *p, u32 *out, u32 max)
{
    const struct inventory_table *t = p->t;
    const u64 none = 1ull << 32;
    u32 got = 0;
    while (got < max) {
        u64 went = p->went_at < p->n_went ? p->went[p->went_at] : none;
        u64 came = p->came_at < p->n_came ? p->came[p->came_at] : none;
        u64 bound = went < came ? went : came;
        while (got < max && p->at < t->len && t->fp[p->at] < bound)
            out[got++] = t->fp[p->at++];
        if (got == max || bound == none)
            break;
        if (came > bound) {
            out[got++] = p->went[p->went_at++];
            continue;
        }
        p->came_at++;
        if (went == bound)
            p->went_at++;
        else
            p->at++;
    }
    return got;
}

struct inventory_hash256 inventory_table_hash256(const struct inventory_pool *p,
                                                 struct inventory_table *t, u32 n)
{
    crypto_generichash_state s;
    struct past past;
    u32 row[HASH_ROW], len;
    if (t->hashed_n == n)
        return t->hash;
    hash_begin(&s, p);
    past_init(&past, t, n);
    while ((len = past_read(&past, row, HASH_ROW)) > 0)
        hash_more(&s, row, len);
    t->hash = hash_end(&s);
    t->hashed_n = n;
    return t->hash;
}

int inventory_table_content(const struct inventory_table *t, u32 n, u32 **out, u32 *out_len)
{
    u32 len = inventory_table_len(t, n);
    u32 *fp = malloc((len + 1) * sizeof(*fp));
    struct past past;
    if (!fp)
        return ERR_NOMEM;
    past_init(&past, t, n);
    u32 got = past_read(&past, fp, len);
    assert(got == len);
    *out = fp;
    *out_len = len;
    return 0;
}

const struct inventory_coded *inventory_table_coded(struct inventory_pool *p, u16 i, u32 n)
{
    struct inventory_table *t = p->tables[i];
    u32 *fp, len;
    u8 *bits;
    size_t size;
    if (t->coded && t->coded->n == n)
        return t->coded;
    coded_free(p, t);
    if (inventory_table_content(t, n, &fp, &len))
        return NULL;
    int err = inventory_rice_encode(fp, len, &bits, &size);
    free(fp);
    if (err)
        return NULL;
    struct inventory_coded *c = inventory_resize(&p->bytes, NULL, 0, sizeof(*c) + size);
    if (c) {
        *c = (struct inventory_coded){.n = n, .len = len, .size = size};
        memcpy(c->bits, bits, size);
        t->coded = c;
    }
    free(bits);
    return c;
}

/* A pool with one view has no other use for it. */
void inventory_coded_done(struct inventory_pool *p, u16 i)
{
    if (p->views < 2)
        coded_free(p, p->tables[i]);
}

u32 inventory_table_count(const struct inventory_table *t, u32 fp, u32 n)
{
    u32 count = 0;
    for (u32 i = lower_bound(t->fp, t->len, fp); i < t->len && t->fp[i] == fp; i++)
        count++;
    for (u32 v = t->n; v > n; v--) {
        const struct inventory_op *op = inventory_table_op(t, v);
        count = count - (op->new_fp == fp) + (op->old_fp == fp);
    }
    return count;
}

u16 inventory_table_find(const struct inventory_pool *p, u16 origin, u64 epoch, u32 n,
                         const struct inventory_hash256 *hash)
{
    for (u16 i = p->names[origin].tables; i != INVENTORY_NO_TABLE;
         i = p->tables[i]->next_of_origin) {
        struct inventory_table *t = p->tables[i];
        if (t->epoch != epoch || !inventory_table_reaches(t, n))
            continue;
        struct inventory_hash256 h = inventory_table_hash256(p, t, n);
        if (inventory_hash256_equal(&h, hash))
            return i;
    }
    return INVENTORY_NO_TABLE;
}

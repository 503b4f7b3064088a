/* inventory_table.c - one origin's fingerprints: sorted, versioned, walked back; see
 * inventory_pool.h. */
#include "proto/inventory_pool.h"

#include <assert.h>
#include <sodium/crypto_shorthash.h>
#include <stdlib.h>
#include <string.h>

/* --- sums ------------------------------------------------------------------------------------ */

static void sum_hash(const struct inventory_pool *p, u32 fp, u64 lane[2])
{
    u8 in[4] = {(u8)fp, (u8)(fp >> 8), (u8)(fp >> 16), (u8)(fp >> 24)};
    u8 out[crypto_shorthash_siphashx24_BYTES];
    crypto_shorthash_siphashx24(out, in, sizeof(in), p->salt);
    for (unsigned l = 0; l < 2; l++) {
        lane[l] = 0;
        for (int i = 7; i >= 0; i--)
            lane[l] = lane[l] << 8 | out[8 * l + (unsigned)i];
    }
}

static void sum_add(const struct inventory_pool *p, struct inventory_sum *s, u32 fp)
{
    u64 lane[2];
    if (!fp)
        return;
    sum_hash(p, fp, lane);
    s->lane[0] += lane[0];
    s->lane[1] += lane[1];
}

static void sum_take(const struct inventory_pool *p, struct inventory_sum *s, u32 fp)
{
    u64 lane[2];
    if (!fp)
        return;
    sum_hash(p, fp, lane);
    s->lane[0] -= lane[0];
    s->lane[1] -= lane[1];
}

struct inventory_sum inventory_sum_of(const struct inventory_pool *p, const u32 *fp, u32 len)
{
    struct inventory_sum s = {{0, 0}};
    for (u32 i = 0; i < len; i++)
        sum_add(p, &s, fp[i]);
    return s;
}

bool inventory_sum_equal(const struct inventory_sum *a, const struct inventory_sum *b)
{
    return a->lane[0] == b->lane[0] && a->lane[1] == b->lane[1];
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
    *t = (struct inventory_table){.epoch = epoch, .n = n, .reach = n, .origin = origin};
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
    t->sum = inventory_sum_of(p, fp, len);
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
    sum_take(p, &t->sum, op->old_fp);
    sum_add(p, &t->sum, op->new_fp);
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
    t->sum = inventory_sum_of(p, fp, len);
    return 0;
}

struct inventory_sum inventory_table_sum(const struct inventory_pool *p,
                                         const struct inventory_table *t, u32 n)
{
    struct inventory_sum s = t->sum;
    assert(inventory_table_reaches(t, n));
    for (u32 v = t->n; v > n; v--) {
        const struct inventory_op *op = inventory_table_op(t, v);
        sum_take(p, &s, op->new_fp);
        sum_add(p, &s, op->old_fp);
    }
    return s;
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

int inventory_table_content(const struct inventory_table *t, u32 n, u32 **out, u32 *out_len)
{
    u32 len = t->len;
    u32 *fp = malloc((len + (t->n - n) + 1) * sizeof(*fp));
    assert(inventory_table_reaches(t, n));
    if (!fp)
        return ERR_NOMEM;
    if (len > 0)
        memcpy(fp, t->fp, len * sizeof(*fp));
    for (u32 v = t->n; v > n; v--) {
        const struct inventory_op *op = inventory_table_op(t, v);
        u32 at = op->new_fp ? lower_bound(fp, len, op->new_fp) : len;
        len = shift(fp, len, at, op->old_fp);
    }
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
                         const struct inventory_sum *sum)
{
    for (u16 i = p->names[origin].tables; i != INVENTORY_NO_TABLE;
         i = p->tables[i]->next_of_origin) {
        const struct inventory_table *t = p->tables[i];
        if (t->epoch != epoch || !inventory_table_reaches(t, n))
            continue;
        struct inventory_sum s = inventory_table_sum(p, t, n);
        if (inventory_sum_equal(&s, sum))
            return i;
    }
    return INVENTORY_NO_TABLE;
}

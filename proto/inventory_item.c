/* inventory_item.c - ops and heads as bytes, and what is believed of them when they come.
 *
 * An item opens with four bytes: 22 bits that name the table (a hash of key and epoch) and the low
 * 10 bits of the version. Then
 *
 *     00rrrrrr | 01rrrrrr r8 | 10rrrrrr r8 r8    fp32    REPLACE: rank in 6, 14 or 22 bits
 *     c0 fp32                                            ADD
 *     c1 rank24                                          REMOVE
 *     c2                                                 NOP: a version that changes nothing
 *     c3 place64 epoch64 n32 hash256 signature           HEAD
 *     c4 place64 epoch64 n32                             FAR: "more than ops can tell; fetch it"
 *     c5 place64 epoch64, then one of the first six      NAMED: of this key and epoch
 *
 * all big endian. So a replacement is 10 or 11 bytes. A version is read as the nearest to the one
 * that is here. Who is further behind than 512 takes, at worst, an op for another; the next signed
 * head shows it. Where two tables go by one name, ops are NAMED, and others are not believed: they
 * would be taken for the other's. Who answers a question names all, since the asker may know a
 * table that nobody else does. */
#include "proto/inventory_impl.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

enum code { CODE_ADD = 0xc0, CODE_REMOVE, CODE_NOP, CODE_HEAD, CODE_FAR, CODE_NAMED };

#define WARM_BYTES     300
#define WARM_ROW_BYTES (64 * KIB)
#define NAMED_BYTES    17
#define GAP_NS         (700 * INVENTORY_MS) /* a lost batch comes again within this */

static size_t put_be(u8 *at, u64 v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (u8)(v >> (8 * (bytes - 1 - i)));
    return bytes;
}

static u64 get_be(const u8 *at, unsigned bytes)
{
    u64 v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return v;
}

/* Ops are read and written a million times a second in a large simulation. */
static u32 get_be32(const u8 *at)
{
    u32 v;
    memcpy(&v, at, sizeof(v));
    return be32toh(v);
}

static size_t put_be32(u8 *at, u32 v)
{
    v = htobe32(v);
    memcpy(at, &v, sizeof(v));
    return sizeof(v);
}

/* --- writing --------------------------------------------------------------------------------- */

static size_t put_tag(const struct inventory_table *t, u32 n, u8 *at)
{
    return put_be32(at, t->ref << 10 | (n & 1023));
}

static size_t put_name(const struct inventory *v, const struct inventory_table *t, u8 *at)
{
    size_t len = put_be(at, v->pool->names[t->origin].place, 8);
    return len + put_be(at + len, t->epoch, 8);
}

size_t inventory_item_op(const struct inventory *v, const struct inventory_table *t, u32 n,
                         bool named, u8 *at)
{
    const struct inventory_op *op = inventory_table_op(t, n);
    u32 rank = op->rank_kind >> 2;
    size_t len = put_tag(t, n, at);
    if (named || t->ambiguous) {
        at[len++] = CODE_NAMED;
        len += put_name(v, t, at + len);
    }
    switch ((enum inventory_kind)(op->rank_kind & 3)) {
    case INVENTORY_REPLACE:
        if (rank < 1u << 6)
            len += put_be(at + len, rank, 1);
        else if (rank < 1u << 14)
            len += put_be(at + len, rank | 0x4000, 2);
        else
            len += put_be(at + len, rank | 0x800000, 3);
        return len + put_be32(at + len, op->new_fp);
    case INVENTORY_ADD: at[len++] = CODE_ADD; return len + put_be32(at + len, op->new_fp);
    case INVENTORY_REMOVE: at[len++] = CODE_REMOVE; return len + put_be(at + len, rank, 3);
    case INVENTORY_NOP: at[len++] = CODE_NOP; break;
    }
    return len;
}

void inventory_head_put(const struct inventory_head *h, u8 at[INVENTORY_HEAD_BODY])
{
    size_t len = put_be(at, h->n, 4);
    memcpy(at + len, h->hash.bytes, sizeof(h->hash.bytes));
    len += sizeof(h->hash.bytes);
    memcpy(at + len, h->sig.bytes, NODE_SIGNATURE_BYTES);
    assert(len + NODE_SIGNATURE_BYTES == INVENTORY_HEAD_BODY);
}

void inventory_head_get(const u8 at[INVENTORY_HEAD_BODY], struct inventory_head *h)
{
    h->n = (u32)get_be(at, 4);
    memcpy(h->hash.bytes, at + 4, sizeof(h->hash.bytes));
    memcpy(h->sig.bytes, at + 4 + sizeof(h->hash.bytes), NODE_SIGNATURE_BYTES);
}

size_t inventory_item_head(const struct inventory *v, const struct inventory_table *t,
                           const struct inventory_head *h, u8 *at)
{
    size_t len = put_tag(t, h->n, at);
    at[len++] = CODE_HEAD;
    len += put_name(v, t, at + len);
    inventory_head_put(h, at + len);
    return len + INVENTORY_HEAD_BODY;
}

size_t inventory_item_far(const struct inventory *v, u16 o, u8 *at)
{
    const struct inventory_seat *s = &v->seats[o];
    const struct inventory_table *t = inventory_table_at(v, s->table);
    size_t len = put_tag(t, s->n, at);
    at[len++] = CODE_FAR;
    len += put_name(v, t, at + len);
    return len + put_be(at + len, s->n, 4);
}

/* --- ops that come --------------------------------------------------------------------------- */

/* None, too, where two of this view have it. */
static u16 table_of_ref(const struct inventory *v, u32 ref)
{
    const struct inventory_pool *p = v->pool;
    u16 i = p->ref_heads[ref % INVENTORY_REF_HEADS], found = INVENTORY_NO_TABLE;
    for (; i != INVENTORY_NO_TABLE; i = p->tables[i]->next_ref) {
        const struct inventory_table *t = p->tables[i];
        if (t->ref != ref || !inventory_seat_up(v, t->origin) || v->seats[t->origin].table != i)
            continue;
        if (!t->ambiguous)
            return i;
        if (found != INVENTORY_NO_TABLE)
            return INVENTORY_NO_TABLE;
        found = i;
    }
    return found;
}

static u16 table_of_name(const struct inventory *v, u64 place, u64 epoch)
{
    u16 o = inventory_name_find(v->pool, place);
    if (o == INVENTORY_NONE || !inventory_seat_up(v, o) || v->seats[o].table == INVENTORY_NO_TABLE)
        return INVENTORY_NO_TABLE;
    u16 i = v->seats[o].table;
    return inventory_table_at(v, i)->epoch == epoch ? i : INVENTORY_NO_TABLE;
}

static bool same_op(const struct inventory_op *a, const struct inventory_op *b)
{
    return a->rank_kind == b->rank_kind && a->new_fp == b->new_fp;
}

/* Somebody lies, or did: from now on the origin is asked itself. */
static void doubt(struct inventory *v, u16 o, u64 now_ns)
{
    v->stats.conflicts++;
    v->seats[o].flags |= INVENTORY_DOUBT;
    inventory_want(v, &(struct inventory_want){
                          .origin = o, .source = o, .talk = true, .due_ns = now_ns + GAP_NS});
}

/* By an op of `via` that does not fit. A few bytes make us fetch a table, so each may do it now and
 * then only; where a true op is passed over, the next signed head shows it. */
static void doubt_by(struct inventory *v, u16 o, u16 via, u64 now_ns)
{
    if (rate_take(&v->doubts, v->pool->names[via].place, now_ns))
        doubt(v, o, now_ns);
    else
        v->stats.conflicts++;
}

/* Another table of that name whose past is the same and whose next op this is, or may be. */
static u16 sibling(const struct inventory *v, u16 i, const struct inventory_op *op)
{
    const struct inventory_pool *p = v->pool;
    struct inventory_table *t = p->tables[i];
    u32 n = v->seats[t->origin].n;
    struct inventory_hash256 mine = inventory_table_hash256(p, t, n);
    for (u16 k = p->names[t->origin].tables; k != INVENTORY_NO_TABLE;
         k = p->tables[k]->next_of_origin) {
        struct inventory_table *other = p->tables[k];
        if (k == i || other->epoch != t->epoch || !inventory_table_reaches(other, n))
            continue;
        if (other->n == n ? other->owned : !same_op(inventory_table_op(other, n + 1), op))
            continue;
        struct inventory_hash256 its = inventory_table_hash256(p, other, n);
        if (inventory_hash256_equal(&its, &mine))
            return k;
    }
    return INVENTORY_NO_TABLE;
}

/* The pool's table went on otherwise than this view was told: it follows one that did not. */
static u16 part(struct inventory *v, u16 i, const struct inventory_op *op)
{
    struct inventory_table *t = inventory_table_at(v, i);
    u16 o = t->origin, to = sibling(v, i, op);
    struct inventory_seat *s = &v->seats[o];
    u32 head_n = v->notes[o].head_n;
    u8 pending = s->flags & INVENTORY_PENDING;
    if (to == INVENTORY_NO_TABLE) {
        u32 *fp, len;
        if (inventory_table_content(t, s->n, &fp, &len))
            return to;
        int err = inventory_table_new(v->pool, o, t->epoch, s->n, fp, len, &to);
        free(fp);
        if (err)
            return INVENTORY_NO_TABLE;
        for (u32 k = 0; k < t->n_heads && t->heads[k].n <= s->n; k++)
            inventory_head_keep(inventory_table_at(v, to), &t->heads[k]);
    }
    for (u32 k = 0; k < v->n_pending; k++)
        if (v->pending[k].table == i)
            v->pending[k].table = to;
    inventory_attach(v, o, to, s->n);
    s->flags |= pending;
    v->notes[o].head_n = head_n;
    return to;
}

/* The next version of a seat: true when it took it. */
static bool advance(struct inventory *v, u16 i, struct inventory_op *op,
                    const struct inventory_items *from, u64 now_ns)
{
    struct inventory_table *t = inventory_table_at(v, i);
    struct inventory_seat *s = &v->seats[t->origin];
    if (s->n < t->reach) { /* others of the pool are too far ahead: only a snapshot helps */
        inventory_want(v, &(struct inventory_want){.origin = t->origin,
                                                   .source = from->from,
                                                   .talk = true,
                                                   .epoch = t->epoch,
                                                   .n = s->n + 1,
                                                   .due_ns = now_ns + GAP_NS});
        return false;
    }
    if (s->n == t->n ? t->owned : !same_op(inventory_table_op(t, s->n + 1), op)) {
        i = part(v, i, op);
        if (i == INVENTORY_NO_TABLE)
            return false;
        t = inventory_table_at(v, i);
    }
    if (s->n == t->n) {
        int err = inventory_table_append(v->pool, i, op);
        if (err == ERR_INVAL)
            doubt_by(v, t->origin, from->from, now_ns);
        if (err)
            return false;
    }
    s->n++;
    v->hash += t->step;
    v->stats.ops_received++;
    if (from->entry)
        return true;
    if (from->logged)
        *from->logged += inventory_log_put(v, i, s->n, from->from);
    else
        inventory_log(v, i, s->n, from->from);
    return true;
}

static void stash(struct inventory *v, u16 i, u32 n, const struct inventory_op *op, u16 via,
                  u64 now_ns)
{
    const struct inventory_table *t = inventory_table_at(v, i);
    struct inventory_seat *s = &v->seats[t->origin];
    inventory_want(v, &(struct inventory_want){.origin = t->origin,
                                               .source = via,
                                               .epoch = t->epoch,
                                               .n = n - 1,
                                               .due_ns = now_ns + GAP_NS});
    for (u32 k = 0; (s->flags & INVENTORY_PENDING) && k < v->n_pending; k++)
        if (v->pending[k].table == i && v->pending[k].n == n)
            return;
    if (v->n_pending == v->cap_pending) {
        u32 cap = v->cap_pending ? 2 * v->cap_pending : 16;
        if (cap > INVENTORY_PENDING_MAX)
            return; /* the want brings it too */
        void *pending = inventory_resize(
            &v->bytes, v->pending, v->cap_pending * sizeof(*v->pending), cap * sizeof(*v->pending));
        if (!pending)
            return;
        v->pending = pending;
        v->cap_pending = cap;
    }
    v->pending[v->n_pending++] =
        (struct inventory_pending){.n = n, .table = i, .via = via, .op = *op};
    s->flags |= INVENTORY_PENDING;
}

void inventory_pending_drop(struct inventory *v, u16 o)
{
    struct inventory_seat *s = &v->seats[o];
    if (!(s->flags & INVENTORY_PENDING))
        return;
    u32 kept = 0;
    for (u32 k = 0; k < v->n_pending; k++)
        if (v->pending[k].table != s->table)
            v->pending[kept++] = v->pending[k];
    v->n_pending = kept;
    s->flags &= (u8)~INVENTORY_PENDING;
}

void inventory_pending_retry(struct inventory *v, u16 o, u64 now_ns)
{
    struct inventory_seat *s = &v->seats[o];
    bool again = true;
    while (again && (s->flags & INVENTORY_PENDING)) {
        u32 kept = 0, left = 0;
        again = false;
        for (u32 k = 0; k < v->n_pending; k++) {
            struct inventory_pending e = v->pending[k];
            struct inventory_items from = {.from = e.via};
            if (e.table == s->table && e.n <= s->n)
                continue; /* came by another way */
            if (e.table == s->table && e.n == s->n + 1) {
                again |= advance(v, e.table, &e.op, &from, now_ns);
                continue;
            }
            left += e.table == s->table;
            v->pending[kept++] = e;
        }
        v->n_pending = kept;
        if (left == 0)
            s->flags &= (u8)~INVENTORY_PENDING;
    }
}

/* Of table `i`. */
static void take_op(struct inventory *v, u16 i, u32 tag, struct inventory_op *op,
                    const struct inventory_items *from, u64 now_ns)
{
    if (i == INVENTORY_NO_TABLE)
        return; /* an epoch or a member not heard of yet; heads and vectors tell */
    struct inventory_table *t = inventory_table_at(v, i);
    struct inventory_seat *s = &v->seats[t->origin];
    u32 ahead = (tag - s->n) & 1023;
    if (ahead == 1 && !(s->flags & INVENTORY_SELF)) {
        u16 o = t->origin; /* the table may be left for another */
        if (advance(v, i, op, from, now_ns) && (s->flags & INVENTORY_PENDING))
            inventory_pending_retry(v, o, now_ns);
    } else if (ahead == 0 || ahead > 512) {
        u32 n = s->n - ((0 - ahead) & 1023);
        v->stats.ops_duplicate++;
        if (n > t->reach && n <= s->n && !same_op(inventory_table_op(t, n), op)) {
            if (s->flags & INVENTORY_SELF)
                inventory_own_accused(v, from->from, now_ns);
            else
                doubt_by(v, t->origin, from->from, now_ns);
        }
    } else if (s->flags & INVENTORY_SELF) {
        inventory_own_accused(v, from->from, now_ns);
    } else {
        stash(v, i, s->n + ahead, op, from->from, now_ns);
    }
}

/* --- heads that come ------------------------------------------------------------------------- */

static bool head_equal(const struct inventory_head *a, const struct inventory_head *b)
{
    return a->n == b->n && inventory_hash256_equal(&a->hash, &b->hash) &&
           memcmp(a->sig.bytes, b->sig.bytes, sizeof(a->sig.bytes)) == 0;
}

static bool head_seen(const struct inventory_pool *p, u16 o, u64 epoch,
                      const struct inventory_head *h)
{
    for (u16 i = p->names[o].tables; i != INVENTORY_NO_TABLE; i = p->tables[i]->next_of_origin) {
        const struct inventory_table *t = p->tables[i];
        for (u32 k = 0; t->epoch == epoch && k < t->n_heads; k++)
            if (head_equal(&t->heads[k], h))
                return true;
    }
    return false;
}

/* Rightly signed? What the pool has verified once is not verified again. */
bool inventory_head_true(struct inventory *v, u16 o, u64 epoch, const struct inventory_head *h)
{
    const struct inventory_pool *p = v->pool;
    if (head_seen(p, o, epoch, h))
        return true;
    if (h->n <= INVENTORY_N_MAX && inventory_head_verify(&p->names[o].key, epoch, h) == 0)
        return true;
    v->stats.bad_heads++;
    return false;
}

static void head_own(struct inventory *v, u64 epoch, const struct inventory_head *h, u16 from)
{
    struct inventory_table *t = inventory_table_at(v, v->seats[v->me].table);
    if (epoch < t->epoch) { /* `from` missed our new epoch, and by the bytes it seems ahead */
        inventory_tell_own(v, from);
        return;
    }
    bool written = epoch == t->epoch && h->n <= t->n;
    for (u32 k = 0; written && k < t->n_heads; k++)
        if (head_equal(&t->heads[k], h))
            return;
    if ((written && !inventory_table_reaches(t, h->n)) || !inventory_head_true(v, v->me, epoch, h))
        return;
    if (written) {
        struct inventory_hash256 hash = inventory_table_hash256(v->pool, t, h->n);
        if (inventory_hash256_equal(&hash, &h->hash))
            return;
    }
    inventory_own_renew(v, epoch);
}

static void head_known(struct inventory *v, u16 o, const struct inventory_head *h, u16 from)
{
    struct inventory_seat *s = &v->seats[o];
    struct inventory_table *t = inventory_table_at(v, s->table);
    inventory_head_keep(t, h);
    if (h->n + 1 <= v->notes[o].head_n)
        return;
    v->notes[o].head_n = h->n + 1;
    inventory_log(v, s->table, h->n, (u16)(from | INVENTORY_LOG_HEAD));
}

/* Of the epoch that we follow. */
static void head_same(struct inventory *v, u16 o, const struct inventory_head *h, u16 from,
                      u64 now_ns)
{
    struct inventory_seat *s = &v->seats[o];
    struct inventory_table *t = inventory_table_at(v, s->table);
    if (h->n < v->notes[o].head_n || !inventory_head_true(v, o, t->epoch, h))
        return;
    if (h->n > s->n) {
        inventory_want(v, &(struct inventory_want){.origin = o,
                                                   .source = from,
                                                   .epoch = t->epoch,
                                                   .n = h->n,
                                                   .due_ns = now_ns + GAP_NS});
        return;
    }
    if (h->n < t->reach)
        return; /* too old to be held against anything */
    struct inventory_hash256 hash = inventory_table_hash256(v->pool, t, h->n);
    if (inventory_hash256_equal(&hash, &h->hash)) {
        head_known(v, o, h, from);
        return;
    }
    doubt(v, o, now_ns);
    inventory_detach(v, o);
}

void inventory_head_take(struct inventory *v, u16 o, u64 epoch, const struct inventory_head *h,
                         u16 from, u64 now_ns)
{
    struct inventory_seat *s = &v->seats[o];
    if (epoch == 0)
        return; /* of no table: in a want, "nothing" */
    if (s->flags & INVENTORY_SELF) {
        head_own(v, epoch, h, from);
        return;
    }
    struct inventory_table *t =
        s->table == INVENTORY_NO_TABLE ? NULL : inventory_table_at(v, s->table);
    if (t && epoch < t->epoch)
        return;
    if (t && epoch == t->epoch) {
        head_same(v, o, h, from, now_ns);
        return;
    }
    if (!inventory_head_true(v, o, epoch, h))
        return;
    /* A new epoch. Of nothing, or of just what is here: then there is no need to fetch it. */
    struct inventory_hash256 mine = inventory_hash256(v->pool, NULL, 0);
    u32 *fp = NULL, len = 0;
    u16 i = INVENTORY_NO_TABLE;
    bool empty = inventory_hash256_equal(&mine, &h->hash);
    if (!empty && t && inventory_table_reaches(t, s->n))
        mine = inventory_table_hash256(v->pool, t, s->n);
    if (inventory_hash256_equal(&mine, &h->hash)) {
        i = inventory_table_find(v->pool, o, epoch, h->n, &h->hash);
        if (i == INVENTORY_NO_TABLE && (empty || !inventory_table_content(t, s->n, &fp, &len)) &&
            inventory_table_new(v->pool, o, epoch, h->n, fp, len, &i))
            i = INVENTORY_NO_TABLE;
        free(fp);
    }
    if (i == INVENTORY_NO_TABLE) {
        inventory_want(v, &(struct inventory_want){.origin = o,
                                                   .source = from,
                                                   .talk = true,
                                                   .epoch = epoch,
                                                   .n = h->n,
                                                   .due_ns = now_ns});
        return;
    }
    inventory_attach(v, o, i, h->n);
    s->flags &= (u8)~INVENTORY_DOUBT;
    head_known(v, o, h, from);
}

/* --- a row of items -------------------------------------------------------------------------- */

/* In a datagram, which nothing else bounds. What is put off comes with the next head, or when views
 * are compared. */
static bool head_has_turn(struct inventory *v, u16 o, u64 epoch, const struct inventory_head *h,
                          const struct inventory_items *from, u64 now_ns)
{
    if (from->entry || head_seen(v->pool, o, epoch, h) ||
        rate_take(&v->heads, v->pool->names[from->from].place, now_ns))
        return true;
    v->stats.put_off++;
    return false;
}

/* The rest of HEAD and FAR. */
static void take_far(struct inventory *v, const u8 *p, bool head,
                     const struct inventory_items *from, u64 now_ns)
{
    u16 o = inventory_name_find(v->pool, get_be(p, 8));
    u64 epoch = get_be(p + 8, 8);
    if (o == INVENTORY_NONE || !inventory_seat_up(v, o))
        return;
    if (head) {
        struct inventory_head h;
        inventory_head_get(p + 16, &h);
        if (head_has_turn(v, o, epoch, &h, from, now_ns))
            inventory_head_take(v, o, epoch, &h, from->from, now_ns);
        return;
    }
    const struct inventory_seat *s = &v->seats[o];
    const struct inventory_table *t =
        s->table == INVENTORY_NO_TABLE ? NULL : inventory_table_at(v, s->table);
    u32 n = (u32)get_be(p + 16, 4);
    if (!t || epoch > t->epoch || (epoch == t->epoch && n > s->n))
        inventory_want(v, &(struct inventory_want){.origin = o,
                                                   .source = from->from,
                                                   .talk = true,
                                                   .epoch = epoch,
                                                   .n = n,
                                                   .due_ns = now_ns});
}

/* Reads one op's code and operands at `p`; bytes taken, or 0 when it is none. */
static size_t get_op(const u8 *p, size_t len, struct inventory_op *op)
{
    unsigned rank_bytes = p[0] < 0xc0 ? (p[0] >> 6) + 1 : 0;
    *op = (struct inventory_op){.rank_kind = INVENTORY_NOP};
    if (rank_bytes > 0) {
        if (len < rank_bytes + 4)
            return 0;
        u32 rank = (u32)get_be(p, rank_bytes) & ((1u << (8 * rank_bytes - 2)) - 1);
        op->rank_kind = rank << 2 | INVENTORY_REPLACE;
        op->new_fp = get_be32(p + rank_bytes);
        return rank_bytes + 4;
    }
    if (p[0] == CODE_NOP)
        return 1;
    if (p[0] == CODE_ADD && len >= 5) {
        op->rank_kind = INVENTORY_ADD;
        op->new_fp = get_be32(p + 1);
        return 5;
    }
    if (p[0] == CODE_REMOVE && len >= 4) {
        op->rank_kind = (u32)get_be(p + 1, 3) << 2 | INVENTORY_REMOVE;
        return 4;
    }
    return 0;
}

/* A full batch looks at most seats of a small row, in no order: cheaper to touch each cache line in
 * order first. (In a simulation each view's row is cold when its turn comes: 6.5 times real time
 * instead of 5.7 at 1,000 nodes; the prefetch instruction won a tenth of that.) */
static void warm(const struct inventory *v, size_t len)
{
    const u8 *p = (const u8 *)v->seats;
    size_t size = v->cap_seats * sizeof(*v->seats);
    for (size_t i = 0; len > WARM_BYTES && size <= WARM_ROW_BYTES && i < size; i += 64)
        (void)*(const volatile u8 *)(p + i);
}

/* An entry tells of its own origin. */
static bool is_others(const struct inventory *v, const struct inventory_items *from, const u8 *name)
{
    return from->entry && get_be(name, 8) != v->pool->names[from->origin].place;
}

/* One op and its table; bytes taken, or 0 when it is none. */
static size_t read_op(struct inventory *v, u32 tag, const u8 *p, size_t len,
                      const struct inventory_items *from, u64 now_ns)
{
    struct inventory_op op;
    size_t name = *p == CODE_NAMED ? NAMED_BYTES : 0, used = 0;
    if (len > name)
        used = get_op(p + name, len - name, &op);
    if (used == 0 || (name > 0 && is_others(v, from, p + 1)))
        return 0;
    u16 table = name > 0 ? table_of_name(v, get_be(p + 1, 8), get_be(p + 9, 8))
                         : table_of_ref(v, tag >> 10);
    if (from->entry && table != INVENTORY_NO_TABLE && table != v->seats[from->origin].table)
        table = INVENTORY_NO_TABLE;
    take_op(v, table, tag, &op, from, now_ns);
    return name + used;
}

static int read_items(struct inventory *v, const struct inventory_items *items, u64 now_ns)
{
    const u8 *p = items->p, *end = p + items->len;
    u32 ops = 0, heads = 0;
    while (end - p >= 5) {
        u32 tag = get_be32(p);
        size_t left = (size_t)(end - p) - 4, used;
        p += 4;
        if (*p == CODE_HEAD || *p == CODE_FAR) {
            bool head = *p == CODE_HEAD;
            used = 1 + (head ? 16 + INVENTORY_HEAD_BODY : 20);
            heads += head;
            if (left < used || is_others(v, items, p + 1) || (items->entry && heads > 1))
                return ERR_PROTO;
            take_far(v, p + 1, head, items, now_ns);
        } else {
            if (items->entry && ++ops > INVENTORY_RING_MAX)
                return ERR_PROTO; /* nobody keeps so many */
            used = read_op(v, tag, p, left, items, now_ns);
            if (used == 0)
                return ERR_PROTO;
        }
        p += used;
    }
    return p == end ? 0 : ERR_PROTO;
}

int inventory_items_read(struct inventory *v, const struct inventory_items *items, u64 now_ns)
{
    if (items->len == 0)
        return 0;
    warm(v, items->len);
    u32 logged = 0;
    struct inventory_items row = *items;
    row.logged = &logged;
    int err = read_items(v, &row, now_ns);
    inventory_log_count(v, logged, row.from);
    return err;
}

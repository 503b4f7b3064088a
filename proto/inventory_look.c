/* inventory_look.c - who holds it: one scan of one bucket, and for views that are behind a walk
 * through the last ops of each table that may hold it. */
#include "proto/inventory_impl.h"

#include <assert.h>
#include <string.h>

struct look {
    const struct inventory *v;
    u32 fp;
    struct node_key *out;
    size_t max, n;
    u16 *kept; /* origins behind `out`, nearest first */
};

/* The mark that a 404 left, if it still holds. */
static bool is_wrong(const struct inventory *v, u16 o, u32 fp)
{
    const struct inventory_seat *s = &v->seats[o];
    const struct inventory_table *t = inventory_table_at(v, s->table);
    for (u32 i = 0; i < v->n_wrongs; i++) {
        const struct inventory_wrong *w = &v->wrongs[i];
        if (w->fp != fp || w->origin != o || w->epoch != t->epoch)
            continue;
        if (w->n < t->reach)
            continue; /* whether it was written anew since is not known any more */
        bool anew = false;
        for (u32 n = w->n; n < s->n && !anew; n++)
            anew = inventory_table_op(t, n + 1)->new_fp == fp;
        if (!anew)
            return true;
    }
    return false;
}

/* Does the origin of table `i` hold it in this view? Tables of others' views are passed over. */
static bool holds(const struct inventory *v, u32 fp, u16 i, bool now)
{
    const struct inventory_table *t = inventory_table_at(v, i);
    u16 o = t->origin;
    if (!inventory_seat_up(v, o) || v->seats[o].table != i)
        return false;
    u32 n = v->seats[o].n;
    if (n == t->n ? !now : inventory_table_count(t, fp, n < t->reach ? t->reach : n) == 0)
        return false;
    return v->n_wrongs == 0 || !is_wrong(v, o, fp);
}

/* Keeps the nearest `max`, nearest first; equals by place, so that all runs agree. */
static void keep(struct look *l, u16 o)
{
    const struct inventory *v = l->v;
    size_t at = l->n < l->max ? l->n : l->max;
    l->n++;
    while (at > 0) {
        u16 other = l->kept[at - 1];
        u32 a = v->notes[o].distance_us, b = v->notes[other].distance_us;
        if (a > b || (a == b && v->pool->names[o].place > v->pool->names[other].place))
            break;
        at--;
    }
    if (at >= l->max)
        return;
    size_t last = l->n <= l->max ? l->n - 1 : l->max - 1;
    memmove(l->kept + at + 1, l->kept + at, (last - at) * sizeof(*l->kept));
    l->kept[at] = o;
}

static void scan(struct look *l, const struct inventory_index *ix, bool now)
{
    const struct inventory *v = l->v;
    struct inventory_pool *p = v->pool;
    const struct inventory_bucket *b = ix->at ? ix->at[l->fp >> 16] : NULL;
    for (u32 i = 0; b && i < b->len; i++) {
        if (b->e[i] >> 16 != (l->fp & 0xffff))
            continue;
        u16 table = (u16)b->e[i];
        struct inventory_table *t = p->tables[table];
        if (t->stamp == p->stamp)
            continue; /* twice in one table, or in both indexes */
        t->stamp = p->stamp;
        if (t->origin == v->me || !holds(v, l->fp, table, now))
            continue;
        if (l->max > 0)
            keep(l, t->origin);
        else
            l->n++;
    }
}

static u32 look_fp(const struct inventory *v, const struct digest *d)
{
    u64 hash = inventory_digest_hash(v->pool, d);
    return inventory_fingerprint(hash ? hash : 1);
}

size_t inventory_holders(const struct inventory *v, const struct digest *d, struct node_key *out,
                         size_t max)
{
    u16 kept[LIMIT_MEMBERS];
    struct look l = {.v = v, .fp = look_fp(v, d), .out = out, .max = max, .kept = kept};
    if (l.max > LIMIT_MEMBERS)
        l.max = LIMIT_MEMBERS;
    v->pool->stamp++;
    scan(&l, &v->pool->now, true);
    scan(&l, &v->pool->was, false);
    for (size_t i = 0; out && i < l.n && i < l.max; i++)
        out[i] = v->pool->names[kept[i]].key;
    return l.n;
}

size_t inventory_copies(const struct inventory *v, const struct digest *d)
{
    return inventory_holders(v, d, NULL, 0);
}

bool inventory_is_held_by(const struct inventory *v, const struct digest *d,
                          const struct node_key *k)
{
    u16 o = inventory_find_key(v, k);
    if (o == INVENTORY_NONE || !inventory_seat_up(v, o) || v->seats[o].table == INVENTORY_NO_TABLE)
        return false;
    u32 fp = look_fp(v, d);
    const struct inventory_table *t = inventory_table_at(v, v->seats[o].table);
    u32 n = v->seats[o].n;
    return inventory_table_count(t, fp, n < t->reach ? t->reach : n) > 0 && !is_wrong(v, o, fp);
}

void inventory_wrong(struct inventory *v, const struct digest *d, const struct node_key *k)
{
    u16 o = inventory_find_key(v, k);
    if (o == INVENTORY_NONE || v->seats[o].table == INVENTORY_NO_TABLE)
        return;
    v->wrongs[v->wrong_at] =
        (struct inventory_wrong){.fp = look_fp(v, d),
                                 .n = v->seats[o].n,
                                 .epoch = inventory_table_at(v, v->seats[o].table)->epoch,
                                 .origin = o};
    v->wrong_at = (v->wrong_at + 1) % INVENTORY_WRONGS;
    if (v->n_wrongs < INVENTORY_WRONGS)
        v->n_wrongs++;
}

/* What an origin signs binds what its table holds: another table is refused under its signature,
 * though it was made for it.
 *
 * Heads once signed a sum over hashes of the fingerprints, 128 bits in two lanes. Two tables of one
 * sum are found within a tenth of a second (Wagner, "A generalized birthday problem", 2002): of a
 * million hashes those that agree in their low bits are subtracted in pairs, the differences again
 * in further bits, until nothing is left; what was added on the way is one table, what was taken
 * away the other. */
#include "inventory_liar.h"

#include <sodium/crypto_shorthash.h>

#define HASHES     (1u << 20)
#define LEVELS_MAX 14u

struct part { /* a difference of two of the level below */
    u64 lane[2];
    u32 plus, minus;
};
struct level {
    struct part *part;
    u32 n;
};
struct twins { /* two sorted tables of one sum */
    u32 *fp[2], len[2];
};

static u32 fingerprint(u32 i)
{
    return (i + 1) << 12 | 1; /* sixteen of one upper half */
}

static void old_hash(const struct inventory_pool *p, u32 fp, u64 lane[2])
{
    u8 in[4] = {(u8)fp, (u8)(fp >> 8), (u8)(fp >> 16), (u8)(fp >> 24)};
    u8 out[crypto_shorthash_siphashx24_BYTES];
    crypto_shorthash_siphashx24(out, in, sizeof(in), p->salt);
    memcpy(lane, out, sizeof(out));
}

static u32 bits_from(const struct part *p, u32 at, u32 bits)
{
    u64 v = at >= 64 ? p->lane[1] >> (at - 64) : p->lane[0] >> at;
    if (at > 0 && at < 64)
        v |= p->lane[1] << (64 - at);
    return (u32)v & ((1u << bits) - 1);
}

static u32 bits_of(u32 n)
{
    u32 bits = 0;
    while (n >> (bits + 1))
        bits++;
    return bits;
}

/* Pairs of `from` that agree in the bits from `at` on, subtracted. */
static struct level narrow(const struct level *from, u32 at, u32 bits)
{
    struct level to = {.part = malloc(from->n / 2 * sizeof(*to.part))};
    u32 *waits = calloc(1u << bits, sizeof(*waits)); /* 1 + who has these bits and no partner */
    assert_non_null(to.part);
    assert_non_null(waits);
    for (u32 i = 0; i < from->n; i++) {
        u32 *other = &waits[bits_from(&from->part[i], at, bits)];
        if (*other == 0) {
            *other = i + 1;
            continue;
        }
        const struct part *a = &from->part[i], *b = &from->part[*other - 1];
        to.part[to.n++] = (struct part){.lane = {a->lane[0] - b->lane[0], a->lane[1] - b->lane[1]},
                                        .plus = i,
                                        .minus = *other - 1};
        *other = 0;
    }
    free(waits);
    return to;
}

/* What a part is made of: to one table what it adds, to the other what it takes away. */
static void unfold(const struct level *levels, u32 level, u32 i, u32 sign, struct twins *t)
{
    if (level == 0) {
        t->fp[sign][t->len[sign]++] = fingerprint(i);
        return;
    }
    const struct part *p = &levels[level].part[i];
    unfold(levels, level - 1, p->plus, sign, t);
    unfold(levels, level - 1, p->minus, !sign, t);
}

static int by_value(const void *a, const void *b)
{
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return (x > y) - (x < y);
}

static void old_sum(const struct inventory_pool *p, const u32 *fp, u32 len, u64 sum[2])
{
    sum[0] = sum[1] = 0;
    for (u32 i = 0; i < len; i++) {
        u64 lane[2];
        old_hash(p, fp[i], lane);
        sum[0] += lane[0];
        sum[1] += lane[1];
    }
}

static struct twins find_twins(const struct inventory_pool *p)
{
    struct level levels[LEVELS_MAX + 1] = {{.part = malloc(HASHES * sizeof(struct part))}};
    struct twins t;
    u32 top = 0;
    assert_non_null(levels[0].part);
    for (; levels[0].n < HASHES - 1; levels[0].n++)
        old_hash(p, fingerprint(levels[0].n), levels[0].part[levels[0].n].lane);
    for (u32 at = 0; at < 128; top++) {
        u32 bits = bits_of(levels[top].n) - 1;
        bits = bits < 128 - at ? bits : 128 - at;
        assert_true(top < LEVELS_MAX && bits > 0);
        levels[top + 1] = narrow(&levels[top], at, bits);
        at += bits;
    }
    assert_true(levels[top].n > 0);
    for (u32 k = 0; k < 2; k++) {
        t.fp[k] = malloc((1u << top) / 2 * sizeof(u32));
        t.len[k] = 0;
        assert_non_null(t.fp[k]);
    }
    unfold(levels, top, 0, 0, &t);
    for (u32 k = 0; k <= top; k++)
        free(levels[k].part);
    for (u32 k = 0; k < 2; k++)
        qsort(t.fp[k], t.len[k], sizeof(u32), by_value); /* all differ: a total order */
    return t;
}

static void twins_are_two_tables_of_one_sum(const struct inventory_pool *p, const struct twins *t)
{
    u64 sum[2][2];
    for (u32 k = 0; k < 2; k++)
        old_sum(p, t->fp[k], t->len[k], sum[k]);
    assert_memory_equal(sum[0], sum[1], sizeof(sum[0]));
    assert_true(t->len[0] > 0 && t->len[0] == t->len[1]);
    assert_memory_not_equal(t->fp[0], t->fp[1], t->len[0] * sizeof(u32));
    for (u32 k = 0; k < 2; k++)
        assert_true(inventory_halves_fit(t->fp[k], t->len[k]));
}

/* The victim's table holds just this, in a new epoch, and it signs it. */
static void write_table(struct rig *r, const u32 *fp, u32 len)
{
    struct inventory *v = r->node[VICTIM].v;
    u16 t;
    assert_int_equal(inventory_table_new(v->pool, v->me, 2000, 0, fp, len, &t), 0);
    inventory_attach(v, v->me, t, 0);
    v->own.head_n = 0;
    v->own.head_due = true;
    rig_drive(r, VICTIM);
    rig_run(r, 10 * SECOND);
    rig_settle(r, 0, 10 * SECOND);
}

/* A snapshot of the victim's with these fingerprints, under its own newest signature. */
static size_t forge(const struct rig *r, const u32 *fp, u32 len, u8 *at)
{
    const struct inventory_table *t = table_of(r, VICTIM, VICTIM);
    const struct inventory_head *h = inventory_head_at(t, t->n);
    u8 *bits, *end = at;
    size_t size;
    assert_non_null(h);
    assert_int_equal(inventory_rice_encode(fp, len, &bits, &size), 0);
    put(&end, inventory_place(r->node[0].pool, &r->node[VICTIM].key), 8);
    put(&end, t->epoch, 8);
    put(&end, 2, 1);
    put(&end, h->n, 4);
    put(&end, len, 4);
    put(&end, size, 4);
    memcpy(end, bits, size);
    end += size;
    free(bits);
    inventory_head_put(h, end);
    end += INVENTORY_HEAD_BODY;
    put(&end, 0, 4);
    return (size_t)(end - at);
}

static bool has(const struct rig *r, u32 viewer, const u32 *fp, u32 len)
{
    const struct inventory *v = r->node[viewer].v;
    if (v->seats[seat_of(r, viewer, VICTIM)].table == INVENTORY_NO_TABLE)
        return false;
    const struct inventory_table *t = table_of(r, viewer, VICTIM);
    return t->len == len && memcmp(t->fp, fp, len * sizeof(*fp)) == 0;
}

/* Node 0 knows nothing of the victim, asks the liar, and is told twin `k`. */
static void a_twin_is_told(const struct twins *t, u32 k)
{
    static u8 entry[65536];
    struct rig r;
    region(&r, 5, false, 3);
    write_table(&r, t->fp[0], t->len[0]);
    u32 id = lure(&r, VICTIM);
    inventory_detach(r.node[0].v, seat_of(&r, 0, VICTIM));
    answer(&r, id, false, entry, forge(&r, t->fp[k], t->len[k], entry));
    assert_int_equal(has(&r, 0, t->fp[0], t->len[0]), k == 0);
    assert_false(has(&r, 0, t->fp[1], t->len[1]));
    assert_int_equal(rig_stats(&r, 0).bad_heads, k);
    /* It finds the true one in any case. */
    rig_run(&r, 10 * SECOND);
    rig_settle(&r, 0, 10 * SECOND);
    assert_true(has(&r, 0, t->fp[0], t->len[0]));
    rig_fini(&r);
}

static void a_twin_is_refused_under_the_others_head(void **state)
{
    (void)state;
    struct inventory_pool *p;
    assert_int_equal(inventory_pool_new(&p, inventory_salt("test")), 0); /* the rig's */
    struct twins t = find_twins(p);
    twins_are_two_tables_of_one_sum(p, &t);
    inventory_pool_del(p);
    a_twin_is_told(&t, 0);
    a_twin_is_told(&t, 1);
    for (u32 k = 0; k < 2; k++)
        free(t.fp[k]);
}

/* docs/wire.md, by another implementation: Python's hashlib. */
static void the_hash_is_what_the_wire_says(void **state)
{
    static const u32 fp[] = {1, 0x01020304, 0x01020304, 0xfffffffe};
    static const u8 said[] = {
        0x17, 0x0b, 0xc4, 0x4d, 0x52, 0x52, 0x6e, 0x70, 0x43, 0x98, 0x98,
        0x23, 0x62, 0x3b, 0xcb, 0x2f, 0x45, 0xd4, 0x54, 0xe4, 0x4e, 0x8a,
        0x44, 0x39, 0xec, 0x80, 0x18, 0xcb, 0x2b, 0xd0, 0xc0, 0xdd,
    };
    struct inventory_pool *p;
    (void)state;
    assert_int_equal(inventory_pool_new(&p, 0x0102030405060708), 0);
    struct inventory_hash256 hash = inventory_hash256(p, fp, countof(fp));
    assert_memory_equal(hash.bytes, said, sizeof(said));
    inventory_pool_del(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_twin_is_refused_under_the_others_head),
        cmocka_unit_test(the_hash_is_what_the_wire_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Tables, the indexes and look-ups against a model that keeps every version of everything; the tree
 * and the coding of snapshots against what they must be. */
#include "inventory_rig.h"

#include "proto/inventory_impl.h"

#define ORIGINS  5u
#define VIEWS    3u
#define UNIVERSE 48u
#define HISTORY  3000u

struct model { /* of one table: how often each layer is there, by version */
    u16 table, origin;
    u32 n;
    u8 held[HISTORY][UNIVERSE];
};

static struct model models[ORIGINS];
static struct digest universe[UNIVERSE];
static u32 prints[UNIVERSE];

static struct inventory *view_new(struct inventory_pool *p, u32 i)
{
    struct node_key key;
    struct node_secret secret;
    struct inventory *v;
    struct rng rng;
    rig_seed_key(100 + i, &key, &secret);
    rng_seed(&rng, i);
    struct inventory_options opt = {.pool = p,
                                    .self = key,
                                    .secret = secret,
                                    .epoch = 1,
                                    .rng = rng,
                                    .datagram_max = RIG_DATAGRAM,
                                    .now_ns = SECOND};
    assert_int_equal(inventory_new(&v, &opt), 0);
    for (u32 k = 0; k < ORIGINS; k++) {
        rig_seed_key(k, &key, &secret);
        assert_int_equal(inventory_peer_up(v, &key, k * MS, SECOND), 0);
    }
    return v;
}

/* The fingerprint's rank, counted without the table's help. */
static u32 rank_of(const struct model *m, u32 layer)
{
    u32 rank = 0;
    for (u32 k = 0; k < UNIVERSE; k++)
        if (prints[k] < prints[layer])
            rank += m->held[m->n][k];
    return rank;
}

static void write_one(struct inventory_pool *p, struct model *m, struct rng *r)
{
    u32 in = (u32)rng_below(r, UNIVERSE), out = (u32)rng_below(r, UNIVERSE);
    struct inventory_op op = {.rank_kind = INVENTORY_ADD, .new_fp = prints[in]};
    u32 what = (u32)rng_below(r, 10);
    bool can = m->held[m->n][out] > 0;
    memcpy(m->held[m->n + 1], m->held[m->n], UNIVERSE);
    if (what == 0) {
        op = (struct inventory_op){.rank_kind = INVENTORY_NOP};
    } else if (what < 7 && can) {
        bool replace = what < 4;
        u32 rank = rank_of(m, out) + (u32)rng_below(r, m->held[m->n][out]);
        op.rank_kind = rank << 2 | (replace ? INVENTORY_REPLACE : INVENTORY_REMOVE);
        op.new_fp = replace ? prints[in] : 0;
        m->held[m->n + 1][out]--;
        m->held[m->n + 1][in] = (u8)(m->held[m->n + 1][in] + replace);
    } else {
        m->held[m->n + 1][in]++;
    }
    assert_int_equal(inventory_table_append(p, m->table, &op), 0);
    m->n++;
}

static void check_table(const struct inventory_pool *p, const struct model *m, u32 n)
{
    struct inventory_table *t = p->tables[m->table];
    u32 *fp, len, total = 0;
    assert_int_equal(inventory_table_content(t, n, &fp, &len), 0);
    for (u32 k = 0; k < UNIVERSE; k++) {
        u32 count = 0;
        for (u32 i = 0; i < len; i++)
            count += fp[i] == prints[k];
        total += m->held[n][k];
        assert_int_equal(count, m->held[n][k]);
        assert_int_equal(inventory_table_count(t, prints[k], n), count);
    }
    assert_int_equal(len, total);
    assert_int_equal(inventory_table_len(t, n), total);
    for (u32 i = 1; i < len; i++)
        assert_true(fp[i - 1] <= fp[i]);
    struct inventory_hash256 a = inventory_table_hash256(p, t, n);
    struct inventory_hash256 b = inventory_hash256(p, fp, len);
    assert_true(inventory_hash256_equal(&a, &b));
    u16 found = inventory_table_find(p, m->origin, t->epoch, n, &a);
    assert_int_equal(found, m->table);
    free(fp);
}

static void check_view(const struct inventory *v, u32 layer)
{
    struct node_key keys[ORIGINS];
    size_t want = 0, got = inventory_holders(v, &universe[layer], keys, ORIGINS);
    for (u32 o = 0; o < ORIGINS; o++) {
        u16 seat = models[o].origin;
        bool holds = models[o].held[v->seats[seat].n][layer] > 0, said = false;
        want += holds;
        for (size_t i = 0; i < got; i++)
            said |= node_key_equal(&keys[i], &v->pool->names[seat].key);
        assert_int_equal(said, holds);
        assert_int_equal(inventory_is_held_by(v, &universe[layer], &v->pool->names[seat].key),
                         holds);
    }
    assert_int_equal(got, want);
    assert_int_equal(inventory_copies(v, &universe[layer]), want);
}

static void views_at_any_version_see_their_own(void **state)
{
    (void)state;
    for (u64 seed = 1; seed <= 6; seed++) {
        struct inventory_pool *p;
        struct inventory *views[VIEWS];
        struct rng r;
        rng_seed(&r, seed);
        assert_int_equal(inventory_pool_new(&p, inventory_salt("test")), 0);
        for (u32 k = 0; k < UNIVERSE; k++) {
            universe[k] = rig_layer(k / 2 + 1000 * (k % 2));
            prints[k] = inventory_fingerprint(inventory_digest_hash(p, &universe[k]));
        }
        for (u32 i = 0; i < VIEWS; i++)
            views[i] = view_new(p, i);
        for (u32 o = 0; o < ORIGINS; o++) {
            struct model *m = &models[o];
            struct node_key key;
            struct node_secret secret;
            rig_seed_key(o, &key, &secret);
            memset(m, 0, sizeof(*m));
            m->origin = inventory_find_key(views[0], &key);
            assert_int_equal(inventory_table_new(p, m->origin, 1, 0, NULL, 0, &m->table), 0);
            for (u32 i = 0; i < VIEWS; i++)
                inventory_attach(views[i], m->origin, m->table, 0);
        }
        for (u32 step = 0; step < 6000; step++) {
            struct model *m = &models[rng_below(&r, ORIGINS)];
            struct inventory *v = views[rng_below(&r, VIEWS)];
            const struct inventory_table *t = p->tables[m->table];
            if (m->n + 1 < HISTORY)
                write_one(p, m, &r);
            /* A view moves to any version that can still be told; all keep within reach. */
            u32 n = t->reach + (u32)rng_below(&r, t->n - t->reach + 1);
            inventory_attach(v, m->origin, m->table, n);
            for (u32 i = 0; i < VIEWS; i++)
                for (u32 o = 0; o < ORIGINS; o++)
                    if (views[i]->seats[models[o].origin].n < p->tables[models[o].table]->reach)
                        inventory_attach(views[i], models[o].origin, models[o].table, models[o].n);
            check_view(v, (u32)rng_below(&r, UNIVERSE));
            if (step % 97 == 0)
                check_table(p, m, n);
        }
        for (u32 i = 0; i < VIEWS; i++)
            inventory_del(views[i]);
        inventory_pool_del(p);
    }
}

static void what_cannot_be_applied_is_refused(void **state)
{
    (void)state;
    struct inventory_pool *p;
    struct inventory *v;
    u16 t;
    u32 fp[3] = {10, 20, 30};
    assert_int_equal(inventory_pool_new(&p, 1), 0);
    v = view_new(p, 0);
    struct node_key key;
    struct node_secret secret;
    rig_seed_key(0, &key, &secret);
    assert_int_equal(inventory_table_new(p, inventory_find_key(v, &key), 1, 7, fp, 3, &t), 0);
    const struct inventory_op bad[] = {
        {.rank_kind = 3 << 2 | INVENTORY_REPLACE, .new_fp = 5},
        {.rank_kind = INVENTORY_REPLACE},
        {.rank_kind = INVENTORY_ADD},
        {.rank_kind = 1 << 2 | INVENTORY_ADD, .new_fp = 5},
        {.rank_kind = 3 << 2 | INVENTORY_REMOVE},
        {.rank_kind = INVENTORY_REMOVE, .new_fp = 5},
        {.rank_kind = INVENTORY_NOP, .new_fp = 5},
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct inventory_op op = bad[i];
        assert_int_equal(inventory_table_append(p, t, &op), ERR_INVAL);
    }
    assert_int_equal(p->tables[t]->n, 7);
    assert_int_equal(p->tables[t]->len, 3);
    inventory_table_put(p, t);
    inventory_del(v);
    inventory_pool_del(p);
}

static void snapshots_come_back_as_they_were(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 5);
    const u32 sizes[] = {0, 1, 2, 3, 100, 5000, 20000, LIMIT_INVENTORY_SLOTS};
    for (size_t s = 0; s < countof(sizes); s++) {
        u32 n = sizes[s], *fp = malloc((n + 1) * sizeof(*fp)), *back;
        u64 at = 0;
        for (u32 i = 0; i < n; i++) { /* sorted, with some equals */
            at += rng_below(&r, 16) ? rng_below(&r, 2 * ((1ull << 32) / (n + 1))) : 0;
            fp[i] = at == 0 ? 1 : at > UINT32_MAX ? UINT32_MAX : (u32)at;
        }
        u8 *bits;
        size_t size;
        assert_int_equal(inventory_rice_encode(fp, n, &bits, &size), 0);
        assert_int_equal(inventory_rice_decode(bits, size, n, &back), 0);
        assert_memory_equal(fp, back, n * sizeof(*fp));
        free(back);
        if (n > 0) {
            printf("%u fingerprints: %.2f bits each\n", n, 8.0 * (double)size / n);
            int err = inventory_rice_decode(bits, size / 2, n, &back);
            assert_int_equal(err, ERR_PROTO);
        }
        free(bits);
        free(fp);
    }
}

static void check_tree(const struct inventory *v)
{
    u32 seen = 0;
    for (u32 i = 0; i < v->n_order; i++) {
        u16 o = v->order[i], up = v->limbs[o].up;
        u32 depth = 0;
        bool kid = up == INVENTORY_NONE ? v->root == o : false;
        for (unsigned k = 0; up != INVENTORY_NONE && k < INVENTORY_KIDS; k++)
            kid |= v->limbs[up].kid[k] == o;
        assert_true(kid);
        for (; o != INVENTORY_NONE; o = v->limbs[o].up)
            assert_true(depth++ < 40);
        seen++;
    }
    assert_int_equal(seen, v->n_order);
}

/* Whatever the order in which members came and went, all have the same tree; and it is shallow. */
static void the_tree_is_a_function_of_the_set(void **state)
{
    (void)state;
    struct inventory_pool *p;
    struct inventory *v[2];
    struct node_key keys[400];
    u32 order[400], deepest = 0, changed = 0;
    struct rng r;
    rng_seed(&r, 3);
    assert_int_equal(inventory_pool_new(&p, 1), 0);
    for (u32 i = 0; i < 2; i++)
        v[i] = view_new(p, i);
    for (u32 i = 0; i < countof(keys); i++) {
        rng_bytes(&r, &keys[i], sizeof(keys[i]));
        order[i] = i;
    }
    for (u32 i = 0; i < 2; i++) {
        struct node_key other = v[1 - i]->self;
        assert_int_equal(inventory_peer_up(v[i], &other, 0, SECOND), 0);
        rng_shuffle_u32(&r, order, countof(order));
        for (u32 k = 0; k < countof(order); k++) {
            assert_int_equal(inventory_peer_up(v[i], &keys[order[k]], 0, SECOND), 0);
            if (k % 3 == 0) {
                inventory_peer_down(v[i], &keys[order[k / 2]], SECOND);
                check_tree(v[i]);
            }
        }
        for (u32 k = 0; k < countof(order); k++)
            assert_int_equal(inventory_peer_up(v[i], &keys[k], 0, SECOND), 0);
        check_tree(v[i]);
    }
    for (u32 i = 0; i < v[0]->n_order; i++) {
        u16 o = v[0]->order[i];
        u32 depth = 0;
        assert_int_equal(o, v[1]->order[i]);
        assert_memory_equal(&v[0]->limbs[o], &v[1]->limbs[o], sizeof(v[0]->limbs[o]));
        for (; o != INVENTORY_NONE; o = v[0]->limbs[o].up)
            depth++;
        deepest = depth > deepest ? depth : deepest;
    }
    for (u32 k = 0; k < countof(keys); k++) { /* how many edges one departure moves */
        struct inventory_limb before[512];
        memcpy(before, v[0]->limbs, v[0]->cap_seats * sizeof(before[0]));
        inventory_peer_down(v[0], &keys[k], SECOND);
        for (u32 i = 0; i < v[0]->n_order; i++)
            changed += v[0]->limbs[v[0]->order[i]].up != before[v[0]->order[i]].up;
        assert_int_equal(inventory_peer_up(v[0], &keys[k], 0, SECOND), 0);
    }
    u32 departures = countof(keys);
    printf("%u members: %u deep at most; %.2f edges move with one\n", v[0]->n_order, deepest,
           (double)changed / departures);
    assert_true(deepest <= 10);
    assert_true(changed <= 4 * countof(keys));
    for (u32 i = 0; i < 2; i++)
        inventory_del(v[i]);
    inventory_pool_del(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_at_any_version_see_their_own),
        cmocka_unit_test(what_cannot_be_applied_is_refused),
        cmocka_unit_test(snapshots_come_back_as_they_were),
        cmocka_unit_test(the_tree_is_a_function_of_the_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

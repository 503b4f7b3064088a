/* The inventory on a small network: what one node holds, all know; through loss, cuts, restarts. */
#include "inventory_rig.h"

#include "proto/inventory_impl.h"

static void a_layer_is_known_to_all(void **state)
{
    struct rig r;
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        rig_init(&r, 12, shared, 1);
        rig_all_up(&r);
        rig_run(&r, 2 * SECOND);
        rig_add(&r, 3, 77);
        assert_int_equal(rig_holders(&r, 5, 77), 0);
        rig_run(&r, SECOND);
        for (u32 i = 0; i < r.n; i++)
            assert_int_equal(rig_holders(&r, i, 77), i == 3 ? 0 : 1);
        rig_add(&r, 7, 77);
        rig_add(&r, 7, 78);
        rig_run(&r, SECOND);
        for (u32 i = 0; i < r.n; i++) {
            assert_int_equal(rig_holders(&r, i, 77), i == 3 || i == 7 ? 1 : 2);
            assert_int_equal(rig_holds(&r, i, 7, 78), true);
        }
        rig_remove(&r, 7, 77);
        rig_run(&r, SECOND);
        for (u32 i = 0; i < r.n; i++)
            assert_int_equal(rig_holders(&r, i, 77), i == 3 ? 0 : 1);
        assert_true(rig_agree(&r, 0));
        rig_fini(&r);
    }
}

static void a_joiner_fetches_what_was_there(void **state)
{
    struct rig r;
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        rig_init(&r, 6, shared, 2);
        for (u32 i = 0; i < 5; i++) {
            rig_start(&r, i, 1000);
            for (u64 k = 0; k < 2000; k++)
                rig_add(&r, i, 10000 * i + k);
        }
        for (u32 i = 0; i < 5; i++)
            rig_up(&r, i);
        rig_run(&r, 20 * SECOND);
        assert_true(rig_agree(&r, 0));
        for (u32 i = 0; i < 5; i++)
            assert_int_equal(rig_holders(&r, i, 10000 * ((i + 1) % 5) + 1999), 1);
        rig_start(&r, 5, 1000);
        rig_up(&r, 5);
        rig_run(&r, 3 * SECOND);
        assert_true(rig_agree(&r, 0));
        for (u64 k = 0; k < 2000; k++)
            assert_true(rig_holds(&r, 5, k % 5, 10000 * (k % 5) + k));
        assert_true(rig_stats(&r, 5).snapshots_received >= 5);
        rig_fini(&r);
    }
}

/* --- own writes ------------------------------------------------------------------------------ */

static void what_is_there_is_not_added_twice(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2, false, 3);
    rig_all_up(&r);
    rig_run(&r, SECOND);
    struct digest d = rig_layer(1);
    struct inventory *v = r.node[0].v;
    assert_int_equal(inventory_remove(v, &d, r.now_ns), ERR_NOTFOUND);
    assert_int_equal(inventory_add(v, &d, r.now_ns), 0);
    assert_int_equal(inventory_add(v, &d, r.now_ns), ERR_EXISTS);
    assert_int_equal(inventory_remove(v, &d, r.now_ns), 0);
    assert_int_equal(inventory_remove(v, &d, r.now_ns), ERR_NOTFOUND);
    assert_int_equal(inventory_add(v, &d, r.now_ns), 0);
    rig_drive(&r, 0);
    rig_run(&r, SECOND);
    assert_int_equal(rig_holders(&r, 1, 1), 1);
    assert_int_equal(rig_holders(&r, 0, 1), 0); /* ourselves left out */
    rig_fini(&r);
}

static u64 version_of(const struct rig *r, u32 viewer, u32 origin)
{
    struct inventory_origin o;
    size_t at = 0;
    while (inventory_each(r->node[viewer].v, &at, &o))
        if (node_key_equal(&o.key, &r->node[origin].key))
            return o.n;
    fail_msg("not known");
    return 0;
}

static void a_replacement_is_one_write(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2, false, 4);
    rig_all_up(&r);
    rig_add(&r, 0, 1);
    rig_run(&r, SECOND);
    u64 n = version_of(&r, 1, 0);
    rig_remove(&r, 0, 1);
    rig_add(&r, 0, 2);
    rig_run(&r, SECOND);
    assert_int_equal(version_of(&r, 1, 0), n + 1);
    assert_int_equal(rig_holders(&r, 1, 1), 0);
    assert_int_equal(rig_holders(&r, 1, 2), 1);
    /* What came and went within one batch is not told at all. */
    rig_add(&r, 0, 3);
    rig_remove(&r, 0, 3);
    rig_run(&r, SECOND);
    assert_int_equal(version_of(&r, 1, 0), n + 1);
    rig_fini(&r);
}

static void a_full_table_refuses_more(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2, false, 5);
    rig_start(&r, 0, 1000);
    struct digest d;
    for (u64 k = 0; k < LIMIT_INVENTORY_SLOTS; k++) {
        d = rig_layer(k);
        assert_int_equal(inventory_add(r.node[0].v, &d, r.now_ns), 0);
    }
    d = rig_layer(LIMIT_INVENTORY_SLOTS);
    assert_int_equal(inventory_add(r.node[0].v, &d, r.now_ns), ERR_FULL);
    rig_start(&r, 1, 1000);
    rig_up(&r, 1);
    rig_run(&r, 10 * SECOND);
    assert_int_equal(rig_holders(&r, 1, 0), 1);
    assert_int_equal(rig_holders(&r, 1, LIMIT_INVENTORY_SLOTS - 1), 1);
    rig_remove(&r, 0, 0);
    assert_int_equal(inventory_add(r.node[0].v, &d, r.now_ns), 0);
    rig_drive(&r, 0);
    rig_run(&r, SECOND);
    assert_int_equal(rig_holders(&r, 1, 0), 0);
    assert_int_equal(rig_holders(&r, 1, LIMIT_INVENTORY_SLOTS), 1);
    rig_fini(&r);
}

/* Thousands removed at once, as by a scrub, are one rewrite. */
static void many_removals_at_once(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3, false, 6);
    for (u32 i = 0; i < 3; i++)
        rig_start(&r, i, 1000);
    for (u64 k = 0; k < 6000; k++)
        rig_add(&r, 0, k);
    rig_all_up(&r);
    rig_run(&r, 5 * SECOND);
    assert_true(rig_agree(&r, 0));
    for (u64 k = 0; k < 5500; k++)
        rig_remove(&r, 0, k);
    rig_run(&r, 5 * SECOND);
    rig_settle(&r, 0, 10 * SECOND);
    assert_int_equal(rig_holders(&r, 2, 5499), 0);
    assert_int_equal(rig_holders(&r, 2, 5500), 1);
    rig_fini(&r);
}

/* Two layers of one fingerprint: one going leaves the other. */
static void a_shared_fingerprint_counts_twice(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 2, false, 7);
    rig_all_up(&r);
    const struct inventory_pool *p = r.node[0].pool;
    enum { TRIES = 1 << 18, SLOTS = 1 << 20 };
    u64 *seen = calloc(SLOTS, sizeof(*seen)), twin[2] = {0, 0};
    assert_non_null(seen);
    for (u64 k = 1; k < TRIES && !twin[1]; k++) {
        struct digest d = rig_layer(k);
        u32 fp = inventory_fingerprint(inventory_digest_hash(p, &d)), at = fp % SLOTS;
        for (; seen[at]; at = (at + 1) % SLOTS)
            if ((u32)(seen[at] >> 32) == fp) {
                twin[0] = (u32)seen[at];
                twin[1] = k;
                break;
            }
        seen[at] = (u64)fp << 32 | k;
    }
    free(seen);
    assert_true(twin[1] != 0);
    rig_add(&r, 0, twin[0]);
    rig_add(&r, 0, twin[1]);
    rig_run(&r, SECOND);
    assert_int_equal(rig_holders(&r, 1, twin[0]), 1); /* one node, named once */
    rig_remove(&r, 0, twin[0]);
    rig_run(&r, SECOND);
    assert_int_equal(rig_holders(&r, 1, twin[1]), 1);
    rig_remove(&r, 0, twin[1]);
    rig_run(&r, SECOND);
    assert_int_equal(rig_holders(&r, 1, twin[1]), 0);
    rig_fini(&r);
}

/* --- hints ----------------------------------------------------------------------------------- */

static void the_nearest_holders_come_first(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 30, true, 8);
    rig_all_up(&r);
    for (u32 i = 0; i < 30; i++)
        if (i != 10)
            rig_add(&r, i, 5);
    rig_run(&r, 2 * SECOND);
    rig_settle(&r, 0, 10 * SECOND);
    struct digest d = rig_layer(5);
    struct node_key keys[4];
    assert_int_equal(inventory_holders(r.node[10].v, &d, keys, 4), 29);
    for (u32 k = 0; k < 4; k++) {
        u32 i = rig_index(&r, &keys[k]);
        assert_true(i + 2 >= 10 && i <= 12);
    }
    /* Told of another distance, it is further. */
    assert_int_equal(inventory_peer_up(r.node[10].v, &r.node[9].key, SECOND, r.now_ns), 0);
    assert_int_equal(inventory_holders(r.node[10].v, &d, keys, 4), 29);
    for (u32 k = 0; k < 4; k++)
        assert_true(rig_index(&r, &keys[k]) != 9);
    assert_int_equal(inventory_copies(r.node[10].v, &d), 29);
    rig_fini(&r);
}

static void a_wrong_hint_is_not_given_again(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 3, true, 9);
    rig_all_up(&r);
    rig_add(&r, 1, 5);
    rig_add(&r, 2, 5);
    rig_run(&r, SECOND);
    struct digest d = rig_layer(5);
    inventory_wrong(r.node[0].v, &d, &r.node[1].key);
    assert_int_equal(rig_holders(&r, 0, 5), 1);
    assert_false(rig_holds(&r, 0, 1, 5));
    assert_true(rig_holds(&r, 0, 2, 5));
    assert_true(rig_holds(&r, 2, 1, 5)); /* that is our own experience */
    rig_add(&r, 1, 6);                   /* another write is not that one */
    rig_run(&r, SECOND);
    assert_false(rig_holds(&r, 0, 1, 5));
    rig_remove(&r, 1, 5);
    rig_run(&r, SECOND);
    rig_add(&r, 1, 5);
    rig_run(&r, SECOND);
    assert_true(rig_holds(&r, 0, 1, 5));
    rig_fini(&r);
}

static void members_are_bounded(void **state)
{
    struct rig r;
    struct node_key key;
    (void)state;
    rig_init(&r, 1, false, 10);
    rig_start(&r, 0, 1000);
    for (u32 k = 0; k < LIMIT_MEMBERS - 1; k++) {
        rng_bytes(&r.rng, &key, sizeof(key));
        assert_int_equal(inventory_peer_up(r.node[0].v, &key, 0, r.now_ns), 0);
    }
    u64 bytes = inventory_bytes(r.node[0].v);
    for (u32 k = 0; k < 3 * LIMIT_MEMBERS; k++) { /* who comes and goes is forgotten in time */
        struct node_key other;
        rng_bytes(&r.rng, &other, sizeof(other));
        assert_int_equal(inventory_peer_up(r.node[0].v, &other, 0, r.now_ns), ERR_FULL);
        inventory_peer_down(r.node[0].v, &key, r.now_ns);
        assert_int_equal(inventory_peer_up(r.node[0].v, &other, 0, r.now_ns), 0);
        key = other;
    }
    assert_true(inventory_bytes(r.node[0].v) <= 4 * bytes);
    rig_fini(&r);
}

static void all_memory_comes_back(void **state)
{
    struct rig r;
    (void)state;
    rig_init(&r, 4, true, 11);
    u64 empty = inventory_pool_bytes(r.pool);
    for (u32 i = 0; i < 4; i++) {
        rig_start(&r, i, 1000);
        for (u64 k = 0; k < 500; k++)
            rig_add(&r, i, 1000 * i + k);
    }
    rig_all_up(&r);
    rig_run(&r, 5 * SECOND);
    u64 full = inventory_pool_bytes(r.pool);
    /* 2,000 fingerprints: once in tables, once in the index, whoever looks. */
    assert_true(full - empty < 1200000);
    for (u32 i = 0; i < 4; i++)
        rig_stop(&r, i);
    /* The second index stays, and rows of names; nothing of the tables. */
    assert_true(inventory_pool_bytes(r.pool) - empty < 550000);
    assert_int_equal(r.pool->now.entries + r.pool->was.entries, 0);
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_is_known_to_all),
        cmocka_unit_test(a_joiner_fetches_what_was_there),
        cmocka_unit_test(what_is_there_is_not_added_twice),
        cmocka_unit_test(a_replacement_is_one_write),
        cmocka_unit_test(a_full_table_refuses_more),
        cmocka_unit_test(many_removals_at_once),
        cmocka_unit_test(a_shared_fingerprint_counts_twice),
        cmocka_unit_test(the_nearest_holders_come_first),
        cmocka_unit_test(a_wrong_hint_is_not_given_again),
        cmocka_unit_test(members_are_bounded),
        cmocka_unit_test(all_memory_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

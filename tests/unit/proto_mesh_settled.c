/* A region that begins settled, as simulations do: everybody knows everybody and what each holds,
 * without a message; and hints change nothing. */
#include "mesh_rig.h"

#define NODES 12

struct settled {
    struct rig *r;
    struct inventory_pool *pool;
};

static struct settled settled_new(void)
{
    struct settled s = {.r = rig_new()};
    struct addr seed = rig_addr(0);
    assert_int_equal(inventory_pool_new(&s.pool, inventory_salt("office")), 0);
    for (size_t i = 0; i < NODES; i++) {
        struct rig_node *n = &s.r->n[i];
        struct mesh_options opt = rig_options(s.r, i);
        struct digest d = rig_layer((u32)i), shared = rig_layer(1000);
        opt.pool = s.pool;
        assert_int_equal(mesh_new(&n->m, &opt), 0);
        n->addr = opt.self.addr;
        n->key = *mesh_key(n->m);
        s.r->count++;
        assert_int_equal(mesh_seed(n->m, &seed), 0);
        mesh_hold(n->m, &d, s.r->now_ns);
        mesh_hold(n->m, &shared, s.r->now_ns);
        mesh_settle(n->m, s.r->now_ns);
    }
    for (size_t i = 0; i < NODES; i++)
        for (size_t k = 0; k < NODES; k++)
            assert_int_equal(mesh_prime(s.r->n[i].m, s.r->n[k].m, s.r->now_ns), 0);
    return s;
}

static void settled_del(struct settled *s)
{
    rig_del(s->r);
    inventory_pool_del(s->pool);
}

static void check_agree(const struct rig *r)
{
    u64 hash = inventory_hash(mesh_inventory(r->n[0].m));
    assert_true(rig_all_meet(r));
    for (size_t i = 0; i < NODES; i++) {
        struct digest shared = rig_layer(1000);
        assert_true(inventory_hash(mesh_inventory(r->n[i].m)) == hash);
        assert_int_equal(mesh_copies(r->n[i].m, &shared), NODES - 1);
        for (u32 k = 0; k < NODES; k++) {
            struct digest d = rig_layer(k);
            assert_int_equal(mesh_copies(r->n[i].m, &d), i == k ? 0 : 1);
        }
    }
}

static void all_is_known_from_the_first_moment(void **state)
{
    (void)state;
    struct settled s = settled_new();
    check_agree(s.r);
    rig_run(s.r, 30 * S);
    check_agree(s.r);
    for (size_t i = 0; i < NODES; i++) { /* nothing was missing, so nothing was fetched */
        struct inventory_stats st;
        struct mesh_stats ms = rig_stats(s.r, i);
        inventory_stats(mesh_inventory(s.r->n[i].m), &st);
        assert_int_equal(st.snapshots_sent + st.snapshots_received + st.bad_heads + st.conflicts,
                         0);
        assert_int_equal(s.r->n[i].events[MEMBER_EVENT_UP], NODES - 1);
        assert_int_equal(s.r->n[i].events[MEMBER_EVENT_DOWN], 0);
        assert_int_equal(ms.malformed + ms.unknown + ms.strangers, 0);
        assert_true(ms.datagrams_in > 0); /* they do probe each other */
    }
    settled_del(&s);
}

static void what_changes_then_is_told(void **state)
{
    (void)state;
    struct settled s = settled_new();
    struct digest gone = rig_layer(3), fresh = rig_layer(77);
    rig_run(s.r, 2 * S);
    mesh_drop(s.r->n[3].m, &gone, s.r->now_ns);
    mesh_hold(s.r->n[3].m, &fresh, s.r->now_ns);
    rig_run(s.r, 4 * S);
    for (size_t i = 0; i < NODES; i++) {
        assert_int_equal(mesh_copies(s.r->n[i].m, &gone), 0);
        assert_int_equal(mesh_copies(s.r->n[i].m, &fresh), i == 3 ? 0 : 1);
    }
    mesh_del(s.r->n[5].m); /* and who dies is found dead */
    s.r->n[5].m = NULL;
    assert_true(rig_until(s.r, rig_all_meet, 30 * S));
    settled_del(&s);
}

/* Whatever the hint is about: the same messages come out as without it. */
static void hints_change_nothing(void **state)
{
    (void)state;
    struct settled plain = settled_new(), hinted = settled_new();
    struct rng r;
    u8 bytes[LIMIT_DATAGRAM_BYTES];
    rng_seed(&r, 3);
    for (int i = 0; i < 200; i++) {
        rig_run(plain.r, 50 * MS);
        rig_run(hinted.r, 50 * MS);
        for (size_t k = 0; k < NODES; k++)
            for (unsigned step = 0; step < MESH_WARM_STEPS; step++) {
                size_t len = rng_below(&r, sizeof(bytes) + 1);
                rng_bytes(&r, bytes, sizeof(bytes));
                memcpy(bytes + 5, hinted.r->n[rng_below(&r, NODES)].key.bytes, 8);
                mesh_warm(hinted.r->n[k].m, step, len % 3 ? bytes : NULL, len % 3 ? len : 0);
            }
    }
    for (size_t k = 0; k < NODES; k++) {
        struct mesh_stats a = rig_stats(plain.r, k), b = rig_stats(hinted.r, k);
        assert_memory_equal(&a, &b, sizeof(a));
    }
    settled_del(&plain);
    settled_del(&hinted);
    struct rig *alone = rig_new(); /* where there is nobody to look up */
    rig_start_all(alone, 0, 1);
    for (unsigned step = 0; step < MESH_WARM_STEPS; step++) {
        mesh_warm(alone->n[0].m, step, bytes, sizeof(bytes));
        mesh_warm(alone->n[0].m, step, bytes, 3);
        mesh_warm(alone->n[0].m, step, NULL, 0);
    }
    rig_del(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_known_from_the_first_moment),
        cmocka_unit_test(what_changes_then_is_told),
        cmocka_unit_test(hints_change_nothing),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

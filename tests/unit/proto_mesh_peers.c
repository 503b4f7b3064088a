/* The table of the living: found by key and by address, drawn at random, bounded; and what it keeps
 * of those who went. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/mesh_impl.h"

static struct node_key key_of(u32 i)
{
    struct node_key k = {{0}};
    i++;
    memcpy(k.bytes, &i, sizeof(i));
    return k;
}

static struct addr addr_of(u32 i)
{
    return addr_v4(10, (u8)(i >> 16), (u8)(i >> 8), (u8)i, 5000);
}

static struct mesh_peer *up(struct mesh_peers *t, u32 i)
{
    struct node_key k = key_of(i);
    struct addr a = addr_of(i);
    return mesh_peers_up(t, &k, &a);
}

static void down(struct mesh_peers *t, u32 i)
{
    struct node_key k = key_of(i);
    mesh_peers_down(t, &k);
}

static struct mesh_peer *find(const struct mesh_peers *t, u32 i)
{
    struct node_key k = key_of(i);
    return mesh_peers_find(t, &k);
}

static struct mesh_peer *at(const struct mesh_peers *t, u32 i)
{
    struct addr a = addr_of(i);
    return mesh_peers_at(t, &a);
}

static void nobody_is_in_an_empty_table(void **state)
{
    (void)state;
    struct mesh_peers t;
    struct rng r;
    rng_seed(&r, 1);
    mesh_peers_init(&t, 5);
    assert_null(find(&t, 0));
    assert_null(at(&t, 0));
    assert_null(mesh_peers_random(&t, &r));
    down(&t, 0);
    assert_int_equal(mesh_peers_bytes(&t), 0);
    mesh_peers_fini(&t);
}

static void the_living_are_found_both_ways(void **state)
{
    (void)state;
    struct mesh_peers t;
    mesh_peers_init(&t, 5);
    for (u32 i = 0; i < 1000; i++)
        assert_non_null(up(&t, i));
    for (u32 i = 0; i < 1000; i++) {
        struct node_key k = key_of(i);
        assert_true(find(&t, i) == at(&t, i) && node_key_equal(&find(&t, i)->key, &k));
    }
    assert_null(find(&t, 1000));
    assert_null(at(&t, 1000));
    assert_int_equal(t.n_live, 1000);
    assert_ptr_equal(up(&t, 7), find(&t, 7)); /* idempotent */
    assert_int_equal(t.n_live, 1000);
    for (u32 i = 0; i < 1000; i += 2)
        down(&t, i);
    down(&t, 0);
    for (u32 i = 0; i < 1000; i++) {
        assert_int_equal(find(&t, i) != NULL, i % 2);
        assert_int_equal(at(&t, i) != NULL, i % 2);
    }
    assert_int_equal(t.n_live, 500);
    mesh_peers_fini(&t);
}

static void who_moves_is_found_at_the_new_place(void **state)
{
    (void)state;
    struct mesh_peers t;
    mesh_peers_init(&t, 5);
    up(&t, 1);
    up(&t, 2);
    struct node_key k = key_of(1);
    struct addr there = addr_of(99), of2 = addr_of(2);
    assert_non_null(mesh_peers_up(&t, &k, &there));
    assert_null(at(&t, 1));
    assert_ptr_equal(at(&t, 99), find(&t, 1));
    assert_non_null(mesh_peers_up(&t, &k, &of2)); /* two at one place: one of them is found */
    assert_non_null(at(&t, 2));
    mesh_peers_down(&t, &k);
    assert_ptr_equal(at(&t, 2), find(&t, 2));
    mesh_peers_fini(&t);
}

static void all_the_living_are_drawn(void **state)
{
    (void)state;
    struct mesh_peers t;
    struct rng r;
    unsigned count[20] = {0};
    rng_seed(&r, 1);
    mesh_peers_init(&t, 5);
    for (u32 i = 0; i < 20; i++)
        up(&t, i);
    for (u32 i = 5; i < 10; i++)
        down(&t, i);
    for (int i = 0; i < 15000; i++) {
        u32 n;
        memcpy(&n, mesh_peers_random(&t, &r)->key.bytes, sizeof(n));
        count[n - 1]++;
    }
    for (u32 i = 0; i < 20; i++) {
        if (i >= 5 && i < 10)
            assert_int_equal(count[i], 0);
        else
            assert_in_range(count[i], 880, 1120);
    }
    mesh_peers_fini(&t);
}

static void what_was_learned_outlives_a_while_away(void **state)
{
    (void)state;
    struct mesh_peers t;
    mesh_peers_init(&t, 5);
    up(&t, 1);
    struct mesh_fetching *f = mesh_peers_fetching(&t, find(&t, 1));
    assert_ptr_equal(mesh_peers_fetching(&t, find(&t, 1)), f);
    f->sent = 40;
    down(&t, 1);
    assert_null(at(&t, 1));
    assert_int_equal(find(&t, 1)->live, MESH_NONE);
    up(&t, 1);
    assert_int_equal(mesh_peers_fetching(&t, find(&t, 1))->sent, 40);
    down(&t, 1);
    /* A full table forgets those who are down, and their numbers are not used again. */
    for (u32 i = 100; i < 100 + LIMIT_MEMBERS; i++)
        assert_non_null(up(&t, i));
    assert_null(find(&t, 1));
    assert_null(up(&t, 1)); /* all live: no room */
    assert_null(up(&t, 2));
    assert_int_equal(t.n_live, LIMIT_MEMBERS);
    down(&t, 200);
    assert_non_null(up(&t, 1));
    assert_int_equal(mesh_peers_fetching(&t, find(&t, 1))->sent, 40);
    assert_true(mesh_peers_bytes(&t) < MIB);
    mesh_peers_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_in_an_empty_table),
        cmocka_unit_test(the_living_are_found_both_ways),
        cmocka_unit_test(who_moves_is_found_at_the_new_place),
        cmocka_unit_test(all_the_living_are_drawn),
        cmocka_unit_test(what_was_learned_outlives_a_while_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

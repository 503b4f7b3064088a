/* The inventory on a small network: what one node holds, all know; through loss, cuts, restarts. */
#include "inventory_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_is_known_to_all),
        cmocka_unit_test(a_joiner_fetches_what_was_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

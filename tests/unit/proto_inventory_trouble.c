/* The inventory on a bad network: loss, silence, cuts, restarts; what is believed ends up right. */
#include "inventory_rig.h"
#include "proto/inventory_impl.h"

/* Nodes `from` to `end` hear only each other from now on, and soon know it. */
static void cut(struct rig *r, u32 from, u32 end, u32 side, u64 noticed_ns)
{
    for (u32 i = from; i < end; i++)
        r->node[i].side = side;
    rig_run(r, noticed_ns);
    for (u32 i = 0; i < r->n; i++)
        for (u32 k = 0; k < r->n; k++)
            if (i != k && r->node[i].v && r->node[k].v && r->node[i].side != r->node[k].side)
                inventory_peer_down(r->node[i].v, &r->node[k].key, r->now_ns);
    for (u32 i = 0; i < r->n; i++)
        rig_drive(r, i);
}

static void heal(struct rig *r)
{
    for (u32 i = 0; i < r->n; i++)
        r->node[i].side = 0;
    rig_all_up(r);
}

/* Each of the living writes something, `times` times, 50 ms apart. */
static u64 layer_number = 1000000;
static void churn(struct rig *r, u32 times)
{
    for (u32 t = 0; t < times; t++) {
        for (u32 i = 0; i < r->n; i++)
            if (r->node[i].v && !r->node[i].mute)
                rig_add(r, i, layer_number++);
        rig_run(r, 50 * MS);
    }
}

static void loss_only_delays(void **state)
{
    (void)state;
    const double losses[] = {0.01, 0.1, 0.3};
    for (size_t k = 0; k < countof(losses); k++)
        for (int shared = 0; shared < 2; shared++) {
            struct rig r;
            rig_region(&r, 24, shared, 10 + k, 20);
            r.loss = losses[k];
            churn(&r, 60);
            u64 took = rig_settle(&r, 0, 60 * SECOND);
            printf("loss %.2f: agreement after %.1f s; resent %ju of node 0's\n", losses[k],
                   (double)took / 1e9, (uintmax_t)rig_stats(&r, 0).resent);
            for (u32 i = 1; i < r.n; i++)
                assert_true(rig_holds(&r, 0, i, layer_number - r.n + i));
            rig_fini(&r);
        }
}

/* Frozen, and not yet suspected by membership: nobody else is cut off by it, whoever it is. */
static void a_silent_node_cuts_nobody_off(void **state)
{
    (void)state;
    for (u32 frozen = 0; frozen < 20; frozen++) {
        struct rig r;
        rig_region(&r, 20, true, 30, 5);
        r.node[frozen].mute = true;
        rig_run(&r, 500 * MS);
        u32 writer = (frozen + 7) % 20;
        u64 layer = layer_number++;
        churn(&r, 1);
        rig_add(&r, writer, layer);
        rig_run(&r, 2500 * MS);
        for (u32 i = 0; i < r.n; i++)
            if (i != frozen && i != writer && !rig_holds(&r, i, writer, layer))
                fail_msg("%u frozen: %u does not know of %u's layer", frozen, i, writer);
        r.node[frozen].mute = false;
        rig_drive(&r, frozen);
        rig_settle(&r, 0, 10 * SECOND);
        rig_fini(&r);
    }
}

static void both_sides_of_a_cut_meet_again(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        rig_region(&r, 16, shared, 40, 10);
        u64 before = layer_number;
        cut(&r, 0, 5, 1, 3 * SECOND);
        churn(&r, 40);
        rig_settle(&r, 0, 10 * SECOND);
        rig_settle(&r, 1, 10 * SECOND);
        struct digest d = rig_layer(before + 8);
        /* Who cannot be reached is no holder. */
        assert_int_equal(inventory_copies(r.node[1].v, &d), 0);
        assert_int_equal(inventory_copies(r.node[9].v, &d), 1);
        heal(&r);
        u64 took = rig_settle(&r, 0, 20 * SECOND);
        printf("cut of 2 s healed after %.1f s\n", (double)took / 1e9);
        assert_int_equal(inventory_copies(r.node[1].v, &d), 1);
        for (u32 k = 0; k < 16; k++)
            assert_true(rig_stats(&r, k).conflicts == 0);
        rig_fini(&r);
    }
}

/* More was written meanwhile than anybody keeps as ops. */
static void a_long_cut_takes_snapshots(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        rig_region(&r, 8, shared, 41, 10);
        cut(&r, 0, 3, 1, SECOND);
        u64 had = rig_stats(&r, 0).snapshots_received;
        churn(&r, 700);
        heal(&r);
        rig_settle(&r, 0, 30 * SECOND);
        assert_true(rig_stats(&r, 0).snapshots_received > had);
        rig_fini(&r);
    }
}

static void one_way_deafness_heals(void **state)
{
    (void)state;
    struct rig r;
    rig_region(&r, 10, false, 43, 5);
    for (u32 i = 0; i < 3; i++) { /* asks go out, nothing comes in, for a while */
        r.node[i].side = 1;
        churn(&r, 30);
        r.node[i].side = 0;
        churn(&r, 5);
    }
    rig_settle(&r, 0, 15 * SECOND);
    rig_fini(&r);
}

/* Batches alone pass, and of those that node 0 sends not the one numbered `lost_seq`. */
static u32 lost_seq;
static bool all_batches_but_one(struct rig *r, u32 from, u32 to, u8 *bytes, size_t len)
{
    (void)r, (void)to;
    struct wire_in in;
    wire_in_init(&in, bytes, len);
    (void)wire_get_array(&in, 16);
    if (wire_get_u64(&in) != MSG_INVENTORY_BATCH)
        return false;
    (void)wire_get_u64(&in); /* session */
    return wire_get_u64(&in) != lost_seq || from != 0;
}

/* One batch does not get through for a while, however often it is sent: once the line is good again
 * it comes at once, not when the last of ever longer pauses is over. */
static void a_hole_is_filled_when_the_line_is_good_again(void **state)
{
    (void)state;
    for (u32 bad_s = 1; bad_s <= 12; bad_s++) {
        struct rig r;
        rig_region(&r, 2, false, 43 + bad_s, 5);
        lost_seq = 3;
        r.filter = all_batches_but_one;
        for (u32 t = 0; t < 10 * bad_s; t++) {
            rig_add(&r, 0, ++layer_number);
            rig_add(&r, 1, 1000000000 + layer_number);
            rig_run(&r, 100 * MS);
        }
        lost_seq = 0;
        rig_run(&r, 1500 * MS);
        assert_true(rig_holds(&r, 1, 0, layer_number));
        rig_fini(&r);
    }
}

/* One batch of node 0 never arrives, however often it is sent, and all else does. */
static bool all_but_one_batch(struct rig *r, u32 from, u32 to, u8 *bytes, size_t len)
{
    struct wire_in in;
    wire_in_init(&in, bytes, len);
    (void)wire_get_array(&in, 16);
    return wire_get_u64(&in) != MSG_INVENTORY_BATCH || all_batches_but_one(r, from, to, bytes, len);
}

/* Who is heard and never acknowledges it keeps its link full, and nobody from the news. */
static void a_hole_that_stays_cuts_nobody_off(void **state)
{
    (void)state;
    struct rig r;
    rig_region(&r, 10, false, 71, 5);
    lost_seq = 20;
    r.filter = all_but_one_batch;
    churn(&r, 600);
    u64 took = rig_settle(&r, 0, 60 * SECOND);
    assert_true(took < 10 * SECOND);
    assert_in_range(rig_stats(&r, 0).resent, 1, 1000); /* a few links', each 200 ms and more */
    rig_fini(&r);
}

static void down_and_up_in_the_same_epoch(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        rig_region(&r, 6, shared, 44, 300);
        u64 had = rig_stats(&r, 0).snapshots_received;
        rig_down(&r, 5);
        assert_int_equal(rig_holders(&r, 0, 5007), 0);
        rig_run(&r, 20 * SECOND);
        rig_up(&r, 5);
        /* It is as it was: nothing has to be told. */
        assert_int_equal(rig_holders(&r, 0, 5007), 1);
        rig_run(&r, 10 * SECOND);
        rig_settle(&r, 0, 5 * SECOND);
        assert_int_equal(rig_stats(&r, 0).snapshots_received, had);
        rig_fini(&r);
    }
}

static void a_restart_with_the_same_store_costs_no_snapshot(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        rig_region(&r, 6, shared, 45, 400);
        u64 had = rig_stats(&r, 0).snapshots_received;
        rig_stop(&r, 5);
        rig_down(&r, 5);
        rig_run(&r, 5 * SECOND);
        rig_start(&r, 5, 2000);
        for (u32 k = 0; k < 400; k++)
            rig_add(&r, 5, 5000 + k);
        rig_up(&r, 5);
        rig_run(&r, 10 * SECOND);
        rig_settle(&r, 0, 5 * SECOND);
        for (u32 i = 0; i < 5; i++)
            for (u64 k = 0; k < 400; k += 37)
                assert_true(rig_holds(&r, i, 5, 5000 + k));
        assert_int_equal(rig_stats(&r, 0).snapshots_received, had);
        rig_fini(&r);
    }
}

static void a_lost_store_is_noticed(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        rig_region(&r, 6, shared, 46, 400);
        rig_stop(&r, 5);
        rig_start(&r, 5, 2000); /* back before anybody missed it, and empty */
        rig_add(&r, 5, 777);
        rig_up(&r, 5);
        rig_run(&r, 6 * SECOND);
        rig_settle(&r, 0, 10 * SECOND);
        for (u32 i = 0; i < 5; i++) {
            assert_false(rig_holds(&r, i, 5, 5003));
            assert_true(rig_holds(&r, i, 5, 777));
        }
        rig_fini(&r);
    }
}

/* Its clock went back, or the number was lost with the store: others know a greater epoch. */
static void a_lower_epoch_grows_past_what_others_know(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++)
        for (u64 epoch = 998; epoch <= 1000; epoch += 2) {
            struct rig r;
            rig_region(&r, 6, shared, 47, 40);
            rig_stop(&r, 5);
            rig_start(&r, 5, epoch);
            rig_add(&r, 5, 777);
            rig_up(&r, 5);
            rig_run(&r, 20 * SECOND);
            rig_settle(&r, 0, 20 * SECOND);
            assert_true(inventory_epoch(r.node[5].v) > 1000);
            for (u32 i = 0; i < 5; i++) {
                assert_false(rig_holds(&r, i, 5, 5003));
                assert_true(rig_holds(&r, i, 5, 777));
            }
            rig_fini(&r);
        }
}

static void joiners_come_under_churn_and_loss(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        rig_init(&r, 20, shared, 48);
        r.loss = 0.05;
        for (u32 i = 0; i < r.n; i++) {
            rig_start(&r, i, 1000);
            for (u32 k = 0; k < 200; k++)
                rig_add(&r, i, 1000 * i + k);
            rig_up(&r, i);
            churn(&r, 10);
        }
        rig_settle(&r, 0, 30 * SECOND);
        for (u32 i = 0; i < r.n - 1; i++)
            assert_true(rig_holds(&r, i, r.n - 1, 1000 * (r.n - 1) + 199));
        rig_fini(&r);
    }
}

/* A rack dies at once; then members come and go one by one: the rest goes on, no gap stays. */
static void the_tree_bends(void **state)
{
    (void)state;
    struct rig r;
    rig_region(&r, 40, true, 49, 5);
    for (u32 i = 10; i < 20; i++)
        rig_stop(&r, i);
    churn(&r, 20);
    for (u32 i = 10; i < 20; i++)
        rig_down(&r, i);
    churn(&r, 10);
    rig_settle(&r, 0, 10 * SECOND);
    for (u32 i = 10; i < 20; i++) {
        rig_start(&r, i, 3000);
        rig_up(&r, i);
        churn(&r, 3);
        u32 gone = 20 + i % 20;
        rig_stop(&r, gone);
        churn(&r, 3);
        rig_down(&r, gone);
    }
    rig_settle(&r, 0, 15 * SECOND);
    rig_fini(&r);
}

/* A daemon looks for a talk to begin whenever anything happens. However often that is, what is
 * wanted and not yet due becomes due. */
static void a_busy_daemon_asks_for_what_it_lacks(void **state)
{
    (void)state;
    struct rig r;
    rig_region(&r, 3, false, 51, 5);
    cut(&r, 2, 3, 1, 1 * SECOND);
    for (u32 i = 0; i < 200; i++) { /* more than one byte tells: 200 behind looks like 55 ahead */
        rig_add(&r, 0, layer_number++);
        rig_run(&r, 50 * MS);
    }
    heal(&r);
    bool same = false;
    for (u32 i = 0; i < 3000 && !same; i++) {
        rig_run(&r, 10 * MS);
        for (u32 k = 0; k < r.n; k++)
            rig_drive(&r, k);
        same = inventory_hash(r.node[2].v) == inventory_hash(r.node[0].v);
    }
    assert_true(same);
    assert_true(rig_holds(&r, 2, 0, layer_number - 1));
    rig_fini(&r);
}

/* Runs of one seed are the same run; and what else is in a pool changes nothing for a view. */
/* The next epoch in which `b` goes by the same 22 bits as `a` in its own. */
static u64 epoch_of_same_ref(const struct rig *r, u32 a, u32 b)
{
    const struct inventory_pool *p = r->node[a].pool;
    u32 ref = inventory_ref(inventory_place(p, &r->node[a].key), r->node[a].epoch);
    u64 place = inventory_place(p, &r->node[b].key), epoch = 1001;
    while (inventory_ref(place, epoch) != ref)
        epoch++;
    return epoch;
}

static u64 conflicts_of(const struct rig *r)
{
    u64 n = 0;
    for (u32 i = 0; i < r->n; i++)
        n += rig_stats(r, i).conflicts;
    return n;
}

static void two_of_one_ref_are_told_apart(void **state)
{
    (void)state;
    for (int shared = 0; shared < 2; shared++) {
        struct rig r;
        rig_init(&r, 12, shared, 5);
        rig_start(&r, 2, 1000);
        u64 epoch = epoch_of_same_ref(&r, 2, 5);
        rig_start(&r, 5, epoch);
        for (u32 k = 0; k < 30; k++)
            rig_add(&r, 5, 5000 + k);
        rig_all_up(&r);
        rig_run(&r, 3 * SECOND);
        rig_settle(&r, 0, 20 * SECOND);
        /* Who had heard of the one alone took the other's ops for its own, and asked it. */
        u64 conflicts = conflicts_of(&r);
        r.loss = 0.05;
        for (u32 k = 0; k < 40; k++) {
            rig_add(&r, 2, 2000 + k);
            if (k < 30)
                rig_remove(&r, 5, 5000 + k);
            rig_add(&r, 5, 5100 + k);
            rig_run(&r, 100 * MS);
        }
        rig_settle(&r, 0, 10 * SECOND);
        for (u32 i = 0; i < r.n; i++) {
            assert_true(rig_holds(&r, i, 2, 2039) && rig_holds(&r, i, 5, 5139));
            assert_false(rig_holds(&r, i, 2, 5139) || rig_holds(&r, i, 5, 2039));
            assert_false(rig_holds(&r, i, 5, 5000));
        }
        assert_int_equal(conflicts_of(&r), conflicts);
        assert_int_equal(inventory_epoch(r.node[2].v), 1000);
        assert_int_equal(inventory_epoch(r.node[5].v), epoch);
        rig_fini(&r);
    }
}

/* Node 5 tells node 0 alone of an epoch in which it goes by the ref of node 2, and is silent then:
 * nobody else knows why node 0 passes over what node 2 writes. */
static void a_table_that_one_alone_follows_hides_nobody(void **state)
{
    (void)state;
    struct rig r;
    rig_region(&r, 8, false, 6, 10);
    struct inventory *v = r.node[0].v;
    u16 o = inventory_find_key(v, &r.node[5].key), table;
    u32 fp = 77, known = 0;
    assert_int_equal(
        inventory_table_new(v->pool, o, epoch_of_same_ref(&r, 2, 5), 6, &fp, 1, &table), 0);
    inventory_attach(v, o, table, 6);
    r.node[5].mute = true;
    for (u32 k = 0; k < 50; k++) {
        rig_add(&r, 2, 7000 + k);
        rig_run(&r, SECOND);
    }
    rig_run(&r, 60 * SECOND);
    for (u32 k = 0; k < 50; k++)
        known += rig_holds(&r, 0, 2, 7000 + k);
    assert_int_equal(known, 50);
    rig_fini(&r);
}

static bool batches_come;
static bool some_batches_alone(struct rig *r, u32 from, u32 to, u8 *bytes, size_t len)
{
    struct wire_in in;
    (void)r, (void)from, (void)to;
    wire_in_init(&in, bytes, len);
    (void)wire_get_array(&in, 16);
    return batches_come && wire_get_u64(&in) == MSG_INVENTORY_BATCH;
}

/* A full batch is lost; when it goes again its ops are longer. */
static void what_fits_no_more_is_sent_all_the_same(void **state)
{
    (void)state;
    struct rig r;
    rig_region(&r, 2, false, 7, 10);
    r.filter = some_batches_alone;
    batches_come = false;
    for (u32 k = 0; k < 120; k++)
        rig_add(&r, 0, 7000 + k);
    rig_run(&r, 300 * MS);
    struct inventory *v = r.node[0].v;
    assert_true(v->n_links == 1 && v->links[0]->seq != v->links[0]->low);
    inventory_table_at(v, v->seats[v->me].table)->ambiguous = true;
    batches_come = true;
    rig_run(&r, 3 * SECOND);
    for (u32 k = 0; k < 120; k++)
        assert_true(rig_holds(&r, 1, 0, 7000 + k));
    rig_fini(&r);
}

static void a_seed_decides_everything(void **state)
{
    (void)state;
    u64 hash[3], bytes[3];
    for (u32 k = 0; k < 3; k++) {
        struct rig r;
        layer_number = 5000000;
        rig_region(&r, 16, k > 0, 50, 30);
        r.loss = 0.1;
        churn(&r, 50);
        hash[k] = inventory_hash(r.node[3].v);
        bytes[k] = 0;
        for (u32 i = 0; i < r.n; i++)
            bytes[k] += r.node[i].sent_bytes + r.node[i].talk_bytes;
        rig_fini(&r);
    }
    assert_int_equal(hash[1], hash[2]);
    assert_int_equal(bytes[1], bytes[2]);
    assert_int_equal(hash[0], hash[1]);
    assert_int_equal(bytes[0], bytes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_only_delays),
        cmocka_unit_test(a_silent_node_cuts_nobody_off),
        cmocka_unit_test(both_sides_of_a_cut_meet_again),
        cmocka_unit_test(a_long_cut_takes_snapshots),
        cmocka_unit_test(one_way_deafness_heals),
        cmocka_unit_test(a_hole_is_filled_when_the_line_is_good_again),
        cmocka_unit_test(a_hole_that_stays_cuts_nobody_off),
        cmocka_unit_test(down_and_up_in_the_same_epoch),
        cmocka_unit_test(a_restart_with_the_same_store_costs_no_snapshot),
        cmocka_unit_test(a_lost_store_is_noticed),
        cmocka_unit_test(a_lower_epoch_grows_past_what_others_know),
        cmocka_unit_test(joiners_come_under_churn_and_loss),
        cmocka_unit_test(the_tree_bends),
        cmocka_unit_test(a_busy_daemon_asks_for_what_it_lacks),
        cmocka_unit_test(two_of_one_ref_are_told_apart),
        cmocka_unit_test(a_table_that_one_alone_follows_hides_nobody),
        cmocka_unit_test(what_fits_no_more_is_sent_all_the_same),
        cmocka_unit_test(a_seed_decides_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

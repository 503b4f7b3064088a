/* Faults of what nodes are: each must be seen to bite, and the region to get over it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <sodium.h>

#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/pull.h"

static struct world *begin(struct fault *f, double pulls, u64 images)
{
    struct fault_plan plan = {.v = f, .n = 1, .cap = 1};
    struct knobs k;
    struct world *w;
    char why[256] = "";
    knobs_init(&k);
    k.nodes = 8;
    k.duration = 60 * SIM_S;
    k.pulls = pulls;
    k.images = images;
    struct world_options opt = {
        .scenario = scenario_find("idle"), .knobs = &k, .seed = 5, .faults = &plan};
    if (world_new(&w, &opt, why))
        fail_msg("%s", why);
    return w;
}

static void until(struct world *w, u64 s)
{
    while (world_now(w) < s * SIM_S && world_step(w)) {
    }
    if (w->measure.broken)
        fail_msg("%s: %s", w->measure.invariant, w->measure.why);
}

static void end(struct world *w)
{
    until(w, 100000);
    assert_true(w->agreed_ns != UINT64_MAX);
    world_del(w);
}

static void a_power_cut_takes_the_last_writes(void **state)
{
    (void)state;
    struct fault f = {40 * SIM_S + SIM_MS, 5 * SIM_S, FAULT_POWER_LOSS, 3, 0};
    struct world *w = begin(&f, 1, 1000);
    until(w, 40);
    struct host *h = &w->hosts[3];
    u32 held = h->shelf.n, kept = 0;
    u32 at = SHELF_NONE;
    for (const struct shelf_entry *e; (e = shelf_each(&h->shelf, &at));)
        kept += e->stored_ms <= 35001;
    assert_true(kept > 0 && kept < held); /* or the test says nothing */
    until(w, 41);
    assert_true(h->state == HOST_OFF && h->dark);
    assert_true(h->shelf.n == kept && h->lost_writes >= held - kept);
    until(w, 46);
    assert_int_equal(h->state, HOST_UP);
    end(w);
}

static void who_seals_with_a_removed_key_is_not_heard(void **state)
{
    (void)state;
    for (u64 amount = 0; amount < 2; amount++) {
        struct fault f = {22 * SIM_S, 35 * SIM_S, FAULT_OLD_KEY, 3, amount};
        struct world *w = begin(&f, 0, 20);
        until(w, 22);
        assert_true(measure_sees_alive(w, 0, 3));
        until(w, 55);
        assert_false(measure_sees_alive(w, 0, 3));
        assert_true(host_opens(&w->hosts[3], &w->hosts[0]) == (amount == 0));
        assert_false(host_opens(&w->hosts[0], &w->hosts[3]));
        struct mesh_stats s;
        mesh_stats(w->hosts[0].mesh, &s);
        assert_true(s.dropped[SEAL_KEY] > 0);
        end(w);
    }
}

static void a_rolling_upgrade_is_not_noticed(void **state)
{
    (void)state;
    struct fault f = {22 * SIM_S, 30 * SIM_S, FAULT_UPGRADE, 0, 0};
    struct world *w = begin(&f, 0, 20);
    until(w, 40);
    u32 newer = 0;
    for (u32 i = 0; i < w->n; i++)
        newer += w->hosts[i].newer;
    assert_true(newer > 0 && newer < w->n);
    until(w, 60);
    for (u32 i = 0; i < w->n; i++) {
        struct member_view v;
        assert_true(w->hosts[i].newer && w->hosts[i].life == 2);
        assert_true(member_find(mesh_member(w->hosts[(i + 1) % w->n].mesh), &w->hosts[i].key, &v));
        assert_true(v.state == MEMBER_ALIVE && v.record->version_max == WIRE_VERSION + 1);
    }
    assert_int_equal(w->measure.false_dead, 0);
    end(w);
}

static void a_forger_claims_what_it_does_not_hold(void **state)
{
    (void)state;
    struct fault f = {22 * SIM_S, 20 * SIM_S, FAULT_FORGE, 3, 0};
    struct world *w = begin(&f, 0, 20);
    until(w, 35);
    struct host *h = &w->hosts[3];
    struct digest d;
    u32 layer = h->claims[0];
    catalog_digest(&w->catalog, layer, &d);
    assert_false(host_holds(w, 3, layer));
    assert_true(inventory_is_held_by(mesh_inventory(w->hosts[0].mesh), &d, &h->key));
    until(w, 60);
    assert_false(inventory_is_held_by(mesh_inventory(w->hosts[0].mesh), &d, &h->key));
    end(w);
}

/* None sent all of the wrong bytes: nobody is convicted, and nobody is given them. */
static void colluders_share_the_wrong_bytes_out(void **state)
{
    (void)state;
    struct fault f = {22 * SIM_S, 10 * SIM_S, FAULT_COLLUDE, 7, 400};
    struct world *w = begin(&f, 1, 20);
    until(w, 31);
    u32 n = 0;
    const struct host *one = NULL;
    for (u32 i = 0; i < w->n; i++) {
        const struct host *h = &w->hosts[i];
        if (h->lies != HOST_COLLUDES)
            continue;
        n++;
        if (one)
            assert_memory_equal(one->claims, h->claims, HOST_CLAIMS * sizeof(*h->claims));
        one = h;
    }
    assert_true(n >= 2 && n < w->n);
    assert_true(w->fetches->wrong > 0);
    assert_int_equal(w->fetches->n_convicted, 0);
    end(w);
}

/* An office loses its way to the registry, and nothing else. */
static void a_cut_from_the_registry_cuts_nothing_else(void **state)
{
    (void)state;
    for (int office = 0; office < 2; office++) {
        struct fault f = {22 * SIM_S, 20 * SIM_S, office ? FAULT_OFFICE_WAN_CUT : FAULT_WAN_CUT,
                          office ? 0 : 3, 0};
        struct world *w = begin(&f, 1, 1000);
        until(w, 35);
        u64 read = w->fetches->registry_bytes;
        for (u32 i = 0; i < w->n; i++)
            assert_int_equal(w->hosts[i].wan_cuts, office || i == 3);
        assert_true(measure_sees_alive(w, 0, 3) && measure_sees_alive(w, 3, 0));
        until(w, 41);
        assert_true((w->fetches->registry_bytes == read) == (office == 1));
        until(w, 43);
        assert_int_equal(w->hosts[3].wan_cuts, 0);
        until(w, 60);
        assert_true(w->fetches->registry_bytes > read);
        assert_int_equal(w->measure.false_dead, 0);
        end(w);
    }
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_takes_the_last_writes),
        cmocka_unit_test(who_seals_with_a_removed_key_is_not_heard),
        cmocka_unit_test(a_rolling_upgrade_is_not_noticed),
        cmocka_unit_test(a_forger_claims_what_it_does_not_hold),
        cmocka_unit_test(colluders_share_the_wrong_bytes_out),
        cmocka_unit_test(a_cut_from_the_registry_cuts_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

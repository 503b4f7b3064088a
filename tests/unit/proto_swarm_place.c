/* proto_swarm_place.c - tests of near and far: shares divide the work, and a share that is a lie
 * costs a little time for the layer, not some for each piece. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mesh_rig.h"

#include "proto/swarm_impl.h"

#define PIECES 256
#define TICK   (50 * SWARM_MS)

static struct swarm_layer *layer(u32 n, u32 at)
{
    static struct swarm_layer l;
    memset(&l, 0, sizeof(l));
    l.n = PIECES;
    l.share = (struct swarm_share){n, at};
    l.far_ns = 100 * SWARM_MS;
    return &l;
}

/* Gates share them evenly; the others wait. */
static void each_piece_has_one_importer(void **state)
{
    (void)state;
    u32 importers[PIECES] = {0};
    for (u32 at = 0; at < 40; at++) {
        u32 mine = 0;
        for (u32 p = 0; p < PIECES; p++)
            if (swarm_imports(layer(40, at), p)) {
                importers[p]++;
                mine++;
            }
        assert_true(at < SWARM_GATES ? mine < 2 * PIECES / SWARM_GATES : mine == 0);
    }
    for (u32 p = 0; p < PIECES; p++)
        assert_int_equal(importers[p], 1);
    for (u32 p = 0; p < PIECES; p++)
        assert_true(swarm_imports(layer(0, 0), p) && swarm_imports(layer(1, 0), p));
}

/* Nobody else is there, whatever the share says. One piece at a time, as fast as a tick allows. */
static void a_share_that_is_a_lie_costs_seconds(void **state)
{
    (void)state;
    const u32 sizes[] = {2, 100, 1000, LIMIT_MEMBERS};
    for (size_t i = 0; i < countof(sizes); i++) {
        struct swarm_layer *l = layer(sizes[i], sizes[i] / 2);
        bool came[PIECES] = {false};
        u64 now_ns = 1000 * SWARM_MS, began_ns = now_ns;
        for (u32 left = PIECES; left > 0; now_ns += TICK) {
            u32 p = 0;
            while (p < PIECES && (came[p] || !swarm_imports(l, p)))
                p++;
            if (p < PIECES) {
                came[p] = true;
                left--;
                l->left_ns = 0;
            } else if (l->left_ns == 0) {
                l->left_ns = now_ns;
            }
            swarm_open_tick(l, now_ns);
            assert_true(now_ns - began_ns < PIECES * TICK + 30000 * SWARM_MS);
        }
    }
}

/* It closes again, so that a stall is not paid for until the layer ends. */
static void it_closes_again(void **state)
{
    (void)state;
    struct swarm_layer *l = layer(100, 7);
    u64 now_ns = 1000 * SWARM_MS;
    l->left_ns = now_ns;
    for (u32 i = 0; i < 200; i++, now_ns += TICK)
        swarm_open_tick(l, now_ns);
    assert_true(l->open >= 7);
    l->left_ns = 0;
    for (u32 i = 0; i < 4000 && l->open > 0; i++, now_ns += TICK)
        swarm_open_tick(l, now_ns);
    assert_int_equal(l->open, 0);
}

/* Members know little of each other's places in the first minutes; whoever comes says its own. */
static void who_says_where_it_stands_is_placed(void **state)
{
    (void)state;
    struct rig *r = rig_region(4);
    rig_run(r, 60 * S);
    const struct swarm *s = mesh_swarm(r->n[0].m);
    struct coord here = *member_coord(s->member), away = here, unknown = here;
    away.at[0] += .05f;
    unknown.error = COORD_ERROR_MAX;
    assert_true(swarm_stands_near(s, &here));
    assert_false(swarm_stands_near(s, &away));
    assert_false(swarm_stands_near(s, &unknown));
    rig_del(r);
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_piece_has_one_importer),
        cmocka_unit_test(a_share_that_is_a_lie_costs_seconds),
        cmocka_unit_test(it_closes_again),
        cmocka_unit_test(who_says_where_it_stands_is_placed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

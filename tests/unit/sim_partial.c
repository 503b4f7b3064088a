/* What a node's store keeps of layers that are not whole: given back once, bounded, the oldest
 * goes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/partial.h"

static struct piece_map map_with(u32 n, u32 piece)
{
    struct piece_map m;
    assert_int_equal(piece_map_init(&m, n), 0);
    assert_true(piece_map_set(&m, piece));
    return m;
}

/* Is it there, with this piece and no other? */
static void expect(struct partials *s, u32 layer, u32 n, u32 piece)
{
    struct piece_map m;
    assert_int_equal(piece_map_init(&m, n), 0);
    assert_true(partial_take(s, layer, &m));
    assert_true(m.n == n && m.have == 1 && piece_map_has(&m, piece));
    piece_map_fini(&m);
}

static void expect_none(struct partials *s, u32 layer, u32 n)
{
    struct piece_map m;
    assert_int_equal(piece_map_init(&m, n), 0);
    assert_false(partial_take(s, layer, &m));
    assert_true(m.words && m.n == n && m.have == 0);
    piece_map_fini(&m);
}

static void what_is_kept_is_given_back_once(void **state)
{
    (void)state;
    struct partials s = {0};
    struct piece_map a = map_with(100, 7), b = map_with(30, 29), again = map_with(100, 8);
    partial_keep(&s, 1, &a);
    assert_true(a.words == NULL); /* it was taken */
    partial_keep(&s, 2, &b);
    partial_keep(&s, 1, &again); /* in place of the first */
    assert_int_equal(s.n, 2);
    assert_true(partial_has(&s, 1, 8) && partial_has(&s, 2, 29));
    assert_false(partial_has(&s, 1, 7) || partial_has(&s, 3, 8));
    expect_none(&s, 3, 10);
    expect(&s, 1, 100, 8);
    expect_none(&s, 1, 100);
    expect(&s, 2, 30, 29);
    assert_int_equal(s.n, 0);
}

static void the_oldest_makes_room(void **state)
{
    (void)state;
    struct partials s = {0};
    for (u32 i = 0; i < PARTIALS_MAX + 3; i++) {
        struct piece_map m = map_with(50, i);
        partial_keep(&s, i, &m);
    }
    assert_int_equal(s.n, PARTIALS_MAX);
    for (u32 i = 0; i < 3; i++)
        expect_none(&s, i, 50);
    for (u32 i = 3; i < PARTIALS_MAX + 3; i++)
        expect(&s, i, 50, i);
}

static void a_cleared_store_has_none(void **state)
{
    (void)state;
    struct partials s = {0};
    for (u32 i = 0; i < 5; i++) {
        struct piece_map m = map_with(50, i);
        partial_keep(&s, i, &m);
    }
    partial_drop_all(&s);
    assert_int_equal(s.n, 0);
    expect_none(&s, 4, 50);
    partial_drop_all(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_given_back_once),
        cmocka_unit_test(the_oldest_makes_room),
        cmocka_unit_test(a_cleared_store_has_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

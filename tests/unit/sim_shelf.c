/* The modelled store and what stands in it: against a plain list, within its capacity, by the
 * daemon's policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/err.h"
#include "sim/shelf.h"

static void catalog_up(struct catalog *c)
{
    struct knobs k;
    struct rng r;
    knobs_init(&k);
    rng_seed(&r, 1);
    catalog_init(c, &k, &r);
}

static void it_holds_what_was_put(void **state)
{
    (void)state;
    static bool held[500];
    struct shelf s;
    struct rng r;
    rng_seed(&r, 2);
    shelf_init(&s, UINT64_MAX);
    u64 bytes = 0;
    u32 n = 0;
    for (int i = 0; i < 200000; i++) {
        u32 layer = (u32)rng_below(&r, countof(held));
        struct shelf_entry *e = shelf_find(&s, layer);
        assert_true((e != NULL) == held[layer]);
        if (e && rng_chance(&r, .3)) {
            shelf_use(&s, e, (u64)i);
        } else if (e) {
            bytes -= e->bytes;
            shelf_remove(&s, layer);
            held[layer] = false;
            n--;
        } else {
            shelf_put(&s, layer, layer + 1, (u64)i);
            held[layer] = true;
            bytes += layer + 1;
            n++;
        }
        assert_int_equal(s.used, bytes);
        assert_int_equal(s.n, n);
    }
    u32 at = SHELF_NONE, seen = 0;
    u64 before = 0;
    for (const struct shelf_entry *e; (e = shelf_each(&s, &at)); seen++) {
        assert_true(e->used_ms >= before); /* oldest first */
        before = e->used_ms;
    }
    assert_int_equal(seen, n);
    shelf_fini(&s);
}

static void room_is_made_from_the_coldest_that_nobody_reads(void **state)
{
    (void)state;
    struct catalog c;
    struct shelf s;
    catalog_up(&c);
    shelf_init(&s, 1000);
    for (u32 i = 0; i < 10; i++)
        shelf_put(&s, i, 100, i);
    shelf_find(&s, 1)->pins = 1;
    shelf_use(&s, shelf_find(&s, 0), 100);
    u32 gone[16];
    size_t n = 0;
    assert_int_equal(shelf_make_room(&s, &c, 250, gone, countof(gone), &n), 0);
    assert_int_equal(n, 3);
    assert_true(gone[0] == 2 && gone[1] == 3 && gone[2] == 4);
    assert_true(shelf_find(&s, 0) && shelf_find(&s, 1) && !shelf_find(&s, 2));
    assert_int_equal(s.used, 700);
    assert_int_equal(shelf_make_room(&s, &c, 1001, gone, countof(gone), &n), ERR_FULL);
    assert_int_equal(shelf_make_room(&s, &c, 1000, gone, countof(gone), &n), ERR_FULL); /* pinned */
    assert_non_null(shelf_find(&s, 1));
    shelf_fini(&s);
    catalog_fini(&c);
}

static void a_crash_takes_what_was_not_synced(void **state)
{
    (void)state;
    struct shelf s;
    shelf_init(&s, 10000);
    for (u32 i = 0; i < 10; i++)
        shelf_put(&s, i, 10, 1000 + i);
    shelf_find(&s, 9)->pins = 3;
    u32 gone[16];
    size_t n = 0;
    shelf_crash(&s, 1006, gone, countof(gone), &n);
    assert_int_equal(n, 3);
    assert_true(shelf_find(&s, 6) && !shelf_find(&s, 7) && !shelf_find(&s, 9));
    shelf_fini(&s);
}

static void layers_have_their_own_digests_and_sizes(void **state)
{
    (void)state;
    struct catalog c;
    catalog_up(&c);
    struct digest a, b, again;
    u64 small = 0, n = 20000;
    for (u32 i = 0; i < n; i++) {
        catalog_digest(&c, i, &a);
        catalog_digest(&c, i + 1, &b);
        catalog_digest(&c, i, &again);
        assert_false(digest_equal(&a, &b));
        assert_true(digest_equal(&a, &again));
        small += catalog_bytes(&c, i) < 4000000;
        assert_true(catalog_bytes(&c, i) > 0);
    }
    assert_true(small > n * 45 / 100 && small < n * 55 / 100); /* half are under 4 MB */
    catalog_fini(&c);
}

static void images_share_layers_and_the_first_is_the_most_popular(void **state)
{
    (void)state;
    struct catalog c;
    struct rng r;
    catalog_up(&c);
    rng_seed(&r, 9);
    u32 drawn[200] = {0}, shared = 0;
    for (int i = 0; i < 20000; i++)
        drawn[catalog_draw(&c, &r)]++;
    assert_true(drawn[0] > 1.5 * drawn[1] && drawn[0] < 2.5 * drawn[1]);
    for (size_t i = 0; i < c.n_layers; i++)
        for (size_t k = 0; k < i; k++)
            if (c.layers[i] == c.layers[k]) {
                shared++;
                break;
            }
    assert_true(shared > 0);
    struct catalog_image old = c.images[3];
    assert_int_equal(catalog_publish(&c, 3, &r), 3);
    struct catalog_image next = c.images[3];
    assert_int_equal(next.n, old.n);
    assert_true(c.layers[next.first + next.n - 1] != c.layers[old.first + old.n - 1]);
    catalog_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_what_was_put),
        cmocka_unit_test(room_is_made_from_the_coldest_that_nobody_reads),
        cmocka_unit_test(a_crash_takes_what_was_not_synced),
        cmocka_unit_test(layers_have_their_own_digests_and_sizes),
        cmocka_unit_test(images_share_layers_and_the_first_is_the_most_popular),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

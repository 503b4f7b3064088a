/* Pieces: everybody cuts alike, and maps survive the wire. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "proto/pieces.h"
#include "proto/rng.h"
#include "proto/wire.h"

static void sizes(void **state)
{
    (void)state;
    assert_int_equal(piece_size(1), 128 * KIB);
    assert_int_equal(piece_size(64 * MIB), 128 * KIB);
    assert_int_equal(piece_size(64 * MIB + 1), 256 * KIB);
    assert_int_equal(piece_size(128 * MIB), 256 * KIB);
    assert_int_equal(piece_size(1000 * MIB), 2 * MIB);
    assert_int_equal(piece_size(1025 * MIB), 4 * MIB);
    assert_int_equal(piece_size(60 * GIB), 4 * MIB);
    assert_int_equal(piece_count(0), 0);
    assert_int_equal(piece_count(1), 1);
    assert_int_equal(piece_count(128 * KIB), 1);
    assert_int_equal(piece_count(128 * KIB + 1), 2);
    assert_int_equal(piece_count(64 * GIB), LIMIT_PIECES);
    assert_int_equal(piece_count(64 * GIB + 1), 0);
    assert_int_equal(piece_count(UINT64_MAX), 0);
    assert_int_equal(piece_bytes(128 * KIB + 1, 1), 1);
    assert_int_equal(piece_first(128 * KIB + 1, 1), 128 * KIB);
}

/* Between 64 MiB and 2 GiB there are 257 to 512 pieces, and they add up to the layer. */
static void counts(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 2000; i++) {
        u64 size = 64 * MIB + 1 + rng_below(&rng, 1984 * MIB), sum = 0;
        u32 n = piece_count(size);
        assert_in_range(n, 257, 512);
        for (u32 p = 0; p < n; p++) {
            assert_true(piece_first(size, p) == sum);
            sum += piece_bytes(size, p);
        }
        assert_true(sum == size);
    }
}

static void map(void **state)
{
    (void)state;
    struct piece_map m;
    assert_int_equal(piece_map_init(&m, 130), 0);
    assert_int_equal(piece_map_next(&m, 0, true), 130);
    assert_int_equal(piece_map_next(&m, 129, false), 129);
    assert_true(piece_map_set(&m, 129));
    assert_false(piece_map_set(&m, 129));
    assert_true(piece_map_set(&m, 64));
    assert_int_equal(piece_map_next(&m, 0, true), 64);
    assert_int_equal(piece_map_next(&m, 65, true), 129);
    assert_int_equal(piece_map_next(&m, 130, true), 130);
    assert_int_equal(piece_map_next(&m, 64, false), 65);
    assert_int_equal(m.have, 2);
    assert_true(piece_map_clear(&m, 64));
    assert_false(piece_map_clear(&m, 64));
    piece_map_fill(&m);
    assert_true(piece_map_is_full(&m));
    assert_int_equal(piece_map_next(&m, 0, false), 130);
    piece_map_fini(&m);
}

static void wire(void **state)
{
    (void)state;
    struct rng rng;
    rng_seed(&rng, 2);
    for (int run = 0; run < 200; run++) {
        u32 n = 1 + (u32)rng_below(&rng, 3000), at = 0, sum = 0;
        u8 buf[1200];
        struct piece_map a, b;
        assert_int_equal(piece_map_init(&a, n), 0);
        assert_int_equal(piece_map_init(&b, n), 0);
        for (u32 i = 0; i < n; i++)
            if (rng_chance(&rng, run % 10 / 9.0))
                (void)piece_map_set(&a, i);
        for (;;) {
            struct wire_out w;
            struct wire_in r;
            wire_out_init(&w, buf, sizeof(buf));
            if (!piece_map_put(&a, &at, 1 + (u32)rng_below(&rng, 60), &w))
                break;
            assert_false(wire_full(&w));
            wire_in_init(&r, buf, w.len);
            sum += piece_map_get(&b, &r);
            assert_true(wire_ok(&r) && wire_left(&r) == 0);
        }
        assert_int_equal(sum, a.have);
        assert_memory_equal(a.words, b.words, (n + 63) / 64 * 8);
        piece_map_fini(&a);
        piece_map_fini(&b);
    }
}

static void get(struct piece_map *m, u32 first, const char *bits, size_t len, bool ok)
{
    u8 buf[64];
    struct wire_out w;
    struct wire_in r;
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_array(&w, 2);
    wire_put_u64(&w, first);
    wire_put_bin(&w, bits, len);
    wire_in_init(&r, buf, w.len);
    (void)piece_map_get(m, &r);
    assert_int_equal(wire_ok(&r), ok);
}

static void hostile(void **state)
{
    (void)state;
    struct piece_map m;
    assert_int_equal(piece_map_init(&m, 20), 0);
    get(&m, 16, "\x0f", 1, true);
    get(&m, 16, "\x10", 1, false); /* the 20th */
    get(&m, 3, "\x01", 1, false);
    get(&m, 24, "\x01", 1, false);
    get(&m, 8, "\x00\x00\x00\x00", 4, true); /* none beyond */
    assert_int_equal(m.have, 4);
    piece_map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes), cmocka_unit_test(counts),  cmocka_unit_test(map),
        cmocka_unit_test(wire),  cmocka_unit_test(hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* node_ring.c - tests of node/ring.h: bytes across block borders, a full ring, recycling; and a
 * random walk beside a plain buffer that does the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/ring.h"

#define BLOCK    LIMIT_FILL_BLOCK_BYTES
#define CAPACITY (RING_SLOTS * BLOCK)

static struct ring_cache cache;
static struct ring ring;
static u8 *stream; /* byte i of the stream, i < STREAM */

#define STREAM (4 * CAPACITY)

static u64 state_of_chance;

static u64 chance(u64 below)
{
    state_of_chance ^= state_of_chance << 13;
    state_of_chance ^= state_of_chance >> 7;
    state_of_chance ^= state_of_chance << 17;
    return state_of_chance % below;
}

static int setup(void **state)
{
    (void)state;
    stream = malloc(STREAM);
    if (!stream)
        return -1;
    state_of_chance = 88172645463325252;
    for (size_t i = 0; i < STREAM; i += 8) {
        u64 x = chance(UINT64_MAX);
        memcpy(stream + i, &x, 8);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(stream);
    return 0;
}

static void begin(u64 at)
{
    memset(&cache, 0, sizeof(cache));
    ring_init(&ring, &cache, at);
}

static void finish(void)
{
    ring_fini(&ring);
    assert_int_equal(cache.blocks, 0);
    ring_cache_fini(&cache);
    assert_int_equal(cache.n, 0);
}

static void append(u64 n)
{
    assert_int_equal(ring_append(&ring, stream + ring.end, n), n);
}

/* Everything in [from, to) is what it should be, by ring_at and by ring_iov. */
static void expect(u64 from, u64 to)
{
    for (u64 at = from; at < to;) {
        size_t n;
        const u8 *data = ring_at(&ring, at, to, &n);
        assert_in_range(n, 1, to - at);
        assert_memory_equal(data, stream + at, n);
        at += n;
    }
    for (u64 at = from; at < to;) {
        struct iovec iov[5];
        u64 covered;
        int n = ring_iov(&ring, at, to, iov, countof(iov), &covered);
        assert_in_range(n, 1, countof(iov));
        for (int i = 0; i < n; i++) {
            assert_memory_equal(iov[i].iov_base, stream + at, iov[i].iov_len);
            at += iov[i].iov_len;
        }
        assert_int_equal(at, covered);
        assert_true(covered <= to);
    }
}

static void test_borders(void **state)
{
    (void)state;
    begin(0);
    assert_int_equal(ring.first, 0);
    append(BLOCK - 1);
    assert_int_equal(cache.blocks, 1);
    append(1); /* to the border */
    assert_int_equal(cache.blocks, 1);
    append(1); /* over it */
    assert_int_equal(cache.blocks, 2);
    append(3 * BLOCK + 5);
    expect(0, ring.end);
    expect(BLOCK - 1, BLOCK + 1);
    expect(5, 6);
    struct iovec iov[2];
    u64 covered;
    assert_int_equal(ring_iov(&ring, 7, 7, iov, 2, &covered), 0);
    assert_int_equal(covered, 7);
    assert_int_equal(ring_iov(&ring, 10, ring.end, iov, 2, &covered), 2);
    assert_int_equal(covered, 2 * BLOCK);
    assert_int_equal(ring_append(&ring, stream, 0), 0);
    finish();
}

static void test_drop(void **state)
{
    (void)state;
    begin(0);
    append(3 * BLOCK);
    ring_drop(&ring, BLOCK - 1); /* not a whole block yet */
    assert_int_equal(ring.first, 0);
    ring_drop(&ring, BLOCK);
    assert_int_equal(ring.first, BLOCK);
    assert_int_equal(cache.blocks, 2);
    ring_drop(&ring, 5); /* behind: nothing */
    assert_int_equal(ring.first, BLOCK);
    expect(BLOCK, ring.end);
    ring_drop(&ring, ring.end); /* everything */
    assert_int_equal(ring.first, 3 * BLOCK);
    assert_int_equal(cache.blocks, 0);
    append(10);
    expect(3 * BLOCK, ring.end);
    ring_drop(&ring, ring.end); /* the block that is being filled stays */
    assert_int_equal(cache.blocks, 1);
    append(BLOCK);
    expect(3 * BLOCK, ring.end);
    finish();
}

static void test_full(void **state)
{
    (void)state;
    begin(0);
    append(CAPACITY - 1);
    assert_int_equal(ring_append(&ring, stream + ring.end, 10), 1);
    assert_int_equal(ring_append(&ring, stream + ring.end, 10), 0);
    assert_int_equal(ring.end, CAPACITY);
    expect(0, ring.end);
    ring_drop(&ring, BLOCK);
    assert_int_equal(ring_append(&ring, stream + ring.end, BLOCK + 10), BLOCK);
    assert_int_equal(ring_append(&ring, stream + ring.end, 1), 0);
    expect(BLOCK, ring.end);
    finish();
}

static void test_begins_in_the_middle(void **state)
{
    (void)state;
    u64 at = 5 * BLOCK + 1000;
    begin(at);
    assert_true(ring.first == at && ring.end == at);
    ring_drop(&ring, at);
    assert_int_equal(ring.first, at);
    append(BLOCK);
    expect(at, ring.end);
    append(CAPACITY - 2 * BLOCK);
    expect(at, ring.end);
    ring_drop(&ring, 7 * BLOCK);
    assert_int_equal(ring.first, 7 * BLOCK);
    expect(ring.first, ring.end);
    finish();
    begin(at); /* not one byte came */
    finish();
}

static void test_cache(void **state)
{
    (void)state;
    struct ring second;
    begin(0);
    append(RING_CACHE_BLOCKS * BLOCK + 8 * BLOCK);
    ring_fini(&ring);
    assert_int_equal(cache.n, RING_CACHE_BLOCKS); /* kept for the next one, no more than that */
    assert_int_equal(cache.blocks, 0);
    assert_true(ring.first == ring.end);
    ring_init(&second, &cache, 0);
    ring_init(&ring, &cache, 0);
    assert_int_equal(ring_append(&second, stream + 77, 2 * BLOCK), 2 * BLOCK);
    append(2 * BLOCK);
    assert_int_equal(cache.n, RING_CACHE_BLOCKS - 4);
    assert_int_equal(cache.blocks, 4);
    expect(0, ring.end); /* not mixed up */
    size_t n;
    assert_memory_equal(ring_at(&second, 0, BLOCK, &n), stream + 77, BLOCK);
    ring_fini(&second);
    finish();
}

static void test_random_walk(void **state)
{
    (void)state;
    for (unsigned walk = 0; walk < 20; walk++) {
        u64 first, end;
        first = end = chance(3 * BLOCK);
        begin(first);
        for (unsigned step = 0; step < 60 && end < STREAM - CAPACITY; step++) {
            u64 n = chance(4) ? chance(3 * BLOCK) : chance(CAPACITY);
            u64 base = first / BLOCK * BLOCK, room = base + CAPACITY - end;
            assert_int_equal(ring_append(&ring, stream + end, n), n < room ? n : room);
            end += n < room ? n : room;
            assert_int_equal(ring.end, end);
            if (first < end) {
                u64 from = first + chance(end - first), to = from + 1 + chance(end - from);
                expect(from, to < from + 3 * BLOCK ? to : from + 3 * BLOCK);
            }
            if (chance(2)) {
                u64 to = chance(5) ? first + chance(end - first + 1) : end;
                ring_drop(&ring, to);
                if (to / BLOCK > first / BLOCK)
                    first = to / BLOCK * BLOCK;
            }
            assert_int_equal(ring.first, first);
            assert_int_equal(cache.blocks, (end + BLOCK - 1) / BLOCK - first / BLOCK);
        }
        finish();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_borders), cmocka_unit_test(test_drop),
        cmocka_unit_test(test_full),    cmocka_unit_test(test_begins_in_the_middle),
        cmocka_unit_test(test_cache),   cmocka_unit_test(test_random_walk),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* node_memo.c - tests of node/memo.h: bounded in bytes, the least used out first, and a document
 * that is being sent stays whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "node/memo.h"
#include "proto/limits.h"

static struct memo *memo;
static u8 *bytes; /* LIMIT_MANIFEST_BYTES + 1 of something */

static int setup(void **state)
{
    (void)state;
    assert_true(sodium_init() >= 0);
    bytes = malloc(LIMIT_MANIFEST_BYTES + 1);
    assert_non_null(bytes);
    memset(bytes, 'x', LIMIT_MANIFEST_BYTES + 1);
    return memo_new(&memo);
}

static int teardown(void **state)
{
    (void)state;
    memo_del(memo);
    free(bytes);
    return 0;
}

static struct digest name(unsigned n)
{
    struct digest d = {.alg = DIGEST_SHA256};
    memcpy(d.bytes, &n, sizeof(n));
    return d;
}

static void put(unsigned n, size_t len)
{
    struct digest d = name(n);
    struct document *made = memo_put(memo, &d, "a/b", bytes, len);
    assert_non_null(made);
    document_release(made);
}

static bool holds(unsigned n)
{
    struct digest d = name(n);
    struct document *found = memo_get(memo, &d);
    if (found)
        document_release(found);
    return found != NULL;
}

static void test_put_and_get(void **state)
{
    (void)state;
    struct digest d = name(1), unknown = name(2);
    assert_null(memo_get(memo, &d));
    struct document *made = memo_put(memo, &d, "application/x", "hello", 5);
    assert_non_null(made);
    struct document *found = memo_get(memo, &d);
    assert_ptr_equal(found, made);
    assert_int_equal(found->len, 5);
    assert_memory_equal(found->data, "hello", 5);
    assert_string_equal(found->media_type, "application/x");
    assert_true(digest_equal(&found->digest, &d));
    /* What is there stays. */
    struct document *again = memo_put(memo, &d, "other/x", "other", 5);
    assert_ptr_equal(again, made);
    assert_string_equal(again->media_type, "application/x");
    document_release(again);
    document_release(found);
    document_release(made);
    assert_null(memo_get(memo, &unknown));
}

static void test_forget(void **state)
{
    (void)state;
    struct digest d = name(1);
    struct document *made = memo_put(memo, &d, "a/b", "hello", 5);
    memo_forget(memo, &d);
    memo_forget(memo, &d); /* not there: nothing */
    assert_null(memo_get(memo, &d));
    assert_memory_equal(made->data, "hello", 5); /* who holds it, has it */
    document_release(made);
    put(1, 3);
    assert_true(holds(1));
}

static void test_sizes(void **state)
{
    (void)state;
    struct digest d = name(1);
    assert_null(memo_put(memo, &d, "a/b", bytes, LIMIT_MANIFEST_BYTES + 1));
    assert_false(holds(1));
    put(1, LIMIT_MANIFEST_BYTES);
    assert_true(holds(1));
    put(2, 0);
    assert_true(holds(2));
}

static void test_bound_in_bytes(void **state)
{
    (void)state;
    /* 16 MiB in all, and a little for each. */
    for (unsigned i = 0; i < 40; i++)
        put(i, MIB);
    unsigned held = 0;
    for (unsigned i = 0; i < 40; i++)
        held += holds(i);
    assert_int_equal(held, 15);
    for (unsigned i = 25; i < 40; i++)
        assert_true(holds(i));             /* the newest */
    for (unsigned i = 100; i < 20100; i++) /* many small ones */
        put(i, 1000);
    assert_false(holds(39));
    assert_false(holds(100));
    assert_true(holds(20099));
    held = 0;
    for (unsigned i = 100; i < 20100; i++)
        held += holds(i);
    assert_in_range(held, 16 * MIB / (1500 + sizeof(struct document)), 16 * MIB / 1000);
}

static void test_least_used_goes_first(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 15; i++)
        put(i, MIB);
    assert_true(holds(0)); /* used: now the newest */
    assert_true(holds(2));
    put(15, MIB);
    put(16, MIB);
    assert_true(holds(0));
    assert_false(holds(1));
    assert_true(holds(2));
    assert_false(holds(3));
    assert_true(holds(4));
}

static void test_a_reference_survives_eviction(void **state)
{
    (void)state;
    struct digest d = name(1000);
    struct document *held = memo_put(memo, &d, "a/b", "precious", 8);
    for (unsigned i = 0; i < 20; i++)
        put(i, MIB);
    assert_false(holds(1000));
    assert_memory_equal(held->data, "precious", 8);
    struct document *second = memo_put(memo, &d, "a/b", "precious", 8); /* beside the first */
    assert_ptr_not_equal(second, held);
    document_release(second);
    document_release(held);
    assert_true(holds(1000));
}

static void test_references_outlive_the_memo(void **state)
{
    (void)state;
    struct memo *other;
    struct digest d = name(1);
    assert_int_equal(memo_new(&other), 0);
    struct document *held = memo_put(other, &d, "a/b", "x", 1);
    memo_del(other);
    memo_del(NULL);
    assert_int_equal(held->data[0], 'x');
    document_release(held);
}

/* --- sayings ---------------------------------------------------------------------------------- */

static void key_of(unsigned bucket, unsigned n, u8 key[16])
{
    memset(key, 0, 16);
    memcpy(key, &bucket, sizeof(bucket)); /* the first bits choose the bucket */
    memcpy(key + 4, &n, sizeof(n));
}

static void test_sayings(void **state)
{
    (void)state;
    u8 key[16], other[16];
    key_of(1, 1, key);
    key_of(1, 2, other);
    assert_null(memo_recall(memo, key));
    struct saying *s = memo_note(memo, key, 1000);
    assert_non_null(s);
    assert_int_equal(s->status, 0);
    s->status = 401;
    snprintf(s->challenge, sizeof(s->challenge), "Basic");
    const struct saying *found = memo_recall(memo, key);
    assert_non_null(found);
    assert_int_equal(found->status, 401);
    assert_int_equal(found->at_ms, 1000);
    assert_null(memo_recall(memo, other));
    s = memo_note(memo, key, 2000); /* said anew: the old words are gone */
    assert_int_equal(s->status, 0);
    assert_string_equal(s->challenge, "");
    assert_int_equal(memo_recall(memo, key)->at_ms, 2000);
    memset(key, 0, 16); /* an all-zero key is a key, and an empty place is none */
    assert_null(memo_recall(memo, key));
}

static void test_the_oldest_saying_makes_room(void **state)
{
    (void)state;
    u8 key[16];
    for (unsigned i = 0; i < 4; i++) {
        key_of(7, i, key);
        memo_note(memo, key, 1000 + i);
    }
    key_of(7, 0, key);
    memo_note(memo, key, 5000); /* said again */
    key_of(7, 100, key);
    memo_note(memo, key, 6000);
    key_of(7, 1, key);
    assert_null(memo_recall(memo, key));
    for (unsigned i = 0; i < 4; i++) {
        key_of(7, i, key);
        assert_int_equal(memo_recall(memo, key) != NULL, i != 1);
    }
    key_of(8, 0, key);
    assert_null(memo_recall(memo, key));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_put_and_get),
        TEST(test_forget),
        TEST(test_sizes),
        TEST(test_bound_in_bytes),
        TEST(test_least_used_goes_first),
        TEST(test_a_reference_survives_eviction),
        TEST(test_references_outlive_the_memo),
        TEST(test_sayings),
        TEST(test_the_oldest_saying_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

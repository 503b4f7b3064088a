/* proto_rendezvous.c - tests of proto/rendezvous.h: an order that all agree on, spread evenly, that
 * a node's coming changes only in its own favour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/rendezvous.h"
#include "proto/rng.h"

#define NODES   8
#define DIGESTS 4000

static struct node_key keys[NODES];

static struct digest digest(u32 n)
{
    struct digest d = {.alg = DIGEST_SHA256};
    struct rng r;
    rng_seed(&r, n);
    rng_bytes(&r, d.bytes, 32);
    return d;
}

static size_t first_of(const struct digest *d, size_t n)
{
    size_t first = 0;
    for (size_t i = 1; i < n; i++)
        if (rendezvous_before(&keys[i], &keys[first], d))
            first = i;
    return first;
}

static void test_a_total_order(void **state)
{
    (void)state;
    for (u32 n = 0; n < 100; n++) {
        struct digest d = digest(n);
        for (size_t a = 0; a < NODES; a++)
            for (size_t b = 0; b < NODES; b++)
                assert_int_equal(rendezvous_before(&keys[a], &keys[b], &d),
                                 a != b && !rendezvous_before(&keys[b], &keys[a], &d));
    }
}

static void test_even_and_stable(void **state)
{
    (void)state;
    unsigned count[NODES] = {0};
    for (u32 n = 0; n < DIGESTS; n++) {
        struct digest d = digest(n);
        size_t now = first_of(&d, NODES), before = first_of(&d, NODES - 1);
        count[now]++;
        assert_true(now == before || now == NODES - 1); /* the last one only took for itself */
    }
    for (size_t i = 0; i < NODES; i++)
        assert_in_range(count[i], DIGESTS / NODES * 8 / 10, DIGESTS / NODES * 12 / 10);
}

/* Nodes of several builds must agree: the very number. */
static void test_the_number(void **state)
{
    (void)state;
    struct node_key k = {{1, 2, 3}};
    struct digest d = {.alg = DIGEST_SHA256, .bytes = {9}},
                  longer = {.alg = DIGEST_SHA512, .bytes = {9}};
    assert_true(rendezvous_score(&k, &d) == 0x35d9f4a247567316);
    assert_int_not_equal(rendezvous_score(&k, &d), rendezvous_score(&k, &longer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_total_order),
        cmocka_unit_test(test_even_and_stable),
        cmocka_unit_test(test_the_number),
    };
    struct rng r;
    rng_seed(&r, 5);
    for (size_t i = 0; i < NODES; i++)
        rng_bytes(&r, keys[i].bytes, sizeof(keys[i].bytes));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

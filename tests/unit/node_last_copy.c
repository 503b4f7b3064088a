/* node_last_copy.c - tests of node/last_copy.h: of several holders exactly one counts on its copy.
 * The region is what the test says it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "node/last_copy.h"

static char mesh_object;
static struct node_key self, others[40];
static size_t n_others, n_alive;

const struct member *mesh_member(const struct mesh *m)
{
    (void)m;
    return NULL;
}

size_t member_count(const struct member *m, enum member_state s)
{
    (void)m;
    return s == MEMBER_ALIVE ? n_alive : 0;
}

const struct inventory *mesh_inventory(const struct mesh *m)
{
    (void)m;
    return NULL;
}

const struct node_key *mesh_key(const struct mesh *m)
{
    (void)m;
    return &self;
}

size_t inventory_holders(const struct inventory *v, const struct digest *d, struct node_key *out,
                         size_t max)
{
    (void)v;
    (void)d;
    for (size_t i = 0; i < n_others && i < max; i++)
        out[i] = others[i];
    return n_others;
}

static bool is_last(void)
{
    static const struct digest d = {.alg = DIGEST_SHA256, .bytes = {7}};
    return last_copy((struct mesh *)(void *)&mesh_object, &d);
}

static struct node_key key(u8 n)
{
    struct node_key k;
    memset(k.bytes, n, sizeof(k.bytes));
    return k;
}

static void test_alone(void **state)
{
    (void)state;
    static const struct digest d = {.alg = DIGEST_SHA256};
    n_alive = 1;
    n_others = 0;
    assert_false(is_last());
    assert_false(last_copy(NULL, &d));
}

static void test_nobody_else_holds_it(void **state)
{
    (void)state;
    n_alive = 3;
    n_others = 0;
    assert_true(is_last());
}

/* Seen from each of five holders: it is exactly one's. */
static void test_one_of_the_holders(void **state)
{
    (void)state;
    unsigned last = 0;
    n_alive = 9;
    n_others = 4;
    for (u8 me = 0; me < 5; me++) {
        self = key(me);
        for (u8 i = 0, k = 0; i < 5; i++)
            if (i != me)
                others[k++] = key(i);
        last += is_last();
    }
    assert_int_equal(last, 1);
}

static void test_one_of_very_many(void **state)
{
    (void)state;
    n_alive = 50;
    n_others = 40;
    assert_false(is_last());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_nobody_else_holds_it),
        cmocka_unit_test(test_one_of_the_holders),
        cmocka_unit_test(test_one_of_very_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

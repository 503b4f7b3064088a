/* store_table.c - tests of the table of digests: found, gone, grown, walked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "store/table.h"

#define NODES 1000 /* several doublings */

static struct table_node nodes[NODES];

static void name(struct table_node *n, unsigned number)
{
    memset(n, 0, sizeof(*n));
    n->digest.alg = DIGEST_SHA256;
    memcpy(n->digest.bytes, &number, sizeof(number));
}

static void put_find_del(void **state)
{
    (void)state;
    struct table t;
    assert_int_equal(table_init(&t, 42), 0);
    assert_null(table_next(&t, NULL));
    for (unsigned i = 0; i < NODES; i++) {
        name(&nodes[i], i);
        assert_null(table_find(&t, &nodes[i].digest));
        table_put(&t, &nodes[i]);
    }
    assert_int_equal(t.count, NODES);
    for (unsigned i = 0; i < NODES; i++)
        assert_ptr_equal(table_find(&t, &nodes[i].digest), &nodes[i]);

    size_t walked = 0;
    for (struct table_node *n = NULL; (n = table_next(&t, n));)
        walked++;
    assert_int_equal(walked, NODES);

    for (unsigned i = 0; i < NODES; i += 2)
        table_del(&t, &nodes[i]);
    for (unsigned i = 0; i < NODES; i++)
        assert_ptr_equal(table_find(&t, &nodes[i].digest), i % 2 ? &nodes[i] : NULL);
    for (struct table_node *n; (n = table_next(&t, NULL));)
        table_del(&t, n);
    assert_int_equal(t.count, 0);
    table_fini(&t);
}

/* The same bytes under another algorithm are another blob. */
static void algorithm_counts(void **state)
{
    (void)state;
    struct table t;
    struct table_node a, b;
    assert_int_equal(table_init(&t, 1), 0);
    name(&a, 7);
    name(&b, 7);
    b.digest.alg = DIGEST_SHA512;
    table_put(&t, &a);
    assert_null(table_find(&t, &b.digest));
    table_put(&t, &b);
    assert_ptr_equal(table_find(&t, &a.digest), &a);
    assert_ptr_equal(table_find(&t, &b.digest), &b);
    table_del(&t, &a);
    table_del(&t, &b);
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_find_del),
        cmocka_unit_test(algorithm_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

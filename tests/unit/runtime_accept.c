/* runtime_accept.c - tests of runtime/accept.h: the same types in any order are the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/accept.h"

static struct http_field fields[8];

static void sum_of(const char *const lines[], size_t n, u8 sum[ACCEPT_SUM_SIZE])
{
    struct http_request r = {.fields = fields, .n_fields = n};
    for (size_t i = 0; i < n; i++)
        fields[i] =
            (struct http_field){.name = {"aCCept", 6}, .value = {lines[i], strlen(lines[i])}};
    accept_sum(&r, sum);
}

#define SUM(sum, ...)                                                                              \
    sum_of((const char *const[]){__VA_ARGS__}, countof(((const char *const[]){__VA_ARGS__})), sum)

static void order_and_lines_do_not_matter(void **state)
{
    u8 a[ACCEPT_SUM_SIZE], b[ACCEPT_SUM_SIZE], none[ACCEPT_SUM_SIZE] = {0};
    (void)state;
    SUM(a, "x/one", "x/two", "x/three");
    SUM(b, "x/three", "x/one", "x/two");
    assert_memory_equal(a, b, sizeof(a));
    SUM(b, "x/two , x/three", "\tx/one,");
    assert_memory_equal(a, b, sizeof(a));
    SUM(b, "x/two, x/three");
    assert_memory_not_equal(a, b, sizeof(a));
    SUM(b, "x/one", "x/two", "x/three", "x/three");
    assert_memory_not_equal(a, b, sizeof(a));
    SUM(b, "x/one;q=0.5", "x/two", "x/three");
    assert_memory_not_equal(a, b, sizeof(a));
    SUM(b, "", " , ,");
    assert_memory_equal(b, none, sizeof(b));
}

static void other_fields_do_not_count(void **state)
{
    struct http_field other = {.name = {"Accept-Encoding", 15}, .value = {"gzip", 4}};
    struct http_request r = {.fields = &other, .n_fields = 1};
    u8 a[ACCEPT_SUM_SIZE], none[ACCEPT_SUM_SIZE] = {0};
    (void)state;
    accept_sum(&r, a);
    assert_memory_equal(a, none, sizeof(a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_lines_do_not_matter),
        cmocka_unit_test(other_fields_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

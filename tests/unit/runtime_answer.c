/* runtime_answer.c - tests of runtime/answer.h: what is kept of answers, and how much of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/answer.h"

static void test_a_head_is_copied(void **state)
{
    (void)state;
    struct answer a;
    char name[] = "X-One", value[] = "1";
    struct http_response_field fields[] = {
        {name, value}, {"Empty", ""}, {"x-one", "2"}, {"Content-Type", "a/b"}};
    struct http_response r = {
        .status = 404, .content_length = 7, .fields = fields, .n_fields = countof(fields)};
    answer_init(&a);
    assert_true(a.content_length == UINT64_MAX);
    assert_null(answer_field(&a, "X-One"));
    assert_int_equal(answer_head(&a, &r, true), 0);
    memset(name, '?', sizeof(name) - 1); /* the response's own memory goes */
    memset(value, '?', sizeof(value) - 1);
    assert_int_equal(a.status, 404);
    assert_int_equal(a.content_length, 7);
    assert_true(a.redirected);
    assert_int_equal(a.n_fields, 4);
    assert_string_equal(answer_field(&a, "X-ONE"), "1"); /* the first of two, in any case */
    assert_string_equal(answer_field(&a, "empty"), "");
    assert_string_equal(answer_field(&a, "content-type"), "a/b");
    assert_null(answer_field(&a, "X-On"));
    assert_null(answer_field(&a, "X-One2"));
    answer_fini(&a);
    assert_null(answer_field(&a, "X-One"));
    answer_fini(&a); /* twice is harmless */
}

static void test_a_head_without_fields(void **state)
{
    (void)state;
    struct answer a;
    struct http_response r = {.status = 200, .content_length = UINT64_MAX};
    answer_init(&a);
    assert_int_equal(answer_head(&a, &r, false), 0);
    assert_int_equal(a.n_fields, 0);
    assert_null(answer_field(&a, ""));
    answer_fini(&a);
}

static void test_a_body_is_bounded(void **state)
{
    (void)state;
    static u8 bytes[20000];
    struct answer a;
    answer_init(&a);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (u8)(i * 7);
    assert_int_equal(answer_data(&a, bytes, 0, 0), 0);
    assert_int_equal(answer_data(&a, bytes, 1, 0), ERR_TOOBIG);
    size_t at = 0;
    for (size_t n = 1; at + n <= sizeof(bytes); at += n, n = n * 2 + 1)
        assert_int_equal(answer_data(&a, bytes + at, n, sizeof(bytes)), 0);
    assert_int_equal(answer_data(&a, bytes, sizeof(bytes) - at + 1, sizeof(bytes)), ERR_TOOBIG);
    assert_int_equal(a.len, at); /* what was there stays */
    assert_int_equal(answer_data(&a, bytes + at, sizeof(bytes) - at, sizeof(bytes)), 0);
    assert_int_equal(a.len, sizeof(bytes));
    assert_memory_equal(a.body, bytes, sizeof(bytes));
    assert_int_equal(answer_data(&a, bytes, 1, sizeof(bytes)), ERR_TOOBIG);
    assert_int_equal(answer_data(&a, bytes, SIZE_MAX, sizeof(bytes)), ERR_TOOBIG);
    answer_fini(&a);
    assert_int_equal(a.len, 0);
}

static void test_the_end(void **state)
{
    (void)state;
    char why[400];
    struct answer a;
    memset(why, 'w', sizeof(why) - 1);
    why[sizeof(why) - 1] = '\0';
    answer_init(&a);
    answer_end(&a, ERR_TIMEOUT, why); /* cut, and ended */
    assert_int_equal(a.err, ERR_TIMEOUT);
    assert_int_equal(strlen(a.why), sizeof(a.why) - 1);
    answer_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_is_copied),
        cmocka_unit_test(test_a_head_without_fields),
        cmocka_unit_test(test_a_body_is_bounded),
        cmocka_unit_test(test_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tracker_echoes.c - tests of tracker/echoes.h: what is kept is bounded, ends, and is said as it
 * was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tracker/echoes.h"

static struct echoes *e;

static int begin(void **state)
{
    (void)state;
    return sodium_init() < 0 || echoes_new(&e);
}

static int end(void **state)
{
    (void)state;
    echoes_del(e);
    return 0;
}

static void key_of(u32 i, u8 key[16])
{
    memset(key, 0, 16);
    memcpy(key, &i, sizeof(i));
}

static void note(u32 i, size_t bytes, u64 until_ms)
{
    struct http_response_field fields[] = {{"Content-Type", "text/x"}, {"X-Number", "7"}};
    const struct http_response head = {
        .status = 200, .content_length = bytes, .fields = fields, .n_fields = 2};
    struct answer a;
    u8 key[16], *body = malloc(bytes + 1);
    assert_non_null(body);
    memset(body, (int)(i & 0xff), bytes);
    answer_init(&a);
    assert_int_equal(answer_head(&a, &head, false), 0);
    assert_int_equal(answer_data(&a, body, bytes, bytes), 0);
    free(body);
    key_of(i, key);
    echoes_take(e, key, &a, until_ms);
    assert_null(a.body); /* taken */
    answer_fini(&a);
}

static const struct answer *recall(u32 i, u64 now_ms)
{
    u8 key[16];
    key_of(i, key);
    return echoes_recall(e, key, now_ms);
}

static void as_it_was_until_its_end(void **state)
{
    (void)state;
    note(1, 100, 500);
    const struct answer *a = recall(1, 499);
    assert_non_null(a);
    assert_int_equal(a->status, 200);
    assert_int_equal(a->len, 100);
    assert_int_equal(a->body[99], 1);
    assert_string_equal(answer_field(a, "x-number"), "7");
    assert_null(recall(2, 0));
    assert_null(recall(1, 500));
    assert_null(recall(1, 0)); /* it is gone for good */
    assert_true(echoes_bytes(e) == 0);
}

static void a_newer_one_takes_its_place(void **state)
{
    (void)state;
    note(1, 100, 500);
    u64 one = echoes_bytes(e);
    note(1, 50, 900);
    assert_true(echoes_bytes(e) <= one);
    assert_int_equal(recall(1, 600)->len, 50);
    echoes_clear(e);
    assert_null(recall(1, 0));
    assert_true(echoes_bytes(e) == 0);
}

static void bounded(void **state)
{
    (void)state;
    note(0, ECHOES_ONE_BYTES, 500); /* with its fields it is too large */
    assert_null(recall(0, 0));
    for (u32 i = 1; i <= 200; i++) {
        note(i, 1 << 20, 500);
        assert_non_null(recall(1, 0)); /* asked for again and again */
        assert_true(echoes_bytes(e) <= ECHOES_BYTES);
    }
    assert_null(recall(2, 0)); /* the oldest made room */
    assert_non_null(recall(200, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(as_it_was_until_its_end),
        TEST(a_newer_one_takes_its_place),
        TEST(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Range and Content-Range: what is honoured, what is ignored, what is 416. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/err.h"
#include "proto/range.h"

#define HUGE_NUMBER "99999999999999999999999999999999999999"

struct row {
    const char *value;
    u64 size;
    enum range_kind kind;
    u64 first, last; /* of a RANGE_PART */
};

static void check(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct byte_range r = {.first = 99, .last = 99};
        enum range_kind kind = range_parse(rows[i].value, strlen(rows[i].value), rows[i].size, &r);
        if (kind != rows[i].kind)
            fail_msg("'%s' of %ju: kind %d", rows[i].value, (uintmax_t)rows[i].size, (int)kind);
        if (kind == RANGE_PART && (r.first != rows[i].first || r.last != rows[i].last))
            fail_msg("'%s': %ju-%ju", rows[i].value, (uintmax_t)r.first, (uintmax_t)r.last);
        if (kind == RANGE_NONE && rows[i].size > 0)
            assert_true(r.first == 0 && r.last == rows[i].size - 1);
    }
}

static void one_range_is_honoured(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"bytes=0-", 3000, RANGE_PART, 0, 2999},
        {"bytes=0-0", 3000, RANGE_PART, 0, 0},
        {"bytes=500-1499", 3000, RANGE_PART, 500, 1499},
        {"bytes=500-", 3000, RANGE_PART, 500, 2999},
        {"bytes=2999-2999", 3000, RANGE_PART, 2999, 2999},
        {"bytes=2999-", 3000, RANGE_PART, 2999, 2999},
        {"bytes=0-0", 1, RANGE_PART, 0, 0},
        {"bytes=-500", 3000, RANGE_PART, 2500, 2999},
        {"bytes=-1", 3000, RANGE_PART, 2999, 2999},
        {"bytes=007-0010", 3000, RANGE_PART, 7, 10},
    };
    check(rows, countof(rows));
}

static void what_reaches_past_the_end_is_clamped(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"bytes=2000-5000", 3000, RANGE_PART, 2000, 2999},
        {"bytes=0-" HUGE_NUMBER, 3000, RANGE_PART, 0, 2999},
        {"bytes=-3000", 3000, RANGE_PART, 0, 2999},
        {"bytes=-5000", 3000, RANGE_PART, 0, 2999},
        {"bytes=-" HUGE_NUMBER, 3000, RANGE_PART, 0, 2999},
        {"bytes=18446744073709551614-", UINT64_MAX, RANGE_PART, UINT64_MAX - 1, UINT64_MAX - 1},
    };
    check(rows, countof(rows));
}

static void what_cannot_be_met_is_416(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"bytes=500-0", 3000, RANGE_UNMET, 0, 0},
        {"bytes=5000-10000", 3000, RANGE_UNMET, 0, 0},
        {"bytes=3000-", 3000, RANGE_UNMET, 0, 0},
        {"bytes=3000-3000", 3000, RANGE_UNMET, 0, 0},
        {"bytes=-0", 3000, RANGE_UNMET, 0, 0},
        {"bytes=" HUGE_NUMBER "-", 3000, RANGE_UNMET, 0, 0},
        {"bytes=18446744073709551616-18446744073709551620", 3000, RANGE_UNMET, 0, 0},
        {"bytes=0-", 0, RANGE_UNMET, 0, 0},
        {"bytes=0-0", 0, RANGE_UNMET, 0, 0},
        {"bytes=-1", 0, RANGE_UNMET, 0, 0},
        {"bytes=-0", 0, RANGE_UNMET, 0, 0},
    };
    check(rows, countof(rows));
}

static void spaces_case_and_empty_elements_are_tolerated(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"BYTES=1-2", 10, RANGE_PART, 1, 2},    {"  Bytes=1-2\t", 10, RANGE_PART, 1, 2},
        {"bytes= 1-2", 10, RANGE_PART, 1, 2},   {"bytes=1-2 , ", 10, RANGE_PART, 1, 2},
        {"bytes=, ,1-2", 10, RANGE_PART, 1, 2}, {"bytes=,-2,", 10, RANGE_PART, 8, 9},
    };
    check(rows, countof(rows));
}

static void several_and_nonsense_are_ignored(void **state)
{
    (void)state;
    static const char *const ignored[] = {
        "",
        " ",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=--1",
        "bytes=1",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=1-2x",
        "bytes=1 -2",
        "bytes=1- 2",
        "bytes =1-2",
        "bytes:1-2",
        "bytes=0-0,2-3",
        "bytes=0-0,junk",
        "bytes=+1-2",
        "bytes=0x1-2",
        "bytes=1-2-3",
        "lines=1-2",
        "byte=1-2",
        "bytess=1-2",
        "1-2",
        "bytes=1-2;q=1",
        "bytes=-1-",
        "bytes=\x01",
        "none",
    };
    for (size_t i = 0; i < countof(ignored); i++) {
        check(&(struct row){ignored[i], 10, RANGE_NONE, 0, 0}, 1);
        check(&(struct row){ignored[i], 0, RANGE_NONE, 0, 0}, 1);
    }
    struct byte_range r;
    assert_int_equal(range_parse(NULL, 0, 10, &r), RANGE_NONE);
    assert_int_equal(range_parse("bytes=1-2\0", 10, 10, &r), RANGE_NONE);
    assert_int_equal(range_parse("bytes=1-23", 9, 100, &r), RANGE_PART); /* `len` rules */
    assert_true(r.first == 1 && r.last == 2);
}

static void content_range_is_read(void **state)
{
    (void)state;
    struct byte_range r;
    u64 size;
    assert_int_equal(range_parse_content("bytes 5-9/10", 12, &r, &size), 0);
    assert_true(r.first == 5 && r.last == 9 && size == 10);
    assert_int_equal(range_parse_content("bytes 0-0/1", 11, &r, &size), 0);
    assert_true(r.first == 0 && r.last == 0 && size == 1);
    assert_int_equal(range_parse_content(" Bytes 5-9/* ", 13, &r, &size), 0);
    assert_true(r.first == 5 && r.last == 9 && size == UINT64_MAX);
}

static void content_range_lies_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "bytes",
        "bytes ",
        "bytes */10",
        "bytes */*",
        "bytes 5-9",
        "bytes 5-9/",
        "bytes 9-5/10",
        "bytes 5-10/10",
        "bytes 0-0/0",
        "bytes=5-9/10",
        "bytes  5-9/10",
        "bytes 5 - 9/10",
        "bytes 5-9/10x",
        "bytes 5-9/*x",
        "bytes -9/10",
        "bytes 5-/10",
        "lines 5-9/10",
        "5-9/10",
        "bytes 0-9/18446744073709551615",
        ("bytes 0-9/" HUGE_NUMBER),
        ("bytes 0-" HUGE_NUMBER "/*"),
        ("bytes " HUGE_NUMBER "-" HUGE_NUMBER "/*"),
        "bytes 5-9/10, bytes 5-9/10",
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct byte_range r = {1, 1};
        u64 size = 1;
        if (range_parse_content(bad[i], strlen(bad[i]), &r, &size) != ERR_INVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_true(r.first == 0 && r.last == 0 && size == UINT64_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_range_is_honoured),
        cmocka_unit_test(what_reaches_past_the_end_is_clamped),
        cmocka_unit_test(what_cannot_be_met_is_416),
        cmocka_unit_test(spaces_case_and_empty_elements_are_tolerated),
        cmocka_unit_test(several_and_nonsense_are_ignored),
        cmocka_unit_test(content_range_is_read),
        cmocka_unit_test(content_range_lies_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

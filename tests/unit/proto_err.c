/* The words for error codes: every code has its own, and no int is left without an answer. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/err.h"

static const int codes[] = {ERR_OK,
#define X(name, number, text) name,
                            ERR_TABLE(X)
#undef X
};

static void names_are_the_enum(void **state)
{
    (void)state;
    assert_string_equal(err_name(ERR_TIMEOUT), "ERR_TIMEOUT");
    assert_string_equal(err_text(ERR_TIMEOUT), "took too long");
    assert_string_equal(err_name(0), "ERR_OK");
    assert_string_equal(err_name(-20), "ERR_UNSUPPORTED");
}

static void every_code_is_distinct_and_negative(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(codes); i++) {
        assert_true(i == 0 ? codes[i] == 0 : codes[i] < 0);
        assert_true(strlen(err_text(codes[i])) > 0);
        for (size_t j = 0; j < i; j++) {
            assert_int_not_equal(codes[i], codes[j]);
            assert_string_not_equal(err_name(codes[i]), err_name(codes[j]));
            assert_string_not_equal(err_text(codes[i]), err_text(codes[j]));
        }
    }
}

static void any_int_is_answered(void **state)
{
    (void)state;
    const int strange[] = {1, -21, -1000, INT_MAX, INT_MIN};
    for (size_t i = 0; i < countof(strange); i++) {
        assert_string_equal(err_name(strange[i]), "ERR_UNKNOWN");
        assert_string_equal(err_text(strange[i]), "unknown error");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_the_enum),
        cmocka_unit_test(every_code_is_distinct_and_negative),
        cmocka_unit_test(any_int_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

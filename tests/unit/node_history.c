/* node_history.c - tests of node/history.h: what is kept of what happened, and how much of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/history.h"

struct told {
    unsigned n;
    char details[4096][16];
};

static void tell(void *arg, const struct history_event *e)
{
    struct told *t = arg;
    assert_true(t->n < countof(t->details));
    assert_string_equal(e->event, "fetched");
    assert_true(e->at_ms > 1600000000000ull);
    snprintf(t->details[t->n++], sizeof(t->details[0]), "%.15s", e->detail);
}

static void test_history_remembers_the_last(void **state)
{
    (void)state;
    static struct told told;
    struct digest a = {.alg = DIGEST_SHA256, .bytes = {1}}, b = {.alg = DIGEST_SHA256};
    struct history *h;
    assert_int_equal(history_new(&h), 0);
    history_each(h, &a, tell, &told);
    assert_int_equal(told.n, 0);
    for (unsigned i = 0; i < 4572; i++)
        history_note(h, i % 3 ? &a : &b, "fetched", "%u bytes", i);
    history_each(h, &a, tell, &told);
    /* Of the last 4,096, from 476 on, those not divisible by three; oldest first. */
    unsigned expected = 476;
    for (unsigned i = 0; i < told.n; i++, expected++) {
        char text[16];
        expected += expected % 3 == 0;
        snprintf(text, sizeof(text), "%u bytes", expected);
        assert_string_equal(told.details[i], text);
    }
    assert_int_equal(expected, 4572);
    history_del(h);
    history_del(NULL);
}

static void test_history_cuts_what_is_long(void **state)
{
    (void)state;
    static struct told told;
    struct digest a = {.alg = DIGEST_SHA256, .bytes = {1}};
    struct history *h;
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(history_new(&h), 0);
    history_note(h, &a, "fetched", "%s%%", text);
    history_each(h, &a, tell, &told);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.details[0], "xxxxxxxxxxxxxxx");
    history_del(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history_remembers_the_last),
        cmocka_unit_test(test_history_cuts_what_is_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

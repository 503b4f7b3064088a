/* tracker_unfit.c - tests of tracker/unfit.h: nobody is sent where passwords would go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tracker/unfit.h"

static void names_that_passwords_would_go_to(void **state)
{
    static const char own[] = "https://dray.example.org";
    (void)state;
    assert_true(unfit_url("https://dray.example.org:5000", own));
    assert_true(unfit_url("https://n1.DRAY.example.org", own));
    assert_true(unfit_url("", own));
    assert_true(unfit_url(NULL, own));
    assert_true(unfit_url("ftp://x", own));
    assert_false(unfit_url("https://n1.caches.example.org", own));
    assert_false(unfit_url("https://xdray.example.org", own));
    assert_false(unfit_url("https://example.org", own));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_passwords_would_go_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

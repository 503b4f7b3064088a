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
    /* Go's clients read these as n1.dray.example.org (UTS 46): in whose name they go on. */
    assert_true(unfit_url("https://n1.\xef\xbd\x84ray.example.org", own)); /* full width */
    assert_true(unfit_url("https://n1\xe3\x80\x82"
                          "dray.example.org",
                          own)); /* a dot, too */
    assert_true(unfit_url("https://n1.%64ray.example.org", own));
    assert_true(unfit_url("https://n1.dray.example.org./", own));
    assert_true(unfit_url("https://dray.example.org.", own));
    assert_true(unfit_url("https://n1.dray.example.org", "https://dray.example.org."));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_passwords_would_go_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* node_image_ref.c - tests of node/image_ref.h: what people type for an image, and which platform
 * is meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/image_ref.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void what_people_type(void **state)
{
    (void)state;
    static const char *const good[][4] = {
        {"website/ui:3-stable", "", "website/ui", "3-stable"},
        {"dtr.example.org/website/ui", "dtr.example.org", "website/ui", "latest"},
        {"localhost/ui:1", "localhost", "ui", "1"},
        {"reg:5000/a/b/c:x_1.y-2", "reg:5000", "a/b/c", "x_1.y-2"},
        {"ui@sha256:" HEX, "", "ui", "sha256:" HEX},
        {"127.0.0.1:5000/a:1@sha256:" HEX, "127.0.0.1:5000", "a", "sha256:" HEX},
    };
    static const char *const bad[] = {"",
                                      ":",
                                      "/",
                                      "a:",
                                      "a@",
                                      "UPPER/case",
                                      "a//b",
                                      "a/../b",
                                      "a b",
                                      "a:tag?x=1",
                                      "a:b/c@sha256:00",
                                      "reg.example/",
                                      "a%2fb:1"};
    struct image_ref r;
    for (size_t i = 0; i < countof(good); i++) {
        assert_int_equal(image_ref_parse(&r, good[i][0]), 0);
        assert_string_equal(r.registry, good[i][1]);
        assert_string_equal(r.repository, good[i][2]);
        assert_string_equal(r.reference, good[i][3]);
    }
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(image_ref_parse(&r, bad[i]), ERR_INVAL);
    char *lengthy = malloc(5000);
    assert_non_null(lengthy);
    memset(lengthy, 'a', 4999);
    lengthy[4999] = 0;
    assert_int_equal(image_ref_parse(&r, lengthy), ERR_INVAL);
    lengthy[300] = '.';
    lengthy[400] = '/';
    assert_int_equal(image_ref_parse(&r, lengthy), ERR_INVAL);
    lengthy[400] = ':';
    assert_int_equal(image_ref_parse(&r, lengthy), ERR_INVAL);
    free(lengthy);
}

static void platforms(void **state)
{
    (void)state;
    assert_true(image_ref_is_platform("all", "", "", ""));
    assert_true(image_ref_is_platform("linux/amd64", "linux", "amd64", ""));
    assert_true(image_ref_is_platform("linux/arm", "linux", "arm", "v7"));
    assert_true(image_ref_is_platform("linux/arm/v7", "linux", "arm", "v7"));
    assert_false(image_ref_is_platform("linux/arm/v7", "linux", "arm", "v6"));
    assert_false(image_ref_is_platform("linux/arm", "linux", "arm64", ""));
    assert_false(image_ref_is_platform("linux/amd64", "windows", "amd64", ""));
    assert_false(image_ref_is_platform("linux", "linux", "amd64", ""));
    assert_non_null(image_ref_own_platform());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_people_type),
        cmocka_unit_test(platforms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

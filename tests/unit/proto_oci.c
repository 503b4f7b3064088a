/* Names, tags, error codes and error bodies of the registry protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/oci.h"

static void names(void **state)
{
    (void)state;
    static const char *const good[] = {
        "a",    "0",   "alpine", "library/alpine", "a/b/c/d", "a.b", "a_b",
        "a__b", "a-b", "a---b",  "a.b-c_d__e/f0",  "blobs",   "v2"};
    static const char *const bad[] = {
        "",     "/",     "a/",   "/a",       "a//b",  "A",   "aB",     "a..b",
        "a._b", "a___b", "a_-b", ".a",       "a.",    "-a",  "a-",     "_a",
        "a_",   "a__",   "a b",  "a%2fb",    "a:b",   "a@b", "a/../b", "a/./b",
        "..",   ".",     "a\\b", "\xc3\xa9", "a\x01", "a+b", "a/-b",   "a/b-",
    };
    for (size_t i = 0; i < countof(good); i++) {
        if (!oci_name_valid(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
    }
    for (size_t i = 0; i < countof(bad); i++) {
        if (oci_name_valid(bad[i], strlen(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    }
    assert_false(oci_name_valid("a\0b", 3));
    char longest[OCI_NAME_MAX + 1];
    memset(longest, 'a', sizeof longest);
    assert_true(oci_name_valid(longest, OCI_NAME_MAX));
    assert_false(oci_name_valid(longest, OCI_NAME_MAX + 1));
}

static void tags(void **state)
{
    (void)state;
    static const char *const good[] = {"latest", "3-stable", "V1.0_x", "_", "0", "A.-._"};
    static const char *const bad[] = {"",     ".x",       "-x",  "a:b", "a/b",  "a b",
                                      "a%20", "\xc3\xa9", "a+b", "a@b", "a\x7f"};
    for (size_t i = 0; i < countof(good); i++) {
        if (!oci_tag_valid(good[i], strlen(good[i])))
            fail_msg("refused: %s", good[i]);
    }
    for (size_t i = 0; i < countof(bad); i++) {
        if (oci_tag_valid(bad[i], strlen(bad[i])))
            fail_msg("accepted: %s", bad[i]);
    }
    char longest[OCI_TAG_MAX + 1];
    memset(longest, 't', sizeof longest);
    assert_true(oci_tag_valid(longest, OCI_TAG_MAX));
    assert_false(oci_tag_valid(longest, OCI_TAG_MAX + 1));
}

static void codes(void **state)
{
    (void)state;
    assert_string_equal(oci_code_name(OCI_BLOB_UNKNOWN), "BLOB_UNKNOWN");
    assert_int_equal(oci_code_status(OCI_BLOB_UNKNOWN), 404);
    assert_int_equal(oci_code_status(OCI_DIGEST_INVALID), 400);
    assert_int_equal(oci_code_status(OCI_RANGE_INVALID), 416);
    assert_int_equal(oci_code_status(OCI_UNAUTHORIZED), 401);
    assert_string_equal(oci_code_text(OCI_TOOMANYREQUESTS), "too many requests");
    enum oci_code strange = (enum oci_code)1000;
    assert_string_equal(oci_code_name(strange), "UNKNOWN");
    assert_int_equal(oci_code_status(strange), 500);
    assert_string_equal(oci_code_text(strange), "unknown error");
}

static void error_bodies(void **state)
{
    (void)state;
    char body[512];
    const char *want = "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"blob unknown to "
                       "registry\"}]}";
    assert_int_equal(oci_error_body(body, sizeof body, OCI_BLOB_UNKNOWN, NULL, NULL), strlen(want));
    assert_string_equal(body, want);

    want = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no\",\"detail\":\"a/b\"}]}";
    assert_int_equal(oci_error_body(body, sizeof body, OCI_DENIED, "no", "a/b"), strlen(want));
    assert_string_equal(body, want);
}

static void error_bodies_are_escaped(void **state)
{
    (void)state;
    char body[512];
    (void)oci_error_body(body, sizeof body, OCI_UNKNOWN, "\"\\\n\x01\x7f</s>",
                         "caf\xc3\xa9 \xf0\x9f\x90\x8b");
    assert_string_equal(body,
                        "{\"errors\":[{\"code\":\"UNKNOWN\",\"message\":\"\\\"\\\\\\u000a\\u0001"
                        "\\u007f</s>\",\"detail\":\"caf\xc3\xa9 \xf0\x9f\x90\x8b\"}]}");
    /* A lone continuation, an overlong slash, a surrogate, too high a plane, a cut character. */
    static const char *const bad[] = {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80",
                                      "\xe2\x82"};
    for (size_t i = 0; i < countof(bad); i++) {
        (void)oci_error_body(body, sizeof body, OCI_UNKNOWN, bad[i], NULL);
        char *message = strstr(body, "\"message\":\"");
        assert_non_null(message);
        message += strlen("\"message\":\"");
        for (size_t n = 0; n < strlen(bad[i]); n++, message += 3)
            assert_memory_equal(message, "\xef\xbf\xbd", 3);
        assert_string_equal(message, "\"}]}");
    }
}

/* Every length of text at every size of buffer: the body is closed, and never cut inside an escape
 * or a character. */
static void error_bodies_are_cut_whole(void **state)
{
    (void)state;
    const char *const units[] = {"x", "\"", "\x01", "\xc3\xa9", "\xff"};
    const size_t escaped[] = {1, 2, 6, 2, 3};
    for (size_t u = 0; u < countof(units); u++) {
        char text[1200] = "";
        size_t unit = strlen(units[u]);
        for (size_t i = 0; i + unit < sizeof text; i += unit)
            memcpy(text + i, units[u], unit + 1);
        for (size_t cap = 256; cap < 300; cap++) {
            char body[300], *at;
            memset(body, '!', sizeof body);
            size_t len = oci_error_body(body, cap, OCI_UNKNOWN, text, text);
            assert_true(len < cap && body[len] == '\0' && strlen(body) == len);
            assert_true(len + escaped[u] >= cap); /* nothing wasted */
            assert_non_null(at = strstr(body, "\",\"detail\":\"\"}]}"));
            size_t shown = (size_t)(at - strstr(body, "\"message\":\"")) - 11;
            assert_int_equal(shown % escaped[u], 0);
            if (cap < sizeof body)
                assert_int_equal(body[cap], '!');

            len = oci_error_body(body, cap, OCI_UNKNOWN, "short", text); /* detail goes first */
            assert_non_null(strstr(body, "\"message\":\"short\",\"detail\":\""));
            assert_string_equal(body + len - 4, "\"}]}");
            assert_true(len < cap);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(tags),
        cmocka_unit_test(codes),
        cmocka_unit_test(error_bodies),
        cmocka_unit_test(error_bodies_are_escaped),
        cmocka_unit_test(error_bodies_are_cut_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

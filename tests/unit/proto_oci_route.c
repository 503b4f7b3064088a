/* Request targets: routes found from the right, escapes decoded once, everything else refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proto/err.h"
#include "proto/limits.h"
#include "proto/oci.h"

#define HEX32       "0123456789abcdef0123456789abcdef"
#define SHA256_TEXT "sha256:" HEX32 HEX32
#define SHA512_TEXT "sha512:" HEX32 HEX32 HEX32 HEX32

static int parse(struct oci_route *r, const char *target, enum oci_code *code)
{
    return oci_route_parse(r, target, strlen(target), code);
}

static void routes(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum oci_route_kind kind;
        const char *name, *tag, *digest;
    } rows[] = {
        {"/v2", OCI_ROUTE_PING, "", "", NULL},
        {"/v2/", OCI_ROUTE_PING, "", "", NULL},
        {"/v2/_catalog?n=5", OCI_ROUTE_CATALOG, "", "", NULL},
        {"/v2/a/blobs/" SHA256_TEXT, OCI_ROUTE_BLOB, "a", "", SHA256_TEXT},
        {"/v2/a/b/blobs/" SHA512_TEXT, OCI_ROUTE_BLOB, "a/b", "", SHA512_TEXT},
        {"/v2/a/manifests/latest", OCI_ROUTE_MANIFEST, "a", "latest", NULL},
        {"/v2/a/manifests/" SHA256_TEXT, OCI_ROUTE_MANIFEST, "a", "", SHA256_TEXT},
        {"/v2/a/manifests/sha256", OCI_ROUTE_MANIFEST, "a", "sha256", NULL},
        {"/v2/a/b/tags/list", OCI_ROUTE_TAGS, "a/b", "", NULL},
        {"/v2/a/referrers/" SHA256_TEXT, OCI_ROUTE_REFERRERS, "a", "", SHA256_TEXT},
        {"/v2/a/blobs/uploads/", OCI_ROUTE_UPLOAD, "a", "", NULL},
        {"/v2/a/blobs/uploads", OCI_ROUTE_UPLOAD, "a", "", NULL},
        {"/v2/a/blobs/uploads/0f-8_a.b", OCI_ROUTE_UPLOAD, "a", "", NULL},
        {"/v2/a/blobs/uploads/x/y/", OCI_ROUTE_UPLOAD, "a", "", NULL},
        /* names made of the words of routes */
        {"/v2/blobs/blobs/" SHA256_TEXT, OCI_ROUTE_BLOB, "blobs", "", SHA256_TEXT},
        {"/v2/blobs/manifests/manifests/latest", OCI_ROUTE_MANIFEST, "blobs/manifests", "latest",
         NULL},
        {"/v2/a/manifests/b/blobs/" SHA256_TEXT, OCI_ROUTE_BLOB, "a/manifests/b", "", SHA256_TEXT},
        {"/v2/a/blobs/uploads/manifests/x", OCI_ROUTE_MANIFEST, "a/blobs/uploads", "x", NULL},
        {"/v2/a/blobs/uploads/b/blobs/uploads/id", OCI_ROUTE_UPLOAD, "a/blobs/uploads/b", "", NULL},
        {"/v2/tags/list/tags/list", OCI_ROUTE_TAGS, "tags/list", "", NULL},
        {"/v2/v2/manifests/manifests", OCI_ROUTE_MANIFEST, "v2", "manifests", NULL},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct oci_route r;
        struct digest want = {0};
        enum oci_code code;
        if (parse(&r, rows[i].target, &code) != 0)
            fail_msg("refused: %s", rows[i].target);
        if (rows[i].digest)
            assert_int_equal(digest_parse(&want, rows[i].digest, strlen(rows[i].digest)), 0);
        if (r.kind != rows[i].kind)
            fail_msg("%s: kind %d", rows[i].target, (int)r.kind);
        assert_string_equal(r.name, rows[i].name);
        assert_string_equal(r.tag, rows[i].tag);
        assert_true(digest_equal(&r.digest, &want));
        assert_string_equal(r.ns, "");
    }
}

static void escapes_are_decoded_once(void **state)
{
    (void)state;
    struct oci_route r;
    enum oci_code code;
    char text[DIGEST_TEXT_SIZE];
    assert_int_equal(parse(&r, "/v2/a/blobs/sha256%3A" HEX32 HEX32, &code), 0);
    digest_format(&r.digest, text);
    assert_string_equal(text, SHA256_TEXT);
    assert_int_equal(parse(&r, "/v%32/%61/m%61nifests/v1%2e0", &code), 0);
    assert_int_equal(r.kind, OCI_ROUTE_MANIFEST);
    assert_string_equal(r.name, "a");
    assert_string_equal(r.tag, "v1.0");
    assert_int_equal(parse(&r, "/v2/a/blobs/sha256%253A" HEX32 HEX32, &code), ERR_INVAL);
    assert_int_equal(code, OCI_DIGEST_INVALID);
}

static void refusals_name_their_part(void **state)
{
    (void)state;
    static const struct {
        const char *target;
        enum oci_code code;
    } rows[] = {
        {"/v2/a/blobs/sha256:totallywrong", OCI_DIGEST_INVALID},
        {"/v2/a/blobs/", OCI_DIGEST_INVALID},
        {"/v2/a/blobs/latest", OCI_DIGEST_INVALID},
        {"/v2/a/blobs/sha256:" HEX32 HEX32 "%00", OCI_DIGEST_INVALID},
        {"/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", OCI_UNSUPPORTED},
        {"/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", OCI_UNSUPPORTED},
        {"/v2/a/referrers/x", OCI_DIGEST_INVALID},
        {"/v2/a/manifests/sha256:totallywrong", OCI_DIGEST_INVALID},
        {"/v2/a/manifests/", OCI_MANIFEST_INVALID},
        {"/v2/a/manifests/.x", OCI_MANIFEST_INVALID},
        {"/v2/a/manifests/x%2fy", OCI_MANIFEST_INVALID},
        {"/v2/a/manifests/caf\xc3\xa9", OCI_MANIFEST_INVALID},
        {"/v2/a/manifests/a b", OCI_MANIFEST_INVALID},
        {"/v2/A/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a%2fb/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a%2Fb/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a%00/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a%252fb/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a%/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a%zz/manifests/latest", OCI_NAME_INVALID},
        {"/v2/../manifests/latest", OCI_NAME_INVALID},
        {"/v2/a/%2e%2e/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a//manifests/latest", OCI_NAME_INVALID},
        {"/v2//manifests/latest", OCI_NAME_INVALID},
        {"/v2/manifests/latest", OCI_NAME_INVALID},
        {"/v2/a\x01/tags/list", OCI_NAME_INVALID},
        {"/v2/\xff/tags/list", OCI_NAME_INVALID},
        {"/v2/A/blobs/uploads/", OCI_NAME_INVALID},
        {"/v2/a/blobs/uploads/../x", OCI_NAME_INVALID},
        {"/v2/a/blobs/uploads/%2e/x", OCI_NAME_INVALID},
        {"/v2/a/blobs/uploads/x%00", OCI_NAME_INVALID},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct oci_route r, nothing = {0};
        enum oci_code code;
        memset(&r, 0xff, sizeof r);
        if (parse(&r, rows[i].target, &code) != ERR_INVAL)
            fail_msg("not ERR_INVAL: %s", rows[i].target);
        if (code != rows[i].code)
            fail_msg("%s: %s", rows[i].target, oci_code_name(code));
        assert_memory_equal(&r, &nothing, sizeof r);
    }
    struct oci_route r;
    enum oci_code code;
    assert_int_equal(oci_route_parse(&r, "/v2/a\0b/tags/list", 17, &code), ERR_INVAL);
}

static void everything_else_is_no_route(void **state)
{
    (void)state;
    static const char *const none[] = {
        "",
        "/",
        "*",
        "v2/",
        "/v1/",
        "/v2x",
        "/v22/",
        "/V2/",
        "//v2/",
        "/v2/a",
        "/v2/a/b/c",
        "/v2/a/tags",
        "/v2/a/tags/list/",
        "/v2/a/tags/all",
        "/v2/a/Manifests/latest",
        "/v2/_catalog/",
        "/v2/_Catalog",
        "http://h/v2/a/manifests/x",
        "/healthz",
        "/v2/blobs/uploads/",
        "/v2%2fa/manifests/x",
        "?ns=a",
    };
    for (size_t i = 0; i < countof(none); i++) {
        struct oci_route r;
        enum oci_code code;
        if (parse(&r, none[i], &code) != ERR_NOTFOUND)
            fail_msg("not ERR_NOTFOUND: %s", none[i]);
        assert_int_equal(r.kind, OCI_ROUTE_NONE);
    }
    struct oci_route r;
    enum oci_code code;
    assert_int_equal(oci_route_parse(&r, NULL, 0, &code), ERR_NOTFOUND);
}

static void ns_is_taken_out_of_the_query(void **state)
{
    (void)state;
    static const struct {
        const char *query, *ns, *rest;
    } rows[] = {
        {"ns=docker.io", "docker.io", ""},
        {"ns=reg.example.com%3A5000", "reg.example.com:5000", ""},
        {"ns=reg.example.com:5000&n=5", "reg.example.com:5000", "n=5"},
        {"n=5&ns=localhost&last=a%2Fb", "localhost", "n=5&last=a%2Fb"},
        {"%6es=a", "a", ""},
        {"n%73=a&%6=b", "a", "%6=b"},
        {"ns=%5B%3a%3A1%5D:80", "[::1]:80", ""},
        {"ns=[fe80::1]", "[fe80::1]", ""},
        {"ns=10.0.0.1:65535", "10.0.0.1:65535", ""},
        {"nsx=a&xns=b&n=c&s=d", "", "nsx=a&xns=b&n=c&s=d"},
        {"", "", ""},
        {"&&a&", "", "a"},
        {"artifactType=application/x+y", "", "artifactType=application/x+y"},
        {"a=?&b", "", "a=?&b"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct oci_route r;
        enum oci_code code;
        char target[512];
        snprintf(target, sizeof target, "/v2/a/tags/list?%s", rows[i].query);
        if (parse(&r, target, &code) != 0)
            fail_msg("refused: %s", target);
        assert_int_equal(r.kind, OCI_ROUTE_TAGS);
        assert_string_equal(r.ns, rows[i].ns);
        assert_string_equal(r.query, rows[i].rest);
    }
}

static void bad_queries_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "ns=",          "ns",       "ns=a&ns=a",        "ns=a&%6e%73=b", "ns=a/b",      "ns=a%2Fb",
        "ns=user@host", "ns=a%00",  "ns=a%0d%0aHost:x", "ns=a:0",        "ns=a:65536",  "ns=a:",
        "ns=a:80x",     "ns=:80",   "ns=a:8:0",         "ns=[",          "ns=[]",       "ns=[::1",
        "ns=[::1]x",    "ns=[::g]", "ns=a%253A5000",    "ns=a%3",        "ns=\xc3\xa9", "ns=a_b",
        "a=b c",        "a=\x01",   "a=\xff",           "a=#frag",       "a=\x7f",
    };
    for (size_t i = 0; i < countof(bad); i++) {
        struct oci_route r, nothing = {0};
        enum oci_code code;
        char target[512];
        snprintf(target, sizeof target, "/v2/a/manifests/x?%s", bad[i]);
        if (parse(&r, target, &code) != ERR_INVAL)
            fail_msg("not ERR_INVAL: %s", target);
        assert_int_equal(code, OCI_NAME_INVALID);
        assert_memory_equal(&r, &nothing, sizeof r);
    }
}

static void lengths_are_bounded(void **state)
{
    (void)state;
    struct oci_route r;
    enum oci_code code;
    static char target[LIMIT_HTTP_TARGET_BYTES + 2];

    memset(target, 'a', sizeof target);
    memcpy(target, "/v2/", 4);
    assert_int_equal(oci_route_parse(&r, target, LIMIT_HTTP_TARGET_BYTES + 1, &code), ERR_INVAL);
    assert_int_equal(oci_route_parse(&r, target, LIMIT_HTTP_TARGET_BYTES, &code), ERR_NOTFOUND);

    memcpy(target + 4 + OCI_NAME_MAX, "/tags/list", 10);
    assert_int_equal(oci_route_parse(&r, target, 4 + OCI_NAME_MAX + 10, &code), 0);
    assert_int_equal(strlen(r.name), OCI_NAME_MAX);
    memcpy(target + 4 + OCI_NAME_MAX + 1, "/tags/list", 10);
    target[4 + OCI_NAME_MAX] = 'a';
    assert_int_equal(oci_route_parse(&r, target, 4 + OCI_NAME_MAX + 11, &code), ERR_INVAL);
    assert_int_equal(code, OCI_NAME_INVALID);

    const size_t head = 17; /* of the target before its query */
    memcpy(target, "/v2/ab/tags/list?", head);
    memset(target + head, 'q', sizeof target - head);
    assert_int_equal(oci_route_parse(&r, target, head + OCI_QUERY_MAX, &code), 0);
    assert_int_equal(strlen(r.query), OCI_QUERY_MAX);
    assert_int_equal(oci_route_parse(&r, target, head + OCI_QUERY_MAX + 1, &code), ERR_INVAL);
    memcpy(target + head, "ns=", 3);
    assert_int_equal(oci_route_parse(&r, target, head + 3 + OCI_NS_MAX, &code), 0);
    assert_int_equal(strlen(r.ns), OCI_NS_MAX);
    assert_int_equal(oci_route_parse(&r, target, head + 3 + OCI_NS_MAX + 1, &code), ERR_INVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes),
        cmocka_unit_test(escapes_are_decoded_once),
        cmocka_unit_test(refusals_name_their_part),
        cmocka_unit_test(everything_else_is_no_route),
        cmocka_unit_test(ns_is_taken_out_of_the_query),
        cmocka_unit_test(bad_queries_are_refused),
        cmocka_unit_test(lengths_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

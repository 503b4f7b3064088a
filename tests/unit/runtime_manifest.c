/* runtime_manifest.c - tests of runtime/manifest.h: which digests a document makes part of its
 * repository, and everything that must teach nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "runtime/manifest.h"

#define OCI    "application/vnd.oci.image.manifest.v1+json"
#define DOCKER "application/vnd.docker.distribution.manifest.v2+json"

#define HEX(c) c c c c c c c c c c c c c c c c
#define A      "sha256:" HEX("aaaa")
#define B      "sha256:" HEX("bbbb")
#define C      "sha256:" HEX("cccc")

static char seen[4096]; /* "abc": the first letters of the digests told */
static size_t n_seen;

static u64 last_size;
static char config; /* its letter, or 0 */

static void each(void *arg, const struct manifest_blob *b)
{
    (void)arg;
    last_size = b->size;
    char text[DIGEST_TEXT_SIZE];
    digest_format(&b->digest, text);
    if (b->config) {
        assert_int_equal(n_seen, 0);
        config = text[7];
    }
    if (n_seen + 1 < sizeof(seen))
        seen[n_seen++] = text[7];
    seen[n_seen] = '\0';
}

static int read_bare(const char *type, const void *json, size_t len)
{
    n_seen = 0;
    seen[0] = config = '\0';
    int rc = manifest_blobs(type, json, len, each, NULL);
    if (rc)
        assert_int_equal(n_seen, 0); /* taken whole or not at all */
    return rc;
}

/* With a `mediaType` put in front, that says what it is read as. */
static int read_as(const char *type, const void *json, size_t len)
{
    const char *open = memchr(json, '{', len);
    if (!open || strspn(json, " \n") != (size_t)(open - (const char *)json))
        return read_bare(type, json, len);
    size_t cap = len + strlen(type) + 32;
    char *said = malloc(cap);
    assert_non_null(said);
    size_t rest = len - 1 - (size_t)(open - (const char *)json);
    size_t n = (size_t)snprintf(said, cap, "{\"mediaType\":\"%.*s\"%s", (int)strcspn(type, "; "),
                                type, rest && open[1] == '}' ? "" : ",");
    memcpy(said + n, open + 1, rest);
    int rc = read_bare(type, said, n + rest);
    free(said);
    return rc;
}

static void expect(const char *type, const char *json, const char *letters)
{
    int rc = read_as(type, json, strlen(json));
    if (rc)
        fail_msg("%d: %s", rc, json);
    assert_string_equal(seen, letters);
}

static void refuse(const char *type, const char *json)
{
    int rc = read_as(type, json, strlen(json));
    if (rc >= 0)
        fail_msg("taken: %s as %s", json, type);
}

static void expect_size(const char *text, u64 size)
{
    char json[400];
    snprintf(json, sizeof(json),
             "{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B "\"%s}]}", text);
    expect("application/vnd.oci.image.manifest.v1+json", json, "ab");
    assert_int_equal(last_size, size);
}

static void test_sizes(void **state)
{
    (void)state;
    expect_size(",\"size\":12345", 12345);
    expect_size(",\"size\":0", 0);
    expect_size("", UINT64_MAX);
    expect_size(",\"size\":-1", UINT64_MAX);
    expect_size(",\"size\":\"12\"", UINT64_MAX);
    expect_size(",\"size\":1.5", UINT64_MAX);
}

static void test_images(void **state)
{
    (void)state;
    const char *image = "{\"schemaVersion\":2,\"config\":{\"digest\":\"" A "\",\"size\":5},"
                        "\"layers\":[{\"digest\":\"" B "\"},{\"digest\":\"" C "\"}]}";
    expect(OCI, image, "abc");
    expect(DOCKER, image, "abc");
    expect(OCI "; charset=utf-8", image, "abc");
    expect(OCI " ", image, "abc");
    expect(OCI, "{\"config\":{\"digest\":\"" A "\"},\"layers\":[]}", "a");
    expect(OCI, " {\"layers\":[{\"digest\":\"" B "\"}],\"config\":{\"digest\":\"" A "\"}} \n",
           "ab");
    assert_int_equal(config, 'a');
    expect(OCI,
           "{\"config\":{\"digest\":\"" A "\",\"urls\":[]},"
           "\"layers\":[{\"digest\":\"" B "\"}]}",
           "b");
    assert_int_equal(config, '\0');
    /* The same layer twice is told twice: harmless. */
    expect(OCI,
           "{\"config\":{\"digest\":\"" A "\"},"
           "\"layers\":[{\"digest\":\"" B "\"},{\"digest\":\"" B "\"}]}",
           "abb");
}

/* What a registry does not look for when the manifest is pushed, its pusher need not own. */
static void test_foreign_blobs(void **state)
{
    (void)state;
    static const char *const urls[] = {"[\"https://example.org/x\"]", "[]", "null", "\"x\"", "0"};
    char json[1024];
    for (size_t i = 0; i < countof(urls); i++) {
        snprintf(json, sizeof(json),
                 "{\"config\":{\"digest\":\"" A "\"},"
                 "\"layers\":[{\"digest\":\"" B "\",\"urls\":%s},{\"digest\":\"" C "\"}]}",
                 urls[i]);
        expect(OCI, json, "ac");
        snprintf(json, sizeof(json),
                 "{\"config\":{\"digest\":\"" A "\",\"urls\":%s},"
                 "\"layers\":[{\"digest\":\"" B "\"}]}",
                 urls[i]);
        expect(OCI, json, "b");
    }
}

static void test_mentions_are_not_membership(void **state)
{
    (void)state;
    expect(OCI,
           "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],"
           "\"subject\":{\"digest\":\"" B "\"},\"annotations\":{\"digest\":\"" C "\"},"
           "\"blobs\":[{\"digest\":\"" C "\"}]}",
           "a");
}

static void test_other_types(void **state)
{
    (void)state;
    static const char *const types[] = {
        "",
        "application/json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.artifact.manifest.v1+json",
        (OCI "x"),
        (" " OCI),
        "Application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.manifest.v1",
    };
    for (size_t i = 0; i < countof(types); i++)
        refuse(types[i], "{\"config\":{\"digest\":\"" A "\"},\"layers\":[]}");
    assert_true(manifest_is_schema1("application/vnd.docker.distribution.manifest.v1+json"));
    assert_true(manifest_is_schema1("application/vnd.docker.distribution.manifest.v1+prettyjws"));
    assert_false(manifest_is_schema1(DOCKER));
    assert_false(manifest_is_schema1(OCI));
    assert_false(manifest_is_schema1(""));
}

/* Documents that Go's parser, and so the registry, may read as something else than ours. */
static void test_two_readings(void **state)
{
    (void)state;
    static const char *const documents[] = {
        /* an index and an image in one */
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"manifests\":[]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"Manifests\":[]}",
        /* keys that differ in case */
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B "\"}],\"Layers\":[]}",
        "{\"Config\":{\"digest\":\"" A "\"},\"config\":{\"digest\":\"" B "\"},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" A "\"},\"LAYERS\":[]}",
        "{\"config\":{\"digest\":\"" A "\",\"DIGEST\":\"" B "\"},\"layers\":[]}",
        ("{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B "\",\"Digest\":\"" C
         "\"}]}"),
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B "\",\"URLs\":[\"x\"]}]}",
        "{\"config\":{\"digest\":\"" A "\",\"Urls\":[\"x\"]},\"layers\":[]}",
        /* letters that fold to ASCII ones: U+017F to s, U+212A to k; and other ones */
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"layer\xc5\xbf\":[]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"layer\\u017f\":[]}",
        ("{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B
         "\",\"url\\u017f\":[\"x\"]}]}"),
        "{\"config\":{\"digest\":\"" A "\",\"dige\\u017ft\":\"" B "\"},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"\\u212a\":1}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"\xc3\xa9\":1}",
        /* the same key twice */
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"layers\":[]}",
        "{\"config\":{\"digest\":\"" A "\",\"digest\":\"" B "\"},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"x\":{\"y\":1,\"y\":2}}",
        /* a key that ends early for some */
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"layers\\u0000\":[]}",
        /* more than one document */
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[]}{}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[]} x",
        "\xef\xbb\xbf{\"config\":{\"digest\":\"" A "\"},\"layers\":[]}",
    };
    for (size_t i = 0; i < countof(documents); i++)
        refuse(OCI, documents[i]);
}

/* An older registry took these for an index, or for schema 1, whose mentions it did not look for,
 * and now calls them images. */
static void test_types_that_differ(void **state)
{
    (void)state;
#define BLOBS "\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B "\"}]"
    static const char *const documents[] = {
        "{" BLOBS "}",
        "{\"mediaType\":\"\"," BLOBS "}",
        "{\"mediaType\":null," BLOBS "}",
        "{\"mediaType\":\"" DOCKER "\"," BLOBS "}",
        "{\"mediaType\":\"" OCI ";x\"," BLOBS "}",
        "{\"mediaType\":\"application/vnd.oci.image.index.v1+json\"," BLOBS "}",
        "{\"MediaType\":\"" OCI "\"," BLOBS "}",
        "{\"mediaType\":\"" OCI "\",\"MediaType\":\"x\"," BLOBS "}",
        "{\"mediaType\":\"" OCI "\",\"fsLayers\":[]," BLOBS "}",
        "{\"mediaType\":\"" OCI "\",\"FSlayers\":[]," BLOBS "}",
    };
    for (size_t i = 0; i < countof(documents); i++)
        if (read_bare(OCI, documents[i], strlen(documents[i])) >= 0)
            fail_msg("taken: %s", documents[i]);
    const char *good = "{\"mediaType\":\"" OCI "\"," BLOBS "}";
    assert_int_equal(read_bare(OCI, good, strlen(good)), 0);
#undef BLOBS
}

static bool is_of(const char *type, const char *json)
{
    return manifest_is_of_type(type, json, strlen(json));
}

static void test_of_no_other_type(void **state)
{
    (void)state;
    static const char index[] = "application/vnd.oci.image.index.v1+json";
    static const char list[] = "application/vnd.docker.distribution.manifest.list.v2+json";
    static const char html[] = "text/html";
    assert_true(is_of(OCI, "{\"mediaType\":\"" OCI "\",\"layers\":[]}"));
    assert_true(is_of(OCI "; charset=utf-8", "{\"mediaType\":\"" OCI "\"}"));
    assert_true(is_of(DOCKER, "{\"mediaType\":\"" DOCKER "\"}"));
    assert_true(is_of(html, "{\"mediaType\":\"text/html\"}"));
    assert_false(is_of(html, "{\"mediaType\":\"" OCI "\",\"layers\":[]}"));
    assert_false(is_of(index, "{\"mediaType\":\"" OCI "\",\"manifests\":[]}"));
    assert_false(is_of("", "{\"mediaType\":\"" OCI "\"}"));
    assert_false(is_of(OCI "; x=\xff", "{\"mediaType\":\"" OCI "\"}"));
    assert_false(is_of(OCI, "{\"mediaType\":5,\"layers\":[]}"));
    assert_false(is_of(OCI, "{\"MediaType\":\"" OCI "\",\"layers\":[]}"));
    /* what says nothing: OCI, by its shape */
    assert_true(is_of(OCI, "{\"layers\":[]}"));
    assert_true(is_of(index, "{\"manifests\":[]}"));
    assert_false(is_of(index, "{\"layers\":[]}"));
    assert_false(is_of(OCI, "{\"manifests\":[]}"));
    assert_false(is_of(list, "{\"manifests\":[]}"));
    assert_false(is_of(DOCKER, "{\"layers\":[]}"));
    assert_false(is_of(OCI, "{\"layers\":[],\"manifests\":[]}"));
    assert_false(is_of(index, "{\"layers\":[],\"manifests\":[]}"));
    assert_false(is_of(OCI, "{\"layers\":[],\"fsLayers\":[]}"));
    assert_false(is_of(OCI, "{}"));
    assert_false(is_of(index, "{}"));
    assert_false(is_of(OCI, "no JSON"));
    assert_false(is_of(OCI, "[]"));
    assert_false(is_of(OCI, ""));
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const documents[] = {
        "",
        "{",
        "null",
        "[]",
        "5",
        "\"x\"",
        "{}",
        "{\"layers\":[]}",
        "{\"config\":{\"digest\":\"" A "\"}}",
        "{\"config\":null,\"layers\":[]}",
        "{\"config\":[],\"layers\":[]}",
        "{\"config\":\"" A "\",\"layers\":[]}",
        "{\"config\":{},\"layers\":[]}",
        "{\"config\":{\"digest\":5},\"layers\":[]}",
        "{\"config\":{\"digest\":\"sha256:AAAA\"},\"layers\":[]}",
        "{\"config\":{\"digest\":\"md5:" HEX("aa") "\"},\"layers\":[]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":{}}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":null}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[null]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[[]]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B "\"},{}]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"" B "x\"}]}",
        /* a foreign layer is read all the same */
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[{\"digest\":\"x\",\"urls\":[]}]}",
        "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"x\":\"\xff\"}",
    };
    for (size_t i = 0; i < countof(documents); i++)
        refuse(OCI, documents[i]);
    char nul[] = "{\"config\":{\"digest\":\"" A "\"},\"layers\":[]}\0{}";
    assert_true(read_as(OCI, nul, sizeof(nul) - 1) < 0);
}

static char *many_layers(unsigned n)
{
    size_t cap = 200 + (size_t)n * 100, len;
    char *json = malloc(cap);
    assert_non_null(json);
    len = (size_t)snprintf(json, cap, "{\"config\":{\"digest\":\"" A "\"},\"layers\":[");
    for (unsigned i = 0; i < n; i++)
        len += (size_t)snprintf(json + len, cap - len, "%s{\"digest\":\"" B "\"}", i ? "," : "");
    snprintf(json + len, cap - len, "]}");
    return json;
}

static void test_bounds(void **state)
{
    (void)state;
    char *json = many_layers(MANIFEST_BLOBS_MAX);
    assert_int_equal(read_as(OCI, json, strlen(json)), 0);
    assert_int_equal(n_seen, MANIFEST_BLOBS_MAX + 1);
    free(json);
    json = many_layers(MANIFEST_BLOBS_MAX + 1);
    assert_int_equal(read_as(OCI, json, strlen(json)), ERR_TOOBIG);
    free(json);
    size_t huge = LIMIT_MANIFEST_BYTES + 1;
    json = malloc(huge);
    assert_non_null(json);
    memset(json, ' ', huge);
    assert_int_equal(read_as(OCI, json, huge), ERR_TOOBIG);
    memset(json, '[', huge - 1); /* depth: refused, without using up the stack */
    assert_true(read_as(OCI, json, huge - 1) < 0);
    free(json);
}

/* Values by the million beside the layers: a parser would need a hundred times their size. */
static void test_bombs(void **state)
{
    (void)state;
    static const char *const bits[] = {"{},", "[],", "1,", "\"\","};
    const char *head = "{\"config\":{\"digest\":\"" A "\"},\"layers\":[],\"x\":[";
    size_t cap = LIMIT_MANIFEST_BYTES;
    char *json = malloc(cap);
    assert_non_null(json);
    for (size_t i = 0; i < countof(bits); i++) {
        size_t len = (size_t)snprintf(json, cap, "%s", head), n = strlen(bits[i]);
        while (len + n + 108 < cap) {
            memcpy(json + len, bits[i], n);
            len += n;
        }
        len += (size_t)snprintf(json + len, cap - len, "0]}");
        assert_int_equal(read_as(OCI, json, len), ERR_TOOBIG);
    }
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_foreign_blobs),
        cmocka_unit_test(test_mentions_are_not_membership),
        cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_two_readings),
        cmocka_unit_test(test_types_that_differ),
        cmocka_unit_test(test_of_no_other_type),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* tracker_rewrite.c - tests of tracker/rewrite.h: what is passed on, to whom a URL leads, and whom
 * a client may claim to be. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tracker/rewrite.h"

#define OWN  "https://registry.internal:5000"
#define SEEN "https://dray.test"

static struct http_slice text(const char *s)
{
    return (struct http_slice){s, strlen(s)};
}

static void urls(void **state)
{
    char out[REWRITE_MAX];
    (void)state;
    assert_true(rewrite_url(OWN "/v2/a/blobs/uploads/1?x=y", OWN, SEEN, out));
    assert_string_equal(out, SEEN "/v2/a/blobs/uploads/1?x=y");
    assert_true(rewrite_url("https://Registry.Internal:5000/v2/", OWN, SEEN, out));
    assert_true(rewrite_url(OWN, OWN, SEEN, out));
    assert_string_equal(out, SEEN);
    assert_true(rewrite_url("https://r.test:443/x", "https://r.test", SEEN, out));
    assert_true(rewrite_url("https://r.test/base/v2/", "https://r.test/base", SEEN, out));
    assert_string_equal(out, SEEN "/v2/");
    static const char *const others[] = {"/v2/relative",
                                         "http://registry.internal:5000/v2/",
                                         "https://registry.internal/v2/",
                                         "https://s3.test/x",
                                         "https://registry.internal:5000.evil.test/",
                                         "https:/registry.internal:5000/v2/",
                                         ""};
    for (size_t i = 0; i < countof(others); i++)
        assert_false(rewrite_url(others[i], OWN, SEEN, out));
    assert_false(rewrite_url("https://r.test/basement", "https://r.test/base", SEEN, out));
    char *big = malloc(2 * REWRITE_MAX);
    memset(big, 'a', 2 * REWRITE_MAX);
    memcpy(big, OWN "/", sizeof(OWN));
    big[2 * REWRITE_MAX - 1] = 0;
    assert_false(rewrite_url(big, OWN, SEEN, out));
    free(big);
}

static void links_and_realms(void **state)
{
    char out[REWRITE_MAX], path[REWRITE_MAX];
    (void)state;
    assert_true(rewrite_link("<" OWN "/v2/_catalog?last=a>; rel=\"next\"", OWN, SEEN, out));
    assert_string_equal(out, "<" SEEN "/v2/_catalog?last=a>; rel=\"next\"");
    assert_false(rewrite_link("</v2/_catalog?last=a>; rel=\"next\"", OWN, SEEN, out));
    assert_false(rewrite_link("<", OWN, SEEN, out));
    assert_true(
        rewrite_realm("Bearer realm=\"" OWN "/auth/token\",service=\"s\"", OWN, SEEN, out, path));
    assert_string_equal(out, "Bearer realm=\"" SEEN "/auth/token\",service=\"s\"");
    assert_string_equal(path, "/auth/token");
    static const char *const kept[] = {"Basic realm=\"" OWN "/x\"",
                                       "Bearer realm=\"https://auth.test/token\"",
                                       "Bearer realm=\"" OWN, "Bearer", "Bearer realm=\"" OWN "\""};
    for (size_t i = 0; i < countof(kept); i++)
        assert_false(rewrite_realm(kept[i], OWN, SEEN, out, path));
}

static void dots(void **state)
{
    static const char *const fine[] = {"/v2/",         "/v2/a.b/tags/list", "/v2/..a/x",
                                       "/v2/x?y=/../", "/v2/...",           "/v2/a/%2e%2e%2e/"};
    static const char *const bad[] = {"/v2/..",     "/v2/../x",   "/v2/./x",     "/v2/%2e%2E/x",
                                      "/v2/.%2e?x", "/v2/.",      "/v2/..%2fx",  "/v2%2F..%2Fx",
                                      "/v2/a%2f..", "/v2/..%5cx", "/v2/a\\..\\x"};
    (void)state;
    for (size_t i = 0; i < countof(fine); i++)
        assert_true(rewrite_path_is_plain(fine[i], strlen(fine[i])));
    for (size_t i = 0; i < countof(bad); i++)
        assert_false(rewrite_path_is_plain(bad[i], strlen(bad[i])));
}

struct asker {
    struct sockaddr_in from;
    struct http_field fields[8];
    struct http_request r;
};

static void ask(struct asker *a, const char *address, const char *const *pairs, size_t n)
{
    memset(a, 0, sizeof(*a));
    a->from.sin_family = AF_INET;
    assert_int_equal(inet_pton(AF_INET, address, &a->from.sin_addr), 1);
    for (size_t i = 0; i < n; i++)
        a->fields[i] = (struct http_field){text(pairs[2 * i]), text(pairs[2 * i + 1])};
    a->r.fields = a->fields;
    a->r.n_fields = n;
    a->r.peer = (const struct sockaddr *)&a->from;
}

static void claims(void **state)
{
    static const char *const said[] = {"Host",
                                       "dray.test:8443",
                                       "X-Forwarded-For",
                                       "192.0.2.1, 198.51.100.7, 10.0.0.9",
                                       "X-Forwarded-Proto",
                                       "https",
                                       "X-Forwarded-Host",
                                       "other.test"};
    struct asker a;
    struct rewrite_seen s;
    struct cidr proxies;
    (void)state;
    assert_int_equal(cidr_parse("10.0.0.0/8", &proxies), 0);
    ask(&a, "203.0.113.5", said, 4); /* not a proxy of ours */
    rewrite_see(&s, &a.r, SEEN, &proxies, 1);
    assert_string_equal(s.base, "http://dray.test:8443");
    assert_string_equal(s.client, "203.0.113.5");
    assert_string_equal(s.forwarded, "203.0.113.5");
    ask(&a, "10.0.0.1", said, 4);
    rewrite_see(&s, &a.r, SEEN, &proxies, 1);
    assert_string_equal(s.base, "https://other.test");
    assert_string_equal(s.client, "198.51.100.7"); /* the last that no proxy of ours has */
    assert_string_equal(s.forwarded, "192.0.2.1, 198.51.100.7, 10.0.0.9, 10.0.0.1");
    static const char *const odd[] = {"Host", "a\"b", "X-Forwarded-For", "who, knows"};
    ask(&a, "10.0.0.1", odd, 2);
    rewrite_see(&s, &a.r, SEEN, &proxies, 1);
    assert_string_equal(s.base, SEEN);
    assert_string_equal(s.client, ""); /* somebody: no claim makes a client of the proxy */
    assert_int_equal(s.address.ss_family, AF_UNSPEC);
}

static void claims_in_lines(void **state)
{
    static const char *const said[] = {
        "X-Forwarded-For", "192.0.2.1",    "Accept",          "*/*",
        "x-forwarded-for", "198.51.100.7", "X-Forwarded-For", "10.0.0.9"};
    struct asker a;
    struct rewrite_seen s;
    struct cidr proxies;
    char longest[2000];
    (void)state;
    assert_int_equal(cidr_parse("10.0.0.0/8", &proxies), 0);
    ask(&a, "10.0.0.1", said, 4); /* the first line is the client's own */
    rewrite_see(&s, &a.r, SEEN, &proxies, 1);
    assert_string_equal(s.client, "198.51.100.7");
    assert_string_equal(s.forwarded, "192.0.2.1, 198.51.100.7, 10.0.0.9, 10.0.0.1");
    memset(longest, ' ', sizeof(longest));
    snprintf(longest + sizeof(longest) - 20, 20, ",198.51.100.7");
    const char *const spun[] = {"X-Forwarded-For", longest};
    ask(&a, "10.0.0.1", spun, 1); /* a client that writes much is not taken for the proxy */
    rewrite_see(&s, &a.r, SEEN, &proxies, 1);
    assert_string_equal(s.client, "198.51.100.7");
    assert_string_equal(s.forwarded, "10.0.0.1");
    const char *const all[] = {"X-Forwarded-For", "10.0.0.8,10.0.0.9"};
    ask(&a, "10.0.0.1", all, 1);
    rewrite_see(&s, &a.r, SEEN, &proxies, 1);
    assert_string_equal(s.client, "10.0.0.8");
    ask(&a, "10.0.0.1", NULL, 0);
    rewrite_see(&s, &a.r, SEEN, &proxies, 1);
    assert_string_equal(s.client, "10.0.0.1");
}

static void what_stays_behind(void **state)
{
    static const char *const said[] = {
        "Connection",      "close, X-Hop", "X-Hop",     "1",     "Accept",        "a",
        "X-Forwarded-For", "1.2.3.4",      "Forwarded", "for=x", "Authorization", "Basic x"};
    struct asker a;
    (void)state;
    ask(&a, "10.0.0.1", said, 6);
    bool expected[] = {true, true, false, true, true, false};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(rewrite_drops_request(&a.r, &a.fields[i]), expected[i]);
    static const char *const sly[] = {"Connection", "authorization", "Authorization", "Basic x"};
    ask(&a, "10.0.0.1", sly, 2); /* what is learnt of the answer is learnt about this login */
    assert_false(rewrite_drops_request(&a.r, &a.fields[1]));
    assert_true(rewrite_drops_answer("Transfer-Encoding", NULL));
    assert_true(rewrite_drops_answer("X-Hop", "keep-alive, x-hop"));
    assert_false(rewrite_drops_answer("Location", "close"));
    assert_false(rewrite_drops_answer("WWW-Authenticate", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(links_and_realms),
        cmocka_unit_test(dots),
        cmocka_unit_test(claims),
        cmocka_unit_test(claims_in_lines),
        cmocka_unit_test(what_stays_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* runtime_hygiene.c - tests of runtime/hygiene.h: origins, whom we trust, resolving, and addresses
 * that no foreign name may lead us to. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "runtime/hygiene.h"

static void test_origins(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool https;
        const char *host;
        u16 port;
    } cases[] = {
        {"http://example.org", false, "example.org", 80},
        {"https://example.org", true, "example.org", 443},
        {"https://example.org/", true, "example.org", 443},
        {"https://example.org:5000/v2/?x=y#z", true, "example.org", 5000},
        {"HTTPS://EXAMPLE.org:443", true, "example.org", 443},
        {"http://10.0.0.1:8080/x", false, "10.0.0.1", 8080},
        {"http://[2001:DB8::1]:5000/", false, "2001:db8::1", 5000},
        {"http://[::1]", false, "::1", 80},
        {"http://a-b_c.d:1", false, "a-b_c.d", 1},
        {"http://example.org:65535", false, "example.org", 65535},
        {"http://example.org?x", false, "example.org", 80},
        {"http://example.org/@user", false, "example.org", 80},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct url_origin o;
        if (url_origin_parse(&o, cases[i].url))
            fail_msg("%s", cases[i].url);
        assert_int_equal(o.https, cases[i].https);
        assert_string_equal(o.host, cases[i].host);
        assert_int_equal(o.port, cases[i].port);
    }
}

static void test_what_is_no_origin(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "example.org",
        "/v2/",
        "//example.org/",
        "ftp://example.org",
        "file:///etc/passwd",
        "unix:///x",
        "javascript:alert(1)",
        "http:",
        "http://",
        "http://user@example.org/",
        "http://user:password@example.org/",
        "http://@example.org/",
        "http://:pw@example.org/",
        "http://example.org:0x50/",
        "http://example.org:65536/",
        "http://example.org:-1/",
        "http://example.org:x/",
        "http://[::1/",
        "http://::1/",
        "http://exa mple.org/",
        "http://example.org/\n",
        "http://exam\tple.org/",
        "https+http://example.org",
    };
    for (size_t i = 0; i < countof(urls); i++) {
        struct url_origin o;
        if (url_origin_parse(&o, urls[i]) == 0)
            fail_msg("%s: %s:%u", urls[i], o.host, o.port);
    }
    static char overlong[URL_MAX + 10] = "http://example.org/";
    memset(overlong + strlen(overlong), 'a', URL_MAX - 19);
    struct url_origin o;
    assert_int_equal(url_origin_parse(&o, overlong), ERR_INVAL);
    overlong[URL_MAX - 1] = '\0';
    assert_int_equal(url_origin_parse(&o, overlong), 0);
    static char long_host[600] = "http://";
    memset(long_host + 7, 'a', 300);
    assert_int_equal(url_origin_parse(&o, long_host), ERR_INVAL);
    long_host[7 + 255] = '\0';
    assert_int_equal(url_origin_parse(&o, long_host), 0);
}

/* --- whom we trust ---------------------------------------------------------------------------- */

static enum target_kind classify(const char *target, const char *const *allow, size_t n)
{
    struct url_origin own, to;
    assert_int_equal(url_origin_parse(&own, "https://registry.example.org:5000"), 0);
    assert_int_equal(url_origin_parse(&to, target), 0);
    return target_classify(&own, &to, (char *const *)allow, n);
}

static void test_targets(void **state)
{
    (void)state;
    static const char *const allow[] = {"cdn.example.org",  "Storage.Example.org:9000",
                                        "10.1.2.3",         "[2001:db8::5]:443",
                                        "[2001:db8::6]",    "2001:db8::7",
                                        "wild.example.org."};
    static const struct {
        const char *url;
        enum target_kind kind;
    } cases[] = {
        {"https://registry.example.org:5000/x", TARGET_OWN},
        {"https://REGISTRY.example.ORG:5000", TARGET_OWN},
        {"https://registry.example.org", TARGET_FOREIGN}, /* another port is another server */
        {"https://registry.example.org:5001", TARGET_FOREIGN},
        {"https://xregistry.example.org:5000", TARGET_FOREIGN},
        {"https://registry.example.org.evil.org:5000", TARGET_FOREIGN},
        {"https://cdn.example.org", TARGET_LISTED},
        {"https://cdn.example.org:1234", TARGET_LISTED}, /* listed without a port: any */
        {"https://CDN.example.org", TARGET_LISTED},
        {"https://cdn.example.org.evil.org", TARGET_FOREIGN},
        {"https://evilcdn.example.org", TARGET_FOREIGN},
        {"https://example.org", TARGET_FOREIGN},
        {"https://storage.example.org:9000", TARGET_LISTED},
        {"https://storage.example.org", TARGET_FOREIGN},
        {"https://storage.example.org:90001", -1},
        {"https://10.1.2.3:8000", TARGET_LISTED},
        {"https://10.1.2.33", TARGET_FOREIGN},
        {"https://[2001:db8::5]", TARGET_LISTED},
        {"https://[2001:db8::5]:80", TARGET_FOREIGN},
        {"https://[2001:DB8::6]:80", TARGET_LISTED},
        {"https://[2001:db8::7]:80", TARGET_LISTED},
        {"https://[2001:db8::8]", TARGET_FOREIGN},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct url_origin o;
        if ((int)cases[i].kind < 0) {
            assert_true(url_origin_parse(&o, cases[i].url) < 0);
            continue;
        }
        if (classify(cases[i].url, allow, countof(allow)) != cases[i].kind)
            fail_msg("%s", cases[i].url);
    }
    assert_int_equal(classify("https://cdn.example.org", NULL, 0), TARGET_FOREIGN);
    static const char *const empty[] = {""};
    assert_int_equal(classify("https://cdn.example.org", empty, 1), TARGET_FOREIGN);
}

/* --- resolving -------------------------------------------------------------------------------- */

static void test_resolving(void **state)
{
    (void)state;
    static const struct {
        const char *location, *result;
    } cases[] = {
        {"https://b.org/x?y=z", "https://b.org/x?y=z"},
        {"/x", "https://a.org:5000/x"},
        {"//b.org/x", "https://b.org/x"},
        {"x", "https://a.org:5000/v2/n/blobs/x"},
        {"../x", "https://a.org:5000/v2/n/x"},
        {"../../../../../x", "https://a.org:5000/x"},
        {"?q=1", "https://a.org:5000/v2/n/blobs/d?q=1"},
        {"/x#fragment", "https://a.org:5000/x"},
        {"HTTP://B.org/x", "http://B.org/x"},
        {"http://b.org:80/x", "http://b.org:80/x"},
        {"/x?a=b%2Fc&sig=%25", "https://a.org:5000/x?a=b%2Fc&sig=%25"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char out[URL_MAX];
        if (url_resolve("https://a.org:5000/v2/n/blobs/d?ns=x", cases[i].location, out))
            fail_msg("%s", cases[i].location);
        if (strcmp(out, cases[i].result) != 0)
            fail_msg("%s: %s", cases[i].location, out);
    }
}

/* What resolves to something that is no http(s) URL is stopped by one of the two. */
static void test_what_does_not_resolve(void **state)
{
    (void)state;
    static const char *const locations[] = {
        "javascript:alert(1)",
        "ftp://b.org/x",
        "file:///etc/passwd",
        "data:text/plain,x",
        "http://",
        "http://[::1",
        "http://u:p@b.org/",
        "//u@b.org/x",
        "http://b.org:99999/",
        "http://b .org/",
        "ht\ntp://b.org/",
        "mailto:x@b.org",
        "gopher://b.org/",
        "ldap://b.org/",
        "https://b.org\r\nX: y",
        "//",
    };
    for (size_t i = 0; i < countof(locations); i++) {
        char out[URL_MAX];
        struct url_origin o;
        if (url_resolve("https://a.org/x", locations[i], out) == 0 &&
            url_origin_parse(&o, out) == 0)
            fail_msg("%s: %s", locations[i], out);
    }
    static char overlong[3 * URL_MAX];
    char out[URL_MAX];
    memset(overlong, 'a', sizeof(overlong) - 1);
    overlong[0] = '/';
    assert_int_equal(url_resolve("https://a.org/x", overlong, out), ERR_TOOBIG);
    overlong[URL_MAX - 1] = '\0'; /* by itself it would fit */
    assert_int_equal(url_resolve("https://a.org/x", overlong, out), ERR_TOOBIG);
    overlong[URL_MAX - 14] = '\0'; /* "https://a.org" before it, a NUL after it */
    assert_int_equal(url_resolve("https://a.org/x", overlong, out), 0);
    assert_int_equal(strlen(out), URL_MAX - 1);
    assert_int_equal(url_resolve("no url", "/x", out), ERR_INVAL);
}

/* --- addresses -------------------------------------------------------------------------------- */

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_is_public((struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return address_is_public((struct sockaddr *)&v6);
}

static void test_public_addresses(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2a00::1",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
    };
    for (size_t i = 0; i < countof(addresses); i++)
        if (!is_public(addresses[i]))
            fail_msg("%s", addresses[i]);
}

static void test_inner_addresses(void **state)
{
    (void)state;
    static const char *const addresses[] = {
        /* IPv4: this host, private, shared, loopback, link-local, protocols, multicast, reserved */
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.168.0.0",
        "192.168.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        /* IPv6: unspecified, loopback, unique local, link-local, site-local, multicast */
        "::",
        "::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        /* IPv4 in IPv6: mapped, compatible, NAT64, 6to4 */
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "::127.0.0.1",
        "::10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2002:c0a8:101::1",
        /* NAT64 of a site's own (RFC 8215) */
        "64:ff9b:1::10.0.0.1",
        "64:ff9b:1::1",
    };
    for (size_t i = 0; i < countof(addresses); i++)
        if (is_public(addresses[i]))
            fail_msg("%s", addresses[i]);
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    assert_false(address_is_public((struct sockaddr *)&local));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_what_is_no_origin),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_resolving),
        cmocka_unit_test(test_what_does_not_resolve),
        cmocka_unit_test(test_public_addresses),
        cmocka_unit_test(test_inner_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* runtime_conf_scalar.c - tests of the strict readers of runtime/conf.h: sizes, rates, durations,
 * booleans, numbers, networks, secret files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/conf.h"

static void sizes(void **state)
{
    static const struct {
        const char *text;
        u64 bytes;
    } good[] = {
        {"0", 0},
        {"1024", 1024},
        {"7B", 7},
        {"1kB", 1000},
        {"500GiB", 500ull << 30},
        {"20MB", 20000000},
        {"1.5TiB", 3ull << 39},
        {"0.5KiB", 512},
        {"0.25MB", 250000},
        {"15PiB", 15ull << 50},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {
        "",
        "k",
        "10k",
        "10K",
        "10G",
        "010",
        "+5",
        "-5",
        " 5",
        "5 ",
        "5 GiB",
        "5gib",
        "5GIB",
        "0x10",
        "1.5",
        "1.5B",
        "1.GiB",
        ".5GiB",
        "1..5GiB",
        "1e3",
        "00",
        "5KiBs",
        "5Ki",
        "1,5GiB",
        "16384PiB",
        "18446744073709551616",
        "99999999999999999999",
        "5GiB/s",
        "banana",
        "1.0000000001GiB",
    };
    u64 v;

    (void)state;
    for (size_t i = 0; i < countof(good); i++) {
        v = 99;
        if (conf_size(good[i].text, &v) != 0)
            fail_msg("%s refused", good[i].text);
        assert_int_equal(v, good[i].bytes);
    }
    for (size_t i = 0; i < countof(bad); i++) {
        v = 99;
        if (conf_size(bad[i], &v) != ERR_INVAL)
            fail_msg("%s taken", bad[i]);
        assert_int_equal(v, 99);
    }
}

static void rates(void **state)
{
    u64 v = 99;

    (void)state;
    assert_int_equal(conf_rate("10MB/s", &v), 0);
    assert_int_equal(v, 10000000);
    assert_int_equal(conf_rate("1MiB", &v), 0);
    assert_int_equal(v, 1048576);
    assert_int_equal(conf_rate("0", &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(conf_rate("5/s", &v), 0);
    assert_int_equal(v, 5);
    assert_int_equal(conf_rate("/s", &v), ERR_INVAL);
    assert_int_equal(conf_rate("", &v), ERR_INVAL);
    assert_int_equal(conf_rate("5/m", &v), ERR_INVAL);
    assert_int_equal(conf_rate("5/s/s", &v), ERR_INVAL);
    assert_int_equal(conf_rate("5.5/s", &v), ERR_INVAL);
    assert_int_equal(v, 5);
}

static void durations(void **state)
{
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "1.5s",
                                      "-1s",
                                      "5 s",
                                      "5S",
                                      "5M",
                                      "05s",
                                      "0.1s",
                                      "5min",
                                      "36501d",
                                      "99999999999999999999s",
                                      "5ss",
                                      "1h30m"};
    u64 v = 99;

    (void)state;
    assert_int_equal(conf_duration_ms("0", &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(conf_duration_ms("250ms", &v), 0);
    assert_int_equal(v, 250);
    assert_int_equal(conf_duration_ms("60s", &v), 0);
    assert_int_equal(v, 60000);
    assert_int_equal(conf_duration_ms("5m", &v), 0);
    assert_int_equal(v, 300000);
    assert_int_equal(conf_duration_ms("12h", &v), 0);
    assert_int_equal(v, 43200000);
    assert_int_equal(conf_duration_ms("7d", &v), 0);
    assert_int_equal(v, 604800000);
    for (size_t i = 0; i < countof(bad); i++)
        if (conf_duration_ms(bad[i], &v) != ERR_INVAL)
            fail_msg("%s taken", bad[i]);
    assert_int_equal(v, 604800000);
}

static void bools_and_numbers(void **state)
{
    static const char *const bad[] = {"", "yes", "no", "True", "TRUE", "1", "banana", "true "};
    bool b = false;
    u32 v = 99;

    (void)state;
    assert_int_equal(conf_bool("true", &b), 0);
    assert_true(b);
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(conf_bool(bad[i], &b), ERR_INVAL);
    assert_true(b);
    assert_int_equal(conf_bool("false", &b), 0);
    assert_false(b);

    assert_int_equal(conf_u32("0", 0, 10, &v), 0);
    assert_int_equal(v, 0);
    assert_int_equal(conf_u32("4294967295", 0, UINT32_MAX, &v), 0);
    assert_int_equal(v, UINT32_MAX);
    assert_int_equal(conf_u32("4294967296", 0, UINT32_MAX, &v), ERR_INVAL);
    assert_int_equal(conf_u32("11", 0, 10, &v), ERR_INVAL);
    assert_int_equal(conf_u32("1", 2, 10, &v), ERR_INVAL);
    assert_int_equal(conf_u32("010", 0, 10, &v), ERR_INVAL);
    assert_int_equal(conf_u32("0x1", 0, 10, &v), ERR_INVAL);
    assert_int_equal(conf_u32("5 ", 0, 10, &v), ERR_INVAL);
    assert_int_equal(conf_u32("", 0, 10, &v), ERR_INVAL);
    assert_int_equal(v, UINT32_MAX);
}

static bool has(const char *network, const char *address)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct cidr c;

    assert_int_equal(cidr_parse(network, &c), 0);
    if (inet_pton(AF_INET, address, &v4.sin_addr) == 1)
        return cidr_has(&c, (struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, address, &v6.sin6_addr), 1);
    return cidr_has(&c, (struct sockaddr *)&v6);
}

static void networks(void **state)
{
    static const char *const bad[] = {
        "",         "/8",          "10.0.0.0/33", "10.0.0.0/",
        "10.0.0/8", "010.0.0.0/8", "10.0.0.0/08", "10.0.0.0/-1",
        "::1/129",  "fe80::1%lo",  "localhost",   "10.0.0.0/8/8",
        "[::1]",    "10.0.0.0 /8", "256.0.0.0/8", "1111:2222:3333:4444:5555:6666:7777:8888:9999"};
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct cidr c;

    (void)state;
    assert_true(has("10.20.0.0/16", "10.20.255.1"));
    assert_false(has("10.20.0.0/16", "10.21.0.1"));
    assert_true(has("10.20.0.0/16", "::ffff:10.20.3.4"));
    assert_true(has("10.20.7.7/16", "10.20.0.1"));
    assert_true(has("127.0.0.1", "127.0.0.1"));
    assert_false(has("127.0.0.1", "127.0.0.2"));
    assert_true(has("10.0.0.0/9", "10.127.0.1"));
    assert_false(has("10.0.0.0/9", "10.128.0.1"));
    assert_true(has("0.0.0.0/0", "8.8.8.8"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("::1", "::1"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("::/0", "2001:db8::1"));
    assert_false(has("::/0", "10.0.0.1"));
    for (size_t i = 0; i < countof(bad); i++)
        if (cidr_parse(bad[i], &c) != ERR_INVAL)
            fail_msg("%s taken", bad[i]);
    assert_int_equal(cidr_parse("0.0.0.0/0", &c), 0);
    assert_int_equal(c.bits, 96);
    assert_false(cidr_has(&c, &other));
}

static char why[CONF_WHY_MAX];
static char dir[] = "/tmp/secret-test-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

static const char *file(const char *name, const void *data, size_t len, mode_t mode)
{
    static char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    unlink(path);
    fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static void secrets(void **state)
{
    char out[16];
    const char *path;

    (void)state;
    assert_int_equal(conf_secret(file("s", "user:pw\n", 8, 0600), out, sizeof(out), why), 0);
    assert_string_equal(out, "user:pw");
    assert_int_equal(conf_secret(file("s", "a\nb\r\n", 5, 0400), out, sizeof(out), why), 0);
    assert_string_equal(out, "a\nb");
    assert_int_equal(conf_secret(file("s", "123456789012345", 15, 0600), out, sizeof(out), why), 0);
    assert_string_equal(out, "123456789012345");
    assert_int_equal(conf_secret(file("s", "1234567890123456", 16, 0600), out, sizeof(out), why),
                     ERR_TOOBIG);
    assert_string_equal(out, "");
    path = file("s", "x", 1, 0640);
    assert_int_equal(conf_secret(path, out, sizeof(out), why), ERR_DENIED);
    assert_non_null(strstr(why, "run: chmod 600 /tmp/secret-test-"));
    assert_int_equal(conf_secret(file("s", "x", 1, 0602), out, sizeof(out), why), ERR_DENIED);
    assert_int_equal(conf_secret(file("s", "", 0, 0600), out, sizeof(out), why), ERR_INVAL);
    assert_int_equal(conf_secret(file("s", "\n", 1, 0600), out, sizeof(out), why), ERR_INVAL);
    assert_int_equal(conf_secret(file("s", "a\0b", 3, 0600), out, sizeof(out), why), ERR_INVAL);
    assert_string_equal(out, "");
    assert_int_equal(conf_secret("/nowhere/key", out, sizeof(out), why), ERR_NOTFOUND);
    assert_int_equal(conf_secret(dir, out, sizeof(out), why), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),     cmocka_unit_test(rates),
        cmocka_unit_test(durations), cmocka_unit_test(bools_and_numbers),
        cmocka_unit_test(networks),  cmocka_unit_test(secrets),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

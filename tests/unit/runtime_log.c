/* runtime_log.c - tests of runtime/log.h: both formats, what is escaped, the rate, and a stderr
 * that nobody reads. stderr is a pipe of ours, the clocks are ours too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/log.h"

static struct timespec wall = {1795458224, 123456789}; /* 2026-11-23T18:23:44.123Z */
static time_t monotonic_s = 1000;
static bool own_clocks;

int clock_gettime(clockid_t id, struct timespec *out)
{
    if (!own_clocks)
        return (int)syscall(SYS_clock_gettime, id, out);
    *out = id == CLOCK_REALTIME ? wall : (struct timespec){monotonic_s, 0};
    return 0;
}

static int reader = -1, writer = -1, real_stderr = -1;
static char got[1 << 20];

static int setup(void **state)
{
    int ends[2];

    (void)state;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    reader = ends[0];
    writer = ends[1];
    fcntl(reader, F_SETFL, O_NONBLOCK);
    real_stderr = dup(STDERR_FILENO);
    dup2(writer, STDERR_FILENO);
    monotonic_s += 1000; /* no window of an earlier test is open */
    own_clocks = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    own_clocks = false;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(reader);
    close(writer);
    return 0;
}

/* All that was written since the last call. */
static char *logged(void)
{
    size_t len = 0;
    ssize_t n;

    while ((n = read(reader, got + len, sizeof(got) - 1 - len)) > 0)
        len += (size_t)n;
    got[len] = '\0';
    return got;
}

static unsigned lines(const char *text)
{
    unsigned n = 0;

    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static void text_lines(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, "dray-node");
    log_with(LOG_INFO, "store: opened", LOG_NUM("blobs", 12), LOG_NUM("bytes", UINT64_MAX));
    assert_string_equal(logged(), "2026-11-23T18:23:44.123Z info  store: opened  blobs=12 "
                                  "bytes=18446744073709551615\n");
    log_warn("%s is %d%% full", "disk", 91);
    assert_string_equal(logged(), "2026-11-23T18:23:44.123Z warn  disk is 91% full\n");
    log_with(LOG_ERROR, "x", LOG_STR("a", "plain"), LOG_STR("b", "two words"), LOG_STR("c", ""),
             LOG_STR("d", "say \"hi\" \\"), LOG_STR("e", "k=v"));
    assert_string_equal(logged(),
                        "2026-11-23T18:23:44.123Z error x  a=plain b=\"two words\" c=\"\" "
                        "d=\"say \\\"hi\\\" \\\\\" e=\"k=v\"\n");
}

static void levels_are_kept(void **state)
{
    (void)state;
    log_setup(LOG_WARN, LOG_TEXT, "p");
    log_debug("no");
    log_info("no");
    assert_string_equal(logged(), "");
    assert_false(log_wants(LOG_INFO));
    assert_true(log_wants(LOG_WARN));
    assert_true(log_wants(LOG_AUDIT));
    log_with(LOG_AUDIT, "layer served", LOG_STR("user", "u"));
    assert_string_equal(logged(), "2026-11-23T18:23:44.123Z audit layer served  user=u\n");
    log_setup(LOG_DEBUG, LOG_TEXT, "p");
    log_debug("yes");
    assert_string_equal(logged(), "2026-11-23T18:23:44.123Z debug yes\n");
}

/* Nothing from outside may act on a terminal or look like a line of its own. */
static void hostile_text_is_escaped(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, "p");
    log_with(LOG_INFO, "a\nb\033[2J", LOG_STR("v", "x\r\ty\x7f\x9b"), LOG_STR("u", "bl\xc3\xa4tt"),
             LOG_STR("w", "\xe2\x80\xae\xc2\x9b"),
             LOG_STR("bad", "\xc0\xaf\xed\xa0\x80\xff\xe2\x82"));
    assert_string_equal(
        logged(), "2026-11-23T18:23:44.123Z info  a\\nb\\u001b[2J  v=\"x\\r\\ty\\u007f\\x9b\" "
                  "u=\"bl\xc3\xa4tt\" w=\"\\u202e\\u009b\" "
                  "bad=\"\\xc0\\xaf\\xed\\xa0\\x80\\xff\\xe2\\x82\"\n");
}

static json_t *logged_json(void)
{
    json_error_t e;
    json_t *j = json_loads(logged(), JSON_REJECT_DUPLICATES, &e);

    if (j == NULL)
        fail_msg("%s: %s", e.text, got);
    assert_int_equal(lines(got), 1);
    assert_true(strlen(got) <= PIPE_BUF);
    return j;
}

static void is(json_t *j, const char *key, const char *text)
{
    assert_string_equal(json_string_value(json_object_get(j, key)), text);
}

static void json_lines(void **state)
{
    json_t *j;

    (void)state;
    log_setup(LOG_INFO, LOG_JSON, "dray-node");
    log_with(LOG_AUDIT, "layer \"served\"\n", LOG_STR("user", "u\\1\"\033\xff"),
             LOG_NUM("bytes", 5), LOG_STR("rtl", "\xe2\x80\xae"));
    j = logged_json();
    is(j, "time", "2026-11-23T18:23:44.123Z");
    is(j, "level", "audit");
    is(j, "program", "dray-node");
    is(j, "event", "layer \"served\"\n");
    is(j, "user", "u\\1\"\033\xef\xbf\xbd");
    is(j, "rtl", "\xe2\x80\xae");
    assert_int_equal(json_integer_value(json_object_get(j, "bytes")), 5);
    assert_null(strstr(got, "\xe2\x80\xae")); /* escaped, though it means the same */
    json_decref(j);
}

static void long_lines_are_cut_whole(void **state)
{
    static char text[6000], controls[6000];
    json_t *j;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    memset(controls, 1, sizeof(controls) - 1);
    log_setup(LOG_INFO, LOG_JSON, "p");
    log_event(LOG_INFO, LOG_SITE, NULL, 0, "%s", controls);
    j = logged_json();
    assert_true(json_string_length(json_object_get(j, "event")) > 500);
    json_decref(j);
    log_with(LOG_INFO, "e", LOG_STR("a", text), LOG_STR("b", controls), LOG_STR("c", text),
             LOG_STR("d", text), LOG_STR("f", text), LOG_STR("g", text));
    j = logged_json();
    assert_true(json_string_length(json_object_get(j, "a")) >= 1024);
    assert_true(json_is_true(json_object_get(j, "cut")));
    json_decref(j);
    log_setup(LOG_INFO, LOG_TEXT, "p");
    log_with(LOG_INFO, "e", LOG_STR("a", text), LOG_STR("b", text), LOG_STR("c", text),
             LOG_STR("d", text), LOG_STR("f", text), LOG_STR("g", text));
    assert_int_equal(lines(logged()), 1);
    assert_true(strlen(got) <= PIPE_BUF);
    assert_non_null(strstr(got, "…\n"));
}

static void repeat(unsigned times, enum log_level level)
{
    for (unsigned i = 0; i < times; i++)
        log_with(level, "again", LOG_NUM("i", i));
}

static void a_site_has_its_rate(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, "p");
    repeat(57, LOG_INFO);
    assert_int_equal(lines(logged()), 20);
    log_info("another site is not concerned");
    assert_int_equal(lines(logged()), 1);
    monotonic_s += 9;
    repeat(1, LOG_INFO);
    assert_string_equal(logged(), "");
    monotonic_s += 2;
    log_info("any line brings the news");
    assert_int_equal(lines(logged()), 2);
    assert_non_null(strstr(got, " info  log: lines like an earlier one were left out  left_out=38 "
                                "site="));
    assert_non_null(strstr(got, "runtime_log.c:"));
    repeat(3, LOG_INFO); /* and the site writes again */
    assert_int_equal(lines(logged()), 3);
}

static void audit_has_no_rate(void **state)
{
    (void)state;
    log_setup(LOG_ERROR, LOG_TEXT, "p");
    repeat(100, LOG_AUDIT);
    assert_int_equal(lines(logged()), 100);
}

/* More sites than rows: they share one, and nothing breaks. */
static void sites_are_bounded(void **state)
{
    static char names[2000][16];

    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, "p");
    for (size_t i = 0; i < countof(names); i++) {
        snprintf(names[i], sizeof(names[i]), "f.c:%zu", i);
        log_event(LOG_INFO, names[i], NULL, 0, "x");
    }
    assert_in_range(lines(logged()), 400, 532);
    monotonic_s += 20;
    log_info("x");
    assert_non_null(strstr(logged(), "site=elsewhere"));
}

static void nobody_reads(void **state)
{
    unsigned written, said;
    char *lost;

    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, "p");
    repeat(10000, LOG_AUDIT); /* comes back, though the pipe holds 64 KiB */
    written = lines(logged());
    assert_in_range(written, 100, 9999);
    repeat(1, LOG_AUDIT);
    lost = strstr(logged(), " warn  log: lines were lost because nobody read stderr  lost=");
    assert_non_null(lost);
    said = (unsigned)strtoul(strstr(lost, "lost=") + 5, NULL, 10);
    assert_int_equal(written + said, 10000);
    assert_int_equal(lines(got), 2);
    repeat(1, LOG_AUDIT);
    assert_int_equal(lines(logged()), 1);
}

static void closed_stderr_harms_nobody(void **state)
{
    (void)state;
    log_setup(LOG_INFO, LOG_TEXT, "p");
    close(STDERR_FILENO);
    repeat(3, LOG_AUDIT);
    dup2(writer, STDERR_FILENO);
    repeat(1, LOG_AUDIT);
    assert_non_null(strstr(logged(), "lost=3"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_lines),
        TEST(levels_are_kept),
        TEST(hostile_text_is_escaped),
        TEST(json_lines),
        TEST(long_lines_are_cut_whole),
        TEST(a_site_has_its_rate),
        TEST(audit_has_no_rate),
        TEST(nobody_reads),
        TEST(closed_stderr_harms_nobody),
        TEST(sites_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

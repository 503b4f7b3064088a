/* node_ctl.c - the commands: how numbers and pages look, and how a daemon is asked over its socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants these first */
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/ctl.h"
#include "node/ctl_print.h"
#include "node/ctl_table.h"

#define DIGEST "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char dir[] = "/tmp/dray-ctl-XXXXXX";

/* --- numbers ---------------------------------------------------------------------------------- */

static void test_size(void **state)
{
    (void)state;
    static const struct {
        u64 bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {1024 * 1024 - 1, "1.0 MiB"}, /* not 1024.0 KiB */
        {1024 * 1023, "1023.0 KiB"},
        {5ull << 30, "5.0 GiB"},
        {1ull << 40, "1.0 TiB"},
        {1ull << 50, "1.0 PiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    char text[TABLE_TEXT];
    for (size_t i = 0; i < countof(cases); i++) {
        ctl_table_size(text, cases[i].bytes);
        assert_string_equal(text, cases[i].text);
    }
    ctl_table_rate(text, 11 * 1024 * 1024);
    assert_string_equal(text, "11.0 MiB/s");
}

static void test_age(void **state)
{
    (void)state;
    static const struct {
        u64 s;
        const char *text;
    } cases[] = {
        {0, "0s"},
        {59, "59s"},
        {60, "1m00s"},
        {192, "3m12s"},
        {3599, "59m59s"},
        {3600, "1h00m"},
        {7500, "2h05m"},
        {86399, "23h59m"},
        {86400, "1d00h"},
        {3 * 86400 + 4 * 3600, "3d04h"},
        {UINT64_MAX, "213503982334601d07h"},
    };
    char text[TABLE_TEXT];
    for (size_t i = 0; i < countof(cases); i++) {
        ctl_table_age(text, cases[i].s);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_count_percent_bar(void **state)
{
    (void)state;
    char text[TABLE_TEXT];
    ctl_table_count(text, 0);
    assert_string_equal(text, "0");
    ctl_table_count(text, 999);
    assert_string_equal(text, "999");
    ctl_table_count(text, 1000);
    assert_string_equal(text, "1,000");
    ctl_table_count(text, UINT64_MAX);
    assert_string_equal(text, "18,446,744,073,709,551,615");
    ctl_table_percent(text, 1, 3);
    assert_string_equal(text, "33.3%");
    ctl_table_percent(text, 1, 0);
    assert_string_equal(text, "-");
    ctl_table_bar(text, 10, 0, 100);
    assert_string_equal(text, "[>         ]");
    ctl_table_bar(text, 10, 50, 100);
    assert_string_equal(text, "[=====>    ]");
    ctl_table_bar(text, 10, 100, 100);
    assert_string_equal(text, "[==========]");
    ctl_table_bar(text, 10, 200, 100); /* more than there is to come */
    assert_string_equal(text, "[==========]");
    ctl_table_bar(text, 10, 1, 0);
    assert_string_equal(text, "[>         ]");
}

static void test_time(void **state)
{
    (void)state;
    u64 s = 0;
    assert_true(ctl_table_time("1970-01-02T00:00:01Z", &s));
    assert_int_equal(s, 86401);
    assert_true(ctl_table_time("2026-11-23T18:23:44.123Z", &s));
    assert_int_equal(s, 1795458224);
    assert_false(ctl_table_time("2026-11-23", &s));
    assert_false(ctl_table_time("2026-11-23T18:23:44", &s));
    assert_false(ctl_table_time("2026-11-23T18:23:44Zx", &s));
    assert_false(ctl_table_time("yesterday", &s));
    assert_false(ctl_table_time("", &s));
}

static void test_clean(void **state)
{
    (void)state;
    char out[12];
    ctl_table_clean(out, sizeof(out), "a\033[31mb\n");
    assert_string_equal(out, "a?[31mb?");
    ctl_table_clean(out, sizeof(out), "k\xc3\xb6nig");
    assert_string_equal(out, "k\xc3\xb6nig");
    ctl_table_clean(out, sizeof(out), "\xff\xc3(\xc2\x9b"); /* not UTF-8; and a C1 control */
    assert_string_equal(out, "?"
                             "?(??");
    ctl_table_clean(out, sizeof(out), "01234567890");
    assert_string_equal(out, "01234567890");
    ctl_table_clean(out, sizeof(out), "0123456789012");
    assert_string_equal(out, "01234567...");
    ctl_table_clean(out, sizeof(out),
                    "0123456\xc3\xb6\xc3\xb6\xc3\xb6"); /* never half a character */
    assert_string_equal(out, "0123456...");
    ctl_table_clean(out, 4, "abcd");
    assert_string_equal(out, "...");
}

static void test_table(void **state)
{
    (void)state;
    struct ctl_table t;
    char *page = NULL;
    size_t len;
    FILE *to = open_memstream(&page, &len);
    assert_true(ctl_table_init(&t, "lrl"));
    ctl_table_add(&t, (const char *const[]){"NAME", "N", "LAST"});
    ctl_table_add(&t, (const char *const[]){"k\xc3\xb6nig", "1", "x"});
    ctl_table_add(&t, (const char *const[]){"a", "12345", "much longer"});
    ctl_table_print(&t, to, "  ", "<", ">");
    ctl_table_fini(&t);
    fclose(to);
    assert_string_equal(page, "  <NAME       N  LAST>\n"
                              "  k\xc3\xb6nig      1  x\n"
                              "  a      12345  much longer\n");
    free(page);
    assert_true(ctl_table_init(&t, "l"));
    for (size_t i = 0; i < TABLE_ROWS + 7; i++)
        ctl_table_add(&t, (const char *const[]){"x"});
    assert_int_equal(t.left_out, 7);
    ctl_table_fini(&t);
}

/* --- pages ------------------------------------------------------------------------------------ */

static const char status_json[] =
    "{\"name\":\"rack-12\",\"region\":\"asia\",\"rack\":\"b2\",\"version\":\"0.1.0\",\"uptime_s\":192,"
    "\"listen\":\"0.0.0.0:5000\",\"public_url\":null,\"ready\":true,"
    "\"store\":{\"path\":\"/var/lib/dray\",\"capacity_bytes\":107374182400,\"used_bytes\":53687091200,"
    "\"blobs\":1234,\"blob_bytes\":53687091100,\"partial_bytes\":1048576,\"evicted_blobs\":3,"
    "\"evicted_bytes\":2048,\"index_errors\":0},"
    "\"served\":{\"store_bytes\":3000,\"origin_bytes\":1000,\"stream_bytes\":0,\"requests\":12345},"
    "\"fetched\":{\"origin_bytes\":1000},\"connections\":17,\"loop_lag_ms\":0.25,"
    "\"upstreams\":[{\"name\":\"docker.io\",\"url\":\"https://registry-1.docker.io\",\"state\":\"ok\","
    "\"last_error\":\"\",\"since_s\":100},{\"name\":\"dtr\",\"url\":\"https://dtr\",\"state\":\"down\","
    "\"last_error\":\"no \\u001b[31mroute\",\"since_s\":7}],"
    "\"fetches\":[{\"digest\":\"" DIGEST "\",\"repository\":\"library/redis\",\"upstream\":"
    "\"docker.io\",\"received_bytes\":5242880,\"size_bytes\":10485760,\"bytes_per_s\":1048576,"
    "\"clients\":3,\"state\":\"receiving\",\"age_s\":5},{\"digest\":\"" DIGEST
    "\",\"repository\":\"x\","
    "\"upstream\":\"dtr\",\"received_bytes\":100,\"size_bytes\":null,\"bytes_per_s\":0,\"clients\":0,"
    "\"state\":\"waiting\",\"age_s\":61}]}";

static const char why_json[] =
    "{\"digest\":\"" DIGEST "\",\"held\":true,\"size_bytes\":2048,\"media_type\":\"\",\"source\":"
    "\"docker.io library/redis\",\"stored_at\":\"2026-11-23T18:00:00Z\",\"used_at\":"
    "\"2026-11-23T18:20:00.5Z\",\"verified_at\":null,\"fetch\":null,\"history\":[{\"at\":"
    "\"2026-11-23T18:00:00Z\",\"event\":\"stored\",\"detail\":\"2048 bytes\"}]}";

#define NOW 1795458224 /* 2026-11-23T18:23:44Z */

static char *status_page(const char *text, bool colour)
{
    char *page = NULL;
    size_t len;
    FILE *to = open_memstream(&page, &len);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    ctl_print_status(json, NULL, to, colour);
    json_decref(json);
    fclose(to);
    return page;
}

static const char mesh_json[] =
    "{\"state\":\"joined\",\"why\":\"\",\"address\":\"10.1.1.1:5000\",\"members\":{\"alive\":2,"
    "\"suspect\":0,\"dead\":1,\"left\":0},\"keys\":[{\"name\":\"k2\",\"id\":\"0000000b\",\"seals\":"
    "true},{\"name\":\"k1\",\"id\":\"0000000a\",\"seals\":false}]}";
static const char members_json[] =
    "{\"region\":\"asia\",\"members\":[{\"name\":\"rack-12\",\"key\":\"89e65fe57af0995d\",\"address\":"
    "\"10.1.1.1:5000\",\"state\":\"alive\",\"rack\":\"b2\",\"self\":true,\"keys\":[\"0000000b\",\"0000000a\"]},"
    "{\"name\":\"rack-\\u001b13\",\"key\":\"0b39edee949b1c58\",\"address\":\"[2001:db8::7]:5000\",\"state\":"
    "\"alive\",\"rack\":\"\",\"self\":false,\"since_s\":192.5,\"rtt_ms\":12.34,\"load\":0.5,\"barred\":true,"
    "\"layers\":20000,\"keys\":[\"0000000a\",\"00000009\"]},"
    "{\"name\":\"rack-14\",\"state\":\"dead\",\"rtt_ms\":null,\"layers\":null,\"keys\":[]},{}]}";

static char *members_page(const char *mesh, const char *members, bool colour)
{
    char *page = NULL;
    size_t len;
    FILE *to = open_memstream(&page, &len);
    json_t *m = json_loads(mesh, 0, NULL), *all = json_loads(members, 0, NULL);
    ctl_print_members(m, all, to, colour);
    json_decref(m);
    json_decref(all);
    fclose(to);
    return page;
}

static char *why_page(const char *text)
{
    char *page = NULL;
    size_t len;
    FILE *to = open_memstream(&page, &len);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    ctl_print_why(json, NOW, to, false);
    json_decref(json);
    fclose(to);
    return page;
}

static void has(const char *page, const char *text)
{
    if (!strstr(page, text))
        fail_msg("\"%s\" is not in\n%s", text, page);
}

static void test_status(void **state)
{
    (void)state;
    char *page = status_page(status_json, false);
    has(page, "rack-12  ready  up 3m12s  region asia  rack b2  dray-node 0.1.0\n");
    has(page, "listens on 0.0.0.0:5000\n");
    has(page, "17 connections, loop lag 0.2 ms");
    has(page, "[==========>         ] 50.0%  50.0 GiB of 100.0 GiB\n");
    has(page, "1,234 blobs, 50.0 GiB; partial 1.0 MiB; evicted 3, 2.0 KiB\n");
    has(page, "3.9 KiB in 12,345 requests; fetched 1000 B from registries\n");
    has(page, "from the store            2.9 KiB   75.0%\n");
    has(page, "docker.io  https://registry-1.docker.io  ok     1m40s");
    has(page, "no ?[31mroute");
    has(page, "dtr does not answer");
    has(page, "sha256:0123456789ab  [======>     ]  5.0 MiB of 10.0 MiB  1.0 MiB/s");
    has(page, "docker.io/library/redis");
    has(page, "[size unknown]");
    assert_null(strchr(page, '\033'));
    assert_null(strstr(page, "index errors"));
    free(page);
    page = status_page(status_json, true);
    has(page, "\033[32mready\033[0m");
    has(page, "\033[31mdtr does not answer\033[0m");
    free(page);
}

static void test_members(void **state)
{
    (void)state;
    char *page = members_page(mesh_json, members_json, false);
    has(page, "Region  joined, as 10.1.1.1:5000; 2 alive, 0 suspect, 1 dead, 0 left\n");
    has(page, "MEMBER               ADDRESS             STATE          SINCE  RACK      RTT  LOAD  "
              "LAYERS  MESH KEYS    NODE KEY\n");
    has(page, "rack-12   this node  10.1.1.1:5000       alive              -  b2          -     -  "
              "     -  k2 k1        89e65fe57af0995d\n");
    has(page, "rack-?13             [2001:db8::7]:5000  alive, barred  3m12s  -     12.3 ms   50%  "
              "20,000  k1 00000009  0b39edee949b1c58\n");
    has(page, "rack-14                                  dead ");
    assert_null(strchr(page, '\033'));
    free(page);
    page = members_page("{\"state\":\"refused\",\"why\":\"a clone\\n\"}", "null", true);
    has(page, "\033[1mRegion\033[0m  refused, as -; 0 alive");
    has(page, "\033[31ma clone?\033[0m");
    free(page);
    page = members_page("{\"state\":\"off\"}", "{}", false);
    assert_string_equal(page, "");
    free(page);
    page = members_page("[]", "{\"members\": 7}", false);
    assert_string_equal(page, "");
    free(page);
}

/* Another version's answer, or a broken one, is a page with gaps. */
static void test_status_lenient(void **state)
{
    (void)state;
    char *page = status_page("{}", false);
    has(page, "-  not ready  up 0s");
    has(page, "Nothing is being fetched.");
    free(page);
    page =
        status_page("{\"name\":7,\"uptime_s\":-5,\"store\":[],\"served\":\"x\",\"upstreams\":[1],"
                    "\"fetches\":[null,{\"digest\":\"\\u0007\"}],\"connections\":1e300,"
                    "\"loop_lag_ms\":\"x\"}",
                    false);
    has(page, "up 0s");
    assert_null(strchr(page, '\a'));
    free(page);
}

static void test_why(void **state)
{
    (void)state;
    char *page = why_page(why_json);
    has(page, DIGEST "\n  held       2.0 KiB\n  from       docker.io library/redis\n");
    has(page, "stored     2026-11-23 18:00:00 UTC, 23m44s ago\n");
    has(page, "last used  2026-11-23 18:20:00 UTC, 3m44s ago\n");
    has(page, "verified   never\n");
    has(page, "23m44s ago  stored  2048 bytes\n");
    free(page);
    page = why_page("{\"digest\":\"" DIGEST "\",\"held\":false,\"fetch\":null,\"history\":[]}");
    has(page, "not held   the next permitted pull");
    free(page);
    page = why_page("{\"digest\":\"" DIGEST "\",\"held\":false,\"fetch\":{\"received_bytes\":1,"
                    "\"size_bytes\":2,\"clients\":1,\"upstream\":\"u\",\"repository\":\"r\"}}");
    has(page, "on its way");
    has(page, "from u, repository r, 1 client waiting\n");
    free(page);
    page = why_page("{}");
    has(page, "not held");
    free(page);
}

static void test_why_with_peers(void **state)
{
    (void)state;
    char *page = why_page(
        "{\"digest\":\"" DIGEST "\",\"held\":false,\"fetch\":null,\"holders\":["
        "{\"name\":\"rack-2\",\"address\":\"10.0.0.2:5000\",\"tier\":\"rack\",\"expected_ms\":"
        "12.5,\"usable\":true,\"reason\":\"nearest of two\"},"
        "{\"name\":\"rack-3\",\"address\":\"10.0.0.3:5000\",\"tier\":\"far\",\"expected_ms\":0,"
        "\"usable\":false,\"reason\":\"barred\"},7]}");
    has(page, "fetches it from a peer\n");
    has(page, "rack-2  10.0.0.2:5000  rack    12.5 ms  nearest of two\n");
    has(page, "rack-3  10.0.0.3:5000  far      0.0 ms  not asked: barred\n");
    free(page);
    page = why_page("{\"digest\":\"" DIGEST "\",\"held\":false,\"fetch\":{\"received_bytes\":1,"
                    "\"size_bytes\":2,\"clients\":2,\"upstream\":\"u\",\"peer\":\"rack-2\","
                    "\"repository\":\"r\"}}");
    has(page, "from peer rack-2, repository r, 2 clients waiting\n");
    free(page);
}

/* --- asking ------------------------------------------------------------------------------------
 */

static char socket_path[100], out_path[100], err_path[100];

/* A daemon of one answer: a child that exits 0 when the request began with `expect` and ended with
 * `expect_end`. */
static pid_t serve(const char *expect, const char *expect_end, const char *answer)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path);
    unlink(socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 1), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child) {
        close(fd);
        return child;
    }
    char request[2048] = "";
    size_t n = 0, end = strlen(expect_end);
    int c = accept(fd, NULL, NULL);
    alarm(20);
    while (n + 1 < sizeof(request) && !(n >= end && strcmp(request + n - end, expect_end) == 0)) {
        ssize_t got = read(c, request + n, sizeof(request) - 1 - n);
        if (got <= 0)
            _exit(2);
        n += (size_t)got;
        request[n] = 0;
    }
    if (write(c, answer, strlen(answer)) < 0)
        _exit(3);
    _exit(strncmp(request, expect, strlen(expect)) == 0 ? 0 : 4);
}

static void finish(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static char *read_whole(const char *path)
{
    static char text[2][8192];
    static size_t turn;
    char *t = text[turn++ % 2];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    t[fread(t, 1, sizeof(text[0]) - 1, f)] = 0;
    fclose(f);
    return t;
}

/* Runs a command, its output in files. */
static int run(char **out, char **err, int argc, const char *const *words)
{
    char copy[8][200];
    char *argv[9] = {0};
    for (int i = 0; i < argc; i++) {
        snprintf(copy[i], sizeof(copy[i]), "%s", words[i]);
        argv[i] = copy[i];
    }
    fflush(stdout);
    fflush(stderr);
    int old_out = dup(1), old_err = dup(2);
    int to_out = open(out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int to_err = open(err_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(to_out, 1);
    dup2(to_err, 2);
    int rc = ctl_main(argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(old_out, 1);
    dup2(old_err, 2);
    close(old_out);
    close(old_err);
    close(to_out);
    close(to_err);
    *out = read_whole(out_path);
    *err = read_whole(err_path);
    return rc;
}

#define RUN(out, err, ...)                                                                         \
    run((out), (err), (int)countof(((const char *const[]){__VA_ARGS__})),                          \
        (const char *const[]){__VA_ARGS__})

#define OK "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"

static void test_ask(void **state)
{
    (void)state;
    char *out, *err;
    pid_t child = serve("GET /api/v1/status HTTP/1.1\r\n", "\r\n\r\n", OK "{\"name\":\"r1\"}");
    assert_int_equal(RUN(&out, &err, "status", "--socket", socket_path), 0);
    finish(child);
    has(out, "r1  not ready");
    assert_string_equal(err, "");

    child = serve("GET /api/v1/status HTTP/1.1\r\n", "\r\n\r\n", OK "{\"name\": \"r1\"}");
    assert_int_equal(RUN(&out, &err, "status", "--json", "--socket", socket_path), 0);
    finish(child);
    assert_string_equal(out, "{\"name\": \"r1\"}\n");

    child = serve("GET /api/v1/blobs/" DIGEST " HTTP/1.1\r\n", "\r\n\r\n",
                  OK "{\"digest\":\"" DIGEST "\"}");
    assert_int_equal(RUN(&out, &err, "why", DIGEST + 7, "--socket", socket_path), 0);
    finish(child);
    has(out, DIGEST);

    child = serve("POST /api/v1/purge HTTP/1.1\r\n", "{\"digest\":\"" DIGEST "\"}",
                  OK "{\"digest\":\"" DIGEST "\",\"removed\":true,\"bytes\":2048}");
    assert_int_equal(RUN(&out, &err, "purge", DIGEST, "--socket", socket_path), 0);
    finish(child);
    assert_string_equal(out, DIGEST ": removed, 2.0 KiB\n");

    child = serve("POST /api/v1/purge HTTP/1.1\r\n", "{\"digest\":\"" DIGEST "\",\"for_s\":5400}",
                  OK "{\"digest\":\"" DIGEST "\",\"removed\":false,\"bytes\":0,\"region\":true,"
                     "\"until\":\"2026-11-24T18:23:44Z\"}");
    assert_int_equal(RUN(&out, &err, "purge", DIGEST, "--for=90m", "--socket", socket_path), 0);
    finish(child);
    assert_string_equal(out, DIGEST ": not held here; kept out of the region until 2026-11-24 "
                                    "18:23:44 UTC\n");
}

static void test_refused(void **state)
{
    (void)state;
    char *out, *err;
    pid_t child = serve("POST", "}",
                        "HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n"
                        "{\"errors\":[{\"code\":\"BLOB_UNKNOWN\",\"message\":\"x\"}]}");
    assert_int_equal(RUN(&out, &err, "purge", DIGEST, "--socket", socket_path), 1);
    finish(child);
    has(err, DIGEST " is not held by this node");
    assert_string_equal(out, "");

    child = serve("GET", "\r\n\r\n",
                  "HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n"
                  "{\"errors\":[{\"message\":\"not \\u001b[1myou\"}]}");
    assert_int_equal(RUN(&out, &err, "status", "--socket", socket_path), 1);
    finish(child);
    has(err, "refused (403): not ?[1myou");

    child = serve("GET", "\r\n\r\n", OK "<html>");
    assert_int_equal(RUN(&out, &err, "status", "--socket", socket_path), 1);
    finish(child);
    has(err, "no dray-node of this version");

    child = serve("GET", "\r\n\r\n", "");
    assert_int_equal(RUN(&out, &err, "status", "--socket", socket_path), 1);
    finish(child);
    has(err, "broke off");

    unlink(socket_path);
    assert_int_equal(RUN(&out, &err, "status", "--socket", socket_path), 1);
    has(err, "no dray-node answers at");
    has(err, "systemctl status dray-node");
    char longer[180];
    memset(longer, 'x', sizeof(longer));
    longer[0] = '/';
    longer[sizeof(longer) - 1] = 0;
    assert_int_equal(RUN(&out, &err, "status", "--socket", longer), 1);
    has(err, "(107)");
}

static void test_usage(void **state)
{
    (void)state;
    char *out, *err;
    static const char *const wrong[][3] = {
        {"status", "--jsn", "--json?"},      {"status", "extra", "not known"},
        {"why", "--socket", "a value"},      {"why", "sha256:zz", "not a digest"},
        {"purge", "md5:00", "not a digest"}, {"status", "--for=1h", "not known"},
    };
    for (size_t i = 0; i < countof(wrong); i++) {
        assert_int_equal(RUN(&out, &err, wrong[i][0], wrong[i][1]), 2);
        has(err, wrong[i][2]);
    }
    assert_int_equal(RUN(&out, &err, "purge"), 2);
    has(err, "give a digest");
    assert_int_equal(RUN(&out, &err, "why", "--help"), 0);
    has(out, "--socket PATH");
    assert_int_equal(RUN(&out, &err, "status", "--config", "/nowhere.yaml"), 1);
    has(err, "/nowhere.yaml");
    has(err, "--socket PATH");
    assert_int_equal(RUN(&out, &err, "status", "--store.path", dir), 1);
    has(err, "/dray.sock: is it running?");
    assert_true(ctl_is_command("why"));
    assert_true(ctl_is_command("prefetch"));
    assert_false(ctl_is_command("prefetched"));
    assert_int_equal(RUN(&out, &err, "prefetch"), 2);
    has(err, "repository:tag");
    assert_int_equal(RUN(&out, &err, "purge", "--region"), 2);
    has(err, "not known");
    assert_false(ctl_is_command(""));
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(socket_path, sizeof(socket_path), "%s/ctl.sock", dir);
    snprintf(out_path, sizeof(out_path), "%s/out", dir);
    snprintf(err_path, sizeof(err_path), "%s/err", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(socket_path);
    unlink(out_path);
    unlink(err_path);
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_age),
        cmocka_unit_test(test_count_percent_bar),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_lenient),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_why),
        cmocka_unit_test(test_why_with_peers),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

/* node_cmdline.c - the command line: words, flags, help, suggestions; and the keys that keygen
 * makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants these first */
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/cmdline.h"
#include "node/keygen.h"
#include "runtime/check.h"
#include "runtime/keyfile.h"
#include "runtime/suggest.h"

#define MESH_KEY "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static char dir[] = "/tmp/dray-cmdline-XXXXXX";
static char why[CONF_WHY_MAX];

static void test_help(void **state)
{
    (void)state;
    char *page = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&page, &len);
    cmdline_help(to);
    fclose(to);
    for (size_t i = 0; i < config_keys_n; i++)
        if (!strstr(page, config_keys[i].key))
            fail_msg("%s is not in --help", config_keys[i].key);
    for (char *save, *line = strtok_r(page, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (strlen(line) > 100)
            fail_msg("too wide: %s", line);
    free(page);
}

static void test_checks(void **state)
{
    (void)state;
    struct listen_kind kind;
    assert_null(check_listen("127.8.9.1:80", &kind));
    assert_true(kind.loopback && !kind.wildcard);
    assert_null(check_listen("[::ffff:127.0.0.1]:80", &kind));
    assert_true(kind.loopback);
    assert_null(check_listen("[::]:0", &kind));
    assert_true(kind.wildcard && !kind.loopback);
    static const char *const bad_listen[] = {
        "",     ":",         ":5000",      "127.0.0.1",  "1.2.3:4",     "::1:5000",   "[::1]",
        "[]:1", "1.2.3.4:a", "1.2.3.4:-1", "1.2.3.4:01", "[1.2.3.4]:5", "fe80::1%e:5"};
    for (size_t i = 0; i < countof(bad_listen); i++)
        if (!check_listen(bad_listen[i], &kind))
            fail_msg("taken: %s", bad_listen[i]);
    assert_null(check_host("a.example.org"));
    assert_null(check_host("a.example.org:1"));
    assert_null(check_host("[::1]:5000"));
    assert_null(check_host("::1"));
    static const char *const bad_host[] = {"",    ".",   "a..b", "-a", "a:0",
                                           "a:b", "a/b", "a b",  "*.a"};
    for (size_t i = 0; i < countof(bad_host); i++)
        if (!check_host(bad_host[i]))
            fail_msg("taken: %s", bad_host[i]);
    assert_true(check_is_loopback("http://127.0.0.2:5000/x"));
    assert_true(check_is_loopback("http://[::1]"));
    assert_false(check_is_loopback("http://127.example.org"));
    char name[OCI_NS_MAX + 1];
    check_name_of_url("https://Reg.Example.org:443/x", name);
    assert_string_equal(name, "reg.example.org");
    check_name_of_url("http://reg:443", name);
    assert_string_equal(name, "reg:443");
}

static const char *nearest(const char *word, const char *a, const char *b)
{
    struct suggest s;
    suggest_init(&s, word);
    suggest_offer(&s, a);
    suggest_offer(&s, b);
    return s.best ? s.best : "";
}

static void test_suggest(void **state)
{
    (void)state;
    assert_string_equal(nearest("listne", "listen", "serves"), "listen");
    assert_string_equal(nearest("pruge", "purge", "why"), "purge");
    assert_string_equal(nearest("plain-http", "plain_http", "peer_plain"), "plain_http");
    assert_string_equal(nearest("capacity", "store.scrub", "store.capacity"), "store.capacity");
    assert_string_equal(nearest("prefetch", "purge", "status"), "");
    assert_string_equal(nearest("", "purge", "status"), "");
}

/* --- the command line
 * -------------------------------------------------------------------------------- */

static int parse_words(struct cmdline *c, const char *line)
{
    static char copy[400];
    static char *argv[40];
    int argc = 0;
    snprintf(copy, sizeof(copy), "dray-node %s", line);
    for (char *save, *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    argv[argc] = NULL;
    return cmdline_parse(c, argc, argv, why);
}

static void test_cmdline(void **state)
{
    (void)state;
    struct cmdline c;
    assert_int_equal(parse_words(&c, ""), 0);
    assert_int_equal(c.action, CMDLINE_RUN);
    assert_int_equal(parse_words(&c, "--config f --check-config --listen 1.2.3.4:5 --plain_http "
                                     "--store.path=/x --peer_plain false --upstream https://a"),
                     0);
    assert_int_equal(c.action, CMDLINE_CHECK);
    assert_string_equal(cmdline_config(&c), "f");
    assert_int_equal(c.n_flags, 5);
    assert_string_equal(c.flags[1].key, "plain_http");
    assert_string_equal(c.flags[1].value, "true");
    assert_string_equal(c.flags[2].value, "/x");
    assert_string_equal(c.flags[3].value, "false");
    assert_string_equal(c.flags[4].key, "upstream");
    assert_int_equal(parse_words(&c, "--upstream https://a"), 0);
    assert_null(cmdline_config(&c));
    assert_int_equal(parse_words(&c, "status --json"), 0);
    assert_int_equal(c.action, CMDLINE_CTL);
    assert_int_equal(parse_words(&c, "keygen mesh"), 0);
    assert_int_equal(c.action, CMDLINE_KEYGEN);
    assert_int_equal(parse_words(&c, "-h"), 0);
    assert_int_equal(c.action, CMDLINE_HELP);
    assert_int_equal(parse_words(&c, "--version"), 0);
    assert_int_equal(c.action, CMDLINE_VERSION);
    static const struct {
        const char *line, *words;
    } bad[] = {
        {"stauts", "did you mean status"},
        {"prefetsch x", "did you mean prefetch"},
        {"--config f status", "stands first"},
        {"--listen", "needs a value"},
        {"--listen --plain_http", "needs a value"},
        {"--check-confg", "--check-config"},
        {"--capacity 5", "--store.capacity"},
        {"--upstreams.url x", "--upstream URL"},
        {"--upstreams[].url x", "--upstream URL"},
        {"--socket x", "--admin.socket"},
        {"--zzz", "--help"},
        {"-x", "unknown flag"},
    };
    for (size_t i = 0; i < countof(bad); i++) {
        assert_int_not_equal(parse_words(&c, bad[i].line), 0);
        if (!strstr(why, bad[i].words))
            fail_msg("%s: \"%s\"", bad[i].line, why);
    }
}

/* --- keys
 * ------------------------------------------------------------------------------------------------
 */

static int keygen(const char *a, const char *b, const char *c)
{
    char words[4][200];
    char *argv[5] = {0};
    const char *all[] = {"keygen", a, b, c};
    int argc = 0;
    for (; argc < 4 && all[argc]; argc++) {
        snprintf(words[argc], sizeof(words[argc]), "%s", all[argc]);
        argv[argc] = words[argc];
    }
    /* What it prints is not the test's. */
    fflush(stdout);
    int out = dup(1), err = dup(2), null = open("/dev/null", O_WRONLY);
    dup2(null, 1);
    dup2(null, 2);
    int rc = keygen_main(argc, argv);
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    close(null);
    return rc;
}

static void test_keygen(void **state)
{
    (void)state;
    struct stat st;
    char key[100], pub[100], other[100];
    snprintf(key, sizeof(key), "%s/new.key", dir);
    snprintf(pub, sizeof(pub), "%s/new.pub", dir);
    snprintf(other, sizeof(other), "%s/other.key", dir);
    assert_int_equal(keygen("ticket", key, pub), 0);
    assert_int_equal(stat(key, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_null(check_tracker_key(pub, why));
    assert_non_null(check_tracker_key(key, why)); /* the secret half is none of a node's business */
    assert_int_equal(keygen("ticket", key, pub), 1);
    /* Half a pair is not left behind. */
    assert_int_equal(keygen("ticket", other, pub), 1);
    assert_int_not_equal(stat(other, &st), 0);
    assert_int_equal(keygen("mesh", NULL, NULL), 0);
    assert_int_equal(keygen("mesh", "x", NULL), 2);
    assert_int_equal(keygen("mehs", NULL, NULL), 2);
    assert_int_equal(keygen(NULL, NULL, NULL), 2);
    unlink(key);
    unlink(pub);
}

static void test_keyfile(void **state)
{
    (void)state;
    struct keyfile_key keys[KEYFILE_KEYS];
    size_t n;
    unsigned line;
    assert_int_equal(keyfile_parse("# a\n\n" MESH_KEY " \r\nb2" MESH_KEY, 32, keys, &n, &line), 0);
    assert_int_equal(n, 2);
    assert_string_equal(keys[0].id, "k1");
    assert_int_equal(keys[0].bytes[31], 31);
    assert_string_equal(keys[1].id, "b2k1");
    static const struct {
        const char *text;
        int rc;
        unsigned line;
    } bad[] = {
        {"", ERR_INVAL, 0},
        {"\n#\n", ERR_INVAL, 2},
        {"k1", ERR_INVAL, 1},
        {":AAAA", ERR_INVAL, 1},
        {"K1:AAAA", ERR_INVAL, 1},
        {MESH_KEY "\n" MESH_KEY, ERR_EXISTS, 2},
        {MESH_KEY "=\n", ERR_INVAL, 1},
        {"k1: AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ERR_INVAL, 1},
        {"01234567890123456:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ERR_INVAL, 1},
    };
    for (size_t i = 0; i < countof(bad); i++) {
        assert_int_equal(keyfile_parse(bad[i].text, 32, keys, &n, &line), bad[i].rc);
        assert_int_equal(line, bad[i].line);
    }
    assert_int_equal(keyfile_parse(MESH_KEY, 64, keys, &n, &line), ERR_INVAL);
    char many[2048] = "";
    for (int i = 0; i <= KEYFILE_KEYS; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "%c%s\n", 'a' + i, MESH_KEY);
    assert_int_equal(keyfile_parse(many, 32, keys, &n, &line), ERR_FULL);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checks),  cmocka_unit_test(test_help),
        cmocka_unit_test(test_suggest), cmocka_unit_test(test_cmdline),
        cmocka_unit_test(test_keygen),  cmocka_unit_test(test_keyfile),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

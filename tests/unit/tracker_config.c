/* tracker_config.c - tests of tracker/config.h and tracker/cmdline.h: the sample is right, and what
 * is wrong is said with its line and a remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "tracker/cmdline.h"
#include "tracker/config.h"
#include "tracker/ctl.h"

static char dir[64], file[96], mesh[96], ticket[96];
static char why[CONF_WHY_MAX];

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

static void write_key(const char *path, size_t n)
{
    u8 bytes[64] = {1, 2, 3};
    char text[128], line[160];
    sodium_bin2base64(text, sizeof(text), bytes, n, sodium_base64_VARIANT_ORIGINAL);
    snprintf(line, sizeof(line), "a:%s\n", text);
    write_text(path, line);
}

static int begin(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/dray-config-XXXXXX");
    if (sodium_init() < 0 || !mkdtemp(dir))
        return 1;
    snprintf(file, sizeof(file), "%s/tracker.yaml", dir);
    snprintf(mesh, sizeof(mesh), "%s/mesh.key", dir);
    snprintf(ticket, sizeof(ticket), "%s/ticket.key", dir);
    write_key(mesh, 32);
    write_key(ticket, 64);
    return 0;
}

static int end(void **state)
{
    (void)state;
    unlink(file);
    unlink(mesh);
    unlink(ticket);
    return rmdir(dir);
}

#define BASE "public_url: https://dray.test/\nregistry: {url: \"https://r.test:5000/\"}\n"

static int load(struct tracker_config *c, const char *text)
{
    write_text(file, text);
    return config_load(c, file, NULL, 0, why);
}

static void the_least(void **state)
{
    struct tracker_config c;
    char text[CONF_WHY_MAX];
    (void)state;
    assert_int_equal(load(&c, BASE), 0);
    assert_string_equal(c.public_url, "https://dray.test");
    assert_string_equal(c.registry.url, "https://r.test:5000");
    assert_string_equal(c.registry.name, "r.test:5000");
    assert_string_equal(c.listen, "127.0.0.1:5443");
    assert_string_equal(c.users, "/var/lib/dray-tracker");
    assert_string_equal(c.admin.socket, "/var/lib/dray-tracker/dray.sock");
    assert_true(c.authz.ttl_ms == 60000 && c.admin.n_allow == 2 && c.n_regions == 0);
    assert_true(config_warning(&c, 0, text)); /* https without tls */
    assert_false(config_warning(&c, 1, text));
    config_print(&c, stderr);
    config_fini(&c);
}

static void everything(void **state)
{
    struct tracker_config c;
    char text[2048];
    struct settings_flag flags[] = {{"listen", "127.0.0.1:0"}, {"authz.ttl", "5s"}};
    (void)state;
    snprintf(text, sizeof(text),
             BASE "regions:\n  - {name: asia, seeds: [\"10.0.0.1:5000\"]}\n  - {name: west}\n"
                  "mesh_key: %s\nticket_key: %s\ntrusted_redirects: [10.0.0.0/8]\n"
                  "trusted_proxies: [\"::1\"]\ntrackers: [\"https://t2.test\"]\nusers: %s\n"
                  "admin: {allow: []}\nlog: {level: debug, format: json}\n",
             mesh, ticket, dir);
    write_text(file, text);
    if (config_load(&c, file, flags, countof(flags), why))
        fail_msg("%s", why);
    assert_true(c.n_regions == 2 && c.regions[0].n_seeds == 1 && c.n_trackers == 1);
    assert_true(c.authz.ttl_ms == 5000 && c.admin.n_allow == 0 && c.n_trusted_proxies == 1);
    assert_string_equal(c.listen, "127.0.0.1:0");
    char path[CONF_WHY_MAX], expected[CONF_WHY_MAX];
    assert_int_equal(config_socket(file, NULL, 0, path, why), 0);
    snprintf(expected, sizeof(expected), "%s/dray.sock", dir);
    assert_string_equal(path, expected);
    config_fini(&c);
}

static void what_is_wrong(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"public_url: https://dray.test\n", "registry.url"},
        {"registry: {url: \"https://r.test\"}\n", "public_url"},
        {BASE "listen: 0.0.0.0:443\n", "plain HTTP"},
        {BASE "regions: [{name: asia}]\n", "mesh_key"},
        {BASE "regions: [{seeds: []}]\n", "regions[0].name"},
        {BASE "regions: [{name: a}, {name: a}]\n", "is there already"},
        {BASE "regions: [{name: a, seeds: [nowhere]}]\n", "regions[0].seeds[0]"},
        {BASE "mesh_key: /nowhere\n", ":3: mesh_key"},
        {BASE "ticket_key: /nowhere\n", "ticket_key"},
        {BASE "trusted_redirects: [x]\n", "not a network"},
        {BASE "trackers: [x]\n", "trackers[0]"},
        {BASE "liste: 127.0.0.1:1\n", "listen"},
        {BASE "authz: {ttl: 2d}\n", "authz.ttl"},
        {BASE "users: ''\n", "users"},
        {BASE "tls: {cert: /etc/passwd}\n", "tls.cert"},
    };
    struct tracker_config c;
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_not_equal(load(&c, cases[i].text), 0);
        if (!strstr(why, cases[i].said))
            fail_msg("case %zu says: %s", i, why);
    }
    struct settings_flag flag = {"regitsry.url", "x"};
    assert_int_not_equal(config_load(&c, NULL, &flag, 1, why), 0);
    assert_non_null(strstr(why, "registry.url"));
}

static void command_lines(void **state)
{
    static struct cmdline c;
    char *good[] = {(char *)"dray-tracker",
                    (char *)"--plain_http",
                    (char *)"--listen=127.0.0.1:1",
                    (char *)"--config",
                    (char *)"f",
                    (char *)"--check-config"};
    (void)state;
    assert_int_equal(cmdline_parse(&c, countof(good), good, why), 0);
    assert_true(c.n_flags == 2 && c.action == CMDLINE_CHECK);
    assert_string_equal(c.flags[0].value, "true");
    assert_string_equal(cmdline_config(&c), "f");
    char *bad[][2] = {{(char *)"t", (char *)"--liste"},
                      {(char *)"t", (char *)"--listen"},
                      {(char *)"t", (char *)"nonsense"}};
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(cmdline_parse(&c, 2, bad[i], why), ERR_INVAL);
    char *command[] = {(char *)"t", (char *)"users", (char *)"list"};
    assert_int_equal(cmdline_parse(&c, 3, command, why), 0);
    assert_int_equal(c.action, CMDLINE_CTL);
    assert_true(ctl_is_command("status") && !ctl_is_command("stat"));
    cmdline_help(stderr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least),
        cmocka_unit_test(everything),
        cmocka_unit_test(what_is_wrong),
        cmocka_unit_test(command_lines),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

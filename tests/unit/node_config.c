/* node_config.c - the config: what is taken, what is refused and in which words; flags; keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka wants these first */
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "node/config.h"
#include "node/config_schema.h"

#define MESH_KEY "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define MINIMAL  "upstreams: [{url: \"https://registry.example.org\"}]\n"
#define TEXT_MAX 4096

static char dir[] = "/tmp/dray-config-XXXXXX";
static char why[CONF_WHY_MAX];

static const char *path_of(const char *name)
{
    static char path[8][200];
    static size_t turn;
    char *p = path[turn++ % countof(path)];
    snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
    return p;
}

static const char *write_file(const char *name, const char *text, mode_t mode)
{
    const char *path = path_of(name);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

/* $DIR in the text becomes the test's folder. */
static const char *write_config(const char *text)
{
    char full[TEXT_MAX];
    size_t n = 0;
    for (const char *p = text, *dollar; *p; p = dollar + (*dollar ? 4 : 0)) {
        dollar = strstr(p, "$DIR");
        dollar = dollar ? dollar : p + strlen(p);
        n += (size_t)snprintf(full + n, sizeof(full) - n, "%.*s%s", (int)(dollar - p), p,
                              *dollar ? dir : "");
        assert_true(n < sizeof(full));
    }
    full[n] = 0;
    return write_file("node.yaml", full, 0644);
}

static void load(struct node_config *c, const char *text)
{
    int rc = config_load(c, write_config(text), NULL, 0, why);
    if (rc)
        fail_msg("refused: %s", why);
}

static void load_flags(struct node_config *c, const char *text, const struct settings_flag *flags,
                       size_t n)
{
    int rc = config_load(c, text ? write_config(text) : NULL, flags, n, why);
    if (rc)
        fail_msg("refused: %s", why);
}

/* Refused, and each of the words (separated by |) stands in the reason. */
static void refused_with(const char *text, const struct settings_flag *flags, size_t n,
                         const char *words)
{
    struct node_config c;
    char each[400];
    why[0] = 0;
    int rc = config_load(&c, text ? write_config(text) : NULL, flags, n, why);
    if (rc == 0)
        fail_msg("taken, but should be refused (%s):\n%s", words, text ? text : "flags");
    assert_null(c.name);
    assert_null(c.upstreams);
    snprintf(each, sizeof(each), "%s", words);
    for (char *save, *w = strtok_r(each, "|", &save); w; w = strtok_r(NULL, "|", &save))
        if (!strstr(why, w))
            fail_msg("\"%s\" is not in \"%s\"\n%s", w, why, text ? text : "flags");
}

static bool has(const struct cidr *all, size_t n, const char *ip)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    assert_int_equal(inet_pton(AF_INET, ip, &a.sin_addr), 1);
    for (size_t i = 0; i < n; i++)
        if (cidr_has(&all[i], (struct sockaddr *)&a))
            return true;
    return false;
}

/* --- taken ------------------------------------------------------------------------------------ */

static void test_shortest(void **state)
{
    (void)state;
    struct node_config c;
    struct settings_flag flags[] = {{"upstream", "https://registry.example.org/"}};
    unsetenv("STATE_DIRECTORY");
    load_flags(&c, NULL, flags, 1);
    assert_null(c.file);
    assert_int_equal(c.n_upstreams, 1);
    assert_string_equal(c.upstreams[0].url, "https://registry.example.org");
    assert_string_equal(c.upstreams[0].name, "registry.example.org");
    assert_string_equal(c.listen, "127.0.0.1:5000");
    assert_true(c.listen_assumed);
    assert_string_equal(c.public_url, "http://127.0.0.1:5000");
    assert_string_equal(c.region, "default");
    assert_string_equal(c.rack, "");
    assert_true(strlen(c.name) > 0);
    assert_string_equal(c.store.path, "/var/lib/dray");
    assert_string_equal(c.admin.socket, "/var/lib/dray/dray.sock");
    assert_true(c.store.capacity_bytes >= MIB && c.store.capacity_bytes <= 100 * GIB);
    assert_int_equal(c.store.scrub_ms, 7ull * 24 * 3600 * 1000);
    assert_int_equal(c.authz.ttl_ms, 60000);
    assert_int_equal(c.authz.grace_ms, 0);
    assert_int_equal(c.limits.connections, 4096);
    assert_int_equal(c.limits.upload, 0);
    assert_int_equal(c.admin.n_allow, 2);
    assert_true(has(c.admin.allow, c.admin.n_allow, "127.0.0.9"));
    assert_false(has(c.admin.allow, c.admin.n_allow, "10.0.0.1"));
    assert_int_equal(c.log.level, LOG_INFO);
    assert_int_equal(c.log.format, LOG_TEXT);
    assert_true(config_warning(&c, 0, why));
    assert_non_null(strstr(why, "127.0.0.1:5000 only"));
    assert_false(config_warning(&c, 1, why));
    config_fini(&c);
}

static const char full[] = "name: rack-12\n"
                           "region: asia-office\n"
                           "rack: b2-12\n"
                           "listen: 0.0.0.0:5000\n"
                           "advertise: 10.20.1.5:5000\n"
                           "public_url: https://rack-12.example.net/\n"
                           "seeds: [10.20.1.5:5000, \"rack-2.example.net:5000\"]\n"
                           "mesh_key: $DIR/mesh.key\n"
                           "tracker_key: $DIR/ticket.pub\n"
                           "tls: {cert: $DIR/cert.pem, key: $DIR/key.pem, ca: $DIR/ca.pem}\n"
                           "plain_http: false\n"
                           "peer_plain: true\n"
                           "store: {path: $DIR/store, capacity: 1.5GiB, scrub: 0}\n"
                           "serves: [10.20.0.0/16]\n"
                           "upstreams:\n"
                           "  - name: dtr.example.org\n"
                           "    url: https://dtr.internal:5000/base/\n"
                           "    ca: $DIR/ca.pem\n"
                           "    credentials: $DIR/dtr.cred\n"
                           "    allow_hosts: [cdn.example.net, \"10.1.2.3:8443\"]\n"
                           "  - url: https://registry-1.docker.io\n"
                           "  - url: http://[::1]:5001\n"
                           "authz: {ttl: 5m, grace: 12h}\n"
                           "limits: {upload: 200MiB/s, download: 0, wan: 1MB, connections: 100}\n"
                           "admin: {socket: $DIR/a.sock, token: $DIR/token, allow: [10.0.0.0/8]}\n"
                           "log: {level: debug, format: json}\n";

static void write_full_files(void)
{
    write_file("mesh.key", "# the region's\n" MESH_KEY "\n\n", 0600);
    write_file("ticket.pub", MESH_KEY "\n", 0644);
    write_file("cert.pem", "x", 0644);
    write_file("ca.pem", "x", 0644);
    write_file("key.pem", "x", 0600);
    write_file("dtr.cred", "node:pass:word\n", 0600);
    write_file("token", "0123456789abcdef\n", 0600);
}

static void test_full(void **state)
{
    (void)state;
    struct node_config c;
    write_full_files();
    load(&c, full);
    assert_string_equal(c.name, "rack-12");
    assert_string_equal(c.rack, "b2-12");
    assert_string_equal(c.public_url, "https://rack-12.example.net");
    assert_int_equal(c.n_seeds, 2);
    assert_string_equal(c.seeds[1], "rack-2.example.net:5000");
    assert_true(c.peer_plain);
    assert_false(c.plain_http);
    assert_false(c.listen_assumed);
    assert_string_equal(c.tls.key, path_of("key.pem"));
    assert_int_equal(c.store.capacity_bytes, GIB + GIB / 2);
    assert_int_equal(c.store.scrub_ms, 0);
    assert_true(has(c.serves, c.n_serves, "10.20.255.1"));
    assert_int_equal(c.n_upstreams, 3);
    assert_string_equal(c.upstreams[0].name, "dtr.example.org");
    assert_string_equal(c.upstreams[0].url, "https://dtr.internal:5000/base");
    assert_int_equal(c.upstreams[0].n_allow_hosts, 2);
    assert_string_equal(c.upstreams[0].allow_hosts[1], "10.1.2.3:8443");
    assert_string_equal(c.upstreams[1].name, "docker.io");
    assert_null(c.upstreams[1].credentials);
    assert_string_equal(c.upstreams[2].name, "[::1]:5001");
    assert_int_equal(c.authz.grace_ms, 12ull * 3600 * 1000);
    assert_int_equal(c.limits.upload, 200 * MIB);
    assert_int_equal(c.limits.wan, 1000000);
    assert_int_equal(c.limits.connections, 100);
    assert_string_equal(c.admin.socket, path_of("a.sock"));
    assert_int_equal(c.admin.n_allow, 1);
    assert_int_equal(c.log.level, LOG_DEBUG);
    assert_int_equal(c.log.format, LOG_JSON);
    assert_false(config_warning(&c, 0, why));
    config_fini(&c);
}

static void test_print(void **state)
{
    (void)state;
    struct node_config c;
    char *page = NULL;
    size_t len = 0;
    write_full_files();
    load(&c, full);
    FILE *to = open_memstream(&page, &len);
    config_print(&c, to);
    fclose(to);
    assert_non_null(strstr(page, "0.0.0.0:5000, TLS"));
    assert_non_null(strstr(page, "at most 1.5 GiB"));
    assert_non_null(strstr(page, "docker.io  https://registry-1.docker.io"));
    assert_non_null(strstr(page, "permissions count 5m, 12h more"));
    assert_null(strstr(page, "pass:word"));
    free(page);
    config_fini(&c);
}

static void test_flags_win(void **state)
{
    (void)state;
    struct node_config c;
    struct settings_flag flags[] = {
        {"listen", "127.0.0.1:1"},
        {"listen", "127.0.0.1:0"},
        {"store.path", "/tmp/x"},
        {"store.capacity", "2GiB"},
        {"admin.allow", "10.0.0.0/8"},
        {"admin.allow", "::1"},
        {"upstream", "http://10.0.0.1:5000"},
        {"upstream", "https://b.example.org"},
    };
    load_flags(&c, "listen: 127.0.0.1:9\nadmin: {allow: [192.168.0.0/16]}\n" MINIMAL, flags,
               countof(flags));
    assert_string_equal(c.listen, "127.0.0.1:0");
    assert_string_equal(c.store.path, "/tmp/x");
    assert_string_equal(c.admin.socket, "/tmp/x/dray.sock");
    assert_int_equal(c.store.capacity_bytes, 2 * GIB);
    assert_int_equal(c.admin.n_allow, 2);
    assert_false(has(c.admin.allow, 2, "192.168.1.1"));
    assert_int_equal(c.n_upstreams, 2);
    assert_string_equal(c.upstreams[0].name, "10.0.0.1:5000");
    config_fini(&c);
}

static void test_defaults_depend(void **state)
{
    (void)state;
    struct node_config c;
    setenv("STATE_DIRECTORY", "/var/lib/other:/var/lib/more", 1);
    load(&c, MINIMAL "plain_http: true\nadmin: {allow: []}\n");
    assert_string_equal(c.store.path, "/var/lib/other");
    assert_string_equal(c.listen, "0.0.0.0:5000"); /* the network was declared trusted */
    assert_false(c.listen_assumed);
    assert_null(c.advertise); /* a wildcard tells nobody where to go */
    assert_null(c.public_url);
    assert_int_equal(c.admin.n_allow, 0); /* nobody, not the default */
    config_fini(&c);
    unsetenv("STATE_DIRECTORY");
    load(&c, MINIMAL "listen: \"[::1]:5000\"\n"); /* loopback needs no word on plain HTTP */
    assert_string_equal(c.advertise, "[::1]:5000");
    config_fini(&c);
}

static void test_warnings(void **state)
{
    (void)state;
    struct node_config c;
    write_full_files();
    load(&c, "listen: 127.0.0.1:5000\nstore: {path: /tmp, capacity: 900000TiB}\n"
             "tls: {cert: $DIR/cert.pem, key: $DIR/key.pem, ca: $DIR/ca.pem}\n"
             "tracker_key: $DIR/ticket.pub\n"
             "upstreams: [{url: \"http://10.0.0.1\", credentials: $DIR/dtr.cred}]\n");
    static const char *const words[] = {"tracker_key without mesh_key", "tls.ca is for peers",
                                        "filesystem of /tmp",
                                        "upstream 10.0.0.1 is asked over plain http"};
    for (size_t i = 0; i < countof(words); i++) {
        assert_true(config_warning(&c, i, why));
        assert_non_null(strstr(why, words[i]));
    }
    assert_false(config_warning(&c, countof(words), why));
    config_fini(&c);
}

/* --- refused ---------------------------------------------------------------------------------- */

static const struct {
    const char *text, *words;
} refusals[] = {
    {"", "node.yaml"},
    {"listen: 127.0.0.1:5000\n", "upstreams|- url: https://"},
    {"upstreams: []\n", "upstreams|at least one"},
    {MINIMAL "lissten: x\n", "lissten|listen"},
    {MINIMAL "store: {capacty: 1GiB}\n", "node.yaml:2: store.capacty|`capacity`"},
    {"listen: 0.0.0.0:5000\n" MINIMAL,
     "node.yaml:1: listen: |listen: 127.0.0.1:5000|tls.cert and tls.key|plain_http: true"},
    {MINIMAL "listen: \"[::]:7000\"\n", "node.yaml:2: listen: |127.0.0.1:7000"},
    {MINIMAL "listen: localhost:5000\n", "listen|\"localhost:5000\"|127.0.0.1:5000"},
    {MINIMAL "listen: 5000\n", "listen|ADDRESS:PORT"},
    {MINIMAL "listen: 127.0.0.1:70000\n", "listen|ADDRESS:PORT"},
    {MINIMAL "listen:\n", "node.yaml:2: listen: |no value"},
    {MINIMAL "\n\nstore: {capacity: 10k}\n", "node.yaml:4: store.capacity: \"10k\""},
    {MINIMAL "store: {capacity: 5}\n", "store.capacity|too small|1MiB"},
    {MINIMAL "store: {scrub: often}\n", "store.scrub|duration"},
    {MINIMAL "store: {path: ''}\n", "store.path|empty"},
    {MINIMAL "plain_http: yes\n", "plain_http|\"yes\"|true or false"},
    {MINIMAL "plain_http: banana\n", "plain_http|true or false"},
    {MINIMAL "limits: {connections: 010}\n", "limits.connections|from 8 to 1000000"},
    {MINIMAL "limits: {connections: 4}\n", "limits.connections|from 8"},
    {MINIMAL "limits: {upload: fast}\n", "limits.upload|rate"},
    {MINIMAL "authz: {ttl: 2d}\n", "authz.ttl|at most 1d"},
    {MINIMAL "authz: {ttl: 60}\n", "authz.ttl|60s"},
    {MINIMAL "log: {level: loud}\n", "log.level|debug|info|warn|error"},
    {MINIMAL "log: {format: xml}\n", "log.format|text"},
    {MINIMAL "serves: [10.0.0.0/33]\n", "serves[0]|network"},
    {MINIMAL "admin: {allow: [here]}\n", "admin.allow[0]|network"},
    {MINIMAL "name: two words\n", "name|letters"},
    {MINIMAL "region: ''\n", "region|empty"},
    {MINIMAL "advertise: 0.0.0.0:5000\n", "advertise|own"},
    {MINIMAL "public_url: rack.example.net\n", "public_url|https://"},
    {MINIMAL "public_url: https://rack.example.net/x\n", "public_url|path"},
    {MINIMAL "seeds: [10.1.1.1:5000]\n", "seeds|mesh_key|keygen mesh"},
    {MINIMAL "seeds: [here]\n", "seeds[0]|HOST:PORT"},
    {MINIMAL "seeds: 10.1.1.1:5000\n", "node.yaml|seeds"},
    {MINIMAL "tls: {cert: /nowhere/c}\n", "tls.cert|tls.key too"},
    {MINIMAL "tls: {key: /nowhere/k}\n", "tls.key|tls.cert too"},
    {MINIMAL "tls: {ca: /nowhere/k}\n", "tls.ca|tls.cert and tls.key"},
    {MINIMAL "tls: {cert: /nowhere/c, key: /nowhere/k}\n", "tls.cert|\"/nowhere/c\"|No such file"},
    {MINIMAL "admin: {socket: /a-folder/of-a-very-long-name/that-goes-on/and-on/and-on/and-on/"
             "and-on/until/no-socket/of-unix/can-have-it.sock}\n",
     "admin.socket|107"},
    {"upstreams: [{name: x}]\n", "upstreams[0]|url"},
    {"upstreams: [{url: registry.example.org}]\n", "upstreams[0].url|https://"},
    {"upstreams: [{url: \"ftp://a.example.org\"}]\n", "upstreams[0].url|https://"},
    {"upstreams: [{url: \"https://u:secret@a.example.org\"}]\n", "upstreams[0].url|credentials"},
    {"upstreams: [{url: \"https://a.example.org/v2/\"}]\n", "upstreams[0].url|/v2"},
    {"upstreams: [{url: \"https://a.example.org?x=1\"}]\n", "upstreams[0].url|query"},
    {"upstreams: [{url: \"https://a b\"}]\n", "upstreams[0].url|blank"},
    {"upstreams: [{url: \"https://\"}]\n", "upstreams[0].url|URL"},
    {"upstreams: [{url: \"https://docker.io\"}]\n", "upstreams[0].url|registry-1.docker.io"},
    {"upstreams: [{url: \"https://a.org\", urll: x}]\n", "urll|url"},
    {"upstreams:\n- url: https://a.org\n- url: https://b.org\n  name: A.org\n",
     "node.yaml:4: upstreams[1].name|\"A.org\"|another"},
    {"upstreams: [{url: \"https://a.org\", name: \"a/b\"}]\n", "upstreams[0].name|registry's name"},
    {"upstreams: [{url: \"https://a.org\", ca: /nowhere}]\n", "upstreams[0].ca|No such file"},
    {"upstreams: [{url: \"https://a.org\", ca: /tmp}]\n", "upstreams[0].ca|not a file"},
    {"upstreams: [{url: \"https://a.org\", allow_hosts: [\"https://x\"]}]\n",
     "upstreams[0].allow_hosts[0]|host"},
    {"upstreams: x\n", "node.yaml"},
    {"store: &a {path: /x}\nlimits: *a\n" MINIMAL, "node.yaml"},
    {"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n" MINIMAL, "listen"},
    {"listen: [\n", "node.yaml"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < countof(refusals); i++)
        refused_with(refusals[i].text, NULL, 0, refusals[i].words);
}

static void test_refused_flags(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *words;
    } cases[] = {
        {"listne", "x", "--listne: unknown flag|--listen"},
        {"capacity", "1GiB", "did you mean --store.capacity"},
        {"upstreams.0.url", "https://a.org", "--upstream URL"},
        {"store.capacity", "lots", "--store.capacity: \"lots\" is not a size"},
        {"listen", "0.0.0.0:5000", "--listen: |--tls.cert|--plain_http"},
        {"upstream", "a.org", "--upstream: \"a.org\" is not a URL"},
        {"upstream", "https://a.org", "--upstream: \"a.org\" names another"},
        {"admin.allow", "x", "--admin.allow: \"x\" is not a network"},
        {"log.level", "", "--log.level: is empty"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct settings_flag flags[] = {{"upstream", "https://a.org"},
                                        {cases[i].key, cases[i].value}};
        refused_with(NULL, flags, 2, cases[i].words);
    }
    refused_with(NULL, NULL, 0, "--upstream https://|--config");
    struct node_config c;
    assert_int_not_equal(config_load(&c, "/nowhere/node.yaml", NULL, 0, why), 0);
    assert_non_null(strstr(why, "/nowhere/node.yaml"));
}

static void test_refused_files(void **state)
{
    (void)state;
    static const struct {
        const char *name, *text, *config, *words;
        mode_t mode;
    } cases[] = {
        {"s", "u:p\n", "upstreams: [{url: \"https://a.org\", credentials: $DIR/s}]\n",
         "upstreams[0].credentials|chmod 600|0644", 0644},
        {"s", "no colon\n", "upstreams: [{url: \"https://a.org\", credentials: $DIR/s}]\n",
         "upstreams[0].credentials|user:password", 0600},
        {"s", ":p\n", "upstreams: [{url: \"https://a.org\", credentials: $DIR/s}]\n",
         "user:password", 0600},
        {"s", "short\n", MINIMAL "admin: {token: $DIR/s}\n", "admin.token|16 characters", 0600},
        {"s", "0123456789abcdef\n", MINIMAL "admin: {token: $DIR/s}\n", "admin.token|chmod 600",
         0640},
        {"s", "k1:AAAA\n", MINIMAL "mesh_key: $DIR/s\n", "mesh_key|line 1|keygen mesh", 0600},
        {"s", "# none\n", MINIMAL "mesh_key: $DIR/s\n", "mesh_key", 0600},
        {"s", MESH_KEY "\n" MESH_KEY "\n", MINIMAL "mesh_key: $DIR/s\n", "line 2 repeats", 0600},
        {"s", MESH_KEY "\n", MINIMAL "mesh_key: $DIR/s\n", "mesh_key|chmod 600", 0604},
        {"s", MESH_KEY "\n", MINIMAL "mesh_key: $DIR/s\nlisten: 10.1.1.1:1\nplain_http: true\n",
         "mesh_key|peer_plain", 0600},
        {"s", MESH_KEY "\n",
         MINIMAL "mesh_key: $DIR/s\nlisten: 10.1.1.1:1\ntls: {cert: $DIR/cert.pem, key: "
                 "$DIR/key.pem}\n",
         "mesh_key|tls.ca|peer_plain", 0600},
        {"s", "garbage", MINIMAL "tracker_key: $DIR/s\n", "tracker_key|keygen ticket", 0644},
        {"s", "x", MINIMAL "tls: {cert: $DIR/s, key: $DIR/s}\n", "tls.key|chmod 600", 0644},
    };
    write_full_files();
    for (size_t i = 0; i < countof(cases); i++) {
        write_file(cases[i].name, cases[i].text, cases[i].mode);
        refused_with(cases[i].config, NULL, 0, cases[i].words);
    }
}

/* A hostile config ends in a refusal of bounded length. */
static void test_hostile(void **state)
{
    (void)state;
    size_t n = 200000;
    char *text = malloc(n + 100);
    struct node_config c;
    memset(text, 'a', n);
    memcpy(text, "name: ", 6);
    snprintf(text + n, 100, "\n" MINIMAL);
    assert_int_not_equal(config_load(&c, write_file("big.yaml", text, 0644), NULL, 0, why), 0);
    assert_non_null(strstr(why, "name"));
    assert_true(strlen(why) < CONF_WHY_MAX);
    memset(text, '[', n);
    assert_int_not_equal(config_load(&c, write_file("big.yaml", text, 0644), NULL, 0, why), 0);
    free(text);
    struct settings_flag flags[] = {{"upstream", "https://a.org"}, {"name", "a\033[31mred"}};
    refused_with(NULL, flags, 2, "--name: \"a?[31mred\"");
    refused_with(MINIMAL "name: \"a\\e[31mred\"\n", NULL, 0, "node.yaml:2: name: ");
    /* 65 upstreams: one over the limit. */
    char many[TEXT_MAX] = "upstreams:\n";
    for (int i = 0; i <= LIMIT_UPSTREAMS; i++)
        snprintf(many + strlen(many), sizeof(many) - strlen(many), "- url: http://h%d\n", i);
    refused_with(many, NULL, 0, "upstreams");
}

/* --- the socket, for commands
 * --------------------------------------------------------------------- */

static void test_socket(void **state)
{
    (void)state;
    char path[CONF_WHY_MAX];
    struct settings_flag flag = {"store.path", "/elsewhere"};
    unsetenv("STATE_DIRECTORY");
    assert_int_equal(config_socket(NULL, NULL, 0, path, why), 0);
    assert_string_equal(path, "/var/lib/dray/dray.sock");
    assert_int_equal(config_socket(NULL, &flag, 1, path, why), 0);
    assert_string_equal(path, "/elsewhere/dray.sock");
    /* Nothing else is checked: no upstreams, no readable key is needed. */
    const char *file = write_config("store: {path: /s}\nmesh_key: /nowhere\n");
    assert_int_equal(config_socket(file, NULL, 0, path, why), 0);
    assert_string_equal(path, "/s/dray.sock");
    file = write_config("admin: {socket: /run/x.sock}\n");
    assert_int_equal(config_socket(file, NULL, 0, path, why), 0);
    assert_string_equal(path, "/run/x.sock");
    assert_int_not_equal(config_socket("/nowhere.yaml", NULL, 0, path, why), 0);
    assert_non_null(strstr(why, "/nowhere.yaml"));
}

/* --- the table
 * --------------------------------------------------------------------------------------- */

/* Every YAML field has a row and every row a field of that place. */
static size_t count_fields(const cyaml_schema_field_t *f, const char *prefix, size_t base)
{
    size_t n = 0;
    for (; f->key; f++) {
        char key[80];
        bool inner = f->value.type == CYAML_MAPPING;
        snprintf(key, sizeof(key), "%s%s%s", prefix, f->key, inner ? "." : "");
        if (inner) {
            n += count_fields(f->value.mapping.fields, key, base + f->data_offset);
            continue;
        }
        if (strcmp(key, "upstreams") == 0) {
            const cyaml_schema_field_t *in = f->value.sequence.entry->mapping.fields;
            n += count_fields(in, "upstreams[].", 0);
            continue;
        }
        bool found = false;
        for (size_t i = 0; i < config_keys_n; i++) {
            const struct settings_key *k = &config_keys[i];
            if (strcmp(k->key, key) != 0)
                continue;
            found = true;
            if (k->kind != SETTING_INSIDE)
                assert_int_equal(k->from, base + f->data_offset);
            assert_true(strlen(k->help) > 0);
            assert_non_null(k->default_text);
        }
        if (!found)
            fail_msg("%s has no row in config_keys", key);
        n++;
    }
    return n;
}

static void test_table(void **state)
{
    (void)state;
    assert_int_equal(count_fields(config_schema.mapping.fields, "", 0), config_keys_n);
}

/* The sample that is installed holds every key, and is taken as it stands. */
static void test_sample(void **state)
{
    (void)state;
    char text[32768];
    char path[600];
    snprintf(path, sizeof(path), "%.*sdocs/node.yaml",
             (int)(strlen(__FILE__) - strlen("tests/unit/node_config.c")), __FILE__);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    assert_true(n > 0 && n < sizeof(text) - 1);
    text[n] = 0;
    for (size_t i = 0; i < config_keys_n; i++) {
        const char *last = strrchr(config_keys[i].key, '.');
        char key[80];
        snprintf(key, sizeof(key), "%s:", last ? last + 1 : config_keys[i].key);
        if (!strstr(text, key))
            fail_msg("%s is not in the sample", config_keys[i].key);
    }
    struct node_config c;
    int rc = config_load(&c, path, NULL, 0, why);
    if (rc)
        fail_msg("%s", why);
    config_fini(&c);
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"node.yaml", "big.yaml", "mesh.key", "ticket.pub",
                                        "cert.pem",  "ca.pem",   "key.pem",  "dtr.cred",
                                        "token",     "s"};
    for (size_t i = 0; i < countof(names); i++)
        unlink(path_of(names[i]));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shortest),        cmocka_unit_test(test_full),
        cmocka_unit_test(test_print),           cmocka_unit_test(test_flags_win),
        cmocka_unit_test(test_defaults_depend), cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_refused_flags),
        cmocka_unit_test(test_refused_files),   cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_socket),          cmocka_unit_test(test_table),
        cmocka_unit_test(test_sample),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

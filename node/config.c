/* config.c - see config.h. Reading is settings.c's; here are the defaults that depend on the
 * machine or on other keys, the checks of values alone and with their neighbours, and the end of it
 * all.
 *
 * Everything in struct node_config is a copy: the YAML is freed before config_load() returns. The
 * first thing wrong ends the load: one clear sentence beats a page. */
#include "node/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/config_schema.h"
#include "proto/member.h"
#include "runtime/check.h"

#define CAPACITY_MOST (100 * GIB) /* nobody expects an unasked cache to take more */
#define PATH_LONGEST  3000        /* bytes: below PATH_MAX with room for what the store appends */

/* --- defaults that depend on the machine or on other keys ----------------------------------------
 */

/* 80% of the filesystem that would hold the store, or of its nearest folder that is there. */
static u64 usual_capacity(const char *path)
{
    char at[PATH_LONGEST + 2];
    struct statvfs fs;
    snprintf(at, sizeof(at), "%s", path);
    while (statvfs(at, &fs) != 0) {
        char *slash = strrchr(at, '/');
        if (slash == at)
            slash++;
        if (!slash || !*slash) /* relative, or the root itself */
            return CAPACITY_MOST;
        *slash = 0;
    }
    u64 most = (u64)fs.f_blocks * fs.f_frsize / 10 * 8;
    most = most < MIB ? MIB : most;
    return most < CAPACITY_MOST ? most : CAPACITY_MOST;
}

static int default_store(const struct settings *l)
{
    struct node_config *c = l->out;
    if (!c->store.path) {
        const char *state = getenv("STATE_DIRECTORY"); /* systemd's; may list several with : */
        int rc =
            settings_set_text(l, &c->store.path, state && *state == '/' ? state : "/var/lib/dray");
        if (rc)
            return rc;
        c->store.path[strcspn(c->store.path, ":")] = 0;
    }
    if (strlen(c->store.path) > PATH_LONGEST)
        return settings_refuse(l, "store.path", "is too long; write at most %d characters",
                               PATH_LONGEST);
    if (c->store.capacity_bytes == 0)
        c->store.capacity_bytes = usual_capacity(c->store.path);
    if (!c->admin.socket) {
        char path[PATH_LONGEST + sizeof("/dray.sock")];
        snprintf(path, sizeof(path), "%s/dray.sock", c->store.path);
        int rc = settings_set_text(l, &c->admin.socket, path);
        if (rc)
            return rc;
    }
    if (strlen(c->admin.socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return settings_refuse_value(
            l, "admin.socket", c->admin.socket,
            "is longer than a socket's name can be (107 characters); give a shorter "
            "admin.socket");
    return 0;
}

static int default_name(const struct settings *l)
{
    struct node_config *c = l->out;
    char host[HOST_NAME_MAX + 1];
    if (c->name)
        return 0;
    if (gethostname(host, sizeof(host)) != 0)
        host[0] = 0;
    host[sizeof(host) - 1] = 0;
    if (check_label(host))
        return settings_refuse(l, "name",
                               "the host's name cannot be used; write name: something of letters, "
                               "digits and dashes");
    return settings_set_text(l, &c->name, host);
}

static int default_admin_allow(const struct settings *l)
{
    static const char *const usual[] = {"127.0.0.0/8", "::1"};
    struct node_config *c = l->out;
    /* `allow: []` means nobody. */
    if (c->admin.n_allow || (l->file && conf_line_of(l->file, "admin.allow")))
        return 0;
    free(c->admin.allow);
    c->admin.allow = calloc(countof(usual), sizeof(*c->admin.allow));
    if (!c->admin.allow)
        return settings_no_memory(l);
    for (size_t i = 0; i < countof(usual); i++) {
        int rc = cidr_parse(usual[i], &c->admin.allow[i]);
        assert(rc == 0);
    }
    c->admin.n_allow = countof(usual);
    return 0;
}

/* --- checks -------------------------------------------------------------------------------------
 */

static int check_listener(const struct settings *l)
{
    struct node_config *c = l->out;
    struct listen_kind kind;
    bool safe = c->tls.cert || c->plain_http;
    c->listen_assumed = !c->listen && !safe;
    if (!c->listen) {
        int rc = settings_set_text(l, &c->listen, safe ? "0.0.0.0:5000" : "127.0.0.1:5000");
        if (rc)
            return rc;
    }
    const char *bad = check_listen(c->listen, &kind);
    if (bad)
        return settings_refuse_value(l, "listen", c->listen, bad);
    if (!kind.loopback && !safe) {
        const char *port = strrchr(c->listen, ':') + 1;
        return settings_refuse(
            l, "listen",
            l->file ? "%s would speak plain HTTP to other machines; write listen: "
                      "127.0.0.1:%s, or give tls.cert and tls.key, or plain_http: true if "
                      "the network is trusted"
                    : "%s would speak plain HTTP to other machines; give --listen "
                      "127.0.0.1:%s, or --tls.cert and --tls.key, or --plain_http if the "
                      "network is trusted",
            c->listen, port);
    }
    if (c->advertise && (bad = check_endpoint(c->advertise)) != NULL)
        return settings_refuse_value(l, "advertise", c->advertise, bad);
    if (!c->advertise && !kind.wildcard)
        return settings_set_text(l, &c->advertise, c->listen);
    return 0;
}

static int check_public_url(const struct settings *l)
{
    struct node_config *c = l->out;
    if (c->public_url) {
        const char *bad = check_url(c->public_url, false);
        if (bad)
            return settings_refuse_value(l, "public_url", c->public_url, bad);
        for (size_t n = strlen(c->public_url); c->public_url[n - 1] == '/'; n--)
            c->public_url[n - 1] = 0;
        return 0;
    }
    if (!c->advertise)
        return 0;
    size_t size = strlen(c->advertise) + sizeof("https://");
    c->public_url = malloc(size);
    if (!c->public_url)
        return settings_no_memory(l);
    snprintf(c->public_url, size, "%s://%s", c->tls.cert ? "https" : "http", c->advertise);
    return 0;
}

static int check_tls(const struct settings *l)
{
    const struct node_config *c = l->out;
    if (c->tls.cert && !c->tls.key)
        return settings_refuse(l, "tls.cert", "needs its private key; give tls.key too");
    if (c->tls.key && !c->tls.cert)
        return settings_refuse(l, "tls.key", "needs its certificate; give tls.cert too");
    if (c->tls.ca && !c->tls.cert)
        return settings_refuse(l, "tls.ca",
                               "is of use only with tls.cert and tls.key; give them too (an "
                               "upstream's stands in upstreams[].ca)");
    return 0;
}

static int check_files(const struct settings *l)
{
    const struct node_config *c = l->out;
    const struct {
        const char *key, *path;
        const char *(*check)(const char *path, char why[CONF_WHY_MAX]);
    } files[] = {
        {"tls.cert", c->tls.cert, check_file},
        {"tls.key", c->tls.key, check_private_file},
        {"tls.ca", c->tls.ca, check_file},
        {"mesh_key", c->mesh_key, check_mesh_key},
        {"tracker_key", c->tracker_key, check_tracker_key},
        {"admin.token", c->admin.token, check_token},
    };
    char why[CONF_WHY_MAX];
    for (size_t i = 0; i < countof(files); i++) {
        const char *bad = files[i].path ? files[i].check(files[i].path, why) : NULL;
        if (bad)
            return settings_refuse_value(l, files[i].key, files[i].path, bad);
    }
    return 0;
}

static int check_mesh(const struct settings *l)
{
    const struct node_config *c = l->out;
    if (c->n_seeds && !c->mesh_key)
        return settings_refuse(l, "seeds",
                               "need mesh_key, the region's secret; make one with `dray-node "
                               "keygen mesh` and give its file");
    if (!c->mesh_key)
        return 0;
    struct listen_kind kind;
    (void)!check_listen(c->listen, &kind); /* it was fine */
    if (c->tls.cert && !c->tls.ca && !c->peer_plain)
        return settings_refuse(
            l, "mesh_key",
            "peers talk TLS, so give tls.ca, the certificates of those who sign "
            "the nodes' certificates, or peer_plain: true if the network between "
            "the nodes is trusted");
    if (!c->tls.cert && !c->peer_plain && !kind.loopback)
        return settings_refuse(l, "mesh_key",
                               "peers would talk plain HTTP; give tls.cert, tls.key and tls.ca, or "
                               "peer_plain: true if the network between the nodes is trusted");
    if (c->public_url && strlen(c->public_url) > MEMBER_URL_MAX)
        return settings_refuse(
            l, "public_url", "is too long to tell members; at most %d characters", MEMBER_URL_MAX);
    if (c->n_seeds > LIMIT_SEEDS)
        return settings_refuse(l, "seeds",
                               "are too many; a few that are always up suffice, at most "
                               "%d",
                               LIMIT_SEEDS);
    return 0;
}

static int check_labels(const struct settings *l)
{
    const struct node_config *c = l->out;
    const char *bad = check_label(c->name);
    if (bad)
        return settings_refuse_value(l, "name", c->name, bad);
    if ((bad = check_label(c->region)) != NULL)
        return settings_refuse_value(l, "region", c->region, bad);
    if (*c->rack && (bad = check_label(c->rack)) != NULL)
        return settings_refuse_value(l, "rack", c->rack, bad);
    return 0;
}

/* --- load and free ------------------------------------------------------------------------------
 */

static struct settings settings_of(struct node_config *out, const char *file,
                                   const struct settings_flag *flags, size_t n_flags, char *why)
{
    return (struct settings){
        .out = out,
        .file = file,
        .flags = flags,
        .n_flags = n_flags,
        .why = why,
        .keys = config_keys,
        .n_keys = config_keys_n,
        .program = "dray-node",
        .extra = "upstream",
    };
}

static int load_raw(struct settings *l)
{
    int rc = settings_check_flags(l);
    if (!rc && l->file) {
        void *data = NULL;
        rc = conf_load(l->file, &config_schema, &data, l->why);
        l->raw = data;
    }
    return rc;
}

static int resolve(struct settings *l)
{
    static int (*const steps[])(const struct settings *) = {
        config_apply_upstreams,
        default_name,
        default_store,
        default_admin_allow,
        check_labels,
        check_tls,
        check_listener,
        check_public_url,
        check_mesh,
        check_files,
    };
    for (size_t i = 0; i < config_keys_n; i++) {
        int rc = settings_apply_key(l, &config_keys[i]);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < countof(steps); i++) {
        int rc = steps[i](l);
        if (rc)
            return rc;
    }
    return 0;
}

int config_load(struct node_config *out, const char *file, const struct settings_flag *flags,
                size_t n_flags, char why[CONF_WHY_MAX])
{
    memset(out, 0, sizeof(*out));
    struct settings l = settings_of(out, file, flags, n_flags, why);
    why[0] = 0;
    int rc = load_raw(&l);
    if (!rc && file)
        rc = settings_set_text(&l, &out->file, file);
    if (!rc)
        rc = resolve(&l);
    if (l.raw)
        conf_free(&config_schema, l.raw);
    if (rc)
        config_fini(out);
    return rc;
}

int config_socket(const char *file, const struct settings_flag *flags, size_t n_flags,
                  char path[CONF_WHY_MAX], char why[CONF_WHY_MAX])
{
    struct node_config c = {0};
    struct settings l = settings_of(&c, file, flags, n_flags, why);
    int rc = load_raw(&l);
    for (size_t i = 0; !rc && i < config_keys_n; i++)
        if (strcmp(config_keys[i].key, "store.path") == 0 ||
            strcmp(config_keys[i].key, "admin.socket") == 0)
            rc = settings_apply_key(&l, &config_keys[i]);
    if (!rc)
        rc = default_store(&l);
    if (!rc)
        snprintf(path, CONF_WHY_MAX, "%s", c.admin.socket);
    if (l.raw)
        conf_free(&config_schema, l.raw);
    config_fini(&c);
    return rc;
}

void config_fini(struct node_config *c)
{
    char *texts[] = {c->file,      c->name,       c->region,     c->rack,         c->listen,
                     c->advertise, c->public_url, c->mesh_key,   c->tracker_key,  c->tls.cert,
                     c->tls.key,   c->tls.ca,     c->store.path, c->admin.socket, c->admin.token};
    for (size_t i = 0; i < countof(texts); i++)
        free(texts[i]);
    for (size_t i = 0; i < c->n_seeds; i++)
        free(c->seeds[i]);
    for (size_t i = 0; i < c->n_upstreams; i++) {
        struct upstream_config *u = &c->upstreams[i];
        for (size_t h = 0; h < u->n_allow_hosts; h++)
            free(u->allow_hosts[h]);
        free(u->allow_hosts);
        free(u->name);
        free(u->url);
        free(u->ca);
        free(u->credentials);
    }
    free(c->seeds);
    free(c->upstreams);
    free(c->serves);
    free(c->admin.allow);
    memset(c, 0, sizeof(*c));
}

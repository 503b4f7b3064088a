/* config.c - see config.h. Reading is settings.c's; here are defaults that depend on other keys,
 * the checks, and the lists that only the file has. */
#include "tracker/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/member.h"
#include "runtime/check.h"
#include "tracker/config_schema.h"

static int check(const struct settings *l, const char *key, const char *value, const char *bad)
{
    return bad ? settings_refuse_value(l, key, value, bad) : 0;
}

static void trim_slashes(char *url)
{
    for (size_t n = url ? strlen(url) : 0; n && url[n - 1] == '/'; n--)
        url[n - 1] = 0;
}

/* --- the file's lists ------------------------------------------------------------------------ */

static int copy_list(const struct settings *l, const char *key, const struct settings_list *from,
                     const char *(*checked)(const char *), char ***to, size_t *n)
{
    *to = calloc(from->n + 1, sizeof(**to));
    if (!*to)
        return settings_no_memory(l);
    for (; *n < from->n; ++*n) {
        char at[100];
        snprintf(at, sizeof(at), "%.70s[%zu]", key, *n);
        int rc = check(l, at, from->v[*n], checked(from->v[*n]));
        if (rc == 0)
            rc = settings_set_text(l, &(*to)[*n], from->v[*n]);
        if (rc)
            return rc;
    }
    return 0;
}

static const char *check_tracker(const char *url)
{
    return check_url(url, false);
}

static int apply_region(const struct settings *l, size_t i, const struct raw_region *raw)
{
    struct tracker_config *c = l->out;
    struct region_entry *e = &c->regions[i];
    char key[64];
    snprintf(key, sizeof(key), "regions[%zu].name", i);
    if (!raw->name)
        return settings_refuse(l, key, "is missing; write the region of the nodes");
    int rc = check(l, key, raw->name, check_label(raw->name));
    for (size_t k = 0; rc == 0 && k < i; k++)
        if (c->regions[k].name && strcmp(c->regions[k].name, raw->name) == 0)
            rc = settings_refuse_value(l, key, raw->name, "is there already");
    if (rc == 0)
        rc = settings_set_text(l, &e->name, raw->name);
    snprintf(key, sizeof(key), "regions[%zu].seeds", i);
    return rc ? rc : copy_list(l, key, &raw->seeds, check_endpoint, &e->seeds, &e->n_seeds);
}

static int apply_lists(const struct settings *l)
{
    struct tracker_config *c = l->out;
    const struct raw_config *raw = l->raw;
    if (!raw)
        return 0;
    int rc = copy_list(l, "registry.allow_hosts", &raw->registry.allow_hosts, check_host,
                       &c->registry.allow_hosts, &c->registry.n_allow_hosts);
    if (rc == 0)
        rc = copy_list(l, "trackers", &raw->trackers, check_tracker, &c->trackers, &c->n_trackers);
    for (size_t i = 0; rc == 0 && i < c->n_trackers; i++)
        trim_slashes(c->trackers[i]);
    c->regions = calloc(raw->regions.n + 1, sizeof(*c->regions));
    if (!c->regions)
        return settings_no_memory(l);
    for (size_t i = 0; rc == 0 && i < raw->regions.n; i++) {
        c->n_regions = i + 1;
        rc = apply_region(l, i, &raw->regions.v[i]);
    }
    return rc;
}

/* --- defaults and checks --------------------------------------------------------------------- */

static int check_urls(const struct settings *l)
{
    struct tracker_config *c = l->out;
    char name[OCI_NS_MAX + 1];
    if (!c->registry.url)
        return settings_refuse(l, "registry.url",
                               "is missing; write for example registry: {url: "
                               "https://registry.internal:5000}");
    if (!c->public_url)
        return settings_refuse(l, "public_url",
                               "is missing; write what users call the registry, for example "
                               "https://dray.example.org");
    int rc = check(l, "registry.url", c->registry.url, check_upstream_url(c->registry.url));
    if (rc == 0)
        rc = check(l, "public_url", c->public_url, check_url(c->public_url, false));
    if (rc == 0 && c->direct_url)
        rc = check(l, "registry.direct_url", c->direct_url, check_upstream_url(c->direct_url));
    if (rc)
        return rc;
    trim_slashes(c->registry.url);
    trim_slashes(c->public_url);
    if (c->direct_url)
        trim_slashes(c->direct_url);
    check_name_of_url(c->registry.url, name);
    if (!c->registry.name && (rc = settings_set_text(l, &c->registry.name, name)) != 0)
        return rc;
    if (strlen(c->public_url) > MEMBER_URL_MAX)
        return settings_refuse(
            l, "public_url", "is too long to tell members; at most %d characters", MEMBER_URL_MAX);
    return check(l, "registry.name", c->registry.name, check_ns(c->registry.name));
}

static int default_texts(const struct settings *l)
{
    struct tracker_config *c = l->out;
    char host[HOST_NAME_MAX + 1] = "", path[4096];
    const char *state = getenv("STATE_DIRECTORY"); /* systemd's; may list several with : */
    int rc = 0;
    if (!c->users) {
        rc = settings_set_text(l, &c->users,
                               state && *state == '/' ? state : "/var/lib/dray-tracker");
        if (rc)
            return rc;
        c->users[strcspn(c->users, ":")] = 0;
    }
    if (strlen(c->users) > 3000)
        return settings_refuse(l, "users", "is too long");
    snprintf(path, sizeof(path), "%s/dray.sock", c->users);
    if (!c->admin.socket && (rc = settings_set_text(l, &c->admin.socket, path)) != 0)
        return rc;
    if (strlen(c->admin.socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return settings_refuse_value(l, "admin.socket", c->admin.socket,
                                     "is longer than a socket's name can be (107 characters)");
    if (!c->name && gethostname(host, sizeof(host) - 1) == 0)
        rc = settings_set_text(l, &c->name, host);
    return rc ? rc : check(l, "name", c->name ? c->name : "", check_label(c->name ? c->name : ""));
}

static int default_allow(const struct settings *l)
{
    static const char *const usual[] = {"127.0.0.0/8", "::1"};
    struct tracker_config *c = l->out;
    if (c->admin.n_allow || (l->file && conf_line_of(l->file, "admin.allow")))
        return 0; /* `allow: []` means nobody */
    free(c->admin.allow);
    c->admin.allow = calloc(countof(usual), sizeof(*c->admin.allow));
    if (!c->admin.allow)
        return settings_no_memory(l);
    for (; c->admin.n_allow < countof(usual); c->admin.n_allow++) {
        int rc = cidr_parse(usual[c->admin.n_allow], &c->admin.allow[c->admin.n_allow]);
        assert(rc == 0);
    }
    return 0;
}

static int check_listener(const struct settings *l)
{
    struct tracker_config *c = l->out;
    struct listen_kind kind;
    bool safe = c->tls.cert || c->plain_http;
    int rc = 0;
    if (!c->listen)
        rc = settings_set_text(l, &c->listen, safe ? "0.0.0.0:443" : "127.0.0.1:5443");
    if (rc == 0)
        rc = check(l, "listen", c->listen, check_listen(c->listen, &kind));
    if (rc == 0 && c->advertise)
        rc = check(l, "advertise", c->advertise, check_endpoint(c->advertise));
    if (rc)
        return rc;
    if (!kind.loopback && !safe)
        return settings_refuse(l, "listen",
                               "%s would speak plain HTTP to other machines; give tls.cert and "
                               "tls.key, or plain_http: true if the network is trusted",
                               c->listen);
    if (!c->advertise && !kind.wildcard)
        rc = settings_set_text(l, &c->advertise, c->listen);
    if (rc == 0 && c->mesh_key && !c->peer_plain &&
        ((c->tls.cert && !c->tls.ca) || (!c->tls.cert && !kind.loopback)))
        rc = settings_refuse(l, "mesh_key",
                             "nodes are talked to with TLS, so give tls.cert, tls.key and tls.ca, "
                             "or peer_plain: true if the network between is trusted");
    return rc;
}

static int check_files(const struct settings *l)
{
    const struct tracker_config *c = l->out;
    const struct {
        const char *key, *path;
        const char *(*check)(const char *path, char why[CONF_WHY_MAX]);
    } files[] = {
        {"registry.ca", c->registry.ca, check_file},
        {"tls.cert", c->tls.cert, check_file},
        {"tls.key", c->tls.key, check_private_file},
        {"tls.ca", c->tls.ca, check_file},
        {"mesh_key", c->mesh_key, check_mesh_key},
        {"ticket_key", c->ticket_key, check_ticket_key},
        {"admin.token", c->admin.token, check_token},
    };
    char why[CONF_WHY_MAX];
    for (size_t i = 0; i < countof(files); i++) {
        const char *bad = files[i].path ? files[i].check(files[i].path, why) : NULL;
        if (bad)
            return settings_refuse_value(l, files[i].key, files[i].path, bad);
    }
    if (!c->tls.cert != !c->tls.key)
        return settings_refuse(l, c->tls.cert ? "tls.cert" : "tls.key",
                               "needs the other half; give tls.cert and tls.key");
    if (c->n_regions && !c->mesh_key)
        return settings_refuse(l, "regions", "need mesh_key, the secret of their nodes");
    if (c->n_trackers && !c->ticket_key)
        return settings_refuse(l, "trackers",
                               "need ticket_key, the same file on each: what they tell each other "
                               "is sealed with it; make one with `dray-node keygen ticket`");
    if (c->n_regions && !c->ticket_key)
        return settings_refuse(l, "regions",
                               "need ticket_key; make one with `dray-node keygen ticket`");
    return 0;
}

/* --- load and free --------------------------------------------------------------------------- */

static struct settings settings_of(struct tracker_config *out, const char *file,
                                   const struct settings_flag *flags, size_t n_flags, char *why)
{
    return (struct settings){.out = out,
                             .file = file,
                             .flags = flags,
                             .n_flags = n_flags,
                             .why = why,
                             .keys = config_keys,
                             .n_keys = config_keys_n,
                             .program = "dray-tracker"};
}

static int load(struct settings *l)
{
    int rc = settings_check_flags(l);
    if (rc == 0 && l->file)
        rc = conf_load(l->file, &config_schema, &l->raw, l->why);
    for (size_t i = 0; rc == 0 && i < l->n_keys; i++)
        rc = settings_apply_key(l, &l->keys[i]);
    return rc;
}

int config_load(struct tracker_config *out, const char *file, const struct settings_flag *flags,
                size_t n_flags, char why[CONF_WHY_MAX])
{
    static int (*const steps[])(const struct settings *) = {
        apply_lists, check_urls, default_texts, default_allow, check_listener, check_files,
    };
    memset(out, 0, sizeof(*out));
    struct settings l = settings_of(out, file, flags, n_flags, why);
    why[0] = 0;
    int rc = load(&l);
    if (rc == 0 && file)
        rc = settings_set_text(&l, &out->file, file);
    for (size_t i = 0; rc == 0 && i < countof(steps); i++)
        rc = steps[i](&l);
    if (l.raw)
        conf_free(&config_schema, l.raw);
    if (rc)
        config_fini(out);
    return rc;
}

int config_socket(const char *file, const struct settings_flag *flags, size_t n_flags,
                  char path[CONF_WHY_MAX], char why[CONF_WHY_MAX])
{
    struct tracker_config c = {0};
    struct settings l = settings_of(&c, file, flags, n_flags, why);
    int rc = load(&l);
    if (rc == 0)
        rc = default_texts(&l);
    if (rc == 0)
        snprintf(path, CONF_WHY_MAX, "%s", c.admin.socket);
    if (l.raw)
        conf_free(&config_schema, l.raw);
    config_fini(&c);
    return rc;
}

static void free_list(char **list, size_t n)
{
    for (size_t i = 0; list && i < n; i++)
        free(list[i]);
    free(list);
}

void config_fini(struct tracker_config *c)
{
    char *texts[] = {c->file,       c->name,          c->listen,       c->advertise,
                     c->public_url, c->registry.name, c->registry.url, c->registry.ca,
                     c->direct_url, c->mesh_key,      c->ticket_key,   c->users,
                     c->tls.cert,   c->tls.key,       c->tls.ca,       c->admin.socket,
                     c->admin.token};
    for (size_t i = 0; i < countof(texts); i++)
        free(texts[i]);
    free_list(c->registry.allow_hosts, c->registry.n_allow_hosts);
    free_list(c->trackers, c->n_trackers);
    for (size_t i = 0; i < c->n_regions; i++) {
        free(c->regions[i].name);
        free_list(c->regions[i].seeds, c->regions[i].n_seeds);
    }
    free(c->regions);
    free(c->trusted_redirects);
    free(c->trusted_proxies);
    free(c->admin.allow);
    memset(c, 0, sizeof(*c));
}

/* --- what it means --------------------------------------------------------------------------- */

void config_print(const struct tracker_config *c, FILE *to)
{
    fprintf(to,
            "  users call us     %s\n  registry          %s (%s)\n  listen            %s (%s)\n",
            c->public_url, c->registry.url, c->registry.name, c->listen,
            c->tls.cert ? "https" : "http");
    for (size_t i = 0; i < c->n_regions; i++)
        fprintf(to, "  region            %s, %zu seeds\n", c->regions[i].name,
                c->regions[i].n_seeds);
    for (size_t i = 0; i < c->n_trackers; i++)
        fprintf(to, "  tracker           %s\n", c->trackers[i]);
    fprintf(to, "  redirects         %s\n  profiles          %s\n  commands          %s\n",
            c->n_regions ? "to the nodes of the regions" : "none: layers come from the registry",
            c->users, c->admin.socket);
}

bool config_warning(const struct tracker_config *c, size_t i, char text[CONF_WHY_MAX])
{
    size_t n = 0;
    if (c->n_trusted_redirects && n++ == i)
        snprintf(text, CONF_WHY_MAX,
                 "trusted_redirects: anyone at these addresses who knows a digest may read it");
    else if (!c->tls.cert && check_is_https(c->public_url) && n++ == i)
        snprintf(text, CONF_WHY_MAX,
                 "public_url is https, and there is no tls here: a proxy before us must end it, "
                 "and stand in trusted_proxies");
    else
        return false;
    return true;
}

/* config_report.c - a config told back to its author: what is in force, and what may not be meant.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "node/config.h"
#include "node/ctl_table.h"
#include "proto/member.h"
#include "runtime/check.h"

/* --- warnings -------------------------------------------------------------------------------- */

static bool warn_listen(const struct node_config *c, char *text)
{
    if (c->listen_assumed)
        snprintf(
            text, CONF_WHY_MAX,
            "listens on %s only, which no other machine reaches; to serve a rack give tls.cert "
            "and tls.key, or plain_http: true if the network is trusted",
            c->listen);
    return c->listen_assumed;
}

static bool warn_tracker(const struct node_config *c, char *text)
{
    snprintf(text, CONF_WHY_MAX,
             "tracker_key without mesh_key: tickets are for nodes of a region, and none is taken "
             "here; clients are asked for their own login");
    return c->tracker_key && !c->mesh_key;
}

static bool warn_tls_ca(const struct node_config *c, char *text)
{
    snprintf(text, CONF_WHY_MAX,
             "tls.ca is for peers, and without mesh_key there are none: clients are not asked for "
             "certificates");
    return c->tls.ca && !c->mesh_key;
}

static bool warn_capacity(const struct node_config *c, char *text)
{
    struct statvfs fs;
    if (statvfs(c->store.path, &fs) != 0)
        return false;
    u64 disk = (u64)fs.f_blocks * fs.f_frsize;
    char capacity[TABLE_TEXT], size[TABLE_TEXT];
    ctl_table_size(capacity, c->store.capacity_bytes);
    ctl_table_size(size, disk);
    snprintf(
        text, CONF_WHY_MAX,
        "store.capacity is %s, but the filesystem of %.200s has %s in all: it will run full, and "
        "what does not fit is passed through without being kept",
        capacity, c->store.path, size);
    return c->store.capacity_bytes > disk;
}

static bool warn_passwords(const struct node_config *c, char *text)
{
    for (size_t i = 0; i < c->n_upstreams; i++) {
        const struct upstream_config *u = &c->upstreams[i];
        if (!u->credentials || check_is_https(u->url) || check_is_loopback(u->url))
            continue;
        snprintf(
            text, CONF_WHY_MAX,
            "upstream %s is asked over plain http: the password in its credentials can be read "
            "on the way",
            u->name);
        return true;
    }
    return false;
}

static bool warn_serves(const struct node_config *c, char text[CONF_WHY_MAX])
{
    if (c->n_serves <= MEMBER_SERVES_MAX)
        return false;
    snprintf(text, CONF_WHY_MAX, "serves: only the first %d networks are told to trackers",
             MEMBER_SERVES_MAX);
    return true;
}

bool config_warning(const struct node_config *c, size_t i, char text[CONF_WHY_MAX])
{
    static bool (*const all[])(const struct node_config *, char *) = {
        warn_listen, warn_tracker, warn_tls_ca, warn_capacity, warn_passwords, warn_serves,
    };
    for (size_t k = 0; k < countof(all); k++)
        if (all[k](c, text) && i-- == 0)
            return true;
    return false;
}

/* --- the page -------------------------------------------------------------------------------- */

static void line(FILE *to, const char *key, const char *text)
{
    fprintf(to, "  %-10s %s\n", key, text);
}

/* As one would write it: in the largest unit that fits. */
static void duration(char out[TABLE_TEXT], u64 ms)
{
    static const struct {
        u64 ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (i + 1 < countof(units) && ms % units[i].ms)
        i++;
    if (ms == 0)
        snprintf(out, TABLE_TEXT, "0s");
    else
        snprintf(out, TABLE_TEXT, "%" PRIu64 "%s", ms / units[i].ms, units[i].unit);
}

static void print_upstream(FILE *to, const struct upstream_config *u, bool first)
{
    fprintf(to, "  %-10s %s  %s%s%s%s\n", first ? "upstreams" : "", u->name, u->url,
            u->credentials ? "  with credentials" : "", u->ca ? "  own CA" : "",
            first ? "  (default)" : "");
}

void config_print(const struct node_config *c, FILE *to)
{
    char text[CONF_WHY_MAX], size[TABLE_TEXT], a[TABLE_TEXT], b[TABLE_TEXT];
    snprintf(text, sizeof(text), "%s, region %s%s%s", c->name, c->region, *c->rack ? ", rack " : "",
             c->rack);
    line(to, "name", text);
    snprintf(text, sizeof(text), "%s, %s", c->listen, c->tls.cert ? "TLS" : "plain HTTP");
    line(to, "listen", text);
    ctl_table_size(size, c->store.capacity_bytes);
    duration(a, c->store.scrub_ms);
    snprintf(text, sizeof(text), "%.300s, at most %s, verified %s%s", c->store.path, size,
             c->store.scrub_ms ? "every " : "never", c->store.scrub_ms ? a : "");
    line(to, "store", text);
    for (size_t i = 0; i < c->n_upstreams; i++)
        print_upstream(to, &c->upstreams[i], i == 0);
    if (c->mesh_key) {
        snprintf(text, sizeof(text), "%zu seed%s, peers by %s, advertises %.200s", c->n_seeds,
                 c->n_seeds == 1 ? "" : "s", c->tls.cert && !c->peer_plain ? "TLS" : "plain HTTP",
                 c->advertise ? c->advertise : "what reaches the seeds");
        line(to, "mesh", text);
    }
    duration(a, c->authz.ttl_ms);
    duration(b, c->authz.grace_ms);
    snprintf(text, sizeof(text), "permissions count %s, %s more while a registry is away", a, b);
    line(to, "authz", text);
    snprintf(text, sizeof(text), "%.200s%s; %zu network%s without token", c->admin.socket,
             c->admin.token ? ", token" : "", c->admin.n_allow, c->admin.n_allow == 1 ? "" : "s");
    line(to, "admin", text);
}

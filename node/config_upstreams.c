/* config_upstreams.c - the registries of the config: the list in the file, with all their keys, or
 * the URLs of --upstream, which replace it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "node/config.h"
#include "node/config_schema.h"
#include "runtime/check.h"

static size_t count_flags(const struct settings *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n_flags; i++)
        n += strcmp(l->flags[i].key, "upstream") == 0;
    return n;
}

/* The `i`-th of them. */
static const char *flag_at(const struct settings *l, size_t i)
{
    for (size_t f = 0;; f++) {
        assert(f < l->n_flags);
        if (strcmp(l->flags[f].key, "upstream") == 0 && i-- == 0)
            return l->flags[f].value;
    }
}

/* "upstreams[2].url", or "upstream" when given by flag. */
struct upstream_key {
    char text[64];
};

static struct upstream_key upstream_key(const struct settings *l, size_t i, const char *member)
{
    struct upstream_key k;
    if (settings_flag(l, "upstream"))
        snprintf(k.text, sizeof(k.text), "upstream");
    else
        snprintf(k.text, sizeof(k.text), "upstreams[%zu]%s", i, member);
    return k;
}

static int upstream_url_and_name(const struct settings *l, size_t i, const char *url,
                                 const char *name)
{
    struct upstream_config *u = &((struct node_config *)l->out)->upstreams[i];
    if (!url || !*url)
        return settings_refuse(l, upstream_key(l, i, "").text,
                               "has no url; write for example url: https://registry.example.org");
    const char *bad = check_upstream_url(url);
    if (bad)
        return settings_refuse_value(l, upstream_key(l, i, ".url").text, url, bad);
    int rc = settings_set_text(l, &u->url, url);
    if (rc)
        return rc;
    for (size_t n = strlen(u->url); n && u->url[n - 1] == '/'; n--)
        u->url[n - 1] = 0;
    char own[OCI_NS_MAX + 1];
    if (!name) {
        check_name_of_url(u->url, own);
        name = own;
    }
    if ((bad = check_ns(name)) != NULL)
        return settings_refuse_value(l, upstream_key(l, i, ".name").text, name, bad);
    if ((rc = settings_set_text(l, &u->name, name)) != 0)
        return rc;
    for (size_t other = 0; other < i; other++)
        if (strcasecmp(((struct node_config *)l->out)->upstreams[other].name, name) == 0)
            return settings_refuse_value(l, upstream_key(l, i, ".name").text, name,
                                         "names another upstream already; give each its own name");
    return 0;
}

static int upstream_from_file(const struct settings *l, size_t i, const struct raw_upstream *raw)
{
    struct upstream_config *u = &((struct node_config *)l->out)->upstreams[i];
    char why[CONF_WHY_MAX];
    const char *bad;
    int rc = upstream_url_and_name(l, i, raw->url, raw->name);
    if (!rc && raw->ca) {
        if ((bad = check_file(raw->ca, why)) != NULL)
            return settings_refuse_value(l, upstream_key(l, i, ".ca").text, raw->ca, bad);
        rc = settings_set_text(l, &u->ca, raw->ca);
    }
    if (!rc && raw->credentials) {
        if ((bad = check_credentials(raw->credentials, why)) != NULL)
            return settings_refuse_value(l, upstream_key(l, i, ".credentials").text,
                                         raw->credentials, bad);
        rc = settings_set_text(l, &u->credentials, raw->credentials);
    }
    if (rc)
        return rc;
    u->allow_hosts = calloc(raw->allow_hosts.n + 1, sizeof(*u->allow_hosts));
    if (!u->allow_hosts)
        return settings_no_memory(l);
    for (; u->n_allow_hosts < raw->allow_hosts.n; u->n_allow_hosts++) {
        const char *host = raw->allow_hosts.v[u->n_allow_hosts];
        char member[40];
        snprintf(member, sizeof(member), ".allow_hosts[%zu]", u->n_allow_hosts);
        if ((bad = check_host(host)) != NULL)
            return settings_refuse_value(l, upstream_key(l, i, member).text, host, bad);
        if ((rc = settings_set_text(l, &u->allow_hosts[u->n_allow_hosts], host)) != 0)
            return rc;
    }
    return 0;
}

int config_apply_upstreams(const struct settings *l)
{
    struct node_config *c = l->out;
    const struct raw_config *raw = l->raw;
    size_t flags = count_flags(l), n = flags ? flags : raw ? raw->upstreams.n : 0;
    if (n == 0 && !l->file)
        return settings_refuse(
            l, "upstreams",
            "no registry is given; add --upstream https://registry.example.org, or "
            "--config FILE");
    if (n == 0)
        return settings_refuse(l, "upstreams",
                               "needs at least one registry; write for example\n"
                               "  upstreams:\n    - url: https://registry.example.org");
    if (n > LIMIT_UPSTREAMS)
        return settings_refuse(l, "upstream", "too many; give at most %d", LIMIT_UPSTREAMS);
    c->upstreams = calloc(n, sizeof(*c->upstreams));
    if (!c->upstreams)
        return settings_no_memory(l);
    for (size_t i = 0; i < n; i++) {
        c->n_upstreams = i + 1;
        int rc = flags ? upstream_url_and_name(l, i, flag_at(l, i), NULL)
                       : upstream_from_file(l, i, &raw->upstreams.v[i]);
        if (rc)
            return rc;
    }
    return 0;
}

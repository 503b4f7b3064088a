/* regions.c - see regions.h. */
#include "tracker/regions.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/limits.h"
#include "runtime/log.h"

#define PATH_SIZE   4096
#define TALKS_LARGE 8

struct one {
    struct regions *set;
    const struct region_entry *entry;
    struct region *region;
    struct http_server *server; /* NULL: the tracker's own */
    char dir[PATH_SIZE], listen[80], advertise[300];
};

struct regions {
    struct regions_options opt;
    struct one *list;
    size_t n;
};

static bool is_talk(void *ctx, const struct http_request *q)
{
    static const char path[] = "/mesh/v1/talk";
    (void)ctx;
    return q->target.n == sizeof(path) - 1 && memcmp(q->target.p, path, q->target.n) == 0;
}

static void on_request(void *ctx, struct http_exchange *x)
{
    struct one *o = ctx;
    if (is_talk(NULL, http_request(x)))
        (void)region_talk(o->region, x);
    else
        o->set->opt.handler(o->set->opt.ctx, x);
}

/* Trackers are told purges, and hold nothing. */
static void on_purged(void *arg, const struct digest *d, u64 until_ms)
{
    (void)arg;
    (void)d;
    (void)until_ms;
}

/* "10.1.2.3:443" with another port. */
static void with_port(char *out, size_t cap, const char *text, unsigned port)
{
    const char *colon = strrchr(text, ':');
    snprintf(out, cap, "%.*s:%u", colon ? (int)(colon - text) : (int)strlen(text), text, port);
}

/* A listener of its own for a further region. */
static int open_server(struct one *o, unsigned port, char why[CONF_WHY_MAX])
{
    const struct regions_options *opt = &o->set->opt;
    char reason[256] = "";
    struct http_server_options server = {.loop = opt->loop,
                                         .handler = on_request,
                                         .ctx = o,
                                         .max_connections = opt->config->connections,
                                         .large = is_talk,
                                         .large_bytes = LIMIT_TALK_BYTES,
                                         .large_at_once = TALKS_LARGE,
                                         .plain_too = opt->tls && opt->config->peer_plain};
    with_port(o->listen, sizeof(o->listen), opt->config->listen, port);
    int rc = http_server_new(&o->server, &server);
    if (rc == 0)
        rc = http_listen_tcp(o->server, o->listen, opt->tls, reason);
    if (rc)
        snprintf(why, CONF_WHY_MAX,
                 "region %.64s: %.250s (each region after the first needs one "
                 "more port, counted from `listen`)",
                 o->entry->name, reason[0] ? reason : err_text(rc));
    return rc;
}

static int open_one(struct one *o, size_t i, char why[CONF_WHY_MAX])
{
    const struct regions_options *opt = &o->set->opt;
    const struct tracker_config *c = opt->config;
    unsigned port = opt->port + (unsigned)i;
    snprintf(o->dir, sizeof(o->dir), "%s/region-%s", c->users, o->entry->name);
    if (mkdir(o->dir, 0700) != 0 && errno != EEXIST) {
        snprintf(why, CONF_WHY_MAX, "%.300s cannot be made: %s", o->dir, strerror(errno));
        return ERR_IO;
    }
    with_port(o->listen, sizeof(o->listen), c->listen, port);
    if (c->advertise)
        with_port(o->advertise, sizeof(o->advertise), c->advertise, port);
    int rc = i > 0 ? open_server(o, port, why) : 0;
    if (rc)
        return rc;
    struct region_options region = {
        .loop = opt->loop,
        .config = {.role = MEMBER_TRACKER,
                   .name = c->name,
                   .region = o->entry->name,
                   .rack = "",
                   .listen = o->listen,
                   .advertise = c->advertise ? o->advertise : NULL,
                   .public_url = c->public_url,
                   .mesh_key = c->mesh_key,
                   .dir = o->dir,
                   .seeds = o->entry->seeds,
                   .n_seeds = o->entry->n_seeds,
                   .ca = c->tls.ca,
                   .tls = c->tls.cert != NULL,
                   .peer_plain = c->peer_plain},
        .disk = opt->disk,
        .client = opt->client,
        .port = (u16)port,
        .purged = on_purged,
        .arg = o,
    };
    return region_new(&o->region, &region, why);
}

int regions_new(struct regions **out, const struct regions_options *opt, char why[CONF_WHY_MAX])
{
    struct regions *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    *out = r;
    r->opt = *opt;
    r->list = calloc(opt->config->n_regions + 1, sizeof(*r->list));
    if (!r->list)
        return ERR_NOMEM;
    for (size_t i = 0; i < opt->config->n_regions; i++) {
        struct one *o = &r->list[r->n++];
        o->set = r;
        o->entry = &opt->config->regions[i];
        int rc = open_one(o, i, why);
        if (rc)
            return rc;
    }
    return 0;
}

int regions_reload(struct regions *r, char why[CONF_WHY_MAX])
{
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0; i++)
        rc = region_reload(r->list[i].region, why);
    return rc;
}

u64 regions_leave(struct regions *r)
{
    u64 most = 0;
    for (size_t i = 0; r && i < r->n; i++) {
        u64 ms = region_leave(r->list[i].region);
        most = ms > most ? ms : most;
    }
    return most;
}

void regions_stop(struct regions *r)
{
    for (size_t i = 0; r && i < r->n; i++) {
        if (r->list[i].server)
            http_server_del(r->list[i].server, NULL, NULL);
        r->list[i].server = NULL;
        region_stop(r->list[i].region);
    }
}

void regions_del(struct regions *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        region_del(r->list[i].region);
    free(r->list);
    free(r);
}

size_t regions_count(const struct regions *r)
{
    return r ? r->n : 0;
}

struct region *regions_at(struct regions *r, size_t i)
{
    return r->list[i].region;
}

const char *regions_name(const struct regions *r, size_t i)
{
    return r->list[i].entry->name;
}

bool regions_ready(const struct regions *r, const char **why)
{
    for (size_t i = 0; r && i < r->n; i++)
        if (!region_ready(r->list[i].region, why))
            return false;
    return true;
}

int regions_talk(struct regions *r, struct http_exchange *x)
{
    return region_talk(r && r->n ? r->list[0].region : NULL, x);
}

int regions_check_peer(struct regions *r, const struct http_request *q, const char *method,
                       size_t *region, struct node_key *from)
{
    const struct http_slice *field = http_field(q, "Dray-Peer");
    char header[MESH_PEER_HEADER_MAX], path[LIMIT_HTTP_TARGET_BYTES + 1];
    if (!r || !field || field->n >= sizeof(header) || q->target.n >= sizeof(path))
        return ERR_DENIED;
    memcpy(header, field->p, field->n);
    header[field->n] = '\0';
    memcpy(path, q->target.p, q->target.n);
    path[q->target.n] = '\0';
    /* A statement names for whom it is, and each region knows us by another key. */
    for (size_t i = 0; i < r->n; i++) {
        struct mesh *m = region_mesh(r->list[i].region);
        if (m && mesh_peer_check(m, header, method, path, from) == 0) {
            *region = i;
            return 0;
        }
    }
    return ERR_DENIED;
}

json_t *regions_report(struct regions *r)
{
    json_t *all = json_array();
    for (size_t i = 0; r && i < r->n; i++) {
        const struct region_config c = {.name = r->opt.config->name,
                                        .region = r->list[i].entry->name};
        json_array_append_new(all, region_report_members(r->list[i].region, &c));
    }
    return json_pack("{s:o}", "regions", all);
}

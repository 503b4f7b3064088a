/* regions.h - the tracker in the mesh of each region: who is there, who holds what.
 *
 * Each region is carried by runtime/region.h in the role of a tracker, with a key and epochs of its
 * own below the `users` folder. The first region shares the port number of HTTP (UDP beside TCP);
 * each further one has the next number, for both: nodes come to one address for everything.
 * Loop thread only. */
#pragma once

#include "runtime/http_server.h"
#include "runtime/region.h"
#include "tracker/config.h"

struct regions;
struct tls_context;

struct regions_options {
    uv_loop_t *loop;
    const struct tracker_config *config; /* borrowed, as are the others */
    struct pool *disk;
    struct http_client *client;
    u16 port;                /* of the first region; the tracker's own listener has it */
    struct tls_context *tls; /* NULL: plain */
    http_handler handler;    /* of what is no talk, at the further regions' ports */
    void *ctx;
};

/* On failure what was begun is to be stopped and deleted. */
must_use int regions_new(struct regions **out, const struct regions_options *opt,
                         char why[CONF_WHY_MAX]);
must_use int regions_reload(struct regions *r, char why[CONF_WHY_MAX]);
u64 regions_leave(struct regions *r); /* ms that it should be carried on for */
void regions_stop(struct regions *r);
void regions_del(struct regions *r);

size_t regions_count(const struct regions *r);
struct region *regions_at(struct regions *r, size_t i);
const char *regions_name(const struct regions *r, size_t i);
bool regions_ready(const struct regions *r, const char **why);

/* POST /mesh/v1/talk at the tracker's own listener. Answers; returns the status. */
int regions_talk(struct regions *r, struct http_exchange *x);
/* Which region's member signed this request? `*from` is who. ERR_DENIED. */
must_use int regions_check_peer(struct regions *r, const struct http_request *q, const char *method,
                                size_t *region, struct node_key *from);
/* All members of all regions, for /api/v1/members. A new reference. */
json_t *regions_report(struct regions *r);

/* region.h - this node in its region: carries the mesh (proto/mesh.h) over UDP and HTTP.
 *
 * Why: the mesh sees no socket and no clock. Here it gets them: datagrams on the port that serves
 * HTTP, talks as POST /mesh/v1/talk, one timer, seeds by name, keys and epochs from the disk, what
 * the store holds. Whatever goes in is followed by the drive that mesh.h asks for; after telling
 * the mesh something from elsewhere, region_kick().
 *
 * Without `mesh_key` there is no region: region_new() then makes one that is off, region_mesh() is
 * NULL and the node works alone. It is NULL, too, until it is known which address to advertise
 * (a seed's name may have to be resolved first), and after region_stop(): ask each time.
 *
 * Certificates: peers are dialled by address. A peer's certificate must be signed by tls.ca; its
 * name is not compared, since who a peer is is proved by the seal and its node key, not by where it
 * stands. Loop thread only. */
#pragma once

#include <uv.h>

#include "node/config.h"
#include "proto/mesh.h"

struct region;
struct pool;
struct store;
struct http_client;
struct http_exchange;

struct region_options {
    uv_loop_t *loop;
    const struct node_config *config; /* borrowed */
    struct store *store;              /* borrowed; observed from region_start() on */
    struct pool *disk;                /* borrowed: epochs are written there */
    struct http_client *client;       /* borrowed: for talks */
    u16 port;                         /* that HTTP listens on, for ":0" */
};

/* Reads or makes the node's key and epochs, binds the port, and knocks at the seeds. `why`
 * (CONF_WHY_MAX) says what to do on failure. */
must_use int region_new(struct region **out, const struct region_options *opt,
                        char why[CONF_WHY_MAX]);
/* Says goodbye to the members; goes on carrying until region_stop(). */
void region_leave(struct region *r);
/* Ends it: handles close on the loop, where region_del() must not come before region_stopped().
 * NULL is fine. */
void region_stop(struct region *r);
bool region_stopped(const struct region *r);
void region_del(struct region *r);
/* Reads the key ring anew (SIGHUP). What fails stays as it was; `why`. */
must_use int region_reload(struct region *r, char why[CONF_WHY_MAX]);

/* --- for the rooms next door ----------------------------------------------------------------- */

/* NULL when off. Borrowed until the loop turns. */
struct mesh *region_mesh(struct region *r);
/* The mesh's time: monotonic. */
u64 region_now_ns(const struct region *r);
/* Something was told to the mesh: what it wants to say is sent at the end of this turn. Cheap. */
void region_kick(struct region *r);
/* "https" or "http": how peers are talked to; and the CA file for http_transfer_options (NULL when
 * plain). Static, or borrowed from the config. */
const char *region_scheme(const struct region *r);
const char *region_ca(const struct region *r);
/* POST /mesh/v1/talk. Answers it. Returns the status. */
int region_talk(struct region *r, struct http_exchange *x);

/* --- looking on ------------------------------------------------------------------------------ */

/* Joined, or found alone after the seeds were tried, or off. Else `why` (static, or borrowed until
 * the loop turns) says what it waits for or what is wrong. */
bool region_ready(const struct region *r, const char **why);

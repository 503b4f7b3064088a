/* region.h - a daemon in a region: carries the mesh (proto/mesh.h) over UDP and HTTP.
 *
 * Why: the mesh sees no socket and no clock. Here it gets them: datagrams on the port that serves
 * HTTP, talks as POST /mesh/v1/talk, one timer, seeds by name, keys and epochs from the disk, what
 * the store holds. Whatever goes in is followed by the drive that mesh.h asks for; after telling
 * the mesh something from elsewhere, region_kick().
 *
 * Without `mesh_key` the node works alone and has no region: every function here takes NULL for
 * that. region_mesh() is NULL, too, until it is known which address to advertise (a seed's name may
 * have to be resolved first), and after region_stop(): ask each time.
 *
 * Certificates: peers are dialled by address. A peer's certificate must be signed by tls.ca; its
 * name is not compared, since who a peer is is proved by the seal and its node key, not by where it
 * stands. A tracker takes part in the role of one: it knows all and holds nothing. Loop thread
 * only. */
#pragma once

#include <jansson.h>
#include <uv.h>

#include "proto/mesh.h"
#include "runtime/conf.h"

struct region;
struct pool;
struct http_client;
struct http_exchange;
struct metrics;

/* Texts are borrowed from the daemon's config. */
struct region_config {
    enum member_role role;
    const char *name, *region, *rack;
    const char *listen;     /* the UDP socket's */
    const char *advertise;  /* to peers; NULL: to be found out */
    const char *public_url; /* NULL: the address, as a URL */
    const char *mesh_key;   /* file */
    const char *dir;        /* where key, epochs and orders are kept; is there */
    char *const *seeds;
    size_t n_seeds;
    const char *ca; /* of peers; unused without tls */
    bool tls;       /* we listen with it */
    bool peer_plain, can_fetch;
    const struct cidr
        *serves; /* users it is near to; what is beyond MEMBER_SERVES_MAX is not told */
    size_t n_serves;
};

struct region_options {
    uv_loop_t *loop;
    struct region_config config;
    struct pool *disk;          /* borrowed: epochs and purge orders are written there */
    struct http_client *client; /* borrowed: for talks */
    u16 port;                   /* that HTTP listens on, for ":0" */
    /* There is a mesh now: tell it what is held. NULL: nothing is. */
    void (*opened)(void *arg, struct region *r);
    /* The region wants this blob gone, and kept out until then (Unix ms). */
    void (*purged)(void *arg, const struct digest *d, u64 until_ms);
    /* A swarm wants something done (proto/swarm.h). NULL: nothing is; trackers hold nothing. */
    void (*swarm)(void *arg, const struct swarm_step *step);
    void *arg;
};

/* Reads or makes the node's key and epochs, binds the port, and knocks at the seeds. `why`
 * (CONF_WHY_MAX) says what to do on failure. */
must_use int region_new(struct region **out, const struct region_options *opt,
                        char why[CONF_WHY_MAX]);
/* Reads the key ring anew (SIGHUP). What fails stays as it was; `why`. */
must_use int region_reload(struct region *r, char why[CONF_WHY_MAX]);
/* Says goodbye to the members; it should be carried on for so many ms. */
u64 region_leave(struct region *r);
/* Ends it; its handles close on the loop. */
void region_stop(struct region *r);
/* After the loop ended. */
void region_del(struct region *r);

/* --- for the rooms next door ----------------------------------------------------------------- */

struct mesh *region_mesh(struct region *r); /* NULL: see above */
/* Grows whenever a member came, went, was doubted, or changed what it says of itself. */
u64 region_version(const struct region *r);
/* The mesh's time: monotonic. */
u64 region_now_ns(const struct region *r);
/* What we hold changed. */
void region_hold(struct region *r, const struct digest *d);
void region_drop(struct region *r, const struct digest *d);
/* Something was told to the mesh: what it wants to say is sent in the next turn. Cheap. */
void region_kick(struct region *r);
/* "https" or "http": how peers are talked to; and the CA file for http_transfer_options (NULL when
 * plain; else with any_name). Static, or borrowed from the config. */
const char *region_scheme(const struct region *r);
const char *region_ca(const struct region *r);
/* POST /mesh/v1/talk. Answers it. Returns the status. */
int region_talk(struct region *r, struct http_exchange *x);
/* Orders a purge, given at `unix_ms`; `purged` is called from inside. ERR_AGAIN: there is no mesh
 * yet; else as mesh_purge(). */
must_use int region_purge(struct region *r, const struct digest *d, u64 unix_ms, u64 until_ms);

/* --- looking on ------------------------------------------------------------------------------ */

/* Joined, or found alone after the seeds were tried, or no region. Else `*why` (borrowed until the
 * loop turns) says what it waits for or what is wrong. */
bool region_ready(const struct region *r, const char **why);
/* "mesh" of /api/v1/status, and the list of /api/v1/members (ourselves first; this node alone when
 * there is no region). New references; NULL: out of memory. */
json_t *region_report(struct region *r);
json_t *region_report_members(struct region *r, const struct region_config *config);
/* Takes over what is counted, before metrics are rendered. */
void region_metrics_refresh(struct region *r, struct metrics *m);

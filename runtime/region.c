/* region.c - the region's life; see region.h and region_impl.h.
 *
 *   new ──► (names are looked up) ──► open: there is a mesh ──► leave ──► stop ──► gone
 *                                        │   ▲
 *                                        └───┘ datagrams, talks, the timer, kicks
 *
 * The port is bound in the beginning, so that a busy one is said at the start; what comes before
 * there is a mesh is thrown away. */
#include "runtime/region_impl.h"

#include <assert.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/log.h"

#define LATE_NS    20000000ull /* the loop is busy, not idle: less says nothing */
#define GOODBYE_MS 1000

/* --- the clock ------------------------------------------------------------------------------- */

u64 region_now_ns(const struct region *r)
{
    (void)r;
    return uv_hrtime();
}

u64 region_ms(const struct region *r)
{
    return uv_now(r->opt.loop);
}

/* Whoever comes first after a pause (a datagram, the timer) tells of it: the mesh then does not
 * blame others for its own silence. */
u64 region_in(struct region *r)
{
    u64 now = uv_hrtime();
    if (r->mesh && r->due_ns && now > r->due_ns + LATE_NS) {
        mesh_lag(r->mesh, now - r->due_ns, now);
        r->due_ns = now;
    }
    return now;
}

static void on_timer(uv_timer_t *t)
{
    struct region *r = t->data;
    r->kicked = false;
    if (!r->mesh)
        return;
    u64 now = region_in(r);
    if (now >= mesh_next_expiry(r->mesh))
        mesh_expire(r->mesh, now);
    region_drive(r);
}

static void set_timer(struct region *r)
{
    u64 due = mesh_next_expiry(r->mesh), now = uv_hrtime();
    if (r->kicked)
        return; /* it fires at once */
    if (due == UINT64_MAX) {
        r->due_ns = 0;
        uv_timer_stop(&r->timer);
        return;
    }
    /* Never at once: whatever the mesh wants, the loop gets its turn between. */
    u64 in_ms = due > now ? (due - now + 999999) / 1000000 : 1;
    r->due_ns = now + in_ms * 1000000;
    uv_update_time(r->opt.loop);
    uv_timer_start(&r->timer, on_timer, in_ms, 0);
}

void region_kick(struct region *r)
{
    if (!r || r->kicked || !r->mesh)
        return;
    r->kicked = true;
    uv_timer_start(&r->timer, on_timer, 0, 0);
}

/* --- what is wrong --------------------------------------------------------------------------- */

void region_trouble(struct region *r, bool if_alone, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->trouble, sizeof(r->trouble), format, args);
    va_end(args);
    r->trouble_ms = region_ms(r);
    r->trouble_if_alone = if_alone;
    log_error("mesh: %s", r->trouble);
}

static bool in_trouble(const struct region *r)
{
    return r->trouble[0] && region_ms(r) - r->trouble_ms < REGION_TROUBLE_MS &&
           !(r->trouble_if_alone && r->joined);
}

bool region_ready(const struct region *r, const char **why)
{
    static const char leaving[] = "the node leaves";
    static const char seeds[] = "the seeds are being tried";
    static const char names[] = "the seeds' names are being looked up";
    *why = NULL;
    if (!r)
        return true;
    if (r->leaving || r->stopping)
        *why = leaving;
    else if (!r->mesh)
        *why = r->waiting;
    else if (in_trouble(r))
        *why = r->trouble;
    else if (!r->joined && r->n_seeds > 0 && region_ms(r) - r->tried_ms < REGION_ALONE_MS)
        *why = seeds;
    else if (!r->joined && r->looking > 0 && region_ms(r) - r->started_ms < REGION_NAMES_MS)
        *why = names;
    return *why == NULL;
}

/* --- what happened --------------------------------------------------------------------------- */

static void log_member(struct region *r, const struct member_event *e, const char *words)
{
    struct member_view v;
    char key[NODE_KEY_TEXT_SIZE], address[ADDR_TEXT_SIZE];
    node_key_format(&e->key, key);
    addr_format(&e->addr, address);
    bool known = member_find(mesh_member(r->mesh), &e->key, &v);
    log_with(LOG_INFO, words, LOG_STR("name", known ? v.record->name : ""), LOG_STR("key", key),
             LOG_STR("address", address), LOG_STR("state", member_state_name(e->state)));
}

static void member_changed(struct region *r, const struct member_event *e)
{
    char address[ADDR_TEXT_SIZE];
    addr_format(&e->addr, address);
    r->version++;
    switch (e->kind) {
    case MEMBER_EVENT_UP:
        log_member(r, e, "mesh: member is up");
        region_known_add(r, &e->addr);
        break;
    case MEMBER_EVENT_DOWN: log_member(r, e, "mesh: member is down"); break;
    case MEMBER_EVENT_JOINED:
        r->joined = true;
        log_member(r, e, "mesh: joined the region");
        break;
    case MEMBER_EVENT_SUSPECT:
    case MEMBER_EVENT_CHANGED:
    case MEMBER_EVENT_REFUTED: break;
    case MEMBER_EVENT_CLONED:
        region_trouble(
            r, false,
            "another node, at %s, has this node's key: its store was copied. Stop one of "
            "them, and remove node.key and epochs from its store (%.160s here): it then "
            "becomes a node of its own. Then restart the one that keeps the key: the region "
            "takes whichever started last for this node",
            address, r->opt.config.dir);
        break;
    case MEMBER_EVENT_NAME_TAKEN:
        region_trouble(
            r, false,
            "the name %s belongs to another living node (said by %s): give this one a "
            "name of its own, or stop the other; until then the region does not let it in",
            r->opt.config.name, address);
        break;
    case MEMBER_EVENT_FOREIGN:
        region_trouble(r, true,
                       "the node at %s is of another region than %s: correct seeds or region",
                       address, r->opt.config.region);
        break;
    }
}

static void take_events(struct region *r)
{
    struct mesh_event e;
    while (r->mesh && mesh_next_event(r->mesh, &e)) {
        switch (e.kind) {
        case MESH_EVENT_MEMBER: member_changed(r, &e.member); break;
        case MESH_EVENT_PURGE:
            r->opt.purged(r->opt.arg, &e.digest, e.until_ms);
            r->changed_orders = true;
            region_save(r);
            break;
        case MESH_EVENT_EPOCH:
            if (e.epoch > r->self.inventory_epoch) {
                r->self.inventory_epoch = e.epoch;
                r->changed_epochs = true;
                region_save(r);
            }
            break;
        }
    }
}

/* --- the drive ------------------------------------------------------------------------------- */

/* Doing one may tell the mesh something that makes another. */
static void take_steps(struct region *r)
{
    struct swarm_step step;
    while (r->mesh && !r->stopping && mesh_swarm_next(r->mesh, &step, uv_hrtime()))
        if (r->opt.swarm)
            r->opt.swarm(r->opt.arg, &step);
}

static void write_out(struct region *r)
{
    u8 buf[LIMIT_DATAGRAM_BYTES];
    struct addr to;
    size_t n;
    const u64 now = uv_hrtime();
    while ((n = mesh_write(r->mesh, &to, buf, sizeof(buf), now)) > 0)
        datagram_send(r->udp, &to, buf, n);
}

void region_drive(struct region *r)
{
    if (!r->mesh)
        return;
    take_steps(r);
    if (!r->mesh)
        return;
    write_out(r);
    region_dial(r);
    take_events(r);
    if (r->mesh)
        set_timer(r);
}

static void on_datagram(void *arg, const struct addr *from, const void *data, size_t len)
{
    struct region *r = arg;
    if (!r->mesh)
        return;
    mesh_read(r->mesh, from, data, len, region_in(r));
    if (mesh_is_pressed(r->mesh)) /* the end of the batch may be far */
        write_out(r);
}

static void on_batch(void *arg)
{
    region_drive(arg);
}

struct mesh *region_mesh(struct region *r)
{
    return r ? r->mesh : NULL;
}

u64 region_version(const struct region *r)
{
    return r ? r->version : 0;
}

/* --- what others need ------------------------------------------------------------------------ */

static bool peers_use_tls(const struct region *r)
{
    return r->opt.config.tls && !r->opt.config.peer_plain;
}

const char *region_scheme(const struct region *r)
{
    return peers_use_tls(r) ? "https" : "http";
}

const char *region_ca(const struct region *r)
{
    return peers_use_tls(r) ? r->opt.config.ca : NULL;
}

void region_hold(struct region *r, const struct digest *d)
{
    if (!r->mesh)
        return;
    mesh_hold(r->mesh, d, region_in(r));
    region_kick(r);
}

void region_drop(struct region *r, const struct digest *d)
{
    if (!r->mesh)
        return;
    mesh_drop(r->mesh, d, region_in(r));
    region_kick(r);
}

int region_purge(struct region *r, const struct digest *d, u64 unix_ms, u64 until_ms)
{
    if (!r->mesh)
        return ERR_AGAIN;
    int rc = mesh_purge(r->mesh, d, unix_ms, until_ms, region_in(r));
    region_drive(r);
    return rc;
}

/* --- the start ------------------------------------------------------------------------------- */

static struct member_record own_record(struct region *r)
{
    const struct region_config *c = &r->opt.config;
    if (c->public_url)
        snprintf(r->public_url, sizeof(r->public_url), "%s", c->public_url);
    else
        snprintf(r->public_url, sizeof(r->public_url), "%s://%s", c->tls ? "https" : "http",
                 r->address_text);
    r->n_serves = c->n_serves < MEMBER_SERVES_MAX ? c->n_serves : MEMBER_SERVES_MAX;
    for (size_t i = 0; i < r->n_serves; i++) {
        memcpy(r->serves[i].ip, c->serves[i].bytes, sizeof(r->serves[i].ip));
        r->serves[i].bits = c->serves[i].bits;
    }
    return (struct member_record){
        .serves = r->serves,
        .n_serves = r->n_serves,
        .addr = r->address,
        .role = (u8)c->role,
        .can_fetch = c->can_fetch,
        .name = c->name,
        .region = c->region,
        .rack = c->rack,
        .public_url = r->public_url,
    };
}

void region_open(struct region *r)
{
    addr_format(&r->address, r->address_text);
    struct mesh_options opt = {
        .self = own_record(r),
        .boot_epoch = r->self.boot_epoch,
        .inventory_epoch = r->self.inventory_epoch,
        .keys = r->ring.keys,
        .n_keys = r->ring.n,
        .pool = r->pool,
        .swarm_queued = true, /* a full line's queue delays each request by some 200 ms each way */
        .now_ns = uv_hrtime(),
    };
    assert(!r->mesh);
    memcpy(opt.seed, r->self.seed, sizeof(opt.seed));
    randombytes_buf(&opt.rng_seed, sizeof(opt.rng_seed));
    int rc = mesh_new(&r->mesh, &opt);
    sodium_memzero(opt.seed, sizeof(opt.seed));
    if (rc) {
        r->mesh = NULL;
        snprintf(r->waiting, sizeof(r->waiting), "the mesh cannot be made: %s", err_text(rc));
        log_error("mesh: %s", r->waiting);
        return;
    }
    char key[NODE_KEY_TEXT_SIZE];
    node_key_format(&r->self.key, key);
    log_with(LOG_INFO, "mesh: open", LOG_STR("key", key), LOG_STR("address", r->address_text),
             LOG_STR("peers", region_scheme(r)), LOG_NUM("boot_epoch", r->self.boot_epoch),
             LOG_NUM("seeds", r->opt.config.n_seeds), LOG_NUM("remembered", r->n_known));
    mesh_clock(r->mesh, wall_ms());
    region_orders_feed(r);
    if (r->opt.opened)
        r->opt.opened(r->opt.arg, r);
    region_kick(r);
}

static int make_parts(struct region *r, char why[CONF_WHY_MAX])
{
    const struct region_config *c = &r->opt.config;
    char reason[256] = "";
    struct datagram_options udp = {.loop = r->opt.loop,
                                   .listen = c->listen,
                                   .port = r->opt.port,
                                   .came = on_datagram,
                                   .batch = on_batch,
                                   .arg = r};
    int rc = self_load(&r->self, c->dir, wall_ms(), why);
    if (rc == 0)
        rc = region_ring_read(&r->ring, c->mesh_key, why);
    if (rc == 0)
        rc = inventory_pool_new(&r->pool, inventory_salt(c->region));
    if (rc == 0 && !(r->talk_buffer = malloc(LIMIT_TALK_BYTES)))
        rc = ERR_NOMEM;
    if (rc == 0 && (rc = datagram_new(&r->udp, &udp, reason)) != 0)
        snprintf(why, CONF_WHY_MAX, "%s", reason);
    return rc;
}

int region_new(struct region **out, const struct region_options *opt, char why[CONF_WHY_MAX])
{
    struct region *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    assert(opt->config.mesh_key && opt->purged);
    r->opt = *opt;
    r->started_ms = uv_now(opt->loop);
    uv_timer_init(opt->loop, &r->timer);
    uv_timer_init(opt->loop, &r->seeds_timer);
    r->timer.data = r->seeds_timer.data = r;
    *out = r;
    int rc = make_parts(r, why);
    if (rc)
        return rc; /* the caller stops and deletes it */
    if (r->self.made)
        log_info("mesh: a new key was made, kept in %s/node.key", opt->config.dir);
    region_known_load(r);
    region_seeds_start(r);
    region_drive(r);
    return 0;
}

/* --- the end --------------------------------------------------------------------------------- */

u64 region_leave(struct region *r)
{
    if (!r || !r->mesh || r->leaving)
        return 0;
    r->leaving = true;
    bool alone = member_count(mesh_member(r->mesh), MEMBER_ALIVE) <= 1;
    mesh_leave(r->mesh, region_in(r));
    region_drive(r);
    return alone ? 0 : GOODBYE_MS;
}

void region_stop(struct region *r)
{
    if (!r || r->stopping)
        return;
    r->stopping = true;
    region_seeds_stop(r);
    region_talks_stop(r);
    uv_close((uv_handle_t *)&r->timer, NULL);
    uv_close((uv_handle_t *)&r->seeds_timer, NULL);
    if (r->udp)
        datagram_del(r->udp, NULL, NULL);
    r->udp = NULL;
    if (r->mesh)
        mesh_del(r->mesh);
    r->mesh = NULL;
    if (r->pool)
        inventory_pool_del(r->pool);
    r->pool = NULL;
}

void region_del(struct region *r)
{
    if (!r)
        return;
    assert(r->stopping && !r->saving && r->looking == 0);
    sodium_memzero(&r->self, sizeof(r->self));
    sodium_memzero(&r->ring, sizeof(r->ring));
    free(r->talk_buffer);
    free(r);
}

/* mesh.c - making a node of the mesh, telling it things, taking its events; see mesh_impl.h for
 * what is where. */
#include <assert.h>
#include <sodium.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mesh_impl.h"

static_assert(MESH_TEXT_BYTES > 1000, "room for messages beside the seal");

/* --- making ---------------------------------------------------------------------------------- */

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 1;
}

static const char *take_text(char **at, const char *text)
{
    char *start = *at;
    size_t size = text_size(text);
    if (size > 1)
        memcpy(start, text, size);
    else
        *start = '\0';
    *at += size;
    return start;
}

/* Our own record, with texts that last. */
static int take_self(struct mesh *m, const struct mesh_options *opt)
{
    const struct member_record *from = &opt->self;
    m->self = *from;
    m->texts = malloc(text_size(from->name) + text_size(from->region) + text_size(from->rack) +
                      text_size(from->public_url));
    if (!m->texts)
        return ERR_NOMEM;
    char *at = m->texts;
    m->self.name = take_text(&at, from->name);
    m->self.region = take_text(&at, from->region);
    m->self.rack = take_text(&at, from->rack);
    m->self.public_url = take_text(&at, from->public_url);
    m->version_min = from->version_min ? from->version_min : WIRE_VERSION_MIN;
    m->version_max = from->version_max ? from->version_max : WIRE_VERSION;
    if (from->n_serves > MEMBER_SERVES_MAX)
        return ERR_INVAL;
    if (from->n_serves > 0)
        memcpy(m->serves, from->serves, from->n_serves * sizeof(*m->serves));
    m->self.serves = m->serves;
    m->self.version_min = m->version_min;
    m->self.version_max = m->version_max;
    m->self.key = m->key;
    m->self.epoch = opt->boot_epoch;
    return 0;
}

static int make_seal(struct mesh *m, const struct mesh_options *opt, struct rng *rng)
{
    const struct seal_options seal = {
        .self = m->key,
        .epoch = opt->boot_epoch,
        .clear = opt->clear,
        .version_min = m->version_min,
        .version_max = m->version_max,
        .seed = rng_u64(rng),
    };
    int err = seal_new(&m->seal, &seal);
    return err ? err : seal_set_keys(m->seal, opt->keys, opt->n_keys);
}

static int make_modules(struct mesh *m, const struct mesh_options *opt, const struct rng *rng)
{
    const struct member_options member = {
        .self = m->self,
        .secret = m->secret,
        .timing = opt->timing,
        .rng = rng_split(rng, "member"),
        .datagram_max = MESH_TEXT_BYTES,
        .clear = opt->clear,
        .now_ns = opt->now_ns,
    };
    const struct inventory_options inventory = {
        .pool = opt->pool,
        .self = m->key,
        .secret = m->secret,
        .epoch = opt->inventory_epoch,
        .rng = rng_split(rng, "inventory"),
        .datagram_max = MESH_TEXT_BYTES,
        .now_ns = opt->now_ns,
    };
    struct rng purge = rng_split(rng, "purge");
    int err = member_new(&m->member, &member);
    if (!err)
        err = inventory_new(&m->inventory, &inventory);
    if (!err)
        err = purge_new(&m->purge, &purge, opt->now_ns);
    const struct swarm_options swarm = {
        .self = m->key,
        .member = m->member,
        .inventory = m->inventory,
        .rng = rng_split(rng, "swarm"),
        .queued = opt->swarm_queued,
        .datagram_max = MESH_TEXT_BYTES,
        .now_ns = opt->now_ns,
    };
    return err ? err : swarm_new(&m->swarm, &swarm);
}

static void tell_key_ids(struct mesh *m)
{
    u32 all[LIMIT_MESH_KEYS], two[2] = {0};
    size_t n = seal_keys(m->seal, all);
    for (size_t i = 0; i < n && i < 2; i++)
        two[i] = all[i];
    member_set_key_ids(m->member, two);
}

int mesh_new(struct mesh **out, const struct mesh_options *opt)
{
    assert(opt->pool && opt->boot_epoch > 0);
    *out = NULL;
    struct mesh *m = calloc(1, sizeof(*m));
    if (!m)
        return ERR_NOMEM;
    struct rng root, tables;
    m->now_ns = opt->now_ns;
    rng_seed(&root, opt->rng_seed);
    tables = rng_split(&root, "tables");
    m->rng = rng_split(&root, "choices");
    mesh_peers_init(&m->peers, rng_u64(&tables));
    identity_from_seed(opt->seed, &m->key, &m->secret);
    int err = take_self(m, opt);
    if (!err)
        err = make_seal(m, opt, &tables);
    if (!err)
        err = make_modules(m, opt, &root);
    if (err) {
        mesh_del(m);
        return err;
    }
    tell_key_ids(m);
    m->epoch_told = opt->inventory_epoch;
    m->clear = opt->clear;
    *out = m;
    return 0;
}

void mesh_del(struct mesh *m)
{
    if (!m)
        return;
    swarm_del(m->swarm);
    purge_del(m->purge);
    inventory_del(m->inventory);
    member_del(m->member);
    seal_del(m->seal);
    mesh_peers_fini(&m->peers);
    free(m->events.events);
    free(m->texts);
    sodium_memzero(&m->secret, sizeof(m->secret));
    free(m);
}

/* --- being told ------------------------------------------------------------------------------ */

int mesh_seed(struct mesh *m, const struct addr *a)
{
    return member_seed(m->member, a);
}

void mesh_clear_seeds(struct mesh *m)
{
    member_clear_seeds(m->member);
}

int mesh_set_keys(struct mesh *m, const struct seal_key *keys, size_t n)
{
    int err = seal_set_keys(m->seal, keys, n);
    if (!err)
        tell_key_ids(m);
    return err;
}

void mesh_lag(struct mesh *m, u64 lag_ns, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    member_lag(m->member, lag_ns, now_ns);
}

void mesh_set_load(struct mesh *m, u8 load)
{
    member_set_load(m->member, load);
}

void mesh_set_can_fetch(struct mesh *m, bool can, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    if (m->self.can_fetch == can)
        return;
    m->self.can_fetch = can;
    member_change(m->member, &m->self, now_ns);
    mesh_pump(m, now_ns);
}

void mesh_set_fetches(struct mesh *m, u8 fetches, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    member_change_fetches(m->member, &m->self, fetches, now_ns);
    mesh_pump(m, now_ns);
}

u32 mesh_fetches(const struct mesh *m)
{
    struct member_view v;
    u32 n = 0;
    for (size_t at = 0; member_each(m->member, &at, &v);)
        if (v.state <= MEMBER_SUSPECT && v.record->role == MEMBER_NODE)
            n += member_fetches(&v);
    return n;
}

void mesh_leave(struct mesh *m, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    member_leave(m->member, now_ns);
    mesh_pump(m, now_ns);
}

void mesh_hold(struct mesh *m, const struct digest *d, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    if (digest_size((enum digest_alg)d->alg) > 0)
        (void)!inventory_add(m->inventory, d, now_ns); /* full: it is not told, and that is all */
}

void mesh_drop(struct mesh *m, const struct digest *d, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    if (digest_size((enum digest_alg)d->alg) > 0)
        (void)!inventory_remove(m->inventory, d, now_ns);
}

int mesh_purge(struct mesh *m, const struct digest *d, u64 unix_ms, u64 until_ms, u64 now_ns)
{
    (void)now_ns; /* the rumor is due at once: mesh_next_expiry() has come */
    return purge_issue(m->purge, &m->key, &m->secret, d, unix_ms, until_ms);
}

void mesh_clock(struct mesh *m, u64 unix_ms)
{
    purge_clock(m->purge, unix_ms);
}

bool mesh_is_purged(const struct mesh *m, const struct digest *d, u64 unix_ms)
{
    return purge_is(m->purge, d, unix_ms);
}

bool mesh_each_purge(const struct mesh *m, size_t *at, struct purge_order *out)
{
    return purge_each(m->purge, at, out);
}

int mesh_import_purge(struct mesh *m, const struct purge_order *order)
{
    return purge_import(m->purge, order);
}

void mesh_settle(struct mesh *m, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    inventory_settle(m->inventory, now_ns);
}

int mesh_prime(struct mesh *m, const struct mesh *of, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    int err = m == of ? 0 : member_prime(m->member, of->member, now_ns);
    if (err || m == of)
        return err;
    mesh_pump(m, now_ns);
    inventory_prime(m->inventory, of->inventory);
    return 0;
}

/* --- time ------------------------------------------------------------------------------------ */

u64 mesh_next_expiry(const struct mesh *m)
{
    const u64 next[] = {member_next_expiry(m->member), inventory_next_expiry(m->inventory),
                        purge_next_expiry(m->purge), swarm_next_expiry(m->swarm)};
    u64 soonest = UINT64_MAX;
    for (size_t i = 0; i < countof(next); i++)
        soonest = next[i] < soonest ? next[i] : soonest;
    return soonest;
}

void mesh_warm(const struct mesh *m, unsigned step, const void *buf, size_t len)
{
    const u8 *in = buf;
    if (step == 0) {
        for (size_t at = 0; at < offsetof(struct mesh, key); at += 64)
            __builtin_prefetch((const char *)m + at);
        return;
    }
    if (step == 1) {
        __builtin_prefetch(m->seal);
        __builtin_prefetch((const char *)m->seal + 64);
        __builtin_prefetch(m->purge);
        swarm_warm(m->swarm);
        inventory_warm(m->inventory, 0, NULL);
        member_warm(m->member, 0, NULL);
        return;
    }
    const u8 *sender = in && len >= SEAL_OVERHEAD ? in + 5 : NULL;
    if (in)
        seal_warm(m->seal, step - 2, in, len);
    member_warm(m->member, step - 1, sender);
    if (step == 2)
        inventory_warm(m->inventory, 1, sender);
}

void mesh_expire(struct mesh *m, u64 now_ns)
{
    now_ns = mesh_time(m, now_ns);
    if (member_next_expiry(m->member) <= now_ns)
        member_expire(m->member, now_ns);
    mesh_pump(m, now_ns);
    if (inventory_next_expiry(m->inventory) <= now_ns)
        inventory_expire(m->inventory, now_ns);
    if (purge_next_expiry(m->purge) <= now_ns)
        purge_expire(m->purge, now_ns);
    if (swarm_next_expiry(m->swarm) <= now_ns)
        swarm_expire(m->swarm, now_ns);
}

/* --- events ---------------------------------------------------------------------------------- */

static void note_down(struct mesh *m, const struct node_key *k, u64 now_ns)
{
    mesh_peers_down(&m->peers, k);
    inventory_peer_down(m->inventory, k, now_ns);
    swarm_peer_down(m->swarm, k, now_ns);
    purge_members(m->purge, m->peers.n_live);
}

/* The highest version that both understand. */
static u8 common_version(const struct mesh *m, const struct member_record *r)
{
    u8 v = r->version_max < m->version_max ? r->version_max : m->version_max;
    return v < m->version_min ? m->version_min : v;
}

/* New, back, elsewhere or otherwise: whoever lives is known to all modules as its record says. */
static void note_up(struct mesh *m, const struct member_view *v, u64 now_ns)
{
    const struct member_record *r = v->record;
    if (v->state != MEMBER_ALIVE && v->state != MEMBER_SUSPECT) {
        note_down(m, &r->key, now_ns);
        return;
    }
    struct mesh_peer *p = mesh_peers_up(&m->peers, &r->key, &r->addr);
    if (!p)
        return;
    p->version = common_version(m, r);
    seal_epoch_known(m->seal, r->key.bytes, r->epoch);
    u64 distance = v->rtt_ns ? v->rtt_ns : coord_distance_ns(member_coord(m->member), &v->coord);
    /* Without memory for it, its layers are not known of; the next event tries again. */
    (void)!inventory_peer_up(m->inventory, &r->key, distance, now_ns);
    purge_members(m->purge, m->peers.n_live);
}

static void note(struct mesh *m, const struct member_event *ev, u64 now_ns)
{
    struct member_view v;
    switch (ev->kind) {
    case MEMBER_EVENT_UP:
    case MEMBER_EVENT_CHANGED:
        if (member_find(m->member, &ev->key, &v))
            note_up(m, &v, now_ns);
        break;
    case MEMBER_EVENT_DOWN: note_down(m, &ev->key, now_ns); break;
    case MEMBER_EVENT_JOINED: purge_join(m->purge); break;
    case MEMBER_EVENT_SUSPECT:
    case MEMBER_EVENT_REFUTED:
    case MEMBER_EVENT_CLONED:
    case MEMBER_EVENT_NAME_TAKEN:
    case MEMBER_EVENT_FOREIGN: break;
    }
}

static void event_push(struct mesh *m, const struct member_event *ev)
{
    struct mesh_event_ring *q = &m->events;
    if (q->n == q->room && q->room < MESH_EVENTS_MAX) {
        size_t room = q->room ? 2 * q->room : 16;
        struct member_event *events = malloc(room * sizeof(*events));
        for (size_t i = 0; events && i < q->n; i++)
            events[i] = q->events[(q->first + i) % q->room];
        if (events) {
            free(q->events);
            *q = (struct mesh_event_ring){.events = events, .room = room, .n = q->n};
        }
    }
    if (q->n == q->room) { /* the oldest goes */
        m->stats.events_lost++;
        if (q->room == 0)
            return;
        q->first = (q->first + 1) % q->room;
        q->n--;
    }
    q->events[(q->first + q->n++) % q->room] = *ev;
}

void mesh_pump(struct mesh *m, u64 now_ns)
{
    struct member_event ev;
    bool any = false;
    while (member_next_event(m->member, &ev)) {
        note(m, &ev, now_ns);
        event_push(m, &ev);
        any = true;
    }
    if (!any)
        return;
    struct member_stats stats;
    member_stats(m->member, &stats);
    if (stats.events_lost == m->member_losses)
        return;
    m->stats.events_lost += stats.events_lost - m->member_losses;
    m->member_losses = stats.events_lost;
    struct member_view v;
    for (size_t at = 0; member_each(m->member, &at, &v);)
        note_up(m, &v, now_ns);
}

bool mesh_next_event(struct mesh *m, struct mesh_event *ev)
{
    struct mesh_event_ring *q = &m->events;
    struct purge_order order;
    memset(ev, 0, sizeof(*ev));
    if (q->n > 0) {
        ev->kind = MESH_EVENT_MEMBER;
        ev->member = q->events[q->first];
        q->first = (q->first + 1) % q->room;
        q->n--;
        return true;
    }
    if (q->room > 0) { /* a flood of them does not stay in memory */
        free(q->events);
        *q = (struct mesh_event_ring){0};
    }
    if (purge_next(m->purge, &order)) {
        ev->kind = MESH_EVENT_PURGE;
        ev->digest = order.digest;
        ev->until_ms = order.until_ms;
        return true;
    }
    u64 epoch = inventory_epoch(m->inventory);
    if (epoch == m->epoch_told)
        return false;
    ev->kind = MESH_EVENT_EPOCH;
    ev->epoch = m->epoch_told = epoch;
    return true;
}

/* --- looking on ------------------------------------------------------------------------------ */

const struct member *mesh_member(const struct mesh *m)
{
    return m->member;
}

bool mesh_is_pressed(const struct mesh *m)
{
    return inventory_is_pressed(m->inventory);
}

const struct inventory *mesh_inventory(const struct mesh *m)
{
    return m->inventory;
}

const struct node_key *mesh_key(const struct mesh *m)
{
    return &m->key;
}

void mesh_stats(const struct mesh *m, struct mesh_stats *out)
{
    *out = m->stats;
    out->put_off = purge_put_off(m->purge);
}

u64 mesh_bytes(const struct mesh *m)
{
    return sizeof(*m) + member_bytes(m->member) + inventory_bytes(m->inventory) +
           seal_bytes(m->seal) + purge_bytes(m->purge) + swarm_bytes(m->swarm) +
           mesh_peers_bytes(&m->peers) + m->events.room * sizeof(*m->events.events);
}

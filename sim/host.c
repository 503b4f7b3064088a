/* host.c - see host.h. */
#include "sim/host.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/carry.h"
#include "sim/fetch.h"
#include "sim/mem.h"
#include "sim/user.h"

#define WALL_ZERO_MS     1767225600000u /* 2026-01-01: any date will do */
#define PORT             5000
#define OFFICE_BITS      112   /* of an IPv4 address as IPv6 has it: 10.x/16 */
#define DRIVE_MAX        20000 /* outputs of one drive: beyond, the mesh does not come to an end */
#define SAME_INSTANT_MAX 1000  /* timers without time passing: likewise */

u64 host_now(const struct world *w, const struct host *h)
{
    return sim_clock_mono(&h->clock, world_now(w));
}

u64 host_unix_ms(const struct world *w, const struct host *h)
{
    return sim_clock_unix_ms(&h->clock, world_now(w));
}

void host_init(struct world *w, u32 index)
{
    struct host *h = &w->hosts[index];
    memset(h, 0, sizeof(*h));
    struct rng r = engine_rng_n(&w->engine, "host", index);
    h->index = index;
    h->place = w->net.nodes[index].place;
    struct rng nets = engine_rng_n(&w->engine, "user networks", h->place.office);
    h->serves = w->members > w->n && index < w->n && rng_chance(&nets, w->k.subnets);
    rng_bytes(&r, h->seed, sizeof(h->seed));
    struct node_secret secret;
    identity_from_seed(h->seed, &h->key, &secret);
    h->addr =
        addr_v4(10, (u8)(h->place.office + 1), (u8)(h->place.index >> 8), (u8)h->place.index, PORT);
    if (index < w->n) {
        snprintf(h->name, sizeof(h->name), "node-%u", index);
        snprintf(h->rack, sizeof(h->rack), "rack-%u-%u", h->place.office, h->place.rack);
    } else {
        snprintf(h->name, sizeof(h->name), "tracker-%u", h->place.rack);
    }
    sim_clock_init(&h->clock, rng_below(&r, 1000000 * SIM_S), WALL_ZERO_MS);
    if (w->k.drift > 0)
        sim_clock_set_drift(&h->clock, 0,
                            (i64)rng_below(&r, 2000 * w->k.drift + 1) - (i64)(1000 * w->k.drift));
    h->timer_ns = UINT64_MAX;
    shelf_init(&h->shelf, w->k.capacity);
    if (index < w->n)
        h->layers_n = (u32)(w->k.layers < w->k.catalog ? w->k.layers : w->k.catalog);
    h->layers_from = (u32)rng_below(&r, w->k.catalog);
    h->up = flow_line_new(&w->flows, w->k.node_up ? w->k.node_up : w->topology.node_up_bps);
    h->down = flow_line_new(&w->flows, w->k.node_down ? w->k.node_down : w->topology.node_down_bps);
    struct rng spoils = engine_rng_n(&w->engine, "spoilers", index);
    if (index < w->n && rng_chance(&spoils, w->k.spoilers))
        host_lie(w, index, HOST_SPOILS);
    if (index < w->n && rng_chance(&r, w->k.liars))
        host_lie(w, index, HOST_LIES);
    struct rng together = engine_rng_n(&w->engine, "colluders", index);
    if (index < w->n && rng_chance(&together, w->k.colluders))
        host_lie(w, index, HOST_COLLUDES);
}

void host_fini(struct host *h)
{
    if (h->mesh)
        mesh_del(h->mesh);
    shelf_fini(&h->shelf);
    partial_drop_all(&h->partials);
    free(h->known);
    free(h->inbox);
    free(h->claims);
    free(h->held);
}

/* --- its store ------------------------------------------------------------------------------- */

static u32 window_layer(const struct world *w, const struct host *h, u32 i)
{
    return (u32)(((u64)h->layers_from + i) % w->k.catalog);
}

bool host_holds(struct world *w, u32 index, u32 layer)
{
    struct host *h = &w->hosts[index];
    if (layer < w->k.catalog)
        return (layer + w->k.catalog - h->layers_from) % w->k.catalog < h->layers_n;
    return shelf_find(&h->shelf, layer) != NULL;
}

void host_hold(struct world *w, u32 index, u32 layer, bool held)
{
    struct host *h = &w->hosts[index];
    if (!h->mesh)
        return;
    struct digest d;
    catalog_digest(&w->catalog, layer, &d);
    w->store_changed_ns = world_now(w);
    if (held)
        mesh_hold(h->mesh, &d, host_now(w, h));
    else
        mesh_drop(h->mesh, &d, host_now(w, h));
}

u32 host_change(struct world *w, u32 index)
{
    struct host *h = &w->hosts[index];
    assert(h->layers_n > 0 && h->layers_n < w->k.catalog);
    host_hold(w, index, window_layer(w, h, 0), false);
    u32 fresh = window_layer(w, h, h->layers_n);
    h->layers_from = window_layer(w, h, 1);
    host_hold(w, index, fresh, true);
    return fresh;
}

static void tell_store(struct world *w, struct host *h)
{
    for (u32 i = 0; i < h->layers_n; i++)
        host_hold(w, h->index, window_layer(w, h, i), true);
    u32 at = SHELF_NONE;
    for (const struct shelf_entry *e; (e = shelf_each(&h->shelf, &at));)
        host_hold(w, h->index, e->layer, true);
    for (u32 i = 0; h->claims && i < HOST_CLAIMS; i++)
        host_hold(w, h->index, h->claims[i], true);
}

void host_lie(struct world *w, u32 index, enum host_lies lies)
{
    struct host *h = &w->hosts[index];
    struct rng r = lies == HOST_COLLUDES ? engine_rng(&w->engine, "collusion")
                                         : engine_rng_n(&w->engine, "claims", index);
    for (u32 i = 0; h->claims && i < HOST_CLAIMS; i++)
        if (!host_holds(w, index, h->claims[i]))
            host_hold(w, index, h->claims[i], false);
    free(h->claims);
    h->claims = NULL;
    h->lies = lies;
    h->lied |= lies != HOST_HONEST;
    if (lies == HOST_HONEST || lies == HOST_SPOILS || (lies == HOST_LIES && index % 4 != 3))
        return;
    h->claims = mem_new(HOST_CLAIMS, sizeof(*h->claims));
    for (u32 i = 0; i < HOST_CLAIMS; i++) {
        h->claims[i] = w->catalog.layers[rng_below(&r, w->catalog.n_layers)];
        host_hold(w, index, h->claims[i], true);
    }
}

bool host_claims(const struct host *h, u32 layer)
{
    for (u32 i = 0; h->claims && i < HOST_CLAIMS; i++)
        if (h->claims[i] == layer)
            return true;
    return false;
}

/* --- keys ------------------------------------------------------------------------------------ */

static size_t keys_of(const struct world *w, const struct host *h, struct seal_key out[2])
{
    if (h->ring == HOST_RING_NOW) {
        out[0] = w->mesh_key;
        return 1;
    }
    out[0] = w->removed_key;
    out[1] = w->mesh_key;
    return h->ring == HOST_RING_OLD ? 1 : 2;
}

void host_ring(struct world *w, u32 index, enum host_ring ring)
{
    struct host *h = &w->hosts[index];
    struct seal_key keys[2];
    if (h->ring == ring)
        return;
    h->ring = ring;
    size_t n = keys_of(w, h, keys);
    int rc = h->mesh ? mesh_set_keys(h->mesh, keys, n) : 0;
    if (rc)
        measure_break(w, "boot", "mesh_set_keys: %s", err_name(rc));
}

bool host_opens(const struct host *a, const struct host *b)
{
    if (b->ring == HOST_RING_NOW)
        return a->ring != HOST_RING_OLD;
    return a->ring != HOST_RING_NOW;
}

/* --- a life ---------------------------------------------------------------------------------- */

bool host_is_seed(const struct world *w, u32 index)
{
    u64 before = 0; /* nodes of the region before it */
    for (u32 i = 0; i < index; i++)
        before += w->hosts[i].place.region == w->hosts[index].place.region;
    return before < w->k.seeds;
}

static void seed_mesh(struct world *w, struct host *h)
{
    u64 given = 0;
    for (u32 i = 0; i < w->n && given < w->k.seeds; i++)
        if (w->hosts[i].place.region == h->place.region) {
            given++;
            int rc = i != h->index ? mesh_seed(h->mesh, &w->hosts[i].addr) : 0;
            assert(rc == 0);
            (void)rc;
        }
}

/* False: it runs already, or cannot. */
static bool boot(struct world *w, u32 index)
{
    struct host *h = &w->hosts[index];
    if (h->state != HOST_OFF)
        return false;
    h->life++;
    u64 epoch = host_unix_ms(w, h);
    h->inventory_epoch = 1 + (epoch > h->inventory_epoch ? epoch : h->inventory_epoch);
    struct seal_key keys[2];
    struct mesh_options opt = {
        .self = {.addr = h->addr,
                 .role = index < w->n ? MEMBER_NODE : MEMBER_TRACKER,
                 .version_min = WIRE_VERSION,
                 .version_max = (u8)(WIRE_VERSION + h->newer),
                 .name = h->name,
                 .region = w->topology.regions[h->place.region],
                 .rack = h->rack,
                 .public_url = ""},
        .boot_epoch = h->life,
        .inventory_epoch = h->inventory_epoch,
        .keys = keys,
        .n_keys = keys_of(w, h, keys),
        .pool = w->pools[h->place.region],
        .rng_seed = rng_u64(&w->rng_boot),
        .clear = !w->k.sealed,
        .now_ns = host_now(w, h),
    };
    memcpy(opt.seed, h->seed, sizeof(h->seed));
    opt.self.can_fetch = index < w->n;
    char url[64];
    snprintf(url, sizeof(url), "https://%s.caches.example.net", h->name);
    struct member_network serves = {.bits = OFFICE_BITS, .ip = {0}};
    memcpy(serves.ip, h->addr.ip, OFFICE_BITS / 8);
    if (w->members > w->n) /* for trackers to see */
        opt.self.public_url = url;
    if (h->serves) {
        opt.self.serves = &serves;
        opt.self.n_serves = 1;
    }
    int rc = mesh_new(&h->mesh, &opt);
    if (rc) {
        measure_break(w, "boot", "mesh_new: %s", err_name(rc));
        return false;
    }
    assert(node_key_equal(mesh_key(h->mesh), &h->key));
    h->state = HOST_UP;
    h->member_events++;
    h->dark = h->leaving = false;
    h->since_ns = world_now(w);
    h->timer_ns = UINT64_MAX;
    seed_mesh(w, h);
    tell_store(w, h);
    measure_up(w, index);
    fetch_reachability_changed(w);
    return true;
}

void host_boot(struct world *w, u32 index)
{
    if (boot(w, index))
        host_drive(w, index);
}

void host_boot_settled(struct world *w)
{
    for (u32 i = 0; i < w->n; i++)
        if (boot(w, i))
            mesh_settle(w->hosts[i].mesh, host_now(w, &w->hosts[i]));
    for (u32 i = 0; i < w->n; i++) {
        struct host *h = &w->hosts[i];
        for (u32 k = 0; k < w->n && h->mesh; k++) {
            const struct host *of = &w->hosts[k];
            if (k == i || !of->mesh || of->place.region != h->place.region)
                continue;
            int rc = mesh_prime(h->mesh, of->mesh, host_now(w, h));
            if (rc)
                measure_break(w, "boot", "mesh_prime: %s", err_name(rc));
        }
        host_drive(w, i);
    }
}

static void add_stats(struct mesh_stats *sum, const struct mesh_stats *s)
{
    for (int i = 0; i < SEAL_DROP_COUNT; i++)
        sum->dropped[i] += s->dropped[i];
    sum->malformed += s->malformed;
    sum->unknown += s->unknown;
    sum->datagrams_in += s->datagrams_in;
    sum->datagrams_out += s->datagrams_out;
    sum->bytes_in += s->bytes_in;
    sum->bytes_out += s->bytes_out;
    sum->talks_in += s->talks_in;
    sum->talks_out += s->talks_out;
    sum->talk_bytes_in += s->talk_bytes_in;
    sum->talk_bytes_out += s->talk_bytes_out;
}

void host_stats(const struct host *h, struct mesh_stats *out)
{
    *out = h->past;
    if (h->mesh) {
        struct mesh_stats now;
        mesh_stats(h->mesh, &now);
        add_stats(out, &now);
    }
}

/* What waited for a process that was stopped, and is there again, or never will be. */
static void take_kept(struct world *w, const struct event *ev)
{
    bool up = w->hosts[ev->node].state == HOST_UP;
    switch ((enum event_kind)ev->kind) {
    case EV_USER_AT: user_event(w, ev); break;
    case EV_TOLD: tracker_told(w, ev); break;
    case EV_ASKED:
        if (up)
            fetch_asked(w, ev);
        break;
    case EV_ANSWERED:
        if (up)
            fetch_answered(w, ev);
        break;
    case EV_ARRIVED:
        if (up)
            fetch_arrived(w, ev);
        break;
    case EV_REFUSE:
        if (up)
            fetch_refused(w, ev);
        break;
    default:
        if (up)
            carry_deliver(w, ev);
        else
            carry_forget(w, ev);
    }
}

void host_crash(struct world *w, u32 index, bool dark)
{
    struct host *h = &w->hosts[index];
    if (h->state == HOST_OFF)
        return;
    measure_down(w, index); /* looks at what it was doing */
    struct mesh_stats all;
    host_stats(h, &all);
    h->past = all;
    fetch_mesh_ends(w, h->mesh);
    mesh_del(h->mesh);
    h->mesh = NULL;
    free(h->known);
    h->known = NULL;
    h->state = HOST_OFF;
    h->dark = dark;
    h->since_ns = world_now(w);
    h->timer_ns = UINT64_MAX;
    for (size_t i = 0; i < h->n_inbox; i++)
        take_kept(w, &h->inbox[i]);
    h->n_inbox = h->n_held = 0;
    fetch_host_died(w, index);
    user_host_died(w, index);
    fetch_reachability_changed(w);
}

void host_leave(struct world *w, u32 index)
{
    struct host *h = &w->hosts[index];
    if (h->state != HOST_UP)
        return;
    h->leaving = true;
    record_node(w->record, world_now(w), "leave", index);
    mesh_leave(h->mesh, host_now(w, h));
    host_drive(w, index);
}

/* --- paused ---------------------------------------------------------------------------------- */

void host_pause(struct world *w, u32 index, u64 for_ns)
{
    struct host *h = &w->hosts[index];
    if (h->state != HOST_UP)
        return;
    h->state = HOST_PAUSED;
    h->since_ns = world_now(w);
    record_node(w->record, world_now(w), "pause", index);
    world_at(w, world_now(w) + for_ns, EV_RESUME, index, h->life);
    fetch_reachability_changed(w);
}

void host_keep(struct world *w, const struct event *ev)
{
    struct host *h = &w->hosts[ev->node];
    size_t datagrams = 0;
    for (size_t i = 0; ev->kind == EV_PACKET && i < h->n_inbox; i++)
        datagrams += h->inbox[i].kind == EV_PACKET;
    if (datagrams >= HOST_INBOX_MAX) {
        carry_forget(w, ev);
        return;
    }
    h->inbox = mem_grow(h->inbox, &h->inbox_cap, h->n_inbox + 1, sizeof(*h->inbox));
    h->inbox[h->n_inbox++] = *ev;
}

/* What waited comes first or the timers do, as it happens. */
void host_resume(struct world *w, u32 index)
{
    struct host *h = &w->hosts[index];
    if (h->state != HOST_PAUSED)
        return;
    u64 lag = world_now(w) - h->since_ns;
    h->state = HOST_UP;
    h->since_ns = world_now(w);
    record_node(w->record, world_now(w), "resume", index);
    mesh_lag(h->mesh, lag, host_now(w, h));
    if (rng_chance(&w->rng_pause, .5))
        mesh_expire(h->mesh, host_now(w, h));
    struct event *inbox = h->inbox;
    size_t n = h->n_inbox;
    h->inbox = NULL; /* whatever it causes to wait again goes to a new one */
    h->n_inbox = h->inbox_cap = 0;
    for (size_t i = 0; i < n; i++)
        take_kept(w, &inbox[i]);
    free(inbox);
    mesh_expire(h->mesh, host_now(w, h));
    fetch_reachability_changed(w);
    host_drive(w, index);
}

/* --- driving --------------------------------------------------------------------------------- */

static void set_timer(struct world *w, struct host *h)
{
    u64 when = sim_clock_when(&h->clock, mesh_next_expiry(h->mesh)), now = world_now(w);
    if (when < now)
        when = now;
    if (when >= h->timer_ns || when == UINT64_MAX) /* the one that is set will set the next */
        return;
    h->timer_ns = when;
    world_at(w, when, EV_TIMER, h->index, h->life);
}

void host_timer(struct world *w, const struct event *ev)
{
    struct host *h = &w->hosts[ev->node];
    if (h->life != ev->arg || h->timer_ns != ev->at_ns || h->state == HOST_OFF)
        return; /* another was set since */
    h->timer_ns = UINT64_MAX;
    if (h->state == HOST_PAUSED)
        return; /* host_resume() expires */
    h->same_instant = h->last_timer_ns == ev->at_ns ? h->same_instant + 1 : 0;
    h->last_timer_ns = ev->at_ns;
    if (h->same_instant > SAME_INSTANT_MAX) {
        bool member = member_next_expiry(mesh_member(h->mesh)) <= host_now(w, h);
        bool inventory = inventory_next_expiry(mesh_inventory(h->mesh)) <= host_now(w, h);
        measure_break(w, "timer", "node %u asks for the same instant again and again: its %s",
                      ev->node,
                      member      ? "member list"
                      : inventory ? "inventory"
                                  : "mesh");
        return;
    }
    if (mesh_next_expiry(h->mesh) <= host_now(w, h))
        mesh_expire(h->mesh, host_now(w, h));
    host_drive(w, ev->node);
}

static void take_event(struct world *w, struct host *h, const struct mesh_event *ev)
{
    if (ev->kind == MESH_EVENT_EPOCH && ev->epoch > h->inventory_epoch)
        h->inventory_epoch = ev->epoch;
    if (ev->kind == MESH_EVENT_MEMBER) {
        h->member_events++;
        measure_member(w, h->index, &ev->member);
        u32 of = world_by_key(w, &ev->member.key);
        if (of != UINT32_MAX && of >= w->n)
            tracker_seen(w, h->index, of);
    }
}

void host_drive(struct world *w, u32 index)
{
    struct host *h = &w->hosts[index];
    if (h->state != HOST_UP)
        return;
    u64 now = host_now(w, h);
    u32 outputs = 0;
    while (carry_write(w, index, now) && outputs < DRIVE_MAX)
        outputs++;
    while (carry_dial(w, index, now) && outputs < DRIVE_MAX)
        outputs++;
    struct mesh_event ev;
    while (outputs < DRIVE_MAX && mesh_next_event(h->mesh, &ev)) {
        take_event(w, h, &ev);
        outputs++;
    }
    if (outputs == DRIVE_MAX)
        measure_break(w, "queues", "node %u puts out more than %d things at once", index,
                      DRIVE_MAX);
    fetch_steps(w, index);
    /* What the steps led to may want to be sent; then they drive again, each after the other. */
    while (outputs < DRIVE_MAX && h->state == HOST_UP && carry_write(w, index, now))
        outputs++;
    if (h->mesh)
        set_timer(w, h);
}

/* region_report.c - the region as operators see it: JSON for status and members, metrics.
 *
 * Names are relied upon by dray-node status, dashboards and scripts (docs/operations.md). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/metrics.h"
#include "runtime/region_impl.h"

static json_t *count(u64 n)
{
    return json_integer((json_int_t)n);
}

/* To the millisecond. */
static json_t *seconds(u64 ns)
{
    u64 ms = ns / 1000000;
    return json_real((double)ms / 1000);
}

static json_t *milliseconds(u64 ns)
{
    u64 us = ns / 1000;
    return json_real((double)us / 1000);
}

/* What others call themselves may be no UTF-8, which JSON must be: then its ASCII counts. */
static json_t *text(const char *s)
{
    json_t *as_it_is = json_string(s);
    if (as_it_is)
        return as_it_is;
    char ascii[MEMBER_URL_MAX + 1];
    static_assert(MEMBER_TEXT_MAX <= MEMBER_URL_MAX, "any text of a member fits");
    snprintf(ascii, sizeof(ascii), "%s", s);
    for (char *c = ascii; *c; c++)
        if ((u8)*c >= 0x80)
            *c = '?';
    return json_string(ascii);
}

static void format_id(char text[9], u32 id)
{
    snprintf(text, 9, "%08x", id);
}

/* --- status ---------------------------------------------------------------------------------- */

/* Our ring, the sealing one first: as the file calls them, and as members name them. */
static json_t *report_keys(const struct region *r)
{
    json_t *all = json_array();
    for (size_t i = 0; i < r->ring.n; i++) {
        char id[9];
        format_id(id, seal_key_id(&r->ring.keys[i]));
        json_array_append_new(all, json_pack("{s:o, s:s, s:b}", "name", text(r->ring.names[i]),
                                             "id", id, "seals", (int)(i == 0)));
    }
    return all;
}

static const char *state_of(struct region *r, const char *why)
{
    if (!r->mesh)
        return "starting";
    if (why == r->trouble)
        return "refused";
    if (member_count(mesh_member(r->mesh), MEMBER_ALIVE) > 1)
        return "joined";
    return why ? "joining" : "alone";
}

json_t *region_report(struct region *r)
{
    const char *why;
    char key[NODE_KEY_TEXT_SIZE];
    if (!r)
        return json_pack("{s:s}", "state", "off");
    region_ready(r, &why);
    node_key_format(&r->self.key, key);
    json_t *counts = json_object();
    for (enum member_state s = 0; r->mesh && s < MEMBER_STATE_COUNT; s++)
        json_object_set_new(counts, member_state_name(s),
                            count(member_count(mesh_member(r->mesh), s)));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:i}", "state", state_of(r, why),
                     "why", why ? why : "", "key", key, "address", r->address_text, "peers",
                     region_scheme(r), "members", counts, "keys", report_keys(r), "seeds",
                     count(r->n_seeds), "health",
                     r->mesh ? (int)member_health(mesh_member(r->mesh)) : 0);
}

/* --- members --------------------------------------------------------------------------------- */

struct origins {
    struct inventory_origin *list;
    size_t n;
};

static int by_key(const void *a, const void *b)
{
    return node_key_compare(&((const struct inventory_origin *)a)->key,
                            &((const struct inventory_origin *)b)->key);
}

static struct origins find_origins(const struct region *r)
{
    struct origins o = {calloc(LIMIT_MEMBERS, sizeof(*o.list)), 0};
    size_t at = 0;
    while (o.list && o.n < LIMIT_MEMBERS &&
           inventory_each(mesh_inventory(r->mesh), &at, &o.list[o.n]))
        o.n++;
    if (o.n)
        qsort(o.list, o.n, sizeof(*o.list), by_key);
    return o;
}

static json_t *layers_of(const struct origins *o, const struct node_key *key)
{
    struct inventory_origin wanted = {.key = *key};
    const struct inventory_origin *found =
        o->n ? bsearch(&wanted, o->list, o->n, sizeof(*o->list), by_key) : NULL;
    return found && found->complete ? count(found->layers) : json_null();
}

static json_t *key_ids(const u32 ids[2])
{
    json_t *all = json_array();
    for (int i = 0; i < 2; i++) {
        char id[9];
        format_id(id, ids[i]);
        if (ids[i])
            json_array_append_new(all, json_string(id));
    }
    return all;
}

static json_t *report_record(const struct member_record *m, const char *state)
{
    char key[NODE_KEY_TEXT_SIZE], address[ADDR_TEXT_SIZE];
    node_key_format(&m->key, key);
    addr_format(&m->addr, address);
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:b, s:{s:i, s:i}}", "name",
                     text(m->name), "key", key, "address", address, "state", state, "role",
                     m->role == MEMBER_TRACKER ? "tracker" : "node", "rack", text(m->rack),
                     "region", text(m->region), "public_url", text(m->public_url), "can_fetch",
                     (int)m->can_fetch, "wire", "min", (int)m->version_min, "max",
                     (int)m->version_max);
}

static void add_view(json_t *one, const struct member_view *v, u64 now)
{
    json_object_set_new(one, "self", json_false());
    json_object_set_new(one, "since_s", seconds(now > v->since_ns ? now - v->since_ns : 0));
    json_object_set_new(one, "heard_s",
                        v->heard_ns ? seconds(now > v->heard_ns ? now - v->heard_ns : 0)
                                    : json_null());
    json_object_set_new(one, "rtt_ms", v->rtt_ns ? milliseconds(v->rtt_ns) : json_null());
    json_object_set_new(one, "load", json_real((double)v->load / 255));
    json_object_set_new(one, "barred", json_boolean(v->barred));
    json_object_set_new(one, "keys", key_ids(v->key_ids));
}

static void add_self(struct region *r, json_t *all)
{
    u32 ids[2] = {0};
    for (size_t i = 0; i < r->ring.n && i < 2; i++)
        ids[i] = seal_key_id(&r->ring.keys[i]);
    json_t *one = report_record(member_self(mesh_member(r->mesh)), "alive");
    json_object_set_new(one, "self", json_true());
    json_object_set_new(one, "keys", key_ids(ids));
    json_array_append_new(all, one);
}

static json_t *report_alone(const struct region_config *c)
{
    return json_pack("{s:s, s:[{s:s, s:s, s:s, s:s, s:s, s:b}]}", "region", c->region, "members",
                     "name", c->name, "rack", c->rack ? c->rack : "", "region", c->region, "role",
                     "node", "state", "alive", "self", 1);
}

json_t *region_report_members(struct region *r, const struct region_config *config)
{
    struct member_view v;
    size_t at = 0;
    if (!r || !r->mesh)
        return report_alone(config);
    u64 now = uv_hrtime();
    struct origins o = find_origins(r);
    json_t *all = json_array();
    add_self(r, all);
    while (member_each(mesh_member(r->mesh), &at, &v)) {
        json_t *one = report_record(v.record, member_state_name(v.state));
        add_view(one, &v, now);
        json_object_set_new(one, "layers", layers_of(&o, &v.record->key));
        json_array_append_new(all, one);
    }
    free(o.list);
    return json_pack("{s:s, s:o}", "region", config->region, "members", all);
}

/* --- metrics --------------------------------------------------------------------------------- */

#define DROPPED_HELP "What was refused or thrown away, by reason."

static void set(struct metrics *m, const char *name, const char *label, const char *value,
                const char *help, u64 n)
{
    char labels[96] = "";
    if (label)
        snprintf(labels, sizeof(labels), "%s=\"%s\"", label, value);
    *metrics_counter(m, name, labels, help) = n;
}

static void dropped(struct metrics *m, const char *reason, u64 n)
{
    char text[64];
    snprintf(text, sizeof(text), "mesh_%s", reason);
    set(m, "dray_dropped_total", "reason", text, DROPPED_HELP, n);
}

static void refresh_members(struct region *r, struct metrics *m)
{
    for (enum member_state s = 0; s < MEMBER_STATE_COUNT; s++) {
        char labels[40];
        snprintf(labels, sizeof(labels), "state=\"%s\"", member_state_name(s));
        *metrics_gauge(m, "dray_members", labels, "Members of the mesh, by state.") =
            r && r->mesh ? (double)member_count(mesh_member(r->mesh), s) : s == MEMBER_ALIVE;
    }
}

static void refresh_udp(struct region *r, struct metrics *m)
{
    struct datagram_stats udp;
    static const char name[] = "dray_mesh_datagrams_total", bytes[] = "dray_mesh_bytes_total";
    datagram_stats(r->udp, &udp);
    set(m, name, "direction", "in", "Datagrams of the mesh.", udp.received);
    set(m, name, "direction", "out", NULL, udp.sent);
    set(m, bytes, "direction", "in", "Bytes of these datagrams.", udp.bytes_received);
    set(m, bytes, "direction", "out", NULL, udp.bytes_sent);
    dropped(m, "too_long", udp.too_long);
    dropped(m, "foreign", udp.foreign);
    dropped(m, "socket_full", udp.full);
    dropped(m, "unreachable", udp.unreachable);
    dropped(m, "overrun", udp.overrun);
}

static void refresh_mesh(struct region *r, struct metrics *m)
{
    struct mesh_stats st;
    static const char talks[] = "dray_mesh_talks_total", bytes[] = "dray_mesh_talk_bytes_total";
    mesh_stats(r->mesh, &st);
    for (enum seal_drop d = SEAL_OK + 1; d < SEAL_DROP_COUNT; d++)
        dropped(m, seal_drop_name(d), st.dropped[d]);
    dropped(m, "malformed", st.malformed);
    dropped(m, "unknown", st.unknown);
    dropped(m, "stranger", st.strangers);
    dropped(m, "peer_refused", st.peer_refused);
    dropped(m, "order_put_off", st.put_off);
    set(m, talks, "direction", "in", "Talks (streams) of the mesh.", st.talks_in);
    set(m, talks, "direction", "out", NULL, st.talks_out);
    set(m, bytes, "direction", "in", "Bytes of talks, both ways of each.", st.talk_bytes_in);
    set(m, bytes, "direction", "out", NULL, st.talk_bytes_out);
    set(m, "dray_mesh_talks_failed_total", NULL, NULL, "Talks of ours that got no answer.",
        r->talks_failed);
    set(m, "dray_mesh_talks_refused_total", NULL, NULL, "Talks of others that were refused.",
        r->talks_refused);
    *metrics_gauge(m, "dray_mesh_memory_bytes", "", "What the mesh keeps in memory.") =
        (double)(mesh_bytes(r->mesh) + inventory_pool_bytes(r->pool));
}

static void refresh_probes(struct region *r, struct metrics *m)
{
    struct member_stats st;
    member_stats(mesh_member(r->mesh), &st);
    static const char events[] = "dray_member_events_total";
    set(m, events, "event", "probe", "What the failure detector did and found.", st.probes);
    set(m, events, "event", "probe_failure", NULL, st.probe_failures);
    set(m, events, "event", "indirect_probe", NULL, st.indirect_probes);
    set(m, events, "event", "stream_probe", NULL, st.stream_probes);
    set(m, events, "event", "suspicion", NULL, st.suspicions);
    set(m, events, "event", "refutation", NULL, st.refutations);
    set(m, events, "event", "death", NULL, st.deaths);
    dropped(m, "bad_signature", st.bad_signatures);
    dropped(m, "record_put_off", st.put_off);
    *metrics_gauge(m, "dray_member_health", "",
                   "How much this node distrusts itself: 0 (well) to 8.") =
        (double)member_health(mesh_member(r->mesh));
}

static void refresh_inventory(struct region *r, struct metrics *m)
{
    struct inventory_stats st;
    inventory_stats(mesh_inventory(r->mesh), &st);
    static const char events[] = "dray_inventory_events_total";
    set(m, events, "event", "op_sent", "What was told of who holds what.", st.ops_sent);
    set(m, events, "event", "op_received", NULL, st.ops_received);
    set(m, events, "event", "op_duplicate", NULL, st.ops_duplicate);
    set(m, events, "event", "gap", NULL, st.gaps);
    set(m, events, "event", "resent", NULL, st.resent);
    set(m, events, "event", "anti_entropy", NULL, st.anti_entropy_rounds);
    set(m, events, "event", "delta_sent", NULL, st.deltas_sent);
    set(m, events, "event", "snapshot_sent", NULL, st.snapshots_sent);
    set(m, events, "event", "snapshot_received", NULL, st.snapshots_received);
    dropped(m, "bad_head", st.bad_heads);
    dropped(m, "inventory_malformed", st.malformed);
    dropped(m, "inventory_conflict", st.conflicts);
    dropped(m, "inventory_unsent", st.unsent);
    dropped(m, "head_put_off", st.put_off);
}

static void refresh_swarm(struct region *r, struct metrics *m)
{
    struct swarm_stats st;
    swarm_stats(mesh_swarm(r->mesh), &st);
    static const char events[] = "dray_swarm_events_total";
    set(m, events, "event", "appointed", "What the swarms of this node's layers did.",
        st.appointed);
    set(m, events, "event", "takeover", NULL, st.takeovers);
    set(m, events, "event", "asked", NULL, st.asked);
    set(m, events, "event", "came", NULL, st.came);
    set(m, events, "event", "wrong", NULL, st.wrong);
    set(m, events, "event", "missing", NULL, st.missing);
    set(m, events, "event", "busy", NULL, st.busy);
    set(m, events, "event", "failed", NULL, st.failed);
    set(m, events, "event", "cancelled", NULL, st.cancelled);
    set(m, events, "event", "late", NULL, st.late);
    set(m, events, "event", "duplicate", NULL, st.duplicate);
    set(m, events, "event", "offered", NULL, st.offered);
    set(m, events, "event", "offered_again", NULL, st.offered_again);
    set(m, events, "event", "served", NULL, st.served);
    set(m, events, "event", "held", NULL, st.held);
    set(m, events, "event", "refused", NULL, st.refused);
    set(m, events, "event", "misled", NULL, st.misled);
    set(m, events, "event", "unheeded", NULL, st.unheeded);
    *metrics_counter(m, "dray_wan_overlaps_total", "",
                     "Times that two nodes read one layer from the registry at once.") =
        st.overlaps;
    dropped(m, "swarm_malformed", st.malformed);
}

void region_metrics_refresh(struct region *r, struct metrics *m)
{
    refresh_members(r, m);
    if (!r || !r->mesh)
        return;
    refresh_udp(r, m);
    refresh_mesh(r, m);
    refresh_probes(r, m);
    refresh_inventory(r, m);
    refresh_swarm(r, m);
}

/* topology.c - see topology.h. The reading of files stands in topology_yaml.c. */
#include "sim/topology.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/rng.h"
#include "sim/engine.h"
#include "sim/mem.h"
#include "sim/topology_impl.h"

#define GBIT 125000000ull /* bytes per second */

static void set_paths(struct topology *t)
{
    t->path[REACH_RACK] = (struct topology_path){40 * SIM_US, 40 * SIM_US};
    t->path[REACH_OFFICE] = (struct topology_path){150 * SIM_US, 200 * SIM_US};
    t->path[REACH_REGION] = (struct topology_path){4 * SIM_MS, 2 * SIM_MS};
    t->path[REACH_WORLD] = (struct topology_path){70 * SIM_MS, 10 * SIM_MS};
    t->node_up_bps = t->node_down_bps = 10 * GBIT;
}

void topology_begin(struct topology *t)
{
    memset(t, 0, sizeof(*t));
    t->trackers = -1;
    set_paths(t);
}

struct topology_office *topology_add_office(struct topology *t)
{
    assert(t->n_offices < TOPOLOGY_OFFICES_MAX);
    if (!t->offices)
        t->offices = mem_new(TOPOLOGY_OFFICES_MAX, sizeof(*t->offices));
    struct topology_office *o = &t->offices[t->n_offices++];
    snprintf(o->name, sizeof(o->name), "office-%zu", t->n_offices);
    o->nodes = 1;
    o->wan_up_bps = o->wan_down_bps = GBIT;
    o->registry_rtt_ns = 150 * SIM_MS;
    return o;
}

u32 topology_region(struct topology *t, const char *name)
{
    for (size_t i = 0; i < t->n_regions; i++)
        if (strcmp(t->regions[i], name) == 0)
            return (u32)i;
    assert(t->n_regions < TOPOLOGY_OFFICES_MAX);
    snprintf(t->regions[t->n_regions], sizeof(t->regions[0]), "%s", name);
    return (u32)t->n_regions++;
}

/* Deals `nodes` out in the proportion of the shares; each office has one at least. */
int topology_deal(struct topology *t, u32 nodes, char why[TOPOLOGY_WHY_MAX])
{
    u64 shares = 0, before = 0;
    for (size_t i = 0; i < t->n_offices; i++)
        shares += t->offices[i].nodes;
    if (nodes == 0)
        nodes = shares > UINT32_MAX ? UINT32_MAX : (u32)shares;
    if (nodes < t->n_offices || nodes / TOPOLOGY_NODES_MAX >= t->n_offices) {
        snprintf(why, TOPOLOGY_WHY_MAX, "%u nodes do not fit %zu offices", nodes, t->n_offices);
        return ERR_INVAL;
    }
    u32 spare = nodes - (u32)t->n_offices, first = 0; /* beyond the one for each */
    for (size_t i = 0; i < t->n_offices; i++) {
        struct topology_office *o = &t->offices[i];
        u64 after = before + o->nodes;
        u32 mine = nodes == shares ? o->nodes
                                   : 1 + (u32)(spare * after / shares - spare * before / shares);
        before = after;
        if (mine > TOPOLOGY_NODES_MAX) {
            snprintf(why, TOPOLOGY_WHY_MAX, "%u nodes are too many for office %s", mine, o->name);
            return ERR_INVAL;
        }
        o->nodes = mine;
        o->first = first;
        first += mine;
        if (o->racks == 0 || o->racks > mine)
            o->racks = mine;
    }
    assert(first == nodes);
    t->nodes = nodes;
    return 0;
}

/* Deals the offices over `regions`, each in one piece. False: a mesh would be too large. */
static bool deal_regions(struct topology *t, size_t regions)
{
    u32 sizes[TOPOLOGY_OFFICES_MAX] = {0}, largest = 0;
    t->n_regions = 0;
    for (size_t i = 0; i < t->n_offices; i++) {
        struct topology_office *o = &t->offices[i];
        char name[TOPOLOGY_NAME_MAX + 1];
        snprintf(name, sizeof(name), "region-%zu", 1 + i * regions / t->n_offices);
        o->region = topology_region(t, name);
        sizes[o->region] += o->nodes;
        largest = sizes[o->region] > largest ? sizes[o->region] : largest;
    }
    return largest <= LIMIT_MEMBERS;
}

void topology_default(struct topology *t, u32 nodes, u32 offices, u32 regions)
{
    assert(nodes > 0);
    topology_begin(t);
    size_t n = offices ? offices : (nodes + 99) / 100;
    if (n > TOPOLOGY_OFFICES_MAX)
        n = TOPOLOGY_OFFICES_MAX;
    if (n > nodes)
        n = nodes;
    for (size_t i = 0; i < n; i++)
        topology_add_office(t);
    char why[TOPOLOGY_WHY_MAX];
    int rc = topology_deal(t, nodes, why);
    assert(rc == 0);
    (void)rc;
    size_t least = regions == 0 ? 1 : regions < n ? regions : n;
    for (size_t r = least; r <= n && !deal_regions(t, r); r++) {
    }
}

void topology_spread(struct topology *t, u64 side_ns, u64 seed)
{
    bool placed = false;
    struct rng r;
    rng_seed(&r, seed);
    for (size_t i = 0; i < t->n_offices; i++)
        placed |= t->offices[i].east_ns || t->offices[i].north_ns;
    for (size_t i = 0; i < t->n_offices && side_ns > 0 && !placed; i++) {
        t->offices[i].east_ns = rng_below(&r, side_ns);
        t->offices[i].north_ns = rng_below(&r, side_ns);
    }
}

static double between(u64 a, u64 b)
{
    return a > b ? (double)(a - b) : (double)(b - a);
}

u64 topology_apart_ns(const struct topology *t, u32 office, u32 other)
{
    const struct topology_office *a = &t->offices[office], *b = &t->offices[other];
    double east = between(a->east_ns, b->east_ns), north = between(a->north_ns, b->north_ns);
    struct rng r; /* of the pair, whichever comes first */
    rng_seed(&r, office < other ? (u64)office << 32 | other : (u64)other << 32 | office);
    double detour = 1 + rng_unit(&r) / 3;
    return (u64)(detour * sqrt(east * east + north * north));
}

void topology_fini(struct topology *t)
{
    free(t->offices);
    memset(t, 0, sizeof(*t));
}

static u32 trackers(const struct topology *t)
{
    return t->trackers > 0 ? (u32)t->trackers : 0;
}

u32 topology_members(const struct topology *t)
{
    return t->nodes + trackers(t) * (u32)t->n_regions;
}

struct topology_place topology_place(const struct topology *t, u32 node)
{
    assert(node < topology_members(t));
    if (node >= t->nodes) {
        u32 at = node - t->nodes, regions = (u32)t->n_regions;
        return (struct topology_place){at % regions, TOPOLOGY_CENTRE, at / regions, at};
    }
    size_t low = 0, high = t->n_offices;
    while (high - low > 1) {
        size_t mid = (low + high) / 2;
        if (t->offices[mid].first <= node)
            low = mid;
        else
            high = mid;
    }
    const struct topology_office *o = &t->offices[low];
    u32 index = node - o->first;
    assert(index < o->nodes);
    return (struct topology_place){o->region, (u32)low, index % o->racks, index};
}

enum topology_reach topology_reach(const struct topology_place *a, const struct topology_place *b)
{
    if (a->region != b->region)
        return REACH_WORLD;
    if (a->office != b->office)
        return REACH_REGION;
    return a->rack == b->rack ? REACH_RACK : REACH_OFFICE;
}

struct unit {
    const char *name;
    u64 times; /* in eighths of a byte, or in nanoseconds */
};

static int parse_with(const char *text, const struct unit *units, size_t n, u64 *out)
{
    if (*text < '0' || *text > '9' || strlen(text) > 24)
        return ERR_INVAL;
    char *end;
    u64 whole = strtoull(text, &end, 10), part = 0, tenths = 1;
    if (*end == '.') {
        for (end++; *end >= '0' && *end <= '9' && tenths < 1000000; end++) {
            part = part * 10 + (u64)(*end - '0');
            tenths *= 10;
        }
        if (tenths == 1)
            return ERR_INVAL;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(end, units[i].name) == 0) {
            unsigned __int128 v =
                (unsigned __int128)units[i].times * (whole * tenths + part) / tenths;
            if (whole > UINT64_MAX / 2000000 || v > UINT64_MAX / 16)
                return ERR_INVAL;
            *out = (u64)v;
            return 0;
        }
    if (*end == 0 && whole == 0 && part == 0) {
        *out = 0;
        return 0;
    }
    return ERR_INVAL;
}

int topology_parse_time(const char *text, u64 *ns)
{
    static const struct unit units[] = {{"ns", 1},          {"us", SIM_US},    {"ms", SIM_MS},
                                        {"s", SIM_S},       {"m", 60 * SIM_S}, {"min", 60 * SIM_S},
                                        {"h", 3600 * SIM_S}};
    return parse_with(text, units, countof(units), ns);
}

int topology_parse_bytes(const char *text, u64 *bytes)
{
    static const struct unit units[] = {
        {"B", 8},
        {"kB", 8000},
        {"MB", 8000000},
        {"GB", 8000000000},
        {"TB", 8000000000000},
        {"KiB", 8ull << 10},
        {"MiB", 8ull << 20},
        {"GiB", 8ull << 30},
        {"TiB", 8ull << 40},
        {"kbit", 1000},
        {"Mbit", 1000000},
        {"Gbit", 1000000000},
    };
    u64 bits;
    int rc = parse_with(text, units, countof(units), &bits);
    if (rc == 0)
        *bytes = bits / 8;
    return rc;
}

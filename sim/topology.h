/* topology.h - where the nodes of a run and their users stand: regions of offices, offices of
 * racks, and the lines between them; and how many trackers there are.
 *
 * Why: near and far, thin and thick are what a cache is for; a person should state them in a few
 * lines. A topology is a small YAML file (docs/simulator.md has an example) or the built-in one: a
 * region, an office per hundred nodes, a rack per node.
 * One region is one mesh; its offices are joined by their WAN lines, through which the registry is
 * reached as well. Trackers stand beside the registry, at the *centre*; each is a member of every
 * region, by one node number for each behind those of the nodes.
 * Rates are bytes per second, written "1Gbit", "300MB"; times "150ms".
 * Guarantee: whatever the file says, the result is bounded, or an error names the line. */
#pragma once

#include "proto/err.h"

#define TOPOLOGY_NAME_MAX     31
#define TOPOLOGY_OFFICES_MAX  200   /* one byte of an address */
#define TOPOLOGY_NODES_MAX    65000 /* two bytes of an address, in an office */
#define TOPOLOGY_FILE_BYTES   (256 * 1024)
#define TOPOLOGY_TRACKERS_MAX 8
#define TOPOLOGY_USERS_MAX    50000 /* of an office */
#define TOPOLOGY_CENTRE       254   /* in place of an office: 10.255 of the addresses */
#define TOPOLOGY_WHY_MAX      256

/* A way that a datagram takes: one-way delay, and what is added to it at random, evenly. */
struct topology_path {
    u64 delay_ns, jitter_ns;
};

enum topology_reach { REACH_RACK, REACH_OFFICE, REACH_REGION, REACH_WORLD, REACH_COUNT };

struct topology_office {
    char name[TOPOLOGY_NAME_MAX + 1];
    u32 region; /* index */
    u32 nodes;  /* first a share, then, once placed, how many */
    u32 racks;  /* 0: one for each node */
    u32 first;  /* its first node, once placed */
    u64 wan_up_bps, wan_down_bps;
    u64 registry_rtt_ns;
    u64 east_ns, north_ns; /* where it stands in its region: one-way times on top of path.region */
    i64 utc_offset_min;    /* when its day begins */
    u32 users;             /* 0: not said */
    char
        cache[TOPOLOGY_NAME_MAX + 1]; /* in its users' profiles: a region or a node; "": not said */
};

struct topology {
    char regions[TOPOLOGY_OFFICES_MAX][TOPOLOGY_NAME_MAX + 1];
    size_t n_regions;
    struct topology_office *offices; /* owned */
    size_t n_offices;
    struct topology_path path[REACH_COUNT];
    u64 node_up_bps, node_down_bps;
    u32 nodes;    /* in all */
    i64 trackers; /* < 0: not said */
};

struct topology_place {
    u32 region, office, rack; /* rack: within its office */
    u32 index;                /* within its office */
};

/* The built-in one, for `nodes` nodes in all. `offices` 0: one for each hundred. `regions` 0: as
 * few as hold them; never more than offices. */
void topology_default(struct topology *t, u32 nodes, u32 offices, u32 regions);
/* Reads a file's text. `nodes` 0: as many as the file says; else its offices share that many in the
 * file's proportions. ERR_INVAL, with a sentence that begins with the line. */
must_use int topology_read(struct topology *t, const char *text, size_t len, u32 nodes,
                           char why[TOPOLOGY_WHY_MAX]);
void topology_fini(struct topology *t);

/* Places offices on a square of that side, evenly at random by `seed`, where none is placed yet. */
void topology_spread(struct topology *t, u64 side_ns, u64 seed);
/* On top of path.region, one way: the straight line, and a detour of up to a third, since cables
 * take one. */
u64 topology_apart_ns(const struct topology *t, u32 office, u32 other);

/* Nodes, and behind them the trackers: of each one for each region. */
u32 topology_members(const struct topology *t);
struct topology_place topology_place(const struct topology *t, u32 member);
enum topology_reach topology_reach(const struct topology_place *a, const struct topology_place *b);

/* "150ms", "2s", "0": nanoseconds. "1Gbit", "300MB", "64KiB": bytes (per second). ERR_INVAL. */
must_use int topology_parse_time(const char *text, u64 *ns);
must_use int topology_parse_bytes(const char *text, u64 *bytes);

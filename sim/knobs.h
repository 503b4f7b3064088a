/* knobs.h - everything about a run that can be set: --set key=value, and what scenarios set.
 *
 * Why one table: the help, the parser, the limits and the replay command all come from it, so that
 * none of them can miss a knob. A knob is a number with a kind: how it is written and what unit the
 * field has. */
#pragma once

#include "proto/err.h"

/*  name, kind, default, least, most, help */
#define KNOBS(X)                                                                                   \
    X(nodes, COUNT, 100, 1, 20000, "nodes in all")                                                 \
    X(offices, COUNT, 0, 0, 200, "offices they are dealt over; 0: one for each 100")               \
    X(regions, COUNT, 0, 0, 200,                                                                   \
      "regions they are dealt over, each a mesh; 0: as few as hold them")                          \
    X(spread, TIME, 0, 0, 1e9, "offices of a region stand on a square of that side, one way")      \
    X(duration, TIME, 60e9, 0, 400e12, "how long faults and work go on, after the warm-up")        \
    X(warm, TIME, 20e9, 1e9, 4e12, "time to form the mesh before anything is measured")            \
    X(heal, TIME, 60e9, 1e9, 4e12, "bound: after healing, all must agree within this")             \
    X(join_over, TIME, 5e9, 0, 4e12, "nodes start spread over this")                               \
    X(settled, SWITCH, 0, 0, 1, "all have run for long: everybody knows all, and what each holds") \
    X(seeds, COUNT, 3, 1, 16, "the first nodes of a region are everybody's seeds")                 \
    X(sealed, SWITCH, 0, 0, 1, "encrypt and authenticate datagrams as the daemons do")             \
    X(drift, PPM, 50, 0, 100000, "clocks run fast or slow by up to this (parts per million)")      \
    X(loss, CHANCE, 0, 0, 1, "of a datagram, on every path")                                       \
    X(duplicate, CHANCE, 0, 0, 1, "a datagram comes twice")                                        \
    X(reorder, CHANCE, 0, 0, 1, "a datagram is overtaken")                                         \
    X(corrupt, CHANCE, 0, 0, 1, "one bit of a datagram is flipped (sealed=1 notices)")             \
    X(layers, COUNT, 0, 0, 100000, "layers each node holds from the start")                        \
    X(catalog, COUNT, 400000, 1, 10000000, "layers there are, of which these are a part")          \
    X(changes, RATE, 0, 0, 1000, "layers replaced, per node and second")                           \
    X(crashes, RATE, 0, 0, 1e6, "crashes per hour, in all")                                        \
    X(down_for, TIME, 60e9, 0, 400e12, "mean time until a crashed node is back")                   \
    X(leaves, RATE, 0, 0, 1e6, "orderly restarts per hour, in all")                                \
    X(pauses, RATE, 0, 0, 1e6, "rounds per hour in which nodes are stopped for a while")           \
    X(pause_part, CHANCE, .01, 0, 1, "part of the nodes that such a round stops")                  \
    X(pause_for, TIME, 5e9, 0, 4e12, "for how long")                                               \
    X(pulls, RATE, 0, 0, 1e6, "images pulled per second, in all")                                  \
    X(crowd, TIME, 1e9, 1, 4e12, "a crowd: all its pulls begin within this")                       \
    X(ahead, TIME, 0, 0, 4e12, "its first node begins so much earlier: one holder")                \
    X(images, COUNT, 200, 1, 100000, "images there are; popularity is Zipf's")                     \
    X(image_bytes, BYTES, 0, 0, 16e9, "of one image; 0: sizes as published for registries")        \
    X(image_layers, COUNT, 0, 0, 64, "layers of one image; 0: as published")                       \
    X(capacity, BYTES, 500e9, 1e6, 1e15, "of each node's store")                                   \
    X(node_up, BYTES, 0, 0, 1e12, "each node's line, bytes per second; 0: the topology's")         \
    X(node_down, BYTES, 0, 0, 1e12, "the same, downwards")                                         \
    X(wan, BYTES, 0, 0, 1e12, "each office's WAN line, both ways; 0: the topology's")              \
    X(disk, BYTES, 1000e6, 1e3, 1e12, "bytes per second that a store writes at most")              \
    X(registry_rate, BYTES, 1000e6, 1e3, 1e12, "bytes per second of the registry, in all")         \
    X(registry_rtt, TIME, 0, 0, 4e12, "round trip to the registry; 0: the topology's")             \
    X(registry_stream, BYTES, 0, 0, 1e12, "of one of its connections at most; 0: no cap")          \
    X(registry_slots, COUNT, 10000, 1, 1000000, "connections it serves at once; beyond: 429")      \
    X(peer_slots, COUNT, 64, 1, 10000, "peers a node serves at once; beyond: busy")                \
    X(liars, CHANCE, 0, 0, 1, "part of the nodes that lie")                                        \
    X(spoilers, CHANCE, 0, 0, 1, "part of the nodes that send wrong bytes, as fetchers too")       \
    X(colluders, CHANCE, 0, 0, 1, "part of the nodes that lie together")                           \
    X(chaos, RATE, 0, 0, 1e6, "random faults per hour and 100 nodes (swarm draws this)")           \
    X(upsets, RATE, 0, 0, 1e6, "the same of keys, versions, lost writes, forgers, colluders")      \
    X(memory, BYTES, 0, 0, 1e12, "budget of a node's mesh; 0: 32 MiB and 64 kB a node")            \
    X(trackers, COUNT, 0, 0, 8, "trackers behind one name; 0: users ask a node of their office")   \
    X(tracker_faults, RATE, 0, 0, 1e6, "crashes, pauses of trackers per hour, in all")             \
    X(wan_cuts, RATE, 0, 0, 1e6, "nodes or offices cut from the registry, per hour, in all")       \
    X(users, COUNT, 20, 1, 10000, "users for each node, where the topology does not say")          \
    X(profiles, CHANCE, .5, 0, 1, "part of the users whose profile names a cache of their region") \
    X(subnets, CHANCE, .3, 0, 1, "part of the offices whose nodes say which users they serve")     \
    X(grace, TIME, 0, 0, 400e12, "how long a tracker's decisions hold when the registry is away")  \
    X(user_down, BYTES, 125e6, 1e3, 1e12, "each user's line, downwards")                           \
    X(lookups, COUNT, 20, 0, 100000, "look-ups per second whose answers are judged")               \
    X(second, SWITCH, 1, 0, 1, "write a row for each second to events.jsonl")

enum knob_kind {
    KNOB_COUNT,
    KNOB_TIME,  /* field in ns */
    KNOB_BYTES, /* or bytes per second */
    KNOB_CHANCE,
    KNOB_RATE,
    KNOB_PPM,
    KNOB_SWITCH,
};

#define KNOB_FIELD_COUNT  u64
#define KNOB_FIELD_TIME   u64
#define KNOB_FIELD_BYTES  u64
#define KNOB_FIELD_CHANCE double
#define KNOB_FIELD_RATE   double
#define KNOB_FIELD_PPM    u64
#define KNOB_FIELD_SWITCH bool

struct knobs {
#define X(name, kind, standard, least, most, help) KNOB_FIELD_##kind name;
    KNOBS(X)
#undef X
};

#define KNOBS_WHY_MAX 200

void knobs_init(struct knobs *k);
/* "key=value". ERR_INVAL with a sentence. */
must_use int knobs_set(struct knobs *k, const char *text, char why[KNOBS_WHY_MAX]);
/* The knobs that differ from `base`, as " --set key=value" each. Returns the length, cut at
 * `size`. */
size_t knobs_print_changes(const struct knobs *k, const struct knobs *base, char *out, size_t size);
/* All of them with their values here and their help, a line each, for people. */
void knobs_print_help(const struct knobs *k);

/* net.h - what becomes of a datagram: when it arrives, how often, and in what state.
 *
 * Why: UDP promises nothing, and a core must be met by all of that: delay and jitter by distance,
 * loss, duplicates, overtaking, flipped bits, lines that are clogged for a while, partitions that
 * let through one way only. A line has no rate here: mesh datagrams are a few kilobytes a second.
 * The same line also says whether, and after what time, a stream gets through (net_stream).
 * Guarantee: equal calls with equal randomness have equal outcomes. A probability of zero draws
 * nothing, so that a calm network costs two numbers a datagram.
 * Owns the per-node tables; the topology is borrowed. */
#pragma once

#include "proto/rng.h"
#include "sim/topology.h"

#define NET_MTU        1232 /* what fits IPv6's least MTU of 1,280; longer datagrams are lost */
#define NET_GROUPS_MAX 64   /* sides of a partition */

/* Probabilities of one datagram, on every path. */
struct net_weather {
    double loss, duplicate, reorder, corrupt;
};

struct net_node {
    struct topology_place place;
    u8 group;        /* of the partition */
    bool deaf, mute; /* cut off: inwards, outwards */
    u64 clogged_ns;  /* until then nothing leaves it; it waits */
    u64 slow_ns;     /* added to each way, in and out */
    double loss;     /* of its own line */
};

struct net {
    const struct topology *topology; /* borrowed */
    struct net_weather weather;
    struct net_node *nodes;
    u32 n;
    u64 *apart_ns;               /* of two offices, one way: see topology_apart_ns() */
    u64 blocked[NET_GROUPS_MAX]; /* bit g of row f: nothing passes from group f to group g */
    struct rng rng;
    u64 sent, lost, cut, duplicated, corrupted, oversize;
};

void net_init(struct net *n, const struct topology *t, const struct rng *rng);
void net_fini(struct net *n);

struct net_fate {
    int copies; /* 0 to 2 */
    u64 at_ns[2];
    bool corrupt[2]; /* one bit is flipped: net_flip() */
};
void net_send(struct net *n, u32 from, u32 to, size_t len, u64 now_ns, struct net_fate *fate);
void net_flip(struct net *n, u8 *data, size_t len);

/* May anything pass from one to the other just now? */
bool net_passes(const struct net *n, u32 from, u32 to);
/* One way of a stream's handshake or of its first byte: TCP mends loss, at a cost in time. */
u64 net_stream_delay(struct net *n, u32 from, u32 to, u64 now_ns);

/* The round trip between two as their lines are, with the mean of the jitter: the truth that
 * estimates are held against. */
u64 net_rtt(const struct net *n, u32 a, u32 b);

/* A user somewhere in an office: both ways open to this node or tracker? One way's time. */
bool net_user_reaches(const struct net *n, u32 office, u32 node);
u64 net_user_delay(struct net *n, u32 office, u32 node);

/* All in one group, nothing cut, clogged or slow, no weather. */
void net_heal(struct net *n);
void net_unpartition(struct net *n);

/* mesh_double.h - a region that a test writes: who is in it, who holds what, and what the code
 * under test told it. Stands in for node/region.h and the part of proto/mesh.h that fetching uses,
 * in the tests that are linked with it (tests/CMakeLists.txt).
 *
 * Peers are scripted servers (server.h); a Dray-Peer is the text "to METHOD path number", right
 * exactly once. */
#pragma once

#include "runtime/region.h"
#include "support/server.h"

#define DOUBLE_PEERS    8
#define DOUBLE_TRACKERS 2
#define DOUBLE_CAME     128

struct mesh_double {
    bool off;   /* no region */
    u64 now_ns; /* passes when the test says so: a machine under load makes nobody slow */
    struct {
        struct node_key key;
        struct addr addr;
        char name[16];
        bool holds, unusable;
        u64 expected_ns;
        u64 inflight;
        unsigned asked, ended[MESH_FETCH_LEFT + 1];
    } peers[DOUBLE_PEERS]; /* in the order of choice */
    size_t n_peers;
    struct {
        struct member_record record;
        bool dead;
    } trackers[DOUBLE_TRACKERS];
    size_t n_trackers;
    struct {
        bool on; /* somebody else lives in the region: fills take part in swarms */
        unsigned joined, left, completed, lost, forged;
        u64 have; /* a bit for each piece below 64 */
        struct {
            u32 request, piece;
            bool right;
        } came[DOUBLE_CAME];
        struct {
            u32 request;
            enum swarm_outcome outcome;
        } ended[DOUBLE_CAME];
        enum swarm_registry registry[DOUBLE_CAME];
        size_t n_came, n_ended, n_registry;
        struct node_key fetcher; /* whose claims count, beside those of holders */
        u64 backoff_ns;          /* as the home says that it asked for */
        u32 neighbours;
        bool unknown; /* there is no such swarm */
        struct digest seeded[DOUBLE_CAME];
        size_t n_seeded;
    } swarm;
    unsigned looks, finds, signs, kicks;
};
extern struct mesh_double mesh_double;

/* Forgets all peers, and sets the clock. */
void double_reset(void);
/* A peer behind a scripted server, by the name "rack-N"; returns its index. It holds everything. */
size_t double_peer(const struct server *s);
/* A tracker of the region behind a scripted server; returns its index. */
size_t double_tracker(const struct server *s);
/* The node's own key, in a swarm. */
extern const struct node_key double_self;
/* Any region: what region_* take. */
struct region *double_region(void);

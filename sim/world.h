/* world.h - a run: its nodes, the network between them, and what happens to both.
 *
 * The nodes are real: each is a struct mesh, the object that dray-node links, with a modelled
 * network, store and registry around it; so are the trackers, one struct mesh in each region. Who
 * drives whom:
 *
 *     engine ──> world_step() ──> carry    datagrams and talks between meshes
 *                             ──> host     a process: boots, is paused, dies; its clocks and timer
 *                             ──> fetch    layers on their way, by proto/swarm.h
 *                             ──> pull     users and what they want, of a node near them
 *                             ──> user     users who pull through a tracker (tracker.h)
 *                             ──> fault    what goes wrong, and when it ends
 *                             ──> measure  what is looked at, judged and counted
 *
 * One struct world is one run, and everything in it; a process may run several, one after the
 * other. Guarantee: what happens follows from knobs, scenario and seed alone. */
#pragma once

#include "proto/mesh.h"
#include "sim/catalog.h"
#include "sim/engine.h"
#include "sim/fault.h"
#include "sim/flow.h"
#include "sim/measure.h"
#include "sim/net.h"
#include "sim/partial.h"
#include "sim/record.h"
#include "sim/registry.h"
#include "sim/scenario.h"
#include "sim/shelf.h"
#include "sim/sim_clock.h"
#include "sim/trace.h"

enum event_kind {
    EV_BOOT,   /* node; arg: 1 in an orderly restart */
    EV_TIMER,  /* node; arg: its life */
    EV_PACKET, /* node: to whom; arg: packet */
    EV_TALK_ASKS,
    EV_TALK_ENDS, /* arg: talk */
    EV_RESUME,    /* node; arg: its life */
    EV_REFUSE,    /* arg: fetch request whose server is not there */
    EV_FLOWS,
    EV_FAULT,
    EV_FAULT_ENDS, /* arg: index into the plan */
    EV_CHANGE,     /* node: replaces one of its layers */
    EV_PULL,       /* node: where; arg: image, or PULL_ANY */
    EV_RETRY,      /* arg: pull */
    EV_ASKED,      /* arg: request that reaches its server */
    EV_ANSWERED,   /* arg: request whose answer reaches its node */
    EV_ARRIVED,    /* arg: request whose last byte does */
    EV_POLL,       /* looks at all fetches */
    EV_SAMPLE,     /* measurements of every 20 ms */
    EV_SECOND,
    EV_UPGRADE,   /* node; arg: see fault.h */
    EV_SCENARIO,  /* node and arg as the scenario says */
    EV_USER,      /* arg: a user's request, of which the user hears */
    EV_USER_AT,   /* node: where it arrives; arg: likewise */
    EV_USER_LATE, /* arg: likewise: nothing came in time */
    EV_TOLD,      /* node: a tracker; arg: a report that reaches it */
    EV_SETTLED,   /* the start of all, where they have run for long */
    EV_KIND_COUNT
};

enum host_state { HOST_OFF, HOST_UP, HOST_PAUSED };

enum host_lies {
    HOST_HONEST,
    HOST_LIES,     /* one by one, each in its way: fetch_request.c */
    HOST_SPOILS,   /* sends wrong bytes, and forges the chain of what it fetches */
    HOST_FORGES,   /* its inventory: it claims layers that it does not hold */
    HOST_COLLUDES, /* claims and serves what the others of it do */
};

/* Mesh keys: a key was removed everywhere; not everybody noticed. */
enum host_ring {
    HOST_RING_NOW,
    HOST_RING_OLD_FIRST, /* opens all, but seals with the removed one */
    HOST_RING_OLD,       /* knows nothing else */
};

struct host {
    /* What each event at it looks at, together. */
    struct mesh *mesh; /* NULL when off */
    u64 timer_ns;      /* of the timer event that counts; UINT64_MAX: none */
    u64 last_timer_ns;
    u32 same_instant; /* timers in a row without time passing */
    u32 index, life;  /* life: starts so far */
    enum host_state state;
    struct sim_clock clock;
    struct addr addr;

    bool dark;    /* off, and its machine too: nobody answers, not even with a refusal */
    bool leaving; /* has said goodbye */
    bool disk_full;
    bool serves; /* says in the mesh that it serves its office's users */
    enum host_lies lies;
    bool lied; /* once at least */
    enum host_ring ring;
    bool newer;        /* runs the next wire version */
    u32 *claims;       /* layers that it claims falsely: HOST_CLAIMS; NULL when honest */
    bool denied;       /* what it held, once at least: who asked it believes it */
    bool served_wrong; /* once at least: it may be convicted */
    u64 since_ns;      /* in this state; virtual */
    struct topology_place place;
    struct node_key key;
    u8 seed[32];
    u64 inventory_epoch;
    u64 member_events;           /* that its meshes told of */
    struct tracker_known *known; /* networks whose distance it measured: tracker.h */
    struct event *inbox;         /* what waits while it is paused */
    size_t n_inbox, inbox_cap;

    struct shelf shelf;
    struct partials partials;
    u32 layers_from, layers_n; /* of the catalogue, held from the start: a window that moves on */
    u32 up, down;              /* flow lines */
    u32 *held; /* requests that it holds: the core's number and the request's, in turns; owned */
    size_t n_held, held_cap;
    u32 wan_cuts;    /* in force: while there is one, the registry cannot be reached from here */
    u64 lost_writes; /* layers that power cuts undid */
    struct mesh_stats past; /* of earlier lives */
    char name[24], rack[24];
};

struct packet {
    u32 from, refs;
    u16 len;
    struct addr from_addr;
    u8 bytes[LIMIT_DATAGRAM_BYTES];
};

struct talk {
    bool done; /* its client knows */
    u32 client, client_life, server, id, pending;
    int err;
    struct addr from_addr;
    u8 *bytes; /* the request, then the answer; owned */
    size_t len;
};

struct world {
    struct knobs k;
    const struct scenario *scenario;
    const struct trace *trace; /* NULL: none */
    struct engine engine;
    struct topology topology;
    struct net net;
    struct flows flows;
    u64 flows_at_ns; /* the EV_FLOWS that counts */
    struct catalog catalog;
    struct registry registry;
    u32 registry_line;
    u32 *wan_up, *wan_down; /* flow lines by office */
    struct host *hosts;     /* nodes, and behind them the trackers', topology_members() */
    u32 n;                  /* nodes */
    u32 members;            /* with the trackers */
    u32 *by_key;            /* open addressing: index + 1 */
    size_t by_key_size;
    struct inventory_pool **pools; /* by region */
    struct seal_key mesh_key, removed_key;

    struct packet **packets; /* chunks, so that a packet stays where it is */
    size_t n_packets, packets_cap;
    u32 *packets_free;
    size_t n_packets_free, packets_free_cap;
    struct talk *talks;
    size_t n_talks, talks_cap;
    u32 *talks_free;
    size_t n_talks_free, talks_free_cap;
    u8 *talk_buffer; /* LIMIT_TALK_BYTES */

    struct fetches *fetches;   /* fetch.h */
    struct copies *copies;     /* copies.h */
    struct pulls *pulls;       /* pull.h */
    struct trackers *trackers; /* tracker.h */
    struct users *users;       /* user.h */
    struct fault_plan faults;
    struct measure measure;
    struct record *record;
    struct rng rng_boot, rng_work, rng_pause;

    enum { PHASE_WARM, PHASE_FAULTS, PHASE_HEALED } phase;
    u64 healed_ns;        /* when everything was mended; UINT64_MAX before */
    u64 agreed_ns;        /* when all agreed after it; UINT64_MAX before */
    u64 store_changed_ns; /* somebody's, the last time */
    u64 end_ns;
};

struct world_options {
    const struct scenario *scenario;
    const struct knobs *knobs;
    u64 seed;
    const char *topology_text; /* NULL: built in */
    size_t topology_len;
    u32 nodes;                       /* dealt over the topology's offices; 0: as many as it says */
    const struct trace *trace;       /* borrowed; of the scenario `trace`, and no other */
    struct record *record;           /* borrowed; NULL: nothing is written */
    const struct fault_plan *faults; /* NULL: the scenario's; else exactly these */
};
/* ERR_INVAL and a sentence: the topology or the trace does not fit. */
must_use int world_new(struct world **out, const struct world_options *opt, char why[256]);
void world_del(struct world *w);

/* Delivers one event. False: the run is over, by its end or by a broken invariant. */
bool world_step(struct world *w);

u64 world_now(const struct world *w);
void world_at(struct world *w, u64 at_ns, enum event_kind kind, u32 node, u64 arg);
/* UINT32_MAX: nobody's. */
u32 world_by_key(const struct world *w, const struct node_key *k);
u32 world_by_addr(const struct world *w, const struct addr *a);
/* After flows were begun, ended or capped. */
void world_flows_changed(struct world *w);
u32 world_live(const struct world *w, u32 region); /* nodes that should be in its mesh */

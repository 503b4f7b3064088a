/* tracker.h - the trackers of a run: where users are sent, by the cores that dray-tracker links.
 *
 * A tracker is one process at the centre, and in the mesh of each region by a node number of its
 * own (topology.h): all of these start, stop and die together. What it decides is proto/chooser.h,
 * by the members and inventories that its meshes know, and by what nodes told it (proto/outcome.h:
 * strikes, distances); what it hands out is a ticket (proto/ticket.h). Around them stands what
 * tracker/ does: a node is asked whether it answers before users are sent to it, what the registry
 * allowed holds for a minute, and for `grace` when the registry is away; who is struck too often,
 * or has no node, is streamed to. Several trackers stand behind one name: each knows only what it
 * was told itself. */
#pragma once

#include "proto/chooser.h"
#include "proto/outcome.h"
#include "sim/world.h"

#define TRACKER_STREAMS_MAX 512 /* as in tracker/redirect.c */

struct tracker_probe { /* a node was asked whether it answers */
    u32 node;
    bool up;
    u64 at_ns; /* when that will be known */
    i64 off_ms;
};
struct tracker_grant { /* what the registry allowed; open addressing */
    u64 key;           /* of (user, image); 0: empty */
    u64 at_ns;
};

struct tracker {
    u32 index;
    struct strikes *strikes;
    struct rtts *rtts;
    struct pulse *pulse;
    struct roster *roster;
    struct chooser *chooser;
    struct rng rng;
    struct tracker_probe *probes; /* that are under way */
    size_t n_probes, probes_cap;
    struct tracker_grant *grants;
    size_t n_grants, grants_size;
    u32 streams;  /* that run now */
    bool away;    /* the registry is, by its last answer */
    u64 asked_ns; /* when that was */
};

/* What a node has measured, and which lives of trackers know all of it. */
struct tracker_known {
    struct outcome_rtt v[OUTCOME_RTTS_MAX];
    u32 n;
    u32 told[TOPOLOGY_TRACKERS_MAX];
};

struct tracker_told { /* a report on its way */
    bool used;
    u32 tracker, node;
    size_t len;
    u8 *bytes; /* OUTCOME_BYTES_MAX is far more than one outcome needs: owned, of `len` */
};

struct trackers {
    struct tracker v[TOPOLOGY_TRACKERS_MAX];
    struct ticket_signer signer;
    struct ticket_key key;
    struct tracker_told *told;
    size_t n_told, told_cap;
    u32 *told_free;
    size_t n_told_free, told_free_cap;
    u64 sent, streamed, refused, probes;
};

void tracker_init(struct world *w);
void tracker_fini(struct world *w);

/* Its node number in the mesh of a region. */
u32 tracker_member(const struct world *w, u32 tracker, u32 region);
enum host_state tracker_state(const struct world *w, u32 tracker);
/* The process: what it has learnt dies with it. */
void tracker_crash(struct world *w, u32 tracker, bool dark);
void tracker_boot(struct world *w, u32 tracker);
void tracker_pause(struct world *w, u32 tracker, u64 for_ns);

/* Who asks for which layer. */
struct tracker_wish {
    u8 user[TICKET_USER_BYTES];
    u32 user_number, image, layer;
    u64 bytes;
    struct addr from;
    const char *profile; /* NULL: none */
};
enum tracker_word {
    TRACKER_SENDS,   /* to `node`, with a ticket */
    TRACKER_STREAMS, /* from the registry itself */
    TRACKER_AWAY,    /* 503: the registry does not answer, and nothing is remembered */
    TRACKER_ASKS,    /* it asks somebody first, for `wait_ns`: come again */
};
struct tracker_answer {
    enum tracker_word word;
    u32 node;
    const char *by; /* static: what decided */
    u64 wait_ns;
    struct ticket ticket;
    char text[TICKET_TEXT_SIZE];
    size_t len;
};
void tracker_decide(struct world *w, u32 tracker, const struct tracker_wish *wish,
                    struct tracker_answer *out);
/* A stream of its own began, or ended. */
void tracker_streams(struct world *w, u32 tracker, bool begins);

/* The node of `ticket` tells how a transfer goes, and how far the user is (0: not this time). */
void tracker_tell(struct world *w, u32 node, const struct ticket *t, enum outcome_event event,
                  const struct addr *user, u64 rtt_ns);
void tracker_told(struct world *w, const struct event *ev); /* EV_TOLD */
/* This node's mesh has news of a tracker: one that has just started is told all distances. */
void tracker_seen(struct world *w, u32 node, u32 member);

/* user.h - users who pull through a tracker: they know the registry's URL and nothing else.
 *
 * A user stands in an office, in one of its networks, and perhaps has a
 * profile that names a cache. Each layer of an image is one request: to a tracker (the next one
 * behind the name when this one refuses), from it to a node with a ticket, which the node checks by
 * its own clock; there from the store or by a fetch, and to the user. Where nothing comes, or an
 * error, it is tried again as docker does: USER_TRIES times, five seconds later than the last time
 * each. What the manifest costs is one round trip to the tracker, before the layers.
 *
 *   WAITING -> ASKING -> HEARING -> COMING -> FETCHING -> TAKING -> done
 *      ^          |         |          |          |          |
 *      +----------+---------+--FAILING-+----------+----------+
 *
 * Judges two invariants: no answer completes with wrong bytes; and *stranded*: nobody gives up
 * though a tracker and the registry answered, or a tracker and a node that holds the layer, from
 * the first try to the last. Not here: who is sent where (tracker.h). Bytes between an office's
 * nodes and its users take no line but the node's and the user's own. */
#pragma once

#include "sim/tracker.h"

#define USER_TRIES      5
#define USER_PAUSE_NS   (5 * SIM_S)  /* times the number of tries so far */
#define USER_CONNECT_NS (15 * SIM_S) /* to an address that is silent, or until it answers */
#define USER_QUIET_NS   (30 * SIM_S) /* a stream in which nothing comes is given up */
#define USER_FLOW       (1u << 31)   /* in a flow's tag: it is a user's */

enum user_state {
    USER_WAITING,
    USER_ASKING,  /* a tracker, or it asks others */
    USER_HEARING, /* its answer is on its way */
    USER_COMING,  /* to the node */
    USER_FETCHING,
    USER_TAKING,  /* bytes come, from the node or from the tracker */
    USER_FAILING, /* an error is on its way */
};

struct user_pull {
    bool used, warm;
    u32 user, office, image, left, failed;
    u64 begun_ns;
    struct addr addr;
    u8 id[TICKET_USER_BYTES];
    char profile[TOPOLOGY_NAME_MAX + 1]; /* "": none */
};

struct user_want {
    bool used, refused, began, cold, excused, wrong, broken;
    enum user_state state;
    u32 gen; /* an event of an earlier step is stale */
    u32 pull, layer, tries, tracker, asked_trackers;
    u32 member, life; /* who serves: a node, or a tracker's number in the mesh; and its life */
    u64 begun_ns, try_ns, bytes, fetch, moved_ns, moved_bytes, cap_bps;
    u32 flow;
    struct tracker_answer answer;
};

enum user_source { USER_OWN_OFFICE, USER_OWN_REGION, USER_ELSEWHERE, USER_CENTRE, USER_SOURCES };

struct users {
    struct user_pull *pulls;
    size_t n_pulls, pulls_cap, active;
    u32 *free_pulls;
    size_t n_free_pulls, free_pulls_cap;
    struct user_want **wants; /* one by one, so that each stays where it is */
    size_t n_wants, wants_cap;
    u32 *free_wants;
    size_t n_free_wants, free_wants_cap;
    u32 *first; /* of each office's users */
    u64 by[USER_SOURCES], warm_by[USER_SOURCES], bytes_by[USER_SOURCES]; /* layers, bytes */
    u64 retries, failed, refused_tickets, others_trackers; /* others: a tracker did not answer */
    u64 trouble_ns, registry_seen; /* the registry was last seen to fail somebody */
    u64 deserted_ns;               /* no tracker was up */
};

void user_init(struct world *w);
void user_fini(struct world *w);

/* Somebody in this office pulls an image (PULL_ANY: by popularity). */
void user_begin(struct world *w, u32 office, u32 image);

/* EV_USER, EV_USER_AT, EV_USER_LATE. */
void user_event(struct world *w, const struct event *ev);
void user_fetch_ended(struct world *w, u64 fetch, int err, bool wrong);
void user_flow_done(struct world *w, u32 flow);
/* A node or a tracker is off now. */
void user_host_died(struct world *w, u32 member);
/* Each second: streams that stand still, requests without an end. */
void user_look(struct world *w);

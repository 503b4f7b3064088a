/* report.h - one run as one page: what a person looks at.
 *
 * Collects what happened while the simulator runs and writes `report.html`: the region as a picture
 * over time, the plots, the faults, a slider through virtual time. The page (sim/report/) is in the
 * program; what is written needs no network and no other file.
 * Bounded: each list keeps at most REPORT_ROWS_MAX rows; of more, a sample that is even over the
 * run (every second, then every fourth, ...), and the page says so. Samples in time likewise: `dt`
 * doubles when there would be more than REPORT_SAMPLES_MAX. Not here: what is measured (the
 * scenario), the event log (events.h). */
#pragma once

#include "proto/err.h"

#define REPORT_ROWS_MAX    20000
#define REPORT_SAMPLES_MAX 600

struct report;

enum report_series {
    REPORT_STORE_BPS, /* bytes per second to users, by source */
    REPORT_PEER_BPS,
    REPORT_WAN_BPS,
    REPORT_HIT_RATIO,      /* of users' requests so far, answered from the store */
    REPORT_PEER_HIT_RATIO, /* of the others, filled by a peer */
    REPORT_MESH_BPS,       /* sent per node: mean, and the busiest */
    REPORT_MESH_MAX_BPS,
    REPORT_VIEW_MEAN, /* share of the living that the living see alive: mean, and the worst view */
    REPORT_VIEW_MIN,
    REPORT_DEAD_BELIEVED,  /* share of the dead still believed alive, mean */
    REPORT_INVENTORY_MEAN, /* share of inventories known as their owner has them */
    REPORT_INVENTORY_MIN,
    REPORT_SERIES_COUNT
};

enum report_state { REPORT_DOWN, REPORT_UP, REPORT_PAUSED, REPORT_CUT };
enum report_source { REPORT_FROM_STORE, REPORT_FROM_PEER, REPORT_FROM_REGISTRY };

#define REPORT_REGISTRY (-1) /* a fetch's source */

/* `dt_ns`: virtual time between two samples, at first. ERR_NOMEM. */
must_use int report_new(struct report **out, u64 dt_ns);
void report_del(struct report *r);

/* The cast, before anything else is told: offices and nodes are numbered as they are added. */
void report_office(struct report *r, const char *name);
void report_node(struct report *r, unsigned office, const char *rack, const char *name);

void report_state(struct report *r, u64 now_ns, unsigned node, enum report_state state);
/* A transfer that ended; `source` is a node's number or REPORT_REGISTRY. */
void report_fetch(struct report *r, u64 from_ns, u64 to_ns, unsigned node, int source, u64 bytes,
                  bool ok);
/* What share (0 to 1) of the layers in question a node holds from now on. */
void report_full(struct report *r, u64 now_ns, unsigned node, double share);
/* A user's request for a layer was answered. */
void report_done(struct report *r, u64 now_ns, u64 took_ns, enum report_source source);
/* kind: "crash", "pause", "slow", "partition", "cut", "origin", "join", "heal", ... */
void report_fault(struct report *r, u64 from_ns, u64 to_ns, const char *kind, const char *text);
/* A line of what happened, for people. */
void report_log(struct report *r, u64 now_ns, const char *text);
/* What a reader should know of this run. */
void report_note(struct report *r, const char *text);

/* True when the time has come for the next sample; then report_sample() each series that applies.
 */
bool report_wants_sample(const struct report *r, u64 now_ns);
void report_sample(struct report *r, u64 now_ns,
                   const double values[REPORT_SERIES_COUNT]); /* NaN: none */

/* Writes the page. `summary` is the run's JSON object; `bound_s` 0: none. ERR_IO, ERR_NOMEM: what
 * was told is incomplete. */
must_use int report_write(struct report *r, const char *path, const char *summary, double bound_s,
                          u64 end_ns);

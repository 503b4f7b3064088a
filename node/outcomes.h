/* outcomes.h - tells trackers how their tickets ended, how far users are, and what this node has
 * done (proto/outcome.h).
 *
 * What happens is queued and sent within OUTCOMES_FLUSH_MS to the tracker that issued the ticket;
 * round-trip times and totals ride along to every tracker of the region. Without an outcome they go
 * every OUTCOMES_TOTALS_MS if there is something new, and totals after OUTCOMES_AGAIN_MS anyhow, so
 * that a tracker that came later knows them. One that has just started is told all distances that
 * are known here: it has forgotten them. One report at a time for each tracker. Everything is
 * bounded: what does not fit, or whose tracker is not to be seen in the region, is dropped and
 * counted. Loop thread only. */
#pragma once

#include <uv.h>

#include "proto/outcome.h"
#include "runtime/http_client.h"
#include "runtime/metrics.h"
#include "runtime/region.h"

#define OUTCOMES_FLUSH_MS  200
#define OUTCOMES_TOTALS_MS 5000
#define OUTCOMES_AGAIN_MS  60000
#define OUTCOMES_QUEUE     4096
#define OUTCOMES_TRACKERS  8

struct outcomes;

struct outcomes_options {
    uv_loop_t *loop;
    struct http_client *client; /* borrowed, as are the others */
    struct metrics *metrics;
    void (*totals)(void *arg, struct outcome_totals *out); /* of now; NULL: none are told */
    void *arg;
};
must_use int outcomes_new(struct outcomes **out, const struct outcomes_options *opt);
/* The region begins to be carried; without one everything is dropped. */
void outcomes_attach(struct outcomes *o, struct region *region);
/* Nothing more is sent; its timer closes on the loop. */
void outcomes_stop(struct outcomes *o);
void outcomes_del(struct outcomes *o); /* after the loop ended */

/* Something happened to a ticket that `tracker` issued. */
void outcomes_note(struct outcomes *o, const struct node_key *tracker, const struct outcome *what);
/* The least round trip to a client was so long; 0 or absurd: ignored. */
void outcomes_note_rtt(struct outcomes *o, const struct addr *client, u32 rtt_us);

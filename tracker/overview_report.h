/* overview_report.h - GET /api/v1/overview: the mesh at a glance, as one JSON document.
 *
 * Made at most once a second, however many look on, and kept as text; a weak ETag leaves out the
 * clock, so that who has seen it all gets 304. Bounded: OVERVIEW_NODES_SHOWN members,
 * OVERVIEW_PULLS_SHOWN pulls, and only buckets in which something happened. Texts of nodes are
 * shown as text: what is not UTF-8 is replaced. Names of its fields: docs/operations.md. */
#pragma once

#include "tracker/tracker_internal.h"

#define OVERVIEW_NODES_SHOWN 4096
#define OVERVIEW_PULLS_SHOWN 96
#define OVERVIEW_EVERY_MS    900

struct overview_text;

/* Answers; whether the asker may see it was looked at before. */
void overview_reply(struct tracker *t, struct http_exchange *x);
void overview_text_del(struct overview_text *o); /* NULL: nothing */

/* warm.h - an image brought here ahead of a rollout: POST /api/v1/prefetch, and by order of another
 * node of the region POST /mesh/v1/prefetch-image.
 *
 * The manifest is asked of the registry with the node's own credentials (anonymously without), of
 * an index those of the platform wanted, and every config and layer is fetched like a miss: from
 * peers where they hold it, in the region's one copy. Manifests are kept, too. The asker of a whole
 * region tells every living node the same, and each fetches for itself.
 *
 * Bounded: WARM_RUNNING at a time, of which each fetches WARM_AHEAD layers at once; WARM_KEPT are
 * remembered for looking at. Loop thread only. */
#pragma once

#include <jansson.h>

#include "proto/prefetch.h"
#include "runtime/http_server.h"

#define WARM_RUNNING 8
#define WARM_KEPT    32
#define WARM_AHEAD   4

struct node;
struct warms;

must_use int warms_new(struct warms **out, struct node *n);
void warms_stop(struct warms *w); /* ends all; its timer closes on the loop */
void warms_del(struct warms *w);  /* after the loop ended */

/* Begins. `region`: tells the others, too. `*id` is how it is called. `platform` "": the node's
 * own. ERR_INVAL: no image; ERR_NOTFOUND: a registry that is no upstream here; ERR_FULL; ERR_NOMEM.
 */
must_use int warm_begin(struct warms *w, const struct prefetch_image *what, bool region, u64 *id);
/* How it goes; a new reference, NULL: not (any more) known, or out of memory. */
json_t *warm_report(const struct warms *w, u64 id);
json_t *warms_report(const struct warms *w); /* all that are known, the latest first */

bool warm_takes(struct http_slice target);
/* A peer's order. */
void warm_serve(struct node *n, struct http_exchange *x);

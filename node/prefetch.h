/* prefetch.h - begins with layers before a user asks for them: POST /mesh/v1/prefetch.
 *
 * A tracker that relayed a manifest, and will send its reader here, says what it needs
 * (proto/prefetch.h). Scanners read manifests and configs and never pull, so until that user shows
 * a ticket for one of its layers here, an order may use
 *   - free room only: nothing is evicted for it
 *   - a tenth of limits.wan (of PREFETCH_WAN where there is no limit), all orders together: a
 *     budget that grows by that, and pays for a layer before it is begun; one at a time
 *   - PREFETCH_LAPSE_MS: then it is forgotten
 * From then on its layers are fetched as if asked for, PREFETCH_AHEAD at once, until nobody asked
 * for so long. Whoever asks joins the fetch that runs (fill.h). Bounded: PREFETCH_ORDERS; of more
 * the oldest that nobody claimed is forgotten. Loop thread only. */
#pragma once

#include "runtime/http_server.h"

#define PREFETCH_WAN      (10ull << 20) /* bytes per second */
#define PREFETCH_LAPSE_MS 30000
#define PREFETCH_ORDERS   64
#define PREFETCH_AHEAD    3

struct node;
struct prefetch;
struct ticket;

must_use int prefetch_new(struct prefetch **out, struct node *n);
void prefetch_stop(struct prefetch *p); /* no more; its timer closes on the loop */
void prefetch_del(struct prefetch *p);  /* after the loop ended */

bool prefetch_takes(struct http_slice target);
void prefetch_begin(struct node *n, struct http_exchange *x);
/* A user showed a valid ticket. */
void prefetch_claim(struct prefetch *p, const struct ticket *t);

/* prefetches.h - the node that a user will be sent to is told what the manifest needs, as soon as
 * it was relayed (proto/prefetch.h).
 *
 * Scanners read manifests by the thousand and never pull. So of each user (and address) two orders
 * at most stand open; one that brings no request for a layer within PREFETCHES_LAPSE_MS has lapsed,
 * and after PREFETCHES_LAPSES in a row nothing more is ordered for that user until a layer is asked
 * for, or PREFETCHES_PAUSE_MS have passed. Scanners read configs, too: a blob that a manifest named
 * as its config is no layer. What the node itself may spend on it is bounded beside that
 * (node/prefetch.h). An order that is lost is no disaster. Bounded tables. Loop thread only. */
#pragma once

#include "proto/digest.h"
#include "proto/ticket.h"
#include "runtime/manifest.h"

#define PREFETCHES_LAPSE_MS 30000
#define PREFETCHES_LAPSES   3
#define PREFETCHES_PAUSE_MS 600000
#define PREFETCHES_OPEN     2

struct tracker;
struct prefetches;
struct chooser_wish;

struct prefetches *prefetches_new(struct tracker *t); /* NULL: out of memory */
void prefetches_del(struct prefetches *p);            /* after the HTTP client */

/* A manifest was relayed to the user of `w`, who may pull; digest and size of `w` are not looked
 * at. `authorization` NULL: anonymous. */
void prefetches_manifest(struct prefetches *p, const struct chooser_wish *w,
                         const char *authorization, const struct manifest_blob *blobs, size_t n);
/* The user asks for a blob of this repository. */
void prefetches_asked(struct prefetches *p, const struct chooser_wish *w);

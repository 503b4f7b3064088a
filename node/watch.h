/* watch.h - trackers hold a line to this node, to know at once that it is gone.
 *
 * Why: the mesh needs a second or two to notice that a process died, a question (tracker/probes.h)
 * is as old as its answer, and containerd tries the address that it was sent to once. The kernel
 * ends a dead process' connections at once. So GET /mesh/v1/watch, by a tracker, with a Dray-Peer,
 * is an answer that does not end while this node serves; a byte now and then shows a tracker's
 * silent end. It ends when the node begins to drain. Bounded: WATCHES_MAX. Loop thread only. */
#pragma once

#include "runtime/http_server.h"

#define WATCH_PATH  "/mesh/v1/watch"
#define WATCHES_MAX 64

struct node;
struct watches;

struct watches *watches_new(void); /* NULL: out of memory */
void watches_del(struct watches *w);
/* Ends all lines, and takes no more. */
void watches_end(struct watches *w);
void watches_tick(struct watches *w); /* once a second */

bool watch_takes(struct http_slice target);
void watch_begin(struct node *n, struct http_exchange *x);

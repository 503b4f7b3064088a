/* watches.h - a line to each node of each region, so that one that dies is not chosen from that
 * moment on (node/watch.h says why).
 *
 * GET /mesh/v1/watch is held to every node that the mesh says is alive. When it ends, the node
 * counts as silent (proto/pulse.h) until it takes a new line, or answers a question again. A node
 * that hangs or whose machine is cut off ends nothing: that is what questions and the mesh are for.
 * A node that knows no lines is asked again after a minute. Loop thread only. */
#pragma once

#include <stddef.h>

struct tracker;
struct watches;

struct watches *watches_new(struct tracker *t); /* NULL: out of memory */
void watches_stop(struct watches *w);           /* its handles close on the loop */
void watches_del(struct watches *w);            /* after the HTTP client */
size_t watches_held(const struct watches *w);   /* lines */

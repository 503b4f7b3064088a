/* holdings.h - the node's region: made of the node's config, and told what the store holds.
 *
 * Layers are told to the mesh, documents (which the store knows by their media type) are not: they
 * are asked of the registry. */
#pragma once

#include "node/config.h"
#include "runtime/region.h"
#include "store/store.h"

/* Borrows from `c`. */
struct region_config holdings_config(const struct node_config *c);
/* The mesh is new: tells it everything, and what changes from now on. */
void holdings_feed(struct region *r, struct store *s);
/* Before the region stops. */
void holdings_stop(struct store *s);

/* wan_share.h - this node's part of what the region may read from registries (limits.wan).
 *
 * Why: the region's line is one, and whoever misses a layer may be appointed to read it. So the
 * limit is the region's: nodes tell each other how many layers they read (mesh_set_fetches()), and
 * each takes its layers' part of the limit. Without other nodes it is this node's alone.
 * Guarantee: once all know of all, the parts add up to the limit; until then (about two seconds)
 * those who began meanwhile come on top. At most MEMBER_FETCHES_MAX layers of a node count: who
 * tells more slows the others down no further.
 * Not here: waiting (pace.h). Loop thread only. */
#pragma once

#include "proto/types.h"

struct node;

struct wan_share {
    u8 told;     /* to the region */
    u32 fewer_s; /* so long there were fewer */
};

/* Once a second. */
void wan_share_tick(struct node *n);

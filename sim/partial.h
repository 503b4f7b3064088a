/* partial.h - what a node's store keeps of layers that are not whole, as the pieces of a cut ingest
 * (store/store.h) do in the daemon.
 *
 * Why: a fetch that its process's death ended, or that was given up, goes on with the pieces that
 * are there when the layer is next wanted, and gives them to others. kill -9 and orderly restarts
 * lose none; a power cut drops them all, as the store does, which cannot know what had reached the
 * disk. What is there is hashed again before it is believed: only right pieces are kept here.
 * Bounded: PARTIALS_MAX of a node, of which the oldest goes. They do not count in the shelf's
 * capacity: there they would be the first to go. */
#pragma once

#include "proto/pieces.h"

#define PARTIALS_MAX 16

struct partial {
    u32 layer;
    struct piece_map map; /* owned */
};

struct partials {
    struct partial v[PARTIALS_MAX]; /* the oldest first */
    u32 n;
};

/* Takes the map and leaves none. One of this layer makes room for it. */
void partial_keep(struct partials *s, u32 layer, struct piece_map *map);
/* Gives the map away in place of the one that is there. False: none is kept of this layer. */
bool partial_take(struct partials *s, u32 layer, struct piece_map *map);
bool partial_has(const struct partials *s, u32 layer, u32 piece);
void partial_drop_all(struct partials *s);

/* shelf.h - a node's store without a disk: which layers it holds, in what order they were used,
 * how many bytes that is.
 *
 * Why: what goes when room is needed is decided by store/evict.h's policy, the one that the daemon
 * runs; this is only what that policy looks at. As in the daemon, it is shown the least recently
 * used few dozens, never those that are pinned.
 * Faults: rot (the bytes are wrong, and nobody has noticed yet), and layers whose writing a crash
 * undid (shelf_crash).
 * Guarantee: the bytes held never exceed the capacity. */
#pragma once

#include "sim/catalog.h"

struct shelf_entry {
    u32 layer;
    u32 newer, older; /* in the order of use; SHELF_NONE at the ends */
    u32 pins;
    u64 bytes;
    u64 used_ms;   /* by the node's wall clock */
    u64 stored_ms; /* the same; where a power cut matters its owner sets the true time */
    bool rotten;
};

#define SHELF_NONE UINT32_MAX

struct shelf {
    u64 capacity, used;
    struct shelf_entry *entries;
    size_t cap;
    u32 n, n_slots, free; /* entries held; slots given out; a list of free ones by `newer` */
    u32 newest, oldest;
    u32 *index; /* open addressing by layer: slot + 1, 0 is empty */
    size_t index_size;
    u64 evicted, evicted_bytes;
};

void shelf_init(struct shelf *s, u64 capacity);
void shelf_fini(struct shelf *s);

struct shelf_entry *shelf_find(struct shelf *s, u32 layer); /* NULL: not held */
void shelf_use(struct shelf *s, struct shelf_entry *e, u64 now_ms);
/* Makes room for `bytes`: the layers that went are appended to `gone` (room for `max`), their
 * number to `*n`. ERR_FULL: it cannot be made; what went is gone all the same. */
must_use int shelf_make_room(struct shelf *s, const struct catalog *c, u64 bytes, u32 *gone,
                             size_t max, size_t *n);
/* There is room, and it is not held. */
void shelf_put(struct shelf *s, u32 layer, u64 bytes, u64 now_ms);
void shelf_remove(struct shelf *s, u32 layer);
/* What was stored after `synced_ms` is lost; appended to `gone` as above. */
void shelf_crash(struct shelf *s, u64 synced_ms, u32 *gone, size_t max, size_t *n);
/* Visits all, oldest first: `*at` begins as SHELF_NONE. NULL at the end. */
const struct shelf_entry *shelf_each(const struct shelf *s, u32 *at);

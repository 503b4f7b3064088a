/* mark.h - who has the store, and how the last one left it.
 *
 * Why: LMDB lets a second process in silently, and without syncs (as we run it) a power cut may
 * leave its file damaged in ways that it does not notice. So one process locks the store, and three
 * traces tell what may be trusted:
 *
 *   clean present                       all was synced: trust index and partials
 *   no clean, lock names this boot      killed: the kernel kept every write: trust them too
 *   no clean, another boot or none      power cut: rebuild the index, drop the partials
 *
 * The lock file is written in place at a fixed length, so that a full disk does not refuse it. */
#pragma once

#include "store/layout.h"

#define MARK_BOOT_SIZE 64

struct mark {
    int lock_fd;
    bool clean;                /* the last close was orderly */
    bool same_boot;            /* the machine has not restarted since the store was last open */
    bool fresh;                /* there was no lock file: a new store */
    char boot[MARK_BOOT_SIZE]; /* this boot's id; "" when the kernel does not tell */
    char last_boot[MARK_BOOT_SIZE]; /* the lock file's */
};

/* Locks the store and reads the traces. `boot_id` NULL: the kernel's. ERR_BUSY: another process has
 * it; ERR_INVAL, ERR_IO, ERR_NOSPACE. */
must_use int mark_take(struct mark *m, const struct layout *l, const char *boot_id,
                       char why[LAYOUT_WHY]);
/* The index is good and about to change: durably no longer clean, of this boot. */
must_use int mark_running(struct mark *m, const struct layout *l, char why[LAYOUT_WHY]);
/* Everything is synced: durably clean. */
must_use int mark_clean(struct mark *m, const struct layout *l);
/* Unlocks. */
void mark_release(struct mark *m);

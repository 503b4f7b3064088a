/* recover.h - from whatever the last process left to an index that can be trusted.
 *
 * Why: LMDB answers a damaged file with SIGSEGV, SIGBUS or an abort. So everything that reads the
 * whole index happens in a forked child, which may die: then the index is rebuilt from blobs/, in
 * another child. Only totals come back through a pipe, so the parent's memory stays small however
 * many blobs there are.
 *
 *   how it was left          the child's job
 *   orderly close            CHECK      walk the index
 *   killed, same boot        RECONCILE  walk it, then compare it with blobs/
 *   power cut, no index      REBUILD    make it anew from the names and sizes in blobs/
 *   CHECK or RECONCILE failed or died   REBUILD
 *
 * After RECONCILE and REBUILD index and blobs/ agree exactly. Complete files without an entry (a
 * crash between rename and index) are hashed before they are indexed, up to RECOVER_HASH_BYTES in
 * all: they were verified before they got there, and the scrubber takes the rest first. After
 * REBUILD every blob counts as never scrubbed, for the same reason. Not here: partials
 * (store_open.c). Blocking; call before any thread exists. */
#pragma once

#include "store/index.h"
#include "store/layout.h"
#include "store/mark.h"

#define RECOVER_HASH_BYTES (2ull << 30) /* about a second with SHA instructions */
#define RECOVER_WALK_S     120          /* a walk that takes longer is not going to end */

enum recover_job { RECOVER_CHECK, RECOVER_RECONCILE, RECOVER_REBUILD };

struct recover_plan {
    const struct layout *layout;
    const char *index_dir;
    u64 map_bytes;
    u64 now_ms;
};

/* What a child sends back; plain data. */
struct recover_report {
    int rc;
    struct index_totals totals;
    u64 orphans_indexed, entries_dropped, garbage_removed;
};

/* Leaves a good index. ERR_NOSPACE, ERR_NOMEM, ERR_IO; `why` then says what to do. */
must_use int recover_index(const struct recover_plan *plan, const struct mark *mark,
                           struct recover_report *report, struct store_opened *found,
                           char why[LAYOUT_WHY]);

/* One job, in the process that may die (recover_job.c). */
void recover_run(const struct recover_plan *plan, enum recover_job job,
                 struct recover_report *report);

/* ledger.h - what all trackers behind one name must know alike: which cache serves a user, teams,
 * who was revoked; kept by each, merged by a rule that every order of messages ends in the same
 * table.
 *
 * Why: any tracker answers any user. A profile that is set at one has to be obeyed by the others,
 * one that was deleted must not come back from a tracker that slept, and nobody may be needed for a
 * change. An entry is last-writer-wins per (kind, name), its version (counter, tracker id): a
 * hybrid logical clock (Kulkarni et al., 2014): 1 + the highest seen, or the wall clock in ms,
 * whichever is more. So a change made after another was seen wins over it, whatever the clocks say;
 * of two made unseen the later, by their clocks. A deletion is an entry like any other (a
 * tombstone).
 *
 * Bounded: tombstones are forgotten after LEDGER_DEAD_MS, revocations after LEDGER_REVOKED_MS, by
 * their counter, which is a date; of more than there is room for the oldest go. A tracker that was
 * away for longer than that may bring back what was deleted: it has to begin with an empty ledger.
 * A counter more than LEDGER_AHEAD_MS ahead is refused, so that nobody can end all later changes.
 *
 * Guarantee: merging is commutative, associative and idempotent (but for what is forgotten); equal
 * tables have equal sums. Not here: who may say something (the envelope of tracker/), the disk.
 *
 * Anti-entropy: entries fall into LEDGER_GROUPS groups by a hash of kind and name; of each group
 * both sides compare the sum of its entries' marks (64 bits of kind, name, version), and of those
 * that differ the marks. Four messages, each an array [LEDGER_TALK_VERSION, type, ...]:
 *
 *     asker    [1, 1, sums]                       sums: bin of LEDGER_GROUPS x 8 bytes
 *     answerer [1, 2, [[group, marks], ...]]      marks: bin of 8 bytes each; empty: all is equal
 *     asker    [1, 3, [[group, marks], ...], [entry, ...]]    wanted, and what the other lacks
 *     answerer [1, 4, [entry, ...]]               what was wanted
 *     entry    [kind, name, value or nil, counter, origin]
 *
 * A message holds what fits; whoever asks begins again until all is equal. */
#pragma once

#include "proto/wire.h"

#define LEDGER_NAME_MAX     255
#define LEDGER_VALUE_MAX    64
#define LEDGER_ID_BYTES     16
#define LEDGER_GROUPS       256
#define LEDGER_TALK_VERSION 1
#define LEDGER_BYTES_MAX    (60 * 1024) /* of a message: it fits in a request's body, sealed */

#define LEDGER_PROFILES_MAX 200000
#define LEDGER_TEAMS_MAX    4096
#define LEDGER_MEMBERS_MAX  200000
#define LEDGER_REVOKED_MAX  4096
#define LEDGER_DEAD_MAX     65536
#define LEDGER_DAY_MS       86400000ull
#define LEDGER_DEAD_MS      (30 * LEDGER_DAY_MS)
#define LEDGER_REVOKED_MS   (31 * LEDGER_DAY_MS) /* as long as a decision may be remembered */
#define LEDGER_AHEAD_MS     LEDGER_DAY_MS

enum ledger_kind {
    LEDGER_PROFILE = 1, /* user -> region or node */
    LEDGER_TEAM = 2,    /* team -> region or node */
    LEDGER_MEMBER = 3,  /* user -> team */
    LEDGER_REVOKED = 4, /* user -> "": what was decided up to the counter counts no more */
};
#define LEDGER_KINDS 5

struct ledger_entry {
    enum ledger_kind kind;
    bool dead;   /* a tombstone: value is "" */
    u64 counter; /* Unix ms, or more */
    u8 origin[LEDGER_ID_BYTES];
    char name[LEDGER_NAME_MAX + 1];
    char value[LEDGER_VALUE_MAX + 1];
};

struct ledger;

/* `self`: this tracker's id. ERR_NOMEM. */
must_use int ledger_new(struct ledger **out, const u8 self[LEDGER_ID_BYTES]);
void ledger_del(struct ledger *l);

/* Bytes above ' ' but / and DEL, 1 to LEDGER_NAME_MAX of them. */
bool ledger_name_valid(const char *name);
/* Fills in the version of a change that is made now: above all that was seen, but for what lies
 * further ahead than anybody takes it (our clock was ahead once). ERR_AGAIN: just that is known of
 * this name; not before its date comes. The name is valid. */
must_use int ledger_stamp(struct ledger *l, struct ledger_entry *e, u64 now_ms);
/* 0: it is in. ERR_EXISTS: known already, or older than what is here, or of a time that is
 * forgotten; ERR_INVAL: malformed, or too far ahead; ERR_FULL; ERR_NOMEM. */
must_use int ledger_merge(struct ledger *l, const struct ledger_entry *e, u64 now_ms);
/* Room for a new name of this kind, beside so many that are on their way? */
bool ledger_has_room(const struct ledger *l, enum ledger_kind kind, size_t coming);
/* Forgets what is over, a stretch of the table at each call (all of it in 64); what was forgotten
 * is written to `gone` (at most `max`, the rest waits), for the disk. Returns how many. */
size_t ledger_expire(struct ledger *l, u64 now_ms, struct ledger_entry *gone, size_t max);

/* The living value; NULL: none. Borrowed until the next change. */
const char *ledger_find(const struct ledger *l, enum ledger_kind kind, const char *name);
size_t ledger_count(const struct ledger *l, enum ledger_kind kind); /* living */
size_t ledger_count_dead(const struct ledger *l);
/* The next of all entries, tombstones too; *at begins with 0. The ledger must not change between.
 */
struct ledger_cursor {
    size_t bucket, at;
};
bool ledger_each(const struct ledger *l, struct ledger_cursor *at, struct ledger_entry *e);

/* --- messages: `out` has LEDGER_BYTES_MAX; ERR_PROTO: malformed ---------------------------------
 */

enum ledger_talk { LEDGER_SUMS = 1, LEDGER_HAVE = 2, LEDGER_SWAP = 3, LEDGER_TAKE = 4 };
/* Which message is this? 0: none of ours. */
int ledger_talk_type(const void *data, size_t len);
size_t ledger_sums(const struct ledger *l, u8 *out);
must_use int ledger_have(const struct ledger *l, const void *sums, size_t len, u8 *out,
                         size_t *out_len);
/* `*out_len` 0: all is equal. */
must_use int ledger_swap(const struct ledger *l, const void *have, size_t len, u8 *out,
                         size_t *out_len);
must_use int ledger_take(const struct ledger *l, const void *swap, size_t len, u8 *out,
                         size_t *out_len);

/* The entries of a SWAP or TAKE, one by one. */
struct ledger_reader {
    struct wire_in in; /* borrows the message */
    u32 left;
};
must_use int ledger_read(struct ledger_reader *r, const void *data, size_t len);
/* False: that was the last, or the message is malformed from here on. */
bool ledger_next(struct ledger_reader *r, struct ledger_entry *e);

/* --- as the disk keeps it ------------------------------------------------------------------------
 */

#define LEDGER_ENTRY_BYTES 400 /* one, packed */
size_t ledger_pack(const struct ledger_entry *e, u8 out[LEDGER_ENTRY_BYTES]);
must_use int ledger_unpack(struct ledger_entry *e, const void *data, size_t len);

/* ledger_impl.h - what the files of the ledger share; nobody else includes it.
 *
 *   ledger.c        the table: merging, versions, what is forgotten
 *   ledger_talk.c   anti-entropy: the four messages
 *
 * Buckets of one group stand in a row, so that a group is walked without looking at the others. */
#pragma once

#include "proto/ledger.h"

#define LEDGER_BUCKETS 16384
#define LEDGER_STRETCH (LEDGER_BUCKETS / LEDGER_GROUPS) /* buckets of a group */

struct ledger_record {
    struct ledger_record *next;
    u64 place; /* hash of kind and name: its bucket is the upper bits */
    u64 mark;  /* hash of all but the value, which the version stands for */
    u64 counter;
    u8 origin[LEDGER_ID_BYTES];
    u8 kind;
    bool dead;
    u8 value_at; /* in text */
    char text[]; /* name, NUL, value, NUL */
};
static_assert(LEDGER_NAME_MAX + 1 <= UINT8_MAX + 1, "value_at counts from the name's NUL");

struct ledger {
    u8 self[LEDGER_ID_BYTES];
    u64 top;                     /* the highest counter seen */
    size_t counts[LEDGER_KINDS]; /* [0]: tombstones */
    u64 horizon[LEDGER_KINDS];   /* up to here was forgotten for want of room */
    size_t expire_at;            /* bucket */
    u64 sums[LEDGER_GROUPS];
    struct ledger_record *buckets[LEDGER_BUCKETS];
};

static inline size_t ledger_group(u64 place)
{
    return place >> 56;
}
void ledger_entry_of(const struct ledger_record *r, struct ledger_entry *e);
bool ledger_entry_valid(const struct ledger_entry *e);

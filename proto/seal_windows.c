/* seal_windows.c - see seal_windows.h.
 *
 * Entries stand in one array, found by a chained hash. The claimed ones are held in a row by age,
 * since anybody with the mesh key can have them replaced. The proven ones carry only the time of
 * their last message: which of them is the oldest is looked for when no claimed one is left, once
 * per record proven in a full table, which a signature costs more to check; and what they send
 * touches no other entry. Links are indices, since the array moves when it grows. */
#include "proto/seal_windows.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/seal.h"
#include "proto/window.h"

#define NONE       UINT32_MAX
#define FIRST_ROOM 16
#define BUCKETS    4  /* for each entry: in a short chain the first is nearly always the one */
#define LINE       64 /* bytes of a cache line */
#define WORDS      WINDOW_WORDS(SEAL_WINDOW_DATAGRAMS)
#define TALK_WORDS WINDOW_WORDS(SEAL_WINDOW_TALKS)

static_assert(SEAL_WINDOW_DATAGRAMS % 64 == 0 && SEAL_WINDOW_TALKS % 64 == 0, "whole words");
static_assert((LIMIT_SEAL_SENDERS & (LIMIT_SEAL_SENDERS - 1)) == 0, "doubling ends there");
static_assert(LIMIT_SEAL_SENDERS > LIMIT_MEMBERS, "claims do not push members out");

struct session {
    u64 epoch;
    u64 top, bits[WORDS];
    u64 talk_top, talk_bits[TALK_WORDS];
};

/* What each datagram looks at is its first cache line, up to the newest word of its window. */
struct entry {
    _Alignas(LINE) u64 sender;
    u32 chain; /* the next of the same bucket */
    bool proven;
    u32 older, newer; /* in the row of the claimed */
    u64 heard;        /* of a proven one: when, in messages of all senders */
    struct session now;
    struct session *claimed; /* newer than the proven one; usually none */
};

static_assert(offsetof(struct entry, now.bits) + 2 * sizeof(u64) <= LINE, "one line");

struct seal_windows {
    u64 seed;
    u32 n, room; /* room: a power of two, and so is the number of buckets */
    struct entry *entries;
    u32 *buckets;
    u32 oldest, newest; /* of the claimed */
    u64 messages;       /* taken in from proven senders */
};

int seal_windows_new(struct seal_windows **out, u64 seed)
{
    struct seal_windows *t = calloc(1, sizeof(*t));
    *out = t;
    if (!t)
        return ERR_NOMEM;
    t->seed = seed;
    t->oldest = t->newest = NONE;
    return 0;
}

void seal_windows_del(struct seal_windows *t)
{
    if (!t)
        return;
    for (u32 i = 0; i < t->n; i++)
        free(t->entries[i].claimed);
    free(t->entries);
    free(t->buckets);
    free(t);
}

u64 seal_windows_bytes(const struct seal_windows *t)
{
    u64 bytes = sizeof(*t) + t->room * (sizeof(struct entry) + BUCKETS * sizeof(u32));
    for (u32 i = 0; i < t->n; i++)
        if (t->entries[i].claimed)
            bytes += sizeof(struct session);
    return bytes;
}

/* --- the table ------------------------------------------------------------------------------- */

static u64 word_of(const u8 sender[8])
{
    u64 word;
    memcpy(&word, sender, sizeof(word));
    return word;
}

static u32 *bucket_of(const struct seal_windows *t, u64 sender)
{
    u64 h = (sender ^ t->seed) * 0xff51afd7ed558ccdu;
    h = (h ^ (h >> 33) ^ (t->seed >> 7)) * 0xc4ceb9fe1a85ec53u;
    return &t->buckets[(h >> 32) & (BUCKETS * t->room - 1)];
}

static void row_leave(struct seal_windows *t, u32 i)
{
    struct entry *e = &t->entries[i];
    *(e->older == NONE ? &t->oldest : &t->entries[e->older].newer) = e->newer;
    *(e->newer == NONE ? &t->newest : &t->entries[e->newer].older) = e->older;
}

static void row_enter(struct seal_windows *t, u32 i)
{
    struct entry *e = &t->entries[i];
    e->older = t->newest;
    e->newer = NONE;
    *(t->newest == NONE ? &t->oldest : &t->entries[t->newest].newer) = i;
    t->newest = i;
}

static void note_heard(struct seal_windows *t, u32 i)
{
    struct entry *e = &t->entries[i];
    if (e->proven) {
        e->heard = ++t->messages;
    } else if (t->newest != i) {
        row_leave(t, i);
        row_enter(t, i);
    }
}

/* In a full table. */
static u32 heard_longest_ago(const struct seal_windows *t)
{
    if (t->oldest != NONE)
        return t->oldest;
    u32 oldest = 0;
    for (u32 i = 1; i < t->n; i++)
        if (t->entries[i].heard < t->entries[oldest].heard)
            oldest = i;
    return oldest;
}

static void chain_enter(struct seal_windows *t, u32 i)
{
    u32 *bucket = bucket_of(t, t->entries[i].sender);
    t->entries[i].chain = *bucket;
    *bucket = i;
}

static void chain_leave(struct seal_windows *t, u32 i)
{
    u32 *link = bucket_of(t, t->entries[i].sender);
    while (*link != i)
        link = &t->entries[*link].chain;
    *link = t->entries[i].chain;
}

static bool grow(struct seal_windows *t)
{
    u32 room = t->room ? 2 * t->room : FIRST_ROOM;
    if (room > LIMIT_SEAL_SENDERS)
        return false;
    u32 *buckets = malloc(BUCKETS * room * sizeof(*buckets));
    struct entry *entries = buckets ? aligned_alloc(LINE, room * sizeof(*entries)) : NULL;
    if (!entries) {
        free(buckets);
        return false;
    }
    if (t->n > 0)
        memcpy(entries, t->entries, t->n * sizeof(*entries));
    free(t->entries);
    free(t->buckets);
    t->buckets = buckets;
    t->entries = entries;
    t->room = room;
    memset(buckets, 0xff, BUCKETS * room * sizeof(*buckets)); /* NONE */
    for (u32 i = 0; i < t->n; i++)
        chain_enter(t, i);
    return true;
}

static u32 find(const struct seal_windows *t, u64 sender)
{
    u32 i = t->room ? *bucket_of(t, sender) : NONE;
    while (i != NONE && t->entries[i].sender != sender)
        i = t->entries[i].chain;
    return i;
}

/* An entry for a sender that has none: fresh room, or that of the one heard from longest ago. NONE:
 * no memory at all. */
static u32 add(struct seal_windows *t, u64 sender)
{
    u32 i = t->n;
    if (t->n < t->room || grow(t)) {
        t->n++;
    } else {
        if (t->n == 0)
            return NONE;
        i = heard_longest_ago(t);
        if (!t->entries[i].proven)
            row_leave(t, i);
        chain_leave(t, i);
        free(t->entries[i].claimed);
        t->entries[i].claimed = NULL;
    }
    t->entries[i] = (struct entry){.sender = sender};
    chain_enter(t, i);
    row_enter(t, i);
    return i;
}

/* --- windows --------------------------------------------------------------------------------- */

static void session_begin(struct session *s, u64 epoch)
{
    *s = (struct session){.epoch = epoch};
}

/* The window in which a message of this epoch counts; NULL: it is refused. */
static struct session *session_for(struct entry *e, u64 epoch)
{
    if (e->now.epoch == epoch)
        return &e->now;
    if (!e->proven) {
        session_begin(&e->now, epoch);
        return &e->now;
    }
    if (epoch < e->now.epoch)
        return NULL;
    if (e->claimed && e->claimed->epoch == epoch)
        return e->claimed;
    if (!e->claimed && !(e->claimed = malloc(sizeof(*e->claimed))))
        return NULL;
    session_begin(e->claimed, epoch);
    return e->claimed;
}

bool seal_windows_take(struct seal_windows *t, const u8 sender[8], u64 epoch, bool talk,
                       u64 counter)
{
    if (epoch == 0)
        return false;
    u64 word = word_of(sender);
    u32 i = find(t, word);
    if (i == NONE && (i = add(t, word)) == NONE)
        return false;
    note_heard(t, i);
    struct session *s = session_for(&t->entries[i], epoch);
    if (!s)
        return false;
    return talk ? window_take(&s->talk_top, s->talk_bits, TALK_WORDS, counter)
                : window_take(&s->top, s->bits, WORDS, counter);
}

void seal_windows_warm(const struct seal_windows *t, unsigned step, const u8 sender[8])
{
    if (step == 0) {
        __builtin_prefetch(t);
    } else if (t->room > 0) {
        const u32 *bucket = bucket_of(t, word_of(sender));
        if (step == 1)
            __builtin_prefetch(bucket);
        else if (*bucket != NONE)
            __builtin_prefetch(&t->entries[*bucket], 1);
    }
}

void seal_windows_proven(struct seal_windows *t, const u8 sender[8], u64 epoch)
{
    u64 word = word_of(sender);
    u32 i = find(t, word);
    if (epoch == 0 || (i == NONE && (i = add(t, word)) == NONE))
        return;
    struct entry *e = &t->entries[i];
    if (e->proven && epoch <= e->now.epoch)
        return;
    if (!e->proven && e->now.epoch > epoch && (e->claimed = malloc(sizeof(*e->claimed))))
        *e->claimed = e->now; /* the record is behind: it has started again since */
    struct session *claimed = e->claimed;
    /* The analyser does not see that add() cleared what it freed.
     * NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
    if (claimed && claimed->epoch == epoch)
        e->now = *claimed;
    else if (e->now.epoch != epoch)
        session_begin(&e->now, epoch);
    if (claimed && claimed->epoch <= epoch) {
        e->claimed = NULL;
        free(claimed);
    }
    if (!e->proven) {
        row_leave(t, i);
        e->proven = true;
        note_heard(t, i);
    }
}

/* overview.h - what a tracker remembers so that people can look on: who was sent where, what became
 * of it, and what the nodes say they have done.
 *
 * Why: a tracker decides thousands of times a second and keeps nothing; whoever asks "is it any
 * good?" wants the last quarter of an hour, who pulls from where right now, and how many bytes did
 * not cross the long line. Shown by /ui/ and told by /api/v1/overview (overview_report.c).
 *
 * Guarantee: every table has a fixed size, made at the start. Of redirects all are counted, and at
 * most OVERVIEW_PULLS_S a second are kept to be shown; the oldest is forgotten. What nodes say is
 * theirs to say: it is shown and decides nothing. Sums do not fall when a node restarts, or leaves.
 * Not here: choosing (pick.h), strikes (strikes.h). Pure but for the caller's clock: Unix ms. */
#pragma once

#include "proto/identity.h"
#include "proto/member.h"
#include "proto/oci.h"
#include "proto/outcome.h"

#define OVERVIEW_BUCKET_MS 5000
#define OVERVIEW_BUCKETS   180 /* a quarter of an hour */
#define OVERVIEW_REASONS   16  /* different ones; the last is for all further */
#define OVERVIEW_PULLS     512
#define OVERVIEW_PULLS_S   64
#define OVERVIEW_SAME_MS   60000 /* asked for again within: the same pull (parallel ranges) */
#define OVERVIEW_NODES     8192

struct overview;

must_use int overview_new(struct overview **out);
void overview_del(struct overview *o);

/* A permitted request for a layer was answered: sent to a node, or streamed by the tracker. All is
 * copied, but for `reason`, which is static. */
struct overview_sent {
    const char *reason;
    const u8 *user; /* TICKET_USER_BYTES */
    const struct addr *from;
    const struct node_key *node; /* NULL: streamed */
    const char *node_name, *region, *repository;
    const struct digest *digest;
    u64 size; /* UINT64_MAX: not known */
};
void overview_sent(struct overview *o, const struct overview_sent *s, u64 now_ms);
/* A node of region `region` (by its place in the config) reported. */
void overview_told(struct overview *o, const struct node_key *node, size_t region,
                   const struct outcome_report *r, u64 now_ms);
/* Strikes so far; what is more than the last time counts as happened now. */
void overview_strikes(struct overview *o, u64 total, u64 now_ms);

/* --- looking on ------------------------------------------------------------------------------ */

struct overview_pull {
    u64 sent_ms, changed_ms; /* changed: the last that was heard of it */
    u8 user[TICKET_USER_BYTES];
    struct addr prefix; /* the client's network */
    struct digest digest;
    struct node_key node; /* unset: streamed */
    char node_name[MEMBER_TEXT_MAX + 1], region[MEMBER_TEXT_MAX + 1];
    char repository[OCI_NAME_MAX + 1];
    const char *reason;
    u64 size;
    unsigned times;          /* that it was sent there */
    unsigned alive;          /* transfers that run */
    enum outcome_event last; /* 0: nothing heard yet */
    enum outcome_source source;
    u64 bytes; /* delivered by transfers that ended */
    u32 took_ms;
};
/* The n-th newest; NULL: no more. Borrowed until the next call. */
const struct overview_pull *overview_pull(const struct overview *o, size_t n);
u64 overview_unshown(const struct overview *o); /* not kept: more came than are shown */

/* Totals of a node that reported, with what it did in earlier lives; false: none heard. */
bool overview_node(const struct overview *o, const struct node_key *node,
                   struct outcome_totals *out);
/* Sums over all that reported, those that left included: of the first `n` regions, and of all. What
 * is held and runs counts for those that reported within OVERVIEW_FRESH_MS. */
#define OVERVIEW_FRESH_MS 180000
void overview_sums(const struct overview *o, u64 now_ms, struct outcome_totals *regions, size_t n,
                   struct outcome_totals *all);

size_t overview_reasons(const struct overview *o);
const char *overview_reason(const struct overview *o, size_t i);
u64 overview_reason_total(const struct overview *o, size_t i);

struct overview_bucket {
    u64 at; /* Unix ms / OVERVIEW_BUCKET_MS */
    u32 sent[OVERVIEW_REASONS], strikes;
    u64 served, wan; /* bytes to clients; from registries */
};
/* The buckets of the last quarter of an hour in which something happened, oldest first: calls
 * `each` for every one. */
void overview_each_bucket(const struct overview *o, u64 now_ms,
                          void (*each)(void *arg, const struct overview_bucket *b), void *arg);

/* record.h - events.jsonl: what happened, a JSON object a line, in order of virtual time.
 *
 * For whoever looks at a run afterwards: docs/simulator.md says what each line means. Every line
 * has "t" (virtual seconds) and "e" (what). A NULL record takes everything and writes nothing. */
#pragma once

#include "proto/err.h"

struct record;
struct page;
struct fault;
struct fetch;
struct fetch_request;
struct user_pull;
struct user_want;
struct world;

/* DIR/events.jsonl; makes DIR. ERR_IO, and `why`. */
must_use int record_new(struct record **out, const char *dir, char why[256]);
/* What has been told of the page for people so far; the caller's now. */
struct page *record_take_page(struct record *r);
/* Returns ERR_IO if anything could not be written. */
must_use int record_del(struct record *r);

void record_run(struct record *r, const struct world *w); /* the first line: who stands where */
void record_node(struct record *r, u64 now_ns, const char *what, u32 node);
void record_view(struct record *r, u64 now_ns, const char *what, u32 by, u32 node);
void record_fault(struct record *r, u64 now_ns, const struct fault *f);
void record_fetch_begins(struct record *r, u64 now_ns, u32 node, u32 layer, u64 bytes);
void record_fetch_ends(struct record *r, u64 now_ns, const struct fetch *f, int err);
void record_request(struct record *r, u64 now_ns, const struct fetch *f,
                    const struct fetch_request *q, const char *outcome);
void record_pull_ends(struct record *r, u64 now_ns, u32 node, u32 image, u64 took_ns, u32 failed);
/* The same of a user who pulls through a tracker; and each layer of it that came, or did not. */
void record_user_pull(struct record *r, u64 now_ns, const struct user_pull *p, u64 took_ns);
void record_served(struct record *r, u64 now_ns, const struct user_pull *p,
                   const struct user_want *v, bool worked);
/* A new layer is known to all; how long that took, and for 99 % of the nodes. */
void record_known(struct record *r, u64 now_ns, u32 node, u64 most_ns, u64 all_ns);
void record_death_known(struct record *r, u64 now_ns, u32 node, u64 took_ns);
void record_phase(struct record *r, u64 now_ns, const char *phase);
void record_broken(struct record *r, u64 now_ns, const char *invariant, const char *why);

struct record_second {
    u64 mesh_bytes, peer_bytes, registry_bytes; /* in this second */
    u32 up, paused, least_alive, most_alive;    /* alive: as nodes see it */
    double mean_alive;
    u64 requests, hits, fetches, pulls; /* requests, hits: so far; fetches, pulls: just now */
    u64 false_dead;
    u64 served, served_own; /* layers that came to users by trackers, so far; by their own office */
};
void record_second(struct record *r, u64 now_ns, const struct record_second *s);
void record_wan(struct record *r, u64 now_ns, u32 office, u64 up_bytes, u64 down_bytes);

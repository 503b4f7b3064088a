/* fill_internal.h - what the files of fill share: fill.c begins and ends them,
 * fill_waiters.c knows who waits, fill_swarm.c and others take part in a swarm (fill_swarm.h),
 * fill_fetch.c asks the registry and receives, fill_tracker.c asks a tracker in its place,
 * fill_peers.c asks other nodes, fill_sink.c hashes, writes and commits, fill_body.c feeds readers.
 */
#pragma once

#include <uv.h>

#include "node/fill.h"
#include "node/peers.h"
#include "node/ring.h"
#include "store/hash.h"

#define FILL_ALTERNATES 4         /* rights kept for a resume, beside the one in use */
#define FILL_TRACKERS   4         /* asked in turn to be read through */
#define SPAN_IOVS       16        /* blocks one job takes at most: 4 MiB */
#define FILL_WINDOW     (2 * MIB) /* recent bytes kept for followers, beyond what jobs still need */
/* From peers, a layer up to this is answered when it is verified: nobody sees a lie about it. */
#define FILL_HELD_BACK (256 * KIB)
static_assert(FILL_HELD_BACK <= LIMIT_FILL_LAG_BYTES / 8, "all of it stays in the ring meanwhile");

enum fill_state { FILL_ASKING, FILL_STREAMING, FILL_CHECKING, FILL_SOUND, FILL_FAILED };

/* A request to a peer. */
struct peer_slot {
    struct fill *fill;
    struct http_transfer *transfer; /* NULL: none */
    struct sourcing_peer peer;
    char name[MEMBER_TEXT_MAX + 1];
    u64 first, bytes, started_ns;
    bool answered, paused, again;
    bool refused; /* no layer comes: `verdict` says why */
    enum sourcing_outcome verdict;
    const char *verdict_why; /* static */
    u64 retry_ns, ignored;
};

/* Whom a fill asks beside the registry. */
struct fill_peers {
    struct sourcing core;
    struct mesh_source list[MESH_SOURCES_MAX]; /* the last one: for names */
    size_t n_list;
    struct peer_slot slots[SOURCING_SLOTS];
};

/* From whom the bytes at hand came. */
enum fill_origin { FILL_FROM_NOBODY, FILL_FROM_REGISTRY, FILL_FROM_ONE_PEER, FILL_FROM_SEVERAL };

/* A stretch of the ring that a pool thread works on. */
struct span_job {
    struct job job;
    struct fill *fill;
    struct iovec iov[SPAN_IOVS];
    int n_iov;
    u64 end; /* stream offset after it */
    int rc;
    bool running;
};

struct fills {
    struct fills_options opt;
    struct fill *first; /* all, newest first */
    size_t n;
    bool stopping;
    struct ring_cache cache;
    u64 piece_bytes; /* in memory, of all */
    u64 *fetched_bytes, *tracker_bytes, *corrupt, *resumed, *unkept;
    struct histogram *fetch_seconds[2]; /* from the registry alone; with bytes of peers */
};

struct fill {
    struct fills *set;
    struct fill *prev, *next;
    struct digest digest;
    char text[DIGEST_TEXT_SIZE];
    enum fill_state state;
    bool listed; /* found by fill_join */
    bool closing;
    unsigned holds; /* callbacks that may drop the last reference are under way */

    /* asking */
    struct fill_right right; /* in use */
    struct fill_right alternates[FILL_ALTERNATES];
    size_t n_alternates;
    struct upstream_call *call;
    struct http_transfer *reading;          /* in its place: the tracker's */
    bool reading_answered, reading_again;   /* its head came; it was asked once more */
    bool reading_elsewhere;                 /* it cannot, or will not: another may */
    struct node_key read_at[FILL_TRACKERS]; /* asked for this stretch; the last is being asked */
    size_t n_read_at;
    bool refusing; /* the running answer is a refusal, being collected */
    bool redirected;
    struct answer refusal;
    u64 skip;          /* bytes of a 200 that a resume did not want */
    unsigned attempts; /* without progress */
    unsigned looks;    /* for a tracker that is not in sight */
    uv_timer_t retry;

    /* taking part in a swarm: fill_swarm.h */
    struct fill_swarm *swarm; /* NULL: it does not */
    bool no_swarm;            /* not any more */
    bool in_order;            /* a partial file was looked for */
    bool for_region;          /* begun for others: we were appointed */
    u64 piece_bytes;          /* in memory */

    /* asking peers */
    u64 claimed;              /* the size that a manifest or a question gave */
    struct fill_peers *peers; /* NULL: the registry alone */
    uv_timer_t deadline;      /* of what was asked of them */
    enum fill_origin origin;
    struct sourcing_peer sole; /* with FILL_FROM_ONE_PEER */
    char sole_name[MEMBER_TEXT_MAX + 1];
    u64 peer_bytes;
    bool from_peer; /* the last bytes came from one */
    bool told;      /* those who waited at first were told */
    bool held_back; /* waiters are not told before the digest is right */
    bool again;     /* wrong bytes: once more, from the registry, when the sinks are idle */
    bool to_swarm;  /* that is: from others, it was the registry that sent them */
    bool second;    /* begun again for that: not once more */

    /* receiving */
    u64 size;     /* STORE_SIZE_UNKNOWN */
    u64 received; /* == ring.end */
    struct ring ring;
    bool paused;
    struct pace_waiter pace;

    /* sinks */
    struct store_ingest *ingest; /* NULL: nothing is kept */
    struct store_blob *blob;     /* after the commit */
    int file;                    /* of `ingest`, for readers, open until the end; -1: none */
    bool frozen;                 /* the file takes no more: serve-through from here on */
    bool keep_partial;
    bool sealed;
    u64 written; /* of the stream, in the file */
    u64 prefix;  /* bytes a former run left in the file, to be hashed from there */
    u64 hashed;
    struct hasher hasher; /* without an ingest */
    struct span_job write, hash;
    struct job seal;
    bool seal_running;
    int seal_rc;

    /* who wants it */
    struct fill_waiter *waiters;
    struct fill_body *bodies;
    unsigned n_bodies;
    u64 paced, paced_ms; /* `received` when its speed was last judged */
    bool fast;

    u64 started_ms, progress_ms, log_ms, log_received, bytes_per_s;
};

/* fill.c */
void fill_fail(struct fill *f, int err, const char *why);
void fill_unlist(struct fill *f);
void fill_maybe_free(struct fill *f);
/* One that nobody here waits for, in a swarm. NULL: it cannot be. */
struct fill *fill_for_region(struct fills *s, const struct digest *d, const struct fill_source *src,
                             u64 size);
void fill_refetch(const struct fill *f); /* the same again by another fill, for nobody yet */
static inline void fill_hold(struct fill *f)
{
    f->holds++;
}
static inline void fill_release(struct fill *f)
{
    f->holds--;
    fill_maybe_free(f);
}

/* fill_waiters.c */
void right_fini(struct fill_right *r);
/* The same right, borrowed. */
struct fill_source right_view(const struct fill_right *r);
/* Copies it in place of what there was. ERR_NOMEM: that stays. */
must_use int right_set(struct fill_right *r, const struct fill_source *src);
bool waiter_has_right(const struct fill_waiter *w, const struct fill_right *r);
must_use int waiter_link(struct fill *f, const struct fill_source *src, struct fill_waiter *w);
void waiter_unlink(struct fill_waiter *w);
struct fill_waiter *waiter_to_ask(const struct fill *f); /* whose right is asked next; NULL: none */
void waiters_ready(struct fill *f);

/* fill_fetch.c */
void fetch_start(struct fill *f);    /* asks whoever is next, from where the bytes end */
void fetch_registry(struct fill *f); /* asks the registry */
void fetch_in_order(struct fill *f); /* the same, from where a partial file that is there ends */
void fetch_registry_later(struct fill *f);
void fetch_begin(struct fill *f, u64 total, const char *from); /* the head is known */
void fetch_complete(struct fill *f);
void fetch_start_over(struct fill *f); /* from the first byte, nothing is kept of what came */
/* Takes bytes that follow. ERR_AGAIN: not now, fetch_resume() will be called; ERR_NOMEM. */
must_use int fetch_take(struct fill *f, const void *data, size_t len, bool from_peer);
void fetch_resume(struct fill *f);
/* Do the limits let something in now? False: fetch_resume() will be called. */
bool fetch_may_come(struct fill *f, bool from_peer);
/* Counts, and takes from the limits, what came in for a swarm, or for nobody. */
void fetch_came(struct fill *f, size_t len, bool from_peer);
/* The answer of whoever is asked, registry or tracker: as in upstream_events. */
void fetch_head(struct fill *f, const struct http_response *r, bool redirected);
enum http_data_verdict fetch_data(struct fill *f, const void *data, size_t len);
void fetch_ended(struct fill *f, int err, const char *why);
/* Is one of them asked now? */
static inline bool fetch_is_called(const struct fill *f)
{
    return f->call || f->reading;
}
/* Leaves it; nothing more comes. */
void fetch_leave(struct fill *f);

/* fill_tracker.c */
static inline bool tracker_is_next(const struct fill_right *r) /* not the registry */
{
    return r->ticket && !r->own;
}
/* Asks the tracker that issued the ticket in use, and others behind the same name where that one
 * is gone or knows the login no more. ERR_NOTFOUND: none of them is to be seen in the region;
 * ERR_UNREACHABLE: there is no region; ERR_NOMEM, ERR_INVAL. */
must_use int tracker_ask(struct fill *f);

/* fill_peers.c */
bool sources_open(struct fill *f); /* may peers be asked? Then fetch_start() does */
bool sources_are_asked(const struct fill *f);
void sources_drive(struct fill *f);
void sources_registry_ended(struct fill *f);
void sources_resume(struct fill *f);
void sources_close(struct fill *f); /* leaves all */
void sources_free(struct fill *f);  /* none is asked */
bool sources_idle(const struct fill *f);
const char *sources_name(const struct fill *f); /* who is asked now; NULL */
/* The digest is wrong: who is to blame? */
void sources_judge(struct fill *f);

/* fill_sink.c */
int sink_open_partial(struct fill *f); /* before the request */
void sink_open(struct fill *f);        /* the size is known */
bool sink_has_room(const struct fill *f, size_t len);
void sink_reserve(struct fill *f, size_t len); /* sizes unknown: before appending */
void sink_pump(struct fill *f);                /* after anything changed */
void sink_pace(struct fill *f); /* readers moved on: drop, and let the upstream go on */
bool sink_idle(const struct fill *f);
void sink_sound(struct fill *f); /* all of it is here, and right */
u64 sink_lag_max(const struct fill *f);

/* fill_body.c */
void bodies_wake(struct fill *f);
void bodies_tick(struct fill *f);          /* now and then */
void bodies_cut(struct fill *f, u64 from); /* who was shown a byte from there on: it was wrong */
u64 bodies_slowest(const struct fill *f);  /* the ring offset that some reader still needs */
bool body_can_start(const struct fill *f, u64 first);

/* fill_swarm.c */
bool swarm_open(struct fill *f);
void swarm_close(struct fill *f);
void swarm_free(struct fill *f);
bool swarm_idle(const struct fill *f);
void swarm_resume(struct fill *f);
unsigned ask_running(const struct fill *f);
void swarm_tick(struct fill *f); /* once a second */
void swarm_status(const struct fill *f, struct fill_status *st);
void swarm_stored(struct fill *f, bool kept); /* the store is done with it */

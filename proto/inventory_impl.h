/* inventory_impl.h - what the files of a view (inventory_*.c) share; see inventory.h for the whole.
 *
 * A view is a row of *seats*, one per origin, numbered as in the pool: which table, at which
 * version. Ops reach it by *links*, one per neighbour in the tree, and are applied once; what was
 * applied is noted in a log of (table, version, from whom), and each link has its place in that
 * log: nothing is copied per link, and what was lost is encoded again from the log.
 *
 *   inventory.c          the view, its seats, who is up           inventory_tree.c   the shared
 * tree inventory_own.c      our own table: writes, heads, epochs     inventory_item.c   ops and
 * heads as bytes inventory_look.c     who holds what                           inventory_link.c
 * numbered batches and acks inventory_entropy.c  asking, vectors, wants inventory_talk.c snapshots
 * by stream inventory_rice.c     sorted fingerprints as bits
 *
 * Nothing here is for others. */
#pragma once

#include "proto/inventory_pool.h"
#include "proto/message.h"
#include "proto/rate.h"

#define INVENTORY_MS 1000000ull

enum inventory_message {
    MSG_INVENTORY_BATCH = MSG_INVENTORY_FIRST, /* link: numbered ops, acks */
    MSG_INVENTORY_ASK,                         /* "do we agree?": my hash */
    MSG_INVENTORY_VECTOR,                      /* "no": a byte per origin */
    MSG_INVENTORY_WANT,    /* "I have these so far": origins, epochs, versions */
    MSG_INVENTORY_OPS,     /* the answer: ops, heads */
    MSG_INVENTORY_FETCH,   /* talk: as WANT, of any size */
    MSG_INVENTORY_FETCHED, /* talk: its answer */
};

#define INVENTORY_LINKS         24 /* five of the tree; the rest stand in, or come and go */
#define INVENTORY_WINDOW        32 /* batches sent and not yet acknowledged */
#define INVENTORY_KIDS          4
#define INVENTORY_LOG_MAX       8192u
#define INVENTORY_PENDING_MAX   1024u
#define INVENTORY_OUT_MAX       64u
#define INVENTORY_STAGED_MAX    4096u
#define INVENTORY_DIALS         2
#define INVENTORY_WRONGS        256u
#define INVENTORY_FRAME_BYTES   48 /* a batch's message around its items */
#define INVENTORY_OP_BYTES_MAX  29
#define INVENTORY_TYPICAL_BYTES 10
#define INVENTORY_HEAD_BYTES    121
#define INVENTORY_WANT_BYTES    20
#define INVENTORY_BYTES_MOD     255u /* of a version, in anti-entropy */

enum inventory_seat_flags {
    INVENTORY_UP = 1,
    INVENTORY_SELF = 2,
    INVENTORY_PENDING = 4, /* ops beyond a gap are kept for it */
    INVENTORY_WANTED = 8,  /* a want for it is open */
    INVENTORY_DOUBT = 16,  /* two versions of one write were seen: only the origin's word counts */
    INVENTORY_KNOWN = 32,  /* a seat at all: holds a use of the name */
};

struct inventory_seat { /* what each op that comes looks at: eight bytes, so that a row is short */
    u32 n;
    u16 table;
    u8 flags;
    u8 tag; /* of the table's epoch: where its byte of anti-entropy begins */
};

struct inventory_note { /* the rest of a seat */
    u32 head_n;         /* 1 + n of the newest head passed on; 0: none */
    u32 distance_us;
    u32 down_s; /* since when, in seconds of the clock given */
};

struct inventory_limb { /* a place in the tree, by origin */
    u16 up, kid[INVENTORY_KIDS];
};

struct inventory_logged {
    u32 n;
    u16 table, via;
};
#define INVENTORY_LOG_HEAD 0x8000u /* in `via`: not the op but the head at n */

struct inventory_sent {
    u64 from, to; /* of the log */
    u64 sent_ns;
    bool acked, resend;
    u8 tries;
};

struct inventory_link {
    u16 peer;
    u8 slot; /* its place among the links */
    bool tree;
    u16 instead_of; /* of this neighbour, which is silent; or INVENTORY_NONE */
    u64 keep_ns;    /* neither of these: until then */
    u64 ask_ns;     /* compare whole vectors with it then; UINT64_MAX: not */
    /* Outwards. */
    u32 session, seq, low; /* next to send; the oldest not acknowledged */
    u64 cursor;            /* of the log */
    u64 last_ns;           /* data last sent */
    u64 srtt_ns, rttvar_ns, heard_ns;
    bool silent;
    /* Inwards. */
    u32 in_session, in_ack, in_mask;
    u64 ack_ns, ack_since_ns; /* when to acknowledge; UINT64_MAX: nothing to */
    u64 in_last_ns;           /* when the last new batch came */
    /* Outwards again: last, so that what each look at a link needs stands together. */
    struct inventory_sent sent[INVENTORY_WINDOW];
};

struct inventory_pending {
    u32 n;
    u16 table, via;
    struct inventory_op op;
};

struct inventory_want {
    u16 origin, source;  /* whom to ask; INVENTORY_NONE: any that is near */
    bool talk, answered; /* answered: by the talk that is under way */
    u8 tries;
    u32 dial;  /* 0, or the talk that is under way */
    u32 n;     /* met by this version of */
    u64 epoch; /* this epoch, or anything newer */
    u64 due_ns;
};

struct inventory_alike { /* a vector, of as many datagrams as it takes, while all in it is alike */
    u16 from;            /* INVENTORY_NONE: there is none */
    u8 next;             /* the group that its next datagram begins with */
    u8 seen, chosen;     /* groups; one of them */
};

struct inventory_out {
    struct inventory_out *next;
    u16 to;
    u32 len;
    u8 bytes[];
};

struct inventory_wrong {
    u32 fp, n;
    u64 epoch;
    u16 origin;
};

struct inventory_dial {
    u32 id;
    u16 to;
};

struct inventory_own {
    u64 epoch;                     /* of our table */
    u64 commit_ns, last_commit_ns; /* UINT64_MAX: nothing staged */
    u64 head_ns;                   /* when the next head is due; UINT64_MAX: the last one holds */
    bool head_signed;
    bool head_due; /* signed never, or not since the ring was cut */
    bool accused;  /* somebody writes in our name: write something, then */
    u64 accused_ns;
    u64 last_head_ns;
    u32 head_n, head_share; /* the next in so many thousandths of the period */
    u64 *set;               /* open addressing of digest hashes; 0: free */
    u32 set_cap, set_len;
    u64 *add, *take; /* staged, INVENTORY_STAGED_MAX in all */
    u32 n_add, n_take, staged_cap;
};

/* What each call looks at stands first, together; of the links too, by slot, so that most looks
 * touch none of them. */
struct inventory {
    struct inventory_pool *pool;
    u64 hash;
    struct inventory_seat *seats;
    u32 cap_seats;
    u16 me, root;
    struct inventory_out *out;
    u64 entropy_due_ns, prune_ns;
    u64 want_due_ns;      /* not later than the first of them */
    u32 n_links, outward; /* outward: a bit for each that is given what is new */
    u32 n_wants, n_out;
    struct inventory_own own;
    u16 link_peer[INVENTORY_LINKS];
    u64 link_due[INVENTORY_LINKS]; /* not before this has it anything to do */
    u32 waiting[INVENTORY_LINKS];  /* log entries from its cursor on that did not come from it */
    struct inventory_link *links[INVENTORY_LINKS];
    struct inventory_logged *log;
    u64 log_head, log_floor; /* entries below the floor are gone */
    u32 log_cap;
    u32 dial_id, dial_turn;
    struct inventory_dial dials[INVENTORY_DIALS];
    size_t datagram_max;
    u64 batch_ns, entropy_ns, born_ns;
    struct inventory_stats stats;

    struct node_key self;
    struct node_secret secret;
    struct rng rng;
    u64 bytes;
    struct inventory_note *notes;
    struct inventory_limb *limbs;
    u8 *then[2];      /* a byte a seat: as of the last round of anti-entropy, and the one before */
    u64 hash_then[2]; /* ours in these rounds */
    struct inventory_alike alike;
    u16 *order; /* who is up, ourselves included, by place */
    u32 n_order, cap_order, n_known;
    struct inventory_pending *pending;
    u32 n_pending, cap_pending;
    struct inventory_want *wants;
    u32 cap_wants;
    struct inventory_out **out_end;
    struct inventory_wrong wrongs[INVENTORY_WRONGS];
    u32 n_wrongs, wrong_at;
    u8 own_halves[256];        /* staged additions, at least, by bits of the upper half */
    struct rate heads, doubts; /* by who sent them */
};

static inline struct inventory_table *inventory_table_at(const struct inventory *v, u16 t)
{
    return v->pool->tables[t];
}
static inline bool inventory_seat_up(const struct inventory *v, u16 o)
{
    return o < v->cap_seats && (v->seats[o].flags & INVENTORY_UP);
}
static inline u64 inventory_min(u64 a, u64 b)
{
    return a < b ? a : b;
}
static inline u64 inventory_max(u64 a, u64 b)
{
    return a > b ? a : b;
}

/* inventory.c: seats */
u16 inventory_find_key(const struct inventory *v, const struct node_key *k);
void inventory_attach(struct inventory *v, u16 o, u16 table, u32 n);
void inventory_detach(struct inventory *v, u16 o);
u16 inventory_near(struct inventory *v, u32 turn); /* one of the nearest; or INVENTORY_NONE */

/* inventory_tree.c */
void inventory_tree_insert(struct inventory *v, u16 o);
void inventory_tree_remove(struct inventory *v, u16 o);

/* inventory_own.c */
must_use int inventory_own_init(struct inventory *v, u64 epoch);
void inventory_own_fini(struct inventory *v);
void inventory_own_run(struct inventory *v, u64 now_ns); /* commits and signs what is due */
u64 inventory_own_due(const struct inventory *v);
/* A head rightly signed with our key that we did not write, or a greater epoch: ours grows. */
void inventory_own_renew(struct inventory *v, u64 epoch_seen);
/* `from` believes writes in our name that we did not do. */
void inventory_own_accused(struct inventory *v, u16 from, u64 now_ns);

/* inventory_item.c: rows of items */
struct inventory_items { /* where ops come from */
    const u8 *p;
    size_t len;
    u16 from;   /* the peer */
    bool entry; /* of an answer: of `origin` alone, at most one head and a ring of ops, which are
                 * not passed on: who else lacks them asks too */
    u16 origin;
    u32 *logged; /* how many were, to be told at the end; NULL: each is told */
};
/* Bytes written, at most INVENTORY_OP_BYTES_MAX. `named`: by key and epoch in any case, for who
 * asked and may know another table of that ref which we do not. */
size_t inventory_item_op(const struct inventory *v, const struct inventory_table *t, u32 n,
                         bool named, u8 *at);
size_t inventory_item_head(const struct inventory *v, const struct inventory_table *t,
                           const struct inventory_head *h, u8 *at);
size_t inventory_item_far(const struct inventory *v, u16 o, u8 *at);
/* ERR_PROTO: malformed; what stood before was applied. */
must_use int inventory_items_read(struct inventory *v, const struct inventory_items *items,
                                  u64 now_ns);
/* A head, from wherever: believed, kept, passed on, or the beginning of a want. */
void inventory_head_take(struct inventory *v, u16 o, u64 epoch, const struct inventory_head *h,
                         u16 from, u64 now_ns);
/* Rightly signed? Counts it if not. */
bool inventory_head_true(struct inventory *v, u16 o, u64 epoch, const struct inventory_head *h);
/* The bytes of one head within an item or a snapshot: n, hash, signature. */
#define INVENTORY_HEAD_BODY (4 + 32 + NODE_SIGNATURE_BYTES)
void inventory_head_put(const struct inventory_head *h, u8 at[INVENTORY_HEAD_BODY]);
void inventory_head_get(const u8 at[INVENTORY_HEAD_BODY], struct inventory_head *h);
/* Applies what waited behind a gap that may be closed now. */
void inventory_pending_retry(struct inventory *v, u16 o, u64 now_ns);
void inventory_pending_drop(struct inventory *v, u16 o);

/* inventory_link.c */
void inventory_log(struct inventory *v, u16 table, u32 n, u16 via);
/* The same in two steps, for rows that came by one link: true when it counts; how many did. */
bool inventory_log_put(struct inventory *v, u16 table, u32 n, u16 via);
void inventory_log_count(struct inventory *v, u32 count, u16 via);
void inventory_links_fit(struct inventory *v, u64 now_ns); /* after the tree or silence changed */
must_use int inventory_batch_read(struct inventory *v, u16 from, struct wire_in *msg, u64 now_ns);
bool inventory_links_write(struct inventory *v, u16 *to, struct wire_out *w, u64 now_ns);
u64 inventory_links_due(const struct inventory *v);
void inventory_links_expire(struct inventory *v, u64 now_ns);
void inventory_links_drop(struct inventory *v, u16 peer);
void inventory_links_fini(struct inventory *v);

/* inventory_entropy.c */
void inventory_want(struct inventory *v, const struct inventory_want *want);
void inventory_want_remove(struct inventory *v, u32 i);
bool inventory_want_met(const struct inventory *v, const struct inventory_want *w);
void inventory_wants_expire(struct inventory *v, u64 now_ns);
void inventory_wants_forget(struct inventory *v, u16 o);
void inventory_entropy_expire(struct inventory *v, u64 now_ns);
void inventory_ask(struct inventory *v, u16 peer, bool fresh);
/* "What did I sign, as you know it?" */
void inventory_ask_proof(struct inventory *v, u16 peer);
void inventory_tell_own(struct inventory *v, u16 to); /* our head, to one who has another epoch */
must_use int inventory_entropy_read(struct inventory *v, u16 from, unsigned number,
                                    struct wire_in *msg, u64 now_ns);
void inventory_want_put(const struct inventory *v, u16 o, u8 at[INVENTORY_WANT_BYTES]);
struct inventory_wanted {
    u64 place, epoch;
    u32 n;
};
void inventory_want_get(const u8 at[INVENTORY_WANT_BYTES], struct inventory_wanted *w);
/* A message of its own; false: the queue is full, or no memory. */
bool inventory_queue(struct inventory *v, u16 to, const void *bytes, size_t len);

/* inventory_talk.c */
u64 inventory_talk_due(const struct inventory *v);

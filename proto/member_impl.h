/* member_impl.h - what the files of member share; nobody else includes it.
 *
 *   member.c        making, driving, looking on
 *   member_table.c  the list: by key, by name, in buckets that two nodes can compare
 *   member_wire.c   records, accusations, what goes out in a datagram
 *   member_news.c   what is spread, how often
 *   member_belief.c what is believed of whom: records, accusations, verdicts
 *   member_probe.c  asking who is alive, directly, by others and by stream
 *   member_talk.c   seeds, exchanging lists
 *
 * Two clocks. What comes in and goes out is `now_ns`. Inside, deadlines are in *own time*, which
 * stands still while we do: when a call comes later than the loop was asked to wake, the excess is
 * taken out of it (`lost_ns`), so that no deadline runs out because of our own pause, and nobody
 * is accused for it. */
#pragma once

#include <stddef.h>

#include "proto/member.h"
#include "proto/rate.h"

#define SECOND_NS 1000000000ull
#define MS_NS     1000000ull

enum member_message {
    MSG_PING = 1,
    MSG_ACK = 2,
    MSG_PING_REQ = 3, /* probe this one for me */
    MSG_RELAYED = 4,  /* it answered me */
    MSG_NACK = 5,     /* it did not, but I am here */
    MSG_RECORD = 6,   /* a record, whole */
    MSG_RENEWED = 7,  /* a record that is known but for incarnation and flags */
    MSG_SUSPECT = 8,
    MSG_DEAD = 9,
    MSG_WANT = 10, /* send me that record, whole */
    MSG_REJECT = 11,
    MSG_SYNC = 16, /* streams: requests are even, answers odd */
    MSG_SYNCED = 17,
    MSG_PUSH = 18,
    MSG_PUSHED = 19,
    MSG_KNOCK = 20, /* a ping by stream */
    MSG_KNOCKED = 21,
};

enum member_reject { REJECT_NONE, REJECT_NAME, REJECT_REGION, REJECT_FULL, REJECT_COUNT };

#define MEMBER_HEALTH_MAX 8
#define EXTRA_MAX         128 /* fields of a later version's record: kept and signed, not understood */
#define RECORD_PACKED_MAX (512 + EXTRA_MAX + MEMBER_URL_MAX)
#define ACCUSERS_MAX      8 /* suspicion_k is below it */
#define INDIRECT_MAX      8
#define PROBES_MAX        32
#define RELAYS_MAX        64
#define SENDS_MAX         128
#define DIALS_MAX         32
#define BUCKETS           64  /* a sync compares this many parts of the list */
#define SYNC_PAGE         512 /* records of one answer: bounds its bytes and the reader's time */
#define GOSSIP_LEVELS     20
#define PACE_SAMPLES      64
#define LATE_NS           (100 * MS_NS) /* a loop later than this stood still */

static_assert(RECORD_PACKED_MAX >=
                  2 * MEMBER_TEXT_MAX + MEMBER_TEXT_MAX + MEMBER_URL_MAX + EXTRA_MAX + 120,
              "a record fits, heads included");
static_assert((LIMIT_MEMBERS + 1) * (RECORD_PACKED_MAX + 80ull) < LIMIT_TALK_BYTES,
              "a page of any size fits one answer");

/* One piece of news, a link in the list of those sent as often. */
enum item_kind { ITEM_RECORD, ITEM_VERDICT, ITEM_ACCUSATION };
struct item {
    struct item *prev, *next; /* NULL: not queued */
    u32 stamp;                /* the datagram it went into last */
    u8 kind, sends, slot;
    bool whole; /* the record goes as a whole: others may not know its texts */
};

struct accusation {
    u64 by; /* the accuser's word */
    struct peer *about;
    struct node_signature sig;
    struct item news;
};
struct suspicion {
    u64 start_ns, deadline_ns; /* own time */
    unsigned n;                /* accusations; 0: started by a verdict that came out of the blue */
    unsigned silent;           /* last questions without an answer */
    bool checking;             /* one is under way */
    struct accusation of[ACCUSERS_MAX];
};
struct verdict {
    u64 by;
    struct node_signature sig;
};

/* What each message from it looks at stands in the first cache line, and what is told of it in the
 * second: with a thousand members of a thousand nodes in one process, lines are what time goes
 * into. */
#define LINE_BYTES 64
struct peer {
    _Alignas(LINE_BYTES) u64 word; /* of its key */
    u64 heard_ns;                  /* as now_ns */
    struct coord coord;
    u32 key_ids[2];
    u32 rtt_us;
    u32 body; /* hash of the record but for incarnation and flags */
    u16 index;
    u8 state : 3, bar_level : 3, doubted : 1; /* doubted: there is a suspicion or a verdict */
    u8 load, fetch_fails, probe_fails, extra_len;
    struct member_record rec; /* texts point into `text`; region to ourselves' */
    struct suspicion *suspicion;
    struct verdict *verdict;
    struct item news;              /* its record, or the verdict on it */
    u64 since_ns, barred_until_ns; /* as now_ns */
    u64 settled_ns;                /* from when its name is firmly its own */
    struct node_signature sig;
    char text[]; /* extra, then name, rack, url with their NULs */
};
static_assert(offsetof(struct peer, rec) == LINE_BYTES, "as the comment says");
static_assert(LIMIT_MEMBERS <= UINT16_MAX, "so that a peer's index fits");

static inline struct peer *item_about(const struct item *i)
{
    const char *at = (const char *)i;
    if (i->kind != ITEM_ACCUSATION)
        return (struct peer *)(at - offsetof(struct peer, news));
    return ((const struct accusation *)(at - offsetof(struct accusation, news)))->about;
}

/* Open addressing, linear: value is index + 1, 0 free. */
struct table {
    struct slot {
        u32 hash, value;
    } * slot;
    u32 cap, n;
};

struct probe {
    u64 seq, word; /* of whom is probed */
    struct addr addr;
    u64 sent_ns, due_ns, end_ns; /* own time */
    u64 again_ns;                /* when the second ping went, whose number is seq ^ 1 */
    u64 lost_ns;                 /* our pauses when it was sent */
    u64 relay[INDIRECT_MAX];     /* words of those asked to help */
    u32 dial;                    /* 0: none */
    u8 relays, nacks;
    bool indirect; /* second phase */
    bool check;    /* a last question before a verdict */
};
struct relay {
    u64 seq, their_seq, word;
    struct addr addr, asker;
    u64 sent_ns, due_ns, lost_ns;
};

enum send_kind {
    SEND_PING,
    SEND_ACK,
    SEND_PING_REQ,
    SEND_RELAYED,
    SEND_NACK,
    SEND_NEWS,
    SEND_RECORD,
    SEND_WANT,
    SEND_REJECT,
};
struct send {
    struct addr to;
    u64 to_word; /* 0: unknown */
    u64 seq, about;
    u8 kind, reason;
    u16 timeout_ms;
};

struct seed {
    struct addr addr;
    u64 due_ns, word; /* who answered there; 0: nobody yet */
};
enum dial_kind { DIAL_SYNC, DIAL_PUSH, DIAL_KNOCK };
struct dial {
    u32 id;
    u8 kind, cursor;
    bool yielded;
    struct addr to;
    u64 word;   /* whom we expect; 0: a seed */
    u64 pushed; /* buckets to push */
};

/* What each call looks at stands first, together. */
struct member {
    struct peer *self;
    u64 word; /* ours */
    u64 now_ns, own_ns, lost_ns;
    /* When the next thing is due, of each kind, in own time; see next_own(). */
    u64 gossip_due_ns, reap_due_ns;
    u64 suspects_due_ns; /* no deadline is earlier */
    u64 probe_due_ns;
    u64 contact_due_ns; /* try one of the dead */
    u64 probes_due_ns;  /* the first of those under way, relays among them; UINT64_MAX: none */
    u64 sync_due_ns;
    u64 seeds_due_ns; /* the first of them; UINT64_MAX: none */
    struct table by_word;
    u64 table_seed;
    struct peer **peers;
    u32 n_peers, cap_peers;
    size_t counts[MEMBER_STATE_COUNT];
    size_t datagram_max;
    unsigned health;
    unsigned sends_at, n_sends;
    unsigned n_probes, n_relays, n_pace, n_dials, n_seeds;
    u32 n_news; /* pieces queued */
    u32 stamp;
    u32 events_at, n_events, cap_events;
    u32 n_order, cap_order, order_at;
    u32 next_dial;
    u32 *order; /* this round's, of indices */
    struct member_event *events;
    bool clear, joined, leaving;
    u8 fetches;                 /* that we say we run */
    unsigned unsure;            /* exchanges to go until our list counts as complete */
    u64 gossiped_ns, sync_word; /* sync_word: with whom; 0 anybody */
    u64 joined_ns, learned;     /* learned: records taken in */
    struct rng rng;
    struct member_stats stats;

    struct member_timing timing;
    u64 lag_counted_ns;
    struct table by_name;
    u64 bucket[BUCKETS];
    struct peer **suspects; /* unordered */
    u32 n_suspects, cap_suspects;

    struct send sends[SENDS_MAX];
    struct probe probes[PROBES_MAX];
    struct relay relays[RELAYS_MAX];
    u32 pace_us[PACE_SAMPLES];        /* the last round trips, of anybody */
    struct item level[GOSSIP_LEVELS]; /* heads, by times sent */
    u32 level_n[GOSSIP_LEVELS];
    struct seed seeds[LIMIT_SEEDS];
    struct dial dials[DIALS_MAX];
    u64 cloned_ns, blind_refuted_ns, rejected_ns;
    /* What is verified: of whom, and at whose instance. */
    struct rate by_author, by_accuser, by_sender;
    char *region;
    struct node_secret secret;
};

/* A record as it was heard, with where it came from. */
struct heard {
    struct member_record rec;
    const u8 *extra;
    size_t extra_len;
    struct node_signature sig;
    struct addr from;
    u64 sender;   /* word; 0: unknown */
    bool listed;  /* from somebody's whole list */
    u8 refused;   /* out: enum member_reject */
    bool put_off; /* out: it may be believed another time */
    u64 holder;   /* out, REJECT_NAME: who has the name */
    char text[3 * (MEMBER_TEXT_MAX + 1) + MEMBER_URL_MAX + 1];
};
struct accusing { /* an accusation or a verdict, as heard */
    u64 target, epoch, incarnation, by;
    struct node_signature sig;
    struct addr from;
    u64 sender;
    bool verdict;
};
struct status { /* rides on pings and acks */
    u16 known;  /* stamp of what we know of the other's record; 0: nothing */
    struct coord coord;
    u32 key_ids[2];
    u8 load;
};

/* --- member.c */
void member_tell(struct member *m, enum member_event_kind kind, const struct peer *p);
void member_tell_addr(struct member *m, enum member_event_kind kind, const struct node_key *k,
                      const struct addr *a);
void member_tick(struct member *m, u64 now_ns);
void member_worse(struct member *m, unsigned by);
bool is_living(const struct peer *p);

/* --- member_table.c */
struct peer *peer_by_word(const struct member *m, u64 word); /* also ourselves */
/* Where a look-up of `word` begins, where it goes on, and what it finds: to be prefetched, each
 * once the one before has come. NULL: nothing. */
const void *peer_place(const struct member *m, u64 word, unsigned step);
struct peer *peer_by_key(const struct member *m, const struct node_key *k);
struct peer *peer_by_name(const struct member *m, const char *name); /* the living; not ourselves */
u64 peer_word(const struct peer *p);
u64 self_word(const struct member *m);
must_use int peer_make(struct peer **out, const struct heard *h, const char *region);
must_use int peer_add(struct member *m, struct peer *p); /* takes; ERR_FULL, ERR_NOMEM: does not */
void peer_swap(struct member *m, struct peer *old, struct peer *new_one); /* frees old */
void peer_remove(struct member *m, struct peer *p);                       /* frees */
void peer_free(struct peer *p);
/* Around every change of state, incarnation, epoch or name. */
void peer_out(struct member *m, struct peer *p);
void peer_in(struct member *m, struct peer *p);
unsigned peer_bucket(const struct node_key *k);
u32 bucket_sum(const struct member *m, unsigned bucket);
/* A living member at random but for these words; NULL: none. */
struct peer *peer_random(struct member *m, const u64 *without, size_t n);
void member_table_fini(struct table *t);

/* --- member_wire.c */
size_t record_pack(const struct member_record *r, const u8 *extra, size_t extra_len,
                   u8 out[RECORD_PACKED_MAX]);
/* member_serves.c: the last field of our own record; its length. */
size_t serves_pack(const struct member_network *n, size_t count, u8 out[EXTRA_MAX]);
/* Behind them. */
size_t fetches_pack(u8 fetches, u8 *out, size_t room);
u32 record_body(const struct member_record *r, const u8 *extra, size_t extra_len);
void self_sign(struct member *m);
must_use int record_verify(struct member *m, const struct heard *h);
void accusation_sign(struct member *m, const struct peer *p, bool verdict,
                     struct node_signature *out);
must_use int accusation_verify(struct member *m, const struct peer *target, const struct peer *by,
                               bool verdict, const struct node_signature *sig);
void put_record(struct wire_out *w, const struct peer *p);
void put_renewed(struct wire_out *w, const struct peer *p);
void put_accusation(struct wire_out *w, const struct peer *p, u64 by, bool verdict,
                    const struct node_signature *sig);
void put_status(struct wire_out *w, const struct member *m, u64 to_word);
#define STATUS_FIELDS 5
u16 stamp_of(const struct peer *p); /* tells two records of one key apart, nearly always */
must_use int get_record(struct wire_in *r, struct heard *h);
must_use int get_renewed(struct member *m, struct wire_in *r, struct heard *h, bool *unknown,
                         u64 *word);
must_use int get_accusation(struct wire_in *r, struct accusing *a);
void get_status(struct wire_in *r, struct status *s);
/* What is said of somebody who is not well, to itself or to others. */
void put_doubts(struct wire_out *w, const struct peer *p);
struct send *send_add(struct member *m, enum send_kind kind, const struct addr *to, u64 to_word);
bool send_write(struct member *m, const struct send *s, struct wire_out *w);

/* --- member_news.c */
void news_init(struct member *m);
void news_add(struct member *m, struct item *i);
void news_drop(struct member *m, struct item *i);
void news_fill(struct member *m, struct wire_out *w);
void news_round(struct member *m); /* the gossip timer */
void news_settle(struct member *m);
void news_burst(struct member *m, unsigned fanout);

/* --- member_belief.c */
must_use int hear_record(struct member *m, struct heard *h);
must_use int hear_accusation(struct member *m, struct accusing *a);
void accuse(struct member *m, struct peer *p); /* our own probe failed */
void doubt_answered(struct member *m, struct peer *p);
void doubt_silent(struct member *m, struct peer *p);
void belief_expire(struct member *m);
void belief_clear(struct member *m, struct peer *p); /* drops suspicion and verdict */
void self_renew(struct member *m);
/* One item of news, from a datagram or a list. */
must_use int hear_item(struct member *m, unsigned number, struct wire_in *r,
                       const struct addr *from, u64 sender, bool listed);

/* --- member_probe.c */
void probe_init(struct member *m);
/* Where the next one to be asked stands: as peer_place(). */
const void *probe_place(const struct member *m, unsigned step);
u64 probe_next(const struct member *m);
void probe_expire(struct member *m);
void probe_joined(struct member *m, u32 index);     /* a new one takes part in this round */
bool probe_check(struct member *m, struct peer *p); /* false: too many at once */
void probe_knocked(struct member *m, u32 dial, bool alive);
void probe_forget(struct member *m, u64 word);
must_use int probe_read(struct member *m, const struct addr *from, u64 sender, unsigned number,
                        struct wire_in *r);
void status_heard(struct member *m, struct peer *p, const struct status *s);

/* --- member_talk.c */
void talk_init(struct member *m);
u64 talk_next(const struct member *m);
void talk_expire(struct member *m);
u32 talk_knock(struct member *m, const struct peer *p);
void talk_soon(struct member *m, u64 word);
void talk_unsure(struct member *m);
void talk_later(struct member *m);
int talk_answer(struct member *m, u64 sender, unsigned number, struct wire_in *request,
                struct wire_out *answer);
int talk_dialed(struct member *m, u32 id, int err, struct wire_in *answer);
void reject_heard(struct member *m, enum member_reject reason, const struct addr *from);

/* member.h - who is in the region, and who of them is alive.
 *
 * SWIM (Das, Gupta, Motivala, DSN 2002) with Lifeguard (Dadgar, Phillips, Currey, 2018,
 * arXiv:1707.00788): each node probes one other per interval in shuffled rounds; without an answer
 * it asks k others to probe (who answer with a nack when they cannot either) and tries a stream;
 * then it *suspects*. A suspect has a time to refute, by a higher incarnation; the time is short
 * when several independent members suspect it too, long when nobody does. A node that finds itself
 * slow (its own probes fail, its loop lags) distrusts itself first. News rides on probes and on
 * gossip of its own, each item a bounded number of times, newest first.
 *
 *             alive signed by its node key                     timer, or a verdict
 *   (none) -----------------------------> ALIVE <------------- SUSPECT ----------> DEAD --> reaped
 *                                          | ^   refuted by a     ^                 |
 *                                          | |   higher           |                 | alive, higher
 *                                          | +---incarnation------+                 | incarnation
 *                                          +----- leave, signed ---> LEFT --> reaped
 *
 * Guarantees
 *   - what is said of a node in its own name (where it is, that it left, its incarnation) is signed
 *     by its key; accusations and verdicts are signed by who utters them
 *   - incarnations only grow; a name belongs to the key that is alive under it, until that one is
 *     dead
 *   - a node restarted on another address (same key, higher boot epoch) is the same node at once;
 * if the earlier life still runs, both learn of it (MEMBER_EVENT_CLONED), and all others take the
 *     later one for the node
 *   - nobody is called dead by a node that has not itself asked it twice in vain, and no deadline
 *     runs while the node itself stands still
 *   - every table, queue and message is bounded; who is hostile costs time, never memory
 * Not here: bytes on a socket (mesh.h), who holds what (inventory.h).
 *
 * Driven: member_read() what came, member_write() what should go, member_expire() when
 * member_next_expiry() has come, member_next_event() after each of these until it says no. */
#pragma once

#include "proto/coord.h"
#include "proto/limits.h"
#include "proto/wire.h"

#define MEMBER_TEXT_MAX 64  /* name, region, rack */
#define MEMBER_URL_MAX  255 /* public_url */

struct member;

enum member_state { MEMBER_ALIVE, MEMBER_SUSPECT, MEMBER_DEAD, MEMBER_LEFT, MEMBER_STATE_COUNT };
const char *member_state_name(enum member_state s);

enum member_role { MEMBER_NODE = 1, MEMBER_TRACKER = 2 };

/* Networks of users that a node says it is near to. */
#define MEMBER_SERVES_MAX 7 /* they fit in a record's last field */

struct member_network {
    u8 ip[16]; /* as in struct addr */
    u8 bits;   /* 0 to 128: IPv4's count from 96 on */
};
bool member_network_has(const struct member_network *n, const struct addr *a);

/* What a node says about itself. Signed as a whole. Texts are borrowed: from the caller in what is
 * handed in (copied there), from the member list in a view. Printable, without control characters.
 */
struct member_record {
    u64 epoch;       /* boot epoch: greater at each start */
    u64 incarnation; /* raised to refute, and when anything here changes */
    struct addr addr;
    u8 role;                     /* enum member_role */
    u8 version_min, version_max; /* wire versions it understands */
    bool can_fetch;              /* from a registry: credentials or none needed, and not cut off */
    bool left;                   /* it goes, in order */
    u8 n_serves;                 /* at most MEMBER_SERVES_MAX */
    struct node_key key;
    const char *name, *region, *rack; /* at most MEMBER_TEXT_MAX; NULL in what is handed in: "" */
    const char *public_url;           /* at most MEMBER_URL_MAX */
    const struct member_network *serves; /* in what is handed in; see member_serves(). NULL: none */
};

/* Times; zero means the default in brackets. Probing slows down with the node's own health score.
 */
struct member_timing {
    u64 probe_interval_ns;    /* [500 ms] */
    u64 probe_timeout_min_ns; /* [50 ms]; the timeout is 4 times the p99 round trip of all, or that
                                 of the one that is asked, within these */
    u64 probe_timeout_max_ns; /* [250 ms] */
    u64 gossip_interval_ns;   /* [200 ms] */
    u64 sync_interval_ns;   /* [30 s] a stream exchange of all records with one member, at random */
    u64 reap_ns;            /* [1 h] how long a dead member is remembered */
    unsigned indirect;      /* [3] */
    unsigned gossip_fanout; /* [3] */
    unsigned suspicion_alpha, suspicion_beta, suspicion_k; /* [4, 6, 3] */
};

struct member_options {
    struct member_record self; /* incarnation is taken as a floor */
    struct node_secret secret;
    struct member_timing timing;
    struct rng rng;
    size_t datagram_max; /* plain text of one, e.g. 1,200 - SEAL_OVERHEAD */
    bool clear;          /* the simulator only: signatures are plain hashes (1 us instead of 65) */
    u64 now_ns;
};

/* ERR_INVAL: a text too long or with control characters, no address, key and secret that do not
 * belong together. ERR_NOMEM. */
must_use int member_new(struct member **out, const struct member_options *opt);
void member_del(struct member *m);

/* --- talking: the bytes are mesh's affair ---------------------------------------------------- */

/* One message (a msgpack array, its number already read off: MSG_MEMBER_*), from an authenticated
 * holder of the mesh key. `sender` is what the seal names. `msg` ends where this message ends (find
 * its end with wire_skip() on a copy); what follows the fields known here is ignored. ERR_PROTO:
 * malformed, nothing changed after the point where it broke. ERR_DENIED: a signature does not fit.
 * ERR_UNSUPPORTED: a number not spoken here. */
must_use int member_read(struct member *m, const struct addr *from, const u8 sender[8],
                         unsigned number, struct wire_in *msg, u64 now_ns);
/* Writes the messages of one datagram (probe, answer, news). False: nothing to send. */
bool member_write(struct member *m, struct addr *to, struct wire_out *w, u64 now_ns);
/* Something sealed rightly, in our own name and another boot epoch than ours, came from `from`: the
 * seal refuses to open it, but it tells of a clone. */
void member_own(struct member *m, const struct addr *from, u64 now_ns);
u64 member_next_expiry(const struct member *m); /* UINT64_MAX: never */
void member_expire(struct member *m, u64 now_ns);

/* A stream: one request, one answer. member_dial() yields the next request to make: to whom, and
 * (written to `w`, at most LIMIT_TALK_BYTES) what: one whole message with its number. `id` comes
 * back in member_dialed(), exactly once, with the answer as member_answer() wrote it (from its
 * array's head on) or an error. False: none. Talks that take longer than a few seconds should end
 * with ERR_TIMEOUT. */
bool member_dial(struct member *m, u32 *id, struct addr *to, struct wire_out *w, u64 now_ns);
void member_dialed(struct member *m, u32 id, int err, struct wire_in *answer, u64 now_ns);
/* The other side of it: answers request `number` (read off, like in member_read) with one whole
 * message. ERR_PROTO, ERR_DENIED, ERR_UNSUPPORTED: no answer. */
must_use int member_answer(struct member *m, const struct addr *from, const u8 sender[8],
                           unsigned number, struct wire_in *request, struct wire_out *answer,
                           u64 now_ns);

/* --- being told ------------------------------------------------------------------------------ */

/* A place where somebody of the region may be. Tried at once, then every few seconds (with jitter)
 * while we are alone or this seed is not among the living, so that split regions meet again. */
must_use int member_seed(struct member *m, const struct addr *a); /* ERR_FULL */
void member_clear_seeds(struct member *m);
/* How late the loop ran: a slow node distrusts itself. */
void member_lag(struct member *m, u64 lag_ns, u64 now_ns);
/* Something of our record changed; `self` is taken but for key, epoch and incarnation. */
void member_change(struct member *m, const struct member_record *self, u64 now_ns);
/* The same, and from now on we say that we read so many layers from registries. */
void member_change_fetches(struct member *m, const struct member_record *self, u8 fetches,
                           u64 now_ns);
/* Says goodbye: the record with `left`, to several. Sending goes on for a second or so. */
void member_leave(struct member *m, u64 now_ns);
/* Data-plane quarantine: two failed fetches or probes in a row bar a peer here, at once, for a
 * while that doubles (1 s to 60 s); one success ends it. Nobody else is told. */
void member_fetch_failed(struct member *m, const struct node_key *k, u64 now_ns);
void member_fetch_worked(struct member *m, const struct node_key *k, u64 now_ns);

/* --- what happened --------------------------------------------------------------------------- */

enum member_event_kind {
    MEMBER_EVENT_UP,      /* alive: new, back, or on another address */
    MEMBER_EVENT_SUSPECT, /* doubted by somebody */
    MEMBER_EVENT_DOWN,    /* dead or left */
    MEMBER_EVENT_CHANGED, /* its record changed, or it refuted a suspicion */
    MEMBER_EVENT_REFUTED, /* we were suspected, and said no */
    MEMBER_EVENT_CLONED,  /* our key is in use at another address, by a node that is alive there */
    MEMBER_EVENT_NAME_TAKEN, /* our name is another living key's: we are not let in */
    MEMBER_EVENT_FOREIGN,    /* who is at `addr` is of another region: we are not let in */
    MEMBER_EVENT_JOINED,     /* the first time we know somebody else */
};
struct member_event {
    enum member_event_kind kind;
    struct node_key key;
    enum member_state state;
    struct addr addr; /* of whom it is about */
};
/* For simulations that begin in a settled region: `m` believes what `of` signed of itself, as if it
 * had come in a list. ERR_FULL, ERR_NOMEM. */
must_use int member_prime(struct member *m, const struct member *of, u64 now_ns);

bool member_next_event(struct member *m, struct member_event *ev);

/* --- looking on ------------------------------------------------------------------------------ */

struct member_view {
    const struct member_record *record; /* borrowed until the next call that drives */
    enum member_state state;
    u64 since_ns; /* in this state */
    u64 rtt_ns;   /* smoothed; 0: never measured */
    struct coord coord;
    u8 load;         /* as it last said, 0 to 255 */
    bool barred;     /* quarantined here */
    u64 heard_ns;    /* last sign of life to us */
    u32 key_ids[2];  /* mesh keys it holds: sealing with, and another */
    const u8 *extra; /* borrowed as the record is: member_serves() reads it */
    size_t extra_len;
};
/* The networks of users that it says it is near to. Returns how many. */
size_t member_serves(const struct member_view *v, struct member_network out[MEMBER_SERVES_MAX]);
/* How many layers it reads from registries just now, where the region has a limit for that: nodes
 * divide it by the sum. At most MEMBER_FETCHES_MAX, whatever it says. */
#define MEMBER_FETCHES_MAX 8
u8 member_fetches(const struct member_view *v);
bool member_find(const struct member *m, const struct node_key *k, struct member_view *out);
bool member_find_sender(const struct member *m, const u8 sender[8], struct member_view *out);
/* The whole key of one of them, or our own; borrowed until the next call that drives. NULL: nobody
 * known. */
const struct node_key *member_key_of(const struct member *m, const u8 sender[8]);
/* A hint: something by this sender will be read soon (NULL: only time will pass); see mesh_warm().
 */
#define MEMBER_WARM_STEPS 4
void member_warm(const struct member *m, unsigned step, const u8 *sender);
/* Iterates over everybody but ourselves: `*at` starts at 0. False at the end. */
bool member_each(const struct member *m, size_t *at, struct member_view *out);
const struct member_record *member_self(const struct member *m);
const struct coord *member_coord(const struct member *m);
void member_set_load(struct member *m, u8 load);
void member_set_key_ids(struct member *m, const u32 ids[2]);
size_t member_count(const struct member *m, enum member_state s); /* ourselves count as alive */
unsigned member_health(const struct member *m);                   /* 0: well, to 8 */

struct member_stats {
    u64 probes, probe_failures, indirect_probes, nacks_missed, stream_probes;
    u64 suspicions, refutations, deaths, malformed, bad_signatures, gossip_items;
    u64 refused_region, refused_name, refused_full; /* records not taken in */
    u64 verified, pauses, events_lost;
    u64 put_off; /* records and accusations, of those who send too many */
};
void member_stats(const struct member *m, struct member_stats *out);
u64 member_bytes(const struct member *m); /* memory it holds */

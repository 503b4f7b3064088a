/* fill_swarm.h - a fill that takes part in a swarm: what its files share. fill_swarm.c begins and
 * ends it and carries out the swarm's steps, fill_ask.c asks peers for pieces, fill_origin.c reads
 * from the registry when this node is appointed, fill_judge.c verifies and stores pieces,
 * fill_chain.c makes the chain of what it reads.
 *
 *   piece:  MISSING --asked, read--> (a buffer) --hashed: fits--> written --> HELD
 *              ^                        |  no chain reaches it yet --> written --> THERE  |
 *              |                        +--fits none--> thrown away          |     its chain was
 *              |                                                             |        refuted
 *              |                 a chain reaches it <------------------------+           |
 *              |                         | ^                                             v
 *              +--<-- it fits none <-- read, hashed --> it fits: HELD                 DOUBTED
 *                                          ^                                             |
 *                                          +---------------------------------------------+
 *
 * A piece counts only when HELD. Clients are shown the pieces before the first that is not.
 *
 * When a chain is refuted, what was held by it alone is in doubt until another chain comes. The
 * home appoints a new fetcher, who reads all of that and vouches for it, whatever stands on its
 * disk. So a forged chain costs the region one copy more, and each node at most the piece by which
 * it decides. */
#pragma once

#include "node/fill_internal.h"
#include "proto/chain.h"
#include "proto/swarm.h"

#define SWARM_MEMORY (96 * MIB) /* of pieces on their way, of all fills together */
#define SWARM_ALONE_NS                                                                             \
    (1000 * SWARM_MS)                     /* for each neighbour and ourselves: nobody reads it for \
                                             the region, and nothing comes: go on without */
#define SWARM_STUCK_NS (45000 * SWARM_MS) /* the same although somebody says that he reads it */
#define SWARM_TURN_NS                                                                              \
    (1000 * SWARM_MS) /* others lose patience in the same moment: in turns, so long for each */
#define SWARM_SLOW_TURN_NS (10000 * SWARM_MS) /* likewise, of those that were stuck */
#define SWARM_BACKOFF_NS                                                                           \
    (120000 * SWARM_MS) /* without a piece: that the registry is slow is no reason any more */
#define SWARM_BACK_NS   (3000 * SWARM_MS) /* a fetcher whose chain was set back has so long */
#define SWARM_THERE_MAX 8                 /* pieces read back from the disk at once, of one fill */
#define SWARM_FROM_MAX  24                /* named in the history */
#define SWARM_WAITS_MAX 64                /* pieces that no chain reaches, with a request open */
#define SWARM_BAD_MAX   32                /* wrong pieces remembered until the layer closes */
#define SWARM_CLAIMS    4 /* answers kept whose signers nobody has named fetcher or holder yet */
/* Pieces that are on the disk and that no chain reaches are not asked for, but for one now and
 * then: claims come with it. */
#define SWARM_CLAIMS_NS (2000 * SWARM_MS)

/* READ: whole, from the registry, waiting to be hashed in order; REREAD: likewise, and in doubt on
 * the disk. JUDGED: a job works on it. */
enum piece_state {
    PIECE_MISSING,
    PIECE_READ,
    PIECE_JUDGED,
    PIECE_THERE,
    PIECE_DOUBTED,
    PIECE_REREAD,
    PIECE_HELD
};
enum piece_from { PIECE_OF_PEER, PIECE_OF_REGISTRY, PIECE_OF_DISK };

/* A piece in memory. */
struct piece {
    struct job job;
    struct fill *fill;
    u32 number;
    u8 *bytes;
    u64 len, got;
    enum piece_from from;
    u32 request; /* of PIECE_OF_PEER; 0: it was cancelled meanwhile */
    struct node_key peer;
    struct chain_step steps[CHAINS_MAX];
    size_t n_steps;
    u8 out[CHAIN_STATE_MAX]; /* what it gave, of the step that fits or the last one tried */
    int fit;                 /* which of the steps; -1: none */
    bool trusted;            /* read from the registry to decide between chains: not kept */
    bool excused;            /* its sender told of a chain that does not count here */
    int rc;
    struct piece *next;
};

/* A request to a peer for a row of pieces. */
struct piece_request {
    struct fill *fill;
    u32 id; /* 0: free */
    u32 first, count, at;
    struct sourcing_peer peer;
    char name[MEMBER_TEXT_MAX + 1];
    struct http_transfer *transfer;
    struct piece *piece; /* being received */
    u64 started_ns, bytes, ignored;
    unsigned judging; /* whole, and not judged yet */
    bool answered, started, paused, refused, over, excused;
    enum swarm_outcome verdict;
    const char *why;
};

/* A piece that did not fit, and what it gave. */
struct bad_piece {
    u32 number;
    struct node_key peer;
    u8 in[CHAIN_STATE_MAX], out[CHAIN_STATE_MAX];
};

/* Claims by somebody who may turn out to be the fetcher, or a holder: after a start it takes some
 * seconds until these are known. Read again then. */
struct kept_claims {
    struct node_key relay;
    char *text; /* as it came; NULL: none */
};

/* A piece that is in the file, and that no chain reaches yet. */
struct piece_wait {
    u32 request, piece;
};

struct fill_swarm {
    struct chains *chains;
    u32 n, held, front; /* front: the first piece that is not held */
    u8 *state;          /* enum piece_state of each */
    bool *hearsay;      /* of each: a peer sent it, and nothing has proven it yet */
    struct piece_request requests[LIMIT_SWARM_REQUESTS];
    struct piece_wait waits[SWARM_WAITS_MAX];
    size_t n_waits;
    struct kept_claims kept[SWARM_CLAIMS];
    size_t next_kept;
    u64 asked_ns; /* when a piece was asked for last */
    unsigned jobs, reading_back;
    bool alone;   /* nobody helps: we read what is missing ourselves, not appointed by a home */
    bool asks;    /* it was joined for somebody here, with a right of ours or of theirs */
    bool leaving; /* to go on without the swarm, when the jobs are done */
    bool closed;
    u32 origin_pieces, disk_pieces;
    struct {
        struct node_key key;
        u32 pieces;
    } from[SWARM_FROM_MAX]; /* of whom the rest came; the last one stands for all others */
    u64 progress_ns;        /* when bytes that were believed, or a fetcher's news, came last */
    u64 turn_of_ns;         /* progress_ns when the turn was drawn: */
    u32 turn;               /* who draws less goes first when all lose patience */
    u64 backoff_ns;         /* since when it is said to be slow, and no piece came; 0: it is not */
    struct bad_piece bad[SWARM_BAD_MAX];
    size_t n_bad;
    bool looked_at_bad;
    bool forged; /* a chain was refuted: who sent what fits none may have believed it */

    /* appointed to read from the registry */
    bool appointed, yielding;
    u32 read_from;                    /* FETCH said so */
    u32 at, end;                      /* the piece being received; where this request ends */
    u64 skip;                         /* bytes of a 200 before it */
    u64 brought;                      /* by this answer */
    struct piece *piece;              /* being received, over several answers if they break off */
    struct piece *queue, **queue_end; /* read, to be hashed in order */
    bool hashing, call_paused;
    bool lets_come; /* what others have: for a while nothing is read */
    unsigned failures;
    u64 heard_ms;                /* when the registry was asked, or sent something, last */
    struct upstream_call *probe; /* is it there at all? */
    u64 probed_ms;
    u32 deciding; /* a piece is read to decide between chains; SWARM_NO_PIECE: none */
};

/* fill_swarm.c; swarm_open() takes part, if it can; swarm_close() leaves, jobs may still run;
 * swarm_free() when none does. */
/* On without the swarm, with what is there. */
void swarm_give_up(struct fill *f, const char *why);
/* The registry refused what we were appointed to read: that ends it where nobody here asks, so that
 * we can be sent elsewhere. */
void swarm_refused(struct fill *f);
/* The size is sure: room is made, as far as it was not free. False: there is none, and it goes on
 * without the swarm. */
must_use bool swarm_make_room(struct fill *f);
void swarm_maybe_left(struct fill *f);
void swarm_ready(struct fill *f, bool from_peer); /* the first bytes can be shown */
bool swarm_has_memory(const struct fill *f, u64 len);
bool swarm_may_take(const struct fill *f, const struct piece *at_hand, u64 len);
struct mesh *swarm_mesh(const struct fill *f);
u64 swarm_now(const struct fill *f);

/* fill_judge.c */
struct piece *piece_new(struct fill *f, u32 number, enum piece_from from); /* NULL: no memory */
void piece_del(struct piece *p);
void judge_piece(struct piece *p); /* takes it: whole, from a peer */
void judge_read(struct piece *p);  /* takes it: whole, from the registry, in order */
/* It was read, and nothing comes of that. */
void judge_unread(struct fill *f, u32 piece);
void judge_there(struct fill *f); /* chains grew: what is on the disk may be judged */
void judge_rest(struct fill *f);  /* nothing is left to read: what is there is gone through */
void judge_doubt(struct fill *f); /* looks whether chains must be held against the registry */
/* What is in doubt is forgotten, and who was shown some of it is cut. */
void judge_clean(struct fill *f);

/* fill_ask.c */
void ask_step(struct fill *f, const struct swarm_step *step);
void ask_cancel(struct fill *f, u32 id);
void ask_resume(struct fill *f);
void ask_believe(struct fill *f); /* claims that were kept, if their signers count by now */
void ask_free(struct fill *f);
void ask_close(struct fill *f);
const char *ask_name(const struct fill *f); /* somebody who is asked; NULL */
struct piece_request *ask_find(const struct fill *f, u32 id);
/* A whole piece of it was judged; or was not, since another copy is, or no chain reaches it. */
void ask_judged(struct fill *f, u32 id, u32 piece, bool right);
void ask_dropped(struct fill *f, u32 id, u32 piece, bool held);
/* It is in the file, and no chain reaches it yet. Its request stays open until one does, or for a
 * second: else it would be asked for again at once, and again. */
void ask_wait(struct fill *f, u32 id, u32 piece);
void ask_waited(struct fill *f, u32 piece, bool held); /* SWARM_NO_PIECE: all that wait */

/* fill_origin.c */
void origin_begin(struct fill *f, u32 from);
void origin_go_on(struct fill *f);
void origin_anew(
    struct fill *f); /* there is more to read: from the first piece on, when it goes on */
void origin_yield(struct fill *f);
void origin_resume(struct fill *f);
void origin_tick(struct fill *f); /* once a second: is the registry slow, or out of reach? */
void origin_close(struct fill *f);
void origin_decide(struct fill *f, u32 piece);

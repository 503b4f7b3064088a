/* swarm_impl.h - what the files of swarm share; nobody else includes it.
 *
 *   swarm.c        making, taking part, the layers there are, time
 *   swarm_home.c   leases: who fetches, and who is appointed
 *   swarm_rank.c   which members a home is chosen from
 *   swarm_guests.c who wants the layer, as its home knows
 *   swarm_origin.c where the layer is, as guests say
 *   swarm_join.c   the asker's side of it, and the fetcher's
 *   swarm_place.c  near and far: who brings what over the lines that an office shares
 *   swarm_peers.c  neighbours: who they are, what they have, what they are told
 *   swarm_pick.c   which piece from whom
 *   swarm_wait.c   who is waited for, and for how long
 *   swarm_serve.c  which piece to whom
 *   swarm_offer.c  what nobody else has, given singly
 *   swarm_pace.c   how many at once
 *   swarm_call.c   one at a time: who waits for a piece, and whom a free line calls
 *   swarm_wire.c   messages out of the queue, and in; swarm_wire_home.c those with a home,
 *                  swarm_wire_peers.c those between neighbours */
#pragma once

#include "proto/pieces.h"
#include "proto/rate.h"
#include "proto/swarm.h"

#define SWARM_RANKS      3
#define SWARM_CANDIDATES 64   /* names of possible neighbours that a layer keeps */
#define SWARM_NAMES      40   /* in one message: 8 bytes each */
#define SWARM_OUT_MAX    8192 /* orders to send; all of them are made again if lost */
#define SWARM_STEPS_MAX  4096
#define SWARM_CALLERS    32   /* who asked before a seed was there */
#define SWARM_FORMER     64   /* neighbours that left, remembered for what they did */
#define SWARM_IDLERS     8    /* who let lie what it was given, of one layer */
#define SWARM_FETCHERS   8    /* remembered as appointed */
#define SWARM_ORIGINS    8    /* that guests name, of one layer */
#define SWARM_VAIN       16   /* remembered: they kept us in line and gave nothing */
#define SWARM_STRIKES    2    /* wrong or missing pieces: asked when nobody else is left */
#define SWARM_MAP_MAX    7168 /* pieces whose map fits one message; else the log tells them */
/* Pieces given at once by who has what nobody else has: one, or more when they pile up. */
#define SWARM_OFFERING 8
#define SWARM_OFFERED  2              /* of these, asked for at once beside others */
#define SWARM_FIRSTS   8              /* pieces: who has no more gives one at a time */
#define SWARM_NEAR_NS  (2 * SWARM_MS) /* of round trip: within a campus */
/* Answers (swarm_call.c): so near its end, what is given singly lets the next one begin. */
#define SWARM_ENDING    6
#define SWARM_PLACE     4  /* so many take part in a place: its line is a thing to be shared */
#define SWARM_GATES     8  /* of a place: these meet those of other places, and import */
#define SWARM_GIVEN_FAR 12 /* pieces at once to other places, by all of a place, then */
#define SWARM_REST_NS   (50 * SWARM_MS) /* the longest */
#define SWARM_NONE      UINT32_MAX
/* The greatest number of an appointment; of those told half, so that there is always a next one. */
#define SWARM_NUMBER_MAX  (1u << 30)
#define SWARM_NUMBER_TOLD (SWARM_NUMBER_MAX / 2)

#define SWARM_TICK_NS      (50 * SWARM_MS)
#define SWARM_IDLE_NS      (500 * SWARM_MS)
#define SWARM_NEWS_NS      (15 * SWARM_MS) /* between two to one neighbour */
#define SWARM_LATER_NS     (90 * SWARM_MS)
#define SWARM_LAZY_NS      (400 * SWARM_MS) /* what it has already may wait that long */
#define SWARM_AGAIN_NS     (750 * SWARM_MS) /* not acknowledged: once more */
#define SWARM_ALIVE_NS     (1000 * SWARM_MS)
#define SWARM_SILENT_NS    (4000 * SWARM_MS) /* a neighbour that says nothing is left */
#define SWARM_HELLO_NS     (200 * SWARM_MS)
#define SWARM_JOIN_NS      (200 * SWARM_MS)  /* until somebody answers */
#define SWARM_SEEK_NS      (400 * SWARM_MS)  /* while neighbours are few */
#define SWARM_REFRESH_NS   (2000 * SWARM_MS) /* else */
#define SWARM_UNREACHED_NS (600 * SWARM_MS)  /* without an answer: the next rank */
#define SWARM_QUERY_NS     (150 * SWARM_MS)  /* the next two ranks have so long to speak up */
#define SWARM_GUEST_NS     (6000 * SWARM_MS)
#define SWARM_LINGER_NS    (8000 * SWARM_MS) /* a seed that nobody asks is forgotten */
#define SWARM_STUCK_NS     (3000 * SWARM_MS)
#define SWARM_IN_LINE_NS   (30000 * SWARM_MS) /* likewise, while others are given to */
#define SWARM_ALONE_NS     (15000 * SWARM_MS) /* stuck so long, and nobody fetches: on our own */
#define SWARM_WAITED_NS                                                                            \
    (120000 * SWARM_MS) /* nothing came for so long: who waits is not believed */
#define SWARM_GIVE_UP_NS  (3000 * SWARM_MS)
#define SWARM_RANKS_NS    (2000 * SWARM_MS) /* until they are worked out again */
#define SWARM_BUSY_NS     (150 * SWARM_MS)
#define SWARM_RESIGNED_NS (30000 * SWARM_MS) /* who was cut from the WAN is not appointed */

enum { /* numbers of messages: swarm_wire.c */
       MSG_JOIN = 80,
       MSG_WELCOME,
       MSG_QUERY,
       MSG_LEASE,
       MSG_APPOINT,
       MSG_STOP,
       MSG_HELLO,
       MSG_NEWS,
       MSG_OFFER,
       MSG_BYE,
};

enum swarm_lease_state {
    LEASE_NONE,
    LEASE_RUNS,
    LEASE_WAITS, /* the registry wants to be left alone */
    LEASE_DONE,
    LEASE_CUT,     /* resigned: it cannot reach the registry */
    LEASE_REFUSED, /* resigned: its right does not do */
    LEASE_YIELDED,
    LEASE_STATES
};

struct swarm_lease {
    enum swarm_lease_state state;
    struct node_key home, fetcher; /* who appointed whom */
    u32 number;                    /* greater with each appointment for this layer */
    u32 have;
    u64 heard_ns;
    u64 until_ns; /* of LEASE_WAITS */
};

struct swarm_guest { /* of a home */
    struct node_key key;
    u64 heard_ns, not_before_ns; /* may not be appointed before */
    u32 place, have;             /* place: guests with the same are near each other */
    u32 at;                      /* its position there: so many came before it */
    struct coord coord;          /* as it said when it came */
    u8 origin;                   /* 1 + which of them it names; 0: none */
    bool can_fetch, complete, stuck, distrusts; /* distrusts: has convicted somebody, */
    u64 forger;                                 /* the last one: the word of its key */
};

struct swarm_origin { /* where guests say that the layer is */
    char *text;       /* NULL: free */
    u64 size;
    u32 said;                           /* by so many */
    u64 refused_ns;                     /* the latest of those below */
    u64 not_before_ns[SWARM_RANKS + 1]; /* by rank, no rank last: a registry refused it there */
};

struct swarm_home {
    struct swarm_guest *guests;
    u32 n, cap;
    struct swarm_lease
        lease;           /* the one that counts; state NONE: the fetcher has said nothing yet */
    u32 number, overlap; /* overlap: the last number that was one */
    u64 query_ns;        /* since when the other ranks are being asked; 0: they are not */
    bool replied[SWARM_RANKS];
    u64 rank_ns[SWARM_RANKS]; /* resigned: not appointed before */
    u64 appoint_ns;           /* when APPOINT went the last time */
    u64 appointed_ns;         /* 0: nobody is, or it has answered */
    u64 above_ns;             /* since when those above are silent; 0: they are not */
    u64 above_asked_ns, above_heard_ns;
    u64 look_ns;  /* until it is looked whether all guests live */
    u64 stuck_ns; /* since when somebody is */
    u64 waits_ns; /* since when somebody is, and the fetcher waits for the registry; 0: not so */
    u64 hold_ns;  /* nobody is appointed before: the registry is away for all */
    struct node_key dismissed; /* the fetcher that was, the last one: others may */
    u64 dismissed_until_ns;    /* not have heard of it, and go on telling of it */
    u32 cuts;                  /* fetchers in a row that could not reach it */
    u64 welcomed_ns;           /* when all guests were told that somebody fetches */
    bool to_welcome;           /* they are to be told again, as soon as may be */
    bool nobody;               /* can fetch */
    bool relays;               /* asks the home above on behalf of its guests */
    struct swarm_origin origins[SWARM_ORIGINS];
    u32 told;          /* 1 + where the appointed one was sent; 0: it has a right of its own */
    u32 misled;        /* refusals in a row where it was sent */
    u32 misled_number; /* of the last such lease */
    u64 misled_until_ns;
    struct node_key misleaders[SWARM_ORIGINS];
    u32 n_misleaders;
};

struct swarm_share { /* of what a place imports; n is 0 when unknown */
    u32 n, at;       /* so many take part there, and we are in this position */
};

/* A neighbour. What is looked at of all of them, with each message and each choice, stands first:
 * in the line of a cache that their flags are in. */
struct swarm_peer {
    bool used, met; /* met: its HELLO has come */
    bool far;       /* not of our place */
    bool chosen, near, complete, super, queued, barred;
    bool acked_hello; /* it knows our session */
    bool ack_due;
    u32 have;  /* pieces: which, swarm_peer_holds() says */
    u32 asked; /* requests under way at it */
    u32 load;  /* pieces that it gives or holds, as it said, and what we asked since */
    u64 busy_ns, sent_ns;
    u32 strikes;    /* wrong or missing pieces, failures; */
    u32 wrongs;     /* of these, what is remembered when it leaves: wrong and slow ones */
    u32 told, sent; /* of our log: acknowledged; sent at least once */
    u64 unacked_ns; /* since when more is sent, and no more acknowledged */
    u32 told_load;
    struct node_key key;
    u32 session, seen; /* of its log: as far as we took it */
    u64 heard_ns, hello_ns;
    u32 hellos;
    u32 refusals;    /* in a row */
    u32 forgiven;    /* forgers that were known when its strikes were, */
    u64 forgiven_ns; /* at this time */
    u32 offers;      /* offered to it, not yet told of by it; */
    u32 made;        /* of these, that it did not come for yet */
    u64 frozen_ns;   /* no offers before */
    u64 offer_ns;    /* when it was offered something the last time */
    u64 hungry_ns;   /* when it said that it waits for a piece; 0: it has been called since */
    u64 called_ns;   /* when it was called the last time, */
    u32 in_vain;     /* and how many times since it last came for a piece */
    u64 came_ns;     /* when that was */
};

struct swarm_request {
    u32 id; /* 0: free */
    u32 peer, first, count, left;
    u64 asked_ns, started_ns;
    bool window, twice, far, offered; /* offered: its peer gives singly what nobody else has */
};

struct swarm_offer {
    u8 state; /* enum below */
    u8 peer;
    u64 at_ns, said_ns; /* since when it is so; when its receiver was told */
};
enum { OFFER_NO, OFFER_MADE, OFFER_GIVEN, OFFER_TAKEN, OFFER_DELIVERED };

struct swarm_candidate {
    struct node_key key;
    u64 tried_ns; /* 0: not yet */
    bool near;    /* how it was chosen */
};

/* A neighbour that left, and may come again: as it is said of it there. */
struct swarm_former {
    u64 word; /* of its key; 0: none */
    u64 forgiven_ns;
    u32 wrongs, forgiven;
    bool barred;
};

struct swarm_layer {
    struct swarm *swarm; /* that it is of */
    u32 slot;
    struct digest digest;
    u64 word;
    bool wanted, complete, pending; /* pending: a seed whose size is not known yet */
    bool can_fetch;
    char *origin;    /* NULL: unknown */
    bool own_origin; /* as our daemon says; else as we were appointed with */
    u64 size, begun_ns, used_ns, gained_ns;
    u64 resort_ns;  /* when one with strikes was asked last */
    u64 in_line_ns; /* when somebody who has what we lack was last seen to be busy */
    u32 n, position;
    u64 next_ns; /* tick */

    struct node_key ranks[SWARM_RANKS];
    u32 n_ranks;
    u64 ranks_ns;
    u64 near_until_ns; /* chosen among those that are near, without these */
    struct node_key unanswering[SWARM_RANKS];
    struct swarm_home *home; /* NULL: we are not */

    /* the asker */
    u32 rank; /* of whom we ask */
    u64 join_ns, join_since_ns, welcome_ns;
    u64 unheard_ns; /* when we asked, and were not answered since; 0: we were */
    u32 joins;
    bool fetched; /* somebody fetches it, as the home says */
    struct node_key fetchers[SWARM_FETCHERS];
    u32 n_fetchers;
    struct node_key forgers[SWARM_FETCHERS]; /* convicted here, of this layer */
    u32 n_forgers;
    bool nobody;                /* can fetch, as the home says */
    bool alone;                 /* no rank can be reached: we act for ourselves */
    u64 alone_ns, alone_due_ns; /* when we last fetched on our own account, will; 0: will not */
    u64 give_up_ns, seeds_ns, seek_ns;
    u64 backoff_ns; /* the registry wants to be left alone until then, as it or the home says */

    /* the fetcher */
    struct swarm_lease lease; /* ours; state NONE: we do not fetch */
    u64 lease_ns;             /* when it was told the last time */
    u32 stream_first;         /* pieces before it come from peers */
    u32 cursor;               /* behind the last piece that the registry gave */
    u64 stream_ns;            /* when the last one came */

    /* pieces */
    struct piece_map map;
    struct piece_map askable; /* missing, asked of nobody, and a neighbour has it */
    u32 *log, n_log, session;
    u64 *holders; /* by piece: a bit for each neighbour that has it */
    u8 *avail, *asked;
    struct swarm_offer *offers; /* NULL: everybody is told everything */
    u32 offered;                /* in state MADE */
    u32 offer_at;
    struct swarm_share share;
    u32 open;             /* so many doublings of who may import a piece, beside its importer */
    u64 open_ns, left_ns; /* when that changed; since when something is left to others, 0: not */
    u64 piece_ns;         /* how long one takes, from its first byte on */
    u64 far_ns;           /* likewise, from another place */
    u64 upload_ns;        /* likewise, to a peer */
    u64 wait_ns;          /* until a request is answered when nobody stands before it, */
    u64 far_wait_ns;      /* likewise, from another place */
    u64 least_ns, upload_least_ns; /* what a piece takes when it has the lines for itself */
    u64 hungry_ns;                 /* when we said so the last time */
    u64 called, called_ns;         /* whom our line is kept for: the word of its key; since when */

    u64 names[LIMIT_SWARM_NEIGHBOURS];   /* the words of their keys */
    u64 news_ns[LIMIT_SWARM_NEIGHBOURS]; /* when each is to hear from us; UINT64_MAX: not again */
    u64 news_stale;                      /* a bit for each of which that is to be worked out anew */
    bool news_idle; /* as it was for this whether we had time for more requests */
    struct swarm_peer peers[LIMIT_SWARM_NEIGHBOURS];
    u32 n_peers;
    u64 look_ns; /* until it is looked whether all of them live */
    struct swarm_candidate candidates[SWARM_CANDIDATES];
    u32 n_candidates, next_candidate;
    struct swarm_former former[SWARM_FORMER];
    u32 next_former;
    struct swarm_idler {
        u64 word, until_ns; /* of its key; until then others come first */
    } idlers[SWARM_IDLERS];
    u32 next_idler;
    struct node_key callers[SWARM_CALLERS];
    u32 n_callers;
    struct swarm_request requests[LIMIT_SWARM_REQUESTS];
    u32 n_requests, n_started;
    u32 n_offered;       /* of n_requests */
    u32 n_far, n_window; /* requests to other places; for what a client waits for */
    u32 uploads;
};

struct swarm_serve_slot {
    u32 id; /* 0: free */
    bool active, far;
    struct swarm_layer *layer;
    struct node_key peer;
    u32 first, count;
    u64 since_ns;
};

struct swarm_out {
    u8 kind;
    u8 reason; /* of BYE; state of LEASE */
    u32 layer; /* slot; its digest's word must still be `word` */
    u64 word;
    struct node_key to;
    u32 arg; /* NEWS, HELLO, OFFER: neighbour; OFFER: piece in `piece` */
    u32 piece;
};

/* How fast one goes about it. */
struct swarm_pace {
    u32 uploads;      /* pieces of a layer given at once */
    u32 uploads_most; /* of all layers */
    u32 depth;        /* pieces of a layer asked for at once, */
    u32 wider;        /* and so many more while fewer than that are being answered */
    u32 waiting;      /* requests held until there is room */
    u64 offer_ns;     /* in which the news of a piece comes back, beside the pieces' own times */
    u64 patience_ns;  /* before what has not begun is asked of a second one */
};

/* What each call looks at stands first, together. */
struct swarm_vain { /* who kept us in line and gave nothing */
    u64 word;       /* of its key */
    u64 until_ns;
};

struct swarm {
    u64 next_ns; /* the earliest tick of a layer; UINT64_MAX: there is none */
    struct swarm_out *out;
    u32 out_cap, out_first, out_n;
    u32 steps_cap, steps_first, steps_n;
    struct swarm_step *steps;
    u32 n_slots, n_layers; /* slots ever used; in use */
    u32 n_serves, n_active;
    u32 slow_turns;                             /* in a row: swarm_turned() */
    const struct swarm_pace *pace, *first_pace; /* the first one: while there is no layer */
    const struct member *member;
    const struct inventory *inventory;
    struct rng rng;
    size_t datagram_max;
    u64 far_rest_ns; /* nothing is given to other places before */
    u32 next_id, n_guests;
    struct node_key self;
    struct rate misled; /* by whom we were */
    struct swarm_vain vain[SWARM_VAIN];
    u32 next_vain;
    struct swarm_stats stats;
    u64 words[LIMIT_SWARMS]; /* of the layers' digests */
    struct swarm_layer *layers[LIMIT_SWARMS];
    struct swarm_serve_slot serves[LIMIT_SWARM_SERVES];
};

/* --- swarm.c --- */
struct swarm_layer *swarm_find(const struct swarm *s, const struct digest *d);
struct swarm_layer *swarm_find_word(const struct swarm *s, u64 word);
struct swarm_layer *swarm_add(struct swarm *s, const struct digest *d, u64 now_ns); /* NULL */
int swarm_cut(struct swarm *s, struct swarm_layer *l, u64 size, u64 now_ns); /* makes its maps */
u64 swarm_word(const struct digest *d);
bool swarm_order(struct swarm *s, const struct swarm_out *o); /* false: no room */
struct swarm_step *swarm_step_new(struct swarm *s, const struct swarm_layer *l,
                                  enum swarm_do what); /* NULL: full */
bool swarm_is_forger(const struct swarm_layer *l, const struct node_key *k);
u64 swarm_last_forger(const struct swarm_layer *l); /* the word of its key; 0: none */
bool swarm_alive(const struct swarm *s, const struct node_key *k);
void swarm_wake(struct swarm_layer *l, u64 at_ns);
u32 swarm_new_id(struct swarm *s, const struct swarm_layer *l);

/* --- swarm_rank.c --- */
void swarm_rank(struct swarm *s, struct swarm_layer *l, u64 now_ns);
/* For a while from now on: of those that are near, without the ranks, which do not answer. */
void swarm_rank_near(struct swarm *s, struct swarm_layer *l, u64 now_ns);
bool swarm_ranks_near(const struct swarm_layer *l, u64 now_ns);
u32 swarm_rank_of(const struct swarm_layer *l, const struct node_key *k); /* SWARM_RANKS: none */
/* For others, if not for us? */
bool swarm_may_be_rank(const struct swarm *s, const struct swarm_layer *l,
                       const struct node_key *k);

/* --- swarm_guests.c --- */
struct swarm_home *swarm_home_of(struct swarm_layer *l); /* made where there is none; NULL */
void swarm_home_fini(struct swarm *s, struct swarm_layer *l);
struct swarm_join_message {
    u64 size;
    bool can_fetch, leaves, complete, stuck, distrusts;
    u64 forger; /* 0: none, or not told */
    u32 have, rank;
    struct coord coord; /* where it stands; error COORD_ERROR_MAX: unknown */
    const char *origin; /* borrowed; NULL: as it was */
};
void swarm_guest(struct swarm *s, struct swarm_layer *l, const struct node_key *k,
                 const struct swarm_join_message *j, u64 now_ns);
struct swarm_guest *swarm_guest_find(const struct swarm_home *h, const struct node_key *k);
void swarm_guest_remove(struct swarm *s, struct swarm_home *h, struct swarm_guest *g);
/* Guests for `k` to choose neighbours from. */
u32 swarm_home_names(struct swarm *s, const struct swarm_layer *l, const struct node_key *k,
                     u64 out[SWARM_NAMES]);

/* --- swarm_home.c --- */
void swarm_home_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_lease_told(struct swarm *s, struct swarm_layer *l, const struct node_key *from,
                      const struct swarm_lease *lease, u64 now_ns);
bool swarm_lease_lives(const struct swarm *s, const struct swarm_lease *l, u64 now_ns);
bool swarm_has_seed(const struct swarm *s, const struct swarm_layer *l);

/* --- swarm_origin.c --- */
/* A guest names one, or leaves. */
void swarm_origin_said(struct swarm_home *h, struct swarm_guest *g, const char *text, u64 size,
                       u64 now_ns);
void swarm_origin_unsaid(struct swarm_home *h, const struct swarm_guest *g);
/* 1 + the one that most name, and where `rank` was not refused (SWARM_RANKS: who has no rank;
 * more: whoever was), and of whose sayers one has not misled too often; 0: none. */
u32 swarm_origin_best(const struct swarm *s, const struct swarm_home *h, u32 rank, u64 now_ns);
/* What `to` is told to read, or a home (`to` NULL); "" when nothing is known. Borrowed. */
const char *swarm_origin_of(const struct swarm *s, const struct swarm_layer *l,
                            const struct node_key *to, u64 now_ns, u64 *size);
/* We are appointed with this one: it stands until the next time, but not before our own. */
void swarm_origin_told(struct swarm_layer *l, const char *text, u64 size);
/* Whom we sent to h->told (not 0) was refused there. */
void swarm_origin_refused(struct swarm *s, struct swarm_home *h, u32 rank, u64 until_ns,
                          u64 now_ns);
void swarm_origins_fini(struct swarm_home *h);

/* --- swarm_pace.c --- */
extern const struct swarm_pace swarm_prompt, swarm_queued;
/* It took so long until a request was refused, or an offer taken up; a piece takes `piece_ns`. */
void swarm_turned(struct swarm *s, u64 took_ns, u64 piece_ns);

/* --- swarm_call.c --- */
void swarm_least(u64 *least_ns, u64 took_ns);     /* the least of late; 0: none yet */
u64 swarm_answer_ns(const struct swarm_layer *l); /* an idle neighbour answers within */
/* Is one piece given, and one asked for, at a time? */
bool swarm_singly(const struct swarm *s, const struct swarm_layer *l);
u32 swarm_uploads(const struct swarm *s, const struct swarm_layer *l); /* at once: who gives as
                                                                          many is not idle */
u32 swarm_load(const struct swarm *s, const struct swarm_layer *l);    /* given or held now */
bool swarm_is_hungry(const struct swarm *s, const struct swarm_layer *l);
void swarm_say_hungry(struct swarm *s, struct swarm_layer *l, u64 now_ns);
bool swarm_seems_hungry(const struct swarm_layer *l, const struct swarm_peer *p, u64 now_ns);
/* Calls one of the hungry, if there is room. */
void swarm_call(struct swarm *s, struct swarm_layer *l, u64 now_ns);
/* For another than `from`, who comes for a piece? */
bool swarm_is_kept(struct swarm_layer *l, const struct node_key *from, u64 now_ns);

/* --- swarm_place.c --- */
/* As far as members know. Of most they know nothing in the first minutes: a round of probes takes
 * that long. */
bool swarm_is_near(const struct swarm *s, const struct node_key *k);
/* Who says that it stands there. */
bool swarm_stands_near(const struct swarm *s, const struct coord *at);
/* Smaller is nearer: rack, then subnet, then round trip. UINT64_MAX: no neighbour for us. */
u64 swarm_distance(const struct swarm *s, const struct node_key *k);
/* Where a guest that comes from `at` belongs. */
u32 swarm_place_of(const struct swarm *s, const struct swarm_home *h, const struct node_key *k,
                   const struct coord *at);
struct swarm_share swarm_share_of(const struct swarm_home *h, const struct node_key *k);
bool swarm_imports(const struct swarm_layer *l, u32 piece);
void swarm_open_tick(struct swarm_layer *l, u64 now_ns);
bool swarm_is_gate(const struct swarm_layer *l);
u32 swarm_far_depth(const struct swarm_layer *l, u32 depth);

/* --- swarm_join.c --- */
void swarm_join_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_fetch_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns);
struct swarm_welcome {
    bool nobody;
    u64 fetcher, backoff_ns;
    struct swarm_share share;
};
void swarm_welcomed(struct swarm *s, struct swarm_layer *l, const struct node_key *from,
                    const struct swarm_welcome *w, u64 now_ns);
void swarm_appointed(struct swarm *s, struct swarm_layer *l, const struct node_key *home,
                     u32 number, u64 now_ns);
void swarm_stop(struct swarm *s, struct swarm_layer *l, enum swarm_lease_state why, u64 now_ns);
void swarm_know_fetcher(struct swarm_layer *l, const struct node_key *k);
bool swarm_was_fetcher(const struct swarm_layer *l, const struct node_key *k);
void swarm_tell_lease(struct swarm *s, struct swarm_layer *l, u64 now_ns);

/* --- swarm_peers.c --- */
struct swarm_peer *swarm_peer_find(struct swarm_layer *l, const struct node_key *k);
void swarm_candidate_add(struct swarm *s, struct swarm_layer *l, const struct node_key *k);
void swarm_names(struct swarm *s, struct swarm_layer *l, const u8 *bin, size_t len);
void swarm_peers_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_peer_drop(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, int bye,
                     u64 now_ns); /* bye: reason; -1: without a word */
/* NULL: no room. */
struct swarm_peer *swarm_peer_new(struct swarm *s, struct swarm_layer *l, const struct node_key *k,
                                  u64 now_ns);
void swarm_peer_has(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, u32 piece,
                    u64 now_ns);
void swarm_peer_lacks(struct swarm_layer *l, struct swarm_peer *p, u32 piece);
void swarm_peer_clear(struct swarm_layer *l, struct swarm_peer *p);
void swarm_say_news(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p); /* now */
void swarm_news_due(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_say_hello(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, u64 now_ns);
/* Everybody is told anew what we have. */
void swarm_new_session(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_say_bye(struct swarm *s, struct swarm_layer *l, const struct node_key *to, int reason);
enum { BYE_GONE, BYE_FULL, BYE_NOT_HERE, BYE_DONE, BYE_NAMES };

static_assert(LIMIT_SWARM_NEIGHBOURS <= 64, "a bit for each in a word");
static inline u64 swarm_peer_bit(const struct swarm_layer *l, const struct swarm_peer *p)
{
    return 1ull << (p - l->peers);
}
static inline bool swarm_peer_holds(const struct swarm_layer *l, const struct swarm_peer *p,
                                    u32 piece)
{
    assert(piece < l->n);
    return l->holders[piece] & swarm_peer_bit(l, p);
}

/* After anything changed that says when a neighbour is to hear from us; or all of them. */
static inline void swarm_news_change(struct swarm_layer *l, const struct swarm_peer *p)
{
    l->news_stale |= swarm_peer_bit(l, p);
}
static inline void swarm_news_change_all(struct swarm_layer *l)
{
    l->news_stale = UINT64_MAX;
}

/* --- swarm_pick.c --- */
/* After a piece came, was lost or asked for, or neighbours came to have it. */
void swarm_piece_changed(struct swarm_layer *l, u32 piece);
/* Of the pieces in `map` one that the fewest neighbours have, ties at random; SWARM_NONE: none. */
u32 swarm_rarest(struct swarm *s, const struct swarm_layer *l, const u64 *map);
void swarm_pick(struct swarm *s, struct swarm_layer *l, u64 now_ns);
/* `p` is idle, as it says just now: whoever is hungry comes to it before all others. */
void swarm_come(struct swarm *s, struct swarm_layer *l, const struct swarm_peer *p, u64 now_ns);
void swarm_pick_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_request_drop(struct swarm *s, struct swarm_layer *l, struct swarm_request *r, bool step,
                        const char *reason);
void swarm_piece_here(struct swarm *s, struct swarm_layer *l, u32 piece, u64 now_ns);

/* --- swarm_wait.c --- */
/* Nothing came for so long, and nobody seems to be about to give us something; or for very long. */
bool swarm_gains_nothing(const struct swarm_layer *l, u64 patience, u64 now_ns);
bool swarm_is_stuck(const struct swarm_layer *l, u64 now_ns);
/* For so long that whoever is said to fetch, or to wait for the registry, keeps us no longer. */
bool swarm_waited(const struct swarm_layer *l, u64 now_ns);
void swarm_gave(struct swarm *s, const struct swarm_peer *p);
void swarm_wait_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns);

/* --- swarm_serve.c --- */
void swarm_serve_tick(struct swarm *s, u64 now_ns);
/* May one piece more be given? */
bool swarm_has_room(const struct swarm *s, const struct swarm_layer *l, bool far, u64 now_ns);
void swarm_serve_forget(struct swarm *s, const struct swarm_layer *l); /* drops what is held */

/* --- swarm_offer.c --- */
void swarm_offer_begin(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_offer_end(struct swarm *s, struct swarm_layer *l, u64 now_ns);
void swarm_offer_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns);
/* `to` comes for `piece`, or has it now. */
void swarm_offer_given(struct swarm *s, struct swarm_layer *l, u32 piece, const struct node_key *to,
                       u64 now_ns);
/* `p` says that it has it. */
void swarm_offer_told(struct swarm *s, struct swarm_layer *l, const struct swarm_peer *p, u32 piece,
                      u64 now_ns);

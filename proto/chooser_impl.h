/* chooser_impl.h - what chooser.c and chooser_list.c share. */
#pragma once

#include "proto/chooser.h"

#define LISTS       4096
#define STICKS      8192
#define FETCHES     4096
#define FETCH_NODES 4     /* of one layer, the latest */
#define FETCH_MS    60000 /* what is not held by then is not being fetched */
#define HOLDERS     64
#define FEW_MAX     (SHORTLIST + HOLDERS + FETCH_NODES)
#define ANCHORS     6
#define STRANGERS   8
#define KEY_BYTES   16

/* A node by its number, as long as that means it. */
struct ref {
    u16 number;
    u32 serial;
};

/* A node whose distance from the network was measured: what stands near it is about as far. */
struct anchor {
    u64 rtt_ns;
    struct coord coord;
    size_t region;
};

/* For one network of users and one profile. */
struct list {
    u8 key[KEY_BYTES];
    u64 made_ms, version;
    bool made;
    u64 nearest_ns; /* measured, of all */
    size_t n, n_anchors, n_strangers;
    struct ref nodes[SHORTLIST]; /* by class, then by distance */
    u64 rtt_ns[SHORTLIST];
    struct anchor anchors[ANCHORS];  /* the nearest first */
    struct ref strangers[STRANGERS]; /* who may be far nearer than anybody known */
};

struct stick {
    u8 key[KEY_BYTES]; /* of (user, address, repository) */
    struct ref node;
    u64 until_ms; /* 0: empty */
};

struct fetch {
    u8 key[KEY_BYTES]; /* of the digest */
    struct {
        struct ref node;
        u64 since_ms; /* 0: empty */
    } by[FETCH_NODES];
};

/* The candidates of one choice. */
struct few {
    struct pick_candidate list[FEW_MAX];
    struct pick_line lines[FEW_MAX];
    u16 numbers[FEW_MAX];
    size_t n, usable;
    enum pick_class best; /* of those that are usable */
};

struct chooser {
    struct chooser_options opt;
    struct rng rng;
    u64 rtts[PICK_MAX];                  /* of the list that is made */
    struct few few;                      /* of the choice that is made */
    struct pick_candidate all[PICK_MAX]; /* when nobody of a list is fit */
    struct pick_line lines[PICK_MAX];
    struct list lists[LISTS];
    struct stick sticks[STICKS];
    struct fetch fetches[FETCHES];
};

struct keyed { /* what is hashed: bounded parts, each behind the other */
    u8 bytes[TICKET_USER_BYTES + 16 + 512 + 1];
    size_t n;
};

void chooser_add(struct keyed *k, const void *part, size_t n);
/* Its place among `places`, and the key that stands there. */
size_t chooser_place(const struct chooser *c, const struct keyed *k, size_t places,
                     u8 out[KEY_BYTES]);
/* NULL: the number means another by now, or nobody. */
struct roster_node *chooser_node(const struct chooser *c, struct ref r);

/* chooser_list.c: the shortlist for this network and profile, made anew when it is time. Borrowed
 * until the next call. */
const struct list *chooser_list(struct chooser *c, const struct chooser_wish *w);
/* How far the user is from it: as a node measured it, or else as follows from what was measured of
 * others; 0: nobody knows. */
u64 chooser_distance(const struct chooser *c, const struct chooser_wish *w, const struct list *l,
                     const struct roster_node *n);

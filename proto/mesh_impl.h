/* mesh_impl.h - what the files of mesh share; nobody else includes it.
 *
 *   mesh.c        making, being told, events, looking on
 *   mesh_peers.c  the living: by key, by address, at random; what is kept per peer
 *   mesh_wire.c   datagrams in and out
 *   mesh_talk.c   streams in and out
 *   mesh_fetch.c  who should be asked for a layer, and how it went
 *   mesh_peer.c   Dray-Peer
 *   mesh_swarm.c  the door to swarms */
#pragma once

#include "proto/mesh.h"
#include "proto/message.h"
#include "proto/window.h"

#define MESH_TEXT_BYTES  (LIMIT_DATAGRAM_BYTES - SEAL_OVERHEAD) /* plain text of a datagram */
#define MESH_FIELDS_MAX  4096 /* of one message: more than fit a datagram */
#define MESH_TALKS_MAX   64   /* that we hold at once; the modules want fewer */
#define MESH_EVENTS_MAX  (2 * LIMIT_MEMBERS)
#define MESH_PEER_WINDOW 1024
#define MESH_NONE        UINT32_MAX

/* What fetching from a peer, and being asked by it, taught; made when first needed. */
struct mesh_fetching {
    struct choose_history history;
    u64 sent; /* the last number of a statement for it */
    u64 epoch, top, seen[WINDOW_WORDS(MESH_PEER_WINDOW)]; /* of its statements */
};

struct mesh_peer {
    struct node_key key;
    struct addr addr;
    u8 version;                     /* spoken to it */
    u32 next_key, next_addr;        /* chains */
    u32 live;                       /* where it stands among the living; MESH_NONE: down */
    struct mesh_fetching *fetching; /* NULL: none yet; owned */
};

/* Entries are in one array and move when it grows; chains and the living are indices. Free ones are
 * chained by `next_key`. */
struct mesh_peers {
    u64 seed;
    struct mesh_peer *peers;
    u32 *by_key, *by_addr, *live; /* one block */
    u32 room, used, free, n_live; /* room: a power of two, and so is the number of chains */
    u64 sent_floor; /* no statement to a peer that was forgotten had a greater number */
};

enum mesh_module { MESH_MEMBER, MESH_INVENTORY, MESH_PURGE };

struct mesh_talk {
    bool used;
    enum mesh_module module;
    u32 id, module_id;
    u64 counter; /* of the request: its answer repeats it */
    bool known;  /* whom we ask; else any member may answer */
    u8 whom[8];
};

struct mesh_event_ring {
    struct member_event *events;
    size_t room, first, n;
};

/* What each call looks at stands first, together. */
struct mesh {
    struct member *member;
    struct inventory *inventory;
    struct seal *seal;
    struct purge *purge;
    struct swarm *swarm;
    u8 version_min, version_max;
    bool clear; /* nothing is encrypted */
    unsigned version_turn;
    struct mesh_event_ring events;
    u64 now_ns;        /* the latest that was told */
    struct rng rng;    /* choices of peers */
    u64 member_losses; /* events that member lost, as of the last look */
    u64 epoch_told;    /* of the inventory */
    struct mesh_peers peers;
    struct mesh_stats stats;
    u32 next_talk;
    bool staged_set; /* `staged` holds one */
    struct node_key key;
    struct mesh_talk talks[MESH_TALKS_MAX];
    struct node_secret secret;
    struct member_record self; /* its texts are in `texts`, its networks in `serves` */
    struct member_network serves[MEMBER_SERVES_MAX];
    char *texts;

    struct { /* written by a module, but for another address than what just went */
        struct addr to;
        size_t len;
        u8 text[MESH_TEXT_BYTES];
    } staged;
};

/* What is told to us may make whoever tells it look at the clock again, before it goes on with the
 * time that it had. */
static inline u64 mesh_time(struct mesh *m, u64 now_ns)
{
    if (now_ns > m->now_ns)
        m->now_ns = now_ns;
    return m->now_ns;
}

/* --- mesh.c --- */
/* After anything that drove a module: takes its events. */
void mesh_pump(struct mesh *m, u64 now_ns);

/* --- mesh_peers.c --- */
void mesh_peers_init(struct mesh_peers *t, u64 seed);
void mesh_peers_fini(struct mesh_peers *t);
u64 mesh_peers_bytes(const struct mesh_peers *t);
/* Borrowed until one is added. NULL: unknown. */
struct mesh_peer *mesh_peers_find(const struct mesh_peers *t, const struct node_key *k);
/* The living one at an address. NULL: nobody known. */
struct mesh_peer *mesh_peers_at(const struct mesh_peers *t, const struct addr *a);
/* It lives, at `a`. NULL: no memory, or LIMIT_MEMBERS live already. */
struct mesh_peer *mesh_peers_up(struct mesh_peers *t, const struct node_key *k,
                                const struct addr *a);
void mesh_peers_down(struct mesh_peers *t, const struct node_key *k);
struct mesh_peer *mesh_peers_random(const struct mesh_peers *t, struct rng *r); /* NULL: nobody */
struct mesh_fetching *mesh_peers_fetching(struct mesh_peers *t, struct mesh_peer *p);

/* --- mesh_wire.c --- */
/* The version for whoever is at `to`. */
u8 mesh_version_for(struct mesh *m, const struct addr *to);
/* Counts why it was dropped, and tells member of a clone. */
void mesh_dropped(struct mesh *m, enum seal_drop d, const struct seal_from *from,
                  const struct addr *addr, u64 now_ns);
/* Reads a message's head and finds its end: `body` is what follows its number. False: malformed. */
bool mesh_split(struct wire_in *r, unsigned *number, struct wire_in *body);
/* The key of a member by its sender bytes; false: not a member. */
bool mesh_sender_key(const struct mesh *m, const u8 sender[8], struct node_key *out);

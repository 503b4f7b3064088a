/* roster.h - the nodes of all regions, as they are now: flat, and found by key or by number.
 *
 * Why: a choice is made thousands of times a second, and a walk through the members of a thousand
 * nodes' region costs more than all the rest of it. Here stands what a choice needs of each node,
 * taken over from the mesh when a member changed, and ROSTER_FRESH_MS after the last time, since
 * loads are told without an event. A node keeps its number while it is a member; `serial` tells
 * whether a number still means the same node.
 *
 * Guarantee: who is dead, left or doubted by the mesh is so here after roster_refresh(). Nodes
 * beyond PICK_MAX are left out. Strings are owned here, and last until roster_refresh(). A node is
 * unfit until whoever knows the tracker's own name has looked at its URL (roster_judge()). */
#pragma once

#include "proto/mesh.h"
#include "proto/pick.h"

#define ROSTER_FRESH_MS  250
#define ROSTER_NONE      UINT16_MAX
#define ROSTER_KEY_BYTES 16

struct roster;

struct roster_node {
    struct pick_candidate
        of;             /* what holds for every user; holds, struck, rtt_ns are not filled in */
    u32 serial;         /* of this use of the number */
    bool present;       /* else the number is free */
    bool judged;        /* its URL was looked at */
    struct coord coord; /* where it stands in its region's mesh */
    u64 sent_bytes, sent_ms; /* users' layers that were lately to come from it; fading */
    char name[MEMBER_TEXT_MAX + 1], region[MEMBER_TEXT_MAX + 1], url[MEMBER_URL_MAX + 1];
    struct member_network serves[MEMBER_SERVES_MAX];
};

/* `hash_key`: random and nobody else's, so that nobody can aim at a place. ERR_NOMEM. */
must_use int roster_new(struct roster **out, size_t n_regions, const u8 hash_key[ROSTER_KEY_BYTES]);
void roster_del(struct roster *r);

/* A region's mesh as it is now. */
struct roster_region {
    const struct mesh *mesh; /* NULL: we are not in it yet, or any more */
    u64 version;             /* grows with each MESH_EVENT_MEMBER */
};
/* Takes over what is new. Cheap when nothing is. `regions`: of all, in their order; the meshes are
 * borrowed until the next call. */
void roster_refresh(struct roster *r, const struct roster_region *regions, u64 now_ms);
/* The next node whose URL is new; ROSTER_NONE: there is none. To be judged before the next call. */
u16 roster_unjudged(struct roster *r);
/* May no user be sent to that URL? */
void roster_judge(struct roster *r, u16 number, bool unfit);

size_t roster_regions(const struct roster *r);
const struct inventory *roster_inventory(const struct roster *r, size_t region); /* NULL: none */
/* Numbers are below this; some are free. */
u16 roster_end(const struct roster *r);
/* NULL: free. */
struct roster_node *roster_at(const struct roster *r, u16 number);
/* ROSTER_NONE: not there. */
u16 roster_find(const struct roster *r, const struct node_key *k);
/* Grows when a node came, changed its record, or is fit again. */
u64 roster_version(const struct roster *r);
/* The longest prefix that any node says it serves, as in struct member_network; 0: none does. */
u8 roster_bits(const struct roster *r);

/* A user was sent there for a layer. Half of it is forgotten each second. */
void roster_sent(struct roster_node *n, u64 bytes, u64 now_ms);
u64 roster_inflight(const struct roster_node *n, u64 now_ms);

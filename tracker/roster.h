/* roster.h - the nodes of all regions, as they are now: flat, and found by key or by number.
 *
 * Why: a choice is made thousands of times a second, and a walk through the members of a thousand
 * nodes' region costs more than all the rest of it. Here stands what a choice needs of each node,
 * taken over from the mesh when a member changed, and ROSTER_FRESH_MS after the last time, since
 * loads are told without an event. A node keeps its number while it is a member; `serial` tells
 * whether a number still means the same node.
 *
 * Guarantee: who is dead, left or doubted by the mesh is so here in the same turn of the loop.
 * Nodes beyond PICK_MAX are left out. Strings are owned here, and last until roster_refresh().
 * Loop thread only. */
#pragma once

#include "proto/pick.h"
#include "tracker/regions.h"

#define ROSTER_FRESH_MS 250
#define ROSTER_NONE     UINT16_MAX

struct roster;

struct roster_node {
    struct pick_candidate
        of;       /* what holds for every user; holds, struck, rtt_ns are not filled in */
    u32 serial;   /* of this use of the number */
    bool present; /* else the number is free */
    u64 sent_bytes, sent_ms; /* users' layers that were lately to come from it; fading */
    char name[MEMBER_TEXT_MAX + 1], region[MEMBER_TEXT_MAX + 1], url[MEMBER_URL_MAX + 1];
    struct member_network serves[MEMBER_SERVES_MAX];
};

/* `regions` is borrowed; NULL: nobody is there. `own_url`: the tracker's. ERR_NOMEM. */
must_use int roster_new(struct roster **out, struct regions *regions, const char *own_url);
void roster_del(struct roster *r);

/* Takes over what is new. Cheap when nothing is. */
void roster_refresh(struct roster *r, u64 now_ms);
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

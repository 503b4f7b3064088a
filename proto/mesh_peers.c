/* mesh_peers.c - the living members as the façade needs them; see mesh_impl.h.
 *
 * One who goes down is forgotten, unless something was learned from it that a replay or its return
 * would need: then it stays until room is needed. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mesh_impl.h"

#define FIRST_ROOM 8
#define CHAINS     4 /* for each peer: in a short one the first is nearly always the one */
#define ROOM_MAX   LIMIT_MEMBERS

static_assert((ROOM_MAX & (ROOM_MAX - 1)) == 0, "doubling ends there");

void mesh_peers_init(struct mesh_peers *t, u64 seed)
{
    *t = (struct mesh_peers){.seed = seed, .free = MESH_NONE};
}

void mesh_peers_fini(struct mesh_peers *t)
{
    for (u32 i = 0; i < t->used; i++)
        free(t->peers[i].fetching);
    free(t->peers);
    free(t->by_key);
}

u64 mesh_peers_bytes(const struct mesh_peers *t)
{
    u64 bytes = t->room * (sizeof(struct mesh_peer) + (2 * CHAINS + 1) * sizeof(u32));
    for (u32 i = 0; i < t->used; i++)
        if (t->peers[i].fetching)
            bytes += sizeof(struct mesh_fetching);
    return bytes;
}

/* --- chains ---------------------------------------------------------------------------------- */

static u64 mix(u64 h)
{
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    return (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
}

static u32 *key_chain(const struct mesh_peers *t, const struct node_key *k)
{
    return &t->by_key[(mix(node_key_word(k) ^ t->seed) >> 32) & (CHAINS * t->room - 1)];
}

static u32 *addr_chain(const struct mesh_peers *t, const struct addr *a)
{
    u64 high, low;
    memcpy(&high, a->ip, 8);
    memcpy(&low, a->ip + 8, 8);
    u64 h = mix(mix(high ^ t->seed) ^ low) + a->port;
    return &t->by_addr[(mix(h) >> 32) & (CHAINS * t->room - 1)];
}

static void enter_key(struct mesh_peers *t, u32 i)
{
    u32 *chain = key_chain(t, &t->peers[i].key);
    t->peers[i].next_key = *chain;
    *chain = i;
}

static void leave_key(struct mesh_peers *t, u32 i)
{
    u32 *link = key_chain(t, &t->peers[i].key);
    while (*link != i)
        link = &t->peers[*link].next_key;
    *link = t->peers[i].next_key;
}

static void enter_addr(struct mesh_peers *t, u32 i)
{
    u32 *chain = addr_chain(t, &t->peers[i].addr);
    t->peers[i].next_addr = *chain;
    *chain = i;
}

static void leave_addr(struct mesh_peers *t, u32 i)
{
    u32 *link = addr_chain(t, &t->peers[i].addr);
    while (*link != i)
        link = &t->peers[*link].next_addr;
    *link = t->peers[i].next_addr;
}

static u32 index_of(const struct mesh_peers *t, const struct node_key *k)
{
    u32 i = t->room ? *key_chain(t, k) : MESH_NONE;
    while (i != MESH_NONE && !node_key_equal(&t->peers[i].key, k))
        i = t->peers[i].next_key;
    return i;
}

struct mesh_peer *mesh_peers_find(const struct mesh_peers *t, const struct node_key *k)
{
    u32 i = index_of(t, k);
    return i == MESH_NONE ? NULL : &t->peers[i];
}

struct mesh_peer *mesh_peers_at(const struct mesh_peers *t, const struct addr *a)
{
    u32 i = t->room ? *addr_chain(t, a) : MESH_NONE;
    while (i != MESH_NONE && !addr_equal(&t->peers[i].addr, a))
        i = t->peers[i].next_addr;
    return i == MESH_NONE ? NULL : &t->peers[i];
}

/* --- room ------------------------------------------------------------------------------------ */

static bool grow(struct mesh_peers *t)
{
    u32 room = t->room ? 2 * t->room : FIRST_ROOM;
    if (room > ROOM_MAX)
        return false;
    u32 chains = CHAINS * room, *links = malloc((2 * chains + room) * sizeof(*links));
    struct mesh_peer *peers = links ? realloc(t->peers, room * sizeof(*peers)) : NULL;
    if (!peers) {
        free(links);
        return false;
    }
    if (t->n_live > 0)
        memcpy(links + 2 * chains, t->live, t->n_live * sizeof(*links));
    free(t->by_key);
    t->peers = peers;
    t->by_key = links; /* one block: by_key, by_addr, live */
    t->by_addr = links + chains;
    t->live = links + 2 * chains;
    t->room = room;
    memset(links, 0xff, 2 * chains * sizeof(*links)); /* MESH_NONE */
    for (u32 i = 0; i < t->used; i++) {
        if (node_key_is_set(&peers[i].key))
            enter_key(t, i);
        if (peers[i].live != MESH_NONE)
            enter_addr(t, i);
    }
    return true;
}

static void forget(struct mesh_peers *t, u32 i)
{
    struct mesh_peer *p = &t->peers[i];
    assert(p->live == MESH_NONE);
    if (p->fetching && p->fetching->sent > t->sent_floor)
        t->sent_floor = p->fetching->sent;
    free(p->fetching);
    leave_key(t, i);
    *p = (struct mesh_peer){.live = MESH_NONE, .next_key = t->free};
    t->free = i;
}

/* One who is down makes room. */
static bool forget_one(struct mesh_peers *t)
{
    for (u32 i = 0; i < t->used; i++)
        if (t->peers[i].live == MESH_NONE) {
            forget(t, i);
            return true;
        }
    return false;
}

static u32 add(struct mesh_peers *t, const struct node_key *k)
{
    assert(node_key_is_set(k));
    if (t->free == MESH_NONE && t->used == t->room && !grow(t) && !forget_one(t))
        return MESH_NONE;
    u32 i = t->free;
    if (i != MESH_NONE)
        t->free = t->peers[i].next_key;
    else
        i = t->used++;
    t->peers[i] = (struct mesh_peer){.key = *k, .live = MESH_NONE};
    enter_key(t, i);
    return i;
}

/* --- up and down ----------------------------------------------------------------------------- */

struct mesh_peer *mesh_peers_up(struct mesh_peers *t, const struct node_key *k,
                                const struct addr *a)
{
    u32 i = index_of(t, k);
    if (i == MESH_NONE && (i = add(t, k)) == MESH_NONE)
        return NULL;
    struct mesh_peer *p = &t->peers[i];
    if (p->live != MESH_NONE && addr_equal(&p->addr, a))
        return p;
    if (p->live != MESH_NONE) {
        leave_addr(t, i);
    } else {
        p->live = t->n_live;
        t->live[t->n_live++] = i;
    }
    p->addr = *a;
    enter_addr(t, i);
    return p;
}

void mesh_peers_down(struct mesh_peers *t, const struct node_key *k)
{
    u32 i = index_of(t, k);
    if (i == MESH_NONE || t->peers[i].live == MESH_NONE)
        return;
    struct mesh_peer *p = &t->peers[i];
    leave_addr(t, i);
    u32 last = t->live[--t->n_live];
    t->live[p->live] = last;
    t->peers[last].live = p->live;
    p->live = MESH_NONE;
    if (!p->fetching)
        forget(t, i);
}

struct mesh_peer *mesh_peers_random(const struct mesh_peers *t, struct rng *r)
{
    return t->n_live ? &t->peers[t->live[rng_below(r, t->n_live)]] : NULL;
}

struct mesh_fetching *mesh_peers_fetching(struct mesh_peers *t, struct mesh_peer *p)
{
    if (!p->fetching && (p->fetching = calloc(1, sizeof(*p->fetching))))
        p->fetching->sent = t->sent_floor;
    return p->fetching;
}

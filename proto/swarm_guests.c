/* swarm_guests.c - who wants a layer, as its home knows it, and whom it names to each. */
#include <stdlib.h>

#include "proto/swarm_impl.h"

#define GATES_NAMED (SWARM_NAMES / 2) /* the rest are near, or anybody */

struct swarm_home *swarm_home_of(struct swarm_layer *l)
{
    if (!l->home)
        l->home = calloc(1, sizeof(*l->home));
    return l->home;
}

void swarm_home_fini(struct swarm *s, struct swarm_layer *l)
{
    if (!l->home)
        return;
    s->n_guests -= l->home->n;
    swarm_origins_fini(l->home);
    free(l->home->guests);
    free(l->home);
    l->home = NULL;
}

struct swarm_guest *swarm_guest_find(const struct swarm_home *h, const struct node_key *k)
{
    for (u32 i = 0; i < h->n; i++)
        if (node_key_equal(&h->guests[i].key, k))
            return &h->guests[i];
    return NULL;
}

static struct swarm_guest *guest_add(struct swarm *s, struct swarm_home *h,
                                     const struct node_key *k, const struct coord *at)
{
    if (h->n == h->cap) {
        u32 cap = h->cap ? 2 * h->cap : 8;
        struct swarm_guest *g = h->cap < LIMIT_MEMBERS && s->n_guests < LIMIT_SWARM_GUESTS
                                    ? realloc(h->guests, cap * sizeof(*g))
                                    : NULL;
        if (!g)
            return NULL;
        h->guests = g;
        h->cap = cap;
    }
    u32 place = swarm_place_of(s, h, k, at), before = 0;
    for (u32 i = 0; i < h->n; i++)
        before += h->guests[i].place == place;
    struct swarm_guest *g = &h->guests[h->n++];
    *g = (struct swarm_guest){.key = *k, .coord = *at, .place = place, .at = before};
    s->n_guests++;
    return g;
}

void swarm_guest_remove(struct swarm *s, struct swarm_home *h, struct swarm_guest *g)
{
    struct swarm_guest gone = *g;
    swarm_origin_unsaid(h, g);
    *g = h->guests[--h->n];
    s->n_guests--;
    for (u32 i = 0; i < h->n; i++)
        h->guests[i].at -= h->guests[i].place == gone.place && h->guests[i].at > gone.at;
}

void swarm_guest(struct swarm *s, struct swarm_layer *l, const struct node_key *k,
                 const struct swarm_join_message *j, u64 now_ns)
{
    struct swarm_home *h = swarm_home_of(l);
    if (!h)
        return;
    struct swarm_guest *g = swarm_guest_find(h, k);
    if (j->leaves) {
        if (g)
            swarm_guest_remove(s, h, g);
        return;
    }
    if (!g && !(g = guest_add(s, h, k, &j->coord)))
        return;
    if (!node_key_equal(k, &s->self))
        l->used_ns = now_ns;
    g->heard_ns = now_ns;
    g->have = j->have;
    g->can_fetch = j->can_fetch;
    g->complete = j->complete;
    g->stuck = j->stuck;
    g->distrusts = j->distrusts;
    g->forger = j->forger;
    if (j->origin)
        swarm_origin_said(h, g, j->origin, j->size, now_ns);
    swarm_wake(l, now_ns);
    if (!node_key_equal(k, &s->self))
        swarm_order(s, &(struct swarm_out){
                           .kind = MSG_WELCOME, .layer = l->slot, .word = l->word, .to = *k});
}

/* For a gate, gates of other places: some of them, each as likely as any other. */
static u32 gates_elsewhere(struct swarm *s, const struct swarm_home *h,
                           const struct swarm_guest *asks, u64 out[SWARM_NAMES])
{
    u32 n = 0, seen = 0;
    for (u32 i = 0; asks && asks->at < SWARM_GATES && i < h->n; i++) {
        const struct swarm_guest *g = &h->guests[i];
        if (g->place == asks->place || g->at >= SWARM_GATES)
            continue;
        u32 to = n < GATES_NAMED ? n++ : (u32)rng_below(&s->rng, seen + 1);
        seen++;
        if (to < GATES_NAMED)
            out[to] = node_key_word(&g->key);
    }
    return n;
}

u32 swarm_home_names(struct swarm *s, const struct swarm_layer *l, const struct node_key *k,
                     u64 out[SWARM_NAMES])
{
    const struct swarm_home *h = l->home;
    if (!h || h->n == 0)
        return 0;
    const struct swarm_guest *asks = swarm_guest_find(h, k);
    u32 gates = gates_elsewhere(s, h, asks, out), n = gates;
    u32 from = (u32)rng_below(&s->rng, h->n);
    for (u32 i = 0; i < h->n && n < gates + SWARM_NEAR; i++) {
        const struct swarm_guest *g = &h->guests[(from + i) % h->n];
        if (asks && g->place == asks->place && g != asks)
            out[n++] = node_key_word(&g->key);
    }
    bool all = h->n <= SWARM_NAMES;
    for (u32 i = 0; i < (all ? h->n : SWARM_NAMES) && n < SWARM_NAMES; i++) {
        const struct swarm_guest *g = &h->guests[all ? i : rng_below(&s->rng, h->n)];
        bool twice = node_key_equal(&g->key, k);
        for (u32 o = 0; o < n && !twice; o++)
            twice = out[o] == node_key_word(&g->key);
        if (!twice)
            out[n++] = node_key_word(&g->key);
    }
    return n;
}

/* swarm_origin.c - where a layer is, as those say who want it.
 *
 * A home that is no asker itself, or another rank, reads a layer with credentials of its own from
 * where an asker says that it is; that may be a lie. So a home keeps what its guests say, each of
 * them one place at a time, and hands on the one that most of them name. Where a registry refused
 * it, that place is not tried again by that rank for some minutes, and whoever named it is not
 * listened to for as long; what others name stays good. A size belongs to its place: both were said
 * in one breath. All that one member misled us to, with any number of layers, has a rate. */
#include <stdlib.h>
#include <string.h>

#include "proto/swarm_impl.h"

#define HOLD_NS (1000 * SWARM_MS) /* after the second refusal in a row; doubled with each */
#define FREE    2
#define DOUBLED 5

static bool is_misleader(const struct swarm_home *h, const struct node_key *k, u64 now_ns)
{
    if (now_ns >= h->misled_until_ns)
        return false;
    for (u32 i = 0; i < h->n_misleaders && i < SWARM_ORIGINS; i++)
        if (node_key_equal(&h->misleaders[i], k))
            return true;
    return false;
}

void swarm_origin_unsaid(struct swarm_home *h, const struct swarm_guest *g)
{
    if (g->origin > 0)
        h->origins[g->origin - 1].said--;
}

/* Room for one more: what nobody says any more goes, what was refused last of all. */
static struct swarm_origin *place_for(struct swarm_home *h)
{
    struct swarm_origin *best = NULL;
    for (u32 i = 0; i < SWARM_ORIGINS; i++) {
        struct swarm_origin *o = &h->origins[i];
        if (!o->text)
            return o;
        if (o->said == 0 && h->told != i + 1 && (!best || o->refused_ns < best->refused_ns))
            best = o;
    }
    return best;
}

static struct swarm_origin *find(struct swarm_home *h, const char *text, u64 size)
{
    for (u32 i = 0; i < SWARM_ORIGINS; i++)
        if (h->origins[i].text && h->origins[i].size == size &&
            strcmp(h->origins[i].text, text) == 0)
            return &h->origins[i];
    return NULL;
}

void swarm_origin_said(struct swarm_home *h, struct swarm_guest *g, const char *text, u64 size,
                       u64 now_ns)
{
    if (text[0] == '\0' || is_misleader(h, &g->key, now_ns))
        return;
    struct swarm_origin *o = find(h, text, size);
    if (!o && (o = place_for(h))) {
        char *copy = strdup(text);
        if (!copy)
            return;
        free(o->text);
        *o = (struct swarm_origin){.text = copy, .size = size};
    }
    if (!o || g->origin == o - h->origins + 1)
        return;
    swarm_origin_unsaid(h, g);
    o->said++;
    g->origin = (u8)(o - h->origins + 1);
}

/* Has one who says so not misled us too often, with whatever layers? */
static bool is_believed(const struct swarm *s, const struct swarm_home *h, u32 which, u64 now_ns)
{
    for (u32 i = 0; i < h->n; i++)
        if (h->guests[i].origin == which &&
            rate_has(&s->misled, node_key_word(&h->guests[i].key), now_ns))
            return true;
    return false;
}

u32 swarm_origin_best(const struct swarm *s, const struct swarm_home *h, u32 rank, u64 now_ns)
{
    u32 best = 0;
    for (u32 i = 0; h && i < SWARM_ORIGINS; i++) {
        const struct swarm_origin *o = &h->origins[i];
        bool refused = rank <= SWARM_RANKS && o->not_before_ns[rank] > now_ns;
        if (o->said > 0 && !refused && (best == 0 || o->said > h->origins[best - 1].said) &&
            is_believed(s, h, i + 1, now_ns))
            best = i + 1;
    }
    return best;
}

const char *swarm_origin_of(const struct swarm *s, const struct swarm_layer *l,
                            const struct node_key *to, u64 now_ns, u64 *size)
{
    const struct swarm_home *h = l->home;
    const struct swarm_guest *g = h && to ? swarm_guest_find(h, to) : NULL;
    u32 which = h && to ? h->told : 0;
    *size = l->size;
    if (which == 0 && g)
        which = g->origin;
    if (which == 0 && l->own_origin)
        return l->origin ? l->origin : "";
    if (which == 0)
        which = swarm_origin_best(s, h, SWARM_RANKS + 1, now_ns);
    if (which == 0)
        return "";
    if (l->n == 0)
        *size = h->origins[which - 1].size;
    return h->origins[which - 1].text;
}

void swarm_origin_told(struct swarm_layer *l, const char *text, u64 size)
{
    if (l->own_origin || text[0] == '\0')
        return;
    char *copy = strdup(text);
    if (copy) {
        free(l->origin);
        l->origin = copy;
    }
    if (l->n == 0 && size > 0)
        l->size = size; /* a hint, until the daemon knows it from the registry */
}

void swarm_origin_refused(struct swarm *s, struct swarm_home *h, u32 rank, u64 until_ns, u64 now_ns)
{
    struct swarm_origin *o = &h->origins[h->told - 1];
    o->not_before_ns[rank] = o->refused_ns = until_ns;
    if (now_ns >= h->misled_until_ns)
        h->misled = h->n_misleaders = 0;
    h->misled++;
    h->misled_until_ns = until_ns;
    for (u32 i = 0; i < h->n; i++)
        if (h->guests[i].origin == h->told)
            rate_charge(&s->misled, node_key_word(&h->guests[i].key), now_ns);
    for (u32 i = 0; i < h->n; i++)
        if (h->guests[i].origin == h->told && !is_misleader(h, &h->guests[i].key, now_ns))
            h->misleaders[h->n_misleaders++ % SWARM_ORIGINS] = h->guests[i].key;
    if (h->misled > FREE) {
        u32 doubled = h->misled - FREE - 1;
        h->hold_ns = now_ns + (HOLD_NS << (doubled < DOUBLED ? doubled : DOUBLED));
    }
    h->told = 0;
}

void swarm_origins_fini(struct swarm_home *h)
{
    for (u32 i = 0; i < SWARM_ORIGINS; i++)
        free(h->origins[i].text);
}

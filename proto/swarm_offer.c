/* swarm_offer.c - what nobody else has is given singly: by the fetcher, or one of few seeds.
 *
 *     (none) ──> MADE ──> GIVEN ── its receiver tells of it ──> TAKEN ── another does ──> DELIVERED
 *       ^          │ too long │                                   │ too long
 *       └──────────┴──────────┴───────────────────────────────────┘
 *
 * Super-seeding: each piece goes to one peer first, these in turn, so that a line that could bring
 * one copy brings the whole layer, and many have something to give at once. */
#include <assert.h>
#include <stdlib.h>

#include "proto/swarm_impl.h"

#define OFFERS_EACH   (SWARM_OFFERED + 2) /* that one has not come for */
#define OFFER_NEW_NS  (60 * SWARM_MS)     /* so old, an offer does not keep others waiting */
#define OFFER_SAID_NS (250 * SWARM_MS)    /* likewise, it is said again */
#define TAKEN         16 /* times of a piece: until a second one tells of what its receiver has */

static bool is_out(const struct swarm_offer *o)
{
    return o->state == OFFER_MADE || o->state == OFFER_GIVEN;
}

/* Its receiver has come for it, or will not. */
static void offer_left(struct swarm_layer *l, const struct swarm_offer *o)
{
    struct swarm_peer *p = &l->peers[o->peer];
    if (o->state != OFFER_MADE)
        return;
    assert(l->offered > 0 && p->made > 0);
    l->offered--;
    p->made--;
}

static void taken_back(struct swarm_layer *l, struct swarm_offer *o)
{
    offer_left(l, o);
    if (is_out(o) && l->peers[o->peer].offers > 0)
        l->peers[o->peer].offers--;
}

void swarm_offer_given(struct swarm *s, struct swarm_layer *l, u32 piece, const struct node_key *to,
                       u64 now_ns)
{
    struct swarm_offer *o = l->offers ? &l->offers[piece] : NULL;
    if (!o || !is_out(o) || !node_key_equal(&l->peers[o->peer].key, to))
        return;
    if (o->state == OFFER_MADE)
        swarm_turned(s, now_ns - o->at_ns, l->upload_ns);
    offer_left(l, o);
    o->state = OFFER_GIVEN;
    o->at_ns = now_ns;
}

void swarm_offer_begin(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (l->offers || l->n <= 1)
        return;
    l->offers = calloc(l->n, sizeof(*l->offers));
    if (!l->offers)
        return; /* everybody is told everything, then */
    swarm_news_change_all(l);
    l->offered = 0;
    l->offer_at = l->complete ? (u32)rng_below(&s->rng, l->n) : 0;
    for (u32 i = 0; i < l->n; i++)
        if (l->avail[i] > 0)
            l->offers[i] = (struct swarm_offer){
                .state = l->avail[i] > 1 ? OFFER_DELIVERED : OFFER_TAKEN, .at_ns = now_ns};
    if (l->n_peers > 0)
        swarm_new_session(s, l, now_ns);
}

void swarm_offer_end(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (!l->offers)
        return;
    free(l->offers);
    l->offers = NULL;
    swarm_news_change_all(l);
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++)
        l->peers[i].offers = l->peers[i].made = 0;
    swarm_new_session(s, l, now_ns);
}

void swarm_offer_told(struct swarm *s, struct swarm_layer *l, const struct swarm_peer *p, u32 piece,
                      u64 now_ns)
{
    (void)s;
    if (!l->offers)
        return;
    struct swarm_offer *o = &l->offers[piece];
    if (o->state == OFFER_DELIVERED)
        return;
    bool receiver = is_out(o) && o->peer == (u32)(p - l->peers);
    taken_back(l, o);
    o->state = receiver || l->avail[piece] < 2 ? OFFER_TAKEN : OFFER_DELIVERED;
    o->at_ns = now_ns;
}

static bool takes_offers(const struct swarm_peer *p)
{
    return p->used && p->met && !p->complete && p->made < OFFERS_EACH;
}

/* Whose turn it is, of two: below 0 is a's. Who did not come for what it was offered comes last;
 * then who offers singly itself, for it reads it, and who has something to come for already. Those
 * near come first, for they can hand it round; then whose line is free; then who was offered the
 * least, and the longest ago, so that what comes goes on from many. */
static int compare_turns(const struct swarm_layer *l, const struct swarm_peer *a,
                         const struct swarm_peer *b, u64 now_ns)
{
    bool hungry_a = swarm_seems_hungry(l, a, now_ns), hungry_b = swarm_seems_hungry(l, b, now_ns);
    bool frozen_a = a->frozen_ns > now_ns, frozen_b = b->frozen_ns > now_ns;
    if (frozen_a != frozen_b)
        return frozen_a ? 1 : -1;
    if (a->super != b->super)
        return a->super ? 1 : -1;
    if ((a->made > 0) != (b->made > 0))
        return a->made > 0 ? 1 : -1;
    if (a->far != b->far)
        return a->far ? 1 : -1;
    if (hungry_a != hungry_b)
        return hungry_a ? -1 : 1;
    if (a->offers != b->offers)
        return a->offers > b->offers ? 1 : -1;
    return (a->offer_ns > b->offer_ns) - (a->offer_ns < b->offer_ns);
}

static struct swarm_peer *receiver_of(struct swarm *s, struct swarm_layer *l, u32 piece, u64 now_ns)
{
    struct swarm_peer *best = NULL;
    u32 ties = 0;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        struct swarm_peer *p = &l->peers[i];
        if (!takes_offers(p) || swarm_peer_holds(l, p, piece))
            continue;
        int turn = best ? compare_turns(l, p, best, now_ns) : -1;
        if (turn < 0) {
            best = p;
            ties = 1;
        } else if (turn == 0 && rng_below(&s->rng, ++ties) == 0) {
            best = p;
        }
    }
    return best;
}

static void say_offer(struct swarm *s, struct swarm_layer *l, u32 piece, u64 now_ns)
{
    struct swarm_offer *o = &l->offers[piece];
    o->said_ns = now_ns;
    swarm_order(s, &(struct swarm_out){.kind = MSG_OFFER,
                                       .layer = l->slot,
                                       .word = l->word,
                                       .to = l->peers[o->peer].key,
                                       .arg = o->peer,
                                       .piece = piece});
}

static bool offer(struct swarm *s, struct swarm_layer *l, u32 piece, u64 now_ns)
{
    struct swarm_peer *p = receiver_of(s, l, piece, now_ns);
    if (!p)
        return false;
    struct swarm_offer *o = &l->offers[piece];
    taken_back(l, o);
    *o = (struct swarm_offer){.state = OFFER_MADE, .peer = (u8)(p - l->peers), .at_ns = now_ns};
    l->offered++;
    p->offers++;
    p->made++;
    p->offer_ns = now_ns;
    p->hungry_ns = 0;
    s->stats.offered++;
    say_offer(s, l, piece, now_ns);
    return true;
}

/* What nobody comes for is said again, for it may be lost; what was not passed on in some piece
 * times is offered to somebody else. */
static void offer_again(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    u64 patience = 4 * l->upload_ns + s->pace->offer_ns;
    for (u32 i = 0; i < l->n; i++) {
        struct swarm_offer *o = &l->offers[i];
        if (o->state == OFFER_MADE && now_ns - o->said_ns > OFFER_SAID_NS)
            say_offer(s, l, i, now_ns);
        u64 taken = TAKEN * l->upload_ns + s->pace->offer_ns;
        if ((!is_out(o) && o->state != OFFER_TAKEN) ||
            now_ns - o->at_ns <= (o->state == OFFER_TAKEN ? taken : patience))
            continue;
        if (o->state == OFFER_MADE)
            l->peers[o->peer].frozen_ns = now_ns + patience;
        taken_back(l, o);
        o->state = OFFER_NO;
        s->stats.offered_again++;
    }
}

/* Nobody is left to offer it to, but for who has it or all of it. */
static bool all_have(const struct swarm_layer *l, u32 piece)
{
    bool all = true;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS && all; i++) {
        const struct swarm_peer *p = &l->peers[i];
        all = !p->used || !p->met || p->complete || swarm_peer_holds(l, p, piece);
    }
    return all && l->avail[piece] > 0;
}

/* Those that are nearly through, or slower than their receiver's line need be. */
static u32 ending(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    const u64 lead_ns = SWARM_ENDING * swarm_answer_ns(l);
    u32 n = 0;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
        const struct swarm_serve_slot *v = &s->serves[i];
        if (!v->id || !v->active || v->layer != l)
            continue;
        u64 at_ns = v->since_ns + l->upload_least_ns;
        if (at_ns <= now_ns + lead_ns)
            n++;
        else
            swarm_wake(l, at_ns - lead_ns);
    }
    return n;
}

/* So many more may be given: one at a time, when nothing else is here to be offered; one more for
 * each that is. So it is one after the other, each in the shortest time, as long as receivers take
 * them as they come, and more at once when the line would not be full else. */
static bool has_turn(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    u32 open = l->uploads, fresh = 0;
    for (u32 i = 0; i < l->n; i++) {
        const struct swarm_offer *o = &l->offers[i];
        open += o->state == OFFER_MADE && now_ns - o->at_ns < OFFER_NEW_NS;
        fresh += o->state == OFFER_NO && piece_map_has(&l->map, i);
    }
    if (swarm_singly(s, l))
        return fresh > 0 && open < 1 + ending(s, l, now_ns);
    return open < fresh;
}

/* Somebody has come for nearly all that it was offered. */
static bool has_receiver(const struct swarm_layer *l)
{
    bool any = false;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS && !any; i++) {
        const struct swarm_peer *p = &l->peers[i];
        any = takes_offers(p);
    }
    return any;
}

/* What is to be offered, in order, as long as there is room and somebody to take it: what nobody
 * has, or, `taken`, what somebody took and no second one tells of. Is nothing of that kind left? */
static bool offer_new(struct swarm *s, struct swarm_layer *l, bool taken, u64 now_ns)
{
    bool all = true, turn = has_receiver(l) && has_turn(s, l, now_ns);
    for (u32 k = 0; k < l->n; k++) {
        u32 p = (l->offer_at + k) % l->n;
        struct swarm_offer *o = &l->offers[p];
        if (o->state != OFFER_NO || !piece_map_has(&l->map, p) || (l->avail[p] > 0) != taken)
            continue;
        if (all_have(l, p)) {
            o->state = OFFER_DELIVERED;
            continue;
        }
        if (!turn)
            return false;
        if (offer(s, l, p, now_ns))
            turn = has_receiver(l) && has_turn(s, l, now_ns);
        else
            all = false; /* whoever lacks it has enough to come for */
    }
    return all;
}

/* Nothing new to give: what the fewest have. */
static u32 next_rare(struct swarm *s, const struct swarm_layer *l)
{
    u64 map[LIMIT_PIECES / 64] = {0};
    for (u32 p = 0; p < l->n; p++)
        if (piece_map_has(&l->map, p) && !is_out(&l->offers[p]))
            map[p / 64] |= 1ull << p % 64;
    return swarm_rarest(s, l, map);
}

void swarm_offer_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (!l->offers)
        return;
    offer_again(s, l, now_ns);
    bool none = offer_new(s, l, false, now_ns);
    none &= offer_new(s, l, true, now_ns);
    if (none && l->complete) { /* from now on everybody is told everything */
        swarm_offer_end(s, l, now_ns);
        return;
    }
    u32 piece = l->offered + l->uploads == 0 && l->map.have > 0 ? next_rare(s, l) : SWARM_NONE;
    if (piece != SWARM_NONE)
        (void)offer(s, l, piece, now_ns);
}

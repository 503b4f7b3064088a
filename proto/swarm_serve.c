/* swarm_serve.c - which piece to whom: the few that are given at once, the line behind them, and
 * the offers of whoever has what nobody else has.
 *
 *     (none) ──> MADE ──> GIVEN ── its receiver tells of it ──> TAKEN ── another does ──> DELIVERED
 *       ^          │ too long │                                   │ too long
 *       └──────────┴──────────┴───────────────────────────────────┘ */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/swarm_impl.h"

#define OFFERS_EACH   (SWARM_OFFERED + 2) /* that one has not come for */
#define OFFER_NEW_NS  (60 * SWARM_MS)     /* so old, an offer does not keep others waiting */
#define OFFER_SAID_NS (250 * SWARM_MS)    /* likewise, it is said again */
#define FEW_PIECES    2 /* of a small layer: whoever is refused is told who else has it */
#define NAMES_ONE_IN  8 /* else now and then */
#define OFFERED_AGAIN 2
#define HELD_NS       (8000 * SWARM_MS)
#define STALE_NS      (2000 * SWARM_MS)

/* --- the line -------------------------------------------------------------------------------- */

static bool is_stale(const struct swarm_serve_slot *v, u64 now_ns)
{
    return now_ns - v->since_ns > STALE_NS + 6 * v->layer->upload_ns;
}

static u32 room_for(const struct swarm *s, const struct swarm_layer *l, bool far)
{
    if (far && l->share.n >= SWARM_PLACE)
        return 1;
    if (l->n == 1)
        return SWARM_UPLOADS_ONE;
    if (l->offers)
        return SWARM_OFFERING;
    return l->map.have <= SWARM_FIRSTS ? 1 : s->pace->uploads;
}

/* May one piece more be given? Each layer has its room, SWARM_LAYERS of them together a node's.
 * Those whose receiver seems to be frozen are not counted: others have their place. What goes to
 * another place goes slowly, and has a room of its own. */
static bool has_room(const struct swarm *s, const struct swarm_layer *l, bool far, u64 now_ns)
{
    u32 room = room_for(s, l, far), of_layer = 0, of_all = 0;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
        const struct swarm_serve_slot *v = &s->serves[i];
        bool counts = v->id && v->active && v->far == far && !is_stale(v, now_ns);
        of_all += counts;
        of_layer += counts && v->layer == l;
    }
    return of_layer < room &&
           of_all < (room > s->pace->uploads_most ? room : s->pace->uploads_most);
}

static bool is_far(const struct swarm *s, struct swarm_layer *l, const struct node_key *peer)
{
    const struct swarm_peer *p = swarm_peer_find(l, peer);
    return p ? p->far : !swarm_is_near(s, peer);
}

static struct swarm_serve_slot *slot_new(struct swarm *s, struct swarm_layer *l,
                                         const struct node_key *peer, u32 first, u32 count,
                                         u64 now_ns)
{
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++)
        if (!s->serves[i].id) {
            s->serves[i] = (struct swarm_serve_slot){.id = swarm_new_id(s, l),
                                                     .layer = l,
                                                     .far = is_far(s, l, peer),
                                                     .peer = *peer,
                                                     .first = first,
                                                     .count = count,
                                                     .since_ns = now_ns};
            s->n_serves++;
            return &s->serves[i];
        }
    return NULL;
}

static void slot_del(struct swarm *s, struct swarm_serve_slot *v)
{
    if (v->active) {
        s->n_active--;
        v->layer->uploads--;
    }
    v->id = 0;
    s->n_serves--;
}

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

/* Its receiver has come for what it was offered. */
static void offer_given(struct swarm *s, struct swarm_layer *l, const struct swarm_serve_slot *v,
                        u64 now_ns)
{
    struct swarm_offer *o = l->offers ? &l->offers[v->first] : NULL;
    if (!o || !is_out(o) || !node_key_equal(&l->peers[o->peer].key, &v->peer))
        return;
    if (o->state == OFFER_MADE)
        swarm_turned(s, now_ns - o->at_ns, l->upload_ns);
    offer_left(l, o);
    o->state = OFFER_GIVEN;
    o->at_ns = now_ns;
}

static void give(struct swarm *s, struct swarm_serve_slot *v, u64 now_ns)
{
    v->active = true;
    v->since_ns = now_ns;
    v->layer->uploads++;
    offer_given(s, v->layer, v, now_ns);
    v->layer->used_ns = now_ns;
    s->n_active++;
    s->stats.served++;
}

static void drop(struct swarm *s, struct swarm_serve_slot *v)
{
    struct swarm_step *step = v->active ? NULL : swarm_step_new(s, v->layer, SWARM_DROP);
    if (step)
        step->id = v->id;
    slot_del(s, v);
}

/* Smaller goes first: the layer that is given least, the starving, the rarest, the first come. */
static u64 urgency(const struct swarm_serve_slot *v)
{
    struct swarm_layer *l = v->layer;
    const struct swarm_peer *p = swarm_peer_find(l, &v->peer);
    u64 starves = p && p->have > 0 ? 1 : 0;
    return (u64)l->uploads << 40 | starves << 32 | l->avail[v->first];
}

static void fill_room(struct swarm *s, u64 now_ns)
{
    for (;;) {
        struct swarm_serve_slot *best = NULL;
        for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
            struct swarm_serve_slot *v = &s->serves[i];
            if (!v->id || v->active ||
                (best &&
                 (urgency(v) > urgency(best) || (urgency(v) == urgency(best) && v->id > best->id))))
                continue;
            if (has_room(s, v->layer, v->far, now_ns))
                best = v;
        }
        struct swarm_step *step = best ? swarm_step_new(s, best->layer, SWARM_SERVE) : NULL;
        if (!step)
            return;
        step->id = best->id;
        step->first = best->first;
        step->count = best->count;
        step->peer = best->peer;
        give(s, best, now_ns);
    }
}

static bool waits(const struct swarm_serve_slot *v, bool far)
{
    return v->id && !v->active && v->far == far;
}

static u32 waiting(const struct swarm *s, bool far)
{
    u32 n = 0;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++)
        n += waits(&s->serves[i], far);
    return n;
}

/* Given to `peer`, or held for it. Of all places, each may take as many as it leaves free: one
 * alone half of them, with another a third each. So whoever asks for little always finds one. */
static u32 places_of(const struct swarm *s, const struct node_key *peer)
{
    u32 n = 0;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++)
        n += s->serves[i].id && node_key_equal(&s->serves[i].peer, peer);
    return n;
}

/* The line is full. Whoever has more than half of it gives way to one who has nothing here: with
 * what it asked for last. NULL: nobody does. */
static struct swarm_serve_slot *gives_way(struct swarm *s, bool far)
{
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
        struct swarm_serve_slot *last = &s->serves[i];
        if (!waits(last, far))
            continue;
        u32 n = 0;
        for (u32 k = 0; k < LIMIT_SWARM_SERVES; k++) {
            struct swarm_serve_slot *v = &s->serves[k];
            if (!waits(v, far) || !node_key_equal(&v->peer, &last->peer))
                continue;
            n++;
            if (v->since_ns > last->since_ns || (v->since_ns == last->since_ns && v->id > last->id))
                last = v;
        }
        if (2 * n > s->pace->waiting)
            return last;
    }
    return NULL;
}

enum swarm_answer swarm_serve(struct swarm *s, const struct node_key *peer, const struct digest *d,
                              u32 first, u32 count, u32 *id, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    *id = 0;
    if (!l || l->n == 0 || count == 0 || first >= l->n || count > l->n - first)
        return SWARM_ANSWER_MISSING;
    for (u32 i = first; i < first + count; i++)
        if (!piece_map_has(&l->map, i))
            return SWARM_ANSWER_MISSING;
    l->used_ns = now_ns;
    bool far = is_far(s, l, peer);
    if (far && now_ns < s->far_rest_ns) {
        s->stats.refused++;
        return SWARM_ANSWER_BUSY;
    }
    u32 held = waiting(s, far);
    bool now = held == 0 && has_room(s, l, far, now_ns);
    bool waits = !now && s->pace->waiting > 0;
    u32 places = places_of(s, peer);
    bool share = places < LIMIT_SWARM_SERVES - s->n_serves;
    if (places == 0 && share && waits && held >= s->pace->waiting) {
        struct swarm_serve_slot *last = gives_way(s, far);
        if (last) {
            drop(s, last);
            s->stats.refused++;
            held--;
        }
    }
    bool room = share && (now || (waits && held < s->pace->waiting));
    struct swarm_serve_slot *v = room ? slot_new(s, l, peer, first, count, now_ns) : NULL;
    if (!v) {
        s->stats.refused++;
        if (l->n <= FEW_PIECES || rng_below(&s->rng, NAMES_ONE_IN) == 0)
            swarm_say_bye(s, l, peer, BYE_NAMES);
        return SWARM_ANSWER_BUSY;
    }
    *id = v->id;
    if (now) {
        give(s, v, now_ns);
        return SWARM_ANSWER_NOW;
    }
    s->stats.held++;
    return SWARM_ANSWER_WAIT;
}

/* The line of a place bears few at once, and each of these is soon done; who gave makes room for
 * the others of its place. So a piece reaches one other place early, and goes on from there. */
static void rest(struct swarm *s, const struct swarm_layer *l, u64 took_ns, u64 now_ns)
{
    if (l->share.n <= SWARM_GIVEN_FAR)
        return;
    u64 rest_ns = took_ns * (l->share.n - SWARM_GIVEN_FAR) / SWARM_GIVEN_FAR;
    s->far_rest_ns = now_ns + (rest_ns < SWARM_REST_NS ? rest_ns : SWARM_REST_NS);
}

void swarm_served(struct swarm *s, u32 id, bool whole, u64 now_ns)
{
    for (u32 i = 0; id && i < LIMIT_SWARM_SERVES; i++) {
        struct swarm_serve_slot *v = &s->serves[i];
        if (v->id != id)
            continue;
        if (whole && v->active && (!v->far || v->layer->share.n < SWARM_PLACE)) {
            v->layer->upload_ns += (now_ns - v->since_ns) / 8;
            v->layer->upload_ns -= v->layer->upload_ns / 8;
        }
        struct swarm_layer *l = v->layer;
        if (whole && v->active)
            offer_given(s, l, v, now_ns);
        if (v->far && v->active)
            rest(s, l, now_ns - v->since_ns, now_ns);
        slot_del(s, v);
        swarm_offer_tick(s, l, now_ns);
        fill_room(s, now_ns);
        return;
    }
}

void swarm_serve_forget(struct swarm *s, const struct swarm_layer *l)
{
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++)
        if (s->serves[i].id && s->serves[i].layer == l)
            drop(s, &s->serves[i]);
}

void swarm_serve_tick(struct swarm *s, u64 now_ns)
{
    if (s->n_serves == 0)
        return;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++)
        if (s->serves[i].id && !s->serves[i].active && now_ns - s->serves[i].since_ns > HELD_NS)
            drop(s, &s->serves[i]);
    fill_room(s, now_ns);
}

/* --- offers ---------------------------------------------------------------------------------- */

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

/* Whose turn it is, of two: below 0 is a's. Who did not come for what it was offered comes last,
 * and who has something to come for already; those near come first, for they can hand it round;
 * then who was offered the least, and the longest ago, so that what comes goes on from many. */
static int compare_turns(const struct swarm_peer *a, const struct swarm_peer *b, u64 now_ns)
{
    bool frozen_a = a->frozen_ns > now_ns, frozen_b = b->frozen_ns > now_ns;
    if (frozen_a != frozen_b)
        return frozen_a ? 1 : -1;
    if ((a->made > 0) != (b->made > 0))
        return a->made > 0 ? 1 : -1;
    if (a->far != b->far)
        return a->far ? 1 : -1;
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
        if (!p->used || !p->met || p->complete || p->super || p->made >= OFFERS_EACH ||
            swarm_peer_holds(l, p, piece))
            continue;
        int turn = best ? compare_turns(p, best, now_ns) : -1;
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
        if ((!is_out(o) && o->state != OFFER_TAKEN) || now_ns - o->at_ns <= patience)
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

/* So many more may be given: one at a time, when nothing else is here to be offered; one more for
 * each that is. So it is one after the other, each in the shortest time, as long as receivers take
 * them as they come, and more at once when the line would not be full else. */
static bool has_turn(const struct swarm_layer *l, u64 now_ns)
{
    u32 open = l->uploads, new = 0;
    for (u32 i = 0; i < l->n; i++) {
        const struct swarm_offer *o = &l->offers[i];
        open += o->state == OFFER_MADE && now_ns - o->at_ns < OFFER_NEW_NS;
        new += o->state == OFFER_NO &&piece_map_has(&l->map, i);
    }
    return open < new;
}

/* Somebody has come for nearly all that it was offered. */
static bool has_receiver(const struct swarm_layer *l)
{
    bool any = false;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS && !any; i++) {
        const struct swarm_peer *p = &l->peers[i];
        any = p->used && p->met && !p->complete && !p->super && p->made < OFFERS_EACH;
    }
    return any;
}

/* What is nobody's, in order, as long as there is room and somebody to take it. Is there nothing of
 * that kind any more? */
static bool offer_new(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    bool all = true, turn = has_receiver(l) && has_turn(l, now_ns);
    for (u32 k = 0; k < l->n; k++) {
        u32 p = (l->offer_at + k) % l->n;
        struct swarm_offer *o = &l->offers[p];
        if (o->state != OFFER_NO || !piece_map_has(&l->map, p))
            continue;
        if (all_have(l, p)) {
            o->state = OFFER_DELIVERED;
            continue;
        }
        if (!turn)
            return false;
        if (offer(s, l, p, now_ns))
            turn = has_receiver(l) && has_turn(l, now_ns);
        else
            all = false; /* whoever lacks it has enough to come for */
    }
    return all;
}

/* Nothing new to give: what the fewest have. */
static u32 next_rare(struct swarm *s, const struct swarm_layer *l)
{
    u32 best = SWARM_NONE, ties = 0;
    for (u32 p = 0; p < l->n; p++) {
        if (!piece_map_has(&l->map, p) || is_out(&l->offers[p]))
            continue;
        if (best == SWARM_NONE || l->avail[p] < l->avail[best]) {
            best = p;
            ties = 1;
        } else if (l->avail[p] == l->avail[best] && rng_below(&s->rng, ++ties) == 0) {
            best = p;
        }
    }
    return best;
}

void swarm_offer_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (!l->offers)
        return;
    offer_again(s, l, now_ns);
    if (offer_new(s, l, now_ns) && l->complete) { /* from now on everybody is told everything */
        swarm_offer_end(s, l, now_ns);
        return;
    }
    while (l->offered + l->uploads < OFFERED_AGAIN && l->map.have > 0) {
        u32 piece = next_rare(s, l);
        if (piece == SWARM_NONE || !offer(s, l, piece, now_ns))
            return;
    }
}

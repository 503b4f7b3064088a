/* swarm_serve.c - which piece to whom: the few that are given at once, and the line behind them. */
#include <string.h>

#include "proto/swarm_impl.h"

#define FEW_PIECES   2 /* of a small layer: whoever is refused is told who else has it */
#define NAMES_ONE_IN 8 /* else now and then */
#define HELD_NS      (8000 * SWARM_MS)
#define STALE_NS     (2000 * SWARM_MS)
#define IDLER        4                 /* times as long as its line lay idle others come first */
#define WANTS_NS     (1000 * SWARM_MS) /* who came so lately wants more */

/* --- the line -------------------------------------------------------------------------------- */

static u64 stale_ns(const struct swarm_layer *l)
{
    return STALE_NS + 6 * l->upload_ns;
}

static bool is_stale(const struct swarm_serve_slot *v, u64 now_ns)
{
    return now_ns - v->since_ns > stale_ns(v->layer);
}

/* The next one's first byte comes when this one's last has gone. */
static bool is_ending(const struct swarm *s, const struct swarm_serve_slot *v, u64 now_ns)
{
    const struct swarm_layer *l = v->layer;
    return !v->far && !l->offers && l->upload_least_ns > 0 && swarm_singly(s, l) &&
           now_ns + SWARM_ENDING * swarm_answer_ns(l) > v->since_ns + l->upload_least_ns;
}

/* --- who lets lines lie ---------------------------------------------------------------------- */

static struct swarm_idler *idler(struct swarm_layer *l, u64 word)
{
    for (u32 i = 0; i < SWARM_IDLERS; i++)
        if (l->idlers[i].word == word)
            return &l->idlers[i];
    return NULL;
}

/* It would take each line again as soon as it is free, and let it lie. */
static void note_idler(const struct swarm_serve_slot *v, u64 now_ns)
{
    struct swarm_layer *l = v->layer;
    const u64 word = node_key_word(&v->peer);
    struct swarm_idler *known = idler(l, word);
    if (!known)
        known = &l->idlers[l->next_idler++ % SWARM_IDLERS];
    known->word = word;
    known->until_ns = now_ns + IDLER * (now_ns - v->since_ns);
}

/* Of its place, another neighbour. */
static bool another_wants(const struct swarm_layer *l, const struct node_key *peer, u64 now_ns)
{
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        const struct swarm_peer *p = &l->peers[i];
        if (p->used && p->met && !p->far && p->came_ns > 0 && now_ns - p->came_ns < WANTS_NS &&
            !node_key_equal(&p->key, peer))
            return true;
    }
    return false;
}

/* It has let a line lie, and somebody else would not. */
static bool makes_way(const struct swarm *s, struct swarm_layer *l, const struct node_key *peer,
                      u64 now_ns)
{
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
        const struct swarm_serve_slot *v = &s->serves[i];
        if (v->id && v->active && v->layer == l && node_key_equal(&v->peer, peer) &&
            is_stale(v, now_ns))
            note_idler(v, now_ns);
    }
    const struct swarm_idler *known = idler(l, node_key_word(peer));
    return known && now_ns < known->until_ns && another_wants(l, peer, now_ns);
}

static u32 room_for(const struct swarm *s, const struct swarm_layer *l, bool far)
{
    if (far && l->share.n >= SWARM_PLACE)
        return 1;
    if (l->n == 1)
        return SWARM_UPLOADS_ONE;
    if (l->offers)
        return SWARM_OFFERING;
    return l->map.have <= SWARM_FIRSTS ? 1 : swarm_uploads(s, l);
}

/* Each layer has its room, SWARM_LAYERS of them together a node's. Those whose receiver seems to be
 * frozen are not counted: others have their place. What goes to another place goes slowly, and has
 * a room of its own. */
bool swarm_has_room(const struct swarm *s, const struct swarm_layer *l, bool far, u64 now_ns)
{
    u32 room = room_for(s, l, far), of_layer = 0, of_all = 0, ending = 0;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
        const struct swarm_serve_slot *v = &s->serves[i];
        bool counts = v->id && v->active && v->far == far && !is_stale(v, now_ns);
        of_all += counts;
        of_layer += counts && v->layer == l;
        ending += counts && v->layer == l && is_ending(s, v, now_ns);
    }
    return of_layer < room + (ending > 0) &&
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

static void give(struct swarm *s, struct swarm_serve_slot *v, u64 now_ns)
{
    v->active = true;
    v->since_ns = now_ns;
    v->layer->uploads++;
    swarm_offer_given(s, v->layer, v->first, &v->peer, now_ns);
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
            if (swarm_has_room(s, v->layer, v->far, now_ns))
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

/* Likewise, of what `peer` asked for: a layer that has several places there gives way, by the last
 * one, to a layer of which nothing is given or held. Among dozens that one wants, one came too late
 * for half a minute. */
static struct swarm_serve_slot *layer_gives_way(struct swarm *s, const struct swarm_layer *l,
                                                const struct node_key *peer, bool far)
{
    struct swarm_serve_slot *best = NULL;
    u32 most = 1;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
        struct swarm_serve_slot *last = &s->serves[i];
        if (last->id && last->layer == l)
            return NULL;
        if (!waits(last, far) || !node_key_equal(&last->peer, peer))
            continue;
        u32 n = 0;
        for (u32 k = 0; k < LIMIT_SWARM_SERVES; k++) {
            struct swarm_serve_slot *v = &s->serves[k];
            if (!waits(v, far) || v->layer != s->serves[i].layer || !node_key_equal(&v->peer, peer))
                continue;
            n++;
            last = v->since_ns > last->since_ns ? v : last;
        }
        if (n > most) {
            most = n;
            best = last;
        }
    }
    return best;
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
    struct swarm_peer *asker = swarm_peer_find(l, peer);
    if (asker)
        asker->came_ns = now_ns;
    if (far ? now_ns < s->far_rest_ns : makes_way(s, l, peer, now_ns)) {
        s->stats.refused++;
        return SWARM_ANSWER_BUSY;
    }
    u32 held = waiting(s, far);
    bool now =
        held == 0 && swarm_has_room(s, l, far, now_ns) && (far || !swarm_is_kept(l, peer, now_ns));
    bool waits = !now && s->pace->waiting > 0;
    u32 places = places_of(s, peer);
    bool share = places < LIMIT_SWARM_SERVES - s->n_serves;
    if (share && waits && held >= s->pace->waiting) {
        struct swarm_serve_slot *last = places == 0 ? gives_way(s, far) : NULL;
        last = last ? last : layer_gives_way(s, l, peer, far);
        if (last) {
            drop(s, last);
            s->stats.refused++;
            held--;
        }
    }
    bool room = share && (now || (waits && held < s->pace->waiting));
    struct swarm_serve_slot *v = room ? slot_new(s, l, peer, first, count, now_ns) : NULL;
    if (asker) {
        asker->hungry_ns = v ? 0 : now_ns;
        asker->in_vain = v ? 0 : asker->in_vain;
    }
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

/* Of this layer, its receiver's. */
static u32 given(const struct swarm *s, const struct swarm_serve_slot *v)
{
    u32 n = 0;
    for (u32 i = 0; i < LIMIT_SWARM_SERVES; i++) {
        const struct swarm_serve_slot *o = &s->serves[i];
        n += o->id && o->active && o->layer == v->layer && node_key_equal(&o->peer, &v->peer);
    }
    return n;
}

/* How long a piece takes, of what was sent whole. Whoever reads slowly must not make us take what
 * is frozen for what is slow: it counts as what is barely not, and not for each of many that came
 * to be given beside each other. */
static void learn(const struct swarm *s, const struct swarm_serve_slot *v, u64 now_ns)
{
    struct swarm_layer *l = v->layer;
    u64 took_ns = (now_ns - v->since_ns) / v->count, most_ns = stale_ns(l);
    if (given(s, v) > s->pace->uploads)
        return;
    l->upload_ns += (took_ns < most_ns ? took_ns : most_ns) / 8;
    l->upload_ns -= l->upload_ns / 8;
    swarm_least(&l->upload_least_ns, took_ns);
}

void swarm_served(struct swarm *s, u32 id, bool whole, u64 now_ns)
{
    for (u32 i = 0; id && i < LIMIT_SWARM_SERVES; i++) {
        struct swarm_serve_slot *v = &s->serves[i];
        if (v->id != id)
            continue;
        if (whole && v->active && (!v->far || v->layer->share.n < SWARM_PLACE))
            learn(s, v, now_ns);
        struct swarm_layer *l = v->layer;
        if (whole && v->active)
            swarm_offer_given(s, l, v->first, &v->peer, now_ns);
        if (v->far && v->active)
            rest(s, l, now_ns - v->since_ns, now_ns);
        else if (v->active && !whole && is_stale(v, now_ns))
            note_idler(v, now_ns);
        slot_del(s, v);
        swarm_offer_tick(s, l, now_ns);
        fill_room(s, now_ns);
        swarm_call(s, l, now_ns);
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

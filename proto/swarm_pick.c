/* swarm_pick.c - which piece from whom.
 *
 * Local rarest first (Legout, Urvoy-Keller, Michiardi, "Rarest First and Choke Algorithms Are
 * Enough", IMC 2006), ties at random; one request in four may be for the piece that a client waits
 * for: were it more, all would have the same, and little to give each other. A piece is asked of
 * the neighbour at which the fewest of our requests stand. What is offered singly is asked for at
 * once, beside all others: nobody else has it, and who offers it waits. When all that can be asked
 * for has been, and there is room, what has stood in line longest is asked of a second one; the
 * last pieces of several. Whoever is first wins, the others are cancelled. */
#include <assert.h>
#include <string.h>

#include "proto/swarm_impl.h"

#define TRICKLES    2              /* times of a piece, and it is not here */
#define LAST_PIECES 3              /* asked of up to three */
#define WINDOW      4              /* of so many requests one may be for what a client waits for */
#define BUSY_NS     (5 * SWARM_MS) /* until it is asked again, */
#define DOUBLINGS   6              /* so many times */
#define RESORT_NS   (500 * SWARM_MS) /* and four pieces' time, without one that is right */
#define REFUSALS    8                /* doubled with each so many in a row, */
#define PER_PEER    2                /* while others can be asked */
/* One at a time; in answers, as in swarm_call.c: */
#define ENDING    10              /* so near its end, the next one is asked for */
#define BEGUN     30              /* so young, it makes way for what is offered */
#define CALLED_NS (40 * SWARM_MS) /* a call may be lost: then who was busy is asked again */

void swarm_piece_changed(struct swarm_layer *l, u32 piece)
{
    if (!piece_map_has(&l->map, piece) && l->avail[piece] > 0 && l->asked[piece] == 0)
        (void)piece_map_set(&l->askable, piece);
    else
        (void)piece_map_clear(&l->askable, piece);
}

/* Whom a request may go to. */
struct reach {
    enum { ANYWHERE, NEAR, FAR } where;
    u32 per_peer, load; /* requests that stand at it, and all that it gives or holds: fewer */
    bool offered;       /* those alone that offer singly; else the others alone */
    bool last_resort;   /* also those with strikes */
    u64 among;          /* these alone, a bit for each */
};
#define ALL UINT64_MAX

static bool is_usable(const struct swarm_peer *p, const struct reach *to, u64 now_ns)
{
    return p->used && p->super == to->offered &&
           (to->where == ANYWHERE || p->far == (to->where == FAR)) && p->load < to->load &&
           p->asked < to->per_peer && p->met && !p->barred && p->busy_ns <= now_ns && p->have > 0 &&
           (to->last_resort || p->strikes < SWARM_STRIKES);
}

/* Which of `among` are: a bit for each. */
static u64 usable(const struct swarm_layer *l, u64 among, const struct reach *to, u64 now_ns)
{
    u64 peers = 0;
    for (u64 left = among; left; left &= left - 1)
        if (is_usable(&l->peers[__builtin_ctzll(left)], to, now_ns))
            peers |= left & -left;
    return peers;
}

/* Are there others of our place, with whom to share what comes over its line? */
static bool is_apart(const struct swarm_layer *l)
{
    for (u32 i = 0; l->share.n > 1 && i < LIMIT_SWARM_NEIGHBOURS; i++)
        if (l->peers[i].used && l->peers[i].met && !l->peers[i].far)
            return true;
    return false;
}

/* One at a time: is the one under way nearly here, or slower than it need be? */
static bool is_ending(const struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    const u64 lead_ns = ENDING * swarm_answer_ns(l);
    bool ending = false;
    if (l->map.have <= SWARM_FIRSTS || !swarm_singly(s, l))
        return false;
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++) {
        const struct swarm_request *r = &l->requests[i];
        if (!r->id || !r->started_ns || r->far)
            continue;
        u64 at_ns = r->started_ns + l->least_ns;
        if (at_ns <= now_ns + lead_ns)
            ending = true;
        else
            swarm_wake(l, at_ns - lead_ns);
    }
    return ending;
}

/* As many at once as keep the line full: what it brings in the time that a request takes to be
 * answered by somebody idle, and as many as are given at once. */
static u32 depth_of(const struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    const bool singly = l->map.have <= SWARM_FIRSTS || swarm_singly(s, l);
    u64 depth = (singly ? 1 : s->pace->depth) + 2 * (l->wait_ns / (l->piece_ns + 1)) +
                is_ending(s, l, now_ns);
    return depth < LIMIT_SWARM_REQUESTS ? (u32)depth : LIMIT_SWARM_REQUESTS;
}

/* It comes beside nothing else: so it is soon there to be given on. */
static void make_way(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    for (u32 i = 0; swarm_singly(s, l) && i < LIMIT_SWARM_REQUESTS; i++) {
        struct swarm_request *r = &l->requests[i];
        if (r->id && !r->offered && !r->far && now_ns - r->asked_ns < BEGUN * swarm_answer_ns(l))
            swarm_request_drop(s, l, r, true, "another is offered");
    }
}

/* What is offered, and does not come when it is asked for, keeps nothing else waiting. */
static u32 unanswered(const struct swarm_layer *l, u64 now_ns)
{
    u32 n = 0;
    for (u32 i = 0; l->n_offered > 0 && i < LIMIT_SWARM_REQUESTS; i++) {
        const struct swarm_request *r = &l->requests[i];
        n += r->id && r->offered && !r->started_ns &&
             now_ns - r->asked_ns > BEGUN * swarm_answer_ns(l);
    }
    return n;
}

static struct swarm_request *free_request(struct swarm_layer *l)
{
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++)
        if (!l->requests[i].id)
            return &l->requests[i];
    return NULL;
}

static bool asked_of(const struct swarm_layer *l, u32 piece, u32 peer)
{
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++)
        if (l->requests[i].id && l->requests[i].peer == peer && l->requests[i].first == piece)
            return true;
    return false;
}

/* Which of `peers` to ask for it: the one at which the fewest requests stand; SWARM_NONE: none has
 * it that was not asked. */
static u32 pick_peer(struct swarm *s, const struct swarm_layer *l, u32 piece, u64 peers)
{
    u32 best = SWARM_NONE, ties = 0;
    for (u64 left = l->holders[piece] & peers; left; left &= left - 1) {
        u32 i = (u32)__builtin_ctzll(left);
        const struct swarm_peer *p = &l->peers[i];
        if (l->asked[piece] > 0 && asked_of(l, piece, i))
            continue;
        if (best == SWARM_NONE || p->load < l->peers[best].load) {
            best = i;
            ties = 1;
        } else if (p->load == l->peers[best].load && rng_below(&s->rng, ++ties) == 0) {
            best = i;
        }
    }
    return best;
}

/* Takes out what somebody near has, and what another is to bring over. */
static void leave_to_others(struct swarm_layer *l, u64 now_ns, u64 map[LIMIT_PIECES / 64])
{
    u64 near = 0;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        const struct swarm_peer *p = &l->peers[i];
        near |= (u64)(p->used && p->met && !p->far) << i;
    }
    for (u32 w = 0; w < (l->n + 63) / 64; w++)
        for (u64 bits = map[w]; bits; bits &= bits - 1) {
            u32 piece = 64 * w + (u32)__builtin_ctzll(bits);
            if (l->holders[piece] & near) {
                map[w] &= ~(bits & -bits);
            } else if (!swarm_imports(l, piece)) {
                map[w] &= ~(bits & -bits);
                l->left_ns = l->left_ns ? l->left_ns : now_ns;
            }
        }
}

/* Marks what one of them can be asked for, and nobody has been; returns who can. */
static u64 askable_of(const struct swarm_layer *l, const struct reach *to, u64 now_ns,
                      u64 map[LIMIT_PIECES / 64])
{
    u64 among = 0;
    u32 words = (l->n + 63) / 64;
    for (u32 w = 0; w < words; w++)
        for (u64 bits = map[w] = l->askable.words[w]; bits; bits &= bits - 1)
            among |= l->holders[64 * w + (u32)__builtin_ctzll(bits)];
    u64 peers = usable(l, among & to->among, to, now_ns);
    for (u32 w = 0; peers && w < words; w++)
        for (u64 bits = map[w]; bits; bits &= bits - 1)
            if (!(l->holders[64 * w + (u32)__builtin_ctzll(bits)] & peers))
                map[w] &= ~(bits & -bits);
    return peers;
}

u32 swarm_rarest(struct swarm *s, const struct swarm_layer *l, const u64 *map)
{
    u32 best = SWARM_NONE, ties = 0, words = (l->n + 63) / 64;
    for (u32 w = 0; w < words; w++)
        for (u64 bits = map[w]; bits; bits &= bits - 1) {
            u32 p = 64 * w + (u32)__builtin_ctzll(bits);
            if (best == SWARM_NONE || l->avail[p] < l->avail[best]) {
                best = p;
                ties = 1;
            } else if (l->avail[p] == l->avail[best] && rng_below(&s->rng, ++ties) == 0) {
                best = p;
            }
        }
    return best;
}

/* The piece that a client waits for: the very first one, then now and then, unless one such is
 * under way. */
static u32 pick_window(struct swarm *s, const struct swarm_layer *l, const u64 *map)
{
    if (l->position >= l->n || l->n_window > 0)
        return SWARM_NONE;
    u32 p = piece_map_next(&l->map, l->position, false);
    if (p >= l->n || !(map[p / 64] >> (p % 64) & 1))
        return SWARM_NONE;
    return l->map.have == 0 || rng_below(&s->rng, WINDOW) == 0 ? p : SWARM_NONE;
}

static bool ask(struct swarm *s, struct swarm_layer *l, u32 piece, u32 peer, bool window,
                u64 now_ns)
{
    struct swarm_request *r = free_request(l);
    struct member_view v;
    if (!r || !member_find(s->member, &l->peers[peer].key, &v))
        return false;
    struct swarm_step *step = swarm_step_new(s, l, SWARM_ASK);
    if (!step)
        return false;
    *r = (struct swarm_request){.id = swarm_new_id(s, l),
                                .peer = peer,
                                .first = piece,
                                .count = 1,
                                .left = 1,
                                .asked_ns = now_ns,
                                .window = window,
                                .twice = l->asked[piece] > 0,
                                .far = l->peers[peer].far,
                                .offered = l->peers[peer].super};
    l->n_requests++;
    l->n_offered += r->offered;
    l->n_far += r->far;
    l->n_window += r->window;
    l->asked[piece]++;
    swarm_piece_changed(l, piece);
    l->peers[peer].asked++;
    l->peers[peer].load++;
    if (l->peers[peer].strikes >= SWARM_STRIKES)
        l->resort_ns = now_ns;
    s->stats.asked++;
    step->id = r->id;
    step->first = piece;
    step->count = 1;
    step->peer = l->peers[peer].key;
    step->addr = v.record->addr;
    step->reason = r->offered ? "offered"
                   : r->twice ? "the last ones"
                   : window   ? "a client waits"
                              : "rarest";
    return true;
}

/* What a piece usually takes from there. */
static u64 usual_ns(const struct swarm_layer *l, const struct swarm_request *r)
{
    return r->far ? l->far_ns : l->piece_ns;
}

/* It may still come soon from where it was asked for. */
static bool may_come(const struct swarm *s, const struct swarm_layer *l,
                     const struct swarm_request *r, u64 now_ns)
{
    return r->started_ns ? now_ns - r->started_ns < TRICKLES * usual_ns(l, r)
                         : now_ns - r->asked_ns < s->pace->patience_ns;
}

/* All that can be asked for is: the oldest that has not begun, or trickles, is asked of another. */
static bool ask_twice(struct swarm *s, struct swarm_layer *l, bool apart, u64 now_ns)
{
    u32 missing = l->n - l->map.have, most = missing <= LAST_PIECES ? 3 : 2;
    const struct reach to = {apart ? NEAR : ANYWHERE, PER_PEER, 2, false, false, ALL};
    const struct swarm_request *stand[LIMIT_SWARM_REQUESTS], *oldest = NULL;
    u32 n = 0, peer = SWARM_NONE;
    u64 among = 0;
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++) {
        const struct swarm_request *r = &l->requests[i];
        if (!r->id || l->asked[r->first] >= most)
            continue;
        if (missing > LAST_PIECES && may_come(s, l, r, now_ns))
            continue;
        stand[n++] = r;
        among |= l->holders[r->first];
    }
    const u64 peers = usable(l, among, &to, now_ns);
    for (u32 i = 0; peers && i < n; i++) {
        const struct swarm_request *r = stand[i];
        if (oldest && oldest->asked_ns <= r->asked_ns)
            continue;
        u32 other = pick_peer(s, l, r->first, peers);
        if (other == SWARM_NONE)
            continue;
        oldest = r;
        peer = other;
    }
    return oldest && ask(s, l, oldest->first, peer, false, now_ns);
}

static bool pick_one(struct swarm *s, struct swarm_layer *l, const struct reach *to, u64 now_ns)
{
    u64 map[LIMIT_PIECES / 64];
    u64 peers = l->askable.have > 0 ? askable_of(l, to, now_ns, map) : 0;
    if (!peers)
        return false;
    if (to->where == FAR)
        leave_to_others(l, now_ns, map);
    u32 piece = to->offered ? SWARM_NONE : pick_window(s, l, map);
    bool window = piece != SWARM_NONE;
    if (!window)
        piece = swarm_rarest(s, l, map);
    if (piece == SWARM_NONE)
        return false;
    u32 peer = pick_peer(s, l, piece, peers);
    return peer != SWARM_NONE && ask(s, l, piece, peer, window, now_ns);
}

/* Is it time to ask one of those with strikes? That the others are busy just now is no reason: who
 * sends wrong bytes always has time. */
static bool is_last_resort(const struct swarm_layer *l, u64 now_ns)
{
    u64 since_ns = l->gained_ns > l->resort_ns ? l->gained_ns : l->resort_ns;
    return l->n_requests == 0 && now_ns - since_ns > RESORT_NS + 4 * l->piece_ns;
}

static void pick_all(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (!l->wanted || l->n == 0 || l->map.have == l->n)
        return;
    u32 depth = depth_of(s, l, now_ns);
    bool apart = is_apart(l), singly = swarm_singly(s, l);
    /* Who is busy calls when it is free. */
    bool waits = singly && now_ns - l->gained_ns < l->least_ns + CALLED_NS;
    const struct reach far = {FAR, PER_PEER, UINT32_MAX, false, is_last_resort(l, now_ns), ALL};
    const struct reach idle = {
        apart ? NEAR : ANYWHERE, PER_PEER, swarm_uploads(s, l), false, false, ALL};
    const struct reach offered = {ANYWHERE, PER_PEER, UINT32_MAX, true, is_last_resort(l, now_ns),
                                  ALL};
    while (l->n_offered < SWARM_OFFERED && pick_one(s, l, &offered, now_ns))
        make_way(s, l, now_ns);
    while (apart && l->n_far < swarm_far_depth(l, depth) && pick_one(s, l, &far, now_ns))
        ;
    for (;;) {
        u32 asked = l->n_requests - unanswered(l, now_ns);
        if (asked >= depth + (l->n_started < s->pace->depth ? s->pace->wider : 0))
            return;
        if (pick_one(s, l, &idle, now_ns))
            continue;
        /* Nobody is known to be idle: somebody is asked all the same. */
        const struct reach busy = {idle.where, depth, UINT32_MAX, false, is_last_resort(l, now_ns),
                                   ALL};
        if (!waits && asked < (singly ? depth : s->pace->depth) && pick_one(s, l, &busy, now_ns))
            continue;
        if (asked >= depth || !ask_twice(s, l, apart, now_ns))
            return;
    }
}

void swarm_come(struct swarm *s, struct swarm_layer *l, const struct swarm_peer *p, u64 now_ns)
{
    const struct reach it = {ANYWHERE, PER_PEER, 1, false, false, swarm_peer_bit(l, p)};
    if (!p->far && swarm_is_hungry(s, l))
        (void)pick_one(s, l, &it, now_ns);
}

void swarm_pick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    pick_all(s, l, now_ns);
    swarm_say_hungry(s, l, now_ns);
}

/* --- how it went ----------------------------------------------------------------------------- */

static struct swarm_request *find_request(struct swarm *s, u32 id, struct swarm_layer **layer)
{
    struct swarm_layer *l = *layer = s->layers[id % LIMIT_SWARMS];
    for (u32 i = 0; id && l && i < LIMIT_SWARM_REQUESTS; i++)
        if (l->requests[i].id == id)
            return &l->requests[i];
    return NULL;
}

static void request_end(struct swarm_layer *l, struct swarm_request *r)
{
    struct swarm_peer *p = &l->peers[r->peer];
    assert(l->asked[r->first] > 0 && p->asked > 0 && l->n_requests > 0);
    l->asked[r->first]--;
    swarm_piece_changed(l, r->first);
    p->asked--;
    l->n_requests--;
    l->n_offered -= r->offered;
    l->n_far -= r->far;
    l->n_window -= r->window;
    if (r->started_ns)
        l->n_started--;
    if (p->load > 0)
        p->load--;
    r->id = 0;
}

void swarm_request_drop(struct swarm *s, struct swarm_layer *l, struct swarm_request *r, bool step,
                        const char *reason)
{
    struct swarm_step *cancel = step ? swarm_step_new(s, l, SWARM_CANCEL) : NULL;
    if (cancel) {
        cancel->id = r->id;
        cancel->first = r->first;
        cancel->count = r->count;
        cancel->peer = l->peers[r->peer].key;
        cancel->reason = reason;
        s->stats.cancelled++;
    }
    request_end(l, r);
}

void swarm_piece_here(struct swarm *s, struct swarm_layer *l, u32 piece, u64 now_ns)
{
    if (!piece_map_set(&l->map, piece))
        return;
    l->log[l->n_log++] = piece;
    swarm_piece_changed(l, piece);
    swarm_news_change_all(l);
    l->gained_ns = now_ns;
    l->left_ns = 0;
    for (u32 i = 0; l->asked[piece] > 0 && i < LIMIT_SWARM_REQUESTS; i++)
        if (l->requests[i].id && l->requests[i].first == piece)
            swarm_request_drop(s, l, &l->requests[i], true, "it is here");
    swarm_wake(l, now_ns);
}

void swarm_started(struct swarm *s, u32 request, u64 now_ns)
{
    struct swarm_layer *l;
    struct swarm_request *r = find_request(s, request, &l);
    if (!r || r->started_ns)
        return;
    r->started_ns = now_ns;
    l->n_started++;
    l->peers[r->peer].refusals = 0;
    /* The least of late: the others stood in line. */
    u64 wait = now_ns - r->asked_ns;
    if (s->pace->waiting == 0 && !r->far)
        swarm_turned(s, wait, l->piece_ns);
    u64 *least = r->far ? &l->far_wait_ns : &l->wait_ns;
    *least = wait < *least || *least == 0 ? wait : *least + *least / 32;
}

static void learn(struct swarm_layer *l, const struct swarm_request *r, u64 now_ns)
{
    u64 took = now_ns - (r->started_ns ? r->started_ns : r->asked_ns);
    u64 *usual = r->far ? &l->far_ns : &l->piece_ns;
    *usual += took / 8;
    *usual -= *usual / 8;
    if (!r->far && r->started_ns)
        swarm_least(&l->least_ns, took);
}

void swarm_came(struct swarm *s, u32 request, u32 piece, bool right, u64 now_ns)
{
    struct swarm_layer *l;
    struct swarm_request *r = find_request(s, request, &l);
    if (!r || piece != r->first)
        return;
    struct swarm_peer *p = &l->peers[r->peer];
    if (right) {
        s->stats.came++;
        learn(l, r, now_ns);
        p->strikes -= p->strikes > 0;
        p->wrongs -= p->wrongs > 0;
        request_end(l, r);
        if (piece_map_has(&l->map, piece))
            s->stats.duplicate++;
        swarm_gave(s, p);
        swarm_piece_here(s, l, piece, now_ns);
        swarm_news_due(s, l, now_ns);
    } else {
        s->stats.wrong++;
        if (r->asked_ns >= p->forgiven_ns) {
            p->strikes += SWARM_STRIKES;
            p->wrongs += SWARM_STRIKES;
        }
        request_end(l, r);
        swarm_peer_lacks(l, p, piece);
    }
    swarm_pick(s, l, now_ns);
}

/* Until who was busy is asked again. */
static u64 busy_ns(struct swarm *s, const struct swarm_layer *l)
{
    u64 ns = swarm_singly(s, l) ? CALLED_NS : BUSY_NS;
    return ns + rng_below(&s->rng, ns + 1);
}

void swarm_ended(struct swarm *s, u32 request, enum swarm_outcome outcome, u64 now_ns)
{
    struct swarm_layer *l;
    struct swarm_request *r = find_request(s, request, &l);
    if (!r)
        return;
    struct swarm_peer *p = &l->peers[r->peer];
    const struct swarm_request was = *r;
    request_end(l, r);
    switch (outcome) {
    case SWARM_WORKED: break;
    case SWARM_MISSING:
        s->stats.missing++;
        p->strikes++;
        swarm_peer_lacks(l, p, was.first);
        break;
    case SWARM_BUSY:
        s->stats.busy++;
        if (!was.far)
            swarm_turned(s, now_ns - was.asked_ns, l->piece_ns);
        p->busy_ns = now_ns + (busy_ns(s, l) << p->refusals / REFUSALS);
        p->refusals += p->refusals < DOUBLINGS * REFUSALS;
        p->load = swarm_singly(s, l) ? 1 : s->pace->uploads - 1;
        break;
    case SWARM_FAILED:
    case SWARM_DENIED:
        s->stats.failed++;
        p->strikes++;
        p->busy_ns = now_ns + 4 * SWARM_BUSY_NS;
        break;
    case SWARM_LIED: p->barred = true; break;
    }
    swarm_pick(s, l, now_ns);
}

/* What stands too long is asked elsewhere; what trickles is left. */
void swarm_pick_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++) {
        struct swarm_request *r = &l->requests[i];
        if (!r->id)
            continue;
        struct swarm_peer *p = &l->peers[r->peer];
        u64 usual = usual_ns(l, r);
        u64 begun = 6 * usual + 2000 * SWARM_MS, waits = 3 * usual + 1500 * SWARM_MS;
        if (r->started_ns ? now_ns - r->started_ns > begun : now_ns - r->asked_ns > waits) {
            s->stats.late++;
            if (r->started_ns) {
                p->strikes++;
                p->wrongs++;
                learn(l, r, now_ns); /* it takes at least so long */
            } else {
                p->busy_ns = now_ns + SWARM_BUSY_NS + rng_below(&s->rng, SWARM_BUSY_NS);
            }
            swarm_request_drop(s, l, r, true, r->started_ns ? "too slow" : "waited too long");
        }
    }
    swarm_wait_tick(s, l, now_ns);
    swarm_open_tick(l, now_ns);
    swarm_pick(s, l, now_ns);
}

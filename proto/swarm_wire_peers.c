/* swarm_wire_peers.c - messages between neighbours: who they are, what they have, what is offered.
 */
#include "proto/swarm_wire.h"

#include <stdlib.h>
#include <string.h>

#define MAP_BYTES 900
#define NEWS_MOST 400

/* --- out ------------------------------------------------------------------------------------- */

static void put_empty_map(struct wire_out *w)
{
    wire_put_array(w, 2);
    wire_put_u64(w, 0);
    wire_put_bin(w, NULL, 0);
}

void swarm_put_hello(const struct swarm *s, struct swarm_layer *l, struct swarm_peer *p,
                     struct wire_out *w)
{
    bool all = l->complete && !l->offers, map = !all && !l->offers && l->n <= SWARM_MAP_MAX;
    u32 n = l->offers ? 0 : map || all ? l->n_log : 0, at = 0;
    wire_put_array(w, 10);
    wire_put_u64(w, MSG_HELLO);
    swarm_put_digest(w, &l->digest);
    wire_put_u64(w, l->size);
    wire_put_u64(w, l->session);
    wire_put_u64(w, (all ? 1u : 0) | (l->offers ? 2u : 0));
    wire_put_u64(w, p->met ? p->session : 0);
    wire_put_u64(w, p->seen);
    wire_put_u64(w, n);
    if (!map || !piece_map_put(&l->map, &at, MAP_BYTES, w))
        put_empty_map(w);
    coord_put(w, member_coord(s->member));
    if (p->sent < n)
        p->sent = n;
    swarm_news_change(l, p);
}

void swarm_put_news(const struct swarm *s, struct swarm_layer *l, struct swarm_peer *p,
                    struct wire_out *w, u64 now_ns)
{
    u8 bin[2 * NEWS_MOST];
    u32 end = l->offers ? 0 : l->n_log, from = p->sent < end ? p->sent : end;
    u32 n = end - from < NEWS_MOST ? end - from : NEWS_MOST;
    for (u32 i = 0; i < n; i++) {
        bin[2 * i] = (u8)(l->log[from + i] >> 8);
        bin[2 * i + 1] = (u8)l->log[from + i];
    }
    wire_put_array(w, 9);
    wire_put_u64(w, MSG_NEWS);
    wire_put_u64(w, l->word);
    wire_put_u64(w, l->session);
    wire_put_u64(w, from);
    wire_put_bin(w, bin, 2 * (size_t)n);
    wire_put_u64(w, p->session);
    wire_put_u64(w, p->seen);
    p->told_load = swarm_load(s, l);
    wire_put_u64(w, p->told_load);
    wire_put_u64(w, swarm_is_hungry(s, l));
    if (p->told == p->sent)
        p->unacked_ns = now_ns;
    p->sent = from + n;
    p->sent_ns = now_ns;
    p->ack_due = false;
    swarm_news_change(l, p);
}

void swarm_put_offer(const struct swarm_layer *l, u32 piece, struct wire_out *w)
{
    const u8 bin[2] = {(u8)(piece >> 8), (u8)piece};
    wire_put_array(w, 4);
    wire_put_u64(w, MSG_OFFER);
    wire_put_u64(w, l->word);
    wire_put_u64(w, l->session);
    wire_put_bin(w, bin, sizeof(bin));
}

/* Others of the swarm, for whom we have no room: those that have most first would be a star. */
void swarm_put_bye(struct swarm *s, const struct swarm_layer *l, u64 word, int reason,
                   struct wire_out *w)
{
    u64 names[SWARM_NAMES] = {0};
    u32 n = 0, from = (u32)rng_below(&s->rng, LIMIT_SWARM_NEIGHBOURS);
    bool named = reason == BYE_FULL || reason == BYE_NAMES;
    for (u32 i = 0; l && named && i < LIMIT_SWARM_NEIGHBOURS && n < SWARM_NAMES / 2; i++) {
        const struct swarm_peer *p = &l->peers[(from + i) % LIMIT_SWARM_NEIGHBOURS];
        if (p->used && p->met && !p->barred)
            names[n++] = node_key_word(&p->key);
    }
    wire_put_array(w, 4);
    wire_put_u64(w, MSG_BYE);
    wire_put_u64(w, word);
    wire_put_u64(w, (u64)reason);
    swarm_put_names(w, names, n);
}

/* --- in -------------------------------------------------------------------------------------- */

/* Somebody asks for a layer that no swarm here knows. */
static void call_seed(struct swarm *s, struct swarm_layer *l, const struct node_key *from,
                      const struct digest *d, u64 now_ns)
{
    if (!inventory_holds(s->inventory, d)) {
        swarm_order(
            s, &(struct swarm_out){
                   .kind = MSG_BYE, .reason = BYE_NOT_HERE, .word = swarm_word(d), .to = *from});
        return;
    }
    if (!l && !(l = swarm_add(s, d, now_ns)))
        return;
    l->used_ns = now_ns;
    for (u32 i = 0; i < l->n_callers; i++)
        if (node_key_equal(&l->callers[i], from))
            return;
    if (l->n_callers < SWARM_CALLERS)
        l->callers[l->n_callers++] = *from;
    struct swarm_step *step = l->pending ? NULL : swarm_step_new(s, l, SWARM_SEED);
    if (step) {
        step->peer = *from;
        l->pending = true;
    }
}

/* It does not know us, or not any more: all is told anew. */
static void forgotten(struct swarm_peer *p)
{
    if (p->acked_hello)
        p->hellos = 0;
    p->acked_hello = false;
    p->told = p->sent = 0;
}

static void take_ack(struct swarm_layer *l, struct swarm_peer *p, u64 session, u32 seen, u64 now_ns)
{
    u32 n = l->offers ? 0 : l->n_log;
    if (session != l->session || seen > n)
        return;
    p->acked_hello = true;
    if (seen > p->told) {
        p->told = seen;
        p->unacked_ns = now_ns;
    }
    if (p->sent < p->told)
        p->sent = p->told;
}

static void greet(struct swarm_layer *l, struct swarm_peer *p, u32 session, u64 flags, u32 n,
                  u64 now_ns)
{
    if (!p->met || p->session != session) {
        swarm_peer_clear(l, p);
        p->seen = 0;
        p->ack_due = true;
        if (p->forgiven < l->n_forgers) { /* what it gave was wrong because it believed a forger */
            p->forgiven = l->n_forgers;
            p->forgiven_ns = now_ns;
            p->strikes = p->wrongs = 0;
        }
    }
    p->met = true;
    p->session = session;
    p->super = flags & 2;
    p->complete = flags & 1;
    if (n > p->seen)
        p->seen = n;
}

int swarm_read_hello(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    struct digest d;
    swarm_get_digest(r, &d);
    u64 size = wire_get_u64(r);
    u32 session = (u32)wire_get_max(r, UINT32_MAX);
    u64 flags = wire_get_u64(r), yours = wire_get_u64(r);
    u32 seen = (u32)wire_get_max(r, LIMIT_PIECES), n = (u32)wire_get_max(r, LIMIT_PIECES);
    if (!wire_ok(r))
        return ERR_PROTO;
    struct swarm_layer *l = swarm_find(s, &d);
    if (!l || l->n == 0 || (!l->wanted && !l->complete && l->map.have == 0)) {
        call_seed(s, l, from, &d, now_ns);
        return 0;
    }
    struct swarm_peer *p = swarm_peer_find(l, from);
    if (swarm_is_forger(l, from))
        return 0;
    if (size != l->size) { /* ours is from a registry or a ticket */
        s->stats.malformed++;
        return 0;
    }
    if (!p && !(p = swarm_peer_new(s, l, from, now_ns))) {
        swarm_say_bye(s, l, from, BYE_FULL);
        return 0;
    }
    bool fresh = !p->met || p->session != session;
    swarm_news_change(l, p);
    l->used_ns = p->heard_ns = now_ns;
    greet(l, p, session, flags, n, now_ns);
    if (wire_left(r) > 0) {
        struct piece_map map;
        if (piece_map_init(&map, l->n))
            return 0;
        piece_map_get(&map, r);
        for (u32 i = piece_map_next(&map, 0, true); wire_ok(r) && i < l->n;
             i = piece_map_next(&map, i + 1, true))
            swarm_peer_has(s, l, p, i, now_ns);
        piece_map_fini(&map);
    }
    for (u32 i = 0; (flags & 1) && i < l->n; i++)
        swarm_peer_has(s, l, p, i, now_ns);
    if (wire_ok(r) && wire_left(r) > 0) { /* the version before ends here */
        struct coord coord;
        coord_get(r, &coord);
        p->far = p->far && !(wire_ok(r) && swarm_stands_near(s, &coord));
    }
    bool answers = !p->acked_hello && p->hellos == 1;
    if (yours == l->session)
        take_ack(l, p, yours, seen, now_ns);
    else
        forgotten(p);
    if (answers && p->acked_hello && now_ns - p->hello_ns < SWARM_NEAR_NS)
        p->far = false; /* whatever coordinates say, or do not say yet */
    if (!p->acked_hello || fresh)
        swarm_say_hello(s, l, p, now_ns);
    swarm_pick(s, l, now_ns);
    swarm_offer_tick(s, l, now_ns);
    return wire_ok(r) ? 0 : ERR_PROTO;
}

/* Is any of them missing here? */
static bool take_pieces(struct swarm *s, struct swarm_layer *l, struct swarm_peer *p, const u8 *bin,
                        size_t len, u64 now_ns)
{
    bool lacking = false;
    for (size_t at = 0; at + 2 <= len; at += 2) {
        u32 piece = (u32)bin[at] << 8 | bin[at + 1];
        lacking |= piece < l->n && !piece_map_has(&l->map, piece);
        swarm_peer_has(s, l, p, piece, now_ns);
    }
    if (p->have == l->n)
        p->complete = true;
    return lacking;
}

/* The neighbour that a message comes from; NULL: none, and it is told so. */
static struct swarm_peer *neighbour(struct swarm *s, struct swarm_layer *l, u64 word,
                                    const struct node_key *from)
{
    struct swarm_peer *p = l ? swarm_peer_find(l, from) : NULL;
    if (p)
        swarm_news_change(l, p);
    else
        swarm_order(
            s, &(struct swarm_out){.kind = MSG_BYE, .reason = BYE_GONE, .word = word, .to = *from});
    return p;
}

int swarm_read_news(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    u64 word = wire_get_u64(r);
    u32 session = (u32)wire_get_max(r, UINT32_MAX), first = (u32)wire_get_max(r, LIMIT_PIECES);
    const u8 *bin = wire_get_bin(r, 2 * LIMIT_PIECES, &len);
    u64 yours = wire_get_u64(r);
    u32 seen = (u32)wire_get_max(r, LIMIT_PIECES);
    u32 load = (u32)wire_get_max(r, LIMIT_SWARM_SERVES);
    bool hungry = wire_left(r) > 0 && wire_get_u64(r) > 0; /* the version before does not say */
    if (!wire_ok(r) || len % 2)
        return ERR_PROTO;
    struct swarm_layer *l = swarm_find_word(s, word);
    struct swarm_peer *p = neighbour(s, l, word, from);
    if (!p)
        return 0;
    const u32 uploads = swarm_uploads(s, l);
    bool idle = load < uploads && p->load >= uploads;
    if (idle && swarm_singly(s, l))
        p->busy_ns = now_ns; /* it calls */
    p->heard_ns = now_ns;
    p->load = load;
    p->hungry_ns = hungry ? now_ns : 0;
    if (!p->met || p->session != session) { /* it is late, or a HELLO was lost: they will say */
        if (now_ns - p->hello_ns >= SWARM_HELLO_NS)
            swarm_say_hello(s, l, p, now_ns);
        return 0;
    }
    u32 n = (u32)(len / 2);
    take_ack(l, p, yours, seen, now_ns);
    if (n > 0)
        p->ack_due = true;
    /* What was lost before it comes again, and is acknowledged first. */
    if (n > 0 && first + n > p->seen) {
        u32 skip = first < p->seen ? p->seen - first : 0;
        if (first <= p->seen)
            p->seen = first + n;
        idle |= take_pieces(s, l, p, bin + 2 * (size_t)skip, len - 2 * (size_t)skip, now_ns);
        swarm_offer_tick(s, l, now_ns);
    }
    if (load == 0)
        swarm_come(s, l, p, now_ns);
    if (idle)
        swarm_pick(s, l, now_ns);
    if (hungry)
        swarm_call(s, l, now_ns);
    swarm_news_due(s, l, now_ns);
    return 0;
}

int swarm_read_offer(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    u64 word = wire_get_u64(r), session = wire_get_u64(r);
    const u8 *bin = wire_get_bin(r, 2 * LIMIT_PIECES, &len);
    if (!wire_ok(r) || len % 2)
        return ERR_PROTO;
    struct swarm_layer *l = swarm_find_word(s, word);
    struct swarm_peer *p = neighbour(s, l, word, from);
    if (!p || !p->met || p->session != session)
        return 0;
    p->heard_ns = now_ns;
    (void)take_pieces(s, l, p, bin, len, now_ns);
    swarm_pick(s, l, now_ns);
    return 0;
}

int swarm_read_bye(struct swarm *s, const struct node_key *from, struct wire_in *r, u64 now_ns)
{
    size_t len;
    struct swarm_layer *l = swarm_find_word(s, wire_get_u64(r));
    u64 reason = wire_get_u64(r);
    const u8 *names = swarm_get_names(r, &len);
    if (!wire_ok(r))
        return ERR_PROTO;
    if (!l || l->n == 0)
        return 0;
    struct swarm_peer *p = swarm_peer_find(l, from);
    if (!p)
        return 0; /* nor do the names of a stranger count */
    swarm_names(s, l, names, len);
    if (reason != BYE_NAMES)
        swarm_peer_drop(s, l, p, -1, now_ns);
    swarm_pick(s, l, now_ns);
    return 0;
}

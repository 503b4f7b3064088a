/* swarm.c - see swarm.h; swarm_impl.h says what is where. */
#include "proto/swarm.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "proto/swarm_impl.h"

const char *swarm_outcome_name(enum swarm_outcome o)
{
    static const char *const names[] = {"worked", "failed", "missing", "busy", "denied", "lied"};
    assert(o < countof(names));
    return names[o];
}

int swarm_new(struct swarm **out, const struct swarm_options *opt)
{
    struct swarm *s = calloc(1, sizeof(*s));
    *out = s;
    if (!s)
        return ERR_NOMEM;
    s->self = opt->self;
    s->member = opt->member;
    s->inventory = opt->inventory;
    s->rng = opt->rng;
    s->datagram_max = opt->datagram_max;
    s->next_ns = UINT64_MAX;
    struct rng rates = rng_split(&s->rng, "rates");
    rate_init(&s->misled, LIMIT_RATE_MISLED, LIMIT_RATE_MISLED_S, rng_u64(&rates));
    s->pace = s->first_pace = opt->queued ? &swarm_queued : &swarm_prompt;
    return 0;
}

/* After the tick of a layer moved away. */
static void look_next(struct swarm *s)
{
    s->next_ns = UINT64_MAX;
    for (u32 i = 0; i < s->n_slots; i++)
        if (s->layers[i] && s->layers[i]->next_ns < s->next_ns)
            s->next_ns = s->layers[i]->next_ns;
}

/* Undoes swarm_cut(): no neighbours are left. */
static void uncut(struct swarm_layer *l)
{
    piece_map_fini(&l->map);
    piece_map_fini(&l->askable);
    free(l->log);
    free(l->holders);
    free(l->avail);
    free(l->asked);
    free(l->offers);
    l->log = NULL;
    l->holders = NULL;
    l->avail = l->asked = NULL;
    l->offers = NULL;
    l->n = l->n_log = 0;
    l->complete = false;
}

static void layer_del(struct swarm *s, struct swarm_layer *l)
{
    swarm_home_fini(s, l);
    uncut(l);
    free(l->origin);
    s->layers[l->slot] = NULL;
    s->n_layers--;
    free(l);
    if (s->n_layers == 0) {
        s->pace = s->first_pace;
        s->slow_turns = 0;
    }
    look_next(s);
}

void swarm_del(struct swarm *s)
{
    if (!s)
        return;
    for (u32 i = 0; i < s->n_slots; i++)
        if (s->layers[i])
            layer_del(s, s->layers[i]);
    free(s->out);
    free(s->steps);
    free(s);
}

/* --- layers ---------------------------------------------------------------------------------- */

/* Not of the digest's own bytes: one that begins like a given one is easily made up. */
u64 swarm_word(const struct digest *d)
{
    u8 name[1 + DIGEST_BYTES_MAX] = {d->alg}, hash[crypto_generichash_BYTES];
    size_t n = digest_size((enum digest_alg)d->alg);
    u64 w = 0;
    memcpy(name + 1, d->bytes, n);
    crypto_generichash(hash, sizeof(hash), name, 1 + n, NULL, 0);
    for (int i = 0; i < 8; i++)
        w = w << 8 | hash[i];
    return w;
}

struct swarm_layer *swarm_find_word(const struct swarm *s, u64 word)
{
    for (u32 i = 0; i < s->n_slots; i++)
        if (s->words[i] == word && s->layers[i])
            return s->layers[i];
    return NULL;
}

struct swarm_layer *swarm_find(const struct swarm *s, const struct digest *d)
{
    struct swarm_layer *l = swarm_find_word(s, swarm_word(d));
    return l && digest_equal(&l->digest, d) ? l : NULL;
}

static bool is_idle(const struct swarm_layer *l)
{
    return !l->wanted && l->n_requests == 0 && l->uploads == 0 && l->lease.state == LEASE_NONE;
}

static void forget(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++)
        if (l->peers[i].used)
            swarm_peer_drop(s, l, &l->peers[i], BYE_GONE, now_ns);
    swarm_serve_forget(s, l);
    layer_del(s, l);
}

/* The one that is idle, and was used longest ago, makes room. */
static bool make_room(struct swarm *s, u64 now_ns)
{
    struct swarm_layer *oldest = NULL;
    for (u32 i = 0; i < s->n_slots; i++) {
        struct swarm_layer *l = s->layers[i];
        if (l && is_idle(l) && (!oldest || l->used_ns < oldest->used_ns))
            oldest = l;
    }
    if (oldest)
        forget(s, oldest, now_ns);
    return oldest != NULL;
}

struct swarm_layer *swarm_add(struct swarm *s, const struct digest *d, u64 now_ns)
{
    if (digest_size((enum digest_alg)d->alg) == 0 || swarm_find_word(s, swarm_word(d)))
        return NULL;
    if (s->n_layers == LIMIT_SWARMS && !make_room(s, now_ns))
        return NULL;
    struct swarm_layer *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    u32 slot = 0;
    while (slot < s->n_slots && s->layers[slot])
        slot++;
    if (slot == s->n_slots)
        s->n_slots++;
    s->layers[slot] = l;
    s->n_layers++;
    l->swarm = s;
    l->slot = slot;
    l->digest = *d;
    l->word = s->words[slot] = swarm_word(d);
    l->position = SWARM_NO_PIECE;
    l->begun_ns = l->used_ns = l->gained_ns = now_ns;
    l->next_ns = UINT64_MAX;
    swarm_wake(l, now_ns);
    l->piece_ns = l->far_ns = l->upload_ns = 100 * SWARM_MS;
    return l;
}

int swarm_cut(struct swarm *s, struct swarm_layer *l, u64 size, u64 now_ns)
{
    u32 n = size > 0 ? piece_count(size) : 0;
    (void)now_ns;
    if (l->n > 0)
        return l->size == size ? 0 : ERR_EXISTS;
    if (n == 0)
        return ERR_INVAL;
    l->log = malloc(n * sizeof(*l->log));
    l->holders = calloc(n, sizeof(*l->holders));
    l->avail = calloc(n, 1);
    l->asked = calloc(n, 1);
    if (!l->log || !l->holders || !l->avail || !l->asked || piece_map_init(&l->map, n) ||
        piece_map_init(&l->askable, n)) {
        uncut(l);
        return ERR_NOMEM;
    }
    l->n = n;
    l->size = size;
    swarm_news_change_all(l);
    l->session = 1 + (u32)rng_below(&s->rng, UINT32_MAX - 1);
    return 0;
}

u32 swarm_new_id(struct swarm *s, const struct swarm_layer *l)
{
    s->next_id = (s->next_id + 1) & (UINT32_MAX / LIMIT_SWARMS);
    if (s->next_id == 0)
        s->next_id = 1;
    return s->next_id * LIMIT_SWARMS + l->slot;
}

bool swarm_alive(const struct swarm *s, const struct node_key *k)
{
    struct member_view v;
    return node_key_equal(k, &s->self) || (member_find(s->member, k, &v) &&
                                           (v.state == MEMBER_ALIVE || v.state == MEMBER_SUSPECT));
}

/* --- queues ---------------------------------------------------------------------------------- */

bool swarm_order(struct swarm *s, const struct swarm_out *o)
{
    if (s->out_n == s->out_cap) {
        u32 cap = s->out_cap ? 2 * s->out_cap : 64;
        struct swarm_out *out = cap <= SWARM_OUT_MAX ? malloc(cap * sizeof(*out)) : NULL;
        if (!out)
            return false; /* it is made again: nothing is said only once */
        for (u32 i = 0; i < s->out_n; i++)
            out[i] = s->out[(s->out_first + i) % s->out_cap];
        free(s->out);
        s->out = out;
        s->out_cap = cap;
        s->out_first = 0;
    }
    s->out[(s->out_first + s->out_n++) % s->out_cap] = *o;
    return true;
}

struct swarm_step *swarm_step_new(struct swarm *s, const struct swarm_layer *l, enum swarm_do what)
{
    if (s->steps_n == s->steps_cap) {
        u32 cap = s->steps_cap ? 2 * s->steps_cap : 8;
        struct swarm_step *steps = cap <= SWARM_STEPS_MAX ? malloc(cap * sizeof(*steps)) : NULL;
        if (!steps)
            return NULL;
        for (u32 i = 0; i < s->steps_n; i++)
            steps[i] = s->steps[(s->steps_first + i) % s->steps_cap];
        free(s->steps);
        s->steps = steps;
        s->steps_cap = cap;
        s->steps_first = 0;
    }
    struct swarm_step *step = &s->steps[(s->steps_first + s->steps_n++) % s->steps_cap];
    memset(step, 0, offsetof(struct swarm_step, origin) + 1);
    step->what = what;
    step->digest = l->digest;
    step->size = l->size;
    step->reason = "";
    return step;
}

bool swarm_next(struct swarm *s, struct swarm_step *out, u64 now_ns)
{
    (void)now_ns;
    if (s->steps_n == 0)
        return false;
    *out = s->steps[s->steps_first];
    s->steps_first = (s->steps_first + 1) % s->steps_cap;
    s->steps_n--;
    return true;
}

/* --- taking part ----------------------------------------------------------------------------- */

static int take_origin(struct swarm_layer *l, const char *origin)
{
    size_t len = strnlen(origin, SWARM_ORIGIN_MAX);
    if (len == 0)
        return 0;
    char *copy = calloc(1, len + 1);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, origin, len);
    free(l->origin);
    l->origin = copy;
    l->own_origin = true;
    return 0;
}

int swarm_join(struct swarm *s, const struct swarm_want *want, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, &want->digest);
    if (want->size == 0 || piece_count(want->size) == 0)
        return ERR_INVAL;
    if (l && l->complete) { /* it is lost, then */
        swarm_leave(s, &want->digest, now_ns);
        l = swarm_find(s, &want->digest);
    }
    if (!l && !(l = swarm_add(s, &want->digest, now_ns)))
        return ERR_FULL;
    int err = swarm_cut(s, l, want->size, now_ns);
    if (!err)
        err = take_origin(l, want->origin);
    if (err)
        return err;
    l->can_fetch = want->can_fetch;
    l->used_ns = now_ns;
    l->pending = false;
    if (!l->wanted && !l->complete) {
        l->wanted = true;
        l->gained_ns = l->begun_ns = now_ns;
        l->join_ns = l->join_since_ns = l->welcome_ns = 0;
        l->rank = l->joins = 0;
        l->give_up_ns = now_ns + SWARM_GIVE_UP_NS;
    }
    if (l->lease.state != LEASE_NONE)
        swarm_offer_begin(s, l, now_ns);
    swarm_wake(l, now_ns);
    return 0;
}

void swarm_leave(struct swarm *s, const struct digest *d, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (!l)
        return;
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++)
        if (l->requests[i].id)
            swarm_request_drop(s, l, &l->requests[i], false, "");
    if (l->lease.state != LEASE_NONE)
        swarm_stop(s, l, LEASE_CUT, now_ns);
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++)
        if (l->peers[i].used)
            swarm_peer_drop(s, l, &l->peers[i], BYE_GONE, now_ns);
    swarm_serve_forget(s, l);
    l->wanted = l->can_fetch = l->own_origin = false;
    if (l->home) {
        const struct swarm_join_message j = {.leaves = true};
        swarm_guest(s, l, &s->self, &j, now_ns);
    }
    /* Others ask us who has it; or the home has to hear yet what became of our fetch. */
    bool told = l->lease_ns > 0 && now_ns - l->lease_ns < SWARM_VOID_NS;
    if (told || (l->home && l->home->n > 0))
        uncut(l);
    else
        layer_del(s, l);
}

static void become_seed(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    l->complete = true;
    l->wanted = l->pending = false;
    l->used_ns = now_ns;
    for (u32 i = 0; i < LIMIT_SWARM_REQUESTS; i++)
        if (l->requests[i].id)
            swarm_request_drop(s, l, &l->requests[i], true, "all of it is here");
    for (u32 p = 0; p < l->n; p++)
        if (!piece_map_has(&l->map, p))
            swarm_piece_here(s, l, p, now_ns);
}

int swarm_seed(struct swarm *s, const struct digest *d, u64 size, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (!l && !(l = swarm_add(s, d, now_ns)))
        return ERR_FULL;
    int err = swarm_cut(s, l, size, now_ns);
    if (err)
        return err;
    if (l->complete || l->wanted)
        return 0;
    /* One of few seeds offers each piece once; many tell all that they have. */
    if (inventory_holders(s->inventory, d, NULL, 0) < SWARM_RANKS)
        swarm_offer_begin(s, l, now_ns);
    become_seed(s, l, now_ns);
    for (u32 i = 0; i < l->n_callers; i++) {
        struct swarm_peer *p = swarm_peer_find(l, &l->callers[i]);
        if (!p)
            p = swarm_peer_new(s, l, &l->callers[i], now_ns);
        if (p)
            swarm_say_hello(s, l, p, now_ns);
    }
    l->n_callers = 0;
    swarm_wake(l, now_ns);
    return 0;
}

void swarm_have(struct swarm *s, const struct digest *d, u32 piece, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (!l || piece >= l->n || piece_map_has(&l->map, piece))
        return;
    if (l->lease.state == LEASE_RUNS || l->lease.state == LEASE_WAITS) {
        if (piece >= l->cursor)
            l->cursor = piece + 1;
        l->stream_ns = now_ns;
    }
    swarm_piece_here(s, l, piece, now_ns);
    swarm_pick(s, l, now_ns);
}

void swarm_lost(struct swarm *s, const struct digest *d, u32 piece, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (!l || piece >= l->n || !piece_map_clear(&l->map, piece))
        return;
    l->complete = false;
    l->n_log = 0;
    for (u32 p = piece_map_next(&l->map, 0, true); p < l->n;
         p = piece_map_next(&l->map, p + 1, true))
        l->log[l->n_log++] = p;
    swarm_piece_changed(l, piece);
    swarm_new_session(s, l, now_ns);
}

bool swarm_is_forger(const struct swarm_layer *l, const struct node_key *k)
{
    for (u32 i = 0; i < l->n_forgers && i < SWARM_FETCHERS; i++)
        if (node_key_equal(&l->forgers[i], k))
            return true;
    return false;
}

u64 swarm_last_forger(const struct swarm_layer *l)
{
    return l->n_forgers ? node_key_word(&l->forgers[(l->n_forgers - 1) % SWARM_FETCHERS]) : 0;
}

void swarm_forged(struct swarm *s, const struct digest *d, const struct node_key *k, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (!l || swarm_is_forger(l, k))
        return;
    l->forgers[l->n_forgers++ % SWARM_FETCHERS] = *k;
    struct swarm_peer *p = swarm_peer_find(l, k);
    if (p)
        swarm_peer_drop(s, l, p, BYE_GONE, now_ns);
    for (u32 i = 0; i < l->n_fetchers && i < SWARM_FETCHERS; i++)
        if (node_key_equal(&l->fetchers[i], k) && l->n_fetchers <= SWARM_FETCHERS)
            l->fetchers[i--] = l->fetchers[--l->n_fetchers];
    l->ranks_ns = 0; /* it is no home any more, for us */
    l->join_ns = now_ns;
    swarm_wake(l, now_ns);
}

void swarm_complete(struct swarm *s, const struct digest *d, u64 now_ns)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (!l || l->n == 0 || l->complete)
        return;
    become_seed(s, l, now_ns); /* what is left is offered on, piece by piece */
    if (l->lease.state != LEASE_NONE)
        swarm_stop(s, l, LEASE_DONE, now_ns);
    l->join_ns = now_ns; /* the home is told */
    swarm_wake(l, now_ns);
}

void swarm_position(struct swarm *s, const struct digest *d, u32 piece)
{
    struct swarm_layer *l = swarm_find(s, d);
    if (l)
        l->position = piece;
}

/* --- time ------------------------------------------------------------------------------------ */

void swarm_wake(struct swarm_layer *l, u64 at_ns)
{
    if (at_ns < l->next_ns)
        l->next_ns = at_ns;
    if (at_ns < l->swarm->next_ns)
        l->swarm->next_ns = at_ns;
}

void swarm_warm(const struct swarm *s)
{
    for (size_t at = 0; at < offsetof(struct swarm, member); at += 64)
        __builtin_prefetch((const char *)s + at);
}

u64 swarm_next_expiry(const struct swarm *s)
{
    return s->next_ns;
}

/* Nobody here wants it, and nobody asked for it lately. */
static bool is_over(const struct swarm_layer *l, u64 now_ns)
{
    return is_idle(l) && now_ns - l->used_ns > SWARM_LINGER_NS && (!l->home || l->home->n == 0);
}

static void tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    bool busy = l->wanted || l->lease.state != LEASE_NONE || l->offers || (l->home && l->home->n);
    l->next_ns = now_ns + (busy ? SWARM_TICK_NS : SWARM_IDLE_NS);
    if (l->wanted || l->home || l->lease.state != LEASE_NONE)
        swarm_rank(s, l, now_ns);
    if (l->home)
        swarm_home_tick(s, l, now_ns);
    swarm_join_tick(s, l, now_ns);
    swarm_fetch_tick(s, l, now_ns);
    if (l->n > 0) {
        swarm_peers_tick(s, l, now_ns);
        swarm_pick_tick(s, l, now_ns);
        swarm_offer_tick(s, l, now_ns);
        swarm_call(s, l, now_ns);
        swarm_news_due(s, l, now_ns);
    }
}

void swarm_expire(struct swarm *s, u64 now_ns)
{
    for (u32 i = 0; i < s->n_slots; i++) {
        struct swarm_layer *l = s->layers[i];
        if (!l || l->next_ns > now_ns)
            continue;
        if (is_over(l, now_ns))
            forget(s, l, now_ns);
        else
            tick(s, l, now_ns);
    }
    look_next(s);
    swarm_serve_tick(s, now_ns);
}

void swarm_peer_down(struct swarm *s, const struct node_key *k, u64 now_ns)
{
    for (u32 i = 0; i < s->n_slots; i++) {
        struct swarm_layer *l = s->layers[i];
        if (!l)
            continue;
        if (swarm_rank_of(l, k) < SWARM_RANKS)
            l->ranks_ns = 0;
        struct swarm_peer *p = swarm_peer_find(l, k);
        if (p)
            swarm_peer_drop(s, l, p, -1, now_ns);
        swarm_wake(l, now_ns);
    }
}

/* --- looking on ------------------------------------------------------------------------------ */

bool swarm_look(const struct swarm *s, const struct digest *d, struct swarm_view *out, u64 now_ns)
{
    const struct swarm_layer *l = swarm_find(s, d);
    memset(out, 0, sizeof(*out));
    if (!l)
        return false;
    out->wanted = l->wanted;
    out->complete = l->complete;
    out->fetching = l->lease.state == LEASE_RUNS || l->lease.state == LEASE_WAITS;
    out->is_home = l->n_ranks > 0 && node_key_equal(&l->ranks[0], &s->self);
    out->pieces = l->n;
    out->have = l->map.have;
    out->requests = l->n_requests;
    out->neighbours = l->n_peers;
    out->participants = l->home ? l->home->n : 0;
    if (l->n_ranks > 0)
        out->home = l->ranks[0];
    if (l->n_fetchers > 0) {
        out->fetcher = l->fetchers[(l->n_fetchers - 1) % SWARM_FETCHERS];
        out->fetcher_known = true;
    }
    bool counts = l->lease.state == LEASE_WAITS || !swarm_waited(l, now_ns);
    out->backoff_ns = counts && l->backoff_ns > now_ns ? l->backoff_ns - now_ns : 0;
    return true;
}

bool swarm_is_fetcher(const struct swarm *s, const struct digest *d, const struct node_key *k)
{
    const struct swarm_layer *l = swarm_find(s, d);
    return l && swarm_was_fetcher(l, k);
}

void swarm_stats(const struct swarm *s, struct swarm_stats *out)
{
    *out = s->stats;
}

u64 swarm_bytes(const struct swarm *s)
{
    u64 bytes = sizeof(*s) + s->out_cap * sizeof(*s->out) + s->steps_cap * sizeof(*s->steps);
    for (u32 i = 0; i < s->n_slots; i++) {
        const struct swarm_layer *l = s->layers[i];
        if (!l)
            continue;
        bytes += sizeof(*l) + (u64)l->n * (sizeof(*l->log) + sizeof(*l->holders) + 2) + l->n / 4;
        bytes += l->offers ? l->n * sizeof(*l->offers) : 0;
        bytes += l->home ? sizeof(*l->home) + l->home->cap * sizeof(*l->home->guests) : 0;
    }
    return bytes;
}

/* inventory.c - a view: its seats, who is up, and what drives it; see inventory.h and
 * inventory_impl.h. */
#include "proto/inventory_impl.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_DOWN_S  600 /* a table of one that went is kept so long: it may come back as it was */
#define PRUNE_NS     (60000 * INVENTORY_MS)
#define NEAR         4u /* first snapshots are asked of so many of the nearest, in turn */
#define FIRST_ASK_NS (300 * INVENTORY_MS)
#define LATER_ASK_NS (3000 * INVENTORY_MS)

/* --- seats ----------------------------------------------------------------------------------- */

static int seats_grow(struct inventory *v, u32 need)
{
    u32 cap = v->cap_seats ? v->cap_seats : 16;
    if (need <= v->cap_seats)
        return 0;
    while (cap < need)
        cap *= 2;
    void *seats = inventory_resize(&v->bytes, v->seats, v->cap_seats * sizeof(*v->seats),
                                   cap * sizeof(*v->seats));
    if (!seats)
        return ERR_NOMEM;
    v->seats = seats;
    void *notes = inventory_resize(&v->bytes, v->notes, v->cap_seats * sizeof(*v->notes),
                                   cap * sizeof(*v->notes));
    if (!notes)
        return ERR_NOMEM;
    v->notes = notes;
    void *limbs = inventory_resize(&v->bytes, v->limbs, v->cap_seats * sizeof(*v->limbs),
                                   cap * sizeof(*v->limbs));
    if (!limbs)
        return ERR_NOMEM; /* the seats stay larger than they say, and are counted as what they say
                           */
    v->limbs = limbs;
    for (unsigned i = 0; i < 2; i++) {
        void *then = inventory_resize(&v->bytes, v->then[i], v->cap_seats, cap);
        if (!then)
            return ERR_NOMEM;
        v->then[i] = then;
        memset(v->then[i] + v->cap_seats, 0, cap - v->cap_seats);
    }
    for (u32 i = v->cap_seats; i < cap; i++)
        v->seats[i] = (struct inventory_seat){.table = INVENTORY_NO_TABLE};
    memset(v->notes + v->cap_seats, 0, (cap - v->cap_seats) * sizeof(*v->notes));
    v->cap_seats = cap;
    return 0;
}

u16 inventory_find_key(const struct inventory *v, const struct node_key *k)
{
    u16 o = inventory_name_of(v->pool, k);
    if (o == INVENTORY_NONE || o >= v->cap_seats || !(v->seats[o].flags & INVENTORY_KNOWN))
        return INVENTORY_NONE;
    return o;
}

static u64 seat_hash(const struct inventory *v, const struct inventory_seat *s)
{
    const struct inventory_table *t = inventory_table_at(v, s->table);
    return t->base + s->n * t->step;
}

void inventory_detach(struct inventory *v, u16 o)
{
    struct inventory_seat *s = &v->seats[o];
    if (s->table == INVENTORY_NO_TABLE)
        return;
    if (s->flags & INVENTORY_UP)
        v->hash -= seat_hash(v, s);
    inventory_pending_drop(v, o);
    if (s->flags & INVENTORY_SELF)
        inventory_table_at(v, s->table)->owned = false;
    inventory_table_put(v->pool, s->table);
    s->table = INVENTORY_NO_TABLE;
    s->n = 0;
    v->notes[o].head_n = 0;
}

void inventory_attach(struct inventory *v, u16 o, u16 table, u32 n)
{
    struct inventory_seat *s = &v->seats[o];
    assert(inventory_table_at(v, table)->origin == o);
    inventory_table_get(v->pool, table);
    inventory_detach(v, o);
    s->table = table;
    s->tag = (u8)((inventory_table_at(v, table)->base & 0xffff) % INVENTORY_BYTES_MOD);
    s->n = n;
    if (s->flags & INVENTORY_SELF) {
        inventory_table_at(v, table)->owned = true;
        v->own.epoch = inventory_table_at(v, table)->epoch;
    }
    if (s->flags & INVENTORY_UP)
        v->hash += seat_hash(v, s);
}

/* --- who is up ------------------------------------------------------------------------------- */

static u32 order_at(const struct inventory *v, u16 o)
{
    u64 place = v->pool->names[o].place;
    u32 lo = 0, hi = v->n_order;
    while (lo < hi) {
        u32 mid = (lo + hi) / 2;
        if (v->pool->names[v->order[mid]].place < place)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static int order_room(struct inventory *v)
{
    if (v->n_order < v->cap_order)
        return 0;
    u32 cap = v->cap_order ? 2 * v->cap_order : 16;
    void *order = inventory_resize(&v->bytes, v->order, v->cap_order * sizeof(*v->order),
                                   cap * sizeof(*v->order));
    if (!order)
        return ERR_NOMEM;
    v->order = order;
    v->cap_order = cap;
    return 0;
}

static void rise(struct inventory *v, u16 o)
{
    u32 at = order_at(v, o);
    memmove(v->order + at + 1, v->order + at, (v->n_order - at) * sizeof(*v->order));
    v->order[at] = o;
    v->n_order++;
    v->seats[o].flags |= INVENTORY_UP;
    if (v->seats[o].table != INVENTORY_NO_TABLE)
        v->hash += seat_hash(v, &v->seats[o]);
    inventory_tree_insert(v, o);
}

static void forget(struct inventory *v, u16 o)
{
    inventory_detach(v, o);
    v->seats[o] = (struct inventory_seat){.table = INVENTORY_NO_TABLE};
    v->notes[o] = (struct inventory_note){0};
    v->then[0][o] = v->then[1][o] = 0;
    v->n_known--;
    inventory_name_put(v->pool, o);
}

/* Seats of those who are down since before `before_s`. */
static void prune(struct inventory *v, u64 before_s)
{
    for (u32 o = 0; o < v->cap_seats; o++) {
        const struct inventory_seat *s = &v->seats[o];
        if ((s->flags & INVENTORY_KNOWN) && !(s->flags & INVENTORY_UP) &&
            v->notes[o].down_s < before_s)
            forget(v, (u16)o);
    }
}

static int seat_take(struct inventory *v, const struct node_key *k, u16 *out)
{
    int err = inventory_name_get(v->pool, k, out);
    if (err)
        return err;
    err = seats_grow(v, *out + 1u);
    if (err) {
        inventory_name_put(v->pool, *out);
        return err;
    }
    if (v->seats[*out].flags & INVENTORY_KNOWN)
        inventory_name_put(v->pool, *out); /* one use for each view */
    else
        v->n_known++;
    v->seats[*out].flags |= INVENTORY_KNOWN;
    return 0;
}

int inventory_peer_up(struct inventory *v, const struct node_key *k, u64 distance_ns, u64 now_ns)
{
    u64 us = distance_ns / 1000;
    u16 o;
    if (node_key_equal(k, &v->self))
        return 0;
    if (v->n_order >= LIMIT_MEMBERS)
        return ERR_FULL;
    if (v->n_known >= 2 * LIMIT_MEMBERS)
        prune(v, UINT64_MAX);
    int err = order_room(v);
    if (!err)
        err = seat_take(v, k, &o);
    if (err)
        return err;
    struct inventory_seat *s = &v->seats[o];
    v->notes[o].distance_us = us > UINT32_MAX ? UINT32_MAX : (u32)us;
    if (s->flags & INVENTORY_UP)
        return 0;
    rise(v, o);
    if (s->table == INVENTORY_NO_TABLE) /* the tree mostly brings it before that */
        inventory_want(
            v, &(struct inventory_want){.origin = o,
                                        .source = INVENTORY_NONE,
                                        .talk = true,
                                        .due_ns = now_ns + (now_ns - v->born_ns < 10 * LATER_ASK_NS
                                                                ? FIRST_ASK_NS
                                                                : LATER_ASK_NS)});
    inventory_links_fit(v, now_ns);
    return 0;
}

void inventory_peer_down(struct inventory *v, const struct node_key *k, u64 now_ns)
{
    u16 o = inventory_find_key(v, k);
    if (o == INVENTORY_NONE || o == v->me || !inventory_seat_up(v, o))
        return;
    struct inventory_seat *s = &v->seats[o];
    if (s->table != INVENTORY_NO_TABLE)
        v->hash -= seat_hash(v, s);
    inventory_pending_drop(v, o);
    s->flags &= (u8)~INVENTORY_UP;
    v->notes[o].down_s = (u32)(now_ns / 1000000000u);
    u32 at = order_at(v, o);
    v->n_order--;
    memmove(v->order + at, v->order + at + 1, (v->n_order - at) * sizeof(*v->order));
    inventory_tree_remove(v, o);
    inventory_wants_forget(v, o);
    inventory_links_drop(v, o);
    inventory_links_fit(v, now_ns);
}

u16 inventory_near(struct inventory *v, u32 turn)
{
    u16 best[NEAR];
    u32 n = 0;
    for (u32 i = 0; i < v->n_order; i++) {
        u16 o = v->order[i];
        u32 at = n;
        if (o == v->me)
            continue;
        while (at > 0 && v->notes[best[at - 1]].distance_us > v->notes[o].distance_us)
            at--;
        if (at == NEAR)
            continue;
        n = n < NEAR ? n + 1 : NEAR;
        for (u32 k = n - 1; k > at; k--)
            best[k] = best[k - 1];
        best[at] = o;
    }
    return n ? best[turn % n] : (u16)INVENTORY_NONE;
}

/* --- life ------------------------------------------------------------------------------------ */

int inventory_new(struct inventory **out, const struct inventory_options *opt)
{
    struct inventory *v = calloc(1, sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    assert(opt->datagram_max >= 512 && opt->datagram_max <= LIMIT_DATAGRAM_BYTES);
    v->pool = opt->pool;
    v->self = opt->self;
    v->secret = opt->secret;
    v->rng = opt->rng;
    v->datagram_max = opt->datagram_max;
    v->batch_ns = opt->batch_ns ? opt->batch_ns : 200 * INVENTORY_MS;
    v->entropy_ns = opt->anti_entropy_ns ? opt->anti_entropy_ns : 2000 * INVENTORY_MS;
    v->born_ns = opt->now_ns;
    v->bytes = sizeof(*v);
    v->root = v->alike.from = INVENTORY_NONE;
    struct rng rates = rng_split(&v->rng, "rates");
    rate_init(&v->heads, LIMIT_RATE_SENDER, LIMIT_RATE_SENDER_S, rng_u64(&rates));
    rate_init(&v->doubts, LIMIT_RATE_CONFLICTS, LIMIT_RATE_CONFLICTS_S, rng_u64(&rates));
    v->out_end = &v->out;
    v->want_due_ns = UINT64_MAX;
    v->entropy_due_ns = opt->now_ns + rng_below(&v->rng, v->entropy_ns) + 1;
    v->prune_ns = opt->now_ns + PRUNE_NS;
    int err = inventory_pool_join(v->pool);
    if (err) {
        free(v);
        return err;
    }
    err = order_room(v);
    if (!err)
        err = seat_take(v, &v->self, &v->me);
    if (!err) {
        v->seats[v->me].flags |= INVENTORY_SELF;
        rise(v, v->me);
        err = inventory_own_init(v, opt->epoch);
    }
    if (err) {
        inventory_del(v);
        return err;
    }
    *out = v;
    return 0;
}

void inventory_del(struct inventory *v)
{
    if (!v)
        return;
    for (u32 o = 0; o < v->cap_seats; o++)
        if (v->seats[o].flags & INVENTORY_KNOWN)
            forget(v, (u16)o);
    inventory_links_fini(v);
    inventory_own_fini(v);
    while (v->out) {
        struct inventory_out *next = v->out->next;
        free(v->out);
        v->out = next;
    }
    inventory_pool_leave(v->pool);
    free(v->seats);
    free(v->notes);
    free(v->limbs);
    free(v->then[0]);
    free(v->then[1]);
    free(v->order);
    free(v->log);
    free(v->pending);
    free(v->wants);
    free(v);
}

/* --- driven ---------------------------------------------------------------------------------- */

int inventory_read(struct inventory *v, const struct node_key *from, unsigned number,
                   struct wire_in *msg, u64 now_ns)
{
    u16 o = inventory_find_key(v, from);
    int err;
    if (o == INVENTORY_NONE || o == v->me || !inventory_seat_up(v, o))
        return 0; /* not a member here, or not yet: it will be told again */
    if (number == MSG_INVENTORY_BATCH)
        err = inventory_batch_read(v, o, msg, now_ns);
    else
        err = inventory_entropy_read(v, o, number, msg, now_ns);
    if (err)
        v->stats.malformed++;
    return err;
}

bool inventory_queue(struct inventory *v, u16 to, const void *bytes, size_t len)
{
    struct inventory_out *m = NULL;
    if (v->n_out < INVENTORY_OUT_MAX)
        m = malloc(sizeof(*m) + len);
    if (!m) {
        v->stats.unsent++;
        return false;
    }
    *m = (struct inventory_out){.to = to, .len = (u32)len};
    memcpy(m->bytes, bytes, len);
    *v->out_end = m;
    v->out_end = &m->next;
    v->n_out++;
    return true;
}

bool inventory_is_pressed(const struct inventory *v)
{
    return v->n_out >= INVENTORY_OUT_MAX / 2;
}

static bool queue_write(struct inventory *v, u16 *to, struct wire_out *w)
{
    while (v->out) {
        struct inventory_out *m = v->out;
        v->out = m->next;
        if (!v->out)
            v->out_end = &v->out;
        v->n_out--;
        bool sent = inventory_seat_up(v, m->to) && m->len <= wire_room(w);
        if (sent) {
            memcpy(w->buf + w->len, m->bytes, m->len);
            w->len += m->len;
            *to = m->to;
        }
        free(m);
        if (sent)
            return true;
    }
    return false;
}

bool inventory_write(struct inventory *v, struct node_key *to, struct wire_out *w, u64 now_ns)
{
    u16 o;
    inventory_own_run(v, now_ns);
    if (!queue_write(v, &o, w) && !inventory_links_write(v, &o, w, now_ns))
        return false;
    *to = v->pool->names[o].key;
    return true;
}

/* The link to who wrote it, if there is one. */
static void warm_link(const struct inventory *v, const u8 *sender)
{
    u16 o = v->pool->recent[(sender[0] << 8 | sender[1]) % INVENTORY_RECENT];
    for (u32 i = 0; i < v->n_links; i++)
        if (v->link_peer[i] == o) {
            __builtin_prefetch(v->links[i]);
            __builtin_prefetch((const char *)v->links[i] + 64);
            __builtin_prefetch((const char *)v->links[i] + 128);
        }
}

void inventory_warm(const struct inventory *v, unsigned step, const u8 *sender)
{
    if (step == 0) {
        for (size_t at = 0; at < offsetof(struct inventory, datagram_max); at += 64)
            __builtin_prefetch((const char *)v + at);
        return;
    }
    if (step == 1 && sender)
        warm_link(v, sender);
}

u64 inventory_next_expiry(const struct inventory *v)
{
    if (v->out)
        return 0;
    u64 t = inventory_min(v->entropy_due_ns, v->prune_ns);
    t = inventory_min(t, v->want_due_ns);
    t = inventory_min(t, inventory_own_due(v));
    return inventory_min(t, inventory_links_due(v));
}

void inventory_expire(struct inventory *v, u64 now_ns)
{
    inventory_own_run(v, now_ns);
    if (now_ns >= v->entropy_due_ns)
        inventory_entropy_expire(v, now_ns);
    if (now_ns >= v->want_due_ns)
        inventory_wants_expire(v, now_ns);
    inventory_links_expire(v, now_ns);
    if (now_ns >= v->prune_ns) {
        u64 s = now_ns / 1000000000u;
        prune(v, s > KEEP_DOWN_S ? s - KEEP_DOWN_S : 0);
        v->prune_ns = now_ns + PRUNE_NS;
    }
}

void inventory_prime(struct inventory *v, const struct inventory *of)
{
    const struct inventory_seat *s = &of->seats[of->me];
    u16 o = of->me;
    assert(v->pool == of->pool);
    if (v == of || !inventory_seat_up(v, o))
        return;
    inventory_attach(v, o, s->table, s->n);
    v->notes[o].head_n = of->notes[o].head_n;
    if (v->seats[o].flags & INVENTORY_WANTED)
        inventory_wants_forget(v, o);
}

/* --- looking on ------------------------------------------------------------------------------ */

bool inventory_each(const struct inventory *v, size_t *at, struct inventory_origin *out)
{
    if (*at >= v->n_order)
        return false;
    u16 o = v->order[(*at)++];
    const struct inventory_seat *s = &v->seats[o];
    *out = (struct inventory_origin){.key = v->pool->names[o].key};
    if (s->table != INVENTORY_NO_TABLE) {
        const struct inventory_table *t = inventory_table_at(v, s->table);
        out->epoch = t->epoch;
        out->n = s->n;
        out->layers = inventory_table_len(t, s->n < t->reach ? t->reach : s->n);
        out->complete = true;
    }
    return true;
}

u64 inventory_hash(const struct inventory *v)
{
    u64 hash = 0;
    for (u32 i = 0; i < v->n_order; i++) {
        const struct inventory_seat *s = &v->seats[v->order[i]];
        if (s->table == INVENTORY_NO_TABLE)
            continue;
        struct inventory_table *t = inventory_table_at(v, s->table);
        hash += seat_hash(v, s);
        if (!inventory_table_reaches(t, s->n))
            continue;
        struct inventory_hash256 content = inventory_table_hash256(v->pool, t, s->n);
        u64 word;
        memcpy(&word, content.bytes, sizeof(word));
        hash ^= word * t->step;
    }
    return hash;
}

u64 inventory_bytes(const struct inventory *v)
{
    return v->bytes;
}

void inventory_stats(const struct inventory *v, struct inventory_stats *out)
{
    *out = v->stats;
}

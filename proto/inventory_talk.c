/* inventory_talk.c - what is too much for datagrams: tables, and long rows of ops, by stream.
 *
 *     FETCH [wants]           origins, and what of each is here already; nearest first
 *     FETCHED [more, entries] as many as fit; `more`: there was more to say
 *
 * An entry is place64 epoch64 kind8 and
 *
 *     DELTA     length32 items                        ops from the asker's version on
 *     SNAPSHOT  n32 count32 length32 bits             the table at version n, Golomb-Rice coded
 *               head (84 bytes)                       the newest that the origin signed
 *               length32 items                        ops from n on
 *
 * The table is told at the version of its head, if ops still reach it from there, so that the
 * fetcher can hold the content against the origin's signature. At another version it is believed
 * from the origin itself only, and one without a signed head of its epoch from nobody. */
#include "proto/inventory_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define WANTS_MAX    256u        /* of one request */
#define ANSWER_BYTES (256 * KIB) /* of one answer, but for its last entry */
#define RETRY_NS     (1000 * INVENTORY_MS)
#define ENTRY_HEAD   17u

static_assert(ANSWER_BYTES + 4 * LIMIT_INVENTORY_SLOTS + MIB < LIMIT_TALK_BYTES, "an answer fits");

enum entry_kind { ENTRY_DELTA = 1, ENTRY_SNAPSHOT = 2 };

/* --- asking ---------------------------------------------------------------------------------- */

static struct inventory_dial *free_dial(const struct inventory *v)
{
    for (u32 i = 0; i < INVENTORY_DIALS; i++)
        if (v->dials[i].id == 0)
            return (struct inventory_dial *)&v->dials[i];
    return NULL;
}

u64 inventory_talk_due(const struct inventory *v)
{
    u64 t = UINT64_MAX;
    if (!free_dial(v))
        return t;
    for (u32 i = 0; i < v->n_wants; i++)
        if (v->wants[i].talk && !v->wants[i].dial)
            t = inventory_min(t, v->wants[i].due_ns);
    return t;
}

struct chosen {
    u32 distance_us, want;
    u64 place;
};

static int nearer(const void *a, const void *b)
{
    const struct chosen *x = a, *y = b;
    if (x->distance_us != y->distance_us)
        return x->distance_us < y->distance_us ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* Whom to ask: the source of the want that is due first. Those already met go. False: none is due;
 * INVENTORY_NONE: nobody can be asked. */
static bool choose_peer(struct inventory *v, u16 *out, u64 now_ns)
{
    const struct inventory_want *first = NULL;
    for (u32 i = v->n_wants; i > 0; i--)
        if (!v->wants[i - 1].dial && inventory_want_met(v, &v->wants[i - 1]))
            inventory_want_remove(v, i - 1);
    for (u32 i = 0; i < v->n_wants; i++) {
        const struct inventory_want *w = &v->wants[i];
        if (w->talk && !w->dial && w->due_ns <= now_ns && (!first || w->due_ns < first->due_ns))
            first = w;
    }
    if (!first)
        return false;
    bool up = first->source != v->me && inventory_seat_up(v, first->source);
    *out = up ? first->source : inventory_near(v, v->dial_turn++);
    return true;
}

/* Everything that this peer may have and that is due. */
static u32 gather(struct inventory *v, u16 peer, struct chosen *list, u64 now_ns)
{
    u32 n = 0;
    for (u32 i = 0; i < v->n_wants; i++) {
        const struct inventory_want *w = &v->wants[i];
        bool bound = w->source != peer && w->source != v->me && inventory_seat_up(v, w->source);
        if (w->talk && !w->dial && w->due_ns <= now_ns && !bound)
            list[n++] = (struct chosen){.distance_us = v->notes[w->origin].distance_us,
                                        .want = i,
                                        .place = v->pool->names[w->origin].place};
    }
    qsort(list, n, sizeof(*list), nearer); /* places differ, so it is a total order */
    return n < WANTS_MAX ? n : WANTS_MAX;
}

/* There is nobody to ask. What is not due yet is due as before: a driver that dials with each event
 * would else put it off for ever. */
static void put_off(struct inventory *v, u64 now_ns)
{
    for (u32 i = 0; i < v->n_wants; i++) {
        struct inventory_want *w = &v->wants[i];
        if (w->talk && !w->dial && w->due_ns <= now_ns)
            w->due_ns = now_ns + RETRY_NS / 10;
    }
}

bool inventory_dial(struct inventory *v, u32 *id, struct node_key *to, struct wire_out *w,
                    u64 now_ns)
{
    struct inventory_dial *d = free_dial(v);
    u8 bytes[WANTS_MAX * INVENTORY_WANT_BYTES];
    u16 peer;
    if (!d || v->n_wants == 0 || !choose_peer(v, &peer, now_ns))
        return false;
    struct chosen *list = peer == INVENTORY_NONE ? NULL : malloc(v->n_wants * sizeof(*list));
    if (!list) {
        put_off(v, now_ns);
        return false;
    }
    u32 n = gather(v, peer, list, now_ns);
    v->dial_id += v->dial_id + 1 == 0 ? 2 : 1; /* 0 is none */
    for (u32 i = 0; i < n; i++) {
        struct inventory_want *want = &v->wants[list[i].want];
        want->dial = v->dial_id;
        want->answered = false;
        inventory_want_put(v, want->origin, bytes + i * INVENTORY_WANT_BYTES);
    }
    free(list);
    *d = (struct inventory_dial){.id = v->dial_id, .to = peer};
    wire_put_array(w, 2);
    wire_put_u64(w, MSG_INVENTORY_FETCH);
    wire_put_bin(w, bytes, n * INVENTORY_WANT_BYTES);
    *id = d->id;
    *to = v->pool->names[peer].key;
    inventory_wants_expire(v, now_ns); /* what is due next */
    return true;
}

/* --- answering ------------------------------------------------------------------------------- */

struct blob {
    u8 *bytes;
    size_t len, cap;
};

static bool blob_room(struct blob *b, size_t more)
{
    if (b->cap - b->len >= more)
        return true;
    size_t cap = 2 * b->cap > b->len + more ? 2 * b->cap : b->len + more;
    u8 *bytes = realloc(b->bytes, cap);
    if (!bytes)
        return false;
    b->bytes = bytes;
    b->cap = cap;
    return true;
}

static void blob_be(struct blob *b, u64 v, unsigned bytes)
{
    assert(b->bytes);
    for (unsigned i = 0; i < bytes; i++)
        b->bytes[b->len++] = (u8)(v >> (8 * (bytes - 1 - i)));
}

/* length32, and the ops from version `n` to `end`, with the head among them. There is room. */
static void blob_ops(const struct inventory *v, struct blob *b, const struct inventory_table *t,
                     u32 n, u32 end)
{
    size_t mark = b->len, len;
    const struct inventory_head *h = inventory_head_at(t, end);
    bool head = h && h->n > n;
    b->len += 4;
    for (; n < end; n++)
        b->len += inventory_item_op(v, t, n + 1, true, b->bytes + b->len);
    if (head)
        b->len += inventory_item_head(v, t, h, b->bytes + b->len);
    len = b->len;
    b->len = mark;
    blob_be(b, len - mark - 4, 4);
    b->len = len;
}

static void put_delta(const struct inventory *v, struct blob *b, u16 o, u32 n)
{
    const struct inventory_seat *s = &v->seats[o];
    const struct inventory_table *t = inventory_table_at(v, s->table);
    if (!blob_room(b, ENTRY_HEAD + 4 + INVENTORY_HEAD_BYTES + (s->n - n) * INVENTORY_OP_BYTES_MAX))
        return;
    blob_be(b, v->pool->names[o].place, 8);
    blob_be(b, t->epoch, 8);
    blob_be(b, ENTRY_DELTA, 1);
    blob_ops(v, b, t, n, s->n);
}

static void put_snapshot(struct inventory *v, struct blob *b, u16 o)
{
    const struct inventory_seat *s = &v->seats[o];
    const struct inventory_table *t = inventory_table_at(v, s->table);
    const struct inventory_head *h = inventory_head_at(t, s->n);
    if (!h || s->n < t->reach)
        return;
    const struct inventory_coded *c =
        inventory_table_coded(v->pool, s->table, h->n >= t->reach ? h->n : s->n);
    if (c && blob_room(b, ENTRY_HEAD + 16 + c->size + INVENTORY_HEAD_BODY + INVENTORY_HEAD_BYTES +
                              (s->n - c->n) * INVENTORY_OP_BYTES_MAX)) {
        blob_be(b, v->pool->names[o].place, 8);
        blob_be(b, t->epoch, 8);
        blob_be(b, ENTRY_SNAPSHOT, 1);
        blob_be(b, c->n, 4);
        blob_be(b, c->len, 4);
        blob_be(b, c->size, 4);
        memcpy(b->bytes + b->len, c->bits, c->size);
        b->len += c->size;
        inventory_head_put(h, b->bytes + b->len);
        b->len += INVENTORY_HEAD_BODY;
        blob_ops(v, b, t, c->n, s->n);
        v->stats.snapshots_sent++;
    }
    inventory_coded_done(v->pool, s->table);
}

static void answer_one(struct inventory *v, struct blob *b, const struct inventory_wanted *want)
{
    u16 o = inventory_name_find(v->pool, want->place);
    if (o == INVENTORY_NONE || !inventory_seat_up(v, o))
        return;
    const struct inventory_seat *s = &v->seats[o];
    if (s->table == INVENTORY_NO_TABLE || (s->flags & INVENTORY_DOUBT))
        return;
    const struct inventory_table *t = inventory_table_at(v, s->table);
    if (want->epoch > t->epoch || (want->epoch == t->epoch && want->n >= s->n))
        return;
    if (want->epoch == t->epoch && want->n >= t->reach)
        put_delta(v, b, o, want->n);
    else
        put_snapshot(v, b, o);
}

int inventory_answer(struct inventory *v, const struct node_key *from, unsigned number,
                     struct wire_in *request, struct wire_out *answer, u64 now_ns)
{
    struct blob b = {NULL, 0, 0};
    size_t len;
    (void)from;
    inventory_own_run(v, now_ns);
    if (number != MSG_INVENTORY_FETCH)
        return ERR_UNSUPPORTED;
    const u8 *p = wire_get_bin(request, WANTS_MAX * INVENTORY_WANT_BYTES, &len);
    if (!wire_ok(request) || len % INVENTORY_WANT_BYTES != 0) {
        v->stats.malformed++;
        return ERR_PROTO;
    }
    for (; len > 0 && b.len < ANSWER_BYTES; len -= INVENTORY_WANT_BYTES) {
        struct inventory_wanted want;
        inventory_want_get(p, &want);
        answer_one(v, &b, &want);
        p += INVENTORY_WANT_BYTES;
    }
    wire_put_array(answer, 3);
    wire_put_u64(answer, MSG_INVENTORY_FETCHED);
    wire_put_bool(answer, len > 0);
    wire_put_bin(answer, b.bytes, b.len);
    free(b.bytes);
    return wire_full(answer) ? ERR_TOOBIG : 0;
}

/* --- what came back -------------------------------------------------------------------------- */

struct snapshot {
    u16 origin, from;
    u64 epoch;
    u32 n, count;
    const u8 *bits;
    size_t size;
    struct inventory_head head;
};

/* The table that the snapshot tells of: one that is here, or made from it. */
static int find_or_make(struct inventory *v, const struct snapshot *s, u16 *out)
{
    bool proven = s->head.n == s->n;
    u32 *fp;
    if (proven) {
        *out = inventory_table_find(v->pool, s->origin, s->epoch, s->n, &s->head.hash);
        if (*out != INVENTORY_NO_TABLE)
            return 0; /* by the origin's word: the bits need no reading */
    }
    int err = inventory_rice_decode(s->bits, s->size, s->count, &fp);
    if (err)
        return err;
    if (!inventory_halves_fit(fp, s->count)) {
        free(fp);
        return ERR_PROTO;
    }
    struct inventory_hash256 hash = inventory_hash256(v->pool, fp, s->count);
    if (proven && !inventory_hash256_equal(&hash, &s->head.hash)) {
        v->stats.bad_heads++;
        free(fp);
        return ERR_CORRUPT;
    }
    *out = inventory_table_find(v->pool, s->origin, s->epoch, s->n, &hash);
    if (*out == INVENTORY_NO_TABLE)
        err = inventory_table_new(v->pool, s->origin, s->epoch, s->n, fp, s->count, out);
    free(fp);
    return err;
}

static int take_snapshot(struct inventory *v, const struct snapshot *s, u64 now_ns)
{
    struct inventory_seat *seat = &v->seats[s->origin];
    if (s->epoch == 0)
        return ERR_PROTO;
    if (seat->flags & INVENTORY_SELF) {
        inventory_head_take(v, s->origin, s->epoch, &s->head, s->from, now_ns);
        return 0;
    }
    const struct inventory_table *t =
        seat->table == INVENTORY_NO_TABLE ? NULL : inventory_table_at(v, seat->table);
    bool doubt = seat->flags & INVENTORY_DOUBT;
    if (t && (s->epoch < t->epoch || (s->epoch == t->epoch && s->n <= seat->n && !doubt)))
        return 0; /* in doubt, older is better than wrong */
    if (s->n > INVENTORY_N_MAX || s->head.n > s->n)
        return ERR_PROTO;
    if (s->head.n != s->n && s->from != s->origin)
        return ERR_DENIED; /* unproven: only from the origin itself */
    if (!inventory_head_true(v, s->origin, s->epoch, &s->head))
        return ERR_DENIED;
    u16 i;
    int err = find_or_make(v, s, &i);
    if (err)
        return err;
    inventory_attach(v, s->origin, i, s->n);
    seat->flags &= (u8)~INVENTORY_DOUBT;
    v->stats.snapshots_received++;
    inventory_head_keep(inventory_table_at(v, i), &s->head);
    if (v->notes[s->origin].head_n < s->head.n + 1) {
        v->notes[s->origin].head_n = s->head.n + 1;
        inventory_log(v, i, s->head.n, (u16)(s->from | INVENTORY_LOG_HEAD));
    }
    return 0;
}

struct cursor {
    const u8 *p, *end;
    bool bad;
};

static u64 cursor_be(struct cursor *c, unsigned bytes)
{
    u64 v = 0;
    if (c->bad || (size_t)(c->end - c->p) < bytes) {
        c->bad = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | *c->p++;
    return v;
}

static const u8 *cursor_take(struct cursor *c, size_t len)
{
    if (c->bad || (size_t)(c->end - c->p) < len) {
        c->bad = true;
        return NULL;
    }
    const u8 *p = c->p;
    c->p += len;
    return p;
}

/* Was it asked for in this talk, and not answered yet? From now on it is. */
static bool asked_for(struct inventory *v, u32 id, u16 origin)
{
    for (u32 i = 0; i < v->n_wants; i++) {
        struct inventory_want *w = &v->wants[i];
        if (w->dial != id || w->origin != origin || w->answered)
            continue;
        w->answered = true;
        return true;
    }
    return false;
}

static int take_entry(struct inventory *v, struct cursor *c, u32 id, u16 from, u64 now_ns)
{
    struct inventory_items items = {.from = from, .entry = true};
    u64 bad_heads = v->stats.bad_heads;
    struct snapshot s = {.from = from};
    u64 place = cursor_be(c, 8);
    s.origin = inventory_name_find(v->pool, place);
    s.epoch = cursor_be(c, 8);
    unsigned kind = (unsigned)cursor_be(c, 1);
    if (kind == ENTRY_SNAPSHOT) {
        s.n = (u32)cursor_be(c, 4);
        s.count = (u32)cursor_be(c, 4);
        s.size = cursor_be(c, 4);
        s.bits = cursor_take(c, s.size);
        const u8 *head = cursor_take(c, INVENTORY_HEAD_BODY);
        if (head)
            inventory_head_get(head, &s.head);
    } else if (kind != ENTRY_DELTA) {
        return ERR_PROTO;
    }
    items.len = cursor_be(c, 4);
    items.p = cursor_take(c, items.len);
    if (c->bad)
        return ERR_PROTO;
    if (s.origin == INVENTORY_NONE || !inventory_seat_up(v, s.origin))
        return 0; /* went down meanwhile */
    if (!asked_for(v, id, s.origin))
        return 0;
    items.origin = s.origin;
    int err = kind == ENTRY_SNAPSHOT ? take_snapshot(v, &s, now_ns) : 0;
    if (!err)
        err = inventory_items_read(v, &items, now_ns);
    if (!err)
        inventory_pending_retry(v, s.origin, now_ns);
    if (v->stats.bad_heads > bad_heads)
        return ERR_PROTO; /* each costs a verification, and who tells the truth has none */
    return err == ERR_PROTO ? err : 0; /* one that is not believed says nothing of the others */
}

/* Those that the talk did not meet are asked of others: the origin itself, then whoever is near.
 * Who has more to say is asked again at once, if it met any. */
static void settle(struct inventory *v, u32 id, bool more, u64 now_ns)
{
    bool met = false;
    for (u32 i = 0; more && i < v->n_wants; i++)
        met |= v->wants[i].dial == id && inventory_want_met(v, &v->wants[i]);
    more = more && met;
    for (u32 i = v->n_wants; i > 0; i--) {
        struct inventory_want *w = &v->wants[i - 1];
        if (w->dial != id)
            continue;
        w->dial = 0;
        if (inventory_want_met(v, w)) {
            inventory_want_remove(v, i - 1);
            continue;
        }
        w->due_ns = now_ns;
        if (more)
            continue;
        w->due_ns += RETRY_NS << (w->tries < 5 ? w->tries : 5);
        w->source = w->tries == 0 ? w->origin : (u16)INVENTORY_NONE;
        w->tries++;
    }
    inventory_wants_expire(v, now_ns);
}

void inventory_dialed(struct inventory *v, u32 id, int err, struct wire_in *answer, u64 now_ns)
{
    struct inventory_dial *d = NULL;
    bool more = false;
    for (u32 i = 0; i < INVENTORY_DIALS; i++)
        if (id != 0 && v->dials[i].id == id)
            d = &v->dials[i];
    if (!d)
        return;
    u16 from = d->to;
    *d = (struct inventory_dial){0};
    if (!err) {
        size_t len;
        u32 n = wire_get_array(answer, 16);
        u64 number = wire_get_u64(answer);
        more = wire_get_bool(answer);
        const u8 *p = wire_get_bin(answer, LIMIT_TALK_BYTES, &len);
        struct cursor c = {.p = p, .end = p ? p + len : p};
        if (!wire_ok(answer) || n < 3 || number != MSG_INVENTORY_FETCHED)
            err = ERR_PROTO;
        while (!err && c.p < c.end)
            err = take_entry(v, &c, id, from, now_ns);
        more = more && !err;
        if (err)
            v->stats.malformed++;
    }
    settle(v, id, more, now_ns);
}

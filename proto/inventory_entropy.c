/* inventory_entropy.c - comparing with one member at random, against all that the tree let slip.
 *
 *     ASK [fresh, hash]                   a hash over all (origin, epoch, version)
 *     VECTOR [first group, bytes]         the answer if theirs differs: a byte per origin
 *     WANT [origin, epoch, version ...]   what the asker lacks: "I have these so far"
 *     OPS [items]                         ops; or a head or FAR, where ops do not reach
 *
 * Under churn two hashes always differ, by ops that the tree brings within a second anyway. So the
 * bytes are those of two rounds ago (2 to 4 s), and only who lacks something that old asks for it:
 * each pulls for itself. A new link compares versions as they are (`fresh`).
 *
 * The byte is 0 where there is no table, else 1 + (version + epoch's tag) mod 255; who is at most
 * 127 behind sees by how much, others see it in one of two rounds. Origins stand in order of place
 * in 16 groups, each with its count and a hash of who is in it: members that one side does not know
 * cost their group alone, which is then asked for by name. */
#include "proto/inventory_impl.h"

#include <assert.h>
#include <string.h>

#define GROUPS        16u
#define GROUP_HEAD    4u
#define BYTES_MOD     INVENTORY_BYTES_MOD
#define TALK_BEHIND   16u /* further behind than this: by stream, which brings all of it */
#define WANTS_MESSAGE 56u /* of 20 bytes: one datagram */
#define ANSWER_MAX    8u  /* datagrams that answer one WANT */
#define DELTA_MAX     64u /* ops of one origin in it */
#define RETRY_NS      (1000 * INVENTORY_MS)
#define TRIES_MAX     8u
#define FRAME         16u /* of these messages, around their bytes */

static void put_be(u8 *at, u64 v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (u8)(v >> (8 * (bytes - 1 - i)));
}

static u64 get_be(const u8 *at, unsigned bytes)
{
    u64 v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | at[i];
    return v;
}

static bool send_bin(struct inventory *v, u16 to, unsigned number, const u8 *bytes, size_t len)
{
    u8 buf[LIMIT_DATAGRAM_BYTES];
    struct wire_out w;
    wire_out_init(&w, buf, v->datagram_max);
    wire_put_array(&w, 2);
    wire_put_u64(&w, number);
    wire_put_bin(&w, bytes, len);
    assert(!wire_full(&w));
    return inventory_queue(v, to, buf, w.len);
}

/* --- wants ----------------------------------------------------------------------------------- */

bool inventory_want_met(const struct inventory *v, const struct inventory_want *w)
{
    const struct inventory_seat *s = &v->seats[w->origin];
    if (!(s->flags & INVENTORY_UP))
        return true;
    if (s->table == INVENTORY_NO_TABLE || (s->flags & INVENTORY_DOUBT))
        return false;
    u64 epoch = inventory_table_at(v, s->table)->epoch;
    return epoch > w->epoch || (epoch == w->epoch && s->n >= w->n);
}

void inventory_want_remove(struct inventory *v, u32 i)
{
    v->seats[v->wants[i].origin].flags &= (u8)~INVENTORY_WANTED;
    v->wants[i] = v->wants[--v->n_wants];
}

void inventory_wants_forget(struct inventory *v, u16 o)
{
    for (u32 i = v->n_wants; i > 0; i--)
        if (v->wants[i - 1].origin == o)
            inventory_want_remove(v, i - 1);
}

/* Another reason to want the same: the greater aim, the sooner, from whom it is known to be. */
static void want_merge(struct inventory *v, const struct inventory_want *want)
{
    for (u32 i = 0; i < v->n_wants; i++) {
        struct inventory_want *w = &v->wants[i];
        if (w->origin != want->origin || w->dial)
            continue;
        if (want->due_ns < w->due_ns) {
            w->due_ns = want->due_ns;
            w->source = want->source;
        }
        w->talk |= want->talk;
        if (want->epoch > w->epoch || (want->epoch == w->epoch && want->n > w->n)) {
            w->epoch = want->epoch;
            w->n = want->n;
        }
    }
}

void inventory_want(struct inventory *v, const struct inventory_want *want)
{
    struct inventory_seat *s = &v->seats[want->origin];
    if (s->flags & INVENTORY_SELF)
        return;
    v->want_due_ns = inventory_min(v->want_due_ns, want->due_ns);
    if (s->flags & INVENTORY_WANTED) {
        want_merge(v, want);
        return;
    }
    if (v->n_wants == v->cap_wants) {
        u32 cap = v->cap_wants ? 2 * v->cap_wants : 16;
        void *wants = inventory_resize(&v->bytes, v->wants, v->cap_wants * sizeof(*v->wants),
                                       cap * sizeof(*v->wants));
        if (!wants)
            return; /* comparing vectors will find it again */
        v->wants = wants;
        v->cap_wants = cap;
    }
    s->flags |= INVENTORY_WANTED;
    v->wants[v->n_wants++] = *want;
}

void inventory_want_put(const struct inventory *v, u16 o, u8 at[INVENTORY_WANT_BYTES])
{
    const struct inventory_seat *s = &v->seats[o];
    /* Of ourselves we know all but what we forgot: what is asked for is the newest head. */
    bool any = s->table != INVENTORY_NO_TABLE && !(s->flags & (INVENTORY_DOUBT | INVENTORY_SELF));
    put_be(at, v->pool->names[o].place, 8);
    put_be(at + 8, any ? inventory_table_at(v, s->table)->epoch : 0, 8);
    put_be(at + 16, any ? s->n : 0, 4);
}

void inventory_want_get(const u8 at[INVENTORY_WANT_BYTES], struct inventory_wanted *w)
{
    *w = (struct inventory_wanted){
        .place = get_be(at, 8), .epoch = get_be(at + 8, 8), .n = (u32)get_be(at + 16, 4)};
}

/* Rows of wants to one peer, sent when full. */
struct row {
    u16 to;
    size_t len;
    u8 bytes[WANTS_MESSAGE * INVENTORY_WANT_BYTES];
};

static void row_send(struct inventory *v, struct row *r)
{
    if (r->len > 0)
        send_bin(v, r->to, MSG_INVENTORY_WANT, r->bytes, r->len);
    r->len = 0;
}

static size_t row_max(const struct inventory *v)
{
    size_t n = (v->datagram_max - FRAME) / INVENTORY_WANT_BYTES * INVENTORY_WANT_BYTES;
    struct row *r;
    return n < sizeof(r->bytes) ? n : sizeof(r->bytes);
}

static void row_add(struct inventory *v, struct row *r, u16 to, u16 o)
{
    if (r->to != to || r->len + INVENTORY_WANT_BYTES > row_max(v))
        row_send(v, r);
    r->to = to;
    inventory_want_put(v, o, r->bytes + r->len);
    r->len += INVENTORY_WANT_BYTES;
}

void inventory_wants_expire(struct inventory *v, u64 now_ns)
{
    struct row row = {.to = INVENTORY_NONE};
    for (u32 i = v->n_wants; i > 0; i--) {
        struct inventory_want *w = &v->wants[i - 1];
        if (w->dial)
            continue;
        if (inventory_want_met(v, w) || w->tries > TRIES_MAX) {
            inventory_want_remove(v, i - 1);
            continue;
        }
        if (w->talk || w->due_ns > now_ns)
            continue;
        const struct inventory_seat *s = &v->seats[w->origin];
        if (s->table == INVENTORY_NO_TABLE || w->tries > 2 ||
            inventory_table_at(v, s->table)->epoch != w->epoch || w->n - s->n > TALK_BEHIND) {
            w->talk = true; /* inventory_dial() takes it */
            continue;
        }
        if (!inventory_seat_up(v, w->source))
            w->source = inventory_near(v, v->dial_turn++);
        if (w->source != INVENTORY_NONE)
            row_add(v, &row, w->source, w->origin);
        w->tries++;
        w->due_ns = now_ns + RETRY_NS;
        if (w->tries > 1)
            w->source = INVENTORY_NONE;
    }
    row_send(v, &row);
    v->want_due_ns = inventory_talk_due(v);
    for (u32 i = 0; i < v->n_wants; i++)
        if (!v->wants[i].talk)
            v->want_due_ns = inventory_min(v->want_due_ns, v->wants[i].due_ns);
}

/* --- comparing ------------------------------------------------------------------------------- */

static u8 byte_now(const struct inventory_seat *s)
{
    u32 sum = s->n % BYTES_MOD + s->tag;
    if (s->table == INVENTORY_NO_TABLE)
        return 0;
    return (u8)(1 + (sum < BYTES_MOD ? sum : sum - BYTES_MOD));
}

static unsigned group_of(const struct inventory *v, u32 at)
{
    return (unsigned)(v->pool->names[v->order[at]].place >> 60);
}

/* The members of one group from `at` on; a hash of who they are. */
static u32 group_end(const struct inventory *v, u32 at, unsigned group, u16 *hash)
{
    u32 h = 0;
    for (; at < v->n_order && group_of(v, at) == group; at++)
        h = (h ^ (u32)v->pool->names[v->order[at]].place) * 0x9e3779b1u;
    *hash = (u16)(h >> 16);
    return at;
}

void inventory_ask(struct inventory *v, u16 peer, bool fresh)
{
    u8 buf[64];
    struct wire_out w;
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_array(&w, 3);
    wire_put_u64(&w, MSG_INVENTORY_ASK);
    wire_put_bool(&w, fresh);
    wire_put_u64(&w, v->hash);
    inventory_queue(v, peer, buf, w.len);
}

void inventory_ask_proof(struct inventory *v, u16 peer)
{
    struct row row = {.to = peer};
    row_add(v, &row, peer, v->me);
    row_send(v, &row);
}

/* What each seat was at in this round. Where nothing was written for two rounds, nothing is new. */
static void note_bytes(struct inventory *v)
{
    if (v->hash != v->hash_then[0] || v->hash != v->hash_then[1])
        for (u32 o = 0; o < v->cap_seats; o++) {
            const struct inventory_seat *s = &v->seats[o];
            if (!(s->flags & INVENTORY_UP))
                continue;
            v->then[1][o] = v->then[0][o];
            v->then[0][o] = byte_now(s);
        }
    v->hash_then[1] = v->hash_then[0];
    v->hash_then[0] = v->hash;
}

void inventory_entropy_expire(struct inventory *v, u64 now_ns)
{
    note_bytes(v);
    v->entropy_due_ns = now_ns + v->entropy_ns;
    if (v->n_order < 2)
        return;
    u16 o = v->order[rng_below(&v->rng, v->n_order)];
    if (o == v->me)
        o = v->order[rng_below(&v->rng, v->n_order)];
    if (o == v->me)
        return;
    v->stats.anti_entropy_rounds++;
    inventory_ask(v, o, false);
}

static void send_vector(struct inventory *v, u16 to, unsigned first, const u8 *bytes, size_t len)
{
    u8 buf[LIMIT_DATAGRAM_BYTES];
    struct wire_out w;
    wire_out_init(&w, buf, v->datagram_max);
    wire_put_array(&w, 3);
    wire_put_u64(&w, MSG_INVENTORY_VECTOR);
    wire_put_u64(&w, first);
    wire_put_bin(&w, bytes, len);
    assert(!wire_full(&w));
    inventory_queue(v, to, buf, w.len);
}

static int read_ask(struct inventory *v, u16 from, struct wire_in *msg)
{
    bool fresh = wire_get_bool(msg);
    u64 hash = wire_get_u64(msg);
    if (!wire_ok(msg))
        return ERR_PROTO;
    if (hash == v->hash)
        return 0;
    u8 bytes[LIMIT_DATAGRAM_BYTES];
    size_t len = 0, room = v->datagram_max - FRAME;
    unsigned first = 0;
    u32 at = 0;
    for (unsigned g = 0; g < GROUPS; g++) {
        u16 who;
        u32 end = group_end(v, at, g, &who), n = end - at;
        if (len + GROUP_HEAD + n > room) {
            send_vector(v, from, first, bytes, len);
            first = g;
            len = 0;
        }
        if (GROUP_HEAD + n > room)
            n = 0; /* chosen keys: nobody has so many in one group by chance */
        put_be(bytes + len, n, 2);
        put_be(bytes + len + 2, who, 2);
        len += GROUP_HEAD;
        for (u32 k = 0; k < n; k++) {
            u16 o = v->order[at + k];
            bytes[len++] = fresh ? byte_now(&v->seats[o]) : v->then[1][o];
        }
        at = end;
    }
    send_vector(v, from, first, bytes, len);
    return 0;
}

/* One group: what they have and we lack. True: every byte is the same. */
static bool compare(struct inventory *v, struct row *row, u32 at, const u8 *bytes, u32 n,
                    u64 now_ns)
{
    bool same = true;
    for (u32 k = 0; k < n; k++) {
        u16 o = v->order[at + k];
        const struct inventory_seat *s = &v->seats[o];
        u8 mine = byte_now(s), theirs = bytes[k];
        same &= mine == theirs;
        if (mine == theirs || theirs == 0)
            continue;
        if (mine == 0) {
            if (!(s->flags & INVENTORY_WANTED))
                inventory_want(v,
                               &(struct inventory_want){
                                   .origin = o, .source = row->to, .talk = true, .due_ns = now_ns});
        } else if ((theirs + BYTES_MOD - mine) % BYTES_MOD <= BYTES_MOD / 2) {
            row_add(v, row, row->to, o);
        }
    }
    return same;
}

static u32 group_begin(const struct inventory *v, unsigned group)
{
    u32 at = 0;
    while (at < v->n_order && group_of(v, at) < group)
        at++;
    return at;
}

/* Who is in a group is not agreed on: by name then, one such group of each datagram. Likewise where
 * all bytes are the same, from the first group to the last: the hashes were not, so that one of 255
 * hides a difference. */
static int read_vector(struct inventory *v, u16 from, struct wire_in *msg, u64 now_ns)
{
    unsigned g = (unsigned)wire_get_max(msg, GROUPS - 1);
    size_t len;
    const u8 *p = wire_get_bin(msg, LIMIT_DATAGRAM_BYTES, &len);
    if (!wire_ok(msg))
        return ERR_PROTO;
    struct row row = {.to = from};
    struct inventory_alike *a = &v->alike;
    unsigned differ = 0, chosen = GROUPS;
    u16 who;
    if (g == 0)
        *a = (struct inventory_alike){.from = from};
    else if (a->from != from || a->next != g)
        a->from = INVENTORY_NONE;
    for (u32 at = group_begin(v, g); g < GROUPS && len > 0; g++) {
        u32 end = group_end(v, at, g, &who);
        u32 n = len >= GROUP_HEAD ? (u32)get_be(p, 2) : 0;
        if (len < GROUP_HEAD + n)
            return ERR_PROTO;
        bool known = n == end - at && get_be(p + 2, 2) == who;
        if (!known || !compare(v, &row, at, p + GROUP_HEAD, n, now_ns))
            a->from = INVENTORY_NONE;
        else if (n > 0 && a->from == from && rng_below(&v->rng, ++a->seen) == 0)
            a->chosen = (u8)g;
        if (!known && n > 0 && rng_below(&v->rng, ++differ) == 0)
            chosen = g;
        p += GROUP_HEAD + n;
        len -= GROUP_HEAD + n;
        at = end;
    }
    a->next = (u8)g;
    if (g == GROUPS && a->from == from && a->seen > 0)
        chosen = a->chosen;
    if (chosen < GROUPS) {
        u32 at = group_begin(v, chosen), end = group_end(v, at, chosen, &who);
        for (; at < end; at++)
            row_add(v, &row, from, v->order[at]);
    }
    row_send(v, &row);
    return 0;
}

/* --- answering ------------------------------------------------------------------------------- */

struct answer {
    u16 to;
    unsigned sent;
    size_t len;
    u8 items[LIMIT_DATAGRAM_BYTES];
};

static void answer_send(struct inventory *v, struct answer *a)
{
    if (a->len > 0) {
        v->stats.deltas_sent += send_bin(v, a->to, MSG_INVENTORY_OPS, a->items, a->len);
        a->sent++;
    }
    a->len = 0;
}

static void answer_add(struct inventory *v, struct answer *a, const u8 *item, size_t len)
{
    if (a->len + len > v->datagram_max - FRAME)
        answer_send(v, a);
    memcpy(a->items + a->len, item, len);
    a->len += len;
}

void inventory_tell_own(struct inventory *v, u16 to)
{
    struct answer a = {.to = to};
    const struct inventory_seat *s = &v->seats[v->me];
    const struct inventory_table *t = inventory_table_at(v, s->table);
    const struct inventory_head *h = inventory_head_at(t, s->n);
    u8 item[INVENTORY_HEAD_BYTES];
    size_t len = h ? inventory_item_head(v, t, h, item) : inventory_item_far(v, v->me, item);
    answer_add(v, &a, item, len);
    answer_send(v, &a);
}

static void answer_one(struct inventory *v, struct answer *a, const struct inventory_wanted *want,
                       u64 now_ns)
{
    u16 o = inventory_name_find(v->pool, want->place);
    u8 item[INVENTORY_HEAD_BYTES];
    if (o == INVENTORY_NONE || !inventory_seat_up(v, o))
        return;
    const struct inventory_seat *s = &v->seats[o];
    const struct inventory_table *t =
        s->table == INVENTORY_NO_TABLE ? NULL : inventory_table_at(v, s->table);
    if (t && t->epoch == want->epoch && s->n == want->n)
        return;
    if (!t || want->epoch > t->epoch || (want->epoch == t->epoch && want->n > s->n)) {
        /* The asker is ahead. Of our own table nobody can be: let it prove that. */
        if (s->flags & INVENTORY_SELF)
            inventory_own_accused(v, a->to, now_ns);
        else if (want->epoch > 0)
            inventory_want(v, &(struct inventory_want){.origin = o,
                                                       .source = a->to,
                                                       .epoch = want->epoch,
                                                       .n = want->n,
                                                       .due_ns = now_ns + RETRY_NS});
        return;
    }
    const struct inventory_head *h = inventory_head_at(t, s->n);
    if (want->epoch == t->epoch && want->n >= t->reach && s->n - want->n <= DELTA_MAX) {
        for (u32 n = want->n; n < s->n; n++)
            answer_add(v, a, item, inventory_item_op(v, t, n + 1, true, item));
        if (h && h->n > want->n) /* it may have passed by while these were missing */
            answer_add(v, a, item, inventory_item_head(v, t, h, item));
        return;
    }
    if (h && want->epoch != t->epoch)
        answer_add(v, a, item, inventory_item_head(v, t, h, item));
    else
        answer_add(v, a, item, inventory_item_far(v, o, item));
}

static int read_want(struct inventory *v, u16 from, struct wire_in *msg, u64 now_ns)
{
    size_t len;
    const u8 *p = wire_get_bin(msg, LIMIT_DATAGRAM_BYTES, &len);
    if (!wire_ok(msg) || len % INVENTORY_WANT_BYTES != 0)
        return ERR_PROTO;
    struct answer a = {.to = from};
    for (; len > 0 && a.sent < ANSWER_MAX; len -= INVENTORY_WANT_BYTES) {
        struct inventory_wanted want;
        inventory_want_get(p, &want);
        answer_one(v, &a, &want, now_ns);
        p += INVENTORY_WANT_BYTES;
    }
    answer_send(v, &a);
    return 0;
}

int inventory_entropy_read(struct inventory *v, u16 from, unsigned number, struct wire_in *msg,
                           u64 now_ns)
{
    struct inventory_items items = {.from = from};
    switch (number) {
    case MSG_INVENTORY_ASK: return read_ask(v, from, msg);
    case MSG_INVENTORY_VECTOR: return read_vector(v, from, msg, now_ns);
    case MSG_INVENTORY_WANT: return read_want(v, from, msg, now_ns);
    case MSG_INVENTORY_OPS:
        items.p = wire_get_bin(msg, LIMIT_DATAGRAM_BYTES, &items.len);
        return wire_ok(msg) ? inventory_items_read(v, &items, now_ns) : ERR_PROTO;
    default: return ERR_UNSUPPORTED;
    }
}

/* ledger_talk.c - see ledger.h: anti-entropy, and entries as bytes. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ledger_impl.h"

#define MARK_BYTES 8
#define MARKS_MAX  (LEDGER_BYTES_MAX / MARK_BYTES)
#define WANTED_MAX 2048 /* marks of one SWAP: their entries are more than one TAKE holds */
#define HEAD_BYTES 16
#define FIELDS     5

static_assert(HEAD_BYTES + LEDGER_GROUPS * MARK_BYTES < LEDGER_BYTES_MAX, "sums fit");
static_assert(WANTED_MAX * MARK_BYTES + LEDGER_GROUPS * 8 < LEDGER_BYTES_MAX / 2,
              "half is left for entries");
static_assert(1 + 1 + 3 + LEDGER_NAME_MAX + 2 + LEDGER_VALUE_MAX + 9 + 2 + LEDGER_ID_BYTES <=
                  LEDGER_ENTRY_BYTES,
              "an entry fits");

/* --- entries --------------------------------------------------------------------------------- */

static void put_entry(struct wire_out *w, const struct ledger_entry *e)
{
    wire_put_array(w, FIELDS);
    wire_put_u64(w, e->kind);
    wire_put_text(w, e->name);
    if (e->dead)
        wire_put_nil(w);
    else
        wire_put_text(w, e->value);
    wire_put_u64(w, e->counter);
    wire_put_bin(w, e->origin, sizeof(e->origin));
}

static bool get_entry(struct wire_in *in, struct ledger_entry *e)
{
    memset(e, 0, sizeof(*e));
    if (wire_get_array(in, FIELDS) != FIELDS)
        return false;
    e->kind = (enum ledger_kind)wire_get_max(in, LEDGER_REVOKED);
    wire_get_text(in, e->name, sizeof(e->name));
    e->dead = wire_ok(in) && wire_is_nil(in);
    if (!e->dead)
        wire_get_text(in, e->value, sizeof(e->value));
    e->counter = wire_get_u64(in);
    wire_get_exact(in, e->origin, sizeof(e->origin));
    return wire_ok(in) && ledger_entry_valid(e);
}

size_t ledger_pack(const struct ledger_entry *e, u8 out[LEDGER_ENTRY_BYTES])
{
    struct wire_out w;
    wire_out_init(&w, out, LEDGER_ENTRY_BYTES);
    put_entry(&w, e);
    assert(!wire_full(&w));
    return w.len;
}

int ledger_unpack(struct ledger_entry *e, const void *data, size_t len)
{
    struct wire_in in;
    wire_in_init(&in, data, len);
    if (get_entry(&in, e) && wire_left(&in) == 0)
        return 0;
    memset(e, 0, sizeof(*e));
    return ERR_PROTO;
}

/* --- what all messages have ------------------------------------------------------------------ */

static void begin(struct wire_out *w, u8 *out, enum ledger_talk type, u32 fields)
{
    wire_out_init(w, out, LEDGER_BYTES_MAX);
    wire_put_array(w, 2 + fields);
    wire_put_u64(w, LEDGER_TALK_VERSION);
    wire_put_u64(w, type);
}

static bool opens(struct wire_in *in, const void *data, size_t len, enum ledger_talk type,
                  u32 fields)
{
    wire_in_init(in, data, len);
    return len <= LEDGER_BYTES_MAX && wire_get_array(in, 2 + fields) == 2 + fields &&
           wire_get_u64(in) == LEDGER_TALK_VERSION && wire_get_u64(in) == type && wire_ok(in);
}

int ledger_talk_type(const void *data, size_t len)
{
    struct wire_in in;
    wire_in_init(&in, data, len);
    (void)wire_get_array(&in, 4);
    if (wire_get_u64(&in) != LEDGER_TALK_VERSION)
        return 0;
    u64 type = wire_get_max(&in, LEDGER_TAKE);
    return wire_ok(&in) ? (int)type : 0;
}

static u64 get_mark(const u8 *p)
{
    u64 v = 0;
    for (size_t i = 0; i < MARK_BYTES; i++)
        v |= (u64)p[i] << (8 * i);
    return v;
}

static void set_mark(u8 *p, u64 v)
{
    for (size_t i = 0; i < MARK_BYTES; i++)
        p[i] = (u8)(v >> (8 * i));
}

/* Arrays are counted before they are written: their length goes in afterwards, in two bytes. */
static size_t open_array(struct wire_out *w)
{
    static const u8 head[3] = {0xdc, 0, 0};
    size_t at = w->len;
    if (wire_room(w) < sizeof(head)) {
        w->full = true;
        return at;
    }
    memcpy(w->buf + at, head, sizeof(head));
    w->len += sizeof(head);
    return at;
}

static void close_array(struct wire_out *w, size_t at, size_t n)
{
    assert(n <= UINT16_MAX && !wire_full(w));
    w->buf[at + 1] = (u8)(n >> 8);
    w->buf[at + 2] = (u8)n;
}

/* The next group and its marks, groups in rising order. */
static bool get_group(struct wire_in *in, int *last, const u8 **marks, size_t *n)
{
    size_t len = 0;
    if (wire_get_array(in, 2) != 2)
        return false;
    u64 group = wire_get_max(in, LEDGER_GROUPS - 1);
    *marks = wire_get_bin(in, MARKS_MAX * MARK_BYTES, &len);
    if (!wire_ok(in) || len % MARK_BYTES != 0 || (int)group <= *last)
        return false;
    *last = (int)group;
    *n = len / MARK_BYTES;
    return true;
}

/* --- SUMS and HAVE --------------------------------------------------------------------------- */

size_t ledger_sums(const struct ledger *l, u8 *out)
{
    u8 sums[LEDGER_GROUPS * MARK_BYTES];
    struct wire_out w;
    for (size_t i = 0; i < LEDGER_GROUPS; i++)
        set_mark(sums + i * MARK_BYTES, l->sums[i]);
    begin(&w, out, LEDGER_SUMS, 1);
    wire_put_bin(&w, sums, sizeof(sums));
    assert(!wire_full(&w));
    return w.len;
}

/* All marks of a group, as many as fit. */
static size_t collect(const struct ledger *l, size_t group, u8 *marks, size_t max)
{
    size_t n = 0;
    for (size_t i = group * LEDGER_STRETCH; i < (group + 1) * LEDGER_STRETCH; i++)
        for (const struct ledger_record *r = l->buckets[i]; r && n < max; r = r->next)
            set_mark(marks + n++ * MARK_BYTES, r->mark);
    return n;
}

int ledger_have(const struct ledger *l, const void *sums, size_t len, u8 *out, size_t *out_len)
{
    u8 theirs[LEDGER_GROUPS * MARK_BYTES];
    static u8 marks[MARKS_MAX * MARK_BYTES];
    struct wire_in in;
    struct wire_out w;
    size_t n = 0;
    *out_len = 0;
    if (!opens(&in, sums, len, LEDGER_SUMS, 1))
        return ERR_PROTO;
    wire_get_exact(&in, theirs, sizeof(theirs));
    if (!wire_ok(&in) || wire_left(&in) > 0)
        return ERR_PROTO;
    begin(&w, out, LEDGER_HAVE, 1);
    size_t array = open_array(&w);
    for (size_t g = 0; g < LEDGER_GROUPS; g++) {
        if (get_mark(theirs + g * MARK_BYTES) == l->sums[g])
            continue;
        if (wire_room(&w) < HEAD_BYTES)
            break;
        size_t fit = (wire_room(&w) - HEAD_BYTES) / MARK_BYTES;
        size_t have = collect(l, g, marks, MARKS_MAX);
        if (have > fit && n > 0)
            break; /* whole, or the next time; one that never fits is cut */
        wire_put_array(&w, 2);
        wire_put_u64(&w, g);
        wire_put_bin(&w, marks, (have < fit ? have : fit) * MARK_BYTES);
        n++;
    }
    close_array(&w, array, n);
    *out_len = w.len;
    return 0;
}

/* --- SWAP ------------------------------------------------------------------------------------ */

static int by_mark(const void *a, const void *b)
{
    const u64 *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Marks of one group, theirs, and which of them are ours too. */
struct their_group {
    u64 marks[MARKS_MAX];
    bool ours[MARKS_MAX];
    size_t n;
};

static void load_group(struct their_group *t, const u8 *marks, size_t n)
{
    t->n = n;
    for (size_t i = 0; i < n; i++)
        t->marks[i] = get_mark(marks + i * MARK_BYTES);
    qsort(t->marks, n, sizeof(t->marks[0]), by_mark);
    memset(t->ours, 0, n * sizeof(t->ours[0]));
}

static bool has_mark(struct their_group *t, u64 mark)
{
    u64 *found = t->n ? bsearch(&mark, t->marks, t->n, sizeof(mark), by_mark) : NULL;
    if (found)
        t->ours[found - t->marks] = true;
    return found != NULL;
}

/* Writes what `g` of theirs is not ours; returns how many. */
static size_t put_wanted(struct wire_out *w, const struct ledger *l, int g, struct their_group *t,
                         size_t max)
{
    static u8 wanted[WANTED_MAX * MARK_BYTES];
    size_t n = 0, end = ((size_t)g + 1) * LEDGER_STRETCH;
    for (size_t i = (size_t)g * LEDGER_STRETCH; i < end; i++)
        for (const struct ledger_record *r = l->buckets[i]; r; r = r->next)
            (void)has_mark(t, r->mark);
    for (size_t i = 0; i < t->n && n < max; i++)
        if (!t->ours[i])
            set_mark(wanted + n++ * MARK_BYTES, t->marks[i]);
    if (n == 0)
        return 0;
    wire_put_array(w, 2);
    wire_put_u64(w, (u64)g);
    wire_put_bin(w, wanted, n * MARK_BYTES);
    return n;
}

/* Entries of group `g` whose mark is in `t` (or is not), as many as fit; how many. */
static size_t put_entries(struct wire_out *w, const struct ledger *l, int g, struct their_group *t,
                          bool in)
{
    size_t n = 0, end = ((size_t)g + 1) * LEDGER_STRETCH;
    for (size_t i = (size_t)g * LEDGER_STRETCH; i < end; i++)
        for (const struct ledger_record *r = l->buckets[i]; r; r = r->next) {
            struct ledger_entry e;
            if (has_mark(t, r->mark) != in || wire_room(w) < LEDGER_ENTRY_BYTES)
                continue;
            ledger_entry_of(r, &e);
            put_entry(w, &e);
            n++;
        }
    return n;
}

/* Walks the groups of `in` twice: what is wanted of each comes first, then entries. */
static bool put_swap(struct wire_out *w, const struct ledger *l, const struct wire_in *in, u32 n,
                     size_t *said)
{
    static struct their_group t; /* one thread: too large for a stack */
    struct wire_in pass = *in;
    size_t groups = 0, wanted = 0, entries = 0, array = open_array(w), len;
    const u8 *marks;
    int g = -1;
    for (u32 i = 0; i < n; i++) {
        if (!get_group(&pass, &g, &marks, &len))
            return false;
        load_group(&t, marks, len);
        size_t more = put_wanted(w, l, g, &t, WANTED_MAX - wanted);
        wanted += more;
        groups += more > 0;
    }
    if (wire_left(&pass) > 0)
        return false;
    close_array(w, array, groups);
    array = open_array(w);
    pass = *in;
    g = -1;
    for (u32 i = 0; i < n && get_group(&pass, &g, &marks, &len); i++) {
        load_group(&t, marks, len);
        entries += put_entries(w, l, g, &t, false);
    }
    close_array(w, array, entries);
    *said = wanted + entries;
    return true;
}

int ledger_swap(const struct ledger *l, const void *have, size_t len, u8 *out, size_t *out_len)
{
    struct wire_in in;
    struct wire_out w;
    size_t said = 0;
    *out_len = 0;
    if (!opens(&in, have, len, LEDGER_HAVE, 1))
        return ERR_PROTO;
    u32 n = wire_get_array(&in, LEDGER_GROUPS);
    begin(&w, out, LEDGER_SWAP, 2);
    if (!wire_ok(&in) || !put_swap(&w, l, &in, n, &said))
        return ERR_PROTO;
    *out_len = said > 0 ? w.len : 0;
    return 0;
}

/* --- TAKE ------------------------------------------------------------------------------------ */

int ledger_take(const struct ledger *l, const void *swap, size_t len, u8 *out, size_t *out_len)
{
    static struct their_group t; /* one thread: too large for a stack */
    struct wire_in in;
    struct wire_out w;
    size_t entries = 0, n_marks;
    const u8 *marks;
    int g = -1;
    *out_len = 0;
    if (!opens(&in, swap, len, LEDGER_SWAP, 2))
        return ERR_PROTO;
    u32 n = wire_get_array(&in, LEDGER_GROUPS);
    begin(&w, out, LEDGER_TAKE, 1);
    size_t array = open_array(&w);
    for (u32 i = 0; i < n; i++) {
        if (!get_group(&in, &g, &marks, &n_marks))
            return ERR_PROTO;
        load_group(&t, marks, n_marks);
        entries += put_entries(&w, l, g, &t, true);
    }
    if (!wire_ok(&in))
        return ERR_PROTO;
    close_array(&w, array, entries);
    *out_len = w.len;
    return 0;
}

/* --- reading entries ------------------------------------------------------------------------- */

int ledger_read(struct ledger_reader *r, const void *data, size_t len)
{
    bool swap = opens(&r->in, data, len, LEDGER_SWAP, 2);
    r->left = 0;
    if (!swap && !opens(&r->in, data, len, LEDGER_TAKE, 1))
        return ERR_PROTO;
    if (swap)
        wire_skip(&r->in);
    r->left = wire_get_array(&r->in, UINT16_MAX);
    return wire_ok(&r->in) ? 0 : ERR_PROTO;
}

bool ledger_next(struct ledger_reader *r, struct ledger_entry *e)
{
    if (r->left == 0 || !get_entry(&r->in, e)) {
        r->left = 0;
        return false;
    }
    r->left--;
    return true;
}

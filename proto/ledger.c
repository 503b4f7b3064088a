/* ledger.c - see ledger.h: the table. */
#include "proto/ledger.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ledger_impl.h"

static const size_t room[LEDGER_KINDS] = {LEDGER_DEAD_MAX, LEDGER_PROFILES_MAX, LEDGER_TEAMS_MAX,
                                          LEDGER_MEMBERS_MAX, LEDGER_REVOKED_MAX};

/* Where it is counted. */
static size_t class_of(const struct ledger_record *r)
{
    return r->dead ? 0 : r->kind;
}

static bool is_forgettable(size_t class)
{
    return class == 0 || class == LEDGER_REVOKED;
}

/* --- hashes ---------------------------------------------------------------------------------- */

/* SipHash under a key that is no secret: all trackers must find the same. */
static u64 hash(const void *data, size_t len)
{
    static const u8 key[crypto_shorthash_KEYBYTES] = "dray ledger";
    u8 out[crypto_shorthash_BYTES];
    u64 v = 0;
    crypto_shorthash(out, data, len, key);
    for (size_t i = 0; i < sizeof(out); i++)
        v |= (u64)out[i] << (8 * i);
    return v;
}

static u64 place_of(enum ledger_kind kind, const char *name)
{
    u8 text[LEDGER_NAME_MAX + 2];
    size_t n = strlen(name);
    text[0] = (u8)kind;
    memcpy(text + 1, name, n);
    return hash(text, n + 1);
}

static u64 mark_of(u64 place, const struct ledger_entry *e)
{
    u8 all[8 + 8 + LEDGER_ID_BYTES + 1];
    for (size_t i = 0; i < 8; i++) {
        all[i] = (u8)(place >> (8 * i));
        all[8 + i] = (u8)(e->counter >> (8 * i));
    }
    memcpy(all + 16, e->origin, LEDGER_ID_BYTES);
    all[16 + LEDGER_ID_BYTES] = e->dead;
    return hash(all, sizeof(all));
}

/* --- the table ------------------------------------------------------------------------------- */

static struct ledger_record **find(const struct ledger *l, u64 place, enum ledger_kind kind,
                                   const char *name)
{
    struct ledger_record **at =
        (struct ledger_record **)&l->buckets[place >> 50]; /* 14 bits: LEDGER_BUCKETS */
    static_assert(LEDGER_BUCKETS == 1 << 14, "see the shift");
    while (*at && ((*at)->place != place || (*at)->kind != kind || strcmp((*at)->text, name) != 0))
        at = &(*at)->next;
    return at;
}

static void take_out(struct ledger *l, struct ledger_record **at)
{
    struct ledger_record *r = *at;
    l->sums[ledger_group(r->place)] -= r->mark;
    l->counts[class_of(r)]--;
    *at = r->next;
    free(r);
}

static int put_in(struct ledger *l, u64 place, const struct ledger_entry *e)
{
    size_t n = strlen(e->name), v = e->dead ? 0 : strlen(e->value);
    struct ledger_record *r = calloc(1, sizeof(*r) + n + v + 2);
    if (!r)
        return ERR_NOMEM;
    r->place = place;
    r->mark = mark_of(place, e);
    r->counter = e->counter;
    memcpy(r->origin, e->origin, sizeof(r->origin));
    r->kind = (u8)e->kind;
    r->dead = e->dead;
    r->value_at = (u8)n; /* the NUL before it */
    memcpy(r->text, e->name, n);
    memcpy(r->text + n + 1, e->value, v);
    struct ledger_record **old = find(l, place, e->kind, e->name);
    if (*old)
        take_out(l, old);
    r->next = l->buckets[place >> 50];
    l->buckets[place >> 50] = r;
    l->sums[ledger_group(place)] += r->mark;
    l->counts[class_of(r)]++;
    return 0;
}

/* The oldest sixteenth, by age, of a class goes; at least one. A walk over all, once for many. */
static void make_room(struct ledger *l, size_t class)
{
    u64 least = UINT64_MAX, most = 0;
    for (size_t i = 0; i < LEDGER_BUCKETS; i++)
        for (const struct ledger_record *r = l->buckets[i]; r; r = r->next)
            if (class_of(r) == class) {
                least = r->counter < least ? r->counter : least;
                most = r->counter > most ? r->counter : most;
            }
    u64 until = least + (most - least) / 16;
    for (size_t i = 0; i < LEDGER_BUCKETS; i++)
        for (struct ledger_record **at = &l->buckets[i]; *at;)
            if (class_of(*at) == class && (*at)->counter <= until)
                take_out(l, at);
            else
                at = &(*at)->next;
    l->horizon[class] = until > l->horizon[class] ? until : l->horizon[class];
}

/* --- life ------------------------------------------------------------------------------------ */

int ledger_new(struct ledger **out, const u8 self[LEDGER_ID_BYTES])
{
    struct ledger *l = calloc(1, sizeof(*l));
    *out = l;
    if (!l)
        return ERR_NOMEM;
    memcpy(l->self, self, sizeof(l->self));
    return 0;
}

void ledger_del(struct ledger *l)
{
    for (size_t i = 0; l && i < LEDGER_BUCKETS; i++)
        while (l->buckets[i])
            take_out(l, &l->buckets[i]);
    free(l);
}

/* --- what is well-formed --------------------------------------------------------------------- */

bool ledger_name_valid(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if ((u8)name[i] <= ' ' || name[i] == 0x7f || name[i] == '/')
            return false;
    return n > 0 && n <= LEDGER_NAME_MAX;
}

static bool value_valid(const struct ledger_entry *e)
{
    size_t n = strlen(e->value);
    for (size_t i = 0; i < n; i++)
        if ((u8)e->value[i] <= ' ' || (u8)e->value[i] >= 0x7f)
            return false;
    bool empty = e->dead || e->kind == LEDGER_REVOKED;
    return n <= LEDGER_VALUE_MAX && (n == 0) == empty;
}

bool ledger_entry_valid(const struct ledger_entry *e)
{
    return e->kind >= LEDGER_PROFILE && e->kind <= LEDGER_REVOKED && ledger_name_valid(e->name) &&
           value_valid(e) && !(e->dead && e->kind == LEDGER_REVOKED);
}

/* --- versions -------------------------------------------------------------------------------- */

int ledger_stamp(struct ledger *l, struct ledger_entry *e, u64 now_ms)
{
    const struct ledger_record *have = *find(l, place_of(e->kind, e->name), e->kind, e->name);
    u64 limit = now_ms + LEDGER_AHEAD_MS, top = l->top < limit ? l->top : 0;
    top = top >= now_ms ? top + 1 : now_ms;
    if (have && have->counter >= top)
        top = have->counter + 1;
    if (top > limit)
        return ERR_AGAIN;
    l->top = top;
    e->counter = top;
    memcpy(e->origin, l->self, sizeof(e->origin));
    return 0;
}

static bool is_newer(const struct ledger_entry *e, const struct ledger_record *r)
{
    if (e->counter != r->counter)
        return e->counter > r->counter;
    return memcmp(e->origin, r->origin, sizeof(e->origin)) > 0;
}

/* Is this class' entry of that date over? */
static bool is_over(size_t class, u64 counter, u64 now_ms)
{
    u64 life = class == 0 ? LEDGER_DEAD_MS : LEDGER_REVOKED_MS;
    return is_forgettable(class) && counter < now_ms && now_ms - counter >= life;
}

bool ledger_has_room(const struct ledger *l, enum ledger_kind kind, size_t coming)
{
    return is_forgettable(kind) || l->counts[kind] + coming < room[kind];
}

int ledger_merge(struct ledger *l, const struct ledger_entry *e, u64 now_ms)
{
    if (!ledger_entry_valid(e) || e->counter > now_ms + LEDGER_AHEAD_MS)
        return ERR_INVAL;
    size_t class = e->dead ? 0 : e->kind;
    u64 place = place_of(e->kind, e->name);
    const struct ledger_record *have = *find(l, place, e->kind, e->name);
    if (have && !is_newer(e, have))
        return ERR_EXISTS;
    if (is_over(class, e->counter, now_ms) || e->counter <= l->horizon[class])
        return ERR_EXISTS;
    bool grows = !have || class_of(have) != class;
    if (grows && l->counts[class] >= room[class]) {
        if (!is_forgettable(class))
            return ERR_FULL;
        make_room(l, class);
        if (e->counter <= l->horizon[class])
            return ERR_EXISTS;
    }
    int rc = put_in(l, place, e);
    if (rc == 0 && e->counter > l->top)
        l->top = e->counter;
    return rc;
}

size_t ledger_expire(struct ledger *l, u64 now_ms, struct ledger_entry *gone, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < LEDGER_BUCKETS / 64; i++) {
        size_t bucket = (l->expire_at + i) % LEDGER_BUCKETS;
        for (struct ledger_record **at = &l->buckets[bucket]; *at;) {
            if (!is_over(class_of(*at), (*at)->counter, now_ms)) {
                at = &(*at)->next;
                continue;
            }
            if (n == max)
                return n; /* this stretch again, the next time */
            ledger_entry_of(*at, &gone[n++]);
            take_out(l, at);
        }
    }
    l->expire_at = (l->expire_at + LEDGER_BUCKETS / 64) % LEDGER_BUCKETS;
    return n;
}

/* --- looking --------------------------------------------------------------------------------- */

void ledger_entry_of(const struct ledger_record *r, struct ledger_entry *e)
{
    e->kind = (enum ledger_kind)r->kind;
    e->dead = r->dead;
    e->counter = r->counter;
    memcpy(e->origin, r->origin, sizeof(e->origin));
    snprintf(e->name, sizeof(e->name), "%s", r->text);
    snprintf(e->value, sizeof(e->value), "%s", r->text + r->value_at + 1);
}

const char *ledger_find(const struct ledger *l, enum ledger_kind kind, const char *name)
{
    if (strlen(name) > LEDGER_NAME_MAX)
        return NULL;
    const struct ledger_record *r = *find(l, place_of(kind, name), kind, name);
    return r && !r->dead ? r->text + r->value_at + 1 : NULL;
}

size_t ledger_count(const struct ledger *l, enum ledger_kind kind)
{
    return l->counts[kind];
}

size_t ledger_count_dead(const struct ledger *l)
{
    return l->counts[0];
}

bool ledger_each(const struct ledger *l, struct ledger_cursor *at, struct ledger_entry *e)
{
    for (; at->bucket < LEDGER_BUCKETS; at->bucket++, at->at = 0) {
        const struct ledger_record *r = l->buckets[at->bucket];
        for (size_t i = 0; r && i < at->at; i++)
            r = r->next;
        if (r) {
            at->at++;
            ledger_entry_of(r, e);
            return true;
        }
    }
    return false;
}

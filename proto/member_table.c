/* member_table.c - the list of members: a dense array to walk, two hash tables to look up, and per
 * bucket a sum that tells whether two nodes believe the same.
 *
 * Keys are chosen by their owners, so both tables mix in a random number. The sums do not: all
 * nodes must compute the same; who forges keys to hide a difference in one hides only itself. */
#include "proto/member_impl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_MIN 32

static u64 mix(u64 x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* --- a table of indices ---------------------------------------------------------------------- */

static int table_size(struct table *t, u32 cap)
{
    struct slot *slot = calloc(cap, sizeof(*slot));
    if (!slot)
        return ERR_NOMEM;
    for (u32 i = 0; i < t->cap; i++) {
        if (t->slot[i].value == 0)
            continue;
        u32 at = t->slot[i].hash & (cap - 1);
        while (slot[at].value != 0)
            at = (at + 1) & (cap - 1);
        slot[at] = t->slot[i];
    }
    member_table_fini(t);
    t->slot = slot;
    t->cap = cap;
    return 0;
}

void member_table_fini(struct table *t)
{
    free(t->slot);
    t->slot = NULL;
}

/* Room for one more. */
static int table_reserve(struct table *t)
{
    if (t->cap == 0)
        return table_size(t, TABLE_MIN);
    return 2 * (t->n + 1) > t->cap ? table_size(t, 2 * t->cap) : 0;
}

static void table_put(struct table *t, u32 hash, u32 index)
{
    assert(t->n + 1 < t->cap);
    u32 at = hash & (t->cap - 1);
    while (t->slot[at].value != 0)
        at = (at + 1) & (t->cap - 1);
    t->slot[at] = (struct slot){.hash = hash, .value = index + 1};
    t->n++;
}

static u32 table_at(const struct table *t, u32 hash, u32 index)
{
    u32 at = hash & (t->cap - 1);
    while (t->slot[at].hash != hash || t->slot[at].value != index + 1) {
        assert(t->slot[at].value != 0);
        at = (at + 1) & (t->cap - 1);
    }
    return at;
}

/* Takes one out and closes the gap, so that no mark is left (Knuth, volume 3, 6.4, algorithm R). */
static void table_take(struct table *t, u32 hash, u32 index)
{
    u32 gap = table_at(t, hash, index), at = gap;
    for (;;) {
        at = (at + 1) & (t->cap - 1);
        if (t->slot[at].value == 0)
            break;
        u32 home = t->slot[at].hash & (t->cap - 1);
        if (((at - home) & (t->cap - 1)) < ((at - gap) & (t->cap - 1)))
            continue;
        t->slot[gap] = t->slot[at];
        gap = at;
    }
    t->slot[gap].value = 0;
    t->n--;
}

/* --- finding --------------------------------------------------------------------------------- */

u64 peer_word(const struct peer *p)
{
    return p->word;
}

u64 self_word(const struct member *m)
{
    return m->word;
}

static u32 word_hash(const struct member *m, u64 word)
{
    return (u32)(mix(word ^ m->table_seed) >> 32);
}

static u32 name_hash(const struct member *m, const char *name)
{
    u64 h = m->table_seed;
    for (const char *p = name; *p; p++)
        h = (h ^ (u8)*p) * 0x100000001b3u;
    return (u32)(mix(h) >> 32);
}

struct peer *peer_by_word(const struct member *m, u64 word)
{
    const struct table *t = &m->by_word;
    if (word == self_word(m))
        return m->self;
    if (t->cap == 0)
        return NULL;
    u32 hash = word_hash(m, word);
    for (u32 at = hash & (t->cap - 1); t->slot[at].value != 0; at = (at + 1) & (t->cap - 1)) {
        if (t->slot[at].hash == hash && m->peers[t->slot[at].value - 1]->word == word)
            return m->peers[t->slot[at].value - 1];
    }
    return NULL;
}

const void *peer_place(const struct member *m, u64 word, unsigned step)
{
    const struct table *t = &m->by_word;
    if (t->cap == 0)
        return NULL;
    const struct slot *s = &t->slot[word_hash(m, word) & (t->cap - 1)];
    if (step == 0 || s->value == 0)
        return s;
    return step == 1 ? (const void *)&m->peers[s->value - 1] : m->peers[s->value - 1];
}

struct peer *peer_by_key(const struct member *m, const struct node_key *k)
{
    struct peer *p = peer_by_word(m, node_key_word(k));
    return p && node_key_equal(&p->rec.key, k) ? p : NULL;
}

struct peer *peer_by_name(const struct member *m, const char *name)
{
    const struct table *t = &m->by_name;
    if (t->cap == 0)
        return NULL;
    u32 hash = name_hash(m, name);
    for (u32 at = hash & (t->cap - 1); t->slot[at].value != 0; at = (at + 1) & (t->cap - 1)) {
        struct peer *p = m->peers[t->slot[at].value - 1];
        if (t->slot[at].hash == hash && strcmp(p->rec.name, name) == 0)
            return p;
    }
    return NULL;
}

/* --- one peer -------------------------------------------------------------------------------- */

static char *text_put(char **at, const char *text)
{
    size_t n = strlen(text) + 1;
    char *start = *at;
    memcpy(start, text, n);
    *at += n;
    return start;
}

int peer_make(struct peer **out, const struct heard *h, const char *region)
{
    const struct member_record *r = &h->rec;
    size_t texts = strlen(r->name) + strlen(r->rack) + strlen(r->public_url) + 3;
    size_t size =
        (offsetof(struct peer, text) + texts + h->extra_len + LINE_BYTES - 1) & ~(LINE_BYTES - 1ul);
    struct peer *p = aligned_alloc(LINE_BYTES, size);
    if (!p)
        return ERR_NOMEM;
    memset(p, 0, size);
    p->word = node_key_word(&r->key);
    char *at = p->text + h->extra_len;
    assert(h->extra_len <= EXTRA_MAX);
    p->rec = *r;
    p->rec.name = text_put(&at, r->name);
    p->rec.rack = text_put(&at, r->rack);
    p->rec.public_url = text_put(&at, r->public_url);
    p->rec.region = region;
    p->extra_len = (u8)h->extra_len;
    if (h->extra_len > 0)
        memcpy(p->text, h->extra, h->extra_len);
    p->sig = h->sig;
    p->body = record_body(r, h->extra, h->extra_len);
    coord_init(&p->coord);
    *out = p;
    return 0;
}

void peer_free(struct peer *p)
{
    if (!p)
        return;
    free(p->suspicion);
    free(p->verdict);
    free(p);
}

/* --- the list -------------------------------------------------------------------------------- */

unsigned peer_bucket(const struct node_key *k)
{
    return k->bytes[NODE_KEY_BYTES - 1] % BUCKETS;
}

/* What a living member adds to its bucket. */
static u64 peer_sum(const struct peer *p)
{
    u64 version = mix(p->rec.epoch) + 0x9e3779b97f4a7c15u * p->rec.incarnation;
    return mix(peer_word(p) + version + mix(p->body));
}

u32 bucket_sum(const struct member *m, unsigned bucket)
{
    u64 sum = m->bucket[bucket];
    if (peer_bucket(&m->self->rec.key) == bucket && !m->self->rec.left)
        sum ^= peer_sum(m->self);
    return (u32)(sum ^ sum >> 32);
}

bool is_living(const struct peer *p)
{
    return p->state == MEMBER_ALIVE || p->state == MEMBER_SUSPECT;
}

void peer_out(struct member *m, struct peer *p)
{
    m->counts[p->state]--;
    if (!is_living(p))
        return;
    m->bucket[peer_bucket(&p->rec.key)] ^= peer_sum(p);
    table_take(&m->by_name, name_hash(m, p->rec.name), p->index);
}

void peer_in(struct member *m, struct peer *p)
{
    m->counts[p->state]++;
    if (!is_living(p))
        return;
    m->bucket[peer_bucket(&p->rec.key)] ^= peer_sum(p);
    table_put(&m->by_name, name_hash(m, p->rec.name), p->index);
}

static int list_reserve(struct member *m)
{
    if (m->n_peers < m->cap_peers)
        return 0;
    u32 cap = m->cap_peers ? 2 * m->cap_peers : 16;
    struct peer **peers = realloc(m->peers, cap * sizeof(struct peer *));
    if (!peers)
        return ERR_NOMEM;
    m->peers = peers;
    m->cap_peers = cap;
    return 0;
}

/* The one that died longest ago makes room. */
static bool make_room(struct member *m)
{
    struct peer *oldest = NULL;
    for (u32 i = 0; i < m->n_peers; i++) {
        struct peer *p = m->peers[i];
        if (!is_living(p) && (!oldest || p->since_ns < oldest->since_ns))
            oldest = p;
    }
    if (oldest)
        peer_remove(m, oldest);
    return oldest != NULL;
}

int peer_add(struct member *m, struct peer *p)
{
    if (m->n_peers + 1 >= LIMIT_MEMBERS && !make_room(m))
        return ERR_FULL;
    /* Each of the tables may hold all, so that a move between states never needs memory. */
    while (m->by_name.cap < 2 * (m->n_peers + 2)) {
        int err = table_size(&m->by_name, m->by_name.cap ? 2 * m->by_name.cap : TABLE_MIN);
        if (err)
            return err;
    }
    int err = table_reserve(&m->by_word);
    if (!err)
        err = list_reserve(m);
    if (err)
        return err;
    p->index = m->n_peers++;
    m->peers[p->index] = p;
    table_put(&m->by_word, word_hash(m, peer_word(p)), p->index);
    peer_in(m, p);
    return 0;
}

void peer_swap(struct member *m, struct peer *old, struct peer *new_one)
{
    assert(node_key_equal(&old->rec.key, &new_one->rec.key) && !old->suspicion);
    news_drop(m, &old->news);
    peer_out(m, old);
    new_one->index = old->index;
    new_one->heard_ns = old->heard_ns;
    new_one->barred_until_ns = old->barred_until_ns;
    new_one->coord = old->coord;
    new_one->rtt_us = old->rtt_us;
    new_one->load = old->load;
    new_one->fetch_fails = old->fetch_fails;
    new_one->probe_fails = old->probe_fails;
    new_one->bar_level = old->bar_level;
    memcpy(new_one->key_ids, old->key_ids, sizeof(old->key_ids));
    m->peers[new_one->index] = new_one;
    peer_in(m, new_one);
    peer_free(old);
}

void peer_remove(struct member *m, struct peer *p)
{
    belief_clear(m, p);
    news_drop(m, &p->news);
    probe_forget(m, peer_word(p));
    peer_out(m, p);
    table_take(&m->by_word, word_hash(m, peer_word(p)), p->index);
    struct peer *last = m->peers[--m->n_peers];
    if (last != p) {
        u32 at = table_at(&m->by_word, word_hash(m, peer_word(last)), last->index);
        m->by_word.slot[at].value = p->index + 1;
        if (is_living(last)) {
            at = table_at(&m->by_name, name_hash(m, last->rec.name), last->index);
            m->by_name.slot[at].value = p->index + 1;
        }
        m->peers[p->index] = last;
        last->index = p->index;
    }
    peer_free(p);
}

static bool is_among(u64 word, const u64 *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (words[i] == word)
            return true;
    return false;
}

struct peer *peer_random(struct member *m, const u64 *without, size_t n)
{
    size_t living = m->counts[MEMBER_ALIVE] + m->counts[MEMBER_SUSPECT];
    if (living == 0)
        return NULL;
    u32 start = (u32)rng_below(&m->rng, m->n_peers);
    for (u32 i = 0; i < m->n_peers; i++) {
        /* Random places first; if most are dead, walk. */
        u32 at = i < 16 ? (u32)rng_below(&m->rng, m->n_peers) : (start + i) % m->n_peers;
        struct peer *p = m->peers[at];
        if (is_living(p) && !is_among(peer_word(p), without, n))
            return p;
    }
    return NULL;
}

/* strikes.c - see strikes.h. */
#include "proto/strikes.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET  4
#define BUCKETS 4096

struct offer {
    u8 key[16]; /* of (user, digest) */
    struct node_key node;
    struct addr from;
    u64 offered_ms, used_ms; /* used_ms 0: empty */
    unsigned alive, strikes;
    bool presented, failed;
};

struct struck {
    u8 key[16]; /* of (user, node) */
    u64 until_ms;
};

struct strikes {
    u8 hash_key[STRIKES_KEY_BYTES];
    u64 total;
    struct offer offers[BUCKETS * BUCKET];
    struct struck struck[BUCKETS * BUCKET];
};

int strikes_new(struct strikes **out, const u8 hash_key[STRIKES_KEY_BYTES])
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    memcpy((*out)->hash_key, hash_key, sizeof((*out)->hash_key));
    return 0;
}

void strikes_del(struct strikes *s)
{
    free(s);
}

static void key_of(const struct strikes *s, const u8 user[TICKET_USER_BYTES], const void *what,
                   size_t n, u8 out[16])
{
    u8 both[TICKET_USER_BYTES + DIGEST_BYTES_MAX];
    assert(n <= DIGEST_BYTES_MAX);
    memcpy(both, user, TICKET_USER_BYTES);
    memcpy(both + TICKET_USER_BYTES, what, n);
    crypto_shorthash_siphashx24(out, both, TICKET_USER_BYTES + n, s->hash_key);
}

static size_t bucket_of(const u8 key[16])
{
    u32 bits;
    memcpy(&bits, key, sizeof(bits));
    return bits % BUCKETS * BUCKET;
}

static struct offer *find(struct strikes *s, const u8 user[TICKET_USER_BYTES],
                          const struct digest *d, bool make, u64 now_ms)
{
    u8 key[16];
    key_of(s, user, d->bytes, digest_size(d->alg), key);
    struct offer *at = &s->offers[bucket_of(key)], *victim = at;
    for (int i = 0; i < BUCKET; i++) {
        if (at[i].used_ms && memcmp(at[i].key, key, sizeof(key)) == 0) {
            if (now_ms - at[i].used_ms < STRIKES_KEEP_MS)
                return &at[i];
            victim = &at[i];
            break;
        }
        if (at[i].used_ms < victim->used_ms)
            victim = &at[i];
    }
    if (!make)
        return NULL;
    memset(victim, 0, sizeof(*victim));
    memcpy(victim->key, key, sizeof(key));
    victim->used_ms = now_ms;
    return victim;
}

static void strike(struct strikes *s, const u8 user[TICKET_USER_BYTES], struct offer *o, u64 now_ms)
{
    u8 key[16];
    key_of(s, user, o->node.bytes, sizeof(o->node.bytes), key);
    struct struck *at = &s->struck[bucket_of(key)], *victim = at;
    for (int i = 0; i < BUCKET; i++) {
        if (memcmp(at[i].key, key, sizeof(key)) == 0) {
            victim = &at[i];
            break;
        }
        if (at[i].until_ms < victim->until_ms)
            victim = &at[i];
    }
    memcpy(victim->key, key, sizeof(key));
    victim->until_ms = now_ms + STRIKES_MS;
    s->total++;
    o->strikes++;
    o->failed = false;
    memset(&o->node, 0, sizeof(o->node));
}

unsigned strikes_asked(struct strikes *s, const u8 user[TICKET_USER_BYTES], const struct digest *d,
                       const struct addr *from, u64 now_ms)
{
    struct offer *o = find(s, user, d, false, now_ms);
    if (!o)
        return 0;
    bool silent = !o->presented && o->alive == 0 && now_ms - o->offered_ms >= STRIKES_WAIT_MS &&
                  addr_same_ip(&o->from, from);
    if (node_key_is_set(&o->node) && (o->failed || silent))
        strike(s, user, o, now_ms);
    return o->strikes;
}

void strikes_offered(struct strikes *s, const u8 user[TICKET_USER_BYTES], const struct digest *d,
                     const struct addr *from, const struct node_key *node, u64 now_ms)
{
    struct offer *o = find(s, user, d, true, now_ms);
    bool same = node_key_equal(&o->node, node);
    o->used_ms = now_ms;
    if (same && (!o->presented || o->alive > 0) && addr_same_ip(&o->from, from))
        return; /* the first of a row of requests counts */
    o->node = *node;
    o->from = *from;
    o->offered_ms = now_ms;
    o->presented = o->failed = false;
    if (!same)
        o->alive = 0;
}

void strikes_told(struct strikes *s, const struct node_key *node, const struct outcome *told,
                  u64 now_ms)
{
    struct offer *o = find(s, told->user, &told->digest, false, now_ms);
    if (!o || !node_key_equal(&o->node, node))
        return;
    o->presented = true;
    switch (told->event) {
    case OUTCOME_BEGAN: o->alive++; return;
    case OUTCOME_DONE: o->strikes = 0; break;
    case OUTCOME_FAILED: o->failed = true; break;
    case OUTCOME_LEFT: break;
    }
    if (o->alive > 0)
        o->alive--;
}

bool strikes_is_struck(const struct strikes *s, const u8 user[TICKET_USER_BYTES],
                       const struct node_key *node, u64 now_ms)
{
    u8 key[16];
    key_of(s, user, node->bytes, sizeof(node->bytes), key);
    const struct struck *at = &s->struck[bucket_of(key)];
    for (int i = 0; i < BUCKET; i++)
        if (memcmp(at[i].key, key, sizeof(key)) == 0 && now_ms < at[i].until_ms)
            return true;
    return false;
}

u64 strikes_total(const struct strikes *s)
{
    return s->total;
}

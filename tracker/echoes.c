/* echoes.c - see echoes.h. A chained table, and a list by age. */
#include "tracker/echoes.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096

struct echo {
    u8 key[16];
    u64 until_ms;
    size_t cost;
    struct answer answer;
    struct echo *chain, *newer, *older;
};

struct echoes {
    u64 bytes;
    struct echo *newest, *oldest;
    struct echo *buckets[BUCKETS];
};

int echoes_new(struct echoes **out)
{
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : ERR_NOMEM;
}

/* Keys are keyed hashes: their first bytes are as good as any. */
static struct echo **bucket_of(struct echoes *e, const u8 key[16])
{
    u32 bits;
    memcpy(&bits, key, sizeof(bits));
    return &e->buckets[bits % BUCKETS];
}

static void unlink_age(struct echoes *e, struct echo *k)
{
    *(k->newer ? &k->newer->older : &e->newest) = k->older;
    *(k->older ? &k->older->newer : &e->oldest) = k->newer;
}

static void link_age(struct echoes *e, struct echo *k)
{
    k->newer = NULL;
    k->older = e->newest;
    *(k->older ? &k->older->newer : &e->oldest) = k;
    e->newest = k;
}

static void wipe(struct answer *a)
{
    if (a->body)
        sodium_memzero(a->body, a->len);
    answer_fini(a);
}

static void drop(struct echoes *e, struct echo *k)
{
    struct echo **at = bucket_of(e, k->key);
    while (*at != k)
        at = &(*at)->chain;
    *at = k->chain;
    unlink_age(e, k);
    e->bytes -= k->cost;
    wipe(&k->answer);
    free(k);
}

void echoes_clear(struct echoes *e)
{
    while (e->oldest)
        drop(e, e->oldest);
}

void echoes_del(struct echoes *e)
{
    if (e)
        echoes_clear(e);
    free(e);
}

static struct echo *find(struct echoes *e, const u8 key[16])
{
    struct echo *k = *bucket_of(e, key);
    while (k && memcmp(k->key, key, sizeof(k->key)) != 0)
        k = k->chain;
    return k;
}

static size_t cost_of(const struct answer *a)
{
    size_t n = sizeof(struct echo) + a->cap + (a->n_fields + 1) * sizeof(*a->fields);
    for (size_t i = 0; i < a->n_fields; i++)
        n += strlen(a->fields[i].name) + strlen(a->fields[i].value) + 2;
    return n;
}

void echoes_take(struct echoes *e, const u8 key[16], struct answer *a, u64 until_ms)
{
    struct echo *k = find(e, key);
    size_t cost = cost_of(a);
    if (k)
        drop(e, k);
    if (cost > ECHOES_ONE_BYTES || !(k = calloc(1, sizeof(*k)))) {
        wipe(a);
        return;
    }
    while (e->oldest && e->bytes + cost > ECHOES_BYTES)
        drop(e, e->oldest);
    memcpy(k->key, key, sizeof(k->key));
    k->until_ms = until_ms;
    k->cost = cost;
    k->answer = *a;
    answer_init(a);
    struct echo **at = bucket_of(e, key);
    k->chain = *at;
    *at = k;
    link_age(e, k);
    e->bytes += cost;
}

const struct answer *echoes_recall(struct echoes *e, const u8 key[16], u64 now_ms)
{
    struct echo *k = find(e, key);
    if (!k)
        return NULL;
    if (now_ms >= k->until_ms) {
        drop(e, k);
        return NULL;
    }
    unlink_age(e, k);
    link_age(e, k);
    return &k->answer;
}

u64 echoes_bytes(const struct echoes *e)
{
    return e->bytes;
}

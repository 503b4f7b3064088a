/* rtts.c - see rtts.h. */
#include "proto/rtts.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define BUCKET   4
#define BUCKETS  16384
#define NETWORKS 65536

struct entry {
    u8 key[16];
    u64 at_ms; /* 0: empty */
    u32 rtt_us;
};

struct rtts {
    u8 hash_key[RTTS_KEY_BYTES];
    u8 known[NETWORKS / 8]; /* a bit for each network told of, and whatever falls together */
    struct entry entries[BUCKETS * BUCKET];
};

int rtts_new(struct rtts **out, const u8 hash_key[RTTS_KEY_BYTES])
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    memcpy((*out)->hash_key, hash_key, sizeof((*out)->hash_key));
    return 0;
}

void rtts_del(struct rtts *t)
{
    free(t);
}

static const struct entry *bucket_of(const struct rtts *t, const struct addr *prefix,
                                     const struct node_key *node, u8 key[16])
{
    u8 both[sizeof(prefix->ip) + sizeof(node->bytes)];
    u32 bits;
    memcpy(both, prefix->ip, sizeof(prefix->ip));
    memcpy(both + sizeof(prefix->ip), node->bytes, sizeof(node->bytes));
    crypto_shorthash_siphashx24(key, both, sizeof(both), t->hash_key);
    memcpy(&bits, key, sizeof(bits));
    return &t->entries[bits % BUCKETS * BUCKET];
}

static u32 network_of(const struct rtts *t, const struct addr *prefix)
{
    u64 h;
    crypto_shorthash((u8 *)&h, prefix->ip, sizeof(prefix->ip), t->hash_key);
    return h % NETWORKS;
}

bool rtts_knows(const struct rtts *t, const struct addr *prefix)
{
    u32 bit = network_of(t, prefix);
    return t->known[bit / 8] >> bit % 8 & 1;
}

static void told(struct rtts *t, const struct addr *prefix, const struct node_key *node, u32 rtt_us,
                 u64 now_ms)
{
    u8 key[16];
    u32 bit = network_of(t, prefix);
    t->known[bit / 8] |= (u8)(1u << bit % 8);
    struct entry *at = (struct entry *)bucket_of(t, prefix, node, key), *victim = at;
    for (int i = 0; i < BUCKET; i++) {
        if (at[i].at_ms && memcmp(at[i].key, key, sizeof(key)) == 0) {
            at[i].rtt_us = (u32)(((u64)at[i].rtt_us * 3 + rtt_us) / 4);
            at[i].at_ms = now_ms;
            return;
        }
        if (at[i].at_ms < victim->at_ms)
            victim = &at[i];
    }
    memcpy(victim->key, key, sizeof(key));
    victim->rtt_us = rtt_us;
    victim->at_ms = now_ms;
}

struct addr rtts_wider(const struct addr *prefix)
{
    struct addr a = *prefix;
    memset(a.ip + (addr_is_v4(prefix) ? 14 : 4), 0, addr_is_v4(prefix) ? 2 : 12);
    a.ip[15] = 1; /* a network itself has zeros there */
    return a;
}

void rtts_told(struct rtts *t, const struct addr *prefix, const struct node_key *node, u32 rtt_us,
               u64 now_ms)
{
    struct addr wider = rtts_wider(prefix);
    told(t, prefix, node, rtt_us, now_ms);
    told(t, &wider, node, rtt_us, now_ms);
}

u64 rtts_ns(const struct rtts *t, const struct addr *prefix, const struct node_key *node,
            u64 now_ms)
{
    u8 key[16];
    const struct entry *at = bucket_of(t, prefix, node, key);
    for (int i = 0; i < BUCKET; i++)
        if (at[i].at_ms && now_ms - at[i].at_ms < RTTS_KEEP_MS &&
            memcmp(at[i].key, key, sizeof(key)) == 0)
            return (u64)at[i].rtt_us * 1000;
    return 0;
}

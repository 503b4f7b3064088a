/* sticks.c - see sticks.h. */
#include "proto/sticks.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 8192

struct stick {
    u8 key[16];
    struct node_key node;
    u64 until_ms; /* 0: empty */
};

struct sticks {
    u8 hash_key[STICKS_KEY_BYTES];
    struct stick places[PLACES];
};

int sticks_new(struct sticks **out, const u8 hash_key[STICKS_KEY_BYTES])
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return ERR_NOMEM;
    memcpy((*out)->hash_key, hash_key, STICKS_KEY_BYTES);
    return 0;
}

void sticks_del(struct sticks *s)
{
    free(s);
}

static size_t place_of(const struct sticks *s, const struct sticks_whose *whose, u8 key[16])
{
    crypto_generichash_state st;
    u32 bits;
    crypto_generichash_init(&st, s->hash_key, sizeof(s->hash_key), 16);
    crypto_generichash_update(&st, whose->user, TICKET_USER_BYTES);
    crypto_generichash_update(&st, whose->from->ip, sizeof(whose->from->ip));
    crypto_generichash_update(&st, (const u8 *)whose->repository, strlen(whose->repository));
    crypto_generichash_final(&st, key, 16);
    memcpy(&bits, key, sizeof(bits));
    return bits % PLACES;
}

const struct node_key *sticks_find(const struct sticks *s, const struct sticks_whose *whose,
                                   u64 now_ms)
{
    u8 key[16];
    const struct stick *at = &s->places[place_of(s, whose, key)];
    return now_ms < at->until_ms && memcmp(at->key, key, sizeof(key)) == 0 ? &at->node : NULL;
}

void sticks_set(struct sticks *s, const struct sticks_whose *whose, const struct node_key *node,
                u64 now_ms)
{
    u8 key[16];
    struct stick *at = &s->places[place_of(s, whose, key)];
    memcpy(at->key, key, sizeof(key));
    at->node = *node;
    at->until_ms = now_ms + STICKS_MS;
}

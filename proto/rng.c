/* rng.c - xoshiro256** and how its seeds are made; see rng.h. */
#include "proto/rng.h"

#include <assert.h>
#include <string.h>

static u64 splitmix(u64 *state)
{
    u64 z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static u64 rotl(u64 x, int k)
{
    return (x << k) | (x >> (64 - k));
}

void rng_seed(struct rng *r, u64 seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix(&seed);
}

struct rng rng_split_n(const struct rng *parent, const char *purpose, u64 n)
{
    u64 h = 0xcbf29ce484222325u; /* FNV-1a of the purpose */
    for (const char *p = purpose; *p; p++)
        h = (h ^ (u8)*p) * 0x100000001b3u;
    u64 state = h ^ rotl(n, 32);
    struct rng out;
    for (int i = 0; i < 4; i++) {
        state ^= parent->s[i];
        out.s[i] = splitmix(&state);
    }
    return out;
}

struct rng rng_split(const struct rng *parent, const char *purpose)
{
    return rng_split_n(parent, purpose, 0);
}

u64 rng_u64(struct rng *r)
{
    u64 *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

u64 rng_below(struct rng *r, u64 bound)
{
    assert(bound > 0);
    u64 reject = -bound % bound; /* 2^64 mod bound: what would favour small numbers */
    for (;;) {
        u64 x = rng_u64(r);
        if (x >= reject)
            return x % bound;
    }
}

double rng_unit(struct rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

bool rng_chance(struct rng *r, double probability)
{
    return rng_unit(r) < probability;
}

void rng_bytes(struct rng *r, void *out, size_t len)
{
    u8 *p = out;
    while (len > 0) {
        u64 x = rng_u64(r);
        size_t n = len < sizeof(x) ? len : sizeof(x);
        for (size_t i = 0; i < n; i++)
            p[i] = (u8)(x >> (8 * i));
        p += n;
        len -= n;
    }
}

void rng_shuffle_u32(struct rng *r, u32 *v, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_below(r, i);
        u32 t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}

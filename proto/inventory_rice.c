/* inventory_rice.c - sorted fingerprints as Golomb-Rice coded gaps (as BIP 158's filters): 19 bits
 * each at 20,000.
 *
 * Each gap is its high part in unary (ones, ended by a zero), then `k` low bits; k follows from the
 * count alone, so it is not sent. Most significant bit first; the last byte is filled with zeros.
 * Equal fingerprints (two digests, one fingerprint) are gaps of nothing. */
#include "proto/inventory_impl.h"

#include <stdlib.h>

/* About log2 of 0.69 times the mean gap. */
static unsigned parameter(u32 len)
{
    u64 mean = ((1ull << 32) / (len ? len : 1)) * 69 / 100;
    unsigned k = 0;
    while (k < 31 && (2ull << k) <= mean)
        k++;
    return k;
}

struct bits {
    u8 *bytes;
    size_t len;
    u64 held;
    unsigned n;
};

static void put(struct bits *b, u64 value, unsigned n)
{
    b->held = b->held << n | value;
    b->n += n;
    while (b->n >= 8) {
        b->n -= 8;
        b->bytes[b->len++] = (u8)(b->held >> b->n);
    }
}

int inventory_rice_encode(const u32 *fp, u32 len, u8 **out, size_t *out_len)
{
    unsigned k = parameter(len);
    u64 last = 0, n_bits = 0;
    for (u32 i = 0; i < len; i++) {
        n_bits += ((fp[i] - last) >> k) + 1 + k;
        last = fp[i];
    }
    struct bits b = {.bytes = malloc(n_bits / 8 + 8)};
    if (!b.bytes)
        return ERR_NOMEM;
    last = 0;
    for (u32 i = 0; i < len; i++) {
        u64 gap = fp[i] - last, ones = gap >> k;
        for (; ones >= 32; ones -= 32)
            put(&b, 0xffffffffu, 32);
        put(&b, ((1ull << ones) - 1) << 1, (unsigned)ones + 1);
        put(&b, gap & ((1ull << k) - 1), k);
        last = fp[i];
    }
    if (b.n > 0)
        put(&b, 0, 8 - b.n);
    *out = b.bytes;
    *out_len = b.len;
    return 0;
}

struct reader {
    const u8 *p, *end;
    u64 held;
    unsigned n;
};

static void refill(struct reader *r)
{
    while (r->n <= 56 && r->p < r->end) {
        r->held |= (u64)*r->p++ << (56 - r->n);
        r->n += 8;
    }
}

static void drop(struct reader *r, unsigned n)
{
    r->held = n < 64 ? r->held << n : 0;
    r->n -= n;
}

static bool next_gap(struct reader *r, unsigned k, u64 *gap)
{
    u64 ones = 0;
    refill(r);
    while (r->n > 0 && ~r->held >> (64 - r->n) == 0) { /* nothing but ones */
        ones += r->n;
        drop(r, r->n);
        refill(r);
        if (ones > 1ull << 32)
            return false;
    }
    if (r->n == 0)
        return false;
    unsigned more = (unsigned)__builtin_clzll(~r->held);
    ones += more;
    drop(r, more + 1);
    refill(r);
    if (r->n < k)
        return false;
    *gap = ones << k | (k ? r->held >> (64 - k) : 0);
    drop(r, k);
    return ones <= 1ull << 32;
}

int inventory_rice_decode(const u8 *bytes, size_t size, u32 len, u32 **out)
{
    unsigned k = parameter(len);
    struct reader r = {.p = bytes, .end = bytes + size};
    u64 at = 0, gap;
    /* Each takes k + 1 bits at least: what cannot be there is not made room for. */
    if (len > LIMIT_INVENTORY_SLOTS || (u64)len * (k + 1) > 8ull * size)
        return ERR_PROTO;
    u32 *fp = malloc((len + 1ull) * sizeof(*fp));
    if (!fp)
        return ERR_NOMEM;
    for (u32 i = 0; i < len; i++) {
        if (!next_gap(&r, k, &gap) || (at += gap) > UINT32_MAX || at == 0) {
            free(fp);
            return ERR_PROTO;
        }
        fp[i] = (u32)at;
    }
    *out = fp;
    return 0;
}

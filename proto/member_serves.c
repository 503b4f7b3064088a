/* member_serves.c - what a node says of itself in the last field of its record: the networks that
 * it is near to, and how many layers it reads from registries.
 *
 * That field is a row of parts: tag, length, bytes. Tag 1 holds networks: a number, and as many
 * bytes of the prefix as it has. 0 to 128 is a prefix of IPv6, 129 + n one of n bits of IPv4. Tag 2
 * holds one byte: layers being read. Other tags are passed over: they are a later version's. */
#include <assert.h>
#include <string.h>

#include "proto/member_impl.h"

#define TAG_SERVES    1
#define TAG_FETCHES   2
#define FETCHES_BYTES 3
#define V4_BASE       129
#define V4_BITS       32

static const u8 v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static_assert(2 + MEMBER_SERVES_MAX * 17 + FETCHES_BYTES <= EXTRA_MAX, "they fit");

static bool is_v4(const struct member_network *n)
{
    return n->bits >= 96 && memcmp(n->ip, v4_prefix, sizeof(v4_prefix)) == 0;
}

size_t serves_pack(const struct member_network *n, size_t count, u8 out[EXTRA_MAX])
{
    size_t len = 2;
    if (count == 0)
        return 0;
    assert(count <= MEMBER_SERVES_MAX);
    for (size_t i = 0; i < count; i++) {
        bool v4 = is_v4(&n[i]);
        unsigned bits = v4 ? n[i].bits - 96u : n[i].bits, bytes = (bits + 7) / 8;
        assert(n[i].bits <= 128);
        out[len++] = (u8)(v4 ? V4_BASE + bits : bits);
        memcpy(out + len, n[i].ip + (v4 ? 12 : 0), bytes);
        len += bytes;
    }
    out[0] = TAG_SERVES;
    out[1] = (u8)(len - 2);
    return len;
}

static size_t unpack(const u8 *at, const u8 *end, struct member_network out[MEMBER_SERVES_MAX])
{
    size_t n = 0;
    while (at < end && n < MEMBER_SERVES_MAX) {
        bool v4 = *at >= V4_BASE;
        unsigned bits = v4 ? *at - (unsigned)V4_BASE : *at, bytes = (bits + 7) / 8;
        at++;
        if ((v4 && bits > V4_BITS) || (size_t)(end - at) < bytes)
            break; /* not of ours: what came before counts */
        out[n] = (struct member_network){.bits = (u8)(v4 ? 96 + bits : bits)};
        if (v4)
            memcpy(out[n].ip, v4_prefix, sizeof(v4_prefix));
        memcpy(out[n++].ip + (v4 ? 12 : 0), at, bytes);
        at += bytes;
    }
    return n;
}

/* The part of this tag; NULL: there is none that is whole. */
static const u8 *part(const struct member_view *v, u8 tag, size_t *len)
{
    for (size_t at = 0; at + 2 <= v->extra_len; at += 2u + v->extra[at + 1])
        if (v->extra[at] == tag && at + 2 + v->extra[at + 1] <= v->extra_len) {
            *len = v->extra[at + 1];
            return v->extra + at + 2;
        }
    return NULL;
}

size_t member_serves(const struct member_view *v, struct member_network out[MEMBER_SERVES_MAX])
{
    size_t len;
    const u8 *at = part(v, TAG_SERVES, &len);
    return at ? unpack(at, at + len, out) : 0;
}

size_t fetches_pack(u8 fetches, u8 *out, size_t room)
{
    assert(fetches <= MEMBER_FETCHES_MAX && room >= FETCHES_BYTES);
    if (fetches == 0)
        return 0;
    out[0] = TAG_FETCHES;
    out[1] = 1;
    out[2] = fetches;
    return FETCHES_BYTES;
}

u8 member_fetches(const struct member_view *v)
{
    size_t len;
    const u8 *at = part(v, TAG_FETCHES, &len);
    u8 said = at && len > 0 ? at[0] : 0;
    return said < MEMBER_FETCHES_MAX ? said : MEMBER_FETCHES_MAX;
}

bool member_network_has(const struct member_network *n, const struct addr *a)
{
    size_t whole = n->bits / 8;
    unsigned rest = n->bits % 8;
    if (memcmp(n->ip, a->ip, whole) != 0)
        return false;
    return rest == 0 || ((n->ip[whole] ^ a->ip[whole]) >> (8 - rest)) == 0;
}

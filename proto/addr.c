/* addr.c - addresses as text (RFC 5952 for what is written; what is read may be any RFC 4291 form
 * without a zone). */
#include "proto/addr.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const u8 V4_PREFIX[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct addr addr_v4(u8 a, u8 b, u8 c, u8 d, u16 port)
{
    struct addr out = {.port = port};
    memcpy(out.ip, V4_PREFIX, sizeof(V4_PREFIX));
    out.ip[12] = a;
    out.ip[13] = b;
    out.ip[14] = c;
    out.ip[15] = d;
    return out;
}

bool addr_is_v4(const struct addr *a)
{
    return memcmp(a->ip, V4_PREFIX, sizeof(V4_PREFIX)) == 0;
}

bool addr_is_set(const struct addr *a)
{
    static const u8 none[16];
    return a->port != 0 && memcmp(a->ip, none, sizeof(none)) != 0;
}

unsigned addr_common_bits(const struct addr *a, const struct addr *b)
{
    bool v4 = addr_is_v4(a);
    if (v4 != addr_is_v4(b))
        return 0;
    unsigned first = v4 ? 12 : 0, bits = 0;
    for (unsigned i = first; i < 16; i++) {
        u8 differ = a->ip[i] ^ b->ip[i];
        if (differ == 0) {
            bits += 8;
            continue;
        }
        for (u8 mask = 0x80; (differ & mask) == 0; mask >>= 1)
            bits++;
        break;
    }
    return bits;
}

/* --- reading --------------------------------------------------------------------------------- */

struct reader {
    const char *p, *end;
};

static bool take(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* A decimal number without leading zeros, at most `max`. */
static bool take_decimal(struct reader *r, unsigned max, unsigned *out)
{
    const char *start = r->p;
    unsigned n = 0;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9') {
        n = n * 10 + (unsigned)(*r->p++ - '0');
        if (n > max)
            return false;
    }
    *out = n;
    return r->p > start && (r->p - start == 1 || *start != '0');
}

static bool take_v4(struct reader *r, u8 out[4])
{
    for (int i = 0; i < 4; i++) {
        unsigned octet;
        if ((i > 0 && !take(r, '.')) || !take_decimal(r, 255, &octet))
            return false;
        out[i] = (u8)octet;
    }
    return true;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool take_group(struct reader *r, u8 out[2])
{
    unsigned n = 0, digits = 0;
    for (; r->p < r->end && hex_value(*r->p) >= 0; digits++) {
        if (digits == 4)
            return false;
        n = n * 16 + (unsigned)hex_value(*r->p++);
    }
    out[0] = (u8)(n >> 8);
    out[1] = (u8)n;
    return digits > 0;
}

/* Is what comes next an IPv4 tail, up to the closing bracket? */
static bool has_dot(const struct reader *r)
{
    for (const char *p = r->p; p < r->end && *p != ']' && *p != ':'; p++)
        if (*p == '.')
            return true;
    return false;
}

/* "8 groups", with at most one "::" and perhaps an IPv4 tail. */
static bool take_v6(struct reader *r, u8 ip[16])
{
    unsigned at = 0, gap = 17; /* 17: no "::" yet */
    memset(ip, 0, 16);
    if (r->end - r->p >= 2 && r->p[0] == ':' && r->p[1] == ':') {
        gap = 0;
        r->p += 2;
    }
    while (at < 16 && r->p < r->end && *r->p != ']') {
        if (at > 0 && at != gap && !take(r, ':'))
            return false;
        if (at > 0 && at != gap && r->p < r->end && *r->p == ':') {
            if (gap != 17)
                return false;
            gap = at;
            r->p++;
            continue;
        }
        if (at <= 12 && has_dot(r)) {
            if (!take_v4(r, ip + at))
                return false;
            at += 4;
            break;
        }
        if (!take_group(r, ip + at))
            return false;
        at += 2;
    }
    if (gap == 17)
        return at == 16;
    if (at == 16)
        return false;
    memmove(ip + 16 - (at - gap), ip + gap, at - gap);
    memset(ip + gap, 0, 16 - at);
    return true;
}

int addr_parse(struct addr *a, const char *text, size_t len)
{
    struct reader r = {text, text + len};
    unsigned port;
    memset(a, 0, sizeof(*a));
    if (take(&r, '[')) {
        if (!take_v6(&r, a->ip) || !take(&r, ']'))
            goto bad;
    } else {
        memcpy(a->ip, V4_PREFIX, sizeof(V4_PREFIX));
        if (!take_v4(&r, a->ip + 12))
            goto bad;
    }
    if (!take(&r, ':') || !take_decimal(&r, 65535, &port) || r.p != r.end)
        goto bad;
    a->port = (u16)port;
    return 0;
bad:
    memset(a, 0, sizeof(*a));
    return ERR_INVAL;
}

/* --- writing --------------------------------------------------------------------------------- */

/* The longest run of two or more zero groups, the first of equals (RFC 5952, 4.2). */
static unsigned zero_run(const u8 ip[16], unsigned *length)
{
    unsigned best = 8, best_length = 1;
    for (unsigned i = 0; i < 8;) {
        unsigned n = 0;
        while (i + n < 8 && ip[2 * (i + n)] == 0 && ip[2 * (i + n) + 1] == 0)
            n++;
        if (n > best_length) {
            best = i;
            best_length = n;
        }
        i += n ? n : 1;
    }
    *length = best < 8 ? best_length : 0;
    return best;
}

size_t addr_format(const struct addr *a, char text[ADDR_TEXT_SIZE])
{
    if (addr_is_v4(a))
        return (size_t)snprintf(text, ADDR_TEXT_SIZE, "%u.%u.%u.%u:%u", a->ip[12], a->ip[13],
                                a->ip[14], a->ip[15], a->port);
    unsigned length, gap = zero_run(a->ip, &length);
    size_t n = (size_t)snprintf(text, ADDR_TEXT_SIZE, "[");
    for (unsigned i = 0; i < 8; i++) {
        if (i == gap) {
            n += (size_t)snprintf(text + n, ADDR_TEXT_SIZE - n, "::");
            i += length - 1;
            continue;
        }
        const char *colon = i > 0 && i != gap + length ? ":" : "";
        n += (size_t)snprintf(text + n, ADDR_TEXT_SIZE - n, "%s%x", colon,
                              (unsigned)(a->ip[2 * i] << 8 | a->ip[2 * i + 1]));
    }
    n += (size_t)snprintf(text + n, ADDR_TEXT_SIZE - n, "]:%u", a->port);
    assert(n < ADDR_TEXT_SIZE);
    return n;
}

/* wire.c - see wire.h. The writer is msgpack-c's packer over a fixed buffer. */
#include "proto/wire.h"

#include <assert.h>
#include <math.h>
#include <msgpack/pack.h>
#include <string.h>

#define DEPTH_MAX 8

/* --- writing --------------------------------------------------------------------------------- */

static int append(void *arg, const char *data, size_t len)
{
    struct wire_out *w = arg;
    if (w->full || len > w->cap - w->len) {
        w->full = true;
        return -1;
    }
    memcpy(w->buf + w->len, data, len);
    w->len += len;
    return 0;
}

static msgpack_packer packer(struct wire_out *w)
{
    return (msgpack_packer){.data = w, .callback = append};
}

void wire_out_init(struct wire_out *w, void *buf, size_t cap)
{
    *w = (struct wire_out){.buf = buf, .cap = cap};
}

void wire_put_u64(struct wire_out *w, u64 v)
{
    msgpack_packer p = packer(w);
    msgpack_pack_uint64(&p, v);
}

void wire_put_i64(struct wire_out *w, i64 v)
{
    msgpack_packer p = packer(w);
    msgpack_pack_int64(&p, v);
}

void wire_put_bool(struct wire_out *w, bool v)
{
    msgpack_packer p = packer(w);
    if (v)
        msgpack_pack_true(&p);
    else
        msgpack_pack_false(&p);
}

void wire_put_f32(struct wire_out *w, float v)
{
    msgpack_packer p = packer(w);
    msgpack_pack_float(&p, v);
}

void wire_put_nil(struct wire_out *w)
{
    msgpack_packer p = packer(w);
    msgpack_pack_nil(&p);
}

void wire_put_bin(struct wire_out *w, const void *data, size_t len)
{
    msgpack_packer p = packer(w);
    msgpack_pack_bin(&p, len);
    if (len > 0)
        msgpack_pack_bin_body(&p, data, len);
}

void wire_put_text(struct wire_out *w, const char *text)
{
    msgpack_packer p = packer(w);
    size_t len = strlen(text);
    msgpack_pack_str(&p, len);
    if (len > 0)
        msgpack_pack_str_body(&p, text, len);
}

void wire_put_array(struct wire_out *w, u32 n)
{
    msgpack_packer p = packer(w);
    msgpack_pack_array(&p, n);
}

void wire_put_key(struct wire_out *w, const struct node_key *k)
{
    wire_put_bin(w, k->bytes, sizeof(k->bytes));
}

void wire_put_addr(struct wire_out *w, const struct addr *a)
{
    u8 bytes[18];
    size_t ip = addr_is_v4(a) ? 4 : 16;
    memcpy(bytes, a->ip + 16 - ip, ip);
    bytes[ip] = (u8)(a->port >> 8);
    bytes[ip + 1] = (u8)a->port;
    wire_put_bin(w, bytes, ip + 2);
}

size_t wire_mark(const struct wire_out *w)
{
    return w->len;
}

void wire_rewind(struct wire_out *w, size_t mark)
{
    assert(mark <= w->len);
    w->len = mark;
    w->full = false;
}

bool wire_full(const struct wire_out *w)
{
    return w->full;
}

size_t wire_room(const struct wire_out *w)
{
    return w->full ? 0 : w->cap - w->len;
}

/* --- reading --------------------------------------------------------------------------------- */

void wire_in_init(struct wire_in *r, const void *buf, size_t len)
{
    static const u8 nothing;
    const u8 *start = buf ? buf : &nothing; /* no arithmetic on NULL, not even zero */
    assert(buf || len == 0);
    *r = (struct wire_in){.p = start, .end = start + len};
}

bool wire_ok(const struct wire_in *r)
{
    return !r->bad;
}

size_t wire_left(const struct wire_in *r)
{
    return r->bad ? 0 : (size_t)(r->end - r->p);
}

static void spoil(struct wire_in *r)
{
    r->bad = true;
}

/* `len` bytes, or NULL and bad. */
static const u8 *take(struct wire_in *r, u64 len)
{
    if (r->bad || len > (u64)(r->end - r->p)) {
        spoil(r);
        return NULL;
    }
    const u8 *p = r->p;
    r->p += len;
    return p;
}

static u64 take_be(struct wire_in *r, unsigned bytes)
{
    const u8 *p = take(r, bytes);
    u64 v = 0;
    for (unsigned i = 0; p && i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static u8 take_tag(struct wire_in *r)
{
    return (u8)take_be(r, 1);
}

/* An integer of any width, as magnitude and sign. */
static u64 take_int(struct wire_in *r, bool *negative)
{
    u8 tag = take_tag(r);
    *negative = false;
    if (tag <= 0x7f)
        return tag;
    if (tag >= 0xe0) {
        *negative = true;
        return 256u - tag;
    }
    if (tag >= 0xcc && tag <= 0xcf)
        return take_be(r, 1u << (tag - 0xcc));
    if (tag >= 0xd0 && tag <= 0xd3) {
        unsigned bytes = 1u << (tag - 0xd0);
        u64 v = take_be(r, bytes), sign = 1ull << (8 * bytes - 1);
        if ((v & sign) == 0)
            return v;
        *negative = true;
        return sign - (v & (sign - 1)); /* two's complement */
    }
    spoil(r);
    return 0;
}

u64 wire_get_u64(struct wire_in *r)
{
    bool negative;
    u64 v = take_int(r, &negative);
    if (negative)
        spoil(r);
    return r->bad ? 0 : v;
}

u64 wire_get_max(struct wire_in *r, u64 max)
{
    u64 v = wire_get_u64(r);
    if (v > max) {
        spoil(r);
        return 0;
    }
    return v;
}

i64 wire_get_i64(struct wire_in *r)
{
    bool negative;
    u64 v = take_int(r, &negative);
    if (v > (negative ? 1ull << 63 : (u64)INT64_MAX))
        spoil(r);
    if (r->bad)
        return 0;
    return negative ? (i64)(0 - v) : (i64)v;
}

bool wire_get_bool(struct wire_in *r)
{
    u8 tag = take_tag(r);
    if (tag != 0xc2 && tag != 0xc3)
        spoil(r);
    return !r->bad && tag == 0xc3;
}

float wire_get_f32(struct wire_in *r)
{
    u8 tag = take_tag(r);
    if (tag != 0xca) {
        spoil(r);
        return 0;
    }
    u32 bits = (u32)take_be(r, 4);
    float v;
    memcpy(&v, &bits, sizeof(v));
    if (!isfinite(v)) {
        spoil(r);
        return 0;
    }
    return v;
}

const u8 *wire_get_bin(struct wire_in *r, size_t max, size_t *len)
{
    u8 tag = take_tag(r);
    *len = 0;
    if (tag < 0xc4 || tag > 0xc6) {
        spoil(r);
        return NULL;
    }
    u64 n = take_be(r, 1u << (tag - 0xc4));
    if (n > max) {
        spoil(r);
        return NULL;
    }
    const u8 *p = take(r, n);
    *len = p ? (size_t)n : 0;
    return p;
}

void wire_get_exact(struct wire_in *r, void *out, size_t len)
{
    size_t n;
    const u8 *p = wire_get_bin(r, len, &n);
    bool fits = p && n == len;
    if (!fits)
        spoil(r);
    if (len == 0)
        return;
    if (fits)
        memcpy(out, p, len);
    else
        memset(out, 0, len);
}

void wire_get_text(struct wire_in *r, char *out, size_t size)
{
    assert(size > 0);
    u8 tag = take_tag(r);
    u64 n = 0;
    out[0] = '\0';
    if (tag >= 0xa0 && tag <= 0xbf)
        n = tag & 0x1f;
    else if (tag >= 0xd9 && tag <= 0xdb)
        n = take_be(r, 1u << (tag - 0xd9));
    else
        spoil(r);
    if (n > size - 1)
        spoil(r);
    const u8 *p = take(r, n);
    if (!p || memchr(p, 0, (size_t)n)) {
        spoil(r);
        return;
    }
    memcpy(out, p, (size_t)n);
    out[n] = '\0';
}

u32 wire_get_array(struct wire_in *r, u32 max)
{
    u8 tag = take_tag(r);
    u64 n = 0;
    if (tag >= 0x90 && tag <= 0x9f)
        n = tag & 0x0f;
    else if (tag == 0xdc || tag == 0xdd)
        n = take_be(r, tag == 0xdc ? 2 : 4);
    else
        spoil(r);
    /* Each entry takes a byte at least: what cannot be there is not promised. */
    if (n > max || n > wire_left(r))
        spoil(r);
    return r->bad ? 0 : (u32)n;
}

void wire_get_key(struct wire_in *r, struct node_key *k)
{
    wire_get_exact(r, k->bytes, sizeof(k->bytes));
}

void wire_get_addr(struct wire_in *r, struct addr *a)
{
    size_t len;
    const u8 *p = wire_get_bin(r, 18, &len);
    memset(a, 0, sizeof(*a));
    if (!p || (len != 6 && len != 18)) {
        spoil(r);
        return;
    }
    if (len == 6)
        *a = addr_v4(p[0], p[1], p[2], p[3], 0);
    else
        memcpy(a->ip, p, 16);
    a->port = (u16)(p[len - 2] << 8 | p[len - 1]);
}

bool wire_is_nil(struct wire_in *r)
{
    if (r->bad || r->p == r->end || *r->p != 0xc0)
        return false;
    r->p++;
    return true;
}

/* The bytes after `tag` that belong to it, and how many values follow inside it. */
static u64 extent(struct wire_in *r, u8 tag, u64 *inside)
{
    *inside = 0;
    if (tag <= 0x7f || tag >= 0xe0 || tag == 0xc0 || tag == 0xc2 || tag == 0xc3)
        return 0;
    if (tag <= 0x8f) {
        *inside = 2ull * (tag & 0x0f);
        return 0;
    }
    if (tag <= 0x9f) {
        *inside = tag & 0x0f;
        return 0;
    }
    if (tag <= 0xbf)
        return tag & 0x1f;
    switch (tag) {
    case 0xc4:
    case 0xd9: return take_be(r, 1);
    case 0xc5:
    case 0xda: return take_be(r, 2);
    case 0xc6:
    case 0xdb: return take_be(r, 4);
    case 0xca:
    case 0xce:
    case 0xd2: return 4;
    case 0xcb:
    case 0xcf:
    case 0xd3: return 8;
    case 0xcc:
    case 0xd0: return 1;
    case 0xcd:
    case 0xd1: return 2;
    case 0xdc: *inside = take_be(r, 2); return 0;
    case 0xdd: *inside = take_be(r, 4); return 0;
    case 0xde: *inside = 2 * take_be(r, 2); return 0;
    case 0xdf: *inside = 2 * take_be(r, 4); return 0;
    default: spoil(r); return 0; /* extension types are not used */
    }
}

void wire_skip(struct wire_in *r)
{
    u64 open[DEPTH_MAX] = {1}; /* values still to step over, by depth */
    unsigned depth = 0;
    while (!r->bad) {
        if (open[depth] == 0) {
            if (depth == 0)
                return;
            depth--;
            continue;
        }
        open[depth]--;
        u64 inside, n = extent(r, take_tag(r), &inside);
        take(r, n);
        if (inside == 0)
            continue;
        if (depth + 1 == DEPTH_MAX || inside > wire_left(r)) {
            spoil(r);
            return;
        }
        open[++depth] = inside;
    }
}

/* prefetch.c - see prefetch.h. */
#include "proto/prefetch.h"

#include <assert.h>
#include <string.h>

#define VERSION 1

static_assert(PREFETCH_MAX * (TICKET_TEXT_SIZE + DIGEST_TEXT_SIZE + 16) + OCI_NAME_MAX + 32 <=
                  PREFETCH_BYTES_MAX,
              "the longest order fits");

size_t prefetch_pack(const struct prefetch_order *o, u8 *out)
{
    struct wire_out w;
    char digest[DIGEST_TEXT_SIZE];
    assert(o->n <= PREFETCH_MAX);
    wire_out_init(&w, out, PREFETCH_BYTES_MAX);
    wire_put_array(&w, 3);
    wire_put_u64(&w, VERSION);
    wire_put_text(&w, o->repository);
    wire_put_array(&w, (u32)o->n);
    for (size_t i = 0; i < o->n; i++) {
        assert(o->blobs[i].ticket_n < TICKET_TEXT_SIZE);
        digest_format(&o->blobs[i].digest, digest);
        wire_put_array(&w, 3);
        wire_put_text(&w, digest);
        wire_put_bin(&w, o->blobs[i].ticket, o->blobs[i].ticket_n);
        wire_put_bool(&w, o->blobs[i].config);
    }
    assert(!wire_full(&w));
    return w.len;
}

int prefetch_unpack(struct prefetch_order *o, const void *data, size_t len)
{
    struct wire_in r;
    char digest[DIGEST_TEXT_SIZE];
    o->n = 0;
    wire_in_init(&r, data, len);
    if (len > PREFETCH_BYTES_MAX || wire_get_array(&r, 3) != 3 || wire_get_u64(&r) != VERSION)
        return ERR_PROTO;
    wire_get_text(&r, o->repository, sizeof(o->repository));
    size_t n = wire_get_array(&r, PREFETCH_MAX);
    for (size_t i = 0; i < n && wire_ok(&r); i++) {
        struct prefetch_blob *b = &o->blobs[i];
        if (wire_get_array(&r, 3) != 3)
            return ERR_PROTO;
        wire_get_text(&r, digest, sizeof(digest));
        b->ticket = (const char *)wire_get_bin(&r, TICKET_TEXT_SIZE - 1, &b->ticket_n);
        b->config = wire_get_bool(&r);
        if (!wire_ok(&r) || digest_parse(&b->digest, digest, strlen(digest)))
            return ERR_PROTO;
    }
    if (!wire_ok(&r) || wire_left(&r) > 0)
        return ERR_PROTO;
    o->n = n;
    return 0;
}

/* --- images ---------------------------------------------------------------------------------- */

static_assert(PREFETCH_IMAGE_MAX + PREFETCH_PLATFORM_MAX + 16 <= PREFETCH_IMAGE_BYTES_MAX,
              "the longest fits");

size_t prefetch_image_pack(const struct prefetch_image *i, u8 *out)
{
    struct wire_out w;
    wire_out_init(&w, out, PREFETCH_IMAGE_BYTES_MAX);
    wire_put_array(&w, 3);
    wire_put_u64(&w, VERSION);
    wire_put_text(&w, i->image);
    wire_put_text(&w, i->platform);
    assert(!wire_full(&w));
    return w.len;
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((u8)*text <= 0x20 || (u8)*text >= 0x7f)
            return false;
    return true;
}

int prefetch_image_unpack(struct prefetch_image *i, const void *data, size_t len)
{
    struct wire_in r;
    wire_in_init(&r, data, len);
    if (len > PREFETCH_IMAGE_BYTES_MAX || wire_get_array(&r, 3) != 3 || wire_get_u64(&r) != VERSION)
        return ERR_PROTO;
    wire_get_text(&r, i->image, sizeof(i->image));
    wire_get_text(&r, i->platform, sizeof(i->platform));
    return wire_ok(&r) && wire_left(&r) == 0 && is_printable(i->image) && is_printable(i->platform)
               ? 0
               : ERR_PROTO;
}

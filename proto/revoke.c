/* revoke.c - see revoke.h. */
#include "proto/revoke.h"

#include <assert.h>

#define VERSION 1
#define FIELDS  2

static_assert(16 + REVOKE_MAX * (1 + 2 + TICKET_USER_BYTES + 9) <= REVOKE_BYTES_MAX,
              "the longest message fits");

size_t revoke_pack(const struct revoke *all, size_t n, u8 *out)
{
    struct wire_out w;
    assert(n <= REVOKE_MAX);
    wire_out_init(&w, out, REVOKE_BYTES_MAX);
    wire_put_array(&w, 2);
    wire_put_u64(&w, VERSION);
    wire_put_array(&w, (u32)n);
    for (size_t i = 0; i < n; i++) {
        wire_put_array(&w, FIELDS);
        wire_put_bin(&w, all[i].user, sizeof(all[i].user));
        wire_put_u64(&w, all[i].until_s);
    }
    assert(!wire_full(&w));
    return w.len;
}

int revoke_unpack(struct revoke out[REVOKE_MAX], size_t *n, const void *data, size_t len)
{
    struct wire_in r;
    wire_in_init(&r, data, len);
    *n = 0;
    if (len > REVOKE_BYTES_MAX || wire_get_array(&r, 2) != 2 || wire_get_u64(&r) != VERSION)
        return ERR_PROTO;
    size_t count = wire_get_array(&r, REVOKE_MAX);
    for (size_t i = 0; i < count && wire_ok(&r); i++) {
        if (wire_get_array(&r, FIELDS) != FIELDS)
            return ERR_PROTO;
        wire_get_exact(&r, out[i].user, sizeof(out[i].user));
        out[i].until_s = wire_get_u64(&r);
    }
    if (!wire_ok(&r) || wire_left(&r) > 0)
        return ERR_PROTO;
    *n = count;
    return 0;
}

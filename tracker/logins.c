/* logins.c - see logins.h. */
#include "tracker/logins.h"

#include <assert.h>
#include <string.h>

#define FIELDS     4
#define FIXED      (1 + 2 + TICKET_USER_BYTES + 3 + OCI_NAME_MAX + 3 + 9) /* but the login */
#define HEAD_BYTES 8

static_assert(HEAD_BYTES + FIXED + LOGINS_AUTH_MAX <= LEDGER_BYTES_MAX, "one always fits");
static_assert(LOGINS_MAX < 256, "see logins_end");

void logins_begin(struct logins_out *o, u8 *out)
{
    wire_out_init(&o->w, out, LEDGER_BYTES_MAX);
    wire_put_array(&o->w, 3);
    wire_put_u64(&o->w, LEDGER_TALK_VERSION);
    wire_put_u64(&o->w, LOGINS_TYPE);
    memcpy(out + o->w.len, "\xdc\0\0", 3); /* an array; its length is known at the end */
    o->w.len += 3;
    o->n = 0;
}

bool logins_add(struct logins_out *o, const struct kept_login *l)
{
    assert(l->authorization_len <= LOGINS_AUTH_MAX);
    if (o->n == LOGINS_MAX || wire_room(&o->w) < FIXED + l->authorization_len)
        return false;
    wire_put_array(&o->w, FIELDS);
    wire_put_bin(&o->w, l->user, sizeof(l->user));
    wire_put_text(&o->w, l->repository);
    wire_put_bin(&o->w, l->authorization, l->authorization_len);
    wire_put_u64(&o->w, l->until_ms);
    o->n++;
    return true;
}

size_t logins_end(struct logins_out *o)
{
    assert(!wire_full(&o->w));
    o->w.buf[5] = (u8)o->n;
    return o->w.len;
}

int logins_read(struct logins_in *r, const void *data, size_t len)
{
    wire_in_init(&r->in, data, len);
    r->left = 0;
    if (len > LEDGER_BYTES_MAX || wire_get_array(&r->in, 3) != 3 ||
        wire_get_u64(&r->in) != LEDGER_TALK_VERSION || wire_get_u64(&r->in) != LOGINS_TYPE)
        return ERR_PROTO;
    r->left = wire_get_array(&r->in, LOGINS_MAX);
    return wire_ok(&r->in) ? 0 : ERR_PROTO;
}

/* Could it have been the value of a header? */
static bool is_field(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((u8)text[i] < ' ' || text[i] == 0x7f)
            return false;
    return true;
}

bool logins_next(struct logins_in *r, struct kept_login *l)
{
    memset(l, 0, sizeof(*l));
    if (r->left == 0 || wire_get_array(&r->in, FIELDS) != FIELDS)
        return false;
    r->left--;
    wire_get_exact(&r->in, l->user, sizeof(l->user));
    wire_get_text(&r->in, l->repository, sizeof(l->repository));
    l->authorization = (const char *)wire_get_bin(&r->in, LOGINS_AUTH_MAX, &l->authorization_len);
    l->until_ms = wire_get_u64(&r->in);
    bool good = wire_ok(&r->in) && oci_name_valid(l->repository, strlen(l->repository)) &&
                is_field(l->authorization, l->authorization_len);
    if (!good)
        r->left = 0;
    return good;
}

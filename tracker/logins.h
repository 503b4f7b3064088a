/* logins.h - which logins a tracker keeps for reading through, told to the others behind its name.
 *
 * Why: a node without credentials reads a private layer through the tracker that issued the ticket,
 * which still knows the user's Authorization. When that tracker dies the node turns to another, and
 * without the login that one could not help: the pull would fail. So what grants.h keeps in memory
 * goes to the others' memory, sealed (envelope.h), for no longer than it would be kept here. It is
 * never written anywhere.
 *
 *     [LEDGER_TALK_VERSION, LOGINS_TYPE, [[user, repository, authorization, until], ...]]
 *
 * until: Unix ms. Lost messages cost a refused read through. Pure: no I/O. */
#pragma once

#include "proto/ledger.h"
#include "proto/oci.h"
#include "proto/ticket.h"

#define LOGINS_TYPE     5
#define LOGINS_MAX      64 /* of a message; what is more waits */
#define LOGINS_AUTH_MAX (16 * 1024)

struct kept_login {
    u8 user[TICKET_USER_BYTES];
    char repository[OCI_NAME_MAX + 1];
    const char *authorization; /* borrowed */
    size_t authorization_len;
    u64 until_ms;
};

/* Appends to a message that is being written (LEDGER_BYTES_MAX); false: it is full. */
struct logins_out {
    struct wire_out w;
    size_t n;
};
void logins_begin(struct logins_out *o, u8 *out);
bool logins_add(struct logins_out *o, const struct kept_login *l);
size_t logins_end(struct logins_out *o); /* its length */

struct logins_in {
    struct wire_in in;
    u32 left;
};
/* ERR_PROTO: it is none. */
must_use int logins_read(struct logins_in *r, const void *data, size_t len);
/* False: that was the last, or malformed from here on. `authorization` is not NUL-terminated. */
bool logins_next(struct logins_in *r, struct kept_login *l);

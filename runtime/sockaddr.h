/* sockaddr.h - the kernel's addresses and the cores' (proto/addr.h), one from the other. */
#pragma once

#include <netinet/in.h>

#include "proto/addr.h"

union sockaddr_any {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* ERR_UNSUPPORTED: neither IPv4 nor IPv6, or one with a scope (link-local). */
must_use int sockaddr_read(const struct sockaddr *from, struct addr *out);
/* In its own family; with `mapped`, IPv4 too as IPv6 (::ffff:a.b.c.d), as a socket of that family
 * wants it. Returns the length. */
socklen_t sockaddr_write(const struct addr *a, bool mapped, union sockaddr_any *out);

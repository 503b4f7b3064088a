/* addr.h - an IP address and a port, as a value.
 *
 * Why: cores name a peer's place without a socket header. IPv4 is kept in its IPv6-mapped form
 * (RFC 4291, 2.5.5.2), so that one comparison serves both. Scope ids are not carried: link-local
 * peers are not supported. Not here: resolving names (the daemons do, in their pool). */
#pragma once

#include <string.h>

#include "proto/err.h"

struct addr {
    u8 ip[16]; /* network order; IPv4 as ::ffff:a.b.c.d */
    u16 port;  /* host order; 0: none */
};

#define ADDR_TEXT_SIZE 48 /* "[8 groups of 4]:65535" and its NUL */

/* "10.1.2.3:5000" or "[2001:db8::1]:5000", exactly `len` characters. ERR_INVAL. */
must_use int addr_parse(struct addr *a, const char *text, size_t len);
/* The same form; returns its length. */
size_t addr_format(const struct addr *a, char text[ADDR_TEXT_SIZE]);

struct addr addr_v4(u8 a, u8 b, u8 c, u8 d, u16 port);
bool addr_is_v4(const struct addr *a);
bool addr_is_set(const struct addr *a); /* a zeroed struct names nothing */
static inline bool addr_same_ip(const struct addr *a, const struct addr *b)
{
    u64 x[2], y[2];
    memcpy(x, a->ip, sizeof(x));
    memcpy(y, b->ip, sizeof(y));
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}
static inline bool addr_equal(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && addr_same_ip(a, b);
}
/* Bits that both addresses share from the left, 0 to 128; IPv4 counts from its first octet, 0 to
 * 32. Of two families: 0. */
unsigned addr_common_bits(const struct addr *a, const struct addr *b);

/* conf_cidr.c - networks as operators write them, and whether an address lies in one.
 *
 * IPv4 is kept in its IPv6-mapped form, so one comparison serves both, and a client that reaches a
 * dual-stack socket as ::ffff:10.1.2.3 is the 10.1.2.3 it is. An IPv6 network shorter than the
 * mapped prefix (such as ::/0) does not thereby hold all of IPv4: who means that writes 0.0.0.0/0
 * too. Host bits beyond the prefix are dropped. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "runtime/conf.h"

#define MAPPED_BITS 96

static const u8 mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int cidr_parse(const char *text, struct cidr *out)
{
    const char *slash = strchr(text, '/');
    size_t len = slash == NULL ? strlen(text) : (size_t)(slash - text);
    char address[INET6_ADDRSTRLEN];
    struct cidr c;
    u32 bits, most;

    if (len == 0 || len >= sizeof(address))
        return ERR_INVAL;
    memcpy(address, text, len);
    address[len] = '\0';
    if (inet_pton(AF_INET, address, c.bytes + sizeof(mapped)) == 1) {
        memcpy(c.bytes, mapped, sizeof(mapped));
        most = 32;
    } else if (inet_pton(AF_INET6, address, c.bytes) == 1)
        most = 128;
    else
        return ERR_INVAL;
    bits = most;
    if (slash != NULL && conf_u32(slash + 1, 0, most, &bits) != 0)
        return ERR_INVAL;
    c.bits = (u8)(bits + 128 - most);
    for (unsigned i = c.bits; i < 128; i++)
        c.bytes[i / 8] &= (u8) ~(0x80u >> i % 8);
    *out = c;
    return 0;
}

static bool same_bits(const u8 *a, const u8 *b, unsigned bits)
{
    unsigned rest = bits % 8;

    if (memcmp(a, b, bits / 8) != 0)
        return false;
    return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

bool cidr_has(const struct cidr *c, const struct sockaddr *address)
{
    u8 bytes[16];

    if (address->sa_family == AF_INET) {
        memcpy(bytes, mapped, sizeof(mapped));
        memcpy(bytes + sizeof(mapped), (const u8 *)address + offsetof(struct sockaddr_in, sin_addr),
               4);
    } else if (address->sa_family == AF_INET6)
        memcpy(bytes, (const u8 *)address + offsetof(struct sockaddr_in6, sin6_addr), 16);
    else
        return false;
    if (c->bits < MAPPED_BITS && memcmp(bytes, mapped, sizeof(mapped)) == 0)
        return false;
    return same_bits(c->bytes, bytes, c->bits);
}

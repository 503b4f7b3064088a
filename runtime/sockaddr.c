/* sockaddr.c - see sockaddr.h. */
#include "runtime/sockaddr.h"

#include <string.h>

int sockaddr_read(const struct sockaddr *from, struct addr *out)
{
    union sockaddr_any a;
    if (from->sa_family == AF_INET) {
        memcpy(&a.v4, from, sizeof(a.v4));
        const u8 *b = (const u8 *)&a.v4.sin_addr;
        *out = addr_v4(b[0], b[1], b[2], b[3], ntohs(a.v4.sin_port));
        return 0;
    }
    if (from->sa_family != AF_INET6)
        return ERR_UNSUPPORTED;
    memcpy(&a.v6, from, sizeof(a.v6));
    if (a.v6.sin6_scope_id != 0)
        return ERR_UNSUPPORTED;
    memcpy(out->ip, a.v6.sin6_addr.s6_addr, sizeof(out->ip));
    out->port = ntohs(a.v6.sin6_port);
    return 0;
}

socklen_t sockaddr_write(const struct addr *a, bool mapped, union sockaddr_any *out)
{
    memset(out, 0, sizeof(*out));
    if (addr_is_v4(a) && !mapped) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(a->port);
        memcpy(&out->v4.sin_addr, a->ip + 12, 4);
        return sizeof(out->v4);
    }
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(a->port);
    memcpy(out->v6.sin6_addr.s6_addr, a->ip, sizeof(a->ip));
    return sizeof(out->v6);
}

/* http_address.c - client and listening addresses: read, printed, counted. */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/http_conn.h"

static bool port_parse(const char *text, u16 *out)
{
    u32 v = 0;
    size_t n = strlen(text);
    if (n == 0 || n > 5)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        v = v * 10 + (u32)(text[i] - '0');
    }
    if (v > UINT16_MAX)
        return false;
    *out = (u16)v;
    return true;
}

int http_address_parse(const char *text, union http_sockaddr *out, socklen_t *len)
{
    char host[INET6_ADDRSTRLEN + 1];
    u16 port;
    const char *colon = strrchr(text, ':');
    if (!colon || !port_parse(colon + 1, &port))
        return ERR_INVAL;
    size_t n = (size_t)(colon - text);
    bool v6 = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    if (v6) {
        text++;
        n -= 2;
    }
    if (n == 0 || n >= sizeof(host))
        return ERR_INVAL;
    memcpy(host, text, n);
    host[n] = '\0';
    memset(out, 0, sizeof(*out));
    if (v6) {
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons(port);
        *len = sizeof(out->v6);
        return inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1 ? 0 : ERR_INVAL;
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    *len = sizeof(out->v4);
    return inet_pton(AF_INET, host, &out->v4.sin_addr) == 1 ? 0 : ERR_INVAL;
}

void http_address_unmap(union http_sockaddr *a)
{
    if (a->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
        return;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = a->v6.sin6_port};
    memcpy(&v4.sin_addr, a->v6.sin6_addr.s6_addr + 12, 4);
    memset(a, 0, sizeof(*a));
    a->v4 = v4;
}

void http_peer_text(const struct http_request *r, char text[64])
{
    union http_sockaddr a;
    char host[INET6_ADDRSTRLEN];
    if (r->peer->sa_family == AF_INET) {
        memcpy(&a.v4, r->peer, sizeof(a.v4));
        inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof(host));
        snprintf(text, 64, "%s:%u", host, ntohs(a.v4.sin_port));
    } else if (r->peer->sa_family == AF_INET6) {
        memcpy(&a.v6, r->peer, sizeof(a.v6));
        inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof(host));
        snprintf(text, 64, "[%s]:%u", host, ntohs(a.v6.sin6_port));
    } else {
        snprintf(text, 64, "unix");
    }
}

/* --- how many connections an address has ----------------------------------------------------- */

static bool key_of(const struct sockaddr *a, u8 key[16])
{
    memset(key, 0, 16);
    if (a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof(v4));
        key[0] = 4; /* no global IPv6 address begins so */
        memcpy(key + 12, &v4.sin_addr, 4);
        return true;
    }
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, a, sizeof(v6));
        memcpy(key, v6.sin6_addr.s6_addr, 8);
        return true;
    }
    return false;
}

/* FNV-1a. Chosen addresses can fill one chain, but no further than `max_connections`. */
static size_t bucket_of(const u8 key[16])
{
    u32 h = 2166136261u;
    for (size_t i = 0; i < 16; i++)
        h = (h ^ key[i]) * 16777619u;
    return h % HTTP_ADDRESS_BUCKETS;
}

int http_address_take(struct http_server *s, const struct sockaddr *a, unsigned max,
                      struct http_address **out)
{
    u8 key[16];
    *out = NULL;
    if (!key_of(a, key))
        return 0;
    struct http_address **bucket = &s->addresses[bucket_of(key)];
    struct http_address *e = *bucket;
    while (e && memcmp(e->key, key, sizeof(key)) != 0)
        e = e->next;
    if (!e) {
        e = calloc(1, sizeof(*e));
        if (!e)
            return ERR_NOMEM;
        memcpy(e->key, key, sizeof(key));
        e->next = *bucket;
        *bucket = e;
    }
    if (e->count >= max)
        return ERR_FULL;
    e->count++;
    *out = e;
    return 0;
}

void http_address_give(struct http_server *s, struct http_address *a)
{
    if (!a)
        return;
    assert(a->count > 0);
    if (--a->count > 0)
        return;
    struct http_address **link = &s->addresses[bucket_of(a->key)];
    while (*link != a)
        link = &(*link)->next;
    *link = a->next;
    free(a);
}

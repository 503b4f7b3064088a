/* rewrite.c - see rewrite.h. */
#include "tracker/rewrite.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "runtime/hygiene.h"

/* --- what is not passed on ------------------------------------------------------------------- */

static const char *const hops[] = {
    "Connection", "Keep-Alive",          "Proxy-Connection",  "TE", "Trailer", "Transfer-Encoding",
    "Upgrade",    "Proxy-Authorization", "Proxy-Authenticate"};

static bool is(const char *name, size_t n, const char *wanted)
{
    return strlen(wanted) == n && strncasecmp(name, wanted, n) == 0;
}

static bool is_hop(const char *name, size_t n)
{
    for (size_t i = 0; i < countof(hops); i++)
        if (is(name, n, hops[i]))
            return true;
    return false;
}

/* Is `name` one of the comma-separated words? */
static bool lists(const char *words, size_t len, const char *name, size_t n)
{
    for (size_t i = 0; i < len;) {
        size_t skip = strspn(words + i, " \t,");
        i = i + skip < len ? i + skip : len;
        size_t end = i;
        while (end < len && !strchr(" \t,", words[end]))
            end++;
        if (end > i && end - i == n && strncasecmp(words + i, name, n) == 0)
            return true;
        i = end;
        if (i == len)
            break;
    }
    return false;
}

bool rewrite_drops_request(const struct http_request *r, const struct http_field *f)
{
    static const char *const ours[] = {"Host",      "Content-Length", "Expect",
                                       "Forwarded", "X-Real-IP",      "Dray-Peer"};
    const char *name = f->name.p;
    size_t n = f->name.n;
    if (is(name, n, "Authorization")) /* whoever lists it: the answer is to this login */
        return false;
    const struct http_slice *connection = http_field(r, "Connection");
    for (size_t i = 0; i < countof(ours); i++)
        if (is(name, n, ours[i]))
            return true;
    if (is_hop(name, n) || (n >= 12 && strncasecmp(name, "X-Forwarded-", 12) == 0))
        return true;
    return connection && lists(connection->p, connection->n, name, n);
}

bool rewrite_drops_answer(const char *name, const char *connection)
{
    size_t n = strlen(name);
    if (is_hop(name, n) || is(name, n, "Content-Length") || is(name, n, "Date") ||
        is(name, n, "Server"))
        return !is(name, n, "Proxy-Authenticate");
    return connection && lists(connection, strlen(connection), name, n);
}

/* --- who asks, and whom it calls ------------------------------------------------------------- */

static bool in_any(const struct cidr *list, size_t n, const struct sockaddr *a)
{
    for (size_t i = 0; i < n; i++)
        if (cidr_has(&list[i], a))
            return true;
    return false;
}

static bool parse_address(const char *text, size_t n, struct sockaddr_storage *out)
{
    char word[64];
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    if (n == 0 || n >= sizeof(word))
        return false;
    memcpy(word, text, n);
    word[n] = 0;
    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, word, &v4->sin_addr) == 1) {
        out->ss_family = AF_INET;
        return true;
    }
    out->ss_family = AF_INET6;
    return inet_pton(AF_INET6, word, &v6->sin6_addr) == 1;
}

static void format_address(const struct sockaddr *a, char text[64])
{
    text[0] = 0;
    if (a->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)a)->sin_addr, text, 64);
    else if (a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, text, 64);
}

/* Takes the last address of the list that no trusted proxy has. True: all are proxies'. */
static bool through_proxies(struct rewrite_seen *s, const struct http_slice *list,
                            const struct cidr *proxies, size_t n_proxies)
{
    size_t end = list->n;
    while (end > 0) {
        size_t start = end;
        while (start > 0 && list->p[start - 1] != ',')
            start--;
        size_t a = start, b = end;
        while (a < b && (list->p[a] == ' ' || list->p[a] == '\t'))
            a++;
        while (b > a && (list->p[b - 1] == ' ' || list->p[b - 1] == '\t'))
            b--;
        if (!parse_address(list->p + a, b - a, &s->address)) {
            memset(&s->address, 0, sizeof(s->address)); /* somebody, and not the proxy */
            return false;
        }
        if (!in_any(proxies, n_proxies, (const struct sockaddr *)&s->address))
            return false;
        end = start > 0 ? start - 1 : 0;
    }
    return true;
}

/* What proxies of ours tell. Some add a line of their own below the client's (HAProxy): all lines
 * are one list (RFC 9110, 5.3). */
static void hear_proxies(struct rewrite_seen *s, const struct http_request *r,
                         const struct cidr *proxies, size_t n_proxies)
{
    static const char name[] = "X-Forwarded-For";
    bool on = true;
    size_t len = 0;
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct http_slice *list = &r->fields[i].value;
        if (!is(r->fields[i].name.p, r->fields[i].name.n, name))
            continue;
        if (len + list->n + sizeof(", ") + INET6_ADDRSTRLEN > sizeof(s->forwarded)) {
            len = 0; /* too long: the registry is told the proxy alone */
            break;
        }
        len += (size_t)snprintf(s->forwarded + len, sizeof(s->forwarded) - len, "%.*s, ",
                                (int)list->n, list->p);
    }
    s->forwarded[len] = 0;
    for (size_t i = r->n_fields; on && i-- > 0;)
        if (is(r->fields[i].name.p, r->fields[i].name.n, name))
            on = through_proxies(s, &r->fields[i].value, proxies, n_proxies);
}

static bool host_is_plain(const struct http_slice *h)
{
    if (!h || h->n == 0 || h->n > 260)
        return false;
    for (size_t i = 0; i < h->n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]",
                    h->p[i]))
            return false;
    return true;
}

static void set_base(struct rewrite_seen *s, const struct http_request *r, const char *public_url,
                     bool proxied)
{
    const struct http_slice *host = proxied ? http_field(r, "X-Forwarded-Host") : NULL;
    const struct http_slice *proto = proxied ? http_field(r, "X-Forwarded-Proto") : NULL;
    if (!host_is_plain(host))
        host = http_field(r, "Host");
    s->https = r->tls;
    if (proto)
        s->https = proto->n >= 5 && strncasecmp(proto->p, "https", 5) == 0;
    if (host && host_is_plain(host)) {
        snprintf(s->host, sizeof(s->host), "%.*s", (int)host->n, host->p);
    } else {
        const char *at = strstr(public_url, "://");
        snprintf(s->host, sizeof(s->host), "%.280s", at ? at + 3 : public_url);
        s->https = strncasecmp(public_url, "https", 5) == 0;
    }
    snprintf(s->base, sizeof(s->base), "%s://%s", s->https ? "https" : "http", s->host);
}

void rewrite_see(struct rewrite_seen *s, const struct http_request *r, const char *public_url,
                 const struct cidr *proxies, size_t n_proxies)
{
    char peer[64];
    memset(s, 0, sizeof(*s));
    bool ip = r->peer->sa_family == AF_INET || r->peer->sa_family == AF_INET6;
    if (ip)
        memcpy(&s->address, r->peer,
               r->peer->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                             : sizeof(struct sockaddr_in6));
    bool proxied = ip && in_any(proxies, n_proxies, r->peer);
    format_address((const struct sockaddr *)&s->address, peer);
    if (proxied)
        hear_proxies(s, r, proxies, n_proxies);
    size_t told = strlen(s->forwarded);
    snprintf(s->forwarded + told, sizeof(s->forwarded) - told, "%s", peer);
    format_address((const struct sockaddr *)&s->address, s->client);
    set_base(s, r, public_url, proxied);
}

/* --- URLs ------------------------------------------------------------------------------------ */

/* What follows the registry's URL in `url` of length n: from its path on. NULL: another's. */
static const char *after_registry(const char *url, size_t n, const char *registry, size_t *rest)
{
    char text[REWRITE_MAX];
    struct url_origin a, b;
    if (n >= sizeof(text))
        return NULL;
    memcpy(text, url, n);
    text[n] = 0;
    if (url_origin_parse(&a, text) || url_origin_parse(&b, registry) || a.https != b.https ||
        a.port != b.port || strcmp(a.host, b.host) != 0)
        return NULL;
    const char *slashes = strstr(text, "://"); /* what parses may be written in other ways */
    if (!slashes)
        return NULL;
    const char *from = url + (slashes - text) + 3, *end = url + n;
    while (from < end && !strchr("/?#", *from))
        from++;
    const char *base = strstr(registry, "://") + 3;
    base += strcspn(base, "/");
    size_t skip = strlen(base);
    if ((size_t)(end - from) < skip || memcmp(from, base, skip) != 0)
        return NULL;
    from += skip;
    if (from < end && !strchr("/?#", *from))
        return NULL;
    *rest = (size_t)(end - from);
    return from;
}

/* `value` with its characters [at, at + n) exchanged. */
static bool exchange(const char *value, size_t at, size_t n, const char *registry, const char *base,
                     char out[REWRITE_MAX])
{
    size_t rest;
    const char *path = after_registry(value + at, n, registry, &rest);
    if (!path)
        return false;
    int len = snprintf(out, REWRITE_MAX, "%.*s%s%.*s%s", (int)at, value, base, (int)rest, path,
                       value + at + n);
    return len > 0 && len < REWRITE_MAX;
}

bool rewrite_url(const char *value, const char *registry, const char *base, char out[REWRITE_MAX])
{
    return exchange(value, 0, strlen(value), registry, base, out);
}

bool rewrite_link(const char *value, const char *registry, const char *base, char out[REWRITE_MAX])
{
    const char *open = strchr(value, '<'), *close = open ? strchr(open, '>') : NULL;
    return close && exchange(value, (size_t)(open + 1 - value), (size_t)(close - open - 1),
                             registry, base, out);
}

bool rewrite_realm(const char *value, const char *registry, const char *base, char out[REWRITE_MAX],
                   char path[REWRITE_MAX])
{
    static const char key[] = "realm=\"";
    const char *at = strcasestr(value, key);
    path[0] = 0;
    if (strncasecmp(value, "Bearer", 6) != 0 || !at)
        return false;
    at += sizeof(key) - 1;
    const char *end = strchr(at, '"');
    size_t rest;
    const char *from = end ? after_registry(at, (size_t)(end - at), registry, &rest) : NULL;
    if (!from || rest == 0)
        return false;
    snprintf(path, REWRITE_MAX, "%.*s", (int)strcspn(from, "?\"#"), from);
    return exchange(value, (size_t)(at - value), (size_t)(end - at), registry, base, out);
}

/* One character of a path: %2e is read as a dot; %2f, and a backslash, as the slash that some take
 * it for. `*n` is how long it is. */
static char path_char(const char *p, size_t left, size_t *n)
{
    static const struct {
        char text[4], means;
    } words[] = {{"%2e", '.'}, {"%2f", '/'}, {"%5c", '/'}, {"\\", '/'}};
    for (size_t i = 0; i < countof(words); i++) {
        *n = strlen(words[i].text);
        if (left >= *n && strncasecmp(p, words[i].text, *n) == 0)
            return words[i].means;
    }
    *n = 1;
    return *p;
}

bool rewrite_path_is_plain(const char *target, size_t len)
{
    size_t dots = 0, others = 0, n;
    for (size_t i = 0; i < len && target[i] != '?'; i += n) {
        char c = path_char(target + i, len - i, &n);
        if (c == '/') {
            if (others == 0 && (dots == 1 || dots == 2))
                return false;
            dots = others = 0;
        } else if (c == '.') {
            dots++;
        } else {
            others++;
        }
    }
    return others > 0 || dots == 0 || dots > 2;
}

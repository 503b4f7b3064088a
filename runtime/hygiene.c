/* hygiene.c - see hygiene.h. URLs are read by libcurl's own parser, so that what is checked here is
 * what will be connected to. */
#include "runtime/hygiene.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int origin_from_handle(struct url_origin *o, CURLU *u)
{
    char *scheme = NULL, *host = NULL, *port = NULL, *user = NULL;
    int rc = ERR_INVAL;
    memset(o, 0, sizeof(*o));
    if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
        goto out;
    if (curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
        goto out;
    if (strcmp(scheme, "https") == 0)
        o->https = true;
    else if (strcmp(scheme, "http") != 0)
        goto out;
    size_t n = strlen(host);
    const char *h = host;
    if (n >= 2 && h[0] == '[' && h[n - 1] == ']') {
        h++;
        n -= 2;
    }
    if (n == 0 || n >= sizeof(o->host))
        goto out;
    for (size_t i = 0; i < n; i++)
        o->host[i] = (char)tolower((unsigned char)h[i]);
    o->port = (u16)strtoul(port, NULL, 10);
    rc = 0;
out:
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(user);
    return rc;
}

int url_origin_parse(struct url_origin *o, const char *url)
{
    CURLU *u = curl_url();
    if (!u)
        return ERR_NOMEM;
    int rc = ERR_INVAL;
    if (strlen(url) < URL_MAX && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK)
        rc = origin_from_handle(o, u);
    curl_url_cleanup(u);
    return rc;
}

static bool listed(const struct url_origin *t, const char *entry)
{
    char with_port[300];
    bool v6 = strchr(t->host, ':') != NULL;
    snprintf(with_port, sizeof(with_port), v6 ? "[%s]:%u" : "%s:%u", t->host, t->port);
    if (strcasecmp(entry, t->host) == 0 || strcasecmp(entry, with_port) == 0)
        return true;
    size_t n = strlen(entry);
    return v6 && n == strlen(t->host) + 2 && entry[0] == '[' &&
           strncasecmp(entry + 1, t->host, n - 2) == 0;
}

enum target_kind target_classify(const struct url_origin *own, const struct url_origin *target,
                                 char *const *allow, size_t n_allow)
{
    if (own->port == target->port && strcmp(own->host, target->host) == 0)
        return TARGET_OWN;
    for (size_t i = 0; i < n_allow; i++)
        if (listed(target, allow[i]))
            return TARGET_LISTED;
    return TARGET_FOREIGN;
}

int url_resolve(const char *base, const char *location, char out[URL_MAX])
{
    CURLU *u = curl_url();
    if (!u)
        return ERR_NOMEM;
    int rc = ERR_INVAL;
    char *full = NULL;
    if (strlen(location) >= URL_MAX) {
        rc = ERR_TOOBIG;
        goto out;
    }
    if (curl_url_set(u, CURLUPART_URL, base, 0) != CURLUE_OK ||
        curl_url_set(u, CURLUPART_URL, location, 0) != CURLUE_OK)
        goto out;
    curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
    if (curl_url_get(u, CURLUPART_URL, &full, 0) != CURLUE_OK)
        goto out;
    if (strlen(full) >= URL_MAX) {
        rc = ERR_TOOBIG;
        goto out;
    }
    memcpy(out, full, strlen(full) + 1);
    rc = 0;
out:
    curl_free(full);
    curl_url_cleanup(u);
    return rc;
}

static bool v4_is_public(const u8 a[4])
{
    return !(a[0] == 0 || a[0] == 10 || a[0] == 127 || a[0] >= 224 ||
             (a[0] == 100 && (a[1] & 0xc0) == 64) ||   /* RFC 6598 shared */
             (a[0] == 169 && a[1] == 254) ||           /* link-local */
             (a[0] == 172 && (a[1] & 0xf0) == 16) ||   /* RFC 1918 */
             (a[0] == 192 && a[1] == 168) ||           /* RFC 1918 */
             (a[0] == 192 && a[1] == 0 && a[2] == 0)); /* IETF protocol assignments */
}

static bool v6_is_public(const u8 a[16])
{
    static const u8 zero[15];
    static const u8 mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const u8 nat64[12] = {0, 0x64, 0xff, 0x9b};
    static const u8 local_nat64[6] = {0, 0x64, 0xff, 0x9b, 0, 1}; /* RFC 8215: a site's own */
    if (memcmp(a, local_nat64, 6) == 0)
        return false;
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0 || memcmp(a, zero, 12) == 0)
        return memcmp(a, zero, 15) != 0 && v4_is_public(a + 12);
    if (a[0] == 0x20 && a[1] == 0x02) /* 6to4 carries an IPv4 address */
        return v4_is_public(a + 2);
    return !((a[0] & 0xfe) == 0xfc ||                   /* RFC 4193 unique local */
             (a[0] == 0xfe && (a[1] & 0x80) == 0x80) || /* link-local, site-local */
             a[0] == 0xff);                             /* multicast */
}

bool address_is_public(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        return v4_is_public((const u8 *)&in->sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)address;
        return v6_is_public(in->sin6_addr.s6_addr);
    }
    return false;
}

/* unfit.c - see unfit.h. */
#include "tracker/unfit.h"

#include <string.h>

#include "runtime/hygiene.h"

/* Clients may read other characters, and encoded ones, as letters and dots of our own name (UTS 46,
 * RFC 3986): names are compared as they are. */
static bool is_plain(const char *url)
{
    for (; *url; url++)
        if ((u8)*url <= 0x20 || (u8)*url >= 0x7f || *url == '%')
            return false;
    return true;
}

/* Without the root's dot. */
static size_t length(const char *host)
{
    size_t n = strlen(host);
    return n > 0 && host[n - 1] == '.' ? n - 1 : n;
}

bool unfit_url(const char *url, const char *own)
{
    struct url_origin a, b;
    if (!url || !is_plain(url) || url_origin_parse(&a, url) || url_origin_parse(&b, own))
        return true;
    size_t n = length(a.host), m = length(b.host);
    if (n < m || memcmp(a.host + n - m, b.host, m) != 0)
        return false;
    return n == m || a.host[n - m - 1] == '.';
}

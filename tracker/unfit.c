/* unfit.c - see unfit.h. */
#include "tracker/unfit.h"

#include <string.h>

#include "runtime/hygiene.h"

bool unfit_url(const char *url, const char *own)
{
    struct url_origin a, b;
    if (!url || url_origin_parse(&a, url) || url_origin_parse(&b, own))
        return true;
    size_t n = strlen(a.host), m = strlen(b.host);
    if (n < m || strcmp(a.host + n - m, b.host) != 0)
        return false;
    return n == m || a.host[n - m - 1] == '.';
}

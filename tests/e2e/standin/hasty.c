/* hasty.c - stands between the programs and runtime/http_client.h: what they would wait for twenty
 * seconds and more of a registry, they wait for a twelfth of that. So a test need not wait for
 * minutes to see what becomes of a request that a registry keeps for ever. A timer that is not
 * there is not made.
 */
#include <string.h>

#include "runtime/http_client.h"

#define PART    12
#define LONG_MS 20000

int __real_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out);
int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out);

static void shorten(u32 *ms, u32 by_default)
{
    if (*ms == 0)
        *ms = by_default;
    if (*ms >= LONG_MS)
        *ms /= PART;
}

int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out)
{
    struct http_transfer_options hasty = *opt;
    if (strstr(opt->url, "/mesh/")) /* peers have other times */
        return __real_http_transfer_start(c, opt, out);
    shorten(&hasty.head_timeout_ms, 60000);
    shorten(&hasty.stall_timeout_ms, 30000);
    shorten(&hasty.whole_timeout_ms, 0);
    return __real_http_transfer_start(c, &hasty, out);
}

/* accept.c - see accept.h. */
#include "runtime/accept.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* One type more: hashes are added up, so that their order does not matter. */
static void add_type(const char *at, size_t n, u8 sum[ACCEPT_SUM_SIZE])
{
    u8 one[crypto_generichash_BYTES_MIN];
    static_assert(sizeof(one) == ACCEPT_SUM_SIZE, "BLAKE2b's shortest");
    while (n > 0 && is_space(*at))
        at++, n--;
    while (n > 0 && is_space(at[n - 1]))
        n--;
    if (n == 0)
        return;
    crypto_generichash(one, sizeof(one), (const u8 *)at, n, NULL, 0);
    sodium_add(sum, one, sizeof(one));
}

void accept_sum(const struct http_request *r, u8 sum[ACCEPT_SUM_SIZE])
{
    memset(sum, 0, ACCEPT_SUM_SIZE);
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct http_field *f = &r->fields[i];
        if (f->name.n != 6 || strncasecmp(f->name.p, "Accept", 6) != 0)
            continue;
        for (size_t at = 0; at < f->value.n;) {
            const char *begin = f->value.p + at, *comma = memchr(begin, ',', f->value.n - at);
            size_t n = comma ? (size_t)(comma - begin) : f->value.n - at;
            add_type(begin, n, sum);
            at += n + 1;
        }
    }
}

/* Any bytes as the file of purge orders (runtime/region_orders.c). What is read can be written and
 * read again, and is the same. */
#include <stdlib.h>
#include <string.h>

#include "runtime/region_impl.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static struct purge_order orders[LIMIT_PURGES], again[LIMIT_PURGES];
    static u8 packed[LIMIT_PURGES * 256];
    size_t n = region_orders_unpack(data, size, orders, LIMIT_PURGES);
    size_t len = region_orders_pack(orders, n, packed, sizeof(packed));
    must(region_orders_unpack(packed, len, again, LIMIT_PURGES) == n);
    must(memcmp(orders, again, n * sizeof(*orders)) == 0);
    for (size_t i = 0; i < n; i++) {
        char text[DIGEST_TEXT_SIZE];
        must(digest_format(&orders[i].digest, text) > 0);
    }
    return 0;
}

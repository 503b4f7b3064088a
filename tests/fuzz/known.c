/* Any bytes as the file of members lately known (runtime/region_known.c). What is read can be
 * written and read again, and is the same; all of it can be knocked at. */
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
    static struct addr known[REGION_KNOWN_MAX], again[REGION_KNOWN_MAX];
    u8 packed[REGION_KNOWN_BYTES];
    size_t n = region_known_unpack(data, size, known);
    size_t len = region_known_pack(known, n, packed, sizeof(packed));
    must(len > 0);
    must(region_known_unpack(packed, len, again) == n);
    must(memcmp(known, again, n * sizeof(*known)) == 0);
    for (size_t i = 0; i < n; i++)
        must(addr_is_set(&known[i]) && known[i].port != 0);
    return 0;
}

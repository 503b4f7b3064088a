/* Any bytes as a tracker's revocations: what is read is within its bounds, and reads the same
 * again.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/revoke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct revoke all[REVOKE_MAX], again[REVOKE_MAX];
    static u8 out[REVOKE_BYTES_MAX];
    size_t n, m;
    if (revoke_unpack(all, &n, data, size)) {
        if (n)
            abort();
        return 0;
    }
    if (n > REVOKE_MAX)
        abort();
    size_t len = revoke_pack(all, n, out);
    if (revoke_unpack(again, &m, out, len) || m != n || memcmp(all, again, n * sizeof(*all)) != 0)
        abort();
    return 0;
}

/* Any bytes as a tracker's order to prefetch: what is read is within its bounds, and reads the same
 * again.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/prefetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct prefetch_order o, again;
    static u8 out[PREFETCH_BYTES_MAX];
    struct prefetch_image image, same;
    if (prefetch_image_unpack(&image, data, size) == 0) {
        size_t n = prefetch_image_pack(&image, out);
        if (prefetch_image_unpack(&same, out, n) || strcmp(same.image, image.image) != 0 ||
            strcmp(same.platform, image.platform) != 0)
            abort();
    }
    if (prefetch_unpack(&o, data, size)) {
        if (o.n)
            abort();
        return 0;
    }
    if (o.n > PREFETCH_MAX)
        abort();
    size_t len = prefetch_pack(&o, out);
    if (prefetch_unpack(&again, out, len) || again.n != o.n ||
        strcmp(again.repository, o.repository) != 0)
        abort();
    for (size_t i = 0; i < o.n; i++)
        if (!digest_equal(&o.blobs[i].digest, &again.blobs[i].digest) ||
            o.blobs[i].config != again.blobs[i].config ||
            o.blobs[i].ticket_n != again.blobs[i].ticket_n ||
            (o.blobs[i].ticket_n > 0 &&
             memcmp(o.blobs[i].ticket, again.blobs[i].ticket, o.blobs[i].ticket_n) != 0))
            abort();
    return 0;
}

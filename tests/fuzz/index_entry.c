/* Any bytes as keys and values of the store's index: what is read is within its bounds, and a key
 * is written again as it was. The first byte says how long the key is. */
#include "store/index.h"

#include <stdlib.h>
#include <string.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool read_key(const u8 *key, size_t len, struct digest *d)
{
    u8 out[INDEX_KEY_MAX];
    if (index_key_read(key, len, d))
        return false;
    must(index_key(out, d) == len && memcmp(out, key, len) == 0);
    return true;
}

static void read_order(const u8 *key, size_t len)
{
    u8 out[INDEX_ORDER_MAX];
    struct digest d;
    u64 ms;
    if (index_order_read(key, len, &ms, &d) == 0)
        must(index_order_key(out, ms, &d) == len && memcmp(out, key, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest d;
    struct blob_info loose, strict;
    if (size == 0 || data[0] > size - 1)
        return 0;
    const u8 *key = data + 1, *value = key + data[0];
    size_t key_len = data[0], len = size - 1 - key_len;
    read_order(key, key_len);
    if (!read_key(key, key_len, &d) || index_value_read(&d, value, len, false, &loose))
        return 0;
    must(strnlen(loose.media_type, sizeof(loose.media_type)) < sizeof(loose.media_type));
    must(strnlen(loose.source, sizeof(loose.source)) < sizeof(loose.source));
    u8 summed[4096];
    if (len < 8 || len > sizeof(summed) || index_value_read(&d, value, len, true, &strict) == 0)
        return 0;
    memcpy(summed, value, len); /* with the right sum the same is read */
    u64 sum = index_sum(index_sum(INDEX_SUM_FIRST, key, key_len), summed, len - 8);
    for (int i = 0; i < 8; i++)
        summed[len - 1 - (size_t)i] = (u8)(sum >> (8 * i));
    must(index_value_read(&d, summed, len, true, &strict) == 0);
    must(strict.size == loose.size && strcmp(strict.media_type, loose.media_type) == 0);
    return 0;
}

/* Any text read as Range and as Content-Range. The first eight bytes are the blob's size. */
#include <stdlib.h>
#include <string.h>

#include "proto/err.h"
#include "proto/range.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    u64 blob = 0, total;
    struct byte_range r;
    if (size < sizeof blob)
        return 0;
    for (unsigned i = 0; i < sizeof blob; i++)
        blob |= (u64)data[i] << (8 * i);
    const char *text = (const char *)data + sizeof blob;
    size_t len = size - sizeof blob;

    switch (range_parse(text, len, blob, &r)) {
    case RANGE_NONE: must(blob == 0 || (r.first == 0 && r.last == blob - 1)); break;
    case RANGE_PART: must(r.first <= r.last && r.last < blob); break;
    case RANGE_UNMET: break;
    }
    int err = range_parse_content(text, len, &r, &total);
    if (err) {
        must(err == ERR_INVAL);
        return 0;
    }
    must(r.first <= r.last && r.last < total);
    return 0;
}

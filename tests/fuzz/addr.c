/* Any text read as an address: what is accepted is written so that it reads back the same. */
#include <stdlib.h>

#include "proto/addr.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct addr a, b;
    char text[ADDR_TEXT_SIZE], again[ADDR_TEXT_SIZE];
    if (addr_parse(&a, (const char *)data, size)) {
        must(!addr_is_set(&a));
        return 0;
    }
    size_t len = addr_format(&a, text);
    must(len < sizeof text && text[len] == '\0');
    must(addr_parse(&b, text, len) == 0 && addr_equal(&a, &b));
    must(addr_format(&b, again) == len);
    must(addr_common_bits(&a, &b) == (addr_is_v4(&a) ? 32 : 128));
    return 0;
}

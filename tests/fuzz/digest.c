/* Any text read as a digest: what is accepted writes back to exactly that text, what is refused
 * leaves nothing behind. */
#include <stdlib.h>
#include <string.h>

#include "proto/digest.h"
#include "proto/err.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct digest d, nothing = {0};
    char text[DIGEST_TEXT_SIZE];
    memset(&d, 0xff, sizeof d);
    int err = digest_parse(&d, (const char *)data, size);
    if (err) {
        must(err == ERR_INVAL || err == ERR_UNSUPPORTED);
        must(memcmp(&d, &nothing, sizeof d) == 0);
        return 0;
    }
    must(digest_format(&d, text) == size);
    must(memcmp(text, data, size) == 0);
    must(digest_equal(&d, &d) && !digest_equal(&d, &nothing));
    return 0;
}

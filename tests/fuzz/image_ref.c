/* Any text as an image: what is taken has a repository and a reference that a registry could have,
 * and reads the same again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/image_ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_ref r, again;
    char again_text[2048];
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = 0;
    if (image_ref_parse(&r, text) == 0) {
        snprintf(again_text, sizeof(again_text), "%s%s%s%c%s", r.registry, r.registry[0] ? "/" : "",
                 r.repository, strchr(r.reference, ':') ? '@' : ':', r.reference);
        if (!r.repository[0] || !r.reference[0] || image_ref_parse(&again, again_text) ||
            strcmp(again.reference, r.reference) != 0)
            abort();
    }
    (void)image_ref_is_platform(text, "linux", "arm", "v7");
    free(text);
    return 0;
}

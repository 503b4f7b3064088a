/* Any bytes read as an image manifest: what is told are digests that stand in it, whole or not at
 * all, and the same bytes always tell the same. */
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "runtime/manifest.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

struct told {
    const uint8_t *data;
    size_t size, n;
    u64 sum;
};

static void each(void *arg, const struct manifest_blob *b)
{
    struct told *t = arg;
    char text[DIGEST_TEXT_SIZE];
    size_t len = digest_format(&b->digest, text);
    /* Its hex digits stand in the text as they are, unless the text writes them as escapes. */
    bool escaped = memchr(t->data, '\\', t->size);
    must(escaped || memmem(t->data, t->size, text, len));
    must(!b->config || t->n == 0); /* one, and first */
    t->n++;
    must(b->size == UINT64_MAX || b->size <= INT64_MAX);
    t->sum = (t->sum * 31 + digest_hash(&b->digest, 1)) * 31 + b->size;
}

static const char *const types[] = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.index.v1+json",
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned images = 0, kinds = 0;
    for (size_t i = 0; i < countof(types); i++) {
        struct told first = {data, size, 0, 0}, second = first;
        int err = manifest_blobs(types[i], data, size, each, &first);
        bool only = manifest_is_of_type(types[i], data, size);
        must(err == 0 || err == ERR_INVAL || err == ERR_TOOBIG || err == ERR_UNSUPPORTED);
        must(first.n <= (err ? 0 : MANIFEST_BLOBS_MAX + 1));
        must(manifest_blobs(types[i], data, size, each, &second) == err);
        must(first.n == second.n && first.sum == second.sum);
        must(only || err); /* what teaches as an image can be nothing else */
        images += err == 0;
        kinds += only;
    }
    must(images <= 1 && kinds <= 1);
    char *type = strndup((const char *)data, size); /* and as the name of a type */
    must(type != NULL);
    struct told none = {data, size, 0, 0};
    if (manifest_is_schema1(type))
        must(manifest_blobs(type, data, size, each, &none) == ERR_INVAL && none.n == 0);
    free(type);
    return 0;
}

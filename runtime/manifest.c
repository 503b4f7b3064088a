/* manifest.c - see manifest.h. */
#include "runtime/manifest.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/limits.h"

/* A parsed value takes up to a hundred times the room of its text: what has more of them than any
 * manifest needs is not parsed. Counted are their separators, those inside of strings too. */
#define VALUES_MAX (64 * 1024)

static bool values_are_few(const char *json, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += json[i] == ',' || json[i] == '[' || json[i] == '{';
    return n <= VALUES_MAX;
}

/* Go's JSON, which registries use, matches keys in any case and folds some letters outside ASCII:
 * an object in which that could matter is not read at all. */
static bool keys_are_plain(json_t *object)
{
    static const char *const known[] = {"config",    "layers",   "digest",   "urls",
                                        "manifests", "fsLayers", "mediaType"};
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        for (const char *c = key; *c; c++)
            if ((unsigned char)*c >= 0x80)
                return false;
        for (size_t i = 0; i < countof(known); i++)
            if (strcasecmp(key, known[i]) == 0 && strcmp(key, known[i]) != 0)
                return false;
    }
    return true;
}

static int blob_of(json_t *descriptor, struct manifest_blob *out)
{
    json_t *text = json_object_get(descriptor, "digest");
    json_t *size = json_object_get(descriptor, "size");
    if (!json_is_object(descriptor) || !keys_are_plain(descriptor) || !json_is_string(text))
        return ERR_INVAL;
    *out = (struct manifest_blob){.size = UINT64_MAX};
    if (json_is_integer(size) && json_integer_value(size) >= 0)
        out->size = (u64)json_integer_value(size);
    return digest_parse(&out->digest, json_string_value(text), json_string_length(text));
}

#define DOCKER_IMAGE "application/vnd.docker.distribution.manifest.v2+json"
#define OCI_IMAGE    "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX    "application/vnd.oci.image.index.v1+json"
#define DOCKER_INDEX "application/vnd.docker.distribution.manifest.list.v2+json"

/* Is a Content-Type, with or without parameters, this media type? */
static bool type_is(const char *content_type, const char *media_type)
{
    size_t n = strlen(media_type);
    char after = strncmp(content_type, media_type, n) == 0 ? content_type[n] : 'x';
    return after == '\0' || after == ';' || after == ' ';
}

static bool is_image(const char *media_type)
{
    return type_is(media_type, DOCKER_IMAGE) || type_is(media_type, OCI_IMAGE);
}

/* By its own word. */
static bool says_type(json_t *root, const char *media_type)
{
    json_t *said = json_object_get(root, "mediaType");
    return json_is_string(said) && json_string_length(said) > 0 &&
           type_is(media_type, json_string_value(said));
}

/* Every digest, found before any is told: a document is taken whole or not at all. */
static int collect(json_t *root, struct manifest_blob *found, size_t *n)
{
    json_t *config = json_object_get(root, "config"), *layers = json_object_get(root, "layers");
    if (!json_is_object(root) || !keys_are_plain(root) || json_object_get(root, "manifests") ||
        json_object_get(root, "fsLayers") || !json_is_array(layers))
        return ERR_INVAL;
    if (json_array_size(layers) > MANIFEST_BLOBS_MAX)
        return ERR_TOOBIG;
    int rc = blob_of(config, &found[0]);
    found[0].config = true;
    *n = json_object_get(config, "urls") ? 0 : 1;
    size_t i;
    json_t *layer;
    json_array_foreach(layers, i, layer)
    {
        if (rc == 0)
            rc = blob_of(layer, &found[*n]);
        if (rc == 0 && !json_object_get(layer, "urls"))
            *n += 1;
    }
    return rc;
}

int manifest_blobs(const char *media_type, const void *json, size_t len,
                   void (*each)(void *arg, const struct manifest_blob *b), void *arg)
{
    if (!is_image(media_type))
        return ERR_INVAL;
    if (len > LIMIT_MANIFEST_BYTES || !values_are_few(json, len))
        return ERR_TOOBIG;
    struct manifest_blob *found = calloc(MANIFEST_BLOBS_MAX + 2, sizeof(*found));
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    size_t n = 0;
    int rc = !found                        ? ERR_NOMEM
             : says_type(root, media_type) ? collect(root, found, &n)
                                           : ERR_INVAL;
    for (size_t i = 0; rc == 0 && i < n; i++)
        each(arg, &found[i]);
    json_decref(root);
    free(found);
    return rc;
}

static const char *text_at(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* True: `*child` is filled in. */
static bool child_of(json_t *entry, struct manifest_child *child)
{
    struct manifest_blob b;
    json_t *platform = json_object_get(entry, "platform");
    if (blob_of(entry, &b))
        return false;
    *child = (struct manifest_child){.digest = b.digest,
                                     .os = text_at(platform, "os"),
                                     .architecture = text_at(platform, "architecture"),
                                     .variant = text_at(platform, "variant")};
    return true;
}

int manifest_children(const char *media_type, const void *json, size_t len,
                      void (*each)(void *arg, const struct manifest_child *c), void *arg)
{
    struct manifest_child child;
    size_t i;
    if (!type_is(media_type, OCI_INDEX) && !type_is(media_type, DOCKER_INDEX))
        return ERR_INVAL;
    if (len > LIMIT_MANIFEST_BYTES || !values_are_few(json, len))
        return ERR_TOOBIG;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL), *entry;
    json_t *all = json_object_get(root, "manifests");
    int rc = json_is_object(root) && keys_are_plain(root) && json_is_array(all) ? 0 : ERR_INVAL;
    if (rc == 0 && json_array_size(all) > MANIFEST_BLOBS_MAX)
        rc = ERR_TOOBIG;
    for (i = 0; rc == 0 && i < json_array_size(all); i++)
        rc = child_of(json_array_get(all, i), &child) ? 0 : ERR_INVAL;
    if (rc == 0)
        json_array_foreach(all, i, entry)
        {
            if (child_of(entry, &child))
                each(arg, &child);
        }
    json_decref(root);
    return rc;
}

bool manifest_is_of_type(const char *media_type, const void *json, size_t len)
{
    if (len > LIMIT_MANIFEST_BYTES || !values_are_few(json, len))
        return false;
    for (const char *c = media_type; *c; c++)
        if (*c < 0x20 || *c >= 0x7f)
            return false;
    json_t *root = json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL);
    bool image = json_object_get(root, "layers") || json_object_get(root, "config");
    bool index = json_object_get(root, "manifests");
    bool is = false;
    if (!json_is_object(root) || !keys_are_plain(root))
        is = false;
    else if (json_object_get(root, "mediaType"))
        is = says_type(root, media_type);
    else if (!json_object_get(root, "fsLayers"))
        is = image != index && type_is(media_type, image ? OCI_IMAGE : OCI_INDEX);
    json_decref(root);
    return is;
}

bool manifest_is_schema1(const char *media_type)
{
    return strncmp(media_type, "application/vnd.docker.distribution.manifest.v1", 47) == 0;
}

/* region_keys.c - the region's key ring, as the file has it: the first line seals, all open. */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "runtime/keyfile.h"
#include "runtime/region_impl.h"

static_assert(KEYFILE_MESH == SEAL_KEY_BYTES, "a mesh key seals");
static_assert(KEYFILE_KEYS <= LIMIT_MESH_KEYS, "a file's keys fit in a ring");
static_assert(sizeof(((struct region_ring *)NULL)->names[0]) > KEYFILE_ID_MAX, "ids fit");

int region_ring_read(struct region_ring *ring, const char *file, char why[CONF_WHY_MAX])
{
    struct keyfile_key keys[KEYFILE_KEYS];
    char text[KEYFILE_MAX];
    size_t n = 0;
    unsigned line = 0;
    int rc = conf_secret(file, text, sizeof(text), why);
    if (rc == 0 && (rc = keyfile_parse(text, KEYFILE_MESH, keys, &n, &line)) != 0)
        snprintf(why, CONF_WHY_MAX, "%.300s, line %u: is no mesh key, or one too many", file, line);
    sodium_memzero(text, sizeof(text));
    if (rc == 0) {
        memset(ring, 0, sizeof(*ring));
        ring->n = n;
        for (size_t i = 0; i < n; i++) {
            memcpy(ring->keys[i].bytes, keys[i].bytes, SEAL_KEY_BYTES);
            snprintf(ring->names[i], sizeof(ring->names[i]), "%s", keys[i].id);
        }
    }
    sodium_memzero(keys, sizeof(keys));
    return rc;
}

int region_reload(struct region *r, char why[CONF_WHY_MAX])
{
    struct region_ring ring;
    int rc = region_ring_read(&ring, r->opt.config.mesh_key, why);
    if (rc)
        return rc;
    if (r->mesh && (rc = mesh_set_keys(r->mesh, ring.keys, ring.n)) != 0)
        snprintf(why, CONF_WHY_MAX, "%.300s: holds one key twice", r->opt.config.mesh_key);
    if (rc == 0) {
        r->ring = ring;
        region_kick(r);
    }
    sodium_memzero(&ring, sizeof(ring));
    return rc;
}

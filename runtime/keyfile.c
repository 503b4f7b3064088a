/* keyfile.c - see keyfile.h. */
#include "runtime/keyfile.h"

#include <sodium.h>
#include <string.h>

#define BASE64_KIND sodium_base64_VARIANT_ORIGINAL

static bool id_valid(const char *id, size_t n)
{
    return n >= 1 && n <= KEYFILE_ID_MAX && strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz") >= n;
}

static int parse_line(const char *p, size_t len, size_t key_bytes, struct keyfile_key *out)
{
    const char *colon = memchr(p, ':', len);
    if (!colon || !id_valid(p, (size_t)(colon - p)))
        return ERR_INVAL;
    size_t id_len = (size_t)(colon - p), n = 0;
    memcpy(out->id, p, id_len);
    out->id[id_len] = 0;
    const char *end = NULL;
    if (sodium_base642bin(out->bytes, sizeof(out->bytes), colon + 1, len - id_len - 1, NULL, &n,
                          &end, BASE64_KIND) != 0)
        return ERR_INVAL;
    return end == p + len && n == key_bytes ? 0 : ERR_INVAL;
}

int keyfile_parse(const char *text, size_t key_bytes, struct keyfile_key keys[KEYFILE_KEYS],
                  size_t *n, unsigned *line)
{
    *n = 0;
    *line = 0;
    for (const char *p = text; *p;) {
        size_t len = strcspn(p, "\n"), trimmed = len;
        ++*line;
        while (trimmed && strchr(" \t\r", p[trimmed - 1]))
            trimmed--;
        if (trimmed && *p != '#') {
            if (*n == KEYFILE_KEYS)
                return ERR_FULL;
            int rc = parse_line(p, trimmed, key_bytes, &keys[*n]);
            if (rc)
                return rc;
            for (size_t i = 0; i < *n; i++)
                if (strcmp(keys[i].id, keys[*n].id) == 0)
                    return ERR_EXISTS;
            ++*n;
        }
        p += len + (p[len] == '\n');
    }
    return *n ? 0 : ERR_INVAL;
}

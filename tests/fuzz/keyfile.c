/* Any text as a key file. The first byte says how long its keys are. What is taken has ids and keys
 * of that length, no id twice; what is refused names its line. */
#include <stdlib.h>
#include <string.h>

#include "runtime/keyfile.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct keyfile_key keys[KEYFILE_KEYS];
    size_t n, lines = 1;
    unsigned line;
    if (size == 0 || size > KEYFILE_MAX)
        return 0;
    char *text = malloc(size);
    must(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    int rc = keyfile_parse(text, data[0] % 2 ? KEYFILE_TICKET : KEYFILE_MESH, keys, &n, &line);
    must(line <= lines && n <= KEYFILE_KEYS && (rc != 0 || n > 0));
    for (size_t i = 0; rc == 0 && i < n; i++) {
        must(strlen(keys[i].id) >= 1 && strlen(keys[i].id) <= KEYFILE_ID_MAX);
        for (size_t k = 0; k < i; k++)
            must(strcmp(keys[i].id, keys[k].id) != 0);
    }
    free(text);
    return 0;
}

/* What an asker says it holds of chains: any text, looked up for a signer that it names, and for
 * one whose key is its first bytes. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct node_key keys[2] = {{{0}}, {{0}}};
    size_t n = 0;
    char *text = malloc(size + 1); /* of its own size: a read beyond it is found */
    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    (void)sodium_hex2bin(keys[0].bytes, NODE_KEY_BYTES, text, size, NULL, &n, NULL);
    memcpy(keys[1].bytes, text, size < NODE_KEY_BYTES ? size : NODE_KEY_BYTES);
    char *exact = realloc(text, size ? size : 1);
    for (size_t i = 0; exact && i < 2; i++)
        if (chain_text_states(exact, size, &keys[i]) > LIMIT_PIECES)
            abort();
    free(exact ? exact : text);
    return 0;
}

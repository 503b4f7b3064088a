/* Any text read as a ticket, by a node that knows one key; and any payload, rightly signed. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/ticket.h"

static void check(const char *text, size_t len, const struct ticket_key *key)
{
    struct node_key node = {{1}};
    struct digest digest = {.alg = DIGEST_SHA256};
    struct ticket_wanted wanted = {&node, "a", &digest, 1700000000};
    struct ticket t;
    enum ticket_verdict v = ticket_check(text, len, key, 1, &wanted, &t);
    if (v == TICKET_VALID && (!node_key_equal(&t.node, &node) || !digest_equal(&t.digest, &digest)))
        abort();
    if (v != TICKET_VALID && node_key_is_set(&t.node))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char context[] = "dray ticket";
    u8 seed[32] = {5}, said[2048], bytes[2048];
    struct ticket_key key = {.kid = "k"};
    struct node_key public;
    struct node_secret secret;
    char text[4096];
    identity_from_seed(seed, &public, &secret);
    memcpy(key.bytes, public.bytes, sizeof(key.bytes));
    check((const char *)data, size, &key);
    if (size > 1024)
        return 0;
    memcpy(said, context, sizeof(context) - 1);
    memcpy(said + sizeof(context) - 1, data, size);
    memcpy(bytes, data, size);
    crypto_sign_detached(bytes + size, NULL, said, sizeof(context) - 1 + size, secret.bytes);
    sodium_bin2base64(text, sizeof(text), bytes, size + crypto_sign_BYTES,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    check(text, strlen(text), &key);
    return 0;
}

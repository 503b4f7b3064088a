/* chain_text.c - how far each chain is held, as text, written and read; see chain.h. */
#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "proto/chain_impl.h"

#define HEX (2 * NODE_KEY_BYTES)

static_assert(CHAINS_MAX * (HEX + sizeof(":16384")) < CHAIN_TEXT_SIZE, "the longest fits");
static_assert(LIMIT_PIECES <= 99999, "five digits");

/* Who did not send what is unsigned sends it, too: it may be made up. */
static u32 needs_not(const struct chain *ch, const struct node_key *relay)
{
    return ch->own || node_key_equal(&ch->relay, relay) ? ch->held : ch->signed_to;
}

void chains_text(struct chains *c, const struct node_key *relay, char out[CHAIN_TEXT_SIZE])
{
    char key[HEX + 1];
    size_t len = 0;
    snprintf(out, CHAIN_TEXT_SIZE, "-");
    for (size_t i = 0; i < CHAINS_MAX; i++) {
        struct chain *ch = &c->list[i];
        if (!ch->own)
            (void)chain_check(c, ch);
        u32 states = ch->used ? needs_not(ch, relay) : 0;
        if (states == 0)
            continue;
        sodium_bin2hex(key, sizeof(key), ch->signer.bytes, NODE_KEY_BYTES);
        int more = snprintf(out + len, CHAIN_TEXT_SIZE - len, "%s%s:%" PRIu32, len ? "," : "", key,
                            states);
        assert(more > 0 && (size_t)more < CHAIN_TEXT_SIZE - len);
        len += (size_t)more;
    }
}

static u32 read_states(const char *p, size_t n)
{
    u32 states = 0;
    for (size_t i = 0; i < n && p[i] >= '0' && p[i] <= '9'; i++) {
        states = states * 10 + (u32)(p[i] - '0');
        if (states > LIMIT_PIECES)
            return LIMIT_PIECES;
    }
    return states;
}

u32 chain_text_states(const char *text, size_t n, const struct node_key *signer)
{
    char key[HEX + 2];
    sodium_bin2hex(key, HEX + 1, signer->bytes, NODE_KEY_BYTES);
    key[HEX] = ':';
    while (n > 0) {
        const char *comma = memchr(text, ',', n);
        size_t len = comma ? (size_t)(comma - text) : n;
        if (len > HEX + 1 && memcmp(text, key, HEX + 1) == 0)
            return read_states(text + HEX + 1, len - HEX - 1);
        len += comma != NULL;
        text += len;
        n -= len;
    }
    return 0;
}

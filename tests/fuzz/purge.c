/* Any bytes as purge messages: rumors, hashes, lists asked for and given. An order is believed only
 * with its issuer's signature, and the list stays sorted, bounded and equal to its hash. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"
#include "proto/purge.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct node_key key;
static struct node_secret secret;
static u8 *out;

static struct purge *make(u64 seed)
{
    struct purge *p = NULL;
    struct rng rng;
    rng_seed(&rng, seed);
    must(purge_new(&p, &rng, 0) == 0);
    purge_members(p, 5);
    return p;
}

/* The same list in another node has the same hash. */
static void look(const struct purge *p)
{
    struct purge *other = make(2);
    struct purge_order o;
    size_t n = 0;
    for (size_t at = 0; purge_each(p, &at, &o); n++) {
        must(purge_import(other, &o) == 0);
        must(purge_is(p, &o.digest, o.until_ms - 1) && !purge_is(p, &o.digest, o.until_ms));
    }
    must(n == purge_count(p) && n <= LIMIT_PURGES && purge_hash(p) == purge_hash(other));
    purge_del(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!out) {
        must(sodium_init() >= 0);
        out = malloc(LIMIT_TALK_BYTES);
        identity_from_seed((const u8[32]){7}, &key, &secret);
    }
    struct purge *p = make(1);
    struct digest d = {.alg = DIGEST_SHA256, .bytes = {1}};
    struct wire_out w;
    struct node_key to;
    must(purge_issue(p, &key, &secret, &d, 1000, 2000) == 0);
    purge_join(p);
    for (u64 now_ns = 0; size >= 3; now_ns += 1000000000) {
        size_t len = (size_t)data[1] << 8 | data[2];
        unsigned what = data[0];
        data += 3;
        size -= 3;
        len = len < size ? len : size;
        struct wire_in r;
        wire_in_init(&r, data, len);
        wire_out_init(&w, out, LIMIT_TALK_BYTES);
        switch (what % 3) {
        case 0: (void)!purge_read(p, &key, MSG_PURGE_FIRST + what / 3 % 8, &r, now_ns); break;
        case 1: (void)!purge_answer(p, &key, MSG_PURGE_FIRST + what / 3 % 8, &r, &w, now_ns); break;
        case 2:
            purge_expire(p, now_ns);
            if (purge_dial(p, &to, &w))
                purge_dialed(p, what & 64 ? ERR_TIMEOUT : 0, &r, now_ns);
            break;
        }
        wire_out_init(&w, out, 1155);
        if (purge_has_news(p) || purge_wants(p))
            purge_write(p, &w);
        must(!wire_full(&w));
        data += len;
        size -= len;
    }
    look(p);
    purge_del(p);
    return 0;
}

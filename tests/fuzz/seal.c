/* Any bytes as a sealed message, in two ways: as they are (nothing may open), and, with the first
 * byte as a lane and a choice of cipher, sealed rightly under a claimed head, so that hostile
 * epochs and counters reach the windows. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "proto/seal.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct seal *make(u8 node, bool clear)
{
    struct seal_options opt = {.self = {{node}}, .epoch = 1, .clear = clear, .seed = 5};
    struct seal_key k = {{1, 2, 3}};
    struct seal *s = NULL;
    must(seal_new(&s, &opt) == 0 && seal_set_keys(s, &k, 1) == 0);
    return s;
}

/* Rows of 25 bytes: what is done, sender, epoch, counter. Equal ones open once at most. */
static void windows(const u8 *data, size_t size)
{
    struct seal *b = make(2, false);
    struct seal_key k = {{1, 2, 3}};
    u8 text[1], sealed[SEAL_OVERHEAD];
    struct seal_from from;
    u32 id = seal_key_id(&k);
    for (; size >= 25; data += 25, size -= 25) {
        if (data[0] == 0xff) {
            u64 epoch = 0;
            for (int i = 0; i < 8; i++)
                epoch = epoch << 8 | data[9 + i];
            seal_epoch_known(b, data + 1, epoch);
            continue;
        }
        sealed[0] = WIRE_VERSION;
        for (int i = 0; i < 4; i++)
            sealed[1 + i] = (u8)(id >> (8 * (3 - i)));
        memcpy(sealed + 5, data + 1, 24);
        crypto_aead_xchacha20poly1305_ietf_encrypt_detached(sealed + SEAL_HEAD, sealed + SEAL_HEAD,
                                                            NULL, text, 0, sealed, SEAL_HEAD, NULL,
                                                            sealed + 5, k.bytes);
        enum seal_lane lane = (enum seal_lane)(data[0] % SEAL_LANE_COUNT);
        enum seal_drop d = seal_open(b, lane, sealed, sizeof sealed, text, &from);
        must(d != SEAL_SHORT && d != SEAL_VERSION && d != SEAL_KEY && d != SEAL_FORGED);
        if (d == SEAL_OK && (lane == SEAL_DATAGRAM || lane == SEAL_TALK))
            must(seal_open(b, lane, sealed, sizeof sealed, text, &from) == SEAL_REPLAYED);
    }
    seal_del(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        must(sodium_init() >= 0);
    ready = true;
    if (size == 0 || size > 8192)
        return 0;
    struct seal *b = make(2, false);
    u8 *text = malloc(size);
    struct seal_from from;
    for (enum seal_lane lane = 0; lane < SEAL_LANE_COUNT; lane++)
        must(seal_open(b, lane, data, size, text, &from) != SEAL_OK);
    seal_del(b);
    free(text);
    windows(data, size);
    return 0;
}

/* Claims and piece maps of any bytes, for a layer of few pieces: read from two relays in turn,
 * looked at, and written again: what is held is never more than the layer has, and nothing that was
 * not signed is shown as a step. */
#include <stdlib.h>
#include <string.h>

#include "proto/chain.h"
#include "proto/wire.h"

#define SIZE (9 * PIECE_MIN_BYTES)

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void look(struct chains *c)
{
    struct chain_head heads[CHAINS_MAX];
    struct chain_step steps[CHAINS_MAX];
    struct chain_evidence e;
    u8 buf[2048];
    u32 piece;
    size_t n = chains_heads(c, heads);
    for (size_t i = 0; i < n; i++) {
        struct wire_out w;
        must(heads[i].states < 9 && heads[i].signed_to <= heads[i].states);
        wire_out_init(&w, buf, sizeof(buf));
        u32 wrote = chains_write(c, &heads[i].signer, 0, 9, NULL, &w);
        must(wrote <= heads[i].states && !wire_full(&w));
    }
    for (u32 p = 0; p < 9; p++)
        for (size_t i = 0, k = chains_steps(c, p, steps); i < k; i++)
            chains_fits(c, p, &steps[i]);
    (void)chains_in_doubt(c, &piece);
    (void)chains_is_closed(c);
    (void)chains_take_evidence(c, &e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct node_key relays[2] = {{{1}}, {{2}}}, self = {{3}};
    struct digest d = {.alg = DIGEST_SHA256};
    struct chains *c;
    struct piece_map map;
    struct wire_in r;
    u32 grew;
    if (chains_new(&c, &d, SIZE))
        return 0;
    wire_in_init(&r, data, size);
    for (int i = 0; i < 8 && wire_ok(&r) && wire_left(&r) > 0; i++) {
        if (chains_read(c, &r, &relays[i % 2], &self, &grew) == 0)
            must(grew < 9);
        look(c);
    }
    chains_del(c);
    if (piece_map_init(&map, 9))
        return 0;
    wire_in_init(&r, data, size);
    must(piece_map_get(&map, &r) == map.have && map.have <= 9);
    piece_map_fini(&map);
    return 0;
}

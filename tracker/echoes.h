/* echoes.h - small whole answers of the registry, kept to be said again while it is away.
 *
 * Keyed by 16 bytes of the caller's making, which say to whom and to what it was an answer; who may
 * hear it again is the caller's affair. In memory alone, since tokens are among them, and wiped; at
 * most ECHOES_BYTES, of which the one noted or recalled longest ago makes room. Loop thread only.
 */
#pragma once

#include "runtime/answer.h"

#define ECHOES_BYTES     (32ull << 20)
#define ECHOES_ONE_BYTES (4ull << 20)

struct echoes;

must_use int echoes_new(struct echoes **out);
void echoes_del(struct echoes *e);

/* Takes the answer's memory (`a` is empty afterwards) in place of what was kept under this key. It
 * holds until `until_ms` (Unix time). What is too large, or finds no memory, is not kept. */
void echoes_take(struct echoes *e, const u8 key[16], struct answer *a, u64 until_ms);
/* NULL: none, or its time is over. Borrowed until the next call. */
const struct answer *echoes_recall(struct echoes *e, const u8 key[16], u64 now_ms);
void echoes_clear(struct echoes *e);
u64 echoes_bytes(const struct echoes *e);

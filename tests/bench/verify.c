/* verify.c - what verifying in pieces costs: dray-verify [MIB [RUNS]]
 *
 * A layer of MIB MiB (1024) is hashed as one, and piece by piece as a swarm does it
 * (proto/chain.h): the state before a piece is taken up, its bytes are hashed, the state after it
 * is compared. Both on this thread, by turns, RUNS (9) times. Prints one line of JSON: the median
 * of each in seconds of processor time, and of their ratio. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/chain.h"
#include "proto/pieces.h"
#include "proto/rng.h"
#include "store/hash.h"

#define RUNS_MAX 99

struct layer {
    u8 *bytes;
    u64 size;
    u32 pieces;
    u8 (*states)[CHAIN_STATE_MAX]; /* before each piece, and at the end */
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void piece_hash(const struct layer *l, u32 piece, u8 out[CHAIN_STATE_MAX])
{
    struct hasher h;
    u64 first = piece_first(l->size, piece);
    hasher_import(&h, DIGEST_SHA256, l->states[piece], first);
    hasher_update(&h, l->bytes + first, (size_t)piece_bytes(l->size, piece));
    memset(out, 0, CHAIN_STATE_MAX);
    hasher_export(&h, out);
}

static void layer_make(struct layer *l, u64 size)
{
    struct rng r;
    rng_seed(&r, 1);
    *l = (struct layer){.bytes = malloc(size), .size = size, .pieces = piece_count(size)};
    l->states = calloc(l->pieces + 1, sizeof(*l->states));
    if (!l->bytes || !l->states || l->pieces == 0) {
        fprintf(stderr, "dray-verify: a layer of so many MiB has no place here\n");
        exit(2);
    }
    for (u64 i = 0; i < size; i += sizeof(u64)) {
        u64 word = rng_u64(&r);
        memcpy(l->bytes + i, &word, sizeof(word));
    }
    chain_state_first(DIGEST_SHA256, l->states[0]);
    for (u32 p = 0; p < l->pieces; p++)
        piece_hash(l, p, l->states[p + 1]);
}

static double as_one(const struct layer *l)
{
    struct hasher h;
    struct digest d;
    double began = seconds();
    hasher_init(&h, DIGEST_SHA256);
    for (u64 at = 0; at < l->size; at += MIB)
        hasher_update(&h, l->bytes + at, MIB);
    hasher_digest(&h, &d);
    return seconds() - began;
}

static double by_piece(const struct layer *l)
{
    u8 out[CHAIN_STATE_MAX];
    double began = seconds();
    for (u32 p = 0; p < l->pieces; p++) {
        piece_hash(l, p, out);
        if (memcmp(out, l->states[p + 1], sizeof(out)) != 0)
            abort();
    }
    return seconds() - began;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), compare);
    return v[n / 2];
}

int main(int argc, char **argv)
{
    u64 mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 1024;
    int runs = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 9;
    double one[RUNS_MAX], pieces[RUNS_MAX], ratio[RUNS_MAX];
    struct layer l;
    if (mib == 0 || mib > 65536 || runs < 1 || runs > RUNS_MAX) {
        fprintf(stderr, "usage: dray-verify [MIB [RUNS]]\n");
        return 2;
    }
    layer_make(&l, mib * MIB);
    for (int i = 0; i < runs; i++) {
        one[i] = as_one(&l);
        pieces[i] = by_piece(&l);
        ratio[i] = pieces[i] / one[i];
    }
    printf("{\"mib\": %llu, \"pieces\": %u, \"as_one_s\": %.4f, \"by_piece_s\": %.4f, "
           "\"ratio\": %.3f}\n",
           (unsigned long long)mib, l.pieces, median(one, runs), median(pieces, runs),
           median(ratio, runs));
    free(l.bytes);
    free(l.states);
    return 0;
}

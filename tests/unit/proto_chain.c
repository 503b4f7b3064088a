/* Hash chains: what libcrypto hashes fits, forged chains are refuted by proof alone. */
#include "chain_fixture.h"

static void layers_close_in_any_order(void **state)
{
    (void)state;
    static const u32 orders[][PIECES] = {
        {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {3, 5, 0, 2, 4, 1}};
    static const enum digest_alg algs[] = {DIGEST_SHA256, DIGEST_SHA512};
    for (size_t a = 0; a < countof(algs); a++) {
        struct layer l;
        make_layer(&l, algs[a]);
        for (size_t o = 0; o < countof(orders); o++) {
            struct chains *c = chains_of(&l);
            assert_false(piece_came(c, &l, 2)); /* no chain yet */
            claim(c, &l, &honest, 0);
            for (size_t i = 0; i < PIECES; i++) {
                assert_false(chains_is_closed(c));
                assert_true(piece_came(c, &l, orders[o][i]));
                assert_true(chains_has_fit(c, orders[o][i]));
            }
            assert_true(chains_is_closed(c));
            chains_del(c);
        }
        free(l.bytes);
    }
}

static void one_piece_needs_no_claim(void **state)
{
    (void)state;
    struct digest d;
    struct hasher h;
    struct chain_step steps[CHAINS_MAX];
    struct chains *c;
    struct chain_head heads[CHAINS_MAX];
    hash_bytes(DIGEST_SHA256, "dray", 4, &d);
    assert_int_equal(chains_new(&c, &d, 4), 0);
    assert_int_equal(chains_heads(c, heads), 0);
    assert_int_equal(chains_steps(c, 0, steps), 1);
    hasher_init(&h, DIGEST_SHA256);
    hasher_export(&h, steps[0].out);
    assert_memory_equal(steps[0].in, steps[0].out, 32);
    assert_int_equal(chains_steps(c, 0, steps), 1);
    assert_true(steps[0].last);
    assert_memory_equal(steps[0].out, d.bytes, 32);
    assert_false(chains_is_closed(c));
    chains_fits(c, 0, &steps[0]);
    assert_true(chains_is_closed(c));
    chains_del(c);
}

static void first_state_is_the_algorithms(void **state)
{
    (void)state;
    static const enum digest_alg algs[] = {DIGEST_SHA256, DIGEST_SHA512};
    for (size_t a = 0; a < countof(algs); a++) {
        struct hasher h;
        u8 first[CHAIN_STATE_MAX], mine[CHAIN_STATE_MAX] = {0};
        chain_state_first(algs[a], first);
        hasher_init(&h, algs[a]);
        hasher_export(&h, mine);
        assert_memory_equal(first, mine, CHAIN_STATE_MAX);
    }
}

static void a_wrong_piece_fits_nothing(void **state)
{
    (void)state;
    struct layer l;
    u32 doubted;
    struct chain_evidence e;
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    claim(c, &l, &honest, 0);
    l.bytes[piece_first(SIZE, 3) + 17] ^= 1;
    assert_false(piece_came(c, &l, 3));
    chains_mismatch(c, 3, &liar.key);
    chains_mismatch(c, 3, &liar.key); /* said twice is said once */
    chains_mismatch(c, 3, &other.key);
    assert_false(chains_in_doubt(c, &doubted));
    l.bytes[piece_first(SIZE, 3) + 17] ^= 1;
    assert_true(piece_came(c, &l, 3));
    chains_mismatch(c, 3, &relay.key);
    assert_false(chains_in_doubt(c, &doubted)); /* it fitted since */
    assert_false(chains_take_evidence(c, &e));
    chains_del(c);
    free(l.bytes);
}

static void trusted_bytes_refute_a_lie(void **state)
{
    (void)state;
    struct layer l;
    u32 p = 99, grew;
    struct chain_step steps[CHAINS_MAX];
    struct chain_evidence e;
    u8 out[CHAIN_STATE_MAX];
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    claim(c, &l, &liar, 3);
    assert_true(piece_came(c, &l, 1));
    assert_false(piece_came(c, &l, 2));
    const struct signer *peers[] = {&honest, &relay, &other};
    for (size_t i = 0; i < countof(peers); i++) {
        assert_false(chains_in_doubt(c, &p));
        chains_mismatch(c, 2, &peers[i]->key);
    }
    assert_true(chains_in_doubt(c, &p));
    assert_int_equal(p, 2);
    assert_int_equal(chains_steps(c, 2, steps), 1);
    hash_piece(&l, 2, steps[0].in, out);
    chains_trusted(c, 2, steps[0].in, out);
    assert_false(chains_in_doubt(c, &p));
    assert_true(chains_take_evidence(c, &e));
    assert_false(chains_take_evidence(c, &e));
    assert_true(node_key_equal(&e.signer, &liar.key));
    assert_int_equal(e.piece, 2);
    assert_int_equal(e.states, PIECES - 1);
    assert_memory_equal(e.truth, out, 32);
    assert_memory_not_equal(e.claimed, out, 32);
    assert_false(chains_has_fit(c, 1)); /* nobody vouches for it any more */

    struct chains *again = chains_of(&l);
    own(again, &l, &liar, 0);
    assert_int_equal(tell(again, c, &liar, 0, PIECES, &relay, &grew), ERR_DENIED);
    chains_del(again);
    chains_del(c);
    free(l.bytes);
}

/* Two chains differ: the piece that decides is named, and the honest one stays whatever the order.
 */
static void the_first_difference_decides(void **state)
{
    (void)state;
    struct layer l;
    make_layer(&l, DIGEST_SHA256);
    for (int first = 0; first < 2; first++) {
        struct chain_step steps[CHAINS_MAX];
        struct chain_evidence e;
        u8 out[CHAIN_STATE_MAX];
        u32 p;
        struct chains *c = chains_of(&l);
        claim(c, &l, first ? &liar : &honest, first ? 4 : 0);
        claim(c, &l, first ? &honest : &liar, first ? 0 : 4);
        assert_int_equal(chains_steps(c, 1, steps), 1);
        assert_int_equal(chains_steps(c, 3, steps), 2);
        assert_true(piece_came(c, &l, 0)); /* they agree on it */
        assert_true(chains_in_doubt(c, &p));
        assert_int_equal(p, 3);
        hash_piece(&l, 3, steps[0].in, out);
        chains_trusted(c, 3, steps[0].in, out);
        assert_true(chains_take_evidence(c, &e));
        assert_true(node_key_equal(&e.signer, &liar.key));
        assert_false(e.by_close);
        assert_true(chains_has_fit(c, 0));
        assert_false(
            chains_has_fit(c, 3)); /* what is here of it may be what the liar vouched for */
        assert_false(chains_in_doubt(c, &p));
        chains_del(c);
    }
    free(l.bytes);
}

/* A signer's own piece that does not fit its own chain: one is enough. */
static void a_signers_own_piece_does_not_fit(void **state)
{
    (void)state;
    struct layer l;
    u32 p = 99;
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    claim(c, &l, &liar, 3);
    assert_false(piece_came(c, &l, 2));
    chains_mismatch(c, 2, &other.key);
    assert_false(chains_in_doubt(c, &p));
    chains_mismatch(c, 2, &liar.key);
    assert_true(chains_in_doubt(c, &p));
    assert_int_equal(p, 2);
    chains_settled(c, &liar.key); /* it was decided, by another piece */
    assert_false(chains_in_doubt(c, &p));
    chains_del(c);
    free(l.bytes);
}

/* We go on from the liar's states, and vouch from `from` on: the end is not the layer's. */
static struct chains *gone_on_from(const struct layer *l, const struct signer *from, u32 wrong,
                                   u32 states)
{
    u8 in[CHAIN_STATE_MAX], out[CHAIN_STATE_MAX];
    struct chains *c = chains_of(l);
    claim(c, l, from, wrong);
    assert_int_equal(chains_adopt(c, &me.key, states), states);
    for (u32 k = states + 1; k < PIECES; k++) {
        assert_true(chains_own_state(c, &me.key, k - 1, in));
        hash_piece(l, k - 1, in, out);
        assert_int_equal(chains_own(c, &me.key, k, out, true), 0);
    }
    return c;
}

static struct chains *gone_on(const struct layer *l, const struct signer *from, u32 states)
{
    return gone_on_from(l, from, from == &liar ? 3 : 0, states);
}

static void what_we_went_on_from_is_wrong(void **state)
{
    (void)state;
    struct layer l;
    struct chain_evidence e;
    struct chain_head heads[CHAINS_MAX];
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = gone_on(&l, &liar, 4);
    assert_true(chains_begin_anew(c, &me.key));
    assert_true(chains_take_evidence(c, &e));
    assert_true(node_key_equal(&e.signer, &liar.key) && e.by_end);
    assert_int_equal(e.piece, 3);
    assert_false(chains_take_evidence(c, &e)); /* nothing against ourselves */
    assert_int_equal(chains_heads(c, heads), 0);
    assert_false(chains_begin_anew(c, &me.key)); /* nothing is left to blame */
    own(c, &l, &me, 0);
    for (u32 p = 0; p < PIECES; p++)
        assert_true(piece_came(c, &l, p));
    assert_true(chains_is_closed(c));
    chains_del(c);

    c = gone_on(&l, &honest, 4); /* vouched for as a whole: nobody else can be wrong */
    assert_true(chains_begin_anew(c, &me.key));
    chains_del(c);
    c = chains_of(&l);
    own(c, &l, &me, 0);
    assert_false(chains_begin_anew(c, &me.key));
    chains_del(c);
    free(l.bytes);
}

/* Trusted bytes of `piece` show that a chain, of somebody who went on from a lie in good faith, is
 * wrong: nobody is convicted, and it may begin anew: once. The same again, as others may still hand
 * it on, is not taken, and counts for nothing. */
static void is_set_back_once(u32 piece)
{
    struct layer l;
    struct chain_step steps[CHAINS_MAX];
    struct chain_evidence e;
    u8 out[CHAIN_STATE_MAX], buf[4096];
    u32 grew;
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    for (int time = 0; time < 4; time++) {
        struct wire_out w;
        struct wire_in r;
        /* By `me`, as `c` sees it: another's. */
        struct chains *theirs = gone_on_from(&l, &liar, time < 3 ? 3 : 1, 4);
        wire_out_init(&w, buf, sizeof(buf));
        assert_int_equal(chains_write(theirs, &me.key, 0, PIECES, &me.secret, &w), PIECES - 1);
        wire_in_init(&r, buf, w.len);
        assert_int_equal(chains_read(c, &r, &relay.key, &other.key, &grew), 0);
        chains_del(theirs);
        bool as_before = time == 1 || time == 2;
        assert_int_equal(chains_steps(c, piece, steps), as_before ? 0 : 1);
        assert_int_equal(chains_is_set_back(c, &me.key), as_before);
        if (as_before)
            continue;
        hash_piece(&l, piece, steps[0].in, out);
        chains_trusted(c, piece, steps[0].in, out);
        assert_int_equal(chains_steps(c, piece, steps), 0);
        assert_false(chains_take_evidence(c, &e));
    }
    struct wire_in again;
    struct wire_out w;
    struct chains *right = chains_of(&l);
    own(right, &l, &me, 0);
    wire_out_init(&w, buf, sizeof(buf));
    assert_int_equal(chains_write(right, &me.key, 0, PIECES, &me.secret, &w), PIECES - 1);
    wire_in_init(&again, buf, w.len);
    assert_int_equal(chains_read(c, &again, &relay.key, &other.key, &grew), ERR_DENIED);
    chains_del(right);
    chains_del(c);
    free(l.bytes);
}

static void who_went_on_from_a_lie_may_return(void **state)
{
    (void)state;
    is_set_back_once(2);
}

/* From the lie on it hashed what is right; that this must finish to the digest it never said. */
static void the_end_of_who_went_on_from_a_lie(void **state)
{
    (void)state;
    is_set_back_once(PIECES - 1);
}

/* Whoever vouches for all of it, and does not finish to the digest, lied somewhere. */
static void the_end_of_a_whole_chain(void **state)
{
    (void)state;
    struct layer l;
    struct chain_step steps[CHAINS_MAX];
    struct chain_evidence e;
    u8 out[CHAIN_STATE_MAX];
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    claim(c, &l, &liar, PIECES - 1);
    assert_int_equal(chains_steps(c, PIECES - 1, steps), 1);
    hash_piece(&l, PIECES - 1, steps[0].in, out);
    chains_trusted(c, PIECES - 1, steps[0].in, out);
    assert_true(chains_take_evidence(c, &e));
    assert_true(node_key_equal(&e.signer, &liar.key));
    assert_int_equal(e.piece, PIECES - 1);
    chains_del(c);
    free(l.bytes);
}

static void closing_refutes_the_others(void **state)
{
    (void)state;
    struct layer l;
    struct chain_evidence e;
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    claim(c, &l, &honest, 0);
    for (u32 p = 0; p < PIECES; p++)
        assert_true(piece_came(c, &l, p));
    claim(c, &l, &liar, 5);
    struct chain_step steps[CHAINS_MAX];
    assert_int_equal(chains_steps(c, 4, steps), 2);
    assert_true(chains_is_closed(c));
    assert_true(chains_take_evidence(c, &e));
    assert_true(node_key_equal(&e.signer, &liar.key) && e.by_close);
    assert_int_equal(e.piece, 4);
    assert_true(chains_is_closed(c));
    chains_del(c);
    free(l.bytes);
}

/* Forged from the start, all pieces and states alike: the last piece cannot finish. */
static void a_consistent_forgery_never_closes(void **state)
{
    (void)state;
    struct layer l;
    u32 p;
    make_layer(&l, DIGEST_SHA256);
    l.bytes[100] ^= 1;
    struct chains *c = chains_of(&l);
    claim(c, &l, &liar, 0);
    for (u32 i = 0; i + 1 < PIECES; i++)
        assert_true(piece_came(c, &l, i));
    assert_false(piece_came(c, &l, PIECES - 1));
    chains_mismatch(c, PIECES - 1, &honest.key);
    assert_false(chains_in_doubt(c, &p));
    chains_mismatch(c, PIECES - 1, &other.key);
    assert_true(chains_in_doubt(c, &p));
    assert_int_equal(p, PIECES - 1);
    assert_false(chains_is_closed(c));
    chains_leave(c, &liar.key);
    assert_false(chains_has_fit(c, 0));
    chains_del(c);
    free(l.bytes);
}

static void chains_travel_while_they_grow(void **state)
{
    (void)state;
    struct layer l;
    u32 grew;
    u8 in[CHAIN_STATE_MAX], out[CHAIN_STATE_MAX];
    struct chain_head heads[CHAINS_MAX];
    make_layer(&l, DIGEST_SHA256);
    struct chains *a = chains_of(&l), *b = chains_of(&l), *c = chains_of(&l);
    chain_state_first(l.digest.alg, in);
    for (u32 k = 1; k < PIECES; k++) {
        hash_piece(&l, k - 1, in, out);
        memcpy(in, out, sizeof(in));
        assert_int_equal(chains_own(a, &honest.key, k, out, true), 0);
        assert_int_equal(chains_own(a, &honest.key, k, out, true), 0);
        assert_int_equal(tell(a, b, &honest, k - 1, PIECES, &honest, &grew), 0);
        assert_int_equal(grew, 1);
        assert_int_equal(tell(a, b, &honest, 0, PIECES, &honest, &grew), 0);
        assert_int_equal(grew, 0);
    }
    assert_int_equal(tell(b, c, &honest, 2, PIECES, &relay, &grew), ERR_RANGE);
    assert_int_equal(tell(b, c, &honest, 0, 2, &relay, &grew), 0); /* without a signature */
    assert_int_equal(chains_heads(c, heads), 1);
    assert_int_equal(heads[0].states, 2);
    assert_int_equal(heads[0].signed_to, 0);
    assert_false(piece_came(c, &l, 0));
    assert_int_equal(tell(b, c, &honest, 2, PIECES, &relay, &grew), 0);
    for (u32 p = 0; p < PIECES; p++)
        assert_true(piece_came(c, &l, p));
    assert_true(chains_is_closed(c));
    assert_true(chains_memory(c) < 16384);
    chains_disown(a, &honest.key);
    assert_int_equal(chains_heads(a, heads), 0);
    chains_del(a);
    chains_del(b);
    chains_del(c);
    free(l.bytes);
}

/* A relay that spoils what passes through it loses what it sent; the signer is not blamed. */
static void a_lying_relay(void **state)
{
    (void)state;
    struct layer l;
    u8 buf[4096];
    u32 grew;
    struct chain_evidence e;
    struct chain_step steps[CHAINS_MAX];
    make_layer(&l, DIGEST_SHA256);
    struct chains *a = chains_of(&l), *c = chains_of(&l);
    own(a, &l, &honest, 0);
    struct wire_out w;
    struct wire_in r;
    wire_out_init(&w, buf, sizeof(buf));
    assert_int_equal(chains_write(a, &honest.key, 0, PIECES, &honest.secret, &w), PIECES - 1);
    buf[46 + 40] ^= 1; /* within the second state */
    wire_in_init(&r, buf, w.len);
    assert_int_equal(chains_read(c, &r, &liar.key, &me.key, &grew), 0);
    assert_int_equal(chains_steps(c, 1, steps), 0);
    wire_in_init(&r, buf, w.len);
    assert_int_equal(chains_read(c, &r, &liar.key, &me.key, &grew), ERR_INVAL);
    assert_int_equal(tell(a, c, &honest, 0, PIECES, &relay, &grew), 0);
    for (u32 p = 0; p < PIECES; p++)
        assert_true(piece_came(c, &l, p));
    assert_false(chains_take_evidence(c, &e));
    chains_del(a);
    chains_del(c);

    /* And one that fills places with signers' names that are not its own makes room again. */
    a = chains_of(&l);
    c = chains_of(&l);
    own(a, &l, &honest, 0);
    for (u8 i = 0; i < 20; i++) {
        wire_out_init(&w, buf, sizeof(buf));
        assert_int_equal(chains_write(a, &honest.key, 0, 3, NULL, &w) > 0 || i == 0, true);
        if (w.len == 0)
            assert_int_equal(chains_write(a, &honest.key, 0, 3, &honest.secret, &w), 3);
        buf[5 + i % 20] ^= (u8)(i + 1);
        wire_in_init(&r, buf, w.len);
        assert_int_equal(chains_read(c, &r, &liar.key, &me.key, &grew), 0);
    }
    assert_int_equal(tell(a, c, &honest, 0, PIECES, &relay, &grew), 0);
    assert_true(piece_came(c, &l, 0));
    chains_del(a);
    chains_del(c);
    free(l.bytes);
}

/* Who took over a forged beginning in good faith is not convicted by it, who forged it is. */
static void going_on_with_anothers_chain(void **state)
{
    (void)state;
    struct layer l;
    u32 grew, p;
    u8 in[CHAIN_STATE_MAX], out[CHAIN_STATE_MAX];
    struct chain_evidence e;
    make_layer(&l, DIGEST_SHA256);
    struct chains *a = chains_of(&l), *c = chains_of(&l);
    claim(a, &l, &liar, 2);
    claim(c, &l, &liar, 2);
    assert_int_equal(chains_adopt(a, &honest.key, 3), 3);
    assert_int_equal(chains_adopt(a, &honest.key, 3), 3);
    struct chain_step steps[CHAINS_MAX];
    assert_int_equal(chains_steps(a, 3, steps), 1);
    memcpy(in, steps[0].in, sizeof(in));
    for (u32 k = 4; k < PIECES; k++) {
        hash_piece(&l, k - 1, in, out);
        assert_int_equal(chains_own(a, &honest.key, k, out, true), 0);
        memcpy(in, out, sizeof(in));
    }
    assert_int_equal(tell(a, c, &honest, 0, PIECES, &honest, &grew), 0);
    assert_int_equal(chains_steps(c, 1, steps), 1);
    hash_piece(&l, 1, steps[0].in, out);
    chains_trusted(c, 1, steps[0].in, out);
    assert_true(chains_take_evidence(c, &e));
    assert_true(node_key_equal(&e.signer, &liar.key));
    assert_false(chains_take_evidence(c, &e));
    assert_int_equal(chains_steps(c, 3, steps), 0);
    assert_false(chains_in_doubt(c, &p));
    chains_del(a);
    chains_del(c);
    free(l.bytes);
}

/* Many liars fill all places; the appointed fetcher gets one of theirs. */
static void places_are_few(void **state)
{
    (void)state;
    struct layer l;
    u32 grew;
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l), *a = chains_of(&l);
    claim(c, &l, &liar, 2);
    claim(c, &l, &other, 3);
    claim(c, &l, &relay, 4);
    own(a, &l, &honest, 0);
    struct chain_step steps[CHAINS_MAX];
    (void)chains_steps(c, 4, steps);
    assert_int_equal(tell(a, c, &honest, 0, PIECES, &honest, &grew), ERR_FULL);
    chains_prefer(c, &honest.key);
    assert_int_equal(tell(a, c, &honest, 0, PIECES, &honest, &grew), 0);
    assert_true(chains_steps(c, 2, steps) >= 2);
    assert_true(node_key_equal(&steps[0].signer, &honest.key));
    own(c, &l, &me, 0); /* there is always one for what we hash */
    assert_true(chains_own_state(c, &me.key, PIECES - 1, steps[0].in));
    assert_int_equal(tell(a, c, &honest, 0, PIECES, &honest, &grew), 0);
    assert_true(chains_own_state(c, &me.key, PIECES - 1, steps[0].in));
    chains_del(a);
    chains_del(c);
    free(l.bytes);
}

/* It went on from a lie, which was shown while we hashed the next piece: ours is gone by then. */
static void ours_is_refuted_amid(void **state)
{
    (void)state;
    struct layer l;
    u8 out[CHAIN_STATE_MAX];
    struct chain_step steps[CHAINS_MAX];
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    claim(c, &l, &liar, 3);
    assert_int_equal(chains_adopt(c, &me.key, 4), 4);
    assert_int_equal(chains_steps(c, 2, steps), 1);
    hash_piece(&l, 2, steps[0].in, out);
    chains_trusted(c, 2, steps[0].in, out);
    assert_int_equal(chains_own(c, &me.key, 5, out, true), ERR_RANGE);
    chains_del(c);
    free(l.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_close_in_any_order),
        cmocka_unit_test(one_piece_needs_no_claim),
        cmocka_unit_test(first_state_is_the_algorithms),
        cmocka_unit_test(a_wrong_piece_fits_nothing),
        cmocka_unit_test(trusted_bytes_refute_a_lie),
        cmocka_unit_test(the_first_difference_decides),
        cmocka_unit_test(a_signers_own_piece_does_not_fit),
        cmocka_unit_test(what_we_went_on_from_is_wrong),
        cmocka_unit_test(who_went_on_from_a_lie_may_return),
        cmocka_unit_test(the_end_of_who_went_on_from_a_lie),
        cmocka_unit_test(the_end_of_a_whole_chain),
        cmocka_unit_test(closing_refutes_the_others),
        cmocka_unit_test(a_consistent_forgery_never_closes),
        cmocka_unit_test(chains_travel_while_they_grow),
        cmocka_unit_test(a_lying_relay),
        cmocka_unit_test(going_on_with_anothers_chain),
        cmocka_unit_test(places_are_few),
        cmocka_unit_test(ours_is_refuted_amid),
    };
    if (signers_begin())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

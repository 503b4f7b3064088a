/* proto_chain_relays.c - tests of chains that others pass on: what is held is told as text, parts
 * come from several, and what nobody signed keeps no others away. */
#include "chain_fixture.h"

static u32 told(const char *text, const struct signer *s)
{
    return chain_text_states(text, strlen(text), &s->key);
}

static void what_is_held_is_told_as_text(void **state)
{
    (void)state;
    char text[CHAIN_TEXT_SIZE], more[CHAIN_TEXT_SIZE + 32];
    struct layer l;
    make_layer(&l, DIGEST_SHA256);
    struct chains *c = chains_of(&l);
    chains_text(c, &me.key, text);
    assert_string_equal(text, "-");
    claim(c, &l, &honest, 0);
    claim(c, &l, &other, 0);
    chains_text(c, &me.key, text);
    assert_int_equal(told(text, &honest), PIECES - 1);
    assert_int_equal(told(text, &other), PIECES - 1);
    assert_int_equal(told(text, &me), 0);
    snprintf(more, sizeof(more), "%s999999", text); /* more than any layer has */
    assert_int_equal(told(more, &honest), PIECES - 1);
    assert_int_equal(told(more, &other), LIMIT_PIECES);
    snprintf(more, sizeof(more), "ff%s", text); /* not where a key belongs */
    assert_int_equal(told(more, &honest), 0);
    for (size_t n = 0; n < strlen(text); n++)
        assert_true(chain_text_states(text, n, &other.key) < PIECES);
    chains_del(c);
    free(l.bytes);
}

static u32 told_to(struct chains *c, const struct signer *by, const struct signer *s)
{
    char text[CHAIN_TEXT_SIZE];
    chains_text(c, &by->key, text);
    return told(text, s);
}

/* As nodes do: `by` is told what is held, and sends at most `max` states more. */
static void answer(struct chains *a, struct chains *c, const struct signer *by, u32 max)
{
    u8 buf[4096];
    struct wire_out w;
    struct wire_in r;
    u32 grew;
    wire_out_init(&w, buf, sizeof(buf));
    if (!chains_write(a, &honest.key, told_to(c, by, &honest), max, &honest.secret, &w))
        return;
    wire_in_init(&r, buf, w.len);
    int rc = chains_read(c, &r, &by->key, &me.key, &grew);
    assert_true(rc == 0 || rc == ERR_AGAIN);
}

/* States of the honest signer's chain, without its signature or with one that is made up. */
static int make_up(struct chains *c, const struct signer *by, u32 n, bool is_signed)
{
    u8 buf[4096], states[32 * PIECES];
    struct wire_out w;
    struct wire_in r;
    u32 grew;
    memset(states, 0x5a, sizeof(states));
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_array(&w, 5);
    wire_put_key(&w, &honest.key);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_bin(&w, states, 32 * (size_t)n);
    if (is_signed)
        wire_put_bin(&w, states, sizeof(struct node_signature));
    else
        wire_put_nil(&w);
    wire_in_init(&r, buf, w.len);
    return chains_read(c, &r, &by->key, &me.key, &grew);
}

/* More states than an answer holds, from peers in turn, one of which makes them up: it is told all
 * the same. */
static void parts_of_several_relays(void **state)
{
    (void)state;
    struct layer l;
    make_layer(&l, DIGEST_SHA256);
    for (int lies = 0; lies < 4; lies++) {
        struct chains *a = chains_of(&l), *c = chains_of(&l);
        own(a, &l, &honest, 0);
        if (lies)
            (void)make_up(c, &liar, PIECES - 1, false);
        for (int i = 0; i < 200 && !piece_came(c, &l, PIECES - 1); i++) {
            answer(a, c, &relay, 2);
            if (lies == 2)
                (void)make_up(c, &liar, PIECES - 1, false);
            else if (lies == 3)
                (void)make_up(c, &liar, PIECES - 1, true);
            answer(a, c, &other, 2);
            assert_true(told_to(c, &liar, &honest) <= PIECES - 1);
        }
        for (u32 p = 0; p < PIECES; p++)
            assert_true(piece_came(c, &l, p));
        assert_false(chains_is_partial(c));
        chains_del(a);
        chains_del(c);
    }
    free(l.bytes);
}

/* One that nobody else can vouch for keeps nothing back: whoever has all of it is told so. */
static void what_is_unsigned_is_told_to_its_relay(void **state)
{
    (void)state;
    struct layer l;
    make_layer(&l, DIGEST_SHA256);
    struct chains *a = chains_of(&l), *c = chains_of(&l);
    own(a, &l, &honest, 0);
    assert_int_equal(make_up(c, &liar, PIECES - 1, false), 0);
    assert_true(chains_is_partial(c));
    assert_int_equal(told_to(c, &liar, &honest), PIECES - 1);
    assert_int_equal(told_to(c, &relay, &honest), 0);
    assert_int_equal(make_up(c, &other, PIECES - 1, true), ERR_INVAL); /* and takes no place */
    answer(a, c, &relay, PIECES);
    assert_int_equal(told_to(c, &other, &honest), PIECES - 1);
    assert_false(chains_is_partial(c));
    chains_del(a);
    chains_del(c);
    free(l.bytes);
}

/* Who signs one chain for us and another for the others makes no relay suspect of any other chain,
 * nor of its own when that is proved wrong. */
static void who_signs_two_chains(void **state)
{
    (void)state;
    struct layer l;
    u32 grew;
    u8 out[CHAIN_STATE_MAX];
    struct chain_step steps[CHAINS_MAX];
    make_layer(&l, DIGEST_SHA256);
    struct chains *theirs = chains_of(&l), *right = chains_of(&l), *c = chains_of(&l);
    own(theirs, &l, &liar, 2);
    own(right, &l, &honest, 0);
    struct chains *first = chains_of(&l);
    u8 state_1[CHAIN_STATE_MAX] = {7};
    assert_int_equal(chains_own(first, &liar.key, 1, state_1, true), 0);
    assert_int_equal(tell(first, c, &liar, 0, 1, &liar, &grew), 0);
    assert_int_equal(chains_steps(c, 0, steps), 1);
    assert_int_equal(tell(theirs, c, &liar, 1, PIECES, &relay, &grew), 0);
    assert_int_equal(chains_steps(c, 1, steps), 0); /* it does not fit the signature */
    assert_int_equal(tell(theirs, c, &liar, 1, PIECES, &relay, &grew), ERR_INVAL);
    assert_int_equal(tell(right, c, &honest, 0, PIECES, &relay, &grew), 0);
    for (u32 p = 0; p < PIECES; p++)
        assert_true(piece_came(c, &l, p));
    chains_steps(c, 0, steps);
    hash_piece(&l, 0, steps[0].in, out);
    chains_trusted(c, 0, steps[0].in, out);
    assert_true(chains_is_closed(c));
    chains_del(first);
    chains_del(theirs);
    chains_del(right);
    chains_del(c);
    free(l.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_is_told_as_text),
        cmocka_unit_test(parts_of_several_relays),
        cmocka_unit_test(what_is_unsigned_is_told_to_its_relay),
        cmocka_unit_test(who_signs_two_chains),
    };
    if (signers_begin())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

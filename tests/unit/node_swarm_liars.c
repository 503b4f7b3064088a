/* node_swarm_liars.c - tests of fills in a swarm, some of whose peers make up claims: the layer
 * comes all the same, without the registry, and nobody honest is blamed. */
#include "swarm_fixture.h"

/* All states of `signer`'s chain, made up, and no signature. */
static void make_unsigned(struct holder *h, size_t signer)
{
    u8 seed[32] = {(u8)(signer + 1)}, bytes[1024], states[32 * (COUNT - 1)];
    char text[2048];
    struct node_key key;
    struct node_secret secret;
    struct wire_out w;
    identity_from_seed(seed, &key, &secret);
    memset(states, 0xa5, sizeof(states));
    wire_out_init(&w, bytes, sizeof(bytes));
    wire_put_array(&w, 5);
    wire_put_key(&w, &key);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_bin(&w, states, sizeof(states));
    wire_put_nil(&w);
    sodium_bin2base64(text, sizeof(text), bytes, w.len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(h->chain, sizeof(h->chain), "Dray-Chain: %s\r\n", text);
}

/* Else one answer of one peer would keep the fetcher's chain away for good. */
static void test_claims_that_nobody_signed(void **state)
{
    (void)state;
    begin_swarm(2);
    make_chain(&holders[0], 0, 0);
    holders[0].as_told = true;
    make_unsigned(&holders[1], 0);
    join();
    u32 a = ask(1, 5, 1);
    (void)outcome_of(a);
    u32 b = ask(0, 0, COUNT - 1);
    assert_int_equal(outcome_of(b), SWARM_WORKED);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    end_swarm();
}

static bool is_forged(void *arg)
{
    (void)arg;
    return mesh_double.swarm.forged > 0;
}

/* Peer 2 forges: peer 1 has pieces and the whole chain of it, signed, and gives them on in good
 * faith; to us it tells states without a signature. */
static void test_who_believed_a_forger_is_innocent(void **state)
{
    (void)state;
    begin_swarm(3);
    make_chain(&holders[0], 0, 0);
    mesh_double.peers[2].holds = true;
    holders[1].layer.data[2 * PIECE + 9] ^= 1;
    make_chain(&holders[1], 2, 0);
    holders[1].as_told = true;
    make_unsigned(&holders[2], 2);
    client.end = PIECE; /* of what the forger's chain has right */
    join();
    (void)outcome_of(ask(2, 5, 1));
    u32 b = ask(0, 0, 1);
    assert_int_equal(outcome_of(b), SWARM_WORKED);
    (void)outcome_of(ask(1, 2, 1));
    (void)outcome_of(ask(0, 1, COUNT - 1));
    rig_wait(&rig, is_forged, NULL); /* a piece of the registry's decides between the two chains */
    for (int time = 0; time < 8 && !(mesh_double.swarm.have & 1 << 2); time++)
        (void)outcome_of(ask(0, 2, 1)); /* what is here of it is thrown away first */
    client_expect(&client, layer.data, PIECE);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    assert_int_equal(bad_pieces(0), 0);
    assert_int_equal(bad_pieces(1), 0);
    assert_int_equal(bad_pieces(2), 1);
    end_swarm();
}

/* The layer's digest alone says what its one piece must be: made-up claims beside it excuse nobody.
 */
static void test_a_liar_about_one_piece(void **state)
{
    (void)state;
    begin_swarm_of(2, PIECE);
    make_unsigned(&holders[1], 1);
    holders[1].layer.data[7] ^= 1;
    join();
    u32 a = ask(1, 0, 1);
    (void)outcome_of(a);
    u32 b = ask(0, 0, 1);
    assert_int_equal(outcome_of(b), SWARM_WORKED);
    expect_whole();
    assert_int_equal(bad_pieces(1), 1);
    assert_int_equal(bad_pieces(0), 0);
    assert_int_equal(server_count(registry), 0);
    end_swarm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claims_that_nobody_signed),
        cmocka_unit_test(test_who_believed_a_forger_is_innocent),
        cmocka_unit_test(test_a_liar_about_one_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* node_peer_share.c - tests of node/peer_share.h: nobody has it all, and what was given comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "node/peer_share.h"

static struct node_key key(unsigned i)
{
    return (struct node_key){{(u8)i, (u8)(i >> 8), 1}};
}

static unsigned take_all(struct peer_shares *s, unsigned peer, unsigned allowed)
{
    const struct node_key k = key(peer);
    unsigned n = 0;
    while (n <= allowed && peer_share_take(s, &k, peer_share_most(allowed)))
        n++;
    return n;
}

static void there_is_room_for_others(void **state)
{
    (void)state;
    for (unsigned allowed = 1; allowed < 200; allowed++) {
        struct peer_shares s = {0};
        unsigned first = take_all(&s, 1, allowed), second = take_all(&s, 2, allowed);
        assert_true(first == second && first >= 1 && first <= allowed);
        assert_true(allowed == 1 || first < allowed);
        assert_true(first >= 8 || first + 1 >= allowed); /* what an honest one needs */
        peer_shares_fini(&s);
    }
}

static void what_is_over_can_be_had_again(void **state)
{
    struct peer_shares s = {0};
    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(take_all(&s, i, 4), 3);
    assert_int_equal(s.n, 1000);
    for (unsigned i = 0; i < 1000; i += 2) {
        const struct node_key k = key(i);
        peer_share_leave(&s, &k);
        assert_true(peer_share_take(&s, &k, 3));
        assert_false(peer_share_take(&s, &k, 3));
        for (unsigned n = 0; n < 3; n++)
            peer_share_leave(&s, &k);
    }
    assert_int_equal(s.n, 500);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(take_all(&s, i, 4), i % 2 ? 0 : 3);
    peer_shares_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_is_room_for_others),
                                       cmocka_unit_test(what_is_over_can_be_had_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

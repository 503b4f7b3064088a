/* proto_swarm_busy.c - tests of who waits for whom: whoever holds a layer and gives to others is
 * waited for, and not for ever; two neighbours that lost sight of each other meet again; and news
 * that were lost come again. */
#include "crowd_rig.h"

static struct crowd *one_seed(size_t nodes)
{
    struct crowd *c = crowd_new(nodes);
    memset(c->has[0], 1, sizeof(c->has[0]));
    c->complete[0] = true;
    mesh_hold(mesh_at(c, 0), &c->d, c->r->now_ns);
    rig_run(c->r, 3 * S);
    return c;
}

static struct swarm_layer *layer_at(struct crowd *c, size_t i)
{
    return swarm_find(mesh_swarm(mesh_at(c, i)), &c->d);
}

/* All others want it, and the one that has it is busy. */
static struct crowd *busy_seed(size_t nodes)
{
    struct crowd *c = one_seed(nodes);
    c->busy[0] = true;
    for (size_t i = 1; i < nodes; i++)
        join(c, i, true);
    return c;
}

static void busy_is_no_reason_for_the_registry(void **state)
{
    (void)state;
    struct crowd *c = busy_seed(4);
    assert_false(run(c, SWARM_IN_LINE_NS - 5 * S));
    assert_int_equal(c->fetches_begun, 0);
    c->busy[0] = false;
    assert_true(run(c, 5 * S));
    assert_int_equal(c->fetches_begun + c->registry_pieces, 0);
    crowd_del(c);
}

static void nobody_is_waited_for_for_ever(void **state)
{
    (void)state;
    struct crowd *c = busy_seed(4);
    assert_true(run(c, SWARM_IN_LINE_NS + 20 * S));
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

/* All others come to want one more layer that it has, and nobody holds a piece of it yet. */
static void want_next(struct crowd *c)
{
    for (size_t i = 0; i < c->r->count; i++)
        mesh_swarm_leave(mesh_at(c, i), &c->d, c->r->now_ns);
    c->d = rig_layer(78);
    memset(c->has + 1, 0, sizeof(c->has) - sizeof(c->has[0]));
    memset(c->wants, 0, sizeof(c->wants));
    memset(c->complete + 1, 0, sizeof(c->complete) - 1);
    memset(c->fetches, 0, sizeof(c->fetches));
    mesh_hold(mesh_at(c, 0), &c->d, c->r->now_ns);
    rig_run(c->r, 3 * S);
    for (size_t i = 1; i < c->r->count; i++)
        join(c, i, true);
}

static void who_was_waited_for_in_vain_is_not_again(void **state)
{
    (void)state;
    struct crowd *c = busy_seed(4);
    assert_true(run(c, SWARM_IN_LINE_NS + 20 * S));
    want_next(c);
    assert_true(run(c, 10 * S));
    assert_int_equal(c->registry_pieces, 2 * PIECES);
    crowd_del(c);
}

/* One of two holders sends wrong bytes, and always has time; the other is busy. */
static void who_sends_wrong_bytes_is_not_asked_because_others_are_busy(void **state)
{
    (void)state;
    struct crowd *c = one_seed(3);
    memset(c->has[1], 1, sizeof(c->has[1]));
    c->complete[1] = c->spoils[1] = c->busy[0] = true;
    mesh_hold(mesh_at(c, 1), &c->d, c->r->now_ns);
    rig_run(c->r, 3 * S);
    join(c, 2, true);
    assert_false(run(c, 5 * S));
    assert_in_range(c->wrong, 1, 15);
    c->busy[0] = false;
    assert_true(run(c, 5 * S));
    assert_in_range(c->wrong, 1, 17);
    assert_int_equal(c->registry_pieces, 0);
    crowd_del(c);
}

/* Asked again and again it would have nothing else to do. */
static void who_is_busy_is_asked_less_and_less(void **state)
{
    (void)state;
    struct crowd *c = busy_seed(2);
    struct swarm_stats was, is;
    run(c, 5 * S);
    swarm_stats(mesh_swarm(mesh_at(c, 1)), &was);
    run(c, 10 * S);
    swarm_stats(mesh_swarm(mesh_at(c, 1)), &is);
    assert_in_range(is.busy - was.busy, 5, 10 * 8);
    crowd_del(c);
}

/* As when datagrams of one meeting come late, after those of the next. */
static void who_lost_sight_of_a_neighbour_is_told_all_again(void **state)
{
    (void)state;
    struct crowd *c = busy_seed(2);
    run(c, 2 * S);
    struct swarm_peer *seed = swarm_peer_find(layer_at(c, 1), &c->r->n[0].key);
    assert_non_null(seed);
    assert_true(seed->met && swarm_peer_find(layer_at(c, 0), &c->r->n[1].key)->acked_hello);
    seed->met = seed->acked_hello = false;
    c->busy[0] = false;
    assert_true(run(c, 2 * S));
    assert_int_equal(c->fetches_begun, 0);
    crowd_del(c);
}

static bool is_lost(struct rig *r, struct rig_packet *p)
{
    return p->from != *(const size_t *)r->tap_data;
}

/* While there are new ones each time: a message that is lost must not hide all that come after. */
static void news_that_are_lost_come_again(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(3);
    size_t reads, from, to;
    for (size_t i = 0; i < 3; i++)
        join(c, i, true);
    while ((reads = fetcher(c)) == 3)
        tick(c);
    c->fetches[reads] = false; /* its registry is slow */
    from = (reads + 1) % 3;
    to = (reads + 2) % 3;
    run(c, 1 * S);
    const struct swarm_peer *p = swarm_peer_find(layer_at(c, to), &c->r->n[from].key);
    assert_non_null(p);
    assert_true(p->met);
    assert_int_equal(p->have, 0);
    c->busy[from] = true;
    c->r->tap_data = &from;
    for (u32 piece = 0; piece < PIECES; piece++) {
        c->r->tap = piece == 3 ? is_lost : NULL;
        mesh_swarm_have(mesh_at(c, from), &c->d, piece, c->r->now_ns);
        gained(c, from, piece);
        run(c, 130 * MS);
    }
    assert_in_range(p->have, PIECES - 1, PIECES);
    assert_in_range(p->seen, PIECES - 3, PIECES);
    crowd_del(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_is_no_reason_for_the_registry),
        cmocka_unit_test(nobody_is_waited_for_for_ever),
        cmocka_unit_test(who_was_waited_for_in_vain_is_not_again),
        cmocka_unit_test(who_sends_wrong_bytes_is_not_asked_because_others_are_busy),
        cmocka_unit_test(who_is_busy_is_asked_less_and_less),
        cmocka_unit_test(who_lost_sight_of_a_neighbour_is_told_all_again),
        cmocka_unit_test(news_that_are_lost_come_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

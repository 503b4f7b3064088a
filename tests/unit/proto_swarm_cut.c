/* proto_swarm_cut.c - tests of a layer whose three ranks cannot be reached: those of an office find
 * one among themselves that fetches for all of them. */
#include "crowd_rig.h"

#include "proto/rendezvous.h"

#define NODES  24
#define OFFICE 8 /* nodes of a subnet: the first so many are cut off */

/* The ranks of the layer, the home first. */
static void ranks_of(const struct crowd *c, size_t ranks[SWARM_RANKS])
{
    for (size_t i = 0; i < NODES; i++) {
        size_t before = 0;
        for (size_t k = 0; k < NODES; k++)
            before += k != i && rendezvous_before(&c->r->n[k].key, &c->r->n[i].key, &c->d);
        if (before < SWARM_RANKS)
            ranks[before] = i;
    }
}

static bool within(struct rig *r, struct rig_packet *p)
{
    size_t to = rig_at(r, &p->to);
    return (p->from < OFFICE) == (to < OFFICE);
}

/* A region whose layer has all its ranks outside of the office. */
static struct crowd *ranks_elsewhere(void)
{
    struct crowd *c = crowd_new(NODES);
    size_t ranks[SWARM_RANKS];
    for (u64 layer = 77;; layer++) {
        c->d = rig_layer(layer);
        ranks_of(c, ranks);
        if (ranks[0] >= OFFICE && ranks[1] >= OFFICE && ranks[2] >= OFFICE)
            return c;
    }
}

static void an_office_that_is_cut_off_reads_it_once(void **state)
{
    (void)state;
    for (size_t wanting = 2; wanting <= OFFICE; wanting += 3) { /* its own home does not always */
        struct crowd *c = ranks_elsewhere();
        c->r->tap = within;
        for (size_t i = 0; i < wanting; i++)
            join(c, i, true);
        assert_true(run(c, 20 * S));
        assert_int_equal(c->fetches_begun, 1);
        assert_int_equal(c->registry_pieces, PIECES);
        crowd_del(c);
    }
}

/* On both sides one reads it, and goes on when the line is back, or the other does. */
static void a_line_that_comes_back_is_no_third_copy(void **state)
{
    (void)state;
    struct crowd *c = ranks_elsewhere();
    c->r->tap = within;
    for (size_t i = 0; i < OFFICE; i++)
        join(c, i, true);
    while (c->registry_pieces == 0)
        tick(c);
    for (size_t i = OFFICE; i < NODES; i++)
        join(c, i, true);
    while (c->at_once < 2 && !all_done(c))
        tick(c);
    assert_false(all_done(c));
    c->r->tap = NULL;
    assert_true(run(c, 20 * S));
    assert_int_equal(c->at_once, 2);
    assert_true(c->registry_pieces <= 2 * PIECES);
    crowd_del(c);
}

/* Nobody knows yet that they are dead. */
static void three_ranks_that_die_at_once_cost_a_copy_by_office(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(NODES);
    size_t ranks[SWARM_RANKS];
    ranks_of(c, ranks);
    for (size_t rank = 0; rank < SWARM_RANKS; rank++)
        rig_stop(c->r, ranks[rank]);
    for (size_t i = 0; i < NODES; i++)
        if (mesh_at(c, i))
            join(c, i, true);
    assert_true(run(c, 20 * S));
    assert_true(c->fetches_begun >= 1 && c->fetches_begun <= NODES / OFFICE);
    crowd_del(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_office_that_is_cut_off_reads_it_once),
        cmocka_unit_test(a_line_that_comes_back_is_no_third_copy),
        cmocka_unit_test(three_ranks_that_die_at_once_cost_a_copy_by_office),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

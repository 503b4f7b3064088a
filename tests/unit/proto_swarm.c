/* A layer that a whole region of meshes wants: who fetches, who gives, and what becomes of it when
 * they die, stand still, or lie. */
#include "crowd_rig.h"

#include "proto/rendezvous.h"

static void one_fetches_for_all(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(16);
    for (size_t i = 0; i < 16; i++)
        join(c, i, true);
    assert_true(run(c, 30 * S));
    assert_int_equal(c->fetches_begun, 1);
    assert_int_equal(c->registry_pieces, PIECES);
    assert_int_equal(c->wrong + c->given_up, 0);
    struct swarm_view v;
    assert_true(swarm_look(mesh_swarm(mesh_at(c, 3)), &c->d, &v, c->r->now_ns));
    assert_true(v.complete && v.have == PIECES && v.pieces == PIECES);
    assert_true(swarm_is_fetcher(mesh_swarm(mesh_at(c, 3)), &c->d, &v.fetcher));
    crowd_del(c);
}

static void whoever_holds_it_is_the_seed(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(12);
    memset(c->has[5], 1, sizeof(c->has[5]));
    c->complete[5] = true;
    mesh_hold(mesh_at(c, 5), &c->d, c->r->now_ns);
    rig_run(c->r, 3 * S);
    for (size_t i = 0; i < 12; i++)
        if (i != 5)
            join(c, i, true);
    assert_true(run(c, 30 * S));
    assert_int_equal(c->fetches_begun + c->registry_pieces, 0);
    crowd_del(c);
}

static void another_takes_over(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct crowd *c = crowd_new(10);
        for (size_t i = 0; i < 10; i++)
            join(c, i, true);
        while (c->registry_pieces < PIECES / 2)
            tick(c);
        size_t first = fetcher(c);
        assert_true(first < 10);
        if (how == 0) /* dies */
            rig_stop(c->r, first);
        else if (how == 1) /* cannot reach the registry any more */
            c->cut[first] = true;
        else /* nobody hears of it any more */
            c->silent[first] = true;
        c->r->tap = pass;
        c->r->tap_data = c;
        assert_true(run(c, 60 * S));
        assert_true(c->fetches_begun >= 2);
        assert_true(c->at_once <= 2);
        assert_true(c->registry_pieces <= 2 * PIECES);
        crowd_del(c);
    }
}

/* Six nodes, with the rights of their users alone: one joins and is appointed by the layer's home,
 * itself or another, then the others do, but for that home where it is another. */
static struct crowd *crowd_with(u64 layer, bool asker, bool home_too, size_t *reads)
{
    struct crowd *c = crowd_new(6);
    size_t home = 0;
    c->d = rig_layer(layer);
    for (size_t i = 0; i < 6; i++)
        mesh_set_can_fetch(mesh_at(c, i), false, c->r->now_ns);
    rig_run(c->r, 3 * S);
    for (size_t i = 1; i < 6; i++)
        if (rendezvous_before(&c->r->n[i].key, &c->r->n[home].key, &c->d))
            home = i;
    join(c, asker ? (home + 1) % 6 : home, true);
    while ((*reads = fetcher(c)) == 6)
        tick(c);
    for (size_t i = 0; i < 6; i++)
        if (!c->wants[i] && (home_too || i != home))
            join(c, i, true);
    while (c->registry_pieces < PIECES / 2)
        tick(c);
    return c;
}

/* From its loss on, until all that are left are done; TICK is the registry's time for a piece. */
static u64 time_without(u64 layer, bool asker, bool silent)
{
    size_t lost;
    struct crowd *c = crowd_with(layer, asker, true, &lost);
    c->r->tap = pass;
    c->r->tap_data = c;
    u64 since = c->r->now_ns;
    if (silent)
        c->silent[lost] = true;
    else
        rig_stop(c->r, lost);
    c->fetches[lost] = false;
    assert_true(run(c, 60 * S));
    u64 took = c->r->now_ns - since;
    crowd_del(c);
    return took;
}

static void another_takes_over_soon(void **state)
{
    (void)state;
    for (u64 layer = 0; layer < 20; layer++) {
        assert_true(time_without(layer, false, false) <= 2000 * MS);
        assert_true(time_without(layer, false, true) <= 2000 * MS);
        assert_true(time_without(layer, true, false) <= 2000 * MS);
        assert_true(time_without(layer, true, true) <= 2000 * MS);
    }
}

/* All who want it convict the one who reads it, which goes on saying that it does. The home has
 * nothing to judge by but what they say. */
static void a_forger_is_dismissed(void **state)
{
    (void)state;
    size_t liar;
    struct crowd *c = crowd_with(3, true, false, &liar);
    c->spoils[liar] = c->busy[liar] = true;
    c->wants[liar] = false;
    c->cursor[liar] = PIECES;
    for (size_t i = 0; i < 6; i++) {
        if (i == liar || !c->wants[i])
            continue;
        mesh_swarm_forged(mesh_at(c, i), &c->d, &c->r->n[liar].key, c->r->now_ns);
        for (u32 p = 0; p < PIECES; p++)
            if (c->has[i][p]) {
                c->has[i][p] = false;
                mesh_swarm_lost(mesh_at(c, i), &c->d, p, c->r->now_ns);
            }
    }
    assert_true(run(c, 2 * S));
    assert_int_equal(c->fetches_begun, 2);
    crowd_del(c);
}

static void slowness_is_no_reason(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(8);
    for (size_t i = 0; i < 8; i++)
        join(c, i, true);
    while (fetcher(c) == 8)
        tick(c);
    size_t first = fetcher(c);
    mesh_swarm_registry(mesh_at(c, first), &c->d, SWARM_REGISTRY_BACKOFF, 20 * S, c->r->now_ns);
    c->fetches[first] = false; /* it waits, as it was told */
    for (u64 end = c->r->now_ns + 19 * S; c->r->now_ns < end;)
        tick(c);
    assert_int_equal(c->fetches_begun, 1);
    struct swarm_view v;
    size_t other = (first + 1) % 8;
    assert_true(swarm_look(mesh_swarm(mesh_at(c, other)), &c->d, &v, c->r->now_ns));
    assert_true(v.backoff_ns > 0);
    c->fetches[first] = true;
    mesh_swarm_registry(mesh_at(c, first), &c->d, SWARM_REGISTRY_WELL, 0, c->r->now_ns);
    assert_true(run(c, 30 * S));
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

/* One of two reads it, and does not get on; the other comes to hold all of it, and offers it singly
 * as the one who reads it does. */
static void who_reads_it_is_offered_it(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(2);
    u64 layer = 0;
    while (rendezvous_before(&c->r->n[1].key, &c->r->n[0].key, &c->d))
        c->d = rig_layer(layer++);
    join(c, 0, true);
    while (!c->fetches[0])
        tick(c);
    c->fetches[0] = false;
    memset(c->has[1], 1, sizeof(c->has[1]));
    c->complete[1] = true;
    mesh_hold(mesh_at(c, 1), &c->d, c->r->now_ns);
    assert_true(run(c, 3 * S));
    crowd_del(c);
}

/* What a step makes its daemon tell is told at a later time than that of the datagrams that go out
 * with it. */
static void time_does_not_go_back(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(8);
    join(c, 0, true);
    while (fetcher(c) == 8)
        tick(c);
    size_t first = fetcher(c), other = first == 7 ? 6 : 7;
    mesh_swarm_registry(mesh_at(c, first), &c->d, SWARM_REGISTRY_WELL, 0, c->r->now_ns + 1000);
    rig_run(c->r, 10 * MS);
    join(c, other, true);
    rig_run(c->r, 10 * MS);
    struct swarm_view v;
    assert_true(swarm_look(mesh_swarm(mesh_at(c, other)), &c->d, &v, c->r->now_ns));
    assert_true(v.fetcher_known);
    crowd_del(c);
}

static void wrong_pieces_come_from_elsewhere(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(12);
    for (size_t i = 0; i < 12; i++)
        join(c, i, true);
    while (fetcher(c) == 12)
        tick(c);
    for (size_t i = 0, n = 0; i < 12 && n < 3; i++)
        if (!c->fetches[i]) {
            c->spoils[i] = true;
            n++;
        }
    assert_true(run(c, 60 * S));
    assert_int_equal(c->fetches_begun, 1);
    assert_true(c->wrong > 0);
    crowd_del(c);
}

static void nobody_can_and_all_are_told(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(4);
    for (size_t i = 0; i < 4; i++)
        mesh_set_can_fetch(mesh_at(c, i), false, c->r->now_ns);
    rig_run(c->r, 3 * S);
    for (size_t i = 0; i < 4; i++)
        join(c, i, false);
    for (u64 end = c->r->now_ns + 15 * S; c->r->now_ns < end;)
        tick(c);
    assert_true(c->given_up >= 4);
    assert_int_equal(c->fetches_begun, 0);
    join(c, 2, true); /* a user who may comes */
    assert_true(run(c, 30 * S));
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

/* Each tries in turn, and none sees it at once: all are stuck, and nobody fetches for a moment. */
static void an_outage_is_no_storm(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(24);
    c->notice_ns = 2 * S;
    for (size_t i = 0; i < 24; i++) {
        c->cut[i] = true;
        join(c, i, true);
    }
    for (u64 end = c->r->now_ns + 120 * S; c->r->now_ns < end;)
        tick(c);
    size_t tries = c->fetches_begun;
    u64 over_ns = c->r->now_ns;
    memset(c->cut, 0, sizeof(c->cut));
    assert_true(run(c, 30 * S));
    printf("two minutes of outage: %zu tries, %zu at once; all done %.1f s after it\n", tries,
           c->at_once, (double)(c->r->now_ns - over_ns) / 1e9);
    assert_true(tries <= 120 / 2 && c->at_once <= 2);
    crowd_del(c);
}

static void a_lost_piece_is_told_to_all(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(6);
    join(c, 0, true);
    assert_true(run(c, 20 * S));
    join(c, 1, true);
    u32 id;
    struct mesh *m = mesh_at(c, 0);
    mesh_swarm_lost(m, &c->d, 3, c->r->now_ns);
    assert_int_equal(mesh_swarm_serve(m, &c->r->n[1].key, &c->d, 3, 1, &id, c->r->now_ns),
                     SWARM_ANSWER_MISSING);
    assert_int_equal(mesh_swarm_serve(m, &c->r->n[1].key, &c->d, 4, 1, &id, c->r->now_ns),
                     SWARM_ANSWER_NOW);
    mesh_swarm_served(m, id, true, c->r->now_ns);
    crowd_del(c);
}

/* Whoever may not read it says so, and the next one is appointed at once: somebody waits. */
static void a_refusal_costs_no_time(void **state)
{
    (void)state;
    size_t refused = 0;
    for (size_t asker = 0; asker < 4; asker++) {
        struct crowd *c = crowd_new(4);
        for (size_t i = 0; i < 4; i++)
            c->refuses[i] = i != asker;
        join(c, asker, true);
        u64 until = c->r->now_ns + SWARM_VOID_NS;
        while (!c->fetches[asker] && c->r->now_ns < until)
            tick(c);
        assert_true(c->fetches[asker]);
        assert_true(run(c, 20 * S));
        refused += c->refused;
        crowd_del(c);
    }
    assert_true(refused > 0); /* or nobody else was the home */
}

/* Wants it for ever, says that it is somewhere else, and never has a piece. */
static void lie(struct crowd *c, size_t i, const char *origin, u64 size)
{
    struct swarm_want want = {.digest = c->d, .size = size};
    snprintf(want.origin, sizeof(want.origin), "%s", origin);
    assert_int_equal(mesh_swarm_join(mesh_at(c, i), &want, c->r->now_ns), 0);
}

/* A liar comes first, and says that the layer is where it is not: as the only one who asks, of whom
 * nobody has a right at hand but the credentials of the nodes. */
static void a_false_origin_costs_one_refusal(void **state)
{
    (void)state;
    size_t misled = 0;
    for (size_t liar = 0; liar < 6; liar++) {
        struct crowd *c = crowd_new(6);
        size_t asker = (liar + 1) % 6;
        lie(c, liar, "hub/none", SIZE);
        for (u64 end = c->r->now_ns + 2 * S; c->r->now_ns < end;)
            tick(c);
        assert_true(c->misled <= SWARM_RANKS); /* and none is sent there again */
        join(c, asker, false);
        u64 until = c->r->now_ns + 3 * S;
        while (c->registry_pieces == 0 && c->r->now_ns < until)
            tick(c);
        assert_true(c->registry_pieces > 0);
        assert_true(run(c, 20 * S));
        assert_true(c->misled <= SWARM_RANKS);
        misled += c->misled;
        crowd_del(c);
    }
    assert_true(misled > 0);
}

/* It says another each time: it is not listened to any more. Whoever several name is believed
 * first. */
static void who_misled_is_not_listened_to(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(6);
    char name[32];
    for (u32 round = 0; round < 30; round++) {
        (void)snprintf(name, sizeof(name), "hub/none-%u", round);
        lie(c, 0, name, SIZE);
        for (u64 end = c->r->now_ns + 500 * MS; c->r->now_ns < end;)
            tick(c);
    }
    /* Each rank may act as home for one that it cannot reach, and for itself. */
    assert_in_range(c->misled, 1, 2 * SWARM_RANKS);
    join(c, 1, false);
    join(c, 2, false);
    assert_true(run(c, 20 * S));
    crowd_del(c);
}

/* A new layer each time, which is nowhere: it does not get a request out of each of them. */
static void who_misleads_without_end_is_not_followed(void **state)
{
    (void)state;
    struct rig *r = rig_region(6);
    struct swarm_want want = {.size = SIZE, .origin = "hub/none"};
    struct swarm_step st;
    u32 fetches[6] = {0};
    rig_run(r, 5 * S);
    for (u32 k = 0; k < 400; k++) {
        want.digest = rig_layer(1000 + k);
        assert_int_equal(mesh_swarm_join(r->n[0].m, &want, r->now_ns), 0);
        for (int t = 0; t < 10; t++) {
            rig_run(r, TICK);
            for (size_t i = 0; i < 6; i++)
                while (mesh_swarm_next(r->n[i].m, &st, r->now_ns))
                    if (st.what == SWARM_FETCH) {
                        fetches[i]++;
                        mesh_swarm_registry(r->n[i].m, &st.digest, SWARM_REGISTRY_REFUSED, 0,
                                            r->now_ns);
                    }
        }
        mesh_swarm_leave(r->n[0].m, &want.digest, r->now_ns);
    }
    u32 all = 0;
    for (size_t i = 1; i < 6; i++) {
        all += fetches[i]; /* at once, and in these 80 seconds; without a bound some 250 each */
        assert_true(fetches[i] <= LIMIT_RATE_MISLED + 90 * LIMIT_RATE_MISLED_S);
    }
    assert_true(all > LIMIT_RATE_MISLED);
    rig_del(r);
}

/* Nobody may read it: whoever waits is told in time, and again. */
static void where_all_are_refused_it_is_said(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(4);
    for (size_t i = 0; i < 4; i++)
        c->refuses[i] = true;
    join(c, 0, true);
    join(c, 1, true);
    assert_false(run(c, 10 * S));
    assert_true(c->given_up >= 2);
    assert_true(c->refused >= 2 && c->refused <= 8); /* and none is asked again and again */
    crowd_del(c);
}

static void serving_is_bounded(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(2);
    struct mesh *m = mesh_at(c, 0);
    u32 ids[64], id, now = 0, busy = 0;
    assert_int_equal(mesh_swarm_seed(m, &c->d, SIZE, c->r->now_ns), 0);
    for (u32 i = 0; i < 64; i++) {
        enum swarm_answer a =
            mesh_swarm_serve(m, &c->r->n[1].key, &c->d, i % PIECES, 1, &id, c->r->now_ns);
        now += a == SWARM_ANSWER_NOW;
        busy += a == SWARM_ANSWER_BUSY;
        ids[i] = a == SWARM_ANSWER_NOW ? id : 0;
    }
    assert_int_equal(now, SWARM_OFFERING); /* the one seed */
    assert_int_equal(now + busy, 64);
    for (u32 i = 0; i < 64; i++)
        mesh_swarm_served(m, ids[i], true, c->r->now_ns);
    assert_int_equal(mesh_swarm_serve(m, &c->r->n[1].key, &c->d, PIECES, 1, &id, c->r->now_ns),
                     SWARM_ANSWER_MISSING);
    assert_int_equal(mesh_swarm_serve(m, &c->r->n[1].key, &c->d, 1, PIECES, &id, c->r->now_ns),
                     SWARM_ANSWER_MISSING);
    crowd_del(c);
}

/* Whoever finds no room hears so at once, and asks elsewhere. Who has few pieces gives one at a
 * time; with more, several, if a piece does not take long. */
static void who_finds_no_room_is_refused(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(3);
    struct mesh *m = mesh_at(c, 1);
    const struct node_key *asks = &c->r->n[2].key;
    u32 id, busy;
    join(c, 1, false);
    for (u32 p = 0; p < SWARM_FIRSTS; p++)
        mesh_swarm_have(m, &c->d, p, c->r->now_ns);
    assert_int_equal(mesh_swarm_serve(m, asks, &c->d, 0, 1, &id, c->r->now_ns), SWARM_ANSWER_NOW);
    assert_int_equal(mesh_swarm_serve(m, asks, &c->d, 1, 1, &busy, c->r->now_ns),
                     SWARM_ANSWER_BUSY);
    mesh_swarm_have(m, &c->d, SWARM_FIRSTS, c->r->now_ns);
    assert_int_equal(mesh_swarm_serve(m, asks, &c->d, 1, 1, &busy, c->r->now_ns),
                     SWARM_ANSWER_BUSY);
    c->r->now_ns += 10 * MS;
    mesh_swarm_served(m, id, true, c->r->now_ns);
    for (u32 i = 0; i < SWARM_UPLOADS; i++)
        assert_int_equal(mesh_swarm_serve(m, asks, &c->d, i, 1, &id, c->r->now_ns),
                         SWARM_ANSWER_NOW);
    assert_int_equal(mesh_swarm_serve(m, asks, &c->d, 5, 1, &id, c->r->now_ns), SWARM_ANSWER_BUSY);
    crowd_del(c);
}

/* Nobody else has it, and who offers it has a line to fill: a request that is not answered does not
 * keep it waiting. */
static void what_is_offered_is_asked_for_beside_others(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(3);
    u32 offered = 0, others = 0, next = 6;
    size_t reads = 3;
    for (size_t i = 0; i < 3; i++)
        join(c, i, true);
    for (u32 t = 0; t < 50; t++) {
        struct swarm_step st;
        rig_run(c->r, TICK);
        for (size_t i = 0; i < 3; i++)
            while (mesh_swarm_next(mesh_at(c, i), &st, c->r->now_ns)) {
                reads = st.what == SWARM_FETCH ? i : reads;
                if (i != (reads + 1) % 3 || st.what != SWARM_ASK)
                    continue;
                bool single = strcmp(st.reason, "offered") == 0;
                assert_int_equal(rig_at(c->r, &st.addr), single ? reads : (reads + 2) % 3);
                offered += single;
                others += !single;
            }
        if (reads == 3)
            continue;
        for (u32 p = 0; p < 6; p++)
            mesh_swarm_have(mesh_at(c, (reads + 2) % 3), &c->d, p, c->r->now_ns);
        if (t % 5 == 0)
            mesh_swarm_have(mesh_at(c, reads), &c->d, next++, c->r->now_ns);
    }
    assert_int_equal(others, 1); /* it has nothing yet: one at a time */
    assert_int_equal(offered, SWARM_OFFERED);
    crowd_del(c);
}

/* Somebody who asks for all there is leaves the others their part: of the line, and of the places.
 */
static void nobody_takes_the_whole_line(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(3);
    struct mesh *m = mesh_at(c, 0);
    const struct node_key *greedy = &c->r->n[1].key, *other = &c->r->n[2].key;
    struct swarm_step st;
    u32 id, last = 0;
    ((struct swarm *)mesh_swarm(m))->pace = &swarm_queued;
    assert_int_equal(mesh_swarm_seed(m, &c->d, SIZE, c->r->now_ns), 0);
    for (u32 i = 0; i < 64; i++)
        if (mesh_swarm_serve(m, greedy, &c->d, i % PIECES, 1, &id, c->r->now_ns) ==
            SWARM_ANSWER_WAIT)
            last = id;
    assert_true(last > 0);
    assert_int_equal(mesh_swarm_serve(m, other, &c->d, 5, 1, &id, c->r->now_ns), SWARM_ANSWER_WAIT);
    u32 dropped = 0, refused = 0;
    while (mesh_swarm_next(m, &st, c->r->now_ns))
        if (st.what == SWARM_DROP) {
            dropped++;
            assert_int_equal(st.id, last);
        }
    assert_int_equal(dropped, 1);
    /* Now each has one: nobody has to give way any more. */
    for (u32 i = 0; i < 8; i++) {
        refused += mesh_swarm_serve(m, greedy, &c->d, i, 1, &id, c->r->now_ns) == SWARM_ANSWER_BUSY;
        refused += mesh_swarm_serve(m, other, &c->d, i, 1, &id, c->r->now_ns) == SWARM_ANSWER_BUSY;
    }
    assert_int_equal(refused, 16);
    assert_false(mesh_swarm_next(m, &st, c->r->now_ns));
    crowd_del(c);
}

/* Whoever takes and never reads is not counted among those that are given to; it must not use up
 * the places by that, either. */
static void the_frozen_leave_places(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(3);
    struct mesh *m = mesh_at(c, 0);
    const struct node_key *greedy = &c->r->n[1].key, *other = &c->r->n[2].key;
    u32 id, taken = 0;
    assert_int_equal(mesh_swarm_seed(m, &c->d, SIZE, c->r->now_ns), 0);
    for (u32 round = 0; round < 40; round++) {
        for (u32 i = 0; i < SWARM_OFFERING; i++)
            taken +=
                mesh_swarm_serve(m, greedy, &c->d, i, 1, &id, c->r->now_ns) == SWARM_ANSWER_NOW;
        rig_run(c->r, 5 * S); /* they are stale by then */
        assert_int_equal(mesh_swarm_seed(m, &c->d, SIZE, c->r->now_ns), 0);
    }
    assert_int_equal(taken, LIMIT_SWARM_SERVES / 2);
    assert_int_equal(mesh_swarm_serve(m, other, &c->d, 5, 1, &id, c->r->now_ns), SWARM_ANSWER_NOW);
    crowd_del(c);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(2);
    struct swarm_want want = {.digest = c->d, .size = 0};
    assert_int_equal(mesh_swarm_join(mesh_at(c, 0), &want, c->r->now_ns), ERR_INVAL);
    want.size = UINT64_MAX;
    assert_int_equal(mesh_swarm_join(mesh_at(c, 0), &want, c->r->now_ns), ERR_INVAL);
    want.size = SIZE;
    assert_int_equal(mesh_swarm_join(mesh_at(c, 0), &want, c->r->now_ns), 0);
    want.size = SIZE + 1;
    assert_int_equal(mesh_swarm_join(mesh_at(c, 0), &want, c->r->now_ns), ERR_EXISTS);
    want.size = MIB;
    for (u32 i = 0; i < LIMIT_SWARMS + 10; i++) {
        want.digest = rig_layer(1000 + i);
        int err = mesh_swarm_join(mesh_at(c, 0), &want, c->r->now_ns);
        assert_int_equal(err, i < LIMIT_SWARMS - 1 ? 0 : ERR_FULL);
    }
    for (u32 i = 0; i < LIMIT_SWARMS + 10; i++) {
        want.digest = rig_layer(1000 + i);
        mesh_swarm_leave(mesh_at(c, 0), &want.digest, c->r->now_ns);
        mesh_swarm_leave(mesh_at(c, 0), &want.digest, c->r->now_ns);
    }
    /* Calls about what is not there change nothing. */
    mesh_swarm_have(mesh_at(c, 1), &c->d, 5, c->r->now_ns);
    mesh_swarm_lost(mesh_at(c, 1), &c->d, 5, c->r->now_ns);
    mesh_swarm_came(mesh_at(c, 1), 12345, 5, true, c->r->now_ns);
    mesh_swarm_ended(mesh_at(c, 1), 12345, SWARM_LIED, c->r->now_ns);
    mesh_swarm_served(mesh_at(c, 1), 12345, true, c->r->now_ns);
    struct swarm_view v;
    assert_false(swarm_look(mesh_swarm(mesh_at(c, 1)), &c->d, &v, c->r->now_ns));
    crowd_del(c);
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_fetches_for_all),
        cmocka_unit_test(whoever_holds_it_is_the_seed),
        cmocka_unit_test(another_takes_over),
        cmocka_unit_test(another_takes_over_soon),
        cmocka_unit_test(a_forger_is_dismissed),
        cmocka_unit_test(slowness_is_no_reason),
        cmocka_unit_test(who_reads_it_is_offered_it),
        cmocka_unit_test(time_does_not_go_back),
        cmocka_unit_test(wrong_pieces_come_from_elsewhere),
        cmocka_unit_test(nobody_can_and_all_are_told),
        cmocka_unit_test(an_outage_is_no_storm),
        cmocka_unit_test(a_lost_piece_is_told_to_all),
        cmocka_unit_test(a_refusal_costs_no_time),
        cmocka_unit_test(a_false_origin_costs_one_refusal),
        cmocka_unit_test(who_misled_is_not_listened_to),
        cmocka_unit_test(who_misleads_without_end_is_not_followed),
        cmocka_unit_test(where_all_are_refused_it_is_said),
        cmocka_unit_test(serving_is_bounded),
        cmocka_unit_test(who_finds_no_room_is_refused),
        cmocka_unit_test(what_is_offered_is_asked_for_beside_others),
        cmocka_unit_test(nobody_takes_the_whole_line),
        cmocka_unit_test(the_frozen_leave_places),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* proto_swarm_hostile.c - tests of what one member can do to a layer with a few messages, each as
 * an honest node might write it: it is believed of itself, and obeyed by nobody unless it is a
 * home. */
#include "crowd_rig.h"

#include "proto/rendezvous.h"

#define NODES 16
#define BAD   10 /* its place in the layer's order: no rank */

static struct swarm *swarm_at(struct crowd *c, size_t i)
{
    return (struct swarm *)mesh_swarm(mesh_at(c, i));
}

/* The node in this place of the layer's order, 0 its home. */
static size_t placed(const struct crowd *c, size_t place)
{
    for (size_t i = 0; i < c->r->count; i++) {
        size_t before = 0;
        for (size_t k = 0; k < c->r->count; k++)
            before += k != i && rendezvous_before(&c->r->n[k].key, &c->r->n[i].key, &c->d);
        if (before == place)
            return i;
    }
    return c->r->count;
}

/* A layer that its ranks and the bad one do not want; the others have a right to fetch it. */
static struct crowd *wanted_by_others(void)
{
    struct crowd *c = crowd_new(NODES);
    for (size_t i = 0; i < NODES; i++)
        mesh_set_can_fetch(mesh_at(c, i), false, c->r->now_ns);
    rig_run(c->r, 3 * S);
    for (size_t place = SWARM_RANKS; place < NODES; place++)
        if (place != BAD)
            join(c, placed(c, place), true);
    return c;
}

static u8 text[1024];

static void give(struct crowd *c, size_t to, size_t from, unsigned number, const struct wire_out *w)
{
    struct wire_in r;
    wire_in_init(&r, text, w->len);
    assert_int_equal(swarm_read(swarm_at(c, to), &c->r->n[from].key, number, &r, c->r->now_ns), 0);
}

static void put_digest(struct wire_out *w, const struct digest *d)
{
    u8 name[33] = {d->alg};
    wire_out_init(w, text, sizeof(text));
    memcpy(name + 1, d->bytes, sizeof(name) - 1);
    wire_put_bin(w, name, sizeof(name));
}

struct lie {
    enum swarm_lease_state state;
    size_t home, fetcher;
    u32 number, wait_ms;
};

static void say_lease(struct crowd *c, size_t to, size_t from, const struct lie *lie)
{
    struct wire_out w;
    put_digest(&w, &c->d);
    wire_put_u64(&w, lie->state);
    wire_put_key(&w, &c->r->n[lie->home].key);
    wire_put_key(&w, &c->r->n[lie->fetcher].key);
    wire_put_u64(&w, lie->number);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, lie->wait_ms);
    give(c, to, from, MSG_LEASE, &w);
}

/* To all ranks, again and again, for so long at most. */
static bool run_lied_to(struct crowd *c, const struct lie *lie, u64 again_ns, u64 for_ns)
{
    for (u64 end = c->r->now_ns + for_ns; c->r->now_ns < end;) {
        for (size_t rank = 0; rank < SWARM_RANKS; rank++)
            say_lease(c, placed(c, rank), placed(c, BAD), lie);
        if (run(c, again_ns))
            return true;
    }
    return false;
}

/* --- leases ---------------------------------------------------------------------------------- */

static void who_is_said_to_fetch_by_a_stranger_does_not(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    const struct lie lie = {.state = LEASE_RUNS, .home = placed(c, 0), .fetcher = placed(c, 9)};
    assert_true(run_lied_to(c, &lie, 500 * MS, 10 * S));
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

/* By the home's own name, and later than whoever was appointed. */
static void who_was_not_appointed_stops_nobody(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    while (c->registry_pieces < 2)
        tick(c);
    const struct lie lie = {
        .state = LEASE_RUNS, .home = placed(c, 0), .fetcher = placed(c, BAD), .number = 1000};
    assert_true(run_lied_to(c, &lie, TICK, 5 * S));
    assert_int_equal(c->fetches_begun, 1);
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

static void who_was_not_appointed_resigns_in_vain(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    const struct lie lie = {.state = LEASE_CUT, .home = placed(c, BAD), .fetcher = placed(c, BAD)};
    for (size_t i = 0; i < 12; i++)
        say_lease(c, placed(c, 0), placed(c, BAD), &lie);
    assert_true(run_lied_to(c, &lie, 2 * S, 10 * S));
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

static void after_the_greatest_number_there_is_a_next_one(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    const u32 numbers[] = {SWARM_NUMBER_TOLD, SWARM_NUMBER_MAX};
    for (size_t i = 0; i < countof(numbers); i++) {
        const struct lie lie = {.state = LEASE_CUT,
                                .home = placed(c, BAD),
                                .fetcher = placed(c, BAD),
                                .number = numbers[i]};
        for (size_t rank = 0; rank < SWARM_RANKS; rank++)
            say_lease(c, placed(c, rank), placed(c, BAD), &lie);
    }
    assert_true(run(c, 10 * S));
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

/* Two that fetch in turn: each message would be one to all guests. */
static void who_fetches_is_not_told_all_again_and_again(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    size_t home = placed(c, 0), bad[] = {placed(c, BAD), placed(c, 4)};
    rig_run(c->r, 100 * MS);
    u32 before = swarm_at(c, home)->out_n;
    for (u32 i = 0; i < 40; i++) {
        const struct lie lie = {
            .state = LEASE_RUNS, .home = home, .fetcher = bad[i % 2], .number = 100 + i};
        say_lease(c, home, bad[i % 2], &lie);
    }
    assert_in_range(swarm_at(c, home)->out_n - before, 1, 40 + NODES);
    crowd_del(c);
}

/* Others are appointed in its stead, one after the other. */
static void who_waits_for_the_registry_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    const struct lie lie = {.state = LEASE_WAITS,
                            .home = placed(c, 0),
                            .fetcher = placed(c, BAD),
                            .number = 1,
                            .wait_ms = 3600000};
    struct swarm_view v;
    assert_false(run_lied_to(c, &lie, 500 * MS, 30 * S));
    assert_true(swarm_look(swarm_at(c, placed(c, 5)), &c->d, &v, c->r->now_ns));
    assert_in_range(v.backoff_ns, 1, 60 * S);
    assert_true(run_lied_to(c, &lie, 500 * MS, 60 * S));
    assert_int_equal(c->registry_pieces, PIECES);
    crowd_del(c);
}

/* All homes say of somebody that it waits, and appoint nobody. */
static void homes_say_that_it_waits(struct crowd *c)
{
    for (size_t rank = 0; rank < SWARM_RANKS; rank++) {
        struct swarm_layer *l = swarm_find(swarm_at(c, placed(c, rank)), &c->d);
        if (!l || !l->home)
            continue;
        l->home->waits_ns = 0;
        l->home->lease = (struct swarm_lease){.state = LEASE_WAITS,
                                              .home = c->r->n[placed(c, BAD)].key,
                                              .fetcher = c->r->n[placed(c, BAD)].key,
                                              .heard_ns = c->r->now_ns,
                                              .until_ns = c->r->now_ns + 3600 * S};
    }
}

static void a_home_that_waits_is_not_waited_for_for_ever(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    struct swarm_view v;
    for (size_t n = 0; n < 100; n++) { /* before any of them appoints */
        rig_run(c->r, 1 * MS);
        homes_say_that_it_waits(c);
    }
    for (u64 begun_ns = c->r->now_ns; c->r->now_ns - begun_ns < 119 * S;) {
        homes_say_that_it_waits(c);
        assert_false(run(c, TICK));
        assert_true(swarm_look(swarm_at(c, placed(c, 5)), &c->d, &v, c->r->now_ns));
        assert_true(v.backoff_ns <= 60 * S);
    }
    assert_int_equal(c->fetches_begun, 0);
    for (size_t n = 0; n < 1500 && !all_done(c); n++) {
        homes_say_that_it_waits(c);
        run(c, TICK);
    }
    assert_true(all_done(c));
    assert_in_range(c->registry_pieces, PIECES, 3 * PIECES);
    crowd_del(c);
}

/* --- appointing ------------------------------------------------------------------------------ */

static void say_appoint(struct crowd *c, size_t to, size_t from, u32 number)
{
    struct wire_out w;
    put_digest(&w, &c->d);
    wire_put_u64(&w, SIZE);
    wire_put_u64(&w, number);
    wire_put_text(&w, "hub/app");
    give(c, to, from, MSG_APPOINT, &w);
}

static void say_stop(struct crowd *c, size_t to, size_t from)
{
    struct wire_out w;
    wire_out_init(&w, text, sizeof(text));
    wire_put_u64(&w, swarm_word(&c->d));
    give(c, to, from, MSG_STOP, &w);
}

static void a_stranger_appoints_nobody(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(NODES);
    for (size_t i = 0; i < NODES; i++)
        if (i != placed(c, BAD))
            say_appoint(c, i, placed(c, BAD), 5);
    for (size_t i = 0; i < 50; i++)
        tick(c);
    assert_int_equal(c->fetches_begun, 0);
    crowd_del(c);
}

/* Where so few can fetch that there are no three ranks. */
static void of_few_ranks_a_stranger_is_none(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(NODES);
    for (size_t place = 1; place < NODES; place++)
        mesh_set_can_fetch(mesh_at(c, placed(c, place)), false, c->r->now_ns);
    rig_run(c->r, 3 * S);
    say_appoint(c, placed(c, 5), placed(c, BAD), 5);
    tick(c);
    assert_int_equal(c->fetches_begun, 0);
    say_appoint(c, placed(c, 5), placed(c, 0), 5);
    tick(c);
    assert_int_equal(c->fetches_begun, 1);
    crowd_del(c);
}

/* An appointment with a greater number makes whoever sent it the home, and a home may say STOP. */
static void a_stranger_stops_nobody(void **state)
{
    (void)state;
    struct crowd *c = wanted_by_others();
    bool done = false;
    for (u32 i = 0; i < 500 && !done; i++) {
        size_t who = fetcher(c);
        if (who < NODES) {
            say_appoint(c, who, placed(c, BAD), 100 + i);
            say_stop(c, who, placed(c, BAD));
        }
        done = run(c, TICK);
    }
    assert_true(done);
    assert_int_equal(c->fetches_begun, 1);
    crowd_del(c);
}

/* For others it is gone, or has just come: for whom it is no rank, it still may be one for them. */
static void who_is_a_home_for_others_appoints(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(NODES);
    size_t home = placed(c, 0), to = placed(c, 5);
    rig_stop(c->r, home);
    rig_run(c->r, 60 * S);
    assert_false(swarm_alive(swarm_at(c, to), &c->r->n[home].key));
    say_appoint(c, to, home, 5);
    tick(c);
    assert_int_equal(c->fetches_begun, 1);
    crowd_del(c);
}

/* --- digests --------------------------------------------------------------------------------- */

static void say_join(struct crowd *c, size_t to, size_t from, const struct digest *d)
{
    struct wire_out w;
    put_digest(&w, d);
    wire_put_u64(&w, SIZE);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_text(&w, "");
    give(c, to, from, MSG_JOIN, &w);
}

/* It begins with the same 64 bits. */
static void a_made_up_digest_keeps_nobody_out(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(NODES);
    struct digest made_up = c->d;
    made_up.bytes[31] ^= 1;
    for (size_t i = 0; i < NODES; i++)
        say_join(c, i, placed(c, BAD), &made_up);
    struct swarm *s = swarm_at(c, placed(c, 5)); /* who made it up may be a home of it */
    swarm_appointed(s, swarm_find(s, &made_up), &c->r->n[placed(c, BAD)].key, 5, c->r->now_ns);
    assert_int_equal(mesh_swarm_seed(mesh_at(c, placed(c, 1)), &c->d, SIZE, c->r->now_ns), 0);
    for (size_t i = 0; i < NODES; i++)
        if (i != placed(c, BAD) && i != placed(c, 1))
            join(c, i, true);
    crowd_del(c);
}

/* Nor out of the swarm at ranks that do not want the layer and heard of the other first. */
static void a_made_up_digest_takes_no_rank(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(NODES);
    struct digest made_up = c->d;
    bool done = false;
    made_up.bytes[31] ^= 1;
    for (size_t i = 0; i < NODES; i++)
        mesh_set_can_fetch(mesh_at(c, i), false, c->r->now_ns);
    rig_run(c->r, 3 * S);
    for (size_t place = 0; place < SWARM_RANKS; place++)
        say_join(c, placed(c, place), placed(c, BAD), &made_up);
    for (size_t place = SWARM_RANKS; place < NODES; place++)
        if (place != BAD)
            join(c, placed(c, place), true);
    for (u32 i = 0; i < 500 && !done; i++) {
        for (size_t place = 0; i % 40 == 0 && place < SWARM_RANKS; place++)
            say_join(c, placed(c, place), placed(c, BAD), &made_up);
        done = run(c, TICK);
    }
    assert_true(done);
    assert_int_equal(c->fetches_begun, 1);
    crowd_del(c);
}

/* --- names ----------------------------------------------------------------------------------- */

static void put_names(struct wire_out *w, const struct crowd *c)
{
    u8 names[8 * NODES];
    for (size_t i = 0; i < NODES; i++)
        memcpy(names + 8 * i, c->r->n[i].key.bytes, 8);
    wire_put_bin(w, names, sizeof(names));
}

/* Who does not take part itself would have us ask everybody but those who do. */
static void the_names_of_a_stranger_are_nobodys(void **state)
{
    (void)state;
    struct crowd *c = crowd_new(NODES);
    size_t asker = placed(c, 5);
    struct wire_out w;
    join(c, asker, true);
    rig_run(c->r, 1 * MS);
    const struct swarm_layer *l = swarm_find(swarm_at(c, asker), &c->d);
    assert_int_equal(l->n_ranks, SWARM_RANKS);
    wire_out_init(&w, text, sizeof(text));
    wire_put_u64(&w, l->word);
    wire_put_u64(&w, BYE_NAMES);
    put_names(&w, c);
    give(c, asker, placed(c, BAD), MSG_BYE, &w);
    assert_int_equal(l->n_candidates, 0);

    wire_out_init(&w, text, sizeof(text));
    wire_put_u64(&w, l->word);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    put_names(&w, c);
    give(c, asker, placed(c, BAD), MSG_WELCOME, &w);
    assert_int_equal(l->n_candidates, 0);
    give(c, asker, placed(c, 0), MSG_WELCOME, &w);
    assert_int_equal(l->n_candidates, NODES - 1);
    crowd_del(c);
}

/* --- who comes again ------------------------------------------------------------------------- */

/* It has all of it, it says. */
static void say_hello(struct crowd *c, size_t to, size_t from, u32 session)
{
    struct wire_out w;
    put_digest(&w, &c->d);
    wire_put_u64(&w, SIZE);
    wire_put_u64(&w, session);
    wire_put_u64(&w, 1);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, PIECES);
    wire_put_array(&w, 2);
    wire_put_u64(&w, 0);
    wire_put_bin(&w, NULL, 0);
    give(c, to, from, MSG_HELLO, &w);
}

static void say_bye(struct crowd *c, size_t to, size_t from)
{
    struct wire_out w;
    wire_out_init(&w, text, sizeof(text));
    wire_put_u64(&w, swarm_word(&c->d));
    wire_put_u64(&w, BYE_GONE);
    wire_put_bin(&w, NULL, 0);
    give(c, to, from, MSG_BYE, &w);
}

/* Ends what `of` is asked for; returns how many times it was. */
static unsigned asked_of(struct crowd *c, size_t i, size_t of, enum swarm_outcome outcome)
{
    struct swarm_step st;
    unsigned n = 0;
    while (n < 100 && mesh_swarm_next(mesh_at(c, i), &st, c->r->now_ns))
        if (st.what == SWARM_ASK && node_key_equal(&st.peer, &c->r->n[of].key)) {
            n++;
            if (outcome == SWARM_WORKED)
                mesh_swarm_came(mesh_at(c, i), st.id, st.first, false, c->r->now_ns);
            mesh_swarm_ended(mesh_at(c, i), st.id, outcome, c->r->now_ns);
        }
    return n;
}

/* A word of farewell must not make a liar a stranger again. */
static void who_leaves_and_comes_is_known(void **state)
{
    (void)state;
    const enum swarm_outcome outcomes[] = {SWARM_WORKED, SWARM_LIED};
    for (size_t i = 0; i < countof(outcomes); i++) {
        struct crowd *c = crowd_new(NODES);
        size_t asker = placed(c, 5), bad = placed(c, BAD);
        join(c, asker, true);
        say_hello(c, asker, bad, 1);
        assert_true(asked_of(c, asker, bad, outcomes[i]) > 0);
        struct swarm_layer *l = swarm_find(swarm_at(c, asker), &c->d);
        u32 strikes = swarm_peer_find(l, &c->r->n[bad].key)->strikes;
        for (u32 session = 2; session < 5; session++) {
            say_bye(c, asker, bad);
            assert_null(swarm_peer_find(l, &c->r->n[bad].key));
            say_hello(c, asker, bad, session);
            assert_int_equal(swarm_peer_find(l, &c->r->n[bad].key)->strikes, strikes);
            if (outcomes[i] == SWARM_LIED)
                assert_int_equal(asked_of(c, asker, bad, SWARM_LIED), 0);
        }
        assert_true(strikes > 0 || outcomes[i] == SWARM_LIED);
        crowd_del(c);
    }
}

/* --- who reads slowly ------------------------------------------------------------------------ */

static enum swarm_answer serve(struct crowd *c, size_t seed, size_t to, u32 count, u32 *id, u64 now)
{
    return mesh_swarm_serve(mesh_at(c, seed), &c->r->n[to].key, &c->d, 0, count, id, now);
}

/* As many as are given to one at once, for so long each. */
static void take_slowly(struct crowd *c, size_t seed, size_t to, u64 *now, u64 each_ns)
{
    u32 ids[LIMIT_SWARM_SERVES];
    size_t n = 0;
    for (u64 end = *now + each_ns; *now < end; *now += 3 * S)
        while (n < countof(ids) && serve(c, seed, to, 1, &ids[n], *now) == SWARM_ANSWER_NOW)
            n++;
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++)
        mesh_swarm_served(mesh_at(c, seed), ids[i], true, *now);
}

/* Nobody else would get anything for as long as a piece seems to take. */
static void who_took_long_keeps_nobody_waiting(void **state)
{
    (void)state;
    for (int many = 0; many < 2; many++) {
        struct crowd *c = crowd_new(3);
        u64 now = c->r->now_ns;
        u32 id;
        assert_int_equal(mesh_swarm_seed(mesh_at(c, 0), &c->d, SIZE, now), 0);
        if (many) {
            take_slowly(c, 0, 1, &now, 100 * S);
        } else { /* all of it, in an hour */
            assert_int_equal(serve(c, 0, 1, PIECES, &id, now), SWARM_ANSWER_NOW);
            now += 3600 * S;
            mesh_swarm_served(mesh_at(c, 0), id, true, now);
        }
        while (serve(c, 0, 1, 1, &id, now) == SWARM_ANSWER_NOW)
            ;
        assert_int_equal(serve(c, 0, 2, 1, &id, now), SWARM_ANSWER_BUSY);
        assert_int_equal(serve(c, 0, 2, 1, &id, now + 20 * S), SWARM_ANSWER_NOW);
        crowd_del(c);
    }
}

/* It takes each line that is free, lets it lie, and comes for it again: by other requests beside
 * that one, or by breaking that one off. */
static void who_lets_lines_lie_leaves_some_to_others(void **state)
{
    (void)state;
    for (int breaks_off = 0; breaks_off < 2; breaks_off++) {
        struct crowd *c = crowd_new(3);
        u64 now = c->r->now_ns;
        u32 ids[LIMIT_SWARM_SERVES] = {0}, id, given = 0;
        size_t n = 0;
        memset(c->has[0], 1, sizeof(c->has[0]));
        c->complete[0] = true;
        assert_int_equal(mesh_swarm_seed(mesh_at(c, 0), &c->d, SIZE, now), 0);
        say_hello(c, 0, 2, 1);
        swarm_peer_find(swarm_find(swarm_at(c, 0), &c->d), &c->r->n[2].key)->complete = false;
        for (u64 ms = 0; ms < 30000; ms++, now += 1 * MS) {
            if (breaks_off && ms % 3000 == 0)
                for (; n > 0; n--)
                    mesh_swarm_served(mesh_at(c, 0), ids[n - 1], false, now);
            if (n < countof(ids) && serve(c, 0, 1, 1, &ids[n], now) == SWARM_ANSWER_NOW)
                n++;
            if (ms % 60 == 30 && serve(c, 0, 2, 1, &id, now) == SWARM_ANSWER_NOW) {
                mesh_swarm_served(mesh_at(c, 0), id, true, now + 100 * MS);
                given++;
            }
        }
        assert_true(given > 50);
        crowd_del(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_said_to_fetch_by_a_stranger_does_not),
        cmocka_unit_test(who_was_not_appointed_stops_nobody),
        cmocka_unit_test(who_was_not_appointed_resigns_in_vain),
        cmocka_unit_test(after_the_greatest_number_there_is_a_next_one),
        cmocka_unit_test(who_fetches_is_not_told_all_again_and_again),
        cmocka_unit_test(who_waits_for_the_registry_does_not_wait_for_ever),
        cmocka_unit_test(a_home_that_waits_is_not_waited_for_for_ever),
        cmocka_unit_test(a_stranger_appoints_nobody),
        cmocka_unit_test(of_few_ranks_a_stranger_is_none),
        cmocka_unit_test(a_stranger_stops_nobody),
        cmocka_unit_test(who_is_a_home_for_others_appoints),
        cmocka_unit_test(a_made_up_digest_keeps_nobody_out),
        cmocka_unit_test(a_made_up_digest_takes_no_rank),
        cmocka_unit_test(who_leaves_and_comes_is_known),
        cmocka_unit_test(who_took_long_keeps_nobody_waiting),
        cmocka_unit_test(who_lets_lines_lie_leaves_some_to_others),
        cmocka_unit_test(the_names_of_a_stranger_are_nobodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

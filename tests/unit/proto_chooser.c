/* proto_chooser.c - tests of proto/chooser.h and proto/roster.h: a tracker in the mesh of a region
 * sends users to the nodes that are there, near, and have it. */
#include "mesh_rig.h"

#include "proto/chooser.h"

#define NODES   8
#define TRACKER NODES

static struct rig *r;
static struct roster *roster;
static struct chooser *chooser;
static struct strikes *strikes;
static struct rtts *rtts;
static struct pulse *pulse;
static const u8 key[32] = {3}, user[TICKET_USER_BYTES] = {1};
static struct digest layer = {.alg = DIGEST_SHA256, .bytes = {9}};
static struct chooser_wish wish;
static u64 version;

static u64 now_ms(void)
{
    return r->now_ns / MS;
}

static void look(void)
{
    struct roster_region region = {r->n[TRACKER].m, ++version};
    wish.now_ms = now_ms();
    roster_refresh(roster, &region, now_ms());
    for (u16 n; (n = roster_unjudged(roster)) != ROSTER_NONE;)
        roster_judge(roster, n, false);
}

static int begin(void **state)
{
    (void)state;
    r = rig_new();
    for (size_t i = 0; i <= TRACKER; i++) {
        struct mesh_options opt = rig_options(r, i);
        if (i == TRACKER)
            opt.self.role = MEMBER_TRACKER;
        rig_start(r, i, &opt);
        struct addr first = rig_addr(0);
        if (i > 0 && mesh_seed(r->n[i].m, &first))
            return 1;
    }
    rig_run(r, 30 * S);
    if (strikes_new(&strikes, key) || rtts_new(&rtts, key) || pulse_new(&pulse) ||
        roster_new(&roster, 1, key))
        return 1;
    struct chooser_options opt = {
        .roster = roster, .strikes = strikes, .rtts = rtts, .pulse = pulse, .seed = 5};
    wish = (struct chooser_wish){.user = user,
                                 .from = addr_v4(192, 168, 7, 9, 1),
                                 .repository = "team/app",
                                 .digest = &layer,
                                 .size = 1000000};
    return chooser_new(&chooser, &opt);
}

static int end(void **state)
{
    (void)state;
    chooser_del(chooser);
    roster_del(roster);
    pulse_del(pulse);
    rtts_del(rtts);
    strikes_del(strikes);
    rig_del(r);
    return 0;
}

/* Whose number in the rig; SIZE_MAX: nobody is fit. */
static size_t chosen(void)
{
    struct chooser_choice choice;
    look();
    if (!chooser_choose(chooser, &wish, &choice))
        return SIZE_MAX;
    const struct node_key *k = &roster_at(roster, choice.number)->of.key;
    size_t i = 0;
    while (!node_key_equal(k, &r->n[i].key))
        i++;
    chooser_sent(chooser, &wish, choice.number);
    return i;
}

/* The choices of many users, each for an image of its own. */
static void many(size_t seen[TRACKER + 1])
{
    char name[32];
    memset(seen, 0, (TRACKER + 1) * sizeof(*seen));
    wish.repository = name;
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "team/app-%d", i);
        size_t at = chosen();
        assert_true(at <= TRACKER);
        seen[at]++;
        rig_run(r, 100 * MS);
    }
}

static void who_is_there_is_chosen_and_trackers_are_not(void **state)
{
    (void)state;
    size_t seen[TRACKER + 1], n = 0;
    struct roster_region region = {r->n[TRACKER].m, ++version};
    struct chooser_choice choice;
    wish.now_ms = now_ms();
    roster_refresh(roster, &region, now_ms());
    assert_false(chooser_choose(chooser, &wish, &choice)); /* no URL was looked at yet */
    many(seen);
    for (size_t i = 0; i < NODES; i++)
        n += seen[i] > 0;
    assert_int_equal(n, NODES); /* nothing is known: they take turns */
    assert_int_equal(seen[TRACKER], 0);
    assert_int_equal(roster_find(roster, &r->n[TRACKER].key), ROSTER_NONE);
}

static void who_went_or_does_not_answer_is_not(void **state)
{
    (void)state;
    rig_stop(r, 3);
    rig_run(r, 40 * S);
    look();
    pulse_silent(pulse, &r->n[5].key, now_ms() + 20000); /* for as long as this lasts, nearly */
    struct chooser_wish at = wish;
    at.now_ms = now_ms() + 20000;
    for (int i = 0; i < 100; i++) {
        struct chooser_choice choice;
        assert_true(chooser_choose(chooser, &at, &choice));
        const struct node_key *k = &roster_at(roster, choice.number)->of.key;
        assert_false(node_key_equal(k, &r->n[3].key) || node_key_equal(k, &r->n[5].key));
    }
    for (size_t i = 0; i < NODES; i++)
        if (r->n[i].m)
            rig_stop(r, i);
    rig_run(r, 60 * S);
    assert_true(chosen() == SIZE_MAX);
}

static void a_holder_and_then_the_same_for_the_image(void **state)
{
    (void)state;
    mesh_hold(r->n[6].m, &layer, r->now_ns);
    rig_run(r, 10 * S);
    assert_int_equal(chosen(), 6);
    struct digest other = {.alg = DIGEST_SHA256, .bytes = {10}};
    wish.digest = &other;
    for (int i = 0; i < 20; i++)
        assert_int_equal(chosen(), 6); /* where the first layer came from */
    wish.digest = &layer;
    wish.holders_only = true;
    assert_int_equal(chosen(), 6);
    wish.digest = &other;
    assert_true(chosen() == SIZE_MAX);
}

static void a_profile_goes_first(void **state)
{
    (void)state;
    mesh_hold(r->n[6].m, &layer, r->now_ns);
    rig_run(r, 10 * S);
    wish.profile = "node-2";
    assert_int_equal(chosen(), 2);
    wish.profile = "office"; /* the region: whoever has it there */
    wish.repository = "team/other";
    assert_int_equal(chosen(), 6);
}

static void struck_is_not_chosen_for_this_user(void **state)
{
    (void)state;
    mesh_hold(r->n[6].m, &layer, r->now_ns);
    rig_run(r, 10 * S);
    assert_int_equal(chosen(), 6);
    struct outcome failed = {.event = OUTCOME_FAILED, .digest = layer};
    memcpy(failed.user, user, sizeof(failed.user));
    strikes_offered(strikes, user, &layer, &wish.from, &r->n[6].key, now_ms());
    strikes_told(strikes, &r->n[6].key, &failed, now_ms());
    assert_int_equal(strikes_asked(strikes, user, &layer, &wish.from, now_ms()), 1);
    assert_true(chosen() != 6);
    static const u8 other[TICKET_USER_BYTES] = {2};
    wish.user = other;
    wish.repository = "team/other";
    assert_int_equal(chosen(), 6);
}

static void tell(size_t node, u32 us)
{
    struct addr prefix = outcome_prefix(&wish.from);
    rtts_told(rtts, &prefix, &r->n[node].key, us, now_ms());
}

/* Once somebody near was measured, who stands near that one is near as well; nobody else is asked.
 */
static void what_was_measured_stands_for_its_neighbours(void **state)
{
    (void)state;
    size_t seen[TRACKER + 1], n = 0;
    look();
    tell(4, 700);
    rig_run(r, 15 * S);
    many(seen);
    for (size_t i = 0; i < NODES; i++)
        n += seen[i] > 0;
    assert_in_range(n, 2, NODES); /* all are two milliseconds from it, and near */
}

/* --- two regions ----------------------------------------------------------------------------- */

#define FAR_NODES 2

static struct rig *far_away; /* the second region: FAR_NODES nodes, and the tracker again */

static int begin_two(void **state)
{
    if (begin(state))
        return 1;
    far_away = rig_new();
    for (size_t i = 0; i <= FAR_NODES; i++) {
        struct mesh_options opt = rig_options(far_away, i);
        struct addr first = rig_addr(0);
        opt.seed[1] = 1; /* other keys than in the first */
        if (i == FAR_NODES)
            opt.self.role = MEMBER_TRACKER;
        rig_start(far_away, i, &opt);
        if (i > 0 && mesh_seed(far_away->n[i].m, &first))
            return 1;
    }
    rig_run(far_away, 30 * S);
    chooser_del(chooser);
    roster_del(roster);
    struct chooser_options opt = {.strikes = strikes, .rtts = rtts, .pulse = pulse, .seed = 5};
    if (roster_new(&roster, 2, key))
        return 1;
    opt.roster = roster;
    return chooser_new(&chooser, &opt);
}

static int end_two(void **state)
{
    int rc = end(state);
    rig_del(far_away);
    return rc;
}

/* How many of 100 users are sent to the second region. */
static int sent_far(void)
{
    int n = 0;
    char name[32];
    wish.repository = name;
    for (int i = 0; i < 100; i++) {
        version++;
        struct roster_region regions[] = {{r->n[TRACKER].m, version},
                                          {far_away->n[FAR_NODES].m, version}};
        struct chooser_choice choice;
        snprintf(name, sizeof(name), "team/app-%d", i);
        wish.now_ms += 100;
        roster_refresh(roster, regions, wish.now_ms);
        for (u16 k; (k = roster_unjudged(roster)) != ROSTER_NONE;)
            roster_judge(roster, k, false);
        assert_true(chooser_choose(chooser, &wish, &choice));
        n += roster_at(roster, choice.number)->of.region_index == 1;
    }
    return n;
}

/* Sixty milliseconds is far: somebody of a region that nobody has measured may be nearer. Once that
 * was measured, it is asked, and no more is tried. */
static void while_nobody_is_near_others_are_tried(void **state)
{
    (void)state;
    wish.now_ms = now_ms();
    tell(4, 60000);
    assert_in_range(sent_far(), 20, 80); /* half of them, by lot */
    struct addr prefix = outcome_prefix(&wish.from);
    rtts_told(rtts, &prefix, &far_away->n[1].key, 1000, wish.now_ms);
    wish.now_ms += 20000;
    assert_int_equal(sent_far(), 100);
}

/* A network of which nothing was measured is thought to be where its neighbours are, until
 * something is. */
static void neighbours_stand_in(void **state)
{
    (void)state;
    wish.now_ms = now_ms();
    struct addr prefix = outcome_prefix(&wish.from);
    rtts_told(rtts, &prefix, &far_away->n[1].key, 1000, wish.now_ms);
    wish.from = addr_v4(192, 168, 8, 1, 1);
    assert_int_equal(sent_far(), 100);
    wish.from = addr_v4(192, 169, 8, 1, 1); /* no neighbour */
    assert_in_range(sent_far(), 1, 60);
    wish.from = addr_v4(192, 168, 8, 1, 1);
    prefix = outcome_prefix(&wish.from);
    rtts_told(rtts, &prefix, &far_away->n[1].key, 90000, wish.now_ms);
    tell(4, 800);
    wish.now_ms += 20000;
    assert_int_equal(sent_far(), 0);
}

#define TEST(name)     cmocka_unit_test_setup_teardown(name, begin, end)
#define TEST_TWO(name) cmocka_unit_test_setup_teardown(name, begin_two, end_two)

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(who_is_there_is_chosen_and_trackers_are_not),
        TEST(who_went_or_does_not_answer_is_not),
        TEST(a_holder_and_then_the_same_for_the_image),
        TEST(a_profile_goes_first),
        TEST(struck_is_not_chosen_for_this_user),
        TEST(what_was_measured_stands_for_its_neighbours),
        TEST_TWO(while_nobody_is_near_others_are_tried),
        TEST_TWO(neighbours_stand_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

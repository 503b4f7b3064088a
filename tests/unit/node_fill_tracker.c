/* node_fill_tracker.c - tests of node/fill.h: layers read through the tracker whose ticket a client
 * brought, where neither peers nor the node's own credentials have them. */
#include "fill_peers_fixture.h"

#define TICKET "first-ticket"
#define OTHER  "other-ticket"

static struct server *trackers[2];
static struct client other;

static void script_refuse(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 403, "", "{\"errors\":[]}");
}

static void script_busy(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    say_answer(p, 503, "", "");
}

static bool is_of(const struct server_request *r, const char *ticket)
{
    const char *at = strstr(r->target, "?ticket=");
    return at && strcmp(at + strlen("?ticket="), ticket) == 0;
}

/* A registry of which the test writes all, and trackers. */
static void stage(server_script at_registry, const char *credentials, server_script first,
                  server_script second)
{
    open_rig(CAPACITY);
    layer_make(&layer, 2 * MIB + 7, 12);
    registry = server_new(at_registry, NULL, NULL);
    rig_upstream(&rig, server_url(registry), NULL, credentials, NULL);
    memset(peers, 0, sizeof(peers));
    trackers[0] = server_new(first, NULL, NULL);
    trackers[1] = second ? server_new(second, NULL, NULL) : NULL;
    for (size_t i = 0; i < 2; i++)
        if (trackers[i])
            double_tracker(trackers[i]);
    client_init(&client, &rig);
    client_init(&other, &rig);
}

static void unstage(void)
{
    finish();
    for (size_t i = 0; i < 2; i++)
        if (trackers[i])
            server_del(trackers[i]);
}

static int join_with(struct client *c, const char *ticket, size_t tracker, bool own)
{
    struct fill_source src = {
        .upstream = rig.upstreams[0],
        .repository = "team/app",
        .ticket = ticket,
        .own = own,
        .proven = true,
        .size = layer.len,
    };
    memset(src.tracker.bytes, 0x70 + (int)tracker, NODE_KEY_BYTES);
    return client_join_as(c, &layer.digest, &src);
}

static u64 read_through(void)
{
    return rig_counter(&rig, "dray_read_through_bytes_total", "");
}

/* --- who is asked ----------------------------------------------------------------------------- */

static void test_the_tracker_is_read_through(void **state)
{
    (void)state;
    struct server_request r;
    char target[256], statement[320];
    stage(script_layer, NULL, script_layer, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    expect_whole();
    assert_int_equal(server_count(registry), 0);
    assert_int_equal(server_count(trackers[0]), 1);
    server_request_at(trackers[0], 0, &r);
    snprintf(target, sizeof(target), "/mesh/v1/origin/team/app/blobs/%s?ticket=%s", layer.text,
             TICKET);
    assert_string_equal(r.target, target);
    snprintf(statement, sizeof(statement), "%u GET %s 0", 0x70u, target);
    assert_string_equal(request_field(&r, "Dray-Peer"), statement);
    assert_null(request_field(&r, "Authorization"));
    assert_null(request_field(&r, "Range"));
    assert_int_equal(read_through(), layer.len);
    assert_int_equal(rig_counter(&rig, "dray_fetched_bytes_total", "from=\"origin\""), layer.len);
    unstage();
}

static void test_peers_come_before_the_tracker(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_layer, NULL);
    peers[0] = server_new(script_layer, NULL, NULL);
    double_peer(peers[0]);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    expect_whole();
    assert_int_equal(server_count(trackers[0]), 0);
    assert_int_equal(from_peers(), layer.len);
    unstage();
}

static void test_own_credentials_come_before_the_tracker(void **state)
{
    (void)state;
    stage(script_layer, "dray:secret", script_layer, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, true), 0);
    expect_whole();
    assert_int_equal(server_count(trackers[0]), 0);
    assert_int_equal(read_through(), 0);
    unstage();
}

static void expect_read_through_after(server_script at_registry)
{
    stage(at_registry, "dray:secret", script_layer, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, true), 0);
    expect_whole();
    assert_true(server_count(registry) > 0);
    assert_int_equal(read_through(), layer.len);
    unstage();
}

static void script_hang_up(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)r;
    (void)arg;
    hang_up(p);
}

static void test_where_own_credentials_do_not_do(void **state)
{
    (void)state;
    expect_read_through_after(script_refuse);
    expect_read_through_after(script_busy);
    expect_read_through_after(script_hang_up);
}

/* Without a ticket nothing changes: who is refused is refused. */
static void test_who_has_no_ticket_is_not_read_for(void **state)
{
    (void)state;
    stage(script_refuse, NULL, script_layer, NULL);
    assert_int_equal(join_as(&other, true, layer.len), 0);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    client_expect_failed(&other, ERR_DENIED);
    assert_int_equal(other.refusal, 403);
    expect_whole();
    assert_int_equal(server_count(registry), 1);
    unstage();
}

/* A right that has yet to be proved cannot be proved by a tracker. */
static void test_an_unproven_right_is_not_shared(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_layer, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    assert_int_equal(join_as(&other, false, STORE_SIZE_UNKNOWN), ERR_AGAIN);
    expect_whole();
    unstage();
}

/* --- refusals --------------------------------------------------------------------------------- */

static void script_other_only(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (is_of(r, OTHER))
        say_layer(p, r, &layer, SIZE_MAX);
    else
        say_answer(p, 403, "", "{\"errors\":[]}");
}

static void test_a_refusal_is_for_its_own_ticket(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_other_only, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    assert_int_equal(join_with(&other, OTHER, 0, false), 0);
    client_expect_failed(&client, ERR_DENIED);
    assert_int_equal(client.refusal, 403);
    client_expect(&other, layer.data, layer.len);
    assert_int_equal(server_count(trackers[0]), 2);
    rig_wait_idle(&rig);
    unstage();
}

static void test_a_tracker_that_cannot_is_left_for_another(void **state)
{
    (void)state;
    static const server_script cannot[] = {script_busy, script_hang_up, script_refuse};
    for (size_t i = 0; i < countof(cannot); i++) {
        stage(script_layer, NULL, cannot[i], script_layer);
        assert_int_equal(join_with(&client, TICKET, 0, false), 0);
        assert_int_equal(join_with(&other, OTHER, 1, false), 0);
        client_expect(&client, layer.data, layer.len);
        client_expect(&other, layer.data, layer.len);
        assert_in_range(server_count(trackers[0]), 1, 2); /* a kept connection may have died */
        assert_int_equal(server_count(trackers[1]), 1);
        rig_wait_idle(&rig);
        unstage();
    }
}

static void test_where_no_tracker_can_who_asked_is_told(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_busy, script_refuse);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    client_expect_failed(&client, ERR_DENIED);
    assert_int_equal(client.refusal, 403); /* the last one's word */
    assert_int_equal(server_count(trackers[0]), 1);
    assert_int_equal(server_count(trackers[1]), 1);
    rig_wait_idle(&rig);
    unstage();
}

static void script_half_then_gone(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (r->number == 0)
        say_layer(p, r, &layer, MIB);
    else
        script_hang_up(p, r, arg);
}

/* It dies while it is read through: another goes on from there. */
static void test_another_tracker_goes_on(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_half_then_gone, script_layer);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    expect_whole();
    expect_range(trackers[1], 0, "bytes=1048576-");
    assert_int_equal(server_count(registry), 0);
    unstage();
}

static void test_a_tracker_that_died_is_not_asked(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_layer, script_layer);
    mesh_double.trackers[0].dead = true;
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    expect_whole();
    assert_int_equal(server_count(trackers[0]), 0);
    assert_int_equal(server_count(trackers[1]), 1);
    unstage();
}

static void test_a_tracker_not_in_sight(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_layer, NULL);
    rig_timer_max_ms = 2; /* it is looked for often */
    mesh_double.trackers[0].dead = true;
    join_with(&client, TICKET, 0, false);
    client_expect_failed(&client, ERR_NOTFOUND);
    client_init(&client, &rig);
    mesh_double.trackers[0].dead = false;
    mesh_double.trackers[0].record.role = MEMBER_NODE; /* a neighbour, who never answers */
    join_with(&client, TICKET, 0, false);
    assert_int_equal(mesh_double.swarm.joined, 1);
    pass_ms(60 * 1000);
    client_expect_failed(&client, ERR_NOTFOUND);
    mesh_double.off = true;
    client_init(&client, &rig);
    join_with(&client, TICKET, 0, false);
    client_expect_failed(&client, ERR_UNREACHABLE);
    assert_int_equal(server_count(trackers[0]), 0);
    rig_wait_idle(&rig);
    rig_timer_max_ms = 0;
    unstage();
}

static bool was_looked_for(void *arg)
{
    return mesh_double.finds >= *(const unsigned *)arg;
}

/* It issued a ticket before word of it has come here. */
static void test_a_tracker_that_comes_in_sight(void **state)
{
    (void)state;
    unsigned looks = 3;
    stage(script_layer, NULL, script_layer, NULL);
    mesh_double.trackers[0].dead = true;
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    rig_wait(&rig, was_looked_for, &looks);
    assert_false(client.failed);
    mesh_double.trackers[0].dead = false;
    expect_whole();
    assert_int_equal(server_count(trackers[0]), 1);
    /* The node ends while one is looked for. */
    client_init(&other, &rig);
    layer_free(&layer);
    layer_make(&layer, MIB, 13);
    assert_int_equal(join_with(&other, TICKET, 1, false), 0);
    unstage();
}

/* --- what breaks off -------------------------------------------------------------------------- */

static void script_half(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    say_layer(p, r, &layer, r->number == 0 ? MIB : SIZE_MAX);
}

static void test_broken_off_goes_on_by_range(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_half, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    expect_whole();
    assert_int_equal(server_count(trackers[0]), 2);
    expect_range(trackers[0], 1, "bytes=1048576-");
    assert_int_equal(server_count(registry), 0);
    unstage();
}

/* The first ticket expires half way; by then somebody has come with another. */
static void script_expires(struct server_peer *p, const struct server_request *r, void *arg)
{
    (void)arg;
    if (is_of(r, OTHER)) {
        say_layer(p, r, &layer, SIZE_MAX);
    } else if (r->number > 0) {
        say_answer(p, 403, "", "");
    } else {
        say(p, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", layer.len);
        say_bytes(p, layer.data, MIB);
        wait_gate(p, 0);
        hang_up(p);
    }
}

static void test_another_ticket_carries_on(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_expires, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    client_wait_bytes(&client, MIB - 1);
    assert_int_equal(join_with(&other, OTHER, 0, false), 0);
    server_open(trackers[0], 0);
    client_expect(&client, layer.data, layer.len);
    client_expect(&other, layer.data, layer.len);
    rig_wait_idle(&rig);
    assert_true(rig_holds(&rig, &layer));
    unstage();
}

static void test_without_another_the_answer_is_cut(void **state)
{
    (void)state;
    struct server_request r;
    stage(script_layer, NULL, script_expires, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    client_wait_bytes(&client, MIB - 1);
    server_open(trackers[0], 0);
    client_expect_cut(&client, &layer);
    rig_wait_idle(&rig);
    /* What came is kept; who comes again brings a new ticket. */
    client_init(&client, &rig);
    assert_int_equal(join_with(&client, OTHER, 0, false), 0);
    expect_whole();
    server_request_at(trackers[0], server_count(trackers[0]) - 1, &r);
    const char *range = request_field(&r, "Range");
    assert_non_null(range); /* from where the file ended, not all that had come */
    assert_in_range(strtoull(range + strlen("bytes="), NULL, 10), 1, MIB);
    unstage();
}

static void script_dead_connection(struct server_peer *p, const struct server_request *r, void *arg)
{
    if (r->number == 0)
        hang_up(p);
    else
        script_layer(p, r, arg);
}

/* A statement is good for one request. */
static void test_asked_once_more_with_a_new_statement(void **state)
{
    (void)state;
    struct server_request r;
    char first[512];
    stage(script_layer, NULL, script_dead_connection, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    expect_whole();
    server_request_at(trackers[0], 0, &r);
    snprintf(first, sizeof(first), "%s", request_field(&r, "Dray-Peer"));
    server_request_at(trackers[0], server_count(trackers[0]) - 1, &r);
    assert_string_not_equal(request_field(&r, "Dray-Peer"), first);
    unstage();
}

static void script_lie(struct server_peer *p, const struct server_request *r, void *arg)
{
    struct layer lie;
    (void)arg;
    layer_make(&lie, layer.len, 99);
    say_layer(p, r, &lie, SIZE_MAX);
    layer_free(&lie);
}

static bool has_ended(void *arg)
{
    (void)arg;
    return client.ended || client.failed;
}

static void test_wrong_bytes_are_not_kept(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_lie, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    rig_wait(&rig, has_ended, NULL);
    assert_true(client.ready && client.end_err < 0 && client.len < layer.len);
    client_leave(&client);
    rig_wait_idle(&rig);
    assert_false(rig_holds(&rig, &layer));
    assert_int_equal(rig_counter(&rig, "dray_dropped_total", "reason=\"wrong_digest\""), 1);
    unstage();
}

static void test_stopped_while_it_is_asked(void **state)
{
    (void)state;
    stage(script_layer, NULL, script_expires, NULL);
    assert_int_equal(join_with(&client, TICKET, 0, false), 0);
    client_wait_bytes(&client, MIB - 1);
    client_leave(&client);
    unstage(); /* nothing is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_tracker_is_read_through),
        cmocka_unit_test(test_peers_come_before_the_tracker),
        cmocka_unit_test(test_own_credentials_come_before_the_tracker),
        cmocka_unit_test(test_where_own_credentials_do_not_do),
        cmocka_unit_test(test_who_has_no_ticket_is_not_read_for),
        cmocka_unit_test(test_an_unproven_right_is_not_shared),
        cmocka_unit_test(test_a_refusal_is_for_its_own_ticket),
        cmocka_unit_test(test_a_tracker_that_cannot_is_left_for_another),
        cmocka_unit_test(test_where_no_tracker_can_who_asked_is_told),
        cmocka_unit_test(test_another_tracker_goes_on),
        cmocka_unit_test(test_a_tracker_that_died_is_not_asked),
        cmocka_unit_test(test_a_tracker_not_in_sight),
        cmocka_unit_test(test_a_tracker_that_comes_in_sight),
        cmocka_unit_test(test_broken_off_goes_on_by_range),
        cmocka_unit_test(test_another_ticket_carries_on),
        cmocka_unit_test(test_without_another_the_answer_is_cut),
        cmocka_unit_test(test_asked_once_more_with_a_new_statement),
        cmocka_unit_test(test_wrong_bytes_are_not_kept),
        cmocka_unit_test(test_stopped_while_it_is_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

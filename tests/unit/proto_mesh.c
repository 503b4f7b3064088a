/* A region of whole meshes: joining, who holds what, purges, keys that change, leaving, versions.
 */
#include "mesh_rig.h"

#include "proto/message.h"

static bool usable_at(const struct mesh_source *s, size_t n, const struct addr *a)
{
    for (size_t i = 0; i < n; i++)
        if (s[i].usable && addr_equal(&s[i].addr, a))
            return true;
    return false;
}

static size_t sources_of(struct rig *r, size_t who, u32 layer, struct mesh_source *out)
{
    struct digest d = rig_layer(layer);
    return mesh_sources(r->n[who].m, &d, MIB, out, r->now_ns);
}

static void all_meet(void **state)
{
    (void)state;
    struct rig *r = rig_region(12);
    rig_run(r, 5 * S);
    for (size_t i = 0; i < 12; i++) {
        struct mesh_stats s = rig_stats(r, i);
        assert_int_equal(r->n[i].events[MEMBER_EVENT_JOINED], 1);
        assert_int_equal(r->n[i].events[MEMBER_EVENT_UP], 11);
        assert_int_equal(r->n[i].events[MEMBER_EVENT_DOWN], 0);
        for (enum seal_drop d = SEAL_OK + 1; d < SEAL_DROP_COUNT; d++)
            assert_int_equal(s.dropped[d], 0);
        assert_true(s.dropped[SEAL_OK] > 20);
        assert_int_equal(s.malformed + s.unknown + s.peer_refused + s.events_lost, 0);
        assert_true(s.datagrams_in > 0 && s.datagrams_out > 0 && s.bytes_out > s.datagrams_out);
        assert_true(mesh_bytes(r->n[i].m) < MIB);
        assert_true(mesh_next_expiry(r->n[i].m) > r->now_ns);
    }
    rig_del(r);
}

static void what_one_holds_all_can_find(void **state)
{
    (void)state;
    struct rig *r = rig_region(10);
    struct digest d = rig_layer(1), other = rig_layer(2);
    struct mesh_source s[MESH_SOURCES_MAX];
    mesh_hold(r->n[3].m, &d, r->now_ns);
    mesh_hold(r->n[3].m, &d, r->now_ns); /* idempotent */
    rig_run(r, 4 * S);
    for (size_t i = 0; i < 10; i++) {
        size_t n = sources_of(r, i, 1, s);
        assert_int_equal(n, i == 3 ? 0 : 1);
        assert_int_equal(mesh_copies(r->n[i].m, &d), i == 3 ? 0 : 1);
        assert_int_equal(mesh_copies(r->n[i].m, &other), 0);
        if (n == 0)
            continue;
        assert_true(s[0].usable && addr_equal(&s[0].addr, &r->n[3].addr));
        assert_true(node_key_equal(&s[0].key, &r->n[3].key));
        assert_string_equal(s[0].name, "node-3");
        assert_int_equal(s[0].tier, i == 2 ? CHOOSE_RACK : i < 8 ? CHOOSE_SUBNET : CHOOSE_REGION);
        assert_true(s[0].expected_ns > 0);
    }
    rig_start_all(r, 10, 12); /* who joins later learns it, too */
    assert_true(rig_until(r, rig_all_meet, 20 * S));
    rig_run(r, 10 * S);
    assert_int_equal(mesh_copies(r->n[11].m, &d), 1);
    mesh_drop(r->n[3].m, &d, r->now_ns);
    mesh_drop(r->n[3].m, &other, r->now_ns);
    rig_run(r, 4 * S);
    for (size_t i = 0; i < 12; i++)
        assert_int_equal(sources_of(r, i, 1, s), 0);
    rig_del(r);
}

static void only_named_digests_are_told(void **state)
{
    (void)state;
    struct rig *r = rig_region(2);
    struct digest none = {0}, wide = {.alg = DIGEST_SHA512, .bytes = {1}};
    mesh_hold(r->n[0].m, &none, r->now_ns);
    mesh_drop(r->n[0].m, &none, r->now_ns);
    mesh_hold(r->n[0].m, &wide, r->now_ns);
    rig_run(r, 2 * S);
    assert_int_equal(mesh_copies(r->n[1].m, &wide), 1);
    rig_del(r);
}

static void trackers_are_no_sources(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct mesh_source s[MESH_SOURCES_MAX];
    struct digest d = rig_layer(1);
    rig_start_all(r, 0, 3);
    struct mesh_options opt = rig_options(r, 3);
    struct addr seed = rig_addr(0);
    opt.self.role = MEMBER_TRACKER;
    rig_start(r, 3, &opt);
    assert_int_equal(mesh_seed(r->n[3].m, &seed), 0);
    assert_true(rig_until(r, rig_all_meet, 20 * S));
    rig_run(r, 10 * S);
    mesh_hold(r->n[1].m, &d, r->now_ns);
    mesh_hold(r->n[3].m, &d, r->now_ns); /* as no tracker should */
    rig_run(r, 4 * S);
    assert_int_equal(sources_of(r, 0, 1, s), 1);
    assert_true(usable_at(s, 1, &r->n[1].addr));
    assert_int_equal(sources_of(r, 3, 1, s), 1); /* but a tracker may ask */
    rig_del(r);
}

/* --- fetching -------------------------------------------------------------------------------- */

static void fetches_teach(void **state)
{
    (void)state;
    struct rig *r = rig_region(4);
    struct digest d = rig_layer(1);
    struct mesh_source s[MESH_SOURCES_MAX];
    struct mesh *m = r->n[0].m;
    for (size_t i = 1; i < 4; i++)
        mesh_hold(r->n[i].m, &d, r->now_ns);
    rig_run(r, 4 * S);
    assert_int_equal(sources_of(r, 0, 1, s), 3);
    assert_true(node_key_equal(&s[0].key, &r->n[1].key)); /* the same rack */

    mesh_fetch_started(m, &r->n[1].key, MIB);
    mesh_fetch_ended(m, &r->n[1].key, &d, MESH_FETCH_BUSY, 0, MIB, MS, r->now_ns);
    assert_int_equal(sources_of(r, 0, 1, s), 3);
    assert_true(s[2].usable && node_key_equal(&s[2].key, &r->n[1].key));
    assert_string_equal(s[2].reason, "busy");

    mesh_fetch_started(m, &r->n[2].key, MIB);
    mesh_fetch_ended(m, &r->n[2].key, &d, MESH_FETCH_MISSING, 0, MIB, MS, r->now_ns);
    assert_int_equal(sources_of(r, 0, 1, s), 2);

    for (int i = 0; i < 2; i++) { /* two in a row bar it */
        mesh_fetch_started(m, &r->n[3].key, MIB);
        mesh_fetch_ended(m, &r->n[3].key, &d, MESH_FETCH_FAILED, 0, MIB, S, r->now_ns);
    }
    assert_int_equal(sources_of(r, 0, 1, s), 2);
    assert_false(s[1].usable);
    assert_string_equal(s[1].reason, "barred");
    assert_true(node_key_equal(&s[1].key, &r->n[3].key));

    mesh_fetch_started(m, &r->n[3].key, MIB);
    mesh_fetch_ended(m, &r->n[3].key, &d, MESH_FETCH_WORKED, MIB, MIB, S / 10, r->now_ns);
    assert_int_equal(sources_of(r, 0, 1, s), 2);
    assert_true(s[0].usable && s[1].usable); /* one success ends it */

    struct node_key nobody = {{9, 9}};
    mesh_fetch_started(m, &nobody, MIB);
    mesh_fetch_ended(m, &nobody, &d, MESH_FETCH_FAILED, 0, MIB, S, r->now_ns);
    mesh_fetch_ended(m, &r->n[3].key, &d, MESH_FETCH_LEFT, 0, MIB, S, r->now_ns);
    rig_del(r);
}

static void bytes_in_flight_send_others_elsewhere(void **state)
{
    (void)state;
    struct rig *r = rig_region(8);
    struct digest d = rig_layer(1);
    struct mesh_source s[MESH_SOURCES_MAX];
    unsigned first[8] = {0};
    for (size_t i = 2; i < 8; i++)
        mesh_hold(r->n[i].m, &d, r->now_ns);
    rig_run(r, 4 * S);
    for (int i = 0; i < 600; i++) {
        assert_int_equal(sources_of(r, 0, 1, s), 6);
        for (size_t j = 2; j < 8; j++)
            if (node_key_equal(&s[0].key, &r->n[j].key)) {
                mesh_fetch_started(r->n[0].m, &r->n[j].key, MIB);
                first[j]++;
            }
    }
    for (size_t j = 2; j < 8; j++)
        assert_in_range(first[j], 95, 105);
    rig_del(r);
}

/* --- purges ---------------------------------------------------------------------------------- */

static bool all_purged(const struct rig *r)
{
    struct digest d = rig_layer(66);
    for (size_t i = 0; i < r->count; i++)
        if (r->n[i].m && !mesh_is_purged(r->n[i].m, &d, TODAY))
            return false;
    return true;
}

static void a_purge_reaches_everybody(void **state)
{
    (void)state;
    struct rig *r = rig_region(16);
    struct digest d = rig_layer(66);
    u64 start = r->now_ns;
    assert_int_equal(mesh_purge(r->n[5].m, &d, TODAY, TODAY + 60000, r->now_ns), 0);
    assert_int_equal(mesh_purge(r->n[5].m, &d, TODAY, TODAY, r->now_ns), ERR_INVAL);
    assert_true(rig_until(r, all_purged, 10 * S));
    assert_true(r->now_ns - start < 2 * S);
    rig_run(r, 5 * S);
    for (size_t i = 0; i < 16; i++) {
        assert_int_equal(r->n[i].purges, 1); /* each is told once */
        assert_true(digest_equal(&r->n[i].last_purge, &d));
        assert_false(mesh_is_purged(r->n[i].m, &d, TODAY + 60000));
    }
    rig_start_all(r, 16, 18); /* who joins is given the list */
    assert_true(rig_until(r, all_purged, 20 * S));
    assert_true(r->n[17].purges == 1 || (rig_run(r, MS), r->n[17].purges == 1));
    rig_del(r);
}

struct rows {
    struct seal *listener;
    unsigned datagrams, alone, riding;
};

/* Which datagrams carry a purge order, and what else is in them. */
static bool rows_tap(struct rig *r, struct rig_packet *p)
{
    struct rows *rows = r->tap_data;
    u8 text[LIMIT_DATAGRAM_BYTES];
    struct seal_from from;
    bool purge = false, other = false;
    if (p->kind != RIG_DATAGRAM)
        return true;
    assert_true(p->len <= LIMIT_DATAGRAM_BYTES);
    assert_int_equal(seal_open(rows->listener, SEAL_DATAGRAM, p->bytes, p->len, text, &from),
                     SEAL_OK);
    struct wire_in in, end;
    wire_in_init(&in, text, from.text_len);
    while (wire_left(&in) > 0) {
        end = in;
        wire_skip(&end);
        wire_get_array(&in, 4096);
        u64 number = wire_get_u64(&in);
        assert_true(wire_ok(&in));
        purge |= number == MSG_PURGE_FIRST;
        other |= number < MSG_PURGE_FIRST;
        in = end;
    }
    rows->datagrams++;
    rows->alone += purge && !other;
    rows->riding += purge && other;
    return true;
}

static void orders_ride_where_there_is_room(void **state)
{
    (void)state;
    struct rig *r = rig_region(12);
    struct seal_options opt = {.self = {{0xee}}, .epoch = 1, .seed = 3};
    struct rows rows = {0};
    assert_int_equal(seal_new(&rows.listener, &opt), 0);
    assert_int_equal(seal_set_keys(rows.listener, &r->key, 1), 0);
    r->tap = rows_tap;
    r->tap_data = &rows;
    struct digest d = rig_layer(66);
    assert_int_equal(mesh_purge(r->n[5].m, &d, TODAY, TODAY + 60000, r->now_ns), 0);
    rig_run(r, 10 * S);
    assert_true(all_purged(r));
    assert_true(rows.riding > 10);
    assert_in_range(rows.alone + rows.riding, 50, 12 * 20);
    seal_del(rows.listener);
    rig_del(r);
}

static void purges_are_saved_and_loaded(void **state)
{
    (void)state;
    struct rig *r = rig_region(2);
    struct digest d = rig_layer(66);
    struct purge_order o;
    assert_int_equal(mesh_purge(r->n[0].m, &d, TODAY, TODAY + 60000, r->now_ns), 0);
    size_t at = 0;
    assert_true(mesh_each_purge(r->n[0].m, &at, &o));
    assert_false(mesh_each_purge(r->n[0].m, &at, &o));
    rig_stop(r, 0);
    struct mesh_options opt = rig_options(r, 0);
    opt.boot_epoch += 5;
    rig_start(r, 0, &opt);
    assert_false(mesh_is_purged(r->n[0].m, &d, TODAY));
    mesh_clock(r->n[0].m, TODAY - 2 * LIMIT_PURGE_AHEAD_MS);
    assert_int_equal(mesh_import_purge(r->n[0].m, &o), ERR_AGAIN);
    mesh_clock(r->n[0].m, TODAY);
    assert_int_equal(mesh_import_purge(r->n[0].m, &o), 0);
    assert_int_equal(mesh_import_purge(r->n[0].m, &o), ERR_EXISTS);
    assert_true(mesh_is_purged(r->n[0].m, &d, TODAY));
    o.until_ms++;
    assert_int_equal(mesh_import_purge(r->n[0].m, &o),
                     ERR_DENIED); /* later, so news, but not signed */
    rig_del(r);
}

static bool split_tap(struct rig *r, struct rig_packet *p)
{
    size_t to = rig_at(r, &p->to);
    return to >= r->count || (p->from < 4) == (to < 4);
}

static void split_regions_agree_when_they_meet(void **state)
{
    (void)state;
    struct rig *r = rig_region(8);
    struct digest d = rig_layer(66), layer = rig_layer(1);
    r->tap = split_tap;
    rig_run(r, S);
    assert_int_equal(mesh_purge(r->n[1].m, &d, TODAY, TODAY + 60000, r->now_ns), 0);
    mesh_hold(r->n[2].m, &layer, r->now_ns);
    rig_run(r, 60 * S);
    assert_false(mesh_is_purged(r->n[6].m, &d, TODAY));
    assert_int_equal(member_count(mesh_member(r->n[6].m), MEMBER_ALIVE), 4);
    r->tap = NULL;
    assert_true(rig_until(r, rig_all_meet, 60 * S));
    assert_true(rig_until(r, all_purged, 120 * S));
    rig_run(r, 10 * S);
    assert_int_equal(mesh_copies(r->n[6].m, &layer), 1);
    rig_del(r);
}

/* --- keys ------------------------------------------------------------------------------------ */

static void set_ring(struct rig *r, u8 first, u8 second)
{
    struct seal_key ring[2];
    memset(ring[0].bytes, first, SEAL_KEY_BYTES);
    memset(ring[1].bytes, second, SEAL_KEY_BYTES);
    for (size_t i = 0; i < r->count; i++) { /* rack by rack */
        assert_int_equal(mesh_set_keys(r->n[i].m, ring, second ? 2 : 1), 0);
        rig_run(r, 700 * MS);
    }
}

static void the_mesh_key_changes_while_running(void **state)
{
    (void)state;
    struct rig *r = rig_region(8);
    struct digest d = rig_layer(1);
    set_ring(r, 7, 8); /* install */
    set_ring(r, 8, 7); /* use */
    set_ring(r, 8, 0); /* remove */
    mesh_hold(r->n[0].m, &d, r->now_ns);
    rig_run(r, 30 * S);
    struct seal_key now;
    memset(now.bytes, 8, sizeof(now.bytes));
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(r->n[i].events[MEMBER_EVENT_DOWN], 0);
        assert_int_equal(rig_stats(r, i).dropped[SEAL_KEY], 0);
        assert_int_equal(member_count(mesh_member(r->n[i].m), MEMBER_ALIVE), 8);
        assert_int_equal(mesh_copies(r->n[i].m, &d), i == 0 ? 0 : 1);
        struct member_view v;
        for (size_t at = 0; member_each(mesh_member(r->n[i].m), &at, &v);)
            assert_int_equal(v.key_ids[0], seal_key_id(&now)); /* `status` can show it */
    }
    assert_int_equal(mesh_set_keys(r->n[0].m, &now, 0), ERR_INVAL);
    rig_del(r);
}

static void a_foreign_key_opens_nothing(void **state)
{
    (void)state;
    struct rig *r = rig_region(3);
    struct mesh_options opt = rig_options(r, 3);
    struct seal_key foreign = {{1}};
    struct addr seed = rig_addr(0);
    opt.keys = &foreign;
    rig_start(r, 3, &opt);
    assert_int_equal(mesh_seed(r->n[3].m, &seed), 0);
    rig_run(r, 20 * S);
    assert_true(rig_stats(r, 0).dropped[SEAL_KEY] > 0);
    assert_int_equal(member_count(mesh_member(r->n[3].m), MEMBER_ALIVE), 1);
    assert_int_equal(member_count(mesh_member(r->n[0].m), MEMBER_ALIVE), 3);
    rig_del(r);
}

/* --- coming and going ------------------------------------------------------------------------ */

static void who_leaves_is_gone_at_once(void **state)
{
    (void)state;
    struct rig *r = rig_region(8);
    struct digest d = rig_layer(1);
    mesh_hold(r->n[4].m, &d, r->now_ns);
    rig_run(r, 4 * S);
    mesh_leave(r->n[4].m, r->now_ns);
    rig_run(r, 2 * S);
    rig_stop(r, 4);
    rig_run(r, S);
    for (size_t i = 0; i < 8; i++) {
        struct member_view v;
        if (i == 4)
            continue;
        assert_int_equal(r->n[i].events[MEMBER_EVENT_DOWN], 1);
        assert_true(node_key_equal(&r->n[i].last_down.key, &r->n[4].key));
        assert_true(member_find(mesh_member(r->n[i].m), &r->n[4].key, &v));
        assert_int_equal(v.state, MEMBER_LEFT);
        assert_int_equal(mesh_copies(r->n[i].m, &d), 0);
    }
    rig_del(r);
}

static void who_dies_is_found_and_comes_back(void **state)
{
    (void)state;
    struct rig *r = rig_region(8);
    struct digest d = rig_layer(1);
    struct mesh_source s[MESH_SOURCES_MAX];
    mesh_hold(r->n[4].m, &d, r->now_ns);
    rig_run(r, 4 * S);
    rig_stop(r, 4);
    rig_run(r, 30 * S);
    for (size_t i = 0; i < 8; i++)
        if (i != 4) {
            assert_int_equal(r->n[i].events[MEMBER_EVENT_DOWN], 1);
            assert_int_equal(sources_of(r, i, 1, s), 0);
        }
    rig_start_all(r, 4, 5); /* the same key, greater epochs */
    mesh_hold(r->n[4].m, &d, r->now_ns);
    assert_true(rig_until(r, rig_all_meet, 20 * S));
    rig_run(r, 10 * S);
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(sources_of(r, i, 1, s), i == 4 ? 0 : 1);
    rig_del(r);
}

/* It goes on carrying for a while, and stays quiet although somebody is dead whom it would seek. */
static void who_leaves_does_not_spin(void **state)
{
    (void)state;
    struct rig *r = rig_region(4);
    rig_stop(r, 3);
    rig_run(r, 40 * S);
    assert_int_equal(r->n[1].events[MEMBER_EVENT_DOWN], 1);
    mesh_leave(r->n[1].m, r->now_ns);
    rig_run(r, 60 * S);
    assert_true(mesh_next_expiry(r->n[1].m) > r->now_ns);
    rig_del(r);
}

static void what_can_be_fetched_is_told(void **state)
{
    (void)state;
    struct rig *r = rig_region(3);
    struct member_view v;
    mesh_set_can_fetch(r->n[1].m, false, r->now_ns);
    mesh_set_can_fetch(r->n[1].m, false, r->now_ns);
    mesh_set_load(r->n[1].m, 200);
    mesh_lag(r->n[1].m, 10 * MS, r->now_ns);
    rig_run(r, 5 * S);
    assert_true(member_find(mesh_member(r->n[0].m), &r->n[1].key, &v));
    assert_false(v.record->can_fetch);
    assert_string_equal(v.record->name, "node-1");
    assert_int_equal(v.load, 200);
    mesh_clear_seeds(r->n[1].m);
    rig_del(r);
}

/* --- versions -------------------------------------------------------------------------------- */

struct versions {
    unsigned wrong, by_version[4];
};

/* Nodes 0 to 2 understand 1 and 2, node 3 to 5 only 1 (a region on its way from 1 to 2). */
static bool version_tap(struct rig *r, struct rig_packet *p)
{
    struct versions *v = r->tap_data;
    size_t to = rig_at(r, &p->to);
    if (p->len == 0 || to >= r->count)
        return true;
    v->by_version[p->bytes[0]]++;
    bool both_new = p->from < 3 && to < 3;
    if (r->now_ns > 1010 * S)
        v->wrong += p->bytes[0] != (both_new ? 2 : 1);
    return true;
}

static void two_versions_live_side_by_side(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct versions v = {0};
    struct addr seed = rig_addr(0);
    r->tap = version_tap;
    r->tap_data = &v;
    for (size_t i = 0; i < 6; i++) {
        struct mesh_options opt = rig_options(r, i);
        opt.self.version_min = 1;
        opt.self.version_max = i < 3 ? 2 : 1;
        rig_start(r, i, &opt);
        if (i > 0)
            assert_int_equal(mesh_seed(r->n[i].m, &seed), 0);
    }
    assert_true(rig_until(r, rig_all_meet, 9 * S));
    struct digest d = rig_layer(1);
    rig_run(r, 10 * S);
    mesh_hold(r->n[0].m, &d, r->now_ns);
    mesh_hold(r->n[5].m, &d, r->now_ns);
    rig_run(r, 10 * S);
    assert_int_equal(v.wrong, 0);
    assert_true(v.by_version[1] > 50 && v.by_version[2] > 50);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(r->n[i].events[MEMBER_EVENT_DOWN], 0);
        assert_int_equal(mesh_copies(r->n[i].m, &d), i == 0 || i == 5 ? 1 : 2);
    }
    rig_del(r);
}

static void a_newer_seed_is_met_in_the_common_version(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct addr seed = rig_addr(0);
    for (size_t i = 0; i < 3; i++) {
        struct mesh_options opt = rig_options(r, i);
        opt.self.version_min = i == 0 ? 2 : 1; /* the seed has left 1 behind */
        opt.self.version_max = i == 0 ? 3 : 2;
        rig_start(r, i, &opt);
        if (i > 0)
            assert_int_equal(mesh_seed(r->n[i].m, &seed), 0);
    }
    assert_true(rig_until(r, rig_all_meet, 30 * S));
    rig_del(r);
}

/* --- bounds ---------------------------------------------------------------------------------- */

static void bad_options_are_refused(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    struct mesh_options opt = rig_options(r, 0);
    struct mesh *m;
    assert_int_equal(inventory_pool_new(&opt.pool, 1), 0);
    opt.n_keys = 0;
    assert_int_equal(mesh_new(&m, &opt), ERR_INVAL);
    assert_null(m);
    opt.n_keys = 1;
    opt.self.name = "a\nb";
    assert_int_equal(mesh_new(&m, &opt), ERR_INVAL);
    assert_null(m);
    inventory_pool_del(opt.pool);
    rig_del(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_meet),
        cmocka_unit_test(what_one_holds_all_can_find),
        cmocka_unit_test(only_named_digests_are_told),
        cmocka_unit_test(trackers_are_no_sources),
        cmocka_unit_test(fetches_teach),
        cmocka_unit_test(bytes_in_flight_send_others_elsewhere),
        cmocka_unit_test(a_purge_reaches_everybody),
        cmocka_unit_test(orders_ride_where_there_is_room),
        cmocka_unit_test(purges_are_saved_and_loaded),
        cmocka_unit_test(split_regions_agree_when_they_meet),
        cmocka_unit_test(the_mesh_key_changes_while_running),
        cmocka_unit_test(a_foreign_key_opens_nothing),
        cmocka_unit_test(who_leaves_is_gone_at_once),
        cmocka_unit_test(who_leaves_does_not_spin),
        cmocka_unit_test(who_dies_is_found_and_comes_back),
        cmocka_unit_test(what_can_be_fetched_is_told),
        cmocka_unit_test(two_versions_live_side_by_side),
        cmocka_unit_test(a_newer_seed_is_met_in_the_common_version),
        cmocka_unit_test(bad_options_are_refused),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Dray-Peer: a statement holds for one request between two members, once. */
#include "mesh_rig.h"

#define PATH "/mesh/v1/blobs/sha256:5a5a?from=0"

struct ask {
    size_t from, to;
    const char *method, *path;
};

static const struct ask GOOD = {0, 1, "GET", PATH};

static void sign(struct rig *r, const struct ask *a, char out[MESH_PEER_HEADER_MAX])
{
    memset(out, 'x', MESH_PEER_HEADER_MAX);
    assert_int_equal(mesh_peer_sign(r->n[a->from].m, &r->n[a->to].key, a->method, a->path, out), 0);
    assert_true(strlen(out) < 300);
    assert_int_equal(strspn(out, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789-_"),
                     strlen(out));
}

static int check_at(struct rig *r, size_t who, const char *header, const char *method,
                    const char *path)
{
    struct node_key from;
    u64 refused = rig_stats(r, who).peer_refused;
    int err = mesh_peer_check(r->n[who].m, header, method, path, &from);
    assert_int_equal(node_key_is_set(&from), err == 0);
    if (!err)
        assert_true(node_key_equal(&from, &r->n[0].key));
    assert_int_equal(rig_stats(r, who).peer_refused, refused + (err != 0));
    return err;
}

static void a_request_is_let_in_once(void **state)
{
    struct rig *r = *state;
    char h[MESH_PEER_HEADER_MAX];
    for (int i = 0; i < 50; i++) {
        sign(r, &GOOD, h);
        assert_int_equal(check_at(r, 1, h, "GET", PATH), 0);
        assert_int_equal(check_at(r, 1, h, "GET", PATH), ERR_DENIED);
    }
}

static void for_its_method_path_and_receiver_alone(void **state)
{
    struct rig *r = *state;
    char h[MESH_PEER_HEADER_MAX];
    sign(r, &GOOD, h);
    assert_int_equal(check_at(r, 1, h, "HEAD", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, h, "GETX", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, h, "GE", "T" PATH), ERR_DENIED); /* not by where one ends */
    assert_int_equal(check_at(r, 1, h, "GET", PATH "1"), ERR_DENIED);
    assert_int_equal(check_at(r, 1, h, "GET", "/"), ERR_DENIED);
    assert_int_equal(check_at(r, 2, h, "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 0, h, "GET", PATH), ERR_DENIED); /* shown to who made it */
    assert_int_equal(check_at(r, 1, h, "GET", PATH), 0);          /* none of it wore it out */
}

static void rubbish_is_refused(void **state)
{
    struct rig *r = *state;
    char h[MESH_PEER_HEADER_MAX], bad[MESH_PEER_HEADER_MAX], long_one[2 * MESH_PEER_HEADER_MAX];
    sign(r, &GOOD, h);
    memset(long_one, 'A', sizeof(long_one));
    long_one[sizeof(long_one) - 1] = '\0';
    assert_int_equal(check_at(r, 1, NULL, "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, "", "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, "!", "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, long_one, "GET", PATH), ERR_DENIED);
    size_t len = strlen(h);
    for (size_t i = 0; i < len; i++) {
        memcpy(bad, h, len + 1);
        bad[i] = bad[i] == 'A' ? 'B' : 'A';
        assert_int_equal(check_at(r, 1, bad, "GET", PATH), ERR_DENIED);
        memcpy(bad, h, len + 1);
        bad[i] = '=';
        assert_int_equal(check_at(r, 1, bad, "GET", PATH), ERR_DENIED);
        bad[i] = '\0';
        assert_int_equal(check_at(r, 1, bad, "GET", PATH), ERR_DENIED);
    }
    memcpy(bad, h, len);
    memcpy(bad + len, "AAAA", 5);
    assert_int_equal(check_at(r, 1, bad, "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, h, "GET", PATH), 0);
}

static void what_is_too_long_is_not_signed(void **state)
{
    struct rig *r = *state;
    char h[MESH_PEER_HEADER_MAX];
    char *path = malloc(LIMIT_HTTP_TARGET_BYTES + 2);
    memset(path, '/', LIMIT_HTTP_TARGET_BYTES + 1);
    path[LIMIT_HTTP_TARGET_BYTES + 1] = '\0';
    struct node_key nobody = {{3}};
    struct mesh *m = r->n[0].m;
    assert_int_equal(mesh_peer_sign(m, &r->n[1].key, "GET", path, h), ERR_TOOBIG);
    assert_int_equal(mesh_peer_sign(m, &r->n[1].key, "AVERYVERYLONGMETHOD", "/", h), ERR_TOOBIG);
    assert_int_equal(mesh_peer_sign(m, &nobody, "GET", "/", h), ERR_NOTFOUND);
    assert_int_equal(mesh_peer_sign(m, &r->n[0].key, "GET", "/", h), ERR_NOTFOUND);
    sign(r, &GOOD, h);
    assert_int_equal(check_at(r, 1, h, "GET", path), ERR_DENIED);
    path[LIMIT_HTTP_TARGET_BYTES] = '\0';
    assert_int_equal(mesh_peer_sign(m, &r->n[1].key, "GET", path, h), 0);
    assert_int_equal(check_at(r, 1, h, "GET", path), 0);
    free(path);
}

static void late_ones_count_within_the_window(void **state)
{
    struct rig *r = *state;
    enum { N = 1026 };
    char(*h)[MESH_PEER_HEADER_MAX] = malloc(N * sizeof(*h));
    char other[MESH_PEER_HEADER_MAX];
    const struct ask elsewhere = {0, 2, "GET", PATH};
    for (int i = 0; i < N; i++) {
        sign(r, &GOOD, h[i]);
        sign(r, &elsewhere, other); /* numbers of others do not count */
    }
    rig_run(r, 30 * S); /* nor do datagrams */
    assert_int_equal(check_at(r, 1, h[N - 1], "GET", PATH), 0);
    assert_int_equal(check_at(r, 1, h[0], "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, h[1], "GET", PATH), ERR_DENIED);
    for (int i = N - 2; i > 1; i--)
        assert_int_equal(check_at(r, 1, h[i], "GET", PATH), 0);
    for (int i = 0; i < N; i++)
        assert_int_equal(check_at(r, 1, h[i], "GET", PATH), ERR_DENIED);
    free(h);
}

static void who_starts_again_counts_anew(void **state)
{
    struct rig *r = *state;
    char before[MESH_PEER_HEADER_MAX], unused[MESH_PEER_HEADER_MAX], h[MESH_PEER_HEADER_MAX];
    sign(r, &GOOD, unused);
    for (int i = 0; i < 5; i++)
        sign(r, &GOOD, before);
    assert_int_equal(check_at(r, 1, before, "GET", PATH), 0);
    rig_stop(r, 0);
    rig_start_all(r, 0, 1);
    struct addr seed = rig_addr(1);
    assert_int_equal(mesh_seed(r->n[0].m, &seed), 0);
    assert_true(rig_until(r, rig_all_meet, 20 * S));
    sign(r, &GOOD, h); /* its number is 1 again, in a later epoch */
    assert_int_equal(check_at(r, 1, h, "GET", PATH), 0);
    assert_int_equal(check_at(r, 1, h, "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, before, "GET", PATH), ERR_DENIED);
    assert_int_equal(check_at(r, 1, unused, "GET", PATH),
                     ERR_DENIED); /* never shown, yet too old */
}

static void who_is_gone_is_refused_and_replays_stay_known(void **state)
{
    struct rig *r = *state;
    char h[MESH_PEER_HEADER_MAX], next[MESH_PEER_HEADER_MAX];
    sign(r, &GOOD, h);
    assert_int_equal(check_at(r, 1, h, "GET", PATH), 0);
    sign(r, &GOOD, next);
    mesh_leave(r->n[0].m, r->now_ns);
    rig_run(r, 2 * S);
    assert_int_equal(check_at(r, 1, next, "GET", PATH), ERR_DENIED);
    assert_int_equal(mesh_peer_sign(r->n[1].m, &r->n[0].key, "GET", PATH, h), ERR_NOTFOUND);
}

/* Who holds the mesh key but not the node key: in another's name, or with another's statement. */
static void the_mesh_key_alone_proves_nothing(void **state)
{
    struct rig *r = *state;
    char h[MESH_PEER_HEADER_MAX], again[MESH_PEER_HEADER_MAX];
    u8 sealed[512], text[512];
    size_t len;
    struct seal_from from;
    struct seal_options opt = {.self = {{0xee}}, .epoch = 1, .seed = 1};
    struct seal *listener, *liar;
    assert_int_equal(seal_new(&listener, &opt), 0);
    assert_int_equal(seal_set_keys(listener, &r->key, 1), 0);
    sign(r, &GOOD, h);
    assert_int_equal(sodium_base642bin(sealed, sizeof(sealed), h, strlen(h), NULL, &len, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    assert_int_equal(seal_open(listener, SEAL_PEER, sealed, len, text, &from), SEAL_OK);
    /* What it said, sealed anew in its name: in its epoch it is the same statement, which counts
     * once; in another epoch the signature does not fit. */
    for (int later = 0; later < 2; later++) {
        opt.self = r->n[0].key;
        opt.epoch = from.epoch + (u64)later;
        assert_int_equal(seal_new(&liar, &opt), 0);
        assert_int_equal(seal_set_keys(liar, &r->key, 1), 0);
        size_t n = seal_close(liar, SEAL_PEER, WIRE_VERSION, text, from.text_len, sealed);
        sodium_bin2base64(again, sizeof(again), sealed, n,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING);
        if (later == 0) {
            assert_int_equal(check_at(r, 1, h, "GET", PATH), 0);
            assert_int_equal(check_at(r, 1, again, "GET", "/other"), ERR_DENIED);
        }
        assert_int_equal(check_at(r, 1, again, "GET", PATH), ERR_DENIED);
        seal_del(liar);
    }
    /* Any number, any signature, in any member's name. */
    for (size_t i = 0; i < from.text_len; i++) {
        opt.epoch = from.epoch;
        assert_int_equal(seal_new(&liar, &opt), 0);
        assert_int_equal(seal_set_keys(liar, &r->key, 1), 0);
        u8 bad[512];
        memcpy(bad, text, from.text_len);
        bad[i] ^= 3;
        size_t n = seal_close(liar, SEAL_PEER, WIRE_VERSION, bad, from.text_len, sealed);
        sodium_bin2base64(again, sizeof(again), sealed, n,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING);
        assert_int_equal(check_at(r, 1, again, "GET", PATH), ERR_DENIED);
        seal_del(liar);
    }
    sign(r, &GOOD, h); /* and its own next one still counts */
    assert_int_equal(check_at(r, 1, h, "GET", PATH), 0);
    seal_del(listener);
}

static void strangers_are_refused(void **state)
{
    struct rig *r = *state;
    char h[MESH_PEER_HEADER_MAX];
    struct node_key from;
    struct mesh_options opt = rig_options(r, 5); /* holds the key, was never let in */
    rig_start(r, 5, &opt);
    assert_int_equal(mesh_seed(r->n[5].m, &r->n[1].addr), 0);
    rig_drive(r, 5);
    rig_run(r, 5 * S);
    assert_int_equal(mesh_peer_sign(r->n[5].m, &r->n[1].key, "GET", PATH, h), 0);
    assert_int_equal(mesh_peer_check(r->n[1].m, h, "GET", PATH, &from), 0); /* now it is a member */
    assert_true(node_key_equal(&from, &r->n[5].key));
    assert_int_equal(mesh_peer_sign(r->n[5].m, &r->n[1].key, "GET", PATH, h), 0);
    rig_stop(r, 5);
    rig_stop(r, 1);
    struct mesh_options back = rig_options(r, 1); /* a member that knows nobody yet */
    rig_start(r, 1, &back);
    assert_int_equal(mesh_peer_check(r->n[1].m, h, "GET", PATH, &from), ERR_DENIED);
}

static int set_up(void **state)
{
    *state = rig_region(3);
    return 0;
}

static int tear_down(void **state)
{
    rig_del(*state);
    return 0;
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_request_is_let_in_once),
        CASE(for_its_method_path_and_receiver_alone),
        CASE(rubbish_is_refused),
        CASE(what_is_too_long_is_not_signed),
        CASE(late_ones_count_within_the_window),
        CASE(who_starts_again_counts_anew),
        CASE(who_is_gone_is_refused_and_replays_stay_known),
        CASE(the_mesh_key_alone_proves_nothing),
        CASE(strangers_are_refused),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

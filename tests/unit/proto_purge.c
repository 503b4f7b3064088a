/* Purge orders: what is believed, what replaces what, what makes room; and how they travel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/message.h"
#include "proto/purge.h"

#define S         1000000000ull
#define DATAGRAM  1155
#define TODAY     1800000000000ull /* Unix ms */
#define TOMORROW  (TODAY + 86400000)
#define MSG_ORDER (MSG_PURGE_FIRST + 0)
#define MSG_HASH  (MSG_PURGE_FIRST + 1)
#define MSG_ASK   (MSG_PURGE_FIRST + 2)
#define MSG_LIST  (MSG_PURGE_FIRST + 3)

struct node {
    struct node_key key;
    struct node_secret secret;
    struct purge *p;
};

static void start(struct node *n, u8 name)
{
    u8 seed[32] = {name};
    struct rng rng;
    rng_seed(&rng, name);
    identity_from_seed(seed, &n->key, &n->secret);
    assert_int_equal(purge_new(&n->p, &rng, 0), 0);
}

static struct digest layer(u32 number)
{
    struct digest d = {.alg = DIGEST_SHA256};
    for (int i = 0; i < 4; i++)
        d.bytes[i] = (u8)(number >> (8 * (3 - i)));
    return d;
}

static void issue(struct node *n, u32 number, u64 unix_ms, u64 until_ms)
{
    struct digest d = layer(number);
    assert_int_equal(purge_issue(n->p, &n->key, &n->secret, &d, unix_ms, until_ms), 0);
}

static bool is_purged(const struct node *n, u32 number, u64 unix_ms)
{
    struct digest d = layer(number);
    return purge_is(n->p, &d, unix_ms);
}

static size_t news(struct node *n)
{
    struct purge_order o;
    size_t count = 0;
    while (purge_next(n->p, &o))
        count++;
    return count;
}

/* The order for one layer, as a node holds it. */
static struct purge_order order_of(const struct node *n, u32 number)
{
    struct purge_order o;
    struct digest d = layer(number);
    for (size_t at = 0; purge_each(n->p, &at, &o);)
        if (digest_equal(&o.digest, &d))
            return o;
    fail_msg("no order for %u", number);
    return o;
}

/* Hands every message of one datagram to another node. */
static int carry(struct node *from, struct node *to)
{
    u8 buf[DATAGRAM];
    struct wire_out w;
    struct wire_in r, end;
    int err = 0;
    wire_out_init(&w, buf, sizeof(buf));
    purge_write(from->p, &w);
    assert_false(wire_full(&w));
    wire_in_init(&r, buf, w.len);
    while (wire_left(&r) > 0) {
        end = r;
        wire_skip(&end);
        assert_true(wire_ok(&end));
        wire_get_array(&r, 16);
        unsigned number = (unsigned)wire_get_u64(&r);
        int e = purge_read(to->p, &from->key, number, &r, 0);
        err = err ? err : e;
        assert_true(e || r.p == end.p);
        r = end;
    }
    return err;
}

static u8 *talk_buffer(void)
{
    static u8 buf[2][LIMIT_TALK_BYTES];
    static unsigned turn;
    return buf[turn++ % 2];
}

/* A talk, if one is wanted. */
static bool talk(struct node *from, struct node *to, u64 now_ns)
{
    struct wire_out w, answer;
    struct wire_in r, a;
    struct node_key whom;
    wire_out_init(&w, talk_buffer(), LIMIT_TALK_BYTES);
    if (!purge_dial(from->p, &whom, &w))
        return false;
    assert_true(!node_key_is_set(&whom) || node_key_equal(&whom, &to->key));
    wire_in_init(&r, w.buf, w.len);
    assert_int_equal(wire_get_array(&r, 16), 2);
    unsigned number = (unsigned)wire_get_u64(&r);
    wire_out_init(&answer, talk_buffer(), LIMIT_TALK_BYTES);
    assert_int_equal(purge_answer(to->p, &from->key, number, &r, &answer, now_ns), 0);
    wire_in_init(&a, answer.buf, answer.len);
    purge_dialed(from->p, 0, &a, now_ns);
    return true;
}

/* --- the list -------------------------------------------------------------------------------- */

static void an_order_holds_until_its_date(void **state)
{
    (void)state;
    struct node n;
    start(&n, 1);
    assert_false(is_purged(&n, 7, TODAY));
    issue(&n, 7, TODAY, TOMORROW);
    assert_true(is_purged(&n, 7, TODAY) && is_purged(&n, 7, TOMORROW - 1));
    assert_false(is_purged(&n, 7, TOMORROW) || is_purged(&n, 8, TODAY));
    assert_int_equal(news(&n), 1);
    assert_int_equal(news(&n), 0);
    assert_int_equal(purge_count(n.p), 1);
    purge_del(n.p);
}

static void dates_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct node n;
    struct digest d = layer(1), none = {0};
    start(&n, 1);
    assert_int_equal(purge_issue(n.p, &n.key, &n.secret, &d, TODAY, TODAY), ERR_INVAL);
    assert_int_equal(purge_issue(n.p, &n.key, &n.secret, &d, TODAY, TODAY - 1), ERR_INVAL);
    assert_int_equal(purge_issue(n.p, &n.key, &n.secret, &d, TODAY, TODAY + LIMIT_PURGE_MS + 1),
                     ERR_INVAL);
    assert_int_equal(purge_issue(n.p, &n.key, &n.secret, &none, TODAY, TOMORROW), ERR_INVAL);
    assert_int_equal(purge_issue(n.p, &n.key, &n.secret, &d, TODAY, TODAY + LIMIT_PURGE_MS), 0);
    purge_del(n.p);
}

/* Who gave the order has a clock that runs ahead: ours can lift it all the same. */
static void an_order_from_the_future_can_be_lifted(void **state)
{
    (void)state;
    struct node a, b;
    start(&a, 1);
    start(&b, 2);
    issue(&a, 1, TODAY + 5000, TOMORROW);
    const struct purge_order theirs = order_of(&a, 1);
    assert_int_equal(purge_import(b.p, &theirs), 0);
    assert_true(is_purged(&b, 1, TODAY));
    issue(&b, 1, TODAY, TODAY + 1);
    const struct purge_order lifted = order_of(&b, 1);
    assert_int_equal(lifted.until_ms, TODAY + 5002);
    assert_false(is_purged(&b, 1, TODAY + 5002));
    assert_int_equal(purge_import(a.p, &lifted), 0);
    assert_false(is_purged(&a, 1, TODAY + 5002));
    purge_del(a.p);
    purge_del(b.p);
}

static void import_verifies(void **state)
{
    (void)state;
    struct node a, b;
    start(&a, 1);
    start(&b, 2);
    issue(&a, 7, TODAY, TOMORROW);
    const struct purge_order good = order_of(&a, 7);
    struct purge_order o = good;
    o.until_ms++;
    assert_int_equal(purge_import(b.p, &o), ERR_DENIED);
    o = good;
    o.unix_ms++;
    assert_int_equal(purge_import(b.p, &o), ERR_DENIED);
    o = good;
    o.digest.bytes[31] = 1;
    assert_int_equal(purge_import(b.p, &o), ERR_DENIED);
    o = good;
    o.issuer = b.key;
    assert_int_equal(purge_import(b.p, &o), ERR_DENIED);
    o = good;
    o.signature.bytes[5] ^= 1;
    assert_int_equal(purge_import(b.p, &o), ERR_DENIED);
    o = good;
    o.digest.alg = 77;
    assert_int_equal(purge_import(b.p, &o), ERR_INVAL);
    assert_int_equal(purge_count(b.p), 0);
    assert_int_equal(news(&b), 0);
    assert_int_equal(purge_import(b.p, &good), 0);
    assert_int_equal(purge_import(b.p, &good), ERR_EXISTS);
    assert_int_equal(news(&b), 1);
    assert_false(purge_has_news(b.p)); /* what was saved is no rumor */
    assert_true(purge_hash(a.p) == purge_hash(b.p));
    purge_del(a.p);
    purge_del(b.p);
}

static void the_later_order_stays(void **state)
{
    (void)state;
    struct node a, b, c;
    start(&a, 1);
    start(&b, 2);
    start(&c, 3);
    issue(&a, 7, TODAY, TOMORROW);
    issue(&b, 7, TODAY + 5, TOMORROW - 5);
    struct purge_order first = order_of(&a, 7), second = order_of(&b, 7);
    assert_int_equal(purge_import(c.p, &second), 0);
    assert_int_equal(purge_import(c.p, &first), ERR_EXISTS);
    assert_int_equal(purge_import(a.p, &second), 0);
    assert_int_equal(purge_count(a.p), 1);
    assert_true(purge_hash(a.p) == purge_hash(c.p) && purge_hash(c.p) == purge_hash(b.p));
    assert_false(is_purged(&a, 7, TOMORROW - 5));
    /* Our own next one is later than whatever is known, though our clock be behind. */
    issue(&c, 7, TODAY - 1000, TOMORROW + 9);
    assert_true(is_purged(&c, 7, TOMORROW + 8));
    assert_int_equal(order_of(&c, 7).unix_ms, TODAY + 6);
    purge_del(a.p);
    purge_del(b.p);
    purge_del(c.p);
}

/* Equal dates: the same one stays, whoever hears which first. */
static void all_agree_whatever_the_order(void **state)
{
    (void)state;
    struct node by[3], seen[6];
    struct purge_order o[3];
    static const u8 orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                    {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (u8 i = 0; i < 3; i++) {
        start(&by[i], i + 1);
        issue(&by[i], 7, TODAY, i == 2 ? TOMORROW - 1 : TOMORROW);
        o[i] = order_of(&by[i], 7);
    }
    for (u8 i = 0; i < 6; i++) {
        start(&seen[i], 10 + i);
        for (u8 j = 0; j < 3; j++) {
            int err = purge_import(seen[i].p, &o[orders[i][j]]);
            assert_true(err == 0 || err == ERR_EXISTS);
        }
        assert_true(purge_hash(seen[i].p) == purge_hash(seen[0].p));
        assert_true(is_purged(&seen[i], 7, TOMORROW - 1));
    }
    for (u8 i = 0; i < 3; i++)
        purge_del(by[i].p);
    for (u8 i = 0; i < 6; i++)
        purge_del(seen[i].p);
}

/* Were it believed, nobody could give a later one. */
static void orders_of_the_far_future_are_refused(void **state)
{
    (void)state;
    struct node liar, n, other;
    start(&liar, 1);
    start(&n, 2);
    start(&other, 3);
    purge_members(liar.p, 1);
    issue(&liar, 7, UINT64_MAX - 5000, UINT64_MAX - 1);
    issue(&liar, 8, TODAY + LIMIT_PURGE_AHEAD_MS + 1, TODAY + 2 * LIMIT_PURGE_AHEAD_MS);
    issue(&liar, 9, TODAY + LIMIT_PURGE_AHEAD_MS, TODAY + 2 * LIMIT_PURGE_AHEAD_MS);
    struct purge_order far = order_of(&liar, 7), ahead = order_of(&liar, 8);
    assert_int_equal(purge_import(n.p, &far), 0); /* without a clock */
    purge_clock(n.p, TODAY);
    assert_int_equal(purge_count(n.p), 0);
    assert_true(purge_hash(n.p) == 0);
    assert_int_equal(news(&n), 0);
    assert_int_equal(purge_import(n.p, &far), ERR_AGAIN);
    assert_int_equal(purge_import(n.p, &ahead), ERR_AGAIN);
    assert_int_equal(carry(&liar, &n), 0); /* no harm in hearing them, and the third is good */
    assert_int_equal(purge_count(n.p), 1);
    purge_members(n.p, 1);
    purge_join(n.p);
    assert_true(talk(&n, &liar, S));
    assert_int_equal(purge_count(n.p), 1);
    issue(&n, 7, TODAY, TOMORROW);
    assert_true(is_purged(&n, 7, TODAY) && !is_purged(&n, 7, TOMORROW));
    purge_clock(n.p, TODAY + 1);
    assert_int_equal(purge_import(n.p, &ahead), 0);
    purge_del(liar.p);
    purge_del(n.p);
    purge_del(other.p);
}

static void a_clock_that_is_set_back_forgets_nothing(void **state)
{
    (void)state;
    struct node n;
    start(&n, 1);
    purge_clock(n.p, TODAY);
    issue(&n, 7, TODAY, TODAY + 9 * LIMIT_PURGE_AHEAD_MS);
    purge_clock(n.p, TODAY - 2 * LIMIT_PURGE_AHEAD_MS);
    assert_true(is_purged(&n, 7, TODAY - 2 * LIMIT_PURGE_AHEAD_MS));
    purge_clock(n.p, TODAY + 1);
    assert_true(is_purged(&n, 7, TODAY + 1));
    purge_del(n.p);
}

static void the_one_that_ends_soonest_makes_room(void **state)
{
    (void)state;
    struct node n;
    struct digest d = layer(9999);
    start(&n, 1);
    for (u32 i = 0; i < LIMIT_PURGES; i++)
        issue(&n, i, TODAY, TOMORROW + (i * 37) % LIMIT_PURGES);
    assert_int_equal(purge_issue(n.p, &n.key, &n.secret, &d, TODAY, TOMORROW - 1), ERR_FULL);
    assert_int_equal(purge_count(n.p), LIMIT_PURGES);
    assert_true(is_purged(&n, 0, TODAY));
    issue(&n, 9999, TODAY, TOMORROW + 5000);
    assert_int_equal(purge_count(n.p), LIMIT_PURGES);
    assert_true(is_purged(&n, 9999, TODAY));
    assert_false(is_purged(&n, 0, TODAY));   /* ended at TOMORROW, before all others */
    issue(&n, 1, TODAY + 1, TOMORROW - 500); /* a new order for what is there needs no room */
    assert_int_equal(purge_count(n.p), LIMIT_PURGES);
    issue(&n, 10000, TODAY, TOMORROW + 5000);
    assert_false(is_purged(&n, 1, TODAY));
    for (u32 i = 0; i < 2 * LIMIT_PURGES; i++)
        issue(&n, 20000 + i, TODAY, TOMORROW + 6000 + i);
    assert_int_equal(purge_count(n.p), LIMIT_PURGES);
    assert_false(is_purged(&n, 20000, TODAY));
    assert_true(is_purged(&n, 20000 + 2 * LIMIT_PURGES - 1, TODAY));
    assert_int_equal(news(&n), LIMIT_PURGES);
    assert_true(purge_bytes(n.p) < MIB);
    purge_del(n.p);
}

/* --- travelling ------------------------------------------------------------------------------ */

static void a_rumor_is_told_a_bounded_number_of_times(void **state)
{
    (void)state;
    struct node a, b;
    start(&a, 1);
    start(&b, 2);
    assert_int_equal(purge_next_expiry(a.p), UINT64_MAX);
    purge_members(a.p, 100);
    purge_members(b.p, 100);
    issue(&a, 7, TODAY, TOMORROW);
    unsigned datagrams = 0;
    u64 now = 0;
    for (int i = 0; i < 1000 && purge_has_news(a.p); i++) {
        now = purge_next_expiry(a.p);
        assert_true(now < 60 * S);
        purge_expire(a.p, now);
        unsigned in_round = 0;
        while (purge_wants(a.p)) {
            assert_int_equal(carry(&a, &b), 0);
            in_round++;
        }
        assert_true(in_round <= 4); /* three, and perhaps the hash */
        datagrams += in_round;
    }
    assert_in_range(datagrams, 12, 30);
    assert_true(is_purged(&b, 7, TODAY));
    assert_int_equal(news(&b), 1);
    assert_true(purge_has_news(b.p)); /* who hears it first tells it on */
    u64 next = purge_next_expiry(a.p);
    assert_in_range(next - now, 0, 15 * S); /* then hashes alone */
    purge_del(a.p);
    purge_del(b.p);
}

static void alone_nothing_is_due(void **state)
{
    (void)state;
    struct node a;
    u8 buf[64];
    struct wire_out w;
    struct node_key to;
    start(&a, 1);
    issue(&a, 7, TODAY, TOMORROW);
    purge_join(a.p);
    wire_out_init(&w, buf, sizeof(buf));
    for (u64 t = 0; t < 100; t++) {
        purge_expire(a.p, t * S);
        assert_int_equal(purge_next_expiry(a.p), UINT64_MAX);
        assert_false(purge_wants(a.p) || purge_dial(a.p, &to, &w));
    }
    purge_del(a.p);
}

static void many_rumors_take_turns_in_small_room(void **state)
{
    (void)state;
    struct node a, b;
    start(&a, 1);
    start(&b, 2);
    for (u32 i = 0; i < 50; i++)
        issue(&a, i, TODAY, TOMORROW);
    purge_members(a.p, 10);
    for (int i = 0; i < 8; i++)
        assert_int_equal(carry(&a, &b), 0);
    assert_int_equal(purge_count(b.p), 50); /* seven fit a datagram */
    u8 tiny[20];
    struct wire_out w;
    wire_out_init(&w, tiny, sizeof(tiny));
    purge_write(a.p, &w); /* no room: nothing is lost, nothing half written */
    assert_int_equal(w.len, 0);
    assert_false(wire_full(&w));
    purge_del(a.p);
    purge_del(b.p);
}

static void who_joins_is_given_the_list(void **state)
{
    (void)state;
    struct node a, b;
    start(&a, 1);
    start(&b, 2);
    for (u32 i = 0; i < 200; i++)
        issue(&a, i, TODAY, TOMORROW);
    purge_members(b.p, 1);
    purge_join(b.p);
    int talks = 0;
    for (u64 t = 0; t < 60 && purge_count(b.p) < 200; t++) {
        purge_expire(b.p, t * S);
        size_t before = purge_count(b.p);
        talks += talk(&b, &a, t * S);
        assert_true(purge_count(b.p) - before <= LIMIT_PURGE_VERIFY);
    }
    assert_int_equal(talks, (200 + LIMIT_PURGE_VERIFY - 1) / LIMIT_PURGE_VERIFY);
    assert_true(purge_hash(a.p) == purge_hash(b.p));
    assert_false(purge_has_news(b.p)); /* all others have them: no rumor */
    purge_expire(b.p, 100 * S);
    assert_false(talk(&b, &a, 100 * S));
    assert_int_equal(news(&b), 200);
    purge_del(a.p);
    purge_del(b.p);
}

static void lists_that_differ_are_made_equal(void **state)
{
    (void)state;
    struct node a, b;
    start(&a, 1);
    start(&b, 2);
    for (u32 i = 0; i < 150; i++) {
        issue(&a, i, TODAY, TOMORROW);
        issue(&b, 100 + i, TODAY + 1, TOMORROW);
    }
    purge_members(a.p, 1);
    purge_members(b.p, 1);
    /* Rumors are over: told to nobody. */
    u8 buf[DATAGRAM];
    while (purge_has_news(a.p) || purge_has_news(b.p)) {
        struct wire_out w;
        wire_out_init(&w, buf, sizeof(buf));
        purge_write(a.p, &w);
        wire_out_init(&w, buf, sizeof(buf));
        purge_write(b.p, &w);
    }
    u64 now = 0;
    for (int i = 0; i < 100 && purge_hash(a.p) != purge_hash(b.p); i++) {
        now = purge_next_expiry(a.p);
        purge_expire(a.p, now);
        purge_expire(b.p, now);
        if (purge_wants(a.p))
            assert_int_equal(carry(&a, &b), 0);
        talk(&b, &a, now);
    }
    assert_true(purge_hash(a.p) == purge_hash(b.p));
    assert_int_equal(purge_count(a.p), 250);
    assert_true(now < 120 * S);
    assert_true(purge_has_news(a.p) && purge_has_news(b.p)); /* each side's others may lack them */
    purge_del(a.p);
    purge_del(b.p);
}

static void a_talk_that_fails_is_tried_again(void **state)
{
    (void)state;
    struct node a, b;
    struct node_key to;
    struct wire_out w;
    struct wire_in r;
    start(&a, 1);
    start(&b, 2);
    issue(&a, 1, TODAY, TOMORROW);
    purge_members(b.p, 1);
    purge_join(b.p);
    wire_out_init(&w, talk_buffer(), LIMIT_TALK_BYTES);
    assert_true(purge_dial(b.p, &to, &w));
    assert_false(purge_dial(b.p, &to, &w)); /* one at a time */
    purge_dialed(b.p, ERR_TIMEOUT, NULL, S);
    assert_false(talk(&b, &a, S));
    assert_int_equal(purge_next_expiry(b.p), 3 * S);
    purge_expire(b.p, 3 * S);
    wire_out_init(&w, talk_buffer(), LIMIT_TALK_BYTES);
    assert_true(purge_dial(b.p, &to, &w));
    wire_in_init(&r, "\x01", 1); /* rubbish is a failure, too */
    purge_dialed(b.p, 0, &r, 4 * S);
    purge_dialed(b.p, 0, &r, 4 * S); /* of no talk: ignored */
    purge_expire(b.p, 6 * S);
    assert_true(talk(&b, &a, 6 * S));
    assert_int_equal(purge_count(b.p), 1);
    purge_del(a.p);
    purge_del(b.p);
}

/* --- hostile --------------------------------------------------------------------------------- */

static void bad_messages_are_refused(void **state)
{
    (void)state;
    struct node a, b;
    u8 buf[DATAGRAM];
    struct wire_out w;
    struct wire_in r;
    start(&a, 1);
    start(&b, 2);
    issue(&a, 7, TODAY, TOMORROW);
    wire_out_init(&w, buf, sizeof(buf));
    purge_write(a.p, &w);
    for (size_t len = 2; len < w.len; len++) { /* cut anywhere */
        wire_in_init(&r, buf + 2, len - 2);
        assert_int_equal(purge_read(b.p, &a.key, MSG_ORDER, &r, 0), ERR_PROTO);
    }
    for (size_t i = 2; i < w.len; i++) { /* any byte changed */
        u8 bad[DATAGRAM];
        memcpy(bad, buf, w.len);
        bad[i] ^= 0x41;
        wire_in_init(&r, bad + 2, w.len - 2);
        assert_int_equal(purge_read(b.p, &a.key, MSG_ORDER, &r, 0), ERR_PROTO);
    }
    assert_int_equal(purge_count(b.p), 0);
    wire_in_init(&r, "\xc0", 1);
    assert_int_equal(purge_read(b.p, &a.key, MSG_HASH, &r, 0), ERR_PROTO);
    wire_in_init(&r, buf, w.len);
    assert_int_equal(purge_read(b.p, &a.key, MSG_LIST, &r, 0), ERR_UNSUPPORTED);
    assert_int_equal(purge_read(b.p, &a.key, 1, &r, 0), ERR_UNSUPPORTED);
    struct wire_out answer;
    wire_out_init(&answer, talk_buffer(), LIMIT_TALK_BYTES);
    assert_int_equal(purge_answer(b.p, &a.key, MSG_ORDER, &r, &answer, 0), ERR_UNSUPPORTED);
    wire_in_init(&r, "\xdd\xff\xff\xff\xff", 5);
    assert_int_equal(purge_answer(b.p, &a.key, MSG_ASK, &r, &answer, 0), ERR_PROTO);
    wire_in_init(&r, "\x91\x91\x01", 3);
    assert_int_equal(purge_answer(b.p, &a.key, MSG_ASK, &r, &answer, 0), ERR_PROTO);
    wire_out_init(&answer, buf, 3);
    issue(&b, 8, TODAY, TOMORROW);
    wire_in_init(&r, "\x90", 1);
    assert_int_equal(purge_answer(b.p, &a.key, MSG_ASK, &r, &answer, 0), ERR_TOOBIG);
    purge_del(a.p);
    purge_del(b.p);
}

/* Whoever has a key may give orders; not without end. What is put off comes with the list. */
static void an_issuer_has_a_rate(void **state)
{
    (void)state;
    struct node a, b;
    u64 now = 1000 * S;
    start(&a, 1);
    start(&b, 2);
    for (u32 i = 0; i < 600; i++)
        issue(&a, i, TODAY, TOMORROW);
    purge_members(a.p, 10);
    purge_members(b.p, 1);
    for (int i = 0; i < 200; i++)
        assert_int_equal(carry(&a, &b), 0);
    assert_int_equal(purge_count(b.p), LIMIT_RATE_ORDERS);
    assert_true(purge_put_off(b.p) > 0);
    struct node c;
    start(&c, 3);
    issue(&c, 700, TODAY, TOMORROW);
    purge_members(c.p, 1);
    assert_int_equal(carry(&c, &b), 0); /* others are obeyed meanwhile */
    assert_true(is_purged(&b, 700, TODAY));
    for (int i = 0; i < 10 && purge_count(b.p) < 601; i++) {
        now += 11 * S;
        purge_expire(b.p, now);
        (void)talk(&b, &a, now);
    }
    assert_int_equal(purge_count(b.p), 601);
    assert_int_equal(purge_count(a.p), 601);
    purge_del(a.p);
    purge_del(b.p);
    purge_del(c.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_holds_until_its_date),
        cmocka_unit_test(dates_that_cannot_be_are_refused),
        cmocka_unit_test(an_order_from_the_future_can_be_lifted),
        cmocka_unit_test(import_verifies),
        cmocka_unit_test(the_later_order_stays),
        cmocka_unit_test(all_agree_whatever_the_order),
        cmocka_unit_test(orders_of_the_far_future_are_refused),
        cmocka_unit_test(a_clock_that_is_set_back_forgets_nothing),
        cmocka_unit_test(the_one_that_ends_soonest_makes_room),
        cmocka_unit_test(a_rumor_is_told_a_bounded_number_of_times),
        cmocka_unit_test(alone_nothing_is_due),
        cmocka_unit_test(many_rumors_take_turns_in_small_room),
        cmocka_unit_test(who_joins_is_given_the_list),
        cmocka_unit_test(lists_that_differ_are_made_equal),
        cmocka_unit_test(a_talk_that_fails_is_tried_again),
        cmocka_unit_test(bad_messages_are_refused),
        cmocka_unit_test(an_issuer_has_a_rate),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

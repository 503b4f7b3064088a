/* What a mesh drops, why, and what a holder of the mesh key cannot do with it: speak in another's
 * name. Every kind of message that nodes really send is captured, changed byte by byte, and sealed
 * anew as if its sender had said so. */
#include "mesh_rig.h"

#include "proto/message.h"

#define KINDS (MSG_PURGE_LAST + 1)

/* The newest message of each kind that node 1 sent, opened with the mesh key. */
struct capture {
    struct seal *listener;
    struct {
        size_t len;
        u8 bytes[4096];
    } said[2][KINDS]; /* datagrams, talks */
};

static struct capture captured;

static void keep(unsigned talk, const u8 *text, size_t len)
{
    struct wire_in r, end;
    wire_in_init(&r, text, len);
    while (wire_left(&r) > 0) {
        end = r;
        wire_skip(&end);
        assert_true(wire_ok(&end));
        size_t n = (size_t)(end.p - r.p);
        const u8 *start = r.p;
        wire_get_array(&r, 4096);
        u64 number = wire_get_u64(&r);
        assert_true(wire_ok(&r) && number < KINDS);
        if (n <= sizeof(captured.said[0][0].bytes)) {
            captured.said[talk][number].len = n;
            memcpy(captured.said[talk][number].bytes, start, n);
        }
        r = end;
    }
}

static bool capture_tap(struct rig *r, struct rig_packet *p)
{
    (void)r;
    static u8 text[LIMIT_TALK_BYTES];
    struct seal_from from;
    if (p->from != 1 || p->kind == RIG_ANSWER)
        return true;
    enum seal_lane lane = p->kind == RIG_DATAGRAM ? SEAL_DATAGRAM : SEAL_TALK;
    if (seal_open(captured.listener, lane, p->bytes, p->len, text, &from) == SEAL_OK)
        keep(lane == SEAL_TALK, text, from.text_len);
    return true;
}

/* A seal in any name, whose counters are ahead of all that were used. */
static struct seal *forger(const struct rig *r, const struct node_key *name, u64 epoch)
{
    struct seal_options opt = {.self = *name, .epoch = epoch, .seed = 3};
    struct seal *s;
    u8 buf[SEAL_OVERHEAD];
    assert_int_equal(seal_new(&s, &opt), 0);
    assert_int_equal(seal_set_keys(s, &r->key, 1), 0);
    for (int i = 0; i < 3000; i++) {
        seal_close(s, SEAL_DATAGRAM, WIRE_VERSION, buf, 0, buf);
        seal_close(s, SEAL_TALK, WIRE_VERSION, buf, 0, buf);
    }
    return s;
}

static void capture_start(struct rig *r)
{
    struct seal_options opt = {.self = {{0xee}}, .epoch = 1, .seed = 3};
    memset(&captured, 0, sizeof(captured));
    assert_int_equal(seal_new(&captured.listener, &opt), 0);
    assert_int_equal(seal_set_keys(captured.listener, &r->key, 1), 0);
    r->tap = capture_tap;
}

/* A region in which everything happens once: layers come, purges, a member dies, regions split. */
static struct rig *eventful_region(void)
{
    struct rig *r = rig_new();
    capture_start(r);
    rig_start_all(r, 0, 6);
    assert_true(rig_until(r, rig_all_meet, 20 * S));
    struct digest d = rig_layer(1), other = rig_layer(2), third = rig_layer(3);
    mesh_hold(r->n[1].m, &d, r->now_ns);
    rig_run(r, 10 * S);
    mesh_hold(r->n[1].m, &other, r->now_ns);
    assert_int_equal(mesh_purge(r->n[1].m, &third, TODAY, TODAY + 1000, r->now_ns), 0);
    rig_run(r, 30 * S);
    rig_stop(r, 5);
    mesh_set_can_fetch(r->n[1].m, false, r->now_ns);
    rig_run(r, 45 * S);
    mesh_set_can_fetch(r->n[1].m, true, r->now_ns);
    rig_run(r, 60 * S);
    return r;
}

struct before {
    char name[MEMBER_TEXT_MAX + 1];
    struct addr addr;
    u64 epoch;
    u64 incarnation;
    unsigned down[RIG_NODES];
    u64 purge_hash;
};

static u64 purges_of(const struct rig *r, size_t i)
{
    struct purge_order o;
    u64 h = 0;
    for (size_t at = 0; mesh_each_purge(r->n[i].m, &at, &o);)
        h += o.until_ms + digest_hash(&o.digest, 5);
    return h;
}

static void look(const struct rig *r, struct before *b)
{
    struct member_view v;
    assert_true(member_find(mesh_member(r->n[0].m), &r->n[1].key, &v));
    assert_int_equal(v.state, MEMBER_ALIVE);
    snprintf(b->name, sizeof(b->name), "%s", v.record->name);
    b->addr = v.record->addr;
    b->epoch = v.record->epoch;
    b->incarnation = v.record->incarnation;
    b->purge_hash = purges_of(r, 0);
    for (size_t i = 0; i < r->count; i++)
        b->down[i] = r->n[i].events[MEMBER_EVENT_DOWN];
}

static void nothing_believed(const struct rig *r, const struct before *b, unsigned kind)
{
    struct before now = {0};
    look(r, &now);
    if (strcmp(now.name, b->name) != 0 || !addr_equal(&now.addr, &b->addr) || now.epoch != b->epoch)
        fail_msg("a forged message of kind %u changed a record", kind);
    if (now.purge_hash != b->purge_hash)
        fail_msg("a forged message of kind %u changed the purges", kind);
    for (size_t i = 0; i < r->count; i++)
        if (now.down[i] != b->down[i])
            fail_msg("a forged message of kind %u: somebody is down for node %zu", kind, i);
}

/* As if node 1 had said it to node 0. */
static void deliver(struct rig *r, struct seal *s, unsigned talk, const u8 *text, size_t len)
{
    static u8 sealed[LIMIT_TALK_BYTES];
    size_t n = seal_close(s, talk ? SEAL_TALK : SEAL_DATAGRAM, WIRE_VERSION, text, len, sealed),
           out;
    if (talk)
        (void)!mesh_answer(r->n[0].m, &r->n[1].addr, sealed, n, r->scratch, LIMIT_TALK_BYTES, &out,
                           r->now_ns);
    else
        (void)mesh_read(r->n[0].m, &r->n[1].addr, sealed, n, r->now_ns);
    rig_drive(r, 0);
}

static void nobody_speaks_in_anothers_name(void **state)
{
    (void)state;
    struct rig *r = eventful_region();
    struct before before = {0};
    unsigned kinds = 0;
    rig_run(r, 5 * S);
    look(r, &before);
    u64 epoch = before.epoch;
    r->tap = NULL;
    for (unsigned talk = 0; talk < 2; talk++)
        for (unsigned kind = 1; kind < KINDS; kind++) {
            size_t len = captured.said[talk][kind].len;
            kinds += len > 0;
            struct seal *s = len ? forger(r, &r->n[1].key, epoch) : NULL;
            for (size_t i = 0; i < len; i++) {
                u8 bad[4096];
                memcpy(bad, captured.said[talk][kind].bytes, len);
                static const u8 change[] = {0x01, 0x80, 0xff};
                for (size_t c = 0; c < countof(change); c++) {
                    bad[i] = captured.said[talk][kind].bytes[i] ^ change[c];
                    deliver(r, s, talk, bad, len);
                }
                nothing_believed(r, &before, kind);
            }
            seal_del(s);
            rig_run(r, 500 * MS);
            nothing_believed(r, &before, kind);
        }
    /* Node 1 itself is spent for this epoch: its counters were used up by its forger. What counts
     * is that its next start heals that, and that the truth about its layers returns. */
    assert_true(kinds >= 10);
    assert_true(rig_stats(r, 0).malformed > 100);
    rig_stop(r, 1);
    rig_start_all(r, 1, 2);
    struct digest d = rig_layer(1), other = rig_layer(2);
    mesh_hold(r->n[1].m, &d, r->now_ns);
    assert_true(rig_until(r, rig_all_meet, 60 * S));
    rig_run(r, 30 * S);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(mesh_copies(r->n[i].m, &d), i == 1 ? 0 : 1);
        assert_int_equal(mesh_copies(r->n[i].m, &other), 0);
    }
    seal_del(captured.listener);
    rig_del(r);
}

/* --- dropped, and counted by reason ---------------------------------------------------------- */

static enum seal_drop only_drop(const struct mesh_stats *a, const struct mesh_stats *b)
{
    enum seal_drop which = SEAL_OK;
    u64 sum = 0;
    for (enum seal_drop d = SEAL_OK; d < SEAL_DROP_COUNT; d++)
        if (b->dropped[d] != a->dropped[d]) {
            which = d;
            sum += b->dropped[d] - a->dropped[d];
        }
    assert_int_equal(sum, 1);
    return which;
}

static void expect_drop(struct rig *r, const u8 *bytes, size_t len, enum seal_drop why)
{
    struct mesh_stats before = rig_stats(r, 0);
    u64 next = mesh_next_expiry(r->n[0].m);
    u8 *exact = malloc(len ? len : 1);
    if (len > 0)
        memcpy(exact, bytes, len);
    int err = mesh_read(r->n[0].m, &r->n[1].addr, exact, len, r->now_ns);
    free(exact);
    struct mesh_stats after = rig_stats(r, 0);
    assert_int_equal(only_drop(&before, &after), why);
    assert_int_equal(err, why == SEAL_OK ? 0 : ERR_INVAL);
    assert_int_equal(after.datagrams_in, before.datagrams_in + 1);
    assert_int_equal(after.bytes_in, before.bytes_in + len);
    if (why != SEAL_OK)
        assert_true(mesh_next_expiry(r->n[0].m) == next);
}

static void each_drop_has_its_reason(void **state)
{
    (void)state;
    struct rig *r = rig_region(3);
    u8 buf[2000], spoiled[2000];
    struct node_key name = {{0x77}};
    struct seal *s = forger(r, &name, 9), *own, *own_now;
    size_t len = seal_close(s, SEAL_DATAGRAM, WIRE_VERSION, "\x91\x7f", 2, buf);
    expect_drop(r, buf, 0, SEAL_SHORT);
    expect_drop(r, buf, SEAL_OVERHEAD - 1, SEAL_SHORT);
    expect_drop(r, buf, len - 1, SEAL_FORGED);
    memset(spoiled, 0, sizeof(spoiled));
    expect_drop(r, spoiled, 1200, SEAL_VERSION);
    expect_drop(r, spoiled, 1201, SEAL_LONG);
    memcpy(spoiled, buf, len);
    spoiled[0] = WIRE_VERSION + 1;
    expect_drop(r, spoiled, len, SEAL_VERSION);
    memcpy(spoiled, buf, len);
    spoiled[3] ^= 1;
    expect_drop(r, spoiled, len, SEAL_KEY);
    memcpy(spoiled, buf, len);
    spoiled[len - 20] ^= 1;
    expect_drop(r, spoiled, len, SEAL_FORGED);
    expect_drop(r, buf, len, SEAL_OK);
    expect_drop(r, buf, len, SEAL_REPLAYED);
    len = seal_close(s, SEAL_TALK, WIRE_VERSION, "\x91\x7f", 2, buf);
    expect_drop(r, buf, len, SEAL_LANE);
    own_now = forger(r, &r->n[0].key, r->now_ns - 10 * S);
    len = seal_close(own_now, SEAL_DATAGRAM, WIRE_VERSION, "\x91\x7f", 2, buf);
    expect_drop(r, buf, len, SEAL_OWN);
    rig_drive(r, 0);
    assert_int_equal(r->n[0].events[MEMBER_EVENT_CLONED], 1); /* another epoch of ours: a clone */
    own = forger(r, &r->n[0].key, 1000 * S);
    len = seal_close(own, SEAL_DATAGRAM, WIRE_VERSION, "\x91\x7f", 2, buf);
    expect_drop(r, buf, len, SEAL_OWN);
    seal_del(s);
    seal_del(own);
    seal_del(own_now);
    rig_del(r);
}

static int say(struct rig *r, struct seal *s, const char *text, size_t len)
{
    u8 buf[LIMIT_DATAGRAM_BYTES];
    size_t n = seal_close(s, SEAL_DATAGRAM, WIRE_VERSION, text, len, buf);
    return mesh_read(r->n[0].m, &r->n[1].addr, buf, n, r->now_ns);
}

static void what_is_sealed_rightly_may_still_be_nonsense(void **state)
{
    (void)state;
    struct rig *r = rig_region(3);
    struct member_view v;
    assert_true(member_find(mesh_member(r->n[0].m), &r->n[1].key, &v));
    struct seal *member = forger(r, &r->n[1].key, v.record->epoch);
    struct node_key name = {{0x77}};
    struct seal *stranger = forger(r, &name, 9);
    struct mesh_stats a = rig_stats(r, 0), b;
    assert_int_equal(say(r, member, "", 0), 0); /* an empty row */
    assert_int_equal(say(r, member, "\x91\x7f", 2), 0);
    assert_int_equal(say(r, member, "\x92\x7e\xa1x\x91\x7f", 6), 0);
    assert_int_equal(say(r, member, "\x93\xcd\xff\xff\x91\x90\xc0", 7), 0);
    b = rig_stats(r, 0);
    assert_int_equal(b.unknown - a.unknown, 4);
    assert_int_equal(b.malformed, a.malformed);
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
        {"\x90", 1},      /* no number */
        {"\x7f", 1},      /* no array */
        {"\xc0", 1},      /* nor this */
        {"\x91\xa1x", 3}, /* a name instead of a number */
        {"\x91\xce\xff\xff\xff\xff", 6},
        {"\x92\x7f", 2},     /* cut */
        {"\x91\x7f\x93", 3}, /* the second one is */
        {"\xdd\xff\xff\xff\xff\x7f", 6},
        {"\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01", 11},
        {"\x92\x01\xc0", 3}, /* a ping of nothing */
        {"\x92\x20\xc0", 3}, /* a batch of nothing */
        {"\x92\x40\xc0", 3}, /* an order of nothing */
    };
    for (size_t i = 0; i < countof(bad); i++) {
        a = rig_stats(r, 0);
        assert_int_equal(say(r, member, bad[i].text, bad[i].len), ERR_INVAL);
        b = rig_stats(r, 0);
        assert_int_equal(b.malformed - a.malformed, 1);
    }
    a = rig_stats(r, 0);
    assert_int_equal(say(r, stranger, "\x92\x20\xc4\x01\x01\x92\x41\x05", 8), 0);
    b = rig_stats(r, 0);
    assert_int_equal(b.strangers - a.strangers, 2);
    rig_run(r, 5 * S);
    assert_int_equal(r->n[0].events[MEMBER_EVENT_DOWN], 0);
    seal_del(member);
    seal_del(stranger);
    rig_del(r);
}

/* --- talks ----------------------------------------------------------------------------------- */

static void talks_that_are_not_for_us(void **state)
{
    (void)state;
    struct rig *r = rig_region(3);
    u8 buf[200], *answer = r->scratch;
    size_t out;
    struct node_key name = {{0x77}};
    struct seal *stranger = forger(r, &name, 9);
    struct mesh *m = r->n[0].m;
    struct addr from = rig_addr(9);
    assert_int_equal(mesh_answer(m, &from, "x", 1, answer, LIMIT_TALK_BYTES, &out, r->now_ns),
                     ERR_DENIED);
    u8 *big = calloc(1, LIMIT_TALK_BYTES + 1);
    assert_int_equal(
        mesh_answer(m, &from, big, LIMIT_TALK_BYTES + 1, answer, LIMIT_TALK_BYTES, &out, r->now_ns),
        ERR_DENIED);
    assert_int_equal(rig_stats(r, 0).dropped[SEAL_LONG], 1);
    free(big);
    static const struct {
        const char *text;
        size_t len;
        int err;
    } rows[] = {
        {"", 0, ERR_PROTO},
        {"\x91\x7f", 2, ERR_DENIED},         /* a number of nobody, by nobody */
        {"\x92\x42\x90", 3, ERR_DENIED},     /* purge lists are for members */
        {"\x92\x25\xc4\x00", 4, ERR_DENIED}, /* tables, too */
        {"\x92\x10\xc0", 3, ERR_PROTO},      /* a sync of nothing */
        {"\x91\x7f\x91\x7f", 4, ERR_PROTO},  /* two messages */
        {"\x90", 1, ERR_PROTO},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        size_t n = seal_close(stranger, SEAL_TALK, WIRE_VERSION, rows[i].text, rows[i].len, buf);
        int err = mesh_answer(m, &from, buf, n, answer, LIMIT_TALK_BYTES, &out, r->now_ns);
        assert_int_equal(err, rows[i].err);
        assert_int_equal(out, 0);
        err = mesh_answer(m, &from, buf, n, answer, LIMIT_TALK_BYTES, &out, r->now_ns);
        assert_int_equal(err, ERR_DENIED); /* replayed */
    }
    seal_del(stranger);
    rig_del(r);
}

/* A node alone that wants to talk to its seed: the request as it goes out. */
static u32 dial(struct rig *r, size_t i, size_t *len)
{
    struct addr to;
    u32 id = 0;
    r->now_ns += 10 * S;
    for (int turn = 0; turn < 100; turn++) {
        if (mesh_next_expiry(r->n[i].m) <= r->now_ns)
            mesh_expire(r->n[i].m, r->now_ns);
        if (mesh_dial(r->n[i].m, &id, &to, r->scratch, LIMIT_TALK_BYTES, len, r->now_ns))
            return id;
        r->now_ns += S;
    }
    fail_msg("node %zu dials nobody", i);
    return 0;
}

static void an_answer_opens_for_its_request_alone(void **state)
{
    (void)state;
    struct rig *r = rig_new();
    size_t len, out1, out2;
    rig_start_all(r, 0, 3);
    u8 *first = malloc(LIMIT_TALK_BYTES), *second = malloc(LIMIT_TALK_BYTES);
    struct mesh *asker = r->n[1].m;

    u32 one = dial(r, 1, &len);
    assert_int_equal(mesh_answer(r->n[0].m, &r->n[1].addr, r->scratch, len, first, LIMIT_TALK_BYTES,
                                 &out1, r->now_ns),
                     0);
    mesh_dialed(asker, one, ERR_TIMEOUT, NULL, 0, r->now_ns); /* it came too late */
    u32 two = dial(r, 1, &len);
    assert_int_not_equal(one, two);
    mesh_dialed(asker, one, 0, first, out1, r->now_ns); /* of no talk any more: ignored */
    assert_int_equal(member_count(mesh_member(asker), MEMBER_ALIVE), 1);
    mesh_dialed(asker, two, 0, first, out1, r->now_ns); /* of another */
    assert_int_equal(member_count(mesh_member(asker), MEMBER_ALIVE), 1);
    assert_int_equal(rig_stats(r, 1).malformed, 1);
    mesh_dialed(asker, two, 0, first, out1, r->now_ns); /* once is once */

    u32 three = dial(r, 1, &len);
    assert_int_equal(mesh_answer(r->n[0].m, &r->n[1].addr, r->scratch, len, second,
                                 LIMIT_TALK_BYTES, &out2, r->now_ns),
                     0);
    second[out2 - 1] ^= 1;
    mesh_dialed(asker, three, 0, second, out2, r->now_ns);
    assert_int_equal(rig_stats(r, 1).dropped[SEAL_FORGED], 1);
    u32 four = dial(r, 1, &len);
    mesh_dialed(asker, four, 0, r->scratch, len, r->now_ns); /* our own request, sent back */
    assert_int_equal(rig_stats(r, 1).dropped[SEAL_LANE], 1);
    mesh_dialed(asker, 4711, 0, second, out2, r->now_ns);
    assert_int_equal(member_count(mesh_member(asker), MEMBER_ALIVE), 1);
    assert_true(rig_until(r, rig_all_meet, 60 * S)); /* none of it did harm */
    free(first);
    free(second);
    rig_del(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_speaks_in_anothers_name),
        cmocka_unit_test(each_drop_has_its_reason),
        cmocka_unit_test(what_is_sealed_rightly_may_still_be_nonsense),
        cmocka_unit_test(talks_that_are_not_for_us),
        cmocka_unit_test(an_answer_opens_for_its_request_alone),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

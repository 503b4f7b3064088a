/* Sealing: what opens, what is dropped and why, keys that change while running, bounded windows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "proto/rng.h"
#include "proto/seal.h"

#define TEXT "the layer is here"

static struct seal_key key_of(u8 fill)
{
    struct seal_key k;
    memset(k.bytes, fill, sizeof(k.bytes));
    return k;
}

static struct seal_options options_of(u64 node, u64 epoch)
{
    struct seal_options opt = {.epoch = epoch, .seed = 99};
    for (int i = 0; i < 8; i++)
        opt.self.bytes[i] = (u8)(node >> (8 * (7 - i)));
    opt.self.bytes[31] = 1;
    return opt;
}

static struct seal *seal_of(u64 node, u64 epoch)
{
    struct seal_options opt = options_of(node, epoch);
    struct seal_key k = key_of(1);
    struct seal *s;
    assert_int_equal(seal_new(&s, &opt), 0);
    assert_int_equal(seal_set_keys(s, &k, 1), 0);
    return s;
}

struct message {
    u8 bytes[256];
    size_t len;
};

static struct message close_in(struct seal *s, enum seal_lane lane)
{
    struct message m;
    m.len = seal_close(s, lane, WIRE_VERSION, TEXT, sizeof(TEXT), m.bytes);
    assert_int_equal(m.len, sizeof(TEXT) + SEAL_OVERHEAD);
    return m;
}

static struct message close_one(struct seal *s)
{
    return close_in(s, SEAL_DATAGRAM);
}

static enum seal_drop open_in(struct seal *s, enum seal_lane lane, const struct message *m)
{
    u8 text[256];
    struct seal_from from;
    enum seal_drop d = seal_open(s, lane, m->bytes, m->len, text, &from);
    if (d == SEAL_OK)
        assert_true(from.text_len == sizeof(TEXT) && memcmp(text, TEXT, sizeof(TEXT)) == 0);
    return d;
}

static enum seal_drop open_one(struct seal *s, const struct message *m)
{
    return open_in(s, SEAL_DATAGRAM, m);
}

/* Two nodes with one key. */
struct pair {
    struct seal *a, *b;
};

static int set_up(void **state)
{
    if (sodium_init() < 0)
        return -1;
    struct pair *p = malloc(sizeof(*p));
    p->a = seal_of(0xa1a2a3a4a5a6a7a8, 7);
    p->b = seal_of(0xb1b2b3b4b5b6b7b8, 7);
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *p = *state;
    seal_del(p->a);
    seal_del(p->b);
    free(p);
    return 0;
}

static void what_was_sealed_opens(void **state)
{
    struct pair *p = *state;
    struct message m = close_one(p->a);
    u8 text[256];
    struct seal_from from;
    assert_int_equal(seal_open(p->b, SEAL_DATAGRAM, m.bytes, m.len, text, &from), SEAL_OK);
    assert_memory_equal(text, TEXT, sizeof(TEXT));
    assert_memory_equal(from.sender, "\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8", 8);
    struct seal_key k = key_of(1);
    assert_int_equal(from.key_id, seal_key_id(&k));
    assert_true(from.epoch == 7 && from.counter == 1 && from.version == WIRE_VERSION);
    assert_int_equal(from.text_len, sizeof(TEXT));
    assert_null(memmem(m.bytes, m.len, "layer", 5));
    assert_int_equal(seal_counter(p->a, SEAL_DATAGRAM), 1);
    assert_int_equal(seal_counter(p->a, SEAL_TALK), 0);
}

static void the_head_is_as_drawn(void **state)
{
    struct pair *p = *state;
    struct seal_key k = key_of(1);
    u32 id = seal_key_id(&k);
    close_in(p->a, SEAL_PEER);
    struct message m = close_in(p->a, SEAL_PEER);
    const u8 head[SEAL_HEAD] = {WIRE_VERSION,
                                (u8)(id >> 24),
                                (u8)(id >> 16),
                                (u8)(id >> 8),
                                (u8)id,
                                0xa1,
                                0xa2,
                                0xa3,
                                0xa4,
                                0xa5,
                                0xa6,
                                0xa7,
                                0xa8,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                7,
                                0x80,
                                0,
                                0,
                                0,
                                0,
                                0,
                                0,
                                2};
    assert_memory_equal(m.bytes, head, sizeof(head));
}

static void nothing_at_all_can_be_sealed(void **state)
{
    struct pair *p = *state;
    u8 buf[SEAL_OVERHEAD], text[1] = {0};
    struct seal_from from;
    assert_int_equal(seal_close(p->a, SEAL_TALK, WIRE_VERSION, text, 0, buf), SEAL_OVERHEAD);
    assert_int_equal(seal_open(p->b, SEAL_TALK, buf, sizeof(buf), text, &from), SEAL_OK);
    assert_int_equal(from.text_len, 0);
}

static void in_place_gives_the_same_bytes(void **state)
{
    struct pair *p = *state;
    struct message m = close_one(p->a);
    struct seal *again = seal_of(0xa1a2a3a4a5a6a7a8, 7);
    u8 buf[256];
    memcpy(buf + SEAL_HEAD, TEXT, sizeof(TEXT));
    size_t len = seal_close(again, SEAL_DATAGRAM, WIRE_VERSION, buf + SEAL_HEAD, sizeof(TEXT), buf);
    assert_int_equal(len, m.len);
    assert_memory_equal(buf, m.bytes, len);
    struct seal_from from;
    assert_int_equal(seal_open(p->b, SEAL_DATAGRAM, buf, len, buf + SEAL_HEAD, &from), SEAL_OK);
    assert_memory_equal(buf + SEAL_HEAD, TEXT, sizeof(TEXT));
    seal_del(again);
}

/* --- what is dropped ------------------------------------------------------------------------- */

static void short_ones_are_dropped(void **state)
{
    struct pair *p = *state;
    struct message m = close_one(p->a);
    for (size_t len = 0; len < m.len; len++) {
        u8 *exact = malloc(len ? len : 1); /* a sanitizer sees a byte too many */
        u8 text[256];
        struct seal_from from;
        memcpy(exact, m.bytes, len);
        enum seal_drop d = seal_open(p->b, SEAL_DATAGRAM, exact, len, text, &from);
        assert_int_equal(d, len < SEAL_OVERHEAD ? SEAL_SHORT : SEAL_FORGED);
        free(exact);
    }
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
}

static void long_ones_are_dropped_unopened(void **state)
{
    struct pair *p = *state;
    u8 *big = calloc(2, LIMIT_TALK_BYTES + 1), *text = big + LIMIT_TALK_BYTES + 1;
    struct seal_from from;
    static const size_t most[SEAL_LANE_COUNT] = {LIMIT_DATAGRAM_BYTES, LIMIT_TALK_BYTES,
                                                 LIMIT_DATAGRAM_BYTES, LIMIT_TALK_BYTES};
    for (enum seal_lane lane = 0; lane < SEAL_LANE_COUNT; lane++) {
        size_t len = seal_close(p->a, lane, WIRE_VERSION, text, most[lane] - SEAL_OVERHEAD, big);
        assert_int_equal(seal_open(p->b, lane, big, len + 1, text, &from), SEAL_LONG);
        assert_int_equal(seal_open(p->b, lane, big, len, text, &from), SEAL_OK);
    }
    free(big);
}

static void any_bit_changed_is_dropped(void **state)
{
    struct pair *p = *state;
    struct message m = close_one(p->a);
    for (size_t bit = 0; bit < 8 * m.len; bit++) {
        struct message bad = m;
        bad.bytes[bit / 8] ^= (u8)(1 << (bit % 8));
        enum seal_drop want = SEAL_FORGED;
        if (bit < 8)
            want = SEAL_VERSION;
        else if (bit < 40)
            want = SEAL_KEY;
        else if (bit / 8 == 21 && bit % 8 >= 6)
            want = SEAL_LANE;
        assert_int_equal(open_one(p->b, &bad), want);
    }
    struct message longer = m;
    longer.bytes[longer.len++] = 0;
    assert_int_equal(open_one(p->b, &longer), SEAL_FORGED);
    assert_int_equal(open_one(p->b, &m), SEAL_OK); /* none of it spoiled the window */
}

static void versions_out_of_reach_are_dropped(void **state)
{
    (void)state;
    struct seal_options newer = options_of(1, 1), older = options_of(2, 1);
    newer.version_min = 2;
    newer.version_max = 3;
    older.version_min = 1;
    older.version_max = 2;
    struct seal_key k = key_of(1);
    struct seal *n, *o;
    assert_int_equal(seal_new(&n, &newer), 0);
    assert_int_equal(seal_new(&o, &older), 0);
    assert_int_equal(seal_set_keys(n, &k, 1), 0);
    assert_int_equal(seal_set_keys(o, &k, 1), 0);
    struct message m;
    m.len = seal_close(n, SEAL_DATAGRAM, 3, TEXT, sizeof(TEXT), m.bytes);
    assert_int_equal(open_one(o, &m), SEAL_VERSION);
    m.len = seal_close(n, SEAL_DATAGRAM, 2, TEXT, sizeof(TEXT), m.bytes);
    assert_int_equal(open_one(o, &m), SEAL_OK);
    m.len = seal_close(o, SEAL_DATAGRAM, 1, TEXT, sizeof(TEXT), m.bytes);
    assert_int_equal(open_one(n, &m), SEAL_VERSION);
    m.len = seal_close(o, SEAL_DATAGRAM, 2, TEXT, sizeof(TEXT), m.bytes);
    assert_int_equal(open_one(n, &m), SEAL_OK);
    seal_del(n);
    seal_del(o);
}

static void our_own_voice_is_dropped(void **state)
{
    struct pair *p = *state;
    struct message m = close_one(p->a);
    assert_int_equal(open_one(p->a, &m), SEAL_OWN);
    m.bytes[m.len - 1] ^= 1;
    assert_int_equal(open_one(p->a, &m), SEAL_FORGED); /* first of all it must be sealed */
}

static void lanes_do_not_mix(void **state)
{
    struct pair *p = *state;
    for (enum seal_lane from = 0; from < SEAL_LANE_COUNT; from++)
        for (enum seal_lane to = 0; to < SEAL_LANE_COUNT; to++) {
            struct message m = close_in(p->a, from);
            assert_int_equal(open_in(p->b, to, &m), from == to ? SEAL_OK : SEAL_LANE);
        }
    /* Each has a row of counters of its own: no lane wears out another's window. */
    struct message talk = close_in(p->a, SEAL_TALK), first = close_one(p->a);
    for (int i = 0; i < 5000; i++) {
        struct message m = close_one(p->a);
        assert_int_equal(open_one(p->b, &m), SEAL_OK);
    }
    assert_int_equal(open_in(p->b, SEAL_TALK, &talk), SEAL_OK);
    assert_int_equal(open_one(p->b, &first), SEAL_REPLAYED);
}

static void what_is_numbered_inside_has_no_window(void **state)
{
    struct pair *p = *state;
    static const enum seal_lane lanes[] = {SEAL_PEER, SEAL_ANSWER};
    for (size_t i = 0; i < countof(lanes); i++) {
        struct message m = close_in(p->a, lanes[i]);
        assert_int_equal(open_in(p->b, lanes[i], &m), SEAL_OK);
        assert_int_equal(open_in(p->b, lanes[i], &m), SEAL_OK);
    }
}

/* --- replay ---------------------------------------------------------------------------------- */

static void a_message_opens_once(void **state)
{
    struct pair *p = *state;
    struct message m = close_one(p->a);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    assert_int_equal(open_one(p->b, &m), SEAL_REPLAYED);
}

static void late_ones_open_within_the_window(void **state)
{
    struct pair *p = *state;
    enum { N = SEAL_WINDOW_DATAGRAMS + 2 };
    struct message *m = malloc(N * sizeof(*m));
    for (int i = 0; i < N; i++)
        m[i] = close_one(p->a);
    assert_int_equal(open_one(p->b, &m[N - 1]), SEAL_OK);
    assert_int_equal(open_one(p->b, &m[0]), SEAL_REPLAYED); /* 1,025 behind */
    assert_int_equal(open_one(p->b, &m[1]), SEAL_REPLAYED); /* 1,024 behind */
    assert_int_equal(open_one(p->b, &m[2]), SEAL_OK);       /* the last that is remembered */
    for (int i = 3; i < N - 1; i++)
        assert_int_equal(open_one(p->b, &m[i]), SEAL_OK);
    for (int i = 0; i < N; i++)
        assert_int_equal(open_one(p->b, &m[i]), SEAL_REPLAYED);
    free(m);
}

static void older_epochs_are_refused_once_proven(void **state)
{
    struct pair *p = *state;
    struct seal *again = seal_of(0xa1a2a3a4a5a6a7a8, 8); /* a, started again */
    const u8 *sender = (const u8 *)"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8";
    struct message old1 = close_one(p->a), old2 = close_one(p->a), old3 = close_one(p->a);
    assert_int_equal(open_one(p->b, &old1), SEAL_OK);
    seal_epoch_known(p->b, sender, 7);
    assert_int_equal(open_one(p->b, &old1), SEAL_REPLAYED); /* the window was kept */
    assert_int_equal(open_one(p->b, &old2), SEAL_OK);
    struct message new1 = close_one(again), new2 = close_one(again);
    assert_int_equal(open_one(p->b, &new1), SEAL_OK); /* claimed, not yet proven */
    assert_int_equal(open_one(p->b, &new1), SEAL_REPLAYED);
    seal_epoch_known(p->b, sender, 8);
    assert_int_equal(open_one(p->b, &new1), SEAL_REPLAYED);
    assert_int_equal(open_one(p->b, &new2), SEAL_OK);
    assert_int_equal(open_one(p->b, &old3), SEAL_REPLAYED);
    seal_epoch_known(p->b, sender, 7); /* an old record proves nothing any more */
    assert_int_equal(open_one(p->b, &old3), SEAL_REPLAYED);
    seal_del(again);
}

static void a_record_behind_its_node_keeps_the_newer_window(void **state)
{
    struct pair *p = *state;
    struct seal *again = seal_of(0xa1a2a3a4a5a6a7a8, 8);
    const u8 *sender = (const u8 *)"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8";
    struct message newer = close_one(again);
    assert_int_equal(open_one(p->b, &newer), SEAL_OK);
    seal_epoch_known(p->b, sender, 7);
    assert_int_equal(open_one(p->b, &newer), SEAL_REPLAYED);
    seal_epoch_known(p->b, sender, 8);
    assert_int_equal(open_one(p->b, &newer), SEAL_REPLAYED);
    seal_del(again);
}

/* A holder of the mesh key claims another node's voice in an epoch that is never to come. */
static void a_claimed_epoch_makes_nobody_deaf(void **state)
{
    struct pair *p = *state;
    struct seal *liar = seal_of(0xa1a2a3a4a5a6a7a8, UINT64_MAX);
    struct seal *again = seal_of(0xa1a2a3a4a5a6a7a8, 8);
    const u8 *sender = (const u8 *)"\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8";
    struct message lie = close_one(liar), m = close_one(p->a);
    assert_int_equal(open_one(p->b, &lie), SEAL_OK); /* nothing proven yet */
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    seal_epoch_known(p->b, sender, 7);
    lie = close_one(liar);
    assert_int_equal(open_one(p->b, &lie), SEAL_OK);
    m = close_one(p->a);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    m = close_one(again);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    seal_epoch_known(p->b, sender, 8);
    m = close_one(again);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    seal_del(liar);
    seal_del(again);
}

/* --- keys ------------------------------------------------------------------------------------ */

static void keys_are_installed_used_and_removed_while_running(void **state)
{
    struct pair *p = *state;
    const struct seal_key both[2] = {key_of(1), key_of(2)}, turned[2] = {key_of(2), key_of(1)};
    struct message m;
    u32 ids[LIMIT_MESH_KEYS];

    assert_int_equal(seal_set_keys(p->a, both, 2), 0); /* installed at one, then the other */
    m = close_one(p->a);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    assert_int_equal(seal_set_keys(p->b, both, 2), 0);
    assert_int_equal(seal_set_keys(p->a, turned, 2), 0); /* used */
    m = close_one(p->a);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    m = close_one(p->b);
    assert_int_equal(open_one(p->a, &m), SEAL_OK);
    assert_int_equal(seal_keys(p->a, ids), 2);
    assert_int_equal(ids[0], seal_key_id(&turned[0]));
    assert_int_equal(ids[1], seal_key_id(&turned[1]));
    assert_int_equal(seal_set_keys(p->b, turned, 2), 0);
    struct message old = close_one(p->b);
    assert_int_equal(seal_set_keys(p->a, turned, 1), 0); /* removed */
    assert_int_equal(open_one(p->a, &old), SEAL_OK);     /* b sealed it with the new one */
    assert_int_equal(seal_set_keys(p->b, both, 1), 0);   /* b goes back to the old one alone */
    m = close_one(p->b);
    assert_int_equal(open_one(p->a, &m), SEAL_KEY);
    m = close_one(p->a);
    assert_int_equal(open_one(p->b, &m), SEAL_KEY);
    assert_int_equal(seal_keys(p->a, ids), 1);
}

static void a_bad_ring_changes_nothing(void **state)
{
    struct pair *p = *state;
    struct seal_key many[LIMIT_MESH_KEYS + 1];
    for (size_t i = 0; i < countof(many); i++)
        many[i] = key_of((u8)(10 + i));
    assert_int_equal(seal_set_keys(p->a, many, 0), ERR_INVAL);
    assert_int_equal(seal_set_keys(p->a, many, countof(many)), ERR_INVAL);
    many[3] = many[1];
    assert_int_equal(seal_set_keys(p->a, many, 4), ERR_INVAL);
    struct message m = close_one(p->a);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    many[3] = key_of(99);
    assert_int_equal(seal_set_keys(p->a, many, LIMIT_MESH_KEYS), 0);
}

/* --- bounds ---------------------------------------------------------------------------------- */

/* A message of any sender in epoch 1. */
static struct message voice_of(u64 node)
{
    struct seal *s = seal_of(node, 1);
    struct message m = close_one(s);
    seal_del(s);
    return m;
}

static void the_oldest_window_makes_room(void **state)
{
    struct pair *p = *state;
    u64 proven = 0x0100000000000000, first = 0x0200000000000000;
    struct message of_proven = voice_of(proven), of_first = voice_of(first);
    u8 sender[8] = {1};
    assert_int_equal(open_one(p->b, &of_proven), SEAL_OK);
    seal_epoch_known(p->b, sender, 1);
    assert_int_equal(open_one(p->b, &of_first), SEAL_OK);
    for (u64 i = 1; i < LIMIT_SEAL_SENDERS - 1; i++) {
        struct message m = voice_of(first + i);
        assert_int_equal(open_one(p->b, &m), SEAL_OK);
    }
    u64 full = seal_bytes(p->b);
    assert_true(full > 1000000 && full < 4 * MIB);
    assert_int_equal(open_one(p->b, &of_first), SEAL_REPLAYED); /* just fits; and is heard again */
    struct message m = voice_of(first + LIMIT_SEAL_SENDERS);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    assert_int_equal(open_one(p->b, &m), SEAL_REPLAYED);
    assert_int_equal(open_one(p->b, &of_first), SEAL_REPLAYED); /* a replay keeps it young */
    m = voice_of(first + 1);
    assert_int_equal(open_one(p->b, &m), SEAL_OK); /* the oldest was forgotten */
    for (u64 i = 0; i < 2 * LIMIT_SEAL_SENDERS; i++) {
        m = voice_of(2 * first + i);
        assert_int_equal(open_one(p->b, &m), SEAL_OK);
    }
    assert_int_equal(open_one(p->b, &of_first), SEAL_OK); /* forgotten in its turn */
    assert_int_equal(open_one(p->b, &of_proven), SEAL_REPLAYED);
    assert_int_equal(seal_bytes(p->b), full);
}

static void a_table_of_proven_senders_still_makes_room(void **state)
{
    struct pair *p = *state;
    for (u32 i = 0; i < LIMIT_SEAL_SENDERS + 10; i++) {
        u8 sender[8] = {(u8)(i >> 8), (u8)i, 1};
        seal_epoch_known(p->b, sender, 5);
    }
    struct message m = close_one(p->a);
    assert_int_equal(open_one(p->b, &m), SEAL_OK);
    assert_int_equal(open_one(p->b, &m), SEAL_REPLAYED);
}

static void epoch_zero_is_none(void **state)
{
    struct pair *p = *state;
    struct seal_options opt = options_of(5, 1);
    opt.clear = true;
    struct seal *clear;
    struct seal_key k = key_of(1);
    u8 sender[8] = {5};
    assert_int_equal(seal_new(&clear, &opt), 0);
    assert_int_equal(seal_set_keys(clear, &k, 1), 0);
    seal_epoch_known(clear, sender, 0);
    struct message m = close_one(p->a);
    assert_int_equal(open_one(clear, &m), SEAL_FORGED); /* sealed in earnest */
    seal_del(clear);
}

static void clear_text_keeps_the_layout(void **state)
{
    (void)state;
    struct seal_options a = options_of(5, 1), b = options_of(6, 1);
    a.clear = b.clear = true;
    struct seal_key k = key_of(1);
    struct seal *sa, *sb;
    assert_int_equal(seal_new(&sa, &a), 0);
    assert_int_equal(seal_new(&sb, &b), 0);
    assert_int_equal(seal_set_keys(sa, &k, 1), 0);
    assert_int_equal(seal_set_keys(sb, &k, 1), 0);
    struct message m = close_one(sa);
    assert_memory_equal(m.bytes + SEAL_HEAD, TEXT, sizeof(TEXT));
    for (size_t bit = 40; bit < 8 * m.len; bit++) {
        struct message bad = m;
        bad.bytes[bit / 8] ^= (u8)(1 << (bit % 8));
        assert_int_not_equal(open_one(sb, &bad), SEAL_OK);
    }
    assert_int_equal(open_one(sb, &m), SEAL_OK);
    assert_int_equal(open_one(sb, &m), SEAL_REPLAYED);
    seal_del(sa);
    seal_del(sb);
}

static void every_reason_has_a_name(void **state)
{
    (void)state;
    for (enum seal_drop d = 0; d < SEAL_DROP_COUNT; d++)
        for (enum seal_drop e = 0; e < d; e++)
            assert_string_not_equal(seal_drop_name(d), seal_drop_name(e));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_sealed_opens),
        CASE(the_head_is_as_drawn),
        CASE(nothing_at_all_can_be_sealed),
        CASE(in_place_gives_the_same_bytes),
        CASE(short_ones_are_dropped),
        CASE(long_ones_are_dropped_unopened),
        CASE(any_bit_changed_is_dropped),
        CASE(versions_out_of_reach_are_dropped),
        CASE(our_own_voice_is_dropped),
        CASE(lanes_do_not_mix),
        CASE(what_is_numbered_inside_has_no_window),
        CASE(a_message_opens_once),
        CASE(late_ones_open_within_the_window),
        CASE(older_epochs_are_refused_once_proven),
        CASE(a_record_behind_its_node_keeps_the_newer_window),
        CASE(a_claimed_epoch_makes_nobody_deaf),
        CASE(keys_are_installed_used_and_removed_while_running),
        CASE(a_bad_ring_changes_nothing),
        CASE(the_oldest_window_makes_room),
        CASE(a_table_of_proven_senders_still_makes_room),
        CASE(epoch_zero_is_none),
        CASE(clear_text_keeps_the_layout),
        CASE(every_reason_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

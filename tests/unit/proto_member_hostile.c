/* Membership against those who hold the mesh key and lie: forged records, accusations and verdicts,
 * answers nobody asked for, broken messages, too much of everything. Messages are written here by
 * hand, after the table in member_wire.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "member_cluster.h"

#define NOW (1000 * CLUSTER_SECOND)

enum { PING = 1, ACK, PING_REQ, RELAYED, NACK, RECORD, RENEWED, SUSPECT, DEAD, WANT, REJECT };

struct actor {
    struct node_key key;
    struct node_secret secret;
    struct member_record rec;
    char name[16];
};
struct message {
    u8 bytes[4096];
    size_t len;
};

static void actor_init(struct actor *a, u32 n)
{
    cluster_secret(n, &a->key, &a->secret);
    (void)snprintf(a->name, sizeof(a->name), "node-%u", n);
    a->rec = (struct member_record){.key = a->key,
                                    .epoch = 100,
                                    .incarnation = 1,
                                    .addr = cluster_addr(n),
                                    .role = MEMBER_NODE,
                                    .version_min = 1,
                                    .version_max = 1,
                                    .name = a->name,
                                    .region = "test",
                                    .rack = "r",
                                    .public_url = ""};
}

static struct member *member_of(const struct actor *a)
{
    struct member *m;
    struct member_options opt = {
        .self = a->rec, .secret = a->secret, .datagram_max = 1155, .now_ns = NOW};
    rng_seed(&opt.rng, 1);
    assert_int_equal(member_new(&m, &opt), 0);
    return m;
}

static u8 flags_of(const struct member_record *r)
{
    return (u8)(r->role | (r->can_fetch ? 0x10 : 0) | (r->left ? 0x20 : 0));
}

static void put_fields(struct wire_out *w, const struct member_record *r)
{
    wire_put_key(w, &r->key);
    wire_put_u64(w, r->epoch);
    wire_put_u64(w, r->incarnation);
    wire_put_addr(w, &r->addr);
    wire_put_u64(w, flags_of(r));
    wire_put_u64(w, r->version_min);
    wire_put_u64(w, r->version_max);
    wire_put_text(w, r->name);
    wire_put_text(w, r->region);
    wire_put_text(w, r->rack);
    wire_put_text(w, r->public_url);
    wire_put_bin(w, NULL, 0);
}

static void sign_record(const struct member_record *r, const struct node_secret *by,
                        struct node_signature *sig)
{
    u8 packed[1024];
    struct wire_out w;
    wire_out_init(&w, packed, sizeof(packed));
    put_fields(&w, r);
    identity_sign(by, IDENTITY_ALIVE, packed, w.len, sig);
}

static struct message record_of(const struct member_record *r, const struct node_secret *by)
{
    struct message msg;
    struct wire_out w;
    struct node_signature sig;
    sign_record(r, by, &sig);
    wire_out_init(&w, msg.bytes, sizeof(msg.bytes));
    wire_put_array(&w, 14);
    wire_put_u64(&w, RECORD);
    wire_put_bin(&w, sig.bytes, sizeof(sig.bytes));
    put_fields(&w, r);
    msg.len = w.len;
    return msg;
}

/* An accusation or verdict about `of`, in the name of `by`, signed by `signer`. */
static struct message doubt(unsigned number, const struct member_record *of, const struct actor *by,
                            const struct node_secret *signer)
{
    struct message msg;
    struct wire_out w;
    struct node_signature sig;
    u8 text[48];
    memcpy(text, of->key.bytes, 32);
    for (int i = 0; i < 8; i++) {
        text[32 + i] = (u8)(of->epoch >> (56 - 8 * i));
        text[40 + i] = (u8)(of->incarnation >> (56 - 8 * i));
    }
    identity_sign(signer, number == DEAD ? IDENTITY_DEAD : IDENTITY_SUSPECT, text, sizeof(text),
                  &sig);
    wire_out_init(&w, msg.bytes, sizeof(msg.bytes));
    wire_put_array(&w, 6);
    wire_put_u64(&w, number);
    wire_put_u64(&w, node_key_word(&of->key));
    wire_put_u64(&w, of->epoch);
    wire_put_u64(&w, of->incarnation);
    wire_put_u64(&w, node_key_word(&by->key));
    wire_put_bin(&w, sig.bytes, sizeof(sig.bytes));
    msg.len = w.len;
    return msg;
}

static int tell_at(struct member *m, const struct actor *from, const struct message *msg, u64 now)
{
    return cluster_read(m, &from->rec.addr, from->key.bytes, msg->bytes, msg->len, now);
}

static int tell(struct member *m, const struct actor *from, const struct message *msg)
{
    return tell_at(m, from, msg, NOW);
}

static void introduce(struct member *m, const struct actor *a)
{
    struct message msg = record_of(&a->rec, &a->secret);
    assert_int_equal(tell(m, a, &msg), 0);
}

static enum member_state state_of(const struct member *m, const struct actor *a)
{
    struct member_view v;
    return member_find(m, &a->key, &v) ? v.state : MEMBER_STATE_COUNT;
}

/* Throws away what it would send; returns how much, and whether any went to `to`. */
static unsigned drain(struct member *m, const struct addr *to, bool *found)
{
    u8 buf[LIMIT_DATAGRAM_BYTES];
    struct wire_out w;
    struct addr at;
    unsigned n = 0;
    for (wire_out_init(&w, buf, sizeof(buf)); member_write(m, &at, &w, NOW);
         wire_out_init(&w, buf, sizeof(buf))) {
        n++;
        if (to && addr_equal(to, &at))
            *found = true;
    }
    return n;
}

struct stage { /* `m` is the first of four who know each other */
    struct actor a[5];
    struct member *m;
};
static void set_stage(struct stage *t)
{
    for (u32 i = 0; i < 5; i++)
        actor_init(&t->a[i], i + 1);
    t->m = member_of(&t->a[0]);
    for (u32 i = 1; i < 4; i++)
        introduce(t->m, &t->a[i]);
    drain(t->m, NULL, NULL);
    assert_int_equal(member_count(t->m, MEMBER_ALIVE), 4);
}

static u64 bad_signatures(const struct member *m)
{
    struct member_stats st;
    member_stats(m, &st);
    return st.bad_signatures;
}

/* --- records --------------------------------------------------------------------------------- */

static void a_record_holds_as_it_was_signed(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    const struct message whole = record_of(&t.a[4].rec, &t.a[4].secret);
    for (size_t i = 0; i < whole.len; i++) { /* any bit changed: not taken in */
        struct message msg = whole;
        msg.bytes[i] ^= (u8)(1 << i % 8);
        (void)tell(t.m, &t.a[4], &msg);
        assert_int_equal(state_of(t.m, &t.a[4]), MEMBER_STATE_COUNT);
        assert_int_equal(member_count(t.m, MEMBER_ALIVE), 4);
    }
    assert_true(bad_signatures(t.m) > 50);
    struct message forged = record_of(&t.a[4].rec, &t.a[3].secret);
    assert_int_equal(tell(t.m, &t.a[3], &forged), ERR_DENIED);
    assert_int_equal(state_of(t.m, &t.a[4]), MEMBER_STATE_COUNT);
    assert_int_equal(tell(t.m, &t.a[3], &whole), 0); /* by another's mouth, but its own words */
    assert_int_equal(state_of(t.m, &t.a[4]), MEMBER_ALIVE);
    member_del(t.m);
}

static void nobody_moves_or_removes_another(void **state)
{
    struct stage t;
    struct member_view v;
    (void)state;
    set_stage(&t);
    struct member_record r = t.a[1].rec;
    r.incarnation = 9;
    r.addr = t.a[3].rec.addr;
    struct message moved = record_of(&r, &t.a[3].secret);
    assert_int_equal(tell(t.m, &t.a[3], &moved), ERR_DENIED);
    r = t.a[1].rec;
    r.incarnation = 2;
    r.left = true;
    struct message gone = record_of(&r, &t.a[3].secret);
    assert_int_equal(tell(t.m, &t.a[3], &gone), ERR_DENIED);
    assert_true(member_find(t.m, &t.a[1].key, &v) && v.state == MEMBER_ALIVE);
    assert_true(addr_equal(&v.record->addr, &t.a[1].rec.addr));
    gone = record_of(&r, &t.a[1].secret);
    assert_int_equal(tell(t.m, &t.a[3], &gone), 0);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_LEFT);
    /* What was true before is not true again. */
    introduce(t.m, &t.a[1]);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_LEFT);
    member_del(t.m);
}

static void what_is_known_is_not_verified_again(void **state)
{
    struct stage t;
    struct member_stats st;
    (void)state;
    set_stage(&t);
    member_stats(t.m, &st);
    u64 verified = st.verified;
    for (int i = 0; i < 100; i++)
        introduce(t.m, &t.a[1]);
    struct message msg = doubt(SUSPECT, &t.a[1].rec, &t.a[2], &t.a[2].secret);
    for (int i = 0; i < 100; i++)
        assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
    member_stats(t.m, &st);
    assert_int_equal(st.verified, verified + 1);
    member_del(t.m);
}

/* --- too much of it -------------------------------------------------------------------------- */

static struct member_stats stats_of(const struct member *m)
{
    struct member_stats st;
    member_stats(m, &st);
    return st;
}

static u64 incarnation_of(const struct member *m, const struct actor *a)
{
    struct member_view v;
    return member_find(m, &a->key, &v) ? v.record->incarnation : 0;
}

/* It renews its record without end, and tells of it by every mouth. */
static void an_author_has_a_rate(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    struct member_record r = t.a[1].rec;
    u64 before = stats_of(t.m).verified;
    for (u64 i = 2; i < 1000; i++) {
        r.incarnation = i;
        struct message msg = record_of(&r, &t.a[1].secret);
        assert_int_equal(tell(t.m, &t.a[1 + i % 3], &msg), 0);
    }
    assert_in_range(stats_of(t.m).verified - before, 16, LIMIT_RATE_RECORDS);
    assert_int_equal(stats_of(t.m).verified - before + stats_of(t.m).put_off, 998);
    /* Others are heard meanwhile, and so is it when it has been quiet. */
    r = t.a[2].rec;
    r.incarnation = 2;
    struct message msg = record_of(&r, &t.a[2].secret);
    assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_int_equal(incarnation_of(t.m, &t.a[2]), 2);
    r = t.a[1].rec;
    r.incarnation = 1001;
    msg = record_of(&r, &t.a[1].secret);
    assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_true(incarnation_of(t.m, &t.a[1]) < 1000);
    /* It is not lost: lists are compared before long. */
    assert_true(member_next_expiry(t.m) <= NOW + 6 * CLUSTER_SECOND);
    assert_int_equal(tell_at(t.m, &t.a[1], &msg, NOW + CLUSTER_SECOND), 0);
    assert_int_equal(incarnation_of(t.m, &t.a[1]), 1001);
    member_del(t.m);
}

/* Whoever makes up records in another's name does not use up the other's rate. */
static void forgeries_do_not_silence(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    struct member_record r = t.a[1].rec;
    for (u64 i = 2; i < 1000; i++) {
        r.incarnation = i;
        struct message msg = record_of(&r, &t.a[3].secret);
        assert_int_equal(tell(t.m, &t.a[3], &msg), ERR_DENIED);
    }
    assert_int_equal(stats_of(t.m).put_off, 0);
    r.incarnation = 2;
    struct message msg = record_of(&r, &t.a[1].secret);
    assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_int_equal(incarnation_of(t.m, &t.a[1]), 2);
    member_del(t.m);
}

/* Any number of authors by one mouth. */
static void a_sender_has_a_rate(void **state)
{
    struct stage t;
    struct actor a;
    (void)state;
    set_stage(&t);
    u64 before = stats_of(t.m).verified;
    for (u32 i = 0; i < 3 * LIMIT_MEMBERS; i++) {
        actor_init(&a, 10 + i % 50);
        a.rec.incarnation = 2 + i;
        struct message msg = record_of(&a.rec, &t.a[3].secret);
        (void)tell(t.m, &t.a[3], &msg);
    }
    assert_in_range(stats_of(t.m).verified - before, LIMIT_RATE_SENDER - 8, LIMIT_RATE_SENDER);
    struct message msg = record_of(&t.a[4].rec, &t.a[4].secret);
    assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
    assert_int_equal(state_of(t.m, &t.a[4]), MEMBER_STATE_COUNT); /* another time */
    assert_int_equal(tell(t.m, &t.a[2], &msg), 0);
    assert_int_equal(state_of(t.m, &t.a[4]), MEMBER_ALIVE);
    member_del(t.m);
}

/* Each time that we say that we live it accuses us again. */
static void an_accuser_has_a_rate(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    for (u32 i = 0; i < 1000; i++) {
        struct message msg = doubt(SUSPECT, member_self(t.m), &t.a[1], &t.a[1].secret);
        assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
        drain(t.m, NULL, NULL);
    }
    assert_int_equal(stats_of(t.m).refutations, LIMIT_RATE_DOUBTS);
    u64 incarnation = member_self(t.m)->incarnation;
    struct message msg = doubt(SUSPECT, member_self(t.m), &t.a[2], &t.a[2].secret);
    assert_int_equal(tell(t.m, &t.a[2], &msg), 0);
    assert_int_equal(member_self(t.m)->incarnation, incarnation + 1);
    member_del(t.m);
}

static void control_characters_do_not_come_in(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    const char *names[] = {"", "a\nb", "\x7f", "a\033[31m"};
    for (size_t i = 0; i < countof(names); i++) {
        struct member_record r = t.a[4].rec;
        r.name = names[i];
        struct message msg = record_of(&r, &t.a[4].secret);
        assert_int_equal(tell(t.m, &t.a[4], &msg), ERR_PROTO);
    }
    assert_int_equal(member_count(t.m, MEMBER_ALIVE), 4);
    member_del(t.m);
}

/* --- accusations ----------------------------------------------------------------------------- */

static void a_forged_accusation_counts_nothing(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    const struct member_record *of = &t.a[1].rec;
    struct message msg = doubt(SUSPECT, of, &t.a[2], &t.a[3].secret);
    assert_int_equal(tell(t.m, &t.a[3], &msg), ERR_DENIED);
    msg = doubt(DEAD, of, &t.a[2], &t.a[3].secret);
    assert_int_equal(tell(t.m, &t.a[3], &msg), ERR_DENIED);
    msg = doubt(SUSPECT, of, &t.a[4], &t.a[4].secret); /* not a member */
    assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
    msg = doubt(SUSPECT, of, &t.a[1], &t.a[1].secret); /* itself */
    assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_ALIVE);
    assert_int_equal(bad_signatures(t.m), 2);
    msg = doubt(SUSPECT, of, &t.a[2], &t.a[2].secret);
    assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_SUSPECT);
    member_del(t.m);
}

static void an_accusation_shown_as_a_verdict_is_refused(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    struct message msg = doubt(SUSPECT, &t.a[1].rec, &t.a[2], &t.a[2].secret);
    assert_int_equal(tell(t.m, &t.a[2], &msg), 0);
    msg.bytes[1] = DEAD;
    assert_int_equal(tell(t.m, &t.a[2], &msg), ERR_DENIED);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_SUSPECT);
    member_del(t.m);
}

static void only_the_known_incarnation_is_accused(void **state)
{
    const u64 wrong[][2] = {{100, 0}, {100, 2}, {100, UINT64_MAX}, {99, 1}, {UINT64_MAX, 1}};
    struct stage t;
    (void)state;
    set_stage(&t);
    for (size_t i = 0; i < countof(wrong); i++) {
        struct member_record of = t.a[1].rec;
        of.epoch = wrong[i][0];
        of.incarnation = wrong[i][1];
        for (unsigned number = SUSPECT; number <= DEAD; number++) {
            struct message msg = doubt(number, &of, &t.a[2], &t.a[2].secret);
            assert_int_equal(tell(t.m, &t.a[2], &msg), 0);
            assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_ALIVE);
        }
    }
    member_del(t.m);
}

static void a_verdict_ends_a_suspect_only(void **state)
{
    struct stage t;
    (void)state;
    set_stage(&t);
    struct message verdict = doubt(DEAD, &t.a[1].rec, &t.a[2], &t.a[2].secret);
    assert_int_equal(tell(t.m, &t.a[2], &verdict), 0);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_SUSPECT); /* out of the blue */
    assert_int_equal(tell(t.m, &t.a[2], &verdict), 0);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_SUSPECT); /* and not by repeating it */
    struct message msg = doubt(SUSPECT, &t.a[1].rec, &t.a[3], &t.a[3].secret);
    assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
    assert_int_equal(tell(t.m, &t.a[2], &verdict), 0);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_DEAD);
    /* The dead accuse nobody. */
    msg = doubt(SUSPECT, &t.a[3].rec, &t.a[1], &t.a[1].secret);
    assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_int_equal(state_of(t.m, &t.a[3]), MEMBER_ALIVE);
    /* By a higher incarnation it is back. */
    introduce(t.m, &t.a[1]);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_DEAD);
    t.a[1].rec.incarnation++;
    introduce(t.m, &t.a[1]);
    assert_int_equal(state_of(t.m, &t.a[1]), MEMBER_ALIVE);
    member_del(t.m);
}

static void we_refute_what_is_said_of_us(void **state)
{
    struct stage t;
    bool told = false;
    (void)state;
    set_stage(&t);
    const struct member_record *self = member_self(t.m);
    struct member_record of = *self;
    struct message msg = doubt(SUSPECT, &of, &t.a[2], &t.a[3].secret); /* forged */
    assert_int_equal(tell(t.m, &t.a[3], &msg), ERR_DENIED);
    of.incarnation = UINT64_MAX; /* would leave no room */
    msg = doubt(SUSPECT, &of, &t.a[2], &t.a[2].secret);
    assert_int_equal(tell(t.m, &t.a[2], &msg), 0);
    assert_int_equal(self->incarnation, 1);
    of.incarnation = 1;
    msg = doubt(SUSPECT, &of, &t.a[2], &t.a[2].secret);
    assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
    assert_int_equal(self->incarnation, 2);
    assert_true(drain(t.m, &t.a[2].rec.addr, &told) > 0 && told); /* the accuser at once */
    assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
    assert_int_equal(self->incarnation, 2); /* the same again is old */
    of.incarnation = 2;
    for (int i = 0; i < 5; i++) { /* by somebody unknown: not as often as it likes */
        msg = doubt(DEAD, &of, &t.a[4], &t.a[4].secret);
        assert_int_equal(tell(t.m, &t.a[3], &msg), 0);
        of.incarnation = self->incarnation;
    }
    assert_int_equal(self->incarnation, 3);
    member_del(t.m);
}

/* --- what nobody asked for ------------------------------------------------------------------- */

static struct message probe_message(unsigned number, u64 seq, u64 target, bool with_target)
{
    struct message msg;
    struct wire_out w;
    struct coord c;
    coord_init(&c);
    wire_out_init(&w, msg.bytes, sizeof(msg.bytes));
    wire_put_array(&w, with_target ? 8 : 7);
    wire_put_u64(&w, number);
    wire_put_u64(&w, seq);
    if (with_target)
        wire_put_u64(&w, target);
    wire_put_u64(&w, 0);
    coord_put(&w, &c);
    wire_put_u64(&w, 200);
    wire_put_u64(&w, 1);
    wire_put_u64(&w, 2);
    msg.len = w.len;
    return msg;
}

static void an_answer_to_nothing_is_nothing(void **state)
{
    struct stage t;
    struct member_view v;
    (void)state;
    set_stage(&t);
    for (u64 seq = 0; seq < 100; seq++) {
        struct message msg = probe_message(ACK, seq, 0, false);
        assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    }
    assert_true(member_find(t.m, &t.a[1].key, &v));
    assert_true(v.load == 0 && v.rtt_ns == 0 && v.key_ids[0] == 0);
    member_del(t.m);
}

static void a_ping_is_answered_by_who_is_meant(void **state)
{
    struct stage t;
    bool answered = false;
    struct member_view v;
    (void)state;
    set_stage(&t);
    struct message msg = probe_message(PING, 7, node_key_word(&t.a[2].key), true);
    assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_int_equal(drain(t.m, NULL, NULL), 0);
    msg = probe_message(PING, 7, node_key_word(&t.a[0].key), true);
    /* In a member's name, but from elsewhere: answered there, and its record stays. */
    assert_int_equal(cluster_read(t.m, &t.a[4].rec.addr, t.a[1].key.bytes, msg.bytes, msg.len, NOW),
                     0);
    assert_true(drain(t.m, &t.a[4].rec.addr, &answered) > 0 && answered);
    assert_true(member_find(t.m, &t.a[1].key, &v) && v.load == 0);
    assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_true(member_find(t.m, &t.a[1].key, &v) && v.load == 200 && v.key_ids[1] == 2);
    member_del(t.m);
}

static void nobody_makes_us_send_to_strangers(void **state)
{
    struct stage t;
    struct message msg;
    struct wire_out w;
    bool stranger = false, member = false;
    (void)state;
    set_stage(&t);
    for (u32 i = 2; i < 5; i += 2) { /* a member, and somebody unknown */
        wire_out_init(&w, msg.bytes, sizeof(msg.bytes));
        wire_put_array(&w, 4);
        wire_put_u64(&w, PING_REQ);
        wire_put_u64(&w, 99);
        wire_put_u64(&w, node_key_word(&t.a[i].key));
        wire_put_u64(&w, 100);
        msg.len = w.len;
        assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
        drain(t.m, &t.a[i].rec.addr, i == 2 ? &member : &stranger);
    }
    assert_true(member && !stranger);
    /* However many ask: what is under way is bounded, and each is answered. */
    for (int i = 0; i < 10000; i++)
        assert_int_equal(tell(t.m, &t.a[1], &msg), 0);
    assert_true(drain(t.m, NULL, NULL) <= 512);
    member_del(t.m);
}

/* --- broken and too much --------------------------------------------------------------------- */

static void what_is_cut_short_is_malformed(void **state)
{
    struct stage t;
    struct member_stats st;
    u64 n = 0;
    (void)state;
    set_stage(&t);
    const struct message all[] = {
        record_of(&t.a[4].rec, &t.a[4].secret),
        doubt(SUSPECT, &t.a[1].rec, &t.a[2], &t.a[2].secret),
        probe_message(PING, 1, node_key_word(&t.a[0].key), true),
        probe_message(ACK, 1, 0, false),
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct wire_in r;
        for (size_t len = 2; len < all[i].len; len++, n++) {
            wire_in_init(&r, all[i].bytes + 2, len - 2); /* array and number are read off */
            assert_int_equal(
                member_read(t.m, &t.a[1].rec.addr, t.a[1].key.bytes, all[i].bytes[1], &r, NOW),
                ERR_PROTO);
        }
    }
    member_stats(t.m, &st);
    assert_int_equal(st.malformed, n);
    struct wire_in none;
    wire_in_init(&none, "", 0);
    assert_int_equal(member_read(t.m, &t.a[1].rec.addr, t.a[1].key.bytes, 31, &none, NOW),
                     ERR_UNSUPPORTED);
    assert_int_equal(member_read(t.m, &t.a[1].rec.addr, t.a[0].key.bytes, PING, &none, NOW),
                     ERR_DENIED);
    member_del(t.m);
}

static void a_stream_speaks_for_who_calls(void **state)
{
    struct stage t;
    struct message msg;
    struct wire_out w, answer;
    struct wire_in r;
    static u8 room[65536];
    u8 sums[256] = {0};
    (void)state;
    set_stage(&t);
    for (int honest = 0; honest < 2; honest++) {
        struct message record = record_of(&t.a[4].rec, &t.a[4].secret);
        wire_out_init(&w, msg.bytes, sizeof(msg.bytes));
        wire_put_u64(&w, 0);
        wire_put_bin(&w, sums, sizeof(sums));
        memcpy(w.buf + w.len, record.bytes, record.len);
        wire_in_init(&r, msg.bytes, w.len + record.len);
        wire_out_init(&answer, room, sizeof(room));
        int err = member_answer(t.m, &t.a[4].rec.addr, t.a[honest ? 4 : 3].key.bytes, 16, &r,
                                &answer, NOW);
        assert_int_equal(err, honest ? 0 : ERR_DENIED);
        assert_int_equal(answer.len > 0, honest);
        for (size_t cut = 0; honest && cut < w.len + record.len; cut++) {
            wire_in_init(&r, msg.bytes, cut);
            wire_out_init(&answer, room, sizeof(room));
            assert_int_equal(
                member_answer(t.m, &t.a[4].rec.addr, t.a[4].key.bytes, 16, &r, &answer, NOW),
                ERR_PROTO);
        }
    }
    member_del(t.m);
}

/* Two keys that begin alike would be one in every message. */
static void the_first_of_two_like_keys_stays(void **state)
{
    struct stage t;
    struct member_view v;
    (void)state;
    set_stage(&t);
    struct member_record r = t.a[1].rec;
    r.key.bytes[31] ^= 1;
    r.name = "like";
    r.incarnation = 50;
    struct message msg = record_of(&r, &t.a[1].secret);
    assert_int_equal(tell(t.m, &t.a[4], &msg), 0);
    assert_int_equal(member_count(t.m, MEMBER_ALIVE), 4);
    assert_true(member_find(t.m, &t.a[1].key, &v) && v.record->incarnation == 1);
    assert_false(member_find(t.m, &r.key, &v));
    member_del(t.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_holds_as_it_was_signed),
        cmocka_unit_test(nobody_moves_or_removes_another),
        cmocka_unit_test(what_is_known_is_not_verified_again),
        cmocka_unit_test(an_author_has_a_rate),
        cmocka_unit_test(forgeries_do_not_silence),
        cmocka_unit_test(a_sender_has_a_rate),
        cmocka_unit_test(an_accuser_has_a_rate),
        cmocka_unit_test(control_characters_do_not_come_in),
        cmocka_unit_test(a_forged_accusation_counts_nothing),
        cmocka_unit_test(an_accusation_shown_as_a_verdict_is_refused),
        cmocka_unit_test(only_the_known_incarnation_is_accused),
        cmocka_unit_test(a_verdict_ends_a_suspect_only),
        cmocka_unit_test(we_refute_what_is_said_of_us),
        cmocka_unit_test(an_answer_to_nothing_is_nothing),
        cmocka_unit_test(a_ping_is_answered_by_who_is_meant),
        cmocka_unit_test(nobody_makes_us_send_to_strangers),
        cmocka_unit_test(what_is_cut_short_is_malformed),
        cmocka_unit_test(a_stream_speaks_for_who_calls),
        cmocka_unit_test(the_first_of_two_like_keys_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Anything that a holder of the mesh key may send, into a member that knows three others. An input
 * is a row of steps: an operation, a length (two bytes, big-endian), so many bytes.
 *
 *   0 to 2   a datagram's text, from the first, second or third of those it knows
 *   3        the same from a stranger
 *   4 to 7   a stream's request, from the same four
 *   8        the answer to the oldest talk that it holds
 *   9        time: the length in units of 10 ms, no bytes */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/member.h"

#define KNOWN     3
#define DIALS_MAX 64
#define START_NS  1000000000000ull

static void must(bool holds)
{
    if (!holds)
        abort();
}

static u8 talk[LIMIT_TALK_BYTES];
static u8 room[LIMIT_TALK_BYTES];

struct stage {
    struct member *m;
    struct node_key key[KNOWN + 2]; /* ours, those known, the stranger's */
    u64 now_ns;
    u32 dial[DIALS_MAX];
    size_t dials;
};

static struct addr place(u32 n)
{
    return addr_v4(10, 0, 0, (u8)n, 5000);
}

static struct member *make(struct stage *s, u32 n)
{
    struct member *m = NULL;
    struct member_options opt = {.datagram_max = 1155, .clear = true, .now_ns = START_NS};
    u8 seed[32] = {1, 0, 0, 0, (u8)n};
    char name[16];
    (void)snprintf(name, sizeof(name), "node-%u", n);
    identity_from_seed(seed, &s->key[n], &opt.secret);
    rng_seed(&opt.rng, n);
    opt.self = (struct member_record){.key = s->key[n],
                                      .epoch = 100,
                                      .addr = place(n),
                                      .role = MEMBER_NODE,
                                      .version_min = 1,
                                      .version_max = 1,
                                      .name = name,
                                      .region = "test"};
    must(member_new(&m, &opt) == 0);
    return m;
}

/* `other` asks ours for its list, and so becomes known. */
static void introduce(struct stage *s, struct member *other, u32 n)
{
    struct addr ours = place(0), from = place(n), to;
    struct wire_out w, answer;
    struct wire_in r;
    u32 id;
    must(member_seed(other, &ours) == 0);
    member_expire(other, START_NS);
    wire_out_init(&w, talk, sizeof(talk));
    must(member_dial(other, &id, &to, &w, START_NS));
    wire_in_init(&r, talk, w.len);
    (void)wire_get_array(&r, UINT8_MAX);
    unsigned number = (unsigned)wire_get_u64(&r);
    wire_out_init(&answer, room, sizeof(room));
    must(member_answer(s->m, &from, s->key[n].bytes, number, &r, &answer, START_NS) == 0);
}

static void datagram(struct stage *s, u32 n, const u8 *data, size_t len)
{
    struct wire_in all;
    struct addr from = place(n);
    wire_in_init(&all, data, len);
    while (wire_left(&all) > 0) {
        struct wire_in msg = all;
        wire_skip(&all);
        if (!wire_ok(&all))
            return;
        msg.end = all.p;
        if (wire_get_array(&msg, UINT8_MAX) == 0)
            return;
        unsigned number = (unsigned)wire_get_max(&msg, UINT8_MAX);
        if (!wire_ok(&msg))
            return;
        (void)!member_read(s->m, &from, s->key[n].bytes, number, &msg, s->now_ns);
    }
}

static void request(struct stage *s, u32 n, const u8 *data, size_t len)
{
    struct wire_in r;
    struct wire_out answer;
    struct addr from = place(n);
    wire_in_init(&r, data, len);
    if (wire_get_array(&r, UINT8_MAX) == 0)
        return;
    unsigned number = (unsigned)wire_get_max(&r, UINT8_MAX);
    wire_out_init(&answer, room, sizeof(room));
    if (wire_ok(&r))
        (void)!member_answer(s->m, &from, s->key[n].bytes, number, &r, &answer, s->now_ns);
}

/* What it wants done is looked at, and not done. */
static void drain(struct stage *s)
{
    u8 buf[LIMIT_DATAGRAM_BYTES];
    struct wire_out w;
    struct addr to;
    struct member_event ev;
    u32 id;
    unsigned n = 0;
    for (wire_out_init(&w, buf, sizeof(buf)); member_write(s->m, &to, &w, s->now_ns);
         wire_out_init(&w, buf, sizeof(buf))) {
        must(w.len > 0 && w.len <= 1155 && addr_is_set(&to));
        must(++n < 1000);
    }
    for (wire_out_init(&w, talk, sizeof(talk)); member_dial(s->m, &id, &to, &w, s->now_ns);
         wire_out_init(&w, talk, sizeof(talk))) {
        must(w.len > 0 && id != 0);
        if (s->dials == DIALS_MAX)
            member_dialed(s->m, id, ERR_TIMEOUT, NULL, s->now_ns);
        else
            s->dial[s->dials++] = id;
    }
    while (member_next_event(s->m, &ev))
        must(ev.state < MEMBER_STATE_COUNT);
}

static void look(const struct stage *s)
{
    struct member_view v;
    size_t at = 0, n = 0, counted = 0;
    while (member_each(s->m, &at, &v)) {
        n++;
        must(strlen(v.record->name) <= MEMBER_TEXT_MAX && v.record->name[0] != '\0');
        must(strcmp(v.record->region, "test") == 0);
        must(!node_key_equal(&v.record->key, &s->key[0]));
        must(member_find(s->m, &v.record->key, &v));
    }
    for (int state = 0; state < MEMBER_STATE_COUNT; state++)
        counted += member_count(s->m, (enum member_state)state);
    must(counted == n + 1 && member_health(s->m) <= 8);
    must(n == KNOWN); /* nobody can sign for a fifth */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stage s = {.now_ns = START_NS};
    s.m = make(&s, 0);
    for (u32 n = 1; n <= KNOWN + 1; n++) {
        struct member *other = make(&s, n);
        if (n <= KNOWN)
            introduce(&s, other, n);
        member_del(other);
    }
    struct addr seed = place(1);
    must(member_seed(s.m, &seed) == 0);
    drain(&s);
    while (size >= 3) {
        u8 op = data[0] % 10;
        size_t len = (size_t)data[1] << 8 | data[2];
        data += 3;
        size -= 3;
        if (op == 9) {
            s.now_ns += 10000000ull * len;
            member_expire(s.m, s.now_ns);
            drain(&s);
            continue;
        }
        if (len > size)
            len = size;
        if (op <= 3)
            datagram(&s, 1 + op, data, len);
        else if (op <= 7)
            request(&s, 1 + op - 4u, data, len);
        else if (s.dials > 0) {
            struct wire_in r;
            wire_in_init(&r, data, len);
            member_dialed(s.m, s.dial[0], 0, &r, s.now_ns);
            memmove(s.dial, s.dial + 1, --s.dials * sizeof(s.dial[0]));
        }
        drain(&s);
        look(&s);
        data += len;
        size -= len;
    }
    member_del(s.m);
    return 0;
}

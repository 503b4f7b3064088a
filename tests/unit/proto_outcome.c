/* Reports of nodes to trackers: what was packed is read back, and nothing beyond its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "proto/outcome.h"

static struct outcome_report report, back;
static u8 bytes[OUTCOME_BYTES_MAX + 1];

static void fill(size_t n, size_t n_rtts)
{
    memset(&report, 0, sizeof(report));
    report.n = n;
    report.n_rtts = n_rtts;
    for (size_t i = 0; i < n; i++) {
        struct outcome *o = &report.outcomes[i];
        o->event = (enum outcome_event)(OUTCOME_BEGAN + i % 4);
        memset(o->user, (int)i, sizeof(o->user));
        o->digest.alg = i % 2 ? DIGEST_SHA512 : DIGEST_SHA256;
        memset(o->digest.bytes, (int)(i + 1), digest_size(o->digest.alg));
        o->iat_s = UINT64_MAX - i;
        o->bytes = UINT64_MAX - i;
        o->took_ms = UINT32_MAX - (u32)i;
        o->source = (enum outcome_source)(i % OUTCOME_SOURCES);
    }
    report.has_totals = n > 0;
    if (report.has_totals)
        report.totals = (struct outcome_totals){
            {1, 2, OUTCOME_TOTAL_MAX, 4}, 5, 6, 7, 8, OUTCOME_TOTAL_MAX, OUTCOME_TOTAL_MAX};
    for (size_t i = 0; i < n_rtts; i++) {
        struct outcome_rtt *t = &report.rtts[i];
        if (i % 2)
            t->prefix = addr_v4(10, 20, (u8)i, 0, 0);
        else
            memcpy(t->prefix.ip, (u8[]){0x20, 1, 0xd, 0xb8, 0, (u8)i}, 6);
        t->rtt_us = OUTCOME_RTT_MAX;
        t->samples = UINT32_MAX;
    }
}

static void what_was_packed_is_read_back(void **state)
{
    (void)state;
    const size_t sizes[] = {0, 1, 7, OUTCOME_MAX};
    for (size_t i = 0; i < countof(sizes); i++) {
        fill(sizes[i], sizes[countof(sizes) - 1 - i]);
        size_t len = outcome_pack(&report, bytes);
        assert_int_equal(outcome_unpack(&back, bytes, len), 0);
        assert_int_equal(back.n, report.n);
        assert_int_equal(back.n_rtts, report.n_rtts);
        assert_memory_equal(back.outcomes, report.outcomes, report.n * sizeof(struct outcome));
        assert_memory_equal(back.rtts, report.rtts, report.n_rtts * sizeof(struct outcome_rtt));
        assert_int_equal(back.has_totals, report.has_totals);
        if (back.has_totals)
            assert_memory_equal(&back.totals, &report.totals, sizeof(back.totals));
    }
}

static void what_is_cut_or_longer_is_refused(void **state)
{
    (void)state;
    fill(3, 2);
    size_t len = outcome_pack(&report, bytes);
    for (size_t n = 0; n < len; n++) {
        assert_int_equal(outcome_unpack(&back, bytes, n), ERR_PROTO);
        assert_true(back.n == 0 && back.n_rtts == 0 && !back.has_totals);
    }
    bytes[len] = 0;
    assert_int_equal(outcome_unpack(&back, bytes, len + 1), ERR_PROTO);
    assert_int_equal(outcome_unpack(&back, bytes, sizeof(bytes)), ERR_PROTO);
}

struct odd {
    unsigned version, event, user_len, digest_alg, digest_len, prefix_len;
    u64 rtt_us, samples, source, n_totals, total;
};

static int read_odd(const struct odd *o)
{
    struct wire_out w;
    u8 zeros[1 + DIGEST_BYTES_MAX + 1] = {(u8)o->digest_alg};
    wire_out_init(&w, bytes, sizeof(bytes));
    wire_put_array(&w, 4);
    wire_put_u64(&w, o->version);
    wire_put_array(&w, 1);
    wire_put_array(&w, 7);
    wire_put_u64(&w, o->event);
    wire_put_bin(&w, zeros, o->user_len);
    wire_put_bin(&w, zeros, o->digest_len);
    wire_put_u64(&w, 1);
    wire_put_u64(&w, 2);
    wire_put_u64(&w, 3);
    wire_put_u64(&w, o->source);
    wire_put_array(&w, 1);
    wire_put_array(&w, 3);
    wire_put_bin(&w, zeros, o->prefix_len);
    wire_put_u64(&w, o->rtt_us);
    wire_put_u64(&w, o->samples);
    wire_put_array(&w, (u32)o->n_totals);
    for (u64 i = 0; i < o->n_totals; i++)
        wire_put_u64(&w, o->total);
    assert_false(wire_full(&w));
    return outcome_unpack(&back, bytes, w.len);
}

static void what_is_beyond_a_bound_is_refused(void **state)
{
    (void)state;
    const struct odd good = {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, 1000, 1, 3, 10, 9};
    struct odd o = good;
    assert_int_equal(read_odd(&o), 0);
    assert_true(back.has_totals && back.totals.serving == 9);
    const struct odd bad[] = {
        {2, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, 1000, 1, 3, 10, 9},
        {1, 0, 16, DIGEST_SHA256, 33, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_FAILED + 1, 16, DIGEST_SHA256, 33, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 15, DIGEST_SHA256, 33, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_NONE, 33, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, 9, 33, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 32, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 0, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA512, 33, 3, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 4, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 0, 1000, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, OUTCOME_RTT_MAX + 1ull, 1, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, 1000, 0, 3, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, 1000, 1, OUTCOME_SOURCES, 10, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, 1000, 1, 3, 9, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, 1000, 1, 3, 11, 9},
        {1, OUTCOME_DONE, 16, DIGEST_SHA256, 33, 3, 1000, 1, 3, 10, OUTCOME_TOTAL_MAX + 1},
    };
    for (size_t i = 0; i < countof(bad); i++)
        assert_int_equal(read_odd(&bad[i]), ERR_PROTO);
}

static void more_entries_than_permitted_are_refused(void **state)
{
    (void)state;
    struct wire_out w;
    wire_out_init(&w, bytes, sizeof(bytes));
    wire_put_array(&w, 4);
    wire_put_u64(&w, 1);
    wire_put_array(&w, OUTCOME_MAX + 1);
    assert_int_equal(outcome_unpack(&back, bytes, sizeof(bytes) - 1), ERR_PROTO);
}

static void a_network_is_24_bits_or_48(void **state)
{
    (void)state;
    struct addr four = addr_v4(10, 20, 30, 40, 5000), six, want;
    const char text[] = "[2001:db8:1:2:3:4:5:6]:99";
    assert_int_equal(addr_parse(&six, text, sizeof(text) - 1), 0);
    struct addr p = outcome_prefix(&four);
    want = addr_v4(10, 20, 30, 0, 0);
    assert_true(addr_equal(&p, &want));
    p = outcome_prefix(&six);
    memset(&want, 0, sizeof(want));
    memcpy(want.ip, (u8[]){0x20, 1, 0xd, 0xb8, 0, 1}, 6);
    assert_true(addr_equal(&p, &want));
}

static void events_have_names(void **state)
{
    (void)state;
    assert_string_equal(outcome_event_name(OUTCOME_FAILED), "failed");
    assert_string_equal(outcome_event_name((enum outcome_event)9), "unknown");
    assert_string_equal(outcome_source_name(OUTCOME_PEER), "peer");
    assert_string_equal(outcome_source_name(OUTCOME_SOURCES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_packed_is_read_back),
        cmocka_unit_test(what_is_cut_or_longer_is_refused),
        cmocka_unit_test(what_is_beyond_a_bound_is_refused),
        cmocka_unit_test(more_entries_than_permitted_are_refused),
        cmocka_unit_test(a_network_is_24_bits_or_48),
        cmocka_unit_test(events_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Flows: max-min fairness by its definition and against a slow model, and bytes kept to the last
 * one. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/rng.h"
#include "sim/flow.h"

#define MS 1000000ull
#define S  (1000 * MS)

static struct flow_spec spec(u32 a, u32 b, u64 bytes)
{
    return (struct flow_spec){.lines = {a, b, FLOW_NONE, FLOW_NONE}, .bytes = bytes};
}

static void settle(struct flows *f, u64 now_ns)
{
    while (flow_tick(f, now_ns) != FLOW_NONE)
        ;
}

static void a_line_is_shared_evenly(void **state)
{
    (void)state;
    struct flows f;
    flow_init(&f);
    u32 wan = flow_line_new(&f, 900), a = flow_line_new(&f, 1000), b = flow_line_new(&f, 100);
    struct flow_spec one = spec(wan, a, 1000000), two = spec(wan, b, 1000000);
    u32 x = flow_begin(&f, &one, 0), y = flow_begin(&f, &one, 0), z = flow_begin(&f, &two, 0);
    assert_int_equal(flow_due(&f), 0);
    settle(&f, 0);
    assert_int_equal(f.flows[x].rate_bps, 400); /* z can take no more than 100 */
    assert_int_equal(f.flows[y].rate_bps, 400);
    assert_int_equal(f.flows[z].rate_bps, 100);
    flow_cap(&f, x, 50, 0);
    settle(&f, MS);
    assert_int_equal(f.flows[x].rate_bps, 50);
    assert_int_equal(f.flows[y].rate_bps, 750);
    flow_line_set(&f, wan, 0, 2 * MS);
    settle(&f, 2 * MS);
    assert_int_equal(f.flows[x].rate_bps + f.flows[y].rate_bps + f.flows[z].rate_bps, 0);
    assert_true(flow_due(&f) == UINT64_MAX);
    flow_fini(&f);
}

static void rates_change_at_most_once_a_millisecond(void **state)
{
    (void)state;
    struct flows f;
    flow_init(&f);
    u32 line = flow_line_new(&f, 1000000);
    struct flow_spec s = spec(line, FLOW_NONE, 1000);
    for (u64 now = 0; now < 10 * MS; now += MS / 10) {
        flow_begin(&f, &s, now);
        assert_true(flow_due(&f) >= now && flow_due(&f) <= now + MS);
        settle(&f, now);
    }
    assert_int_equal(f.fillings, 10);
    flow_fini(&f);
}

static void every_byte_comes_at_its_time(void **state)
{
    (void)state;
    struct flows f;
    flow_init(&f);
    u32 line = flow_line_new(&f, 1000);
    struct flow_spec s = spec(line, FLOW_NONE, 3000);
    u32 x = flow_begin(&f, &s, 0);
    settle(&f, 0);
    assert_int_equal(flow_due(&f), 3 * S);
    assert_int_equal(flow_bytes(&f, x, S + S / 2), 1500);
    s.bytes = 500;
    u32 y = flow_begin(&f, &s, 2 * S); /* from now on 500 a second each */
    settle(&f, 2 * S);
    assert_int_equal(flow_due(&f), 3 * S);
    assert_int_equal(flow_tick(&f, 3 * S), y);
    assert_int_equal(flow_end(&f, y, 3 * S), 500);
    settle(&f, 3 * S);
    assert_int_equal(flow_due(&f), 3 * S + S / 2);
    assert_int_equal(flow_tick(&f, 3 * S + S / 2), x);
    assert_int_equal(flow_tick(&f, 3 * S + S / 2), FLOW_NONE); /* told once */
    assert_int_equal(flow_end(&f, x, 3 * S + S / 2), 3000);
    assert_int_equal(flow_line_bytes(&f, line, 3 * S + S / 2), 3500);
    assert_true(flow_due(&f) == 4 * S || flow_due(&f) == UINT64_MAX ||
                flow_due(&f) == 3 * S + S / 2);
    flow_fini(&f);
}

/* The slow model: look at all lines and caps, fix who has the least, begin anew. */
static void fill_slowly(const struct flows *f, u64 *rate)
{
    static bool fixed[4096];
    for (size_t i = 0; i < f->n; i++)
        fixed[i] = !f->flows[i].used;
    for (;;) {
        u64 least = UINT64_MAX;
        size_t line = SIZE_MAX, capped = SIZE_MAX;
        for (size_t l = 0; l < f->n_lines; l++) {
            u64 left = f->lines[l].rate_bps, n = 0;
            for (size_t i = 0; i < f->n; i++)
                for (int k = 0; k < FLOW_LINES_MAX; k++)
                    if (f->flows[i].used && f->flows[i].lines[k] == l) {
                        left -= fixed[i] ? rate[i] : 0;
                        n += !fixed[i];
                    }
            if (n > 0 && left / n < least) {
                least = left / n;
                line = l;
            }
        }
        for (size_t i = 0; i < f->n; i++)
            if (!fixed[i] && f->flows[i].cap_bps <= least) {
                least = f->flows[i].cap_bps;
                capped = i;
            }
        if (capped != SIZE_MAX) {
            rate[capped] = least;
            fixed[capped] = true;
            continue;
        }
        if (line == SIZE_MAX)
            return;
        for (size_t i = 0; i < f->n; i++)
            for (int k = 0; k < FLOW_LINES_MAX; k++)
                if (!fixed[i] && f->flows[i].lines[k] == line) {
                    rate[i] = least;
                    fixed[i] = true;
                }
    }
}

/* By the definition: no line over its rate; each flow at its cap, or on a full line where nobody
 * has more than it. */
static void check_is_max_min(const struct flows *f)
{
    for (size_t l = 0; l < f->n_lines; l++) {
        u64 sum = 0;
        for (size_t i = 0; i < f->n; i++)
            for (int k = 0; k < FLOW_LINES_MAX; k++)
                if (f->flows[i].used && f->flows[i].lines[k] == l)
                    sum += f->flows[i].rate_bps;
        assert_true(sum <= f->lines[l].rate_bps);
    }
    for (size_t i = 0; i < f->n; i++) {
        const struct flow *w = &f->flows[i];
        bool held = !w->used || w->rate_bps == w->cap_bps;
        for (int k = 0; k < FLOW_LINES_MAX && !held; k++) {
            u64 sum = 0, most = 0, n = 0;
            for (size_t j = 0; j < f->n && w->lines[k] != FLOW_NONE; j++)
                for (int m = 0; m < FLOW_LINES_MAX; m++)
                    if (f->flows[j].used && f->flows[j].lines[m] == w->lines[k]) {
                        sum += f->flows[j].rate_bps;
                        most = f->flows[j].rate_bps > most ? f->flows[j].rate_bps : most;
                        n++;
                    }
            held = n > 0 && sum + n > f->lines[w->lines[k]].rate_bps && w->rate_bps >= most;
        }
        if (!held)
            fail_msg("flow %zu at %ju could have more", i, (uintmax_t)w->rate_bps);
    }
}

static void random_meshes_are_fair(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 11);
    static u64 rate[4096];
    for (int round = 0; round < 300; round++) {
        struct flows f;
        flow_init(&f);
        u32 lines = 2 + (u32)rng_below(&r, 20), n = 1 + (u32)rng_below(&r, 60);
        for (u32 i = 0; i < lines; i++)
            flow_line_new(&f, rng_below(&r, 10) ? 1 + rng_below(&r, 1000000) : 0);
        u64 now = 0;
        for (u32 i = 0; i < n; i++) {
            struct flow_spec s = {.bytes = 1 + rng_below(&r, 1u << 30)};
            assert(lines > 0);
            u32 from = (u32)rng_below(&r, lines); /* different lines, one to four */
            u32 count = 1 + (u32)rng_below(&r, lines < 4 ? lines : 4);
            for (u32 k = 0; k < FLOW_LINES_MAX; k++)
                s.lines[k] = k < count ? (from + k * (1 + (lines > 8))) % lines : FLOW_NONE;
            s.cap_bps = rng_below(&r, 4) ? 0 : 1 + rng_below(&r, 100000);
            u32 id = flow_begin(&f, &s, now);
            if (rng_below(&r, 5) == 0)
                flow_end(&f, id, now);
            if (rng_below(&r, 10) == 0)
                settle(&f, now += MS);
        }
        settle(&f, now + MS);
        check_is_max_min(&f);
        fill_slowly(&f, rate);
        for (size_t i = 0; i < f.n; i++)
            if (f.flows[i].used && !f.flows[i].done)
                assert_int_equal(f.flows[i].rate_bps, rate[i]);
        flow_fini(&f);
    }
}

/* However often it is looked at, a flow carries what it was to carry, and the lines count it. */
static void nothing_is_lost_by_looking(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 12);
    struct flows f;
    flow_init(&f);
    u32 up = flow_line_new(&f, 1234567), down = flow_line_new(&f, 7654321);
    u64 now = 0, asked = 0, ended = 0;
    for (int i = 0; i < 3000; i++) {
        now += rng_below(&r, 4 * MS); /* faster than the line carries */
        struct flow_spec s = spec(up, i % 2 ? down : FLOW_NONE, 1 + rng_below(&r, 20000));
        asked += s.bytes;
        flow_begin(&f, &s, now);
        for (u32 id; (id = flow_tick(&f, now)) != FLOW_NONE;)
            ended += flow_end(&f, id, now);
    }
    while (f.n_active > 0) {
        assert_true(flow_due(&f) < UINT64_MAX);
        now = flow_due(&f) > now ? flow_due(&f) : now;
        for (u32 id; (id = flow_tick(&f, now)) != FLOW_NONE;)
            ended += flow_end(&f, id, now);
    }
    assert_int_equal(ended, asked);
    assert_int_equal(flow_line_bytes(&f, up, now), asked);
    assert_true(now >= asked * S / 1234567 && now < asked * S / 1234567 + 2 * S);
    flow_fini(&f);
}

/* Streams come and go, lines and caps change: after each filling the rates are those of the slow
 * model, whatever was kept from the one before; and each line has counted what its flows brought.
 */
static void what_is_kept_between_fillings_is_right(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 13);
    struct flows f;
    flow_init(&f);
    enum { LINES = 12 };
    static u64 rate[4096];
    u64 brought[LINES] = {0}, now = 0, fillings = 0;
    for (u32 i = 0; i < LINES; i++)
        flow_line_new(&f, 1 + rng_below(&r, 1000000));
    for (int round = 0; round < 3000; round++) {
        now += rng_below(&r, 3 * MS) * (rng_below(&r, 50) ? 1 : 300);
        for (u32 id; (id = flow_tick(&f, now)) != FLOW_NONE;) {
            struct flow w = f.flows[id];
            u64 bytes = flow_end(&f, id, now);
            assert_int_equal(bytes, w.bytes);
            for (int k = 0; k < FLOW_LINES_MAX && w.lines[k] != FLOW_NONE; k++)
                brought[w.lines[k]] += bytes;
        }
        if (!f.dirty && f.filled_ns == now) {
            fillings++;
            fill_slowly(&f, rate);
            for (size_t i = 0; i < f.n; i++)
                if (f.flows[i].used)
                    assert_int_equal(f.flows[i].rate_bps, rate[i]);
        }
        u32 what = (u32)rng_below(&r, 20), line = (u32)rng_below(&r, LINES);
        if (what == 0)
            flow_line_set(&f, line, rng_below(&r, 4) ? rng_below(&r, 1000000) : 0, now);
        if (what == 1 && f.n_active > 0)
            flow_cap(&f, f.active[rng_below(&r, f.n_active)], rng_below(&r, 50000), now);
        if (what == 2 && f.n_active > 0)
            flow_bytes(&f, f.active[rng_below(&r, f.n_active)], now);
        if (what == 3 && f.n_active > 0) { /* its user has left */
            struct flow w = f.flows[f.active[rng_below(&r, f.n_active)]];
            u64 bytes = flow_end(&f, f.active[w.at], now);
            for (int k = 0; k < FLOW_LINES_MAX && w.lines[k] != FLOW_NONE; k++)
                brought[w.lines[k]] += bytes;
        }
        if (what > 3 && f.n_active < 40) {
            struct flow_spec s = {.bytes = 1 + rng_below(&r, 3000)};
            u32 count = 1 + (u32)rng_below(&r, FLOW_LINES_MAX);
            for (u32 k = 0; k < FLOW_LINES_MAX; k++)
                s.lines[k] = k < count ? (line + k) % LINES : FLOW_NONE;
            s.cap_bps = rng_below(&r, 3) ? 0 : 1 + rng_below(&r, 100000);
            flow_begin(&f, &s, now);
        }
    }
    while (f.n_active > 0)
        for (size_t i = f.n_active; i-- > 0;) {
            struct flow w = f.flows[f.active[i]];
            u64 bytes = flow_end(&f, f.active[i], now);
            for (int k = 0; k < FLOW_LINES_MAX && w.lines[k] != FLOW_NONE; k++)
                brought[w.lines[k]] += bytes;
        }
    assert_int_equal(f.n_busy, 0);
    assert_true(fillings > 1000);
    for (u32 i = 0; i < LINES; i++) { /* a flow that ends early has part of a byte */
        u64 counted = flow_line_bytes(&f, i, now);
        assert_true(counted >= brought[i] && counted <= brought[i] + 3000);
    }
    flow_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_shared_evenly),
        cmocka_unit_test(rates_change_at_most_once_a_millisecond),
        cmocka_unit_test(every_byte_comes_at_its_time),
        cmocka_unit_test(random_meshes_are_fair),
        cmocka_unit_test(nothing_is_lost_by_looking),
        cmocka_unit_test(what_is_kept_between_fillings_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* choose.c - see choose.h. Integers only: the same on every machine. */
#include "proto/choose.h"

#include <assert.h>

#define NEAREST 8

/* Until something was measured. A gigabit, and what each tier's round trip usually is. */
#define BANDWIDTH_UNKNOWN_BPS 100000000ull
#define BANDWIDTH_MIN_BPS     1000ull
static const u64 RTT_UNKNOWN_NS[CHOOSE_TIER_COUNT] = {
    [CHOOSE_RACK] = 200000,
    [CHOOSE_SUBNET] = 500000,
    [CHOOSE_REGION] = 5000000,
    [CHOOSE_FAR] = 50000000,
};

#define BYTES_UNKNOWN (1ull << 20)     /* wanted, when nobody knows */
#define BYTES_MAX     (1ull << 50)     /* more than anybody has: sums stay in range */
#define NS_MAX        3600000000000ull /* an hour: as long as it matters */
#define PEAK_DECAY_NS 10000000000ull   /* linkerd's default */
#define TELLING_BYTES (64ull * 1024)   /* a shorter transfer tells of waiting, not of bandwidth */

/* What stands first. */
enum standing { HEALTHY, SUSPECTED, BUSY, BARRED };

const char *choose_tier_name(enum choose_tier t)
{
    static const char *const names[CHOOSE_TIER_COUNT] = {
        [CHOOSE_RACK] = "rack",
        [CHOOSE_SUBNET] = "subnet",
        [CHOOSE_REGION] = "region",
        [CHOOSE_FAR] = "far",
    };
    assert(t < CHOOSE_TIER_COUNT);
    return names[t];
}

static u64 least(u64 a, u64 b)
{
    return a < b ? a : b;
}

static u64 most(u64 a, u64 b)
{
    return a > b ? a : b;
}

/* bytes / bps in ns, at most an hour. */
static u64 transfer_ns(u64 bytes, u64 bps)
{
    bps = most(bps, BANDWIDTH_MIN_BPS);
    bytes = least(bytes, BYTES_MAX);
    u64 seconds = bytes / bps;
    if (seconds >= NS_MAX / 1000000000)
        return NS_MAX;
    /* The rest is below bps: in microseconds first, where the product could be too large. */
    u64 rest = bytes % bps;
    u64 ns = rest < (1ull << 34) ? rest * 1000000000 / bps : rest / (bps / 1000000) * 1000;
    return seconds * 1000000000 + ns;
}

static u64 rtt_of(const struct choose_candidate *c)
{
    return least(c->rtt_ns ? c->rtt_ns : RTT_UNKNOWN_NS[c->tier], NS_MAX);
}

u64 choose_expected_ns(const struct choose_candidate *c, u64 bytes)
{
    u64 bps = c->bandwidth_bps ? c->bandwidth_bps : BANDWIDTH_UNKNOWN_BPS;
    u64 wanted = bytes ? least(bytes, BYTES_MAX) : BYTES_UNKNOWN;
    u64 ns = rtt_of(c) + transfer_ns(wanted + least(c->inflight_bytes, BYTES_MAX), bps);
    return ns + ns / 64 * c->load; /* up to five times as long */
}

/* --- the order ------------------------------------------------------------------------------- */

static enum standing standing_of(const struct choose_candidate *c)
{
    return c->barred ? BARRED : c->busy ? BUSY : c->suspect ? SUSPECTED : HEALTHY;
}

struct ordering {
    const struct choose_candidate *c;
    u64 salt;
};

/* Among equals the order is drawn anew each time: else a whole region would know the same eight. */
static u64 lot(const struct ordering *o, size_t i)
{
    u64 h = (node_key_word(&o->c[i].key) ^ o->salt) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

/* Total, so that the sort below need not be stable. */
static bool before(const struct ordering *o, size_t i, size_t j)
{
    const struct choose_candidate *a = &o->c[i], *b = &o->c[j];
    enum standing sa = standing_of(a), sb = standing_of(b);
    if (sa != sb)
        return sa < sb;
    if (a->tier != b->tier)
        return a->tier < b->tier;
    if (rtt_of(a) != rtt_of(b))
        return rtt_of(a) < rtt_of(b);
    u64 la = lot(o, i), lb = lot(o, j);
    if (la != lb)
        return la < lb;
    int order = node_key_compare(&a->key, &b->key);
    return order != 0 ? order < 0 : i < j;
}

static void swap(struct choose_verdict *a, struct choose_verdict *b)
{
    struct choose_verdict t = *a;
    *a = *b;
    *b = t;
}

/* Heapsort: in the room that there is, and never slow, whatever peers claim. */
static void sift(const struct ordering *o, struct choose_verdict *v, size_t at, size_t n)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n)
            return;
        if (child + 1 < n && before(o, v[child].index, v[child + 1].index))
            child++;
        if (!before(o, v[at].index, v[child].index))
            return;
        swap(&v[at], &v[child]);
        at = child;
    }
}

static void sort(const struct ordering *o, struct choose_verdict *v, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(o, v, i, n);
    for (size_t end = n; end > 1; end--) {
        swap(&v[0], &v[end - 1]);
        sift(o, v, 0, end - 1);
    }
}

static const char *reason_of(const struct choose_candidate *c, bool alone)
{
    switch (standing_of(c)) {
    case HEALTHY: break;
    case SUSPECTED: return "suspected";
    case BUSY: return "busy";
    case BARRED: return "barred";
    }
    return alone ? "alone in its tier" : "sooner of two";
}

/* The next to ask stands at `at` afterwards; the others keep their order. `end` is where its tier
 * ends. */
static void pick(struct choose_verdict *v, size_t at, size_t end, struct rng *r)
{
    size_t pool = end - at < NEAREST ? end - at : NEAREST;
    if (pool < 2)
        return;
    size_t a = at + rng_below(r, pool), b = at + rng_below(r, pool - 1);
    b += b >= a;
    size_t winner = v[b].expected_ns < v[a].expected_ns ? b : a;
    struct choose_verdict chosen = v[winner];
    for (size_t i = winner; i > at; i--)
        v[i] = v[i - 1];
    v[at] = chosen;
}

static bool same_group(const struct choose_candidate *a, const struct choose_candidate *b)
{
    return standing_of(a) == standing_of(b) && a->tier == b->tier;
}

size_t choose_order(const struct choose_candidate *c, size_t n, u64 bytes, struct rng *r,
                    struct choose_verdict *out)
{
    const struct ordering o = {c, rng_u64(r)};
    for (size_t i = 0; i < n; i++) {
        assert(c[i].tier < CHOOSE_TIER_COUNT);
        out[i] =
            (struct choose_verdict){.index = i, .expected_ns = choose_expected_ns(&c[i], bytes)};
    }
    sort(&o, out, n);
    size_t end = 0, usable = 0;
    for (size_t at = 0; at < n; at++) {
        bool first = at == end; /* of its tier */
        while (end < n && same_group(&c[out[at].index], &c[out[end].index]))
            end++;
        pick(out, at, end, r);
        const struct choose_candidate *chosen = &c[out[at].index];
        out[at].reason = reason_of(chosen, first && end == at + 1);
        usable += standing_of(chosen) != BARRED;
    }
    return usable;
}

/* --- what fetches taught --------------------------------------------------------------------- */

void choose_started(struct choose_history *h, u64 expected)
{
    h->inflight_bytes = least(h->inflight_bytes + least(expected, BYTES_MAX), BYTES_MAX);
}

void choose_left(struct choose_history *h, u64 expected)
{
    h->inflight_bytes -= least(expected, h->inflight_bytes);
}

/* The peak as it has faded by now: halved for each half of PEAK_DECAY_NS (times ln 2, roughly). */
static u64 peak_now(const struct choose_history *h, u64 now_ns)
{
    u64 age = now_ns > h->updated_ns ? now_ns - h->updated_ns : 0;
    const u64 half = PEAK_DECAY_NS * 7 / 10;
    if (age / half >= 40)
        return 0;
    u64 peak = h->peak_ns >> (age / half);
    return peak -
           peak / 2 * (age % half / 1000000) / (half / 1000000); /* straight between halves */
}

void choose_ended(struct choose_history *h, u64 bytes, u64 expected, u64 took_ns, u64 now_ns)
{
    choose_left(h, expected);
    took_ns = most(least(took_ns, NS_MAX), 1);
    bytes = least(bytes, BYTES_MAX);
    u64 moving = h->bandwidth_bps ? transfer_ns(bytes, h->bandwidth_bps) : 0;
    u64 lost = 0;
    if (bytes < TELLING_BYTES || moving > 0)
        lost = took_ns > moving ? took_ns - moving : 0;
    u64 faded = peak_now(h, now_ns);
    if (lost >= faded) {
        h->peak_ns = lost; /* at once */
    } else {
        h->peak_ns = faded - (faded - lost) / 8;
    }
    h->updated_ns = now_ns;
    if (bytes < TELLING_BYTES)
        return;
    u64 us = took_ns / 1000 + 1;
    u64 bps = least(bytes / us, 1000000) * 1000000 + bytes % us * 1000000 / us;
    bps = most(bps, BANDWIDTH_MIN_BPS);
    h->bandwidth_bps = h->bandwidth_bps ? h->bandwidth_bps / 10 * 7 + bps / 10 * 3 : bps;
    h->bandwidth_bps = most(h->bandwidth_bps, BANDWIDTH_MIN_BPS);
}

void choose_busy(struct choose_history *h, u64 retry_after_ns, u64 now_ns)
{
    h->busy_until_ns = most(h->busy_until_ns, now_ns + least(retry_after_ns, NS_MAX));
}

void choose_recall(struct choose_candidate *c, const struct choose_history *h, u64 now_ns)
{
    c->bandwidth_bps = h->bandwidth_bps;
    c->inflight_bytes = h->inflight_bytes;
    c->busy = h->busy_until_ns > now_ns;
    u64 peak = peak_now(h, now_ns);
    if (peak > rtt_of(c))
        c->rtt_ns = peak;
}

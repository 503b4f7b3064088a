/* pick.c - see pick.h. */
#include "proto/pick.h"

#include <assert.h>
#include <string.h>

#define SUBNET_BITS_V4 24
#define SUBNET_BITS_V6 64
/* What nobody has measured: near enough to be tried, now and then, against what is known. */
#define UNKNOWN_NS 20000000ull
/* A layer that a node must fetch first takes as long again, over a line of this speed. */
#define MISS_BPS (50ull * 1000 * 1000)
#define MISS_NS  20000000ull
/* What is not more than that later is as soon. */
#define AS_SOON_NS 2000000ull

const char *pick_class_name(enum pick_class c)
{
    static const char *const names[] = {
        "profile: this node",
        "profile: its region, serves this network",
        "profile: its region, nearest",
        "profile: its region",
        "serves this network",
        "nearest by measured distance",
        "any node",
    };
    static_assert(countof(names) == PICK_CLASSES, "a name each");
    return names[c];
}

bool pick_is_usable(const struct pick_candidate *c, const char **reason)
{
    *reason = c->unfit      ? "its public host is the tracker's own, or under it"
              : !c->healthy ? "not alive, or doubted"
              : c->barred   ? "barred: requests to it failed"
              : c->struck   ? "struck: it failed this user"
              : c->astray   ? "its clock is far off: it would refuse tickets"
                            : NULL;
    return *reason == NULL;
}

/* --- classes --------------------------------------------------------------------------------- */

static u64 nearest_ns(const struct pick_candidate *c, size_t n)
{
    u64 least = UINT64_MAX;
    const char *reason;
    for (size_t i = 0; i < n; i++)
        if (c[i].rtt_ns && c[i].rtt_ns < least && pick_is_usable(&c[i], &reason))
            least = c[i].rtt_ns;
    return least;
}

/* Does it say that it serves this address, or stand in its subnet? */
static bool is_of_network(const struct pick_candidate *c, const struct addr *a)
{
    bool v4 = addr_is_v4(a);
    if (!addr_is_set(a))
        return false;
    for (size_t i = 0; i < c->n_serves; i++)
        if (member_network_has(&c->serves[i], a))
            return true;
    return addr_is_v4(&c->addr) == v4 &&
           addr_common_bits(a, &c->addr) >= (v4 ? SUBNET_BITS_V4 : SUBNET_BITS_V6);
}

enum pick_class pick_class_of(const struct pick_candidate *c, const struct pick_user *u,
                              u64 nearest)
{
    if (u->profile && strcmp(u->profile, c->name) == 0)
        return PICK_NAMED;
    bool said = u->profile && strcmp(u->profile, c->region) == 0;
    if (is_of_network(c, &u->addr))
        return said ? PICK_REGION_SUBNET : PICK_SUBNET;
    if (c->rtt_ns && c->rtt_ns <= (nearest < PICK_NEAR_NS ? PICK_NEAR_NS : 2 * nearest))
        return said ? PICK_REGION_NEAR : PICK_NEAR;
    return said ? PICK_REGION : PICK_ANY;
}

/* --- the order ------------------------------------------------------------------------------- */

u64 pick_expected_ns(const struct pick_candidate *c, u64 bytes)
{
    struct choose_candidate k = {.key = c->key,
                                 .tier = CHOOSE_REGION,
                                 .rtt_ns = c->rtt_ns ? c->rtt_ns : UNKNOWN_NS,
                                 .inflight_bytes = c->inflight_bytes,
                                 .load = c->load};
    u64 miss = c->holds ? 0 : MISS_NS + bytes * 1000 / (MISS_BPS / 1000000);
    miss -= c->fetching_ns < miss ? c->fetching_ns : miss;
    return choose_expected_ns(&k, bytes) + miss;
}

static const char *reason_of(const struct pick_candidate *c, bool turn)
{
    if (c->holds)
        return turn ? "holds it: soonest, or as soon" : "holds it";
    if (c->fetching_ns)
        return turn ? "is fetching it: soonest, or as soon" : "is fetching it";
    return turn ? "soonest, or as soon" : "later";
}

struct ordering {
    const struct pick_candidate *c;
    u64 salt;
};

/* Among equals the order is drawn anew each time. */
static u64 lot(const struct ordering *o, size_t i)
{
    u64 h = (node_key_word(&o->c[i].key) ^ o->salt) * 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

/* Total, so that the sort below need not be stable. */
static bool before(const struct ordering *o, const struct pick_line *x, const struct pick_line *y)
{
    if (x->usable != y->usable)
        return x->usable;
    if (x->class != y->class)
        return x->class < y->class;
    if (x->expected_ns != y->expected_ns)
        return x->expected_ns < y->expected_ns;
    u64 a = lot(o, x->index), b = lot(o, y->index);
    return a != b ? a < b : x->index < y->index;
}

static void swap(struct pick_line *a, struct pick_line *b)
{
    struct pick_line t = *a;
    *a = *b;
    *b = t;
}

static void sift(const struct ordering *o, struct pick_line *v, size_t at, size_t n)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n)
            return;
        if (child + 1 < n && before(o, &v[child], &v[child + 1]))
            child++;
        if (!before(o, &v[at], &v[child]))
            return;
        swap(&v[at], &v[child]);
        at = child;
    }
}

/* Heapsort: in the room that there is, and never slow, whatever nodes claim. */
static void sort(const struct ordering *o, struct pick_line *v, size_t n)
{
    for (size_t i = n / 2; i-- > 0;)
        sift(o, v, i, n);
    for (size_t end = n; end > 1; end--) {
        swap(&v[0], &v[end - 1]);
        sift(o, v, 0, end - 1);
    }
}

/* How many are as soon as the first. */
static size_t as_soon(const struct pick_line *v, size_t usable)
{
    size_t n = 0;
    while (n < usable && v[n].class == v[0].class &&
           v[n].expected_ns <= v[0].expected_ns + v[0].expected_ns / 8 + AS_SOON_NS)
        n++;
    return n;
}

size_t pick_order(const struct pick_candidate *c, size_t n, const struct pick_user *u, u64 bytes,
                  struct rng *r, struct pick_line *out)
{
    const struct ordering o = {c, rng_u64(r)};
    u64 nearest = nearest_ns(c, n);
    size_t usable = 0;
    assert(n <= PICK_MAX);
    for (size_t i = 0; i < n; i++) {
        bool good = pick_is_usable(&c[i], &out[i].reason);
        out[i].index = i;
        out[i].class = pick_class_of(&c[i], u, nearest);
        out[i].expected_ns = good ? pick_expected_ns(&c[i], bytes) : 0;
        out[i].usable = good;
        usable += good;
    }
    sort(&o, out, n);
    size_t turns = as_soon(out, usable);
    if (turns > 1) { /* one of them, by lot */
        size_t at = rng_below(r, turns);
        struct pick_line chosen = out[at];
        memmove(out + 1, out, at * sizeof(*out));
        out[0] = chosen;
    }
    for (size_t i = 0; i < usable; i++)
        out[i].reason = reason_of(&c[out[i].index], i < turns);
    return usable;
}

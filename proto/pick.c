/* pick.c - see pick.h. */
#include "proto/pick.h"

#include <assert.h>
#include <string.h>

#define SUBNET_BITS_V4 24
#define SUBNET_BITS_V6 64
/* What nobody has measured: near enough to be tried, now and then, against what is known. */
#define UNKNOWN_NS 20000000ull
/* "Near" reaches to twice the nearest, and at least so far. */
#define NEAR_NS 5000000ull
/* A layer that a node must fetch first takes as long again, over a line of this speed. */
#define MISS_BPS (50ull * 1000 * 1000)
#define MISS_NS  20000000ull

const char *pick_class_name(enum pick_class c)
{
    static const char *const names[] = {"profile: this node", "profile: its region", "same subnet",
                                        "nearest by measured distance", "any node"};
    static_assert(countof(names) == PICK_CLASSES, "a name each");
    return names[c];
}

static bool is_usable(const struct pick_candidate *c, const char **reason)
{
    *reason = c->unfit      ? "its public host is the tracker's own, or under it"
              : !c->healthy ? "not alive, or doubted"
              : c->barred   ? "barred: requests to it failed"
              : c->struck   ? "struck: it failed this user"
                            : NULL;
    return *reason == NULL;
}

static u64 nearest_ns(const struct pick_candidate *c, size_t n)
{
    u64 least = UINT64_MAX;
    const char *reason;
    for (size_t i = 0; i < n; i++)
        if (is_usable(&c[i], &reason) && c[i].rtt_ns && c[i].rtt_ns < least)
            least = c[i].rtt_ns;
    return least;
}

static enum pick_class class_of(const struct pick_candidate *c, const struct pick_user *u,
                                u64 nearest)
{
    if (u->profile && strcmp(u->profile, c->name) == 0)
        return PICK_NAMED;
    if (u->profile && strcmp(u->profile, c->region) == 0)
        return PICK_REGION;
    if (addr_is_set(&u->addr) && addr_is_v4(&u->addr) == addr_is_v4(&c->addr) &&
        addr_common_bits(&u->addr, &c->addr) >=
            (addr_is_v4(&c->addr) ? SUBNET_BITS_V4 : SUBNET_BITS_V6))
        return PICK_SUBNET;
    if (c->rtt_ns && c->rtt_ns <= (nearest < NEAR_NS ? NEAR_NS : 2 * nearest))
        return PICK_NEAR;
    return PICK_ANY;
}

static struct choose_candidate candidate_of(const struct pick_candidate *c, u64 bytes)
{
    u64 rtt = c->rtt_ns ? c->rtt_ns : UNKNOWN_NS;
    if (!c->holds)
        rtt += MISS_NS + bytes * 1000 / (MISS_BPS / 1000000);
    return (struct choose_candidate){.key = c->key, .rtt_ns = rtt, .load = c->load};
}

/* Those of one class, ordered, behind what `out` has already. */
static size_t order_class(const struct pick_candidate *c, const size_t *of, size_t n,
                          enum pick_class class, u64 bytes, struct rng *r, struct pick_line *out)
{
    static struct choose_candidate candidates[PICK_MAX]; /* one thread: too large for a stack */
    static struct choose_verdict verdicts[PICK_MAX];
    for (size_t i = 0; i < n; i++)
        candidates[i] = candidate_of(&c[of[i]], bytes);
    choose_order(candidates, n, bytes, r, verdicts);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct pick_line){.index = of[verdicts[i].index],
                                    .class = class,
                                    .expected_ns = verdicts[i].expected_ns,
                                    .reason = verdicts[i].reason,
                                    .usable = true};
    return n;
}

size_t pick_order(const struct pick_candidate *c, size_t n, const struct pick_user *u, u64 bytes,
                  struct rng *r, struct pick_line *out)
{
    size_t of[PICK_MAX], done = 0;
    const char *reason;
    u64 nearest = nearest_ns(c, n);
    assert(n <= PICK_MAX);
    for (enum pick_class class = 0; class < PICK_CLASSES; class ++) {
        size_t m = 0;
        for (size_t i = 0; i < n; i++)
            if (is_usable(&c[i], &reason) && class_of(&c[i], u, nearest) == class)
                of[m++] = i;
        if (m)
            done += order_class(c, of, m, class, bytes, r, out + done);
    }
    size_t usable = done;
    for (size_t i = 0; i < n; i++)
        if (!is_usable(&c[i], &reason))
            out[done++] = (struct pick_line){
                .index = i, .class = class_of(&c[i], u, nearest), .reason = reason};
    return usable;
}

size_t pick_stay(const struct pick_candidate *c, const struct pick_line *lines, size_t usable,
                 const struct node_key *with)
{
    assert(usable > 0);
    for (size_t i = 0; with && i < usable && lines[i].class == lines[0].class; i++)
        if (node_key_equal(&c[lines[i].index].key, with))
            return i;
    return 0;
}

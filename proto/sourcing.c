/* sourcing.c - see sourcing.h. */
#include "proto/sourcing.h"

#include <assert.h>
#include <string.h>

#include "proto/pieces.h"

#define NONE          SIZE_MAX
#define SLOW_FACTOR   4
#define RETRY_MIN_NS  (250 * SOURCING_MS)
#define RETRY_MAX_NS  (2000 * SOURCING_MS)
#define CHANCES       2 /* of a peer that broke off after it had sent something */
#define NS_PER_SECOND 1e9

const char *sourcing_outcome_name(enum sourcing_outcome o)
{
    static const char *const names[] = {"worked", "failed", "lied", "missing",
                                        "busy",   "denied", "left"};
    assert((size_t)o < countof(names));
    return names[o];
}

void sourcing_init(struct sourcing *s, const struct sourcing_options *opt)
{
    memset(s, 0, sizeof(*s));
    s->rng = opt->rng;
    s->size = opt->size;
    s->piece = piece_size(opt->size);
    s->registry = opt->registry;
}

/* --- who is known ---------------------------------------------------------------------------- */

static size_t find(const struct sourcing *s, const struct node_key *k)
{
    for (size_t i = 0; i < s->n_peers; i++)
        if (node_key_equal(&s->peers[i].is.key, k))
            return i;
    return NONE;
}

void sourcing_sources(struct sourcing *s, const struct sourcing_peer *peers, size_t n, u64 now_ns)
{
    s->looked = true;
    s->looked_ns = now_ns;
    for (size_t i = 0; i < s->n_peers; i++)
        s->peers[i].rank = SOURCING_KNOWN;
    for (size_t i = 0; i < n && i < SOURCING_PEERS; i++) {
        size_t at = find(s, &peers[i].key);
        if (at == NONE) {
            if (s->n_peers == SOURCING_KNOWN)
                continue;
            at = s->n_peers++;
            s->peers[at] = (struct sourcing_known){.state = SOURCING_FRESH};
        }
        s->peers[at].is = peers[i];
        s->peers[at].rank = i;
    }
}

/* The best one in this state: fewest failures, then the order of the list. */
static size_t best(const struct sourcing *s, enum sourcing_state state, u64 now_ns)
{
    size_t found = NONE;
    for (size_t i = 0; i < s->n_peers; i++) {
        const struct sourcing_known *p = &s->peers[i];
        if (p->state != state || p->rank == SOURCING_KNOWN)
            continue;
        if (state == SOURCING_FULL && p->until_ns > now_ns)
            continue;
        if (found == NONE || p->failures < s->peers[found].failures ||
            (p->failures == s->peers[found].failures && p->rank < s->peers[found].rank))
            found = i;
    }
    return found;
}

static size_t best_untried(const struct sourcing *s, u64 now_ns)
{
    size_t i = best(s, SOURCING_FRESH, now_ns);
    return i != NONE ? i : best(s, SOURCING_FULL, now_ns);
}

/* --- what was asked -------------------------------------------------------------------------- */

bool sourcing_is_asking(const struct sourcing *s)
{
    return s->slots[0].used || s->slots[1].used;
}

static bool ask(struct sourcing *s, size_t peer, u64 now_ns, const char *reason,
                struct sourcing_step *out)
{
    unsigned slot = s->slots[0].used ? 1 : 0;
    assert(!s->slots[slot].used);
    s->slots[slot] =
        (struct sourcing_slot){.used = true, .peer = peer, .started_ns = now_ns, .last_ns = now_ns};
    s->peers[peer].state = SOURCING_ASKED;
    s->waiting_ns = 0;
    *out = (struct sourcing_step){
        .what = SOURCING_ASK, .slot = slot, .peer = s->peers[peer].is, .reason = reason};
    return true;
}

static bool leave(struct sourcing *s, unsigned slot, enum sourcing_state state,
                  enum sourcing_outcome outcome, const char *reason, struct sourcing_step *out)
{
    struct sourcing_slot *l = &s->slots[slot];
    l->used = false;
    s->peers[l->peer].state = state;
    *out = (struct sourcing_step){.what = SOURCING_LEAVE,
                                  .slot = slot,
                                  .peer = s->peers[l->peer].is,
                                  .outcome = outcome,
                                  .reason = reason};
    return true;
}

/* What a piece may take of whom we expect so much, or have seen as much from. */
static u64 piece_budget_ns(const struct sourcing *s, const struct sourcing_known *p)
{
    double rate = (double)p->rate_bps;
    if (p->is.expected_ns > 0) {
        double expected = (double)s->size * NS_PER_SECOND / (double)p->is.expected_ns;
        if (expected > rate)
            rate = expected;
    }
    if (rate < 1)
        return SOURCING_PIECE_MAX_NS;
    double ns = SLOW_FACTOR * (double)s->piece * NS_PER_SECOND / rate;
    if (ns > (double)SOURCING_PIECE_MAX_NS)
        return SOURCING_PIECE_MAX_NS;
    return ns < (double)SOURCING_PIECE_MIN_NS ? SOURCING_PIECE_MIN_NS : (u64)ns;
}

/* The piece at hand is late. */
static bool leave_slow(struct sourcing *s, unsigned slot, u64 now_ns, struct sourcing_step *out)
{
    struct sourcing_slot *l = &s->slots[slot];
    if (best_untried(s, now_ns) != NONE)
        return leave(s, slot, SOURCING_SLOW, SOURCING_LEFT, "slower than was expected of it", out);
    double rate = (double)l->piece_bytes * NS_PER_SECOND / (double)(now_ns - l->piece_ns);
    if (rate < SOURCING_FLOOR_BPS && s->registry)
        return leave(s, slot, SOURCING_OUT, SOURCING_FAILED, "too slow for anybody", out);
    l->piece_ns = now_ns; /* nobody better: judged anew by the next stretch */
    l->piece_bytes = 0;
    return false;
}

static bool leave_late(struct sourcing *s, u64 now_ns, struct sourcing_step *out)
{
    for (unsigned i = 0; i < SOURCING_SLOTS; i++) {
        struct sourcing_slot *l = &s->slots[i], *other = &s->slots[1 - i];
        if (l->used && l->bytes == 0 && other->used && other->bytes > 0)
            return leave(s, i, SOURCING_FRESH, SOURCING_LEFT, "another was first", out);
        if (!l->used || l->paused)
            continue;
        if (l->bytes == 0 && now_ns - l->started_ns >= SOURCING_FIRST_BYTE_NS)
            return leave(s, i, SOURCING_OUT, SOURCING_FAILED, "no first byte in time", out);
        if (l->bytes > 0 && now_ns - l->last_ns >= SOURCING_STALL_NS)
            return leave(s, i, SOURCING_OUT, SOURCING_FAILED, "it stalled", out);
        if (l->bytes > 0 && now_ns - l->piece_ns >= piece_budget_ns(s, &s->peers[l->peer]) &&
            leave_slow(s, i, now_ns, out))
            return true;
    }
    return false;
}

/* One is asked, and says nothing yet: a second one beside it. */
static bool hedge(struct sourcing *s, u64 now_ns, struct sourcing_step *out)
{
    const struct sourcing_slot *l = s->slots[0].used ? &s->slots[0] : &s->slots[1];
    if ((s->slots[0].used && s->slots[1].used) || l->bytes > 0 || l->paused ||
        now_ns - l->started_ns < SOURCING_HEDGE_NS)
        return false;
    size_t i = best_untried(s, now_ns);
    return i != NONE && ask(s, i, now_ns, "the first one is slow to begin", out);
}

/* --- what to do ------------------------------------------------------------------------------ */

static bool somebody_is_full(const struct sourcing *s)
{
    for (size_t i = 0; i < s->n_peers; i++)
        if (s->peers[i].state == SOURCING_FULL && s->peers[i].rank != SOURCING_KNOWN)
            return true;
    return false;
}

static bool list_is_old(const struct sourcing *s, u64 now_ns)
{
    return !s->looked || now_ns - s->looked_ns >= SOURCING_LOOK_NS;
}

/* Nobody may be asked right now. True: wait (or look) for who is busy. */
static bool wait_for_full(struct sourcing *s, u64 now_ns, struct sourcing_step *out)
{
    if (s->waited || !somebody_is_full(s))
        return false;
    if (s->waiting_ns == 0)
        s->waiting_ns = now_ns;
    if (now_ns - s->waiting_ns >= SOURCING_BUSY_NS) {
        s->waited = true;
        return false;
    }
    if (list_is_old(s, now_ns))
        out->what = SOURCING_LOOK;
    return true;
}

void sourcing_next(struct sourcing *s, u64 now_ns, struct sourcing_step *out)
{
    *out = (struct sourcing_step){.what = SOURCING_REST, .reason = ""};
    if (leave_late(s, now_ns, out) || s->at_registry)
        return;
    if (sourcing_is_asking(s)) {
        (void)hedge(s, now_ns, out);
        return;
    }
    if (!s->looked) {
        out->what = SOURCING_LOOK;
        return;
    }
    u64 waiting_ns = s->waiting_ns;
    size_t i = best(s, SOURCING_FRESH, now_ns);
    if (i != NONE && ask(s, i, now_ns, "first in the order of choice", out))
        return;
    i = s->waited ? NONE : best(s, SOURCING_FULL, now_ns);
    if (i != NONE && ask(s, i, now_ns, "it was busy a moment ago", out)) {
        s->waiting_ns = waiting_ns; /* being busy again does not start the wait anew */
        return;
    }
    i = best(s, SOURCING_SLOW, now_ns);
    if (i != NONE && ask(s, i, now_ns, "slow, but nobody else is left", out))
        return;
    if (wait_for_full(s, now_ns, out))
        return;
    if (list_is_old(s, now_ns)) {
        out->what = SOURCING_LOOK;
        return;
    }
    s->at_registry = true;
    out->what = s->registry ? SOURCING_REGISTRY : SOURCING_GIVE_UP;
    out->reason = s->waited    ? "peers were busy for too long"
                  : s->n_peers ? "no peer is left to ask"
                               : "no peer holds it";
}

static u64 slot_deadline(const struct sourcing *s, const struct sourcing_slot *l)
{
    if (l->bytes > 0) {
        u64 stall = l->last_ns + SOURCING_STALL_NS;
        u64 piece = l->piece_ns + piece_budget_ns(s, &s->peers[l->peer]);
        return stall < piece ? stall : piece;
    }
    bool alone = !(s->slots[0].used && s->slots[1].used);
    bool hedged = !alone || best_untried(s, l->started_ns + SOURCING_HEDGE_NS) == NONE;
    return l->started_ns + (hedged ? SOURCING_FIRST_BYTE_NS : SOURCING_HEDGE_NS);
}

u64 sourcing_deadline(const struct sourcing *s)
{
    u64 at = UINT64_MAX;
    for (unsigned i = 0; i < SOURCING_SLOTS; i++) {
        const struct sourcing_slot *l = &s->slots[i];
        if (l->used && !l->paused && slot_deadline(s, l) < at)
            at = slot_deadline(s, l);
    }
    if (sourcing_is_asking(s) || s->at_registry || s->waiting_ns == 0)
        return at;
    u64 look = s->looked_ns + SOURCING_LOOK_NS, bound = s->waiting_ns + SOURCING_BUSY_NS;
    at = look < bound ? look : bound;
    for (size_t i = 0; i < s->n_peers; i++) {
        const struct sourcing_known *p = &s->peers[i];
        if (p->state == SOURCING_FULL && p->rank != SOURCING_KNOWN && p->until_ns < at)
            at = p->until_ns;
    }
    return at;
}

/* --- what happened --------------------------------------------------------------------------- */

void sourcing_bytes(struct sourcing *s, unsigned slot, u64 n, u64 now_ns)
{
    struct sourcing_slot *l = &s->slots[slot];
    assert(slot < SOURCING_SLOTS && l->used);
    if (l->bytes == 0)
        l->piece_ns = now_ns;
    l->last_ns = now_ns;
    l->bytes += n;
    l->piece_bytes += n;
    s->waiting_ns = 0;
    if (l->piece_bytes < s->piece)
        return;
    if (now_ns > l->piece_ns)
        s->peers[l->peer].rate_bps =
            (u64)((double)l->piece_bytes * NS_PER_SECOND / (double)(now_ns - l->piece_ns));
    l->piece_bytes = 0;
    l->piece_ns = now_ns;
}

void sourcing_pause(struct sourcing *s, unsigned slot, bool paused, u64 now_ns)
{
    struct sourcing_slot *l = &s->slots[slot];
    assert(slot < SOURCING_SLOTS && l->used);
    if (paused == l->paused)
        return;
    l->paused = paused;
    if (paused) {
        l->paused_ns = now_ns;
        return;
    }
    u64 stood = now_ns - l->paused_ns;
    l->started_ns += stood;
    l->last_ns += stood;
    l->piece_ns += stood;
}

static u64 retry_after(struct sourcing *s, u64 said_ns)
{
    u64 wait = said_ns < RETRY_MIN_NS   ? RETRY_MIN_NS
               : said_ns > RETRY_MAX_NS ? RETRY_MAX_NS
                                        : said_ns;
    return wait / 2 + rng_below(&s->rng, wait); /* many are sent away at once: not back at once */
}

void sourcing_ended(struct sourcing *s, unsigned slot, enum sourcing_outcome outcome, u64 retry_ns,
                    u64 now_ns)
{
    struct sourcing_slot *l = &s->slots[slot];
    assert(slot < SOURCING_SLOTS && l->used);
    struct sourcing_known *p = &s->peers[l->peer];
    l->used = false;
    switch (outcome) {
    case SOURCING_WORKED:
    case SOURCING_LEFT: p->state = SOURCING_FRESH; return;
    case SOURCING_FAILED:
        p->failures++;
        p->state = l->bytes > 0 && p->failures < CHANCES ? SOURCING_FRESH : SOURCING_OUT;
        return;
    case SOURCING_BUSY:
        p->state = SOURCING_FULL;
        p->until_ns = now_ns + retry_after(s, retry_ns);
        return;
    case SOURCING_LIED:
        p->lied = true;
        p->state = SOURCING_OUT;
        return;
    case SOURCING_DENIED:
    case SOURCING_MISSING: p->state = SOURCING_OUT; return;
    }
}

void sourcing_registry_ended(struct sourcing *s, u64 now_ns)
{
    (void)now_ns;
    s->at_registry = false;
    s->looked = false;
    s->waited = false;
    s->waiting_ns = 0;
    for (size_t i = 0; i < s->n_peers; i++)
        if (!s->peers[i].lied && s->peers[i].state != SOURCING_ASKED)
            s->peers[i].state = SOURCING_FRESH;
}

/* swarm_rank.c - which three members a layer's home is chosen from.
 *
 * Rendezvous hashing (Thaler, Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
 * IEEE/ACM ToN 1998) over the living that can fetch, or all where nobody can: everybody comes to
 * the same three, but for the moments in which views of who lives differ.
 *
 * Where none of these three answers, an office may be cut off from the others: for a while its
 * nodes choose among those that are near, so that one of them fetches for all. */
#include <string.h>

#include "proto/rendezvous.h"
#include "proto/swarm_impl.h"

#define NEAR_NS (10000 * SWARM_MS) /* by then who is gone is known to be, or the line is back */

static void rank_one(struct swarm_layer *l, u64 scores[SWARM_RANKS], const struct node_key *k)
{
    u64 score = rendezvous_score(k, &l->digest);
    u32 at = l->n_ranks;
    while (at > 0 && (score > scores[at - 1] ||
                      (score == scores[at - 1] && node_key_compare(k, &l->ranks[at - 1]) < 0)))
        at--;
    if (at == SWARM_RANKS)
        return;
    if (l->n_ranks < SWARM_RANKS)
        l->n_ranks++;
    for (u32 i = l->n_ranks - 1; i > at; i--) {
        scores[i] = scores[i - 1];
        l->ranks[i] = l->ranks[i - 1];
    }
    scores[at] = score;
    l->ranks[at] = *k;
}

static bool is_unanswering(const struct swarm_layer *l, const struct node_key *k)
{
    for (u32 i = 0; i < SWARM_RANKS; i++)
        if (node_key_equal(&l->unanswering[i], k))
            return true;
    return false;
}

static void rank_all(const struct swarm *s, struct swarm_layer *l, bool can_fetch, bool near)
{
    u64 scores[SWARM_RANKS] = {0};
    const struct member_record *self = member_self(s->member);
    struct member_view v;
    l->n_ranks = 0;
    if (self->role == MEMBER_NODE && (self->can_fetch || !can_fetch))
        rank_one(l, scores, &s->self);
    for (size_t at = 0; member_each(s->member, &at, &v);)
        if (v.record->role == MEMBER_NODE && (v.record->can_fetch || !can_fetch) &&
            (v.state == MEMBER_ALIVE || v.state == MEMBER_SUSPECT) &&
            !swarm_is_forger(l, &v.record->key) &&
            (!near || (!is_unanswering(l, &v.record->key) && swarm_is_near(s, &v.record->key))))
            rank_one(l, scores, &v.record->key);
}

void swarm_rank(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (l->ranks_ns && now_ns - l->ranks_ns < SWARM_RANKS_NS)
        return;
    struct node_key home = l->ranks[0];
    bool had = l->n_ranks > 0;
    l->ranks_ns = now_ns;
    bool near = swarm_ranks_near(l, now_ns);
    rank_all(s, l, true, near);
    if (l->n_ranks == 0)
        rank_all(s, l, false, near);
    if (had && l->n_ranks > 0 && !node_key_equal(&home, &l->ranks[0])) {
        l->rank = 0; /* another home: it is asked at once */
        l->join_ns = now_ns;
        l->join_since_ns = now_ns;
        l->unheard_ns = 0;
    }
}

bool swarm_ranks_near(const struct swarm_layer *l, u64 now_ns)
{
    return now_ns < l->near_until_ns;
}

void swarm_rank_near(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    memset(l->unanswering, 0, sizeof(l->unanswering));
    memcpy(l->unanswering, l->ranks, l->n_ranks * sizeof(l->ranks[0]));
    l->near_until_ns = now_ns + NEAR_NS;
    l->ranks_ns = 0;
    swarm_rank(s, l, now_ns);
}

u32 swarm_rank_of(const struct swarm_layer *l, const struct node_key *k)
{
    for (u32 i = 0; i < l->n_ranks; i++)
        if (node_key_equal(&l->ranks[i], k))
            return i;
    return SWARM_RANKS;
}

/* Who just came, or seems to be gone, may be a rank for others while for us it is none yet, or none
 * any more: one that stands before the last of ours, or, of few, can fetch. */
bool swarm_may_be_rank(const struct swarm *s, const struct swarm_layer *l, const struct node_key *k)
{
    struct member_view v;
    if (swarm_rank_of(l, k) < SWARM_RANKS)
        return true;
    if (l->n_ranks == SWARM_RANKS)
        return rendezvous_before(k, &l->ranks[SWARM_RANKS - 1], &l->digest);
    return member_find(s->member, k, &v) && v.record->can_fetch;
}

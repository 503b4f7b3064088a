/* swarm_call.c - where lines answer at once, one piece at a time, and who has a line free calls.
 *
 * Two pieces given at once take twice as long each, and a new piece takes twice as long until the
 * whole region has it. One at a time, though, leaves lines idle while each end looks for the other.
 * So whoever has room for a piece and finds nobody idle tells its neighbours that it is *hungry*,
 * and whoever is free again calls one of those, and keeps the line for it for as long as it takes
 * to come. The one called is whom the rarest piece can be given to, then whoever has least: in a
 * crowd that gains more than any rule by which those who ask choose, for a line that is free has
 * the choice of several, and who asks finds one that is free, or none. Who is called again and
 * again and never comes is called once in a piece's time, so that nobody keeps a line idle.
 *
 * All of it is a matter of a few round trips, so it pays only for pieces that take many of these:
 * swarm_singly(). Times are told in *answers*: what a request takes to be answered by somebody
 * idle. */
#include "proto/swarm_impl.h"

#define ANSWER_LEAST_NS (SWARM_MS / 2)
#define SINGLY          128 /* answers that a piece must take */
#define HUNGRY          24  /* answers: so long it is believed, */
#define SAID_AGAIN      16  /* and after so many said again */
#define KEPT            3   /* answers: a line that is free, for the one called, */
#define IN_VAIN         16  /* who did not come so many times in a row, though called */

void swarm_least(u64 *least_ns, u64 took_ns)
{
    *least_ns = *least_ns == 0 || took_ns < *least_ns ? took_ns : *least_ns + *least_ns / 256;
}

u64 swarm_answer_ns(const struct swarm_layer *l)
{
    return l->wait_ns > ANSWER_LEAST_NS ? l->wait_ns : ANSWER_LEAST_NS;
}

bool swarm_singly(const struct swarm *s, const struct swarm_layer *l)
{
    u64 piece_ns = l->least_ns ? l->least_ns : l->upload_least_ns;
    return s->pace->waiting == 0 && l->n > 1 &&
           (piece_ns == 0 || piece_ns >= SINGLY * swarm_answer_ns(l));
}

u32 swarm_uploads(const struct swarm *s, const struct swarm_layer *l)
{
    return swarm_singly(s, l) ? 1 : s->pace->uploads;
}

u32 swarm_load(const struct swarm *s, const struct swarm_layer *l)
{
    return swarm_singly(s, l) ? l->uploads : s->n_serves;
}

/* --- who is hungry --------------------------------------------------------------------------- */

bool swarm_is_hungry(const struct swarm *s, const struct swarm_layer *l)
{
    return l->wanted && l->map.have < l->n && l->n_requests == 0 && swarm_singly(s, l);
}

/* Who has something for us, and who offers pieces singly and may have. */
static u64 who_can_give(const struct swarm_layer *l)
{
    u64 peers = 0;
    for (u32 w = 0; w < (l->n + 63) / 64; w++)
        for (u64 bits = l->askable.words[w]; bits; bits &= bits - 1)
            peers |= l->holders[64 * w + (u32)__builtin_ctzll(bits)];
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++)
        peers |= (u64)(l->peers[i].used && l->peers[i].super) << i;
    return peers;
}

void swarm_say_hungry(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (!swarm_is_hungry(s, l))
        return;
    const u64 again_ns = SAID_AGAIN * swarm_answer_ns(l);
    const bool knows = l->askable.have > 0; /* else each tick is soon enough */
    if (now_ns - l->hungry_ns < again_ns) {
        if (knows)
            swarm_wake(l, l->hungry_ns + again_ns);
        return;
    }
    for (u64 peers = who_can_give(l); peers; peers &= peers - 1) {
        struct swarm_peer *p = &l->peers[__builtin_ctzll(peers)];
        if (p->used && p->met && !p->far && !p->queued)
            swarm_say_news(s, l, p);
        l->hungry_ns = now_ns;
    }
    if (knows)
        swarm_wake(l, now_ns + again_ns);
}

bool swarm_seems_hungry(const struct swarm_layer *l, const struct swarm_peer *p, u64 now_ns)
{
    return p->hungry_ns > 0 && now_ns - p->hungry_ns <= HUNGRY * swarm_answer_ns(l);
}

/* --- who is called --------------------------------------------------------------------------- */

/* How many have the rarest piece that could be given to it; SWARM_NONE: it has all that we have. */
static u32 rarest_for(const struct swarm_layer *l, const struct swarm_peer *p)
{
    u32 least = SWARM_NONE;
    for (u32 i = piece_map_next(&l->map, 0, true); i < l->n;
         i = piece_map_next(&l->map, i + 1, true))
        if (l->avail[i] < least && !swarm_peer_holds(l, p, i))
            least = l->avail[i];
    return least;
}

/* In vain so often that it may not mean to come: it is called once in the time that a piece takes,
 * lest it keep our line idle. (Most calls are in vain: whoever has least is called by several.) */
static bool is_passed_over(const struct swarm_layer *l, const struct swarm_peer *p, u64 now_ns)
{
    return p->in_vain >= IN_VAIN && now_ns - p->called_ns < SINGLY * swarm_answer_ns(l);
}

static struct swarm_peer *whom_to_call(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    struct swarm_peer *best = NULL;
    u64 best_rank = UINT64_MAX;
    u32 ties = 0;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++) {
        struct swarm_peer *p = &l->peers[i];
        if (!p->used || !p->met || p->far || p->queued || !swarm_seems_hungry(l, p, now_ns) ||
            is_passed_over(l, p, now_ns))
            continue;
        u32 rarest = rarest_for(l, p);
        u64 rank = (u64)rarest << 32 | p->have;
        if (rarest == SWARM_NONE || rank > best_rank ||
            (rank == best_rank && rng_below(&s->rng, ++ties) > 0))
            continue;
        if (rank < best_rank)
            ties = 1;
        best = p;
        best_rank = rank;
    }
    return best;
}

static u64 kept_until_ns(const struct swarm_layer *l)
{
    return l->called_ns ? l->called_ns + KEPT * swarm_answer_ns(l) : 0;
}

void swarm_call(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (l->map.have == 0 || l->offers || !swarm_singly(s, l) ||
        !swarm_has_room(s, l, false, now_ns))
        return;
    if (now_ns < kept_until_ns(l)) {
        swarm_wake(l, kept_until_ns(l));
        return;
    }
    struct swarm_peer *p = whom_to_call(s, l, now_ns);
    if (!p)
        return;
    p->hungry_ns = 0;
    p->called_ns = now_ns;
    p->in_vain += p->in_vain < IN_VAIN;
    l->called = node_key_word(&p->key);
    l->called_ns = now_ns;
    swarm_say_news(s, l, p);
    swarm_wake(l, kept_until_ns(l));
}

bool swarm_is_kept(struct swarm_layer *l, const struct node_key *from, u64 now_ns)
{
    if (now_ns >= kept_until_ns(l))
        return false;
    if (node_key_word(from) != l->called)
        return true;
    l->called_ns = 0;
    return false;
}

/* peer_share.c - see peer_share.h. */
#include "node/peer_share.h"

#include <assert.h>
#include <stdlib.h>

#define FEW 16

unsigned peer_share_most(unsigned allowed)
{
    if (allowed > FEW)
        return allowed / 2;
    if (allowed > FEW / 2)
        return FEW / 2;
    return allowed > 1 ? allowed - 1 : 1;
}

static struct peer_share *find(const struct peer_shares *s, const struct node_key *k)
{
    for (size_t i = 0; i < s->n; i++)
        if (node_key_equal(&s->of[i].key, k))
            return &s->of[i];
    return NULL;
}

static struct peer_share *add(struct peer_shares *s, const struct node_key *k)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 8;
        struct peer_share *grown = realloc(s->of, cap * sizeof(*grown));
        if (!grown)
            return NULL;
        s->of = grown;
        s->cap = cap;
    }
    s->of[s->n] = (struct peer_share){.key = *k};
    return &s->of[s->n++];
}

bool peer_share_take(struct peer_shares *s, const struct node_key *k, unsigned most)
{
    struct peer_share *p = find(s, k);
    if (!p)
        p = add(s, k);
    if (!p || p->n >= most)
        return false;
    p->n++;
    return true;
}

void peer_share_leave(struct peer_shares *s, const struct node_key *k)
{
    struct peer_share *p = find(s, k);
    assert(p && p->n > 0);
    if (--p->n == 0)
        *p = s->of[--s->n];
}

void peer_shares_fini(struct peer_shares *s)
{
    free(s->of);
    *s = (struct peer_shares){0};
}

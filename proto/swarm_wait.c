/* swarm_wait.c - who is waited for, and for how long.
 *
 * Who has what we lack, and gives to others, is waited for: busy is no reason for the registry. Not
 * for ever, for whoever says so may never give anything: after SWARM_IN_LINE_NS we are stuck all
 * the same, and whoever kept us until then counts no more, of whatever layer, until it gives us a
 * piece or VAIN_NS are over. So a liar costs that time once, not with each layer. */
#include "proto/swarm_impl.h"

/* Nothing came for so long: is anybody busy? It is seen before the patience of a fetcher ends. */
#define LOOK_NS (SWARM_VOID_NS / 2)
#define VAIN_NS (300000 * SWARM_MS)

bool swarm_gains_nothing(const struct swarm_layer *l, u64 patience, u64 now_ns)
{
    u64 since_ns = l->gained_ns > l->in_line_ns ? l->gained_ns : l->in_line_ns;
    return now_ns - since_ns > patience || now_ns - l->gained_ns > SWARM_IN_LINE_NS;
}

bool swarm_is_stuck(const struct swarm_layer *l, u64 now_ns)
{
    u64 patience = 8 * l->piece_ns > SWARM_STUCK_NS ? 8 * l->piece_ns : SWARM_STUCK_NS;
    return l->wanted && swarm_gains_nothing(l, patience, now_ns);
}

bool swarm_waited(const struct swarm_layer *l, u64 now_ns)
{
    return now_ns - l->gained_ns > SWARM_WAITED_NS;
}

/* --- in vain --------------------------------------------------------------------------------- */

static struct swarm_vain *vain_find(struct swarm *s, u64 word)
{
    for (u32 i = 0; i < SWARM_VAIN; i++)
        if (s->vain[i].word == word)
            return &s->vain[i];
    return NULL;
}

static void waited_in_vain(struct swarm *s, const struct swarm_peer *p, u64 now_ns)
{
    u64 word = node_key_word(&p->key);
    struct swarm_vain *v = vain_find(s, word);
    if (!v)
        v = &s->vain[s->next_vain++ % SWARM_VAIN];
    *v = (struct swarm_vain){.word = word, .until_ns = now_ns + VAIN_NS};
}

void swarm_gave(struct swarm *s, const struct swarm_peer *p)
{
    struct swarm_vain *v = vain_find(s, node_key_word(&p->key));
    if (v)
        v->until_ns = 0;
}

/* --- in line --------------------------------------------------------------------------------- */

static bool has_what_we_lack(const struct swarm_layer *l, const struct swarm_peer *p)
{
    u32 piece = piece_map_next(&l->map, 0, false);
    while (piece < l->n && !swarm_peer_holds(l, p, piece))
        piece = piece_map_next(&l->map, piece + 1, false);
    return piece < l->n;
}

/* It gives to others, as it says, or was busy when we asked just now. */
static bool is_busy(const struct swarm *s, const struct swarm_layer *l, const struct swarm_peer *p,
                    u64 now_ns)
{
    return p->load >= swarm_uploads(s, l) ||
           (p->refusals > 0 && p->busy_ns + SWARM_ALIVE_NS > now_ns);
}

/* It has a piece for us, and gives to others. Who offers singly does not say what it has. */
static bool keeps_us(const struct swarm *s, const struct swarm_layer *l, const struct swarm_peer *p,
                     u64 now_ns)
{
    return p->used && p->met && !p->barred && p->strikes < SWARM_STRIKES &&
           is_busy(s, l, p, now_ns) && (p->super || has_what_we_lack(l, p));
}

/* Does somebody give us a piece just now, or keep us that has not done so in vain? */
static bool stands_in_line(struct swarm *s, const struct swarm_layer *l, u64 now_ns)
{
    bool stands = l->n_started > 0;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS && !stands; i++) {
        const struct swarm_peer *p = &l->peers[i];
        if (!keeps_us(s, l, p, now_ns))
            continue;
        const struct swarm_vain *v = vain_find(s, node_key_word(&p->key));
        stands = !v || now_ns >= v->until_ns;
    }
    return stands;
}

void swarm_wait_tick(struct swarm *s, struct swarm_layer *l, u64 now_ns)
{
    if (!l->wanted || now_ns - l->gained_ns <= LOOK_NS)
        return;
    if (stands_in_line(s, l, now_ns))
        l->in_line_ns = now_ns;
    if (now_ns - l->gained_ns <= SWARM_IN_LINE_NS)
        return;
    for (u32 i = 0; i < LIMIT_SWARM_NEIGHBOURS; i++)
        if (keeps_us(s, l, &l->peers[i], now_ns))
            waited_in_vain(s, &l->peers[i], now_ns);
}

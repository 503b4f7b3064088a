/* fill_chain.c - the chain that this node makes of what it reads from the registry, and that others
 * verify by: hashed in order, since each piece begins where the one before it ended; see
 * fill_swarm.h and proto/chain.h. */
#include <assert.h>
#include <string.h>

#include "node/fill_judge.h"

static void read_on(struct fill *f);

/* Our own chain does not finish to the digest. Was all of it read by ourselves? Else it went on
 * from what others claimed, or a former run left. */
static void wrong_end(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    if (p->from == PIECE_OF_DISK) {
        judge_forget(f, p->number);
        read_on(f);
        return;
    }
    chains_trusted(s->chains, p->number, p->steps[0].in, p->out);
    if (!chains_begin_anew(s->chains, judge_self(f))) {
        judge_wrong_layer(f);
        return;
    }
    judge_unread(f, p->number);
    judge_recheck(f);
}

void judge_unread(struct fill *f, u32 piece)
{
    u8 *state = &f->swarm->state[piece];
    if (*state == PIECE_READ)
        *state = PIECE_MISSING;
    else if (*state == PIECE_REREAD)
        *state = PIECE_DOUBTED;
}

/* Made our own chain longer. */
static void on_chained(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = judge_job_ended(p);
    struct fill_swarm *s = f->swarm;
    bool kept = false;
    s->hashing = false;
    if (!judge_is_over(f) && p->rc) /* it cannot be read back */
        judge_forget(f, p->number);
    if (judge_is_over(f) || p->rc) {
        if (!judge_is_over(f))
            read_on(f);
        judge_let_go(p, f);
        return;
    }
    struct chain_step *step = &p->steps[0];
    if (step->last && memcmp(p->out, step->out, CHAIN_STATE_MAX) != 0) {
        wrong_end(p);
        judge_let_go(p, f);
        return;
    }
    int rc = step->last ? 0
                        : chains_own(s->chains, judge_self(f), p->number + 1, p->out,
                                     p->from == PIECE_OF_REGISTRY);
    memcpy(step->out, p->out, CHAIN_STATE_MAX);
    if (p->from == PIECE_OF_REGISTRY) {
        chains_trusted(s->chains, p->number, step->in, p->out);
        judge_evidence(f);
        judge_convict(f, p->number, step->in, p->out);
    }
    p->fit = 0;
    /* Else it is on the disk already, of whatever bytes: these decide, and are not kept. */
    if (p->from == PIECE_OF_DISK || s->state[p->number] == PIECE_READ)
        chains_fits(s->chains, p->number, step);
    if (s->state[p->number] == PIECE_REREAD)
        s->state[p->number] = PIECE_DOUBTED;
    judge_recheck(f);
    if (judge_is_over(f)) {
        judge_let_go(p, f);
        return;
    }
    if (rc && p->from == PIECE_OF_DISK)
        s->state[p->number] = PIECE_THERE; /* no place for our chain: somebody else's decides */
    else if (rc)
        judge_unread(f, p->number);
    else if (p->from == PIECE_OF_DISK)
        judge_held(p);
    else
        kept = s->state[p->number] == PIECE_READ;
    if (kept) {
        s->state[p->number] = PIECE_JUDGED;
        judge_write(p);
        read_on(f);
        fill_release(f);
        return;
    }
    if (!judge_is_over(f))
        read_on(f);
    judge_let_go(p, f);
}

static void chain_work(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    if (p->from == PIECE_OF_DISK)
        p->rc = store_ingest_read_piece(p->fill->ingest, p->number, p->bytes);
    judge_hash_step(p, &p->steps[0], p->out);
}

static void chain_start(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    struct chain_step *step = &p->steps[0];
    bool known = chains_own_state(s->chains, judge_self(f), p->number, step->in);
    assert(known);
    (void)known;
    step->last = p->number == s->n - 1;
    memset(step->out, 0, CHAIN_STATE_MAX);
    if (step->last)
        memcpy(step->out, f->digest.bytes, digest_size(f->digest.alg));
    p->n_steps = 1;
    s->hashing = true;
    judge_submit(p, f->set->opt.hash, chain_work, on_chained);
}

/* Our chain ends before `number`: what a former run left on the disk may lead there. */
static bool bridge(struct fill *f, u32 own)
{
    struct fill_swarm *s = f->swarm;
    if (own >= s->n || s->state[own] != PIECE_THERE)
        return false;
    struct piece *p = piece_new(f, own, PIECE_OF_DISK);
    if (!p)
        return false;
    s->state[own] = PIECE_JUDGED;
    chain_start(p);
    return true;
}

static void read_on(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    while (s->queue && !s->hashing) {
        struct piece *p = s->queue;
        u32 own = chains_adopt(s->chains, judge_self(f), p->number);
        if (own < p->number && bridge(f, own))
            return;
        s->queue = p->next;
        if (!s->queue)
            s->queue_end = &s->queue;
        p->next = NULL;
        if (own >= p->number) {
            chain_start(p);
            continue;
        }
        judge_unread(f, p->number);
        judge_piece(p); /* there is a gap: another's chain decides */
    }
}

static void on_decided(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = judge_job_ended(p);
    f->swarm->deciding = SWARM_NO_PIECE;
    if (!judge_is_over(f)) {
        chains_trusted(f->swarm->chains, p->number, p->steps[0].in, p->out);
        judge_evidence(f);
        judge_convict(f, p->number, p->steps[0].in, p->out);
        judge_recheck(f);
    }
    if (!judge_is_over(f)) {
        f->swarm->progress_ns = swarm_now(f); /* another fetcher has its time from now on */
        judge_doubt(f);
    }
    judge_let_go(p, f);
}

void judge_rest(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    u32 i = 0;
    while (i < s->n && s->state[i] == PIECE_HELD)
        i++;
    if (i < s->n && !s->queue && !s->hashing)
        (void)bridge(f, chains_adopt(s->chains, judge_self(f), i));
}

void judge_read(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    if (p->trusted) {
        p->n_steps = chains_steps(s->chains, p->number, p->steps);
        if (p->n_steps > 1)
            p->n_steps = 1;
        if (p->n_steps == 0) {
            s->deciding = SWARM_NO_PIECE;
            piece_del(p);
            return;
        }
        judge_submit(p, f->set->opt.hash, judge_hash_work, on_decided);
        return;
    }
    if (s->state[p->number] == PIECE_MISSING)
        s->state[p->number] = PIECE_READ;
    else if (s->state[p->number] == PIECE_DOUBTED)
        s->state[p->number] = PIECE_REREAD;
    p->next = NULL;
    *s->queue_end = p;
    s->queue_end = &p->next;
    read_on(f);
}

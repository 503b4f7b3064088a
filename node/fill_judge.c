/* fill_judge.c - pieces are hashed, many at once, in the hash pool, and written where they belong;
 * what fits no chain is thrown away; see fill_swarm.h and proto/chain.h.
 *
 * What the registry sends is hashed in order, since each piece begins where the one before it
 * ended: that makes the chain that others verify by. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/fill_swarm.h"
#include "runtime/clock.h"
#include "runtime/log.h"

static const struct node_key *self_of(const struct fill *f)
{
    return mesh_key(swarm_mesh(f));
}

/* Nothing is to be made of what the pools still bring. */
static bool is_over(const struct fill *f)
{
    return !f->swarm || f->state > FILL_STREAMING || f->again || f->swarm->leaving ||
           f->swarm->closed || !swarm_mesh(f);
}

struct piece *piece_new(struct fill *f, u32 number, enum piece_from from)
{
    u64 len = piece_bytes(f->claimed, number);
    struct piece *p = calloc(1, sizeof(*p));
    if (p)
        p->bytes = malloc((size_t)len);
    if (!p || !p->bytes) {
        free(p);
        return NULL;
    }
    p->fill = f;
    p->number = number;
    p->len = len;
    p->from = from;
    p->fit = -1;
    f->piece_bytes += len;
    f->set->piece_bytes += len;
    return p;
}

void piece_del(struct piece *p)
{
    if (!p)
        return;
    p->fill->piece_bytes -= p->len;
    p->fill->set->piece_bytes -= p->len;
    free(p->bytes);
    free(p);
}

/* --- the layer as a whole -------------------------------------------------------------------- */

static void take_evidence(struct fill *f)
{
    struct chain_evidence e;
    while (chains_take_evidence(f->swarm->chains, &e))
        peers_convict_chain(f->set->opt.peers, &f->digest, &e);
}

/* Trusted bytes of a piece, begun at `in`, gave `out`: who sent others is proved to have. */
static void convict_by(struct fill *f, u32 number, const u8 *in, const u8 *out)
{
    struct fill_swarm *s = f->swarm;
    for (size_t i = 0; i < s->n_bad;) {
        struct bad_piece b = s->bad[i];
        if (b.number != number || memcmp(b.in, in, CHAIN_STATE_MAX) != 0 ||
            memcmp(b.out, out, CHAIN_STATE_MAX) == 0) {
            i++;
            continue;
        }
        s->bad[i] = s->bad[--s->n_bad];
        peers_convict_piece(f->set->opt.peers, &b.peer, &f->digest, b.number);
    }
}

/* Who sent a piece that is now known to be wrong. */
static void convict_bad(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    struct chain_step steps[CHAINS_MAX];
    for (u32 i = 0; i < s->n && s->n_bad > 0; i++)
        if (chains_steps(s->chains, i, steps) == 1)
            convict_by(f, i, steps[0].in, steps[0].out);
}

/* All that is here is not the layer, or was shown and is not. Once more, from the registry. */
static void wrong_layer(struct fill *f, const char *why)
{
    *f->set->corrupt += 1;
    log_with(LOG_ERROR, "pieces of a layer were wrong: thrown away, the registry is asked",
             LOG_STR("digest", f->text), LOG_STR("why", why));
    peers_distrust(f->set->opt.peers, &f->digest);
    swarm_close(f);
    f->keep_partial = false;
    f->again = true;
    if (f->n_bodies > 0)
        fill_fail(f, ERR_CORRUPT, why);
}

static void count_source(const struct piece *p)
{
    struct fill_swarm *s = p->fill->swarm;
    size_t i = 0;
    s->origin_pieces += p->from == PIECE_OF_REGISTRY;
    s->disk_pieces += p->from == PIECE_OF_DISK;
    if (p->from != PIECE_OF_PEER)
        return;
    while (i < SWARM_FROM_MAX - 1 && s->from[i].pieces > 0 &&
           !node_key_equal(&s->from[i].key, &p->peer))
        i++;
    s->from[i].key = p->peer;
    s->from[i].pieces++;
}

/* Whose pieces they were, in the history. */
static void note_sources(const struct fill *f)
{
    const struct fill_swarm *s = f->swarm;
    char text[160], name[MEMBER_TEXT_MAX + 1];
    size_t len = 0;
    for (size_t i = 0; i < SWARM_FROM_MAX && s->from[i].pieces > 0 && len < sizeof(text) - 1; i++) {
        peers_name(f->set->opt.peers, &s->from[i].key, name);
        int more = snprintf(text + len, sizeof(text) - len, ", %" PRIu32 " of %.20s%s",
                            s->from[i].pieces, name, i == SWARM_FROM_MAX - 1 ? " and others" : "");
        len += more > 0 ? (size_t)more : 0;
    }
    text[len < sizeof(text) ? len : sizeof(text) - 1] = '\0';
    history_note(f->set->opt.history, &f->digest, "pieces",
                 "%" PRIu32 " of the registry, %" PRIu32 " were here%s", s->origin_pieces,
                 s->disk_pieces, text);
}

static void close_layer(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    take_evidence(f);
    convict_bad(f);
    ask_close(f);
    origin_close(f);
    s->closed = true;
    note_sources(f);
    store_ingest_close_cut(f->ingest);
    f->size = f->claimed;
    sink_sound(f);
    sink_pump(f);
}

static void set_front(struct fill *f, u32 front)
{
    f->swarm->front = front;
    f->received = front < f->swarm->n ? piece_first(f->claimed, front) : f->claimed;
    f->written = f->received;
    f->ring.first = f->ring.end = f->received;
}

/* Before the first piece that is not held, everything can be shown. */
static void move_front(struct fill *f, bool from_peer)
{
    struct fill_swarm *s = f->swarm;
    u32 front = s->front;
    while (front < s->n && s->state[front] == PIECE_HELD)
        front++;
    if (front == s->front)
        return;
    set_front(f, front);
    f->from_peer = from_peer;
    mesh_swarm_position(swarm_mesh(f), &f->digest,
                        f->n_bodies > 0 && front < s->n ? front : SWARM_NO_PIECE);
    if (f->claimed > FILL_HELD_BACK || !from_peer)
        swarm_ready(f, from_peer);
    bodies_wake(f);
}

/* A chain was refuted: what nobody vouches for any more is as if it had never been verified. */
static void recheck(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    take_evidence(f);
    for (u32 i = 0; i < s->n; i++) {
        if (s->state[i] != PIECE_HELD || chains_has_fit(s->chains, i))
            continue;
        s->state[i] = PIECE_THERE; /* what was shown of it stays shown: the last byte waits */
        s->held--;
        mesh_swarm_lost(swarm_mesh(f), &f->digest, i, swarm_now(f));
    }
    judge_there(f);
}

void judge_doubt(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    u32 piece;
    if (s->deciding == SWARM_NO_PIECE && chains_in_doubt(s->chains, &piece))
        origin_decide(f, piece);
}

/* Each piece fits a chain: is there one that they all fit? Who reads from the registry may have
 * begun at a state of somebody else's that is none. Then the layer is hashed as one. */
static void all_held(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    if (chains_is_closed(s->chains)) {
        close_layer(f);
    } else if (s->appointed) {
        history_note(f->set->opt.history, &f->digest, "swarm",
                     "left with all pieces: no chain leads over all of them, it is hashed as one");
        swarm_close(f);
    } else {
        judge_doubt(f);
    }
}

/* The piece is verified and in the file. */
static void is_held(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    bool from_peer = p->from == PIECE_OF_PEER;
    u64 now = swarm_now(f);
    s->state[p->number] = PIECE_HELD;
    s->held++;
    s->progress_ns = now;
    count_source(p);
    if (p->request && ask_find(f, p->request))
        ask_judged(f, p->request, p->number, true);
    else
        mesh_swarm_have(swarm_mesh(f), &f->digest, p->number, now);
    ask_waited(f, p->number, true);
    move_front(f, from_peer);
    if (s->held == s->n && !is_over(f))
        all_held(f);
    peers_kick(f->set->opt.peers);
}

/* --- jobs ------------------------------------------------------------------------------------ */

static void hash_step(const struct piece *p, const struct chain_step *step, u8 *out)
{
    const struct fill *f = p->fill;
    struct hasher h;
    memset(out, 0, CHAIN_STATE_MAX);
    hasher_import(&h, f->digest.alg, step->in, piece_first(f->claimed, p->number));
    hasher_update(&h, p->bytes, (size_t)p->len);
    if (step->last) {
        struct digest d;
        hasher_digest(&h, &d);
        memcpy(out, d.bytes, digest_size(f->digest.alg));
    } else {
        hasher_export(&h, out);
    }
}

static void hash_work(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    p->rc = 0;
    for (size_t i = 0; i < p->n_steps && p->fit < 0; i++) {
        hash_step(p, &p->steps[i], p->out);
        if (memcmp(p->out, p->steps[i].out, CHAIN_STATE_MAX) == 0)
            p->fit = (int)i;
    }
}

static void write_work(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    p->rc = store_ingest_write_piece(p->fill->ingest, p->number, p->bytes);
}

static void read_work(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    p->rc = store_ingest_read_piece(p->fill->ingest, p->number, p->bytes);
}

static void submit(struct piece *p, struct pool *pool, void (*work)(struct job *j),
                   void (*done)(struct job *j))
{
    p->fill->swarm->jobs++;
    p->job.work = work;
    p->job.done = done;
    pool_submit(pool, &p->job);
}

/* A job of `p` is done. The fill is held; free_piece() lets it go. */
static struct fill *job_ended(struct piece *p)
{
    struct fill *f = p->fill;
    fill_hold(f);
    f->swarm->jobs--;
    return f;
}

static void let_go(struct piece *p, struct fill *f)
{
    piece_del(p);
    if (!is_over(f)) {
        swarm_resume(f);
        if (!is_over(f) && !uv_is_active((uv_handle_t *)&f->retry))
            origin_go_on(f);
    }
    swarm_maybe_left(f);
    if (f->swarm && f->swarm->jobs == 0)
        sink_pump(f);
    fill_release(f);
}

static void forget(struct fill *f, u32 number)
{
    if (store_ingest_has_piece(f->ingest, number))
        store_ingest_forget_piece(f->ingest, number);
    f->swarm->state[number] = PIECE_MISSING;
    ask_waited(f, number, false);
}

static void on_written(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = job_ended(p);
    if (!is_over(f) && p->rc) {
        f->swarm->state[p->number] = PIECE_MISSING;
        *f->set->unkept += 1;
        f->frozen = true;
        log_with(LOG_WARN, "layer is served through, not kept", LOG_STR("digest", f->text),
                 LOG_STR("why", err_text(p->rc)));
        swarm_give_up(f, "the disk takes no more");
    } else if (!is_over(f) && p->fit >= 0) {
        is_held(p);
    } else if (!is_over(f)) {
        f->swarm->state[p->number] = PIECE_THERE;
        ask_wait(f, p->request, p->number);
        judge_there(f);
    }
    let_go(p, f);
}

static void write_piece(struct piece *p)
{
    submit(p, p->fill->set->opt.disk, write_work, on_written);
}

/* It fits none of the chains that reach it. */
static void mismatch(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    if (p->from == PIECE_OF_DISK) {
        forget(f, p->number);
        if (p->number < s->front && f->n_bodies > 0)
            wrong_layer(f, "a chain that clients were served by was forged");
        else if (p->number < s->front)
            set_front(f, p->number);
        return;
    }
    s->state[p->number] = PIECE_MISSING;
    history_note(f->set->opt.history, &f->digest, "wrong",
                 "piece %" PRIu32 " fits no chain, asked elsewhere", p->number);
    chains_mismatch(s->chains, p->number, &p->peer);
    if (s->n_bad < SWARM_BAD_MAX) {
        struct bad_piece *b = &s->bad[s->n_bad++];
        *b = (struct bad_piece){.number = p->number, .peer = p->peer};
        memcpy(b->in, p->steps[p->n_steps - 1].in, CHAIN_STATE_MAX);
        memcpy(b->out, p->out, CHAIN_STATE_MAX);
    }
    if (s->n == 1) /* between the first state and the digest nobody need be believed */
        convict_by(f, 0, p->steps[0].in, p->steps[0].out);
    if (p->request)
        ask_judged(f, p->request, p->number, false);
    judge_doubt(f);
}

static void on_hashed(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = job_ended(p);
    f->swarm->reading_back -= p->from == PIECE_OF_DISK;
    if (!is_over(f) && p->fit >= 0) {
        chains_fits(f->swarm->chains, p->number, &p->steps[p->fit]);
        if (p->from != PIECE_OF_DISK) {
            write_piece(p);
            fill_release(f);
            return;
        }
        is_held(p);
    } else if (!is_over(f)) {
        mismatch(p);
    }
    if (!is_over(f))
        judge_there(f);
    let_go(p, f);
}

void judge_piece(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    u8 state = s->state[p->number];
    if (state == PIECE_HELD || state == PIECE_JUDGED || state == PIECE_READ) {
        ask_dropped(f, p->request, p->number, state == PIECE_HELD);
        piece_del(p);
        return;
    }
    p->n_steps = chains_steps(s->chains, p->number, p->steps);
    if (state == PIECE_THERE && p->n_steps == 0) {
        ask_wait(f, p->request, p->number);
        piece_del(p);
        return;
    }
    s->state[p->number] = PIECE_JUDGED;
    if (p->n_steps > 0)
        submit(p, f->set->opt.hash, hash_work, on_hashed);
    else
        write_piece(p);
}

/* --- what is on the disk already ------------------------------------------------------------- */

static void on_read_back(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = job_ended(p);
    if (!is_over(f) && p->rc == 0) {
        submit(p, f->set->opt.hash, hash_work, on_hashed);
        fill_release(f);
        return;
    }
    f->swarm->reading_back--;
    if (!is_over(f))
        forget(f, p->number);
    let_go(p, f);
}

void judge_there(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    for (u32 i = 0; i < s->n && s->reading_back < SWARM_THERE_MAX; i++) {
        struct chain_step steps[CHAINS_MAX];
        if (s->state[i] != PIECE_THERE || chains_steps(s->chains, i, steps) == 0 ||
            !swarm_has_memory(f, piece_bytes(f->claimed, i)))
            continue;
        struct piece *p = piece_new(f, i, PIECE_OF_DISK);
        if (!p)
            return;
        s->state[i] = PIECE_JUDGED;
        s->reading_back++;
        p->n_steps = chains_steps(s->chains, i, p->steps);
        submit(p, f->set->opt.disk, read_work, on_read_back);
    }
}

/* --- what the registry sent ------------------------------------------------------------------ */

static void read_on(struct fill *f);

/* Made our own chain longer. */
static void on_chained(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = job_ended(p);
    struct fill_swarm *s = f->swarm;
    bool kept = false;
    s->hashing = false;
    if (!is_over(f) && p->rc) /* it cannot be read back */
        forget(f, p->number);
    if (is_over(f) || p->rc) {
        if (!is_over(f))
            read_on(f);
        let_go(p, f);
        return;
    }
    struct chain_step *step = &p->steps[0];
    if (step->last && memcmp(p->out, step->out, CHAIN_STATE_MAX) != 0) {
        wrong_layer(f, "what was read does not have the digest");
        let_go(p, f);
        return;
    }
    int rc = step->last ? 0
                        : chains_own(s->chains, self_of(f), p->number + 1, p->out,
                                     p->from == PIECE_OF_REGISTRY);
    memcpy(step->out, p->out, CHAIN_STATE_MAX);
    if (p->from == PIECE_OF_REGISTRY) {
        chains_trusted(s->chains, p->number, step->in, p->out);
        convict_by(f, p->number, step->in, p->out);
    }
    chains_fits(s->chains, p->number, step);
    p->fit = 0;
    recheck(f);
    if (is_over(f)) {
        let_go(p, f);
        return;
    }
    if (rc)
        s->state[p->number] = PIECE_MISSING; /* no place for our chain: somebody else's decides */
    else if (p->from == PIECE_OF_DISK)
        is_held(p);
    else
        kept = s->state[p->number] == PIECE_READ;
    if (kept) {
        s->state[p->number] = PIECE_JUDGED;
        write_piece(p);
        read_on(f);
        fill_release(f);
        return;
    }
    if (!is_over(f))
        read_on(f);
    let_go(p, f);
}

static void chain_work(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    if (p->from == PIECE_OF_DISK)
        p->rc = store_ingest_read_piece(p->fill->ingest, p->number, p->bytes);
    hash_step(p, &p->steps[0], p->out);
}

static void chain_start(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    struct chain_step *step = &p->steps[0];
    bool known = chains_own_state(s->chains, self_of(f), p->number, step->in);
    assert(known);
    (void)known;
    step->last = p->number == s->n - 1;
    memset(step->out, 0, CHAIN_STATE_MAX);
    if (step->last)
        memcpy(step->out, f->digest.bytes, digest_size(f->digest.alg));
    p->n_steps = 1;
    s->hashing = true;
    submit(p, f->set->opt.hash, chain_work, on_chained);
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
        u32 own = chains_adopt(s->chains, self_of(f), p->number);
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
        if (s->state[p->number] == PIECE_READ)
            s->state[p->number] = PIECE_MISSING;
        judge_piece(p); /* there is a gap: another's chain decides */
    }
}

static void on_decided(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = job_ended(p);
    f->swarm->deciding = SWARM_NO_PIECE;
    if (!is_over(f)) {
        chains_trusted(f->swarm->chains, p->number, p->steps[0].in, p->out);
        convict_by(f, p->number, p->steps[0].in, p->out);
        recheck(f);
    }
    if (!is_over(f)) {
        struct chain_head heads[CHAINS_MAX];
        if (chains_heads(f->swarm->chains, heads) == 0 && !f->swarm->appointed)
            swarm_give_up(f, "the chain that it was verified by is forged");
        else
            judge_doubt(f);
    }
    let_go(p, f);
}

void judge_rest(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    u32 i = 0;
    while (i < s->n && s->state[i] == PIECE_HELD)
        i++;
    if (i < s->n && !s->queue && !s->hashing)
        (void)bridge(f, chains_adopt(s->chains, self_of(f), i));
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
        submit(p, f->set->opt.hash, hash_work, on_decided);
        return;
    }
    if (s->state[p->number] == PIECE_MISSING)
        s->state[p->number] = PIECE_READ;
    p->next = NULL;
    *s->queue_end = p;
    s->queue_end = &p->next;
    read_on(f);
}

/* fill_judge.c - pieces are hashed, many at once, in the hash pool, and written where they belong;
 * what fits no chain is thrown away; see fill_swarm.h and proto/chain.h. What the registry sends:
 * fill_chain.c. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/fill_judge.h"
#include "runtime/clock.h"
#include "runtime/log.h"

const struct node_key *judge_self(const struct fill *f)
{
    return mesh_key(swarm_mesh(f));
}

/* Nothing is to be made of what the pools still bring. */
bool judge_is_over(const struct fill *f)
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

void judge_evidence(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    struct chain_evidence e;
    while (chains_take_evidence(s->chains, &e)) {
        s->forged = true;
        peers_convict_chain(f->set->opt.peers, &f->digest, &e);
        mesh_swarm_forged(swarm_mesh(f), &f->digest, &e.signer, swarm_now(f));
    }
    if (s->forged)
        s->n_bad = 0; /* honest nodes passed on what that chain vouched for */
}

/* Barred, once, whatever else it sent. */
static void convict(struct fill *f, const struct node_key *peer, u32 number)
{
    struct fill_swarm *s = f->swarm;
    const struct node_key key = *peer;
    size_t left = 0;
    for (size_t i = 0; i < s->n_bad; i++)
        if (!node_key_equal(&s->bad[i].peer, &key))
            s->bad[left++] = s->bad[i];
    s->n_bad = left;
    chains_settled(s->chains, &key);
    peers_convict_piece(f->set->opt.peers, &key, &f->digest, number);
    mesh_swarm_forged(swarm_mesh(f), &f->digest, &key, swarm_now(f));
}

/* Trusted bytes of a piece, begun at `in`, gave `out`: who sent others is proved to have. */
void judge_convict(struct fill *f, u32 number, const u8 *in, const u8 *out)
{
    struct fill_swarm *s = f->swarm;
    for (size_t i = 0; i < s->n_bad;) {
        const struct bad_piece *b = &s->bad[i];
        if (b->number == number && memcmp(b->in, in, CHAIN_STATE_MAX) == 0 &&
            memcmp(b->out, out, CHAIN_STATE_MAX) != 0) {
            convict(f, &b->peer, number);
            i = 0;
        } else {
            i++;
        }
    }
}

/* Who sent a piece that is now known to be wrong. */
static void convict_bad(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    struct chain_step steps[CHAINS_MAX];
    for (u32 i = 0; i < s->n && s->n_bad > 0; i++)
        if (chains_steps(s->chains, i, steps) == 1)
            judge_convict(f, i, steps[0].in, steps[0].out);
}

/* All that is here is not the layer. Our way to the registry is at fault: others read it for us. */
void judge_wrong_layer(struct fill *f)
{
    static const char why[] = "what the registry sent does not have the digest";
    *f->set->corrupt += 1;
    log_with(LOG_ERROR, "the registry sent wrong pieces of a layer: thrown away, peers are asked",
             LOG_STR("digest", f->text), LOG_STR("upstream", upstream_name(f->right.upstream)),
             LOG_STR("repository", f->right.repository));
    if (f->swarm->appointed)
        mesh_swarm_registry(swarm_mesh(f), &f->digest, SWARM_REGISTRY_REFUSED, 0, swarm_now(f));
    swarm_close(f);
    f->keep_partial = false;
    f->again = f->to_swarm = !f->second;
    if (f->n_bodies > 0 || f->second)
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
    judge_evidence(f);
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
void judge_recheck(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    judge_evidence(f);
    for (u32 i = 0; i < s->n; i++) {
        if (s->state[i] != PIECE_HELD || chains_has_fit(s->chains, i))
            continue;
        s->state[i] = PIECE_DOUBTED; /* what was shown of it stays shown: the last byte waits */
        s->held--;
        s->forged = true;
        origin_anew(f);
        mesh_swarm_lost(swarm_mesh(f), &f->digest, i, swarm_now(f));
    }
    judge_there(f);
}

void judge_forget(struct fill *f, u32 number)
{
    if (store_ingest_has_piece(f->ingest, number))
        store_ingest_forget_piece(f->ingest, number);
    f->swarm->state[number] = PIECE_MISSING;
    ask_waited(f, number, false);
}

/* It was shown, and may be wrong: so it is not any more. */
static void take_back(struct fill *f, u32 number)
{
    if (number >= f->swarm->front)
        return;
    u64 from = piece_first(f->claimed, number);
    history_note(f->set->opt.history, &f->digest, "taken back",
                 "what was shown from piece %" PRIu32 " on: its chain is forged", number);
    set_front(f, number);
    bodies_cut(f, from);
}

void judge_clean(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    u32 first = s->n;
    for (u32 i = s->n; i-- > 0;)
        if (s->state[i] == PIECE_DOUBTED) {
            judge_forget(f, i);
            first = i;
        }
    take_back(f, first);
}

void judge_doubt(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    u32 piece;
    if (s->deciding == SWARM_NO_PIECE && chains_in_doubt(s->chains, &piece))
        origin_decide(f, piece);
}

/* The chain that it fits was refuted while it was on its way. */
static void fits_no_more(const struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    s->state[p->number] = p->from == PIECE_OF_REGISTRY ? PIECE_THERE : PIECE_DOUBTED;
    ask_wait(f, p->request, p->number);
    judge_there(f);
}

/* Each piece fits a chain: is there one that they all fit? Who reads from the registry may have
 * begun at a state of somebody else's that is none. Then the layer is hashed as one. */
static void all_held(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    if (chains_is_closed(s->chains)) {
        close_layer(f);
        return;
    }
    judge_doubt(f);
    if (s->appointed && s->deciding == SWARM_NO_PIECE) {
        history_note(f->set->opt.history, &f->digest, "swarm",
                     "left with all pieces: no chain leads over all of them, it is hashed as one");
        swarm_close(f);
    }
}

/* The piece is verified and in the file. */
void judge_held(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    bool from_peer = p->from == PIECE_OF_PEER;
    u64 now = swarm_now(f);
    if (!chains_has_fit(s->chains, p->number)) {
        fits_no_more(p);
        return;
    }
    s->state[p->number] = PIECE_HELD;
    s->hearsay[p->number] = false;
    s->held++;
    s->progress_ns = now;
    s->backoff_ns = 0;
    count_source(p);
    if (p->request && ask_find(f, p->request))
        ask_judged(f, p->request, p->number, true);
    else
        mesh_swarm_have(swarm_mesh(f), &f->digest, p->number, now);
    ask_waited(f, p->number, true);
    move_front(f, from_peer);
    if (s->held == s->n && !judge_is_over(f))
        all_held(f);
    peers_kick(f->set->opt.peers);
}

/* --- jobs ------------------------------------------------------------------------------------ */

void judge_hash_step(const struct piece *p, const struct chain_step *step, u8 *out)
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

void judge_hash_work(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    p->rc = 0;
    for (size_t i = 0; i < p->n_steps && p->fit < 0; i++) {
        judge_hash_step(p, &p->steps[i], p->out);
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

void judge_submit(struct piece *p, struct pool *pool, void (*work)(struct job *j),
                  void (*done)(struct job *j))
{
    p->fill->swarm->jobs++;
    p->job.work = work;
    p->job.done = done;
    pool_submit(pool, &p->job);
}

/* A job of `p` is done. The fill is held; free_piece() lets it go. */
struct fill *judge_job_ended(struct piece *p)
{
    struct fill *f = p->fill;
    fill_hold(f);
    f->swarm->jobs--;
    return f;
}

void judge_let_go(struct piece *p, struct fill *f)
{
    piece_del(p);
    if (!judge_is_over(f)) {
        swarm_resume(f);
        if (!judge_is_over(f) && !uv_is_active((uv_handle_t *)&f->retry))
            origin_go_on(f);
    }
    swarm_maybe_left(f);
    if (f->swarm && f->swarm->jobs == 0)
        sink_pump(f);
    fill_release(f);
}

static void on_written(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = judge_job_ended(p);
    if (!judge_is_over(f) && p->rc) {
        f->swarm->state[p->number] = PIECE_MISSING;
        *f->set->unkept += 1;
        f->frozen = true;
        log_with(LOG_WARN, "layer is served through, not kept", LOG_STR("digest", f->text),
                 LOG_STR("why", err_text(p->rc)));
        swarm_give_up(f, "the disk takes no more");
    } else if (!judge_is_over(f) && p->fit >= 0) {
        judge_held(p);
    } else if (!judge_is_over(f)) {
        f->swarm->state[p->number] = PIECE_THERE;
        ask_wait(f, p->request, p->number);
        judge_there(f);
    }
    judge_let_go(p, f);
}

void judge_write(struct piece *p)
{
    judge_submit(p, p->fill->set->opt.disk, write_work, on_written);
}

/* Were all chains that it was held against refuted meanwhile? */
static bool is_outdated(const struct piece *p)
{
    struct chain_step now[CHAINS_MAX];
    size_t n = chains_steps(p->fill->swarm->chains, p->number, now);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < p->n_steps; k++)
            if (memcmp(now[i].in, p->steps[k].in, CHAIN_STATE_MAX) == 0 &&
                memcmp(now[i].out, p->steps[k].out, CHAIN_STATE_MAX) == 0)
                return false;
    return true;
}

/* Its sender may have believed another chain, that does not count here, or is not all here. Where
 * there is one piece nobody need be believed. */
static bool is_excused(const struct piece *p)
{
    const struct fill_swarm *s = p->fill->swarm;
    return s->n > 1 && (p->excused || s->forged || chains_is_partial(s->chains));
}

/* It fits none of the chains that reach it. */
static void mismatch(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    if (p->from == PIECE_OF_DISK && is_outdated(p)) {
        s->state[p->number] = PIECE_DOUBTED;
        return;
    }
    if (p->from == PIECE_OF_DISK) {
        judge_forget(f, p->number);
        take_back(f, p->number);
        return;
    }
    s->state[p->number] = PIECE_MISSING;
    history_note(f->set->opt.history, &f->digest, "wrong",
                 "piece %" PRIu32 " fits no chain, asked elsewhere", p->number);
    bool known = peers_is_convicted(f->set->opt.peers, &p->peer);
    if (!known)
        chains_mismatch(s->chains, p->number, &p->peer);
    if (s->n_bad < SWARM_BAD_MAX && !known && !is_excused(p)) {
        struct bad_piece *b = &s->bad[s->n_bad++];
        *b = (struct bad_piece){.number = p->number, .peer = p->peer};
        memcpy(b->in, p->steps[p->n_steps - 1].in, CHAIN_STATE_MAX);
        memcpy(b->out, p->out, CHAIN_STATE_MAX);
    }
    if (s->n == 1) /* between the first state and the digest nobody need be believed */
        judge_convict(f, 0, p->steps[0].in, p->steps[0].out);
    if (p->request)
        ask_judged(f, p->request, p->number, false);
    judge_doubt(f);
}

static void on_hashed(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = judge_job_ended(p);
    f->swarm->reading_back -= p->from == PIECE_OF_DISK;
    if (!judge_is_over(f) && p->fit >= 0) {
        chains_fits(f->swarm->chains, p->number, &p->steps[p->fit]);
        if (!swarm_make_room(f)) {
            judge_let_go(p, f);
            return;
        }
        if (p->from != PIECE_OF_DISK) {
            judge_write(p);
            fill_release(f);
            return;
        }
        judge_held(p);
    } else if (!judge_is_over(f)) {
        mismatch(p);
    }
    if (!judge_is_over(f))
        judge_there(f);
    judge_let_go(p, f);
}

void judge_piece(struct piece *p)
{
    struct fill *f = p->fill;
    struct fill_swarm *s = f->swarm;
    u8 state = s->state[p->number];
    if (state == PIECE_HELD || state == PIECE_JUDGED || state == PIECE_READ ||
        state == PIECE_REREAD) {
        ask_dropped(f, p->request, p->number, state == PIECE_HELD);
        piece_del(p);
        return;
    }
    p->n_steps = chains_steps(s->chains, p->number, p->steps);
    bool there = state == PIECE_THERE || state == PIECE_DOUBTED;
    bool unsure = p->n_steps == 0 && !store_ingest_is_reserved(f->ingest);
    bool better = state == PIECE_DOUBTED && p->from == PIECE_OF_REGISTRY && p->n_steps == 0;
    /* What clients were shown is judged itself, before it is replaced: were they shown the same?
     * And for what nobody vouches for no room is made. */
    if (unsure || (there && !better && (p->n_steps == 0 || p->number < s->front))) {
        ask_wait(f, p->request, p->number);
        piece_del(p);
        judge_there(f);
        return;
    }
    if (there)
        take_back(f, p->number);
    s->state[p->number] = PIECE_JUDGED;
    s->hearsay[p->number] = p->from == PIECE_OF_PEER;
    if (p->n_steps > 0)
        judge_submit(p, f->set->opt.hash, judge_hash_work, on_hashed);
    else
        judge_write(p);
}

/* --- what is on the disk already ------------------------------------------------------------- */

static void on_read_back(struct job *j)
{
    struct piece *p = container_of(j, struct piece, job);
    struct fill *f = judge_job_ended(p);
    if (!judge_is_over(f) && p->rc == 0) {
        judge_submit(p, f->set->opt.hash, judge_hash_work, on_hashed);
        fill_release(f);
        return;
    }
    f->swarm->reading_back--;
    if (!judge_is_over(f))
        judge_forget(f, p->number);
    judge_let_go(p, f);
}

void judge_there(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    for (u32 i = 0; i < s->n && s->reading_back < SWARM_THERE_MAX; i++) {
        struct chain_step steps[CHAINS_MAX];
        if ((s->state[i] != PIECE_THERE && s->state[i] != PIECE_DOUBTED) ||
            chains_steps(s->chains, i, steps) == 0 ||
            !swarm_has_memory(f, piece_bytes(f->claimed, i)))
            continue;
        struct piece *p = piece_new(f, i, PIECE_OF_DISK);
        if (!p)
            return;
        s->state[i] = PIECE_JUDGED;
        s->reading_back++;
        p->n_steps = chains_steps(s->chains, i, p->steps);
        judge_submit(p, f->set->opt.disk, read_work, on_read_back);
    }
}

/* fill_swarm.c - a fill's part in a swarm: begun, carried out, ended; see fill_swarm.h.
 *
 * It takes part when the right to the layer is established, its size is known, it is not larger
 * than the store, and somebody else lives in the region. The size may be a lie: nothing is evicted
 * for it before the registry answers with it or a piece fits. Where the swarm cannot help (nobody
 * has it, nobody can fetch it, the disk is full) the fill goes on in order from what it has, as it
 * does alone. */
#include "node/fill_swarm.h"
#include "proto/oci.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "runtime/clock.h"
#include "runtime/log.h"

struct mesh *swarm_mesh(const struct fill *f)
{
    return peers_mesh(f->set->opt.peers);
}

u64 swarm_now(const struct fill *f)
{
    return peers_now_ns(f->set->opt.peers);
}

bool swarm_has_memory(const struct fill *f, u64 len)
{
    return f->set->piece_bytes + len <= SWARM_MEMORY || f->piece_bytes == 0;
}

/* While nothing is judged that would make room, a piece at hand is ended, whatever comes with its
 * last bytes: else all fills could wait for each other, each with a piece begun. */
bool swarm_may_take(const struct fill *f, const struct piece *at_hand, u64 len)
{
    return swarm_has_memory(f, len) || (at_hand && f->swarm->jobs == 0);
}

/* --- beginning ------------------------------------------------------------------------------- */

static bool may_join(const struct fill *f)
{
    struct peers *p = f->set->opt.peers;
    return !f->no_swarm && p && f->claimed != STORE_SIZE_UNKNOWN && piece_count(f->claimed) > 0 &&
           !fetch_is_called(f) && peers_swarm(p) && !peers_is_distrusted(p, &f->digest);
}

static int open_ingest(struct fill *f)
{
    char source[STORE_SOURCE_MAX + 1];
    int n = snprintf(source, sizeof(source), "%s %s", upstream_name(f->right.upstream),
                     f->right.repository);
    struct store_ingest_options opt = {
        .digest = f->digest,
        .size = f->claimed,
        .source = n < (int)sizeof(source) ? source : NULL,
        .now_ms = wall_ms(),
        .unsure = true,
    };
    if (f->ingest)
        store_ingest_keep(f->ingest);
    f->ingest = NULL;
    int rc = store_ingest_begin_cut(f->set->opt.store, &opt, &f->ingest);
    if (rc)
        f->ingest = NULL;
    return rc;
}

static bool is_asked_for(const struct fill *f)
{
    return !f->for_region || f->waiters || f->n_bodies > 0;
}

/* Who reads it for others alone has their word for where it is, and does not give it on as its own.
 */
static int join(struct fill *f)
{
    struct swarm_want want = {.digest = f->digest, .size = f->claimed};
    f->swarm->asks = want.can_fetch = is_asked_for(f);
    if (f->swarm->asks)
        snprintf(want.origin, sizeof(want.origin), "%s %s", upstream_name(f->right.upstream),
                 f->right.repository);
    return mesh_swarm_join(swarm_mesh(f), &want, swarm_now(f));
}

/* Whatever came before in order is there now as pieces. */
static void reset(struct fill *f)
{
    f->prefix = f->written = f->hashed = f->received = f->log_received = 0;
    ring_fini(&f->ring);
    ring_init(&f->ring, &f->set->cache, 0);
}

/* The partial is as it was, for whoever goes on in order. */
static void without(struct fill *f)
{
    if (f->ingest)
        store_ingest_keep(f->ingest);
    f->ingest = NULL;
    f->no_swarm = true;
    f->in_order = false;
}

static int open_pieces(struct fill *f)
{
    struct fill_swarm *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->n = piece_count(f->claimed);
    s->state = calloc(s->n, 1);
    s->hearsay = calloc(s->n, sizeof(*s->hearsay));
    s->deciding = SWARM_NO_PIECE;
    s->queue_end = &s->queue;
    int rc = s->state && s->hearsay ? chains_new(&s->chains, &f->digest, f->claimed) : ERR_NOMEM;
    if (rc) {
        free(s->hearsay);
        free(s->state);
        free(s);
        return rc;
    }
    for (u32 i = 0; i < s->n; i++)
        if (store_ingest_has_piece(f->ingest, i))
            s->state[i] = PIECE_THERE;
    s->progress_ns = swarm_now(f);
    f->swarm = s;
    return 0;
}

bool swarm_open(struct fill *f)
{
    if (f->swarm)
        return true;
    if (f->state != FILL_ASKING || !may_join(f))
        return false;
    int rc = open_ingest(f);
    if (rc == 0)
        rc = open_pieces(f);
    if (rc == 0) {
        reset(f);
        rc = join(f);
    }
    if (rc) {
        if (f->swarm)
            swarm_free(f);
        without(f);
        return false;
    }
    history_note(f->set->opt.history, &f->digest, "swarm",
                 "joined for %" PRIu32 " pieces of %" PRIu64 " bytes, repository %s", f->swarm->n,
                 piece_size(f->claimed), f->right.repository);
    judge_there(f);
    peers_kick(f->set->opt.peers);
    return true;
}

void swarm_ready(struct fill *f, bool from_peer)
{
    if (f->state != FILL_ASKING)
        return;
    f->size = f->claimed;
    f->state = FILL_STREAMING;
    f->progress_ms = uv_now(f->set->opt.loop);
    f->from_peer = from_peer;
    f->held_back = false;
    waiters_ready(f);
}

/* --- ending ---------------------------------------------------------------------------------- */

void swarm_close(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    if (!s)
        return;
    ask_close(f);
    origin_close(f);
    if (s->leaving || s->closed)
        return;
    s->leaving = true;
    if (swarm_mesh(f))
        mesh_swarm_leave(swarm_mesh(f), &f->digest, swarm_now(f));
    peers_kick(f->set->opt.peers);
}

void swarm_free(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    if (!s)
        return;
    assert(s->jobs == 0);
    ask_close(f);
    origin_close(f);
    ask_free(f);
    chains_del(s->chains);
    free(s->hearsay);
    free(s->state);
    free(s);
    f->swarm = NULL;
}

bool swarm_idle(const struct fill *f)
{
    return !f->swarm || f->swarm->jobs == 0;
}

/* What is kept in order ends before the first piece that is hearsay. */
static void drop_hearsay(struct fill *f)
{
    const struct fill_swarm *s = f->swarm;
    u32 i = 0;
    while (i < s->n && !(s->hearsay[i] && store_ingest_has_piece(f->ingest, i)))
        i++;
    if (i < s->n)
        store_ingest_forget_piece(f->ingest, i);
}

static void go_on_alone(struct fill *f)
{
    drop_hearsay(f);
    swarm_free(f);
    f->no_swarm = true;
    if (store_ingest_uncut(f->ingest)) {
        fill_fail(f, ERR_IO, "the partial file cannot be cut");
        return;
    }
    f->prefix = f->written = f->received = f->log_received = store_ingest_written(f->ingest);
    f->hashed = 0;
    f->in_order = true;
    ring_fini(&f->ring);
    ring_init(&f->ring, &f->set->cache, f->received);
    if (f->state == FILL_ASKING) {
        fetch_start(f);
        return;
    }
    sink_pump(f);
    if (f->state != FILL_STREAMING)
        return;
    if (f->received == f->size)
        fetch_complete(f);
    else
        sources_registry_ended(f);
}

void swarm_maybe_left(struct fill *f)
{
    if (!f->swarm || !f->swarm->leaving || f->swarm->jobs > 0 || f->again ||
        f->state > FILL_STREAMING)
        return;
    fill_hold(f);
    go_on_alone(f);
    fill_release(f);
}

static bool has_behind_gap(const struct fill *f)
{
    const struct fill_swarm *s = f->swarm;
    u32 i = 0;
    while (i < s->n && s->state[i] != PIECE_MISSING && s->state[i] != PIECE_DOUBTED)
        i++;
    while (i < s->n && s->state[i] == PIECE_MISSING)
        i++;
    return i < s->n;
}

void swarm_refused(struct fill *f)
{
    if (!is_asked_for(f) && f->state <= FILL_STREAMING)
        fill_fail(f, ERR_DENIED, "it was read for others alone, and the registry refused");
}

void swarm_give_up(struct fill *f, const char *why)
{
    if (f->swarm->leaving || f->state > FILL_STREAMING)
        return;
    history_note(f->set->opt.history, &f->digest, "swarm",
                 "left with %" PRIu32 " of %" PRIu32 " pieces: %s", f->swarm->held, f->swarm->n,
                 why);
    /* Pieces behind a gap are worth keeping: the rest is read by Range. */
    if (!f->swarm->alone && !f->frozen && f->right.upstream && has_behind_gap(f)) {
        f->swarm->alone = true;
        origin_begin(f, 0);
        return;
    }
    judge_clean(f);
    swarm_close(f);
    if (!f->right.upstream || !is_asked_for(f))
        fill_fail(f, ERR_UNREACHABLE, why);
    else
        swarm_maybe_left(f);
}

bool swarm_make_room(struct fill *f)
{
    if (store_ingest_reserve_cut(f->ingest) == 0)
        return true;
    if (f->swarm->appointed)
        mesh_swarm_registry(swarm_mesh(f), &f->digest, SWARM_REGISTRY_REFUSED, 0, swarm_now(f));
    f->swarm->alone = true; /* nothing behind a gap could be kept */
    swarm_give_up(f, "there is no room for it");
    return false;
}

/* Somebody else, who is not known to be done with it, or to lie. */
static bool is_reading(const struct fill *f, const struct node_key *fetcher)
{
    const struct mesh *m = swarm_mesh(f);
    return !node_key_equal(fetcher, mesh_key(m)) &&
           !peers_is_convicted(f->set->opt.peers, fetcher) &&
           !inventory_is_held_by(mesh_inventory(m), &f->digest, fetcher);
}

/* Appointed, with nothing under way: whatever was missed is looked for, and if it stays so, the
 * layer goes on as if there were no swarm. */
static void tick_appointed(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    if (fetch_is_called(f) || uv_is_active((uv_handle_t *)&f->retry))
        return;
    origin_go_on(f);
    if (!fetch_is_called(f) && s->jobs == 0 && swarm_now(f) - s->progress_ns > SWARM_STUCK_NS) {
        s->alone = true; /* there is nothing to read alone */
        swarm_give_up(f, "appointed, and nothing goes on");
    }
}

/* A registry that asks for patience gets it, but for a time: it is the home who says so. */
static bool is_backing_off(struct fill_swarm *s, const struct swarm_view *v, u64 now)
{
    if (v->backoff_ns == 0)
        return false;
    if (s->backoff_ns == 0)
        s->backoff_ns = now;
    return now - s->backoff_ns < SWARM_BACKOFF_NS;
}

/* Of those who wait for the same one goes first, and what it reads helps the others. */
static u64 turn_ns(struct fill_swarm *s, u32 neighbours, u64 each_ns)
{
    if (s->turn_of_ns != s->progress_ns) {
        s->turn_of_ns = s->progress_ns;
        s->turn = randombytes_random();
    }
    return neighbours * each_ns / UINT32_MAX * s->turn;
}

/* Whoever says that he holds it, and gives nothing, must not keep us for ever. */
void swarm_tick(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    struct swarm_view v = {0};
    struct mesh *m = s ? swarm_mesh(f) : NULL;
    if (m && !s->leaving && !s->closed) {
        origin_tick(f);
        ask_believe(f);
        ask_waited(f, SWARM_NO_PIECE, false);
        if (!s->asks && is_asked_for(f))
            (void)!join(f);
        swarm_resume(f); /* other fills may have made room in memory */
    }
    if (!s || s->leaving || s->closed || s->jobs > 0 || f->state > FILL_STREAMING)
        return;
    if (!m) {
        s->alone = true;
        swarm_give_up(f, "there is no region any more");
        return;
    }
    if (s->appointed) {
        tick_appointed(f);
        return;
    }
    u64 now = swarm_now(f), waited = now - s->progress_ns;
    (void)swarm_look(mesh_swarm(m), &f->digest, &v, now);
    if (is_backing_off(s, &v, now)) {
        s->progress_ns = now;
        return;
    }
    if (v.fetcher_known && waited > SWARM_BACK_NS && chains_is_set_back(s->chains, &v.fetcher)) {
        history_note(f->set->opt.history, &f->digest, "swarm",
                     "who reads it went on from a forged chain, and does not begin anew");
        mesh_swarm_forged(m, &f->digest, &v.fetcher, now);
        s->progress_ns = now; /* another one has its time */
        peers_kick(f->set->opt.peers);
        return;
    }
    bool read = v.fetcher_known && is_reading(f, &v.fetcher);
    u64 patience = read ? SWARM_STUCK_NS : (v.neighbours + 1) * SWARM_ALONE_NS;
    patience += turn_ns(s, v.neighbours, read ? SWARM_SLOW_TURN_NS : SWARM_TURN_NS);
    if (s->n_bad > 0 && !s->looked_at_bad && waited > patience / 2) {
        s->looked_at_bad = true; /* who lied, the chain or the piece? */
        origin_decide(f, s->bad[0].number);
    } else if (waited > patience)
        swarm_give_up(f, "nothing came for too long");
}

void swarm_resume(struct fill *f)
{
    if (!f->swarm)
        return;
    ask_resume(f);
    if (f->swarm)
        origin_resume(f);
}

/* --- steps ----------------------------------------------------------------------------------- */

static struct fill *swarm_of(const struct fills *s, const struct digest *d)
{
    for (struct fill *f = s->first; f; f = f->next)
        if (f->swarm && !f->swarm->leaving && digest_equal(&f->digest, d))
            return f;
    return NULL;
}

/* Appointed for a layer that nobody here asked for: with our own credentials. Where it is, any
 * member may have said. */
static struct fill *for_region(struct fills *s, const struct swarm_step *step)
{
    char name[SWARM_ORIGIN_MAX + 1];
    snprintf(name, sizeof(name), "%s", step->origin);
    char *space = strchr(name, ' ');
    if (!space || s->stopping || s->n >= LIMIT_FILLS)
        return NULL;
    *space = '\0';
    if (!oci_name_valid(space + 1, strlen(space + 1)))
        return NULL;
    struct upstream *u = s->opt.upstream ? s->opt.upstream(s->opt.arg, name) : NULL;
    if (!u || !upstream_has_credentials(u))
        return NULL;
    struct fill_source src = {.upstream = u, .repository = space + 1, .own = true};
    return fill_for_region(s, &step->digest, &src, step->size);
}

static void fetch_step(struct fills *s, struct fill *f, const struct swarm_step *step)
{
    struct mesh *m = peers_mesh(s->opt.peers);
    if (!f)
        f = for_region(s, step);
    if (!f || !f->swarm) {
        mesh_swarm_registry(m, &step->digest, SWARM_REGISTRY_REFUSED, 0,
                            peers_now_ns(s->opt.peers));
        return;
    }
    history_note(s->opt.history, &f->digest, "appointed",
                 "to read it from %s for the region, from piece %" PRIu32 " on: %s",
                 upstream_name(f->right.upstream), step->first, step->reason);
    fill_hold(f);
    origin_begin(f, step->first);
    fill_release(f);
}

void fills_step(struct fills *s, const struct swarm_step *step)
{
    struct fill *f = swarm_of(s, &step->digest);
    if (f)
        fill_hold(f);
    switch (step->what) {
    case SWARM_FETCH: fetch_step(s, f, step); break;
    case SWARM_YIELD:
        if (f)
            origin_yield(f);
        break;
    case SWARM_ASK:
        if (f)
            ask_step(f, step);
        else
            mesh_swarm_ended(peers_mesh(s->opt.peers), step->id, SWARM_FAILED,
                             peers_now_ns(s->opt.peers));
        break;
    case SWARM_CANCEL:
        if (f)
            ask_cancel(f, step->id);
        break;
    case SWARM_GIVE_UP:
        if (f)
            swarm_give_up(f, step->reason);
        break;
    case SWARM_SERVE:
    case SWARM_DROP:
    case SWARM_SEED: break; /* peer_serve.c's */
    }
    if (f)
        fill_release(f);
}

/* It is closed, and the store is done with it. */
void swarm_stored(struct fill *f, bool kept)
{
    struct fill_swarm *s = f->swarm;
    struct mesh *m = s ? swarm_mesh(f) : NULL;
    if (!m)
        return;
    if (kept)
        mesh_swarm_complete(m, &f->digest, swarm_now(f));
    else
        mesh_swarm_leave(m, &f->digest, swarm_now(f));
    peers_kick(f->set->opt.peers);
    if (!kept || !f->set->opt.closed)
        return;
    f->set->opt.closed(f->set->opt.arg, &f->digest, f->claimed, s->chains);
    s->chains = NULL;
}

/* --- looking on ------------------------------------------------------------------------------ */

void swarm_status(const struct fill *f, struct fill_status *st)
{
    struct swarm_view v;
    struct mesh *m = f->swarm ? swarm_mesh(f) : NULL;
    if (!m)
        return;
    st->pieces = f->swarm->n;
    st->held = f->swarm->held;
    st->appointed = f->swarm->appointed;
    st->size = f->claimed;
    st->received = (u64)st->held * piece_size(f->claimed);
    if (st->received > st->size)
        st->received = st->size;
    st->peer = ask_name(f);
    if (swarm_look(mesh_swarm(m), &f->digest, &v, swarm_now(f))) {
        st->neighbours = v.neighbours;
        st->requests = v.requests;
    }
}

struct chains *fill_chains(const struct fills *s, const struct digest *d)
{
    const struct fill *f = swarm_of(s, d);
    return f ? f->swarm->chains : NULL;
}

u64 fill_pieces_size(const struct fills *s, const struct digest *d)
{
    const struct fill *f = swarm_of(s, d);
    return f ? f->claimed : 0;
}

int fill_pieces_fd(const struct fills *s, const struct digest *d, u64 first, u64 end, u64 *size)
{
    const struct fill *f = swarm_of(s, d);
    if (!f || end > f->claimed || first >= end)
        return -1;
    u64 piece = piece_size(f->claimed);
    for (u64 i = first / piece; i * piece < end; i++)
        if (f->swarm->state[i] != PIECE_HELD)
            return -1;
    *size = f->claimed;
    if (f->blob)
        return store_blob_fd(f->blob);
    return f->ingest ? store_ingest_fd(f->ingest) : -1;
}

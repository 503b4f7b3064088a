/* fill_origin.c - appointed by the swarm, this node reads the layer from the registry, piece by
 * piece, in order; see fill_swarm.h.
 *
 * Pieces that are here already are left out, by a request for each run of missing ones. Where an
 * answer breaks off, the next one is to go on, also within a piece. Slowness,
 * 429 and 5xx are told as back-off, and the appointment is kept; a registry that cannot be reached
 * from here, or refuses us, ends it. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "node/fill_swarm.h"
#include "proto/oci.h"
#include "proto/range.h"

#define FAILURES_MAX    3 /* in a row, each with less than */
#define PROGRESS_BYTES  (16 * KIB)
#define REFUSALS_MAX    5 /* 429 and 5xx likewise: some seconds, or as long as it says */
#define BACKOFF_MS      250
#define BACKOFF_MAX_MS  5000
#define RETRY_AFTER_MAX 60
#define EARLIER_MS      2000
/* A registry that sends nothing for so long may be slow, which is no reason to resign, or out of
 * reach from here, as when packets vanish: then no new connection to it can be made, either. */
#define SILENT_MS        2000
#define PROBE_EVERY_MS   4000
#define PROBE_CONNECT_MS 1500
#define PROBE_HEAD_MS    3000

static void ask_registry(struct fill *f);

static void drop_piece(struct fill_swarm *s)
{
    piece_del(s->piece);
    s->piece = NULL;
}

/* Where the bytes at hand end. */
static u64 next_byte(const struct fill *f)
{
    const struct fill_swarm *s = f->swarm;
    return piece_first(f->claimed, s->at) + (s->piece ? s->piece->got : 0);
}

static void tell(struct fill *f, enum swarm_registry what, u64 for_ms)
{
    if (swarm_mesh(f))
        mesh_swarm_registry(swarm_mesh(f), &f->digest, what, for_ms * SWARM_MS, swarm_now(f));
    peers_kick(f->set->opt.peers);
}

/* Not any more. */
static void resign(struct fill *f, enum swarm_registry what, const char *why)
{
    struct fill_swarm *s = f->swarm;
    history_note(f->set->opt.history, &f->digest, "resigned", "%s", why);
    s->appointed = false;
    s->deciding = SWARM_NO_PIECE;
    origin_close(f);
    tell(f, what, 0);
    if (what == SWARM_REGISTRY_REFUSED)
        swarm_refused(f);
}

static void on_retry(uv_timer_t *t)
{
    struct fill *f = t->data;
    if (f->swarm)
        ask_registry(f);
    else
        fetch_registry(f);
}

static void back_off(struct fill *f, u64 ms)
{
    if (f->swarm)
        f->swarm->lets_come = false;
    uv_timer_start(&f->retry, on_retry, ms, 0);
    tell(f, SWARM_REGISTRY_BACKOFF, ms);
}

static u64 backoff_ms(const struct fill_swarm *s)
{
    u64 ms = BACKOFF_MS << (s->failures < 6 ? s->failures : 6);
    return ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS;
}

/* --- answers --------------------------------------------------------------------------------- */

/* Our own credentials do not do: the user's may. */
static bool without_own(struct fill *f)
{
    if (!f->right.own || !(f->right.authorization || f->right.ticket || !f->for_region))
        return false;
    f->right.own = false;
    return true;
}

static void refused(struct fill *f, const struct http_response *r)
{
    struct fill_swarm *s = f->swarm;
    const char *text = http_response_field(r, "Retry-After");
    u64 after_s = 0;
    for (; text && *text >= '0' && *text <= '9' && after_s < RETRY_AFTER_MAX; text++)
        after_s = after_s * 10 + (u64)(*text - '0');
    fetch_leave(f);
    if ((r->status == 429 || r->status >= 500) && s->failures >= REFUSALS_MAX) {
        resign(f, SWARM_REGISTRY_CUT, "the registry does not recover");
    } else if (r->status == 429 || r->status >= 500) {
        u64 ms = after_s ? (after_s < RETRY_AFTER_MAX ? after_s : RETRY_AFTER_MAX) * 1000
                         : backoff_ms(s);
        s->failures++;
        back_off(f, ms);
    } else if (without_own(f)) {
        ask_registry(f);
    } else {
        resign(f, SWARM_REGISTRY_REFUSED, "the registry refused");
    }
}

static void head(struct fill *f, const struct http_response *r)
{
    struct fill_swarm *s = f->swarm;
    struct byte_range range;
    u64 total = r->content_length, first = next_byte(f);
    if (r->status != 200 && r->status != 206) {
        refused(f, r);
        return;
    }
    s->skip = r->status == 200 ? first : 0;
    const char *value = http_response_field(r, "Content-Range");
    bool fits =
        r->status == 200 || (value && !range_parse_content(value, strlen(value), &range, &total) &&
                             range.first == first);
    if (!fits || (total != UINT64_MAX && total != f->claimed)) {
        fetch_leave(f);
        resign(f, SWARM_REGISTRY_REFUSED, "the registry says another size or range");
    } else {
        (void)!swarm_make_room(f);
    }
}

static bool has_ended(const struct fill *f)
{
    return !f->swarm || f->state > FILL_STREAMING || f->again || f->swarm->leaving;
}

/* What stands on the disk by a forged chain is read anew, unless another chain tells of it. */
static bool is_to_read(const struct fill_swarm *s, u32 piece)
{
    struct chain_step steps[CHAINS_MAX];
    return s->state[piece] == PIECE_MISSING ||
           (s->state[piece] == PIECE_DOUBTED && chains_steps(s->chains, piece, steps) == 0);
}

static void yield_now(struct fill *f)
{
    f->swarm->yielding = f->swarm->appointed = false;
    origin_close(f);
}

/* A whole piece. False: the request is over. */
static bool piece_whole(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    struct piece *p = s->piece;
    s->piece = NULL;
    s->at++;
    judge_read(p);
    if (has_ended(f))
        return false;
    if (s->yielding) {
        yield_now(f);
        return false;
    }
    if (s->at < s->end && is_to_read(s, s->at))
        return true;
    s->failures = 0;
    fetch_leave(f);
    origin_go_on(f);
    return false;
}

static enum http_data_verdict data(struct fill *f, const u8 *bytes, size_t len)
{
    struct fill_swarm *s = f->swarm;
    if (!fetch_may_come(f, false)) {
        s->call_paused = true;
        return HTTP_DATA_PAUSE;
    }
    if (!swarm_may_take(f, s->piece, 2 * piece_size(f->claimed))) {
        s->call_paused = true;
        return HTTP_DATA_PAUSE;
    }
    s->heard_ms = uv_now(f->set->opt.loop);
    fetch_came(f, len, false);
    if (s->skip >= len) {
        s->skip -= len;
        return HTTP_DATA_TAKEN;
    }
    bytes += s->skip;
    len -= s->skip;
    s->skip = 0;
    s->brought += len;
    if (s->brought >= PROGRESS_BYTES)
        s->failures = 0;
    while (len > 0) {
        if (!s->piece)
            s->piece = piece_new(f, s->at, PIECE_OF_REGISTRY);
        if (!s->piece) {
            fetch_leave(f);
            back_off(f, BACKOFF_MAX_MS);
            break;
        }
        struct piece *p = s->piece;
        size_t n = len < p->len - p->got ? len : (size_t)(p->len - p->got);
        memcpy(p->bytes + p->got, bytes, n);
        p->got += n;
        bytes += n;
        len -= n;
        p->trusted = s->deciding == p->number;
        if (p->got == p->len && !piece_whole(f))
            break;
    }
    return HTTP_DATA_TAKEN;
}

static void ended(struct fill *f, int err, const char *why)
{
    struct fill_swarm *s = f->swarm;
    if (!s->appointed) { /* it was to decide between chains, and cannot */
        bool undecided = s->deciding != SWARM_NO_PIECE && s->at < s->end;
        drop_piece(s);
        if (undecided)
            s->deciding = SWARM_NO_PIECE;
        if (undecided && err)
            swarm_give_up(f, "its chain is in doubt, and the registry does not answer");
        return;
    }
    if (s->yielding) {
        yield_now(f);
        return;
    }
    if (s->at >= s->end) {
        origin_go_on(f);
        return;
    }
    if (++s->failures > FAILURES_MAX)
        resign(f, SWARM_REGISTRY_CUT, why);
    else if ((err == ERR_DENIED || err == ERR_PROTO) && without_own(f))
        ask_registry(f);
    else if (err == ERR_DENIED || err == ERR_PROTO)
        resign(f, SWARM_REGISTRY_REFUSED, why);
    else
        back_off(f, s->failures > 1 ? backoff_ms(s) : 1);
}

static void on_head(void *arg, const struct http_response *r, bool redirected)
{
    struct fill *f = arg;
    (void)redirected;
    fill_hold(f);
    head(f, r);
    fill_release(f);
}

static void on_tracker_head(void *arg, const struct http_response *r)
{
    on_head(arg, r, false);
}

static enum http_data_verdict on_data(void *arg, const void *bytes, size_t len)
{
    struct fill *f = arg;
    fill_hold(f);
    enum http_data_verdict verdict = data(f, bytes, len);
    fill_release(f);
    return verdict;
}

static void on_end(void *arg, int err, const char *why)
{
    struct fill *f = arg;
    f->call = NULL;
    f->reading = NULL;
    fill_hold(f);
    ended(f, err, err ? why : "the body ended early");
    fill_release(f);
}

/* --- asking ---------------------------------------------------------------------------------- */

static void set_run(struct fill_swarm *s, u32 at, u32 end)
{
    if (s->piece && s->piece->number != at)
        drop_piece(s);
    s->at = at;
    s->end = end;
}

/* The next run of missing pieces. False: there is none. */
static bool next_run(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    for (u32 i = s->read_from; i < s->n; i++) {
        if (!is_to_read(s, i))
            continue;
        u32 end = i;
        while (end < s->n && is_to_read(s, end))
            end++;
        set_run(s, i, end);
        return true;
    }
    return false;
}

static void ask_registry(struct fill *f)
{
    static const struct upstream_events on = {on_head, on_data, on_end};
    static const struct http_transfer_events on_tracker = {on_tracker_head, on_data, on_end};
    struct fill_swarm *s = f->swarm;
    char path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32], range[64];
    if (fetch_is_called(f) || s->leaving || s->closed || f->state > FILL_STREAMING)
        return;
    u64 first = next_byte(f);
    u64 last = piece_first(f->claimed, s->end - 1) + piece_bytes(f->claimed, s->end - 1) - 1;
    int rc;
    s->call_paused = false;
    s->brought = 0;
    s->heard_ms = uv_now(f->set->opt.loop);
    if (tracker_is_next(&f->right)) {
        struct peers_origin o = {.tracker = &f->right.tracker,
                                 .repository = f->right.repository,
                                 .digest = &f->digest,
                                 .ticket = f->right.ticket,
                                 .first = first};
        rc = peers_get_origin(f->set->opt.peers, &o, &on_tracker, f, &f->reading);
    } else {
        snprintf(path, sizeof(path), "/v2/%s/blobs/%s", f->right.repository, f->text);
        snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, first, last);
        struct upstream_request r = {
            .method = "GET",
            .path = path,
            .repository = f->right.repository,
            .authorization = f->right.authorization,
            .own = f->right.own,
            .follow = true,
            .range = first > 0 || last + 1 < f->claimed ? range : NULL,
        };
        rc = upstream_call(f->right.upstream, &r, &on, f, &f->call);
    }
    if (rc)
        ended(f, rc, err_text(rc));
}

/* What others were said to have did not come from them. */
static void on_earlier(uv_timer_t *t)
{
    struct fill *f = t->data;
    if (!f->swarm || !f->swarm->appointed)
        return;
    f->swarm->lets_come = false;
    f->swarm->read_from = 0;
    origin_go_on(f);
}

void origin_go_on(struct fill *f)
{
    if (!f->swarm->appointed || fetch_is_called(f))
        return;
    if (next_run(f))
        ask_registry(f);
    else if (f->swarm->held < f->swarm->n && f->swarm->read_from > 0) {
        f->swarm->lets_come = true;
        uv_timer_start(&f->retry, on_earlier, EARLIER_MS, 0);
    } else if (f->swarm->held < f->swarm->n) {
        judge_rest(f);
    } else if (!f->swarm->closed) {
        judge_doubt(f); /* all is here, and chains differ: appointed amid that */
    }
}

void origin_anew(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    s->read_from = 0;
    if (s->lets_come)
        uv_timer_stop(&f->retry);
    s->lets_come = false;
}

void origin_begin(struct fill *f, u32 from)
{
    struct fill_swarm *s = f->swarm;
    if (s->appointed)
        return;
    if (!f->right.upstream) {
        tell(f, SWARM_REGISTRY_REFUSED, 0);
        return;
    }
    origin_close(f); /* what decided between chains can wait */
    s->deciding = SWARM_NO_PIECE;
    s->appointed = true;
    s->yielding = false;
    s->failures = 0;
    s->read_from = from < s->n ? from : s->n;
    for (u32 i = 0; i < s->read_from; i++)
        if (s->state[i] == PIECE_DOUBTED) /* others say that they have it, by that chain */
            s->read_from = i;
    tell(f, SWARM_REGISTRY_WELL, 0);
    origin_go_on(f);
}

void origin_yield(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    if (!s->appointed)
        return;
    if (s->piece && fetch_is_called(f))
        s->yielding = true; /* at the end of the piece at hand */
    else
        yield_now(f);
}

void origin_decide(struct fill *f, u32 piece)
{
    struct fill_swarm *s = f->swarm;
    if ((s->appointed && s->held < s->n) || fetch_is_called(f) || !f->right.upstream)
        return;
    history_note(f->set->opt.history, &f->digest, "doubt",
                 "chains are held against the registry, at piece %" PRIu32, piece);
    s->deciding = piece;
    set_run(s, piece, piece + 1);
    ask_registry(f);
}

/* --- slow, or out of reach ------------------------------------------------------------------- */

static void probe_over(struct fill_swarm *s)
{
    if (s->probe)
        upstream_call_cancel(s->probe);
    s->probe = NULL;
}

static void on_probe_head(void *arg, const struct http_response *r, bool redirected)
{
    struct fill *f = arg;
    (void)r;
    (void)redirected;
    probe_over(f->swarm); /* whatever it says, it is there */
}

static enum http_data_verdict on_probe_data(void *arg, const void *bytes, size_t len)
{
    (void)arg;
    (void)bytes;
    (void)len;
    return HTTP_DATA_TAKEN;
}

static void on_probe_end(void *arg, int err, const char *why)
{
    struct fill *f = arg;
    struct fill_swarm *s = f->swarm;
    (void)why;
    s->probe = NULL;
    if (err != ERR_UNREACHABLE || !s->appointed || !f->call || s->call_paused ||
        s->heard_ms >= s->probed_ms)
        return;
    fill_hold(f);
    resign(f, SWARM_REGISTRY_CUT, "the registry is out of reach from here");
    fill_release(f);
}

void origin_tick(struct fill *f)
{
    static const struct upstream_events on = {on_probe_head, on_probe_data, on_probe_end};
    struct fill_swarm *s = f->swarm;
    u64 now = uv_now(f->set->opt.loop);
    if (!s->appointed || s->alone || !f->call || s->call_paused || s->probe ||
        now - s->heard_ms < SILENT_MS || now - s->probed_ms < PROBE_EVERY_MS)
        return;
    s->probed_ms = now;
    const struct upstream_request r = {.method = "GET",
                                       .path = "/v2/",
                                       .fresh = true,
                                       .connect_timeout_ms = PROBE_CONNECT_MS,
                                       .head_timeout_ms = PROBE_HEAD_MS};
    if (upstream_call(f->right.upstream, &r, &on, f, &s->probe))
        s->probe = NULL;
}

void origin_resume(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    if (!s->call_paused)
        return;
    s->call_paused = false;
    s->heard_ms = uv_now(f->set->opt.loop);
    if (f->call)
        upstream_call_resume(f->call);
    if (f->reading)
        http_transfer_resume(f->reading);
}

void origin_close(struct fill *f)
{
    struct fill_swarm *s = f->swarm;
    uv_timer_stop(&f->retry);
    s->lets_come = false;
    probe_over(s);
    fetch_leave(f);
    drop_piece(s);
    while (s->queue) {
        struct piece *p = s->queue;
        s->queue = p->next;
        judge_unread(f, p->number);
        piece_del(p);
    }
    s->queue_end = &s->queue;
}

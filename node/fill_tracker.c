/* fill_tracker.c - a fill's reading through a tracker, for who brought that tracker's ticket.
 *
 * Why: a node without credentials of its own cannot ask the registry for a private layer. The
 * tracker that let the user have it still knows the Authorization that it was granted to, and reads
 * with it: GET /mesh/v1/origin/<name>/blobs/<digest>?ticket=... To the fill it is the registry, at
 * another place: asked one at a time, resumed by Range, its refusal for its own waiter only.
 *
 * Trackers behind one name have one ticket key, and tell each other which logins they keep. So
 * where the issuer is gone, or was started again and knows the login no more, the others are asked
 * in turn, FILL_TRACKERS at most, before the client is told anything. */
#include "node/fill_internal.h"
#include "runtime/log.h"

static int ask(struct fill *f);

/* The next one; false: all were asked. */
static bool choose_next(struct fill *f)
{
    struct node_key other;
    if (f->n_read_at == FILL_TRACKERS || !f->set->opt.peers ||
        !peers_other_tracker(f->set->opt.peers, f->read_at, f->n_read_at, &other))
        return false;
    f->read_at[f->n_read_at++] = other;
    f->reading_again = false;
    return true;
}

static bool is_anybody_left(const struct fill *f)
{
    struct node_key other;
    return f->n_read_at < FILL_TRACKERS &&
           peers_other_tracker(f->set->opt.peers, f->read_at, f->n_read_at, &other);
}

/* It may be right to refuse: then the others do, too, and the last one's word counts. */
static bool is_elsewhere(int status)
{
    return status == 401 || status == 403 || status >= 500;
}

static void on_head(void *arg, const struct http_response *r)
{
    struct fill *f = arg;
    f->reading_answered = true;
    f->reading_elsewhere = is_elsewhere(r->status) && is_anybody_left(f);
    if (!f->reading_elsewhere)
        fetch_head(f, r, false);
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct fill *f = arg;
    return f->reading_elsewhere ? HTTP_DATA_TAKEN : fetch_data(f, data, len);
}

static bool ask_another(struct fill *f)
{
    while (choose_next(f))
        if (ask(f) == 0) {
            log_with(LOG_INFO, "a layer is read through another tracker",
                     LOG_STR("digest", f->text));
            return true;
        }
    return false;
}

static void on_end(void *arg, int err, const char *why)
{
    struct fill *f = arg;
    f->reading = NULL;
    /* A kept connection may have died unnoticed. */
    bool again = (err == ERR_IO || err == ERR_EOF) && !f->reading_answered && !f->reading_again;
    f->reading_again = true;
    if (again && ask(f) == 0)
        return;
    if ((f->reading_elsewhere || (err && !f->reading_answered)) && ask_another(f))
        return;
    if (f->reading_elsewhere && !err) /* there was another, a moment ago */
        fetch_ended(f, ERR_UNREACHABLE, "no tracker is left to read through");
    else
        fetch_ended(f, err, why);
}

static int ask(struct fill *f)
{
    static const struct http_transfer_events on = {on_head, on_data, on_end};
    struct peers_origin o = {
        .tracker = &f->read_at[f->n_read_at - 1],
        .repository = f->right.repository,
        .digest = &f->digest,
        .ticket = f->right.ticket,
        .first = f->received,
    };
    f->reading_answered = f->reading_elsewhere = false;
    return f->set->opt.peers ? peers_get_origin(f->set->opt.peers, &o, &on, f, &f->reading)
                             : ERR_UNREACHABLE;
}

int tracker_ask(struct fill *f)
{
    f->read_at[0] = f->right.tracker;
    f->n_read_at = 1;
    f->reading_again = false;
    int rc = ask(f);
    return rc && ask_another(f) ? 0 : rc;
}

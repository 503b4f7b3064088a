/* fill_tracker.c - a fill's reading through a tracker, for who brought that tracker's ticket.
 *
 * Why: a node without credentials of its own cannot ask the registry for a private layer. The
 * tracker that let the user have it still knows the Authorization that it was granted to, and reads
 * with it: GET /mesh/v1/origin/<name>/blobs/<digest>?ticket=... To the fill it is the registry, at
 * another place: asked one at a time, resumed by Range, its refusal for its own waiter only. */
#include "node/fill_internal.h"

static int ask(struct fill *f);

static void on_head(void *arg, const struct http_response *r)
{
    struct fill *f = arg;
    f->reading_answered = true;
    fetch_head(f, r, false);
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    return fetch_data(arg, data, len);
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
    fetch_ended(f, err, why);
}

static int ask(struct fill *f)
{
    static const struct http_transfer_events on = {on_head, on_data, on_end};
    struct peers_origin o = {
        .tracker = &f->right.tracker,
        .repository = f->right.repository,
        .digest = &f->digest,
        .ticket = f->right.ticket,
        .first = f->received,
    };
    f->reading_answered = false;
    return f->set->opt.peers ? peers_get_origin(f->set->opt.peers, &o, &on, f, &f->reading)
                             : ERR_UNREACHABLE;
}

int tracker_ask(struct fill *f)
{
    f->reading_again = false;
    return ask(f);
}

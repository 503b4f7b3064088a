/* watch.c - see watch.h. */
#include "node/watch.h"

#include <stdlib.h>
#include <string.h>

#include "node/node_internal.h"

#define BEAT_TICKS 15

struct line {
    struct body body;
    struct watches *set;
    struct line *next, **at;
    struct http_exchange *x;
    bool beat;
};

struct watches {
    struct line *first;
    size_t n;
    unsigned ticks;
    bool ended;
};

struct watches *watches_new(void)
{
    return calloc(1, sizeof(struct watches));
}

void watches_del(struct watches *w)
{
    free(w);
}

static ssize_t peek(struct body *body, const void **data, size_t max)
{
    struct line *l = container_of(body, struct line, body);
    (void)max;
    *data = "\n";
    return l->set->ended ? 0 : l->beat ? 1 : ERR_AGAIN;
}

static void advance(struct body *body, size_t n)
{
    (void)n;
    container_of(body, struct line, body)->beat = false;
}

static void body_close(struct body *body)
{
    struct line *l = container_of(body, struct line, body);
    *l->at = l->next;
    if (l->next)
        l->next->at = l->at;
    l->set->n--;
    free(l);
}

static void wake_all(struct watches *w, bool beat)
{
    for (struct line *l = w->first; l; l = l->next) {
        l->beat |= beat;
        http_wake(l->x);
    }
}

void watches_end(struct watches *w)
{
    w->ended = true;
    wake_all(w, false);
}

void watches_tick(struct watches *w)
{
    if (++w->ticks % BEAT_TICKS == 0)
        wake_all(w, true);
}

bool watch_takes(struct http_slice target)
{
    static const char path[] = WATCH_PATH;
    return target.n == sizeof(path) - 1 && memcmp(target.p, path, target.n) == 0;
}

static void refuse(struct node *n, struct http_exchange *x, int status, enum oci_code code,
                   const char *message)
{
    node_count(n, ROUTE_PEER, status);
    http_reply_oci_status(x, status, code, message, NULL);
}

void watch_begin(struct node *n, struct http_exchange *x)
{
    static const struct body_ops ops = {.peek = peek, .advance = advance, .close = body_close};
    struct watches *w = n->watches;
    struct member_view v;
    struct node_key from;
    if (http_request(x)->method != HTTP_GET) {
        http_add(x, "Allow", "GET");
        refuse(n, x, 405, OCI_UNSUPPORTED, "use GET");
        return;
    }
    if (!peer_may_ask(n, x, "GET", &from))
        return;
    if (!member_find(mesh_member(region_mesh(n->region)), &from, &v) ||
        v.record->role != MEMBER_TRACKER) {
        refuse(n, x, 403, OCI_DENIED, "for trackers alone");
        return;
    }
    struct line *l = w->ended || w->n == WATCHES_MAX ? NULL : calloc(1, sizeof(*l));
    if (!l) {
        refuse(n, x, 503, OCI_UNAVAILABLE, "this node ends, or too many watch it");
        return;
    }
    *l = (struct line){.body = {&ops}, .set = w, .next = w->first, .at = &w->first, .x = x};
    if (l->next)
        l->next->at = &l->next;
    w->first = l;
    w->n++;
    node_count(n, ROUTE_PEER, 200);
    http_reply(x, 200, &l->body, HTTP_LENGTH_UNKNOWN);
}

/* fill_waiters.c - who waits for a fill's head, and with whose right it is asked; see fill.h. */
#include <stdlib.h>
#include <string.h>

#include "node/fill_internal.h"

/* --- rights ---------------------------------------------------------------------------------- */

static char *dup_or_null(const char *s)
{
    return s ? strdup(s) : NULL;
}

void right_fini(struct fill_right *r)
{
    free(r->repository);
    free(r->authorization);
    free(r->ticket);
    memset(r, 0, sizeof(*r));
}

struct fill_source right_view(const struct fill_right *r)
{
    return (struct fill_source){
        .upstream = r->upstream,
        .repository = r->repository,
        .authorization = r->authorization,
        .ticket = r->ticket,
        .tracker = r->tracker,
        .own = r->own,
    };
}

int right_set(struct fill_right *r, const struct fill_source *src)
{
    struct fill_right fresh = {
        .upstream = src->upstream,
        .repository = strdup(src->repository),
        .authorization = dup_or_null(src->authorization),
        .ticket = dup_or_null(src->ticket),
        .tracker = src->tracker,
        .own = src->own,
    };
    if (!fresh.repository || (src->authorization && !fresh.authorization) ||
        (src->ticket && !fresh.ticket)) {
        right_fini(&fresh);
        return ERR_NOMEM;
    }
    right_fini(r);
    *r = fresh;
    return 0;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool waiter_has_right(const struct fill_waiter *w, const struct fill_right *r)
{
    const struct fill_right *own = &w->right;
    return own->upstream == r->upstream && strcmp(own->repository, r->repository) == 0 &&
           same_text(own->authorization, r->authorization) && same_text(own->ticket, r->ticket);
}

/* --- waiters --------------------------------------------------------------------------------- */

void waiter_unlink(struct fill_waiter *w)
{
    struct fill *f = w->fill;
    if (w->prev)
        w->prev->next = w->next;
    else
        f->waiters = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->fill = NULL;
    w->prev = w->next = NULL;
    right_fini(&w->right);
}

/* Its right may carry on when the one in use ends half way (a token or ticket expires). Of many the
 * latest are kept: they last longest. */
static void keep_alternate(struct fill *f, const struct fill_waiter *w)
{
    struct fill_right kept = {0};
    struct fill_source src = right_view(&w->right);
    if (waiter_has_right(w, &f->right))
        return;
    for (size_t i = 0; i < f->n_alternates; i++)
        if (waiter_has_right(w, &f->alternates[i]))
            return;
    src.own = false;
    if (right_set(&kept, &src))
        return;
    if (f->n_alternates == FILL_ALTERNATES) {
        right_fini(&f->alternates[0]);
        f->n_alternates--;
        memmove(f->alternates, f->alternates + 1, f->n_alternates * sizeof(f->alternates[0]));
    }
    f->alternates[f->n_alternates++] = kept;
}

void waiters_ready(struct fill *f)
{
    fill_hold(f);
    while (f->waiters) {
        struct fill_waiter *w = f->waiters;
        keep_alternate(f, w);
        waiter_unlink(w);
        w->ready(w, f);
    }
    f->told = true;
    fill_release(f);
}

void fill_leave(struct fill_waiter *w)
{
    struct fill *f = w->fill;
    if (!f)
        return;
    fill_hold(f);
    waiter_unlink(w);
    fill_release(f);
}

int waiter_link(struct fill *f, const struct fill_source *src, struct fill_waiter *w)
{
    memset(&w->right, 0, sizeof(w->right));
    int rc = right_set(&w->right, src);
    if (rc)
        return rc;
    w->proven = src->proven;
    w->fill = f;
    w->prev = NULL;
    struct fill_waiter **at = &f->waiters; /* last: the first one's right is asked */
    while (*at) {
        w->prev = *at;
        at = &(*at)->next;
    }
    w->next = NULL;
    *at = w;
    return 0;
}

/* Whose right is asked: the first one's, but of somebody unproven while there is one. They joined
 * for the answer to their own right (all of them share one), and must not get another's. */
struct fill_waiter *waiter_to_ask(const struct fill *f)
{
    struct fill_waiter *w = f->waiters;
    while (w && w->proven)
        w = w->next;
    return w ? w : f->waiters;
}

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
    memset(r, 0, sizeof(*r));
}

int right_set(struct fill_right *r, struct upstream *up, const char *repository,
              const char *authorization, bool own)
{
    struct fill_right fresh = {up, strdup(repository), dup_or_null(authorization), own};
    if (!fresh.repository || (authorization && !fresh.authorization)) {
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
    return w->upstream == r->upstream && strcmp(w->repository, r->repository) == 0 &&
           same_text(w->authorization, r->authorization);
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
    free(w->repository);
    free(w->authorization);
    w->repository = w->authorization = NULL;
}

/* Its right may carry on when the one in use ends half way (a token expires). */
static void keep_alternate(struct fill *f, const struct fill_waiter *w)
{
    if (f->n_alternates == FILL_ALTERNATES || waiter_has_right(w, &f->right))
        return;
    for (size_t i = 0; i < f->n_alternates; i++)
        if (waiter_has_right(w, &f->alternates[i]))
            return;
    if (right_set(&f->alternates[f->n_alternates], w->upstream, w->repository, w->authorization,
                  false) == 0)
        f->n_alternates++;
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
    w->upstream = src->upstream;
    w->own = src->own;
    w->proven = src->proven;
    w->repository = strdup(src->repository);
    w->authorization = dup_or_null(src->authorization);
    if (!w->repository || (src->authorization && !w->authorization)) {
        free(w->repository);
        free(w->authorization);
        w->repository = w->authorization = NULL;
        return ERR_NOMEM;
    }
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

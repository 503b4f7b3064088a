/* pending.c - a table of notes laid over the index.
 *
 * A note replaces the one before it on the same digest, but for a TOUCH on a PUT, which moves the
 * PUT's times, and a TOUCH on a DEL, which says nothing. */
#include "store/pending.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct pending_note *pending_note(struct table_node *n)
{
    return n ? container_of(n, struct pending_note, node) : NULL;
}

int pending_init(struct pending *p, struct index *index, u64 seed)
{
    p->index = index;
    p->touches = p->changes = 0;
    return table_init(&p->notes, seed);
}

static void pending_count(struct pending *p, enum pending_op op, int by)
{
    if (op == PENDING_TOUCH)
        p->touches += (size_t)by;
    else
        p->changes += (size_t)by;
}

static void pending_forget(struct pending *p, struct pending_note *note)
{
    pending_count(p, note->op, -1);
    table_del(&p->notes, &note->node);
    free(note->info);
    free(note);
}

void pending_fini(struct pending *p)
{
    struct table_node *n;
    while ((n = table_next(&p->notes, NULL)))
        pending_forget(p, pending_note(n));
    table_fini(&p->notes);
}

const struct pending_note *pending_find(const struct pending *p, const struct digest *d)
{
    return pending_note(table_find(&p->notes, d));
}

int pending_get(const struct pending *p, const struct digest *d, struct blob_info *out)
{
    const struct pending_note *note = pending_find(p, d);
    if (note && note->op == PENDING_DEL)
        return ERR_NOTFOUND;
    if (note && note->op == PENDING_PUT) {
        *out = *note->info;
        return 0;
    }
    int rc = index_get(p->index, d, out);
    if (rc == 0 && note && note->used_ms)
        out->used_ms = note->used_ms;
    if (rc == 0 && note && note->scrubbed_ms)
        out->scrubbed_ms = note->scrubbed_ms;
    return rc;
}

void pending_each_put(const struct pending *p,
                      bool (*each)(void *arg, const struct blob_info *info), void *arg)
{
    struct table_node *n = NULL;
    while ((n = table_next(&p->notes, n))) {
        const struct pending_note *note = pending_note(n);
        if (note->op == PENDING_PUT && !each(arg, note->info))
            return;
    }
}

/* The note on `d`, made when there is none, now of kind `op`; NULL without memory. */
static struct pending_note *pending_become(struct pending *p, const struct digest *d,
                                           enum pending_op op)
{
    struct pending_note *note = pending_note(table_find(&p->notes, d));
    if (!note) {
        note = calloc(1, sizeof(*note));
        if (!note)
            return NULL;
        note->node.digest = *d;
        table_put(&p->notes, &note->node);
    } else {
        pending_count(p, note->op, -1);
    }
    note->op = op;
    pending_count(p, op, 1);
    return note;
}

int pending_put(struct pending *p, const struct blob_info *info)
{
    struct blob_info *copy = malloc(sizeof(*copy));
    struct pending_note *note = copy ? pending_become(p, &info->digest, PENDING_PUT) : NULL;
    if (!note) {
        free(copy);
        return ERR_NOMEM;
    }
    *copy = *info;
    free(note->info);
    note->info = copy;
    return 0;
}

int pending_del(struct pending *p, const struct digest *d)
{
    struct pending_note *note = pending_become(p, d, PENDING_DEL);
    if (!note)
        return ERR_NOMEM;
    free(note->info);
    note->info = NULL;
    return 0;
}

void pending_touch(struct pending *p, const struct digest *d, u64 used_ms, u64 scrubbed_ms)
{
    struct pending_note *note = pending_note(table_find(&p->notes, d));
    if (note && note->op == PENDING_DEL)
        return;
    if (note && note->op == PENDING_PUT) {
        if (used_ms)
            note->info->used_ms = used_ms;
        if (scrubbed_ms)
            note->info->scrubbed_ms = scrubbed_ms;
        return;
    }
    if (!note) {
        if (p->touches >= PENDING_TOUCHES_MAX)
            return;
        note = pending_become(p, d, PENDING_TOUCH);
        if (!note)
            return;
        note->used_ms = note->scrubbed_ms = 0;
    }
    if (used_ms)
        note->used_ms = used_ms;
    if (scrubbed_ms)
        note->scrubbed_ms = scrubbed_ms;
}

/* Puts one note into the open batch. */
static int pending_apply(struct pending *p, const struct pending_note *note)
{
    struct blob_info info;
    switch (note->op) {
    case PENDING_PUT: return index_put(p->index, note->info);
    case PENDING_DEL: return index_del(p->index, &note->node.digest);
    case PENDING_TOUCH: {
        int rc = pending_get(p, &note->node.digest, &info);
        if (rc == ERR_NOTFOUND)
            return 0; /* its entry is gone: nothing to touch */
        if (rc < 0) {
            index_abort(p->index);
            return rc;
        }
        return index_put(p->index, &info);
    }
    }
    assert(false);
    return ERR_INVAL;
}

/* Writes up to `max` notes in one batch: all of them, or nothing. */
static int pending_write(struct pending *p, size_t max, bool dels)
{
    struct pending_note *batch = NULL;
    struct table_node *n = NULL;
    for (size_t taken = 0; taken < max && (n = table_next(&p->notes, n));) {
        struct pending_note *note = pending_note(n);
        if (dels && note->op != PENDING_DEL)
            continue;
        note->batch_next = batch;
        batch = note;
        taken++;
    }
    if (!batch)
        return 0;
    int rc = index_begin(p->index);
    for (struct pending_note *note = batch; rc == 0 && note; note = note->batch_next)
        rc = pending_apply(p, note);
    if (rc == 0)
        rc = index_commit(p->index);
    if (rc < 0)
        return rc;
    for (struct pending_note *note = batch, *next; note; note = next) {
        next = note->batch_next;
        pending_forget(p, note);
    }
    return 0;
}

int pending_flush(struct pending *p, size_t max)
{
    int rc = pending_write(p, max, false);
    if (rc == ERR_NOSPACE) {
        /* A batch needs room before it frees any. Deletions free it; then as much as will go in. */
        (void)!pending_write(p, PENDING_SQUEEZED, true);
        for (max /= 8; rc == ERR_NOSPACE && max > 0; max /= 8)
            rc = pending_write(p, max, false);
    }
    return rc;
}

int pending_flush_all(struct pending *p)
{
    int rc = 0;
    while (rc == 0 && p->notes.count > 0)
        rc = pending_flush(p, PENDING_TICK_MAX);
    return rc;
}

/* question.c - see question.h. */
#include "runtime/question.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/oci.h"
#include "proto/range.h"

struct question {
    struct questions *set;
    struct question *prev, *next;
    struct question_text text;
    char repository[OCI_NAME_MAX + 1];
    struct upstream_ask *ask;
    struct question_waiter *waiters;
};

struct questions {
    struct question *first;
};

int questions_new(struct questions **out)
{
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : ERR_NOMEM;
}

static void question_free(struct question *q)
{
    if (q->prev)
        q->prev->next = q->next;
    else
        q->set->first = q->next;
    if (q->next)
        q->next->prev = q->prev;
    if (q->ask)
        upstream_ask_cancel(q->ask);
    free(q);
}

void questions_del(struct questions *s)
{
    if (!s)
        return;
    for (struct question *q = s->first, *next; q; q = next) {
        next = q->next;
        question_free(q);
    }
    free(s);
}

static void waiter_out(struct question_waiter *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        w->question->waiters = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->question = NULL;
    w->prev = w->next = NULL;
}

void question_leave(struct question_waiter *w)
{
    struct question *q = w->question;
    if (!q)
        return;
    waiter_out(w);
    if (!q->waiters && q->ask)
        question_free(q);
}

static void on_answer(void *arg, const struct answer *a)
{
    struct question *q = arg;
    q->ask = NULL; /* from here on leaving does not free it */
    while (q->waiters) {
        struct question_waiter *w = q->waiters;
        waiter_out(w);
        w->answered(w, a);
    }
    question_free(q);
}

static bool same(const struct question *q, const struct question_text *t)
{
    return q->ask && q->text.upstream == t->upstream && q->text.generation == t->generation &&
           memcmp(q->text.user.id, t->user.id, sizeof(t->user.id)) == 0 &&
           digest_equal(&q->text.digest, &t->digest) && strcmp(q->repository, t->repository) == 0;
}

static struct question *question_new(struct questions *s, const struct question_text *t)
{
    struct question *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->set = s;
    q->text = *t;
    snprintf(q->repository, sizeof(q->repository), "%s", t->repository);
    q->text.repository = q->repository;
    q->text.authorization = NULL; /* borrowed for the call only */
    q->next = s->first;
    if (q->next)
        q->next->prev = q;
    s->first = q;
    return q;
}

int question_ask(struct questions *s, const struct question_text *t, struct question_waiter *w)
{
    struct question *q = s->first;
    while (q && !same(q, t))
        q = q->next;
    if (!q) {
        char digest[DIGEST_TEXT_SIZE], path[OCI_NAME_MAX + DIGEST_TEXT_SIZE + 32];
        q = question_new(s, t);
        if (!q)
            return ERR_NOMEM;
        digest_format(&t->digest, digest);
        snprintf(path, sizeof(path), "/v2/%s/blobs/%s", q->repository, digest);
        struct upstream_request r = {
            .method = "GET",
            .path = path,
            .repository = q->repository,
            .authorization = t->authorization,
            .follow = true,
            .range = "bytes=0-0",
            .head_timeout_ms = t->patience_ms,
        };
        int rc = upstream_ask(t->upstream, &r, LIMIT_RELAY_BYTES, true, on_answer, q, &q->ask);
        if (rc) {
            question_free(q);
            return rc;
        }
    }
    w->question = q;
    w->prev = NULL;
    w->next = q->waiters;
    if (w->next)
        w->next->prev = w;
    q->waiters = w;
    return 0;
}

enum verdict question_verdict(const struct upstream *u, const struct answer *a, u64 *size)
{
    *size = UINT64_MAX;
    if (answer_is_away(a))
        return VERDICT_AWAY;
    if (a->err)
        return VERDICT_REFUSED;
    const char *range = answer_field(a, "Content-Range");
    struct byte_range part;
    bool empty = a->status == 416 && range && strcmp(range, "bytes */0") == 0;
    if (a->status == 200)
        *size = a->content_length;
    else if (empty)
        *size = 0;
    else if (a->status != 206)
        return VERDICT_REFUSED;
    else if (!range || range_parse_content(range, strlen(range), &part, size))
        *size = UINT64_MAX;
    return a->redirected && !upstream_redirect_proves(u) ? VERDICT_ALLOWED_ONCE : VERDICT_ALLOWED;
}

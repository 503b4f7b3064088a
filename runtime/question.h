/* question.h - "may this user read this blob?", put to the registry once for all who ask it at
 * once.
 *
 * The question is a GET of the blob's first byte with the user's own Authorization: its answer is
 * what the registry itself would say, refusal body and WWW-Authenticate included, and the same
 * request is made whether we hold the blob or not. Equal questions (same user, upstream,
 * repository, digest) share one answer. Nothing is remembered here: authz.h does that. */
#pragma once

#include "runtime/authz.h"
#include "runtime/upstream.h"

struct questions;

struct question_waiter { /* embedded; zero it first */
    /* `a` is borrowed for the call; the waiter is out by then. */
    void (*answered)(struct question_waiter *w, const struct answer *a);
    /* the question's own */
    struct question *question;
    struct question_waiter *prev, *next;
};

must_use int questions_new(struct questions **out);
/* Cancels what is asked; no waiter may be left. */
void questions_del(struct questions *q);

struct question_text {
    struct upstream *upstream;
    const char *repository;
    const char *authorization; /* NULL: anonymous */
    struct authz_user user;    /* of it */
    struct digest digest;
    u64 generation;  /* questions of another one have their own answer (authz_generation) */
    u32 patience_ms; /* for its head; 0: as long as upstream.h has it */
};

must_use int question_ask(struct questions *q, const struct question_text *t,
                          struct question_waiter *w);
/* Safe on a waiter that is out. The last one to leave cancels the question. */
void question_leave(struct question_waiter *w);

/* What an answer means. */
enum verdict {
    VERDICT_ALLOWED,      /* and it may be remembered */
    VERDICT_ALLOWED_ONCE, /* for this request only: a redirect that proves nothing */
    VERDICT_REFUSED,      /* relay the answer */
    VERDICT_AWAY,         /* the registry did not answer, or 5xx */
};

/* `*size` is the blob's, UINT64_MAX when the answer does not tell. */
enum verdict question_verdict(const struct upstream *u, const struct answer *a, u64 *size);

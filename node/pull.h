/* pull.h - one registry request being answered, shared by the files of pull.
 *
 * A pull lives as long as its exchange: when the client leaves, everything it waits for is left,
 * and it is freed. pull.c tells routes apart and relays; pull_blob.c serves layers; pull_ticket.c
 * those for which a tracker's ticket was shown; pull_manifest.c manifests. */
#pragma once

#include "node/node_internal.h"
#include "node/promised_body.h"
#include "proto/oci.h"

#define PULL_FIELDS_MAX 16 /* Accept lines forwarded */

struct pull {
    struct node *node;
    struct http_exchange *x;
    struct oci_route route;
    enum route kind;
    bool head; /* HEAD, not GET */
    struct upstream *up;
    bool own;            /* the node has credentials there */
    char *authorization; /* NULL: none was sent */
    struct authz_user user;
    struct ticket *ticket; /* NULL: none. Then there is no Authorization, and nothing is asked */
    char *ticket_text;
    char *fields[PULL_FIELDS_MAX]; /* "Accept: ..." as sent, in order */
    size_t n_fields;
    u8 accept_hash[16]; /* accept_sum() of them */

    bool remembered; /* were the registry silent, something could be said for it */
    struct upstream_ask *ask;
    struct question_waiter question;
    struct fill_waiter fill;
    struct promised_body *promised; /* the answer began before its bytes; NULL: it did not */
    struct pull *promise_next, **promise_at; /* in node->promises while none came; at NULL: out */
    u64 promised_ms;
    u64 size; /* of the blob, once known; UINT64_MAX */
    bool asked_for_size;

    /* for the audit line */
    u64 started_ns;
    enum source source;
    bool layer; /* an answer with a layer's bytes began */
    u64 expected;
};

/* Answers with the registry's own words. */
void pull_relay(struct pull *p, const struct answer *a);
/* 503: the registry is away and nothing may be served without it; with a ticket: this node cannot
 * serve it, for whatever reason. */
void pull_unavailable(struct pull *p, const char *why);
/* 502: the registry answered what cannot be passed on. With a ticket 503, as above. */
void pull_bad_gateway(struct pull *p, const char *why);
void pull_error(struct pull *p, enum oci_code code, const char *message, const char *detail);
/* The common fields of an answer from the store or a fill. */
void pull_add_source(struct pull *p, enum source source);
void pull_reply(struct pull *p, int status, struct body *body, u64 length);
/* How long the registry may be silent before what is remembered is said instead. */
#define PULL_PATIENCE_MS 3000
/* Sends this request on to the upstream with the user's Authorization; `cb` gets the answer. False:
 * answered already with an error. */
bool pull_forward(struct pull *p, const char *method,
                  void (*cb)(void *arg, const struct answer *a));
/* Wakes the exchange: for bodies. `arg` is the exchange. */
void pull_wake(void *arg);
/* Both facts at once. */
void pull_grant(struct pull *p, const struct digest *d);
enum authz_answer pull_check(struct pull *p);

/* Its bytes begin, or will not come: it is waited for no longer. */
void pull_promise_over(struct pull *p);
void pull_blob(struct pull *p);
/* Permitted: from the store, or by a fill. */
void pull_serve(struct pull *p);
/* Whose credentials may fetch what this ticket is of; NULL: no upstream's. */
struct upstream *pull_upstream_of(struct node *n, const struct ticket *t);
/* With what `text` holds. */
void pull_ticket(struct pull *p, struct http_slice text);
/* The exchange of a pull with a valid ticket is over. */
void pull_ticket_ended(struct pull *p, const struct http_ended *e);
void pull_manifest(struct pull *p);

/* pull_ticket.c - a layer for who shows a tracker's ticket.
 *
 * The ticket is all the permission there is: no registry is asked, no Authorization is looked at,
 * and nothing is learnt from it about what anybody may do. The client was sent here and knows no
 * better place, so it is never answered 401, 404 or 429 (some clients would send a password, or
 * give up for good): a ticket that does not count gets 403, what cannot be served 503, and what
 * breaks off half way a short body, upon which clients go back to where they came from. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "node/pull.h"
#include "runtime/clock.h"
#include "runtime/log.h"

/* Whose credentials may fetch it: of the upstream that the ticket names; and of the only one there
 * is, which a tracker may know by another name. */
struct upstream *pull_upstream_of(struct node *n, const struct ticket *t)
{
    struct upstream *named = node_upstream(n, t->upstream);
    return named || n->n_upstreams > 1 ? named : n->upstreams[0];
}

static_assert((int)SOURCE_STORE == OUTCOME_STORE && (int)SOURCE_PEER == OUTCOME_PEER &&
                  (int)SOURCE_ORIGIN == OUTCOME_ORIGIN && (int)SOURCE_STREAM == OUTCOME_STREAM &&
                  (int)SOURCE_COUNT == OUTCOME_SOURCES,
              "told as they are");

static void report(const struct pull *p, enum outcome_event event, u64 bytes)
{
    u64 ms = (uv_hrtime() - p->started_ns) / 1000000;
    struct outcome o = {
        .event = event,
        .digest = p->ticket->digest,
        .iat_s = p->ticket->iat_s,
        .bytes = bytes,
        .took_ms = ms < UINT32_MAX ? (u32)ms : UINT32_MAX,
        .source = (enum outcome_source)p->source,
    };
    memcpy(o.user, p->ticket->user, sizeof(o.user));
    outcomes_note(p->node->outcomes, &p->ticket->tracker, &o);
}

void pull_ticket_ended(struct pull *p, const struct http_ended *e)
{
    bool failed = e->failed || e->status >= 500;
    if (p->head)
        return;
    report(p,
           failed        ? OUTCOME_FAILED
           : e->complete ? OUTCOME_DONE
                         : OUTCOME_LEFT,
           p->layer ? e->body_bytes : 0);
}

static void refuse(struct pull *p, enum ticket_verdict v)
{
    char peer[64];
    http_peer_text(http_request(p->x), peer);
    log_with(LOG_INFO, "ticket refused", LOG_STR("client", peer),
             LOG_STR("repository", p->route.name), LOG_STR("why", ticket_verdict_text(v)));
    pull_error(p, OCI_DENIED, ticket_verdict_text(v), NULL);
}

void pull_ticket(struct pull *p, struct http_slice text)
{
    struct node *n = p->node;
    struct mesh *m = region_mesh(n->region);
    struct ticket t;
    struct ticket_wanted wanted = {
        .repository = p->route.name, .digest = &p->route.digest, .now_s = wall_ms() / 1000};
    p->kind = ROUTE_BLOB;
    if (!m) { /* it does not know its own key yet, or any more */
        http_add(p->x, "Retry-After", "1");
        pull_error(p, OCI_UNAVAILABLE, "this node joins its region, or leaves it: pull again",
                   NULL);
        return;
    }
    wanted.node = mesh_key(m);
    enum ticket_verdict v = tickets_check(n->tickets, text, &wanted, &t);
    if (v != TICKET_VALID) {
        refuse(p, v);
        return;
    }
    struct upstream *up = pull_upstream_of(n, &t);
    p->ticket_text = strndup(text.p, text.n);
    p->ticket = p->ticket_text ? malloc(sizeof(t)) : NULL;
    if (!p->ticket) {
        pull_error(p, OCI_UNAVAILABLE, "out of memory", NULL);
        return;
    }
    *p->ticket = t;
    p->own = up && upstream_has_credentials(up);
    if (up)
        p->up = up;
    p->size = t.size;
    p->asked_for_size = true; /* what the ticket does not say is not asked for */
    if (!p->head) {
        report(p, OUTCOME_BEGAN, 0);
        prefetch_claim(n->prefetch, &t);
    }
    pull_serve(p);
}

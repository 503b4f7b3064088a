/* news.c - see news.h. */
#include "tracker/news.h"

#include "runtime/clock.h"
#include "runtime/log.h"
#include "tracker/tracker_internal.h"

/* Tickets from so long before the start may still be good. */
#define STARTED_SLACK_MS ((TICKET_LIFE_S + 3 * TICKET_SLACK_S) * 1000ull)

/* A user's tickets, kept logins and remembered decisions end, here and at the nodes. */
static void end_rights(struct tracker *t, const char *name, u64 until_ms)
{
    u8 users[KEYFILE_KEYS][TICKET_USER_BYTES];
    size_t n = grants_users_of_name(t->grants, name, users);
    authz_forget(t->authz);
    echoes_clear(t->echoes);
    for (size_t i = 0; i < n; i++) {
        grants_revoke(t->grants, users[i]);
        revocations_add(t->revocations, users[i], until_ms / 1000);
    }
}

/* Something counts from now on, of ours or of another tracker. */
static void on_news(void *arg, const struct ledger_entry *e, bool foreign)
{
    struct tracker *t = arg;
    /* What was decided before we started is not remembered here. */
    if (e->kind == LEDGER_REVOKED && e->counter + STARTED_SLACK_MS >= t->started_wall_ms) {
        /* Each tracker ends what it issued itself by its own clock. */
        u64 now = wall_ms();
        bool fresh = now < e->counter + TICKET_LIFE_S * 1000;
        end_rights(t, e->name, fresh && now > e->counter ? now : e->counter);
        size_t told = revocations_send(t->revocations);
        log_with(LOG_INFO, "revoked", LOG_STR("user", e->name), LOG_NUM("nodes", told),
                 LOG_STR("by", foreign ? "another tracker" : "this one"));
        if (!foreign)
            t->revocation_told = told;
    }
    if (!foreign)
        circle_kick(t->circle);
}

void news_begin(struct tracker *t)
{
    struct ledger_cursor at = {0};
    struct ledger_entry e;
    users_watch(t->users, on_news, t);
    /* What was revoked shortly before: nodes may not have heard of it. */
    while (ledger_each(users_ledger(t->users), &at, &e))
        if (e.kind == LEDGER_REVOKED && e.counter + STARTED_SLACK_MS >= t->started_wall_ms)
            end_rights(t, e.name, e.counter);
}

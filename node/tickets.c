/* tickets.c - see tickets.h. */
#include "node/tickets.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/keyfile.h"

static_assert(KEYFILE_TRACKER == NODE_KEY_BYTES, "a tracker's key checks");
static_assert(KEYFILE_ID_MAX == TICKET_KID_MAX, "ids fit");

struct tickets {
    const char *file;
    struct ticket_key keys[KEYFILE_KEYS];
    size_t n_keys;
    u64 *verdicts[TICKET_VERDICT_COUNT];
    struct revoke revoked[TICKETS_REVOKED]; /* a ring */
    size_t n_revoked, next_revoked;
};

static int read_file(const char *file, char text[KEYFILE_MAX], char why[CONF_WHY_MAX])
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, KEYFILE_MAX - 1);
    if (n < 0)
        snprintf(why, CONF_WHY_MAX, "%.300s: %s", file, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return ERR_IO;
    text[n] = '\0';
    return 0;
}

int tickets_reload(struct tickets *t, char why[CONF_WHY_MAX])
{
    struct keyfile_key keys[KEYFILE_KEYS];
    char text[KEYFILE_MAX];
    unsigned line = 0;
    size_t n = 0;
    if (!t->file)
        return 0;
    int rc = read_file(t->file, text, why);
    if (rc)
        return rc;
    rc = keyfile_parse(text, KEYFILE_TRACKER, keys, &n, &line);
    if (rc) {
        snprintf(why, CONF_WHY_MAX, "%.300s, line %u: is no tracker's key, or one too many",
                 t->file, line);
        return rc;
    }
    memset(t->keys, 0, sizeof(t->keys));
    t->n_keys = n;
    for (size_t i = 0; i < n; i++) {
        memcpy(t->keys[i].kid, keys[i].id, sizeof(t->keys[i].kid));
        memcpy(t->keys[i].bytes, keys[i].bytes, sizeof(t->keys[i].bytes));
    }
    return 0;
}

/* "OTHER_NODE" becomes verdict="other_node". */
static void open_counter(struct tickets *t, struct metrics *metrics, enum ticket_verdict v)
{
    char labels[64];
    size_t at = (size_t)snprintf(labels, sizeof(labels), "verdict=\"");
    for (const char *p = ticket_verdict_name(v); *p && at < sizeof(labels) - 2; p++)
        labels[at++] = (char)tolower((unsigned char)*p);
    labels[at++] = '"';
    labels[at] = '\0';
    t->verdicts[v] =
        metrics_counter(metrics, "dray_tickets_total", labels, "Tickets shown, by verdict.");
}

int tickets_new(struct tickets **out, const char *file, struct metrics *metrics,
                char why[CONF_WHY_MAX])
{
    struct tickets *t = calloc(1, sizeof(*t));
    if (!t)
        return ERR_NOMEM;
    t->file = file;
    int rc = tickets_reload(t, why);
    if (rc) {
        free(t);
        return rc;
    }
    for (int v = 0; v < TICKET_VERDICT_COUNT && file; v++)
        open_counter(t, metrics, (enum ticket_verdict)v);
    *out = t;
    return 0;
}

void tickets_del(struct tickets *t)
{
    free(t);
}

bool tickets_are_taken(const struct tickets *t)
{
    return t->n_keys > 0;
}

bool tickets_find(const char *query, struct http_slice *text)
{
    static const char key[] = "ticket=";
    bool found = false;
    for (const char *p = query; *p;) {
        size_t len = strcspn(p, "&");
        if (strncmp(p, key, sizeof(key) - 1) == 0) {
            *text = found ? (struct http_slice){p, 0}
                          : (struct http_slice){p + sizeof(key) - 1, len - (sizeof(key) - 1)};
            if (found)
                return true;
            found = true;
        }
        p += len + (p[len] == '&');
    }
    return found;
}

bool tickets_knows(const struct tickets *t, const struct revoke *r)
{
    for (size_t i = 0; i < t->n_revoked; i++)
        if (memcmp(t->revoked[i].user, r->user, sizeof(r->user)) == 0)
            return t->revoked[i].until_s >= r->until_s;
    return false;
}

void tickets_revoke(struct tickets *t, const struct revoke *r)
{
    for (size_t i = 0; i < t->n_revoked; i++)
        if (memcmp(t->revoked[i].user, r->user, sizeof(r->user)) == 0) {
            if (t->revoked[i].until_s < r->until_s)
                t->revoked[i].until_s = r->until_s;
            return;
        }
    t->revoked[t->next_revoked] = *r;
    t->next_revoked = (t->next_revoked + 1) % TICKETS_REVOKED;
    t->n_revoked += t->n_revoked < TICKETS_REVOKED;
}

size_t tickets_revoked(const struct tickets *t, u64 now_s, struct revoke out[REVOKE_MAX])
{
    size_t n = 0;
    for (size_t i = 1; i <= t->n_revoked && n < REVOKE_MAX; i++) {
        size_t at = (t->next_revoked + TICKETS_REVOKED - i) % TICKETS_REVOKED;
        if (now_s < t->revoked[at].until_s + TICKET_LIFE_S + 2 * TICKET_SLACK_S)
            out[n++] = t->revoked[at];
    }
    return n;
}

static bool is_revoked(const struct tickets *t, const struct ticket *ticket)
{
    for (size_t i = 0; i < t->n_revoked; i++)
        if (memcmp(t->revoked[i].user, ticket->user, sizeof(ticket->user)) == 0)
            return ticket->iat_s <= t->revoked[i].until_s;
    return false;
}

enum ticket_verdict tickets_check(struct tickets *t, struct http_slice text,
                                  const struct ticket_wanted *wanted, struct ticket *out)
{
    enum ticket_verdict v = ticket_check(text.p, text.n, t->keys, t->n_keys, wanted, out);
    if (v == TICKET_VALID && is_revoked(t, out)) {
        memset(out, 0, sizeof(*out));
        v = TICKET_REVOKED;
    }
    *t->verdicts[v] += 1;
    return v;
}

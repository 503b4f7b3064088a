/* peer_revoke.c - a tracker says that tickets of users count no more; see proto/revoke.h. It counts
 * at once, and is acknowledged when it is on the disk. */
#include <stdlib.h>
#include <string.h>

#include "node/node_internal.h"
#include "node/peer_serve.h"
#include "runtime/clock.h"
#include "runtime/log.h"

bool peer_revoke_takes(struct http_slice target)
{
    static const char path[] = REVOKE_PATH;
    return target.n == sizeof(path) - 1 && memcmp(target.p, path, target.n) == 0;
}

static void refuse(struct node *n, struct http_exchange *x, int status, const char *message)
{
    node_count(n, ROUTE_PEER, status);
    enum oci_code code = status == 403   ? OCI_DENIED
                         : status == 503 ? OCI_UNAVAILABLE
                                         : OCI_UNSUPPORTED;
    http_reply_oci_status(x, status, code, message, NULL);
}

static bool is_tracker(const struct node *n, const struct node_key *key)
{
    struct member_view v;
    return member_find(mesh_member(region_mesh(n->region)), key, &v) &&
           v.record->role == MEMBER_TRACKER;
}

/* As many as this tracker may end at once: false, when some have to wait. Its clock may be ahead,
 * by as much as tickets' may. */
static bool take(struct node *n, const struct node_key *from, struct revoke *all, size_t count)
{
    u64 latest = wall_ms() / 1000 + TICKET_SLACK_S, who = node_key_word(from), now = uv_hrtime();
    bool room = true, news = false;
    for (size_t i = 0; room && i < count; i++) {
        if (all[i].until_s > latest)
            all[i].until_s = latest;
        if (tickets_knows(n->tickets, &all[i]))
            continue;
        room = rate_take(&n->serving.revoking, who, now);
        news = true;
        if (room)
            tickets_revoke(n->tickets, &all[i]);
    }
    return news ? room : rate_take(&n->serving.revoking, who, now); /* it is written all the same */
}

struct revoking {
    struct node *n;
    struct http_exchange *x; /* NULL: the tracker left */
};

static void on_ended(void *arg, const struct http_ended *e)
{
    struct revoking *k = arg;
    (void)e;
    k->x = NULL;
}

static void on_kept(void *arg, int rc)
{
    struct revoking *k = arg;
    if (k->x && rc) {
        http_on_end(k->x, NULL, NULL);
        refuse(k->n, k->x, 503, "it counts, and cannot be written: tell it again");
    } else if (k->x) {
        http_on_end(k->x, NULL, NULL);
        node_count(k->n, ROUTE_PEER, 204);
        http_reply(k->x, 204, NULL, 0);
    }
    free(k);
}

static void keep(struct node *n, struct http_exchange *x)
{
    struct revoking *k = calloc(1, sizeof(*k));
    if (!k) {
        refuse(n, x, 503, "out of memory");
        return;
    }
    k->n = n;
    k->x = x;
    http_on_end(x, on_ended, k);
    if (revoked_keep(n->revoked, on_kept, k) == 0)
        return;
    http_on_end(x, NULL, NULL);
    free(k);
    refuse(n, x, 503, "out of memory");
}

void peer_revoke(struct node *n, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    struct revoke all[REVOKE_MAX];
    struct node_key from;
    size_t count;
    if (q->method != HTTP_POST) {
        http_add(x, "Allow", "POST");
        refuse(n, x, 405, "use POST");
        return;
    }
    if (!peer_may_ask(n, x, "POST", &from))
        return;
    if (!is_tracker(n, &from)) {
        refuse(n, x, 403, "for trackers alone");
        return;
    }
    if (revoke_unpack(all, &count, q->body.p, q->body.n)) {
        refuse(n, x, 400, "not understood");
        return;
    }
    if (!take(n, &from, all, count)) {
        *n->serving.revokes_put_off += 1;
        http_add(x, "Retry-After", "5");
        refuse(n, x, 503, "too many at once: tell the rest again");
        return;
    }
    log_with(LOG_INFO, "tickets of users revoked", LOG_NUM("users", count));
    keep(n, x);
}

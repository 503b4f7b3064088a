/* http_away.c - a connection whose socket a sender has.
 *
 * It stays in SENDING, is not polled and takes no step until the job is done. Its deadline runs on,
 * by the sender's count. It is called back when its reader stalls, or when the body turns out wrong
 * meanwhile: by shutting the socket down, since then nothing more is to be said on it. */
#include <assert.h>
#include <sys/socket.h>

#include "runtime/http_conn.h"

void http_away_begin(struct http_conn *c)
{
    c->away = true;
    if (!c->mask)
        return;
    c->mask = 0;
    int rc = uv_poll_stop(&c->poll);
    assert(rc == 0);
}

void http_away_done(struct send_job *j)
{
    struct http_conn *c = container_of(j, struct http_conn, job);
    assert(c->away);
    c->away = false;
    c->broken = http_send_back(c->x) != 0;
    http_conn_queue(c);
}

void http_away_recall(struct http_conn *c)
{
    c->recalled = true;
    (void)shutdown(c->fd, SHUT_WR);
}

void http_away_wake(struct http_conn *c)
{
    struct body *b = c->x->body;
    int fd;
    u64 offset;
    if (!c->recalled && b->ops->run(b, &fd, &offset) < 0)
        http_away_recall(c);
}

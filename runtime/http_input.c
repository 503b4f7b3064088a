/* http_input.c - what a connection has read and not yet understood.
 *
 * Reading goes into one buffer that all connections of a server share, and most requests are
 * understood right there. Only what is left at the end of a turn, half a head or a pipelined
 * request, moves into memory of the connection's own: an idle connection has none. `view` says
 * where the unread bytes are. No more is read while some wait, so that what a client can make us
 * keep is one head and one read. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/http_conn.h"

/* Moves what is not read yet into memory of the connection's own, with room for more. */
static int keep(struct http_conn *c, u32 room)
{
    u32 need = c->view_len + room;
    if (c->kept && c->view != c->in) {
        memmove(c->in, c->view, c->view_len);
        c->view = c->in;
    }
    if (need > c->in_cap) {
        u32 cap = c->in_cap ? c->in_cap : 1024;
        while (cap < need)
            cap *= 2;
        char *grown = realloc(c->in, cap);
        if (!grown)
            return ERR_NOMEM;
        if (c->kept)
            c->view = grown;
        c->in = grown;
        c->in_cap = cap;
    }
    if (!c->kept && c->view_len > 0)
        memcpy(c->in, c->view, c->view_len);
    c->kept = true;
    c->view = c->in;
    return 0;
}

int http_input_settle(struct http_conn *c)
{
    if (c->view_len > 0)
        return c->kept ? 0 : keep(c, 0);
    free(c->in);
    c->in = NULL;
    c->in_cap = 0;
    c->kept = false;
    c->view = NULL;
    return 0;
}

ssize_t http_input_fill(struct http_conn *c, int *need)
{
    *need = UV_READABLE;
    if (!c->readable && !http_io_pending(c))
        return ERR_AGAIN;
    char *to = c->server->input;
    size_t room = sizeof(c->server->input);
    if (c->view_len > 0) {
        u32 more = c->view_len < 2048 ? 2048 : c->view_len;
        int rc = keep(c, more);
        if (rc)
            return rc;
        to = c->in + c->view_len;
        room = c->in_cap - c->view_len;
        if (room > HTTP_READ_BYTES)
            room = HTTP_READ_BYTES;
    } else {
        c->view = to;
        c->kept = false;
    }
    ssize_t n = http_io_read(c, to, room, need);
    if (n > 0)
        c->view_len += (u32)n;
    /* Less than there was room for: the socket is empty, and its poll will tell. */
    if (n == ERR_AGAIN || (n > 0 && (size_t)n < room))
        c->readable = false;
    return n;
}

void http_input_consume(struct http_conn *c, size_t n)
{
    assert(n <= c->view_len);
    c->view += n;
    c->view_len -= (u32)n;
}

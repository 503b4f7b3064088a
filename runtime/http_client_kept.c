/* http_client_kept.c - is a kept connection still good for a request?
 *
 * A server may have sent more than it said: a body behind the answer to a HEAD, or more of one than
 * its length. What stands there would be taken for the answer to the next request, somebody else's
 * perhaps; libcurl 7.88 does not notice. So it is looked just before the request is sent. */
#include <assert.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/http_client_impl.h"

static bool has_port(int fd, u16 port)
{
    struct sockaddr_in6 a = {0}; /* or its beginning, of IPv4: the port is at the same place */
    socklen_t len = sizeof(a);
    static_assert(offsetof(struct sockaddr_in, sin_port) ==
                      offsetof(struct sockaddr_in6, sin6_port),
                  "as said");
    return getsockname(fd, (struct sockaddr *)&a, &len) == 0 && ntohs(a.sin6_port) == port;
}

/* A new connection, of which libcurl tells the ports. If memory ends, it is not looked at later. */
void client_kept_note(struct http_transfer *t, u16 local, u16 peer)
{
    struct http_client *c = t->client;
    if (!has_port(t->fd, local)) /* two were tried at once, and the other one came first */
        return;
    if (c->n_sockets == c->cap_sockets) {
        size_t cap = c->cap_sockets ? 2 * c->cap_sockets : 16;
        struct client_socket *all = realloc(c->sockets, cap * sizeof(*all));
        if (!all)
            return;
        c->sockets = all;
        c->cap_sockets = cap;
    }
    c->sockets[c->n_sockets++] = (struct client_socket){t->fd, local, peer};
}

int client_kept_close(void *arg, curl_socket_t fd)
{
    struct http_client *c = arg;
    for (size_t i = 0; i < c->n_sockets; i++)
        if (c->sockets[i].fd == fd) {
            c->sockets[i] = c->sockets[--c->n_sockets];
            break;
        }
    return close(fd);
}

/* Also of TLS it is the socket that is looked at: a session ticket that comes late costs a new
 * connection, which is rare, since they come with the first answer. */
bool client_kept_is_used_up(const struct http_transfer *t, u16 local, u16 peer)
{
    const struct http_client *c = t->client;
    char byte;
    for (size_t i = 0; i < c->n_sockets; i++)
        if (c->sockets[i].local == local && c->sockets[i].peer == peer)
            return recv(c->sockets[i].fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
    return false;
}

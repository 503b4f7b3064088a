/* http_conn.h - inside the HTTP server: what its files share. Nobody else includes it.
 *
 *   http_server.c    listeners, accepting, limits, timers, the end
 *   http_address.c   addresses: read, printed, counted
 *   http_conn.c      one connection's states
 *   http_input.c     what it has read and not yet understood
 *   http_io.c        its socket, with or without TLS
 *   http_parse.c, http_chunk.c   what its bytes mean
 *   http_exchange.c  a request and its handler
 *   http_upload.c    a body that the handler reads itself
 *   http_reply.c     the answer's head
 *   http_send.c      head and body to the socket, or to a sender
 *   http_away.c      while a sender has the socket
 *
 * Who owns what: the server owns listeners and connections; a connection owns its socket, SSL, kept
 * input and at most one exchange; an exchange owns its request's bytes and its body. A connection's
 * memory goes in its poll handle's close callback and nowhere else. */
#pragma once

#include <netinet/in.h>

#include "proto/limits.h"
#include "runtime/http_chunk.h"
#include "runtime/http_parse.h"
#include "runtime/http_server.h"
#include "runtime/sender.h"
#include "runtime/tls.h"

/* One recv(): a TLS record fits, and what a pipelining client makes us keep is bounded by it. */
#define HTTP_READ_BYTES 16384
/* Requests answered for one connection before the others get their turn. */
#define HTTP_TURN_REQUESTS 16
/* TLS handshake steps (up to 2 ms each with RSA) in one turn of the loop. */
#define HTTP_TURN_HANDSHAKES 4
#define HTTP_TURN_ACCEPTS    64
/* A reader that takes less than this in `stall_timeout_ms` counts as one that takes nothing. */
#define HTTP_STALL_BYTES 4096
/* Large request bodies of one address at a time. */
#define HTTP_LARGE_PER_ADDRESS 2
/* How long accepting pauses when descriptors or memory run out. */
#define HTTP_ACCEPT_PAUSE_MS 100
/* Connections of Unix sockets beyond `max_connections`. */
#define HTTP_LOCAL_EXTRA     16
#define HTTP_ADDRESS_BUCKETS 1024
/* Room before the reply's fields for the status line and the connection's own fields. */
#define HTTP_REPLY_LEAD 256
/* Room after the reply's head for the framing of chunks: "\r\n", a size, "\r\n", or the end. */
#define HTTP_REPLY_TAIL  32
#define HTTP_REPLY_SMALL 1024 /* most replies' heads fit; a larger one gets memory of its own */

struct http_link {
    struct http_link *prev, *next;
};

static inline void http_link_init(struct http_link *l)
{
    l->prev = l->next = l;
}
static inline bool http_link_alone(const struct http_link *l)
{
    return l->next == l;
}
static inline void http_link_add(struct http_link *list, struct http_link *l)
{
    l->prev = list->prev;
    l->next = list;
    list->prev->next = l;
    list->prev = l;
}
static inline void http_link_remove(struct http_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    http_link_init(l);
}

union http_sockaddr {
    struct sockaddr sa;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* --- the server ------------------------------------------------------------------------------ */

struct http_address { /* a client address and its connections */
    struct http_address *next;
    u8 key[16];
    unsigned count;
    unsigned large; /* of their requests, those with large bodies */
};

struct http_listener {
    uv_poll_t poll;
    struct http_server *server;
    struct http_listener *next;
    struct tls_context *tls;
    char *path; /* of a Unix socket; removed when its listener closes */
    u64 path_dev, path_ino;
    int fd;
    bool polling, closed;
};

struct http_server {
    uv_loop_t *loop;
    struct http_server_options opt;
    struct http_server_stats stats;
    u64 refused[HTTP_REFUSALS];
    struct http_listener *listeners;
    struct http_link conns; /* every connection whose memory is still here */
    struct senders *senders;
    struct http_link ready;      /* go on at the end of this turn of the loop */
    struct http_link handshakes; /* TLS handshakes with something to read */
    struct http_address *addresses[HTTP_ADDRESS_BUCKETS];
    uv_timer_t sweep; /* runs while there is a connection: deadlines */
    uv_check_t check; /* runs `ready` and `handshakes` */
    uv_idle_t idle;   /* active while one of them is not empty, so that the loop does not sleep */
    unsigned handles; /* not closed yet; at 0 the server is freed */
    unsigned large;   /* exchanges with large bodies */
    u64 sweep_ms;
    u64 accept_at; /* ms of the loop's clock when accepting goes on; 0: not paused */
    u16 port;
    bool draining, deleting;
    void (*drained)(void *arg);
    void *drained_arg;
    void (*gone)(void *arg);
    void *gone_arg;
    i64 date_at; /* the second that `date` is of */
    char date[32];
    struct http_head head;         /* of the request being read */
    char input[HTTP_READ_BYTES];   /* what a connection has just read */
    char scratch[HTTP_READ_BYTES]; /* a head and the first of its body, made one TLS record */
};

/* Starts the idle handle, so that the check comes soon. */
void http_server_hurry(struct http_server *s);
/* One connection is gone from the wire: accepting may go on, draining may be over. */
void http_server_closed(struct http_server *s);
/* The poll or other handle is closed. */
void http_server_handle_closed(struct http_server *s);
/* "Tue, 24 Nov 2026 10:00:00 GMT", kept for a second. */
const char *http_server_date(struct http_server *s);

/* --- addresses ------------------------------------------------------------------------------- */

/* Reads "host:port" with a numeric host. ERR_INVAL. */
must_use int http_address_parse(const char *text, union http_sockaddr *out, socklen_t *len);
/* ::ffff:a.b.c.d becomes a.b.c.d. */
void http_address_unmap(union http_sockaddr *a);
/* Counts one connection of `a` (an IPv6 /64 counts as one address: whoever has one address of it
 * has all). *out NULL for a Unix peer. ERR_FULL: `max` already. ERR_NOMEM. */
must_use int http_address_take(struct http_server *s, const struct sockaddr *a, unsigned max,
                               struct http_address **out);
void http_address_give(struct http_server *s, struct http_address *a);

/* --- a connection ---------------------------------------------------------------------------- */

enum http_conn_state {
    HTTP_CONN_HANDSHAKE, /* TLS */
    HTTP_CONN_HEAD,      /* idle, or a head is coming in */
    HTTP_CONN_BODY,      /* a request's body is coming in */
    HTTP_CONN_EXCHANGE,  /* the handler has it */
    HTTP_CONN_SENDING,   /* the answer goes out */
    HTTP_CONN_FAREWELL,  /* TLS close_notify, then FIN */
    HTTP_CONN_LINGER,    /* our FIN is out; what still comes in is thrown away */
    HTTP_CONN_CLOSED,    /* the descriptor is closed, the handle is closing */
};
/*
 *  HANDSHAKE ──► HEAD ──► BODY ──► EXCHANGE ──► SENDING ──┬──► HEAD (keep-alive)
 *      │          │ └───────│─────────▲            ▲       │
 *      │          ├─────────┴─ refused ────────────┘       ▼
 *      │          └─ idle too long, drained ──────────► FAREWELL ──► LINGER ──► CLOSED
 *      └─ plain HTTP on a TLS port: SENDING
 *
 *  and from each to CLOSED: the client left, or the server is deleted.
 */

struct http_conn {
    uv_poll_t poll;
    struct http_link link;  /* in server->conns */
    struct http_link queue; /* in ready or handshakes, or alone */
    struct http_server *server;
    struct http_exchange *x; /* the one in work */
    struct http_address *address;
    SSL *ssl;
    char *in;         /* kept input; NULL when nothing is kept */
    const char *view; /* input not read yet: in `in`, or in server->input while running */
    u32 in_cap, view_len;
    struct http_scan scan;
    struct http_chunk chunk;
    u64 body_left; /* of a request body with Content-Length */
    u64 taken;     /* bytes of a request body, framing included, or of what comes while lingering */
    u64 deadline;  /* ms of the loop's clock; 0: none */
    i64 stall_taken; /* by the reader, when the stall window began */
    u64 turn_bytes;  /* what it may still send in this turn */
    struct send_job job;
    unsigned turn_requests;
    union http_sockaddr peer;
    int fd;
    enum http_conn_state state;
    int mask;              /* what the poll handle waits for */
    bool readable;         /* the socket may have bytes */
    bool kept;             /* `view` lies in `in` */
    bool running;          /* http_conn_run() is on the stack */
    bool waiting;          /* for the handler or the body: a client that leaves ends it */
    bool woken;            /* http_wake() came while running */
    bool away;             /* a sender has the socket, and only it may write; nothing is polled */
    bool recalled;         /* the answer ends as soon as the socket is back */
    bool broken;           /* the socket came back so: the client is gone */
    bool chunked, discard; /* of the request body */
    bool local, verified;
    bool peeked;   /* at the first byte: it is TLS */
    bool complete; /* the last answer went out whole: TLS may say close_notify */
};

/* Takes `fd` (closed on failure). `address` is taken on success. ERR_NOMEM, ERR_IO. */
must_use int http_conn_open(struct http_server *s, int fd, const union http_sockaddr *peer,
                            struct tls_context *tls, bool local, struct http_address *address);
/* Goes as far as socket and handler allow. */
void http_conn_run(struct http_conn *c);
/* Has http_conn_run() called at the end of this turn of the loop. */
void http_conn_queue(struct http_conn *c);
/* Its answer's body has bytes. */
void http_conn_wake(struct http_conn *c);
/* Says 100 Continue. */
void http_conn_continue(struct http_conn *c);
/* Its deadline has passed. */
void http_conn_expire(struct http_conn *c);
/* The server drains: an idle connection says goodbye, others go on to their last answer. */
void http_conn_drain(struct http_conn *c);
/* Closes at once; an exchange ends incomplete. */
void http_conn_close(struct http_conn *c);

/* --- while a sender has its socket --------------------------------------------------------------
 */

/* The job was submitted. */
void http_away_begin(struct http_conn *c);
/* The job is done: the connection goes on at the end of this turn of the loop. */
void http_away_done(struct send_job *j);
/* The socket comes back soon, and the answer ends as cut. */
void http_away_recall(struct http_conn *c);
/* Something happened to its body. */
void http_away_wake(struct http_conn *c);

/* --- its input ------------------------------------------------------------------------------- */

/* Reads more behind the view. > 0; 0 the end; ERR_AGAIN: wait for `*need`; other: broken. */
ssize_t http_input_fill(struct http_conn *c, int *need);
void http_input_consume(struct http_conn *c, size_t n);
/* Nothing of the shared buffer is needed after this. ERR_NOMEM. */
must_use int http_input_settle(struct http_conn *c);

/* --- its socket ------------------------------------------------------------------------------ */

/* > 0: bytes. 0: the other side has ended. ERR_AGAIN: `*need` is UV_READABLE or UV_WRITABLE.
 * ERR_IO. */
ssize_t http_io_read(struct http_conn *c, void *buf, size_t n, int *need);
/* Writes `head` then `data` as one. > 0: bytes of both together. ERR_AGAIN: when writable the same
 * bytes (perhaps more behind them) must come again. ERR_IO. */
ssize_t http_io_write(struct http_conn *c, const char *head, size_t head_n, const void *data,
                      size_t n);
/* Plain sockets only. `n` bytes that wait in the kernel for what follows. As http_io_write. */
ssize_t http_io_write_more(struct http_conn *c, const char *data, size_t n);
/* How much of its answer's body the reader has taken: what was sent but for what the kernel still
 * holds. A large socket buffer that is emptied slowly takes nothing more for long, and that is no
 * stall. Below 0 while it is still at the answer before. */
i64 http_io_taken(const struct http_conn *c);
/* Bytes are inside the SSL that no poll will tell of. */
bool http_io_pending(const struct http_conn *c);
/* 0: TLS begins. 1: plain HTTP does. ERR_AGAIN: nothing has come. ERR_EOF. */
must_use int http_io_look(struct http_conn *c);
/* 0: done. ERR_AGAIN: with `*need`. ERR_PROTO: that was plain HTTP. ERR_TLS. */
must_use int http_io_handshake(struct http_conn *c, int *need);
/* close_notify if the answer was complete (a cut one must not look whole), then FIN. 0, or
 * ERR_AGAIN. */
must_use int http_io_farewell(struct http_conn *c, int *need);

/* --- an exchange ----------------------------------------------------------------------------- */

struct http_exchange {
    struct http_conn *conn;
    struct http_request request;
    void (*on_end)(void *arg, const struct http_ended *e);
    void *on_end_arg;
    struct body *body;
    u64 left; /* of the answer's body still to send; HTTP_LENGTH_UNKNOWN until its end */
    u64 body_sent;
    size_t chunk_left; /* of the chunk whose size is sent */
    char *in_body;     /* the request's body */
    size_t in_body_cap;
    u64 in_body_max;
    char *out; /* `small` or memory of its own: the reply's head, then framing */
    u32 out_at, out_len, out_cap;
    int status;      /* 0: not answered */
    u8 minor;        /* of the request's version */
    bool keep_alive; /* the client wishes it */
    bool close;      /* the connection ends with this answer */
    bool expect;     /* the client waits for 100 Continue */
    bool chunked;    /* the answer is sent in chunks */
    bool large;      /* the request's body is, and is counted so */
    bool upload;     /* the handler reads the request's body itself */
    bool upload_wanted, upload_ended;
    u64 upload_length;
    void (*upload_came)(void *arg);
    void *upload_arg;
    bool body_ended; /* nothing more is to be peeked */
    bool cut;        /* the body failed: what is queued goes out, then FIN */
    bool owed;       /* TLS holds a write of bytes of the body that must come again */
    bool cold;       /* the file must be read before more of it is handed over */
    char small[HTTP_REPLY_SMALL];
    _Alignas(struct http_field) char memory[]; /* the request's head, its fields before it */
};

/* A request of its own memory. `head` NULL: none was understood. NULL: out of memory. */
struct http_exchange *http_exchange_new(struct http_conn *c, const struct http_head *head,
                                        const char *buf, size_t len);
/* Its body will have `n` bytes, more than others may. False: too many such at once. */
must_use bool http_exchange_large(struct http_exchange *x, u64 n);
/* Adds to the request's body. ERR_TOOBIG, ERR_NOMEM. */
must_use int http_exchange_body(struct http_exchange *x, const char *data, size_t n);
/* Will the handler read the body that `h` announces? */
must_use bool http_upload_begin(struct http_conn *c, const struct http_head *h);
/* Closes the body, tells the owner, frees. */
void http_exchange_end(struct http_exchange *x, bool complete);

enum http_sent {
    HTTP_SENT_ALL,    /* the answer is out, whole */
    HTTP_SENT_CUT,    /* the body failed or ended early; all that there was is out */
    HTTP_SENT_SOCKET, /* the socket takes no more: wait until it is writable */
    HTTP_SENT_BODY,   /* the body has no more for now */
    HTTP_SENT_AWAY,   /* the socket is handed over: http_send_back() when the job is done */
    HTTP_SENT_TURN,   /* others' turn */
    HTTP_SENT_LEFT,   /* the client is gone */
};
enum http_sent http_send(struct http_exchange *x);
/* Accounts for what the job of its connection has sent. 0, or the socket is broken: ERR_IO. */
must_use int http_send_back(struct http_exchange *x);

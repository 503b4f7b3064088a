/* http_server.h - HTTP/1.1 in: connections on the loop, parsed by llhttp, answered by pulled
 * bodies.
 *
 * Why our own layer: back-pressure, deadlines, FIN instead of RST, and memory per connection are
 * then ours to state (RFC 9110, 9112; strict wherever they allow strictness).
 *
 * A connection owns its non-blocking socket, one uv_poll_t and, if TLS, one SSL straight on the
 * socket. A request that is complete (small bodies included: up to LIMIT_HTTP_BODY_BYTES, else 413)
 * becomes an *exchange*, handed to the handler. The handler answers at once or later, exactly once.
 * One exchange per connection at a time; pipelined requests wait their turn.
 *
 * Callbacks (handler, end of an exchange) run from the loop, never from inside a call into this
 * module but for http_server_del(), which ends what runs. An answer given inside the handler is
 * sent as soon as the handler returns, one given later at the end of that turn of the loop.
 *
 * Deadlines: TLS handshake, whole head, idle keep-alive, request body, a minimum rate towards slow
 * readers. A client that leaves while its answer is still being prepared is noticed at once: by its
 * FIN or RST. One that only shut down its sending side looks the same (no registry client does so):
 * it gets answers that are ready when its request is read, however large, but none that must be
 * waited for.
 *
 * Hostile input is answered 400/408/413/414/417/431/501/505 with an OCI error body, counted
 * by reason, and the connection closed by FIN after draining. What RFC 9112 would let pass but is
 * refused here: absolute and asterisk targets (this is no proxy), chunk extensions and trailers,
 * transfer codings but `chunked`, a repeated Content-Length even if equal. The body of a GET or
 * HEAD is read and ignored. An offered protocol upgrade is ignored.
 *
 * Single-threaded: everything on the loop. Nothing blocks. */
#pragma once

#include <sys/socket.h>
#include <uv.h>

#include "proto/err.h"
#include "proto/oci.h"
#include "runtime/body.h"

struct http_server;
struct http_exchange;
struct tls_context; /* tls.h */

struct http_slice {
    const char *p; /* not NUL-terminated */
    size_t n;
};

struct http_field {
    struct http_slice name, value; /* value without surrounding blanks */
};

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS
};

struct http_request {
    enum http_method method;
    struct http_slice target; /* origin form, as sent: path and query */
    const struct http_field *fields;
    size_t n_fields;
    struct http_slice body;      /* empty when there is none */
    const struct sockaddr *peer; /* AF_UNIX on a Unix listener */
    bool tls;
    bool verified; /* TLS: the client showed a certificate that the listener's `ca` has signed */
    bool local;    /* came over a Unix socket: whoever may open it may do everything */
};

typedef void (*http_handler)(void *ctx, struct http_exchange *x);

struct http_server_options {
    uv_loop_t *loop;
    http_handler handler;
    void *ctx;
    unsigned max_connections; /* accept pauses at it, but for Unix sockets; default 4096 */
    unsigned max_per_address; /* default 1024; of one IPv4 address (an office is one) or IPv6 /64 */
    /* May this request have a body of more than LIMIT_HTTP_BODY_BYTES? Asked when its head is read,
     * and only when it names its length; NULL: never. Only looks. `large_bytes` at most each,
     * `large_at_once` in memory at a time, and two from one address; more get 503. */
    bool (*large)(void *ctx, const struct http_request *r);
    u64 large_bytes;
    unsigned large_at_once;
    /* Does the handler read this request's body itself (http_upload_read), whatever its size? Asked
     * when its head is read, but not for GET and HEAD; NULL: never. Only looks. The handler then
     * has the request at its head. */
    bool (*streams)(void *ctx, const struct http_request *r);
    /* On TLS listeners, who speaks plain HTTP is served, too: the handler sees `tls` false, and
     * judges. Else such a request gets 400. */
    bool plain_too;
    u32 handshake_timeout_ms; /* default 5,000 */
    u32 head_timeout_ms;      /* default 10,000: first byte of a request to its blank line */
    u32 idle_timeout_ms;      /* default 75,000: between requests */
    u32 body_timeout_ms;      /* default 20,000: a whole request body */
    u32 stall_timeout_ms;     /* default 60,000: a reader that takes nothing for so long */
    u32 drain_timeout_ms;     /* default 2,000 */
};

struct http_server_stats {
    u64 accepted, open;
    u64 requests;
    u64 refused_limit; /* over max_connections waits are not counted; over max_per_address are */
    u64 bad_requests;  /* refused by the parser or our own rules */
    u64 timeouts;      /* any deadline */
    u64 tls_failures;
    u64 clients_left;  /* before the answer was complete */
    u64 sent_bytes;    /* bodies and heads, before TLS */
    u64 accept_pauses; /* accepting paused because descriptors or memory ran out */
};

/* Zeroes in `opt` mean the defaults. `opt` is copied. SIGPIPE is ignored from here on, unless it
 * has a handler: OpenSSL and sendfile() can raise it. */
must_use int http_server_new(struct http_server **out, const struct http_server_options *opt);

/* "0.0.0.0:5000", "[::]:5000", "127.0.0.1:0": numeric. [::] takes IPv4 too. `tls` NULL for plain;
 * borrowed until the server is gone, and read anew for each connection (so that SIGHUP can swap
 * certificates inside it). `why` (256 bytes) gets the reason, ready for a log line. ERR_INVAL,
 * ERR_BUSY (address in use), ERR_DENIED, ERR_IO. */
must_use int http_listen_tcp(struct http_server *s, const char *address, struct tls_context *tls,
                             char why[256]);
/* Mode 0600. A stale socket file is replaced, a living one refused (ERR_BUSY). The file is
 * removed when the listener closes. */
must_use int http_listen_unix(struct http_server *s, const char *path, char why[256]);
/* The port of the first TCP listener (for ":0"); 0 when none. */
u16 http_server_port(const struct http_server *s);

void http_server_stats(const struct http_server *s, struct http_server_stats *out);
/* Calls `each` for every reason to refuse a request, with how often: `reason` ("HEAD_LONG") is
 * static. */
void http_server_refusals(const struct http_server *s,
                          void (*each)(void *arg, const char *reason, u64 count), void *arg);

/* Stops accepting; idle connections close; running exchanges go on, each its connection's last.
 * `drained` is called once when no connection is left (perhaps at once). */
void http_server_drain(struct http_server *s, void (*drained)(void *arg), void *arg);
/* Closes everything now; a `drained` that has not been called will not be. Handles close on the
 * loop; `gone` is called when all memory is freed. */
void http_server_del(struct http_server *s, void (*gone)(void *arg), void *arg);

/* --- an exchange ----------------------------------------------------------------------------- */

/* Borrowed until the exchange ends. */
const struct http_request *http_request(const struct http_exchange *x);
/* The first field of that name (any case), NULL when absent. */
const struct http_slice *http_field(const struct http_request *r, const char *name);
/* Does a browser send it for a page of another site (RFC 6454, section 7)? Whoever has rights by an
 * address alone has none then. What is no browser says no Origin. */
bool http_is_foreign(const struct http_request *r);
/* "10.1.2.3:4711", "[::1]:80", "unix". */
void http_peer_text(const struct http_request *r, char text[64]);

/* How an exchange ended. */
struct http_ended {
    bool complete;  /* every byte of the answer was handed to the kernel */
    bool failed;    /* the body gave out before its end: not the client's doing */
    u64 body_bytes; /* of the answer's body sent */
    int status;     /* 0: never answered */
};

/* `cb` is called exactly once: when the answer is sent, or cannot be any more because the client
 * left or the server closes. After it `x` is invalid; before it, x is valid. A body is closed just
 * before. */
void http_on_end(struct http_exchange *x, void (*cb)(void *arg, const struct http_ended *e),
                 void *arg);

/* Is the body left to http_upload_read()? */
bool http_upload_is(const struct http_exchange *x);
u64 http_upload_length(const struct http_exchange *x); /* HTTP_LENGTH_UNKNOWN: chunked */
/* `came` is called once after each ERR_AGAIN, from the loop, when reading may go on. */
void http_upload_on(struct http_exchange *x, void (*came)(void *arg), void *arg);
/* The next bytes of the body, before the reply. > 0: that many. 0: the end. ERR_AGAIN: none yet.
 * ERR_EOF, ERR_IO: the client left; ERR_PROTO: its chunks are malformed. Who answers without
 * reading to the end ends the connection with the answer. */
must_use ssize_t http_upload_read(struct http_exchange *x, void *buf, size_t max);

/* Adds a response field, before the reply. A name that is no token, a value with CR, LF, NUL or
 * another control character, or what does not fit in LIMIT_HTTP_REPLY_HEAD, is not added:
 * ERR_INVAL, ERR_TOOBIG. Content-Length, Transfer-Encoding, Connection, Keep-Alive, Date and Server
 * are the connection's: ERR_INVAL too. */
int http_add(struct http_exchange *x, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int http_add_n(struct http_exchange *x, struct http_slice name, struct http_slice value);

/* For answers that are given again and again: writes one whole line to `out` under the same rules
 * as http_add(); returns its length, 0 when it is refused or does not fit. */
size_t http_line(char *out, size_t cap, const char *name, const char *value);
/* Adds lines that http_line() made. ERR_TOOBIG. */
int http_add_lines(struct http_exchange *x, const char *lines, size_t len);

#define HTTP_LENGTH_UNKNOWN UINT64_MAX

/* Answers; `status` is 200 to 599 (anything else, as a confused upstream may say, becomes 502).
 * `body` is taken (NULL: none). `length`: the Content-Length; HTTP_LENGTH_UNKNOWN sends chunked
 * (HTTP/1.0: until close). For HEAD, 204 and 304 the head goes out with that Content-Length (unless
 * 204/304) and the body is closed unread. A body that ends before `length`, or fails: what there
 * was, then FIN; over TLS without close_notify, which only a whole answer gets. */
void http_reply(struct http_exchange *x, int status, struct body *body, u64 length);
/* A whole small answer; `text` is copied. */
void http_reply_text(struct http_exchange *x, int status, const char *content_type,
                     const char *text, size_t len);
/* An OCI error body. message, detail may be NULL. */
void http_reply_oci(struct http_exchange *x, enum oci_code code, const char *message,
                    const char *detail);
/* Same, under another HTTP status than the code's usual one. */
void http_reply_oci_status(struct http_exchange *x, int status, enum oci_code code,
                           const char *message, const char *detail);

/* The body, that said ERR_AGAIN, has bytes now (or an error). Cheap, idempotent, safe from anywhere
 * on the loop, even from inside the body's own calls. */
void http_wake(struct http_exchange *x);
/* Bytes already handed to the kernel of this answer's body. */
u64 http_sent(const struct http_exchange *x);
/* The least round-trip time to the client that its socket has measured, in microseconds; 0: not
 * known. Also from within the callback at the end. */
u32 http_rtt_us(const struct http_exchange *x);

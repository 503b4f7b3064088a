/* http_client.h - HTTP out: libcurl's multi socket interface on the loop.
 *
 * One transfer is one request to one URL: redirects are never followed here (upstream.c does,
 * by the design's rules), nothing is decoded, no proxy from the environment is used, no cookie is
 * kept. HTTP/1.1 only: with HTTP/2 a paused stream buffers 32 MiB in libcurl. Connections are kept
 * and reused. All callbacks run on the loop, never from inside a call into this module. */
#pragma once

#include <sys/socket.h>
#include <sys/types.h>
#include <uv.h>

#include "proto/err.h"

struct http_client;
struct http_transfer;

struct http_response {
    int status;
    u64 content_length; /* UINT64_MAX when not said */
    struct http_response_field {
        const char *name, *value; /* NUL-terminated, value trimmed */
    } * fields;                   /* of the final response, in order, repeated ones repeated */
    size_t n_fields;
};

/* First field of that name (any case), NULL when absent. Borrowed as the response is. */
const char *http_response_field(const struct http_response *r, const char *name);

#define HTTP_IGNORED_BYTES (64 * KIB)

enum http_data_verdict { HTTP_DATA_TAKEN, HTTP_DATA_PAUSE };

struct http_transfer_events {
    /* The final response's head (not 1xx). Once, before any data. `r` is borrowed for the call. */
    void (*head)(void *arg, const struct http_response *r);
    /* Some of the body. HTTP_DATA_PAUSE: nothing of it was taken; the same bytes (perhaps more)
     * come again after http_transfer_resume(). NULL: nobody wants it; one of more than
     * HTTP_IGNORED_BYTES ends with ERR_TOOBIG, and one that drips ends when head and stall timeout
     * together have passed. */
    enum http_data_verdict (*data)(void *arg, const void *data, size_t len);
    /* The end, once, and the last callback; the transfer is freed after it. err 0: the whole body
     * came; one that has neither length nor chunks ends where the connection does, and whether that
     * was all only its reader can tell. ERR_EOF: cut short of Content-Length or chunked end.
     * ERR_TIMEOUT, ERR_UNREACHABLE (resolve or connect), ERR_TLS, ERR_TOOBIG (head), ERR_DENIED
     * (address not allowed), ERR_PROTO, ERR_IO. `why` is a sentence for the log (never holds
     * headers or query). */
    void (*end)(void *arg, int err, const char *why);
};

struct http_transfer_options {
    const char *method;        /* NULL: "GET". "HEAD" reads no body */
    const char *url;           /* http or https, absolute */
    const char *const *fields; /* request header lines "Name: value"; copied. Sent are these, Host
                                  and User-Agent: no Accept unless given */
    size_t n_fields;
    const void
        *body; /* NULL: none. Copied; sent with its length, and no Content-Type unless given */
    size_t body_len;
    /* Instead of `body`: asked for the next bytes when the connection can send them. > 0: that
     * many; 0: the end; ERR_AGAIN: none yet, http_transfer_feed() when there are; else the transfer
     * ends with that error. Called inside libcurl: must not call this module. Always on a
     * connection of its own, since a body cannot be sent twice. */
    ssize_t (*upload)(void *arg, void *buf, size_t max);
    u64 upload_len;         /* UINT64_MAX: not known, sent in chunks */
    const char *ca_file;    /* NULL: the system's */
    bool any_name;          /* https: a certificate that `ca_file` signed is enough, whatever its
                               name: for peers, dialled by address, who prove themselves otherwise */
    u32 connect_timeout_ms; /* 0: 5,000 */
    u32 head_timeout_ms;    /* 0: 60,000: from start to the final head */
    u32 stall_timeout_ms;   /* 0: 30,000: body bytes expected, not paused, none come */
    u32 whole_timeout_ms;   /* 0: none: from start to the end of the body, for short answers that
                               somebody waits for: else a body that trickles never ends */
    /* Asked for each resolved address before connecting; NULL: all allowed. Called inside libcurl:
     * must only look. */
    bool (*allow)(void *arg, const struct sockaddr *address);
    struct http_transfer_events on;
    void *arg;
};

struct http_client_options {
    uv_loop_t *loop;
    const char *user_agent; /* copied */
    unsigned max_per_host;  /* connections; 0: 64 */
    unsigned kept;          /* connections kept for the next request, in all; 0: 256 */
};

must_use int http_client_new(struct http_client **out, const struct http_client_options *opt);
/* Cancels what runs (no callbacks), closes connections; frees itself on the loop. */
void http_client_del(struct http_client *c);
/* CA files may have changed (SIGHUP): transfers started from now on read them afresh, on
 * connections of their own. Running transfers go on. */
void http_client_reload(struct http_client *c);

/* `opt` is copied. Fails only on ERR_NOMEM and ERR_INVAL (URL or field malformed); all else comes
 * by `end`. */
must_use int http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                                 struct http_transfer **out);
/* After HTTP_DATA_PAUSE. Idempotent; data comes later, from the loop. */
void http_transfer_resume(struct http_transfer *t);
/* After an `upload` that said ERR_AGAIN. Idempotent. */
void http_transfer_feed(struct http_transfer *t);
/* No callback after this. The transfer is freed. */
void http_transfer_cancel(struct http_transfer *t);

/* http_client_impl.h - what the files of the HTTP client share; nobody else includes it.
 *
 * http_client.c           the loop: sockets, timers, the pump, deadlines, the end of the client
 * http_client_transfer.c  one transfer: its options for libcurl, its callbacks, its result in words
 * http_client_kept.c      is a kept connection still good
 * http_client_request.c   what the caller gives for it, checked
 * http_client_head.c      the lines of a response head, read strictly
 *
 * A transfer's life:
 *
 *   start() -> QUEUED --pump--> RUNNING --libcurl says done, or a deadline--> ENDED -> freed
 *                 |                |
 *                 +----cancel()----+--> CANCELED --pump--> freed
 *
 * Only the pump (an idle callback, so nothing of ours or libcurl's is on the stack) adds, resumes
 * and removes: that is what makes every call of http_client.h safe from inside any callback. */
#pragma once

#include <curl/curl.h>

#include "proto/limits.h"
#include "runtime/http_client.h"

/* The head of the response at hand: starts again at every status line, so that interim (1xx) heads
 * leave nothing behind. */
struct client_head {
    char *text; /* name NUL value NUL name NUL … */
    size_t len, cap;
    size_t seen; /* bytes of all heads of this transfer, interim ones included */
    struct http_response response;
    bool started, complete;
    const char *why; /* after an error: a literal */
};

void client_head_fini(struct client_head *h);
/* One line as it came, line end included. 0: go on; 1: the final head is complete; ERR_TOOBIG,
 * ERR_PROTO, ERR_NOMEM. Lines after a complete head are trailers: counted, otherwise ignored. */
must_use int client_head_line(struct client_head *h, const char *line, size_t len);

/* RFC 9110, 5.6.2. */
bool client_request_token(const char *s, size_t len);
/* Checks with libcurl's own parser, and keeps scheme, host and port for sentences. ERR_INVAL. */
must_use int client_request_url(const char *url, char *origin, size_t cap);
/* The header lines as libcurl wants them; `*fields` is the caller's to free in any case. */
must_use int client_request_fields(const struct http_transfer_options *opt,
                                   struct curl_slist **fields);

enum transfer_state { TRANSFER_QUEUED, TRANSFER_RUNNING, TRANSFER_CANCELED, TRANSFER_ENDED };

struct http_transfer {
    struct http_client *client;
    struct http_transfer *next, *prev; /* all of the client's transfers */
    struct http_transfer *work_next;   /* what waits for the pump */
    bool in_work;
    enum transfer_state state;
    CURL *easy;
    struct curl_slist *fields;
    struct client_head head;
    bool head_only;     /* HEAD: no body follows */
    bool paused;        /* the body's reader asked for a pause */
    bool resume;        /* it wants to go on, or never wanted to stop (see on_body()) */
    u64 run, run_bytes; /* in which run of libcurl the body last came, and how much of it */
    int fail;           /* our own reason to break off, 0: none */
    const char *fail_why;
    u64 started_ms, progress_ms;
    bool late;    /* at the last sweep */
    u64 received; /* bytes of the body that were taken */
    u32 head_timeout_ms, stall_timeout_ms, whole_timeout_ms;
    ssize_t (*upload)(void *arg, void *buf, size_t max);
    bool starved;    /* it had nothing to send */
    bool sent;       /* all of it */
    u64 upload_left; /* UINT64_MAX: not known */
    bool (*allow)(void *arg, const struct sockaddr *address);
    unsigned opened; /* sockets opened to allowed addresses */
    bool leftovers;  /* the connection held bytes before the request was sent: another is made */
    int fd;          /* the last one opened */
    char denied[64]; /* the last address that was not */
    struct http_transfer_events on;
    void *arg;
    char origin[280];            /* "https://host:port", for sentences */
    char *ca;                    /* the CA file, NULL when libcurl has none */
    bool own_ca;                 /* and it was named by the caller */
    char error[CURL_ERROR_SIZE]; /* libcurl's own words */
};

#define CLIENT_SPARES 16

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    CURLSH *share; /* TLS sessions, so that a new connection resumes whichever handle makes it */
    char *user_agent;
    uv_timer_t timer; /* libcurl's */
    uv_timer_t sweep; /* head and stall deadlines */
    uv_idle_t pump;
    size_t handles; /* open libuv handles; the client is freed when the last one closes */
    bool kicked;    /* libcurl wants to run at once */
    bool closing;
    u64 runs;                  /* counts the times libcurl was let run */
    unsigned generation;       /* counts http_client_reload() */
    struct http_transfer *all; /* newest first */
    struct http_transfer *work_first, *work_last;
    struct client_socket { /* libcurl tells a kept connection by its ports alone */
        int fd;
        u16 local, peer;
    } * sockets;
    size_t n_sockets, cap_sockets;
    CURL *spares[CLIENT_SPARES]; /* easy handles to use again */
    size_t n_spares;
};

/* http_client.c */
void http_client_queue(struct http_client *c, struct http_transfer *t);

/* http_client_kept.c; libcurl tells a connection by its ports. */
void client_kept_note(struct http_transfer *t, u16 local, u16 peer); /* a new one */
int client_kept_close(void *client, curl_socket_t fd);               /* libcurl's own callback */
/* Before anything is sent: does it hold bytes, or has it ended? */
bool client_kept_is_used_up(const struct http_transfer *t, u16 local, u16 peer);

/* http_client_transfer.c */
/* Tells `end` unless cancelled, and frees, now or in the pump. Never called from inside libcurl. */
void http_transfer_finish(struct http_transfer *t, CURLcode code);
void http_transfer_free(struct http_transfer *t);
/* The pump's two steps. */
void http_transfer_add(struct http_transfer *t);
void http_transfer_unpause(struct http_transfer *t);

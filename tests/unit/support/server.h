/* server.h - a registry that does what a test says: HTTP/1.1 on 127.0.0.1, plain or TLS.
 *
 * Why: what matters about fetching is what happens when the other side breaks off, lies, stalls or
 * sends us elsewhere. Each connection has a thread that reads a request, notes it, and lets the
 * test's script answer it with plain blocking calls. Scripts run beside the test: they look only at
 * their request, at gates, and at data that no longer changes; they assert nothing.
 *
 * server_del() ends every connection and thread, whatever a script waits for. */
#pragma once

#include "proto/digest.h"
#include "proto/types.h"

struct server;
struct server_peer; /* one connection, inside a script */

struct server_request {
    unsigned number; /* 0, 1, ...: requests of this server, in order of arrival */
    char method[16];
    char target[1024];
    char head[8192]; /* field lines as they came */
};

typedef void (*server_script)(struct server_peer *p, const struct server_request *r, void *arg);

/* `ca_file`: NULL for plain HTTP; else TLS, under a certificate made for the purpose and written
 * there for clients to trust. Asserts that all goes well. */
struct server *server_new(server_script script, void *arg, const char *ca_file);
void server_del(struct server *s);

const char *server_url(const struct server *s);  /* "http://127.0.0.1:41234" */
const char *server_host(const struct server *s); /* "127.0.0.1:41234" */

/* Requests that came so far, and the n-th of them. */
unsigned server_count(struct server *s);
void server_request_at(struct server *s, unsigned n, struct server_request *out);
/* How many of them asked for exactly this target. */
unsigned server_count_of(struct server *s, const char *target);
/* The value of a field of a request, in a buffer shared by all; NULL: absent. */
const char *request_field(const struct server_request *r, const char *name);

/* A gate stands still until the test opens it; gates are numbered 0 to 15. */
void server_open(struct server *s, unsigned gate);

/* For scripts. After a script returns, its connection serves the next request. */
void say(struct server_peer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void say_bytes(struct server_peer *p, const void *data, size_t len);
/* A whole answer with its length; `fields` are further lines ("A: b\r\n"), or "". */
void say_answer(struct server_peer *p, int status, const char *fields, const char *body);
/* Nobody takes anything any more: the other side left, or it was hung up. */
bool peer_left(const struct server_peer *p);
void say_chunk(struct server_peer *p, const void *data, size_t len); /* len 0: the last one */
void hang_up(struct server_peer *p); /* FIN; nothing more is served */
void wait_gate(struct server_peer *p, unsigned gate);
void wait_gone(struct server_peer *p); /* until the client leaves: never answers */
/* From now on nothing of this connection arrives, as if its line were cut. */
void go_silent(struct server_peer *p);

/* Bytes that stand for a layer, the same for equal seeds; free() them. */
struct layer {
    u8 *data;
    size_t len;
    struct digest digest;
    char text[DIGEST_TEXT_SIZE];
};
void layer_make(struct layer *l, size_t len, u64 seed);
void layer_free(struct layer *l);

/* As a good registry answers a GET of it, by Range when asked; only `limit` bytes of the body are
 * sent before it hangs up (SIZE_MAX: all). */
void say_layer(struct server_peer *p, const struct server_request *r, const struct layer *l,
               size_t limit);

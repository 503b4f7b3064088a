/* http_parse.h - one request's bytes, judged: the head split by llhttp, the framing by our own
 * rules.
 *
 * Why: a request that two programs read differently is a smuggled request. So every head passes two
 * readers: a byte scanner of ours, which knows only lines, and llhttp, which knows the grammar;
 * what either refuses is refused, and both must count the same header lines. Guarantee: an accepted
 * head has one meaning. Spans lie inside the head. Not here: sockets, memory, deadlines, answers.
 * Owns nothing; a pure function of the bytes. */
#pragma once

#include "proto/err.h"
#include "proto/limits.h"

/* Why a request is refused: name in metrics, HTTP status, sentence for the client. */
#define HTTP_REFUSAL_TABLE(X)                                                                      \
    X(SYNTAX, 400, "the request is not valid HTTP/1.1")                                            \
    X(LINE_END, 400, "every line of a request must end in CR LF")                                  \
    X(CONTROL, 400, "the request holds a control character")                                       \
    X(FOLDED, 400, "folded header lines are not accepted")                                         \
    X(TARGET, 400, "the request target must be a path: this server is not a proxy")                \
    X(HOST, 400, "HTTP/1.1 needs exactly one valid Host header")                                   \
    X(LOGIN, 400, "Authorization must appear at most once")                                        \
    X(LENGTH, 400, "Content-Length must appear once, in decimal digits")                           \
    X(FRAMING, 400, "Content-Length and Transfer-Encoding exclude each other")                     \
    X(CHUNK, 400, "the chunked body is malformed")                                                 \
    X(HTTPS_PORT, 400, "this port speaks https: use an https:// URL")                              \
    X(HEAD_SLOW, 408, "the request's head took too long")                                          \
    X(BODY_SLOW, 408, "the request's body took too long")                                          \
    X(BODY_LONG, 413, "the request's body is too large")                                           \
    X(TARGET_LONG, 414, "the request target is too long")                                          \
    X(EXPECT, 417, "the only expectation met here is 100-continue")                                \
    X(HEAD_LONG, 431, "the request's head is too large")                                           \
    X(FIELDS, 431, "the request has too many header lines")                                        \
    X(METHOD, 501, "this method is not implemented")                                               \
    X(CODING, 501, "the only transfer coding understood here is chunked")                          \
    X(LARGE_BUSY, 503, "too many large requests at once: try again")                               \
    X(VERSION, 505, "this server speaks HTTP/1.1 and HTTP/1.0")

enum http_refusal {
    HTTP_REFUSE_NONE,
#define X(name, status, text) HTTP_REFUSE_##name,
    HTTP_REFUSAL_TABLE(X)
#undef X
        HTTP_REFUSALS
};

const char *http_refusal_name(enum http_refusal r); /* "HEAD_LONG" */
const char *http_refusal_text(enum http_refusal r);
int http_refusal_status(enum http_refusal r);

/* Bytes [at, at + n) of a head. */
struct http_span {
    u16 at, n;
};

/* How far one head has been scanned; zero to begin. */
struct http_scan {
    u32 at;       /* next byte to look at */
    u32 line;     /* where the current line starts */
    u16 lines;    /* complete lines, request line included */
    bool skipped; /* the one empty line that may stand before a request was there */
};

/* Looks for the blank line in buf[0, len), which begins with what was shown before. Fails at the
 * first byte that no valid head can hold, so that nobody waits for an end that never comes. 0:
 * complete in `*head_len` bytes. ERR_AGAIN: more is needed. ERR_PROTO: `*why`. */
must_use int http_head_scan(struct http_scan *s, const char *buf, size_t len, size_t *head_len,
                            enum http_refusal *why);

struct http_head {
    struct http_span method, target;
    u8 minor;             /* of HTTP/1.minor: 0 or 1 */
    bool keep_alive;      /* the client would like to ask more */
    bool expect_continue; /* it waits for 100 before it sends its body */
    bool chunked;
    u64 content_length; /* 0 when not said */
    u16 n_fields;
    struct http_head_field {
        struct http_span name, value;
    } fields[LIMIT_HTTP_HEADERS];
};

/* Reads a head that http_head_scan() found complete. ERR_PROTO: `*why`. */
must_use int http_head_parse(struct http_head *h, const struct http_scan *s, const char *buf,
                             size_t head_len, enum http_refusal *why);

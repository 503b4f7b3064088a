/* err.h - what a fallible function returns: 0, or one of these, negative.
 *
 * One table serves the enum, the names in logs and metrics, and the sentences people read. A
 * programmer's mistake is an assertion, never one of these. */
#pragma once

#include "proto/types.h"

#define ERR_TABLE(X)                                                                               \
    X(ERR_INVAL, 1, "malformed")                                                                   \
    X(ERR_NOMEM, 2, "out of memory")                                                               \
    X(ERR_FULL, 3, "a limit or the capacity is reached")                                           \
    X(ERR_NOTFOUND, 4, "not found")                                                                \
    X(ERR_EXISTS, 5, "already there")                                                              \
    X(ERR_AGAIN, 6, "not yet: ask again when told")                                                \
    X(ERR_BUSY, 7, "in use by another")                                                            \
    X(ERR_IO, 8, "input or output failed")                                                         \
    X(ERR_NOSPACE, 9, "the disk is full")                                                          \
    X(ERR_CORRUPT, 10, "the bytes do not match their digest")                                      \
    X(ERR_DENIED, 11, "not permitted")                                                             \
    X(ERR_TIMEOUT, 12, "took too long")                                                            \
    X(ERR_CANCELED, 13, "cancelled")                                                               \
    X(ERR_PROTO, 14, "the other side broke the protocol")                                          \
    X(ERR_TOOBIG, 15, "larger than permitted")                                                     \
    X(ERR_RANGE, 16, "the range cannot be satisfied")                                              \
    X(ERR_UNREACHABLE, 17, "no connection")                                                        \
    X(ERR_TLS, 18, "TLS refused")                                                                  \
    X(ERR_EOF, 19, "ended too early")                                                              \
    X(ERR_UNSUPPORTED, 20, "not supported")

enum err {
    ERR_OK = 0,
#define X(name, number, text) name = -(number),
    ERR_TABLE(X)
#undef X
};

/* "ERR_TIMEOUT": for logs and metric labels. Static; any int is answered. */
const char *err_name(int err);

/* "took too long": for people. Static; any int is answered. */
const char *err_text(int err);

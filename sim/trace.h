/* trace.h - pulls that really happened, read from a file, to be replayed.
 *
 * Why: what a cache is worth is said best by a registry's own log. The file is CSV: a header that
 * names the columns, then a line for each layer that was asked for.
 *
 *     time         seconds from any zero, up to nine decimals; never less than the line before
 *     user         who asked: stands for a person or a machine, and is mapped to a node
 *     repository   of which image
 *     digest       sha256:... or sha512:...
 *     bytes        its size, the same wherever the digest stands
 *     office       optional, and may be empty: where the user is
 *
 * The columns stand in any order, others are passed over; no quotes. Lines that follow each other
 * with the same time, user, repository and office are one pull, of up to CATALOG_LAYERS_MAX layers.
 * Guarantees: whatever the text, it is taken within the bounds below, or refused with the number of
 * the line at fault. The same text gives the same layers and pulls, in the same order.
 * Not here: which node a user is (scenario_trace.c). Owns what it read; nothing of the text. */
#pragma once

#include "proto/digest.h"
#include "proto/err.h"
#include "proto/limits.h"

#define TRACE_BYTES_MAX       (256 * MIB) /* of the file */
#define TRACE_ROWS_MAX        1000000
#define TRACE_LINE_MAX        4096
#define TRACE_COLUMNS_MAX     64
#define TRACE_TEXT_MAX        255        /* of a user or a repository */
#define TRACE_OFFICE_MAX      31         /* as in topology.h */
#define TRACE_SPAN_S          400000     /* from the first line to the last: as `duration` */
#define TRACE_LAYER_BYTES_MAX (16 * GIB) /* as flow.h takes it */

struct trace_layer {
    struct digest digest;
    u64 bytes;
};

struct trace_pull {
    u64 at_ns;                         /* since the first */
    u64 user;                          /* a hash of the name */
    u32 line;                          /* its first, in the file */
    u32 first, n;                      /* into `rows` */
    char office[TRACE_OFFICE_MAX + 1]; /* "": not said */
};

struct trace {
    struct trace_layer *layers; /* each once, by digest */
    size_t n_layers;
    u32 *rows; /* a layer each, in the file's order */
    size_t n_rows;
    struct trace_pull *pulls;
    size_t n_pulls, pulls_cap;
};

#define TRACE_WHY_MAX 200

/* `text` has `len` bytes. ERR_INVAL, ERR_TOOBIG, and a sentence that begins with the line; `t` is
 * then empty. */
must_use int trace_read(struct trace *t, const char *text, size_t len, char why[TRACE_WHY_MAX]);
void trace_fini(struct trace *t);

/* --- its users in a topology (scenario_trace.c) ---------------------------------------------- */

struct topology;

/* ERR_INVAL and a sentence: a line names an office that is not there. */
must_use int scenario_trace_check(const struct trace *t, const struct topology *places,
                                  char why[256]);
/* The node of a pull's user: by the hash of the name, in the office if one is named. */
u32 scenario_trace_node(const struct topology *places, const struct trace_pull *p);

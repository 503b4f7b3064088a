/* memo.h - small things kept in memory: hot manifests, and what a registry last said, for when it
 * is away.
 *
 *   documents   manifests by digest, least recently used out first, 16 MiB in all
 *   sayings     tag -> digest, and answers to /v2/, each for one set of asker, place and accepted
 * types; used only while the registry is away and authz.grace allows
 *
 * Documents are shared by reference: an answer being sent keeps its document alive. Loop thread
 * only. */
#pragma once

#include "proto/digest.h"
#include "proto/err.h"

struct memo;

struct document {
    struct digest digest;
    char *media_type;
    u8 *data;
    size_t len;
    char lines[768]; /* the fields of its answer, ready to send (http_line) */
    size_t lines_len;
    /* the memo's own */
    unsigned refs;
    struct document *newer, *older, *chain;
};

must_use int memo_new(struct memo **out);
void memo_del(struct memo *m);

/* Keeps a copy; replaces nothing that is there. Returns it with a reference for the caller, NULL
 * when out of memory or too large. */
struct document *memo_put(struct memo *m, const struct digest *d, const char *media_type,
                          const void *data, size_t len);
/* With a reference for the caller, NULL when not kept. */
struct document *memo_get(struct memo *m, const struct digest *d);
/* `d` is a struct document *. */
void document_release(void *d);
void memo_forget(struct memo *m, const struct digest *d);

/* What was said, keyed by 16 bytes of the caller's making. */
struct saying {
    u8 key[16];
    u64 at_ms; /* Unix time; 0: empty */
    int status;
    struct digest digest; /* of a tag */
    char challenge[1024]; /* WWW-Authenticate of a /v2/ answer */
};

/* Finds (NULL when not there) or makes room for a key; borrowed until the next call. */
const struct saying *memo_recall(const struct memo *m, const u8 key[16]);
struct saying *memo_note(struct memo *m, const u8 key[16], u64 now_ms);

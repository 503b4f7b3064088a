/* http_chunk.h - the chunked transfer coding, read strictly (RFC 9112 section 7.1).
 *
 * Why not llhttp's: Debian builds it without LLHTTP_STRICT_MODE, and it then takes other bytes for
 * the line ends of the framing; and we want neither extensions nor trailers, which no registry
 * client sends and which only ever served smuggling. Owns nothing. */
#pragma once

#include "proto/err.h"

enum http_chunk_state {
    HTTP_CHUNK_SIZE,    /* hexadecimal digits, then CR */
    HTTP_CHUNK_SIZE_LF, /* LF after the size */
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_CR, /* CR, LF after the data */
    HTTP_CHUNK_DATA_LF,
    HTTP_CHUNK_END_CR, /* the blank line after the last chunk */
    HTTP_CHUNK_END_LF,
    HTTP_CHUNK_DONE,
};
/*
 *  SIZE ─CR─► SIZE_LF ─LF, size > 0─► DATA ─all─► DATA_CR ─► DATA_LF ─► SIZE
 *                └─LF, size = 0─► END_CR ─► END_LF ─► DONE
 */

struct http_chunk { /* zero to begin */
    enum http_chunk_state state;
    u8 digits; /* of the size so far */
    u64 left;  /* of the chunk's data */
};

/* Reads from in[0, len): takes `*used` bytes, of which `data` (inside `in`, `*n` bytes, maybe 0)
 * are payload. Call again with the rest. 0: go on; the end is state DONE. ERR_PROTO: malformed. */
must_use int http_chunk_read(struct http_chunk *c, const char *in, size_t len, size_t *used,
                             const char **data, size_t *n);

/* range.h - the part of a blob that a request asks for (RFC 9110, section 14).
 *
 * One range is honoured; several, another unit, or nonsense are ignored, as the RFC permits: the
 * answer is then the whole blob, which every client accepts. */
#pragma once

#include "proto/types.h"

enum range_kind {
    RANGE_NONE,  /* no range, or one to be ignored: 200 and the whole */
    RANGE_PART,  /* 206 and first..last */
    RANGE_UNMET, /* 416 */
};

struct byte_range {
    u64 first;
    u64 last; /* inclusive, < size */
};

/* Reads a Range header's value (`len` characters, not NUL-terminated) against a blob of `size`
 * bytes.
 * `*r` is set for RANGE_PART, and to the whole blob for RANGE_NONE when size > 0. */
enum range_kind range_parse(const char *value, size_t len, u64 size, struct byte_range *r);

/* What a server answered in Content-Range: "bytes 5-9/10". `*size` is UINT64_MAX when the total is
 * given as an asterisk. ERR_INVAL when malformed, or first > last, or last >= size. */
must_use int range_parse_content(const char *value, size_t len, struct byte_range *r, u64 *size);

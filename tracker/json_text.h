/* json_text.h - JSON written straight to a growing text, for what is too much for a tree.
 *
 * A thousand nodes of twelve fields each would be as many small allocations as fields. Strings are
 * escaped, bytes that are not UTF-8 become U+FFFD, so that whoever reads it gets JSON whatever a
 * node calls itself. An allocation that fails is remembered and everything after it dropped. */
#pragma once

#include "proto/types.h"

struct json_text {
    char *p; /* owned; not NUL-terminated */
    size_t n, cap;
    bool failed;
};

/* printf, for numbers and punctuation. */
void json_text_add(struct json_text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void json_text_string(struct json_text *t, const char *s); /* with its quotes; NULL: "" */
void json_text_fini(struct json_text *t);

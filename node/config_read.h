/* config_read.h - between config.c and config_read.c: one load, and its steps that read what was
 * written.
 *
 * A step returns 0, or an error with the loader's `why` filled. */
#pragma once

#include "node/config.h"
#include "node/config_schema.h"

struct loader {
    struct node_config *out;
    struct raw_config *raw;
    const char *file; /* NULL: none */
    const struct config_flag *flags;
    size_t n_flags;
    char *why; /* CONF_WHY_MAX */
};

/* Says "FILE:LINE: KEY: ..." or "--KEY: ...", whichever the operator wrote. Returns ERR_INVAL. */
int config_refuse(const struct loader *l, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a value and the sentence that follows it. */
int config_refuse_value(const struct loader *l, const char *key, const char *value,
                        const char *sentence);
/* Returns ERR_NOMEM. */
int config_no_memory(const struct loader *l);
/* Replaces a text by a copy. */
must_use int config_set_text(const struct loader *l, char **to, const char *text);

/* Is every flag the name of a key? */
must_use int config_check_flags(const struct loader *l);
/* One key of the table: found, read, put into `out`. One that is absent and has no preset stays
 * zero. */
must_use int config_apply_key(const struct loader *l, const struct config_key *k);
must_use int config_apply_upstreams(const struct loader *l);

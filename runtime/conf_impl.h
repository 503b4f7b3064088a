/* conf_impl.h - what the files of the config reader share, and what its tests and fuzzing use.
 *
 * conf.c         reading the file, libcyaml under limits
 * conf_check.c   the schema check, with lines and hints, on libyaml's events
 * conf_hint.c    "did you mean"
 * conf_line.c    where a key stands
 * conf_scalar.c  numbers, sizes, durations   conf_cidr.c  networks   conf_secret.c  secret files */
#pragma once

#include <yaml.h>

#include "runtime/conf.h"

/* As conf_load(), of bytes in memory; `name` stands for the path in `why`. */
must_use int conf_load_bytes(const char *name, const void *data, size_t len,
                             const cyaml_schema_value_t *schema, void **out,
                             char why[CONF_WHY_MAX]);

/* Walks the whole text against the schema. ERR_INVAL with `why`, ERR_NOMEM. */
must_use int conf_check(const char *name, const void *data, size_t len,
                        const cyaml_schema_value_t *schema, char why[CONF_WHY_MAX]);

/* As conf_line_of(), of bytes in memory. */
unsigned conf_line_of_bytes(const void *data, size_t len, const char *key);

/* What may have been meant by `key`, which is none of `fields`, in `out`: " did you mean `url`?",
 * or where in `root` the key belongs, or the list of keys there are. Never longer than `cap`. */
void conf_hint(const cyaml_schema_field_t *fields, const cyaml_schema_value_t *root,
               const char *key, char *out, size_t cap);

/* Appends to a text that is cut at `cap`. */
void conf_append(char *out, size_t cap, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

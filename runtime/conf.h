/* conf.h - what both daemons' configs share: reading YAML under limits, and reading scalars
 * strictly.
 *
 * libcyaml checks the schema (unknown, duplicate, missing keys; aliases refused; budgeted memory),
 * but is lenient with scalars (`10k` is 10, `banana` is true), so every scalar is a string to it
 * and is read here. Errors name file, line, key and what to write instead. */
#pragma once

#include <cyaml/cyaml.h>

#include "proto/err.h"

#define CONF_WHY_MAX 512

/* Loads `path` against `schema`; `*data` is freed by conf_free() with the same schema. An empty
 * file, one over LIMIT_CONFIG_BYTES, a directory, bad YAML: ERR_INVAL or ERR_IO with `why` like
 * "/etc/dray/node.yaml:7: upstreams[0].urll: unknown key; did you mean `url`?" (the hint only when
 * close). */
must_use int conf_load(const char *path, const cyaml_schema_value_t *schema, void **data,
                       char why[CONF_WHY_MAX]);
void conf_free(const cyaml_schema_value_t *schema, void *data);

/* The line (1-based) on which key path "store.capacity" or "upstreams[1].url" stands in the file, 0
 * when it cannot be told. For errors found after loading. Blocking; start-up and SIGHUP only. */
unsigned conf_line_of(const char *path, const char *key);

/* Strict scalars. ERR_INVAL leaves `*out` alone. */
must_use int conf_size(const char *text,
                       u64 *bytes); /* 0, 1024, 500GiB, 20MB, 1.5TiB; units exact */
must_use int conf_rate(const char *text,
                       u64 *bytes_per_s);                 /* as size, optional "/s"; 0 unlimited */
must_use int conf_duration_ms(const char *text, u64 *ms); /* 0, 250ms, 60s, 5m, 12h, 7d */
must_use int conf_bool(const char *text, bool *out);      /* true, false only */
must_use int conf_u32(const char *text, u32 min, u32 max, u32 *out); /* decimal, no leading zero */

/* "10.20.0.0/16", "::1", "127.0.0.0/8". */
struct cidr {
    u8 bytes[16]; /* IPv4 as ::ffff:a.b.c.d */
    u8 bits;      /* 0..128, counted in the mapped form */
};
struct sockaddr;
must_use int cidr_parse(const char *text, struct cidr *out);
bool cidr_has(const struct cidr *c, const struct sockaddr *address);

/* Reads a small secret file into `out` (NUL-terminated, trailing newline removed). ERR_DENIED when
 * group or others can read or write it, ERR_NOTFOUND, ERR_TOOBIG, ERR_IO; `why` says what to do
 * ("chmod 600 FILE"). Wipe it with sodium_memzero when done. */
must_use int conf_secret(const char *path, char *out, size_t cap, char why[CONF_WHY_MAX]);

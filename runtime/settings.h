/* settings.h - a config's keys, driven by a table: found among the flags, else in the file, else
 * the preset; read strictly, and complained of by file, line and key.
 *
 * Both daemons describe their keys in such a table; --help is made of it, too. What depends on
 * other keys, or on the machine, is theirs. A step returns 0, or an error with `why` filled.
 * Everything put out is a copy. */
#pragma once

#include "proto/err.h"
#include "proto/limits.h"
#include "runtime/conf.h"

#define SETTINGS_LIST_MAX 256 /* entries of a list of addresses: a site, not a continent */

struct settings_list {
    char **v; /* NULL: absent, or empty */
    unsigned n;
};

struct settings_flag {
    const char *key; /* "store.path"; "upstream" for --upstream URL */
    const char *value;
};

/* One key of the config: how it is read, what it may be, how it is explained. */
enum settings_kind {
    SETTING_TEXT,
    SETTING_BOOL,
    SETTING_SIZE,     /* bytes */
    SETTING_RATE,     /* bytes per second */
    SETTING_DURATION, /* ms */
    SETTING_COUNT,
    SETTING_CHOICE, /* one of the words in `value`, separated by | */
    SETTING_TEXTS,  /* a list: the flag is repeated */
    SETTING_CIDRS,  /* a list of networks */
    SETTING_INSIDE, /* of a list's entry: in the file only */
};

struct settings_key {
    const char *key, *default_text, *help;
    const char *value; /* how --help names the value; for SETTING_CHOICE the words */
    enum settings_kind kind;
    bool preset;            /* default_text is the value itself */
    u64 min, max;           /* bounds of numbers */
    size_t from, to, count; /* settings.c's own: where the text stands, where the value and the
                               number of a list's entries go */
};

struct settings {
    void *out;        /* the daemon's struct */
    void *raw;        /* as the YAML spells it; NULL: no file was read */
    const char *file; /* NULL: none */
    const struct settings_flag *flags;
    size_t n_flags;
    char *why; /* CONF_WHY_MAX */
    const struct settings_key *keys;
    size_t n_keys;
    const char *program; /* "dray-node", whose --help to read */
    const char *extra;   /* a flag beside the table's; NULL: none */
};

/* Says "FILE:LINE: KEY: ..." or "--KEY: ...", whichever the operator wrote. Returns ERR_INVAL. */
int settings_refuse(const struct settings *l, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same for a value and the sentence that follows it. */
int settings_refuse_value(const struct settings *l, const char *key, const char *value,
                          const char *sentence);
/* Returns ERR_NOMEM. */
int settings_no_memory(const struct settings *l);
/* Replaces a text by a copy. */
must_use int settings_set_text(const struct settings *l, char **to, const char *text);
/* The last flag of that name; NULL: none. */
const char *settings_flag(const struct settings *l, const char *key);

/* Is every flag the name of a key? */
must_use int settings_check_flags(const struct settings *l);
/* One key of the table: found, read, put into `out`. One that is absent and has no preset stays
 * zero. */
must_use int settings_apply_key(const struct settings *l, const struct settings_key *k);

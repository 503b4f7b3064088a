/* conf.c - see conf.h: the file in, the loaded struct out.
 *
 * The file is read once, whole, under a limit, before anything parses it. conf_check() then finds
 * what is wrong in it; libcyaml loads it, on an allocator with a budget, so that even a text that
 * the check let pass cannot make it take more memory than a config is worth. */
#include "runtime/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/limits.h"
#include "runtime/conf_impl.h"

#define LOAD_BUDGET_BYTES (8 * MIB) /* live at one time, while loading */

struct load {
    size_t live;
    char said[CONF_WHY_MAX]; /* libcyaml's first error */
};

/* libcyaml's allocator: realloc, and free when `size` is 0. Without a context no budget counts. */
static void *budgeted(void *ctx, void *ptr, size_t size)
{
    struct load *l = ctx;
    size_t before = ptr == NULL ? 0 : malloc_usable_size(ptr);
    void *out;

    if (size == 0) {
        free(ptr);
        if (l != NULL)
            l->live -= before < l->live ? before : l->live;
        return NULL;
    }
    if (l == NULL)
        return realloc(ptr, size);
    if (size > before && size - before > LOAD_BUDGET_BYTES - l->live)
        return NULL;
    out = realloc(ptr, size);
    if (out == NULL)
        return NULL;
    l->live += malloc_usable_size(out);
    l->live -= before < l->live ? before : l->live;
    if (l->live > LOAD_BUDGET_BYTES)
        l->live = LOAD_BUDGET_BYTES;
    return out;
}

__attribute__((format(printf, 3, 0))) static void on_said(cyaml_log_t level, void *ctx,
                                                          const char *format, va_list args)
{
    struct load *l = ctx;

    if (level < CYAML_LOG_ERROR || l == NULL || l->said[0] != '\0')
        return;
    vsnprintf(l->said, sizeof(l->said), format, args);
    l->said[strcspn(l->said, "\n")] = '\0';
}

int conf_load_bytes(const char *name, const void *data, size_t len,
                    const cyaml_schema_value_t *schema, void **out, char why[CONF_WHY_MAX])
{
    struct load l = {0};
    cyaml_config_t config = {
        .log_fn = on_said,
        .log_ctx = &l,
        .mem_fn = budgeted,
        .mem_ctx = &l,
        .log_level = CYAML_LOG_ERROR,
        .flags = CYAML_CFG_NO_ALIAS,
    };
    cyaml_data_t *loaded = NULL;
    cyaml_err_t rc;
    int err;

    assert(schema->type == CYAML_MAPPING && (schema->flags & CYAML_FLAG_POINTER) != 0);
    err = conf_check(name, data, len, schema, why);
    if (err != 0)
        return err;
    rc = cyaml_load_data(data, len, &config, schema, &loaded, NULL);
    if (rc != CYAML_OK) {
        *why = '\0';
        conf_append(why, CONF_WHY_MAX, "%s: %s", name,
                    l.said[0] != '\0' ? l.said : cyaml_strerror(rc));
        return rc == CYAML_ERR_OOM ? ERR_NOMEM : ERR_INVAL;
    }
    /* `{}`: nothing set is nothing allocated. */
    if (loaded == NULL && (loaded = calloc(1, schema->data_size)) == NULL) {
        snprintf(why, CONF_WHY_MAX, "%s: out of memory", name);
        return ERR_NOMEM;
    }
    *out = loaded;
    return 0;
}

void conf_free(const cyaml_schema_value_t *schema, void *data)
{
    cyaml_config_t config = {.mem_fn = budgeted, .flags = CYAML_CFG_NO_ALIAS};

    if (data == NULL)
        return;
    cyaml_free(&config, schema, data, 0);
}

/* Reads at most `cap` bytes; one more is a file too large. */
static int read_all(int fd, char *out, size_t cap, size_t *len)
{
    ssize_t n;

    *len = 0;
    for (;;) {
        n = read(fd, out + *len, cap - *len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            return 0;
        *len += (size_t)n;
        if (*len == cap)
            return ERR_TOOBIG;
    }
}

/* The file in a fresh buffer of LIMIT_CONFIG_BYTES and some; `why` may be NULL. */
static int read_file(const char *path, char **data, size_t *len, char *why)
{
    size_t cap = LIMIT_CONFIG_BYTES + 1;
    char words[CONF_WHY_MAX] = "";
    struct stat st;
    int err = ERR_IO;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    *data = NULL;
    if (fd < 0 || fstat(fd, &st) != 0)
        snprintf(words, sizeof(words), "cannot be read: %s", strerror(errno));
    else if (S_ISDIR(st.st_mode))
        snprintf(words, sizeof(words), "is a directory; name the file in it");
    else if (!S_ISREG(st.st_mode))
        snprintf(words, sizeof(words), "is not a regular file");
    else if ((*data = malloc(cap)) == NULL) {
        err = ERR_NOMEM;
        snprintf(words, sizeof(words), "out of memory");
    } else if ((err = read_all(fd, *data, cap, len)) == ERR_IO)
        snprintf(words, sizeof(words), "cannot be read: %s", strerror(errno));
    else if (err == ERR_TOOBIG) {
        err = ERR_INVAL;
        snprintf(words, sizeof(words), "is larger than %llu KiB: is it a config?",
                 LIMIT_CONFIG_BYTES / KIB);
    } else if (*len == 0) {
        err = ERR_INVAL;
        snprintf(words, sizeof(words), "is empty");
    }
    if (fd >= 0)
        close(fd);
    if (err == 0)
        return 0;
    free(*data);
    *data = NULL;
    if (why != NULL)
        snprintf(why, CONF_WHY_MAX, "%.300s: %.200s", path, words);
    return err;
}

int conf_load(const char *path, const cyaml_schema_value_t *schema, void **data,
              char why[CONF_WHY_MAX])
{
    char *text;
    size_t len;
    int err;

    err = read_file(path, &text, &len, why);
    if (err != 0)
        return err;
    err = conf_load_bytes(path, text, len, schema, data, why);
    free(text);
    return err;
}

unsigned conf_line_of(const char *path, const char *key)
{
    unsigned line;
    char *text;
    size_t len;

    if (read_file(path, &text, &len, NULL) != 0)
        return 0;
    line = conf_line_of_bytes(text, len, key);
    free(text);
    return line;
}

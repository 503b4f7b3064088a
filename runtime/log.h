/* log.h - lines for people (text) or machines (JSON), on stderr.
 *
 * A line is an event's words and named values. Never a secret: no Authorization, ticket, key,
 * query. Rate: the same call site writes at most 20 lines in 10 s, then says how many it left out
 * (audit lines are never left out). From the loop's thread only, but for log_* before threads
 * exist. */
#pragma once

#include "proto/types.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_AUDIT };
enum log_format { LOG_TEXT, LOG_JSON };

/* Process-wide, set once at start: a log is the one thing a daemon cannot have two of. */
void log_setup(enum log_level least, enum log_format format, const char *program);
bool log_wants(enum log_level level);

struct log_value {
    const char *name;
    const char *text; /* NULL: `number` counts */
    u64 number;
};
#define LOG_STR(name, text)   ((struct log_value){(name), (text), 0})
#define LOG_NUM(name, number) ((struct log_value){(name), NULL, (number)})

/* text: "2026-11-23T18:23:44.123Z info  store: opened  blobs=12 bytes=345". Values are quoted when
 * they hold blanks; control characters are escaped in both formats. `event` is a format. */
void log_event(enum log_level level, const char *site, const struct log_value *values, size_t n,
               const char *event, ...) __attribute__((format(printf, 5, 6)));

#define LOG_SITE_STR_(x) #x
#define LOG_SITE_STR(x)  LOG_SITE_STR_(x)
#define LOG_SITE         __FILE__ ":" LOG_SITE_STR(__LINE__)

#define log_debug(...) log_event(LOG_DEBUG, LOG_SITE, NULL, 0, __VA_ARGS__)
#define log_info(...)  log_event(LOG_INFO, LOG_SITE, NULL, 0, __VA_ARGS__)
#define log_warn(...)  log_event(LOG_WARN, LOG_SITE, NULL, 0, __VA_ARGS__)
#define log_error(...) log_event(LOG_ERROR, LOG_SITE, NULL, 0, __VA_ARGS__)
/* log_with(LOG_AUDIT, "layer served", LOG_STR("user", u), LOG_NUM("bytes", n)); */
#define log_with(level, event, ...)                                                                \
    log_event((level), LOG_SITE, (struct log_value[]){__VA_ARGS__},                                \
              countof(((struct log_value[]){__VA_ARGS__})), "%s", (event))

/* log.c - see log.h.
 *
 * A line is built in one buffer of at most PIPE_BUF bytes and leaves in one write(2): lines of
 * several processes on one pipe never mix, and a pipe or socket that poll() calls writable takes it
 * without waiting. When stderr is not writable (nobody reads the pipe, a terminal is stopped) the
 * line is dropped and counted; the count is told when writing works again. A daemon never hangs on
 * its log.
 *
 * What came from outside is made harmless here: control characters, C1 controls, bidirectional
 * overrides and bytes that are not UTF-8 are escaped, so that no log line can move a terminal's
 * cursor or pretend to be another line.
 *
 * The rate limit counts by call site in a table of fixed size; sites beyond it share its last row.
 */
#include "runtime/log.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX  PIPE_BUF
#define LOG_VALUE_MAX 1024 /* bytes of one value's text; the rest is cut */
#define LOG_EVENT_MAX 512  /* also when every byte is escaped to six, the event fits its line */
#define LOG_TAIL      32 /* kept free for what must close a line: `,"cut":true}` and the newline */

#define SITE_ROWS      512
#define SITE_LINES     20 /* in one window */
#define SITE_WINDOW_MS 10000

struct site {
    const char *name; /* the call site's literal: compared by address */
    u64 window_ms;    /* when the window began */
    u32 written, left_out;
    enum log_level level;
};

static struct {
    enum log_level least;
    enum log_format format;
    bool colours;
    char program[32];
    u64 lost; /* lines that stderr did not take */
    u64 left_out;
    struct site sites[SITE_ROWS];
} log_state = {.least = LOG_INFO, .format = LOG_TEXT, .program = "dray"};

struct line {
    size_t len;
    bool cut;
    char text[LOG_LINE_MAX];
};

static const char *const level_names[] = {
    [LOG_DEBUG] = "debug", [LOG_INFO] = "info",   [LOG_WARN] = "warn",
    [LOG_ERROR] = "error", [LOG_AUDIT] = "audit",
};
static const char *const level_colours[] = {
    [LOG_DEBUG] = "\033[2m",  [LOG_INFO] = "\033[36m",  [LOG_WARN] = "\033[33m",
    [LOG_ERROR] = "\033[31m", [LOG_AUDIT] = "\033[35m",
};

void log_setup(enum log_level least, enum log_format format, const char *program)
{
    const char *no_colour = getenv("NO_COLOR");

    assert(program != NULL);
    log_state.least = least;
    log_state.format = format;
    log_state.colours =
        format == LOG_TEXT && isatty(STDERR_FILENO) && (no_colour == NULL || *no_colour == '\0');
    snprintf(log_state.program, sizeof(log_state.program), "%s", program);
}

bool log_wants(enum log_level level)
{
    return level == LOG_AUDIT || level >= log_state.least;
}

/* Building a line --------------------------------------------------------------------------------
 */

/* All of `text` or nothing: a line is cut between characters, never inside an escape. */
static bool put(struct line *l, const char *text, size_t len)
{
    if (l->cut || len > sizeof(l->text) - LOG_TAIL - l->len) {
        l->cut = true;
        return false;
    }
    memcpy(l->text + l->len, text, len);
    l->len += len;
    return true;
}

static bool puts_(struct line *l, const char *text)
{
    return put(l, text, strlen(text));
}

static void put_tail(struct line *l, const char *text)
{
    size_t len = strlen(text);

    assert(len <= sizeof(l->text) - l->len);
    memcpy(l->text + l->len, text, len);
    l->len += len;
}

/* The length of the UTF-8 sequence at `s` (RFC 3629: no overlong forms, no surrogates), 0 if it is
 * none. `s` is NUL-terminated, so looking ahead stops by itself. */
static size_t utf8_len(const u8 *s, u32 *point)
{
    size_t n = s[0] < 0x80                   ? 1
               : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
               : s[0] >= 0xe0 && s[0] < 0xf0 ? 3
               : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                             : 0;
    static const u32 least[] = {0, 0, 0x80, 0x800, 0x10000};
    u32 p;

    if (n == 0)
        return 0;
    p = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        p = p << 6 | (s[i] & 0x3f);
    }
    if (p < least[n] || p > 0x10ffff || (p >= 0xd800 && p < 0xe000))
        return 0;
    *point = p;
    return n;
}

/* Characters that would act on a terminal or hide what stands there. */
static bool acts(u32 point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x200e || point == 0x200f ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) ||
           point == 0xfeff;
}

static bool put_escaped(struct line *l, u32 point)
{
    char esc[16];

    switch (point) {
    case '\n': return puts_(l, "\\n");
    case '\r': return puts_(l, "\\r");
    case '\t': return puts_(l, "\\t");
    }
    snprintf(esc, sizeof(esc), "\\u%04x", point);
    return puts_(l, esc);
}

/* `quoted`: inside double quotes, so quotes and backslashes are escaped too. */
static void put_text(struct line *l, const char *text, size_t max, bool quoted)
{
    const u8 *s = (const u8 *)text;
    const u8 *end = s + strnlen(text, max);
    char esc[8];
    u32 point;
    size_t n;
    bool ok = true;

    while (ok && s < end) {
        n = utf8_len(s, &point);
        if (n > (size_t)(end - s))
            break;
        if (n == 0) {
            if (log_state.format == LOG_JSON)
                ok = puts_(l, "\\ufffd");
            else {
                snprintf(esc, sizeof(esc), "\\x%02x", *s);
                ok = puts_(l, esc);
            }
            s++;
            continue;
        }
        if (acts(point))
            ok = put_escaped(l, point);
        else if (quoted && (*s == '"' || *s == '\\'))
            ok = put(l, (char[]){'\\', (char)*s}, 2);
        else
            ok = put(l, (const char *)s, n);
        s += n;
    }
    if (s < end || text[end - (const u8 *)text] != '\0')
        puts_(l, "…");
}

static void put_stamp(struct line *l)
{
    struct timespec ts;
    struct tm tm;
    char stamp[40], all[64];

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(all, sizeof(all), "%s.%03ldZ", stamp, ts.tv_nsec / 1000000);
    puts_(l, all);
}

static bool wants_quotes(const char *text)
{
    if (*text == '\0')
        return true;
    for (const u8 *c = (const u8 *)text; *c != '\0'; c++)
        if (*c <= 0x20 || *c == '"' || *c == '=' || *c == '\\' || *c >= 0x7f)
            return true;
    return false;
}

static void line_text(struct line *l, enum log_level level, const struct log_value *values,
                      size_t n, const char *event)
{
    char word[32];

    put_stamp(l);
    snprintf(word, sizeof(word), " %s%-5s%s ", log_state.colours ? level_colours[level] : "",
             level_names[level], log_state.colours ? "\033[0m" : "");
    puts_(l, word);
    put_text(l, event, LOG_EVENT_MAX, false);
    for (size_t i = 0; i < n; i++) {
        puts_(l, i == 0 ? "  " : " ");
        puts_(l, values[i].name);
        puts_(l, "=");
        if (values[i].text == NULL) {
            snprintf(word, sizeof(word), "%" PRIu64, values[i].number);
            puts_(l, word);
        } else if (wants_quotes(values[i].text)) {
            puts_(l, "\"");
            put_text(l, values[i].text, LOG_VALUE_MAX, true);
            puts_(l, "\"");
        } else {
            put_text(l, values[i].text, LOG_VALUE_MAX, false);
        }
    }
    put_tail(l, l->cut ? "…\n" : "\n");
}

/* `"name":"text"` or `"name":number`. What does not fit is taken back whole: a cut line is still
 * JSON. */
static void json_member(struct line *l, const char *name, const char *text, u64 number)
{
    size_t before = l->len;
    char word[32];

    puts_(l, ",\"");
    puts_(l, name);
    puts_(l, "\":");
    if (text != NULL) {
        puts_(l, "\"");
        put_text(l, text, LOG_VALUE_MAX, true);
        puts_(l, "\"");
    } else {
        snprintf(word, sizeof(word), "%" PRIu64, number);
        puts_(l, word);
    }
    if (l->cut)
        l->len = before;
}

static void line_json(struct line *l, enum log_level level, const struct log_value *values,
                      size_t n, const char *event)
{
    puts_(l, "{\"time\":\"");
    put_stamp(l);
    puts_(l, "\"");
    json_member(l, "level", level_names[level], 0);
    json_member(l, "program", log_state.program, 0);
    json_member(l, "event", event, 0);
    for (size_t i = 0; i < n; i++)
        json_member(l, values[i].name, values[i].text, values[i].number);
    put_tail(l, l->cut ? ",\"cut\":true}\n" : "}\n");
}

/* Writing ----------------------------------------------------------------------------------------
 */

static bool line_write(const struct line *l)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&out, 1, 0) <= 0 || (out.revents & POLLOUT) == 0)
        return false;
    return write(STDERR_FILENO, l->text, l->len) == (ssize_t)l->len;
}

static bool line_out(enum log_level level, const struct log_value *values, size_t n,
                     const char *event)
{
    struct line l = {.len = 0};

    if (log_state.format == LOG_JSON)
        line_json(&l, level, values, n, event);
    else
        line_text(&l, level, values, n, event);
    return line_write(&l);
}

static void emit(enum log_level level, const struct log_value *values, size_t n, const char *event)
{
    if (log_state.lost > 0 &&
        line_out(LOG_WARN, (struct log_value[]){LOG_NUM("lost", log_state.lost)}, 1,
                 "log: lines were lost because nobody read stderr"))
        log_state.lost = 0;
    if (!line_out(level, values, n, event))
        log_state.lost++;
}

/* The rate ---------------------------------------------------------------------------------------
 */

static u64 now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

static struct site *site_row(const char *name)
{
    size_t at = ((uintptr_t)name * 0x9e3779b97f4a7c15ull) >> 32;
    struct site *s;

    for (size_t i = 0; i < SITE_ROWS - 1; i++) {
        s = &log_state.sites[(at + i) % (SITE_ROWS - 1)];
        if (s->name == name)
            return s;
        if (s->name == NULL) {
            s->name = name;
            return s;
        }
    }
    s = &log_state.sites[SITE_ROWS - 1];
    s->name = "elsewhere";
    return s;
}

static void tell_left_out(u64 now)
{
    for (size_t i = 0; i < SITE_ROWS && log_state.left_out > 0; i++) {
        struct site *s = &log_state.sites[i];

        if (s->left_out == 0 || now - s->window_ms < SITE_WINDOW_MS)
            continue;
        emit(s->level,
             (struct log_value[]){LOG_NUM("left_out", s->left_out), LOG_STR("site", s->name)}, 2,
             "log: lines like an earlier one were left out");
        log_state.left_out -= s->left_out;
        s->left_out = 0;
    }
}

/* Whether this site may write now. */
static bool site_may(const char *name, enum log_level level, u64 now)
{
    struct site *s = site_row(name);

    if (s->written == 0 || now - s->window_ms >= SITE_WINDOW_MS) {
        s->window_ms = now;
        s->written = 0;
    }
    if (s->written < SITE_LINES) {
        s->written++;
        return true;
    }
    s->left_out++;
    s->level = level;
    log_state.left_out++;
    return false;
}

void log_event(enum log_level level, const char *site, const struct log_value *values, size_t n,
               const char *event, ...)
{
    char text[LOG_EVENT_MAX + 8];
    va_list ap;
    u64 now;

    assert(level >= LOG_DEBUG && level <= LOG_AUDIT);
    if (!log_wants(level))
        return;
    now = now_ms();
    if (log_state.left_out > 0)
        tell_left_out(now);
    if (level != LOG_AUDIT && !site_may(site, level, now))
        return;
    va_start(ap, event);
    vsnprintf(text, sizeof(text), event, ap);
    va_end(ap);
    emit(level, values, n, text);
}

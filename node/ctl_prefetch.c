/* ctl_prefetch.c - dray-node prefetch: orders it, and shows how it goes.
 *
 * On a terminal one line is drawn over and over; elsewhere one is written every few seconds and at
 * the end. Of a whole region it is over when every node that took the order holds everything, or
 * when nothing has moved for STALLED_S. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "node/ctl_impl.h"
#include "node/ctl_table.h"

#define LOOK_MS   250
#define LINE_S    5
#define STALLED_S 60
#define BAR       30

struct progress {
    const char *state;
    u64 id, bytes, of, layers, held, ms, nodes, refused;
    bool region;
};

static u64 number(const json_t *o, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(o, key));
    return v > 0 ? (u64)v : 0;
}

static void read_progress(const json_t *o, struct progress *p)
{
    const json_t *region = json_object_get(o, "region");
    const char *state = json_string_value(json_object_get(o, "state"));
    *p = (struct progress){.state = state ? state : "",
                           .id = number(o, "id"),
                           .bytes = number(o, "bytes"),
                           .of = number(o, "of"),
                           .layers = number(o, "layers"),
                           .held = number(o, "layers_held"),
                           .ms = number(o, "ms")};
    if (!json_is_object(region))
        return;
    p->region = true;
    p->nodes = number(region, "nodes");
    p->refused = number(region, "refused");
    p->bytes = number(region, "bytes");
    p->of = number(region, "of");
}

static void draw(const struct progress *p, bool terminal)
{
    char bar[BAR + 1];
    unsigned share = p->of ? (unsigned)(p->bytes * 1000 / p->of) : 0;
    memset(bar, ' ', BAR);
    memset(bar, '=', (size_t)share * BAR / 1000);
    bar[BAR] = 0;
    if (strcmp(p->state, "resolving") == 0)
        printf("%sasking the registry ...", terminal ? "\r\033[K" : "");
    else
        printf("%s[%s] %3u.%u%%  %.1f of %.1f MB  %llu of %llu layers here",
               terminal ? "\r\033[K" : "", bar, share / 10, share % 10, (double)p->bytes / 1e6,
               (double)p->of / 1e6, (unsigned long long)p->held, (unsigned long long)p->layers);
    if (p->region)
        printf("  %llu nodes", (unsigned long long)p->nodes);
    if (!terminal)
        putchar('\n');
    fflush(stdout);
}

/* A new reference; NULL: said. */
static json_t *ask(const struct command *c, const char *target, const char *body, long status)
{
    struct ctl_answer a;
    if (ctl_ask(c, target, body, &a))
        return NULL;
    json_t *json = a.text ? json_loadb(a.text, a.len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (a.status != status || !json_is_object(json)) {
        ctl_say_refused(c, &a, json);
        json_decref(json);
        json = NULL;
    }
    free(a.text);
    return json;
}

static json_t *order(const struct command *c)
{
    json_t *wish = json_pack("{s:s, s:b}", "image", c->what, "region", (int)c->region);
    if (wish && c->platform)
        json_object_set_new(wish, "platform", json_string(c->platform));
    char *body = wish ? json_dumps(wish, JSON_COMPACT) : NULL;
    json_decref(wish);
    if (!body) {
        fprintf(stderr, "dray-node %s: %.80s is no text that can be sent\n", c->name, c->what);
        return NULL;
    }
    json_t *answer = ask(c, "/api/v1/prefetch", body, 202);
    free(body);
    return answer;
}

static bool is_over(const struct progress *p)
{
    if (strcmp(p->state, "failed") == 0)
        return true;
    return strcmp(p->state, "done") == 0 && (!p->region || p->bytes >= p->of);
}

/* How it ended. */
static int say_end(const struct command *c, const json_t *o, const struct progress *p, bool stalled)
{
    char clean[300];
    const char *why = json_string_value(json_object_get(o, "why"));
    if (c->json) {
        char *text = json_dumps(o, JSON_COMPACT);
        printf("%s\n", text ? text : "{}");
        free(text);
    }
    if (strcmp(p->state, "failed") == 0) {
        ctl_table_clean(clean, sizeof(clean), why ? why : "");
        fprintf(stderr, "dray-node %s: %s\n", c->name, clean);
        return EXIT_FAILED;
    }
    if (stalled || p->refused) {
        fprintf(
            stderr,
            "dray-node %s: not everything is everywhere: %llu nodes refused, %.1f of %.1f MB are "
            "there; see their logs\n",
            c->name, (unsigned long long)p->refused, (double)p->bytes / 1e6, (double)p->of / 1e6);
        return EXIT_FAILED;
    }
    return 0;
}

int ctl_prefetch(const struct command *c)
{
    bool terminal = isatty(STDOUT_FILENO) && !c->json, stalled = false;
    struct progress p;
    char target[64];
    u64 before = 0;
    time_t moved = time(NULL), written = 0;
    json_t *o = order(c);
    if (!o)
        return EXIT_FAILED;
    for (;;) {
        read_progress(o, &p);
        if (p.bytes != before || strcmp(p.state, "done") != 0)
            moved = time(NULL);
        before = p.bytes;
        stalled = time(NULL) - moved >= STALLED_S;
        bool last = is_over(&p) || stalled;
        if (!c->json && (terminal || last || time(NULL) - written >= LINE_S)) {
            draw(&p, terminal);
            written = time(NULL);
        }
        if (last)
            break;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
        snprintf(target, sizeof(target), "/api/v1/prefetch?id=%llu", (unsigned long long)p.id);
        json_decref(o);
        if (!(o = ask(c, target, NULL, 200)))
            return EXIT_FAILED;
    }
    if (terminal)
        putchar('\n');
    int rc = say_end(c, o, &p, stalled);
    json_decref(o);
    return rc;
}

/* ctl_print.c - see ctl_print.h. Pages are made to be read at a glance: what is wrong stands in
 * colour (and in words), what runs has a bar. */
#include "node/ctl_print.h"

#include <string.h>

#include "node/ctl_table.h"

#define BAR              20
#define DIGEST_SHOWN_MAX 160 /* bytes: the longest digest is 135 */
#define SHORT            12 /* hex characters of a digest that a page shows: enough to tell layers apart */

/* --- reading JSON, leniently ----------------------------------------------------------------- */

static u64 number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    if (json_is_real(v))
        return json_real_value(v) > 0 ? (u64)json_real_value(v) : 0;
    return json_is_integer(v) && json_integer_value(v) > 0 ? (u64)json_integer_value(v) : 0;
}

/* "" when absent. Borrowed. */
static const char *text(const json_t *o, const char *key)
{
    const char *v = json_string_value(json_object_get(o, key));
    return v ? v : "";
}

static void clean(char *out, size_t cap, const json_t *o, const char *key)
{
    const char *v = text(o, key);
    ctl_table_clean(out, cap, *v ? v : "-");
}

static const char *size(char out[TABLE_TEXT], const json_t *o, const char *key)
{
    ctl_table_size(out, number(o, key));
    return out;
}

static const char *count(char out[TABLE_TEXT], const json_t *o, const char *key)
{
    ctl_table_count(out, number(o, key));
    return out;
}

/* --- colours --------------------------------------------------------------------------------- */

struct paint {
    const char *bold, *good, *bad, *off;
};

static struct paint paint(bool colour)
{
    if (!colour)
        return (struct paint){"", "", "", ""};
    return (struct paint){"\033[1m", "\033[32m", "\033[31m", "\033[0m"};
}

/* --- status ---------------------------------------------------------------------------------- */

static void print_head(const json_t *s, FILE *to, const struct paint *p)
{
    char name[80], region[80], rack[80], version[40], listen[120], url[200], age[TABLE_TEXT];
    char connections[TABLE_TEXT];
    bool ready = json_is_true(json_object_get(s, "ready"));
    clean(name, sizeof(name), s, "name");
    clean(region, sizeof(region), s, "region");
    clean(rack, sizeof(rack), s, "rack");
    clean(version, sizeof(version), s, "version");
    clean(listen, sizeof(listen), s, "listen");
    clean(url, sizeof(url), s, "public_url");
    ctl_table_age(age, number(s, "uptime_s"));
    fprintf(to, "%s%s%s  %s%s%s  up %s  region %s", p->bold, name, p->off, ready ? p->good : p->bad,
            ready ? "ready" : "not ready", p->off, age, region);
    if (*text(s, "rack"))
        fprintf(to, "  rack %s", rack);
    fprintf(to, "  dray-node %s\n", version);
    fprintf(to, "  listens on %s%s%s\n", listen,
            *text(s, "public_url") ? ", users reach it at " : "",
            *text(s, "public_url") ? url : "");
    fprintf(to, "  %s connection%s, loop lag %.1f ms\n", count(connections, s, "connections"),
            number(s, "connections") == 1 ? "" : "s",
            json_number_value(json_object_get(s, "loop_lag_ms")));
}

static void print_store(const json_t *status, FILE *to, const struct paint *p)
{
    const json_t *s = json_object_get(status, "store");
    char path[300], bar[TABLE_TEXT], share[TABLE_TEXT], a[TABLE_TEXT], b[TABLE_TEXT];
    u64 used = number(s, "used_bytes"), capacity = number(s, "capacity_bytes");
    clean(path, sizeof(path), s, "path");
    ctl_table_bar(bar, BAR, used, capacity);
    ctl_table_percent(share, used, capacity);
    fprintf(to, "\n%sStore%s  %s\n", p->bold, p->off, path);
    fprintf(to, "  %s %s  %s of %s\n", bar, share, size(a, s, "used_bytes"),
            size(b, s, "capacity_bytes"));
    fprintf(to, "  %s blobs, %s", count(a, s, "blobs"), size(b, s, "blob_bytes"));
    if (number(s, "partial_bytes"))
        fprintf(to, "; partial %s", size(a, s, "partial_bytes"));
    if (number(s, "evicted_blobs"))
        fprintf(to, "; evicted %s, %s", count(a, s, "evicted_blobs"), size(b, s, "evicted_bytes"));
    fputc('\n', to);
    if (number(s, "index_errors"))
        fprintf(to, "  %s%s index errors%s: the log says more; a restart rebuilds the index\n",
                p->bad, count(a, s, "index_errors"), p->off);
}

static void print_traffic(const json_t *status, FILE *to, const struct paint *p)
{
    static const struct {
        const char *key, *label;
    } sources[] = {
        {"store_bytes", "from the store"},
        {"peer_bytes", "coming from peers"},
        {"origin_bytes", "while being fetched"},
        {"stream_bytes", "passed through"},
    };
    const json_t *served = json_object_get(status, "served");
    const json_t *fetched = json_object_get(status, "fetched");
    char n[TABLE_TEXT], bytes[TABLE_TEXT], share[TABLE_TEXT];
    u64 all = 0;
    for (size_t i = 0; i < countof(sources); i++)
        all += number(served, sources[i].key);
    ctl_table_size(bytes, all);
    fprintf(to, "\n%sServed%s  %s in %s requests; fetched ", p->bold, p->off, bytes,
            count(n, served, "requests"));
    fprintf(to, "%s from registries", size(bytes, fetched, "origin_bytes"));
    if (number(fetched, "peer_bytes"))
        fprintf(to, ", %s from peers", size(bytes, fetched, "peer_bytes"));
    fputc('\n', to);
    for (size_t i = 0; all && i < countof(sources); i++) {
        u64 part = number(served, sources[i].key);
        ctl_table_size(bytes, part);
        ctl_table_percent(share, part, all);
        fprintf(to, "  %-20s %12s  %6s\n", sources[i].label, bytes, share);
    }
}

static void print_upstreams(const json_t *status, FILE *to, const struct paint *p)
{
    const json_t *all = json_object_get(status, "upstreams"), *u;
    struct ctl_table t;
    size_t i;
    if (json_array_size(all) == 0 || !ctl_table_init(&t, "lllrl"))
        return;
    ctl_table_add(&t, (const char *const[]){"UPSTREAM", "URL", "STATE", "SINCE", "LAST ERROR"});
    json_array_foreach(all, i, u)
    {
        char since[TABLE_TEXT];
        ctl_table_age(since, number(u, "since_s"));
        bool known = json_is_number(json_object_get(u, "since_s"));
        const char *error = text(u, "last_error");
        ctl_table_add(&t, (const char *const[]){text(u, "name"), text(u, "url"), text(u, "state"),
                                                known ? since : "-", *error ? error : "-"});
    }
    fputc('\n', to);
    ctl_table_print(&t, to, "", p->bold, p->off);
    ctl_table_fini(&t);
    json_array_foreach(all, i, u)
    {
        char name[TABLE_CELL];
        clean(name, sizeof(name), u, "name");
        if (strcmp(text(u, "state"), "down") == 0)
            fprintf(to, "%s%s does not answer%s: what is held is served as far as authz allows\n",
                    p->bad, name, p->off);
    }
}

/* "sha256:0123456789ab" */
static void short_digest(char out[32], const char *digest)
{
    const char *colon = strchr(digest, ':');
    size_t n = colon ? (size_t)(colon - digest) + 1 + SHORT : SHORT;
    char whole[DIGEST_SHOWN_MAX];
    ctl_table_clean(whole, sizeof(whole), digest);
    snprintf(out, 32, "%.*s", (int)(n < 31 ? n : 31), whole);
}

/* "[===>   ]  42.0%", or what has come when the size is not known. */
static void progress(char bar[TABLE_TEXT], char done[2 * TABLE_TEXT + 8], const json_t *f)
{
    char part[TABLE_TEXT], whole[TABLE_TEXT];
    u64 received = number(f, "received_bytes"), total = number(f, "size_bytes");
    ctl_table_size(part, received);
    if (!json_is_number(json_object_get(f, "size_bytes"))) {
        snprintf(bar, TABLE_TEXT, "[%*s]", 12, "size unknown");
        snprintf(done, 2 * TABLE_TEXT + 8, "%s", part);
        return;
    }
    ctl_table_bar(bar, 12, received, total);
    ctl_table_size(whole, total);
    snprintf(done, 2 * TABLE_TEXT + 8, "%s of %s", part, whole);
}

static void print_fetches(const json_t *status, FILE *to, const struct paint *p)
{
    const json_t *all = json_object_get(status, "fetches"), *f;
    struct ctl_table t;
    size_t i;
    if (json_array_size(all) == 0) {
        fputs("\nNothing is being fetched.\n", to);
        return;
    }
    if (!ctl_table_init(&t, "llrrrrll"))
        return;
    ctl_table_add(&t, (const char *const[]){"FETCHING", "", "DONE", "RATE", "CLIENTS", "AGE",
                                            "STATE", "REPOSITORY"});
    json_array_foreach(all, i, f)
    {
        char digest[32], bar[TABLE_TEXT], done[2 * TABLE_TEXT + 8], rate[TABLE_TEXT],
            age[TABLE_TEXT];
        char clients[TABLE_TEXT], from[TABLE_CELL];
        short_digest(digest, text(f, "digest"));
        progress(bar, done, f);
        ctl_table_rate(rate, number(f, "bytes_per_s"));
        ctl_table_age(age, number(f, "age_s"));
        snprintf(from, sizeof(from), "%.60s/%.90s", text(f, "upstream"), text(f, "repository"));
        ctl_table_add(&t,
                      (const char *const[]){digest, bar, done, rate, count(clients, f, "clients"),
                                            age, text(f, "state"), from});
    }
    fputc('\n', to);
    ctl_table_print(&t, to, "", p->bold, p->off);
    ctl_table_fini(&t);
}

void ctl_print_status(const json_t *status, const json_t *members, FILE *to, bool colour)
{
    struct paint p = paint(colour);
    print_head(status, to, &p);
    print_store(status, to, &p);
    print_traffic(status, to, &p);
    ctl_print_members(json_object_get(status, "mesh"), members, to, colour);
    print_upstreams(status, to, &p);
    print_fetches(status, to, &p);
}

/* --- why ------------------------------------------------------------------------------------- */

/* "2026-11-23 18:23:44 UTC, 3h12m ago"; "never" when null. */
static void moment(char out[TABLE_CELL], const json_t *o, const char *key, u64 now_s)
{
    const char *at = text(o, key);
    char age[TABLE_TEXT];
    u64 then;
    if (!*at) {
        snprintf(out, TABLE_CELL, "never");
        return;
    }
    if (!ctl_table_time(at, &then)) {
        ctl_table_clean(out, TABLE_CELL, at);
        return;
    }
    ctl_table_age(age, now_s > then ? now_s - then : 0);
    snprintf(out, TABLE_CELL, "%.10s %.8s UTC, %s ago", at, at + 11, age);
}

static void print_held(const json_t *b, u64 now_s, FILE *to, const struct paint *p)
{
    char bytes[TABLE_TEXT], type[TABLE_CELL], source[TABLE_CELL], at[TABLE_CELL];
    clean(type, sizeof(type), b, "media_type");
    clean(source, sizeof(source), b, "source");
    fprintf(to, "  %sheld%s       %s", p->good, p->off, size(bytes, b, "size_bytes"));
    if (*text(b, "media_type"))
        fprintf(to, ", %s", type);
    if (*text(b, "source"))
        fprintf(to, "\n  from       %s", source);
    moment(at, b, "stored_at", now_s);
    fprintf(to, "\n  stored     %s\n", at);
    moment(at, b, "used_at", now_s);
    fprintf(to, "  last used  %s\n", at);
    moment(at, b, "verified_at", now_s);
    fprintf(to, "  verified   %s\n", at);
}

static void print_fetch(const json_t *f, FILE *to)
{
    char bar[TABLE_TEXT], done[2 * TABLE_TEXT + 8], rate[TABLE_TEXT], age[TABLE_TEXT];
    char upstream[TABLE_CELL], repository[TABLE_CELL], clients[TABLE_TEXT];
    clean(upstream, sizeof(upstream), f, "upstream");
    clean(repository, sizeof(repository), f, "repository");
    progress(bar, done, f);
    ctl_table_rate(rate, number(f, "bytes_per_s"));
    ctl_table_age(age, number(f, "age_s"));
    fprintf(to, "  fetching   %s %s, %s, for %s\n", bar, done, rate, age);
    if (*text(f, "peer"))
        clean(upstream, sizeof(upstream), f, "peer");
    fprintf(to, "             from %s%s, repository %s, %s client%s waiting\n",
            *text(f, "peer") ? "peer " : "", upstream, repository, count(clients, f, "clients"),
            number(f, "clients") == 1 ? "" : "s");
}

/* Who else of the region holds it, in the order in which they would be asked. */
static void print_holders(const json_t *blob, FILE *to, const struct paint *p)
{
    const json_t *all = json_object_get(blob, "holders"), *h;
    struct ctl_table t;
    size_t i;
    if (json_array_size(all) == 0 || !ctl_table_init(&t, "lllrl"))
        return;
    ctl_table_add(&t, (const char *const[]){"PEER", "ADDRESS", "WHERE", "EXPECTED", "WHY"});
    json_array_foreach(all, i, h)
    {
        char expected[TABLE_TEXT], why[TABLE_CELL];
        bool usable = json_is_true(json_object_get(h, "usable"));
        snprintf(expected, sizeof(expected), "%.1f ms",
                 json_number_value(json_object_get(h, "expected_ms")));
        snprintf(why, sizeof(why), "%s%.120s", usable ? "" : "not asked: ", text(h, "reason"));
        ctl_table_add(&t, (const char *const[]){text(h, "name"), text(h, "address"),
                                                text(h, "tier"), expected, why});
    }
    fputc('\n', to);
    ctl_table_print(&t, to, "  ", p->bold, p->off);
    ctl_table_fini(&t);
}

static void print_history(const json_t *blob, u64 now_s, FILE *to, const struct paint *p)
{
    const json_t *all = json_object_get(blob, "history"), *h;
    struct ctl_table t;
    size_t i;
    if (json_array_size(all) == 0 || !ctl_table_init(&t, "lll"))
        return;
    ctl_table_add(&t, (const char *const[]){"WHEN", "EVENT", "DETAIL"});
    json_array_foreach(all, i, h)
    {
        char at[TABLE_CELL];
        moment(at, h, "at", now_s);
        ctl_table_add(&t, (const char *const[]){at, text(h, "event"), text(h, "detail")});
    }
    fputc('\n', to);
    ctl_table_print(&t, to, "  ", p->bold, p->off);
    ctl_table_fini(&t);
}

void ctl_print_why(const json_t *blob, u64 now_s, FILE *to, bool colour)
{
    struct paint p = paint(colour);
    char digest[DIGEST_SHOWN_MAX];
    const json_t *fetch = json_object_get(blob, "fetch");
    clean(digest, sizeof(digest), blob, "digest");
    fprintf(to, "%s%s%s\n", p.bold, digest, p.off);
    if (json_is_true(json_object_get(blob, "held")))
        print_held(blob, now_s, to, &p);
    else if (json_is_object(fetch))
        fputs("  not held   but on its way\n", to);
    else
        fprintf(to, "  not held   the next permitted pull fetches it from %s\n",
                json_array_size(json_object_get(blob, "holders")) ? "a peer" : "the registry");
    if (json_is_object(fetch))
        print_fetch(fetch, to);
    if (*text(blob, "purged_until")) {
        char until[TABLE_CELL];
        clean(until, sizeof(until), blob, "purged_until");
        fprintf(to, "  %spurged%s     kept out until %s: pulls pass through\n", p.bad, p.off,
                until);
    }
    print_holders(blob, to, &p);
    print_history(blob, now_s, to, &p);
}

void ctl_print_purge(const json_t *answer, FILE *to)
{
    char digest[DIGEST_SHOWN_MAX], bytes[TABLE_TEXT];
    clean(digest, sizeof(digest), answer, "digest");
    if (json_is_false(json_object_get(answer, "removed")))
        fprintf(to, "%s: not held here", digest);
    else
        fprintf(to, "%s: removed, %s", digest, size(bytes, answer, "bytes"));
    const char *until = text(answer, "until");
    u64 then;
    if (ctl_table_time(until, &then))
        fprintf(to, "; kept out of %s until %.10s %.8s UTC",
                json_is_true(json_object_get(answer, "region")) ? "the region" : "this node", until,
                until + 11);
    else if (json_is_true(json_object_get(answer, "region")))
        fputs("; may come in again everywhere", to);
    fputc('\n', to);
}

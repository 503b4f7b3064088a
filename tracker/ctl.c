/* ctl.c - see ctl.h. One blocking request with libcurl over the Unix socket: --socket, else what
 * the tracker's own config says, else the usual one. What the tracker answers is JSON, and printed
 * as it is, indented. */
#include "tracker/ctl.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tracker/config.h"

#define ANSWER_MAX  (16 * MIB) /* everybody's profiles */
#define ANSWER_S    30L
#define EXIT_FAILED 1
#define EXIT_USAGE  2

struct command {
    const char *name, *config, *socket;
    const char *words[4];
    size_t n_words;
    bool help;
    char path[CONF_WHY_MAX];
};

struct reply {
    char *text;
    size_t len;
    long status;
};

static const char *const commands[] = {"status", "why", "users"};

bool ctl_is_command(const char *word)
{
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(word, commands[i]) == 0)
            return true;
    return false;
}

static int usage(FILE *to)
{
    fputs("usage: dray-tracker status             what the tracker passes on, and to where\n"
          "       dray-tracker why USER [DIGEST]  which node a user is sent to, and why\n"
          "       dray-tracker users list            everybody's profile\n"
          "       dray-tracker users get USER\n"
          "       dray-tracker users set USER CACHE  a region's or a node's name\n"
          "       dray-tracker users unset USER\n"
          "       dray-tracker users export          prints {\"USER\": \"CACHE\", ...}\n"
          "       dray-tracker users import FILE     sets all that such a file names; - is stdin\n"
          "       dray-tracker users revoke USER     forgets what the registry decided for a user\n"
          "Each takes\n"
          "  --socket PATH    the tracker's Unix socket, when it is not the one the config names\n"
          "  --config FILE    the tracker's config [" CONFIG_DEFAULT_FILE "]\n",
          to);
    return to == stdout ? 0 : EXIT_USAGE;
}

static int parse(struct command *c, int argc, char **argv)
{
    c->name = argv[0];
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            c->help = true;
        else if (strcmp(argv[i], "--socket") == 0 && more)
            c->socket = argv[++i];
        else if (strcmp(argv[i], "--config") == 0 && more)
            c->config = argv[++i];
        else if (argv[i][0] != '-' && c->n_words < countof(c->words))
            c->words[c->n_words++] = argv[i];
        else
            return usage(stderr);
    }
    return 0;
}

static int find_socket(struct command *c)
{
    char why[CONF_WHY_MAX];
    const char *file = c->config;
    if (c->socket) {
        snprintf(c->path, sizeof(c->path), "%s", c->socket);
        return 0;
    }
    if (!file && access(CONFIG_DEFAULT_FILE, F_OK) == 0)
        file = CONFIG_DEFAULT_FILE;
    if (config_socket(file, NULL, 0, c->path, why) == 0)
        return 0;
    fprintf(stderr, "dray-tracker %s: %s\n", c->name, why);
    return EXIT_FAILED;
}

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
    struct reply *r = arg;
    size_t len = size * n;
    char *grown = r->len + len > ANSWER_MAX ? NULL : realloc(r->text, r->len + len + 1);
    if (!grown)
        return 0;
    memcpy(grown + r->len, data, len);
    r->text = grown;
    r->len += len;
    r->text[r->len] = 0;
    return len;
}

/* Asks; says what went wrong on stderr. */
static int ask(const struct command *c, const char *method, const char *target, const char *body,
               struct reply *r)
{
    char url[2048];
    memset(r, 0, sizeof(*r));
    snprintf(url, sizeof(url), "http://tracker%s", target);
    CURL *easy = curl_easy_init();
    if (!easy)
        return EXIT_FAILED;
    curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, c->path);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    if (body)
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, ANSWER_S);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, r);
    CURLcode rc = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &r->status);
    curl_easy_cleanup(easy);
    if (rc == CURLE_OK)
        return 0;
    fprintf(stderr,
            "dray-tracker %s: nobody answers at %s (%s): is the tracker running, and may you open "
            "its socket?\n",
            c->name, c->path, curl_easy_strerror(rc));
    return EXIT_FAILED;
}

/* Prints what was answered; the exit code. */
static int show(const struct command *c, struct reply *r)
{
    json_t *value = json_loadb(r->text ? r->text : "", r->len, 0, NULL);
    bool good = r->status >= 200 && r->status < 300;
    if (good) {
        if (value)
            json_dumpf(value, stdout, JSON_INDENT(2));
        fputs(value ? "\n" : "", stdout);
    } else {
        const json_t *first = json_array_get(json_object_get(value, "errors"), 0);
        const char *message = json_string_value(json_object_get(first, "message"));
        fprintf(stderr, "dray-tracker %s: %s\n", c->name, message ? message : "it was refused");
    }
    json_decref(value);
    free(r->text);
    return good ? 0 : EXIT_FAILED;
}

static int simple(const struct command *c, const char *method, const char *target, const char *body)
{
    struct reply r;
    int rc = ask(c, method, target, body, &r);
    return rc ? rc : show(c, &r);
}

/* --- users ------------------------------------------------------------------------------------ */

/* "/api/v1/users/NAME" with what a URL cannot hold encoded. */
static void user_path(char *out, size_t cap, const char *name, const char *tail)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~@";
    size_t n = (size_t)snprintf(out, cap, "/api/v1/users/");
    for (const char *c = name; *c && n + 4 + strlen(tail) < cap; c++)
        n += (size_t)snprintf(out + n, cap - n, strchr(plain, *c) ? "%c" : "%%%02X", (u8)*c);
    snprintf(out + n, cap - n, "%s", tail);
}

static int set_user(const struct command *c, const char *name, const char *cache, bool quiet)
{
    char path[1024];
    struct reply r;
    json_t *value = json_pack("{s:s}", "cache", cache);
    char *body = json_dumps(value, JSON_COMPACT);
    user_path(path, sizeof(path), name, "");
    int rc = body ? ask(c, "PUT", path, body, &r) : EXIT_FAILED;
    free(body);
    json_decref(value);
    if (rc || !quiet)
        return rc ? rc : show(c, &r);
    if (r.status != 200) {
        fprintf(stderr, "%.80s: ", name);
        return show(c, &r);
    }
    free(r.text);
    return 0;
}

/* One after the other: each is on the disk when it is answered. */
static int import(const struct command *c, const char *file)
{
    json_error_t where;
    const char *name;
    json_t *cache;
    size_t done = 0;
    int rc = 0;
    json_t *all = strcmp(file, "-") == 0 ? json_loadf(stdin, JSON_REJECT_DUPLICATES, &where)
                                         : json_load_file(file, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(all)) {
        fprintf(stderr, "dray-tracker users import: %s, line %d: %s\n", file, all ? 1 : where.line,
                all ? "is no object {\"USER\": \"CACHE\", ...}" : where.text);
        json_decref(all);
        return EXIT_FAILED;
    }
    json_object_foreach(all, name, cache)
    {
        const char *text = json_string_value(cache);
        int one = text ? set_user(c, name, text, true) : EXIT_FAILED;
        done += one == 0;
        rc = one ? one : rc;
    }
    fprintf(stderr, "%zu of %zu profiles set\n", done, json_object_size(all));
    json_decref(all);
    return rc;
}

static int users(const struct command *c)
{
    char path[1024] = "/api/v1/users";
    const char *what = c->n_words ? c->words[0] : "";
    const char *name = c->n_words > 1 ? c->words[1] : NULL;
    if (strcmp(what, "list") == 0 || strcmp(what, "export") == 0)
        return simple(c, "GET", path, NULL);
    if (!name)
        return usage(stderr);
    if (strcmp(what, "import") == 0)
        return import(c, name);
    if (strcmp(what, "set") == 0 && c->n_words == 3)
        return set_user(c, name, c->words[2], false);
    user_path(path, sizeof(path), name, strcmp(what, "revoke") == 0 ? "/revoke" : "");
    if (strcmp(what, "get") == 0)
        return simple(c, "GET", path, NULL);
    if (strcmp(what, "unset") == 0)
        return simple(c, "DELETE", path, NULL);
    if (strcmp(what, "revoke") == 0)
        return simple(c, "POST", path, "");
    return usage(stderr);
}

static int why(const struct command *c)
{
    char path[2048], user[1024];
    if (c->n_words < 1)
        return usage(stderr);
    user_path(user, sizeof(user), c->words[0], "");
    snprintf(path, sizeof(path), "/api/v1/why?user=%s%s%.200s", user + strlen("/api/v1/users/"),
             c->n_words > 1 ? "&digest=" : "", c->n_words > 1 ? c->words[1] : "");
    return simple(c, "GET", path, NULL);
}

int ctl_main(int argc, char **argv)
{
    struct command c = {0};
    int rc = parse(&c, argc, argv);
    if (rc || c.help)
        return rc ? rc : usage(stdout);
    if ((rc = find_socket(&c)) != 0)
        return rc;
    if (strcmp(c.name, "users") == 0)
        return users(&c);
    if (strcmp(c.name, "why") == 0)
        return why(&c);
    return simple(&c, "GET", "/api/v1/status", NULL);
}

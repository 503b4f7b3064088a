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

static const char *const commands[] = {"status"};

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

int ctl_main(int argc, char **argv)
{
    struct command c = {0};
    int rc = parse(&c, argc, argv);
    if (rc || c.help)
        return rc ? rc : usage(stdout);
    if ((rc = find_socket(&c)) != 0)
        return rc;
    return simple(&c, "GET", "/api/v1/status", NULL);
}

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
#include "tracker/ctl_impl.h"

#define ANSWER_MAX (64 * MIB) /* everybody's profiles */
#define ANSWER_S   30L

static const char *const commands[] = {"status", "why", "users", "teams"};

bool ctl_is_command(const char *word)
{
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(word, commands[i]) == 0)
            return true;
    return false;
}

int ctl_usage(FILE *to)
{
    fputs("usage: dray-tracker status             what the tracker passes on, and to where\n"
          "       dray-tracker why USER [DIGEST]  which node a user is sent to, and why\n"
          "       dray-tracker users list            everybody's profile\n"
          "       dray-tracker users get USER\n"
          "       dray-tracker users set USER CACHE  a region's or a node's name\n"
          "       dray-tracker users unset USER\n"
          "       dray-tracker users export          prints all users and teams, as JSON\n"
          "       dray-tracker users import FILE     sets all that such a file names; - is stdin\n"
          "       dray-tracker users revoke USER     ends what the registry decided for a user\n"
          "       dray-tracker teams list            each team's cache and members\n"
          "       dray-tracker teams get TEAM\n"
          "       dray-tracker teams set TEAM CACHE  for members without a profile of their own\n"
          "       dray-tracker teams unset TEAM      its members are in no team then\n"
          "       dray-tracker teams add TEAM USER...     a user is in one team at a time\n"
          "       dray-tracker teams remove TEAM USER...\n"
          "Each takes\n"
          "  --socket PATH    the tracker's Unix socket, when it is not the one the config names\n"
          "  --config FILE    the tracker's config [" CONFIG_DEFAULT_FILE "]\n",
          to);
    return to == stdout ? 0 : CTL_EXIT_USAGE;
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
        else if ((argv[i][0] != '-' || !argv[i][1]) && c->n_words < countof(c->words))
            c->words[c->n_words++] = argv[i];
        else
            return ctl_usage(stderr);
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
    return CTL_EXIT_FAILED;
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
int ctl_ask(const struct command *c, const char *method, const char *target, const char *body,
            struct reply *r)
{
    char url[2048];
    memset(r, 0, sizeof(*r));
    snprintf(url, sizeof(url), "http://tracker%s", target);
    CURL *easy = curl_easy_init();
    if (!easy)
        return CTL_EXIT_FAILED;
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
    return CTL_EXIT_FAILED;
}

/* Prints what was answered; the exit code. */
int ctl_show(const struct command *c, struct reply *r)
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
    return good ? 0 : CTL_EXIT_FAILED;
}

int ctl_simple(const struct command *c, const char *method, const char *target, const char *body)
{
    struct reply r;
    int rc = ctl_ask(c, method, target, body, &r);
    return rc ? rc : ctl_show(c, &r);
}

void ctl_path(char *out, size_t cap, const char *under, const char *name, const char *tail)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~@";
    size_t n = (size_t)snprintf(out, cap, "%s", under);
    for (const char *c = name; *c && n + 4 + strlen(tail) < cap; c++)
        n += (size_t)snprintf(out + n, cap - n, strchr(plain, *c) ? "%c" : "%%%02X", (u8)*c);
    snprintf(out + n, cap - n, "%s", tail);
}

static int why(const struct command *c)
{
    char path[2048], user[1024];
    if (c->n_words < 1)
        return ctl_usage(stderr);
    ctl_path(user, sizeof(user), "/api/v1/users/", c->words[0], "");
    snprintf(path, sizeof(path), "/api/v1/why?user=%s%s%.200s", user + strlen("/api/v1/users/"),
             c->n_words > 1 ? "&digest=" : "", c->n_words > 1 ? c->words[1] : "");
    return ctl_simple(c, "GET", path, NULL);
}

int ctl_main(int argc, char **argv)
{
    struct command c = {0};
    int rc = parse(&c, argc, argv);
    if (rc || c.help)
        return rc ? rc : ctl_usage(stdout);
    if ((rc = find_socket(&c)) != 0)
        return rc;
    if (strcmp(c.name, "users") == 0)
        return ctl_users(&c);
    if (strcmp(c.name, "teams") == 0)
        return ctl_teams(&c);
    if (strcmp(c.name, "why") == 0)
        return why(&c);
    return ctl_simple(&c, "GET", "/api/v1/status", NULL);
}

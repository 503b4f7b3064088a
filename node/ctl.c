/* ctl.c - see ctl.h. One blocking request with libcurl over the Unix socket: a command may wait.
 *
 * Which socket: --socket, else what the daemon's own config says (--config, or the usual file),
 * else the usual store's. The config is only searched for that key, so that a user who may open the
 * socket needs no right to read keys. */
#include "node/ctl.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "node/config.h"
#include "node/ctl_impl.h"
#include "node/ctl_print.h"
#include "node/ctl_table.h"
#include "proto/digest.h"
#include "runtime/suggest.h"

#define ANSWER_MAX (4 * MIB) /* a status with LIMIT_FILLS fetches is well below */
#define ANSWER_S   30L       /* a purge of a large blob on a busy disk */

static const char *const commands[] = {"status", "why", "purge", "prefetch"};

bool ctl_is_command(const char *word)
{
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(word, commands[i]) == 0)
            return true;
    return false;
}

static void usage(FILE *to)
{
    fputs(
        "usage: dray-node status            what the node serves, fetches and keeps\n"
        "       dray-node why DIGEST        everything it knows about one blob\n"
        "       dray-node purge DIGEST      remove one blob in the whole region, and keep it out\n"
        "       dray-node prefetch IMAGE    fetch an image ahead of a rollout\n"
        "DIGEST is sha256:..., as a manifest or the node's log names it.\n"
        "purge takes\n"
        "  --for TIME       how long it is kept out: 90s, 12h, 7d; 0: it may come in again [24h]\n"
        "IMAGE is repository:tag or repository@digest, perhaps with its registry before it.\n"
        "prefetch takes\n"
        "  --region         every node of the region fetches it, too\n"
        "  --platform P     linux/arm64, or all: of an image of several [the node's own]\n"
        "Each takes\n"
        "  --json           print what the node says, unchanged\n"
        "  --socket PATH    the node's Unix socket, when it is not the one the config names\n"
        "  --config FILE    the node's config [" CONFIG_DEFAULT_FILE "]\n",
        to);
}

/* --- what was typed -------------------------------------------------------------------------- */

/* The value when `word` is --NAME=VALUE, or --NAME and `next` the VALUE; NULL when it is neither.
 */
static const char *value_of(const char *name, const char *word, const char *next, int *i)
{
    size_t n = strlen(name);
    if (strncmp(word, name, n) != 0)
        return NULL;
    if (word[n] == '=')
        return word + n + 1;
    if (word[n] || !next)
        return NULL;
    ++*i;
    return next;
}

static int unknown(const struct command *c, const char *word)
{
    static const struct {
        const char *flag, *of; /* NULL: of all */
    } known[] = {{"--json", NULL},          {"--socket", NULL}, {"--config", NULL},
                 {"--help", NULL},          {"--for", "purge"}, {"--region", "prefetch"},
                 {"--platform", "prefetch"}};
    struct suggest s;
    suggest_init(&s, word);
    for (size_t i = 0; i < countof(known); i++)
        if (!known[i].of || strcmp(known[i].of, c->name) == 0)
            suggest_offer(&s, known[i].flag);
    if (s.best && strcmp(s.best, word) == 0)
        fprintf(stderr, "dray-node %s: %s needs a value\n", c->name, word);
    else if (s.best)
        fprintf(stderr, "dray-node %s: %.80s is not known here; did you mean %s?\n", c->name, word,
                s.best);
    else
        fprintf(stderr, "dray-node %s: %.80s is not known here; see dray-node %s --help\n", c->name,
                word, c->name);
    return EXIT_USAGE;
}

static int parse(struct command *c, int argc, char **argv)
{
    c->name = argv[0];
    for (int i = 1; i < argc; i++) {
        const char *v, *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(word, "--json") == 0)
            c->json = true;
        else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
            c->help = true;
        else if ((v = value_of("--socket", word, next, &i)) != NULL)
            c->socket = v;
        else if ((v = value_of("--config", word, next, &i)) != NULL)
            c->config = v;
        else if ((v = value_of("--store.path", word, next, &i)) != NULL)
            c->flags[0] = (struct settings_flag){"store.path", v}, c->n_flags = 1;
        else if (strcmp(c->name, "purge") == 0 && (v = value_of("--for", word, next, &i)) != NULL)
            c->keep_out = v;
        else if (strcmp(c->name, "prefetch") == 0 && strcmp(word, "--region") == 0)
            c->region = true;
        else if (strcmp(c->name, "prefetch") == 0 &&
                 (v = value_of("--platform", word, next, &i)) != NULL)
            c->platform = v;
        else if (word[0] != '-' && !c->what && strcmp(c->name, "status") != 0)
            c->what = word;
        else
            return unknown(c, word);
    }
    return 0;
}

/* Takes the 64 hex characters alone, too. */
static int read_digest(struct command *c)
{
    struct digest d;
    if (!c->what) {
        fprintf(stderr, "dray-node %s: which? give a digest, sha256:...\n", c->name);
        return EXIT_USAGE;
    }
    int n = snprintf(c->digest, sizeof(c->digest), "%s%s", strlen(c->what) == 64 ? "sha256:" : "",
                     c->what);
    if (n < (int)sizeof(c->digest) && digest_parse(&d, c->digest, (size_t)n) == 0)
        return 0;
    fprintf(stderr,
            "dray-node %s: %.80s is not a digest; it reads sha256: and 64 characters of 0-9a-f\n",
            c->name, c->what);
    return EXIT_USAGE;
}

static int read_keep_out(struct command *c)
{
    if (!c->keep_out ||
        (conf_duration_ms(c->keep_out, &c->keep_out_ms) == 0 && c->keep_out_ms <= LIMIT_PURGE_MS &&
         (c->keep_out_ms == 0 || c->keep_out_ms >= 1000)))
        return 0;
    fprintf(stderr,
            "dray-node %s: --for %.40s is no time; write for example 90s, 12h or 7d, at most "
            "400d\n",
            c->name, c->keep_out);
    return EXIT_USAGE;
}

static int find_socket(struct command *c)
{
    char why[CONF_WHY_MAX];
    if (c->socket) {
        if (strlen(c->socket) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
            fprintf(stderr, "dray-node %s: --socket: longer than a socket's name can be (107)\n",
                    c->name);
            return EXIT_FAILED;
        }
        snprintf(c->path, sizeof(c->path), "%s", c->socket);
        return 0;
    }
    const char *file = c->config;
    if (!file && !c->n_flags && access(CONFIG_DEFAULT_FILE, R_OK) == 0)
        file = CONFIG_DEFAULT_FILE;
    if (config_socket(file, c->flags, c->n_flags, c->path, why) == 0)
        return 0;
    fprintf(stderr, "dray-node %s: %s\n(or name the socket with --socket PATH)\n", c->name, why);
    return EXIT_FAILED;
}

/* --- asking ---------------------------------------------------------------------------------- */

static size_t on_data(char *data, size_t one, size_t n, void *arg)
{
    struct ctl_answer *a = arg;
    (void)one; /* always 1 */
    char *more = a->len + n <= ANSWER_MAX ? realloc(a->text, a->len + n + 1) : NULL;
    if (!more)
        return 0; /* curl then ends with CURLE_WRITE_ERROR */
    a->text = more;
    memcpy(a->text + a->len, data, n);
    a->len += n;
    a->text[a->len] = 0;
    return n;
}

static void say_no_answer(const struct command *c, CURLcode code, long os_error)
{
    if (code == CURLE_COULDNT_CONNECT && (os_error == EACCES || os_error == EPERM))
        fprintf(stderr,
                "dray-node %s: %s may not be opened by you; run this as root or as the node's "
                "user\n",
                c->name, c->path);
    else if (code == CURLE_COULDNT_CONNECT)
        fprintf(stderr,
                "dray-node %s: no dray-node answers at %s: is it running? try `systemctl status "
                "dray-node`, or give --socket\n",
                c->name, c->path);
    else if (code == CURLE_OPERATION_TIMEDOUT)
        fprintf(stderr, "dray-node %s: the node at %s did not answer within %ld s\n", c->name,
                c->path, ANSWER_S);
    else
        fprintf(stderr, "dray-node %s: the node at %s broke off: %s\n", c->name, c->path,
                curl_easy_strerror(code));
}

int ctl_ask(const struct command *c, const char *target, const char *body, struct ctl_answer *a)
{
    char url[64 + DIGEST_TEXT_SIZE];
    struct curl_slist *fields = NULL;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    long os_error = 0;
    memset(a, 0, sizeof(*a));
    CURL *curl = curl_easy_init();
    if (!curl)
        goto out;
    snprintf(url, sizeof(url), "http://dray%s", target);
    fields = curl_slist_append(NULL, "Content-Type: application/json");
    if (!fields)
        goto out;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, ANSWER_S);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, fields);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    code = curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->path);
    if (code == CURLE_OK)
        code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os_error);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &a->status);
out:
    curl_slist_free_all(fields);
    curl_easy_cleanup(curl);
    if (code == CURLE_OK)
        return 0;
    say_no_answer(c, code, os_error);
    return EXIT_FAILED;
}

/* A refusal in the registry's own form: {"errors":[{"code","message"}]}. */
int ctl_say_refused(const struct command *c, const struct ctl_answer *a, const json_t *json)
{
    const json_t *first = json_array_get(json_object_get(json, "errors"), 0);
    const char *message = json_string_value(json_object_get(first, "message"));
    char clean[300];
    ctl_table_clean(clean, sizeof(clean), message ? message : "no reason given");
    if (a->status == 404 && c->digest[0])
        fprintf(stderr, "dray-node %s: %s is not held by this node\n", c->name, c->digest);
    else
        fprintf(stderr, "dray-node %s: refused (%ld): %s\n", c->name, a->status, clean);
    return EXIT_FAILED;
}

static bool colour_wanted(void)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

/* With the members, where there is a region: a second question. */
static void print_status(const struct command *c, const json_t *status)
{
    struct ctl_answer a = {0};
    json_t *members = NULL;
    const char *mesh = json_string_value(json_object_get(json_object_get(status, "mesh"), "state"));
    if (mesh && strcmp(mesh, "off") != 0 && ctl_ask(c, "/api/v1/members", NULL, &a) == 0 &&
        a.status == 200 && a.text)
        members = json_loadb(a.text, a.len, JSON_REJECT_DUPLICATES, NULL);
    ctl_print_status(status, members, stdout, colour_wanted());
    json_decref(members);
    free(a.text);
}

static int print(const struct command *c, const struct ctl_answer *a)
{
    json_error_t error;
    json_t *json = a->text ? json_loadb(a->text, a->len, JSON_REJECT_DUPLICATES, &error) : NULL;
    int exit_code = 0;
    if (a->status != 200) {
        if (c->json && json)
            printf("%s\n", a->text);
        exit_code = ctl_say_refused(c, a, json);
    } else if (!json_is_object(json)) {
        fprintf(stderr, "dray-node %s: what answers at %s is no dray-node of this version\n",
                c->name, c->path);
        exit_code = EXIT_FAILED;
    } else if (c->json)
        printf("%s\n", a->text);
    else if (strcmp(c->name, "status") == 0)
        print_status(c, json);
    else if (strcmp(c->name, "why") == 0)
        ctl_print_why(json, (u64)time(NULL), stdout, colour_wanted());
    else
        ctl_print_purge(json, stdout);
    json_decref(json);
    if (fflush(stdout) != 0 && !exit_code)
        exit_code = EXIT_FAILED;
    return exit_code;
}

int ctl_main(int argc, char **argv)
{
    struct command c = {0};
    struct ctl_answer a = {0};
    char target[40 + DIGEST_TEXT_SIZE], body[80 + DIGEST_TEXT_SIZE];
    int rc = parse(&c, argc, argv);
    if (!rc && c.help) {
        usage(stdout);
        return 0;
    }
    bool purge = strcmp(c.name, "purge") == 0, prefetch = strcmp(c.name, "prefetch") == 0;
    if (!rc && prefetch && !c.what) {
        fprintf(stderr, "dray-node prefetch: which? give an image, repository:tag\n");
        rc = EXIT_USAGE;
    }
    if (!rc && strcmp(c.name, "status") != 0 && !prefetch)
        rc = read_digest(&c);
    if (!rc)
        rc = read_keep_out(&c);
    if (!rc)
        rc = find_socket(&c);
    if (rc)
        return rc;
    if (prefetch)
        return ctl_prefetch(&c);
    /* A digest that parsed needs no escaping. */
    snprintf(target, sizeof(target), "/api/v1/%s%s",
             purge         ? "purge"
             : c.digest[0] ? "blobs/"
                           : "status",
             purge ? "" : c.digest);
    snprintf(body, sizeof(body), "{\"digest\":\"%s\"%s", c.digest, c.keep_out ? "" : "}");
    if (c.keep_out)
        snprintf(body + strlen(body), sizeof(body) - strlen(body), ",\"for_s\":%llu}",
                 (unsigned long long)(c.keep_out_ms / 1000));
    rc = ctl_ask(&c, target, purge ? body : NULL, &a);
    if (!rc)
        rc = print(&c, &a);
    free(a.text);
    return rc;
}

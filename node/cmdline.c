/* cmdline.c - see cmdline.h. A flag is --KEY VALUE or --KEY=VALUE; one that is true or false may
 * stand alone. The table of flags in the help is the table that config.c reads by. */
#include "node/cmdline.h"

#include <string.h>
#include <unistd.h>

#include "node/ctl.h"
#include "runtime/suggest.h"

#define HELP_COLUMN 34 /* where a flag's explanation begins */
#define HELP_WIDTH  100

static const char *const commands[] = {"status", "why",  "purge",  "prefetch",
                                       "keygen", "help", "version"};

static const struct settings_key *find_key(const char *name, size_t len)
{
    for (size_t i = 0; i < config_keys_n; i++)
        if (strlen(config_keys[i].key) == len && memcmp(config_keys[i].key, name, len) == 0)
            return &config_keys[i];
    return NULL;
}

static int unknown_word(const char *word, char why[CONF_WHY_MAX])
{
    struct suggest s;
    suggest_init(&s, word);
    for (size_t i = 0; i < countof(commands); i++)
        suggest_offer(&s, commands[i]);
    for (size_t i = 0; i < countof(commands); i++)
        if (strcmp(word, commands[i]) == 0) {
            snprintf(why, CONF_WHY_MAX, "%s: a command stands first: dray-node %s ...", word, word);
            return ERR_INVAL;
        }
    if (s.best)
        snprintf(why, CONF_WHY_MAX, "%.80s: unknown command; did you mean %s?", word, s.best);
    else
        snprintf(why, CONF_WHY_MAX, "%.80s: unknown %s; see dray-node --help", word,
                 *word == '-' ? "flag" : "command");
    return ERR_INVAL;
}

/* Finds the value of the flag at argv[*i], moving on if it is the next word. */
static int flag_value(int argc, char **argv, int *i, bool alone, const char **value,
                      char why[CONF_WHY_MAX])
{
    const char *equals = strchr(argv[*i], '=');
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (equals)
        *value = equals + 1;
    else if (alone && (!next || (strcmp(next, "true") != 0 && strcmp(next, "false") != 0)))
        *value = "true";
    else if (next && strncmp(next, "--", 2) != 0)
        *value = argv[++*i];
    else {
        snprintf(why, CONF_WHY_MAX, "%.60s: needs a value; see dray-node --help", argv[*i]);
        return ERR_INVAL;
    }
    return 0;
}

static int unknown_flag(const char *name, size_t len, char why[CONF_WHY_MAX])
{
    static const char *const others[] = {"config", "check-config", "help", "version", "upstream"};
    char word[64];
    struct suggest s;
    snprintf(word, sizeof(word), "%.*s", (int)(len < sizeof(word) ? len : sizeof(word) - 1), name);
    suggest_init(&s, word);
    for (size_t i = 0; i < countof(others); i++)
        suggest_offer(&s, others[i]);
    for (size_t i = 0; i < config_keys_n; i++)
        if (config_keys[i].kind != SETTING_INSIDE)
            suggest_offer(&s, config_keys[i].key);
    if (strcmp(word, "socket") == 0)
        snprintf(why, CONF_WHY_MAX,
                 "--socket: belongs to status, why and purge; did you mean --admin.socket?");
    else if (strncmp(word, "upstreams", 9) == 0)
        snprintf(why, CONF_WHY_MAX,
                 "--%s: give --upstream URL, or upstreams with all their keys in the file", word);
    else if (s.best)
        snprintf(why, CONF_WHY_MAX, "--%s: unknown flag; did you mean --%s?", word, s.best);
    else
        snprintf(why, CONF_WHY_MAX, "--%s: unknown flag; see dray-node --help", word);
    return ERR_INVAL;
}

static int parse_flag(struct cmdline *c, int argc, char **argv, int *i, char why[CONF_WHY_MAX])
{
    const char *name = argv[*i] + 2, *value;
    size_t len = strcspn(name, "=");
    const struct settings_key *k = find_key(name, len);
    bool config = len == 6 && memcmp(name, "config", len) == 0;
    bool upstream = len == 8 && memcmp(name, "upstream", len) == 0;
    if (!config && !upstream && (!k || k->kind == SETTING_INSIDE))
        return unknown_flag(name, len, why);
    int rc = flag_value(argc, argv, i, k && k->kind == SETTING_BOOL, &value, why);
    if (rc)
        return rc;
    if (config) {
        c->config = value;
        return 0;
    }
    if (c->n_flags == CMDLINE_FLAGS_MAX) {
        snprintf(why, CONF_WHY_MAX, "too many flags; use a file and --config");
        return ERR_FULL;
    }
    c->flags[c->n_flags++] = (struct settings_flag){k ? k->key : "upstream", value};
    return 0;
}

int cmdline_parse(struct cmdline *c, int argc, char **argv, char why[CONF_WHY_MAX])
{
    memset(c, 0, sizeof(*c));
    why[0] = 0;
    if (argc > 1 && ctl_is_command(argv[1])) {
        c->action = CMDLINE_CTL;
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "keygen") == 0) {
        c->action = CMDLINE_KEYGEN;
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0 || (i == 1 && strcmp(a, "help") == 0))
            c->action = CMDLINE_HELP;
        else if (strcmp(a, "--version") == 0 || strcmp(a, "-V") == 0 ||
                 (i == 1 && strcmp(a, "version") == 0))
            c->action = CMDLINE_VERSION;
        else if (strcmp(a, "--check-config") == 0)
            c->action = CMDLINE_CHECK;
        else if (strncmp(a, "--", 2) != 0 || !a[2])
            return unknown_word(a, why);
        else {
            int rc = parse_flag(c, argc, argv, &i, why);
            if (rc)
                return rc;
        }
        if (c->action == CMDLINE_HELP || c->action == CMDLINE_VERSION)
            return 0;
    }
    return 0;
}

const char *cmdline_config(const struct cmdline *c)
{
    if (c->config)
        return c->config;
    for (size_t i = 0; i < c->n_flags; i++)
        if (strcmp(c->flags[i].key, "upstream") == 0)
            return NULL;
    return access(CONFIG_DEFAULT_FILE, F_OK) == 0 ? CONFIG_DEFAULT_FILE : NULL;
}

/* --- help ------------------------------------------------------------------------------------ */

/* "  --store.path DIR     where layers are kept [/var/lib/dray]"; the default moves to a line of
 * its own when it does not fit. */
static void help_line(FILE *to, const char *left, const char *help, const char *usual)
{
    size_t used = strlen(left);
    if (used + 1 > HELP_COLUMN)
        fprintf(to, "%s\n%*s", left, HELP_COLUMN, "");
    else
        fprintf(to, "%-*s", HELP_COLUMN, left);
    fputs(help, to);
    if (usual && *usual) {
        if (HELP_COLUMN + strlen(help) + strlen(usual) + 3 > HELP_WIDTH)
            fprintf(to, "\n%*s[%s]", HELP_COLUMN, "", usual);
        else
            fprintf(to, " [%s]", usual);
    }
    fputc('\n', to);
}

static void help_keys(FILE *to)
{
    char left[80];
    fputs("Flags, which are also the keys of the config file [default]:\n", to);
    help_line(to, "  --config FILE", "the YAML file to read; flags override it",
              CONFIG_DEFAULT_FILE);
    help_line(to, "  --check-config", "say whether config and flags are right, and what they mean",
              NULL);
    help_line(to, "  --help, --version", "this page; the version", NULL);
    help_line(to, "  --upstream URL", "a central registry, without a config file; repeatable",
              NULL);
    for (size_t i = 0; i < config_keys_n; i++) {
        const struct settings_key *k = &config_keys[i];
        if (k->kind == SETTING_INSIDE)
            continue;
        snprintf(left, sizeof(left), "  --%s%s%s", k->key, k->value ? " " : "",
                 k->value ? k->value : "");
        help_line(to, left, k->help, k->default_text);
    }
    fputs("\nIn the file only, for each registry:\n", to);
    for (size_t i = 0; i < config_keys_n; i++) {
        const struct settings_key *k = &config_keys[i];
        if (k->kind != SETTING_INSIDE)
            continue;
        snprintf(left, sizeof(left), "  %s", k->key);
        help_line(to, left, k->help, k->default_text);
    }
}

void cmdline_help(FILE *to)
{
    fputs(
        "dray-node: a cache for container layers, one per rack. Machines pull through it with their\n"
        "own logins; the central registry decides each pull, and each layer crosses the long line "
        "once.\n"
        "\n"
        "Examples:\n"
        "  dray-node --upstream https://registry.example.org          try it, on 127.0.0.1:5000\n"
        "  dray-node --upstream https://registry-1.docker.io --listen 0.0.0.0:5000 --plain_http\n"
        "                                                             serve a rack, trusted network\n"
        "  dray-node --config /etc/dray/node.yaml --check-config      is the file right?\n"
        "\n"
        "Commands for a running node (each takes --help):\n"
        "  dray-node status            what it serves, fetches and keeps\n"
        "  dray-node why DIGEST        everything it knows about one layer\n"
        "  dray-node purge DIGEST      forget one layer\n"
        "  dray-node prefetch IMAGE    fetch an image ahead of a rollout; --region: everywhere\n"
        "Keys:\n"
        "  dray-node keygen mesh                    print a key for the nodes of a region\n"
        "  dray-node keygen ticket KEYFILE PUBFILE  make a key pair for tracker and nodes\n"
        "\n",
        to);
    help_keys(to);
    fputs(
        "\n"
        "SIZE: 500GiB, 20GB. RATE: 200MiB/s. TIME: 60s, 5m, 12h, 7d. NET: 10.20.0.0/16.\n"
        "A flag that is a list in the file (seeds, serves, admin.allow) is repeated.\n"
        "Signals: HUP re-reads certificates, keys and credentials; TERM lets running answers end, "
        "a second\none stops at once.\n",
        to);
}

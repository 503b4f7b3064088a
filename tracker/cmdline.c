/* cmdline.c - see cmdline.h. A flag is --KEY VALUE or --KEY=VALUE; one that is true or false may
 * stand alone. The table of flags in the help is the table that config.c reads by. */
#include "tracker/cmdline.h"

#include <string.h>
#include <unistd.h>

#include "runtime/suggest.h"
#include "tracker/ctl.h"

static const struct settings_key *find_key(const char *name, size_t len)
{
    for (size_t i = 0; i < config_keys_n; i++)
        if (strlen(config_keys[i].key) == len && memcmp(config_keys[i].key, name, len) == 0)
            return &config_keys[i];
    return NULL;
}

static int unknown(const char *word, const char *what, char why[CONF_WHY_MAX])
{
    struct suggest s;
    suggest_init(&s, word);
    for (size_t i = 0; i < config_keys_n; i++)
        suggest_offer(&s, config_keys[i].key);
    snprintf(why, CONF_WHY_MAX, "%.80s: unknown %s; %s%s%s", word, what,
             s.best ? "did you mean --" : "see dray-tracker --help", s.best ? s.best : "",
             s.best ? "?" : "");
    return ERR_INVAL;
}

static int parse_flag(struct cmdline *c, int argc, char **argv, int *i, char why[CONF_WHY_MAX])
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '='), *value = NULL;
    size_t len = strcspn(name, "=");
    const struct settings_key *k = find_key(name, len);
    bool config = len == 6 && memcmp(name, "config", len) == 0;
    const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (!config && !k)
        return unknown(name, "flag", why);
    if (equals)
        value = equals + 1;
    else if (k && k->kind == SETTING_BOOL &&
             (!next || (strcmp(next, "true") != 0 && strcmp(next, "false") != 0)))
        value = "true";
    else if (next && strncmp(next, "--", 2) != 0)
        value = argv[++*i];
    if (!value) {
        snprintf(why, CONF_WHY_MAX, "%.60s: needs a value; see dray-tracker --help", argv[*i]);
        return ERR_INVAL;
    }
    if (config) {
        c->config = value;
        return 0;
    }
    if (c->n_flags == CMDLINE_FLAGS_MAX) {
        snprintf(why, CONF_WHY_MAX, "too many flags; use a file and --config");
        return ERR_FULL;
    }
    c->flags[c->n_flags++] = (struct settings_flag){k->key, value};
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
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        int rc = 0;
        if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0 || (i == 1 && strcmp(a, "help") == 0))
            c->action = CMDLINE_HELP;
        else if (strcmp(a, "--version") == 0 || (i == 1 && strcmp(a, "version") == 0))
            c->action = CMDLINE_VERSION;
        else if (strcmp(a, "--check-config") == 0)
            c->action = CMDLINE_CHECK;
        else if (strncmp(a, "--", 2) != 0 || !a[2])
            rc = unknown(a, "word", why);
        else
            rc = parse_flag(c, argc, argv, &i, why);
        if (rc || c->action == CMDLINE_HELP || c->action == CMDLINE_VERSION)
            return rc;
    }
    return 0;
}

const char *cmdline_config(const struct cmdline *c)
{
    if (c->config)
        return c->config;
    return access(CONFIG_DEFAULT_FILE, F_OK) == 0 ? CONFIG_DEFAULT_FILE : NULL;
}

void cmdline_help(FILE *to)
{
    char left[80];
    fputs(
        "dray-tracker: stands at the registry's URL. Users log in and pull as ever; the central\n"
        "registry decides each pull, and layers come from the node nearest to the user.\n"
        "\n"
        "  dray-tracker --config /etc/dray/tracker.yaml [--check-config]\n"
        "\n"
        "Commands for a running tracker (each takes --help):\n"
        "  dray-tracker status                     what it passes on and where it sends users\n"
        "  dray-tracker why USER [DIGEST]          which node a user is sent to, and why\n"
        "  dray-tracker users list|get|set|unset|import|export|revoke\n"
        "\n"
        "Flags, which are also the keys of the config file [default]:\n"
        "  --config FILE                   the YAML file to read; flags override it [" CONFIG_DEFAULT_FILE
        "]\n"
        "  --check-config                  say whether config and flags are right\n"
        "  --help, --version               this page; the version\n",
        to);
    for (size_t i = 0; i < config_keys_n; i++) {
        const struct settings_key *k = &config_keys[i];
        snprintf(left, sizeof(left), "--%s %s", k->key, k->value ? k->value : "");
        fprintf(to, "  %-31s %s [%s]\n", left, k->help, k->default_text);
    }
    fputs(
        "\nIn the file only: regions (name, seeds), registry.allow_hosts, trackers.\n"
        "Signals: HUP re-reads certificates and keys; TERM lets running answers end, a second one\n"
        "stops at once.\n",
        to);
}

/* main.c - dray-tracker: reads the command line, then is a command or the daemon (daemon.h).
 *
 * Exit code 0 after an orderly end, 1 when something is wrong, 2 for a wrong command line. */
#include <sodium.h>
#include <stdio.h>

#include "runtime/daemon.h"
#include "runtime/inherited.h"
#include "runtime/log.h"
#include "tracker/cmdline.h"
#include "tracker/ctl.h"
#include "tracker/tracker.h"

static int start(void **self, uv_loop_t *loop, void *config, char why[CONF_WHY_MAX])
{
    struct tracker *made = NULL;
    int rc = tracker_new(&made, loop, config, why);
    *self = made;
    return rc;
}
static void reload(void *self)
{
    tracker_reload(self);
}
static void drain(void *self, void (*drained)(void *arg), void *arg)
{
    tracker_drain(self, drained, arg);
}
static void stop(void *self)
{
    tracker_stop(self);
}
static void del(void *self)
{
    tracker_del(self);
}
static void warn(void *config)
{
    char text[CONF_WHY_MAX];
    for (size_t i = 0; config_warning(config, i, text); i++)
        log_warn("%s", text);
}

static int run(struct tracker_config *config)
{
    static const struct daemon_ops ops = {"dray-tracker", start, reload, drain, stop, del, warn};
    log_setup(config->log.level, config->log.format, ops.name);
    return daemon_run(&ops, config);
}

static void fail(const char *why)
{
    fprintf(stderr, "dray-tracker: %s\n", why);
}

static int check(const struct tracker_config *config)
{
    char text[CONF_WHY_MAX];
    printf("%s: ok\n", config->file ? config->file : "flags");
    config_print(config, stdout);
    for (size_t i = 0; config_warning(config, i, text); i++)
        printf("warning: %s\n", text);
    return 0;
}

static int with_config(const struct cmdline *c)
{
    struct tracker_config config = {0};
    char why[CONF_WHY_MAX];
    int rc = config_load(&config, cmdline_config(c), c->flags, c->n_flags, why);
    if (rc) {
        fail(why);
        return 1;
    }
    int exit_code = c->action == CMDLINE_CHECK ? check(&config) : run(&config);
    config_fini(&config);
    return exit_code;
}

int main(int argc, char **argv)
{
    static struct cmdline c; /* too large for the stack's taste */
    char why[CONF_WHY_MAX];
    inherited_streams();
    if (cmdline_parse(&c, argc, argv, why) != 0) {
        fail(why);
        return 2;
    }
    if (sodium_init() < 0) {
        fail("no source of randomness");
        return 1;
    }
    switch (c.action) {
    case CMDLINE_HELP: cmdline_help(stdout); return 0;
    case CMDLINE_VERSION: printf("dray-tracker %s\n", DRAY_VERSION); return 0;
    case CMDLINE_CTL: return ctl_main(argc - 1, argv + 1);
    case CMDLINE_CHECK:
    case CMDLINE_RUN: break;
    }
    return with_config(&c);
}

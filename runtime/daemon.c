/* daemon.c - see daemon.h. Here alone are the handles for signals; everything else belongs to who
 * is run. */
#include "runtime/daemon.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "runtime/log.h"
#include "runtime/notify.h"

enum daemon_state { DAEMON_RUNNING, DAEMON_DRAINING, DAEMON_STOPPING };

struct daemon {
    uv_loop_t loop;
    uv_signal_t signals[3];
    uv_timer_t watchdog;
    const struct daemon_ops *ops;
    void *self;
    enum daemon_state state;
};

static const int signal_numbers[] = {SIGHUP, SIGTERM, SIGINT};
static_assert(countof(signal_numbers) == countof(((struct daemon *)NULL)->signals),
              "one handle each");

/* --- the end --------------------------------------------------------------------------------- */

/* Those that were made: a handle knows its loop from then on. */
static void close_handles(struct daemon *d)
{
    for (size_t i = 0; i < countof(d->signals); i++)
        if (d->signals[i].loop)
            uv_close((uv_handle_t *)&d->signals[i], NULL);
    if (d->watchdog.loop)
        uv_close((uv_handle_t *)&d->watchdog, NULL);
}

/* They stay till the daemon is gone, but keep the loop no longer: a signal that comes meanwhile
 * must not end the process by itself, nor the watchdog starve over a slow disk. */
static void unref_handles(struct daemon *d)
{
    for (size_t i = 0; i < countof(d->signals); i++)
        uv_unref((uv_handle_t *)&d->signals[i]);
    uv_unref((uv_handle_t *)&d->watchdog);
}

static void stop(struct daemon *d)
{
    if (d->state == DAEMON_STOPPING)
        return;
    d->state = DAEMON_STOPPING;
    d->ops->stop(d->self);
    unref_handles(d);
}

static void on_drained(void *arg)
{
    stop(arg);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;
    if (number == SIGHUP) {
        if (d->state != DAEMON_RUNNING)
            return;
        notify_reloading();
        d->ops->reload(d->self);
        notify_ready("serving");
        return;
    }
    if (d->state == DAEMON_RUNNING) {
        log_info("ending: running answers may finish; the signal again stops at once");
        d->state = DAEMON_DRAINING;
        notify_stopping();
        d->ops->drain(d->self, on_drained, d);
    } else if (d->state == DAEMON_DRAINING) {
        log_info("stopping at once");
        stop(d);
    }
}

/* --- the start ------------------------------------------------------------------------------- */

static void on_watchdog(uv_timer_t *timer)
{
    (void)timer;
    notify_watchdog();
}

static int open_handles(struct daemon *d)
{
    int rc = uv_timer_init(&d->loop, &d->watchdog);
    for (size_t i = 0; !rc && i < countof(d->signals); i++) {
        rc = uv_signal_init(&d->loop, &d->signals[i]);
        d->signals[i].data = d;
    }
    return rc;
}

/* Only once there is something to drain: a start that takes long may be ended the rough way. */
static int start_handles(struct daemon *d)
{
    u64 every_ms = notify_watchdog_interval_ms();
    int rc = every_ms ? uv_timer_start(&d->watchdog, on_watchdog, every_ms, every_ms) : 0;
    for (size_t i = 0; !rc && i < countof(signal_numbers); i++)
        rc = uv_signal_start(&d->signals[i], on_signal, signal_numbers[i]);
    return rc;
}

/* Each client and each open layer is a descriptor: take all that the system permits. */
static void raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warn("the limit of open files stays low: %s", strerror(errno));
}

static void fail(const struct daemon *d, const char *why)
{
    fprintf(stderr, "%s: %s\n", d->ops->name, why);
}

/* Without their handles they would end the process in the last moment before it ends well. */
static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < countof(signal_numbers); i++)
        sigaddset(&set, signal_numbers[i]);
    (void)!pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static int run_loop(struct daemon *d, void *config)
{
    char why[CONF_WHY_MAX] = "signals cannot be watched";
    int rc = open_handles(d);
    if (!rc)
        rc = d->ops->start(&d->self, &d->loop, config, why);
    if (rc) {
        fail(d, why);
        close_handles(d);
        uv_run(&d->loop, UV_RUN_DEFAULT); /* what was begun closes */
        return 1;
    }
    int exit_code = start_handles(d) ? 1 : 0;
    if (exit_code) {
        fail(d, why);
        stop(d);
    } else
        notify_ready("serving");
    uv_run(&d->loop, UV_RUN_DEFAULT);
    assert(d->state == DAEMON_STOPPING);
    d->ops->del(d->self);
    block_signals();
    close_handles(d);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    return exit_code;
}

/* Libraries before the first thread, and in reverse at the end. */
int daemon_run(const struct daemon_ops *ops, void *config)
{
    struct daemon d;
    memset(&d, 0, sizeof(d));
    d.ops = ops;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptors();
    ops->warn(config);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || uv_loop_init(&d.loop) != 0) {
        fail(&d, "out of memory");
        return 1;
    }
    int exit_code = run_loop(&d, config);
    int rc = uv_loop_close(&d.loop);
    if (rc)
        log_error("a handle was left open: %s", uv_strerror(rc));
    assert(rc == 0);
    curl_global_cleanup();
    uv_library_shutdown();
    return exit_code;
}

/* tracker_metrics.c - what the tracker counts and measures; names are part of docs/operations.md.
 */
#include <stdio.h>

#include "tracker/tracker_internal.h"

static double lag(void *arg)
{
    return (double)((struct tracker *)arg)->lag_recent_ns / 1e9;
}
static double streamed(void *arg)
{
    return (double)((struct tracker *)arg)->streamed_bytes;
}
static double uploaded(void *arg)
{
    return (double)((struct tracker *)arg)->uploaded_bytes;
}

static double through(void *arg)
{
    return (double)((struct tracker *)arg)->through_bytes;
}
static double strikes(void *arg)
{
    return (double)strikes_total(((struct tracker *)arg)->strikes);
}
static double profiles(void *arg)
{
    return (double)users_count(((struct tracker *)arg)->users, LEDGER_PROFILE);
}
static double watched(void *arg)
{
    return (double)watches_held(((struct tracker *)arg)->watches);
}
static double away(void *arg)
{
    return (double)circle_away(((struct tracker *)arg)->circle);
}

void tracker_metrics(struct tracker *t)
{
    metrics_counter_fn(t->metrics, "dray_served_bytes_total", "source=\"through\"",
                       "Bytes of answers, by where they came from.", through, t);
    metrics_counter_fn(t->metrics, "dray_strikes_total", "",
                       "Nodes that failed a user, as told by outcomes.", strikes, t);
    metrics_gauge_fn(t->metrics, "dray_profiles", "", "Users with a profile.", profiles, t);
    metrics_gauge_fn(t->metrics, "dray_nodes_watched", "",
                     "Nodes whose end would be noticed at once.", watched, t);
    metrics_gauge_fn(t->metrics, "dray_trackers_away", "",
                     "Other trackers behind this name that do not answer.", away, t);
    metrics_gauge_fn(t->metrics, "dray_loop_lag_seconds", "",
                     "How late the loop lately was, at worst.", lag, t);
    metrics_counter_fn(t->metrics, "dray_served_bytes_total", "source=\"stream\"",
                       "Bytes of answers, by where they came from.", streamed, t);
    metrics_counter_fn(t->metrics, "dray_uploaded_bytes_total", "",
                       "Bytes of request bodies passed on to the registry.", uploaded, t);
}

static void refusal(void *arg, const char *reason, u64 count)
{
    struct tracker *t = arg;
    char labels[96];
    snprintf(labels, sizeof(labels), "reason=\"%s\"", reason);
    *metrics_counter(t->metrics, "dray_dropped_total", labels, "What was refused, by reason.") =
        count;
}

void tracker_metrics_refresh(struct tracker *t)
{
    http_server_refusals(t->server, refusal, t);
}

/* metrics.h - counters, gauges and histograms in Prometheus text (exposition format 0.0.4).
 *
 * Counters are plain u64 that the owner increments through a pointer: no lookup on a hot path.
 * Labels are given once, as text: `route="blob",code="200"`. The number of series is bounded
 * (4096): beyond it one series labelled `other` per family takes the rest. Loop thread only. */
#pragma once

#include "proto/err.h"

struct metrics;
struct histogram;

must_use int metrics_new(struct metrics **out);
void metrics_del(struct metrics *m);

/* Finds or makes a series; the pointer lives as long as `m`. `help` NULL when the family has one.
 * Never NULL: when memory ends, a sink is returned. `labels` "" for none. */
u64 *metrics_counter(struct metrics *m, const char *name, const char *labels, const char *help);
/* A gauge is set by its owner, or read by a callback when rendered. */
double *metrics_gauge(struct metrics *m, const char *name, const char *labels, const char *help);
void metrics_gauge_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                      double (*read)(void *arg), void *arg);
/* As gauge_fn but typed counter: for totals that other modules keep. */
void metrics_counter_fn(struct metrics *m, const char *name, const char *labels, const char *help,
                        double (*read)(void *arg), void *arg);
/* Seconds, in buckets from 1 ms to 5 min. */
struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels,
                                    const char *help);
void histogram_observe(struct histogram *h, double seconds);

/* Escapes a label value into `out`. */
void metrics_label_escape(char *out, size_t cap, const char *value);

/* The whole page; `*text` is owned by the caller (free). ERR_NOMEM. */
must_use int metrics_render(struct metrics *m, char **text, size_t *len);

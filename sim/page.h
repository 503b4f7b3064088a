/* page.h - one run as one page: what a person looks at.
 *
 * Collects what happened while a run goes on and writes report.html: the region as a picture over
 * time, plots, faults, a slider through virtual time. Text, styles and script stand in sim/page/
 * and are built in; what is written needs no network and no other file. Bounded: a list keeps at
 * most PAGE_ROWS_MAX rows, of more an even sample (every second, every fourth, ...), and the page
 * says so. Not here: what happens and when (record.h tells it), the figures (summary.h). */
#pragma once

#include <stdio.h>

#include "proto/err.h"

#define PAGE_ROWS_MAX 20000
#define PAGE_TEXT_MAX 160

struct page;

enum page_list {
    PAGE_STATES,  /* t, node, state */
    PAGE_FETCHES, /* from, to, node, source (-1: the registry), bytes, worked */
    PAGE_GAINED,  /* t, node, bytes fetched so far */
    PAGE_LAYERS,  /* t, took, source: 1 peer, 2 registry */
    PAGE_PULLS,   /* t, took */
    PAGE_SECONDS, /* t and the columns of PAGE_SERIES */
    PAGE_LIST_COUNT
};
enum page_state { PAGE_DOWN, PAGE_UP, PAGE_PAUSED, PAGE_CUT };

/* In the order of a row of PAGE_SECONDS, after the time. Bytes are per second. */
#define PAGE_SERIES(X)                                                                             \
    X(peer_bps)                                                                                    \
    X(wan_bps)                                                                                     \
    X(mesh_bps)                                                                                    \
    X(hit_ratio) X(peer_ratio) X(up) X(alive_mean) X(alive_least) X(alive_most) X(own_ratio)

#define PAGE_COLUMNS_MAX 11

struct page *page_new(void);
void page_del(struct page *p);

/* The cast, before anything else: both are numbered in the order of their coming. */
void page_office(struct page *p, const char *name, unsigned nodes);
/* Behind the nodes, by number: of each tracker one member for each region. */
void page_trackers(struct page *p, unsigned trackers, unsigned regions);

/* `values`: as many as the list has columns; times in seconds. */
void page_row(struct page *p, enum page_list list, const double *values);
/* A stretch of the run in which something was wrong. */
void page_fault(struct page *p, double from_s, double to_s, const char *kind);
/* A line of what happened, for people. */
void page_log(struct page *p, double at_s, const char *text);
/* What a reader should know of this run. */
void page_note(struct page *p, const char *text);

/* `summary`: the run's JSON object. `again`: the command that repeats the run. */
struct page_end {
    const char *summary, *again;
    double end_s, bound_s; /* bound 0: none */
};
/* ERR_IO. */
must_use int page_write(struct page *p, const struct page_end *end, FILE *out);

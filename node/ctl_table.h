/* ctl_table.h - numbers and tables for people's eyes.
 *
 * Sizes in KiB, MiB, ... with one decimal, ages in their two largest units, columns as wide as
 * their widest cell. Foreign text (an error of a registry) is stripped of what would steer a
 * terminal. Pure, but for ctl_table_print(). */
#pragma once

#include <stdio.h>

#include "proto/types.h"

#define TABLE_TEXT    32 /* bytes that any of the formatted numbers below fits in */
#define TABLE_COLUMNS 12
#define TABLE_ROWS    512 /* more are left out, and counted */
#define TABLE_CELL    160

void ctl_table_size(char out[TABLE_TEXT], u64 bytes); /* "0 B", "1023 B", "1.5 KiB", "2.0 TiB" */
void ctl_table_rate(char out[TABLE_TEXT], u64 bytes_per_s); /* "11.2 MiB/s" */
void ctl_table_age(char out[TABLE_TEXT], u64 seconds);      /* "0s", "3m12s", "2h05m", "3d04h" */
void ctl_table_percent(char out[TABLE_TEXT], u64 part,
                       u64 whole);                 /* "42.0%", "-" when whole is 0 */
void ctl_table_count(char out[TABLE_TEXT], u64 n); /* "12,345" */
/* "[=====>    ]": `width` characters between the brackets (at most TABLE_TEXT - 3). */
void ctl_table_bar(char out[TABLE_TEXT], unsigned width, u64 part, u64 whole);
/* "2026-11-23T18:23:44Z" (fractions allowed) to Unix seconds; false when it is not of that form. */
bool ctl_table_time(const char *text, u64 *unix_s);
/* Copies `text`, control characters and bytes that are not UTF-8 as '?', cut to `cap` with "...".
 */
void ctl_table_clean(char *out, size_t cap, const char *text);

struct ctl_table {
    size_t columns, rows, left_out;
    bool right[TABLE_COLUMNS]; /* align to the right: numbers */
    char (*cells)[TABLE_CELL]; /* rows * columns */
};

/* `right`: one character for each column, 'r' or 'l'. False: out of memory. */
must_use bool ctl_table_init(struct ctl_table *t, const char *right);
void ctl_table_fini(struct ctl_table *t);
/* Adds a row of `columns` texts; all are cleaned. */
void ctl_table_add(struct ctl_table *t, const char *const *texts);
/* Each line begins with `indent`; the last column is not padded. The first row is set off by
 * `before` and `after` (for colour; may be ""). */
void ctl_table_print(const struct ctl_table *t, FILE *to, const char *indent, const char *before,
                     const char *after);

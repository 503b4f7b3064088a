/* knobs.c - see knobs.h. */
#include "sim/knobs.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/topology.h"

struct knob {
    const char *name;
    enum knob_kind kind;
    size_t at; /* in struct knobs */
    double standard, least, most;
    const char *help;
};

static const struct knob table[] = {
#define X(name, kind, standard, least, most, help)                                                 \
    {#name, KNOB_##kind, offsetof(struct knobs, name), standard, least, most, help},
    KNOBS(X)
#undef X
};

static bool is_real(const struct knob *d)
{
    return d->kind == KNOB_CHANCE || d->kind == KNOB_RATE;
}

static double load(const struct knobs *k, const struct knob *d)
{
    const void *p = (const char *)k + d->at;
    if (is_real(d))
        return *(const double *)p;
    return d->kind == KNOB_SWITCH ? (double)*(const bool *)p : (double)*(const u64 *)p;
}

static void save(struct knobs *k, const struct knob *d, double v)
{
    void *p = (char *)k + d->at;
    if (is_real(d))
        *(double *)p = v;
    else if (d->kind == KNOB_SWITCH)
        *(bool *)p = v != 0;
    else
        *(u64 *)p = (u64)v;
}

void knobs_init(struct knobs *k)
{
    memset(k, 0, sizeof(*k));
    for (size_t i = 0; i < countof(table); i++)
        save(k, &table[i], table[i].standard);
}

static const char *form(const struct knob *d)
{
    switch (d->kind) {
    case KNOB_COUNT:
    case KNOB_PPM: return "a whole number";
    case KNOB_TIME: return "a time, like 500ms, 90s or 24h";
    case KNOB_BYTES: return "bytes, like 3GB, 300MB or 1Gbit";
    case KNOB_CHANCE: return "a part, like 0.05 or 5%";
    case KNOB_RATE: return "a number";
    case KNOB_SWITCH: return "0 or 1";
    }
    return "";
}

/* False: not of its kind's form. */
static bool parse(const struct knob *d, const char *text, double *out)
{
    char *end;
    u64 n;
    switch (d->kind) {
    case KNOB_TIME:
        if (topology_parse_time(text, &n))
            return false;
        *out = (double)n;
        return true;
    case KNOB_BYTES:
        if (topology_parse_bytes(text, &n))
            return false;
        *out = (double)n;
        return true;
    case KNOB_CHANCE:
    case KNOB_RATE:
        *out = strtod(text, &end);
        if (d->kind == KNOB_CHANCE && *end == '%') {
            *out /= 100;
            end++;
        }
        return end != text && *end == 0 && *out == *out;
    case KNOB_COUNT:
    case KNOB_PPM:
    case KNOB_SWITCH:
        if (*text < '0' || *text > '9')
            return false;
        *out = (double)strtoull(text, &end, 10);
        return *end == 0;
    }
    return false;
}

int knobs_set(struct knobs *k, const char *text, char why[KNOBS_WHY_MAX])
{
    size_t len = strcspn(text, "=");
    for (size_t i = 0; i < countof(table); i++) {
        const struct knob *d = &table[i];
        if (strlen(d->name) != len || memcmp(d->name, text, len) != 0)
            continue;
        double v;
        if (text[len] != '=' || !parse(d, text + len + 1, &v)) {
            snprintf(why, KNOBS_WHY_MAX, "%s=: expected %s (%s)", d->name, form(d), d->help);
            return ERR_INVAL;
        }
        if (v < d->least || v > d->most) {
            snprintf(why, KNOBS_WHY_MAX, "%.100s: out of bounds, %.12g to %.12g", text, d->least,
                     d->most);
            return ERR_INVAL;
        }
        save(k, d, v);
        return 0;
    }
    snprintf(why, KNOBS_WHY_MAX, "%.*s: no such key; dray-sim run --help lists them",
             (int)(len < 60 ? len : 60), text);
    return ERR_INVAL;
}

static void print_value(const struct knob *d, double v, char *out, size_t size)
{
    if (d->kind == KNOB_TIME && v >= 1e9 && v == 1e9 * (double)(u64)(v / 1e9))
        snprintf(out, size, "%" PRIu64 "s", (u64)(v / 1e9));
    else if (d->kind == KNOB_TIME && v > 0)
        snprintf(out, size, "%" PRIu64 "ns", (u64)v);
    else if (d->kind == KNOB_BYTES && v >= 1e6 && v == 1e6 * (double)(u64)(v / 1e6))
        snprintf(out, size, "%" PRIu64 "MB", (u64)(v / 1e6));
    else if (d->kind == KNOB_BYTES && v > 0)
        snprintf(out, size, "%" PRIu64 "B", (u64)v);
    else if (is_real(d))
        snprintf(out, size, "%.12g", v);
    else
        snprintf(out, size, "%" PRIu64, (u64)v);
}

size_t knobs_print_changes(const struct knobs *k, const struct knobs *base, char *out, size_t size)
{
    size_t at = 0;
    out[0] = 0;
    for (size_t i = 0; i < countof(table) && at < size; i++)
        if (load(k, &table[i]) != load(base, &table[i])) {
            char value[32];
            print_value(&table[i], load(k, &table[i]), value, sizeof(value));
            int n = snprintf(out + at, size - at, " --set %s=%s", table[i].name, value);
            at += n > 0 ? (size_t)n : 0;
        }
    return at < size ? at : size - 1;
}

void knobs_print_help(const struct knobs *k)
{
    for (size_t i = 0; i < countof(table); i++) {
        char value[32];
        print_value(&table[i], load(k, &table[i]), value, sizeof(value));
        printf("  %-16s %-12s %s\n", table[i].name, value, table[i].help);
    }
}

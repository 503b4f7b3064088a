/* conf_scalar.c - numbers, sizes, rates, durations and booleans, read strictly.
 *
 * What is not exactly one of the spellings below is refused: no signs, no leading zeros (`010` is 8
 * to some and 10 to others), no blanks, no unit in another case (`m` is minutes, `M` nothing). */
#include <string.h>

#include "runtime/conf.h"

struct unit {
    const char *name;
    u64 factor;
};

static const struct unit sizes[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000},
    {"KiB", 1ull << 10},
    {"MB", 1000000},
    {"MiB", 1ull << 20},
    {"GB", 1000000000},
    {"GiB", 1ull << 30},
    {"TB", 1000000000000},
    {"TiB", 1ull << 40},
    {"PB", 1000000000000000},
    {"PiB", 1ull << 50},
};

static const struct unit durations[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
};

#define DURATION_MAX_MS (36500ull * 86400000) /* a hundred years: also in ns it fits 64 bits */
#define FRACTION_DIGITS 9

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits without a leading zero; `*end` is after them. */
static bool read_digits(const char *text, u64 *out, const char **end)
{
    u64 v = 0;

    if (!is_digit(*text) || (*text == '0' && is_digit(text[1])))
        return false;
    for (; is_digit(*text); text++) {
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (u64)(*text - '0'), &v))
            return false;
    }
    *out = v;
    *end = text;
    return true;
}

static const struct unit *unit_named(const struct unit *units, size_t n, const char *name,
                                     size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(units[i].name) == len && memcmp(units[i].name, name, len) == 0)
            return &units[i];
    return NULL;
}

/* Up to `len`: "1.5TiB" is 1 and 5/10 times a unit; part of a byte is dropped. */
static int read_size(const char *text, size_t len, u64 *bytes)
{
    unsigned __int128 fraction = 0, scale = 1, total;
    const char *end = text + len, *at;
    const struct unit *unit;
    u64 whole;

    if (!read_digits(text, &whole, &at) || at > end)
        return ERR_INVAL;
    if (at < end && *at == '.') {
        at++;
        for (; is_digit(*at) && scale < 1000000000; at++) {
            fraction = fraction * 10 + (unsigned)(*at - '0');
            scale *= 10;
        }
        if (scale == 1)
            return ERR_INVAL;
    }
    unit = unit_named(sizes, countof(sizes), at, (size_t)(end - at));
    if (unit == NULL || (scale > 1 && unit->factor == 1))
        return ERR_INVAL;
    total = (unsigned __int128)whole * unit->factor + fraction * unit->factor / scale;
    if (total > UINT64_MAX)
        return ERR_INVAL;
    *bytes = (u64)total;
    return 0;
}

int conf_size(const char *text, u64 *bytes)
{
    return read_size(text, strlen(text), bytes);
}

int conf_rate(const char *text, u64 *bytes_per_s)
{
    size_t len = strlen(text);

    if (len >= 2 && strcmp(text + len - 2, "/s") == 0)
        len -= 2;
    return read_size(text, len, bytes_per_s);
}

int conf_duration_ms(const char *text, u64 *ms)
{
    const struct unit *unit;
    const char *at;
    u64 v;

    if (!read_digits(text, &v, &at))
        return ERR_INVAL;
    if (v == 0 && *at == '\0') {
        *ms = 0;
        return 0;
    }
    unit = unit_named(durations, countof(durations), at, strlen(at));
    if (unit == NULL || v > DURATION_MAX_MS / unit->factor)
        return ERR_INVAL;
    *ms = v * unit->factor;
    return 0;
}

int conf_bool(const char *text, bool *out)
{
    if (strcmp(text, "true") == 0)
        *out = true;
    else if (strcmp(text, "false") == 0)
        *out = false;
    else
        return ERR_INVAL;
    return 0;
}

int conf_u32(const char *text, u32 min, u32 max, u32 *out)
{
    const char *at;
    u64 v;

    if (!read_digits(text, &v, &at) || *at != '\0' || v < min || v > max)
        return ERR_INVAL;
    *out = (u32)v;
    return 0;
}

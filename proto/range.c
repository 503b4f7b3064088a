/* range.c - Range and Content-Range, read strictly and answered as RFC 9110 section 14 says.
 *
 * Three departures, each wanted by a client or a test suite of the registry world:
 *   - `500-0` (last before first) is 416. The RFC calls it invalid and lets us ignore it, the OCI
 *     conformance suite asks for 416, and a client that sends it is better told than given 10 GB.
 *   - of an empty blob every range is 416, `-500` too: a 206 could not name any byte.
 *   - several ranges are answered with the whole blob (200): a multipart body is never made here.
 *
 * Numbers may be absurdly long. A position that overflows is "very far", so it saturates in a
 * request, where it is then clamped or unmet; in an answer from a server it is a lie. */
#include "proto/range.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"

struct cursor {
    const char *at;
    const char *end;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(struct cursor *c)
{
    while (c->at < c->end && is_space(*c->at))
        c->at++;
    while (c->at < c->end && is_space(c->end[-1]))
        c->end--;
}

/* Takes `word`, lower case, in any case of the text. */
static bool take_word(struct cursor *c, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(c->end - c->at) < len)
        return false;
    for (size_t i = 0; i < len; i++) {
        char got = c->at[i];
        if (got >= 'A' && got <= 'Z')
            got = (char)(got - 'A' + 'a');
        if (got != word[i])
            return false;
    }
    c->at += len;
    return true;
}

static bool take_char(struct cursor *c, char want)
{
    if (c->at == c->end || *c->at != want)
        return false;
    c->at++;
    return true;
}

/* Takes one or more digits; more than a u64 holds gives UINT64_MAX. False when there is no digit.
 */
static bool take_number(struct cursor *c, u64 *out)
{
    const char *start = c->at;
    u64 value = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        u64 digit = (u64)(*c->at - '0');
        if (value > (UINT64_MAX - digit) / 10)
            value = UINT64_MAX;
        else
            value = value * 10 + digit;
    }
    *out = value;
    return c->at > start;
}

/* One range-spec, already trimmed. */
static enum range_kind parse_spec(struct cursor c, u64 size, struct byte_range *r)
{
    u64 first, last = UINT64_MAX;
    if (take_char(&c, '-')) {
        u64 suffix;
        if (!take_number(&c, &suffix) || c.at != c.end)
            return RANGE_NONE;
        if (suffix == 0 || size == 0)
            return RANGE_UNMET;
        *r = (struct byte_range){.first = suffix < size ? size - suffix : 0, .last = size - 1};
        return RANGE_PART;
    }
    if (!take_number(&c, &first) || !take_char(&c, '-'))
        return RANGE_NONE;
    if (c.at != c.end && (!take_number(&c, &last) || c.at != c.end))
        return RANGE_NONE;
    if (last < first || first >= size)
        return RANGE_UNMET;
    *r = (struct byte_range){.first = first, .last = last < size ? last : size - 1};
    return RANGE_PART;
}

/* The list's only element that is not empty; the RFC has receivers pass over empty ones. False when
 * there is none, or a second. */
static bool single_element(struct cursor list, struct cursor *only)
{
    bool found = false;
    while (list.at < list.end) {
        const char *comma = memchr(list.at, ',', (size_t)(list.end - list.at));
        struct cursor element = {list.at, comma ? comma : list.end};
        list.at = comma ? comma + 1 : list.end;
        trim(&element);
        if (element.at == element.end)
            continue;
        if (found)
            return false;
        found = true;
        *only = element;
    }
    return found;
}

enum range_kind range_parse(const char *value, size_t len, u64 size, struct byte_range *r)
{
    assert(r && (value || len == 0));
    *r = (struct byte_range){.first = 0, .last = size ? size - 1 : 0};
    if (len == 0)
        return RANGE_NONE;
    struct cursor c = {value, value + len}, only;
    trim(&c);
    if (!take_word(&c, "bytes") || !take_char(&c, '=') || !single_element(c, &only))
        return RANGE_NONE;
    enum range_kind kind = parse_spec(only, size, r);
    assert(kind != RANGE_PART || (r->first <= r->last && r->last < size));
    return kind;
}

int range_parse_content(const char *value, size_t len, struct byte_range *r, u64 *size)
{
    assert(r && size && (value || len == 0));
    *r = (struct byte_range){0};
    *size = UINT64_MAX;
    if (len == 0)
        return ERR_INVAL;
    struct cursor c = {value, value + len};
    struct byte_range read;
    u64 total = UINT64_MAX;
    trim(&c);
    if (!take_word(&c, "bytes") || !take_char(&c, ' '))
        return ERR_INVAL;
    if (!take_number(&c, &read.first) || !take_char(&c, '-') || !take_number(&c, &read.last) ||
        !take_char(&c, '/'))
        return ERR_INVAL;
    if (!take_char(&c, '*')) {
        /* The largest number stands for "unknown", so nobody may state it (or overflow to it). */
        if (!take_number(&c, &total) || total == UINT64_MAX || read.last >= total)
            return ERR_INVAL;
    }
    if (c.at != c.end || read.first > read.last || read.last == UINT64_MAX)
        return ERR_INVAL;
    *r = read;
    *size = total;
    return 0;
}

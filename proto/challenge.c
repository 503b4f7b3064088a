/* challenge.c - reading WWW-Authenticate.
 *
 * The grammar is ambiguous until one looks past a name (RFC 9110, section 11.6.1):
 *
 *     challenges = challenge *( "," challenge )
 *     challenge  = scheme [ 1*SP ( token68 / param *( "," param ) ) ]
 *     param      = token BWS "=" BWS ( token / quoted-string )
 *
 * A comma may end a parameter or a whole challenge. So each list element is read as: a name; then
 * "=" makes it a parameter of the challenge before it, anything else makes it a new scheme, whose
 * first parameter (or token68) may follow in the same element. Empty list elements are passed over.
 *
 * A Bearer challenge without a realm names no token server, nothing can be asked of it: it counts
 * as not offered. The same parameter twice in one challenge is bad syntax: two readers would pick
 * differently. Nothing is allocated; the text is only read. */
#include "proto/challenge.h"

#include <assert.h>
#include <string.h>

#include "proto/err.h"

struct cursor {
    const char *at;
    const char *end;
};

struct text {
    const char *at; /* borrowed from the header value */
    size_t len;
};

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_token(char c)
{
    return is_alnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token68(char c)
{
    return is_alnum(c) || (c && strchr("-._~+/", c));
}

/* What a quoted string may hold beside the quote and the backslash; bytes over 127 are obs-text. */
static bool is_quotable(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte == '\t' || (byte >= ' ' && byte != 127);
}

static bool at_end(const struct cursor *c)
{
    return c->at == c->end;
}

static void skip_space(struct cursor *c)
{
    while (!at_end(c) && is_space(*c->at))
        c->at++;
}

static struct text take_token(struct cursor *c)
{
    struct text t = {.at = c->at};
    while (!at_end(c) && is_token(*c->at))
        c->at++;
    t.len = (size_t)(c->at - t.at);
    return t;
}

/* `word` is lower case. */
static bool text_is(struct text t, const char *word)
{
    if (t.len != strlen(word))
        return false;
    for (size_t i = 0; i < t.len; i++) {
        char c = t.at[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c != word[i])
            return false;
    }
    return true;
}

/* Reads a parameter's value. `out` may be NULL: a parameter nobody wants is checked, not kept. */
static int take_value(struct cursor *c, char *out, size_t cap)
{
    size_t used = 0;
    if (!at_end(c) && *c->at != '"') {
        struct text t = take_token(c);
        if (t.len == 0)
            return ERR_INVAL;
        if (!out)
            return 0;
        if (t.len >= cap)
            return ERR_TOOBIG;
        memcpy(out, t.at, t.len);
        out[t.len] = '\0';
        return 0;
    }
    if (at_end(c))
        return ERR_INVAL;
    for (c->at++; !at_end(c) && *c->at != '"'; c->at++) {
        if (*c->at == '\\' && ++c->at == c->end)
            return ERR_INVAL;
        if (!is_quotable(*c->at))
            return ERR_INVAL;
        if (!out)
            continue;
        if (used + 1 >= cap)
            return ERR_TOOBIG;
        out[used++] = *c->at;
    }
    if (at_end(c))
        return ERR_INVAL; /* the closing quote is missing */
    c->at++;
    if (out)
        out[used] = '\0';
    return 0;
}

/* The challenge being read, and which parameters it has already had. */
struct reading {
    struct challenge c;
    bool open; /* a scheme has been read */
    bool realm, service, scope;
};

static int take_param(struct cursor *c, struct reading *r, struct text name)
{
    assert(!at_end(c) && *c->at == '=');
    c->at++;
    skip_space(c);
    char *out = NULL;
    size_t cap = 0;
    bool *seen = NULL;
    if (text_is(name, "realm")) {
        out = r->c.realm, cap = sizeof r->c.realm, seen = &r->realm;
    } else if (text_is(name, "service")) {
        out = r->c.service, cap = sizeof r->c.service, seen = &r->service;
    } else if (text_is(name, "scope")) {
        out = r->c.scope, cap = sizeof r->c.scope, seen = &r->scope;
    }
    if (seen && *seen)
        return ERR_INVAL;
    if (r->c.scheme == CHALLENGE_NONE)
        out = NULL; /* a scheme we do not speak: its parameters may be as long as they like */
    int err = take_value(c, out, cap);
    if (err == 0 && seen)
        *seen = true;
    return err;
}

/* After a scheme: true when a lone token68 stands here, which is then taken. */
static bool take_token68(struct cursor *c)
{
    struct cursor ahead = *c;
    const char *start = ahead.at;
    while (!at_end(&ahead) && is_token68(*ahead.at))
        ahead.at++;
    if (ahead.at == start)
        return false;
    while (!at_end(&ahead) && *ahead.at == '=')
        ahead.at++;
    skip_space(&ahead);
    if (!at_end(&ahead) && *ahead.at != ',')
        return false;
    *c = ahead;
    return true;
}

/* Keeps what has been read if it is better than what was kept: the first Bearer, else the first
 * Basic. */
static void finish(struct challenge *best, struct reading *r)
{
    bool usable = r->c.scheme == CHALLENGE_BASIC ||
                  (r->c.scheme == CHALLENGE_BEARER && r->c.realm[0] != '\0');
    if (usable && r->c.scheme > best->scheme)
        *best = r->c;
    *r = (struct reading){0};
}
static_assert(CHALLENGE_BEARER > CHALLENGE_BASIC && CHALLENGE_BASIC > CHALLENGE_NONE, "preference");

/* One list element: a parameter, or a scheme with what follows it. */
static int take_element(struct cursor *c, struct reading *r, struct challenge *best)
{
    struct text name = take_token(c);
    if (name.len == 0)
        return ERR_INVAL;
    bool spaced = !at_end(c) && is_space(*c->at);
    skip_space(c);
    if (!at_end(c) && *c->at == '=')
        return r->open ? take_param(c, r, name) : ERR_INVAL;

    finish(best, r);
    r->open = true;
    if (text_is(name, "bearer"))
        r->c.scheme = CHALLENGE_BEARER;
    else if (text_is(name, "basic"))
        r->c.scheme = CHALLENGE_BASIC;
    if (at_end(c) || *c->at == ',')
        return 0;
    if (!spaced)
        return ERR_INVAL;
    if (take_token68(c))
        return 0;
    name = take_token(c);
    skip_space(c);
    if (name.len == 0 || at_end(c) || *c->at != '=')
        return ERR_INVAL;
    return take_param(c, r, name);
}

int challenge_parse(struct challenge *out, const char *value, size_t len)
{
    assert(out && (value || len == 0));
    *out = (struct challenge){0};
    if (len == 0)
        return ERR_NOTFOUND;
    struct cursor c = {value, value + len};
    struct reading r = {0};
    struct challenge best = {0};
    for (;;) {
        while (!at_end(&c) && (is_space(*c.at) || *c.at == ','))
            c.at++;
        if (at_end(&c))
            break;
        int err = take_element(&c, &r, &best);
        if (err)
            return err;
        skip_space(&c);
        if (!at_end(&c) && *c.at != ',')
            return ERR_INVAL;
    }
    finish(&best, &r);
    if (best.scheme == CHALLENGE_NONE)
        return ERR_NOTFOUND;
    *out = best;
    return 0;
}

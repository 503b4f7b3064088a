/* ctl_users.c - users and teams from the command line: see ctl.c. A file of all of them is
 *
 *     {"users": {"alice": "asia-office", ...}, "teams": {"web": {"cache": "...", "members":
 * [...]}}}
 *
 * or, of users alone, {"alice": "asia-office", ...}. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tracker/ctl_impl.h"

static const char users_path[] = "/api/v1/users", users_under[] = "/api/v1/users/",
                  teams_path[] = "/api/v1/teams", teams_under[] = "/api/v1/teams/";

static bool is(const char *word, const char *name)
{
    return strcmp(word, name) == 0;
}

/* What a file calls somebody, on the way to a terminal. */
static void say_whom(const char *name)
{
    for (size_t i = 0; i < 80 && name[i]; i++)
        putc((unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i], stderr);
    fputs(": ", stderr);
}

/* One request of an import: prints only what went wrong. */
static int quietly(const struct command *c, const char *method, const char *path, const char *body,
                   const char *about)
{
    struct reply r;
    int rc = ctl_ask(c, method, path, body, &r);
    if (rc)
        return rc;
    if (r.status != 200) {
        say_whom(about);
        return ctl_show(c, &r);
    }
    free(r.text);
    return 0;
}

/* {"cache": CACHE}; NULL: out of memory. */
static char *cache_body(const char *cache)
{
    json_t *value = json_pack("{s:s}", "cache", cache);
    char *body = json_dumps(value, JSON_COMPACT);
    json_decref(value);
    return body;
}

static int set_cache(const struct command *c, const char *under, const char *name,
                     const char *cache, bool quiet)
{
    char path[1024], *body = cache_body(cache);
    int rc = CTL_EXIT_FAILED;
    ctl_path(path, sizeof(path), under, name, "");
    if (body)
        rc = quiet ? quietly(c, "PUT", path, body, name) : ctl_simple(c, "PUT", path, body);
    free(body);
    return rc;
}

static int set_member(const struct command *c, const char *method, const char *team,
                      const char *user)
{
    char under[1024], path[2048];
    ctl_path(under, sizeof(under), teams_under, team, "/members/");
    ctl_path(path, sizeof(path), under, user, "");
    return quietly(c, method, path, is(method, "PUT") ? "" : NULL, user);
}

/* --- import and export ----------------------------------------------------------------------- */

static json_t *get(const struct command *c, const char *path, int *rc)
{
    struct reply r;
    *rc = ctl_ask(c, "GET", path, NULL, &r);
    if (*rc)
        return NULL;
    if (r.status != 200) {
        *rc = ctl_show(c, &r);
        return NULL;
    }
    json_t *value = json_loadb(r.text ? r.text : "", r.len, 0, NULL);
    free(r.text);
    *rc = value ? 0 : CTL_EXIT_FAILED;
    return value;
}

static int export_all(const struct command *c)
{
    int rc;
    json_t *users = get(c, users_path, &rc), *teams = rc ? NULL : get(c, teams_path, &rc);
    json_t *all = rc ? NULL : json_pack("{s:O, s:O}", "users", users, "teams", teams);
    if (all) {
        json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        fputs("\n", stdout);
    }
    json_decref(users);
    json_decref(teams);
    json_decref(all);
    return rc;
}

struct tally {
    const struct command *c;
    size_t done, all;
    int rc;
};

static void count(struct tally *t, int rc)
{
    t->all++;
    t->done += rc == 0;
    t->rc = rc ? rc : t->rc;
}

static void miss(struct tally *t, const char *name, const char *what)
{
    say_whom(name);
    fprintf(stderr, "%s\n", what);
    count(t, CTL_EXIT_FAILED);
}

static void import_users(struct tally *t, json_t *users)
{
    const char *name;
    json_t *cache;
    json_object_foreach(users, name, cache)
    {
        const char *text = json_string_value(cache);
        if (text)
            count(t, set_cache(t->c, users_under, name, text, true));
        else
            miss(t, name, "the name of a cache is no text");
    }
}

static void import_teams(struct tally *t, json_t *teams)
{
    const char *name;
    json_t *team;
    json_object_foreach(teams, name, team)
    {
        json_t *cache = json_object_get(team, "cache"), *members = json_object_get(team, "members");
        if (json_is_string(cache))
            count(t, set_cache(t->c, teams_under, name, json_string_value(cache), true));
        else if (!json_is_object(team) || (cache && !json_is_null(cache)))
            miss(t, name, "the cache of a team is no text");
        if (members && !json_is_array(members))
            miss(t, name, "the members of a team are no list");
        for (size_t i = 0; i < json_array_size(members); i++) {
            const char *user = json_string_value(json_array_get(members, i));
            if (user)
                count(t, set_member(t->c, "PUT", name, user));
            else
                miss(t, name, "the name of a member is no text");
        }
    }
}

/* One after the other: each is on the disk when it is answered. */
static int import_all(const struct command *c, const char *file)
{
    struct tally t = {.c = c};
    json_error_t where;
    json_t *all = is(file, "-") ? json_loadf(stdin, JSON_REJECT_DUPLICATES, &where)
                                : json_load_file(file, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(all)) {
        fprintf(stderr, "dray-tracker users import: %s, line %d: %s\n", file, all ? 1 : where.line,
                all ? "is no object; see `dray-tracker users export`" : where.text);
        json_decref(all);
        return CTL_EXIT_FAILED;
    }
    json_t *users = json_object_get(all, "users"), *teams = json_object_get(all, "teams");
    bool whole = json_is_object(users) || json_is_object(teams);
    import_users(&t, whole ? users : all);
    if (whole)
        import_teams(&t, teams);
    fprintf(stderr, "%zu of %zu set\n", t.done, t.all);
    json_decref(all);
    return t.rc;
}

/* --- the commands ---------------------------------------------------------------------------- */

int ctl_users(const struct command *c)
{
    char path[1024];
    const char *what = c->n_words ? c->words[0] : "";
    const char *name = c->n_words > 1 ? c->words[1] : NULL;
    if (is(what, "list"))
        return ctl_simple(c, "GET", users_path, NULL);
    if (is(what, "export"))
        return export_all(c);
    if (!name)
        return ctl_usage(stderr);
    if (is(what, "import"))
        return import_all(c, name);
    if (is(what, "set") && c->n_words == 3)
        return set_cache(c, users_under, name, c->words[2], false);
    ctl_path(path, sizeof(path), users_under, name, is(what, "revoke") ? "/revoke" : "");
    if (is(what, "get"))
        return ctl_simple(c, "GET", path, NULL);
    if (is(what, "unset"))
        return ctl_simple(c, "DELETE", path, NULL);
    if (is(what, "revoke"))
        return ctl_simple(c, "POST", path, "");
    return ctl_usage(stderr);
}

static int members(const struct command *c, const char *method, const char *team)
{
    int rc = 0;
    for (size_t i = 2; i < c->n_words; i++) {
        int one = set_member(c, method, team, c->words[i]);
        rc = one ? one : rc;
    }
    return rc;
}

int ctl_teams(const struct command *c)
{
    char path[1024];
    const char *what = c->n_words ? c->words[0] : "";
    const char *name = c->n_words > 1 ? c->words[1] : NULL;
    if (is(what, "list"))
        return ctl_simple(c, "GET", teams_path, NULL);
    if (!name)
        return ctl_usage(stderr);
    if (is(what, "set") && c->n_words == 3)
        return set_cache(c, teams_under, name, c->words[2], false);
    if (is(what, "add") && c->n_words > 2)
        return members(c, "PUT", name);
    if (is(what, "remove") && c->n_words > 2)
        return members(c, "DELETE", name);
    ctl_path(path, sizeof(path), teams_under, name, "");
    if (is(what, "get"))
        return ctl_simple(c, "GET", path, NULL);
    if (is(what, "unset"))
        return ctl_simple(c, "DELETE", path, NULL);
    return ctl_usage(stderr);
}

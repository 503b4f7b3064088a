/* api_teams.c - see api_teams.h. A change is one transaction of the team's entry and its members',
 * at most USERS_CHANGES_MAX of them. What it is follows from who is in the team, so changes take
 * turns: of two orders for one team the later counts, and not a mixture. */
#include "tracker/api_teams.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tracker/api_words.h"

static const char teams_path[] = "/api/v1/teams", members_word[] = "/members/";

struct asked {
    struct tracker *t;
    struct http_exchange *x; /* NULL: the client left */
    struct users_turn turn;
    bool changing; /* the disk has the last word; then this is freed there */
    char team[USERS_CACHE_MAX + 1], user[USERS_NAME_MAX + 1];
    struct ledger_entry *changes;
    size_t n, cap;
    bool full;
};

static void asked_free(struct asked *a)
{
    free(a->changes);
    free(a);
}

static bool add(struct asked *a, enum ledger_kind kind, const char *name, const char *value)
{
    if (a->n == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 16;
        struct ledger_entry *grown =
            cap <= USERS_CHANGES_MAX ? realloc(a->changes, cap * sizeof(*grown)) : NULL;
        a->full = !grown;
        if (!grown)
            return false;
        a->changes = grown;
        a->cap = cap;
    }
    struct ledger_entry *e = &a->changes[a->n++];
    memset(e, 0, sizeof(*e));
    e->kind = kind;
    e->dead = value == NULL;
    snprintf(e->name, sizeof(e->name), "%s", name);
    snprintf(e->value, sizeof(e->value), "%s", value ? value : "");
    return true;
}

/* --- looking --------------------------------------------------------------------------------- */

struct listing {
    const char *team; /* NULL: all */
    json_t *all;      /* by team */
};

static json_t *row(json_t *all, const char *team)
{
    json_t *one = json_object_get(all, team);
    if (!one) {
        one = json_pack("{s:n, s:[]}", "cache", "members");
        json_object_set_new(all, team, one);
    }
    return one;
}

static void list_team(void *arg, const char *name, const char *cache)
{
    struct listing *l = arg;
    if (!l->team || strcmp(l->team, name) == 0)
        json_object_set_new(row(l->all, name), "cache", json_string(cache));
}

static void list_member(void *arg, const char *name, const char *team)
{
    struct listing *l = arg;
    if (!l->team || strcmp(l->team, team) == 0)
        json_array_append_new(json_object_get(row(l->all, team), "members"), words_string(name));
}

static json_t *list(const struct tracker *t, const char *team)
{
    struct listing l = {team, json_object()};
    users_each(t->users, LEDGER_TEAM, list_team, &l);
    users_each(t->users, LEDGER_MEMBER, list_member, &l);
    return l.all;
}

static void show(struct tracker *t, struct http_exchange *x, const char *team)
{
    json_t *all = list(t, team), *one = json_object_get(all, team);
    if (one)
        api_json(t, x, 200,
                 json_pack("{s:s, s:O, s:O}", "team", team, "cache", json_object_get(one, "cache"),
                           "members", json_object_get(one, "members")));
    else
        api_refuse(t, x, OCI_NAME_UNKNOWN, "there is no such team");
    json_decref(all);
}

/* --- changing -------------------------------------------------------------------------------- */

static void on_changed(void *arg, int rc)
{
    struct asked *a = arg;
    a->changing = false;
    if (!a->x)
        asked_free(a);
    else if (rc)
        api_refuse(a->t, a->x, OCI_UNAVAILABLE, "it cannot be written: see the log");
    else
        api_json(a->t, a->x, 200,
                 json_pack("{s:s, s:I}", "team", a->team, "changes", (json_int_t)a->n));
}

static void change(struct asked *a)
{
    int rc = a->full ? ERR_TOOBIG : 0;
    a->changing = true;
    if (rc == 0)
        rc = users_change(a->t->users, a->changes, a->n, on_changed, a);
    if (rc == 0)
        return;
    a->changing = false;
    if (rc == ERR_INVAL)
        api_refuse(a->t, a->x, OCI_NAME_INVALID,
                   "no name of a team or user, or of a region or node");
    else if (rc == ERR_TOOBIG)
        api_refuse(a->t, a->x, OCI_NAME_INVALID,
                   "too many members at once: put them in one by one, at /members/<user>");
    else
        api_refuse(a->t, a->x, OCI_UNAVAILABLE,
                   rc == ERR_FULL    ? "there are too many teams or members"
                   : rc == ERR_AGAIN ? USERS_AHEAD
                                     : "out of memory");
}

static void on_ended(void *arg, const struct http_ended *e)
{
    struct asked *a = arg;
    (void)e;
    users_leave(&a->turn);
    a->x = NULL;
    if (!a->changing)
        asked_free(a);
}

struct leaving {
    struct asked *a;
    json_t *stay; /* their names are keys; NULL: nobody */
};

static void leave(void *arg, const char *name, const char *team)
{
    struct leaving *l = arg;
    if (strcmp(team, l->a->team) == 0 && !json_object_get(l->stay, name) && !l->a->full)
        (void)add(l->a, LEDGER_MEMBER, name, NULL);
}

/* False: `list` is no list of names. */
static bool replace_members(struct asked *a, const json_t *members)
{
    struct leaving l = {a, json_object()};
    bool good = json_is_array(members);
    for (size_t i = 0; good && i < json_array_size(members); i++) {
        const char *name = json_string_value(json_array_get(members, i));
        good = name && users_name_valid(name);
        if (!good || json_object_get(l.stay, name))
            continue;
        json_object_set_new(l.stay, name, json_true());
        const char *now = users_team(a->t->users, name);
        if ((!now || strcmp(now, a->team) != 0) && !add(a, LEDGER_MEMBER, name, a->team))
            break;
    }
    if (good)
        users_each(a->t->users, LEDGER_MEMBER, leave, &l);
    json_decref(l.stay);
    return good;
}

static void put_team(struct asked *a, struct http_slice body)
{
    char cache[USERS_CACHE_MAX + 1];
    json_t *value = words_json(body), *members = json_object_get(value, "members");
    bool has_cache = json_object_get(value, "cache") != NULL;
    bool good = json_is_object(value) && (has_cache || members);
    if (has_cache && (good = good && words_text(value, "cache", cache, sizeof(cache))) != false)
        (void)add(a, LEDGER_TEAM, a->team, cache);
    if (good && members)
        good = replace_members(a, members);
    json_decref(value);
    if (good)
        change(a);
    else
        api_refuse(
            a->t, a->x, OCI_NAME_INVALID,
            "the body must be {\"cache\": \"REGION or NODE\", \"members\": [\"USER\", ...]}, "
            "or one of both");
}

static void remove_team(struct asked *a)
{
    struct leaving l = {a, NULL};
    (void)add(a, LEDGER_TEAM, a->team, NULL);
    users_each(a->t->users, LEDGER_MEMBER, leave, &l);
    change(a);
}

static void put_member(struct asked *a)
{
    (void)add(a, LEDGER_MEMBER, a->user, a->team);
    change(a);
}

static void remove_member(struct asked *a)
{
    const char *now = users_team(a->t->users, a->user);
    if (now && strcmp(now, a->team) == 0) {
        (void)add(a, LEDGER_MEMBER, a->user, NULL);
        change(a);
    } else {
        api_refuse(a->t, a->x, OCI_NAME_UNKNOWN, "this user is not in this team");
    }
}

static void on_turn(struct users_turn *w)
{
    struct asked *a = container_of(w, struct asked, turn);
    const struct http_request *r = http_request(a->x);
    bool put = r->method == HTTP_PUT;
    if (a->user[0] && put)
        put_member(a);
    else if (a->user[0])
        remove_member(a);
    else if (put)
        put_team(a, r->body);
    else
        remove_team(a);
}

/* --- which ----------------------------------------------------------------------------------- */

/* "web" or "web/members/alice". False: it is neither. */
static bool read_path(struct http_slice rest, char team[USERS_CACHE_MAX + 1],
                      char user[USERS_NAME_MAX + 1])
{
    const char *slash = memchr(rest.p, '/', rest.n);
    size_t n = slash ? (size_t)(slash - rest.p) : rest.n, word = sizeof(members_word) - 1;
    struct http_slice tail = {rest.p + n, rest.n - n};
    user[0] = 0;
    if (!words_decode(rest.p, n, team, USERS_CACHE_MAX + 1) || !users_name_valid(team))
        return false;
    if (!slash)
        return true;
    return words_begin(tail, members_word) &&
           words_decode(tail.p + word, tail.n - word, user, USERS_NAME_MAX + 1) &&
           users_name_valid(user);
}

static void one_team(struct tracker *t, struct http_exchange *x, struct http_slice rest)
{
    enum http_method method = http_request(x)->method;
    struct asked *a = calloc(1, sizeof(*a));
    if (!a) {
        api_refuse(t, x, OCI_UNAVAILABLE, "out of memory");
        return;
    }
    a->t = t;
    a->x = x;
    http_on_end(x, on_ended, a);
    a->turn.go = on_turn;
    if (!read_path(rest, a->team, a->user))
        api_refuse(t, x, OCI_NAME_INVALID, "no name of a team, or of a user");
    else if (method == HTTP_PUT || method == HTTP_DELETE)
        users_wait(t->users, &a->turn);
    else if (a->user[0])
        api_refuse(t, x, OCI_UNSUPPORTED, "use PUT or DELETE");
    else
        show(t, x, a->team);
}

bool api_teams(struct tracker *t, struct http_exchange *x, struct http_slice path)
{
    size_t skip = sizeof(teams_path);
    if (!words_begin(path, teams_path) || (path.n >= skip && path.p[skip - 1] != '/') ||
        !api_may(t, http_request(x)))
        return false;
    if (path.n > skip)
        one_team(t, x, (struct http_slice){path.p + skip, path.n - skip});
    else
        api_json(t, x, 200, list(t, NULL));
    return true;
}

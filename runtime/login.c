/* login.c - see login.h.
 *
 * An ask either buys (it has the transfer), or waits for one that buys for the same repository, or
 * is answered by its timer. One that buys goes on as long as anybody waits for it, its own asker
 * gone or not. */
#include "runtime/login.h"

#include <assert.h>
#include <curl/curl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/challenge.h"
#include "proto/limits.h"
#include "proto/oci.h"

#define TOKEN_BYTES_MAX (16 * KIB)
#define TOKENS_MAX      128   /* repositories whose token is kept; the oldest makes room */
#define TOKEN_LIFE_S    60    /* the specification's default when expires_in is absent */
#define WHOLE_MS        60000 /* a token server that drips keeps nobody longer */
#define TOKEN_SLACK_MS  5000  /* a token this near its end is not used any more */

struct token {
    char *repository;
    char *value;  /* "Bearer ..." */
    u64 until_ms; /* loop time */
};

struct login {
    const struct upstream_config *config;
    struct url_origin own;
    struct http_client *client;
    uv_loop_t *loop;
    char *basic;      /* "Basic ...", NULL without credentials */
    bool basic_asked; /* the registry asked for Basic: send it ahead from then on */
    struct token tokens[TOKENS_MAX];
    size_t next_token;
    struct login_ask *buying;
};

struct login_ask {
    struct login *login;
    char *repository;
    void (*cb)(void *arg, int err, const char *why);
    void *arg;
    struct login_ask *next;         /* of those that buy, or that wait for the same one */
    struct login_ask *waiting;      /* for this one */
    struct login_ask *buyer;        /* that it waits for; NULL */
    struct http_transfer *transfer; /* while it buys */
    uv_timer_t timer;               /* delivers what needs no request, from the loop */
    bool timer_open;
    int status, err;
    char why[200];
    char *body;
    size_t len;
};

/* --- credentials --------------------------------------------------------------------------------
 */

/* Whatever else stood in the file would be sent as part of the password. */
static bool is_login(const char *text)
{
    const char *colon = strchr(text, ':');
    bool plain = colon && colon != text;
    for (; *text; text++)
        plain &= (unsigned char)*text >= ' ' && *text != 0x7f;
    return plain;
}

int login_reload(struct login *l, char why[CONF_WHY_MAX])
{
    if (!l->config->credentials)
        return 0;
    char plain[LIMIT_SECRET_BYTES];
    int rc = conf_secret(l->config->credentials, plain, sizeof(plain), why);
    if (rc)
        return rc;
    size_t n = strlen(plain);
    char *basic = NULL;
    if (!is_login(plain)) {
        snprintf(why, CONF_WHY_MAX, "%s: write one line \"user:password\"", l->config->credentials);
        rc = ERR_INVAL;
        goto out;
    }
    size_t cap = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL);
    basic = malloc(cap + 6);
    if (!basic) {
        rc = ERR_NOMEM;
        goto out;
    }
    memcpy(basic, "Basic ", 6);
    sodium_bin2base64(basic + 6, cap, (const u8 *)plain, n, sodium_base64_VARIANT_ORIGINAL);
    if (l->basic) {
        sodium_memzero(l->basic, strlen(l->basic));
        free(l->basic);
    }
    l->basic = basic;
    for (size_t i = 0; i < TOKENS_MAX; i++) /* bought with the old ones */
        l->tokens[i].until_ms = 0;
out:
    sodium_memzero(plain, sizeof(plain));
    return rc;
}

int login_new(struct login **out, const struct upstream_config *config,
              const struct url_origin *own, struct http_client *client, uv_loop_t *loop,
              char why[CONF_WHY_MAX])
{
    struct login *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    l->config = config;
    l->own = *own;
    l->client = client;
    l->loop = loop;
    int rc = login_reload(l, why);
    if (rc) {
        login_del(l);
        return rc;
    }
    *out = l;
    return 0;
}

static void token_free(struct token *t)
{
    if (t->value) {
        sodium_memzero(t->value, strlen(t->value));
        free(t->value);
    }
    free(t->repository);
    memset(t, 0, sizeof(*t));
}

void login_del(struct login *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < TOKENS_MAX; i++)
        token_free(&l->tokens[i]);
    if (l->basic) {
        sodium_memzero(l->basic, strlen(l->basic));
        free(l->basic);
    }
    free(l);
}

bool login_present(const struct login *l)
{
    return l->basic != NULL;
}

const char *login_value(struct login *l, const char *repository)
{
    u64 now = uv_now(l->loop);
    for (size_t i = 0; repository && i < TOKENS_MAX; i++) {
        struct token *t = &l->tokens[i];
        if (t->repository && now + TOKEN_SLACK_MS < t->until_ms &&
            strcmp(t->repository, repository) == 0)
            return t->value;
    }
    return l->basic_asked ? l->basic : NULL;
}

static int token_keep(struct login *l, const char *repository, const char *bearer, u64 life_s)
{
    struct token fresh = {.repository = strdup(repository ? repository : "")};
    size_t cap = strlen(bearer) + sizeof("Bearer ");
    fresh.value = malloc(cap);
    if (!fresh.repository || !fresh.value) {
        token_free(&fresh);
        return ERR_NOMEM;
    }
    snprintf(fresh.value, cap, "Bearer %s", bearer);
    fresh.until_ms = uv_now(l->loop) + life_s * 1000 + (life_s <= 10 ? TOKEN_SLACK_MS : 0);
    struct token *slot = NULL;
    for (size_t i = 0; i < TOKENS_MAX && !slot; i++)
        if (l->tokens[i].repository && strcmp(l->tokens[i].repository, fresh.repository) == 0)
            slot = &l->tokens[i];
    if (!slot)
        slot = &l->tokens[l->next_token++ % TOKENS_MAX];
    token_free(slot);
    *slot = fresh;
    return 0;
}

/* --- asking ---------------------------------------------------------------------------------- */

static void ask_free(struct login_ask *k)
{
    if (k->body) {
        sodium_memzero(k->body, k->len);
        free(k->body);
    }
    free(k->repository);
    free(k);
}

static void timer_closed(uv_handle_t *h)
{
    ask_free(h->data);
}

static void tell(struct login_ask *k, int err, const char *why)
{
    void (*cb)(void *arg, int err, const char *why) = k->cb;
    k->cb = NULL;
    if (cb)
        cb(k->arg, err, why);
}

static void on_timer(uv_timer_t *t)
{
    struct login_ask *k = t->data;
    tell(k, k->err, k->why);
    uv_close((uv_handle_t *)&k->timer, timer_closed);
}

static void ask_unlink(struct login_ask **list, const struct login_ask *k)
{
    while (*list != k)
        list = &(*list)->next;
    *list = k->next;
}

/* What was bought, or not, is told to all who wait. Each of them may leave meanwhile. */
static void purchase_over(struct login_ask *k)
{
    struct login_ask *w;
    ask_unlink(&k->login->buying, k);
    tell(k, k->err, k->why);
    while ((w = k->waiting)) {
        k->waiting = w->next;
        tell(w, k->err, k->why);
        ask_free(w);
    }
    ask_free(k);
}

/* Nobody waits for it any more: it ends. One that is over already ends by itself. */
static void purchase_idle(struct login_ask *k)
{
    if (k->cb || k->waiting || !k->transfer)
        return;
    ask_unlink(&k->login->buying, k);
    http_transfer_cancel(k->transfer);
    ask_free(k);
}

void login_ask_cancel(struct login_ask *k)
{
    struct login_ask *buyer = k->buyer;
    k->cb = NULL;
    if (k->timer_open) {
        uv_close((uv_handle_t *)&k->timer, timer_closed);
    } else if (buyer) {
        ask_unlink(&buyer->waiting, k);
        ask_free(k);
        purchase_idle(buyer);
    } else {
        purchase_idle(k);
    }
}

static void fail(struct login_ask *k, int err, const char *why)
{
    k->err = err;
    snprintf(k->why, sizeof(k->why), "%s", why);
}

static void on_head(void *arg, const struct http_response *r)
{
    struct login_ask *k = arg;
    k->status = r->status;
}

/* From inside a callback of the transfer: it goes on no further. */
static void ask_stop(struct login_ask *k, int err, const char *why)
{
    http_transfer_cancel(k->transfer);
    k->transfer = NULL;
    fail(k, err, why);
    purchase_over(k);
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    struct login_ask *k = arg;
    if (len > LIMIT_TOKEN_BYTES - k->len) {
        ask_stop(k, ERR_PROTO, "the token server's answer is too large");
        return HTTP_DATA_TAKEN;
    }
    char *grown = realloc(k->body, k->len + len);
    if (!grown) {
        ask_stop(k, ERR_NOMEM, "out of memory");
        return HTTP_DATA_TAKEN;
    }
    k->body = grown;
    memcpy(k->body + k->len, data, len);
    k->len += len;
    return HTTP_DATA_TAKEN;
}

static bool printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s <= 0x20 || (unsigned char)*s >= 0x7f)
            return false;
    return true;
}

static void read_token(struct login_ask *k)
{
    json_t *reply = json_loadb(k->body ? k->body : "", k->len, JSON_REJECT_DUPLICATES, NULL);
    const char *token = json_string_value(json_object_get(reply, "token"));
    if (!token)
        token = json_string_value(json_object_get(reply, "access_token"));
    json_t *expires = json_object_get(reply, "expires_in");
    u64 life_s = TOKEN_LIFE_S;
    if (json_is_integer(expires) && json_integer_value(expires) > 0)
        life_s = (u64)json_integer_value(expires);
    if (life_s > 86400)
        life_s = 86400;
    if (!token || !*token || !printable(token))
        fail(k, ERR_PROTO, "the token server's answer holds no token");
    else if (strlen(token) > TOKEN_BYTES_MAX)
        fail(k, ERR_PROTO, "the token server's token is longer than anybody takes");
    else if (token_keep(k->login, k->repository, token, life_s))
        fail(k, ERR_NOMEM, "out of memory");
    json_decref(reply);
}

static void on_end(void *arg, int err, const char *why)
{
    struct login_ask *k = arg;
    k->transfer = NULL;
    if (err)
        fail(k, err, why);
    else if (!k->err && (k->status == 401 || k->status == 403))
        fail(k, ERR_DENIED,
             "the token server refused the node's credentials: check "
             "upstreams[].credentials");
    else if (!k->err && k->status != 200)
        fail(k, ERR_PROTO, "the token server did not answer 200");
    else if (!k->err)
        read_token(k);
    purchase_over(k);
}

/* realm?service=S&scope=repository:R:pull, each escaped. */
static int realm_url(const struct challenge *c, const char *repository, char out[URL_MAX])
{
    char scope[OCI_NAME_MAX + 32];
    snprintf(scope, sizeof(scope), "repository:%s:pull", repository ? repository : "");
    char *service = curl_easy_escape(NULL, c->service, 0);
    char *escaped = curl_easy_escape(NULL, scope, 0);
    int n = -1;
    if (service && escaped)
        n = snprintf(out, URL_MAX, "%s%cservice=%s%s%s", c->realm,
                     strchr(c->realm, '?') ? '&' : '?', service, repository ? "&scope=" : "",
                     repository ? escaped : "");
    curl_free(service);
    curl_free(escaped);
    return n < 0 ? ERR_NOMEM : n >= URL_MAX ? ERR_TOOBIG : 0;
}

static int start_token(struct login_ask *k, const struct challenge *c)
{
    struct login *l = k->login;
    struct url_origin realm;
    char url[URL_MAX];
    if (url_origin_parse(&realm, c->realm) || realm_url(c, k->repository, url)) {
        fail(k, ERR_PROTO, "the registry's token realm is not a URL");
        return 0;
    }
    if (l->own.https && !realm.https) {
        fail(k, ERR_DENIED, "the token realm is plain http although the registry is https");
        return 0;
    }
    if (target_classify(&l->own, &realm, l->config->allow_hosts, l->config->n_allow_hosts) ==
        TARGET_FOREIGN) {
        k->err = ERR_DENIED;
        snprintf(k->why, sizeof(k->why),
                 "the token realm %.80s:%u is another host: name it in upstreams[].allow_hosts",
                 realm.host, realm.port);
        return 0;
    }
    size_t cap = strlen(l->basic) + sizeof("Authorization: ");
    char *field = malloc(cap);
    if (!field)
        return ERR_NOMEM;
    snprintf(field, cap, "Authorization: %s", l->basic);
    const char *fields[] = {field};
    struct http_transfer_options opt = {
        .url = url,
        .fields = fields,
        .n_fields = 1,
        .ca_file = l->config->ca,
        .whole_timeout_ms = WHOLE_MS,
        .on = {on_head, on_data, on_end},
        .arg = k,
    };
    int rc = http_transfer_start(l->client, &opt, &k->transfer);
    sodium_memzero(field, cap);
    free(field);
    if (rc == 0) {
        k->next = l->buying;
        l->buying = k;
    }
    return rc;
}

static bool same_repository(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Waits for one that buys what it needs. False: there is none. */
static bool join_purchase(struct login_ask *k)
{
    for (struct login_ask *b = k->login->buying; b; b = b->next) {
        if (!same_repository(b->repository, k->repository))
            continue;
        k->buyer = b;
        k->next = b->waiting;
        b->waiting = k;
        return true;
    }
    return false;
}

/* Since the request was sent another may have got what it lacked. */
static bool known_since(struct login *l, const struct login_refusal *r)
{
    const char *value = login_value(l, r->repository);
    return value && !(r->value && strcmp(value, r->value) == 0);
}

/* Does what the challenge asks for, or leaves it to the timer to tell the result. */
static int meet(struct login_ask *k, const struct login_refusal *r)
{
    struct login *l = k->login;
    struct challenge *c = malloc(sizeof(*c));
    int rc = c ? 0 : ERR_NOMEM;
    if (rc == 0 && challenge_parse(c, r->www_authenticate, strlen(r->www_authenticate)))
        fail(k, ERR_PROTO, "the registry's WWW-Authenticate cannot be read");
    else if (rc == 0 && c->scheme == CHALLENGE_BEARER)
        rc = join_purchase(k) ? 0 : start_token(k, c);
    else if (rc == 0 && l->basic_asked)
        fail(k, ERR_DENIED,
             "the registry refused the node's credentials: check "
             "upstreams[].credentials");
    else if (rc == 0)
        l->basic_asked = true;
    free(c);
    return rc;
}

int login_answer(struct login *l, const struct login_refusal *r,
                 void (*cb)(void *arg, int err, const char *why), void *arg, struct login_ask **out)
{
    assert(l->basic);
    struct login_ask *k = calloc(1, sizeof(*k));
    if (!k)
        return ERR_NOMEM;
    *k = (struct login_ask){.login = l, .cb = cb, .arg = arg};
    k->repository = r->repository ? strdup(r->repository) : NULL;
    int rc = r->repository && !k->repository ? ERR_NOMEM : known_since(l, r) ? 0 : meet(k, r);
    if (rc) {
        ask_free(k);
        return rc;
    }
    if (!k->transfer && !k->buyer) {
        uv_timer_init(l->loop, &k->timer);
        k->timer.data = k;
        k->timer_open = true;
        uv_timer_start(&k->timer, on_timer, 0, 0);
    }
    *out = k;
    return 0;
}

/* login.h - the node's own credentials at one registry: Basic, or a token bought with them.
 *
 * Follows distribution's token authentication specification: a 401 with a Bearer challenge names a
 * realm; GET realm?service=&scope= with Basic answers a token, kept per repository until shortly
 * before it ends. A realm on a foreign host is refused unless allow_hosts names it (hygiene.h): it
 * would get the password. Who needs the same token at once shares one purchase. Nothing of this is
 * ever given to a user. */
#pragma once

#include "runtime/conf.h"
#include "runtime/http_client.h"
#include "runtime/hygiene.h"
#include "runtime/upstream_config.h"

struct login;
struct login_ask;

/* `config` is borrowed; without credentials a login is empty and knows no value. */
must_use int login_new(struct login **out, const struct upstream_config *config,
                       const struct url_origin *own, struct http_client *client, uv_loop_t *loop,
                       char why[CONF_WHY_MAX]);
void login_del(struct login *l);
must_use int login_reload(struct login *l, char why[CONF_WHY_MAX]);
bool login_present(const struct login *l);

/* The Authorization value to send for this repository as far as known, NULL when none yet. Borrowed
 * until the next call into this module. */
const char *login_value(struct login *l, const char *repository);

struct login_refusal {
    const char *value;            /* the Authorization that was refused; NULL: none was sent */
    const char *www_authenticate; /* all its lines, as one list */
    const char *repository;
};
/* A request was answered 401: gets what is asked for, unless another has since, then calls back
 * (never from inside): 0: login_value() has it now. ERR_DENIED (credentials refused, realm not
 * permitted), ERR_PROTO, ERR_UNREACHABLE, ...; `why` is borrowed. */
must_use int login_answer(struct login *l, const struct login_refusal *r,
                          void (*cb)(void *arg, int err, const char *why), void *arg,
                          struct login_ask **out);
void login_ask_cancel(struct login_ask *k);

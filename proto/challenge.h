/* challenge.h - what a registry asks for in WWW-Authenticate (RFC 9110, section 11.6.1).
 *
 * Reads the first Bearer or Basic challenge of one header value, which may hold several, with
 * quoted strings, escapes and any parameter order. Unknown schemes are passed over. */
#pragma once

#include "proto/types.h"

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

#define CHALLENGE_TEXT_MAX 1024

struct challenge {
    enum challenge_scheme scheme;
    char realm[CHALLENGE_TEXT_MAX]; /* Bearer: the token server's URL */
    char service[256];              /* empty when absent */
    char scope[CHALLENGE_TEXT_MAX]; /* empty when absent */
};

/* Bearer is preferred over Basic when both are offered. ERR_INVAL on bad syntax, ERR_TOOBIG when a
 * parameter does not fit, ERR_NOTFOUND when neither scheme is offered. */
must_use int challenge_parse(struct challenge *c, const char *value, size_t len);

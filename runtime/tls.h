/* tls.h - certificates for our listeners (OpenSSL).
 *
 * TLS 1.2 and newer, session resumption by ticket, ECDSA preferred when offered. No renegotiation:
 * who asks for one is let go. A context can be reloaded in place (SIGHUP): running connections keep
 * the old certificate, new ones get the new.
 */
#pragma once

#include "proto/err.h"

struct tls_context;
typedef struct ssl_st SSL; /* OpenSSL's */

struct tls_options {
    const char *cert; /* PEM chain, leaf first */
    const char *key;  /* PEM; refused when others than its owner can read or write it */
    /* Verifies client certificates: asked for, not insisted on; one that does not verify ends the
     * handshake, one that does is told of in http_request.verified. */
    const char *ca; /* PEM bundle to verify client certificates with; NULL: clients are not asked */
};

/* ERR_IO, ERR_DENIED (key permissions), ERR_TLS (does not parse, key does not fit); `why` (256
 * bytes) names the file and what to do. */
must_use int tls_context_new(struct tls_context **out, const struct tls_options *opt,
                             char why[256]);
/* Reads the same files again; on failure the old ones stay in force. */
must_use int tls_context_reload(struct tls_context *t, char why[256]);
/* A new server-side SSL for one connection, NULL when out of memory. */
SSL *tls_context_accept(struct tls_context *t);
/* Seconds until the certificate expires (negative: it has). */
i64 tls_context_expires_s(const struct tls_context *t);
void tls_context_del(struct tls_context *t);

/* Any text as an Authorization: a user comes of it, the same each time, whose rights end no later
 * than without the token's own end; and a label that is fit for a log. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/authz.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

#define NOW 1700000000000ull
#define TTL 60000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct authz *authz;
    static const u8 key[32] = "fuzz";
    if (!authz)
        must(sodium_init() >= 0 && authz_new(&authz, TTL, 0) == 0);
    struct authz_user a, b;
    authz_user(authz, (const char *)data, size, &a);
    authz_user(authz, (const char *)data, size, &b);
    must(memcmp(a.id, b.id, sizeof(a.id)) == 0 && a.expires_ms == b.expires_ms);
    must((size == 0) == sodium_is_zero(a.id, sizeof(a.id)));
    authz_grant_right(authz, &a, "registry", "team/app", NOW);
    must(authz_check_right(authz, &a, "registry", "team/app", NOW + TTL) == AUTHZ_UNKNOWN);
    enum authz_answer now = authz_check_right(authz, &a, "registry", "team/app", NOW);
    must(now == (a.expires_ms > NOW ? AUTHZ_GRANTED : AUTHZ_UNKNOWN));
    char label[17], again[17];
    authz_user_label(key, (const char *)data, size, label);
    authz_user_label(key, (const char *)data, size, again);
    must(strcmp(label, again) == 0);
    if (size == 0)
        must(strcmp(label, "anonymous") == 0);
    else
        must(strlen(label) == 16 && strspn(label, "0123456789abcdef") == 16);
    return 0;
}

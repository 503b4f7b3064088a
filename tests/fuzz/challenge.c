/* Any text read as WWW-Authenticate: accepted means something to act on, with ended texts. */
#include <stdlib.h>
#include <string.h>

#include "proto/challenge.h"
#include "proto/err.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool plain(const char *text, size_t cap)
{
    size_t len = strnlen(text, cap);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\t') || c == 127)
            return false;
    }
    return len < cap;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct challenge c, nothing = {0};
    memset(&c, 0xff, sizeof c);
    int err = challenge_parse(&c, (const char *)data, size);
    if (err) {
        must(err == ERR_INVAL || err == ERR_TOOBIG || err == ERR_NOTFOUND);
        must(memcmp(&c, &nothing, sizeof c) == 0);
        return 0;
    }
    must(c.scheme == CHALLENGE_BASIC || (c.scheme == CHALLENGE_BEARER && c.realm[0] != '\0'));
    must(plain(c.realm, sizeof c.realm) && plain(c.service, sizeof c.service) &&
         plain(c.scope, sizeof c.scope));
    return 0;
}

/* Any text as a URL, and as a Location: what is accepted has a host in small letters, and what it
 * resolves to leads where it says. The first line is the base, the rest the location. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/hygiene.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_origin(const struct url_origin *o)
{
    size_t n = strnlen(o->host, sizeof(o->host));
    must(n > 0 && n < sizeof(o->host));
    for (size_t i = 0; i < n; i++)
        must(!isupper((unsigned char)o->host[i]) && o->host[i] != '@' && o->host[i] != '/');
    must(target_classify(o, o, NULL, 0) == TARGET_OWN);
    struct url_origin elsewhere = *o;
    elsewhere.port ^= 1;
    must(target_classify(o, &elsewhere, NULL, 0) == TARGET_FOREIGN);
    char *const allow[] = {elsewhere.host};
    must(target_classify(o, &elsewhere, allow, 1) == TARGET_LISTED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size), out[URL_MAX];
    struct url_origin base, to;
    must(text != NULL);
    char *line = strchr(text, '\n');
    const char *location = line ? line + 1 : "";
    if (line)
        *line = '\0';
    if (url_origin_parse(&base, text) == 0) {
        check_origin(&base);
        int rc = url_resolve(text, location, out);
        must(rc == 0 || rc == ERR_INVAL || rc == ERR_TOOBIG);
        if (rc == 0) {
            must(strnlen(out, sizeof(out)) < sizeof(out));
            must(!strpbrk(out, "\r\n")); /* it becomes a request line */
            if (url_origin_parse(&to, out) == 0)
                check_origin(&to);
        }
    }
    free(text);
    return 0;
}

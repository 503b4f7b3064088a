/* Any bytes as what a client and a registry say of hosts (tracker/rewrite.h): nothing is read
 * beyond its end, what is written is whole, and what is changed leads to us. */
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#include "tracker/rewrite.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void claims(const char *text, size_t n)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct http_slice all = {text, n};
    struct http_field fields[] = {{{"Host", 4}, all},
                                  {{"X-Forwarded-For", 15}, all},
                                  {{"X-Forwarded-Host", 16}, all},
                                  {{"X-Forwarded-Proto", 17}, all},
                                  {{"Connection", 10}, all}};
    struct http_request r = {
        .fields = fields, .n_fields = countof(fields), .peer = (const struct sockaddr *)&from};
    struct cidr any = {.bits = 0};
    struct rewrite_seen s;
    for (size_t proxies = 0; proxies < 2; proxies++) {
        rewrite_see(&s, &r, "https://dray.test", &any, proxies);
        assert(strlen(s.base) > strlen("http://") && !strpbrk(s.base, "\"\r\n "));
        for (size_t i = 0; i < countof(fields); i++)
            (void)rewrite_drops_request(&r, &fields[i]);
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const char own[] = "https://registry.internal:5000", seen[] = "https://dray.test";
    char text[8192], out[REWRITE_MAX], path[REWRITE_MAX];
    if (size >= sizeof(text))
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    claims(text, strlen(text));
    (void)rewrite_path_is_plain(text, size);
    (void)rewrite_drops_answer("Location", text);
    if (rewrite_url(text, own, seen, out))
        assert(strncmp(out, seen, strlen(seen)) == 0);
    if (rewrite_link(text, own, seen, out) || rewrite_realm(text, own, seen, out, path))
        assert(strstr(out, seen));
    return 0;
}

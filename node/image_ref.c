/* image_ref.c - see image_ref.h. */
#include "node/image_ref.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

static bool is_registry(const char *text, size_t n)
{
    return memchr(text, '.', n) || memchr(text, ':', n) ||
           (n == 9 && memcmp(text, "localhost", 9) == 0);
}

/* As a route of the registry, which knows what a repository and a reference may be. */
static bool is_valid(const struct image_ref *r)
{
    char target[OCI_NAME_MAX + sizeof(r->reference) + 32];
    struct oci_route route;
    enum oci_code code;
    int n = snprintf(target, sizeof(target), "/v2/%s/manifests/%s", r->repository, r->reference);
    return n > 0 && n < (int)sizeof(target) &&
           oci_route_parse(&route, target, (size_t)n, &code) == 0 &&
           route.kind == OCI_ROUTE_MANIFEST && strcmp(route.name, r->repository) == 0 &&
           !strpbrk(target, "?#%");
}

int image_ref_parse(struct image_ref *out, const char *text)
{
    memset(out, 0, sizeof(*out));
    const char *slash = strchr(text, '/');
    if (slash && is_registry(text, (size_t)(slash - text))) {
        if ((size_t)(slash - text) >= sizeof(out->registry))
            return ERR_INVAL;
        memcpy(out->registry, text, (size_t)(slash - text));
        text = slash + 1;
    }
    const char *at = strchr(text, '@'), *end = at ? at : text + strlen(text), *tag = NULL;
    for (const char *c = text; c < end; c++)
        tag = *c == '/' ? NULL : *c == ':' ? c : tag;
    const char *name_end = tag ? tag : end;
    size_t n = (size_t)(name_end - text);
    if (n == 0 || n >= sizeof(out->repository))
        return ERR_INVAL;
    memcpy(out->repository, text, n);
    int len = at    ? snprintf(out->reference, sizeof(out->reference), "%s", at + 1)
              : tag ? snprintf(out->reference, sizeof(out->reference), "%s", tag + 1)
                    : snprintf(out->reference, sizeof(out->reference), "latest");
    return len > 0 && len < (int)sizeof(out->reference) && is_valid(out) ? 0 : ERR_INVAL;
}

/* Compares the next part of `*wanted`, up to a slash, and goes behind it. */
static bool part_is(const char **wanted, const char *text)
{
    size_t n = strcspn(*wanted, "/");
    bool same = strlen(text) == n && memcmp(*wanted, text, n) == 0;
    *wanted += n + ((*wanted)[n] == '/');
    return same;
}

bool image_ref_is_platform(const char *wanted, const char *os, const char *architecture,
                           const char *variant)
{
    if (strcmp(wanted, "all") == 0)
        return true;
    if (!part_is(&wanted, os) || !part_is(&wanted, architecture))
        return false;
    return !*wanted || part_is(&wanted, variant);
}

const char *image_ref_own_platform(void)
{
    static const char *const known[][2] = {{"x86_64", "linux/amd64"},    {"aarch64", "linux/arm64"},
                                           {"armv7l", "linux/arm"},      {"i686", "linux/386"},
                                           {"riscv64", "linux/riscv64"}, {"s390x", "linux/s390x"},
                                           {"ppc64le", "linux/ppc64le"}};
    struct utsname u;
    if (uname(&u) == 0)
        for (size_t i = 0; i < countof(known); i++)
            if (strcmp(u.machine, known[i][0]) == 0)
                return known[i][1];
    return "all";
}

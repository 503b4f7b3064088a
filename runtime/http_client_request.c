/* http_client_request.c - what the caller of the HTTP client gives, checked: method, URL, header
 * lines. Nothing that could be read in two ways, or smuggle a second request, passes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "runtime/http_client_impl.h"

#define URL_MAX   16384
#define FIELD_MAX 32768

static bool url_is_plain(const char *url)
{
    size_t len = strlen(url);
    size_t at = strncasecmp(url, "https://", 8) == 0  ? 8
                : strncasecmp(url, "http://", 7) == 0 ? 7
                                                      : 0;

    if (at == 0 || len > URL_MAX)
        return false;
    /* Three slashes would be read as two by libcurl and as an empty host by others. */
    if (url[at] == '/' || url[at] == '\0')
        return false;
    for (size_t i = 0; i < len; i++)
        if ((u8)url[i] <= 0x20 || (u8)url[i] >= 0x7f || url[i] == '\\')
            return false;
    return true;
}

int client_request_url(const char *url, char *origin, size_t cap)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    int err = ERR_INVAL;

    if (u == NULL)
        return ERR_NOMEM;
    if (url_is_plain(url) &&
        curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && *host != '\0' &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        snprintf(origin, cap, "%s://%s:%s", scheme, host, port) < (int)cap)
        err = 0;
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return err;
}

bool client_request_token(const char *s, size_t len)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return len > 0 && strspn(s, token) >= len;
}

static int add_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *more = curl_slist_append(*list, line);

    if (more == NULL)
        return ERR_NOMEM;
    *list = more;
    return 0;
}

static bool is_named(const char *field, const char *colon, const char *name)
{
    size_t len = strlen(name);

    return (size_t)(colon - field) == len && strncasecmp(field, name, len) == 0;
}

/* Fields that libcurl would add by itself. */
struct own_fields {
    bool accept, content_type;
};

static int add_field(struct curl_slist **list, const char *field, struct own_fields *given)
{
    const char *colon = strchr(field, ':');
    char *empty;
    int err;

    if (colon == NULL || !client_request_token(field, (size_t)(colon - field)))
        return ERR_INVAL;
    if (strlen(field) > FIELD_MAX)
        return ERR_INVAL;
    for (const u8 *c = (const u8 *)colon; *c != '\0'; c++)
        if ((*c < 0x20 && *c != '\t') || *c == 0x7f)
            return ERR_INVAL;
    given->accept |= is_named(field, colon, "Accept");
    given->content_type |= is_named(field, colon, "Content-Type");
    if (colon[1 + strspn(colon + 1, " \t")] != '\0')
        return add_line(list, field);
    /* libcurl reads "Name:" as "do not send it" and "Name;" as the empty value meant here. */
    if (asprintf(&empty, "%.*s;", (int)(colon - field), field) < 0)
        return ERR_NOMEM;
    err = add_line(list, empty);
    free(empty);
    return err;
}

int client_request_fields(const struct http_transfer_options *opt, struct curl_slist **fields)
{
    struct own_fields given = {false, false};
    int err = add_line(fields, "Expect:");

    for (size_t i = 0; i < opt->n_fields && err == 0; i++)
        err = add_field(fields, opt->fields[i], &given);
    if (err == 0 && !given.accept)
        err = add_line(fields, "Accept:");
    if (err == 0 && !given.content_type)
        err = add_line(fields, "Content-Type:");
    return err;
}

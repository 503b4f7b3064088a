/* Any bytes as the heads that an upstream sends, line by line as libcurl hands them over. */
#include <stdlib.h>
#include <string.h>

#include "runtime/http_client_impl.h"

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void look_at(const struct client_head *h)
{
    const struct http_response *r = &h->response;

    must(r->status >= 200 && r->status <= 599);
    must(r->content_length == UINT64_MAX || r->content_length <= INT64_MAX);
    for (size_t i = 0; i < r->n_fields; i++) {
        must(r->fields[i].name[0] != '\0');
        must(strpbrk(r->fields[i].name, " \t\r\n:") == NULL);
        must(strpbrk(r->fields[i].value, "\r\n") == NULL);
        must(http_response_field(r, r->fields[i].name) != NULL);
    }
    must(http_response_field(r, "no such") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client_head h = {0};
    const char *at = (const char *)data;
    int rc = 0;

    while (size > 0 && rc >= 0) {
        const char *end = memchr(at, '\n', size);
        size_t len = end == NULL ? size : (size_t)(end - at) + 1;
        bool before = h.complete;
        char *line = malloc(len); /* its end is where a reader too far is seen */

        must(line != NULL);
        memcpy(line, at, len);
        rc = client_head_line(&h, line, len);
        free(line);
        must(rc != 1 || !before);
        must(rc >= 0 || h.why != NULL);
        must(h.len <= LIMIT_UPSTREAM_HEAD_BYTES + 2);
        if (rc == 1)
            look_at(&h);
        at += len;
        size -= len;
    }
    client_head_fini(&h);
    return 0;
}

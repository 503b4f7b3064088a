/* tell.c - see tell.h. Nothing is kept of a message under way: it may end after the tracker has. */
#include "tracker/tell.h"

#include <stdio.h>
#include <string.h>

#include "proto/revoke.h"
#include "runtime/clock.h"
#include "runtime/log.h"

#define CONNECT_TIMEOUT_MS 2000
#define ANSWER_TIMEOUT_MS  5000

static void on_head(void *arg, const struct http_response *r)
{
    (void)arg;
    if (r->status != 204)
        log_with(LOG_WARN, "a node did not take a revocation", LOG_NUM("status", r->status));
}

static enum http_data_verdict on_data(void *arg, const void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return HTTP_DATA_TAKEN;
}

static void on_end(void *arg, int err, const char *why)
{
    (void)arg;
    if (err)
        log_with(LOG_WARN, "a node was not told of a revocation", LOG_STR("why", why));
}

static int tell(struct tracker *t, struct region *region, const struct member_record *node,
                const struct revoke *r)
{
    char url[ADDR_TEXT_SIZE + 48], at[ADDR_TEXT_SIZE];
    char header[MESH_PEER_HEADER_MAX + 16] = "Dray-Peer: ";
    size_t skip = strlen(header);
    u8 body[REVOKE_BYTES_MAX];
    struct http_transfer *out;
    addr_format(&node->addr, at);
    snprintf(url, sizeof(url), "%s://%s%s", region_scheme(region), at, REVOKE_PATH);
    int rc = mesh_peer_sign(region_mesh(region), &node->key, "POST", REVOKE_PATH, header + skip);
    if (rc)
        return rc;
    const char *fields[] = {header, "Content-Type: application/octet-stream"};
    struct http_transfer_options opt = {
        .method = "POST",
        .url = url,
        .fields = fields,
        .n_fields = countof(fields),
        .body = body,
        .body_len = revoke_pack(r, 1, body),
        .ca_file = region_ca(region),
        .any_name = region_ca(region) != NULL,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .head_timeout_ms = ANSWER_TIMEOUT_MS,
        .stall_timeout_ms = ANSWER_TIMEOUT_MS,
        .on = {.head = on_head, .data = on_data, .end = on_end},
    };
    return http_transfer_start(t->client, &opt, &out);
}

size_t tell_revoked(struct tracker *t, const u8 user[TICKET_USER_BYTES])
{
    struct revoke r = {.until_s = wall_ms() / 1000};
    size_t told = 0;
    memcpy(r.user, user, sizeof(r.user));
    for (size_t i = 0; t->regions && i < regions_count(t->regions); i++) {
        struct region *region = regions_at(t->regions, i);
        struct mesh *m = region_mesh(region);
        struct member_view v;
        for (size_t at = 0; m && member_each(mesh_member(m), &at, &v);)
            if (v.record->role == MEMBER_NODE && v.state <= MEMBER_SUSPECT)
                told += tell(t, region, v.record, &r) == 0;
    }
    return told;
}

/* revocations.c - see revocations.h. */
#include "tracker/revocations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/revoke.h"
#include "runtime/clock.h"
#include "runtime/log.h"
#include "tracker/tracker_internal.h"

#define TIMEOUT_MS 5000

struct telling {
    struct telling *prev, *next;
    struct revocations *set;
    struct http_transfer *transfer;
    char name[MEMBER_TEXT_MAX + 1];
    int status;
};

struct revocations {
    struct tracker *t;
    struct telling *first;
};

struct revocations *revocations_new(struct tracker *t)
{
    struct revocations *r = calloc(1, sizeof(*r));
    if (r)
        r->t = t;
    return r;
}

static void out(struct telling *k)
{
    if (k->prev)
        k->prev->next = k->next;
    else
        k->set->first = k->next;
    if (k->next)
        k->next->prev = k->prev;
    free(k);
}

void revocations_del(struct revocations *r)
{
    struct telling *next;
    for (struct telling *k = r ? r->first : NULL; k; k = next) {
        next = k->next;
        free(k);
    }
    free(r);
}

static void on_head(void *arg, const struct http_response *a)
{
    struct telling *k = arg;
    k->status = a->status;
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
    struct telling *k = arg;
    if (err || k->status >= 300)
        log_with(LOG_WARN, "a node was not told of a revocation: tickets end there by themselves",
                 LOG_STR("node", k->name), LOG_NUM("status", k->status), LOG_STR("why", why));
    out(k);
}

static int tell(struct revocations *r, struct region *region, const struct member_record *m,
                const u8 *body, size_t len)
{
    char header[MESH_PEER_HEADER_MAX + 16] = "Dray-Peer: ", at[ADDR_TEXT_SIZE];
    char url[ADDR_TEXT_SIZE + 64];
    int rc =
        mesh_peer_sign(region_mesh(region), &m->key, "POST", REVOKE_PATH, header + strlen(header));
    struct telling *k = rc ? NULL : calloc(1, sizeof(*k));
    if (!k)
        return rc ? rc : ERR_NOMEM;
    addr_format(&m->addr, at);
    snprintf(url, sizeof(url), "%s://%s" REVOKE_PATH, region_scheme(region), at);
    snprintf(k->name, sizeof(k->name), "%s", m->name);
    k->set = r;
    k->next = r->first;
    if (k->next)
        k->next->prev = k;
    r->first = k;
    const char *fields[] = {header};
    struct http_transfer_options opt = {
        .method = "POST",
        .url = url,
        .fields = fields,
        .n_fields = 1,
        .body = body,
        .body_len = len,
        .ca_file = region_ca(region),
        .any_name = region_ca(region) != NULL,
        .connect_timeout_ms = TIMEOUT_MS,
        .head_timeout_ms = TIMEOUT_MS,
        .on = {.head = on_head, .data = on_data, .end = on_end},
        .arg = k,
    };
    rc = http_transfer_start(r->t->client, &opt, &k->transfer);
    if (rc)
        out(k);
    return rc;
}

size_t revocations_send(struct revocations *r, const u8 user[TICKET_USER_BYTES])
{
    struct revoke one = {.until_s = wall_ms() / 1000};
    u8 body[REVOKE_BYTES_MAX];
    size_t told = 0;
    memcpy(one.user, user, sizeof(one.user));
    size_t len = revoke_pack(&one, 1, body);
    for (size_t i = 0; i < regions_count(r->t->regions); i++) {
        struct region *region = regions_at(r->t->regions, i);
        struct mesh *m = region_mesh(region);
        struct member_view v;
        size_t at = 0;
        while (m && member_each(mesh_member(m), &at, &v))
            if (v.record->role == MEMBER_NODE && v.state <= MEMBER_SUSPECT)
                told += tell(r, region, v.record, body, len) == 0;
        region_kick(region);
    }
    return told;
}

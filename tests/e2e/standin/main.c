/* main.c - a tracker's stand-in for tests: a member of the region in its role, that issues whatever
 * ticket it is told to, answers reads of layers from a folder as its script says, and prints what
 * it hears.
 *
 *   standin_tracker DIR ADDRESS:PORT MESH_KEY SEED NAME
 *
 * POST /issue {"node": name, "repository":, "digest":, "size":, "iat":, "exp":, "user": hex,
 *   "upstream":, "key": file}: the text of a ticket. "node_key": hex replaces "node".
 * POST /revoke {"node": name, "user": hex, "until":, "count": n}: tells that node, once, of this
 *   user and of the n - 1 that follow, counted up from the first byte on; answered at once.
 * GET /mesh/v1/origin/...: DIR/blobs/<digest>, by DIR/script: "serve", "cut N" (so many bytes at
 *   most, then FIN), "status N". Without Dray-Peer for the very target: 403.
 * POST /mesh/v1/outcomes: as nodes send them.
 * Each of the last two is one line of JSON on stdout. */
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/outcome.h"
#include "proto/range.h"
#include "proto/revoke.h"
#include "runtime/http_client.h"
#include "runtime/http_server.h"
#include "runtime/keyfile.h"
#include "runtime/log.h"
#include "runtime/pool.h"
#include "runtime/region.h"

#define BLOB_MAX  (64 * MIB)
#define PATH_MAX_ 512

struct standin {
    const char *dir;
    struct http_server *server;
    struct region *region;
    struct http_client *client;
};

static void say(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    printf("%s\n", text ? text : "{}");
    fflush(stdout);
    free(text);
    json_decref(line);
}

static void reply(struct http_exchange *x, int status, const char *text)
{
    http_reply_text(x, status, "text/plain", text, strlen(text));
}

/* The whole file, or NULL. */
static u8 *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    u8 *data = f ? malloc(BLOB_MAX) : NULL;
    *len = data ? fread(data, 1, BLOB_MAX, f) : 0;
    if (f)
        fclose(f);
    return data;
}

/* Who asks, by its Dray-Peer; false: answered with 403. */
static bool is_member(struct standin *s, struct http_exchange *x, const char *method)
{
    const struct http_request *r = http_request(x);
    const struct http_slice *field = http_field(r, "Dray-Peer");
    char header[MESH_PEER_HEADER_MAX] = "", target[LIMIT_HTTP_TARGET_BYTES] = "";
    struct mesh *m = region_mesh(s->region);
    struct node_key from;
    if (field && field->n < sizeof(header) && r->target.n < sizeof(target)) {
        memcpy(header, field->p, field->n);
        memcpy(target, r->target.p, r->target.n);
    }
    if (m && field && mesh_peer_check(m, header, method, target, &from) == 0)
        return true;
    say(json_pack("{s:s, s:s}", "refused", method, "target", target));
    reply(x, 403, "not a member\n");
    return false;
}

/* --- what is read through --------------------------------------------------------------------- */

static void script(const struct standin *s, char word[16], u64 *number)
{
    char path[PATH_MAX_], line[64] = "";
    snprintf(path, sizeof(path), "%s/script", s->dir);
    FILE *f = fopen(path, "r");
    if (!f || !fgets(line, sizeof(line), f))
        snprintf(line, sizeof(line), "serve");
    if (f)
        fclose(f);
    size_t n = strcspn(line, " \n");
    *number = strtoull(line + n, NULL, 10);
    snprintf(word, 16, "%.*s", (int)n, line);
}

static void serve_blob(struct http_exchange *x, const u8 *data, size_t len, u64 most)
{
    const struct http_slice *range = http_field(http_request(x), "Range");
    struct byte_range part = {0, len - 1};
    enum range_kind kind = range ? range_parse(range->p, range->n, len, &part) : RANGE_NONE;
    if (kind == RANGE_UNMET) {
        reply(x, 416, "");
        return;
    }
    if (kind == RANGE_PART)
        http_add(x, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%zu", part.first, part.last,
                 len);
    else
        part = (struct byte_range){0, len - 1};
    u64 n = part.last + 1 - part.first;
    http_reply(x, kind == RANGE_PART ? 206 : 200,
               body_copy(data + part.first, (size_t)(n < most ? n : most)), n);
}

static void origin(struct standin *s, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    const struct http_slice *range = http_field(r, "Range");
    const struct http_slice *secret = http_field(r, "Authorization");
    char target[LIMIT_HTTP_TARGET_BYTES] = "", path[PATH_MAX_], word[16];
    u64 number;
    size_t len;
    if (!is_member(s, x, "GET"))
        return;
    memcpy(target, r->target.p, r->target.n < sizeof(target) ? r->target.n : 0);
    say(json_pack("{s:s, s:s#, s:b}", "origin", target, "range", range ? range->p : "",
                  (int)(range ? range->n : 0), "authorization", secret != NULL));
    script(s, word, &number);
    if (strcmp(word, "status") == 0) {
        reply(x, (int)number, "as the script says\n");
        return;
    }
    char *digest = strstr(target, "/blobs/");
    if (!digest) {
        reply(x, 404, "");
        return;
    }
    digest += strlen("/blobs/");
    digest[strcspn(digest, "?")] = '\0';
    snprintf(path, sizeof(path), "%s/blobs/%.200s", s->dir, digest);
    u8 *data = read_file(path, &len);
    if (data && len)
        serve_blob(x, data, len, strcmp(word, "cut") == 0 ? number : UINT64_MAX);
    else
        reply(x, 404, "");
    free(data);
}

/* --- what is told ----------------------------------------------------------------------------- */

static void outcomes(struct standin *s, struct http_exchange *x)
{
    static struct outcome_report report;
    const struct http_request *r = http_request(x);
    if (!is_member(s, x, "POST"))
        return;
    if (outcome_unpack(&report, r->body.p, r->body.n)) {
        say(json_pack("{s:s}", "malformed", "report"));
        reply(x, 400, "");
        return;
    }
    for (size_t i = 0; i < report.n; i++) {
        const struct outcome *o = &report.outcomes[i];
        char digest[DIGEST_TEXT_SIZE], user[2 * TICKET_USER_BYTES + 1];
        digest_format(&o->digest, digest);
        sodium_bin2hex(user, sizeof(user), o->user, sizeof(o->user));
        say(json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "outcome", outcome_event_name(o->event),
                      "digest", digest, "user", user, "iat", (json_int_t)o->iat_s, "bytes",
                      (json_int_t)o->bytes, "ms", (json_int_t)o->took_ms));
    }
    for (size_t i = 0; i < report.n_rtts; i++) {
        char prefix[ADDR_TEXT_SIZE];
        addr_format(&report.rtts[i].prefix, prefix);
        say(json_pack("{s:s, s:I, s:I}", "network", prefix, "rtt_us",
                      (json_int_t)report.rtts[i].rtt_us, "samples",
                      (json_int_t)report.rtts[i].samples));
    }
    http_reply(x, 204, NULL, 0);
}

/* --- tickets ---------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}

static bool find_node(struct standin *s, const json_t *o, struct node_key *out)
{
    struct mesh *m = region_mesh(s->region);
    struct member_view v;
    const char *hex = text_of(o, "node_key");
    if (hex[0])
        return sodium_hex2bin(out->bytes, sizeof(out->bytes), hex, strlen(hex), NULL, NULL, NULL) ==
               0;
    for (size_t at = 0; m && member_each(mesh_member(m), &at, &v);)
        if (strcmp(v.record->name, text_of(o, "node")) == 0) {
            *out = v.record->key;
            return true;
        }
    return false;
}

static bool read_signer(const char *file, struct ticket_signer *out)
{
    char text[KEYFILE_MAX], why[CONF_WHY_MAX];
    struct keyfile_key keys[KEYFILE_KEYS];
    size_t n;
    unsigned line;
    if (conf_secret(file, text, sizeof(text), why) ||
        keyfile_parse(text, KEYFILE_TICKET, keys, &n, &line))
        return false;
    memcpy(out->kid, keys[0].id, sizeof(out->kid));
    memcpy(out->secret, keys[0].bytes, sizeof(out->secret));
    return true;
}

static void issue(struct standin *s, struct http_exchange *x)
{
    const struct http_request *r = http_request(x);
    json_t *o = json_loadb(r->body.p ? r->body.p : "", r->body.n, 0, NULL);
    struct mesh *m = region_mesh(s->region);
    struct ticket_signer signer;
    struct ticket t = {.size = UINT64_MAX};
    char text[TICKET_TEXT_SIZE];
    const char *digest = text_of(o, "digest"), *user = text_of(o, "user");
    snprintf(t.upstream, sizeof(t.upstream), "%s", text_of(o, "upstream"));
    snprintf(t.repository, sizeof(t.repository), "%s", text_of(o, "repository"));
    if (json_object_get(o, "size"))
        t.size = (u64)json_integer_value(json_object_get(o, "size"));
    t.iat_s = (u64)json_integer_value(json_object_get(o, "iat"));
    t.exp_s = (u64)json_integer_value(json_object_get(o, "exp"));
    bool good = m && find_node(s, o, &t.node) && read_signer(text_of(o, "key"), &signer) &&
                digest_parse(&t.digest, digest, strlen(digest)) == 0 &&
                sodium_hex2bin(t.user, sizeof(t.user), user, strlen(user), NULL, NULL, NULL) == 0 &&
                t.exp_s > t.iat_s;
    json_decref(o);
    if (!good) {
        reply(x, 400, "what ticket?\n");
        return;
    }
    t.tracker = *mesh_key(m);
    ticket_issue(&t, &signer, text);
    reply(x, 200, text);
}

/* --- revocations ------------------------------------------------------------------------------ */

static void told_head(void *arg, const struct http_response *r)
{
    (void)arg;
    say(json_pack("{s:i}", "revoked", r->status));
}
static enum http_data_verdict told_data(void *arg, const void *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
    return HTTP_DATA_TAKEN;
}
static void told_end(void *arg, int err, const char *why)
{
    (void)arg;
    if (err)
        say(json_pack("{s:s}", "revoke_failed", why));
}

static bool tell(struct standin *s, const struct node_key *node, const struct revoke *r, size_t n)
{
    char url[ADDR_TEXT_SIZE + 64], at[ADDR_TEXT_SIZE];
    char header[MESH_PEER_HEADER_MAX + 16] = "Dray-Peer: ";
    size_t skip = strlen(header);
    u8 body[REVOKE_BYTES_MAX];
    struct mesh *m = region_mesh(s->region);
    struct member_view v;
    struct http_transfer *out;
    if (!member_find(mesh_member(m), node, &v))
        return false;
    addr_format(&v.record->addr, at);
    snprintf(url, sizeof(url), "http://%s%s", at, REVOKE_PATH);
    if (mesh_peer_sign(m, node, "POST", REVOKE_PATH, header + skip))
        return false;
    const char *fields[] = {header, "Content-Type: application/octet-stream"};
    struct http_transfer_options opt = {.method = "POST",
                                        .url = url,
                                        .fields = fields,
                                        .n_fields = countof(fields),
                                        .body = body,
                                        .body_len = revoke_pack(r, n, body),
                                        .on = {told_head, told_data, told_end}};
    return http_transfer_start(s->client, &opt, &out) == 0;
}

static void revoke_at(struct standin *s, struct http_exchange *x)
{
    const struct http_request *q = http_request(x);
    json_t *o = json_loadb(q->body.p ? q->body.p : "", q->body.n, 0, NULL);
    const char *user = text_of(o, "user");
    struct revoke r[REVOKE_MAX] = {
        {.until_s = (u64)json_integer_value(json_object_get(o, "until"))}};
    size_t n = (size_t)json_integer_value(json_object_get(o, "count"));
    struct node_key node;
    bool good =
        find_node(s, o, &node) && n <= REVOKE_MAX &&
        sodium_hex2bin(r[0].user, sizeof(r[0].user), user, strlen(user), NULL, NULL, NULL) == 0;
    for (size_t i = 1; i < n && good; i++) {
        r[i] = r[i - 1];
        for (size_t k = 0; k < sizeof(r[i].user) && ++r[i].user[k] == 0; k++) {
        }
    }
    good = good && tell(s, &node, r, n > 1 ? n : 1);
    json_decref(o);
    reply(x, good ? 200 : 400, "");
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool begins(struct http_slice target, const char *with)
{
    size_t n = strlen(with);
    return target.n >= n && memcmp(target.p, with, n) == 0;
}

static void on_request(void *ctx, struct http_exchange *x)
{
    struct standin *s = ctx;
    struct http_slice target = http_request(x)->target;
    const char *why;
    if (begins(target, "/mesh/v1/talk"))
        region_talk(s->region, x);
    else if (begins(target, "/mesh/v1/origin/"))
        origin(s, x);
    else if (begins(target, "/mesh/v1/outcomes"))
        outcomes(s, x);
    else if (begins(target, "/issue"))
        issue(s, x);
    else if (begins(target, "/revoke"))
        revoke_at(s, x);
    else if (begins(target, "/readyz"))
        reply(x, region_ready(s->region, &why) ? 200 : 503, "");
    else
        reply(x, 404, "");
}

static bool is_talk(void *ctx, const struct http_request *r)
{
    (void)ctx;
    return begins(r->target, "/mesh/v1/talk");
}

static void on_purged(void *arg, const struct digest *d, u64 until_ms)
{
    (void)arg;
    (void)d;
    (void)until_ms;
}

static void on_signal(int number)
{
    (void)number;
    _exit(0);
}

int main(int argc, char **argv)
{
    struct standin s = {0};
    uv_loop_t loop;
    struct pool *disk;
    char why[CONF_WHY_MAX] = "";
    if (argc != 6 || sodium_init() < 0 || uv_loop_init(&loop))
        return 2;
    signal(SIGTERM, on_signal);
    s.dir = argv[1];
    struct http_server_options http = {.loop = &loop,
                                       .handler = on_request,
                                       .ctx = &s,
                                       .large = is_talk,
                                       .large_bytes = LIMIT_TALK_BYTES,
                                       .large_at_once = 8};
    struct http_client_options out = {.loop = &loop, .user_agent = "standin"};
    char *seeds[] = {argv[4]};
    struct region_options region = {
        .loop = &loop,
        .config = {.role = MEMBER_TRACKER,
                   .name = argv[5],
                   .region = "default",
                   .rack = "",
                   .listen = argv[2],
                   .advertise = argv[2],
                   .public_url = "http://tracker.invalid",
                   .mesh_key = argv[3],
                   .dir = argv[1],
                   .seeds = seeds,
                   .n_seeds = 1},
        .purged = on_purged,
        .arg = &s,
    };
    int rc = http_server_new(&s.server, &http);
    if (rc == 0)
        rc = http_listen_tcp(s.server, argv[2], NULL, why);
    if (rc == 0)
        rc = http_client_new(&s.client, &out);
    if (rc == 0)
        rc = pool_new(&disk, &loop, 1, "disk");
    if (rc == 0) {
        region.client = s.client;
        region.disk = disk;
        region.port = http_server_port(s.server);
        rc = region_new(&s.region, &region, why);
    }
    if (rc) {
        fprintf(stderr, "standin: %s\n", why[0] ? why : err_text(rc));
        return 1;
    }
    return uv_run(&loop, UV_RUN_DEFAULT);
}

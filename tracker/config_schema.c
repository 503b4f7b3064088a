/* config_schema.c - the table of the tracker's keys, and the same keys as libcyaml wants to hear of
 * them. */
#include "tracker/config_schema.h"
#include "tracker/config.h"

#define OPTIONAL CYAML_FLAG_OPTIONAL
#define LIST     (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)

#define TEXT(type, key, member)                                                                    \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | OPTIONAL, type, member, 0, LIMIT_CONFIG_BYTES)
#define TEXTS(type, key, member, max)                                                              \
    CYAML_FIELD_SEQUENCE_COUNT(key, LIST, type, member.v, member.n, &text_value, 0, max)

static const cyaml_schema_value_t text_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, LIMIT_CONFIG_BYTES),
};

static const cyaml_schema_field_t registry_fields[] = {
    TEXT(struct raw_registry, "name", name),
    TEXT(struct raw_registry, "url", url),
    TEXT(struct raw_registry, "direct_url", direct_url),
    TEXT(struct raw_registry, "ca", ca),
    TEXTS(struct raw_registry, "allow_hosts", allow_hosts, LIMIT_ALLOW_HOSTS),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t region_fields[] = {
    TEXT(struct raw_region, "name", name),
    TEXTS(struct raw_region, "seeds", seeds, LIMIT_SEEDS),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t region_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_region, region_fields),
};

static const cyaml_schema_field_t authz_fields[] = {
    TEXT(struct raw_authz, "ttl", ttl),
    TEXT(struct raw_authz, "grace", grace),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t tls_fields[] = {
    TEXT(struct raw_tls, "cert", cert),
    TEXT(struct raw_tls, "key", key),
    TEXT(struct raw_tls, "ca", ca),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t limits_fields[] = {
    TEXT(struct raw_limits, "connections", connections),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t admin_fields[] = {
    TEXT(struct raw_admin, "socket", socket),
    TEXT(struct raw_admin, "token", token),
    TEXTS(struct raw_admin, "allow", allow, SETTINGS_LIST_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t log_fields[] = {
    TEXT(struct raw_log, "level", level),
    TEXT(struct raw_log, "format", format),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t top_fields[] = {
    TEXT(struct raw_config, "name", name),
    TEXT(struct raw_config, "listen", listen),
    TEXT(struct raw_config, "advertise", advertise),
    TEXT(struct raw_config, "public_url", public_url),
    CYAML_FIELD_MAPPING("registry", OPTIONAL, struct raw_config, registry, registry_fields),
    CYAML_FIELD_SEQUENCE_COUNT("regions", LIST, struct raw_config, regions.v, regions.n,
                               &region_value, 0, CONFIG_REGIONS_MAX),
    TEXTS(struct raw_config, "trackers", trackers, LIMIT_SEEDS),
    TEXT(struct raw_config, "mesh_key", mesh_key),
    TEXT(struct raw_config, "ticket_key", ticket_key),
    TEXT(struct raw_config, "users", users),
    TEXTS(struct raw_config, "trusted_redirects", trusted_redirects, SETTINGS_LIST_MAX),
    TEXTS(struct raw_config, "trusted_proxies", trusted_proxies, SETTINGS_LIST_MAX),
    CYAML_FIELD_MAPPING("authz", OPTIONAL, struct raw_config, authz, authz_fields),
    CYAML_FIELD_MAPPING("tls", OPTIONAL, struct raw_config, tls, tls_fields),
    TEXT(struct raw_config, "plain_http", plain_http),
    TEXT(struct raw_config, "peer_plain", peer_plain),
    CYAML_FIELD_MAPPING("limits", OPTIONAL, struct raw_config, limits, limits_fields),
    CYAML_FIELD_MAPPING("admin", OPTIONAL, struct raw_config, admin, admin_fields),
    CYAML_FIELD_MAPPING("log", OPTIONAL, struct raw_config, log, log_fields),
    CYAML_FIELD_END,
};

const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, top_fields),
};

/* A choice is written as the number of its word. */
static_assert(LOG_DEBUG == 0 && LOG_INFO == 1 && LOG_WARN == 2 && LOG_ERROR == 3, "words of level");
static_assert(LOG_TEXT == 0 && LOG_JSON == 1, "words of format");

#define FROM(member)  .from = offsetof(struct raw_config, member)
#define TO(member)    .to = offsetof(struct tracker_config, member)
#define COUNT(member) .count = offsetof(struct tracker_config, member)
#define PRESET(text)  .default_text = (text), .preset = true
#define DAY_MS        (24ull * 3600 * 1000)
#define TEXT_KEY(name, what, member, target, usual, words)                                         \
    {                                                                                              \
        .key = (name), .value = (what), .kind = SETTING_TEXT, FROM(member), TO(target),            \
        .default_text = (usual), .help = (words)                                                   \
    }

/* What everybody needs comes first. */
const struct settings_key config_keys[] = {
    TEXT_KEY("public_url", "URL", public_url, public_url, "required",
             "what users call the registry"),
    TEXT_KEY("registry.url", "URL", registry.url, registry.url, "required",
             "the central registry itself"),
    TEXT_KEY("registry.name", "NAME", registry.name, registry.name, "the URL's host",
             "what the nodes' configs call it"),
    TEXT_KEY("registry.ca", "FILE", registry.ca, registry.ca, "the system's",
             "certificates that prove the registry"),
    TEXT_KEY("registry.direct_url", "URL", registry.direct_url, direct_url, "registry.url",
             "the registry without a redirecting middleware"),
    TEXT_KEY("listen", "ADDR:PORT", listen, listen,
             "0.0.0.0:443, or 127.0.0.1:5443 without tls and plain_http", "where clients connect"),
    TEXT_KEY("tls.cert", "FILE", tls.cert, tls.cert, "none", "certificate chain (PEM)"),
    TEXT_KEY("tls.key", "FILE", tls.key, tls.key, "none", "its private key"),
    TEXT_KEY("tls.ca", "FILE", tls.ca, tls.ca, "none", "who signs the nodes' certificates"),
    {.key = "plain_http",
     .kind = SETTING_BOOL,
     FROM(plain_http),
     TO(plain_http),
     PRESET("false"),
     .help = "speak HTTP off loopback: the network is trusted"},
    {.key = "peer_plain",
     .kind = SETTING_BOOL,
     FROM(peer_plain),
     TO(peer_plain),
     PRESET("false"),
     .help = "talk to nodes in plain HTTP"},
    TEXT_KEY("mesh_key", "FILE", mesh_key, mesh_key, "none", "the regions' secret"),
    TEXT_KEY("ticket_key", "FILE", ticket_key, ticket_key, "none",
             "signs tickets: no redirects without"),
    TEXT_KEY("name", "NAME", name, name, "the host's name", "in the mesh"),
    TEXT_KEY("advertise", "HOST:PORT", advertise, advertise, "found out", "where nodes reach us"),
    TEXT_KEY("users", "DIR", users, users, "/var/lib/dray-tracker", "profiles and keys"),
    {.key = "trusted_redirects",
     .value = "NET",
     .kind = SETTING_CIDRS,
     FROM(trusted_redirects),
     TO(trusted_redirects),
     COUNT(n_trusted_redirects),
     .default_text = "none",
     .help = "who may read by digest alone: sent here by the registry"},
    {.key = "trusted_proxies",
     .value = "NET",
     .kind = SETTING_CIDRS,
     FROM(trusted_proxies),
     TO(trusted_proxies),
     COUNT(n_trusted_proxies),
     .default_text = "none",
     .help = "whose X-Forwarded-For counts"},
    {.key = "authz.ttl",
     .value = "TIME",
     .kind = SETTING_DURATION,
     FROM(authz.ttl),
     TO(authz.ttl_ms),
     PRESET("60s"),
     .max = DAY_MS,
     .help = "how long a decision is remembered"},
    {.key = "authz.grace",
     .value = "TIME",
     .kind = SETTING_DURATION,
     FROM(authz.grace),
     TO(authz.grace_ms),
     PRESET("0s"),
     .max = 30 * DAY_MS,
     .help = "how long more while the registry is away"},
    {.key = "limits.connections",
     .value = "N",
     .kind = SETTING_COUNT,
     FROM(limits.connections),
     TO(connections),
     PRESET("4096"),
     .min = 8,
     .max = 1000000,
     .help = "clients at once"},
    TEXT_KEY("admin.socket", "PATH", admin.socket, admin.socket, "USERS/dray.sock",
             "Unix socket for commands"),
    TEXT_KEY("admin.token", "FILE", admin.token, admin.token, "none",
             "who has it may ask over TCP"),
    {.key = "admin.allow",
     .value = "NET",
     .kind = SETTING_CIDRS,
     FROM(admin.allow),
     TO(admin.allow),
     COUNT(admin.n_allow),
     .default_text = "127.0.0.0/8, ::1",
     .help = "who may ask without"},
    {.key = "log.level",
     .value = "debug|info|warn|error",
     .kind = SETTING_CHOICE,
     FROM(log.level),
     TO(log.level),
     PRESET("info"),
     .help = "how much is said"},
    {.key = "log.format",
     .value = "text|json",
     .kind = SETTING_CHOICE,
     FROM(log.format),
     TO(log.format),
     PRESET("text"),
     .help = "how"},
};
const size_t config_keys_n = countof(config_keys);

/* Any bytes as a config file, and any text as the scalars in one. What the schema check lets pass,
 * libcyaml must load; what is refused must say why, in one harmless line. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "runtime/conf_impl.h"

struct up {
    char *name, *url;
    char **hosts;
    unsigned hosts_count;
};
struct sub {
    char *path, *capacity;
};
struct sample {
    char *name;
    struct sub store;
    char **serves;
    unsigned serves_count;
    struct up *upstreams;
    unsigned upstreams_count;
};

static const cyaml_schema_value_t text = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};
static const cyaml_schema_field_t sub_fields[] = {
    CYAML_FIELD_STRING_PTR("path", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sub, path, 0,
                           100),
    CYAML_FIELD_STRING_PTR("capacity", CYAML_FLAG_POINTER_NULL | CYAML_FLAG_OPTIONAL, struct sub,
                           capacity, 0, 100),
    CYAML_FIELD_END};
static const cyaml_schema_field_t up_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct up, name, 0,
                           100),
    CYAML_FIELD_STRING_PTR("url", CYAML_FLAG_POINTER, struct up, url, 1, 100),
    CYAML_FIELD_SEQUENCE("hosts", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct up, hosts, &text,
                         1, 4),
    CYAML_FIELD_END};
static const cyaml_schema_value_t up = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct up, up_fields)};
static const cyaml_schema_field_t fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER_NULL_STR | CYAML_FLAG_OPTIONAL, struct sample,
                           name, 0, 16),
    CYAML_FIELD_MAPPING("store", CYAML_FLAG_OPTIONAL, struct sample, store, sub_fields),
    CYAML_FIELD_SEQUENCE("serves", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, serves,
                         &text, 0, CYAML_UNLIMITED),
    CYAML_FIELD_SEQUENCE("upstreams", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample,
                         upstreams, &up, 0, 3),
    CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct sample, fields)};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void load(const uint8_t *data, size_t size)
{
    char why[CONF_WHY_MAX];
    void *out = NULL;
    int err = conf_check("n.yaml", data, size, &schema, why);

    if (err != 0) {
        must(err == ERR_INVAL && strncmp(why, "n.yaml:", 7) == 0 && strlen(why) < CONF_WHY_MAX);
        for (const char *c = why; *c != '\0'; c++)
            must((u8)*c >= 0x20 && *c != 0x7f);
        must(conf_load_bytes("n.yaml", data, size, &schema, &out, why) == err && out == NULL);
    } else {
        must(conf_load_bytes("n.yaml", data, size, &schema, &out, why) == 0 && out != NULL);
        conf_free(&schema, out);
    }
    (void)conf_line_of_bytes(data, size, "name");
    (void)conf_line_of_bytes(data, size, "upstreams[1].url");
}

static void scalars(const uint8_t *data, size_t size)
{
    char *s = malloc(size + 1);
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6};
    struct cidr c;
    u64 v, w;
    u32 n;
    bool b;

    must(s != NULL);
    memcpy(s, data, size);
    s[size] = '\0';
    if (conf_size(s, &v) == 0)
        must(conf_rate(s, &w) == 0 && w == v);
    if (conf_rate(s, &v) == 0)
        must(s[0] >= '0' && s[0] <= '9');
    if (conf_duration_ms(s, &v) == 0)
        must(v <= UINT64_MAX / 1000000); /* fits in nanoseconds */
    if (conf_u32(s, 5, 5000, &n) == 0)
        must(n >= 5 && n <= 5000 && strtoul(s, NULL, 10) == n);
    if (conf_bool(s, &b) == 0)
        must(strcmp(s, b ? "true" : "false") == 0);
    if (cidr_parse(s, &c) == 0) {
        memcpy(&sa.sin6_addr, c.bytes, sizeof(c.bytes));
        must(c.bits <= 128);
        must(cidr_has(&c, (struct sockaddr *)&sa) || c.bits < 96);
    }
    free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > LIMIT_CONFIG_BYTES)
        return 0;
    if (size > 0 && data[0] == '=')
        scalars(data + 1, size - 1);
    else
        load(data, size);
    return 0;
}

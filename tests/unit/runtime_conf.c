/* runtime_conf.c - tests of runtime/conf.h: what is accepted, and that every refusal names file,
 * line, key and what to write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/limits.h"
#include "runtime/conf_impl.h"

/* A schema shaped as the daemons' are. */
struct up {
    char *name, *url;
    char **allow;
    unsigned n_allow;
};
struct sample {
    char *name, *listen;
    struct {
        char *path, *capacity;
    } store;
    char **serves;
    unsigned serves_count;
    struct up *upstreams;
    unsigned upstreams_count;
};

static const cyaml_schema_value_t text_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED)};
static const cyaml_schema_field_t store_fields[] = {
    CYAML_FIELD_STRING_PTR("path", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample,
                           store.path, 0, 100),
    CYAML_FIELD_STRING_PTR("capacity", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample,
                           store.capacity, 0, 100),
    CYAML_FIELD_END};
static const cyaml_schema_field_t up_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct up, name, 0,
                           100),
    CYAML_FIELD_STRING_PTR("url", CYAML_FLAG_POINTER, struct up, url, 1, 100),
    CYAML_FIELD_SEQUENCE_COUNT("allow_hosts", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct up,
                               allow, n_allow, &text_entry, 0, 4),
    CYAML_FIELD_END};
static const cyaml_schema_value_t up_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct up, up_fields)};

/* `store` is laid into the top struct: its fields' offsets are those of struct sample. */
static const cyaml_schema_field_t top_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, name, 0,
                           16),
    CYAML_FIELD_STRING_PTR("listen", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample,
                           listen, 0, 100),
    {.key = "store",
     .data_offset = 0,
     .value = {.type = CYAML_MAPPING,
               .flags = CYAML_FLAG_OPTIONAL,
               .data_size = sizeof(struct sample),
               .mapping.fields = store_fields}},
    CYAML_FIELD_SEQUENCE("serves", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample, serves,
                         &text_entry, 0, 8),
    CYAML_FIELD_SEQUENCE("upstreams", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct sample,
                         upstreams, &up_entry, 0, 3),
    CYAML_FIELD_END};
static const cyaml_schema_value_t top = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct sample, top_fields)};

static char why[CONF_WHY_MAX];

static struct sample *loads(const char *text)
{
    void *out = NULL;
    int err = conf_load_bytes("n.yaml", text, strlen(text), &top, &out, why);

    if (err != 0)
        fail_msg("refused: %s", why);
    return out;
}

/* Refused with exactly these words. */
static void refuses(const char *text, const char *words)
{
    void *out = NULL;

    memset(why, 'x', sizeof(why));
    assert_int_equal(conf_load_bytes("n.yaml", text, strlen(text), &top, &out, why), ERR_INVAL);
    assert_string_equal(why, words);
    assert_null(out);
}

static void refuses_like(const char *text, const char *part)
{
    void *out = NULL;

    assert_int_equal(conf_load_bytes("n.yaml", text, strlen(text), &top, &out, why), ERR_INVAL);
    if (strstr(why, part) == NULL)
        fail_msg("`%s` is not in: %s", part, why);
}

static void loads_yaml(void **state)
{
    struct sample *s = loads("# a comment\n"
                             "name: rack-12\n"
                             "store: {path: /var/lib/dray, capacity: 10k}\n"
                             "serves: [10.20.0.0/16, \"::1\"]\n"
                             "upstreams:\n"
                             "  - {name: a, url: https://a}\n"
                             "  - url: https://b\n"
                             "    allow_hosts: [x, y]\n");

    (void)state;
    assert_string_equal(s->name, "rack-12");
    assert_null(s->listen);
    assert_string_equal(s->store.path, "/var/lib/dray");
    assert_string_equal(s->store.capacity, "10k"); /* as text: nobody guessed */
    assert_int_equal(s->serves_count, 2);
    assert_string_equal(s->serves[1], "::1");
    assert_int_equal(s->upstreams_count, 2);
    assert_string_equal(s->upstreams[0].name, "a");
    assert_null(s->upstreams[1].name);
    assert_int_equal(s->upstreams[1].n_allow, 2);
    assert_string_equal(s->upstreams[1].allow[1], "y");
    conf_free(&top, s);
}

static void loads_json(void **state)
{
    struct sample *s = loads("{\n\t\"name\": \"r\\u00e4ck\",\n\t\"serves\": [],\n"
                             "\t\"upstreams\": [{\"url\": \"http:\\/\\/a\"}]\n}\n");

    (void)state;
    assert_string_equal(s->name, "r\xc3\xa4"
                                 "ck");
    assert_int_equal(s->serves_count, 0);
    assert_string_equal(s->upstreams[0].url, "http://a");
    conf_free(&top, s);
}

static void loads_nothing_set(void **state)
{
    struct sample *s = loads("{}");

    (void)state;
    assert_non_null(s);
    assert_null(s->name);
    assert_int_equal(s->upstreams_count, 0);
    conf_free(&top, s);
    conf_free(&top, NULL);
}

static void unknown_keys_get_hints(void **state)
{
    (void)state;
    refuses("upstreams:\n  - name: a\n    urll: b\n",
            "n.yaml:3: upstreams[0].urll: unknown key; did you mean `url`?");
    refuses("\nLISTEN: x\n", "n.yaml:2: LISTEN: unknown key; did you mean `listen`?");
    refuses("litsen: x\n", "n.yaml:1: litsen: unknown key; did you mean `listen`?");
    refuses("capacity: 1\n",
            "n.yaml:1: capacity: unknown key; `capacity` belongs indented under `store:`");
    refuses(
        "allow_hosts: []\n",
        "n.yaml:1: allow_hosts: unknown key; `allow_hosts` belongs in an entry of `upstreams:`");
    refuses("store:\n  listen: x\n",
            "n.yaml:2: store.listen: unknown key; `listen` belongs at the top, not indented");
    refuses("store:\n  zebra: x\n",
            "n.yaml:2: store.zebra: unknown key; the keys here are `path` and `capacity`");
    refuses("? [a]\n: b\n", "n.yaml:1: a key must be one word, as in `key: value`");
    refuses_like("\"na\\0me\": x\n", "unknown key");
}

static void wrong_shapes_are_named(void **state)
{
    (void)state;
    refuses("name: a\nname: b\n", "n.yaml:2: name: is given twice; remove one of them");
    refuses("upstreams:\n  - name: a\n",
            "n.yaml:2: upstreams[0]: the key `url` is missing; add `url: …`");
    refuses("upstreams:\n  - url: ''\n", "n.yaml:2: upstreams[0].url: its value is empty");
    refuses("listen: [a, b]\n", "n.yaml:1: listen: needs one value, but has a list");
    refuses("listen: {a: b}\n", "n.yaml:1: listen: needs one value, but has keys");
    refuses("listen:\n", "n.yaml:1: listen: has no value; write one, or remove the line");
    refuses("listen: ~\n", "n.yaml:1: listen: has no value; write one, or remove the line");
    refuses("serves: 10.0.0.0/8\n",
            "n.yaml:1: serves: needs a list, as in `[one, two]`, but has one value");
    refuses("upstreams: {url: x}\n",
            "n.yaml:1: upstreams: needs a list, as in `[{…}, {…}]`, but has keys");
    refuses("store: /var\n", "n.yaml:1: store: needs keys of its own (path, capacity), as in "
                             "`{path: …}`, but has one value");
    refuses("upstreams: [{url: a}, {url: b}, {url: c}, {url: d}]\n",
            "n.yaml:1: upstreams: has more than 3 entries");
    refuses("name: 12345678901234567\n", "n.yaml:1: name: its value is longer than 16 characters");
    refuses("name: |\n  a\n  b\n", "n.yaml:1: name: its value holds a line break or control "
                                   "character; write it in one line");
    refuses("name: \"a\\0b\"\n", "n.yaml:1: name: its value holds a line break or control "
                                 "character; write it in one line");
    refuses("- a\n", "n.yaml:1: the file needs keys of its own (name, listen, store, serves, "
                     "upstreams), as in `{name: …}`, but has a list");
    refuses("# only words\n", "n.yaml:2: the file says nothing");
    refuses("---\nname: a\n---\nname: b\n",
            "n.yaml:3: a second document (`---`) begins; write one only");
}

static void bad_yaml_is_explained(void **state)
{
    (void)state;
    refuses("name: a\n\tlisten: b\n", "n.yaml:2: a tab indents this line; YAML wants blanks");
    refuses_like("name: a\nlisten: b: c\n", "n.yaml:2: not valid YAML: mapping values");
    refuses_like("name: a\nlisten: @b\n", "n.yaml:2: not valid YAML");
    refuses_like("name: a\nlisten: @b\n", "put the value in quotes");
    refuses_like("name: a\nserves: [x\n", "close the list with `]`");
    refuses_like("name: \"a\n", "a quote is opened and never closed");
    refuses_like("name: a\nlisten: \x01\n", "n.yaml:2: ");
    refuses_like("name: a\nlisten: \xff\xfe\n", "n.yaml:2: ");
    refuses_like("name: a\nlisten: \xff\xfe\n", "save the file as UTF-8");
    refuses_like("name: a\nlisten\nserves: []\n", "n.yaml:2: ");
}

static void bombs_are_refused(void **state)
{
    static char deep[200000];
    struct sample *s;
    char *p;

    (void)state;
    refuses_like("name: &a x\nlisten: *a\n", "n.yaml:1: name: anchors and aliases");
    refuses_like("listen: *a\n", "anchors and aliases");
    refuses_like("name: !!int 3\n", "n.yaml:1: name: tags");
    refuses_like("<<: {name: a}\n", "unknown key");
    memset(deep, '[', sizeof(deep) - 1);
    refuses_like(deep, "but has a list");
    memcpy(deep, "serves: ", 8);
    refuses_like(deep, "n.yaml:1: serves[0]: needs one value, but has a list");
    /* As many entries as fit the file, of which eight are taken. */
    p = deep + snprintf(deep, sizeof(deep), "serves: [");
    while (p < deep + sizeof(deep) - 8)
        p += snprintf(p, 3, "a,");
    memcpy(p, "]", 2);
    refuses_like(deep, "has more than 8 entries");
    /* A long value is no bomb. */
    memset(deep, 'a', sizeof(deep));
    memcpy(deep, "serves: [", 9);
    memcpy(deep + sizeof(deep) - 2, "]", 2);
    s = loads(deep);
    assert_int_equal(strlen(s->serves[0]), sizeof(deep) - 2 - 9);
    conf_free(&top, s);
}

static void hostile_names_do_not_break_lines(void **state)
{
    (void)state;
    refuses_like("\"a\\nb\\e[2J\": x\n", "n.yaml:1: a?b?[2J: unknown key");
}

/* Files --------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/conf-test-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", dir);
    return system(command);
}

static const char *file(const char *name, const void *data, size_t len, mode_t mode)
{
    static char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    unlink(path);
    fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static void files_are_read_and_refused(void **state)
{
    static char large[LIMIT_CONFIG_BYTES + 2];
    const char *path = file("good", "name: a\n", 8, 0644);
    char expected[CONF_WHY_MAX];
    void *out = NULL;

    (void)state;
    assert_int_equal(conf_load(path, &top, &out, why), 0);
    assert_string_equal(((struct sample *)out)->name, "a");
    conf_free(&top, out);
    out = NULL;
    assert_int_equal(conf_load("/nowhere/at/all", &top, &out, why), ERR_IO);
    assert_string_equal(why, "/nowhere/at/all: cannot be read: No such file or directory");
    assert_int_equal(conf_load(dir, &top, &out, why), ERR_IO);
    assert_non_null(strstr(why, "is a directory"));
    assert_int_equal(conf_load("/dev/null", &top, &out, why), ERR_IO);
    assert_non_null(strstr(why, "is not a regular file"));
    assert_int_equal(conf_load(file("empty", "", 0, 0644), &top, &out, why), ERR_INVAL);
    assert_non_null(strstr(why, "is empty"));
    memset(large, '#', sizeof(large));
    assert_int_equal(conf_load(file("l", large, LIMIT_CONFIG_BYTES + 1, 0644), &top, &out, why),
                     ERR_INVAL);
    assert_non_null(strstr(why, "is larger than 256 KiB"));
    path = file("bad", "name: a\nnmae: b\n", 16, 0644);
    assert_int_equal(conf_load(path, &top, &out, why), ERR_INVAL);
    snprintf(expected, sizeof(expected), "%s:2: nmae: unknown key; did you mean `name`?", path);
    assert_string_equal(why, expected);
    assert_null(out);
}

static void lines_are_found(void **state)
{
    static const char text[] = "name: a\n"
                               "store:\n"
                               "  path: /x\n"
                               "  # words\n"
                               "  capacity: 1\n"
                               "upstreams:\n"
                               "  - url: a\n"
                               "  - name: b\n"
                               "    url: b\n"
                               "    allow_hosts:\n"
                               "      - x\n"
                               "      - y\n";
    const char *path = file("lines", text, strlen(text), 0644);

    (void)state;
    assert_int_equal(conf_line_of(path, "name"), 1);
    assert_int_equal(conf_line_of(path, "store"), 2);
    assert_int_equal(conf_line_of(path, "store.capacity"), 5);
    assert_int_equal(conf_line_of(path, "upstreams"), 6);
    assert_int_equal(conf_line_of(path, "upstreams[0].url"), 7);
    assert_int_equal(conf_line_of(path, "upstreams[1]"), 8);
    assert_int_equal(conf_line_of(path, "upstreams[1].url"), 9);
    assert_int_equal(conf_line_of(path, "upstreams[1].allow_hosts[1]"), 12);
    assert_int_equal(conf_line_of(path, "upstreams[2].url"), 0);
    assert_int_equal(conf_line_of(path, "capacity"), 0);
    assert_int_equal(conf_line_of(path, "store.capacity.x"), 0);
    assert_int_equal(conf_line_of("/nowhere", "name"), 0);
    assert_int_equal(conf_line_of_bytes("a: {b: [1,\n2]}", 14, "a.b[1]"), 2);
    assert_int_equal(conf_line_of_bytes("a: *x\nb: 1", 10, "b"), 0);
    assert_int_equal(conf_line_of_bytes("[[[[[[[[[[[[[[1]]]]]", 20, "a"), 0);
    assert_int_equal(conf_line_of_bytes("plain", 5, "plain"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_yaml),
        cmocka_unit_test(loads_json),
        cmocka_unit_test(loads_nothing_set),
        cmocka_unit_test(unknown_keys_get_hints),
        cmocka_unit_test(wrong_shapes_are_named),
        cmocka_unit_test(bad_yaml_is_explained),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(hostile_names_do_not_break_lines),
        cmocka_unit_test(files_are_read_and_refused),
        cmocka_unit_test(lines_are_found),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

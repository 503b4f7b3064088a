/* runtime_self.c - tests of runtime/self.h: one key for good, epochs that only grow. */
#include <fcntl.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/self.h"
#include "tests/unit/remove_tree.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/dray-self-XXXXXX");
    return sodium_init() < 0 || !mkdtemp(dir);
}

static int remove_dir(void **state)
{
    (void)state;
    return remove_tree(dir);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "we");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct self load(u64 wall_ms)
{
    struct self s;
    char why[CONF_WHY_MAX] = "";
    if (self_load(&s, dir, wall_ms, why))
        fail_msg("%s", why);
    return s;
}

static void expect_refusal(const char *word)
{
    struct self s;
    char why[CONF_WHY_MAX] = "";
    int rc = self_load(&s, dir, 1, why);
    assert_true(rc == ERR_INVAL || rc == ERR_IO);
    if (!strstr(why, word))
        fail_msg("%s", why);
    assert_non_null(strstr(why, dir));
}

static void one_key_for_good(void **state)
{
    struct stat st;
    struct node_key key;
    struct node_secret secret;
    (void)state;
    struct self first = load(1000);
    assert_true(first.made);
    identity_from_seed(first.seed, &key, &secret);
    assert_true(node_key_equal(&first.key, &key));
    assert_int_equal(stat(path_of("node.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    struct self again = load(1000);
    assert_false(again.made);
    assert_true(node_key_equal(&first.key, &again.key));
    assert_int_equal(unlink(path_of("node.key")), 0);
    struct self other = load(1000);
    assert_true(other.made);
    assert_false(node_key_equal(&first.key, &other.key));
}

static void epochs_only_grow(void **state)
{
    (void)state;
    struct self s = load(1000);
    assert_int_equal(s.boot_epoch, 1001);
    assert_int_equal(s.inventory_epoch, 1001);
    s = load(1000); /* within the same ms */
    assert_int_equal(s.boot_epoch, 1002);
    s = load(500); /* the clock went back */
    assert_int_equal(s.boot_epoch, 1003);
    assert_int_equal(s.inventory_epoch, 1003);
    assert_int_equal(self_save_epochs(dir, s.boot_epoch, 700000), 0);
    s = load(2000);
    assert_int_equal(s.boot_epoch, 2001);
    assert_int_equal(s.inventory_epoch, 700001);
}

static void damaged_epochs_fall_back_to_the_clock(void **state)
{
    static const char *const texts[] = {
        "",
        "boot \ninventory \n",
        "boot 99999999999999999999999999\ninventory 5x\n",
        "boot -1\ninventory 0x11\n",
        "boot 18446744073709551615\ninventory 18446744073709551615\n",
        "reboot 9000\n",
        "boot 9000", /* cut */
    };
    (void)state;
    for (size_t i = 0; i < countof(texts); i++) {
        write_text("epochs", texts[i]);
        struct self s = load(4000);
        assert_int_equal(s.boot_epoch, 4001);
        assert_int_equal(s.inventory_epoch, 4001);
    }
    write_text("epochs", "boot 9000\ninventory x\n"); /* half of it is better than nothing */
    assert_int_equal(load(4000).boot_epoch, 9001);
}

static void a_damaged_key_is_no_new_key(void **state)
{
    static const char two[] = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
                              "b:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    static const char *const texts[] = {"", "node:\n", "node:AAAA\n", "rubbish", two};
    (void)state;
    load(1);
    for (size_t i = 0; i < countof(texts); i++) {
        write_text("node.key", texts[i]);
        expect_refusal("damaged");
    }
}

static void a_key_that_others_can_read_is_refused(void **state)
{
    (void)state;
    load(1);
    assert_int_equal(chmod(path_of("node.key"), 0640), 0);
    expect_refusal("chmod 600");
}

static void a_start_that_was_cut_short_leaves_no_trace(void **state)
{
    (void)state;
    write_text("node.key.tmp", "node:half");
    assert_int_equal(chmod(path_of("node.key.tmp"), 0666), 0);
    struct self s = load(1);
    assert_true(s.made);
    struct stat st;
    assert_int_equal(stat(path_of("node.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_not_equal(access(path_of("node.key.tmp"), F_OK), 0);
}

static void what_cannot_be_written_is_said(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path_of("node.key.tmp"), 0700), 0);
    assert_int_equal(mkdir(path_of("node.key.tmp/x"), 0700), 0);
    expect_refusal("node.key");
    assert_int_equal(rmdir(path_of("node.key.tmp/x")), 0);
    assert_int_equal(rmdir(path_of("node.key.tmp")), 0);
    assert_int_equal(mkdir(path_of("epochs.tmp"), 0700), 0);
    expect_refusal("epochs");
}

#define IN_DIR(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_DIR(one_key_for_good),
        IN_DIR(epochs_only_grow),
        IN_DIR(damaged_epochs_fall_back_to_the_clock),
        IN_DIR(a_damaged_key_is_no_new_key),
        IN_DIR(a_key_that_others_can_read_is_refused),
        IN_DIR(a_start_that_was_cut_short_leaves_no_trace),
        IN_DIR(what_cannot_be_written_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* node_region_kept.c - tests of runtime/region.h: what outlives a restart. Members that were met,
 * and purges. */
#include "tests/unit/region_rig.h"

/* --- members remembered ----------------------------------------------------------------------- */

static size_t remembered(struct one *o, struct addr out[REGION_KNOWN_MAX])
{
    u8 data[REGION_KNOWN_BYTES];
    ssize_t len = region_file_read(o->path, REGION_KNOWN_FILE, data, sizeof(data));
    return len > 0 ? region_known_unpack(data, (size_t)len, out) : 0;
}

static void without_its_seed_it_finds_the_region(void **state)
{
    struct addr known[REGION_KNOWN_MAX];
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL}, *dead[] = {"127.0.0.9:9", NULL};
    start(&ones[1], "127.0.0.2", seed);
    start(&ones[2], "127.0.0.3", seed);
    until(living(&ones[1]) == 3 && living(&ones[2]) == 3);
    until(!ones[1].region->saving);
    assert_int_equal(remembered(&ones[1], known), 2);
    stop(&ones[1]);
    stop(&ones[0]); /* the only seed */
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[1]) == 2 && living(&ones[2]) == 2);
    region_known_refresh(ones[1].region); /* nobody takes the dead one's place */
    assert_int_equal(ones[1].region->n_known, 2);
    stop(&ones[1]);
    start(&ones[1], "127.0.0.2", dead); /* nor does it matter what the config says */
    until(living(&ones[1]) == 2);
}

static void the_living_take_the_place_of_the_dead(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    struct region *r = ones[0].region;
    for (unsigned i = 0; i < REGION_KNOWN_MAX + 5; i++) {
        struct addr a = addr_v4(127, 9, 9, (u8)(i + 1), 9);
        region_known_add(r, &a);
        region_known_add(r, &a);
    }
    assert_int_equal(r->n_known, REGION_KNOWN_MAX);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[0]) == 2);
    region_known_refresh(r);
    assert_int_equal(r->n_known, REGION_KNOWN_MAX);
    assert_true(addr_equal(&r->known[0], &ones[1].region->address));
    until(!r->saving);
    struct addr known[REGION_KNOWN_MAX];
    assert_int_equal(remembered(&ones[0], known), REGION_KNOWN_MAX);
    assert_memory_equal(known, r->known, sizeof(known));
}

static void damaged_memories_are_passed_over(void **state)
{
    struct addr some[3] = {addr_v4(127, 0, 0, 1, 5), addr_v4(127, 0, 0, 1, 6), {.port = 7}};
    struct addr out[REGION_KNOWN_MAX];
    u8 data[REGION_KNOWN_BYTES];
    (void)state;
    some[2].ip[0] = 0xfd;
    size_t len = region_known_pack(some, 3, data, sizeof(data));
    assert_int_equal(region_known_unpack(data, len, out), 3);
    assert_memory_equal(out, some, sizeof(some));
    for (size_t cut = 0; cut < len; cut++)
        assert_true(region_known_unpack(data, cut, out) < 3);
    assert_int_equal(region_known_pack(some, 3, data, len - 1), 0);
    struct addr odd[3] = {some[0], some[0], addr_v4(127, 0, 0, 1, 0)}; /* twice; no port */
    len = region_known_pack(odd, 3, data, sizeof(data));
    assert_int_equal(region_known_unpack(data, len, out), 1);
    start(&ones[0], "127.0.0.1", NULL);
    stop(&ones[0]);
    char file[160];
    snprintf(file, sizeof(file), "%s/" REGION_KNOWN_FILE, ones[0].path);
    write_text(file, "rubbish");
    start(&ones[0], "127.0.0.1", NULL);
    assert_int_equal(ones[0].region->n_known, 0);
}

/* --- purges ----------------------------------------------------------------------------------- */

static void purges_reach_all_and_stay(void **state)
{
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    const char *seed[] = {ones[0].listen, NULL};
    start(&ones[1], "127.0.0.2", seed);
    until(living(&ones[0]) == 2);
    struct digest d = put(&ones[1], "bad", NULL);
    until(mesh_copies(region_mesh(ones[0].region), &d) == 1);
    u64 until_ms = wall_ms() + 3600000;
    assert_int_equal(region_purge(ones[0].region, &d, wall_ms(), until_ms), 0);
    assert_int_equal(ones[0].purges, 1); /* before it returns */
    until(ones[1].purges == 1);
    assert_true(digest_equal(&ones[1].purged, &d));
    assert_int_equal(ones[1].until_ms, until_ms);
    until(mesh_copies(region_mesh(ones[0].region), &d) == 0);
    until(!ones[0].region->saving && !ones[1].region->saving);

    stop(&ones[0]); /* the whole region goes down */
    stop(&ones[1]);
    start(&ones[0], "127.0.0.1", NULL);
    assert_true(mesh_is_purged(region_mesh(ones[0].region), &d, wall_ms()));
    start(&ones[2], "127.0.0.3", seed); /* and tells who was not there */
    until(ones[2].purges == 1);
    assert_int_equal(ones[2].until_ms, until_ms);
    assert_int_equal(region_purge(ones[0].region, &d, wall_ms(), 1), ERR_INVAL);
}

static void damaged_orders_are_passed_over(void **state)
{
    char file[160];
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    struct digest d = put(&ones[0], "bad", NULL);
    assert_int_equal(region_purge(ones[0].region, &d, wall_ms(), wall_ms() + 3600000), 0);
    until(!ones[0].region->saving);
    snprintf(file, sizeof(file), "%s/orders", ones[0].path);
    u8 data[1024];
    int fd = open(file, O_RDONLY);
    ssize_t len = read(fd, data, sizeof(data));
    close(fd);
    assert_true(len > 100);
    struct purge_order orders[2];
    assert_int_equal(region_orders_unpack(data, (size_t)len, orders, 2), 1);
    assert_true(digest_equal(&orders[0].digest, &d));
    u8 again[1024];
    assert_int_equal(region_orders_pack(orders, 1, again, sizeof(again)), len);
    assert_memory_equal(again, data, (size_t)len);
    for (size_t cut = 0; cut < (size_t)len; cut++)
        assert_int_equal(region_orders_unpack(data, cut, orders, 2), 0);
    stop(&ones[0]);
    data[len - 1] ^= 1; /* of the signature */
    fd = open(file, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, data, (size_t)len), len);
    close(fd);
    start(&ones[0], "127.0.0.1", NULL);
    assert_false(mesh_is_purged(region_mesh(ones[0].region), &d, wall_ms()));
    assert_true(store_purged_until(ones[0].store, &d, wall_ms()) > 0); /* here it stays so */
}

/* A full disk, say; when it is not any more, what was given meanwhile is written all the same. */
static void what_could_not_be_written_is_later(void **state)
{
    char aside[160], file[160];
    (void)state;
    start(&ones[0], "127.0.0.1", NULL);
    until(!ones[0].region->saving);
    snprintf(aside, sizeof(aside), "%s/orders.tmp", ones[0].path);
    snprintf(file, sizeof(file), "%s/orders", ones[0].path);
    assert_int_equal(mkdir(aside, 0700), 0);
    struct digest d = put(&ones[0], "bad", NULL);
    assert_int_equal(region_purge(ones[0].region, &d, wall_ms(), wall_ms() + 3600000), 0);
    until(!ones[0].region->saving);
    assert_int_not_equal(access(file, F_OK), 0);
    assert_int_equal(rmdir(aside), 0);
    region_known_refresh(ones[0].region); /* now and then */
    until(access(file, F_OK) == 0 && !ones[0].region->saving);
    assert_false(ones[0].region->changed_orders);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_its_seed_it_finds_the_region), TEST(the_living_take_the_place_of_the_dead),
        TEST(damaged_memories_are_passed_over),     TEST(purges_reach_all_and_stay),
        TEST(damaged_orders_are_passed_over),       TEST(what_could_not_be_written_is_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

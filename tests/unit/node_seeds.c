/* node_seeds.c - tests of node/seeds.h: chains are made for whoever asks, one after the other, and
 * whatever is asked for, those who wait for bytes have the pool's other threads. */
#include "fill_peers_fixture.h"

#include "node/seeds.h"
#include "runtime/clock.h"
#include "store/hash.h"

#define LAYERS 20

static const struct node_key greedy = {{1}}, modest = {{2}};
static struct seeds *seeds;
static struct pool *pool;
static struct digest layers[LAYERS];

static struct digest hold(u32 number)
{
    struct store_ingest *i;
    struct store_ingest_options opt = {.size = sizeof(number), .now_ms = wall_ms()};
    hash_bytes(DIGEST_SHA256, &number, sizeof(number), &opt.digest);
    assert_int_equal(store_ingest_begin(rig.store, &opt, &i), 0);
    assert_int_equal(store_ingest_write(i, &number, sizeof(number)), 0);
    store_ingest_hash(i, &number, sizeof(number));
    assert_int_equal(store_ingest_seal(i), 0);
    assert_int_equal(store_ingest_commit(i, wall_ms(), NULL), 0);
    return opt.digest;
}

/* One thread: jobs end in the order in which they were submitted. */
static void begin_seeds(void)
{
    open_rig(CAPACITY);
    mesh_double.swarm.on = true;
    assert_int_equal(pool_new(&pool, &rig.loop, 1, "hash"), 0);
    const struct seeds_options opt = {.store = rig.store, .hash = pool, .peers = rig.peers};
    assert_int_equal(seeds_new(&seeds, &opt), 0);
    for (u32 i = 0; i < LAYERS; i++)
        layers[i] = hold(i);
}

static void end_seeds(void)
{
    seeds_stop(seeds);
    pool_del(pool);
    seeds_del(seeds);
    rig_close(&rig);
}

static bool are_seeded(void *arg)
{
    return mesh_double.swarm.n_seeded >= *(size_t *)arg;
}

static void wait_seeded(size_t n)
{
    rig_wait(&rig, are_seeded, &n);
}

struct marked {
    struct job job;
    size_t seeded; /* when it was done */
    bool done;
};

static void work(struct job *j)
{
    (void)j;
}

static void done(struct job *j)
{
    struct marked *m = container_of(j, struct marked, job);
    m->seeded = mesh_double.swarm.n_seeded;
    m->done = true;
}

static bool is_done(void *arg)
{
    return ((const struct marked *)arg)->done;
}

static void test_who_waits_for_bytes_does_not_wait_for_chains(void **state)
{
    (void)state;
    struct marked m = {.job = {.work = work, .done = done}};
    begin_seeds();
    for (int time = 0; time < 2; time++)
        for (u32 i = 0; i < LAYERS; i++)
            seeds_ask(seeds, &layers[i], &greedy);
    pool_submit(pool, &m.job);
    rig_wait(&rig, is_done, &m);
    assert_in_range(m.seeded, 0, 1);
    wait_seeded(LAYERS);
    rig_settle(&rig);
    assert_int_equal(mesh_double.swarm.n_seeded, LAYERS); /* each once */
    assert_non_null(seeds_chain(seeds, &layers[0]));
    seeds_ask(seeds, &layers[0], &greedy);
    assert_int_equal(mesh_double.swarm.n_seeded, LAYERS + 1); /* known by now */
    end_seeds();
}

static void test_who_asks_for_one_is_not_behind_who_asks_for_many(void **state)
{
    (void)state;
    begin_seeds();
    for (u32 i = 0; i < LAYERS - 1; i++)
        seeds_ask(seeds, &layers[i], &greedy);
    seeds_ask(seeds, &layers[LAYERS - 1], &modest);
    wait_seeded(LAYERS);
    assert_true(digest_equal(&mesh_double.swarm.seeded[1], &layers[LAYERS - 1]));
    end_seeds();
}

/* Of what nobody wants any more no chain is made. */
static void test_who_left_is_not_waited_for(void **state)
{
    (void)state;
    begin_seeds();
    for (u32 i = 0; i < LAYERS; i++)
        seeds_ask(seeds, &layers[i], &greedy);
    mesh_double.swarm.unknown = true;
    wait_seeded(1);
    rig_settle(&rig);
    assert_int_equal(mesh_double.swarm.n_seeded, 1);
    assert_int_equal(pool_pending(pool), 0);
    mesh_double.swarm.unknown = false;
    seeds_ask(seeds, &layers[LAYERS - 1], &modest);
    wait_seeded(2);
    end_seeds();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_waits_for_bytes_does_not_wait_for_chains),
        cmocka_unit_test(test_who_asks_for_one_is_not_behind_who_asks_for_many),
        cmocka_unit_test(test_who_left_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* proto_swarm_call.c - tests of lines that are free: whoever waits for a piece is called, and
 * nobody keeps a line idle by not coming. */
#include "crowd_rig.h"

static struct swarm_layer *layer_at(struct crowd *c, size_t i)
{
    return swarm_find(mesh_swarm(mesh_at(c, i)), &c->d);
}

/* Whatever node i asks for, all are busy. */
static void nobody_has_time(struct crowd *c, size_t i)
{
    struct swarm_step st;
    while (mesh_swarm_next(mesh_at(c, i), &st, c->r->now_ns))
        if (st.what == SWARM_ASK)
            mesh_swarm_ended(mesh_at(c, i), st.id, SWARM_BUSY, c->r->now_ns);
}

/* Time passes. Whatever the others ask node 0 for, it has no line free for them. */
static void wait_for(struct crowd *c, u64 for_ns)
{
    for (u64 end = c->r->now_ns + for_ns; c->r->now_ns < end;) {
        rig_run(c->r, MS);
        for (size_t i = 0; i < c->r->count; i++)
            nobody_has_time(c, i);
    }
}

/* Node 0 has half of the layer and gives some of it to node 1, a stranger. Node 2 has less than
 * node 3. */
static struct crowd *one_gives(u32 *serve)
{
    struct crowd *c = crowd_new(4);
    for (size_t i = 0; i < 4; i++)
        if (i != 1)
            join(c, i, false);
    for (u32 p = 0; p < PIECES / 2; p++)
        mesh_swarm_have(mesh_at(c, 0), &c->d, p, c->r->now_ns);
    for (u32 p = 0; p < 3; p++)
        mesh_swarm_have(mesh_at(c, 3), &c->d, p, c->r->now_ns);
    mesh_swarm_have(mesh_at(c, 2), &c->d, 0, c->r->now_ns);
    wait_for(c, S);
    assert_int_equal(
        mesh_swarm_serve(mesh_at(c, 0), &c->r->n[1].key, &c->d, 5, 1, serve, c->r->now_ns),
        SWARM_ANSWER_NOW);
    wait_for(c, 100 * MS);
    return c;
}

static enum swarm_answer comes(struct crowd *c, size_t i)
{
    u32 id;
    return mesh_swarm_serve(mesh_at(c, 0), &c->r->n[i].key, &c->d, 6, 1, &id, c->r->now_ns);
}

/* Of those who lack what is equally rare, who has least is called, and the line is kept for it for
 * as long as it takes to come. */
static void a_free_line_calls_the_poorest(void **state)
{
    (void)state;
    u32 serve;
    struct crowd *c = one_gives(&serve);
    mesh_swarm_served(mesh_at(c, 0), serve, true, c->r->now_ns);
    assert_true(layer_at(c, 0)->called == node_key_word(&c->r->n[2].key));
    assert_int_equal(comes(c, 3), SWARM_ANSWER_BUSY);
    assert_int_equal(comes(c, 2), SWARM_ANSWER_NOW);
    crowd_del(c);
}

/* Of the version before, which does not say whether it is hungry, nobody is called: it asks. */
static void who_asks_in_vain_counts_as_hungry(void **state)
{
    (void)state;
    u32 serve;
    struct crowd *c = one_gives(&serve);
    for (size_t i = 2; i < 4; i++) {
        struct swarm_peer *p = swarm_peer_find(layer_at(c, 0), &c->r->n[i].key);
        assert_non_null(p);
        p->hungry_ns = 0;
    }
    assert_int_equal(comes(c, 3), SWARM_ANSWER_BUSY);
    mesh_swarm_served(mesh_at(c, 0), serve, true, c->r->now_ns);
    assert_true(layer_at(c, 0)->called == node_key_word(&c->r->n[3].key));
    crowd_del(c);
}

/* NEWS to node `to` of node `from`, which is idle, and what `last` puts behind that. */
static int news_of(struct crowd *c, size_t from, size_t to, void (*last)(struct wire_out *w))
{
    u8 buf[256];
    struct wire_out w;
    struct wire_in r;
    struct swarm_layer *l = layer_at(c, to);
    wire_out_init(&w, buf, sizeof(buf));
    wire_put_u64(&w, l->word);
    wire_put_u64(&w, swarm_peer_find(l, &c->r->n[from].key)->session);
    wire_put_u64(&w, 0);
    wire_put_bin(&w, "", 0);
    wire_put_u64(&w, l->session);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    last(&w);
    wire_in_init(&r, buf, w.len);
    struct swarm *swarm = l->swarm;
    return swarm_read(swarm, &c->r->n[from].key, MSG_NEWS, &r, c->r->now_ns);
}
static int news(struct crowd *c, void (*last)(struct wire_out *w))
{
    return news_of(c, 2, 0, last);
}
static void says_nothing(struct wire_out *w)
{
    (void)w;
}
static void says_hungry(struct wire_out *w)
{
    wire_put_u64(w, 1);
}
static void says_text(struct wire_out *w)
{
    wire_put_text(w, "hungry");
}
static void says_less_than_none(struct wire_out *w)
{
    wire_put_i64(w, -1);
}

/* Node 2 says all the time that it is hungry, and never comes: the line is kept for it a few times,
 * and then as seldom as a piece takes. Node 3 is called meanwhile. */
static void who_is_called_in_vain_is_passed_over(void **state)
{
    (void)state;
    u32 serve, soon = 0, later = 0, others = 0;
    struct crowd *c = one_gives(&serve);
    struct swarm_layer *l = layer_at(c, 0);
    mesh_swarm_served(mesh_at(c, 0), serve, true, c->r->now_ns);
    swarm_peer_find(l, &c->r->n[2].key)->in_vain = 0;
    u64 seen_ns = l->called_ns;
    for (u32 t = 0; t < 1000; t++) {
        assert_int_equal(news(c, says_hungry), 0);
        bool liar = l->called == node_key_word(&c->r->n[2].key), called = l->called_ns != seen_ns;
        soon += called && liar && t < 200;
        later += called && liar && t >= 200;
        others += called && !liar;
        seen_ns = l->called_ns;
        wait_for(c, MS);
    }
    assert_in_range(soon, 10, 20);
    assert_in_range(later, 1, 800 / 64 + 1);
    assert_true(others > 0);
    assert_int_equal(comes(c, 3), SWARM_ANSWER_NOW);
    crowd_del(c);
}

/* The version before ends before it; what is no number is no news. */
static void hunger_may_be_left_out_but_not_garbled(void **state)
{
    (void)state;
    u32 serve;
    struct crowd *c = one_gives(&serve);
    struct swarm_peer *p = swarm_peer_find(layer_at(c, 0), &c->r->n[2].key);
    assert_int_equal(news(c, says_hungry), 0);
    assert_true(p->hungry_ns == c->r->now_ns);
    assert_int_equal(news(c, says_text), ERR_PROTO);
    assert_int_equal(news(c, says_less_than_none), ERR_PROTO);
    assert_true(p->hungry_ns == c->r->now_ns);
    assert_int_equal(news(c, says_nothing), 0);
    assert_true(p->hungry_ns == 0);
    crowd_del(c);
}

/* Node 3 waits for a piece that nodes 0 and 2 have, and takes both to be idle. */
static void whoever_calls_is_asked_before_all_others(void **state)
{
    (void)state;
    u32 serve;
    struct crowd *c = one_gives(&serve);
    struct swarm_layer *l = layer_at(c, 3);
    for (u32 p = 0; p < PIECES / 2; p++)
        mesh_swarm_have(mesh_at(c, 2), &c->d, p, c->r->now_ns);
    wait_for(c, S);
    for (size_t round = 0; round < 16; round++) {
        size_t caller = round % 4 < 2 ? 0 : 2;
        while (l->n_requests > 0)
            nobody_has_time(c, 3);
        for (size_t i = 0; i < 3; i += 2) {
            struct swarm_peer *p = swarm_peer_find(l, &c->r->n[i].key);
            p->load = 0;
            p->busy_ns = 0;
        }
        assert_int_equal(news_of(c, caller, 3, says_nothing), 0);
        assert_int_equal(l->n_requests, 1);
        struct swarm_step st = {0};
        while (mesh_swarm_next(mesh_at(c, 3), &st, c->r->now_ns) && st.what != SWARM_ASK)
            ;
        assert_int_equal(st.what, SWARM_ASK);
        assert_memory_equal(&st.peer, &c->r->n[caller].key, sizeof(st.peer));
        mesh_swarm_ended(mesh_at(c, 3), st.id, SWARM_BUSY, c->r->now_ns);
    }
    crowd_del(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_free_line_calls_the_poorest),
        cmocka_unit_test(who_is_called_in_vain_is_passed_over),
        cmocka_unit_test(who_asks_in_vain_counts_as_hungry),
        cmocka_unit_test(whoever_calls_is_asked_before_all_others),
        cmocka_unit_test(hunger_may_be_left_out_but_not_garbled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

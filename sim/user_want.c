/* user_want.c - one layer's way to one user; see user.h. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/pull.h"
#include "sim/user_impl.h"

#define CALM_NS (60 * SIM_S) /* what has been so for that long is known to everybody */

static struct user_want *at(const struct world *w, u32 id)
{
    assert(id < w->users->n_wants && w->users->wants[id]->used);
    return w->users->wants[id];
}

static struct user_pull *pull_of(const struct world *w, const struct user_want *v)
{
    return &w->users->pulls[v->pull];
}

/* What was on its way for it counts no more. */
static void turn(struct user_want *v, enum user_state state)
{
    v->gen++;
    v->state = state;
}

static void later(struct world *w, u32 id, u64 delay_ns, enum event_kind kind, u32 member)
{
    world_at(w, world_now(w) + delay_ns, kind, member, (u64)at(w, id)->gen << 32 | id);
}

static u64 way(struct world *w, const struct user_want *v, u32 member)
{
    return net_user_delay(&w->net, pull_of(w, v)->office, member);
}

static bool reaches(const struct world *w, const struct user_want *v, u32 member)
{
    return net_user_reaches(&w->net, pull_of(w, v)->office, member);
}

/* An answer, or an error, goes back to the user. */
static void answer(struct world *w, u32 id, enum user_state state, u32 member)
{
    turn(at(w, id), state);
    later(w, id, way(w, at(w, id), member), EV_USER, member);
}

/* A connection is made, and the request sent: two ways and one. */
static void go_to(struct world *w, u32 id, enum user_state state, u32 member)
{
    struct user_want *v = at(w, id);
    turn(v, state);
    if (reaches(w, v, member))
        later(w, id, way(w, v, member) + way(w, v, member) + way(w, v, member), EV_USER_AT, member);
    later(w, id, USER_CONNECT_NS, EV_USER_LATE, member);
}

/* --- giving up ------------------------------------------------------------------------------- */

static bool a_tracker_answers(const struct world *w, const struct user_want *v)
{
    u32 region = w->topology.offices[pull_of(w, v)->office].region;
    for (u32 t = 0; t < w->k.trackers; t++) {
        u32 member = tracker_member(w, t, region);
        if (w->hosts[member].state == HOST_UP && reaches(w, v, member) &&
            world_now(w) - w->hosts[member].since_ns > CALM_NS)
            return true;
    }
    return false;
}

/* Somebody of the region has held the layer for a while, and everybody can know. */
static bool a_copy_is_near(struct world *w, const struct user_want *v)
{
    const struct user_pull *p = pull_of(w, v);
    u32 region = w->topology.offices[p->office].region;
    if (p->profile[0] && strcmp(p->profile, w->topology.regions[region]) != 0)
        return false; /* it says elsewhere, or one that may be off */
    for (u32 i = 0; i < w->n; i++) {
        struct host *h = &w->hosts[i];
        const struct shelf_entry *e = shelf_find(&h->shelf, v->layer);
        if (h->place.region == region && h->state == HOST_UP && !h->leaving && !h->denied &&
            h->lies == HOST_HONEST && reaches(w, v, i) && h->since_ns + CALM_NS < v->try_ns && e &&
            !e->rotten && e->stored_ms * SIM_MS + CALM_NS < v->try_ns)
            return true;
    }
    return false;
}

static void see_registry(struct world *w)
{
    struct users *s = w->users;
    u64 seen = w->registry.limited + w->registry.failed;
    if (w->registry.mood != REGISTRY_WELL || seen != s->registry_seen)
        s->trouble_ns = world_now(w);
    s->registry_seen = seen;
}

/* Was there, during this try, neither a registry nor a copy, or nobody to ask? */
static bool is_excused(struct world *w, const struct user_want *v)
{
    see_registry(w);
    if (!a_tracker_answers(w, v) || w->users->deserted_ns >= v->try_ns ||
        w->measure.cut_ns > v->try_ns)
        return true;
    bool permitted = v->answer.word == TRACKER_SENDS || v->answer.word == TRACKER_STREAMS;
    return w->users->trouble_ns >= v->try_ns && !(permitted && a_copy_is_near(w, v));
}

static void let_go(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    if (v->flow != FLOW_NONE) {
        u64 came = flow_end(&w->flows, v->flow, world_now(w));
        v->flow = FLOW_NONE;
        world_flows_changed(w);
        if (v->member >= w->n) {
            registry_done(&w->registry, came);
            w->fetches->registry_bytes += came;
            tracker_streams(w, v->tracker, false);
        }
    }
    v->fetch = 0;
}

static void tell(struct world *w, struct user_want *v, enum outcome_event event)
{
    const struct user_pull *p = pull_of(w, v);
    const struct host *h = &w->hosts[v->member];
    if (v->member >= w->n || v->began == (event == OUTCOME_BEGAN))
        return;
    v->began = event == OUTCOME_BEGAN;
    if (h->state == HOST_UP && h->life == v->life)
        tracker_tell(w, v->member, &v->answer.ticket, event, &p->addr,
                     way(w, v, v->member) + way(w, v, v->member));
    else
        v->began = false;
}

/* This try came to nothing. */
static void fail(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    let_go(w, id);
    v->excused |= is_excused(w, v);
    if (++v->tries < USER_TRIES) {
        w->users->retries++;
        turn(v, USER_WAITING);
        later(w, id, v->tries * USER_PAUSE_NS, EV_USER, 0);
        return;
    }
    if (!v->excused && w->phase != PHASE_WARM)
        measure_break(w, "stranded", "user %u of office %u gave up on layer %u, last at %s %u",
                      pull_of(w, v)->user, pull_of(w, v)->office, v->layer,
                      v->member >= w->n ? "tracker" : "node",
                      v->member >= w->n ? v->tracker : v->member);
    user_want_ends(w, id, false);
}

/* --- at the tracker -------------------------------------------------------------------------- */

static void to_tracker(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    const struct user_pull *p = pull_of(w, v);
    if (v->asked_trackers == w->k.trackers) {
        fail(w, id);
        return;
    }
    v->tracker = (u32)((p->user + v->asked_trackers++) % w->k.trackers);
    v->refused = false;
    u32 member = tracker_member(w, v->tracker, w->topology.offices[p->office].region);
    w->users->others_trackers += v->asked_trackers > 1;
    v->member = member;
    go_to(w, id, USER_ASKING, member);
}

static void try_now(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    v->try_ns = world_now(w);
    v->asked_trackers = 0;
    v->cold = v->wrong = v->broken = v->began = false;
    v->answer.word = TRACKER_AWAY;
    to_tracker(w, id);
}

void user_want_begins(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    u32 region = w->topology.offices[pull_of(w, v)->office].region;
    u32 member = tracker_member(w, pull_of(w, v)->user % (u32)w->k.trackers, region);
    turn(v, USER_WAITING);
    later(w, id, way(w, v, member) + way(w, v, member), EV_USER, 0);
}

static void at_tracker(struct world *w, u32 id, u32 member)
{
    struct user_want *v = at(w, id);
    const struct user_pull *p = pull_of(w, v);
    const struct host *h = &w->hosts[member];
    if (!reaches(w, v, member) || (h->state == HOST_OFF && h->dark))
        return; /* silence */
    v->refused = h->state != HOST_UP;
    if (v->refused) {
        answer(w, id, USER_HEARING, member);
        return;
    }
    struct tracker_wish wish = {.user_number = p->user,
                                .image = p->image,
                                .layer = v->layer,
                                .bytes = v->bytes,
                                .from = p->addr,
                                .profile = p->profile[0] ? p->profile : NULL};
    memcpy(wish.user, p->id, sizeof(wish.user));
    tracker_decide(w, v->tracker, &wish, &v->answer);
    if (v->answer.word != TRACKER_ASKS) {
        answer(w, id, USER_HEARING, member);
        return;
    }
    turn(v, USER_ASKING);
    later(w, id, v->answer.wait_ns, EV_USER_AT, member);
    later(w, id, USER_CONNECT_NS, EV_USER_LATE, member);
}

/* --- bytes ----------------------------------------------------------------------------------- */

static bool stands_still(const struct world *w, const struct user_want *v)
{
    const struct host *h = &w->hosts[v->member];
    return h->state != HOST_UP || h->life != v->life || !reaches(w, v, v->member) ||
           (v->member >= w->n && w->registry.mood == REGISTRY_GONE);
}

static u64 cap_now(const struct world *w, const struct user_want *v)
{
    u64 slow = v->member >= w->n ? registry_slowness(&w->registry) : UINT64_MAX;
    if (stands_still(w, v))
        return 0;
    return slow < w->k.user_down ? slow : w->k.user_down;
}

static void take(struct world *w, u32 id, u64 bytes)
{
    struct user_want *v = at(w, id);
    const struct user_pull *p = pull_of(w, v);
    const struct host *h = &w->hosts[v->member];
    struct flow_spec spec = {.lines = {FLOW_NONE, FLOW_NONE, FLOW_NONE, FLOW_NONE},
                             .bytes = bytes,
                             .tag = USER_FLOW | id};
    bool centre = v->member >= w->n;
    spec.lines[0] = centre ? w->registry_line : h->up;
    if (centre || h->place.office != p->office)
        spec.lines[1] = w->wan_down[p->office];
    if (!centre && h->place.office != p->office)
        spec.lines[2] = w->wan_up[h->place.office];
    turn(v, USER_TAKING);
    v->cap_bps = cap_now(w, v);
    v->moved_ns = world_now(w);
    v->moved_bytes = 0;
    spec.cap_bps = v->cap_bps ? v->cap_bps : 1;
    v->flow = flow_begin(&w->flows, &spec, world_now(w));
    if (v->cap_bps == 0)
        flow_cap(&w->flows, v->flow, 0, world_now(w));
    world_flows_changed(w);
}

static void stream(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    struct registry_answer a;
    v->member = tracker_member(w, v->tracker, w->topology.offices[pull_of(w, v)->office].region);
    v->life = w->hosts[v->member].life;
    registry_ask(&w->registry, &a);
    if (a.status != 200) {
        fail(w, id);
        return;
    }
    tracker_streams(w, v->tracker, true);
    v->broken = a.breaks < 1;
    v->wrong = a.wrong;
    take(w, id, 1 + (u64)(a.breaks * (double)(v->bytes - 1)));
}

void user_flow_done(struct world *w, u32 flow)
{
    u32 id = w->flows.flows[flow].tag & ~USER_FLOW;
    struct user_want *v = at(w, id);
    assert(v->flow == flow && v->state == USER_TAKING);
    let_go(w, id);
    tell(w, v, OUTCOME_DONE);
    if (v->broken || v->wrong) /* the client knows the length and the digest */
        fail(w, id);
    else
        user_want_ends(w, id, true);
}

/* --- at the node ----------------------------------------------------------------------------- */

static bool ticket_is_good(const struct world *w, const struct user_want *v, const struct host *h)
{
    char repository[OCI_NAME_MAX + 1];
    struct digest d;
    struct ticket out;
    snprintf(repository, sizeof(repository), "image-%u", pull_of(w, v)->image);
    catalog_digest(&w->catalog, v->layer, &d);
    struct ticket_wanted wanted = {&h->key, repository, &d, host_unix_ms(w, h) / 1000};
    return ticket_check(v->answer.text, v->answer.len, &w->trackers->key, 1, &wanted, &out) ==
           TICKET_VALID;
}

static void at_node(struct world *w, u32 id, u32 node)
{
    struct user_want *v = at(w, id);
    struct host *h = &w->hosts[node];
    if (!reaches(w, v, node) || (h->state == HOST_OFF && h->dark))
        return; /* silence */
    if (h->state != HOST_UP) {
        answer(w, id, USER_FAILING, node);
        return;
    }
    if (!ticket_is_good(w, v, h)) {
        w->users->refused_tickets++;
        answer(w, id, USER_FAILING, node);
        return;
    }
    v->life = h->life;
    tell(w, v, OUTCOME_BEGAN);
    struct shelf_entry *e = shelf_find(&h->shelf, v->layer);
    if (e)
        shelf_use(&h->shelf, e, host_unix_ms(w, h));
    if (e || host_holds(w, node, v->layer)) {
        take(w, id, v->bytes);
        return;
    }
    turn(v, USER_FETCHING);
    v->cold = true;
    v->moved_ns = world_now(w);
    v->fetch = fetch_want(w, node, v->layer);
}

void user_fetch_ended(struct world *w, u64 fetch, int err, bool wrong)
{
    struct users *s = w->users;
    for (u32 id = 0; id < s->n_wants; id++) {
        struct user_want *v = s->wants[id];
        if (!v->used || v->state != USER_FETCHING || v->fetch != fetch)
            continue;
        v->fetch = 0;
        if (err == 0 && wrong)
            measure_break(w, "bytes", "node %u answered a user with wrong bytes, and in full",
                          v->member);
        if (err) {
            tell(w, v, OUTCOME_FAILED);
            answer(w, id, USER_FAILING, v->member);
        } else if (w->hosts[v->member].place.office != pull_of(w, v)->office) {
            take(w, id, v->bytes);
        } else { /* it was streamed as it came */
            tell(w, v, OUTCOME_DONE);
            user_want_ends(w, id, true);
        }
    }
}

/* --- events ---------------------------------------------------------------------------------- */

/* At the user. */
static void heard(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    switch (v->state) {
    case USER_WAITING: try_now(w, id); return;
    case USER_FAILING: fail(w, id); return;
    case USER_HEARING: break;
    case USER_ASKING:
    case USER_COMING:
    case USER_FETCHING:
    case USER_TAKING: assert(!"a state in which a user hears"); return;
    }
    if (v->refused) {
        to_tracker(w, id);
        return;
    }
    switch (v->answer.word) {
    case TRACKER_SENDS:
        v->member = v->answer.node;
        go_to(w, id, USER_COMING, v->member);
        break;
    case TRACKER_STREAMS: stream(w, id); break;
    case TRACKER_AWAY: fail(w, id); break;
    case TRACKER_ASKS: assert(!"an answer"); break;
    }
}

void user_event(struct world *w, const struct event *ev)
{
    u32 id = (u32)ev->arg;
    const struct user_want *v = w->users->wants[id];
    if (!v->used || v->gen != ev->arg >> 32)
        return;
    if (ev->kind == EV_USER)
        heard(w, id);
    else if (ev->kind == EV_USER_LATE && v->state == USER_ASKING)
        to_tracker(w, id);
    else if (ev->kind == EV_USER_LATE)
        fail(w, id);
    else if (w->hosts[ev->node].state == HOST_PAUSED)
        host_keep(w, ev);
    else if (v->state == USER_ASKING)
        at_tracker(w, id, ev->node);
    else
        at_node(w, id, ev->node);
}

void user_host_died(struct world *w, u32 member)
{
    struct users *s = w->users;
    for (u32 id = 0; s && id < s->n_wants; id++) {
        struct user_want *v = s->wants[id];
        if (!v->used || v->member != member ||
            (v->state != USER_FETCHING && v->state != USER_TAKING))
            continue;
        v->fetch = 0; /* it went with its node */
        if (!w->hosts[member].dark && reaches(w, v, member)) {
            let_go(w, id);
            answer(w, id, USER_FAILING, member);
        }
    }
}

static void look_at(struct world *w, u32 id)
{
    struct user_want *v = at(w, id);
    u64 cap = cap_now(w, v), now = world_now(w);
    if (v->state == USER_TAKING) {
        u64 came = flow_bytes(&w->flows, v->flow, now);
        if (came > v->moved_bytes)
            v->moved_ns = now;
        v->moved_bytes = came;
        if (cap != v->cap_bps) {
            v->cap_bps = cap;
            flow_cap(&w->flows, v->flow, cap, now);
            world_flows_changed(w);
        }
    } else if (!stands_still(w, v)) {
        v->moved_ns = now; /* the node's connection lives, and says nothing yet */
    }
    if (now - v->moved_ns < USER_QUIET_NS)
        return;
    tell(w, v, OUTCOME_LEFT);
    fail(w, id);
}

void user_look(struct world *w)
{
    struct users *s = w->users;
    see_registry(w);
    bool up = false;
    for (u32 t = 0; t < w->k.trackers; t++)
        up |= tracker_state(w, t) == HOST_UP;
    if (!up)
        s->deserted_ns = world_now(w);
    for (u32 id = 0; id < s->n_wants; id++) {
        const struct user_want *v = s->wants[id];
        if (!v->used)
            continue;
        if (world_now(w) - v->begun_ns > PULL_BOUND_NS)
            measure_break(w, "requests", "a request of user %u waits since %.3f s",
                          s->pulls[v->pull].user, (double)v->begun_ns / 1e9);
        if (v->state == USER_FETCHING || v->state == USER_TAKING)
            look_at(w, id);
    }
}

/* tracker.c - see tracker.h. */
#include "sim/tracker.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/host.h"
#include "sim/mem.h"

#define TTL_NS          (60 * SIM_S)   /* authz.ttl */
#define PROBE_LATE_NS   SIM_S          /* nobody is there */
#define PROBE_SILENT_NS (2 * SIM_S)    /* somebody is, and says nothing */
#define FLUSH_NS        (200 * SIM_MS) /* of outcomes: as in node/outcomes.h */
#define NEWS_NS         (5 * SIM_S)    /* of distances alone */
#define KID             "sim"
#define UPSTREAM        "registry.example.net"

static void no_memory(void)
{
    fprintf(stderr, "dray-sim: out of memory\n");
    exit(2);
}

/* --- life ------------------------------------------------------------------------------------ */

u32 tracker_member(const struct world *w, u32 tracker, u32 region)
{
    assert(tracker < w->k.trackers && region < w->topology.n_regions);
    return w->n + tracker * (u32)w->topology.n_regions + region;
}

enum host_state tracker_state(const struct world *w, u32 tracker)
{
    return w->hosts[tracker_member(w, tracker, 0)].state;
}

/* What a tracker learns: empty at each start. */
static void forget(struct tracker *t)
{
    chooser_del(t->chooser);
    roster_del(t->roster);
    pulse_del(t->pulse);
    rtts_del(t->rtts);
    strikes_del(t->strikes);
    free(t->grants);
    t->chooser = NULL;
    t->roster = NULL;
    t->pulse = NULL;
    t->rtts = NULL;
    t->strikes = NULL;
    t->grants = NULL;
    t->n_grants = t->grants_size = t->n_probes = 0;
    t->away = false;
}

static void learn(const struct world *w, struct tracker *t)
{
    u8 key[32];
    static_assert(STRIKES_KEY_BYTES <= sizeof(key) && RTTS_KEY_BYTES <= sizeof(key) &&
                      ROSTER_KEY_BYTES <= sizeof(key) && CHOOSER_KEY_BYTES <= sizeof(key),
                  "one key for all");
    forget(t);
    rng_bytes(&t->rng, key, sizeof(key));
    if (strikes_new(&t->strikes, key) || rtts_new(&t->rtts, key) || pulse_new(&t->pulse) ||
        roster_new(&t->roster, w->topology.n_regions, key))
        no_memory();
    struct chooser_options opt = {.roster = t->roster,
                                  .strikes = t->strikes,
                                  .rtts = t->rtts,
                                  .pulse = t->pulse,
                                  .seed = rng_u64(&t->rng)};
    memcpy(opt.hash_key, key, sizeof(opt.hash_key));
    if (chooser_new(&t->chooser, &opt))
        no_memory();
}

void tracker_init(struct world *w)
{
    struct trackers *s = w->trackers = mem_new(1, sizeof(*s));
    if (w->k.trackers == 0)
        return;
    struct rng r = engine_rng(&w->engine, "ticket key");
    struct node_key public;
    struct node_secret secret;
    u8 seed[32];
    rng_bytes(&r, seed, sizeof(seed));
    identity_from_seed(seed, &public, &secret);
    static_assert(sizeof(secret.bytes) == sizeof(s->signer.secret), "Ed25519");
    memcpy(s->signer.secret, secret.bytes, sizeof(s->signer.secret));
    memcpy(s->key.bytes, public.bytes, sizeof(s->key.bytes));
    snprintf(s->signer.kid, sizeof(s->signer.kid), KID);
    snprintf(s->key.kid, sizeof(s->key.kid), KID);
    for (u32 i = 0; i < w->k.trackers; i++) {
        struct tracker *t = &s->v[i];
        t->index = i;
        t->rng = engine_rng_n(&w->engine, "tracker", i);
        learn(w, t);
    }
}

void tracker_fini(struct world *w)
{
    struct trackers *s = w->trackers;
    if (!s)
        return;
    for (u32 i = 0; i < w->k.trackers; i++) {
        forget(&s->v[i]);
        free(s->v[i].probes);
    }
    for (size_t i = 0; i < s->n_told; i++)
        free(s->told[i].bytes);
    free(s->told);
    free(s->told_free);
    free(s);
}

void tracker_crash(struct world *w, u32 tracker, bool dark)
{
    for (u32 r = 0; r < w->topology.n_regions; r++)
        host_crash(w, tracker_member(w, tracker, r), dark);
}

void tracker_boot(struct world *w, u32 tracker)
{
    if (tracker_state(w, tracker) != HOST_OFF)
        return;
    learn(w, &w->trackers->v[tracker]);
    for (u32 r = 0; r < w->topology.n_regions; r++)
        host_boot(w, tracker_member(w, tracker, r));
}

void tracker_pause(struct world *w, u32 tracker, u64 for_ns)
{
    for (u32 r = 0; r < w->topology.n_regions; r++)
        host_pause(w, tracker_member(w, tracker, r), for_ns);
}

void tracker_streams(struct world *w, u32 tracker, bool begins)
{
    struct tracker *t = &w->trackers->v[tracker];
    assert(begins || t->streams > 0);
    t->streams += begins ? 1 : -1u;
}

static u64 now_ms(const struct world *w, u32 tracker)
{
    return host_now(w, &w->hosts[tracker_member(w, tracker, 0)]) / SIM_MS;
}

/* --- the registry's word --------------------------------------------------------------------- */

static u64 key_of_grant(const struct tracker_wish *wish)
{
    return ((u64)wish->image << 32 | wish->user_number) + 1;
}

static struct tracker_grant *grant_of(struct tracker *t, u64 key)
{
    size_t at = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (t->grants_size - 1);
    while (t->grants[at].key && t->grants[at].key != key)
        at = (at + 1) & (t->grants_size - 1);
    return &t->grants[at];
}

static void note_grant(struct tracker *t, u64 key, u64 now_ns)
{
    if (4 * (t->n_grants + 1) > 3 * t->grants_size) {
        struct tracker_grant *old = t->grants;
        size_t n = t->grants_size;
        t->grants_size = n ? 2 * n : 1024;
        t->grants = mem_new(t->grants_size, sizeof(*t->grants));
        for (size_t i = 0; i < n; i++)
            if (old[i].key)
                *grant_of(t, old[i].key) = old[i];
        free(old);
    }
    struct tracker_grant *g = grant_of(t, key);
    t->n_grants += g->key == 0;
    *g = (struct tracker_grant){key, now_ns};
}

/* True: it answered. Transport errors and 5xx, nothing else, mean that it is away. */
static bool ask_registry(struct world *w, struct tracker *t, struct registry_answer *a)
{
    registry_ask(&w->registry, a);
    if (a->status == 200)
        registry_done(&w->registry, 0);
    t->away = a->status == 0 || a->status >= 500;
    t->asked_ns = world_now(w);
    return a->status == 200;
}

/* While it is away it is asked each second whether it is back. */
static bool is_away(struct world *w, struct tracker *t)
{
    struct registry_answer a;
    if (t->away && world_now(w) - t->asked_ns >= SIM_S)
        (void)ask_registry(w, t, &a);
    return t->away;
}

/* May this user have this image? TRACKER_SENDS: yes. */
static enum tracker_word permit(struct world *w, struct tracker *t, const struct tracker_wish *wish,
                                u64 *wait_ns)
{
    u64 key = key_of_grant(wish);
    const struct tracker_grant *g = t->grants_size ? grant_of(t, key) : NULL;
    u64 age = g && g->key && g->at_ns <= world_now(w) ? world_now(w) - g->at_ns : UINT64_MAX;
    struct registry_answer a;
    if (g && g->key && g->at_ns > world_now(w)) { /* it was asked for another layer */
        *wait_ns = g->at_ns - world_now(w);
        return TRACKER_ASKS;
    }
    if (age < TTL_NS)
        return TRACKER_SENDS;
    if (ask_registry(w, t, &a)) {
        note_grant(t, key, world_now(w) + a.think_ns);
        *wait_ns = a.think_ns;
        return TRACKER_ASKS;
    }
    return t->away && age < TTL_NS + w->k.grace ? TRACKER_SENDS : TRACKER_AWAY;
}

/* --- does it answer? ------------------------------------------------------------------------- */

/* What has become known by now. */
static void take_probes(struct world *w, struct tracker *t)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n_probes; i++) {
        struct tracker_probe p = t->probes[i];
        if (p.at_ns > world_now(w))
            t->probes[kept++] = p;
        else if (p.up)
            pulse_answered(t->pulse, &w->hosts[p.node].key, p.off_ms, now_ms(w, t->index));
        else
            pulse_silent(t->pulse, &w->hosts[p.node].key, now_ms(w, t->index));
    }
    t->n_probes = kept;
}

/* How long until it is known; 0: it answered a moment ago. */
static u64 probe(struct world *w, struct tracker *t, u32 node, u32 member)
{
    const struct host *h = &w->hosts[node];
    u64 now = world_now(w);
    if (pulse_is_fresh(t->pulse, &h->key, 0, now_ms(w, t->index)))
        return 0;
    for (size_t i = 0; i < t->n_probes; i++)
        if (t->probes[i].node == node) /* it was asked for somebody else */
            return t->probes[i].at_ns - now;
    bool passes = net_passes(&w->net, member, node) && net_passes(&w->net, node, member);
    u64 rtt =
        net_stream_delay(&w->net, member, node, now) + net_stream_delay(&w->net, node, member, now);
    w->trackers->probes++;
    pulse_asks(t->pulse, &h->key, false, now_ms(w, t->index));
    t->probes = mem_grow(t->probes, &t->probes_cap, t->n_probes + 1, sizeof(*t->probes));
    struct tracker_probe *p = &t->probes[t->n_probes++];
    *p = (struct tracker_probe){
        .node = node,
        .up = passes && h->state == HOST_UP,
        .at_ns = now + (!passes || (h->state == HOST_OFF && h->dark) ? PROBE_LATE_NS
                        : h->state == HOST_PAUSED                    ? PROBE_SILENT_NS
                                                                     : rtt),
        .off_ms = (i64)(host_unix_ms(w, h) - host_unix_ms(w, &w->hosts[member]))};
    return p->at_ns - now;
}

/* --- the choice ------------------------------------------------------------------------------ */

static void look_around(struct world *w, struct tracker *t)
{
    struct roster_region regions[TOPOLOGY_OFFICES_MAX];
    for (u32 r = 0; r < w->topology.n_regions; r++) {
        const struct host *h = &w->hosts[tracker_member(w, t->index, r)];
        regions[r] = (struct roster_region){h->mesh, h->member_events};
    }
    roster_refresh(t->roster, regions, now_ms(w, t->index));
    for (u16 n; (n = roster_unjudged(t->roster)) != ROSTER_NONE;)
        roster_judge(t->roster, n, roster_at(t->roster, n)->url[0] == 0);
}

static void issue(struct world *w, u32 tracker, const struct tracker_wish *wish,
                  const struct pick_candidate *c, struct tracker_answer *out)
{
    u32 member = tracker_member(w, tracker, (u32)c->region_index);
    struct ticket *t = &out->ticket;
    memset(t, 0, sizeof(*t));
    t->tracker = w->hosts[member].key;
    memcpy(t->user, wish->user, sizeof(t->user));
    snprintf(t->upstream, sizeof(t->upstream), UPSTREAM);
    snprintf(t->repository, sizeof(t->repository), "image-%u", wish->image);
    catalog_digest(&w->catalog, wish->layer, &t->digest);
    t->size = wish->bytes;
    t->node = c->key;
    t->iat_s = host_unix_ms(w, &w->hosts[member]) / 1000;
    t->exp_s = t->iat_s + TICKET_LIFE_S;
    out->len = ticket_issue(t, &w->trackers->signer, out->text);
}

/* The user may have it. */
static void choose(struct world *w, struct tracker *t, const struct tracker_wish *wish,
                   struct tracker_answer *out)
{
    char repository[OCI_NAME_MAX + 1];
    struct digest d;
    struct chooser_choice choice;
    u64 ms = now_ms(w, t->index);
    catalog_digest(&w->catalog, wish->layer, &d);
    snprintf(repository, sizeof(repository), "image-%u", wish->image);
    struct chooser_wish c = {.user = wish->user,
                             .from = wish->from,
                             .profile = wish->profile,
                             .repository = repository,
                             .digest = &d,
                             .size = wish->bytes,
                             .holders_only = is_away(w, t), /* nobody could fetch it */
                             .now_ms = ms};
    take_probes(w, t);
    look_around(w, t);
    unsigned strikes = strikes_asked(t->strikes, wish->user, &d, &wish->from, ms);
    if ((strikes >= STRIKES_MAX && t->streams < TRACKER_STREAMS_MAX) ||
        !chooser_choose(t->chooser, &c, &choice)) {
        out->word = TRACKER_STREAMS;
        out->by = strikes >= STRIKES_MAX ? "struck" : "no node";
        w->trackers->streamed++;
        return;
    }
    const struct pick_candidate *found = &roster_at(t->roster, choice.number)->of;
    out->node = world_by_key(w, &found->key);
    out->by = choice.by;
    out->wait_ns = probe(w, t, out->node, tracker_member(w, t->index, (u32)found->region_index));
    if (out->wait_ns) {
        out->word = TRACKER_ASKS;
        return;
    }
    issue(w, t->index, wish, found, out);
    strikes_offered(t->strikes, wish->user, &d, &wish->from, &found->key, ms);
    chooser_sent(t->chooser, &c, choice.number);
    w->trackers->sent++;
}

void tracker_decide(struct world *w, u32 tracker, const struct tracker_wish *wish,
                    struct tracker_answer *out)
{
    struct tracker *t = &w->trackers->v[tracker];
    out->wait_ns = 0;
    out->by = "";
    out->word = permit(w, t, wish, &out->wait_ns);
    w->trackers->refused += out->word == TRACKER_AWAY;
    if (out->word == TRACKER_SENDS)
        choose(w, t, wish, out);
}

/* --- what nodes tell ------------------------------------------------------------------------- */

/* A report from a node to a tracker, sent after a while. */
static void send_report(struct world *w, u32 node, u32 member, const struct outcome_report *report,
                        u64 after_ns)
{
    u8 bytes[OUTCOME_BYTES_MAX];
    struct trackers *s = w->trackers;
    u32 id;
    size_t len = outcome_pack(report, bytes);
    if (!net_passes(&w->net, node, member) || !net_passes(&w->net, member, node))
        return; /* it is lost, and nothing waits for it */
    if (s->n_told_free > 0) {
        id = s->told_free[--s->n_told_free];
    } else {
        s->told = mem_grow(s->told, &s->told_cap, s->n_told + 1, sizeof(*s->told));
        id = (u32)s->n_told++;
    }
    s->told[id] = (struct tracker_told){true, member, node, len, mem_new(len, 1)};
    memcpy(s->told[id].bytes, bytes, len);
    world_at(w, world_now(w) + after_ns + 3 * net_stream_delay(&w->net, node, member, world_now(w)),
             EV_TOLD, member, id);
}

static void note_distance(struct host *h, const struct outcome_rtt *is)
{
    if (!h->known)
        h->known = mem_new(1, sizeof(*h->known));
    u32 at = 0;
    while (at < h->known->n && !addr_same_ip(&h->known->v[at].prefix, &is->prefix))
        at++;
    if (at == OUTCOME_RTTS_MAX)
        return;
    h->known->n += at == h->known->n;
    h->known->v[at] = *is;
}

/* Everything, to a tracker that has started since; false: it knows. */
static bool take_all(struct world *w, u32 node, u32 member, struct outcome_report *report)
{
    struct tracker_known *k = w->hosts[node].known;
    const struct host *t = &w->hosts[member];
    if (!k || k->told[t->place.rack] == t->life)
        return false;
    k->told[t->place.rack] = t->life;
    report->n_rtts = k->n;
    memcpy(report->rtts, k->v, k->n * sizeof(*k->v));
    return true;
}

void tracker_seen(struct world *w, u32 node, u32 member)
{
    static struct outcome_report report; /* one thread: too large for a stack */
    if (node >= w->n || w->hosts[member].state != HOST_UP || !take_all(w, node, member, &report))
        return;
    report.n = 0;
    send_report(w, node, member, &report, NEWS_NS);
}

void tracker_tell(struct world *w, u32 node, const struct ticket *t, enum outcome_event event,
                  const struct addr *user, u64 rtt_ns)
{
    static struct outcome_report report; /* likewise */
    u32 issuer = world_by_key(w, &t->tracker);
    assert(issuer >= w->n && issuer < w->members);
    struct outcome_rtt is = {outcome_prefix(user), (u32)(rtt_ns / 1000), 1};
    report.outcomes[0] = (struct outcome){.event = event, .digest = t->digest, .iat_s = t->iat_s};
    memcpy(report.outcomes[0].user, t->user, sizeof(t->user));
    if (is.rtt_us)
        note_distance(&w->hosts[node], &is);
    for (u32 i = 0; i < w->k.trackers; i++) { /* distances go to all of them */
        u32 member = tracker_member(w, i, w->hosts[node].place.region);
        report.n = member == issuer;
        if (!take_all(w, node, member, &report)) {
            report.n_rtts = is.rtt_us > 0;
            report.rtts[0] = is;
        }
        if (report.n || (report.n_rtts && event == OUTCOME_BEGAN))
            send_report(w, node, member, &report, FLUSH_NS);
    }
}

void tracker_told(struct world *w, const struct event *ev)
{
    static struct outcome_report report; /* likewise */
    struct trackers *s = w->trackers;
    struct tracker_told *told = &s->told[ev->arg];
    struct tracker *t = &s->v[w->hosts[ev->node].place.rack];
    const struct node_key *from = &w->hosts[told->node].key;
    u64 ms = now_ms(w, t->index);
    assert(told->used);
    if (w->hosts[ev->node].state == HOST_UP) {
        if (outcome_unpack(&report, told->bytes, told->len))
            measure_break(w, "bytes", "a report of outcomes is not understood");
        pulse_heard(t->pulse, from, ms);
        for (size_t i = 0; i < report.n; i++)
            strikes_told(t->strikes, from, &report.outcomes[i], ms);
        for (size_t i = 0; i < report.n_rtts; i++)
            rtts_told(t->rtts, &report.rtts[i].prefix, from, report.rtts[i].rtt_us, ms);
    }
    free(told->bytes);
    *told = (struct tracker_told){0};
    s->told_free = mem_grow(s->told_free, &s->told_free_cap, s->n_told_free + 1, sizeof(u32));
    s->told_free[s->n_told_free++] = (u32)ev->arg;
}

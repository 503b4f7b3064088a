/* summary.c - see summary.h. */
#include "sim/summary.h"

#include <inttypes.h>
#include <string.h>

#include "sim/copies.h"
#include "sim/fetch.h"
#include "sim/host.h"
#include "sim/memo.h"
#include "sim/pull.h"
#include "sim/user.h"

/* Every node wants the same image: what the lines permit at best (Kumar and Ross, HotWeb 2006). The
 * source is the registry's line or the WAN's; then no node is faster than its own line, nor all of
 * them faster than everybody's lines together. 0: the run is not of that kind. */
static double bound_s(const struct world *w)
{
    if (w->catalog.n_images != 1 || w->pulls->pulled == 0)
        return 0;
    double bytes = 0, up = 0, down = (double)w->flows.lines[w->hosts[0].down].rate_bps;
    for (u32 i = 0; i < w->catalog.images[0].n; i++)
        bytes +=
            (double)catalog_bytes(&w->catalog, w->catalog.layers[w->catalog.images[0].first + i]);
    for (u32 i = 0; i < w->n; i++) {
        double d = (double)w->flows.lines[w->hosts[i].down].rate_bps;
        up += (double)w->flows.lines[w->hosts[i].up].rate_bps;
        down = d < down ? d : down;
    }
    double source = (double)w->flows.lines[w->wan_down[0]].rate_bps;
    if ((double)w->k.registry_rate < source)
        source = (double)w->k.registry_rate;
    double all = w->n * bytes / (source + up), bound = bytes / source;
    bound = bytes / down > bound ? bytes / down : bound;
    return all > bound ? all : bound;
}

void summary_take(struct summary *s, struct world *w, double wall_s)
{
    struct measure *m = &w->measure;
    memset(s, 0, sizeof(*s));
    measure_finish(w);
    s->scenario = w->scenario->name;
    s->seed = w->engine.seed;
    s->nodes = w->n;
    s->events = w->engine.events;
    s->state_hash = w->engine.hash;
    s->virtual_s = (double)world_now(w) / 1e9;
    s->wall_s = wall_s;
    s->broken = m->broken;
    s->broken_ns = m->broken_ns;
    snprintf(s->invariant, sizeof(s->invariant), "%s", m->broken ? m->invariant : "");
    snprintf(s->why, sizeof(s->why), "%s", m->why);
    if (w->pulls->pulled > 0) {
        s->makespan_bound_s = bound_s(w);
        s->makespan_s = (double)(w->pulls->last_ns - w->pulls->first_ns) / 1e9;
    }
    u64 distinct = w->fetches->distinct.used, peer = w->fetches->peer_bytes,
        registry = w->fetches->registry_bytes;
    s->origin_copies = distinct ? (double)registry / (double)distinct : -1;
    bool crowd = distinct && w->catalog.n_images == 1 && w->pulls->pulled > 0;
    double each = (double)distinct * (double)w->topology.n_offices;
    s->office_copies = crowd ? (double)(registry + w->fetches->crossed_bytes) / each : -1;
    s->hit_ratio = w->pulls->requests ? (double)w->pulls->hits / (double)w->pulls->requests : -1;
    s->peer_hit_ratio = peer + registry ? (double)peer / (double)(peer + registry) : -1;
    u64 warm = 0;
    for (int i = 0; i < USER_SOURCES; i++)
        warm += w->users->warm_by[i];
    s->own_office_ratio = warm ? (double)w->users->warm_by[USER_OWN_OFFICE] / (double)warm : -1;
    s->rtt_error_p50 = m->rtt_error.n ? (double)samples_at(&m->rtt_error, .5) / 1e6 : -1;
    s->rtt_error_p90 = m->rtt_error.n ? (double)samples_at(&m->rtt_error, .9) / 1e6 : -1;
    s->converge_n = m->know_most.n;
    s->converge_p50_ns = samples_at(&m->know_most, .5);
    s->converge_p99_ns = samples_at(&m->know_most, .99);
    s->detect_n = m->detect_all.n;
    s->detect_p50_ns = samples_at(&m->detect_all, .5);
    s->detect_p99_ns = samples_at(&m->detect_all, .99);
    s->false_dead = m->false_dead;
    double span = (double)(m->bytes_to_ns - m->bytes_from_ns) / 1e9;
    s->mesh_bytes_per_node_s = m->bytes_to_ns > m->bytes_from_ns
                                   ? (double)(m->bytes_to - m->bytes_from) / span / w->members
                                   : -1;
}

static void put_real(FILE *out, const char *key, double v, bool applies, int digits)
{
    if (applies)
        fprintf(out, ", \"%s\": %.*f", key, digits, v);
    else
        fprintf(out, ", \"%s\": null", key);
}

void summary_print(const struct summary *s, FILE *out)
{
    bool bounded = s->makespan_bound_s > 0;
    fprintf(out,
            "{\"scenario\": \"%s\", \"seed\": %" PRIu64 ", \"nodes\": %" PRIu64
            ", \"virtual_s\": %.3f, \"wall_s\": %.3f, \"events\": %" PRIu64
            ", \"events_per_s\": %.0f, \"state_hash\": \"%016" PRIx64 "\", \"invariants_broken\": ",
            s->scenario, s->seed, s->nodes, s->virtual_s, s->wall_s, s->events,
            s->wall_s > 0 ? (double)s->events / s->wall_s : 0, s->state_hash);
    if (s->broken)
        fprintf(out, "[\"%s\"]", s->invariant);
    else
        fputs("[]", out);
    put_real(out, "makespan_s", s->makespan_s, s->makespan_s > 0, 3);
    put_real(out, "makespan_bound_s", s->makespan_bound_s, bounded, 3);
    put_real(out, "makespan_ratio", bounded ? s->makespan_s / s->makespan_bound_s : 0, bounded, 3);
    put_real(out, "origin_copies", s->origin_copies, s->origin_copies >= 0, 4);
    put_real(out, "office_copies", s->office_copies, s->office_copies >= 0, 4);
    put_real(out, "converge_p50_ms", (double)s->converge_p50_ns / 1e6, s->converge_n > 0, 1);
    put_real(out, "converge_p99_ms", (double)s->converge_p99_ns / 1e6, s->converge_n > 0, 1);
    put_real(out, "detect_p50_ms", (double)s->detect_p50_ns / 1e6, s->detect_n > 0, 1);
    put_real(out, "detect_p99_ms", (double)s->detect_p99_ns / 1e6, s->detect_n > 0, 1);
    fprintf(out, ", \"false_dead\": %" PRIu64, s->false_dead);
    put_real(out, "mesh_bytes_per_node_s", s->mesh_bytes_per_node_s, s->mesh_bytes_per_node_s >= 0,
             1);
    put_real(out, "hit_ratio", s->hit_ratio, s->hit_ratio >= 0, 4);
    put_real(out, "peer_hit_ratio", s->peer_hit_ratio, s->peer_hit_ratio >= 0, 4);
    put_real(out, "own_office_ratio", s->own_office_ratio, s->own_office_ratio >= 0, 4);
    put_real(out, "rtt_error_p50", s->rtt_error_p50, s->rtt_error_p50 >= 0, 4);
    put_real(out, "rtt_error_p90", s->rtt_error_p90, s->rtt_error_p90 >= 0, 4);
    fputs("}\n", out);
}

static void put_samples(FILE *out, const char *name, struct samples *v)
{
    fprintf(out,
            "  \"%s\": {\"n\": %zu, \"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f, "
            "\"p999_ms\": %.3f, \"max_ms\": %.3f},\n",
            name, v->n, (double)samples_at(v, .5) / 1e6, (double)samples_at(v, .9) / 1e6,
            (double)samples_at(v, .99) / 1e6, (double)samples_at(v, .999) / 1e6,
            (double)samples_at(v, 1) / 1e6);
}

/* Samples are parts per million. */
static void put_errors(FILE *out, const char *name, struct samples *v)
{
    fprintf(out, "  \"%s\": {\"n\": %zu, \"p50\": %.4f, \"p90\": %.4f, \"p99\": %.4f},\n", name,
            v->n, (double)samples_at(v, .5) / 1e6, (double)samples_at(v, .9) / 1e6,
            (double)samples_at(v, .99) / 1e6);
}

static void put_seal(FILE *out, const struct world *w)
{
    struct mesh_stats sum = {0};
    for (u32 i = 0; i < w->n; i++) {
        struct mesh_stats s;
        host_stats(&w->hosts[i], &s);
        for (int k = 0; k < SEAL_DROP_COUNT; k++)
            sum.dropped[k] += s.dropped[k];
        sum.malformed += s.malformed;
        sum.unknown += s.unknown;
    }
    for (int k = 0; k < SEAL_DROP_COUNT; k++)
        fprintf(out, "  \"datagrams_%s\": %" PRIu64 ",\n",
                k == SEAL_OK ? "taken" : seal_drop_name((enum seal_drop)k), sum.dropped[k]);
    fprintf(out, "  \"messages_malformed\": %" PRIu64 ", \"messages_unknown\": %" PRIu64 ",\n",
            sum.malformed, sum.unknown);
}

static void put_swarms(FILE *out, const struct world *w)
{
    struct swarm_stats s;
    fetch_stats(w, &s);
    const struct {
        const char *name;
        u64 n;
    } all[] = {{"fetchers_appointed", s.appointed},
               {"fetchers_of_their_own", s.alone},
               {"fetchers_replaced", s.takeovers},
               {"fetchers_overlapped", s.overlaps},
               {"pieces_there", w->fetches->pieces_there},
               {"pieces_asked", s.asked},
               {"pieces_came", s.came},
               {"pieces_wrong", s.wrong},
               {"pieces_missing", s.missing},
               {"pieces_busy", s.busy},
               {"pieces_failed", s.failed},
               {"pieces_cancelled", s.cancelled},
               {"pieces_late", s.late},
               {"pieces_twice", s.duplicate},
               {"pieces_offered", s.offered},
               {"pieces_offered_again", s.offered_again},
               {"serves", s.served},
               {"serves_held", s.held},
               {"serves_refused", s.refused},
               {"swarm_malformed", s.malformed}};
    for (size_t i = 0; i < countof(all); i++)
        fprintf(out, "  \"%s\": %" PRIu64 ",\n", all[i].name, all[i].n);
    fprintf(out, "  \"fetchers_at_once_most\": %u, \"wrong_bytes\": %" PRIu64 ",\n",
            w->fetches->most_fetchers, w->fetches->wrong_bytes);
}

static void put_users(FILE *out, struct world *w)
{
    const struct users *u = w->users;
    fprintf(out,
            "  \"served_own_office\": %" PRIu64 ", \"served_own_region\": %" PRIu64
            ", \"served_elsewhere\": %" PRIu64 ", \"streamed_by_trackers\": %" PRIu64 ",\n",
            u->by[USER_OWN_OFFICE], u->by[USER_OWN_REGION], u->by[USER_ELSEWHERE],
            u->by[USER_CENTRE]);
    fprintf(out,
            "  \"served_warm_own_office\": %" PRIu64 ", \"served_warm_own_region\": %" PRIu64
            ", \"served_warm_elsewhere\": %" PRIu64 ", \"streamed_warm\": %" PRIu64 ",\n",
            u->warm_by[USER_OWN_OFFICE], u->warm_by[USER_OWN_REGION], u->warm_by[USER_ELSEWHERE],
            u->warm_by[USER_CENTRE]);
    fprintf(out,
            "  \"redirects\": %" PRIu64 ", \"tries_again\": %" PRIu64
            ", \"layers_failed\": %" PRIu64 ", \"tickets_refused\": %" PRIu64
            ", \"other_tracker_asked\": %" PRIu64 ",\n",
            w->trackers->sent, u->retries, u->failed, u->refused_tickets, u->others_trackers);
    put_errors(out, "rtt_error", &w->measure.rtt_error);
    put_errors(out, "rtt_error_between_offices", &w->measure.rtt_error_offices);
}

void summary_figures(struct world *w, FILE *out)
{
    struct measure *m = &w->measure;
    struct samples took = {w->pulls->took_ns, w->pulls->n_took, w->pulls->took_cap, false};
    fputs("{\n", out);
    put_samples(out, "crash_known_to_one", &m->detect);
    put_samples(out, "crash_known_to_all", &m->detect_all);
    put_samples(out, "layer_known_to_99_percent", &m->know_most);
    put_samples(out, "layer_known_to_all", &m->know_all);
    put_samples(out, "dead_peer_still_asked", &m->dead_use);
    put_samples(out, "agree_after_healing", &m->agree);
    put_samples(out, "pull", &took);
    put_samples(out, "first_byte", &w->fetches->first_byte);
    put_seal(out, w);
    double span = (double)(m->bytes_to_ns - m->bytes_from_ns) / 1e9 * w->members;
    fprintf(out,
            "  \"crashes_not_followed_to_the_end\": %" PRIu64 ", \"deaths_across_cuts\": %" PRIu64
            ", \"suspicions\": %" PRIu64 ", \"refutations\": %" PRIu64 ",\n",
            m->censored, m->cut_dead, m->suspicions, m->refutations);
    fprintf(out,
            "  \"lookups\": %" PRIu64 ", \"wrong_holders\": %" PRIu64
            ", \"wrong_holders_per_lookup\": %.6f,\n",
            m->lookups, m->wrong_holders,
            m->lookups ? (double)m->wrong_holders / (double)m->lookups : 0);
    fprintf(
        out,
        "  \"datagrams_per_node_s\": %.3f, \"talk_bytes_per_node_s\": %.3f, \"strays\": %" PRIu64
        ",\n",
        span > 0 ? (double)m->datagrams / span : 0, span > 0 ? (double)m->talk_bytes / span : 0,
        m->strays);
    fprintf(out,
            "  \"net_sent\": %" PRIu64 ", \"net_lost\": %" PRIu64 ", \"net_cut\": %" PRIu64
            ", \"net_duplicated\": %" PRIu64 ", \"net_corrupted\": %" PRIu64 ",\n",
            w->net.sent, w->net.lost, w->net.cut, w->net.duplicated, w->net.corrupted);
    fprintf(out,
            "  \"requests\": %" PRIu64 ", \"pulls\": %" PRIu64 ", \"pulls_failed\": %" PRIu64
            ", \"fetches\": %" PRIu64 ", \"fetches_failed\": %" PRIu64
            ", \"wrong_bytes_thrown_away\": %" PRIu64 ",\n",
            w->pulls->requests, w->pulls->pulled, w->pulls->pulls_failed, w->fetches->begun,
            w->fetches->failed, w->fetches->wrong);
    fprintf(out,
            "  \"registry_requests\": %" PRIu64 ", \"registry_429\": %" PRIu64
            ", \"registry_bytes\": %" PRIu64 ", \"registry_bytes_again\": %" PRIu64
            ", \"peer_bytes\": %" PRIu64 ",\n",
            w->registry.asked, w->registry.limited, w->fetches->registry_bytes, w->copies->again,
            w->fetches->peer_bytes);
    put_users(out, w);
    put_swarms(out, w);
    struct memo_stats memo; /* of the process, not of this run alone */
    memo_stats(&memo);
    fprintf(out, "  \"signatures\": %" PRIu64 ", \"signatures_computed\": %" PRIu64 ",\n",
            memo.asked, memo.computed);
    fprintf(out, "  \"pending_events_most\": %zu, \"flow_fillings\": %" PRIu64 "\n}\n",
            w->engine.peak, w->flows.fillings);
}

static void tell(FILE *out, const char *what, struct samples *v)
{
    if (v->n > 0)
        fprintf(out, "  %-30s p50 %9.1f ms   p99 %9.1f ms   most %9.1f ms   (%zu)\n", what,
                (double)samples_at(v, .5) / 1e6, (double)samples_at(v, .99) / 1e6,
                (double)samples_at(v, 1) / 1e6, v->n);
}

void summary_tell(struct world *w, const struct summary *s, FILE *out)
{
    struct measure *m = &w->measure;
    struct samples took = {w->pulls->took_ns, w->pulls->n_took, w->pulls->took_cap, false};
    tell(out, "a crash is known to all", &m->detect_all);
    tell(out, "a new layer is known to 99 %", &m->know_most);
    tell(out, "a new layer is known to all", &m->know_all);
    tell(out, "a dead peer is still asked", &m->dead_use);
    tell(out, "an image is pulled", &took);
    tell(out, "its first byte is here", &w->fetches->first_byte);
    tell(out, "all agree after healing", &m->agree);
    if (m->lookups > 0)
        fprintf(out, "  %-30s %.5f  (%" PRIu64 " look-ups)\n", "wrong holders per look-up",
                (double)m->wrong_holders / (double)m->lookups, m->lookups);
    fprintf(out, "  %-30s %" PRIu64 "\n", "declared dead, but alive", s->false_dead);
    if (s->mesh_bytes_per_node_s >= 0)
        fprintf(out, "  %-30s %.0f bytes per node and second\n", "the mesh sends",
                s->mesh_bytes_per_node_s);
    if (s->peer_hit_ratio >= 0)
        fprintf(out, "  %-30s %.1f %% of what was fetched; the registry sent %.2f copies\n",
                "peers sent", 100 * s->peer_hit_ratio, s->origin_copies);
    if (s->office_copies >= 0)
        fprintf(out, "  %-30s %.2f copies of the image, from the registry or another office\n",
                "over each office's line came", s->office_copies);
    if (s->own_office_ratio >= 0)
        fprintf(out, "  %-30s %.2f %% of the layers, once warm\n", "a user's own office served",
                100 * s->own_office_ratio);
    if (s->rtt_error_p50 >= 0)
        fprintf(out, "  %-30s p50 %9.1f %%    p90 %9.1f %%\n", "round trips are estimated within",
                100 * s->rtt_error_p50, 100 * s->rtt_error_p90);
    fprintf(out, "  %.1f s of virtual time in %.1f s: %" PRIu64 " events, %.0f a second\n",
            s->virtual_s, s->wall_s, s->events, s->wall_s > 0 ? (double)s->events / s->wall_s : 0);
}

/* holdings.c - see holdings.h. */
#include "node/holdings.h"

struct region_config holdings_config(const struct node_config *c)
{
    return (struct region_config){
        .role = MEMBER_NODE,
        .name = c->name,
        .region = c->region,
        .rack = c->rack,
        .listen = c->listen,
        .advertise = c->advertise,
        .public_url = c->public_url,
        .mesh_key = c->mesh_key,
        .dir = c->store.path,
        .seeds = c->seeds,
        .n_seeds = c->n_seeds,
        .ca = c->tls.ca,
        .tls = c->tls.cert != NULL,
        .peer_plain = c->peer_plain,
        .can_fetch = c->n_upstreams > 0,
        .serves = c->serves,
        .n_serves = c->n_serves,
    };
}

static bool is_layer(const struct blob_info *b)
{
    return !b->media_type[0];
}

static bool feed_one(void *arg, const struct blob_info *b)
{
    if (is_layer(b))
        region_hold(arg, &b->digest);
    return true;
}

static void on_changed(void *arg, const struct blob_info *b, bool held)
{
    if (!is_layer(b))
        return;
    if (held)
        region_hold(arg, &b->digest);
    else
        region_drop(arg, &b->digest);
}

void holdings_feed(struct region *r, struct store *s)
{
    store_each(s, feed_one, r);
    store_observe(s, on_changed, r);
}

void holdings_stop(struct store *s)
{
    store_observe(s, NULL, NULL);
}

/* node_region_drip.c - tests of runtime/region.h: who answers a talk byte by byte, for ever, keeps
 * no place for long. The real patience is half a minute; here it is two seconds, if there is any.
 */
#include "tests/unit/raw_server.h"
#include "tests/unit/region_rig.h"

int __real_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out);
int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out);

int __wrap_http_transfer_start(struct http_client *c, const struct http_transfer_options *opt,
                               struct http_transfer **out)
{
    struct http_transfer_options hasty = *opt;
    hasty.whole_timeout_ms = opt->whole_timeout_ms / 15;
    return __real_http_transfer_start(c, &hasty, out);
}

static void drip(struct raw_peer *p)
{
    if (!raw_request(p) || !raw_say(p, "HTTP/1.1 200 OK\r\n\r\n"))
        return;
    while (raw_say(p, "x"))
        usleep(50000);
}

static void who_drips_is_left(void **state)
{
    char seed[32];
    (void)state;
    struct raw_server *server = raw_server_start(drip, AF_INET, NULL);
    snprintf(seed, sizeof(seed), "127.0.0.1:%u", server->port);
    const char *seeds[] = {seed, NULL};
    start(&ones[0], "127.0.0.1", seeds);
    until(ones[0].region->talks_failed > 0);
    stop(&ones[0]);
    raw_server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(who_drips_is_left)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

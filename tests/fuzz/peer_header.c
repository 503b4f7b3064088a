/* Any text as Dray-Peer, and any bytes rightly sealed in one: whoever holds the mesh key, but not
 * the member's secret, is refused, and nobody is named. The first byte chooses. */
#include "tests/fuzz/mesh_met.h"

static struct met met;
static struct seal *as_member, *as_stranger;

static void sealed(struct seal *s, const u8 *text, size_t len, char out[MESH_PEER_HEADER_MAX])
{
    const size_t most = (MESH_PEER_HEADER_MAX - 1) / 4 * 3 - SEAL_OVERHEAD;
    u8 bytes[MESH_PEER_HEADER_MAX];
    if (len > most)
        len = most;
    size_t n = seal_close(s, SEAL_PEER, WIRE_VERSION, text, len, bytes);
    sodium_bin2base64(out, MESH_PEER_HEADER_MAX, bytes, n,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static void begin(void)
{
    must(sodium_init() >= 0);
    buf = malloc(LIMIT_TALK_BYTES);
    answer = malloc(LIMIT_TALK_BYTES);
    must(buf && answer);
    met = meet();
    as_member = voice(&met.member);
    as_stranger = voice(&(struct node_key){{0x77}});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct node_key nobody;
    struct node_key from = {{1}};
    if (!buf)
        begin();
    if (size == 0 || size > 4 * MESH_PEER_HEADER_MAX)
        return 0;
    char *header = calloc(1, size > MESH_PEER_HEADER_MAX ? size : MESH_PEER_HEADER_MAX);
    must(header);
    if (data[0] % 3 == 0)
        memcpy(header, data + 1, size - 1);
    else
        sealed(data[0] % 3 == 1 ? as_member : as_stranger, data + 1, size - 1, header);
    must(mesh_peer_check(met.m, header, "GET", "/mesh/v1/blobs/x", &from) == ERR_DENIED);
    must(node_key_equal(&from, &nobody));
    free(header);
    return 0;
}

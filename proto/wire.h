/* wire.h - msgpack on the wire: packing into a fixed buffer, reading with a bounded cursor.
 *
 * Why our own reader: a six-byte array header makes msgpack-c's unpacker reserve gigabytes; the
 * cursor allocates nothing and never looks beyond its end. Errors are *sticky*: after one, every
 * further read answers zeros, and the caller asks once, at the end, wire_ok(). A writer that is
 * full writes nothing more and says so by wire_full(); wire_mark/wire_rewind take back a
 * half-written message. Both sides of each message stand in one file, next to its meaning
 * (member_wire.c, ...). Format: the msgpack specification; integers in any width are accepted, in
 * the shortest written. */
#pragma once

#include "proto/addr.h"
#include "proto/identity.h"

struct wire_out {
    u8 *buf; /* borrowed */
    size_t cap, len;
    bool full;
};
struct wire_in {
    const u8 *p, *end; /* borrowed */
    bool bad;
};

void wire_out_init(struct wire_out *w, void *buf, size_t cap);
void wire_put_u64(struct wire_out *w, u64 v);
void wire_put_i64(struct wire_out *w, i64 v);
void wire_put_bool(struct wire_out *w, bool v);
void wire_put_f32(struct wire_out *w, float v);
void wire_put_nil(struct wire_out *w);
void wire_put_bin(struct wire_out *w, const void *data, size_t len);
void wire_put_text(struct wire_out *w, const char *text);
void wire_put_array(struct wire_out *w, u32 n);
void wire_put_key(struct wire_out *w, const struct node_key *k);
void wire_put_addr(struct wire_out *w,
                   const struct addr *a); /* bin: 6 bytes for IPv4, 18 for IPv6 */
/* Where a message began, to take it back whole when it did not fit. */
size_t wire_mark(const struct wire_out *w);
void wire_rewind(struct wire_out *w, size_t mark);
bool wire_full(const struct wire_out *w);
size_t wire_room(const struct wire_out *w);

void wire_in_init(struct wire_in *r, const void *buf, size_t len);
u64 wire_get_u64(struct wire_in *r);          /* also refuses negative numbers */
u64 wire_get_max(struct wire_in *r, u64 max); /* beyond `max`: bad */
i64 wire_get_i64(struct wire_in *r);
bool wire_get_bool(struct wire_in *r);
float wire_get_f32(struct wire_in *r); /* not finite: bad */
/* bin, at most `max` bytes; borrowed from the buffer. NULL when bad. */
const u8 *wire_get_bin(struct wire_in *r, size_t max, size_t *len);
/* bin of exactly `len` bytes, copied. */
void wire_get_exact(struct wire_in *r, void *out, size_t len);
/* str of at most `size - 1` bytes, no NUL within; written with its NUL. */
void wire_get_text(struct wire_in *r, char *out, size_t size);
u32 wire_get_array(struct wire_in *r, u32 max); /* entries; more than `max`: bad */
void wire_get_key(struct wire_in *r, struct node_key *k);
void wire_get_addr(struct wire_in *r, struct addr *a);
/* Steps over one value of any kind, nested at most 8 deep. */
void wire_skip(struct wire_in *r);
bool wire_is_nil(struct wire_in *r); /* takes it if so */
size_t wire_left(const struct wire_in *r);
bool wire_ok(const struct wire_in *r);

/* types.h - the few spellings every file shares.
 *
 * Sizes are in bytes unless a name says otherwise; times are u64 with the unit at the end of the
 * name (`_ns`, `_ms`). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

/* The caller must look at the result: 0, or a negative `enum err`. */
#define must_use __attribute__((warn_unused_result))

#define countof(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that embeds `member` at `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

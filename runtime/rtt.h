/* rtt.h - how far the other side of a TCP connection is, as the kernel has measured it.
 *
 * The least of its round trips, not the smoothed one: while an answer fills the queues on the way,
 * the latter tells of them. */
#pragma once

#include "proto/types.h"

/* Microseconds; 0: not known (no TCP socket, or nothing was acknowledged yet). */
u32 rtt_us(int fd);

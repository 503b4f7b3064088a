/* notify.h - tells systemd how the service is (sd_notify protocol, a datagram to $NOTIFY_SOCKET).
 *
 * Without NOTIFY_SOCKET every call is a no-op. */
#pragma once

#include "proto/types.h"

void notify_ready(const char *status); /* READY=1 and STATUS= */
void notify_status(const char *status);
void notify_reloading(void); /* RELOADING=1 with MONOTONIC_USEC */
void notify_stopping(void);
void notify_watchdog(void); /* WATCHDOG=1 */
/* Half the watchdog interval in ms, 0 when systemd wants none. */
u64 notify_watchdog_interval_ms(void);

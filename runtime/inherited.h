/* inherited.h - what whoever started us left open: its standard streams, and listening sockets that
 * it holds for us (systemd's socket activation).
 *
 * Why: a listener that a daemon binds itself is gone with it, and who comes in the second until it
 * runs again is refused; some clients (containerd) try an address once. A listener that the
 * supervisor holds stays: who connects meanwhile waits in its queue. The same makes an upgrade of
 * the program go unnoticed.
 *
 * The convention is sd_listen_fds(3): LISTEN_PID is this process, LISTEN_FDS descriptors stand from
 * 3 on. Only TCP listeners are taken, by the address that they are bound to; what nobody asks for
 * stays as it is. */
#pragma once

#include <sys/socket.h>

/* Whichever of descriptors 0, 1 and 2 is closed leads nowhere from now on. Else the next file that
 * is opened, a database perhaps, would get its number, and the log's lines. Before any other. */
void inherited_streams(void);

/* The descriptor, ready for accept4() and closed on exec, now the caller's; -1: there is none. Each
 * is given once. */
int inherited_listener(const struct sockaddr *address, socklen_t len);

/* inherited.h - listening sockets that whoever started us holds for us: systemd's socket
 * activation.
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

/* The descriptor, ready for accept4() and closed on exec, now the caller's; -1: there is none. Each
 * is given once. */
int inherited_listener(const struct sockaddr *address, socklen_t len);

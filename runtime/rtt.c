/* rtt.c - see rtt.h. Without libuv's header: it brings the C library's struct tcp_info, which lacks
 * what is needed and does not go together with the kernel's. */
#include "runtime/rtt.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

u32 rtt_us(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    const size_t needed = offsetof(struct tcp_info, tcpi_min_rtt) + sizeof(info.tcpi_min_rtt);
    memset(&info, 0, sizeof(info));
    if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 || len < needed)
        return 0;
    return info.tcpi_min_rtt == UINT32_MAX ? 0 : info.tcpi_min_rtt; /* all ones: never measured */
}

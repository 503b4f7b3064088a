/* check.c - see check.h. URLs are read by hygiene.h, which is what will connect. */
#include "runtime/check.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/limits.h"
#include "runtime/hygiene.h"
#include "runtime/keyfile.h"

#define LABEL_MAX    64  /* HOST_NAME_MAX: the default of `name` */
#define HOST_MAX     253 /* a DNS name, RFC 1035 */
#define TOKEN_LENGTH 16  /* characters: what nobody guesses over the network */
#define TOKEN_MAX    256 /* and its NUL, as the daemons keep it */

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"

/* --- words and addresses --------------------------------------------------------------------- */

const char *check_label(const char *text)
{
    size_t n = strlen(text);
    if (n == 0)
        return "is empty; write a name, for example rack-12";
    if (n > LABEL_MAX)
        return "is too long; write at most 64 characters";
    if (strspn(text, LETTERS DIGITS ".-_") != n)
        return "is not a name; write letters, digits, dots, dashes and underscores only";
    return NULL;
}

/* "HOST:PORT", "[v6]:PORT": copies the host, without brackets. */
static bool split_port(const char *text, char host[HOST_MAX + 1], bool *bracketed, u32 *port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || conf_u32(colon + 1, 0, 65535, port) != 0)
        return false;
    const char *start = text;
    size_t n = (size_t)(colon - text);
    *bracketed = n >= 2 && start[0] == '[' && start[n - 1] == ']';
    if (*bracketed) {
        start++;
        n -= 2;
    }
    if (n == 0 || n > HOST_MAX)
        return false;
    memcpy(host, start, n);
    host[n] = 0;
    return *bracketed || !strchr(host, ':');
}

static bool hostname_valid(const char *host)
{
    size_t n = strlen(host);
    return n > 0 && n <= HOST_MAX && strspn(host, LETTERS DIGITS ".-_") == n && host[0] != '.' &&
           host[0] != '-' && !strstr(host, "..");
}

static bool ip_kind(const char *host, bool bracketed, struct listen_kind *kind)
{
    struct in6_addr six;
    struct in_addr four;
    *kind = (struct listen_kind){false, false};
    if (bracketed) {
        if (inet_pton(AF_INET6, host, &six) != 1)
            return false;
        kind->wildcard = IN6_IS_ADDR_UNSPECIFIED(&six);
        kind->loopback =
            IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
        return true;
    }
    if (inet_pton(AF_INET, host, &four) != 1)
        return false;
    kind->wildcard = four.s_addr == htonl(INADDR_ANY);
    kind->loopback = ntohl(four.s_addr) >> 24 == 127;
    return true;
}

const char *check_listen(const char *text, struct listen_kind *kind)
{
    char host[HOST_MAX + 1];
    bool bracketed;
    u32 port;
    *kind = (struct listen_kind){false, false};
    if (!split_port(text, host, &bracketed, &port))
        return "is not ADDRESS:PORT; write for example 0.0.0.0:5000, 127.0.0.1:5000 or [::]:5000";
    if (!ip_kind(host, bracketed, kind))
        return "does not name an address of this machine by its number; write for example "
               "0.0.0.0:5000 (all of them) or 127.0.0.1:5000 (this machine only)";
    return NULL;
}

const char *check_endpoint(const char *text)
{
    char host[HOST_MAX + 1];
    bool bracketed;
    u32 port;
    struct listen_kind kind;
    if (!split_port(text, host, &bracketed, &port) || port == 0)
        return "is not HOST:PORT; write for example 10.20.1.5:5000 or rack-1.example.net:5000";
    if (ip_kind(host, bracketed, &kind))
        return kind.wildcard ? "is no address to connect to; write the machine's own, for example "
                               "10.20.1.5:5000"
                             : NULL;
    if (bracketed || !hostname_valid(host))
        return "is not HOST:PORT; write for example 10.20.1.5:5000 or rack-1.example.net:5000";
    return NULL;
}

const char *check_host(const char *text)
{
    char host[HOST_MAX + 1];
    bool bracketed;
    u32 port;
    struct listen_kind kind;
    const char *bad = "is not a host; write for example cdn.example.net or cdn.example.net:8443";
    if (hostname_valid(text))
        return NULL;
    if (inet_pton(AF_INET6, text, &(struct in6_addr){0}) == 1)
        return NULL;
    if (!split_port(text, host, &bracketed, &port) || port == 0)
        return bad;
    return ip_kind(host, bracketed, &kind) || (!bracketed && hostname_valid(host)) ? NULL : bad;
}

const char *check_ns(const char *text)
{
    if (strlen(text) > OCI_NS_MAX)
        return "is too long; write at most 255 characters";
    return check_host(text) ? "is not a registry's name; write what stands first in an image's "
                              "name, for example registry.example.org or docker.io"
                            : NULL;
}

/* --- URLs ------------------------------------------------------------------------------------ */

static bool url_scheme(const char *text, const char **rest)
{
    for (size_t i = 0; i < 2; i++) {
        const char *scheme = i ? "https://" : "http://";
        if (strncasecmp(text, scheme, strlen(scheme)) == 0) {
            *rest = text + strlen(scheme);
            return true;
        }
    }
    return false;
}

const char *check_url(const char *text, bool path_allowed)
{
    const char *rest;
    struct url_origin origin;
    if (strlen(text) > CHECK_URL_MAX)
        return "is too long; write at most 2048 characters";
    if (!url_scheme(text, &rest))
        return "is not a URL; begin with https:// (or http://)";
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            return "holds a blank or a character that no URL has; write for example "
                   "https://registry.example.org";
    if (memchr(rest, '@', strcspn(rest, "/")))
        return "holds a user or password; leave it out (a registry's go to a file: "
               "upstreams[].credentials)";
    if (strpbrk(text, "?#"))
        return "has a query or fragment; write scheme, host and port only";
    if (url_origin_parse(&origin, text) != 0 || check_host(origin.host) || origin.port == 0)
        return "is not a URL; write for example https://registry.example.org or "
               "https://10.1.2.3:5000";
    const char *path = strchr(rest, '/');
    if (path && path[strspn(path, "/")] && !path_allowed)
        return "has a path; write scheme, host and port only";
    return NULL;
}

static bool ends_with(const char *text, size_t n, const char *end)
{
    size_t m = strlen(end);
    return n >= m && memcmp(text + n - m, end, m) == 0;
}

const char *check_upstream_url(const char *text)
{
    struct url_origin origin;
    const char *bad = check_url(text, true);
    if (bad)
        return bad;
    size_t n = strlen(text);
    while (n && text[n - 1] == '/')
        n--;
    if (ends_with(text, n, "/v2") || ends_with(text, n, "/v1"))
        return "ends in /v2; write what stands before it";
    if (url_origin_parse(&origin, text) == 0 &&
        (strcmp(origin.host, "docker.io") == 0 || strcmp(origin.host, "index.docker.io") == 0 ||
         strcmp(origin.host, "hub.docker.com") == 0))
        return "is not where Docker Hub's registry answers; write https://registry-1.docker.io "
               "(its name is then docker.io)";
    return NULL;
}

void check_name_of_url(const char *url, char name[OCI_NS_MAX + 1])
{
    struct url_origin o;
    name[0] = 0;
    if (url_origin_parse(&o, url) != 0)
        return;
    bool six = strchr(o.host, ':') != NULL;
    bool usual = o.port == (o.https ? 443 : 80);
    if (strcmp(o.host, "registry-1.docker.io") == 0 && usual)
        snprintf(name, OCI_NS_MAX + 1, "docker.io"); /* so do clients call it */
    else if (usual)
        snprintf(name, OCI_NS_MAX + 1, six ? "[%.250s]" : "%.254s", o.host);
    else
        snprintf(name, OCI_NS_MAX + 1, six ? "[%.240s]:%u" : "%.245s:%u", o.host, o.port);
}

bool check_is_loopback(const char *url)
{
    struct url_origin o;
    struct listen_kind kind;
    if (url_origin_parse(&o, url) != 0)
        return false;
    if (strcmp(o.host, "localhost") == 0)
        return true;
    return ip_kind(o.host, strchr(o.host, ':') != NULL, &kind) && kind.loopback;
}

bool check_is_https(const char *url)
{
    return strncasecmp(url, "https://", 8) == 0;
}

/* --- files ----------------------------------------------------------------------------------- */

static const char *file_stat(const char *path, struct stat *st, char why[CONF_WHY_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        snprintf(why, CONF_WHY_MAX, "cannot be read: %s; give a file that uid %u may read",
                 strerror(errno), (unsigned)geteuid());
        return why;
    }
    int rc = fstat(fd, st);
    close(fd);
    if (rc != 0 || !S_ISREG(st->st_mode)) {
        snprintf(why, CONF_WHY_MAX, "is not a file");
        return why;
    }
    return NULL;
}

const char *check_file(const char *path, char why[CONF_WHY_MAX])
{
    struct stat st = {0};
    return file_stat(path, &st, why);
}

const char *check_private_file(const char *path, char why[CONF_WHY_MAX])
{
    struct stat st = {0};
    const char *bad = file_stat(path, &st, why);
    if (bad)
        return bad;
    if ((st.st_mode & 077) == 0)
        return NULL;
    snprintf(why, CONF_WHY_MAX, "is a secret that others can read (mode %04o); run chmod 600 on it",
             (unsigned)st.st_mode & 07777);
    return why;
}

/* Reads a secret; conf_secret() says why not. */
static const char *secret(const char *path, char *out, size_t cap, char why[CONF_WHY_MAX])
{
    const char *bad = check_private_file(path, why);
    if (bad)
        return bad;
    return conf_secret(path, out, cap, why) ? why : NULL;
}

static bool printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

const char *check_credentials(const char *path, char why[CONF_WHY_MAX])
{
    char text[LIMIT_SECRET_BYTES];
    const char *bad = secret(path, text, sizeof(text), why);
    if (bad)
        return bad;
    const char *colon = strchr(text, ':');
    if (!colon || colon == text || !printable(text))
        bad = "does not hold one line user:password";
    sodium_memzero(text, sizeof(text));
    return bad;
}

const char *check_token(const char *path, char why[CONF_WHY_MAX])
{
    char text[TOKEN_MAX];
    const char *bad = secret(path, text, sizeof(text), why);
    if (bad)
        return bad;
    if (strlen(text) < TOKEN_LENGTH || !printable(text) || strchr(text, ' '))
        bad = "does not hold one word of at least 16 characters; make one with "
              "`openssl rand -hex 24`";
    sodium_memzero(text, sizeof(text));
    return bad;
}

static const char *check_keys(const char *text, size_t key_bytes, const char *remedy,
                              char why[CONF_WHY_MAX])
{
    struct keyfile_key keys[KEYFILE_KEYS];
    size_t n;
    unsigned line;
    int rc = keyfile_parse(text, key_bytes, keys, &n, &line);
    sodium_memzero(keys, sizeof(keys));
    if (!rc)
        return NULL;
    const char *what = rc == ERR_EXISTS ? "repeats an id"
                       : rc == ERR_FULL ? "is one too many (16)"
                                        : "is not id:base64 of such a key";
    snprintf(why, CONF_WHY_MAX, "line %u %s; %s", line, what, remedy);
    return why;
}

const char *check_mesh_key(const char *path, char why[CONF_WHY_MAX])
{
    char text[KEYFILE_MAX];
    const char *bad = secret(path, text, sizeof(text), why);
    if (!bad)
        bad = check_keys(text, KEYFILE_MESH, "make one with `dray-node keygen mesh`", why);
    sodium_memzero(text, sizeof(text));
    return bad;
}

const char *check_ticket_key(const char *path, char why[CONF_WHY_MAX])
{
    char text[KEYFILE_MAX];
    const char *bad = secret(path, text, sizeof(text), why);
    if (!bad)
        bad = check_keys(text, KEYFILE_TICKET,
                         "take the KEYFILE of `dray-node keygen ticket KEYFILE PUBFILE`", why);
    sodium_memzero(text, sizeof(text));
    return bad;
}

const char *check_tracker_key(const char *path, char why[CONF_WHY_MAX])
{
    char text[KEYFILE_MAX];
    const char *bad = check_file(path, why);
    if (bad)
        return bad;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        snprintf(why, CONF_WHY_MAX, "cannot be read: %s", strerror(errno));
        return why;
    }
    text[n] = 0;
    return check_keys(text, KEYFILE_TRACKER,
                      "take the PUBFILE of `dray-node keygen ticket KEYFILE PUBFILE`", why);
}

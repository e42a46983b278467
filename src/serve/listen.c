/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses: "127.0.0.1:8080", "[::1]:0" to sockets, one for each loop on the same port, between
 * which the kernel spreads connections.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "serve/serve_internal.h"

/* The manifest has checked the form. */
static bool parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
                  struct gb_error **err) {
    char host[INET6_ADDRSTRLEN + 2];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    if (!colon || len >= sizeof host) {
        return gb_fail(err, GB_MANIFEST_INVALID, "\"%s\" is not an address and a port", text);
    }
    bool v6 = text[0] == '[';
    memcpy(host, text + v6, len - 2 * v6);
    host[len - 2 * v6] = '\0';
    uint16_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    memset(ret, 0, sizeof *ret);
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)ret;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ret;
    if (v6 && inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = port;
        *ret_len = sizeof *in6;
        return true;
    }
    if (!v6 && inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        in->sin_port = port;
        *ret_len = sizeof *in;
        return true;
    }
    gb_fail(err, GB_MANIFEST_INVALID, "\"%s\" is not a numeric address and a port", text);
    return gb_hint(err, "Write \"127.0.0.1:8080\" or \"[::1]:8080\".");
}

static int open_one(const struct sockaddr_storage *address, socklen_t len, bool shared) {
    int on = 1;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        bind(fd, (const struct sockaddr *)address, len) != 0 || listen(fd, 1024) != 0) {
        int eno = errno;
        gb_fd_close(&fd);
        errno = eno;
    }
    return fd;
}

static char *url_of(const struct sockaddr_storage *a, bool tls, struct gb_error **err) {
    char host[INET6_ADDRSTRLEN];
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)a;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)a;
    const char *scheme = tls ? "https" : "http";
    if (a->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        return gb_format(err, "%s://[%s]:%u", scheme, host, ntohs(in6->sin6_port));
    }
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    return gb_format(err, "%s://%s:%u", scheme, host, ntohs(in->sin_port));
}

/* Sockets that share a port would share it with another server too: that must be an error. */
static bool is_taken(const struct sockaddr_storage *address, socklen_t len) {
    int fd = open_one(address, len, false);
    int eno = errno;
    if (fd >= 0) {
        gb_fd_close(&fd);
    }
    errno = eno;
    return fd < 0 && eno == EADDRINUSE;
}

bool gb_listen(struct gb_server *s, const char *text, bool admin, char **ret_url,
               struct gb_error **err) {
    struct sockaddr_storage address;
    socklen_t len = 0;
    uint32_t loops = admin ? 1 : s->loops_len;
    if (!parse(text, &address, &len, err)) {
        return false;
    }
    for (uint32_t i = 0; i < loops; i++) {
        bool taken = i == 0 && loops > 1 && is_taken(&address, len);
        int fd = taken ? -1 : open_one(&address, len, loops > 1);
        if (fd < 0) {
            char why[64];
            snprintf(why, sizeof why, "%s", strerror(errno));
            gb_fail_errno(err, GB_IO, errno, "could not listen on %s: %s", text, why);
            return gb_hint(err, "Choose another port with --%s ADDR:PORT; 0 picks a free one.",
                           admin ? "admin" : "listen");
        }
        if (i == 0) {
            (void)getsockname(fd, (struct sockaddr *)&address, &len); /* the port that was picked */
        }
        if (!gb_loop_listen(&s->loops[i], fd, admin, err)) {
            gb_fd_close(&fd);
            return false;
        }
    }
    *ret_url = url_of(&address, s->app->tls && !admin, err);
    return *ret_url != NULL;
}

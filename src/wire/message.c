/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control channel: one message is one packet, so there is no framing to get wrong. A packet
 * that is too short, too long, of another version or of an unknown type is refused as a whole, and
 * what was received has terminated texts.
 *
 * Threads: one sender and one receiver per descriptor at a time. Ownership: a descriptor to pass is
 * borrowed; one received belongs to the caller.
 * Errors: GB_IO for the socket, GB_BACKEND_FAILED for a peer that breaks the protocol.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/num.h"
#include "wire/wire.h"

/* The kernel may deliver more descriptors than asked for, up to what fits. */
#define PASSED_FDS_MAX 4

_Static_assert(sizeof(struct gb_msg_port) <= GB_WIRE_PACKET_MAX, "a port fits a packet");
_Static_assert(sizeof(struct gb_msg_loaded) <= GB_WIRE_PACKET_MAX, "loaded fits a packet");
_Static_assert(sizeof(struct gb_msg_failed) <= GB_WIRE_PACKET_MAX, "failed fits a packet");
_Static_assert(offsetof(struct gb_packet, body) == sizeof(struct gb_msg_header), "no padding");

bool gb_wire_body_bytes(uint32_t type, size_t *ret_bytes) {
    switch (type) {
    case GB_MSG_LOAD:
        *ret_bytes = sizeof(struct gb_msg_load);
        return true;
    case GB_MSG_CANCEL:
        *ret_bytes = sizeof(struct gb_msg_cancel);
        return true;
    case GB_MSG_SELFTEST:
    case GB_MSG_SELFTEST_END:
        *ret_bytes = 0;
        return true;
    case GB_MSG_HELLO:
        *ret_bytes = sizeof(struct gb_msg_hello);
        return true;
    case GB_MSG_PORT:
        *ret_bytes = sizeof(struct gb_msg_port);
        return true;
    case GB_MSG_LOADED:
        *ret_bytes = sizeof(struct gb_msg_loaded);
        return true;
    case GB_MSG_FAILED:
        *ret_bytes = sizeof(struct gb_msg_failed);
        return true;
    case GB_MSG_PROBE:
        *ret_bytes = sizeof(struct gb_msg_probe);
        return true;
    default:
        return false;
    }
}

bool gb_wire_send(int fd, enum gb_message_type type, const void *body, size_t body_bytes,
                  int pass_fd, struct gb_error **err) {
    size_t expected = 0;
    if (!gb_wire_body_bytes(type, &expected) || expected != body_bytes) {
        return gb_fail(err, GB_INTERNAL, "message of type %u has a body of %zu bytes",
                       (unsigned)type, body_bytes);
    }
    struct gb_msg_header header = {
        .magic = GB_WIRE_MAGIC,
        .version = GB_WIRE_VERSION,
        .type = (uint32_t)type,
        .bytes = (uint32_t)body_bytes,
    };
    /* One buffer, because an iovec cannot point to const. */
    struct gb_packet packet = {.header = header};
    if (body_bytes > 0) {
        memcpy(packet.body, body, body_bytes);
    }
    struct iovec part = {.iov_base = &packet, .iov_len = sizeof header + body_bytes};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (pass_fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &pass_fd, sizeof pass_fd);
    }
    ssize_t sent = 0;
    do {
        sent = gb_sys(GB_SYS_SEND, -1, sendmsg(fd, &message, MSG_NOSIGNAL));
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        int eno = errno;
        return gb_fail_errno(err, GB_IO, eno, "could not send to the control channel: %s",
                             strerror(eno));
    }
    return true;
}

/* Takes the descriptors out of a received message; all but the first are closed. */
static int take_fds(struct msghdr *message, size_t *ret_count) {
    int first = -1;
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
            c->cmsg_len < CMSG_LEN(0)) {
            continue;
        }
        size_t fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < fds; i++) {
            int fd = -1;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (count++ == 0) {
                first = fd;
            } else {
                close(fd);
            }
        }
    }
    *ret_count = count;
    return first;
}

/* Whoever sent it, a text ends inside its field. */
static void terminate_texts(struct gb_packet *packet) {
    void *body = packet->body;
    switch (packet->header.type) {
    case GB_MSG_HELLO: {
        struct gb_msg_hello *hello = body;
        hello->engine[sizeof hello->engine - 1] = '\0';
        break;
    }
    case GB_MSG_LOADED: {
        struct gb_msg_loaded *loaded = body;
        loaded->warm_text[sizeof loaded->warm_text - 1] = '\0';
        break;
    }
    case GB_MSG_FAILED: {
        struct gb_msg_failed *failed = body;
        failed->text[sizeof failed->text - 1] = '\0';
        if (failed->code == GB_OK || failed->code >= GB_CODE_COUNT) {
            failed->code = GB_BACKEND_FAILED;
        }
        break;
    }
    case GB_MSG_PROBE: {
        struct gb_msg_probe *probe = body;
        probe->name[sizeof probe->name - 1] = '\0';
        break;
    }
    default:
        break;
    }
}

static bool packet_check(struct gb_packet *packet, size_t got, int flags, size_t fds,
                         struct gb_error **err) {
    const struct gb_msg_header *header = &packet->header;
    size_t body_bytes = 0;
    if ((flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || got < sizeof *header) {
        return gb_fail(err, GB_BACKEND_FAILED, "a control message of %zu bytes was cut short", got);
    }
    if (header->magic != GB_WIRE_MAGIC) {
        return gb_fail(err, GB_BACKEND_FAILED, "a control message has a wrong magic number");
    }
    if (header->version != GB_WIRE_VERSION) {
        return gb_fail(err, GB_BACKEND_INCOMPATIBLE,
                       "the worker protocol has version %u, this side version %u", header->version,
                       GB_WIRE_VERSION);
    }
    if (!gb_wire_body_bytes(header->type, &body_bytes)) {
        return gb_fail(err, GB_BACKEND_FAILED, "a control message has the unknown type %u",
                       header->type);
    }
    if (header->bytes != body_bytes || got != sizeof *header + body_bytes) {
        return gb_fail(err, GB_BACKEND_FAILED,
                       "a control message of type %u has %zu bytes instead of %zu", header->type,
                       got, sizeof *header + body_bytes);
    }
    if (fds > 1 || (fds == 1 && header->type != GB_MSG_LOAD)) {
        return gb_fail(err, GB_BACKEND_FAILED,
                       "a control message of type %u carries a descriptor", header->type);
    }
    terminate_texts(packet);
    if (header->type == GB_MSG_PORT) {
        const void *body = packet->body;
        const struct gb_msg_port *port = body;
        return gb_wire_port_check(&port->port, err);
    }
    return true;
}

bool gb_wire_recv(int fd, struct gb_packet *ret_packet, int *ret_fd, struct gb_error **err) {
    struct iovec part = {.iov_base = ret_packet, .iov_len = sizeof *ret_packet};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(PASSED_FDS_MAX * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes};
    ssize_t got = 0;
    do {
        message.msg_controllen = sizeof control.bytes;
        got = gb_sys(GB_SYS_RECV, -1, recvmsg(fd, &message, MSG_CMSG_CLOEXEC));
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        int eno = errno;
        if (eno == ECONNRESET) {
            return false; /* the peer died with messages unread: the end as well */
        }
        return gb_fail_errno(err, GB_IO, eno, "could not receive from the control channel: %s",
                             strerror(eno));
    }
    size_t fds = 0;
    int passed = take_fds(&message, &fds);
    if (got == 0 && fds == 0) {
        return false;
    }
    if (!packet_check(ret_packet, (size_t)got, message.msg_flags, fds, err)) {
        if (passed >= 0) {
            close(passed);
        }
        return false;
    }
    *ret_fd = passed;
    return true;
}

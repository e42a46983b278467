/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's side of the wire over any bytes: packets on the control channel, the head of a slab,
 * and its submission ring with any counters. No crash, a received body is fit to be used as it is,
 * and nothing outside the ring is touched (the slab is exactly as large as it says).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/num.h"
#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void check_body(const struct gb_packet *packet) {
    const void *body = packet->body;
    size_t bytes = 0;
    require(gb_wire_body_bytes(packet->header.type, &bytes), "its type is known");
    require(packet->header.bytes == bytes, "its length is exact");
    if (packet->header.type == GB_MSG_PORT) {
        const struct gb_msg_port *port = body;
        require(memchr(port->port.name, 0, sizeof port->port.name) != NULL, "names end");
        require(port->port.rank <= GB_WIRE_RANK_MAX, "rank at most 16");
    } else if (packet->header.type == GB_MSG_FAILED) {
        const struct gb_msg_failed *failed = body;
        require(memchr(failed->text, 0, sizeof failed->text) != NULL, "texts end");
        require(failed->code != GB_OK && failed->code < GB_CODE_COUNT, "a code of ours");
    }
}

/* Each packet is a length of two bytes and that many bytes; bit 15 passes a descriptor along. */
static void receive(const uint8_t *bytes, size_t len) {
    static struct gb_packet packet;
    int pair[2];
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
            "a socket pair can be made");
    while (len >= 2) {
        size_t want = (size_t)(bytes[0] | (bytes[1] & 0x1f) << 8);
        bool pass = bytes[1] & 0x80;
        bytes += 2;
        len -= 2;
        want = GB_MIN(want, len);
        uint8_t copy[8192];
        memcpy(copy, bytes, want);
        struct iovec part = {.iov_base = copy, .iov_len = want};
        union {
            struct cmsghdr align;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        if (pass) {
            message.msg_control = control.bytes;
            message.msg_controllen = sizeof control.bytes;
            struct cmsghdr *c = CMSG_FIRSTHDR(&message);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(sizeof(int));
            memcpy(CMSG_DATA(c), &pair[0], sizeof(int));
        }
        bytes += want;
        len -= want;
        if (want == 0 || sendmsg(pair[0], &message, MSG_NOSIGNAL) < 0) {
            continue;
        }
        struct gb_error *err = NULL;
        int fd = -1;
        if (gb_wire_recv(pair[1], &packet, &fd, &err)) {
            require(err == NULL, "a success has no error");
            require(fd < 0 || packet.header.type == GB_MSG_LOAD, "only a load brings a descriptor");
            check_body(&packet);
        }
        gb_fd_close(&fd);
        gb_error_free(err);
    }
    close(pair[0]);
    close(pair[1]);
}

static void use_ring(const uint8_t *bytes, size_t len) {
    struct gb_slab_head *head = aligned_alloc(64, sizeof *head);
    require(head != NULL, "memory");
    memset(head, 0, sizeof *head);
    gb_slab_init(head, sizeof *head);
    size_t at = 0;
    for (size_t i = 0; i < 4 && at + 8 <= len; i++, at += 8) {
        uint64_t value;
        memcpy(&value, bytes + at, sizeof value);
        _Atomic uint64_t *counters[] = {&head->submit.head, &head->submit.tail,
                                        &head->complete.head, &head->complete.tail};
        atomic_store(counters[i], value);
    }
    memcpy(head->submissions, bytes + at, GB_MIN(len - at, sizeof head->submissions));
    struct gb_submission s;
    unsigned taken = 0;
    while (taken <= GB_WIRE_RING_SLOTS && gb_ring_take(head, &s)) {
        struct gb_completion c = {.job_id = s.job_id};
        (void)gb_ring_complete(head, &c);
        taken++;
    }
    require(taken <= GB_WIRE_RING_SLOTS, "a ring holds no more than its slots");
    require(!gb_ring_has_submission(head) || taken > 0, "what is there can be taken");
    struct gb_error *err = NULL;
    if (len >= 16) {
        memcpy(head, bytes, 16); /* magic, version, size */
    }
    bool ok = gb_slab_check(head, sizeof *head, &err);
    require(ok == (err == NULL), "an error if and only if it fails");
    gb_error_free(err);
    free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    if (len > 0) {
        (bytes[0] & 1 ? use_ring : receive)(bytes + 1, len - 1);
    }
    return 0;
}

#include "replay.h"

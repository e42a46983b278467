/* SPDX-License-Identifier: Apache-2.0 */
/* The control channel: what was sent arrives, and what a sane peer would not send is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/num.h"
#include "wire/wire.h"

struct channel {
    int ends[2];
};

static int set_up(void **state) {
    static struct channel channel;
    *state = &channel;
    return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel.ends);
}

static int tear_down(void **state) {
    struct channel *c = *state;
    for (int i = 0; i < 2; i++) {
        if (c->ends[i] >= 0) {
            close(c->ends[i]);
        }
    }
    return 0;
}

static void recv_fails_with(struct channel *c, enum gb_code code) {
    struct gb_packet packet;
    int fd = -2;
    struct gb_error *err = NULL;
    assert_false(gb_wire_recv(c->ends[1], &packet, &fd, &err));
    assert_non_null(err);
    assert_int_equal(err->code, code);
    assert_int_equal(fd, -2);
    gb_error_free(err);
}

static void message_of_every_type_arrives_as_sent(void **state) {
    struct channel *c = *state;
    const enum gb_message_type types[] = {
        GB_MSG_LOAD, GB_MSG_CANCEL, GB_MSG_SELFTEST, GB_MSG_HELLO, GB_MSG_PORT,
        GB_MSG_LOADED, GB_MSG_FAILED, GB_MSG_PROBE, GB_MSG_SELFTEST_END};
    for (size_t i = 0; i < GB_COUNT(types); i++) {
        unsigned char body[GB_WIRE_PACKET_MAX] = {0};
        size_t bytes = 0;
        assert_true(gb_wire_body_bytes(types[i], &bytes));
        /* Small numbers and a name at the front, so that it is also a possible port. */
        memset(body, 1, GB_MIN(bytes, 16u));
        if (types[i] == GB_MSG_PORT) {
            struct gb_msg_port port = {.index = 7, .port = {.type = GB_TYPE_I64, .rank = 2,
                                                            .name = "x", .dims = {-1, 3}}};
            memcpy(port.port.symbols[0], "batch", 6);
            memcpy(body, &port, sizeof port);
        } else if (types[i] == GB_MSG_FAILED) {
            const struct gb_msg_failed failed = {.code = GB_MODEL_INVALID, .text = "why"};
            memcpy(body, &failed, sizeof failed);
        }
        assert_true(gb_wire_send(c->ends[0], types[i], body, bytes, -1, NULL));
        struct gb_packet packet;
        int fd = -2;
        assert_true(gb_wire_recv(c->ends[1], &packet, &fd, NULL));
        assert_int_equal(fd, -1);
        assert_int_equal(packet.header.type, types[i]);
        assert_int_equal(packet.header.bytes, bytes);
        assert_memory_equal(packet.body, body, bytes);
    }
}

static void load_passes_its_descriptor(void **state) {
    struct channel *c = *state;
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    struct gb_msg_load load = {.model_bytes = 5, .threads = 1};
    assert_true(gb_wire_send(c->ends[0], GB_MSG_LOAD, &load, sizeof load, pair[0], NULL));
    struct gb_packet packet;
    int fd = -1;
    assert_true(gb_wire_recv(c->ends[1], &packet, &fd, NULL));
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    char text[4] = "";
    assert_int_equal(write(pair[1], "abc", 3), 3);
    assert_int_equal(read(fd, text, 3), 3);
    assert_string_equal(text, "abc");
    close(fd);
    close(pair[0]);
    close(pair[1]);
}

/* How many of our descriptors are open: refused ones must not stay. */
static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static void send_raw(struct channel *c, const void *bytes, size_t len, const int *fds,
                     size_t fds_len) {
    unsigned char copy[GB_WIRE_PACKET_MAX + 64];
    memcpy(copy, bytes, len);
    struct iovec part = {.iov_base = copy, .iov_len = len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fds_len > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(fds_len * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&message);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(fds_len * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, fds_len * sizeof(int));
    }
    assert_int_equal(sendmsg(c->ends[0], &message, 0), len);
}

static struct gb_packet failed_packet(void) {
    struct gb_packet p = {.header = {.magic = GB_WIRE_MAGIC, .version = GB_WIRE_VERSION,
                                     .type = GB_MSG_FAILED,
                                     .bytes = sizeof(struct gb_msg_failed)}};
    return p;
}
#define FAILED_BYTES (sizeof(struct gb_msg_header) + sizeof(struct gb_msg_failed))

static void descriptors_with_other_messages_are_refused_and_closed(void **state) {
    struct channel *c = *state;
    int before = open_descriptors();
    struct gb_packet p = failed_packet();
    const int fds[] = {0, 1, 2, 0, 1, 2};
    for (size_t count = 1; count <= GB_COUNT(fds); count++) {
        send_raw(c, &p, FAILED_BYTES, fds, count);
        recv_fails_with(c, GB_BACKEND_FAILED);
    }
    struct gb_packet load = {.header = {.magic = GB_WIRE_MAGIC, .version = GB_WIRE_VERSION,
                                        .type = GB_MSG_LOAD,
                                        .bytes = sizeof(struct gb_msg_load)}};
    send_raw(c, &load, sizeof load.header + sizeof(struct gb_msg_load), fds, 2);
    recv_fails_with(c, GB_BACKEND_FAILED);
    assert_int_equal(open_descriptors(), before);
}

static void wrong_magic_version_type_and_length_are_refused(void **state) {
    struct channel *c = *state;
    struct gb_packet p = failed_packet();
    p.header.magic ^= 1;
    send_raw(c, &p, FAILED_BYTES, NULL, 0);
    recv_fails_with(c, GB_BACKEND_FAILED);
    p = failed_packet();
    p.header.version++;
    send_raw(c, &p, FAILED_BYTES, NULL, 0);
    recv_fails_with(c, GB_BACKEND_INCOMPATIBLE);
    p = failed_packet();
    p.header.type = 200;
    send_raw(c, &p, FAILED_BYTES, NULL, 0);
    recv_fails_with(c, GB_BACKEND_FAILED);
    p = failed_packet();
    for (size_t bytes = 1; bytes < FAILED_BYTES; bytes += 37) {
        send_raw(c, &p, bytes, NULL, 0);
        recv_fails_with(c, GB_BACKEND_FAILED);
    }
    send_raw(c, &p, FAILED_BYTES + 1, NULL, 0);
    recv_fails_with(c, GB_BACKEND_FAILED);
    p.header.bytes--;
    send_raw(c, &p, FAILED_BYTES, NULL, 0);
    recv_fails_with(c, GB_BACKEND_FAILED);
    unsigned char large[GB_WIRE_PACKET_MAX + 64] = {0};
    send_raw(c, large, sizeof large, NULL, 0);
    recv_fails_with(c, GB_BACKEND_FAILED);
}

static void endless_texts_and_codes_are_made_harmless(void **state) {
    struct channel *c = *state;
    struct gb_packet p = failed_packet();
    memset(p.body, 'A', sizeof(struct gb_msg_failed));
    send_raw(c, &p, FAILED_BYTES, NULL, 0);
    struct gb_packet got;
    int fd = -1;
    assert_true(gb_wire_recv(c->ends[1], &got, &fd, NULL));
    struct gb_msg_failed failed;
    memcpy(&failed, got.body, sizeof failed);
    assert_int_equal(failed.code, GB_BACKEND_FAILED);
    assert_int_equal(strlen(failed.text), GB_WIRE_TEXT_MAX);
}

static void impossible_ports_are_refused(void **state) {
    struct channel *c = *state;
    const struct gb_msg_port good = {.port = {.type = GB_TYPE_F32, .rank = 1, .name = "x"}};
    struct gb_msg_port bad[6] = {good, good, good, good, good, good};
    bad[0].port.rank = GB_WIRE_RANK_MAX + 1;
    bad[1].port.type = 9;
    bad[2].port.dims[0] = -2;
    memset(bad[3].port.name, 'x', sizeof bad[3].port.name);
    memset(bad[4].port.symbols[3], 's', sizeof bad[4].port.symbols[3]);
    bad[5].port.name[0] = '\0';
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        assert_true(gb_wire_send(c->ends[0], GB_MSG_PORT, &bad[i], sizeof bad[i], -1, NULL));
        recv_fails_with(c, GB_BACKEND_FAILED);
    }
    assert_true(gb_wire_send(c->ends[0], GB_MSG_PORT, &good, sizeof good, -1, NULL));
    struct gb_packet packet;
    int fd = -1;
    assert_true(gb_wire_recv(c->ends[1], &packet, &fd, NULL));
}

static void end_of_stream_is_no_error_and_nothing_to_read_is_eagain(void **state) {
    struct channel *c = *state;
    struct gb_packet packet;
    int fd = -1;
    struct gb_error *err = NULL;
    assert_int_equal(fcntl(c->ends[1], F_SETFL, O_NONBLOCK), 0);
    assert_false(gb_wire_recv(c->ends[1], &packet, &fd, &err));
    assert_non_null(err);
    assert_int_equal(err->code, GB_IO);
    assert_int_equal(err->sys_errno, EAGAIN);
    gb_error_clear(&err);
    close(c->ends[0]);
    c->ends[0] = -1;
    assert_false(gb_wire_recv(c->ends[1], &packet, &fd, &err));
    assert_null(err);
    assert_false(gb_wire_send(c->ends[1], GB_MSG_SELFTEST, NULL, 0, -1, &err));
    assert_int_equal(err->code, GB_IO);
    gb_error_clear(&err);
}

static void send_refuses_a_body_of_the_wrong_size(void **state) {
    struct channel *c = *state;
    struct gb_error *err = NULL;
    assert_false(gb_wire_send(c->ends[0], GB_MSG_CANCEL, "abc", 3, -1, &err));
    assert_int_equal(err->code, GB_INTERNAL);
    gb_error_clear(&err);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(message_of_every_type_arrives_as_sent),
        TEST(load_passes_its_descriptor),
        TEST(descriptors_with_other_messages_are_refused_and_closed),
        TEST(wrong_magic_version_type_and_length_are_refused),
        TEST(endless_texts_and_codes_are_made_harmless),
        TEST(impossible_ports_are_refused),
        TEST(end_of_stream_is_no_error_and_nothing_to_read_is_eagain),
        TEST(send_refuses_a_body_of_the_wrong_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

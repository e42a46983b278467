/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail's self-test: a worker without a model that tries each forbidden thing and says what it
 * got. It runs on the caller's thread, under one time limit, and leaves no process behind.
 *
 * Ownership: the caller frees the probes (gb_free). Errors: those of a start, GB_BACKEND_LOST when
 * the worker ends early, GB_DEADLINE_EXCEEDED when it takes too long.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "model/worker_internal.h"

#define PROBES_MAX 64u
#define SELFTEST_SLAB_BYTES ((uint64_t)1024 * 1024)

struct selftest {
    struct gb_probe *probes;
    size_t probes_len;
    struct gb_msg_hello hello;
    bool said_hello;
    bool ended;
};

static bool on_packet(struct selftest *t, const struct gb_process *p,
                      const struct gb_packet *packet, struct gb_error **err) {
    const void *body = packet->body;
    if (packet->header.type == GB_MSG_FAILED) {
        const struct gb_msg_failed *failed = body;
        return gb_fail(err, failed->code == GB_OK ? GB_BACKEND_FAILED : (enum gb_code)failed->code,
                       "%s", failed->text);
    }
    if (packet->header.type == GB_MSG_HELLO && !t->said_hello) {
        t->hello = *(const struct gb_msg_hello *)body;
        gb_worker_plain_text(t->hello.engine, sizeof t->hello.engine);
        t->said_hello = true;
        return gb_wire_send(p->control, GB_MSG_SELFTEST, NULL, 0, -1, err);
    }
    if (packet->header.type == GB_MSG_PROBE && t->said_hello && t->probes_len < PROBES_MAX) {
        const struct gb_msg_probe *said = body;
        struct gb_probe *probe = &t->probes[t->probes_len++];
        memcpy(probe->name, said->name, sizeof probe->name);
        gb_worker_plain_text(probe->name, sizeof probe->name);
        probe->denied = said->denied == 1;
        probe->sys_errno = (int)said->sys_errno;
        return true;
    }
    if (packet->header.type == GB_MSG_SELFTEST_END && t->said_hello) {
        t->ended = true;
        return true;
    }
    return gb_fail(err, GB_BACKEND_FAILED, "the worker answered its self-test with message %u",
                   packet->header.type);
}

/* Waits for fd; false at the deadline. */
static bool wait_readable(int fd, uint64_t deadline_us) {
    struct pollfd one = {.fd = fd, .events = POLLIN};
    for (;;) {
        int n = poll(&one, 1, gb_poll_timeout_ms(deadline_us));
        if (n > 0) {
            return true;
        }
        if (n == 0 || errno != EINTR) {
            return false;
        }
    }
}

static bool converse(struct selftest *t, const struct gb_process *p, uint64_t deadline_us,
                     struct gb_error **err) {
    struct gb_packet packet;
    while (!t->ended) {
        if (!wait_readable(p->control, deadline_us)) {
            return gb_fail(err, GB_DEADLINE_EXCEEDED, "the worker's self-test took too long");
        }
        int fd = -1;
        struct gb_error *e = NULL;
        if (!gb_wire_recv(p->control, &packet, &fd, &e)) {
            if (e && e->sys_errno == EAGAIN) {
                gb_error_free(e);
                continue;
            }
            return e ? gb_error_move(err, e)
                     : gb_fail(err, GB_BACKEND_LOST, "the worker ended during its self-test");
        }
        gb_fd_close(&fd);
        if (!on_packet(t, p, &packet, err)) {
            return false;
        }
    }
    return true;
}

/* Closing the channel ends a sane worker; the grace is for the others. */
static void end_process(struct gb_process *p) {
    int signal = 0;
    int status = 0;
    gb_fd_close(&p->control);
    if (!wait_readable(p->pidfd, gb_deadline_after_us(GB_WORKER_CLOSE_GRACE_US))) {
        gb_process_kill(p);
        (void)wait_readable(p->pidfd, GB_NEVER);
    }
    (void)gb_process_reap(p, &signal, &status);
    gb_process_fini(p);
}

bool gb_worker_selftest(const struct gb_registry_options *options, struct gb_probe **ret_probes,
                        size_t *ret_probes_len, char ret_engine[64], uint32_t *ret_missing_walls,
                        struct gb_error **err) {
    char path[4096];
    if (!gb_worker_locate(options, path, sizeof path, err)) {
        return false;
    }
    GB_CLEANUP(gb_free_cleanup) char *lib = gb_worker_locate_ort(options, err);
    struct selftest t = {0};
    t.probes = lib ? gb_calloc(PROBES_MAX, sizeof *t.probes, err) : NULL;
    if (!t.probes) {
        return false;
    }
    struct gb_process_config config = {
        .worker_path = path,
        .lib_path = lib,
        .engine = "onnx",
        .jail = options->jail,
        .slab_bytes = SELFTEST_SLAB_BYTES,
        .as_bytes = gb_process_as_bytes(SELFTEST_SLAB_BYTES, 0, 1),
        .dies_with_thread = true, /* which waits for it */
    };
    struct gb_process process;
    bool ok = gb_process_spawn(&config, &process, err);
    if (ok) {
        uint64_t deadline = gb_deadline_after_us(options->load_timeout_ms * 1000);
        ok = converse(&t, &process, deadline, err);
        end_process(&process);
    }
    if (!ok) {
        gb_free(t.probes);
        return false;
    }
    *ret_probes = t.probes;
    *ret_probes_len = t.probes_len;
    memcpy(ret_engine, t.hello.engine, sizeof t.hello.engine);
    *ret_missing_walls = t.hello.missing_walls;
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host reduced to what a test of the worker needs: spawns the program that GLOVEBOX_WORKER (or
 * GLOVEBOX_WORKER_TEST, which has the fake engine) names, loads a model, submits jobs by hand.
 * Every function fails the test by itself; nothing waits longer than HARNESS_WAIT_MS.
 */
#ifndef WORKER_HARNESS_H
#define WORKER_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/num.h"
#include "wire/wire.h"

#define HARNESS_WAIT_MS 20000
#define HARNESS_SLAB_BYTES (64 * GB_MIB)

struct harness {
    pid_t pid;
    int control;
    int slab_fd;
    int submit;
    int complete;
    uint8_t *slab;
    struct gb_slab_head *head;
    uint64_t next_offset;
    uint64_t next_job;
    struct gb_msg_hello hello;
    struct gb_msg_loaded loaded;
    struct gb_msg_failed failed;
    struct gb_port inputs[GB_WIRE_PORTS_MAX];
    struct gb_port outputs[GB_WIRE_PORTS_MAX];
};

static inline const char *harness_env(const char *name) {
    const char *value = getenv(name);
    if (value == NULL) {
        fail_msg("%s must name a file", name);
    }
    return value;
}

/* Puts four descriptors at 3..6 of the child and starts it. */
static inline void harness_spawn(struct harness *h, const char *program, char *const argv[],
                                 int control) {
    posix_spawn_file_actions_t actions;
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    const int fds[] = {control, h->slab_fd, h->submit, h->complete};
    int high[GB_COUNT(fds)];
    for (size_t i = 0; i < GB_COUNT(fds); i++) {
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 20);
        assert_true(high[i] >= 0);
        assert_int_equal(posix_spawn_file_actions_adddup2(&actions, high[i], 3 + (int)i), 0);
    }
    char *const no_environment[] = {NULL};
    assert_int_equal(posix_spawn(&h->pid, program, &actions, NULL, argv, no_environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    for (size_t i = 0; i < GB_COUNT(fds); i++) {
        close(high[i]);
    }
}

static inline void harness_open_with(struct harness *h, const char *program, const char *engine,
                                     const char *lib, const char *jail, const char *as_bytes) {
    memset(h, 0, sizeof *h);
    h->next_offset = GB_SLAB_DATA_OFFSET;
    h->next_job = 1;
    h->slab_fd = memfd_create("slab", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(h->slab_fd >= 0);
    assert_int_equal(ftruncate(h->slab_fd, (off_t)HARNESS_SLAB_BYTES), 0);
    assert_int_equal(
        fcntl(h->slab_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
    void *at = mmap(NULL, HARNESS_SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, h->slab_fd, 0);
    assert_true(at != MAP_FAILED);
    h->slab = at;
    h->head = at;
    gb_slab_init(h->head, HARNESS_SLAB_BYTES);
    h->submit = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
    h->complete = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    h->control = pair[0];
    char words[11][512] = {"glovebox-worker", "--engine", "",           "--lib", "",
                           "--jail",          "",         "--as-bytes", ""};
    (void)snprintf(words[2], sizeof words[2], "%s", engine);
    (void)snprintf(words[4], sizeof words[4], "%s", lib);
    (void)snprintf(words[6], sizeof words[6], "%s", jail);
    (void)snprintf(words[8], sizeof words[8], "%s", as_bytes);
    char *argv[] = {words[0], words[1], words[2], words[3], words[4],
                    words[5], words[6], words[7], words[8], NULL};
    harness_spawn(h, program, argv, pair[1]);
    close(pair[1]);
}

static inline void harness_open(struct harness *h) {
    harness_open_with(h, harness_env("GLOVEBOX_WORKER"), "onnx", harness_env("GLOVEBOX_ORT_LIB"),
                      "strict", "4294967296");
}

static inline void harness_open_fake(struct harness *h) {
    harness_open_with(h, harness_env("GLOVEBOX_WORKER_TEST"), "fake", "none", "strict",
                      "4294967296");
}

/* Waits for the process; its wait status. */
static inline int harness_reap(struct harness *h, unsigned wait_ms) {
    int status = 0;
    uint64_t until = gb_now_us() + (uint64_t)wait_ms * 1000;
    while (gb_now_us() < until) {
        pid_t got = waitpid(h->pid, &status, WNOHANG);
        if (got == h->pid) {
            h->pid = 0;
            return status;
        }
        usleep(500);
    }
    fail_msg("the worker did not end within %u ms", wait_ms);
    return -1;
}

static inline void harness_close(struct harness *h) {
    if (h->control >= 0) {
        close(h->control);
    }
    if (h->pid > 0) {
        kill(h->pid, SIGKILL);
        waitpid(h->pid, NULL, 0);
    }
    munmap(h->slab, HARNESS_SLAB_BYTES);
    close(h->slab_fd);
    close(h->submit);
    close(h->complete);
}

/* The next message; false at the end of the stream. */
static inline bool harness_recv(struct harness *h, struct gb_packet *packet) {
    struct pollfd p = {.fd = h->control, .events = POLLIN};
    if (poll(&p, 1, HARNESS_WAIT_MS) != 1) {
        fail_msg("no message from the worker");
    }
    int fd = -1;
    struct gb_error *err = NULL;
    bool got = gb_wire_recv(h->control, packet, &fd, &err);
    if (err != NULL) {
        fail_msg("%s", err->message);
    }
    assert_int_equal(fd, -1);
    return got;
}

static inline void harness_hello(struct harness *h) {
    struct gb_packet packet;
    assert_true(harness_recv(h, &packet));
    if (packet.header.type == GB_MSG_FAILED) {
        const void *body = packet.body;
        fail_msg("%s", ((const struct gb_msg_failed *)body)->text);
    }
    assert_int_equal(packet.header.type, GB_MSG_HELLO);
    memcpy(&h->hello, packet.body, sizeof h->hello);
}

static inline int harness_model_fd(const void *bytes, size_t len, int seals) {
    int fd = memfd_create("model", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_true(gb_write_all(fd, bytes, len, NULL));
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static inline void harness_send_load(struct harness *h, const void *bytes, size_t len,
                                     uint32_t threads, bool warm_up) {
    int fd = harness_model_fd(bytes, len,
                              F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    struct gb_msg_load load = {.model_bytes = len, .threads = threads, .optimise = 1,
                               .slab_bytes = HARNESS_SLAB_BYTES, .warm_up = warm_up};
    assert_true(gb_wire_send(h->control, GB_MSG_LOAD, &load, sizeof load, fd, NULL));
    close(fd);
}

/* Ports until LOADED (true) or FAILED (false). */
static inline bool harness_loaded(struct harness *h) {
    for (;;) {
        struct gb_packet packet;
        if (!harness_recv(h, &packet)) {
            fail_msg("the worker ended while loading");
        }
        if (packet.header.type == GB_MSG_FAILED) {
            memcpy(&h->failed, packet.body, sizeof h->failed);
            return false;
        }
        if (packet.header.type == GB_MSG_LOADED) {
            memcpy(&h->loaded, packet.body, sizeof h->loaded);
            return true;
        }
        assert_int_equal(packet.header.type, GB_MSG_PORT);
        struct gb_msg_port port;
        memcpy(&port, packet.body, sizeof port);
        assert_true(port.index < GB_WIRE_PORTS_MAX);
        *(port.is_output ? &h->outputs[port.index] : &h->inputs[port.index]) = port.port;
    }
}

static inline void harness_load_file(struct harness *h, const char *path, uint32_t threads) {
    uint8_t *bytes = NULL;
    size_t len = 0;
    assert_true(gb_file_read(path, 64 * GB_MIB, GB_MODEL_TOO_LARGE, &bytes, &len, NULL));
    harness_send_load(h, bytes, len, threads, true);
    gb_free(bytes);
    if (!harness_loaded(h)) {
        fail_msg("%s", h->failed.text);
    }
}

static inline uint64_t harness_block(struct harness *h, uint64_t bytes) {
    uint64_t at = h->next_offset;
    h->next_offset = gb_round_up_u64(at + GB_MAX(bytes, 1u), GB_SLAB_ALIGN);
    assert_true(h->next_offset <= HARNESS_SLAB_BYTES);
    return at;
}

/* A fresh job block for the loaded model; outputs have no place yet. */
static inline struct gb_wire_job *harness_job(struct harness *h) {
    uint64_t at = harness_block(h, gb_wire_job_bytes(h->loaded.inputs, h->loaded.outputs));
    void *block = h->slab + at;
    struct gb_wire_job *job = block;
    memset(job, 0, gb_wire_job_bytes(h->loaded.inputs, h->loaded.outputs));
    job->job_id = h->next_job++;
    job->submitted_us = gb_now_us();
    job->inputs = h->loaded.inputs;
    job->outputs = h->loaded.outputs;
    for (uint32_t i = 0; i < job->inputs; i++) {
        job->tensors[i].port = i;
    }
    for (uint32_t i = 0; i < job->outputs; i++) {
        job->tensors[job->inputs + i].port = i;
    }
    return job;
}

/* Gives a tensor of the job its shape and a block; the block. */
static inline void *harness_tensor(struct harness *h, struct gb_wire_tensor *t, enum gb_type type,
                                   uint32_t rank, const uint64_t *dims) {
    t->rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
    }
    assert_true(gb_tensor_bytes(type, dims, rank, &t->bytes));
    t->offset = harness_block(h, t->bytes);
    return h->slab + t->offset;
}

static inline void harness_submit(struct harness *h, const struct gb_wire_job *job,
                                  enum gb_operation operation) {
    struct gb_submission s = {.job_id = job->job_id, .operation = operation,
                              .job_offset = (uint64_t)((const uint8_t *)job - h->slab)};
    bool broken = false;
    assert_true(gb_ring_submit(h->head, &s, &broken));
    if (gb_ring_needs_doorbell(h->head)) {
        const uint64_t one = 1;
        assert_int_equal(write(h->submit, &one, sizeof one), sizeof one);
    }
}

static inline bool harness_try_reap(struct harness *h, struct gb_completion *c, int wait_ms) {
    uint64_t until = gb_now_us() + (uint64_t)wait_ms * 1000;
    for (;;) {
        bool broken = false;
        if (gb_ring_reap(h->head, c, &broken)) {
            return true;
        }
        assert_false(broken);
        uint64_t now = gb_now_us();
        if (now >= until) {
            return false;
        }
        struct pollfd p = {.fd = h->complete, .events = POLLIN};
        uint64_t count = 0;
        if (poll(&p, 1, (int)((until - now) / 1000) + 1) == 1) {
            (void)!read(h->complete, &count, sizeof count);
        }
    }
}

static inline struct gb_completion harness_completion(struct harness *h) {
    struct gb_completion c = {0};
    if (!harness_try_reap(h, &c, HARNESS_WAIT_MS)) {
        fail_msg("no completion");
    }
    return c;
}

static inline void harness_cancel(struct harness *h, uint64_t job_id) {
    struct gb_msg_cancel cancel = {.job_id = job_id};
    assert_true(gb_wire_send(h->control, GB_MSG_CANCEL, &cancel, sizeof cancel, -1, NULL));
}

#endif

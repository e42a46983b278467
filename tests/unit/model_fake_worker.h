/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker of our own for the tests of the host's side: the test program starts itself again under
 * the name glovebox-worker. It speaks the protocol and misbehaves as told, so that faults and races
 * happen when a test wants them. The model's bytes choose what it is, an input's first number what
 * one inference does.
 *
 * Models: "echo" (x f32[batch,4] to y f32[batch,4]: x + 1), "dynamic" (x to y f32[?]: as many ones
 * as the first number says), "mute" (as dynamic, but never hands the output over), "refuse",
 * "refuse-ok" (with the code of no error), "crash" and "hang" (while loading).
 */
#ifndef GB_TESTS_MODEL_FAKE_WORKER_H
#define GB_TESTS_MODEL_FAKE_WORKER_H

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "wire/wire.h"

/* The first number of an input. */
enum fake_order {
    FAKE_ECHO = 0,
    FAKE_HANG = -1,         /* for ever, deaf to a cancel */
    FAKE_WAIT = -2,         /* until cancelled */
    FAKE_CRASH = -3,
    FAKE_WRONG_ID = -4,     /* completes a job that there is not */
    FAKE_WRONG_DIMS = -5,
    FAKE_BREAK_RING = -6,
    FAKE_SCRIBBLE = -7,     /* on a cancel: writes into its output for 100 ms, then acknowledges */
    FAKE_SLOW = -8,         /* 50 ms, then as echo */
    FAKE_FAIL = -9,         /* with a text that would paint a terminal */
    FAKE_TWICE = -10,       /* completes the same job twice */
    FAKE_BAD_STATUS = -11,
    FAKE_SLOWER = -12       /* 600 ms, then as echo */
};

struct fake {
    uint8_t *slab;
    struct gb_slab_head *head;
    pthread_mutex_t lock;
    _Atomic uint64_t cancelled[64];
    _Atomic uint32_t cancelled_len;
    bool dynamic;
    bool mute;
    uint64_t kept_job;
    uint64_t kept_elements;
};

static void fake_send(enum gb_message_type type, const void *body, size_t bytes) {
    if (!gb_wire_send(GB_WIRE_FD_CONTROL, type, body, bytes, -1, NULL)) {
        _exit(0);
    }
}

static bool fake_is_cancelled(struct fake *f, uint64_t id) {
    for (uint32_t i = 0; i < f->cancelled_len && i < 64; i++) {
        if (f->cancelled[i] == id) {
            return true;
        }
    }
    return false;
}

static void fake_complete(struct fake *f, uint64_t id, uint32_t status, uint32_t code) {
    struct gb_completion c = {.job_id = id, .status = status, .code = code, .run_us = 1};
    pthread_mutex_lock(&f->lock);
    (void)gb_ring_complete(f->head, &c);
    pthread_mutex_unlock(&f->lock);
    uint64_t one = 1;
    (void)!write(GB_WIRE_FD_COMPLETE, &one, sizeof one);
}

static void fake_answer(struct fake *f, struct gb_wire_job *job) {
    struct gb_wire_tensor *in = &job->tensors[0];
    struct gb_wire_tensor *out = &job->tensors[1];
    float *x = (float *)(void *)(f->slab + in->offset);
    if (f->dynamic) {
        f->kept_job = job->job_id;
        f->kept_elements = (uint64_t)x[0];
        out->rank = 1;
        out->dims[0] = f->kept_elements;
        out->bytes = f->kept_elements * 4;
        fake_complete(f, job->job_id, GB_JOB_NEED_SPACE, 0);
        return;
    }
    float *y = (float *)(void *)(f->slab + out->offset);
    for (uint64_t i = 0; i < in->bytes / 4; i++) {
        y[i] = x[i] + 1;
    }
    fake_complete(f, job->job_id, GB_JOB_OK, 0);
}

static void fake_scribble(struct fake *f, struct gb_wire_job *job) {
    while (!fake_is_cancelled(f, job->job_id)) {
        usleep(500);
    }
    struct gb_wire_tensor out = job->tensors[1];
    for (int i = 0; i < 100; i++) {
        memset(f->slab + out.offset, 0xee, out.bytes);
        usleep(1000);
    }
    fake_complete(f, job->job_id, GB_JOB_CANCELLED, 0);
}

static void fake_run(struct fake *f, struct gb_wire_job *job) {
    float order = 0;
    uint64_t id = job->job_id;
    memcpy(&order, f->slab + job->tensors[0].offset, sizeof order);
    switch ((int)order) {
    case FAKE_HANG:
        for (;;) {
            pause();
        }
    case FAKE_WAIT:
        while (!fake_is_cancelled(f, id)) {
            usleep(500);
        }
        fake_complete(f, id, GB_JOB_CANCELLED, 0);
        break;
    case FAKE_CRASH:
        kill(getpid(), SIGKILL);
        break;
    case FAKE_WRONG_ID:
        fake_complete(f, id + 1000, GB_JOB_OK, 0);
        break;
    case FAKE_WRONG_DIMS:
        job->tensors[1].dims[0] = UINT64_MAX / 2;
        fake_complete(f, id, GB_JOB_OK, 0);
        break;
    case FAKE_BREAK_RING:
        f->head->complete.tail = f->head->complete.head + 100000;
        fake_complete(f, id, GB_JOB_OK, 0);
        break;
    case FAKE_SCRIBBLE:
        fake_scribble(f, job);
        break;
    case FAKE_SLOW:
        usleep(50000);
        fake_answer(f, job);
        break;
    case FAKE_SLOWER:
        usleep(600000);
        fake_answer(f, job);
        break;
    case FAKE_FAIL:
        (void)snprintf(job->text, sizeof job->text, "no\033[2J such node");
        fake_complete(f, id, GB_JOB_FAILED, GB_BACKEND_FAILED);
        break;
    case FAKE_TWICE:
        fake_answer(f, job);
        fake_complete(f, id, GB_JOB_OK, 0);
        break;
    case FAKE_BAD_STATUS:
        fake_complete(f, id, 77, 0);
        break;
    default:
        fake_answer(f, job);
    }
}

static void *fake_thread(void *arg) {
    struct fake *f = arg;
    for (;;) {
        struct gb_submission s;
        pthread_mutex_lock(&f->lock);
        bool any = gb_ring_take(f->head, &s);
        pthread_mutex_unlock(&f->lock);
        if (!any) {
            usleep(300); /* no doorbell: tests of the real worker are elsewhere */
            continue;
        }
        struct gb_wire_job *job = (struct gb_wire_job *)(void *)(f->slab + s.job_offset);
        if (s.operation == GB_OP_RUN) {
            fake_run(f, job);
            continue;
        }
        if (f->mute) {
            continue;
        }
        if (s.operation == GB_OP_FETCH && f->kept_job == s.job_id) {
            float *y = (float *)(void *)(f->slab + job->tensors[1].offset);
            for (uint64_t i = 0; i < f->kept_elements; i++) {
                y[i] = 1;
            }
        }
        fake_complete(f, s.job_id, GB_JOB_OK, 0);
    }
    return NULL;
}

static void fake_describe(const char *model) {
    struct gb_msg_port x = {.port = {.type = GB_TYPE_F32, .rank = 2, .name = "x"}};
    x.port.dims[0] = -1;
    x.port.dims[1] = 4;
    (void)snprintf(x.port.symbols[0], sizeof x.port.symbols[0], "batch");
    struct gb_msg_port y = x;
    y.is_output = 1;
    (void)snprintf(y.port.name, sizeof y.port.name, "y");
    if (strcmp(model, "echo") != 0) {
        y.port.rank = 1;
        y.port.dims[1] = 0;
        (void)snprintf(y.port.symbols[0], sizeof y.port.symbols[0], "count");
    }
    fake_send(GB_MSG_PORT, &x, sizeof x);
    fake_send(GB_MSG_PORT, &y, sizeof y);
    struct gb_msg_loaded loaded = {.inputs = 1, .outputs = 1, .load_us = 7, .warm_us = 3};
    fake_send(GB_MSG_LOADED, &loaded, sizeof loaded);
}

static void fake_load(struct fake *f, const struct gb_msg_load *load, int fd) {
    char model[32] = {0};
    if (pread(fd, model, sizeof model - 1, 0) < 0) {
        _exit(4);
    }
    close(fd);
    if (strcmp(model, "crash") == 0) {
        kill(getpid(), SIGKILL);
    }
    if (strcmp(model, "refuse") == 0 || strcmp(model, "refuse-ok") == 0) {
        struct gb_msg_failed failed = {.code = strcmp(model, "refuse") == 0 ? GB_MODEL_INVALID : 0,
                                       .text = "not a model"};
        fake_send(GB_MSG_FAILED, &failed, sizeof failed);
        _exit(1);
    }
    if (strcmp(model, "hang") == 0) {
        return;
    }
    f->mute = strcmp(model, "mute") == 0;
    f->dynamic = f->mute || strcmp(model, "dynamic") == 0;
    void *slab = mmap(NULL, load->slab_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, GB_WIRE_FD_SLAB,
                      0);
    if (slab == MAP_FAILED) {
        _exit(4);
    }
    f->slab = slab;
    f->head = slab;
    for (uint32_t i = 0; i < load->threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, fake_thread, f) != 0) {
            _exit(4);
        }
    }
    fake_describe(model);
}

/* The whole life of the fake; never returns. */
static _Noreturn void fake_worker_main(void) {
    static struct fake f = {.lock = PTHREAD_MUTEX_INITIALIZER};
    static struct gb_packet packet;
    struct gb_msg_hello hello = {.pid = (uint32_t)getpid(), .engine = "fake 1"};
    fake_send(GB_MSG_HELLO, &hello, sizeof hello);
    for (;;) {
        int fd = -1;
        struct gb_error *e = NULL;
        if (!gb_wire_recv(GB_WIRE_FD_CONTROL, &packet, &fd, &e)) {
            _exit(0);
        }
        if (packet.header.type == GB_MSG_LOAD) {
            fake_load(&f, (const struct gb_msg_load *)(const void *)packet.body, fd);
        } else if (packet.header.type == GB_MSG_CANCEL) {
            const struct gb_msg_cancel *c = (const void *)packet.body;
            f.cancelled[f.cancelled_len % 64] = c->job_id;
            f.cancelled_len++;
        }
    }
}

#endif

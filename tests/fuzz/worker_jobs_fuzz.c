/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's handling of jobs under a host that has lost its way: any bytes are a program that
 * writes job blocks, submits, cancels and lets the worker take what there is, with the fake engine.
 * No crash, no byte outside the slab, nothing leaks; every submission that is taken ends in exactly
 * one completion of its number, and only runs that keep outputs stay in the table.
 *
 * A program: a byte that chooses the model, then steps of a byte each with what it takes behind it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/num.h"
#include "worker/serve.h"

#define DATA_BYTES 65536u
#define SLAB_BYTES (GB_SLAB_DATA_OFFSET + DATA_BYTES)
#define JOBS 8u          /* places for job blocks, in the first half of the data */
#define JOB_STRIDE 4096u
#define TENSORS_AT (GB_SLAB_DATA_OFFSET + JOBS * JOB_STRIDE)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static const char *const models[] = {
    "GLOVEBOX-FAKE\n",
    "GLOVEBOX-FAKE\ndim=0\n",
    "GLOVEBOX-FAKE\ninputs=3\noutputs=2\ndim=0\n",
    "GLOVEBOX-FAKE\ninputs=0\noutputs=1\n",
    "GLOVEBOX-FAKE\ninputs=2\noutputs=0\n",
    "GLOVEBOX-FAKE\nmode=fail\n",
    "GLOVEBOX-FAKE\nmode=bad_shape\ndim=0\n",
};

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

/* ---- reading the program ---- */

struct program {
    const uint8_t *at;
    size_t len;
};

static uint8_t next(struct program *p) {
    if (p->len == 0) {
        return 0;
    }
    p->len--;
    return *p->at++;
}

static uint64_t next_u64(struct program *p) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | next(p);
    }
    return value;
}

/* ---- the worker around a job ---- */

/* The doorbells, which the worker knows by number; nobody reads them here. */
static void make_doorbells(void) {
    static bool made;
    if (made) {
        return;
    }
    made = true;
    for (int fd = GB_WIRE_FD_SUBMIT; fd <= GB_WIRE_FD_COMPLETE; fd++) {
        int bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        require(bell >= 0 && (bell == fd || dup2(bell, fd) == fd), "a doorbell can be made");
        if (bell != fd && bell != GB_WIRE_FD_SUBMIT) {
            close(bell);
        }
    }
}

static struct gb_session *session_of(size_t model) {
    static struct gb_engine *engine;
    static struct gb_session *sessions[GB_COUNT(models)];
    const struct gb_backend *fake = gb_backend_find("fake");
    require(fake != NULL, "there is a fake engine");
    engine = engine ? engine : fake->engine_open("none", NULL);
    if (!sessions[model]) {
        struct gb_backend_load load = {
            .model = gb_span_make(models[model], strlen(models[model]))};
        sessions[model] = fake->session_load(engine, &load, NULL);
    }
    require(sessions[model] != NULL, "the fake model loads");
    return sessions[model];
}

static void serve_init(struct gb_serve *s, size_t model) {
    memset(s, 0, sizeof *s);
    s->backend = gb_backend_find("fake");
    s->session = session_of(model);
    s->inputs = s->backend->session_ports(s->session, false, &s->inputs_len);
    s->outputs = s->backend->session_ports(s->session, true, &s->outputs_len);
    s->slab_bytes = SLAB_BYTES;
    s->slab = aligned_alloc(GB_SLAB_ALIGN, SLAB_BYTES); /* no byte more than it says */
    require(s->slab != NULL, "memory");
    memset(s->slab, 0, SLAB_BYTES);
    void *head = s->slab;
    s->head = head;
    gb_slab_init(s->head, SLAB_BYTES);
    s->model_fd = -1;
    atomic_store(&s->idle, 1);
    pthread_mutex_init(&s->jobs_lock, NULL);
    pthread_mutex_init(&s->complete_lock, NULL);
}

static void serve_fini(struct gb_serve *s) {
    for (size_t i = 0; i < s->jobs_len; i++) {
        require(s->jobs[i].kept && s->jobs[i].run, "who stays keeps outputs");
        s->backend->run_free(s->jobs[i].run);
    }
    pthread_mutex_destroy(&s->jobs_lock);
    pthread_mutex_destroy(&s->complete_lock);
    free(s->slab);
}

/* ---- steps ---- */

static struct gb_wire_job *job_at(struct gb_serve *s, uint8_t index) {
    void *at = s->slab + GB_SLAB_DATA_OFFSET + (size_t)(index % JOBS) * JOB_STRIDE;
    return at;
}

/* A block as an honest host writes it: its number is `id`, all tensors have `dim` elements. */
static void write_job(struct gb_serve *s, struct program *p) {
    uint8_t index = next(p);
    struct gb_wire_job *job = job_at(s, index);
    uint64_t dim = next(p);
    uint8_t places = next(p);
    uint8_t first = next(p);
    memset(job, 0, gb_wire_job_bytes(s->inputs_len, s->outputs_len));
    job->job_id = index;
    job->inputs = s->inputs_len;
    job->outputs = s->outputs_len;
    for (uint32_t i = 0; i < s->inputs_len + s->outputs_len; i++) {
        struct gb_wire_tensor *t = &job->tensors[i];
        bool output = i >= s->inputs_len;
        t->port = output ? i - s->inputs_len : i;
        t->rank = 1;
        t->dims[0] = dim;
        if (!output || places & 1u << (i & 7)) {
            t->bytes = dim * sizeof(float);
            t->offset = TENSORS_AT + (uint64_t)i * 1024;
        }
    }
    s->slab[TENSORS_AT] = first; /* of the first input: not zero, and the fake engine misbehaves */
}

/* Any bytes anywhere in the data. */
static void scribble(struct gb_serve *s, struct program *p) {
    size_t at = (size_t)next(p) << 8;
    at |= next(p);
    size_t len = (size_t)next(p) + 1;
    len = GB_MIN(len, GB_MIN(DATA_BYTES - at, p->len));
    if (len > 0) {
        memcpy(s->slab + GB_SLAB_DATA_OFFSET + at, p->at, len);
        p->at += len;
        p->len -= len;
    }
}

static void submit(struct gb_serve *s, struct program *p, bool honest) {
    uint8_t index = next(p);
    struct gb_submission sub = {
        .job_id = index,
        .job_offset = (uint64_t)((const uint8_t *)job_at(s, index) - s->slab),
        .operation = honest ? 1u + next(p) % 3u : next(p)};
    if (!honest) {
        sub.job_id = next_u64(p);
        sub.job_offset = next_u64(p);
    }
    bool broken = false;
    (void)gb_ring_submit(s->head, &sub, &broken);
}

/* The worker takes one; what it answers is read at once, as a ring has room for a host that does
 * so. */
static void serve_one(struct gb_serve *s, struct gb_infer *in) {
    uint64_t head = atomic_load(&s->head->submit.head);
    bool there = gb_ring_has_submission(s->head);
    uint64_t id = s->head->submissions[head & (GB_WIRE_RING_SLOTS - 1u)].job_id;
    bool took = gb_infer_one(in);
    struct gb_completion c = {0};
    bool broken = false;
    require(took == there, "what is there is taken");
    require(gb_ring_reap(s->head, &c, &broken) == took && !broken, "an answer to each");
    if (took) {
        require(c.job_id == id, "the answer is of that job");
        require(gb_wire_completion_check(&c, id, NULL), "its numbers are possible");
        require(!gb_ring_reap(s->head, &c, &broken), "one answer");
    }
    require(s->jobs_len <= GB_JOBS_MAX && s->cancelled_len <= GB_WIRE_RING_SLOTS, "tables hold");
    for (size_t i = 0; i < s->jobs_len; i++) {
        require(s->jobs[i].kept && s->jobs[i].run, "who stays keeps outputs");
    }
}

/* Where the worker looks for the next one; whatever was queued is lost. */
static void break_ring(struct gb_serve *s, struct program *p) {
    atomic_store(&s->head->submit.head, next_u64(p));
    atomic_store(&s->head->submit.tail, next_u64(p));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    static struct gb_serve serve;
    struct program p = {bytes, len};
    make_doorbells();
    serve_init(&serve, next(&p) % GB_COUNT(models));
    struct gb_infer *in = gb_infer_new(&serve, NULL);
    require(in != NULL, "memory");
    while (p.len > 0) {
        switch (next(&p) % 8) {
        case 0:
            write_job(&serve, &p);
            break;
        case 1:
            scribble(&serve, &p);
            break;
        case 2:
        case 3:
            submit(&serve, &p, true);
            break;
        case 4:
            submit(&serve, &p, false);
            break;
        case 5:
            gb_jobs_cancel(&serve, next(&p));
            break;
        case 6:
            serve_one(&serve, in);
            break;
        default:
            break_ring(&serve, &p);
            break;
        }
    }
    for (unsigned i = 0; i < GB_WIRE_RING_SLOTS + 1 && gb_ring_has_submission(serve.head); i++) {
        serve_one(&serve, in);
    }
    require(!gb_ring_has_submission(serve.head), "a ring holds no more than its slots");
    gb_free(in);
    serve_fini(&serve);
    return 0;
}

#include "replay.h"

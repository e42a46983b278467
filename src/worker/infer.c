/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An inference thread: takes submissions, runs the engine on tensors in the slab, answers.
 *
 * After a job a thread spins for a moment before it sleeps, where there are cores for it and where
 * it has lately paid; while it does, the host need not ring. Two rules keep wake-ups from being
 * lost: who stops spinning looks at the ring again, and who takes a job while more are waiting and
 * others sleep rings for them.
 * Every job ends in exactly one completion. Its block is copied before it is looked at. Errors go
 * into the block as code and text.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/num.h"
#include "worker/serve.h"

#define SPIN_US 40u
#define SPIN_SCORE_MAX 8
#define SPIN_RETRY_JOBS 32u

/* A private copy of a job block; one per thread, because it is large. */
struct job_copy {
    struct gb_wire_job job;
    struct gb_wire_tensor tensors[2 * GB_WIRE_PORTS_MAX];
};
_Static_assert(offsetof(struct job_copy, tensors) == sizeof(struct gb_wire_job), "no gap");

struct gb_infer {
    struct gb_serve *serve;
    struct job_copy copy;
    struct gb_wire_job *shared; /* the block itself; NULL when it is nonsense */
    struct gb_backend_tensor inputs[GB_WIRE_PORTS_MAX];
    struct gb_backend_tensor outputs[GB_WIRE_PORTS_MAX];
    int spin_score;
    uint32_t spin_skipped;
};

static void ring(int fd) {
    const uint64_t one = 1;
    ssize_t rc = 0;
    do {
        rc = write(fd, &one, sizeof one);
    } while (rc < 0 && errno == EINTR);
    /* A full counter (EAGAIN) wakes its reader as well as one more would. */
}

static void complete(struct gb_infer *in, const struct gb_completion *c) {
    struct gb_serve *s = in->serve;
    for (;;) {
        pthread_mutex_lock(&s->complete_lock);
        bool done = gb_ring_complete(s->head, c);
        pthread_mutex_unlock(&s->complete_lock);
        if (done) {
            break;
        }
        usleep(200); /* the host keeps fewer jobs open than there are slots: this is not normal */
    }
    ring(GB_WIRE_FD_COMPLETE);
}

/* Answers with the error's code, and its text in the block. Takes e. */
static void complete_failed(struct gb_infer *in, struct gb_completion *c, struct gb_error *e) {
    enum gb_code code = e != NULL ? e->code : GB_INTERNAL;
    c->status = code == GB_CANCELLED ? GB_JOB_CANCELLED : GB_JOB_FAILED;
    c->code = c->status == GB_JOB_FAILED ? (uint32_t)code : GB_OK;
    if (in->shared != NULL) {
        const char *text = e != NULL && e->message != NULL ? e->message : "";
        size_t len = GB_MIN(strlen(text), sizeof in->shared->text - 1);
        memcpy(in->shared->text, text, len);
        in->shared->text[len] = '\0';
    }
    gb_error_free(e);
    complete(in, c);
}

/* Copies the block and checks that it is one of this model. */
static bool copy_job(struct gb_infer *in, const struct gb_submission *sub, struct gb_error **err) {
    struct gb_serve *s = in->serve;
    size_t bytes = gb_wire_job_bytes(s->inputs_len, s->outputs_len);
    in->shared = NULL;
    if (sub->job_offset % GB_SLAB_ALIGN != 0 || sub->job_offset < GB_SLAB_DATA_OFFSET ||
        !gb_range_ok(sub->job_offset, bytes, s->slab_bytes)) {
        return gb_fail(err, GB_INTERNAL, "a job block at %llu is outside the slab",
                       (unsigned long long)sub->job_offset);
    }
    void *at = s->slab + sub->job_offset;
    in->shared = at;
    memcpy(&in->copy, at, bytes);
    atomic_signal_fence(memory_order_seq_cst);
    const struct gb_wire_job *job = &in->copy.job;
    if (job->job_id != sub->job_id || job->inputs != s->inputs_len ||
        job->outputs != s->outputs_len) {
        return gb_fail(err, GB_INTERNAL, "a job block does not belong to its submission");
    }
    return true;
}

/* A tensor of the block as one of the engine's. */
static bool map_tensor(struct gb_infer *in, size_t index, const struct gb_port *port, bool output,
                       struct gb_backend_tensor *ret_tensor, struct gb_error **err) {
    const struct gb_wire_tensor *t = &in->copy.tensors[index];
    bool none = output && t->offset == 0;
    bool inside = t->offset >= GB_SLAB_DATA_OFFSET && t->offset % GB_SLAB_ALIGN == 0 &&
                  gb_range_ok(t->offset, t->bytes, in->serve->slab_bytes);
    if (t->rank > GB_WIRE_RANK_MAX || (!none && !inside)) {
        return gb_fail(err, GB_INTERNAL, "a tensor of \"%s\" is no block of the slab", port->name);
    }
    uint64_t bytes = 0;
    if (port->type != GB_TYPE_OTHER && !none &&
        (!gb_tensor_bytes((enum gb_type)port->type, t->dims, t->rank, &bytes) ||
         bytes != t->bytes)) {
        return gb_fail(err, GB_INPUT_SHAPE, "\"%s\": the shape does not take %llu bytes",
                       port->name, (unsigned long long)t->bytes);
    }
    ret_tensor->rank = t->rank;
    memcpy(ret_tensor->dims, t->dims, sizeof t->dims);
    ret_tensor->ptr = none ? NULL : in->serve->slab + t->offset;
    ret_tensor->bytes = none ? 0 : t->bytes;
    return true;
}

static bool map_outputs(struct gb_infer *in, struct gb_error **err) {
    const struct gb_serve *s = in->serve;
    for (uint32_t i = 0; i < s->outputs_len; i++) {
        if (!map_tensor(in, (size_t)s->inputs_len + i, &s->outputs[i], true, &in->outputs[i],
                        err)) {
            return false;
        }
    }
    return true;
}

static bool map_inputs(struct gb_infer *in, struct gb_error **err) {
    const struct gb_serve *s = in->serve;
    for (uint32_t i = 0; i < s->inputs_len; i++) {
        if (in->copy.tensors[i].port != i) {
            return gb_fail(err, GB_INTERNAL, "a job's inputs are out of order");
        }
        if (!map_tensor(in, i, &s->inputs[i], false, &in->inputs[i], err)) {
            return false;
        }
    }
    return true;
}

/* What came out, into the shared block; the places are the host's and stay. */
static void report_outputs(struct gb_infer *in) {
    const struct gb_serve *s = in->serve;
    for (uint32_t i = 0; i < s->outputs_len; i++) {
        struct gb_wire_tensor *t = &in->shared->tensors[(size_t)s->inputs_len + i];
        t->port = i;
        t->rank = in->outputs[i].rank;
        memcpy(t->dims, in->outputs[i].dims, sizeof t->dims);
        t->bytes = in->outputs[i].bytes;
    }
}

static bool run_engine(struct gb_infer *in, struct gb_run *run, uint64_t job_id, bool *ret_kept,
                       struct gb_completion *c, struct gb_error **err) {
    struct gb_serve *s = in->serve;
    if (!map_inputs(in, err) || !map_outputs(in, err)) {
        return false;
    }
    if (!gb_jobs_attach(s, job_id, run)) {
        return gb_fail(err, GB_CANCELLED, "the inference was cancelled");
    }
    uint64_t start = gb_now_us();
    c->queue_us = start - GB_MIN(in->copy.job.submitted_us, start);
    bool ok = s->backend->run_go(run, in->inputs, in->outputs, ret_kept, err);
    c->run_us = gb_now_us() - start;
    return ok;
}

/* Takes err, of the block. */
static void refuse_run(struct gb_infer *in, struct gb_completion *c, enum gb_take taken,
                       struct gb_error *err) {
    if (taken == GB_TAKE_CANCELLED) {
        gb_error_clear(&err);
        gb_fail(&err, GB_CANCELLED, "the inference was cancelled");
    } else if (taken == GB_TAKE_TWICE) {
        gb_fail(&err, GB_INTERNAL, "there is an inference of that number already");
    } else {
        gb_fail(&err, GB_OVERLOADED, "the worker keeps the outputs of too many inferences");
    }
    complete_failed(in, c, err);
}

static void do_run(struct gb_infer *in, const struct gb_submission *sub, enum gb_take taken) {
    struct gb_serve *s = in->serve;
    struct gb_completion c = {.job_id = sub->job_id};
    struct gb_error *err = NULL;
    bool kept = false;
    bool ok = copy_job(in, sub, &err);
    if (taken != GB_TAKE_OK) {
        refuse_run(in, &c, taken, err);
        return;
    }
    struct gb_run *run = ok ? s->backend->run_new(s->session, &err) : NULL;
    ok = run != NULL && run_engine(in, run, sub->job_id, &kept, &c, &err);
    bool cancelled = gb_jobs_finish(s, sub->job_id, ok && kept);
    if (ok && !cancelled) {
        report_outputs(in);
        c.status = kept ? GB_JOB_NEED_SPACE : GB_JOB_OK;
        if (!kept) {
            s->backend->run_free(run);
        }
        complete(in, &c);
        return;
    }
    if (run != NULL) {
        s->backend->run_free(run);
    }
    if (ok) {
        gb_fail(&err, GB_CANCELLED, "the inference was cancelled");
    }
    complete_failed(in, &c, err);
}

static void do_fetch(struct gb_infer *in, const struct gb_submission *sub) {
    struct gb_serve *s = in->serve;
    struct gb_completion c = {.job_id = sub->job_id, .status = GB_JOB_OK};
    struct gb_error *err = NULL;
    struct gb_run *run = gb_jobs_take_kept(s, sub->job_id);
    bool ok = copy_job(in, sub, &err) && map_outputs(in, &err);
    if (ok && run == NULL) {
        ok = gb_fail(&err, GB_INTERNAL, "nothing is kept of this inference");
    }
    ok = ok && s->backend->run_fetch(run, in->outputs, &err);
    if (run != NULL) {
        s->backend->run_free(run);
    }
    if (ok) {
        complete(in, &c);
    } else {
        complete_failed(in, &c, err);
    }
}

static void do_forget(struct gb_infer *in, const struct gb_submission *sub) {
    struct gb_completion c = {.job_id = sub->job_id, .status = GB_JOB_OK};
    struct gb_run *run = gb_jobs_take_kept(in->serve, sub->job_id);
    if (run != NULL) {
        in->serve->backend->run_free(run);
    }
    complete(in, &c);
}

bool gb_infer_one(struct gb_infer *in) {
    struct gb_serve *s = in->serve;
    struct gb_submission sub;
    enum gb_take taken = gb_jobs_take(s, &sub);
    if (taken == GB_TAKE_NONE) {
        return false;
    }
    /* The host may have counted on a spinning thread, which now has work. */
    if (gb_ring_has_submission(s->head) && atomic_load(&s->idle) > 0) {
        ring(GB_WIRE_FD_SUBMIT);
    }
    switch (sub.operation) {
    case GB_OP_RUN:
        do_run(in, &sub, taken);
        break;
    case GB_OP_FETCH:
        do_fetch(in, &sub);
        break;
    case GB_OP_FORGET:
        do_forget(in, &sub);
        break;
    default: {
        struct gb_error *err = NULL;
        struct gb_completion c = {.job_id = sub.job_id};
        gb_fail(&err, GB_INTERNAL, "operation %u is unknown", sub.operation);
        in->shared = NULL;
        complete_failed(in, &c, err);
    }
    }
    return true;
}

static void pause_core(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* True when a submission came. One thread spins at a time: two would fight for the same job. */
static bool spin(struct gb_infer *in) {
    struct gb_serve *s = in->serve;
    if (!s->may_spin) {
        return false;
    }
    if (in->spin_score <= 0) {
        if (++in->spin_skipped < SPIN_RETRY_JOBS) {
            return false;
        }
        in->spin_skipped = 0;
        in->spin_score = 1;
    }
    uint32_t nobody = 0;
    if (!atomic_compare_exchange_strong(&s->head->worker_spinning, &nobody, 1)) {
        return false;
    }
    uint64_t until = gb_now_us() + SPIN_US;
    bool found = false;
    do {
        for (int i = 0; i < 16 && !found; i++) {
            pause_core();
            found = gb_ring_has_submission(s->head);
        }
    } while (!found && gb_now_us() < until);
    atomic_store(&s->head->worker_spinning, 0);
    found = found || gb_ring_has_submission(s->head);
    in->spin_score = found ? GB_MIN(in->spin_score + 2, SPIN_SCORE_MAX) : in->spin_score - 1;
    return found;
}

/* Sleeps until a doorbell; spurious returns are fine. */
static void wait_for_doorbell(void) {
    uint64_t token = 0;
    ssize_t rc = gb_sys(GB_SYS_READ, -1, read(GB_WIRE_FD_SUBMIT, &token, sizeof token));
    if (rc < 0 && errno == EAGAIN) {
        struct pollfd bell = {.fd = GB_WIRE_FD_SUBMIT, .events = POLLIN};
        (void)poll(&bell, 1, -1);
    } else if (rc < 0 && errno != EINTR) {
        _exit(3); /* the doorbell is gone: nobody can ask anything of us */
    }
}

struct gb_infer *gb_infer_new(struct gb_serve *s, struct gb_error **err) {
    struct gb_infer *in = gb_calloc(1, sizeof *in, err);
    if (in != NULL) {
        in->serve = s;
        in->spin_score = 2;
    }
    return in;
}

void *gb_infer_thread(void *infer) {
    struct gb_infer *in = infer;
    pthread_mutex_lock(&in->serve->load_lock); /* until the model is loaded */
    pthread_mutex_unlock(&in->serve->load_lock);
    for (;;) {
        bool worked = false;
        while (gb_infer_one(in)) {
            worked = true;
        }
        if (worked && spin(in)) {
            continue;
        }
        atomic_fetch_add(&in->serve->idle, 1);
        if (!gb_ring_has_submission(in->serve->head)) {
            wait_for_doorbell();
        }
        atomic_fetch_sub(&in->serve->idle, 1);
    }
}

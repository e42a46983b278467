/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queue, flights and completions of one worker; everything here runs under its lock.
 *
 * At most 2 * threads jobs are with the worker, in the order of its ring, so the first `threads` of
 * them are those that may be running; only for these does the grace of a cancellation run. The rest
 * waits here, where dropping a job costs nothing and a restart loses nothing.
 * What the worker says is copied, checked, then used; nonsense kills it.
 */
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/num.h"
#include "model/worker_internal.h"

#define RUN_US_MAX ((uint64_t)3600 * 1000000)

/* ---- the owner's answer ---- */

void gb_job_resolve_locked(struct gb_job *job, struct gb_error *error) {
    if (job->resolved) {
        gb_error_free(error);
        return;
    }
    struct gb_worker *w = job->worker;
    uint64_t total = gb_now_us() - job->submitted_us;
    job->resolved = true;
    job->error = error;
    job->times.total_us = total;
    job->times.run_us = GB_MIN(job->times.run_us, total);
    if (job->times.queue_us == 0 || job->times.queue_us > total - job->times.run_us) {
        job->times.queue_us = job->sent_us != 0 ? total - job->times.run_us : total;
    }
    atomic_store_explicit(&job->state, error ? GB_JOB_ERROR : GB_JOB_DONE, memory_order_release);
    struct gb_worker_hub *hub = w->hub;
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    pthread_mutex_lock(&hub->resolved_lock);
    if (hub->resolved_last) {
        hub->resolved_last->next_resolved = job;
    } else {
        hub->resolved_first = job;
    }
    hub->resolved_last = job;
    pthread_mutex_unlock(&hub->resolved_lock);
    w->unsignalled = true;
}

/* A copy that is never NULL: a job without an error would be a success. */
static struct gb_error *copy_of(const struct gb_error *error) {
    struct gb_error *copy = gb_error_copy(error);
    if (!copy) {
        gb_fail(&copy, GB_BACKEND_LOST, "the worker ended");
    }
    return copy;
}

/* ---- the queue ---- */

void gb_worker_enqueue_locked(struct gb_worker *w, struct gb_job *job) {
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
    job->stage = GB_STAGE_QUEUED;
    job->prev = w->queue_last;
    job->next = NULL;
    if (w->queue_last) {
        w->queue_last->next = job;
    } else {
        w->queue_first = job;
    }
    w->queue_last = job;
    w->queue_len++;
}

void gb_job_dequeue_locked(struct gb_worker *w, struct gb_job *job) {
    if (job->prev) {
        job->prev->next = job->next;
    } else {
        w->queue_first = job->next;
    }
    if (job->next) {
        job->next->prev = job->prev;
    } else {
        w->queue_last = job->prev;
    }
    job->prev = NULL;
    job->next = NULL;
    w->queue_len--;
}

void gb_job_end_locked(struct gb_job *job, struct gb_error *error) {
    bool failed = error || (job->resolved && job->error);
    job->stage = GB_STAGE_ENDED;
    gb_job_drop_blocks(job, failed);
    gb_job_resolve_locked(job, error);
    gb_job_release(job);
}

/* ---- flights ---- */

static void flight_remove(struct gb_worker *w, uint32_t index) {
    w->flights_len--;
    memmove(&w->flights[index], &w->flights[index + 1],
            (w->flights_len - index) * sizeof w->flights[0]);
}

/* Starts the grace of jobs that nobody waits for and that have come to where they may be running; a
 * fetch or a forget that is never answered would hold blocks for ever just as well. */
static void arm_grace(struct gb_worker *w) {
    for (uint32_t i = 0; i < GB_MIN(w->flights_len, w->threads); i++) {
        struct gb_job *job = w->flights[i];
        if (job->resolved && job->kill_at_us == 0) {
            job->kill_at_us = gb_deadline_after_us(w->hub->options.cancel_grace_ms * 1000);
            gb_worker_hub_wake_before(w->hub, job->kill_at_us);
        }
    }
}

static void flight_end(struct gb_worker *w, uint32_t index, struct gb_error *error) {
    struct gb_job *job = w->flights[index];
    flight_remove(w, index);
    gb_job_end_locked(job, error);
    arm_grace(w);
}

static void ring_submit(struct gb_worker *w, struct gb_job *job, enum gb_operation operation) {
    struct gb_slab_head *head = gb_slab_head(w->process.slab);
    struct gb_submission s = {
        .job_id = job->id,
        .job_offset = gb_mem_offset(job->block),
        .operation = operation,
    };
    bool broken = false;
    if (!gb_ring_submit(head, &s, &broken)) {
        /* Never full with so few flights: its counters are nonsense. */
        struct gb_error *e = NULL;
        gb_fail(&e, GB_BACKEND_FAILED, "its submission ring is %s", broken ? "broken" : "stuck");
        gb_worker_broken_locked(w, e);
        return;
    }
    if (gb_ring_needs_doorbell(head)) {
        uint64_t one = 1;
        (void)!write(w->process.submit, &one, sizeof one);
    }
}

static void describe_tensor(struct gb_wire_tensor *to, const struct gb_job_tensor *from,
                            size_t port) {
    memset(to, 0, sizeof *to);
    to->port = (uint32_t)port;
    to->rank = (uint32_t)from->rank;
    if (from->mem) {
        memcpy(to->dims, from->dims, sizeof to->dims);
        to->offset = gb_mem_offset(from->mem);
        to->bytes = from->bytes;
    }
}

static void write_block(struct gb_job *job) {
    struct gb_wire_job *block = (struct gb_wire_job *)(void *)gb_mem_ptr(job->block);
    block->job_id = job->id;
    block->submitted_us = gb_now_us();
    block->inputs = (uint32_t)job->inputs_len;
    block->outputs = (uint32_t)job->outputs_len;
    for (size_t i = 0; i < job->inputs_len; i++) {
        describe_tensor(&block->tensors[i], &job->tensors[i], i);
    }
    for (size_t i = 0; i < job->outputs_len; i++) {
        describe_tensor(&block->tensors[job->inputs_len + i], &job->outputs[i], i);
    }
}

void gb_worker_pump_locked(struct gb_worker *w) {
    while (w->state == GB_WORKER_READY && w->queue_first && w->flights_len < 2 * w->threads) {
        struct gb_job *job = w->queue_first;
        struct gb_error *e = NULL;
        if (!gb_job_place(job, w->process.slab, true, &e)) {
            if (!e && w->flights_len > 0) {
                return; /* no room now; flights will give some back */
            }
            if (!e) {
                gb_fail(&e, GB_OVERLOADED, "the tensors do not fit the shared memory of model "
                        "\"%s\" now", w->name);
                gb_hint(&e, "Hold fewer or smaller tensors, or try again later.");
            }
            gb_job_dequeue_locked(w, job);
            gb_job_end_locked(job, e);
            continue;
        }
        gb_job_dequeue_locked(w, job); /* its reference becomes the flight's */
        job->id = w->next_job_id++;
        job->sent_us = gb_now_us();
        job->stage = GB_STAGE_RUNNING;
        w->flights[w->flights_len++] = job;
        write_block(job);
        ring_submit(w, job, GB_OP_RUN);
    }
}

/* ---- completions ---- */

/* Moves the flight to the end, where its new submission is in the ring. */
static void resubmit(struct gb_worker *w, uint32_t index, enum gb_operation operation) {
    struct gb_job *job = w->flights[index];
    flight_remove(w, index);
    w->flights[w->flights_len++] = job;
    job->stage = operation == GB_OP_FETCH ? GB_STAGE_FETCHING : GB_STAGE_FORGETTING;
    job->kill_at_us = 0; /* the run has stopped */
    ring_submit(w, job, operation);
    arm_grace(w);
}

/* A private copy of the worker's answer, checked. false: *err says why; GB_BUDGET_EXCEEDED is the
 * job's failure, anything else the worker's. */
static bool read_block(const struct gb_worker *w, const struct gb_job *job, bool need_space,
                       struct gb_wire_job **ret_copy, struct gb_error **err) {
    struct gb_wire_block blocks[GB_WIRE_PORTS_MAX] = {0};
    for (size_t i = 0; i < job->outputs_len; i++) {
        if (job->outputs[i].mem) {
            blocks[i].offset = gb_mem_offset(job->outputs[i].mem);
            blocks[i].capacity = gb_mem_bytes(job->outputs[i].mem);
        }
    }
    size_t bytes = gb_wire_job_bytes((uint32_t)job->inputs_len, (uint32_t)job->outputs_len);
    struct gb_wire_job *copy = gb_alloc(bytes, err);
    if (!copy) {
        return false;
    }
    memcpy(copy, gb_mem_ptr(job->block), bytes);
    /* The compiler must not go back to the slab for what it has copied. */
    atomic_signal_fence(memory_order_seq_cst);
    if (!gb_wire_job_check(copy, job->id, (uint32_t)job->inputs_len, w->outputs,
                           (uint32_t)job->outputs_len, blocks, need_space,
                           gb_slab_bytes(w->process.slab) - GB_SLAB_DATA_OFFSET, err)) {
        gb_free(copy);
        return false;
    }
    *ret_copy = copy;
    return true;
}

/* true: the worker is not to blame. */
static bool job_is_at_fault(const struct gb_error *e) {
    return e->code == GB_BUDGET_EXCEEDED || e->code == GB_INTERNAL; /* INTERNAL: no memory here */
}

static void take_shape(struct gb_job_tensor *t, const struct gb_wire_tensor *claim) {
    memset(t->dims, 0, sizeof t->dims);
    memcpy(t->dims, claim->dims, claim->rank * sizeof t->dims[0]);
    t->rank = claim->rank;
    t->bytes = claim->bytes;
}

static void on_ok(struct gb_worker *w, uint32_t index) {
    struct gb_job *job = w->flights[index];
    if (job->resolved) {
        flight_end(w, index, NULL);
        return;
    }
    struct gb_wire_job *copy = NULL;
    struct gb_error *e = NULL;
    if (!read_block(w, job, false, &copy, &e)) {
        if (job_is_at_fault(e)) {
            flight_end(w, index, e);
        } else {
            gb_worker_broken_locked(w, e);
        }
        return;
    }
    for (size_t i = 0; i < job->outputs_len; i++) {
        struct gb_job_tensor *t = &job->outputs[i];
        take_shape(t, &copy->tensors[job->inputs_len + i]);
        if (t->mem) {
            gb_mem_shorten(t->mem, t->bytes);
        }
    }
    gb_free(copy);
    w->served++;
    flight_end(w, index, NULL);
}

/* Blocks for the sizes that are now known. false with *err NULL: no room in the slab. */
static bool place_outputs(struct gb_worker *w, struct gb_job *job, const struct gb_wire_job *copy,
                          struct gb_error **err) {
    for (size_t i = 0; i < job->outputs_len; i++) {
        struct gb_job_tensor *t = &job->outputs[i];
        take_shape(t, &copy->tensors[job->inputs_len + i]);
        if (w->outputs[i].type == GB_TYPE_OTHER || (t->mem && gb_mem_bytes(t->mem) == t->bytes)) {
            continue;
        }
        gb_mem_unref(t->mem);
        t->mem = gb_mem_new_in(w->process.slab, t->bytes, true, job->account, err);
        if (!t->mem) {
            return false;
        }
    }
    return true;
}

static void on_need_space(struct gb_worker *w, uint32_t index) {
    struct gb_job *job = w->flights[index];
    if (job->resolved) {
        resubmit(w, index, GB_OP_FORGET);
        return;
    }
    struct gb_wire_job *copy = NULL;
    struct gb_error *e = NULL;
    bool ok = read_block(w, job, true, &copy, &e);
    if (!ok && !job_is_at_fault(e)) {
        gb_worker_broken_locked(w, e);
        return;
    }
    if (ok && !place_outputs(w, job, copy, &e)) {
        ok = false;
        if (!e) {
            gb_fail(&e, GB_OVERLOADED, "the outputs do not fit the shared memory of model \"%s\" "
                    "now", w->name);
            gb_hint(&e, "Hold fewer or smaller tensors, or try again later.");
        }
    }
    gb_free(copy);
    if (!ok) {
        gb_job_resolve_locked(job, e);
        resubmit(w, index, GB_OP_FORGET);
        return;
    }
    write_block(job);
    resubmit(w, index, GB_OP_FETCH);
}

/* Codes that an engine may give an inference; a worker has no say in others. */
static enum gb_code code_of_worker(uint32_t code) {
    static const enum gb_code allowed[] = {
        GB_INVALID_ARGUMENT, GB_UNSUPPORTED, GB_MODEL_INVALID, GB_INPUT_SHAPE, GB_INPUT_TYPE,
        GB_BUDGET_EXCEEDED,
    };
    for (size_t i = 0; i < GB_COUNT(allowed); i++) {
        if ((uint32_t)allowed[i] == code) {
            return allowed[i];
        }
    }
    return GB_BACKEND_FAILED;
}

static void on_failed(struct gb_worker *w, uint32_t index, uint32_t code) {
    struct gb_job *job = w->flights[index];
    char text[GB_WIRE_TEXT_MAX + 1];
    const struct gb_wire_job *block = (const void *)gb_mem_ptr(job->block);
    memcpy(text, block->text, sizeof text);
    text[GB_WIRE_TEXT_MAX] = '\0';
    struct gb_buf shown;
    gb_buf_init(&shown, 4 * sizeof text);
    (void)gb_buf_append_escaped(&shown, gb_span_of(text), NULL);
    struct gb_error *e = NULL;
    gb_fail(&e, code_of_worker(code), "the inference on model \"%s\" failed: %s", w->name,
            shown.len > 0 ? gb_buf_text(&shown) : "the engine did not say why");
    gb_buf_fini(&shown);
    w->served++;
    flight_end(w, index, e);
}

static void on_completion(struct gb_worker *w, const struct gb_completion *c) {
    struct gb_error *e = NULL;
    uint32_t index = 0;
    while (index < w->flights_len && w->flights[index]->id != c->job_id) {
        index++;
    }
    if (index == w->flights_len) {
        gb_fail(&e, GB_BACKEND_FAILED, "a completion for job %llu, which it does not have",
                (unsigned long long)c->job_id);
        gb_worker_broken_locked(w, e);
        return;
    }
    struct gb_job *job = w->flights[index];
    if (!gb_wire_completion_check(c, job->id, &e)) {
        gb_worker_broken_locked(w, e);
        return;
    }
    if (job->stage == GB_STAGE_FORGETTING) {
        flight_end(w, index, NULL);
        return;
    }
    if (!job->resolved) {
        uint64_t elapsed = gb_now_us() - job->sent_us;
        job->times.run_us = GB_MIN(job->times.run_us + GB_MIN(c->run_us, RUN_US_MAX), elapsed);
        job->times.queue_us = job->sent_us - job->submitted_us +
                              GB_MIN(c->queue_us, elapsed - job->times.run_us);
    }
    if (c->status == GB_JOB_OK && job->stage == GB_STAGE_RUNNING) {
        w->run_us_average = (w->run_us_average * 7 + GB_MIN(c->run_us, RUN_US_MAX)) / 8;
    }
    switch ((enum gb_job_status)c->status) {
    case GB_JOB_OK:
        on_ok(w, index);
        break;
    case GB_JOB_NEED_SPACE:
        if (job->stage == GB_STAGE_RUNNING) {
            on_need_space(w, index);
        } else {
            gb_fail(&e, GB_BACKEND_FAILED, "a fetch that needs space");
            gb_worker_broken_locked(w, e);
        }
        break;
    case GB_JOB_FAILED:
        on_failed(w, index, c->code);
        break;
    case GB_JOB_CANCELLED:
        if (!job->resolved) {
            gb_fail(&e, GB_BACKEND_FAILED, "the engine stopped the inference on model \"%s\"",
                    w->name);
        }
        flight_end(w, index, e);
        break;
    }
}

void gb_worker_reap_ring_locked(struct gb_worker *w) {
    if (!w->process.slab) {
        return;
    }
    struct gb_slab_head *head = gb_slab_head(w->process.slab);
    struct gb_completion c;
    bool broken = false;
    /* Also of a process that is ending: what it finished before is finished. */
    while ((w->state == GB_WORKER_READY || w->state == GB_WORKER_DYING) && !w->distrusted &&
           gb_ring_reap(head, &c, &broken)) {
        on_completion(w, &c);
    }
    if (broken && !w->distrusted) {
        struct gb_error *e = NULL;
        gb_fail(&e, GB_BACKEND_FAILED, "its completion ring is broken");
        gb_worker_broken_locked(w, e);
    }
}

/* ---- cancellation, deadlines, death ---- */

void gb_job_cancel_locked(struct gb_job *job, struct gb_error *error) {
    struct gb_worker *w = job->worker;
    if (job->stage == GB_STAGE_QUEUED) {
        gb_job_dequeue_locked(w, job);
        gb_job_end_locked(job, error);
        return;
    }
    gb_job_resolve_locked(job, error);
    if (w->state != GB_WORKER_READY) {
        return;
    }
    if (job->stage == GB_STAGE_RUNNING && !job->cancel_sent) {
        job->cancel_sent = true;
        struct gb_msg_cancel cancel = {.job_id = job->id};
        struct gb_error *e = NULL;
        if (!gb_wire_send(w->process.control, GB_MSG_CANCEL, &cancel, sizeof cancel, -1, &e)) {
            gb_error_free(e); /* it does not read: the grace runs all the same */
        }
    }
    arm_grace(w);
}

void gb_worker_fail_jobs_locked(struct gb_worker *w, const struct gb_error *error,
                                bool queued_too) {
    for (uint32_t i = 0; i < w->flights_len; i++) {
        if (!w->flights[i]->resolved) {
            gb_job_resolve_locked(w->flights[i], copy_of(error));
        }
    }
    while (queued_too && w->queue_first) {
        struct gb_job *job = w->queue_first;
        gb_job_dequeue_locked(w, job);
        gb_job_end_locked(job, copy_of(error));
    }
}

void gb_worker_end_flights_locked(struct gb_worker *w) {
    while (w->flights_len > 0) {
        struct gb_job *job = w->flights[--w->flights_len];
        gb_job_end_locked(job, NULL);
    }
}

static struct gb_error *deadline_error(const struct gb_worker *w, bool running) {
    struct gb_error *e = NULL;
    if (running) {
        gb_fail(&e, GB_DEADLINE_EXCEEDED,
                "the inference on model \"%s\" did not finish before the deadline", w->name);
    } else {
        gb_fail(&e, GB_DEADLINE_EXCEEDED,
                "the deadline passed while an inference waited for model \"%s\"", w->name);
    }
    if (w->loaded.warm_us > 0) {
        gb_hint(&e, "One inference takes about %llu us on this machine; raise the deadline.",
                (unsigned long long)w->loaded.warm_us);
    }
    return e;
}

void gb_worker_jobs_step_locked(struct gb_worker *w, uint64_t now_us, uint64_t *next_us) {
    gb_worker_reap_ring_locked(w); /* whatever finished in time did, drained or not */
    for (struct gb_job *job = w->queue_first, *next; job; job = next) {
        next = job->next;
        if (job->deadline_us <= now_us) {
            gb_job_cancel_locked(job, deadline_error(w, false));
        } else {
            *next_us = GB_MIN(*next_us, job->deadline_us);
        }
    }
    for (uint32_t i = 0; i < w->flights_len; i++) {
        struct gb_job *job = w->flights[i];
        if (!job->resolved && job->deadline_us <= now_us) {
            gb_job_cancel_locked(job, deadline_error(w, true));
        }
        if (!job->resolved) {
            *next_us = GB_MIN(*next_us, job->deadline_us);
        }
        if (job->kill_at_us == 0 || w->state != GB_WORKER_READY) {
            continue;
        }
        if (job->kill_at_us <= now_us) {
            struct gb_error *reason = NULL;
            gb_fail(&reason, GB_BACKEND_LOST, "the worker of model \"%s\" was ended because a "
                    "cancelled inference did not stop", w->name);
            gb_hint(&reason, "It is started again by itself; try again.");
            w->kills++;
            gb_worker_kill_locked(w, reason);
        } else {
            *next_us = GB_MIN(*next_us, job->kill_at_us);
        }
    }
    gb_worker_pump_locked(w);
}

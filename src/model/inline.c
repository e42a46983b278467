/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running inline jobs. An input that lies in some worker's shared memory is copied first: that
 * worker could change it between the engine's checks and its use, here, in our own process.
 *
 * Threads: any; a queue's jobs are taken under its lock and run outside of it.
 */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/num.h"
#include "model/inline_internal.h"

#define RUN_SLICE_US 1000u

static _Thread_local const struct gb_worker_hub *stepping_hub;

/* ---- one job ---- */

static void wrap_tensor(const struct gb_job_tensor *t, struct gb_backend_tensor *ret_tensor) {
    ret_tensor->rank = (uint32_t)t->rank;
    memcpy(ret_tensor->dims, t->dims, sizeof ret_tensor->dims);
    ret_tensor->ptr = t->mem ? gb_mem_ptr(t->mem) : NULL;
    ret_tensor->bytes = t->mem ? t->bytes : 0;
}

/* Large ones in pages that stay warm from call to call. */
static struct gb_mem *mem_new(const struct gb_inline *model, uint64_t bytes, bool zeroed,
                              struct gb_account *account, struct gb_error **err) {
    struct gb_error *e = NULL;
    struct gb_mem *mem = bytes < GB_INLINE_SLAB_BYTES_MIN
                             ? NULL
                             : gb_mem_new_in(model->slab, bytes, zeroed, account, &e);
    if (e) {
        gb_error_move(err, e);
        return NULL;
    }
    return mem ? mem : gb_mem_new_heap_as(bytes, zeroed, account, err);
}

static bool take_inputs(const struct gb_inline *model, struct gb_job *job,
                        struct gb_backend_tensor *inputs, struct gb_error **err) {
    for (size_t i = 0; i < job->inputs_len; i++) {
        struct gb_job_tensor *t = &job->tensors[i];
        if (t->mem && gb_mem_slab(t->mem) && !gb_slab_is_private(gb_mem_slab(t->mem))) {
            struct gb_mem *own = mem_new(model, t->bytes, false, job->account, err);
            if (!own) {
                return false;
            }
            memcpy(gb_mem_ptr(own), gb_mem_ptr(t->mem), (size_t)t->bytes);
            gb_mem_unref(t->mem);
            t->mem = own;
        }
        wrap_tensor(t, &inputs[i]);
    }
    return true;
}

/* Places for the outputs whose size is known; zeroed, since a guest will read all of them. */
static bool place_outputs(const struct gb_inline *model, struct gb_job *job,
                          struct gb_backend_tensor *outputs, struct gb_error **err) {
    for (size_t i = 0; i < job->outputs_len; i++) {
        struct gb_job_tensor *t = &job->outputs[i];
        if (t->known) {
            t->mem = mem_new(model, t->bytes, true, job->account, err);
            if (!t->mem) {
                return false;
            }
        }
        wrap_tensor(t, &outputs[i]);
    }
    return true;
}

/* What came out, and memory for what the engine keeps. */
static bool take_outputs(struct gb_inline *model, struct gb_job *job, struct gb_run *run, bool kept,
                         struct gb_backend_tensor *outputs, struct gb_error **err) {
    for (size_t i = 0; i < job->outputs_len; i++) {
        struct gb_job_tensor *t = &job->outputs[i];
        const struct gb_backend_tensor *out = &outputs[i];
        memset(t->dims, 0, sizeof t->dims);
        memcpy(t->dims, out->dims, out->rank * sizeof t->dims[0]);
        t->rank = out->rank;
        t->bytes = out->bytes;
        bool carried = job->worker->outputs[i].type != GB_TYPE_OTHER;
        if (carried && (!t->mem || gb_mem_bytes(t->mem) < t->bytes)) {
            gb_mem_unref(t->mem);
            t->mem = mem_new(model, t->bytes, true, job->account, err);
            if (!t->mem) {
                return false;
            }
        }
        if (t->mem) {
            gb_mem_shorten(t->mem, t->bytes);
        }
        outputs[i].ptr = t->mem ? gb_mem_ptr(t->mem) : NULL;
    }
    return !kept || model->backend->run_fetch(run, outputs, err);
}

static bool run_engine(struct gb_inline *model, struct gb_job *job, uint64_t *ret_run_us,
                       uint64_t *ret_end_us, struct gb_error **err) {
    size_t count = job->inputs_len + job->outputs_len;
    struct gb_backend_tensor *tensors = gb_alloc((count + 1) * sizeof *tensors, err);
    struct gb_run *run = tensors ? model->backend->run_new(model->session, err) : NULL;
    struct gb_backend_tensor *outputs = tensors + job->inputs_len;
    bool kept = false;
    bool ok = run && take_inputs(model, job, tensors, err) &&
              place_outputs(model, job, outputs, err);
    if (ok) {
        uint64_t start_us = gb_now_us();
        ok = model->backend->run_go(run, tensors, outputs, &kept, err);
        *ret_end_us = gb_now_us();
        *ret_run_us = *ret_end_us - start_us;
        ok = ok && take_outputs(model, job, run, kept, outputs, err);
    }
    if (run) {
        model->backend->run_free(run);
    }
    gb_free(tensors);
    return ok;
}

/* The engine's words may come from the model's file: escaped, as a worker's are. */
static struct gb_error *job_error(const struct gb_worker *w, struct gb_error *why) {
    if (!why || why->code == GB_BUDGET_EXCEEDED || why->code == GB_INTERNAL) {
        return why;
    }
    struct gb_error *e = NULL;
    struct gb_buf shown;
    gb_buf_init(&shown, 4096);
    (void)gb_buf_append_escaped(&shown, gb_span_of(why->message ? why->message : ""), NULL);
    gb_fail(&e, why->code, "the inference on model \"%s\" failed: %s", w->name,
            gb_buf_text(&shown));
    gb_buf_fini(&shown);
    gb_error_free(why);
    return e;
}

/* Takes the queue's reference of the job. About when it ended: the clock is read no more often than
 * is needed, it is a good part of what a small inference costs here. */
static uint64_t run_job(struct gb_worker_hub *hub, struct gb_job *job) {
    struct gb_worker *w = job->worker;
    struct gb_error *e = NULL;
    uint64_t run_us = 0;
    uint64_t end_us = job->sent_us;
    if (job->deadline_us <= job->sent_us) {
        gb_fail(&e, GB_DEADLINE_EXCEEDED,
                "the deadline passed while an inference waited for model \"%s\"", w->name);
    } else if (!run_engine(w->in_line, job, &run_us, &end_us, &e)) {
        e = job_error(w, e);
    }
    (void)gb_worker_ref(w); /* the job's own may go with its end */
    pthread_mutex_lock(&w->lock);
    if (!e) {
        w->run_us_average = (w->run_us_average * 7 + run_us) / 8;
    }
    if (!job->resolved) { /* cancelled by another thread meanwhile: its times are read by now */
        job->times.run_us = run_us;
    }
    gb_job_end_locked(job, e);
    w->unsignalled = false; /* this thread delivers it right away */
    pthread_mutex_unlock(&w->lock);
    gb_worker_unref(w);
    gb_worker_hub_deliver(hub);
    return end_us;
}

/* ---- queues ---- */

/* Takes one waiting job; its model goes to the end of the list, so that all get their turn. */
static struct gb_job *next_job(struct gb_worker_hub *hub) {
    struct gb_job *job = NULL;
    pthread_mutex_lock(&hub->lock);
    struct gb_worker **at = &hub->inlines;
    while (*at && !job) {
        struct gb_worker *w = *at;
        pthread_mutex_lock(&w->lock);
        job = w->queue_first;
        if (job) {
            gb_job_dequeue_locked(w, job);
            job->stage = GB_STAGE_RUNNING;
            job->sent_us = gb_now_us();
            job->times.queue_us = job->sent_us - job->submitted_us;
        }
        pthread_mutex_unlock(&w->lock);
        if (job && w->next) {
            *at = w->next;
            w->next = NULL;
            while (*at) {
                at = &(*at)->next;
            }
            *at = w;
            break;
        }
        at = &w->next;
    }
    pthread_mutex_unlock(&hub->lock);
    return job;
}

static void ring(const struct gb_worker_hub *hub) {
    uint64_t one = 1;
    (void)!write(hub->resolved_fd, &one, sizeof one);
}

void gb_inline_submitted(struct gb_worker_hub *hub) {
    atomic_store(&hub->inline_waiting, true);
    if (stepping_hub != hub) {
        ring(hub);
    }
}

void gb_inline_stepping(struct gb_worker_hub *hub, bool on) {
    stepping_hub = on ? hub : NULL;
    if (!on && atomic_load(&hub->inline_waiting)) {
        ring(hub);
    }
}

/* By the thread that drains: where only inline models run there is no other. A host that nothing
 * ever wakes keeps what it has until it is woken, or until the ledger asks. */
void gb_inline_trim(struct gb_worker_hub *hub) {
    uint64_t at_us = atomic_load_explicit(&hub->inline_trim_at_us, memory_order_relaxed);
    if (at_us == 0 || gb_now_us() < at_us) {
        return;
    }
    bool more = false;
    pthread_mutex_lock(&hub->lock);
    for (struct gb_worker *w = hub->inlines; w; w = w->next) {
        more = gb_slab_trim(w->in_line->slab) || more;
    }
    pthread_mutex_unlock(&hub->lock);
    atomic_store(&hub->inline_trim_at_us,
                 more ? gb_deadline_after_us(hub->options.keep_ms * 1000) : 0);
}

bool gb_inline_run(struct gb_worker_hub *hub) {
    if (!atomic_load_explicit(&hub->inline_waiting, memory_order_relaxed) ||
        !atomic_exchange(&hub->inline_waiting, false)) {
        return false;
    }
    bool any = false;
    uint64_t until_us = 0;
    for (struct gb_job *job; (job = next_job(hub)) != NULL;) {
        until_us = any ? until_us : job->sent_us + RUN_SLICE_US;
        any = true;
        if (run_job(hub, job) >= until_us) {
            gb_inline_submitted(hub); /* perhaps nothing is left: then this costs one look */
            break;
        }
    }
    return any;
}

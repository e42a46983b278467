/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The job object: made from a spec, put into the slab, asked about, let go.
 *
 * A job has two lives. Its owner's ends with the answer, which a deadline or a cancellation gives
 * at once; the worker's ends when it acknowledged or was reaped, and until then the job holds every
 * block that the worker may write. References: the owner's, one while queued or in flight, one
 * while on the resolved list.
 * Threads: any. After the state has left WAITING its results never change.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/num.h"
#include "model/inline.h"
#include "model/quarantine.h"
#include "model/worker_internal.h"

/* ---- shapes ---- */

/* Outputs whose every dimension is fixed or bound by the inputs can be written in place. */
static void predict_output(const struct gb_worker *w, struct gb_job *job, size_t index) {
    const struct gb_port *port = &w->outputs[index];
    struct gb_job_tensor *t = &job->outputs[index];
    t->rank = port->rank;
    for (size_t d = 0; d < port->rank; d++) {
        if (port->dims[d] >= 0) {
            t->dims[d] = (uint64_t)port->dims[d];
        } else {
            uint16_t from = w->outputs_bound[GB_DIM(index, d)];
            if (from == GB_DIM_UNBOUND) {
                return;
            }
            t->dims[d] = job->tensors[from / GB_WIRE_RANK_MAX].dims[from % GB_WIRE_RANK_MAX];
        }
    }
    t->known = gb_tensor_bytes((enum gb_type)port->type, t->dims, t->rank, &t->bytes);
}

static bool take_input(const struct gb_worker *w, struct gb_job *job,
                       const struct gb_tensor_ref *input, struct gb_error **err) {
    uint64_t bytes = 0;
    if (input->port >= w->inputs_len || job->tensors[input->port].known) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "model \"%s\" has no further input %zu", w->name,
                       input->port);
    }
    const struct gb_port *port = &w->inputs[input->port];
    bool fits = input->rank == port->rank &&
                gb_tensor_bytes((enum gb_type)port->type, input->dims, input->rank, &bytes) &&
                bytes == (input->mem ? gb_mem_bytes(input->mem) : 0);
    for (size_t d = 0; fits && d < input->rank; d++) {
        fits = port->dims[d] < 0 || (uint64_t)port->dims[d] == input->dims[d];
    }
    if (!fits) {
        return gb_fail(err, GB_INPUT_SHAPE, "input \"%s\" of model \"%s\" has the wrong shape",
                       port->name, w->name);
    }
    struct gb_job_tensor *t = &job->tensors[input->port];
    memcpy(t->dims, input->dims, input->rank * sizeof t->dims[0]);
    t->rank = input->rank;
    t->bytes = bytes;
    t->known = true;
    t->mem = input->mem ? gb_mem_ref(input->mem) : NULL; /* an empty tensor may have none */
    return true;
}

/* ---- making and freeing ---- */

void gb_job_drop_blocks(struct gb_job *job, bool outputs_too) {
    size_t count = job->inputs_len + (outputs_too ? job->outputs_len : 0);
    for (size_t i = 0; i < count; i++) {
        gb_mem_unref(job->tensors[i].mem);
        job->tensors[i].mem = NULL;
    }
    gb_mem_unref(job->block);
    job->block = NULL;
}

void gb_job_release(struct gb_job *job) {
    if (!job || atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    gb_job_drop_blocks(job, true);
    gb_error_free(job->error);
    if (job->account) {
        gb_uncharge(job->account, GB_CHARGE_GRAPH, job->struct_bytes);
        gb_account_unref(job->account);
    }
    gb_worker_unref(job->worker);
    gb_free(job);
}

static struct gb_job *job_new(struct gb_worker *w, const struct gb_job_spec *spec, uint64_t now_us,
                              struct gb_error **err) {
    uint64_t bytes =
        sizeof(struct gb_job) + (w->inputs_len + w->outputs_len) * sizeof(struct gb_job_tensor);
    if (spec->account && !gb_charge(spec->account, GB_CHARGE_GRAPH, bytes, err)) {
        return NULL;
    }
    struct gb_job *job = gb_calloc(1, (size_t)bytes, err);
    if (!job) {
        if (spec->account) {
            gb_uncharge(spec->account, GB_CHARGE_GRAPH, bytes);
        }
        return NULL;
    }
    atomic_init(&job->refs, 1);
    atomic_init(&job->state, GB_JOB_WAITING);
    job->worker = gb_worker_ref(w);
    job->account = spec->account ? gb_account_ref(spec->account) : NULL;
    job->struct_bytes = bytes;
    job->deadline_us = spec->deadline_us;
    job->submitted_us = now_us;
    job->done = spec->done;
    job->user = spec->user;
    job->inputs_len = w->inputs_len;
    job->outputs_len = w->outputs_len;
    job->outputs = job->tensors + job->inputs_len;
    bool ok = spec->inputs_len == w->inputs_len ||
              gb_fail(err, GB_INPUT_SHAPE, "model \"%s\" takes %zu inputs, not %zu", w->name,
                      w->inputs_len, spec->inputs_len);
    for (size_t i = 0; ok && i < spec->inputs_len; i++) {
        ok = take_input(w, job, &spec->inputs[i], err);
    }
    if (!ok) {
        gb_job_release(job);
        return NULL;
    }
    for (size_t i = 0; i < job->outputs_len; i++) {
        predict_output(w, job, i);
    }
    return job;
}

/* One tensor into the slab. An input keeps its bytes, an output starts as zeros. */
static bool place_tensor(struct gb_job *job, struct gb_job_tensor *t, struct gb_slab *slab,
                         bool is_input, bool in_turn, struct gb_error **err) {
    if (!t->known || (t->mem && gb_mem_slab(t->mem) == slab)) {
        return true;
    }
    struct gb_mem *placed = (in_turn ? gb_mem_new_in : gb_mem_new_lasting_in)(
        slab, t->bytes, !is_input, job->account, err);
    if (!placed) {
        return false;
    }
    if (is_input && t->bytes > 0) {
        memcpy(gb_mem_ptr(placed), gb_mem_ptr(t->mem), (size_t)t->bytes);
    }
    gb_mem_unref(t->mem);
    t->mem = placed;
    return true;
}

bool gb_job_place(struct gb_job *job, struct gb_slab *slab, bool in_turn, struct gb_error **err) {
    for (size_t i = 0; i < job->inputs_len + job->outputs_len; i++) {
        if (!place_tensor(job, &job->tensors[i], slab, i < job->inputs_len, in_turn, err)) {
            return false;
        }
    }
    if (!job->block || gb_mem_slab(job->block) != slab) {
        size_t bytes = gb_wire_job_bytes((uint32_t)job->inputs_len, (uint32_t)job->outputs_len);
        struct gb_mem *block = gb_mem_new_in(slab, bytes, true, job->account, err);
        if (!block) {
            return false;
        }
        gb_mem_unref(job->block);
        job->block = block;
    }
    return true;
}

/* ---- submitting ---- */

/* May this worker take a job? Under its lock. */
static bool admits(const struct gb_worker *w, struct gb_error **err) {
    if (w->state >= GB_WORKER_LOST || !w->ever_ready) {
        return w->reason ? gb_error_move(err, gb_error_copy(w->reason))
                         : gb_fail(err, GB_BACKEND_LOST,
                                   "the worker of model \"%s\" is not running", w->name);
    }
    bool at_once = w->state == GB_WORKER_READY && w->flights_len < 2 * w->threads;
    if (!at_once && w->queue_len >= w->hub->options.queue_max) {
        uint64_t wait_ms = (w->queue_len + w->flights_len) * w->run_us_average / w->threads / 1000;
        gb_fail(err, GB_OVERLOADED, "%u inferences wait for model \"%s\" already", w->queue_len,
                w->name);
        return gb_hint(err, "Try again after %llu ms.", (unsigned long long)(wait_ms + 1));
    }
    return true;
}

/* Counted; NULL where there is no process. *ret_trim_at_us: the supervisor must wake then, to look
 * at what the slab keeps; left as it is where that is known already. */
static struct gb_slab *slab_locked(struct gb_worker *w, uint64_t *ret_trim_at_us) {
    if (w->state != GB_WORKER_READY) {
        return NULL;
    }
    if (w->trim_at_us == 0) {
        w->trim_at_us = gb_deadline_after_us(w->hub->options.keep_ms * 1000);
        *ret_trim_at_us = w->trim_at_us;
    }
    return gb_slab_ref(w->process.slab);
}

struct gb_job *gb_worker_job_submit(struct gb_worker *w, const struct gb_job_spec *spec,
                                    struct gb_error **err) {
    uint64_t trim_at_us = GB_NEVER;
    pthread_mutex_lock(&w->lock);
    bool ok = admits(w, err);
    struct gb_slab *slab = ok ? slab_locked(w, &trim_at_us) : NULL;
    pthread_mutex_unlock(&w->lock);
    gb_worker_hub_wake_before(w->hub, trim_at_us);
    uint64_t now_us = gb_now_us();
    if (ok && spec->deadline_us <= now_us) {
        ok = gb_fail(err, GB_DEADLINE_EXCEEDED, "the deadline passed before the inference began");
    }
    struct gb_job *job = ok ? job_new(w, spec, now_us, err) : NULL;
    if (job && !gb_quarantine_admits(job, err)) {
        gb_job_release(job);
        job = NULL;
    }
    if (job && slab) {
        /* Copies happen here, on the caller's thread and outside the lock. No room, or none in its
         * tenant's share, is not an error yet: it is tried again when the job's turn comes. */
        struct gb_error *e = NULL;
        if (!gb_job_place(job, slab, false, &e) && e) {
            gb_error_move(err, e);
            gb_job_release(job);
            job = NULL;
        }
    }
    gb_slab_unref(slab);
    if (!job) {
        return NULL;
    }
    pthread_mutex_lock(&w->lock);
    ok = admits(w, err);
    if (ok) {
        gb_worker_enqueue_locked(w, job);
        gb_worker_pump_locked(w);
    }
    gb_worker_unlock(w);
    if (!ok) {
        gb_job_release(job);
        return NULL;
    }
    if (w->in_line) {
        gb_inline_submitted(w->hub);
    } else {
        gb_worker_hub_wake_before(w->hub, job->deadline_us);
    }
    return job;
}

/* The slab that tensors for w lie in now, counted; NULL for small ones of an inline model. */
static struct gb_slab *slab_for(struct gb_worker *w, uint64_t bytes) {
    struct gb_worker_hub *hub = w->hub;
    struct gb_slab *slab = NULL;
    uint64_t trim_at_us = GB_NEVER;
    if (!w->in_line) {
        pthread_mutex_lock(&w->lock);
        slab = slab_locked(w, &trim_at_us);
        pthread_mutex_unlock(&w->lock);
        gb_worker_hub_wake_before(hub, trim_at_us);
    } else if (bytes >= GB_INLINE_SLAB_BYTES_MIN) {
        if (atomic_load_explicit(&hub->inline_trim_at_us, memory_order_relaxed) == 0) {
            atomic_store(&hub->inline_trim_at_us,
                         gb_deadline_after_us(hub->options.keep_ms * 1000));
        }
        slab = gb_slab_ref(gb_inline_slab(w->in_line));
    }
    return slab;
}

/* In the slab of the present process where the tenant's share allows it, else on the heap. */
static struct gb_mem *worker_mem(struct gb_worker *w, uint64_t bytes, bool zeroed,
                                 struct gb_account *account, struct gb_error **err) {
    struct gb_slab *slab = w ? slab_for(w, bytes) : NULL;
    struct gb_error *e = NULL;
    struct gb_mem *mem = slab ? gb_mem_new_lasting_in(slab, bytes, zeroed, account, &e) : NULL;
    gb_slab_unref(slab);
    if (e) {
        gb_error_move(err, e);
        return NULL;
    }
    return mem ? mem : gb_mem_new_heap_as(bytes, zeroed, account, err);
}

struct gb_mem *gb_worker_mem_new(struct gb_worker *w, uint64_t bytes, struct gb_account *account,
                                 struct gb_error **err) {
    return worker_mem(w, bytes, true, account, err);
}

struct gb_mem *gb_worker_mem_copy(struct gb_worker *w, struct gb_span bytes,
                                  struct gb_account *account, struct gb_error **err) {
    struct gb_mem *mem = worker_mem(w, bytes.len, false, account, err);
    if (mem && bytes.len > 0) {
        gb_mem_populate(mem);
        memcpy(gb_mem_ptr(mem), bytes.ptr, bytes.len);
    }
    return mem;
}

/* ---- asking and letting go ---- */

enum gb_job_state gb_job_state(struct gb_job *job) {
    return (enum gb_job_state)atomic_load_explicit(&job->state, memory_order_acquire);
}

struct gb_error *gb_job_error(const struct gb_job *job) {
    return atomic_load_explicit(&job->state, memory_order_acquire) == GB_JOB_ERROR
               ? gb_error_copy(job->error)
               : NULL;
}

bool gb_job_output(const struct gb_job *job, size_t index, struct gb_job_output *ret_output) {
    if (atomic_load_explicit(&job->state, memory_order_acquire) != GB_JOB_DONE ||
        index >= job->outputs_len || job->worker->outputs[index].type == GB_TYPE_OTHER) {
        return false;
    }
    const struct gb_job_tensor *t = &job->outputs[index];
    ret_output->type = (enum gb_type)job->worker->outputs[index].type;
    memcpy(ret_output->dims, t->dims, sizeof ret_output->dims);
    ret_output->rank = t->rank;
    ret_output->mem = t->mem;
    return true;
}

struct gb_job_times gb_job_times(const struct gb_job *job) {
    if (atomic_load_explicit(&job->state, memory_order_acquire) == GB_JOB_WAITING) {
        return (struct gb_job_times){0};
    }
    return job->times;
}

void gb_job_cancel(struct gb_job *job) {
    struct gb_worker *w = job->worker;
    pthread_mutex_lock(&w->lock);
    if (!job->resolved) {
        struct gb_error *e = NULL;
        gb_fail(&e, GB_CANCELLED, "the inference on model \"%s\" was cancelled", w->name);
        gb_job_cancel_locked(job, e);
    }
    gb_worker_unlock(w);
}

void gb_job_unref(struct gb_job *job) {
    if (!job) {
        return;
    }
    struct gb_worker_hub *hub = job->worker->hub;
    pthread_mutex_lock(&hub->resolved_lock);
    job->abandoned = true;
    while (job->delivering && !pthread_equal(job->delivering_thread, pthread_self())) {
        pthread_cond_wait(&hub->delivered, &hub->resolved_lock);
    }
    pthread_mutex_unlock(&hub->resolved_lock);
    if (gb_job_state(job) == GB_JOB_WAITING) {
        gb_job_cancel(job);
    }
    gb_job_release(job);
}

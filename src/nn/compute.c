/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One inference of a guest: inputs checked, job submitted, fiber suspended, results handed over.
 * The job owns its memory until the worker is done with it, so ending here at any moment is safe.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/num.h"
#include "nn/nn_internal.h"

#define INPUTS_FEW 4u /* up to here without the heap */

static void values_clear(struct nn_value *values, size_t len) {
    for (size_t i = 0; i < len; i++) {
        nn_value_clear(&values[i]);
    }
}

/* Puts the newer style's own tensors in port order. All of them are consumed, also on failure. */
static bool place_inputs(struct gb_nn *nn, const struct gb_model_info *info,
                         const struct gb_nn_named *inputs, size_t inputs_len,
                         struct nn_value *values, struct gb_error **err) {
    bool ok = true;
    for (size_t i = 0; i < inputs_len; i++) {
        struct nn_value value = {0};
        size_t port = 0;
        ok = nn_tensor_consume(nn, inputs[i].tensor, &value, ok ? err : NULL) && ok;
        ok = ok && nn_check_name(info, inputs[i].name, &port, err);
        if (ok && values[port].set) {
            ok = gb_fail(err, GB_INPUT_SHAPE, "the input \"%s\" of the model \"%s\" is given twice",
                         info->inputs[port].name, info->name);
        }
        ok = ok && nn_check_value(info, port, &value, err);
        if (ok) {
            values[port] = value;
        } else {
            nn_value_clear(&value);
        }
    }
    return ok && nn_check_inputs(info, values, err);
}

static struct gb_job *submit(struct gb_nn *nn, struct gb_model *m, const struct nn_value *values,
                             struct gb_error **err) {
    const struct gb_model_info *info = gb_model_info(m);
    struct gb_tensor_ref few[INPUTS_FEW] = {0};
    struct gb_tensor_ref *refs =
        info->inputs_len <= INPUTS_FEW ? few : gb_calloc(info->inputs_len, sizeof *refs, err);
    if (!refs) {
        return NULL;
    }
    for (size_t p = 0; p < info->inputs_len; p++) {
        refs[p].port = p;
        refs[p].rank = values[p].rank;
        for (uint32_t d = 0; d < values[p].rank; d++) {
            refs[p].dims[d] = values[p].dims[d];
        }
        refs[p].mem = values[p].mem;
    }
    /* The model's owner may allow an inference less than the call has left. */
    uint64_t own = info->deadline_us ? gb_deadline_after_us(info->deadline_us) : GB_NEVER;
    struct gb_job_spec spec = {.inputs = refs,
                               .inputs_len = info->inputs_len,
                               .deadline_us = GB_MIN(nn->options.deadline_us, own),
                               .account = nn->options.account,
                               .done = nn->options.wake,
                               .user = nn->options.user};
    struct gb_job *job = gb_job_submit(m, &spec, err);
    if (refs != few) {
        gb_free(refs);
    }
    return job;
}

/* Checks and submits; `context` is the guest's, or NULL with *err set. */
static struct gb_job *start(struct gb_nn *nn, struct nn_context *c, bool with_inputs,
                            const struct gb_nn_named *inputs, size_t inputs_len,
                            struct gb_error **err) {
    const struct gb_model_info *info = gb_model_info(c->model);
    if (!with_inputs) {
        c->computed = false;
        values_clear(c->outputs, c->outputs_len);
        return nn_check_inputs(info, c->inputs, err) ? submit(nn, c->model, c->inputs, err) : NULL;
    }
    struct nn_value few[INPUTS_FEW] = {0};
    struct nn_value *values =
        info->inputs_len <= INPUTS_FEW ? few : gb_calloc(info->inputs_len, sizeof *values, err);
    if (!values) {
        return NULL;
    }
    struct gb_job *job = NULL;
    if (place_inputs(nn, info, inputs, inputs_len, values, err)) {
        job = submit(nn, c->model, values, err);
    }
    values_clear(values, info->inputs_len);
    if (values != few) {
        gb_free(values);
    }
    return job;
}

static void drop_all(struct gb_nn *nn, const struct gb_nn_named *inputs, size_t inputs_len) {
    for (size_t i = 0; i < inputs_len; i++) {
        if (nn_handle_get(nn, inputs[i].tensor, NN_TENSOR)) {
            gb_nn_drop(nn, inputs[i].tensor);
        }
    }
}

enum gb_nn_status gb_nn_compute_start(struct gb_nn *nn, uint32_t context, bool with_inputs,
                                      const struct gb_nn_named *inputs, size_t inputs_len,
                                      uint32_t *ret_job, uint32_t *ret_error) {
    struct gb_error *error = NULL;
    uint64_t started_us = gb_now_us();
    struct nn_handle *h = nn_handle_get(nn, context, NN_CONTEXT);
    struct nn_job *j = NULL;
    if (!h) {
        gb_fail(&error, GB_INVALID_ARGUMENT, "the execution context handle %u does not exist",
                context);
    } else {
        j = gb_calloc(1, sizeof *j, &error);
    }
    struct gb_job *job = j ? start(nn, h->context, with_inputs, inputs, inputs_len, &error) : NULL;
    if (!job) {
        nn_observe(nn, &(struct gb_nn_inference){
                           .seen = GB_NN_SEEN_REFUSED,
                           .model = h ? gb_model_info(h->context->model)->name : NULL,
                           .code = error->code});
        drop_all(nn, inputs, inputs_len); /* those not consumed yet */
        gb_free(j);
        return nn_give_error(nn, error, ret_error);
    }
    *j = (struct nn_job){.next = nn->jobs,
                         .id = nn->next_job++,
                         .context = context,
                         .with_inputs = with_inputs,
                         .started_us = started_us,
                         .model = nn_model_hold(h->context->model),
                         .job = job};
    nn->jobs = j;
    nn->usage.inference_calls++;
    *ret_job = j->id;
    return GB_NN_OK;
}

struct nn_job *nn_job_get(const struct gb_nn *nn, uint32_t id) {
    struct nn_job *j = nn->jobs;
    while (j && j->id != id) {
        j = j->next;
    }
    return j;
}

/* One output as a value with a reference of its own; not set where wasi:nn cannot carry it. */
static struct nn_value output_value(const struct gb_job *job, size_t index) {
    struct gb_job_output output;
    struct nn_value value = {0};
    if (!gb_job_output(job, index, &output) || output.type >= GB_TYPE_COUNT) {
        return value;
    }
    value.type = output.type;
    value.rank = (uint32_t)output.rank;
    for (size_t d = 0; d < output.rank; d++) {
        if (output.dims[d] > UINT32_MAX) {
            return (struct nn_value){0}; /* wasi:nn counts in 32 bits */
        }
        value.dims[d] = (uint32_t)output.dims[d];
    }
    value.mem = output.mem ? gb_mem_keep(output.mem) : NULL;
    value.set = true;
    return value;
}

/* The older style keeps the results in the context, if the guest still has it. */
static void keep_outputs(struct gb_nn *nn, const struct nn_job *j) {
    struct nn_handle *h = nn_handle_get(nn, j->context, NN_CONTEXT);
    if (!h || h->context->model != j->model) {
        return;
    }
    struct nn_context *c = h->context;
    for (size_t i = 0; i < c->outputs_len; i++) {
        nn_value_clear(&c->outputs[i]);
        c->outputs[i] = output_value(j->job, i);
    }
    c->computed = true;
}

/* The newer style: a handle for each result, made here because handing over cannot fail. */
static bool wrap_outputs(struct gb_nn *nn, struct nn_job *j) {
    const struct gb_model_info *info = gb_model_info(j->model);
    struct gb_error *error = NULL;
    j->outputs = gb_calloc(info->outputs_len, sizeof *j->outputs, &error);
    if (!j->outputs) {
        nn_stop(nn, error);
        return false;
    }
    for (size_t i = 0; i < info->outputs_len; i++) {
        struct nn_value value = output_value(j->job, i);
        if (!value.set) {
            continue;
        }
        struct gb_nn_named *output = &j->outputs[j->outputs_len];
        if (!nn_tensor_wrap(nn, &value, &output->tensor)) {
            nn_value_clear(&value);
            return false;
        }
        output->name = gb_span_of(info->outputs[i].name);
        j->outputs_len++;
    }
    return true;
}

static void observe_end(const struct gb_nn *nn, const struct nn_job *j, enum gb_code code,
                        uint64_t whole_us) {
    /* The times of one that still runs belong to another thread. */
    bool over = gb_job_state(j->job) != GB_JOB_WAITING;
    struct gb_job_times times = over ? gb_job_times(j->job) : (struct gb_job_times){0};
    nn_observe(nn, &(struct gb_nn_inference){.seen = GB_NN_SEEN_END,
                                             .model = gb_model_info(j->model)->name,
                                             .code = code,
                                             .total_us = whole_us,
                                             .queue_us = times.queue_us,
                                             .run_us = times.run_us});
}

enum gb_nn_status gb_nn_compute_poll(struct gb_nn *nn, uint32_t job, uint32_t *ret_error) {
    struct nn_job *j = nn_job_get(nn, job);
    struct gb_error *error = NULL;
    if (!j || j->finished) {
        gb_fail(&error, GB_INTERNAL, "the job %u is not running", job);
        return nn_stop(nn, error);
    }
    if (j->load) {
        return nn_load_poll(nn, j, ret_error);
    }
    enum gb_job_state state = gb_job_state(j->job);
    if (state == GB_JOB_WAITING) {
        return GB_NN_PENDING;
    }
    struct gb_job_times times = gb_job_times(j->job);
    nn->usage.inference_us += times.run_us;
    nn->usage.queue_us += times.queue_us;
    uint64_t whole_us = gb_now_us() - j->started_us;
    nn->usage.crossing_us += whole_us - GB_MIN(whole_us, times.run_us + times.queue_us);
    j->finished = true;
    struct gb_error *failure = state == GB_JOB_ERROR ? gb_job_error(j->job) : NULL;
    observe_end(nn, j, failure ? failure->code : GB_OK, whole_us);
    if (state == GB_JOB_ERROR) {
        return nn_give_error(nn, failure, ret_error);
    }
    if (!j->with_inputs) {
        keep_outputs(nn, j);
        return GB_NN_OK;
    }
    if (!wrap_outputs(nn, j)) {
        return GB_NN_STOP;
    }
    return GB_NN_OK;
}

bool gb_nn_compute_output(struct gb_nn *nn, uint32_t job, size_t index,
                          struct gb_nn_named *ret_output) {
    struct nn_job *j = nn_job_get(nn, job);
    if (!j || index != j->outputs_taken || index >= j->outputs_len) {
        return false;
    }
    j->outputs_taken++;
    *ret_output = j->outputs[index];
    return true;
}

void gb_nn_compute_end(struct gb_nn *nn, uint32_t job) {
    struct nn_job **slot = &nn->jobs;
    while (*slot && (*slot)->id != job) {
        slot = &(*slot)->next;
    }
    struct nn_job *j = *slot;
    if (j) {
        *slot = j->next;
        if (j->load) {
            nn_load_end(nn, j);
        } else {
            if (!j->finished) {
                observe_end(nn, j, GB_CANCELLED, gb_now_us() - j->started_us);
            }
            gb_job_unref(j->job); /* cancels what still runs; its blocks live on until then */
            nn_model_drop(nn, j->model);
        }
        for (size_t i = j->outputs_taken; i < j->outputs_len; i++) {
            gb_nn_drop(nn, j->outputs[i].tensor);
        }
        gb_free(j->outputs);
        gb_free(j);
    }
}

const struct gb_model_info *gb_nn_waiting_for(const struct gb_nn *nn) {
    for (const struct nn_job *j = nn->jobs; j; j = j->next) {
        if (j->job && !j->finished && gb_job_state(j->job) == GB_JOB_WAITING) {
            return gb_model_info(j->model);
        }
    }
    return NULL;
}

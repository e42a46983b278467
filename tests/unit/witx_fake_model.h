/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model without a worker, for tests of what is above model/: the linker puts these functions in
 * the place of the real ones (gb_wrap_models in cmake/). "echo" has two inputs, a f32[4] and b
 * u8[?], and gives them back as its outputs; a job is finished when it is polled a second time.
 */
#ifndef GB_TEST_WITX_FAKE_MODEL_H
#define GB_TEST_WITX_FAKE_MODEL_H

#include "base/alloc.h"
#include "model/model.h"

struct gb_job {
    struct gb_tensor_ref inputs[2];
    unsigned polls;
};

static const struct gb_port fake_ports[2] = {
    {.name = "a", .type = GB_TYPE_F32, .rank = 1, .dims = {4}},
    {.name = "b", .type = GB_TYPE_U8, .rank = 1, .dims = {-1}},
};
static const struct gb_model_info fake_info = {
    .name = "echo",
    .state = GB_MODEL_STATE_READY,
    .inputs = fake_ports,
    .inputs_len = 2,
    .outputs = fake_ports,
    .outputs_len = 2,
};
static char fake_model; /* its address is the model */
static char fake_registry;

struct gb_model *__wrap_gb_registry_find(const struct gb_registry *r, struct gb_span name);
size_t __wrap_gb_registry_count(const struct gb_registry *r);
const struct gb_model_info *__wrap_gb_model_info(const struct gb_model *m);
struct gb_mem *__real_gb_mem_copy(struct gb_model *m, struct gb_span bytes,
                                  struct gb_account *account, struct gb_error **err);
struct gb_mem *__wrap_gb_mem_copy(struct gb_model *m, struct gb_span bytes,
                                  struct gb_account *account, struct gb_error **err);
struct gb_job *__wrap_gb_job_submit(struct gb_model *m, const struct gb_job_spec *spec,
                                    struct gb_error **err);
enum gb_job_state __wrap_gb_job_state(struct gb_job *job);
bool __wrap_gb_job_output(const struct gb_job *job, size_t index, struct gb_job_output *ret_output);
struct gb_job_times __wrap_gb_job_times(const struct gb_job *job);
void __wrap_gb_job_unref(struct gb_job *job);

struct gb_model *__wrap_gb_registry_find(const struct gb_registry *r, struct gb_span name) {
    (void)r;
    return gb_span_is(name, "echo") ? (struct gb_model *)(void *)&fake_model : NULL;
}

size_t __wrap_gb_registry_count(const struct gb_registry *r) {
    (void)r;
    return 0;
}

const struct gb_model_info *__wrap_gb_model_info(const struct gb_model *m) {
    (void)m;
    return &fake_info;
}

struct gb_mem *__wrap_gb_mem_copy(struct gb_model *m, struct gb_span bytes,
                                  struct gb_account *account, struct gb_error **err) {
    (void)m;
    return __real_gb_mem_copy(NULL, bytes, account, err);
}

struct gb_job *__wrap_gb_job_submit(struct gb_model *m, const struct gb_job_spec *spec,
                                    struct gb_error **err) {
    (void)m;
    struct gb_job *job = gb_calloc(1, sizeof *job, err);
    for (size_t i = 0; job && i < spec->inputs_len && i < 2; i++) {
        job->inputs[i] = spec->inputs[i];
        if (job->inputs[i].mem) {
            gb_mem_ref(job->inputs[i].mem);
        }
    }
    return job;
}

enum gb_job_state __wrap_gb_job_state(struct gb_job *job) {
    return job->polls++ == 0 ? GB_JOB_WAITING : GB_JOB_DONE;
}

bool __wrap_gb_job_output(const struct gb_job *job, size_t index,
                          struct gb_job_output *ret_output) {
    if (index >= 2) {
        return false;
    }
    const struct gb_tensor_ref *ref = &job->inputs[index];
    *ret_output = (struct gb_job_output){
        .type = index == 0 ? GB_TYPE_F32 : GB_TYPE_U8, .rank = ref->rank, .mem = ref->mem};
    for (size_t d = 0; d < ref->rank; d++) {
        ret_output->dims[d] = ref->dims[d];
    }
    return true;
}

struct gb_job_times __wrap_gb_job_times(const struct gb_job *job) {
    (void)job;
    return (struct gb_job_times){0};
}

void __wrap_gb_job_unref(struct gb_job *job) {
    for (size_t i = 0; i < 2; i++) {
        if (job->inputs[i].mem) {
            gb_mem_unref(job->inputs[i].mem);
        }
    }
    gb_free(job);
}

#endif

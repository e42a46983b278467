/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs one model many times, so that the cost of one inference through wasi:nn can be measured
 * from outside. Argument: MODEL INPUT TYPE DIMS COUNT, for example
 * "digits input f32 1,64 1000"; COUNT 0 opens the model and stops.
 */
#include "nn.h"

#include <stdlib.h>

struct job {
    char *model;
    char *input;
    wasi_nn_tensor_tensor_type_t type;
    uint32_t dims[8];
    size_t dims_count;
    uint32_t runs;
};

static bool job_parse(char *arg, struct job *job) {
    char *words[5];
    for (size_t i = 0; i < 5; i++) {
        words[i] = next_word(&arg, " \n");
        if (words[i] == NULL) {
            return false;
        }
    }
    job->model = words[0];
    job->input = words[1];
    return nn_parse_type(words[2], &job->type) &&
           nn_parse_dims(words[3], job->dims, 8, &job->dims_count) &&
           parse_u32(words[4], &job->runs);
}

static bool job_run(const struct job *job, const void *data, size_t len, struct text *text) {
    wasi_nn_graph_own_graph_t graph;
    wasi_nn_inference_own_graph_execution_context_t context;
    if (!nn_open(job->model, &graph, &context, text)) {
        return false;
    }
    size_t output_bytes = 0;
    for (uint32_t i = 0; i < job->runs; i++) {
        wasi_nn_inference_named_tensor_t input;
        agent_string_set(&input.f0, job->input);
        input.f1 = nn_tensor(job->dims, job->dims_count, job->type, data, len);
        wasi_nn_inference_list_named_tensor_t inputs = {&input, 1};
        wasi_nn_inference_list_named_tensor_t outputs = {0};
        wasi_nn_errors_own_error_t error;
        if (!wasi_nn_inference_method_graph_execution_context_compute(
                wasi_nn_inference_borrow_graph_execution_context(context), &inputs, &outputs,
                &error)) {
            nn_error_text(error, text);
            return false;
        }
        /* A guest that asked wants its answer, so reading it belongs to the measurement. */
        for (size_t j = 0; j < outputs.len; j++) {
            wasi_nn_tensor_tensor_data_t bytes = {0};
            wasi_nn_tensor_method_tensor_data(wasi_nn_tensor_borrow_tensor(outputs.ptr[j].f1),
                                              &bytes);
            output_bytes = bytes.len;
            wasi_nn_tensor_tensor_data_free(&bytes);
            wasi_nn_tensor_tensor_drop_own(outputs.ptr[j].f1); /* freeing the list does not */
        }
        wasi_nn_inference_list_named_tensor_free(&outputs);
    }
    text_adds(text, "runs=");
    text_addu(text, job->runs);
    text_adds(text, " input_bytes=");
    text_addu(text, len);
    text_adds(text, " output_bytes=");
    text_addu(text, output_bytes);
    return true;
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    struct text text = {0};
    struct job job = {0};
    size_t len;
    if (!job_parse(arg_text(arg), &job) ||
        !nn_dims_bytes(job.dims, job.dims_count, job.type, &len)) {
        text_adds(&text, "expected MODEL INPUT TYPE DIMS COUNT, as in: digits input f32 1,64 1000");
        return answer_err(&text, err);
    }
    void *data = calloc(len == 0 ? 1 : len, 1);
    if (data == NULL) {
        abort();
    }
    if (!job_run(&job, data, len, &text)) {
        return answer_err(&text, err);
    }
    return answer_ok(&text, ret);
}

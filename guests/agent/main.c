/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sample agent: names the handwritten digit in an 8x8 picture. It knows its model by name
 * only; the host decides whether there is one. wasi:nn 0.2.0-rc-2024-10-28.
 */
#include "digits.h"

#include <string.h>

static bool classify(const float *pixels, struct text *text) {
    wasi_nn_graph_own_graph_t graph;
    wasi_nn_inference_own_graph_execution_context_t context;
    if (!nn_open(DIGITS_MODEL, &graph, &context, text)) {
        return false;
    }

    static const uint32_t dims[] = {1, DIGITS_PIXELS};
    wasi_nn_inference_named_tensor_t input;
    agent_string_set(&input.f0, DIGITS_INPUT);
    input.f1 =
        nn_tensor(dims, 2, WASI_NN_TENSOR_TENSOR_TYPE_FP32, pixels, DIGITS_PIXELS * sizeof(float));
    wasi_nn_inference_list_named_tensor_t inputs = {&input, 1};
    wasi_nn_inference_list_named_tensor_t outputs = {0};
    wasi_nn_errors_own_error_t error;
    if (!wasi_nn_inference_method_graph_execution_context_compute(
            wasi_nn_inference_borrow_graph_execution_context(context), &inputs, &outputs, &error)) {
        nn_error_text(error, text);
        return false;
    }
    for (size_t i = 0; i < outputs.len; i++) {
        const agent_string_t *name = &outputs.ptr[i].f0;
        if (name->len == strlen(DIGITS_OUTPUT) &&
            memcmp(name->ptr, DIGITS_OUTPUT, name->len) == 0) {
            return digits_answer(outputs.ptr[i].f1, text);
        }
    }
    text_adds(text, "the model has no output \"" DIGITS_OUTPUT "\"");
    return false;
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    float pixels[DIGITS_PIXELS];
    struct text text = {0};
    if (!digits_parse(arg, pixels, &text) || !classify(pixels, &text)) {
        return answer_err(&text, err);
    }
    return answer_ok(&text, ret);
}

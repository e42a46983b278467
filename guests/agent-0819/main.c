/* SPDX-License-Identifier: Apache-2.0 */
/* The sample agent in the older style of calls: set-input, compute, get-output.
 * wasi:nn 0.2.0-rc-2024-08-19. */
#include "digits.h"

static bool classify(const float *pixels, struct text *text) {
    wasi_nn_graph_own_graph_t graph;
    wasi_nn_inference_own_graph_execution_context_t owned;
    if (!nn_open(DIGITS_MODEL, &graph, &owned, text)) {
        return false;
    }
    wasi_nn_inference_borrow_graph_execution_context_t context =
        wasi_nn_inference_borrow_graph_execution_context(owned);

    static const uint32_t dims[] = {1, DIGITS_PIXELS};
    agent_string_t input;
    agent_string_set(&input, DIGITS_INPUT);
    agent_string_t output;
    agent_string_set(&output, DIGITS_OUTPUT);
    wasi_nn_tensor_own_tensor_t tensor =
        nn_tensor(dims, 2, WASI_NN_TENSOR_TENSOR_TYPE_FP32, pixels, DIGITS_PIXELS * sizeof(float));
    wasi_nn_tensor_own_tensor_t scores;
    wasi_nn_errors_own_error_t error;
    if (!wasi_nn_inference_method_graph_execution_context_set_input(context, &input, tensor,
                                                                    &error) ||
        !wasi_nn_inference_method_graph_execution_context_compute(context, &error) ||
        !wasi_nn_inference_method_graph_execution_context_get_output(context, &output, &scores,
                                                                     &error)) {
        nn_error_text(error, text);
        return false;
    }
    return digits_answer(scores, text);
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    float pixels[DIGITS_PIXELS];
    struct text text = {0};
    if (!digits_parse(arg, pixels, &text) || !classify(pixels, &text)) {
        return answer_err(&text, err);
    }
    return answer_ok(&text, ret);
}

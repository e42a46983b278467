/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks a model for one inference and answers "ok". Argument: MODEL [INPUT TYPE DIMS]; without the
 * rest, the input is x, f32, one element: what the deliberately slow test models take.
 */
#include "nn.h"

#include <stdlib.h>

static bool infer(char *arg, struct text *text) {
    char *model = next_word(&arg, " \n");
    char *input = next_word(&arg, " \n");
    char *type_word = input == NULL ? NULL : next_word(&arg, " \n");
    char *dims_word = type_word == NULL ? NULL : next_word(&arg, " \n");
    wasi_nn_tensor_tensor_type_t type = WASI_NN_TENSOR_TENSOR_TYPE_FP32;
    uint32_t dims[8] = {1};
    size_t dims_count = 1;
    size_t len = 0;
    if (model == NULL || (type_word != NULL && !nn_parse_type(type_word, &type)) ||
        (dims_word != NULL && !nn_parse_dims(dims_word, dims, 8, &dims_count)) ||
        !nn_dims_bytes(dims, dims_count, type, &len)) {
        text_adds(text,
                  "expected MODEL [INPUT TYPE DIMS], as in: matmul, or: digits input f32 1,64");
        return false;
    }
    void *data = calloc(len == 0 ? 1 : len, 1);
    if (data == NULL) {
        abort();
    }
    wasi_nn_graph_own_graph_t graph;
    wasi_nn_inference_own_graph_execution_context_t context;
    if (!nn_open(model, &graph, &context, text)) {
        return false;
    }
    wasi_nn_inference_named_tensor_t named;
    agent_string_set(&named.f0, input == NULL ? "x" : input);
    named.f1 = nn_tensor(dims, dims_count, type, data, len);
    wasi_nn_inference_list_named_tensor_t inputs = {&named, 1};
    wasi_nn_inference_list_named_tensor_t outputs = {0};
    wasi_nn_errors_own_error_t error;
    if (!wasi_nn_inference_method_graph_execution_context_compute(
            wasi_nn_inference_borrow_graph_execution_context(context), &inputs, &outputs, &error)) {
        nn_error_text(error, text);
        return false;
    }
    text_adds(text, "ok");
    return true;
}

bool exports_agent_run(agent_string_t *arg, agent_string_t *ret, agent_string_t *err) {
    struct text text = {0};
    return infer(arg_text(arg), &text) ? answer_ok(&text, ret) : answer_err(&text, err);
}

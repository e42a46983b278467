/* SPDX-License-Identifier: Apache-2.0 */
#include "nn.h"

#include <string.h>

static const char *const code_names[] = {
    "invalid-argument", "invalid-encoding", "timeout",  "runtime-error", "unsupported-operation",
    "too-large",        "not-found",        "security", "unknown",
};

/* By the value that wasi:nn's tensor-type has. */
static const struct {
    const char *name;
    size_t bytes;
} types[] = {{"f16", 2}, {"f32", 4}, {"f64", 8}, {"bf16", 2}, {"u8", 1}, {"i32", 4}, {"i64", 8}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void nn_error_text(wasi_nn_errors_own_error_t error, struct text *text) {
    wasi_nn_errors_borrow_error_t borrowed = wasi_nn_errors_borrow_error(error);
    size_t code = wasi_nn_errors_method_error_code(borrowed);
    agent_string_t data = {0};
    wasi_nn_errors_method_error_data(borrowed, &data);
    text_adds(text, code < COUNT(code_names) ? code_names[code] : "?");
    text_adds(text, ": ");
    text_add(text, (const char *)data.ptr, data.len);
    agent_string_free(&data);
    wasi_nn_errors_error_drop_own(error);
}

bool nn_open(const char *name, wasi_nn_graph_own_graph_t *ret_graph,
             wasi_nn_inference_own_graph_execution_context_t *ret_context, struct text *text) {
    wasi_nn_errors_own_error_t error;
    agent_string_t model;
    agent_string_set(&model, name);
    if (!wasi_nn_graph_load_by_name(&model, ret_graph, &error)) {
        nn_error_text(error, text);
        return false;
    }
    if (!wasi_nn_graph_method_graph_init_execution_context(wasi_nn_graph_borrow_graph(*ret_graph),
                                                           ret_context, &error)) {
        nn_error_text(error, text);
        return false;
    }
    return true;
}

wasi_nn_tensor_own_tensor_t nn_tensor(const uint32_t *dims, size_t dims_count,
                                      wasi_nn_tensor_tensor_type_t type, const void *data,
                                      size_t len) {
    /* The generated types are not const, but nothing is written through them. */
    wasi_nn_tensor_tensor_dimensions_t shape = {(uint32_t *)dims, dims_count};
    wasi_nn_tensor_tensor_data_t bytes = {(uint8_t *)data, len};
    return wasi_nn_tensor_constructor_tensor(&shape, type, &bytes);
}

bool nn_parse_type(const char *word, wasi_nn_tensor_tensor_type_t *ret_type) {
    for (size_t i = 0; i < COUNT(types); i++) {
        if (strcmp(word, types[i].name) == 0) {
            *ret_type = (wasi_nn_tensor_tensor_type_t)i;
            return true;
        }
    }
    return false;
}

bool nn_parse_dims(const char *word, uint32_t *dims, size_t dims_max, size_t *ret_count) {
    size_t count = 0;
    if (strcmp(word, "scalar") != 0) {
        struct text copy = {0};
        text_add(&copy, word, strlen(word));
        char *rest = copy.chars;
        for (char *dim = next_word(&rest, ","); dim != NULL; dim = next_word(&rest, ",")) {
            if (count == dims_max || !parse_u32(dim, &dims[count])) {
                return false;
            }
            count++;
        }
    }
    *ret_count = count;
    return true;
}

const char *nn_type_name(wasi_nn_tensor_tensor_type_t type) {
    return type < COUNT(types) ? types[type].name : "?";
}

size_t nn_type_bytes(wasi_nn_tensor_tensor_type_t type) {
    return type < COUNT(types) ? types[type].bytes : 0;
}

bool nn_dims_bytes(const uint32_t *dims, size_t count, wasi_nn_tensor_tensor_type_t type,
                   size_t *ret_bytes) {
    size_t bytes = nn_type_bytes(type);
    for (size_t i = 0; i < count; i++) {
        if (__builtin_mul_overflow(bytes, (size_t)dims[i], &bytes)) {
            return false;
        }
    }
    *ret_bytes = bytes;
    return true;
}

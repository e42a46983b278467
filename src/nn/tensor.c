/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensors of a call. The guest's bytes are copied once, here, into the slab of the worker that will
 * probably read them: that of the graph opened last. If the guess is wrong, submission copies
 * again.
 */
#include <stdio.h>

#include "base/alloc.h"
#include "nn/nn_internal.h"

void nn_value_clear(struct nn_value *value) {
    if (value->mem) {
        gb_mem_unref(value->mem);
    }
    *value = (struct nn_value){0};
}

static void dims_text(const uint32_t *dims, size_t rank, char *text, size_t cap) {
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < rank && at < cap; i++) {
        int n = snprintf(text + at, cap - at, "%s%u", i == 0 ? "" : ",", dims[i]);
        at += n < 0 ? 0 : (size_t)n;
    }
}

/* Fills a fresh tensor, or fails with what the guest will hear where it first uses it. */
static bool tensor_fill(struct gb_nn *nn, struct nn_tensor *t, const uint32_t *dims,
                        size_t dims_len, uint32_t type, struct gb_span data,
                        struct gb_error **err) {
    uint64_t wide[GB_WIRE_RANK_MAX];
    uint64_t bytes;
    char shape[GB_WIRE_RANK_MAX * 11 + 1];
    if (type >= GB_TYPE_COUNT) {
        return gb_fail(err, GB_INPUT_TYPE, "the tensor has the unknown element type %u", type);
    }
    t->value.type = type;
    if (dims_len > GB_WIRE_RANK_MAX) {
        return gb_fail(err, GB_INPUT_SHAPE,
                       "the tensor has %zu dimensions, more than the limit of %u", dims_len,
                       GB_WIRE_RANK_MAX);
    }
    for (size_t i = 0; i < dims_len; i++) {
        t->value.dims[i] = dims[i];
        wide[i] = dims[i];
    }
    t->value.rank = (uint32_t)dims_len;
    if (!gb_tensor_bytes((enum gb_type)type, wide, dims_len, &bytes)) {
        dims_text(dims, dims_len, shape, sizeof shape);
        return gb_fail(err, GB_INPUT_SHAPE, "the tensor %s[%s] is too large to count its bytes",
                       gb_type_text((enum gb_type)type), shape);
    }
    if (bytes != data.len) {
        dims_text(dims, dims_len, shape, sizeof shape);
        gb_fail(err, GB_INPUT_SHAPE, "the tensor %s[%s] takes %llu bytes, but its data has %zu",
                gb_type_text((enum gb_type)type), shape, (unsigned long long)bytes, data.len);
        return gb_hint(err, "Pass the elements as little-endian bytes, all of them.");
    }
    if (bytes > 0) {
        t->value.mem = gb_mem_copy(nn->last_model, data, nn->options.account, err);
        if (!t->value.mem) {
            return false;
        }
    }
    t->value.set = true;
    return true;
}

enum gb_nn_status gb_nn_tensor_new(struct gb_nn *nn, const uint32_t *dims, size_t dims_len,
                                   uint32_t type, struct gb_span data, uint32_t *ret_tensor) {
    struct gb_error *error = NULL;
    struct nn_tensor *t = gb_calloc(1, sizeof *t, &error);
    if (!t) {
        return nn_stop(nn, error);
    }
    if (!tensor_fill(nn, t, dims, dims_len, type, data, &error)) {
        if (!nn_error_charge(nn, error)) {
            gb_error_free(error);
            gb_free(t);
            return GB_NN_STOP;
        }
        t->deferred = error;
    }
    struct nn_handle *h = nn_handle_new(nn, NN_TENSOR, ret_tensor);
    if (!h) {
        nn_value_clear(&t->value);
        nn_error_drop(nn, t->deferred);
        gb_free(t);
        return GB_NN_STOP;
    }
    h->tensor = t;
    return GB_NN_OK;
}

bool nn_tensor_wrap(struct gb_nn *nn, struct nn_value *value, uint32_t *ret_tensor) {
    struct gb_error *error = NULL;
    struct nn_tensor *t = gb_calloc(1, sizeof *t, &error);
    if (!t) {
        nn_stop(nn, error);
        return false;
    }
    struct nn_handle *h = nn_handle_new(nn, NN_TENSOR, ret_tensor);
    if (!h) {
        gb_free(t);
        return false;
    }
    t->value = *value;
    t->value.set = true;
    *value = (struct nn_value){0};
    h->tensor = t;
    return true;
}

bool nn_tensor_consume(struct gb_nn *nn, uint32_t tensor, struct nn_value *ret_value,
                       struct gb_error **err) {
    struct nn_handle *h = nn_handle_get(nn, tensor, NN_TENSOR);
    if (!h) {
        return gb_fail(err, GB_INVALID_ARGUMENT, "the tensor handle %u does not exist", tensor);
    }
    struct nn_tensor *t = h->tensor;
    nn_handle_release(nn, tensor);
    bool ok = t->deferred == NULL;
    if (ok) {
        *ret_value = t->value;
    } else {
        gb_error_move(err, gb_error_copy(t->deferred));
        nn_error_drop(nn, t->deferred);
        nn_value_clear(&t->value);
    }
    gb_free(t);
    return ok;
}

enum gb_nn_status gb_nn_tensor_info(struct gb_nn *nn, uint32_t tensor, const uint32_t **ret_dims,
                                    size_t *ret_dims_len, uint32_t *ret_type) {
    struct nn_handle *h = nn_handle_get(nn, tensor, NN_TENSOR);
    if (!h) {
        struct gb_error *error = NULL;
        gb_fail(&error, GB_INTERNAL, "the tensor handle %u does not exist", tensor);
        return nn_stop(nn, error);
    }
    *ret_dims = h->tensor->value.dims;
    *ret_dims_len = h->tensor->value.rank;
    *ret_type = h->tensor->value.type;
    return GB_NN_OK;
}

enum gb_nn_status gb_nn_tensor_data(struct gb_nn *nn, uint32_t tensor, struct gb_span *ret_data,
                                    struct gb_mem **ret_mem) {
    struct nn_handle *h = nn_handle_get(nn, tensor, NN_TENSOR);
    if (!h) {
        struct gb_error *error = NULL;
        gb_fail(&error, GB_INTERNAL, "the tensor handle %u does not exist", tensor);
        return nn_stop(nn, error);
    }
    struct gb_mem *mem = h->tensor->value.mem;
    *ret_mem = mem ? gb_mem_ref(mem) : NULL;
    *ret_data = mem ? gb_span_make(gb_mem_ptr(mem), (size_t)gb_mem_bytes(mem)) : gb_span_of("");
    return GB_NN_OK;
}

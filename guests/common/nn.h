/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wasi:nn for our sample guests: what both revisions of the interface have in common. (The
 * generated names are the same in both; which one it is, the include path decides.)
 */
#ifndef GUEST_COMMON_NN_H
#define GUEST_COMMON_NN_H

#include "guest.h"

/* Appends "<code>: <data>" and drops the error. */
void nn_error_text(wasi_nn_errors_own_error_t error, struct text *text);

/* Opens the model of that name and one context on it; on failure the error is in *text. */
bool nn_open(const char *name, wasi_nn_graph_own_graph_t *ret_graph,
             wasi_nn_inference_own_graph_execution_context_t *ret_context, struct text *text);

/* Copies the data. */
wasi_nn_tensor_own_tensor_t nn_tensor(const uint32_t *dims, size_t dims_count,
                                      wasi_nn_tensor_tensor_type_t type, const void *data,
                                      size_t len);

/* "f32" and so on; dimensions "1,3,224,224", or "scalar" for none. */
bool nn_parse_type(const char *word, wasi_nn_tensor_tensor_type_t *ret_type);
bool nn_parse_dims(const char *word, uint32_t *dims, size_t dims_max, size_t *ret_count);
const char *nn_type_name(wasi_nn_tensor_tensor_type_t type);
size_t nn_type_bytes(wasi_nn_tensor_tensor_type_t type);
/* Bytes that a tensor of these dimensions holds; false where that is not a size. */
bool nn_dims_bytes(const uint32_t *dims, size_t count, wasi_nn_tensor_tensor_type_t type,
                   size_t *ret_bytes);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The six functions, on gb_nn. Each first reads and checks all that its arguments name, then acts,
 * then writes its result: a refused call has changed nothing, in the guest or here.
 */
#include <string.h>

#include "base/num.h"
#include "sandbox/witx/witx.h"

/* What a function works on; `error` is set where a check has failed. */
struct witx {
    struct gb_nn *nn;
    const struct gb_witx_memory *memory;
    const uint32_t *args;
    uint32_t *ret_errno;
    struct gb_error *error;
};

enum gb_witx_errno gb_witx_errno_of(enum gb_nn_code code) {
    switch (code) {
    case GB_NN_CODE_INVALID_ARGUMENT:
        return GB_WITX_INVALID_ARGUMENT;
    case GB_NN_CODE_INVALID_ENCODING:
        return GB_WITX_INVALID_ENCODING;
    case GB_NN_CODE_TIMEOUT:
        return GB_WITX_BUSY;
    case GB_NN_CODE_UNSUPPORTED_OPERATION:
    case GB_NN_CODE_SECURITY: /* the witx has no errno of its own for it */
        return GB_WITX_UNSUPPORTED_OPERATION;
    case GB_NN_CODE_TOO_LARGE:
        return GB_WITX_TOO_LARGE;
    case GB_NN_CODE_NOT_FOUND:
        return GB_WITX_NOT_FOUND;
    case GB_NN_CODE_RUNTIME_ERROR:
    case GB_NN_CODE_UNKNOWN:
        break;
    }
    return GB_WITX_RUNTIME_ERROR;
}

uint32_t gb_witx_error(struct gb_nn *nn, uint32_t error) {
    enum gb_nn_code code;
    struct gb_span data;
    gb_nn_error_info(nn, error, &code, &data);
    gb_nn_drop(nn, error);
    return gb_witx_errno_of(code);
}

/* The end of a function: a status of gb_nn's as an errno. */
static enum gb_nn_status finish(struct witx *w, enum gb_nn_status status, uint32_t error) {
    if (status == GB_NN_ERROR) {
        *w->ret_errno = gb_witx_error(w->nn, error);
        return GB_NN_OK;
    }
    *w->ret_errno = GB_WITX_SUCCESS;
    return status;
}

/* A check has failed: the error goes to the guest, as its errno. */
static enum gb_nn_status refuse(struct witx *w) {
    uint32_t handle = 0;
    struct gb_error *error = w->error;
    w->error = NULL;
    enum gb_nn_status status = gb_nn_refuse(w->nn, error, &handle);
    return finish(w, status, handle);
}

/* ---- load ---- */

static bool read_name(struct witx *w, uint32_t value, const uint32_t *table, size_t table_len,
                      const char *what, uint32_t *ret_value) {
    if (value >= table_len) {
        return gb_fail(&w->error, GB_INVALID_ARGUMENT, "%s has the unknown value %u", what, value);
    }
    *ret_value = table[value];
    return true;
}

/* openvino onnx tensorflow pytorch tensorflowlite autodetect ggml: the WIT has ggml before
 * autodetect; here it is an addition of later hosts. */
static const uint32_t encodings[] = {0, 1, 2, 3, 4, 6, 5};
static const uint32_t targets[] = {0, 1, 2};

static bool read_builders(struct witx *w, struct gb_span *builders, size_t *ret_len) {
    uint32_t len = w->args[1];
    struct gb_span array;
    if (len > GB_WITX_BUILDERS_MAX) {
        return gb_fail(&w->error, GB_INVALID_ARGUMENT,
                       "a graph is given in %u parts; the limit is %u", len, GB_WITX_BUILDERS_MAX);
    }
    if (!gb_witx_view(w->memory, w->args[0], (uint64_t)len * 8, "the array of graph parts", &array,
                      &w->error)) {
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        uint32_t ptr = gb_witx_read_u32(array.ptr + i * 8);
        uint32_t bytes = gb_witx_read_u32(array.ptr + i * 8 + 4);
        if (!gb_witx_view(w->memory, ptr, bytes, "a graph part", &builders[i], &w->error)) {
            return false;
        }
    }
    *ret_len = len;
    return true;
}

/* load(builders, builders_len, encoding, target, *graph) */
static enum gb_nn_status load(struct witx *w, uint32_t *ret_job) {
    struct gb_span builders[GB_WITX_BUILDERS_MAX];
    size_t len;
    uint32_t encoding, target, error = 0;
    uint8_t *place;
    if (!read_name(w, w->args[2], encodings, GB_COUNT(encodings), "the encoding", &encoding) ||
        !read_name(w, w->args[3], targets, GB_COUNT(targets), "the target", &target) ||
        !gb_witx_place(w->memory, w->args[4], "the place for the graph", &place, &w->error) ||
        !read_builders(w, builders, &len)) {
        return refuse(w);
    }
    enum gb_nn_status status = gb_nn_load(w->nn, builders, len, encoding, target, ret_job, &error);
    return status == GB_NN_PENDING ? status : finish(w, status, error);
}

/* The guest has waited, so its memory is looked at again; the place was there before. */
static uint32_t load_finish(struct witx *w, uint32_t job) {
    uint8_t *place;
    uint32_t errno_value = GB_WITX_SUCCESS;
    if (gb_witx_place(w->memory, w->args[4], "the place for the graph", &place, &w->error)) {
        gb_witx_write_u32(place, gb_nn_load_graph(w->nn, job));
        return errno_value;
    }
    w->ret_errno = &errno_value;
    (void)refuse(w);
    return errno_value;
}

/* load_by_name(name, name_len, *graph) */
static enum gb_nn_status load_by_name(struct witx *w) {
    struct gb_span name;
    uint32_t graph = 0, error = 0;
    uint8_t *place;
    if (!gb_witx_view(w->memory, w->args[0], w->args[1], "the name", &name, &w->error) ||
        !gb_witx_place(w->memory, w->args[2], "the place for the graph", &place, &w->error)) {
        return refuse(w);
    }
    enum gb_nn_status status = gb_nn_load_by_name(w->nn, name, &graph, &error);
    if (status == GB_NN_OK) {
        gb_witx_write_u32(place, graph);
    }
    return finish(w, status, error);
}

/* ---- contexts ---- */

/* init_execution_context(graph, *context) */
static enum gb_nn_status init_execution_context(struct witx *w) {
    uint32_t context = 0, error = 0;
    uint8_t *place;
    if (!gb_witx_place(w->memory, w->args[1], "the place for the context", &place, &w->error)) {
        return refuse(w);
    }
    enum gb_nn_status status = gb_nn_context_new(w->nn, w->args[0], &context, &error);
    if (status == GB_NN_OK) {
        gb_witx_write_u32(place, context);
    }
    return finish(w, status, error);
}

struct tensor {
    uint32_t dims[GB_WIRE_RANK_MAX];
    size_t dims_len;
    uint32_t type; /* enum gb_type */
    struct gb_span data;
};

static bool read_tensor(struct witx *w, uint32_t ptr, struct tensor *ret) {
    static const uint32_t types[] = {GB_TYPE_F16, GB_TYPE_F32, GB_TYPE_F64,
                                     GB_TYPE_U8,  GB_TYPE_I32, GB_TYPE_I64};
    struct gb_span record;
    struct gb_span dims;
    if (!gb_witx_view(w->memory, ptr, GB_WITX_TENSOR_BYTES, "the tensor", &record, &w->error)) {
        return false;
    }
    uint32_t dims_len = gb_witx_read_u32(record.ptr + 4);
    if (!gb_witx_view(w->memory, gb_witx_read_u32(record.ptr), (uint64_t)dims_len * 4,
                      "the array of dimensions", &dims, &w->error) ||
        !gb_witx_view(w->memory, gb_witx_read_u32(record.ptr + 12),
                      gb_witx_read_u32(record.ptr + 16), "the tensor's data", &ret->data,
                      &w->error) ||
        /* One byte, as the witx says; the three behind it may hold anything. */
        !read_name(w, record.ptr[8], types, GB_COUNT(types), "the tensor's type", &ret->type)) {
        return false;
    }
    if (dims_len > GB_WIRE_RANK_MAX) {
        return gb_fail(&w->error, GB_INPUT_SHAPE,
                       "the tensor has %u dimensions, more than the limit of %u", dims_len,
                       GB_WIRE_RANK_MAX);
    }
    for (uint32_t i = 0; i < dims_len; i++) {
        ret->dims[i] = gb_witx_read_u32(dims.ptr + i * 4);
    }
    ret->dims_len = dims_len;
    return true;
}

/* set_input(context, index, *tensor) */
static enum gb_nn_status set_input(struct witx *w) {
    struct tensor t = {0};
    struct gb_span name;
    uint32_t handle = 0, error = 0;
    if (!read_tensor(w, w->args[2], &t)) {
        return refuse(w);
    }
    enum gb_nn_status status =
        gb_nn_port_name(w->nn, w->args[0], GB_NN_INPUT, w->args[1], &name, &error);
    if (status == GB_NN_OK) {
        status = gb_nn_tensor_new(w->nn, t.dims, t.dims_len, t.type, t.data, &handle);
    }
    if (status == GB_NN_OK) {
        status = gb_nn_set_input(w->nn, w->args[0], name, handle, &error);
    }
    return finish(w, status, error);
}

/* get_output(context, index, buffer, buffer_max, *written), given the output's bytes. */
static bool copy_output(struct witx *w, struct gb_span data) {
    uint32_t max = w->args[3];
    struct gb_span buffer;
    uint8_t *written;
    if (!gb_witx_view(w->memory, w->args[2], max, "the buffer", &buffer, &w->error) ||
        !gb_witx_place(w->memory, w->args[4], "the place for the size", &written, &w->error)) {
        return false;
    }
    if (data.len > max) {
        gb_fail(&w->error, GB_MODEL_TOO_LARGE, "the output has %zu bytes, and the buffer %u",
                data.len, max);
        return gb_hint(&w->error, "Pass a buffer that holds the whole output.");
    }
    uint64_t begin = w->args[2];
    uint64_t place = w->args[4];
    if (data.len > 0 && place + sizeof(uint32_t) > begin && place < begin + max) {
        return gb_fail(&w->error, GB_INVALID_ARGUMENT,
                       "the place for the size lies within the buffer");
    }
    if (data.len > 0) {
        memcpy(w->memory->ptr + begin, data.ptr, data.len);
    }
    gb_witx_write_u32(written, (uint32_t)data.len); /* at most max, so it fits */
    return true;
}

static enum gb_nn_status get_output(struct witx *w) {
    struct gb_span name;
    struct gb_span data;
    struct gb_mem *mem = NULL;
    uint32_t tensor = 0, error = 0;
    enum gb_nn_status status =
        gb_nn_port_name(w->nn, w->args[0], GB_NN_OUTPUT, w->args[1], &name, &error);
    if (status == GB_NN_OK) {
        status = gb_nn_get_output(w->nn, w->args[0], name, &tensor, &error);
    }
    if (status == GB_NN_OK) {
        status = gb_nn_tensor_data(w->nn, tensor, &data, &mem);
    }
    if (status != GB_NN_OK) {
        return finish(w, status, error);
    }
    bool ok = copy_output(w, data);
    if (mem) {
        gb_mem_unref(mem);
    }
    gb_nn_drop(w->nn, tensor);
    return ok ? finish(w, GB_NN_OK, 0) : refuse(w);
}

/* compute(context) */
static enum gb_nn_status compute(struct witx *w, uint32_t *ret_job) {
    uint32_t error = 0;
    enum gb_nn_status status =
        gb_nn_compute_start(w->nn, w->args[0], false, NULL, 0, ret_job, &error);
    return status == GB_NN_OK ? GB_NN_PENDING : finish(w, status, error);
}

/* ---- the entry ---- */

enum gb_nn_status gb_witx_call(struct gb_nn *nn, enum gb_witx_function function,
                               const struct gb_witx_memory *memory, const uint32_t *args,
                               size_t args_len, uint32_t *ret_errno, uint32_t *ret_job) {
    static const size_t wanted[GB_WITX_COUNT] = {5, 3, 2, 3, 1, 5};
    struct witx w = {.nn = nn, .memory = memory, .args = args, .ret_errno = ret_errno};
    if (function >= GB_WITX_COUNT || args_len != wanted[function]) {
        gb_fail(&w.error, GB_INTERNAL, "wasi_ephemeral_nn has no function %u of %zu arguments",
                (unsigned)function, args_len);
        return refuse(&w);
    }
    if (!memory->ptr && function != GB_WITX_COMPUTE) {
        gb_fail(&w.error, GB_INVALID_ARGUMENT,
                "the guest exports no memory called \"memory\" that this host can use");
        enum gb_nn_status status = refuse(&w);
        *ret_errno = GB_WITX_MISSING_MEMORY;
        return status;
    }
    switch (function) {
    case GB_WITX_LOAD:
        return load(&w, ret_job);
    case GB_WITX_LOAD_BY_NAME:
        return load_by_name(&w);
    case GB_WITX_INIT_EXECUTION_CONTEXT:
        return init_execution_context(&w);
    case GB_WITX_SET_INPUT:
        return set_input(&w);
    case GB_WITX_COMPUTE:
        return compute(&w, ret_job);
    case GB_WITX_GET_OUTPUT:
        return get_output(&w);
    case GB_WITX_COUNT:
        break;
    }
    return refuse(&w);
}

uint32_t gb_witx_finish(struct gb_nn *nn, enum gb_witx_function function,
                        const struct gb_witx_memory *memory, const uint32_t *args, size_t args_len,
                        uint32_t job) {
    struct witx w = {.nn = nn, .memory = memory, .args = args};
    return function == GB_WITX_LOAD && args_len == 5 ? load_finish(&w, job) : GB_WITX_SUCCESS;
}

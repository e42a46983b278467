/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One inference. Inputs are tensors around the caller's memory, and so are outputs where the caller
 * gave them a place; the others are allocated by the engine and kept in the run until they are
 * fetched or the run is freed.
 *
 * When a place turns out to be of another shape than the result, the engine refuses with "invalid
 * argument"; we then run once more and let it allocate. (It refuses a bad input the same way; the
 * second run then fails with the same words.)
 * Threads: run_cancel from any, the rest from one. Errors: GB_BACKEND_FAILED, GB_CANCELLED,
 * GB_INPUT_TYPE for ports that cannot be carried.
 */
#include <string.h>

#include "backend/onnx/onnx.h"
#include "base/alloc.h"
#include "base/num.h"

#define RUN_WHAT "the inference failed"

struct gb_run {
    struct gb_session *session;
    OrtRunOptions *options;
    _Atomic bool cancelled;
    uint32_t asked_len;                     /* outputs that take part */
    uint32_t asked_port[GB_WIRE_PORTS_MAX]; /* their ports */
    OrtValue *outputs[GB_WIRE_PORTS_MAX];   /* of asked_port, while the run lives */
};

struct gb_run *gb_onnx_run_new(struct gb_session *session, struct gb_error **err) {
    const OrtApi *api = session->engine->api;
    struct gb_run *run = gb_calloc(1, sizeof *run, err);
    if (run == NULL) {
        return NULL;
    }
    run->session = session;
    run->options = atomic_exchange(&session->spare, NULL);
    if (run->options == NULL &&
        !gb_onnx_ok(api, api->CreateRunOptions(&run->options), GB_BACKEND_FAILED, RUN_WHAT, err)) {
        gb_free(run);
        return NULL;
    }
    return run;
}

static void release_outputs(struct gb_run *run) {
    for (size_t i = 0; i < GB_WIRE_PORTS_MAX; i++) {
        if (run->outputs[i] != NULL) {
            run->session->engine->api->ReleaseValue(run->outputs[i]);
            run->outputs[i] = NULL;
        }
    }
}

void gb_onnx_run_free(struct gb_run *run) {
    if (run == NULL) {
        return;
    }
    release_outputs(run);
    OrtRunOptions *old = run->options;
    if (!atomic_load(&run->cancelled)) { /* else it says "terminate" for good */
        old = atomic_exchange(&run->session->spare, old);
    }
    if (old != NULL) {
        run->session->engine->api->ReleaseRunOptions(old);
    }
    gb_free(run);
}

void gb_onnx_run_cancel(struct gb_run *run) {
    const OrtApi *api = run->session->engine->api;
    atomic_store(&run->cancelled, true);
    OrtStatus *status = api->RunOptionsSetTerminate(run->options);
    if (status != NULL) {
        api->ReleaseStatus(status);
    }
}

/* A tensor around memory of ours. */
static OrtStatus *wrap(const struct gb_engine *engine, const struct gb_port *port,
                       const struct gb_backend_tensor *tensor, OrtValue **ret_value) {
    static uint64_t empty[8]; /* a place for tensors of no bytes: the engine wants a pointer */
    int64_t dims[GB_WIRE_RANK_MAX];
    for (size_t i = 0; i < tensor->rank; i++) {
        dims[i] = (int64_t)tensor->dims[i];
    }
    return engine->api->CreateTensorWithDataAsOrtValue(
        engine->memory, tensor->bytes > 0 ? tensor->ptr : empty, (size_t)tensor->bytes, dims,
        tensor->rank, gb_onnx_type_of((enum gb_type)port->type), ret_value);
}

static bool wrap_inputs(struct gb_run *run, const struct gb_backend_tensor *inputs,
                        OrtValue **values, const char **names, struct gb_error **err) {
    const struct gb_session *session = run->session;
    for (size_t i = 0; i < session->inputs_len; i++) {
        const struct gb_port *port = &session->inputs[i];
        names[i] = port->name;
        if (port->type == GB_TYPE_OTHER) {
            return gb_fail(err, GB_INPUT_TYPE, "input \"%s\" has a type that cannot be fed",
                           port->name);
        }
        if (!gb_onnx_ok(session->engine->api, wrap(session->engine, port, &inputs[i], &values[i]),
                        GB_BACKEND_FAILED, RUN_WHAT, err)) {
            return false;
        }
    }
    return true;
}

/* Puts tensors around the places that the caller gave. *ret_any: there was one. */
static bool wrap_outputs(struct gb_run *run, const struct gb_backend_tensor *outputs,
                         const char **names, bool *ret_any, struct gb_error **err) {
    const struct gb_session *session = run->session;
    *ret_any = false;
    run->asked_len = 0;
    for (uint32_t i = 0; i < session->outputs_len; i++) {
        const struct gb_port *port = &session->outputs[i];
        if (port->type == GB_TYPE_OTHER) {
            continue;
        }
        uint32_t asked = run->asked_len++;
        run->asked_port[asked] = i;
        names[asked] = port->name;
        if (outputs[i].ptr == NULL) {
            continue;
        }
        *ret_any = true;
        if (!gb_onnx_ok(session->engine->api,
                        wrap(session->engine, port, &outputs[i], &run->outputs[asked]),
                        GB_BACKEND_FAILED, RUN_WHAT, err)) {
            return false;
        }
    }
    if (run->asked_len == 0) {
        return gb_fail(err, GB_UNSUPPORTED, "no output of the model has a type that can be read");
    }
    return true;
}

/* Shape and size of one output that came out. */
static bool read_output(struct gb_run *run, uint32_t asked, uint32_t *ret_rank, uint64_t *ret_dims,
                        uint64_t *ret_bytes, struct gb_error **err) {
    const OrtApi *api = run->session->engine->api;
    const struct gb_port *port = &run->session->outputs[run->asked_port[asked]];
    OrtTensorTypeAndShapeInfo *info = NULL;
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t rank = 0;
    int64_t dims[GB_WIRE_RANK_MAX] = {0};
    if (!gb_onnx_ok(api, api->GetTensorTypeAndShape(run->outputs[asked], &info), GB_BACKEND_FAILED,
                    RUN_WHAT, err)) {
        return false;
    }
    bool ok =
        gb_onnx_ok(api, api->GetTensorElementType(info, &type), GB_BACKEND_FAILED, RUN_WHAT, err) &&
        gb_onnx_ok(api, api->GetDimensionsCount(info, &rank), GB_BACKEND_FAILED, RUN_WHAT, err) &&
        (rank <= GB_WIRE_RANK_MAX ||
         gb_fail(err, GB_UNSUPPORTED, "output \"%s\" has %zu dimensions", port->name, rank)) &&
        gb_onnx_ok(api, api->GetDimensions(info, dims, rank), GB_BACKEND_FAILED, RUN_WHAT, err);
    api->ReleaseTensorTypeAndShapeInfo(info);
    if (!ok) {
        return false;
    }
    uint64_t sizes[GB_WIRE_RANK_MAX] = {0};
    for (size_t i = 0; i < rank; i++) {
        sizes[i] = (uint64_t)dims[i];
    }
    if (gb_onnx_type(type) != (enum gb_type)port->type ||
        !gb_tensor_bytes((enum gb_type)port->type, sizes, rank, ret_bytes)) {
        return gb_fail(err, GB_BACKEND_FAILED, "output \"%s\" has an impossible type or shape",
                       port->name);
    }
    *ret_rank = (uint32_t)rank;
    memcpy(ret_dims, sizes, sizeof sizes);
    return true;
}

static bool copy_output(struct gb_run *run, uint32_t asked, const struct gb_backend_tensor *to,
                        uint64_t bytes, struct gb_error **err) {
    void *from = NULL;
    const OrtApi *api = run->session->engine->api;
    if (bytes == 0) {
        return true;
    }
    if (to->ptr == NULL || to->bytes < bytes) {
        return gb_fail(err, GB_INTERNAL, "an output of %llu bytes was given a place of %llu",
                       (unsigned long long)bytes, (unsigned long long)to->bytes);
    }
    if (!gb_onnx_ok(api, api->GetTensorMutableData(run->outputs[asked], &from), GB_BACKEND_FAILED,
                    RUN_WHAT, err)) {
        return false;
    }
    /* An output may be fetched into the very place it was computed in. */
    memmove(to->ptr, from, (size_t)bytes);
    return true;
}

/* After a run: says what came out. `placed[i]`: it was written to its place directly. */
static bool report_outputs(struct gb_run *run, struct gb_backend_tensor *outputs,
                           const bool *placed, bool *ret_kept, struct gb_error **err) {
    const struct gb_session *session = run->session;
    bool kept = false;
    for (uint32_t i = 0; i < session->outputs_len; i++) {
        const struct gb_port *port = &session->outputs[i];
        if (port->type == GB_TYPE_OTHER) {
            outputs[i].rank = port->rank;
            outputs[i].bytes = 0;
            for (size_t d = 0; d < port->rank; d++) {
                outputs[i].dims[d] = port->dims[d] < 0 ? 0 : (uint64_t)port->dims[d];
            }
        }
    }
    for (uint32_t asked = 0; asked < run->asked_len; asked++) {
        struct gb_backend_tensor *out = &outputs[run->asked_port[asked]];
        uint64_t bytes = 0;
        uint64_t dims[GB_WIRE_RANK_MAX];
        uint32_t rank = 0;
        if (!read_output(run, asked, &rank, dims, &bytes, err)) {
            return false;
        }
        if (!placed[asked] && bytes > 0) {
            if (out->ptr == NULL || out->bytes < bytes) {
                kept = true;
            } else if (!copy_output(run, asked, out, bytes, err)) {
                return false;
            }
        }
        out->rank = rank;
        memcpy(out->dims, dims, sizeof dims);
        out->bytes = bytes;
    }
    *ret_kept = kept;
    return true;
}

bool gb_onnx_run_go(struct gb_run *run, const struct gb_backend_tensor *inputs,
                    struct gb_backend_tensor *outputs, bool *ret_kept, struct gb_error **err) {
    struct gb_session *session = run->session;
    const OrtApi *api = session->engine->api;
    OrtValue *values[GB_WIRE_PORTS_MAX] = {NULL};
    const char *input_names[GB_WIRE_PORTS_MAX] = {NULL};
    const char *output_names[GB_WIRE_PORTS_MAX] = {NULL};
    bool placed[GB_WIRE_PORTS_MAX] = {false};
    bool any_placed = false;
    bool ok = wrap_inputs(run, inputs, values, input_names, err) &&
              wrap_outputs(run, outputs, output_names, &any_placed, err);
    if (ok) {
        /* The array of inputs is read only; the API spells it with both consts. */
        OrtStatus *status =
            api->Run(session->session, run->options, input_names, (const OrtValue *const *)values,
                     session->inputs_len, output_names, run->asked_len, run->outputs);
        for (uint32_t i = 0; i < run->asked_len; i++) {
            placed[i] = outputs[run->asked_port[i]].ptr != NULL;
        }
        if (any_placed && gb_onnx_is_invalid_argument(api, status) &&
            !atomic_load(&run->cancelled)) {
            api->ReleaseStatus(status);
            release_outputs(run);
            memset(placed, 0, sizeof placed);
            status = api->Run(session->session, run->options, input_names,
                              (const OrtValue *const *)values, session->inputs_len, output_names,
                              run->asked_len, run->outputs);
        }
        if (status != NULL && atomic_load(&run->cancelled)) {
            api->ReleaseStatus(status);
            ok = gb_fail(err, GB_CANCELLED, "the inference was cancelled");
        } else {
            ok = gb_onnx_ok(api, status, GB_BACKEND_FAILED, RUN_WHAT, err) &&
                 report_outputs(run, outputs, placed, ret_kept, err);
        }
    }
    for (size_t i = 0; i < session->inputs_len; i++) {
        if (values[i] != NULL) {
            api->ReleaseValue(values[i]);
        }
    }
    return ok;
}

bool gb_onnx_run_fetch(struct gb_run *run, const struct gb_backend_tensor *outputs,
                       struct gb_error **err) {
    for (uint32_t asked = 0; asked < run->asked_len; asked++) {
        uint64_t bytes = 0;
        uint64_t dims[GB_WIRE_RANK_MAX];
        uint32_t rank = 0;
        if (!read_output(run, asked, &rank, dims, &bytes, err) ||
            !copy_output(run, asked, &outputs[run->asked_port[asked]], bytes, err)) {
            return false;
        }
    }
    return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a model from bytes and reading its ports.
 *
 * One thread per run and no spinning: concurrency is the worker's (several runs of one session), so
 * that one small inference costs no hand-over between the engine's own threads. Constants folded at
 * load are bounded, and not folded at all for models that asked for it (a few bytes of model can
 * otherwise become gigabytes).
 * Errors: GB_MODEL_INVALID with the engine's words; GB_MODEL_REJECTED where it passes our bounds.
 */
#include <string.h>

#include "backend/onnx/onnx.h"
#include "base/alloc.h"
#include "base/num.h"

#define LOAD_WHAT "the model could not be loaded"

/* Applied in order. The format is fixed, because the engine would otherwise sniff for its own. */
static const struct {
    const char *key;
    const char *value;
} config[] = {
    {"session.load_model_format", "ONNX"},
    {"session.intra_op.allow_spinning", "0"},
    {"session.inter_op.allow_spinning", "0"},
    {"session.disable_cpu_ep_fallback", "0"},
    {"optimization.constant_folding_max_output_size_in_bytes", "67108864"},
};

static bool set_options(const OrtApi *api, OrtSessionOptions *options, bool optimise,
                        struct gb_error **err) {
    GraphOptimizationLevel level = optimise ? ORT_ENABLE_ALL : ORT_DISABLE_ALL;
    bool ok = gb_onnx_ok(api, api->SetSessionGraphOptimizationLevel(options, level),
                         GB_BACKEND_FAILED, LOAD_WHAT, err) &&
              gb_onnx_ok(api, api->SetIntraOpNumThreads(options, 1), GB_BACKEND_FAILED, LOAD_WHAT,
                         err) &&
              gb_onnx_ok(api, api->SetInterOpNumThreads(options, 1), GB_BACKEND_FAILED, LOAD_WHAT,
                         err) &&
              gb_onnx_ok(api, api->SetSessionExecutionMode(options, ORT_SEQUENTIAL),
                         GB_BACKEND_FAILED, LOAD_WHAT, err) &&
              /* An arena of its own would keep the peak for ever and hide it from the ledger. */
              gb_onnx_ok(api, api->DisableCpuMemArena(options), GB_BACKEND_FAILED, LOAD_WHAT, err);
    for (size_t i = 0; ok && i < GB_COUNT(config); i++) {
        ok = gb_onnx_ok(api, api->AddSessionConfigEntry(options, config[i].key, config[i].value),
                        GB_BACKEND_FAILED, LOAD_WHAT, err);
    }
    return ok;
}

static bool copy_name(char *to, size_t cap, const char *name, const char *what,
                      struct gb_error **err) {
    size_t len = strlen(name);
    if (len == 0 || len >= cap) {
        return gb_fail(err, GB_MODEL_REJECTED, "%s name of %zu bytes; 1 to %zu are possible", what,
                       len, cap - 1);
    }
    memcpy(to, name, len + 1);
    return true;
}

/* Type, dimensions and symbols of a tensor port. */
static bool read_shape(const OrtApi *api, const OrtTensorTypeAndShapeInfo *info,
                       struct gb_port *port, struct gb_error **err) {
    ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    size_t rank = 0;
    if (!api->TensorTypeAndShape_HasShape(info)) {
        return gb_fail(err, GB_MODEL_REJECTED,
                       "the model does not say how many dimensions \"%s\" has", port->name);
    }
    if (!gb_onnx_ok(api, api->GetTensorElementType(info, &type), GB_MODEL_INVALID, LOAD_WHAT,
                    err) ||
        !gb_onnx_ok(api, api->GetDimensionsCount(info, &rank), GB_MODEL_INVALID, LOAD_WHAT, err)) {
        return false;
    }
    if (rank > GB_WIRE_RANK_MAX) {
        return gb_fail(err, GB_MODEL_REJECTED, "\"%s\" has %zu dimensions, more than %u",
                       port->name, rank, GB_WIRE_RANK_MAX);
    }
    const char *symbols[GB_WIRE_RANK_MAX] = {NULL};
    if (!gb_onnx_ok(api, api->GetDimensions(info, port->dims, rank), GB_MODEL_INVALID, LOAD_WHAT,
                    err) ||
        !gb_onnx_ok(api, api->GetSymbolicDimensions(info, symbols, rank), GB_MODEL_INVALID,
                    LOAD_WHAT, err)) {
        return false;
    }
    port->type = (uint32_t)gb_onnx_type(type);
    port->rank = (uint32_t)rank;
    for (size_t i = 0; i < rank; i++) {
        if (port->dims[i] < 0) {
            port->dims[i] = -1;
        }
        /* A symbol too long for us loses its name, never its freedom. */
        if (port->dims[i] < 0 && symbols[i] != NULL && strlen(symbols[i]) <= GB_WIRE_SYMBOL_MAX) {
            memcpy(port->symbols[i], symbols[i], strlen(symbols[i]) + 1);
        }
    }
    return true;
}

static bool read_type(const OrtApi *api, const OrtTypeInfo *type, struct gb_port *port,
                      struct gb_error **err) {
    enum ONNXType kind = ONNX_TYPE_UNKNOWN;
    const OrtTensorTypeAndShapeInfo *info = NULL;
    if (!gb_onnx_ok(api, api->GetOnnxTypeFromTypeInfo(type, &kind), GB_MODEL_INVALID, LOAD_WHAT,
                    err)) {
        return false;
    }
    if (kind != ONNX_TYPE_TENSOR) {
        port->type = GB_TYPE_OTHER; /* a sequence, map, or sparse tensor */
        return true;
    }
    if (!gb_onnx_ok(api, api->CastTypeInfoToTensorInfo(type, &info), GB_MODEL_INVALID, LOAD_WHAT,
                    err)) {
        return false;
    }
    if (info == NULL) {
        port->type = GB_TYPE_OTHER;
        return true;
    }
    return read_shape(api, info, port, err);
}

static bool read_port(struct gb_session *session, bool output, size_t index, struct gb_port *port,
                      struct gb_error **err) {
    const OrtApi *api = session->engine->api;
    OrtAllocator *allocator = NULL;
    char *name = NULL;
    OrtTypeInfo *type = NULL;
    if (!gb_onnx_ok(api, api->GetAllocatorWithDefaultOptions(&allocator), GB_BACKEND_FAILED,
                    LOAD_WHAT, err) ||
        !gb_onnx_ok(api,
                    output ? api->SessionGetOutputName(session->session, index, allocator, &name)
                           : api->SessionGetInputName(session->session, index, allocator, &name),
                    GB_MODEL_INVALID, LOAD_WHAT, err)) {
        return false;
    }
    bool ok = copy_name(port->name, sizeof port->name, name, output ? "an output has a"
                                                                    : "an input has a", err) &&
              gb_onnx_ok(api,
                         output ? api->SessionGetOutputTypeInfo(session->session, index, &type)
                                : api->SessionGetInputTypeInfo(session->session, index, &type),
                         GB_MODEL_INVALID, LOAD_WHAT, err) &&
              read_type(api, type, port, err);
    if (type != NULL) {
        api->ReleaseTypeInfo(type);
    }
    OrtStatus *freed = api->AllocatorFree(allocator, name);
    if (freed != NULL) {
        api->ReleaseStatus(freed);
    }
    return ok;
}

static bool read_ports(struct gb_session *session, struct gb_error **err) {
    const OrtApi *api = session->engine->api;
    size_t inputs = 0;
    size_t outputs = 0;
    if (!gb_onnx_ok(api, api->SessionGetInputCount(session->session, &inputs), GB_MODEL_INVALID,
                    LOAD_WHAT, err) ||
        !gb_onnx_ok(api, api->SessionGetOutputCount(session->session, &outputs), GB_MODEL_INVALID,
                    LOAD_WHAT, err)) {
        return false;
    }
    if (inputs > GB_WIRE_PORTS_MAX || outputs > GB_WIRE_PORTS_MAX) {
        return gb_fail(err, GB_MODEL_REJECTED,
                       "the model has %zu inputs and %zu outputs; %u of each are possible", inputs,
                       outputs, GB_WIRE_PORTS_MAX);
    }
    for (size_t i = 0; i < inputs; i++) {
        if (!read_port(session, false, i, &session->inputs[i], err)) {
            return false;
        }
    }
    for (size_t i = 0; i < outputs; i++) {
        if (!read_port(session, true, i, &session->outputs[i], err)) {
            return false;
        }
    }
    session->inputs_len = (uint32_t)inputs;
    session->outputs_len = (uint32_t)outputs;
    return true;
}

struct gb_session *gb_onnx_session_load(struct gb_engine *engine,
                                        const struct gb_backend_load *load, struct gb_error **err) {
    const OrtApi *api = engine->api;
    struct gb_session *session = gb_calloc(1, sizeof *session, err);
    if (session == NULL) {
        return NULL;
    }
    session->engine = engine;
    OrtSessionOptions *options = NULL;
    bool ok = gb_onnx_ok(api, api->CreateSessionOptions(&options), GB_BACKEND_FAILED, LOAD_WHAT,
                         err) &&
              set_options(api, options, load->optimise, err) &&
              gb_onnx_ok(api,
                         api->CreateSessionFromArray(engine->env, load->model.ptr, load->model.len,
                                                     options, &session->session),
                         GB_MODEL_INVALID, LOAD_WHAT, err) &&
              read_ports(session, err);
    if (options != NULL) {
        api->ReleaseSessionOptions(options);
    }
    if (!ok) {
        gb_onnx_session_close(session);
        return NULL;
    }
    return session;
}

void gb_onnx_session_close(struct gb_session *session) {
    if (session == NULL) {
        return;
    }
    OrtRunOptions *spare = atomic_load(&session->spare);
    if (spare != NULL) {
        session->engine->api->ReleaseRunOptions(spare);
    }
    if (session->session != NULL) {
        session->engine->api->ReleaseSession(session->session);
    }
    gb_free(session);
}

const struct gb_port *gb_onnx_session_ports(const struct gb_session *session, bool outputs,
                                            uint32_t *ret_len) {
    *ret_len = outputs ? session->outputs_len : session->inputs_len;
    return outputs ? session->outputs : session->inputs;
}

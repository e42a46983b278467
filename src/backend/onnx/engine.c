/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the ONNX Runtime library and its environment, and turning its errors into ours.
 *
 * The library reports usage to its makers unless told not to: ORT_DISABLE_TELEMETRY must be in the
 * environment before it is opened, so engine_open puts it there itself.
 * Errors: a library that is not there and one that is another are different codes, because the
 * remedies differ.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/onnx/onnx.h"
#include "base/alloc.h"

#define ENGINE_SONAME "libonnxruntime.so.1"

static void ORT_API_CALL ignore_log(void *param, OrtLoggingLevel severity, const char *category,
                                    const char *logid, const char *code_location,
                                    const char *message) {
    (void)param, (void)severity, (void)category, (void)logid, (void)code_location, (void)message;
}

bool gb_onnx_is_invalid_argument(const OrtApi *api, const OrtStatus *status) {
    return status != NULL && api->GetErrorCode(status) == ORT_INVALID_ARGUMENT;
}

bool gb_onnx_ok(const OrtApi *api, OrtStatus *status, enum gb_code code, const char *what,
                struct gb_error **err) {
    if (status == NULL) {
        return true;
    }
    const char *text = api->GetErrorMessage(status);
    if (text == NULL) {
        text = "";
    }
    bool memory = strstr(text, "bad_alloc") != NULL || strstr(text, "bad allocation") != NULL ||
                  strstr(text, "Failed to allocate memory") != NULL;
    if (memory) {
        enum gb_code memory_code = code == GB_MODEL_INVALID ? GB_MODEL_TOO_LARGE
                                                            : GB_BACKEND_FAILED;
        gb_fail(err, memory_code, "%s: the worker's memory limit was reached", what);
        gb_detail(err, "%s", text);
    } else {
        gb_fail(err, code, "%s: %.700s", what, text);
    }
    api->ReleaseStatus(status);
    return false;
}

static const struct {
    ONNXTensorElementDataType theirs;
    enum gb_type ours;
} type_pairs[] = {
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, GB_TYPE_F16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, GB_TYPE_F32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, GB_TYPE_F64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, GB_TYPE_BF16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, GB_TYPE_U8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, GB_TYPE_I32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, GB_TYPE_I64},
};

enum gb_type gb_onnx_type(ONNXTensorElementDataType type) {
    for (size_t i = 0; i < sizeof type_pairs / sizeof type_pairs[0]; i++) {
        if (type_pairs[i].theirs == type) {
            return type_pairs[i].ours;
        }
    }
    return GB_TYPE_OTHER;
}

ONNXTensorElementDataType gb_onnx_type_of(enum gb_type type) {
    for (size_t i = 0; i < sizeof type_pairs / sizeof type_pairs[0]; i++) {
        if (type_pairs[i].ours == type) {
            return type_pairs[i].theirs;
        }
    }
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

static bool open_library(struct gb_engine *engine, const char *path, struct gb_error **err) {
    engine->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (engine->library == NULL) {
        const char *why = dlerror();
        if (strchr(path, '/') == NULL || access(path, F_OK) != 0) {
            return gb_fail(err, GB_BACKEND_MISSING,
                           ENGINE_SONAME " could not be loaded (looked in \"%s\")", path);
        }
        return gb_fail(err, GB_BACKEND_INCOMPATIBLE, "\"%s\" could not be loaded: %s", path,
                       why != NULL ? why : "no reason given");
    }
    /* POSIX lets a data pointer stand for a function here; ISO C needs the copy. */
    const OrtApiBase *(ORT_API_CALL * get_base)(void) = NULL;
    void *symbol = dlsym(engine->library, "OrtGetApiBase");
    memcpy(&get_base, &symbol, sizeof get_base);
    if (get_base == NULL) {
        return gb_fail(err, GB_BACKEND_INCOMPATIBLE,
                       "\"%s\" is not ONNX Runtime: it has no OrtGetApiBase", path);
    }
    const OrtApiBase *base = get_base();
    const char *version = base->GetVersionString();
    engine->api = base->GetApi(ORT_API_VERSION);
    if (engine->api == NULL) {
        return gb_fail(err, GB_BACKEND_INCOMPATIBLE,
                       "\"%s\" is ONNX Runtime %s, which is too old: API version %d is needed",
                       path, version != NULL ? version : "of an unknown version", ORT_API_VERSION);
    }
    (void)snprintf(engine->text, sizeof engine->text, "onnxruntime %s",
                   version != NULL ? version : "?");
    return true;
}

static void onnx_close(struct gb_engine *engine) {
    if (engine == NULL) {
        return;
    }
    if (engine->memory != NULL) {
        engine->api->ReleaseMemoryInfo(engine->memory);
    }
    if (engine->env != NULL) {
        engine->api->ReleaseEnv(engine->env);
    }
    if (engine->library != NULL) {
        dlclose(engine->library);
    }
    gb_free(engine);
}

static struct gb_engine *onnx_open(const char *lib_path, struct gb_error **err) {
    struct gb_engine *engine = gb_calloc(1, sizeof *engine, err);
    if (engine == NULL) {
        return NULL;
    }
    const char *telemetry = getenv("ORT_DISABLE_TELEMETRY");
    bool off = telemetry != NULL && strcmp(telemetry, "1") == 0;
    if (!off && setenv("ORT_DISABLE_TELEMETRY", "1", 1) != 0) {
        gb_fail_errno(err, GB_INTERNAL, errno, "the environment could not be set");
        onnx_close(engine);
        return NULL;
    }
    if (!open_library(engine, lib_path, err)) {
        onnx_close(engine);
        return NULL;
    }
    return engine;
}

static bool onnx_start(struct gb_engine *engine, struct gb_error **err) {
    const OrtApi *api = engine->api;
    return gb_onnx_ok(api,
                      api->CreateEnvWithCustomLogger(ignore_log, NULL, ORT_LOGGING_LEVEL_FATAL,
                                                     "glovebox", &engine->env),
                      GB_BACKEND_FAILED, "ONNX Runtime did not start", err) &&
           gb_onnx_ok(api,
                      api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault,
                                               &engine->memory),
                      GB_BACKEND_FAILED, "ONNX Runtime did not start", err);
}

static const char *onnx_text(const struct gb_engine *engine) {
    return engine->text;
}

const struct gb_backend gb_backend_onnx = {
    .version = GB_BACKEND_VERSION,
    .name = "onnx",
    .engine_open = onnx_open,
    .engine_start = onnx_start,
    .engine_close = onnx_close,
    .engine_text = onnx_text,
    .session_load = gb_onnx_session_load,
    .session_close = gb_onnx_session_close,
    .session_ports = gb_onnx_session_ports,
    .run_new = gb_onnx_run_new,
    .run_go = gb_onnx_run_go,
    .run_fetch = gb_onnx_run_fetch,
    .run_cancel = gb_onnx_run_cancel,
    .run_free = gb_onnx_run_free,
};

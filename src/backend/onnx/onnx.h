/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ONNX Runtime behind backend.h. The library is opened by path at run time, with the API version of
 * the header we were built with; newer libraries keep the older tables.
 * Threads, ownership, errors: as backend.h says.
 */
#ifndef GB_BACKEND_ONNX_ONNX_H
#define GB_BACKEND_ONNX_ONNX_H

#include <onnxruntime_c_api.h>
#include <stdatomic.h>

#include "backend/backend.h"

struct gb_engine {
    const OrtApi *api;
    OrtEnv *env;
    OrtMemoryInfo *memory; /* "plain CPU memory", for tensors around ours */
    void *library;
    char text[64];
};

struct gb_session {
    struct gb_engine *engine;
    OrtSession *session;
    _Atomic(OrtRunOptions *) spare; /* of a run that has ended, for the next */
    uint32_t inputs_len;
    uint32_t outputs_len;
    struct gb_port inputs[GB_WIRE_PORTS_MAX];
    struct gb_port outputs[GB_WIRE_PORTS_MAX];
};

/* The one place where an OrtStatus becomes ours. Releases status; true when it is NULL. `code` is
 * what a plain failure means here. */
bool gb_onnx_ok(const OrtApi *api, OrtStatus *status, enum gb_code code, const char *what,
                struct gb_error **err);
enum gb_type gb_onnx_type(ONNXTensorElementDataType type);
ONNXTensorElementDataType gb_onnx_type_of(enum gb_type type);
/* The engine's codes that need telling apart, before gb_onnx_ok releases the status. */
bool gb_onnx_is_invalid_argument(const OrtApi *api, const OrtStatus *status);

struct gb_session *gb_onnx_session_load(struct gb_engine *engine,
                                        const struct gb_backend_load *load, struct gb_error **err);
void gb_onnx_session_close(struct gb_session *session);
const struct gb_port *gb_onnx_session_ports(const struct gb_session *session, bool outputs,
                                            uint32_t *ret_len);

struct gb_run *gb_onnx_run_new(struct gb_session *session, struct gb_error **err);
bool gb_onnx_run_go(struct gb_run *run, const struct gb_backend_tensor *inputs,
                    struct gb_backend_tensor *outputs, bool *ret_kept, struct gb_error **err);
bool gb_onnx_run_fetch(struct gb_run *run, const struct gb_backend_tensor *outputs,
                       struct gb_error **err);
void gb_onnx_run_cancel(struct gb_run *run);
void gb_onnx_run_free(struct gb_run *run);

#endif

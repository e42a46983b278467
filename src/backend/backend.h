/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a native engine looks like to the worker: one table of functions. Only the files under
 * src/backend/<name>/ see an engine's own headers.
 *
 * Order: engine_open (before the jail; loads the library), engine_start (between its first stages),
 * session_load (inside), then runs. Threads: the engine's calls and session_load on one thread at a
 * time; runs of one session on any number of threads, each run on one thread, except run_cancel,
 * which any thread may call while the run exists.
 * Ownership: the caller frees what a _new/_load/_open function gave; tensors' memory stays the
 * caller's and must live until the run is freed. Errors: every slot that can fail takes err.
 */
#ifndef GB_BACKEND_BACKEND_H
#define GB_BACKEND_BACKEND_H

#include "base/span.h"
#include "wire/wire.h"

#define GB_BACKEND_VERSION 1u

struct gb_engine;  /* an opened library */
struct gb_session; /* a loaded model */
struct gb_run;     /* one inference, and the outputs it keeps */

struct gb_backend_tensor {
    uint32_t rank;
    uint64_t dims[GB_WIRE_RANK_MAX];
    void *ptr;      /* inputs: the bytes; outputs: where to put them, or NULL */
    uint64_t bytes; /* of ptr; for outputs after the run: what the output takes */
};

struct gb_backend_load {
    struct gb_span model; /* borrowed until session_load returns */
    bool optimise;        /* false: untrusted, so no constant folding */
};

struct gb_backend {
    uint32_t version; /* GB_BACKEND_VERSION */
    const char *name; /* what --engine says */

    /* GB_BACKEND_MISSING: there is no such library; GB_BACKEND_INCOMPATIBLE: it is another. */
    struct gb_engine *(*engine_open)(const char *lib_path, struct gb_error **err);
    bool (*engine_start)(struct gb_engine *engine, struct gb_error **err);
    void (*engine_close)(struct gb_engine *engine);
    /* "onnxruntime 1.31.1"; lives as long as the engine. */
    const char *(*engine_text)(const struct gb_engine *engine);

    struct gb_session *(*session_load)(struct gb_engine *engine, const struct gb_backend_load *load,
                                       struct gb_error **err);
    void (*session_close)(struct gb_session *session);
    /* Borrowed. */
    const struct gb_port *(*session_ports)(const struct gb_session *session, bool outputs,
                                           uint32_t *ret_len);

    struct gb_run *(*run_new)(struct gb_session *session, struct gb_error **err);
    /* One tensor per port, in order; the caller checked types, ranks and bytes. An output with a
     * ptr whose bytes and dims come true is written there. On success every output's rank, dims and
     * bytes are what came out, and *ret_kept says that some are kept in the run because they have
     * no place yet. Cancelled: GB_CANCELLED. A port of GB_TYPE_OTHER takes no part. */
    bool (*run_go)(struct gb_run *run, const struct gb_backend_tensor *inputs,
                   struct gb_backend_tensor *outputs, bool *ret_kept, struct gb_error **err);
    /* Copies what is kept; every output has its place now. */
    bool (*run_fetch)(struct gb_run *run, const struct gb_backend_tensor *outputs,
                      struct gb_error **err);
    /* Asks run_go to return soon; may come before it. */
    void (*run_cancel)(struct gb_run *run);
    void (*run_free)(struct gb_run *run);
};

/* NULL when unknown. */
const struct gb_backend *gb_backend_find(const char *name);

extern const struct gb_backend gb_backend_onnx;
#ifdef GLOVEBOX_TEST_WORKER
extern const struct gb_backend gb_backend_fake;
#endif

#endif

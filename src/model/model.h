/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models: name -> digest -> metadata -> worker. The registry holds every model of a run or a
 * server; each ready model has one jailed worker process, supervised here.
 *
 * Threads: a registry is filled and started by one thread; afterwards find, info, memory and jobs
 * may be used from any thread. One supervisor thread inside holds the control channels, deaths,
 * restarts and the grace timers of cancelled jobs. Completions are delivered by gb_registry_drain
 * on whichever thread watches gb_registry_event_fd.
 * Ownership: counted objects; see each function. Errors: as error codes say; nothing aborts.
 */
#ifndef GB_MODEL_MODEL_H
#define GB_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "ledger/ledger.h"
#include "wire/wire.h"

struct gb_registry;
struct gb_model;

enum gb_backend_kind { GB_BACKEND_AUTO, GB_BACKEND_ONNX, GB_BACKEND_GGML, GB_BACKEND_OPENVINO,
                       GB_BACKEND_FAKE };
const char *gb_backend_text(enum gb_backend_kind kind); /* "onnx" */

enum gb_placement {
    GB_PLACEMENT_WORKER, /* in a process of its own, jailed */
    GB_PLACEMENT_INLINE  /* in this process, on the draining thread: trusted and fast models only */
};

struct gb_registry_options {
    const char *worker_path;  /* NULL: GLOVEBOX_WORKER, beside this executable, install path */
    const char *ort_lib_path; /* NULL: GLOVEBOX_ORT_LIB, else libonnxruntime.so.1 beside … */
    enum gb_jail_mode jail;
    uint64_t model_bytes_max;     /* file size; above 64 MiB the store is used */
    uint64_t slab_bytes;          /* address space per worker's slab; pages are charged when used */
    uint64_t keep_bytes;          /* of each slab's freed pages, kept warm, on host_account */
    uint64_t keep_ms;             /* what was not used for that long goes back to the system */
    uint64_t load_timeout_ms;
    uint64_t cancel_grace_ms;     /* soft cancel to SIGKILL */
    uint32_t threads;             /* inferences at once per model; sidecars may say otherwise */
    uint32_t queue_max;           /* jobs waiting per model before GB_OVERLOADED */
    struct gb_account *host_account;
    enum gb_placement placement;  /* INLINE: of all models; else sidecars may say so */
    uint32_t loads_max;           /* models from bytes, at once; 0: none */
    uint32_t load_threads;        /* inferences at once of one of them */
    const char *cache_dir;        /* of the store; NULL: $GLOVEBOX_CACHE, XDG_CACHE_HOME, HOME */
};
struct gb_registry_options gb_registry_options_default(void);

struct gb_registry *gb_registry_new(const struct gb_registry_options *options,
                                    struct gb_error **err);
/* Stops the workers, waits for them, frees everything not referenced elsewhere. */
void gb_registry_free(struct gb_registry *r);

/* Adds every .onnx and .gguf of a directory under its file stem, with its sidecar <stem>.toml. A
 * bad file is kept as rejected; two of one stem fail with GB_MODEL_DUPLICATE. */
bool gb_registry_add_dir(struct gb_registry *r, const char *dir, struct gb_error **err);
/* As gb_registry_add_dir, leaving out the files whose names are taken: for a directory that nobody
 * asked for, behind models that somebody named. */
bool gb_registry_add_dir_behind(struct gb_registry *r, const char *dir, struct gb_error **err);
/* Adds one file under a name; same rules. Fails on duplicates and where the file cannot be read. */
bool gb_registry_add_file(struct gb_registry *r, const char *name, const char *path,
                          enum gb_backend_kind backend, struct gb_error **err);
/* What a sidecar says, said by a manifest: it wins over the sidecar where it is set. */
struct gb_model_settings {
    const char *digest;   /* "sha256:…" that the file must have; NULL: any */
    uint32_t threads;     /* 0: not set */
    uint64_t deadline_us; /* 0: not set */
    bool warm_up_off;
    bool has_placement;
    enum gb_placement placement;
    const char *layout;   /* NULL: not set */
};
/* For a model that was added and not yet started. A digest that differs makes it rejected; only an
 * unknown name fails. */
bool gb_registry_configure(struct gb_registry *r, const char *name,
                           const struct gb_model_settings *settings, struct gb_error **err);
/* Starts workers for the named models (NULL: all), loads and warms them, in parallel, and waits. A
 * model that fails to load becomes rejected with its error; only a registry that can start nothing
 * at all (no worker program, no memory) fails. */
bool gb_registry_start(struct gb_registry *r, const char *const *names, size_t names_len,
                       struct gb_error **err);

size_t gb_registry_count(const struct gb_registry *r);
struct gb_model *gb_registry_at(const struct gb_registry *r, size_t index); /* borrowed */
/* Borrowed; NULL when unknown. Sorted by name. */
struct gb_model *gb_registry_find(const struct gb_registry *r, struct gb_span name);

enum gb_model_state { GB_MODEL_STATE_KNOWN, GB_MODEL_STATE_READY, GB_MODEL_STATE_REJECTED };
struct gb_gguf_summary; /* model/gguf.h */
struct gb_model_info {
    const char *name;
    const char *path;   /* operators only */
    const char *digest; /* "sha256:…"; empty when unreadable */
    const char *layout; /* free text of the sidecar; may be NULL */
    uint64_t bytes;
    enum gb_backend_kind backend;
    enum gb_model_state state;
    const struct gb_error *reason; /* when rejected */
    int64_t opset;                 /* of the default ONNX domain; 0 unknown */
    const struct gb_gguf_summary *gguf; /* of a GGUF file that is sound; else NULL */
    uint64_t warm_us;              /* 0 when not measured */
    uint64_t load_us;
    uint64_t deadline_us;      /* of the sidecar, for one inference; 0: none of its own */
    size_t inputs_len;
    const struct gb_port *inputs;
    /* By GB_DIM of an input's dimension: the first one before it of the same symbol, or
     * GB_DIM_UNBOUND. NULL: no dimension has a symbol. */
    const uint16_t *inputs_bound;
    size_t outputs_len;
    const struct gb_port *outputs;
    size_t findings_len;
    const char *const *findings; /* remarks of the validator */
    uint32_t missing_walls;      /* under GB_JAIL_BEST_EFFORT */
    enum gb_placement placement;
    bool loaded; /* from bytes: lives as long as its references, not as the registry */
};
const struct gb_model_info *gb_model_info(const struct gb_model *m);
/* What a model's worker does, for status and metrics; zeros where it was not started. */
struct gb_model_stats {
    bool ready;        /* it takes inferences now */
    bool inline_here;  /* there is no process */
    int pid;           /* 0: none now */
    uint64_t starts;   /* processes */
    uint64_t kills;    /* of those, ended because an inference did not stop when told */
    uint64_t load_us;  /* of the last load */
    uint32_t waiting, running; /* inferences */
};
struct gb_model_stats gb_model_stats(const struct gb_model *m);
/* "f32[batch,64]"; for messages and logs. Text is cut to cap. */
void gb_port_text(const struct gb_port *port, char *text, size_t cap);

/* A dimension among all ports as one number, and a table of such numbers. */
#define GB_DIM(port, dim) ((uint16_t)((port) * GB_WIRE_RANK_MAX + (dim)))
#define GB_DIMS_MAX (GB_WIRE_PORTS_MAX * GB_WIRE_RANK_MAX)
#define GB_DIM_UNBOUND UINT16_MAX
/* For every dimension of `ports` the first one of the inputs with the same symbol (where ports are
 * the inputs: the first before it). Compares all with all, so it is done once, at load. */
void gb_ports_bind(const struct gb_port *inputs, size_t inputs_len, const struct gb_port *ports,
                   size_t ports_len, uint16_t ret_bound[GB_DIMS_MAX]);

/* ---- models from bytes ---- */

/* A model that is not the registry's: checked as a file of the registry is, in a worker of its own
 * whatever the placement, and gone with its last reference. */
struct gb_load_spec {
    const char *name;             /* for messages; copied */
    struct gb_span bytes;         /* copied once, into sealed memory */
    enum gb_backend_kind backend; /* AUTO: by the first bytes */
    uint64_t bytes_max;           /* of the model: GB_MODEL_TOO_LARGE */
    uint64_t worker_bytes;        /* that its worker may have for itself, besides four times the
                                     model */
    struct gb_account *account;   /* charged for the model and its worker, before the copy, until
                                     the worker's process is reaped */
    void (*done)(void *user);     /* it may have ended: any thread; not after gb_load_free */
    void *user;
};
struct gb_load;
/* Checking, spawning and loading go on elsewhere. Fails with GB_MODEL_TOO_LARGE, GB_MODEL_INVALID
 * (empty), GB_OVERLOADED (loads_max), GB_BUDGET_EXCEEDED. NULL with *err NULL: it does not fit
 * while workers of dropped models are ending; done is called when one of them has, for as long as
 * *ret_wait (gb_load_wait_free; may be there from before) lives. */
struct gb_load_wait;
struct gb_load *gb_load_new(struct gb_registry *r, const struct gb_load_spec *spec,
                            struct gb_load_wait **ret_wait, struct gb_error **err);
void gb_load_wait_free(struct gb_load_wait *wait);
enum gb_load_state { GB_LOAD_RUNNING, GB_LOAD_READY, GB_LOAD_FAILED };
/* By the owner's thread. */
enum gb_load_state gb_load_state(struct gb_load *l);
/* When GB_LOAD_READY: a reference for the caller. */
struct gb_model *gb_load_model(struct gb_load *l);
/* When GB_LOAD_FAILED: a copy, the caller's. */
struct gb_error *gb_load_error(const struct gb_load *l);
/* The owner lets go. True: nobody holds the model, so what runs was ended. */
bool gb_load_free(struct gb_load *l);
/* Of a model whose info says `loaded`. unref: true when it was the last, and the model is gone: its
 * worker is killed, and reaped soon. */
struct gb_model *gb_model_ref(struct gb_model *m);
bool gb_model_unref(struct gb_model *m);

/* ---- tensor memory ---- */

/* A counted block of bytes, charged to an account: in a worker's slab where possible (no further
 * copy on submission), else on the heap. */
struct gb_mem;
/* A copy of bytes in the slab of m's worker; falls back to heap when the slab is full. m may be
 * NULL: heap. */
struct gb_mem *gb_mem_copy(struct gb_model *m, struct gb_span bytes, struct gb_account *account,
                           struct gb_error **err);
struct gb_mem *gb_mem_ref(struct gb_mem *mem);
/* A reference for whoever keeps a result of a job that is let go right after: on the same block, or
 * on a copy on the heap that takes over its charge, where its tenant holds so much of the worker's
 * slab that others would find no room. Only for a result that nobody else keeps. */
struct gb_mem *gb_mem_keep(struct gb_mem *mem);
void gb_mem_unref(struct gb_mem *mem);
uint8_t *gb_mem_ptr(const struct gb_mem *mem);
uint64_t gb_mem_bytes(const struct gb_mem *mem);

/* ---- jobs ---- */

struct gb_tensor_ref {
    size_t port; /* index in the model's inputs */
    uint64_t dims[GB_WIRE_RANK_MAX];
    size_t rank;
    struct gb_mem *mem; /* the job takes its own reference */
};
struct gb_job_spec {
    const struct gb_tensor_ref *inputs; /* checked by nn: all ports, once, right type and shape */
    size_t inputs_len;
    uint64_t deadline_us;       /* absolute; GB_NEVER */
    struct gb_account *account; /* for job blocks and outputs */
    void (*done)(void *user);   /* once, on the draining thread; not after gb_job_unref by the owner
                                   returned */
    void *user;
};
struct gb_job;
/* Queues an inference. A job owns its blocks until the worker acknowledged or was reaped, whatever
 * its owner does. Fails with GB_OVERLOADED, GB_BUDGET_EXCEEDED, GB_BACKEND_LOST (worker not coming
 * back) or the model's own reason. While a worker restarts jobs wait in the queue. */
struct gb_job *gb_job_submit(struct gb_model *m, const struct gb_job_spec *spec,
                             struct gb_error **err);
enum gb_job_state { GB_JOB_WAITING, GB_JOB_DONE, GB_JOB_ERROR };
enum gb_job_state gb_job_state(struct gb_job *job);
/* When GB_JOB_ERROR: a copy owned by the caller. */
struct gb_error *gb_job_error(const struct gb_job *job);
struct gb_job_output {
    enum gb_type type;
    uint64_t dims[GB_WIRE_RANK_MAX];
    size_t rank;
    struct gb_mem *mem; /* borrowed from the job; ref to keep; NULL: the tensor is empty */
};
/* When GB_JOB_DONE: all outputs of the model, in order. */
bool gb_job_output(const struct gb_job *job, size_t index, struct gb_job_output *ret_output);
struct gb_job_times {
    uint64_t queue_us, run_us, total_us;
};
struct gb_job_times gb_job_times(const struct gb_job *job);
/* Drops a queued job at once; asks a running one to stop, and kills its worker after the grace. */
void gb_job_cancel(struct gb_job *job);
/* The owner lets go; cancels if not finished. */
void gb_job_unref(struct gb_job *job);

/* ---- completions ---- */

int gb_registry_event_fd(const struct gb_registry *r);
/* Delivers what has completed; calls the jobs' done callbacks on this thread. Cheap when nothing
 * happened. */
void gb_registry_drain(struct gb_registry *r);
/* For a loop that drives calls. While stepping, this thread promises to call gb_registry_run_inline
 * before it sleeps, so that an inline inference needs no system call. gb_registry_run_inline runs
 * what waits, for about a millisecond, and delivers it; true when there was something. */
void gb_registry_stepping(struct gb_registry *r, bool on);
bool gb_registry_run_inline(struct gb_registry *r);

/* ---- doctor ---- */

struct gb_probe {
    char name[48];
    bool denied;
    int sys_errno;
};
/* Starts a worker without a model and lets it try each forbidden thing. */
bool gb_worker_selftest(const struct gb_registry_options *options, struct gb_probe **ret_probes,
                        size_t *ret_probes_len, char ret_engine[64], uint32_t *ret_missing_walls,
                        struct gb_error **err);
/* Where the worker program and the engine library are, or were looked for: text for people. */
bool gb_worker_locate(const struct gb_registry_options *options, char *ret_path, size_t cap,
                      struct gb_error **err);

/* ---- structural validation (model/onnx_check.c) ---- */

struct gb_onnx_summary {
    int64_t ir_version;
    int64_t opset;
    uint64_t nodes;
    uint64_t initializer_bytes;
    struct gb_port inputs[GB_WIRE_PORTS_MAX]; /* graph inputs that are not initializers */
    size_t inputs_len;
    struct gb_port outputs[GB_WIRE_PORTS_MAX];
    size_t outputs_len;
    char findings[8][160];
    size_t findings_len;
};
/* Pure function over bytes: walks the protobuf without recursion on input, allocates nothing that
 * grows with it. Refuses what is malformed (GB_MODEL_INVALID) or unsafe (GB_MODEL_REJECTED). */
bool gb_onnx_check(struct gb_span bytes, struct gb_onnx_summary *ret_summary,
                   struct gb_error **err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker processes seen from the host: one per model, jailed, restarted when it dies. A hub holds
 * what they share: the supervisor thread and the descriptor that tells of completions.
 *
 * Inside model/ only: the registry makes a hub and one worker per model; jobs run on workers.
 * Threads: any, after gb_worker_hub_new. Callbacks run only inside gb_worker_hub_drain.
 * Ownership: the registry frees its workers, then its hub; jobs and memory of theirs may live on.
 * Lock order: hub->lock, worker->lock, then the leaves (hub->resolved_lock, slab->lock).
 * Errors: GB_BACKEND_MISSING, GB_BACKEND_LOST, GB_IO, and what the worker itself answered.
 */
#ifndef GB_MODEL_WORKER_H
#define GB_MODEL_WORKER_H

#include "model/model.h"

struct gb_worker_hub;
struct gb_worker;

/* Copies what it needs of the options (paths, jail, slab_bytes, load_timeout_ms, cancel_grace_ms,
 * queue_max). Opens descriptors only; the worker program is looked for, and the supervisor thread
 * started, at the first gb_worker_start. */
struct gb_worker_hub *gb_worker_hub_new(const struct gb_registry_options *options,
                                        struct gb_error **err);
/* Stops every worker that is left (close, 200 ms, SIGKILL), reaps them, joins the thread. Jobs that
 * were not finished become errors; their done callbacks are not called any more. NULL is fine. */
void gb_worker_hub_free(struct gb_worker_hub *hub);
/* Readable (level) when gb_worker_hub_drain has something to do. Owned by the hub. */
int gb_worker_hub_event_fd(const struct gb_worker_hub *hub);
void gb_worker_hub_drain(struct gb_worker_hub *hub);

struct gb_worker_spec {
    const char *name;        /* of the model; copied; for messages */
    const char *digest;      /* of the model; copied; NULL: the name stands for it */
    struct gb_span bytes;    /* the model file; copied once into a sealed memfd */
    int stored_fd;           /* > 0: of the store, with bytes.len bytes, which are not looked at */
    enum gb_backend_kind backend; /* GB_BACKEND_ONNX or GB_BACKEND_FAKE */
    uint32_t threads;        /* 1..GB_WIRE_THREADS_MAX */
    bool optimise;           /* graph optimisation, which folds constants of the model */
    bool warm_up;
    uint64_t data_bytes;     /* of memory of its own that a process may have; 0: as much as it may
                                address */
    bool one_try;            /* a process that dies before it has loaded is the last */
    /* Both may be NULL. changed: its first load may have ended; under locks, any thread. gone: the
     * last reference went, so process and bytes are gone; any thread. */
    void (*changed)(void *user);
    void (*gone)(void *user);
    void *user;
};
/* Nothing is started yet. NULL on failure. */
struct gb_worker *gb_worker_new(struct gb_worker_hub *hub, const struct gb_worker_spec *spec,
                                struct gb_error **err);
/* Starts the process and returns at once; loading goes on in the background. Fails where nothing at
 * all can be started: GB_BACKEND_MISSING (no worker program), GB_IO (descriptors, spawn). Starting
 * all workers first and waiting for each afterwards loads them in parallel. */
bool gb_worker_start(struct gb_worker *w, struct gb_error **err);

struct gb_worker_ready {
    const struct gb_port *inputs; /* borrowed, valid and unchanged until gb_worker_free */
    size_t inputs_len;
    const struct gb_port *outputs;
    size_t outputs_len;
    uint64_t load_us;
    uint64_t warm_us;       /* 0: not measured */
    bool warm_failed;       /* the model is usable; warm_text says why the warm-up was not */
    const char *warm_text;  /* borrowed; "" when there is none */
    uint32_t missing_walls; /* bits of enum gb_wall */
    const char *engine;     /* "onnxruntime 1.31.1"; borrowed */
};
/* Waits for the first load to end. Fails with the worker's own error when it refused the model,
 * with GB_BACKEND_LOST when it died while loading, with GB_DEADLINE_EXCEEDED at the deadline
 * (load_timeout of the options ends a load by itself, also with GB_BACKEND_LOST). */
bool gb_worker_wait_ready(struct gb_worker *w, uint64_t deadline_us,
                          struct gb_worker_ready *ret_ready, struct gb_error **err);
/* Whether gb_worker_wait_ready would not wait. */
bool gb_worker_settled(struct gb_worker *w);
/* Stops the process and lets go. Unfinished jobs become GB_BACKEND_LOST. NULL is fine. */
void gb_worker_free(struct gb_worker *w);
/* The same without waiting, and the process is killed at once. NULL is fine. */
void gb_worker_drop(struct gb_worker *w);

/* For tests and status: 0 while no process runs. */
int gb_worker_pid(struct gb_worker *w);
/* How often a process was started. */
uint64_t gb_worker_starts(struct gb_worker *w);
struct gb_model_stats gb_worker_stats(struct gb_worker *w);

/* Zeroed memory; then as gb_mem_copy and gb_job_submit, for a worker. w NULL: heap. */
struct gb_mem *gb_worker_mem_new(struct gb_worker *w, uint64_t bytes, struct gb_account *account,
                                 struct gb_error **err);
struct gb_mem *gb_worker_mem_copy(struct gb_worker *w, struct gb_span bytes,
                                  struct gb_account *account, struct gb_error **err);
struct gb_job *gb_worker_job_submit(struct gb_worker *w, const struct gb_job_spec *spec,
                                    struct gb_error **err);

/* Implemented by the registry. NULL when the model has no worker (rejected or not started). */
struct gb_worker *gb_model_worker(const struct gb_model *m);

/* The engine library by the same rules as gb_worker_locate: the path that is passed to the worker.
 * Never fails but for memory: where nothing is found it is "libonnxruntime.so.1" for the loader. */
char *gb_worker_locate_ort(const struct gb_registry_options *options, struct gb_error **err);

#endif

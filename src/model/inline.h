/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models that run in this process, on the thread that drains completions: for models that the
 * operator trusts and that answer within a millisecond. No hop to another process, no wall around
 * the engine's memory, and no deadline that could end a running inference.
 *
 * To the rest of model/ such a model is a struct gb_worker that never has a process: its jobs wait
 * in its queue, their tensors lie on the heap or, large ones, in a private slab whose pages stay
 * warm, and gb_inline_run takes them from there.
 * Threads: any; a job runs on the thread that calls gb_inline_run. Ownership: as gb_worker.
 * Errors: GB_BACKEND_MISSING, GB_MODEL_REJECTED (too slow), and the engine's own.
 */
#ifndef GB_MODEL_INLINE_H
#define GB_MODEL_INLINE_H

#include "model/slab.h"
#include "model/worker.h"

#define GB_INLINE_P99_US_MAX 1000u
#define GB_INLINE_RUNS_MAX 200u
/* Smaller tensors lie on the heap, which is faster for them. */
#define GB_INLINE_SLAB_BYTES_MIN ((uint64_t)64 * 1024)

struct gb_inline;        /* one loaded model */
struct gb_inline_engine; /* the engine's library, opened once per hub */

/* Puts ORT_DISABLE_TELEMETRY=1 into the environment unless it is there: before the library is
 * opened, and best before other threads run. */
bool gb_inline_environment(struct gb_error **err);
/* Loads the model here, measures it, and refuses it when its 99th percentile is too slow. spec's
 * bytes are borrowed until this returns; threads and warm_up do not matter. */
struct gb_worker *gb_inline_worker_new(struct gb_worker_hub *hub, const struct gb_worker_spec *spec,
                                       struct gb_worker_ready *ret_ready, struct gb_error **err);
/* Jobs that wait become GB_BACKEND_LOST. */
void gb_inline_worker_free(struct gb_worker *w);
/* Told of a job in the queue: rings the hub's descriptor, unless this thread is stepping. */
void gb_inline_submitted(struct gb_worker_hub *hub);
/* Runs jobs that wait, for about a millisecond; what is left rings the hub's descriptor or waits
 * for the stepping thread. True when a job was run. */
bool gb_inline_run(struct gb_worker_hub *hub);
/* The slab of the model's large tensors; borrowed. */
struct gb_slab *gb_inline_slab(struct gb_inline *model);
/* Now and then: gives back what the slabs kept and nobody used. Costs nothing until it is time. */
void gb_inline_trim(struct gb_worker_hub *hub);
/* While on, this thread promises to call gb_inline_run itself before it sleeps. */
void gb_inline_stepping(struct gb_worker_hub *hub, bool on);

/* For gb_worker_unref and gb_worker_hub_unref. NULL is fine. */
void gb_inline_free(struct gb_inline *model);
void gb_inline_engine_free(struct gb_inline_engine *engine);

#endif

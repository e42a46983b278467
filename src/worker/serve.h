/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the worker's threads share: the control thread (main) receives and never computes, so that a
 * cancel is heard and the host's end is seen at once; one thread loads the model and then becomes
 * the first of `threads` inference threads.
 *
 * Locks: load_lock, around the others (held from before the inference threads start until the model
 * is loaded; they wait for it). Never nested: jail_lock, jobs_lock (the consumer's side of the
 * submission ring, the table of jobs), complete_lock (the producer's side of the completion ring),
 * send_lock (the control channel).
 * Ownership: everything lives until the process exits, which is how a worker ends.
 */
#ifndef GB_WORKER_SERVE_H
#define GB_WORKER_SERVE_H

#include <pthread.h>

#include "backend/backend.h"
#include "worker/jail.h"

/* Jobs in flight are bounded by the ring; kept outputs come on top. */
#define GB_JOBS_MAX (2 * GB_WIRE_RING_SLOTS)

struct gb_job_entry {
    uint64_t job_id;
    struct gb_run *run; /* NULL until the engine has made one */
    bool cancelled;
    bool kept; /* answered with NEED_SPACE */
};

struct gb_serve {
    const struct gb_backend *backend;
    struct gb_engine *engine;
    struct gb_session *session;
    const struct gb_port *inputs;
    const struct gb_port *outputs;
    uint32_t inputs_len;
    uint32_t outputs_len;

    uint8_t *slab;
    uint64_t slab_bytes;
    struct gb_slab_head *head; /* == slab */
    bool may_spin;             /* more than one core */
    _Atomic uint32_t idle;     /* inference threads about to sleep or asleep */

    struct gb_msg_load load;
    int model_fd;

    struct gb_jail jail;
    pthread_mutex_t jail_lock;
    bool no_more_threads; /* under jail_lock: stage 3 stands */
    pthread_mutex_t load_lock;

    pthread_mutex_t jobs_lock;
    struct gb_job_entry jobs[GB_JOBS_MAX];
    size_t jobs_len;
    uint64_t cancelled[GB_WIRE_RING_SLOTS]; /* ids that wait in the ring and must not run */
    size_t cancelled_len;

    pthread_mutex_t complete_lock;
    pthread_mutex_t send_lock;
};

/* serve.c: runs until the host goes away; does not return. */
_Noreturn void gb_serve_run(struct gb_serve *s);
/* Sends, or ends the process when nobody listens any more. */
void gb_serve_send(struct gb_serve *s, enum gb_message_type type, const void *body, size_t bytes);
/* Says why and ends the process. Takes e. */
_Noreturn void gb_serve_fail(struct gb_serve *s, struct gb_error *e);
bool gb_serve_thread(void *(*body)(void *), void *argument, struct gb_error **err);
/* The jail's third stage, once; any thread. */
bool gb_serve_no_more_threads(struct gb_serve *s, struct gb_error **err);

/* load.c: a thread's body: loads, warms up, reports, then serves. */
void *gb_load_thread(void *serve);

/* jobs.c */
enum gb_take { GB_TAKE_NONE, GB_TAKE_OK, GB_TAKE_CANCELLED, GB_TAKE_FULL, GB_TAKE_TWICE };
/* Takes the next submission; a RUN gets an entry in the table unless it was cancelled. */
enum gb_take gb_jobs_take(struct gb_serve *s, struct gb_submission *ret_s);
void gb_jobs_cancel(struct gb_serve *s, uint64_t job_id);
/* Gives a job its run. False: cancelled meanwhile. */
bool gb_jobs_attach(struct gb_serve *s, uint64_t job_id, struct gb_run *run);
/* The engine is done. keep: the run stays in the table unless the job was cancelled. Returns
 * whether it was; the caller frees the run unless it is kept. */
bool gb_jobs_finish(struct gb_serve *s, uint64_t job_id, bool keep);
/* Takes a kept run out of the table; NULL when there is none. */
struct gb_run *gb_jobs_take_kept(struct gb_serve *s, uint64_t job_id);

/* infer.c: what one inference thread needs, and the body of the thread, which keeps it for ever. */
struct gb_infer;
struct gb_infer *gb_infer_new(struct gb_serve *s, struct gb_error **err);
void *gb_infer_thread(void *infer);
/* Takes and does one submission; false when there is none. What the thread does all the time. */
bool gb_infer_one(struct gb_infer *in);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files worker_*.c and job*.c share.
 *
 * A worker is the host's idea of one model's engine and lives as long as the model; a process is
 * one incarnation of it. States: STOPPED - STARTING (spawned) - LOADING (said hello) - READY -
 * DYING (killed, not yet reaped) - DOWN (waits for its restart) - LOST (given up); CLOSING and
 * CLOSED when the model goes. Only the supervisor thread leaves a state in which a process exists.
 * Threads: a field says its lock. Lock order: hub->lock, worker->lock, then hub->resolved_lock and
 * the slab's. No callback and no wait for a process happens under any of them.
 */
#ifndef GB_MODEL_WORKER_INTERNAL_H
#define GB_MODEL_WORKER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "model/slab.h"
#include "model/worker.h"

#define GB_WORKER_FLIGHTS_MAX (2 * GB_WIRE_THREADS_MAX)
#define GB_WORKER_DEATHS_MAX 8u       /* in a row without a load, of a worker that once loaded */
#define GB_WORKER_FIRST_DEATHS_MAX 2u /* of one that never did: the model itself is at fault */
#define GB_WORKER_BACKOFF_US 50000u
#define GB_WORKER_BACKOFF_LOADED_MAX_US 500000u /* when the last process had loaded the model */
#define GB_WORKER_BACKOFF_MAX_US 5000000u
#define GB_WORKER_HEALTHY_US 10000000u
#define GB_WORKER_CLOSE_GRACE_US 200000u

/* ---- one process (worker_spawn.c) ---- */

struct gb_process {
    pid_t pid; /* 0: none */
    int pidfd;
    int control;  /* our end; non-blocking */
    int submit;   /* eventfd */
    int complete; /* eventfd of this process alone: one worker cannot steal another's wake-ups */
    struct gb_slab *slab;
};
struct gb_process_config {
    const char *worker_path;
    const char *lib_path;
    const char *engine; /* "onnx" */
    enum gb_jail_mode jail;
    uint64_t slab_bytes;
    uint64_t keep_bytes;
    struct gb_account *host_account; /* for what the slab keeps; may be NULL */
    uint64_t as_bytes; /* the worker's RLIMIT_AS */
    bool dies_with_thread; /* killed by the kernel when the spawning thread ends, even by SIGKILL */
    uint64_t data_bytes; /* its RLIMIT_DATA; 0: as as_bytes */
};
void gb_process_init(struct gb_process *p);
bool gb_process_spawn(const struct gb_process_config *config, struct gb_process *ret_process,
                      struct gb_error **err);
void gb_process_kill(const struct gb_process *p);
/* Reaps without waiting; false while it runs. *ret_signal and *ret_status: one of them, or both 0
 * when somebody else reaped it. */
bool gb_process_reap(struct gb_process *p, int *ret_signal, int *ret_status);
/* Kills, waits for and finishes a process that nobody has heard of yet. */
void gb_process_end(struct gb_process *p);
/* Closes descriptors and lets the slab go. The process must be reaped or be left to init. */
void gb_process_fini(struct gb_process *p);
uint64_t gb_process_as_bytes(uint64_t slab_bytes, uint64_t model_bytes, uint32_t threads);

/* ---- hub (worker_supervisor.c) ---- */

struct gb_worker_hub {
    _Atomic uint64_t refs;
    /* constant */
    struct gb_registry_options options; /* its strings are the two below */
    char *worker_path_option;
    char *ort_lib_option;
    int events_fd;     /* epoll of all completions and of resolved_fd: what callers watch */
    int resolved_fd;   /* eventfd: jobs lie in the resolved list */
    int supervisor_fd; /* epoll of the supervisor */
    int wake_fd;       /* eventfd: the supervisor looks at everything again */
    _Atomic uint64_t next_wake_us;

    pthread_mutex_t lock; /* the fields below */
    struct gb_worker *workers;
    bool thread_runs;
    bool stopping;
    pthread_t thread;
    char *worker_path; /* found at the first start */
    char *ort_lib_path;
    struct gb_worker *inlines; /* linked by their next; models without a process */

    pthread_mutex_t resolved_lock; /* the fields below, and struct gb_job's delivery */
    pthread_cond_t delivered;
    struct gb_job *resolved_first;
    struct gb_job *resolved_last;

    struct gb_quarantine *quarantine; /* constant */
    _Atomic bool inline_waiting; /* jobs may wait in queues of inlines */
    _Atomic uint64_t inline_trim_at_us; /* look at what inline slabs keep; 0: nothing */
    struct gb_inline_engine *inline_engine; /* set by the first such model */
};
void gb_worker_hub_unref(struct gb_worker_hub *hub);
/* Tells the owners of resolved jobs, on this thread. */
void gb_worker_hub_deliver(struct gb_worker_hub *hub);
/* Makes the supervisor look at everything again. */
void gb_worker_hub_wake(struct gb_worker_hub *hub);
/* As above, if it would sleep past deadline_us. */
void gb_worker_hub_wake_before(struct gb_worker_hub *hub, uint64_t deadline_us);
/* Finds the programs and starts the supervisor thread, once. */
bool gb_worker_hub_prepare(struct gb_worker_hub *hub, struct gb_error **err);

/* ---- worker ---- */

enum gb_worker_state {
    GB_WORKER_STOPPED,
    GB_WORKER_STARTING,
    GB_WORKER_LOADING,
    GB_WORKER_READY,
    GB_WORKER_DYING,
    GB_WORKER_DOWN,
    GB_WORKER_INLINE, /* model/inline.h: there is never a process */
    GB_WORKER_LOST,
    GB_WORKER_CLOSING,
    GB_WORKER_CLOSED
};

struct gb_worker {
    _Atomic uint64_t refs;
    /* constant */
    struct gb_worker_hub *hub;
    char *name;
    char *digest;
    int model_fd;
    uint64_t model_bytes;
    enum gb_backend_kind backend;
    uint32_t threads;
    bool optimise;
    bool warm_up;
    bool one_try;
    uint64_t data_bytes;
    void (*changed_fn)(void *user);
    void (*gone_fn)(void *user);
    void *user;

    struct gb_inline *in_line; /* NULL: the model runs in a process */

    struct gb_worker *next; /* hub->lock */

    pthread_mutex_t lock; /* the fields below */
    pthread_cond_t changed;
    enum gb_worker_state state;
    struct gb_process process;
    bool start_wanted; /* STOPPED: the supervisor is asked to spawn */
    struct gb_error *start_error; /* why it last could not */
    uint64_t starts;
    uint64_t trim_at_us;     /* look at what the slab keeps; 0: nothing to look at */
    uint64_t kills; /* for an inference that did not stop */
    uint64_t state_until_us; /* STARTING, LOADING: give up; DOWN: restart; CLOSING: kill */
    uint64_t ready_since_us;
    uint64_t served; /* jobs answered by this process */
    uint32_t deaths; /* in a row, without a load in between */
    uint32_t backoff_step;
    bool ever_ready;
    bool closing;            /* gb_worker_free waits */
    bool distrusted;         /* this process answered nonsense: read no more of its ring */
    struct gb_error *reason; /* why the process dies; in LOST: why for ever */
    /* what the model is: set by the first load, constant once ever_ready */
    struct gb_port *inputs;
    struct gb_port *outputs;
    size_t inputs_len;
    size_t outputs_len;
    uint16_t outputs_bound[GB_DIMS_MAX]; /* gb_ports_bind */
    size_t inputs_seen; /* of this process */
    size_t outputs_seen;
    struct gb_msg_loaded loaded;
    struct gb_msg_hello hello;
    /* jobs */
    uint64_t next_job_id;
    uint64_t run_us_average;
    struct gb_job *queue_first;
    struct gb_job *queue_last;
    uint32_t queue_len;
    struct gb_job *flights[GB_WORKER_FLIGHTS_MAX]; /* in the order of the submission ring */
    uint32_t flights_len;
    bool unsignalled; /* jobs were put on the resolved list since the lock was taken */
};
/* An object without model bytes and on no list; free with gb_worker_unref. */
struct gb_worker *gb_worker_make(struct gb_worker_hub *hub, const struct gb_worker_spec *spec,
                                 struct gb_error **err);
struct gb_worker *gb_worker_ref(struct gb_worker *w);
void gb_worker_unref(struct gb_worker *w);
/* Releases w->lock; tells the drainer when jobs were resolved under it. */
void gb_worker_unlock(struct gb_worker *w);
/* Its state is another: tells who waits for it. */
void gb_worker_changed_locked(struct gb_worker *w);
/* Kills the process; reason (taken; may be NULL) is what its jobs and a lost model will say. */
void gb_worker_kill_locked(struct gb_worker *w, struct gb_error *reason);
/* The worker said or wrote something no sane one would: warned of and killed. Takes detail. */
void gb_worker_broken_locked(struct gb_worker *w, struct gb_error *detail);
/* Makes a short text of the worker's fit to print: ASCII without controls. */
void gb_worker_plain_text(char *text, size_t cap);
/* worker_life.c: steps of the life of one process, called by the supervisor. */
void gb_worker_on_control(struct gb_worker *w);
void gb_worker_on_death(struct gb_worker *w);
/* Timers; *next_us is lowered to when to look again. false: CLOSED, take it out of the list. */
bool gb_worker_step(struct gb_worker *w, uint64_t now_us, uint64_t *next_us);

/* ---- jobs (job.c: objects, placing; job_queue.c: queue, flights, completions) ---- */

enum gb_job_stage {
    GB_STAGE_NEW,
    GB_STAGE_QUEUED,
    GB_STAGE_RUNNING,
    GB_STAGE_FETCHING,
    GB_STAGE_FORGETTING,
    GB_STAGE_ENDED /* no longer known to the worker */
};
struct gb_job_tensor {
    uint64_t dims[GB_WIRE_RANK_MAX];
    uint64_t bytes;
    size_t rank;
    bool known; /* inputs: always; outputs: the shape follows from the inputs */
    struct gb_mem *mem;
};
struct gb_job {
    _Atomic uint64_t refs;
    struct gb_worker *worker;
    struct gb_account *account; /* may be NULL */
    uint64_t struct_bytes;      /* charged */
    uint64_t deadline_us;
    uint64_t submitted_us;
    void (*done)(void *user);
    void *user;

    _Atomic int state; /* enum gb_job_state; once it is not WAITING all results stand */
    struct gb_error *error;
    struct gb_job_times times;

    /* worker->lock */
    enum gb_job_stage stage;
    bool resolved;
    bool cancel_sent;
    uint64_t id;         /* of the submission; 0: never sent */
    uint64_t sent_us;
    uint64_t kill_at_us; /* 0: the grace does not run */
    struct gb_job *prev, *next;
    struct gb_mem *block;

    /* hub->resolved_lock */
    struct gb_job *next_resolved;
    bool abandoned;
    bool delivering;
    pthread_t delivering_thread;

    size_t inputs_len;
    size_t outputs_len;
    struct gb_job_tensor *outputs;  /* = tensors + inputs_len */
    struct gb_job_tensor tensors[]; /* inputs in the order of the model's ports, then outputs */
};
void gb_job_release(struct gb_job *job); /* one reference, any kind */
/* Puts inputs, known outputs and the job block into the slab where they are not there yet. false
 * with *err NULL: no room now; before the job's turn, also none in its tenant's share. Not locked,
 * or under worker->lock. */
bool gb_job_place(struct gb_job *job, struct gb_slab *slab, bool in_turn, struct gb_error **err);
void gb_job_drop_blocks(struct gb_job *job, bool outputs_too);
/* All below: under worker->lock. */
/* The owner's answer; error NULL: success, else taken. No-op when already resolved. */
void gb_job_resolve_locked(struct gb_job *job, struct gb_error *error);
void gb_worker_enqueue_locked(struct gb_worker *w, struct gb_job *job);
/* Takes a job out of the queue; the queue's reference goes to the caller. */
void gb_job_dequeue_locked(struct gb_worker *w, struct gb_job *job);
/* Answers a job that is not with the worker (any more); drops that reference. Takes error. */
void gb_job_end_locked(struct gb_job *job, struct gb_error *error);
void gb_worker_pump_locked(struct gb_worker *w);
void gb_worker_reap_ring_locked(struct gb_worker *w);
void gb_job_cancel_locked(struct gb_job *job, struct gb_error *error);
/* Answers every flight with a copy of the error, every queued job too, when asked. */
void gb_worker_fail_jobs_locked(struct gb_worker *w, const struct gb_error *error, bool queued_too);
/* The process is reaped: nobody writes into the blocks of its jobs any more. */
void gb_worker_end_flights_locked(struct gb_worker *w);
void gb_worker_jobs_step_locked(struct gb_worker *w, uint64_t now_us, uint64_t *next_us);

#endif

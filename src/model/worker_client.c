/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker object: made, started, waited for and freed by its owner, the registry. What happens
 * to its processes meanwhile is in worker_life.c.
 *
 * Threads: any. Ownership: counted; the owner, the hub's list and every job hold one. The model's
 * bytes are kept in a sealed memfd for as long as restarts may need them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/inline.h"
#include "model/worker_internal.h"

/* ---- the object ---- */

struct gb_worker *gb_worker_ref(struct gb_worker *w) {
    atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void gb_worker_unref(struct gb_worker *w) {
    if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    gb_inline_free(w->in_line);
    gb_process_fini(&w->process);
    gb_fd_close(&w->model_fd);
    gb_error_free(w->reason);
    gb_error_free(w->start_error);
    gb_free(w->inputs);
    gb_free(w->outputs);
    gb_free(w->digest);
    gb_free(w->name);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    gb_worker_hub_unref(w->hub);
    void (*gone)(void *user) = w->gone_fn;
    void *user = w->user;
    gb_free(w);
    if (gone) {
        gone(user);
    }
}

void gb_worker_changed_locked(struct gb_worker *w) {
    pthread_cond_broadcast(&w->changed);
    if (w->changed_fn) {
        w->changed_fn(w->user);
    }
}

void gb_worker_unlock(struct gb_worker *w) {
    bool signal = w->unsignalled;
    int fd = w->hub->resolved_fd;
    w->unsignalled = false;
    pthread_mutex_unlock(&w->lock);
    if (signal) {
        uint64_t one = 1;
        (void)!write(fd, &one, sizeof one);
    }
}

/* The model's bytes in a memfd that nobody can change any more. */
static int model_memfd(struct gb_span bytes, struct gb_error **err) {
    int fd = gb_memfd_new("glovebox-model", err);
    if (fd < 0) {
        return -1;
    }
    bool ok = gb_write_all(fd, bytes.ptr, bytes.len, err);
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (ok && gb_sys(GB_SYS_SEAL, -1, fcntl(fd, F_ADD_SEALS, seals)) != 0) {
        int eno = errno;
        ok = gb_fail_errno(err, GB_IO, eno, "could not seal the model: %s", strerror(eno));
    }
    if (!ok) {
        gb_fd_close(&fd);
    }
    return fd;
}

/* A descriptor of our own of a stored model. */
static int stored_file(int fd, struct gb_error **err) {
    int own = gb_sys(GB_SYS_FCNTL, -1, fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (own < 0) {
        int eno = errno;
        gb_fail_errno(err, GB_IO, eno, "could not keep the model open: %s", strerror(eno));
    }
    return own;
}

struct gb_worker *gb_worker_make(struct gb_worker_hub *hub, const struct gb_worker_spec *spec,
                                 struct gb_error **err) {
    if (spec->threads < 1 || spec->threads > GB_WIRE_THREADS_MAX) {
        gb_fail(err, GB_INVALID_ARGUMENT, "model \"%s\" cannot run %u inferences at once",
                spec->name, spec->threads);
        gb_hint(err, "Set threads to a number from 1 to %u.", GB_WIRE_THREADS_MAX);
        return NULL;
    }
    struct gb_worker *w = gb_calloc(1, sizeof *w, err);
    if (!w) {
        return NULL;
    }
    atomic_init(&w->refs, 1);
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    gb_process_init(&w->process);
    atomic_fetch_add_explicit(&hub->refs, 1, memory_order_relaxed);
    w->hub = hub;
    w->model_bytes = spec->bytes.len;
    w->backend = spec->backend;
    w->threads = spec->threads;
    w->optimise = spec->optimise;
    w->warm_up = spec->warm_up;
    w->one_try = spec->one_try;
    w->data_bytes = spec->data_bytes;
    w->next_job_id = 1;
    w->model_fd = -1;
    w->name = gb_strdup(spec->name, err);
    w->digest = gb_strdup(spec->digest ? spec->digest : spec->name, err);
    w->inputs = gb_calloc(GB_WIRE_PORTS_MAX, sizeof *w->inputs, err);
    w->outputs = gb_calloc(GB_WIRE_PORTS_MAX, sizeof *w->outputs, err);
    if (!w->name || !w->digest || !w->inputs || !w->outputs) {
        gb_worker_unref(w);
        return NULL;
    }
    return w;
}

struct gb_worker *gb_worker_new(struct gb_worker_hub *hub, const struct gb_worker_spec *spec,
                                struct gb_error **err) {
    struct gb_worker *w = gb_worker_make(hub, spec, err);
    if (!w) {
        return NULL;
    }
    w->model_fd = spec->stored_fd > 0 ? stored_file(spec->stored_fd, err)
                                      : model_memfd(spec->bytes, err);
    if (w->model_fd < 0) {
        gb_worker_unref(w);
        return NULL;
    }
    w->changed_fn = spec->changed; /* from here on there is a worker to be gone */
    w->gone_fn = spec->gone;
    w->user = spec->user;
    pthread_mutex_lock(&hub->lock);
    w->next = hub->workers;
    hub->workers = gb_worker_ref(w); /* the list's own reference */
    pthread_mutex_unlock(&hub->lock);
    return w;
}

bool gb_worker_start(struct gb_worker *w, struct gb_error **err) {
    if (!gb_worker_hub_prepare(w->hub, err)) {
        return false;
    }
    pthread_mutex_lock(&w->lock);
    if (w->state == GB_WORKER_STOPPED) {
        w->start_wanted = true;
        gb_worker_hub_wake(w->hub);
        while (w->start_wanted) { /* a few milliseconds: it only spawns */
            pthread_cond_wait(&w->changed, &w->lock);
        }
    }
    /* Otherwise it was started before. */
    bool ok = w->state != GB_WORKER_STOPPED || gb_error_move(err, gb_error_copy(w->start_error));
    pthread_mutex_unlock(&w->lock);
    return ok || gb_detail(err, "worker of model \"%s\"", w->name);
}

bool gb_worker_settled(struct gb_worker *w) {
    pthread_mutex_lock(&w->lock);
    bool settled =
        w->ever_ready || w->state == GB_WORKER_STOPPED || w->state >= GB_WORKER_LOST;
    pthread_mutex_unlock(&w->lock);
    return settled;
}

bool gb_worker_wait_ready(struct gb_worker *w, uint64_t deadline_us,
                          struct gb_worker_ready *ret_ready, struct gb_error **err) {
    struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
                             .tv_nsec = (long)(deadline_us % 1000000 * 1000)};
    bool ok = true;
    pthread_mutex_lock(&w->lock);
    while (!w->ever_ready && w->state != GB_WORKER_STOPPED && w->state < GB_WORKER_LOST && ok) {
        int rc = deadline_us == GB_NEVER ? pthread_cond_wait(&w->changed, &w->lock)
                                         : pthread_cond_timedwait(&w->changed, &w->lock, &until);
        ok = rc != ETIMEDOUT;
    }
    if (w->ever_ready) {
        *ret_ready = (struct gb_worker_ready){
            .inputs = w->inputs,
            .inputs_len = w->inputs_len,
            .outputs = w->outputs,
            .outputs_len = w->outputs_len,
            .load_us = w->loaded.load_us,
            .warm_us = w->loaded.warm_us,
            .warm_failed = w->loaded.warm_failed != 0,
            .warm_text = w->loaded.warm_text,
            .missing_walls = w->hello.missing_walls,
            .engine = w->hello.engine,
        };
        ok = true;
    } else if (!ok) {
        gb_fail(err, GB_DEADLINE_EXCEEDED, "model \"%s\" was not loaded in time", w->name);
    } else {
        ok = w->reason ? gb_error_move(err, gb_error_copy(w->reason))
                       : gb_fail(err, GB_BACKEND_LOST, "the worker of model \"%s\" was stopped",
                                 w->name);
    }
    pthread_mutex_unlock(&w->lock);
    return ok;
}

/* Leaves it to the supervisor to end it. False: there is none, so there is nothing to end. */
static bool close_begin(struct gb_worker *w, bool kill) {
    pthread_mutex_lock(&w->hub->lock);
    bool supervised = w->hub->thread_runs;
    if (!supervised) { /* never started: nobody else will take it out of the list */
        for (struct gb_worker **at = &w->hub->workers; *at; at = &(*at)->next) {
            if (*at == w) {
                *at = w->next;
                gb_worker_unref(w);
                break;
            }
        }
    }
    pthread_mutex_unlock(&w->hub->lock);
    if (supervised) {
        pthread_mutex_lock(&w->lock);
        w->closing = true;
        if (kill) {
            gb_process_kill(&w->process);
        }
        pthread_mutex_unlock(&w->lock);
        gb_worker_hub_wake(w->hub);
    }
    return supervised;
}

void gb_worker_drop(struct gb_worker *w) {
    if (w) {
        (void)close_begin(w, true);
        gb_worker_unref(w);
    }
}

void gb_worker_free(struct gb_worker *w) {
    if (!w) {
        return;
    }
    if (w->in_line) {
        gb_inline_worker_free(w);
        return;
    }
    if (close_begin(w, false)) {
        pthread_mutex_lock(&w->lock);
        while (w->state != GB_WORKER_CLOSED) {
            pthread_cond_wait(&w->changed, &w->lock);
        }
        pthread_mutex_unlock(&w->lock);
    }
    gb_worker_unref(w);
}

int gb_worker_pid(struct gb_worker *w) {
    pthread_mutex_lock(&w->lock);
    int pid = w->process.pid;
    pthread_mutex_unlock(&w->lock);
    return pid;
}

uint64_t gb_worker_starts(struct gb_worker *w) {
    pthread_mutex_lock(&w->lock);
    uint64_t starts = w->starts;
    pthread_mutex_unlock(&w->lock);
    return starts;
}

struct gb_model_stats gb_worker_stats(struct gb_worker *w) {
    pthread_mutex_lock(&w->lock);
    struct gb_model_stats stats = {
        .ready = w->state == GB_WORKER_READY || w->state == GB_WORKER_INLINE,
        .inline_here = w->state == GB_WORKER_INLINE,
        .pid = w->process.pid,
        .starts = w->starts,
        .kills = w->kills,
        .load_us = w->loaded.load_us,
        .waiting = w->queue_len,
        .running = w->flights_len,
    };
    pthread_mutex_unlock(&w->lock);
    return stats;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub: one supervisor thread for all workers, and what callers watch for completions.
 *
 * The supervisor sleeps in one epoll over control channels, process descriptors and its wake-up;
 * how long is the earliest of all timers, published in next_wake_us so that a submission only wakes
 * it when its own deadline is earlier. Callers watch events_fd, an epoll that is itself pollable.
 * Threads: drain by any (each job is delivered by one); hub_free by the owner, after its workers'.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/inline.h"
#include "model/quarantine.h"
#include "model/worker_internal.h"

#define EVENTS_AT_ONCE 64

static bool hub_open(struct gb_worker_hub *hub, struct gb_error **err) {
    hub->events_fd = gb_sys(GB_SYS_EPOLL, -1, epoll_create1(EPOLL_CLOEXEC));
    hub->supervisor_fd = gb_sys(GB_SYS_EPOLL, -1, epoll_create1(EPOLL_CLOEXEC));
    hub->resolved_fd = gb_sys(GB_SYS_EVENTFD, -1, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    hub->wake_fd = gb_sys(GB_SYS_EVENTFD, -1, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    struct epoll_event resolved = {.events = EPOLLIN | EPOLLET};
    struct epoll_event wake = {.events = EPOLLIN | EPOLLET};
    if (hub->events_fd < 0 || hub->supervisor_fd < 0 || hub->resolved_fd < 0 || hub->wake_fd < 0 ||
        gb_sys(GB_SYS_EPOLL_ADD, -1,
               epoll_ctl(hub->events_fd, EPOLL_CTL_ADD, hub->resolved_fd, &resolved)) != 0 ||
        gb_sys(GB_SYS_EPOLL_ADD, -1,
               epoll_ctl(hub->supervisor_fd, EPOLL_CTL_ADD, hub->wake_fd, &wake)) != 0) {
        int eno = errno;
        gb_fail_errno(err, GB_IO, eno, "could not prepare for workers: %s", strerror(eno));
        if (eno == EMFILE || eno == ENFILE) {
            gb_hint(err, "Raise the limit of open files (ulimit -n).");
        }
        return false;
    }
    return true;
}

struct gb_worker_hub *gb_worker_hub_new(const struct gb_registry_options *options,
                                        struct gb_error **err) {
    struct gb_worker_hub *hub = gb_calloc(1, sizeof *hub, err);
    if (!hub) {
        return NULL;
    }
    atomic_init(&hub->refs, 1);
    atomic_init(&hub->next_wake_us, GB_NEVER);
    hub->events_fd = hub->supervisor_fd = hub->resolved_fd = hub->wake_fd = -1;
    pthread_mutex_init(&hub->lock, NULL);
    pthread_mutex_init(&hub->resolved_lock, NULL);
    pthread_cond_init(&hub->delivered, NULL);
    hub->options = *options;
    hub->options.worker_path = NULL;
    hub->options.ort_lib_path = NULL;
    bool ok = true;
    if (options->worker_path) {
        hub->worker_path_option = gb_strdup(options->worker_path, err);
        hub->options.worker_path = hub->worker_path_option;
        ok = hub->worker_path_option != NULL;
    }
    if (ok && options->ort_lib_path) {
        hub->ort_lib_option = gb_strdup(options->ort_lib_path, err);
        hub->options.ort_lib_path = hub->ort_lib_option;
        ok = hub->ort_lib_option != NULL;
    }
    hub->quarantine = ok ? gb_quarantine_new(err) : NULL;
    if (!hub->quarantine || !hub_open(hub, err)) {
        gb_worker_hub_unref(hub);
        return NULL;
    }
    return hub;
}

void gb_worker_hub_unref(struct gb_worker_hub *hub) {
    if (!hub || atomic_fetch_sub_explicit(&hub->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    gb_inline_engine_free(hub->inline_engine);
    gb_quarantine_free(hub->quarantine);
    gb_fd_close(&hub->events_fd);
    gb_fd_close(&hub->supervisor_fd);
    gb_fd_close(&hub->resolved_fd);
    gb_fd_close(&hub->wake_fd);
    gb_free(hub->worker_path_option);
    gb_free(hub->ort_lib_option);
    gb_free(hub->worker_path);
    gb_free(hub->ort_lib_path);
    pthread_cond_destroy(&hub->delivered);
    pthread_mutex_destroy(&hub->resolved_lock);
    pthread_mutex_destroy(&hub->lock);
    gb_free(hub);
}

void gb_worker_hub_wake(struct gb_worker_hub *hub) {
    uint64_t one = 1;
    (void)!write(hub->wake_fd, &one, sizeof one);
}

void gb_worker_hub_wake_before(struct gb_worker_hub *hub, uint64_t deadline_us) {
    if (deadline_us < atomic_load(&hub->next_wake_us)) {
        gb_worker_hub_wake(hub);
    }
}

/* ---- the supervisor thread ---- */

/* Lets every worker look at its timers; takes closed ones out. false: nothing is left to do. The
 * list only grows at its head and shrinks here, so walking it needs no lock, and a restart (a few
 * milliseconds) keeps nobody waiting. */
static bool step_all(struct gb_worker_hub *hub) {
    /* While looking, every new deadline wakes us: it might belong to a worker already passed. */
    atomic_store(&hub->next_wake_us, GB_NEVER);
    uint64_t now = gb_now_us();
    uint64_t next = GB_NEVER;
    pthread_mutex_lock(&hub->lock);
    struct gb_worker *w = hub->workers;
    pthread_mutex_unlock(&hub->lock);
    while (w) {
        struct gb_worker *following = w->next;
        if (!gb_worker_step(w, now, &next)) {
            pthread_mutex_lock(&hub->lock);
            struct gb_worker **at = &hub->workers;
            while (*at != w) {
                at = &(*at)->next;
            }
            *at = following;
            pthread_mutex_unlock(&hub->lock);
            gb_worker_unref(w);
        }
        w = following;
    }
    pthread_mutex_lock(&hub->lock);
    bool more = hub->workers || !hub->stopping;
    pthread_mutex_unlock(&hub->lock);
    atomic_store(&hub->next_wake_us, next);
    return more;
}

static void *supervise(void *arg) {
    struct gb_worker_hub *hub = arg;
    struct epoll_event events[EVENTS_AT_ONCE];
    while (step_all(hub)) {
        int timeout_ms = gb_poll_timeout_ms(atomic_load(&hub->next_wake_us));
        int n = epoll_wait(hub->supervisor_fd, events, EVENTS_AT_ONCE, timeout_ms);
        for (int i = 0; i < n; i++) {
            uint64_t data = events[i].data.u64;
            /* Workers go away only in step_all, and with their process's descriptors. */
            struct gb_worker *w = (struct gb_worker *)(uintptr_t)(data & ~(uint64_t)1);
            if (!w) {
                continue; /* the wake-up; its edge is enough */
            }
            if (data & 1) {
                gb_worker_on_death(w);
            } else {
                gb_worker_on_control(w);
            }
        }
    }
    return NULL;
}

bool gb_worker_hub_prepare(struct gb_worker_hub *hub, struct gb_error **err) {
    pthread_mutex_lock(&hub->lock);
    bool ok = hub->thread_runs;
    if (!ok) {
        char path[4096];
        ok = gb_worker_locate(&hub->options, path, sizeof path, err);
        if (ok && !hub->worker_path) {
            hub->worker_path = gb_strdup(path, err);
        }
        if (ok && !hub->ort_lib_path) {
            hub->ort_lib_path = gb_worker_locate_ort(&hub->options, err);
        }
        ok = ok && hub->worker_path && hub->ort_lib_path;
        if (ok) {
            sigset_t all;
            sigset_t old;
            sigfillset(&all); /* signals are the main thread's */
            pthread_sigmask(SIG_SETMASK, &all, &old);
            int rc =
                gb_sys(GB_SYS_THREAD, errno, pthread_create(&hub->thread, NULL, supervise, hub));
            pthread_sigmask(SIG_SETMASK, &old, NULL);
            ok = rc == 0 || gb_fail_errno(err, GB_IO, rc, "could not start a thread: %s",
                                          strerror(rc));
            hub->thread_runs = ok;
        }
    }
    pthread_mutex_unlock(&hub->lock);
    return ok;
}

void gb_worker_hub_free(struct gb_worker_hub *hub) {
    if (!hub) {
        return;
    }
    pthread_mutex_lock(&hub->lock);
    hub->stopping = true;
    bool runs = hub->thread_runs;
    struct gb_worker *left = runs ? NULL : gb_take(&hub->workers);
    for (struct gb_worker *w = hub->workers; w; w = w->next) {
        pthread_mutex_lock(&w->lock);
        w->closing = true;
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_unlock(&hub->lock);
    while (left) {
        struct gb_worker *w = left;
        left = w->next;
        gb_worker_unref(w);
    }
    if (runs) {
        gb_worker_hub_wake(hub);
        pthread_join(hub->thread, NULL);
    }
    pthread_mutex_lock(&hub->resolved_lock);
    struct gb_job *job = gb_take(&hub->resolved_first);
    hub->resolved_last = NULL;
    pthread_mutex_unlock(&hub->resolved_lock);
    while (job) {
        struct gb_job *next = job->next_resolved;
        gb_job_release(job);
        job = next;
    }
    gb_worker_hub_unref(hub);
}

/* ---- completions ---- */

int gb_worker_hub_event_fd(const struct gb_worker_hub *hub) {
    return hub->events_fd;
}

/* Takes the next job to tell about; the list's reference comes with it. */
static struct gb_job *next_delivery(struct gb_worker_hub *hub, bool *ret_call) {
    pthread_mutex_lock(&hub->resolved_lock);
    struct gb_job *job = hub->resolved_first;
    if (job) {
        hub->resolved_first = job->next_resolved;
        if (!hub->resolved_first) {
            hub->resolved_last = NULL;
        }
        job->next_resolved = NULL;
        *ret_call = !job->abandoned && job->done;
        job->delivering = *ret_call;
        job->delivering_thread = pthread_self();
    }
    pthread_mutex_unlock(&hub->resolved_lock);
    return job;
}

void gb_worker_hub_drain(struct gb_worker_hub *hub) {
    /* Takes the edges first: what comes after this makes events_fd readable again. */
    struct epoll_event events[EVENTS_AT_ONCE];
    (void)epoll_wait(hub->events_fd, events, EVENTS_AT_ONCE, 0);
    pthread_mutex_lock(&hub->lock);
    for (struct gb_worker *w = hub->workers; w; w = w->next) {
        pthread_mutex_lock(&w->lock);
        gb_worker_reap_ring_locked(w);
        gb_worker_pump_locked(w);
        w->unsignalled = false; /* they are delivered right below */
        pthread_mutex_unlock(&w->lock);
    }
    pthread_mutex_unlock(&hub->lock);
    (void)gb_inline_run(hub);
    gb_inline_trim(hub);
    gb_worker_hub_deliver(hub);
}

void gb_worker_hub_deliver(struct gb_worker_hub *hub) {
    bool call = false;
    for (struct gb_job *job; (job = next_delivery(hub, &call)) != NULL;) {
        if (call) {
            job->done(job->user);
            pthread_mutex_lock(&hub->resolved_lock);
            job->delivering = false;
            pthread_cond_broadcast(&hub->delivered);
            pthread_mutex_unlock(&hub->resolved_lock);
        }
        gb_job_release(job);
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One worker: its object, and the life of each of its processes (hello, load, ports, loaded, death,
 * restart). The first load decides what the model is; a later process that says otherwise is broken.
 *
 * A death while serving restarts at once, then after 50 ms doubling; a model that was never loaded
 * is given up after two deaths, one that was after eight without a load in between.
 * Threads: gb_worker_on_* and _step by the supervisor only; the rest by any.
 */
#include "model/worker_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"

/* ---- the object ---- */

struct gb_worker *gb_worker_ref(struct gb_worker *w) {
    atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void gb_worker_unref(struct gb_worker *w) {
    if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    gb_process_fini(&w->process);
    gb_fd_close(&w->model_fd);
    gb_error_free(w->reason);
    gb_free(w->inputs);
    gb_free(w->outputs);
    gb_free(w->name);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    gb_worker_hub_unref(w->hub);
    gb_free(w);
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
    if (ok && fcntl(fd, F_ADD_SEALS,
                    F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        int eno = errno;
        ok = gb_fail_errno(err, GB_IO, eno, "could not seal the model: %s", strerror(eno));
    }
    if (!ok) {
        gb_fd_close(&fd);
    }
    return fd;
}

struct gb_worker *gb_worker_new(struct gb_worker_hub *hub, const struct gb_worker_spec *spec,
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
    w->next_job_id = 1;
    w->model_fd = -1;
    w->name = gb_strdup(spec->name, err);
    w->inputs = gb_calloc(GB_WIRE_PORTS_MAX, sizeof *w->inputs, err);
    w->outputs = gb_calloc(GB_WIRE_PORTS_MAX, sizeof *w->outputs, err);
    if (w->name && w->inputs && w->outputs) {
        w->model_fd = model_memfd(spec->bytes, err);
    }
    if (w->model_fd < 0) {
        gb_worker_unref(w);
        return NULL;
    }
    pthread_mutex_lock(&hub->lock);
    w->next = hub->workers;
    hub->workers = gb_worker_ref(w); /* the list's own reference */
    pthread_mutex_unlock(&hub->lock);
    return w;
}

/* ---- starting ---- */

static void watch(int epoll_fd, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    /* Fails only without kernel memory; then timers still end what hangs. */
    (void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* The supervisor tells control from death by the lowest bit; objects are aligned. */
static void watch_process(struct gb_worker *w) {
    uint64_t self = (uint64_t)(uintptr_t)w;
    watch(w->hub->supervisor_fd, w->process.control, EPOLLIN, self);
    watch(w->hub->supervisor_fd, w->process.pidfd, EPOLLIN, self | 1);
    /* Edges, so that nobody has to read the counter, which the worker shares and may tamper with. */
    watch(w->hub->events_fd, w->process.complete, EPOLLIN | EPOLLET, self);
}

/* Closing alone would not do where a forked child of an embedder has copies. */
static void unwatch_process(struct gb_worker *w) {
    if (w->process.control >= 0) {
        (void)epoll_ctl(w->hub->supervisor_fd, EPOLL_CTL_DEL, w->process.control, NULL);
    }
    (void)epoll_ctl(w->hub->supervisor_fd, EPOLL_CTL_DEL, w->process.pidfd, NULL);
    (void)epoll_ctl(w->hub->events_fd, EPOLL_CTL_DEL, w->process.complete, NULL);
}

bool gb_worker_spawn(struct gb_worker *w, struct gb_error **err) {
    struct gb_worker_hub *hub = w->hub;
    struct gb_process_config config = {
        .worker_path = hub->worker_path,
        .lib_path = hub->ort_lib_path,
        .engine = w->backend == GB_BACKEND_FAKE ? "fake" : "onnx",
        .jail = hub->options.jail,
        .slab_bytes = hub->options.slab_bytes,
        .as_bytes = gb_process_as_bytes(hub->options.slab_bytes, w->model_bytes, w->threads),
    };
    struct gb_process process;
    if (!gb_process_spawn(&config, &process, err)) {
        return false;
    }
    pthread_mutex_lock(&w->lock);
    w->process = process;
    w->starts++;
    w->state = GB_WORKER_STARTING;
    w->state_until_us = gb_deadline_after_us(hub->options.load_timeout_ms * 1000);
    w->inputs_seen = 0;
    w->outputs_seen = 0;
    w->served = 0;
    w->distrusted = false;
    gb_error_clear(&w->reason);
    watch_process(w);
    gb_worker_unlock(w);
    return true;
}

bool gb_worker_start(struct gb_worker *w, struct gb_error **err) {
    if (!gb_worker_hub_prepare(w->hub, err)) {
        return false;
    }
    pthread_mutex_lock(&w->lock);
    bool stopped = w->state == GB_WORKER_STOPPED;
    pthread_mutex_unlock(&w->lock);
    if (!stopped) {
        return true; /* started before */
    }
    if (!gb_worker_spawn(w, err)) {
        return gb_detail(err, "worker of model \"%s\"", w->name);
    }
    gb_worker_hub_wake(w->hub);
    return true;
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

void gb_worker_free(struct gb_worker *w) {
    if (!w) {
        return;
    }
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
        pthread_mutex_unlock(&w->lock);
        gb_worker_hub_wake(w->hub);
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

/* ---- what the process says ---- */

static bool alive(const struct gb_worker *w) {
    return w->state == GB_WORKER_STARTING || w->state == GB_WORKER_LOADING ||
           w->state == GB_WORKER_READY;
}

void gb_worker_kill_locked(struct gb_worker *w, struct gb_error *reason) {
    if (!alive(w)) {
        gb_error_free(reason);
        return;
    }
    gb_error_free(w->reason);
    w->reason = reason;
    w->state = GB_WORKER_DYING;
    gb_process_kill(&w->process);
}

void gb_worker_broken_locked(struct gb_worker *w, struct gb_error *detail) {
    w->distrusted = true;
    if (alive(w)) {
        gb_log(GB_LOG_WARN, "worker of model \"%s\" broke the protocol and is killed: %s", w->name,
               detail && detail->message ? detail->message : "nonsense in its ring");
        struct gb_error *reason = NULL;
        gb_fail(&reason, GB_BACKEND_LOST,
                "the worker of model \"%s\" broke the protocol and was ended", w->name);
        gb_error_set_cause(&reason, detail);
        gb_worker_kill_locked(w, reason);
    } else {
        gb_error_free(detail);
    }
}

void gb_worker_plain_text(char *text, size_t cap) {
    text[cap - 1] = '\0';
    for (char *at = text; *at != '\0'; at++) {
        *at = *at >= ' ' && *at <= '~' ? *at : '?';
    }
}

static bool on_hello(struct gb_worker *w, const struct gb_msg_hello *hello, struct gb_error **err) {
    if (w->state != GB_WORKER_STARTING) {
        return gb_fail(err, GB_BACKEND_FAILED, "a second hello");
    }
    if (w->hub->options.jail == GB_JAIL_STRICT && hello->missing_walls != 0) {
        return gb_fail(err, GB_BACKEND_FAILED, "walls are missing under a strict jail (%#x)",
                       hello->missing_walls);
    }
    if (!w->ever_ready) {
        w->hello = *hello;
        gb_worker_plain_text(w->hello.engine, sizeof w->hello.engine);
    }
    struct gb_msg_load load = {
        .model_bytes = w->model_bytes,
        .threads = w->threads,
        .optimise = w->optimise,
        .slab_bytes = gb_slab_bytes(w->process.slab),
        .warm_up = w->warm_up,
    };
    w->state = GB_WORKER_LOADING;
    return gb_wire_send(w->process.control, GB_MSG_LOAD, &load, sizeof load, w->model_fd, err);
}

static bool on_port(struct gb_worker *w, const struct gb_msg_port *message,
                    struct gb_error **err) {
    size_t *seen = message->is_output ? &w->outputs_seen : &w->inputs_seen;
    struct gb_port *ports = message->is_output ? w->outputs : w->inputs;
    if (w->state != GB_WORKER_LOADING || message->is_output > 1 || message->index != *seen ||
        *seen >= GB_WIRE_PORTS_MAX) {
        return gb_fail(err, GB_BACKEND_FAILED, "a port out of order");
    }
    if (w->ever_ready) {
        if (*seen >= (message->is_output ? w->outputs_len : w->inputs_len) ||
            memcmp(&ports[*seen], &message->port, sizeof message->port) != 0) {
            return gb_fail(err, GB_BACKEND_FAILED, "a port is not what it was before the restart");
        }
    } else {
        ports[*seen] = message->port;
    }
    (*seen)++;
    return true;
}

static bool on_loaded(struct gb_worker *w, const struct gb_msg_loaded *loaded,
                      struct gb_error **err) {
    if (w->state != GB_WORKER_LOADING || loaded->inputs != w->inputs_seen ||
        loaded->outputs != w->outputs_seen ||
        (w->ever_ready &&
         (loaded->inputs != w->inputs_len || loaded->outputs != w->outputs_len))) {
        return gb_fail(err, GB_BACKEND_FAILED, "a load that does not fit its ports");
    }
    if (!w->ever_ready) {
        w->inputs_len = loaded->inputs;
        w->outputs_len = loaded->outputs;
        w->loaded = *loaded;
        w->run_us_average = GB_MIN(loaded->warm_us, 60 * (uint64_t)1000000);
    }
    w->ever_ready = true;
    w->deaths = 0;
    w->ready_since_us = gb_now_us();
    w->state = GB_WORKER_READY;
    gb_log(GB_LOG_DEBUG, "worker of model \"%s\" (process %d) is ready", w->name, w->process.pid);
    pthread_cond_broadcast(&w->changed);
    gb_worker_pump_locked(w);
    return true;
}

static bool on_failed(struct gb_worker *w, const struct gb_msg_failed *failed,
                      struct gb_error **err) {
    if (w->state != GB_WORKER_STARTING && w->state != GB_WORKER_LOADING) {
        return gb_fail(err, GB_BACKEND_FAILED, "a failure to load after the load");
    }
    struct gb_error *reason = NULL;
    struct gb_buf text;
    gb_buf_init(&text, 4 * sizeof failed->text);
    (void)gb_buf_append_escaped(&text, gb_span_of(failed->text), NULL);
    gb_fail(&reason, (enum gb_code)failed->code, "%s", gb_buf_text(&text));
    gb_buf_fini(&text);
    if (failed->code == GB_BACKEND_MISSING || failed->code == GB_BACKEND_INCOMPATIBLE) {
        gb_hint(&reason, "Set GLOVEBOX_ORT_LIB or --ort-lib PATH to libonnxruntime.so.1.");
    }
    gb_worker_kill_locked(w, reason);
    return true;
}

static bool on_packet(struct gb_worker *w, const struct gb_packet *packet, struct gb_error **err) {
    const void *body = packet->body;
    switch (packet->header.type) {
    case GB_MSG_HELLO:
        return on_hello(w, body, err);
    case GB_MSG_PORT:
        return on_port(w, body, err);
    case GB_MSG_LOADED:
        return on_loaded(w, body, err);
    case GB_MSG_FAILED:
        return on_failed(w, body, err);
    default:
        return gb_fail(err, GB_BACKEND_FAILED, "a message of type %u, unasked",
                       packet->header.type);
    }
}

void gb_worker_on_control(struct gb_worker *w) {
    struct gb_packet packet;
    pthread_mutex_lock(&w->lock);
    while (w->process.control >= 0 && alive(w)) {
        struct gb_error *e = NULL;
        int fd = -1;
        if (!gb_wire_recv(w->process.control, &packet, &fd, &e)) {
            if (e && e->sys_errno == EAGAIN) {
                gb_error_free(e);
                break;
            }
            if (e) {
                gb_worker_broken_locked(w, e);
            } else { /* it closed its end: it is ending, or must */
                gb_worker_kill_locked(w, NULL);
            }
            break;
        }
        gb_fd_close(&fd);
        if (!on_packet(w, &packet, &e)) {
            gb_worker_broken_locked(w, e);
        }
    }
    if (!alive(w) && w->process.control >= 0) {
        /* Nothing it says counts any more, and an ended stream would be readable for ever. */
        (void)epoll_ctl(w->hub->supervisor_fd, EPOLL_CTL_DEL, w->process.control, NULL);
    }
    gb_worker_unlock(w);
}

/* ---- death and restart ---- */

static struct gb_error *death_error(const struct gb_worker *w, int signal, int status) {
    struct gb_error *e = NULL;
    const char *doing = w->ever_ready ? "" : " while it loaded the model";
    if (signal != 0) {
        gb_fail(&e, GB_BACKEND_LOST, "the worker of model \"%s\" ended by signal %d%s", w->name,
                signal, doing);
    } else {
        gb_fail(&e, GB_BACKEND_LOST, "the worker of model \"%s\" ended with status %d%s", w->name,
                status, doing);
    }
    gb_hint(&e, "It is started again by itself; try again.");
    return e;
}

static void lose_locked(struct gb_worker *w, struct gb_error *why, bool refused) {
    struct gb_error *reason = why;
    if (!refused && w->ever_ready) {
        reason = NULL;
        gb_fail(&reason, GB_BACKEND_LOST,
                "the worker of model \"%s\" ended %u times in a row and is not started again",
                w->name, w->deaths);
        gb_hint(&reason, "See the log for why, then start Glovebox again.");
        gb_error_set_cause(&reason, why);
    } else if (!refused) {
        gb_hint(&reason, "The engine cannot load this model; check the file.");
    }
    gb_worker_fail_jobs_locked(w, reason, true);
    gb_error_free(w->reason);
    w->reason = reason;
    w->state = GB_WORKER_LOST;
}

/* Decides what comes next. why is taken. */
static void after_death_locked(struct gb_worker *w, struct gb_error *why, bool refused,
                               bool was_loaded) {
    uint64_t now = gb_now_us();
    if (was_loaded && (w->served > 0 || now - w->ready_since_us >= GB_WORKER_HEALTHY_US)) {
        w->backoff_step = 0;
    }
    w->deaths++;
    uint32_t deaths_max = w->ever_ready ? GB_WORKER_DEATHS_MAX : GB_WORKER_FIRST_DEATHS_MAX;
    if ((refused && !w->ever_ready) || w->deaths >= deaths_max) {
        lose_locked(w, why, refused);
        return;
    }
    uint64_t delay = 0;
    if (w->backoff_step > 0) {
        uint64_t limit = was_loaded ? GB_WORKER_BACKOFF_LOADED_MAX_US : GB_WORKER_BACKOFF_MAX_US;
        delay = GB_MIN((uint64_t)GB_WORKER_BACKOFF_US << GB_MIN(w->backoff_step - 1, 16u), limit);
    }
    w->backoff_step++;
    w->state = GB_WORKER_DOWN;
    w->state_until_us = now + delay;
    gb_error_free(w->reason);
    w->reason = why;
}

void gb_worker_on_death(struct gb_worker *w) {
    int signal = 0;
    int status = 0;
    gb_worker_on_control(w); /* its last words */
    pthread_mutex_lock(&w->lock);
    if (w->process.pid == 0 || !gb_process_reap(&w->process, &signal, &status)) {
        pthread_mutex_unlock(&w->lock);
        return;
    }
    bool was_loaded = w->ready_since_us != 0;
    gb_worker_reap_ring_locked(w); /* what it finished is finished */
    struct gb_error *why = gb_take(&w->reason);
    /* Only a refusal to load has a code of its own. */
    bool refused = why && why->code != GB_BACKEND_LOST;
    if (!why) {
        why = death_error(w, signal, status);
    }
    gb_log(GB_LOG_INFO, "worker of model \"%s\" ended (signal %d, status %d): %s", w->name, signal,
           status, why ? why->message : "");
    unwatch_process(w);
    gb_worker_fail_jobs_locked(w, why, false);
    gb_worker_end_flights_locked(w);
    gb_process_fini(&w->process);
    if (w->state == GB_WORKER_CLOSING) {
        gb_error_free(why);
    } else {
        after_death_locked(w, why, refused, was_loaded);
    }
    w->ready_since_us = 0;
    pthread_cond_broadcast(&w->changed);
    gb_worker_unlock(w);
}

/* Locked; unlocks while spawning: a process cannot appear meanwhile, only this thread makes them. */
static void restart(struct gb_worker *w) {
    struct gb_error *e = NULL;
    pthread_mutex_unlock(&w->lock);
    bool ok = gb_worker_spawn(w, &e);
    pthread_mutex_lock(&w->lock);
    if (ok) {
        return;
    }
    gb_log(GB_LOG_INFO, "worker of model \"%s\" could not be started again: %s", w->name,
           e ? e->message : "");
    after_death_locked(w, e, false, false);
    pthread_cond_broadcast(&w->changed);
}

static bool close_step(struct gb_worker *w, uint64_t now_us, uint64_t *next_us) {
    if (w->state != GB_WORKER_CLOSING) {
        struct gb_error *stopped = NULL;
        gb_fail(&stopped, GB_BACKEND_LOST, "the worker of model \"%s\" was stopped", w->name);
        gb_worker_reap_ring_locked(w);
        gb_worker_fail_jobs_locked(w, stopped, true);
        gb_error_free(w->reason);
        w->reason = stopped;
        w->state = GB_WORKER_CLOSING;
        w->state_until_us = now_us + GB_WORKER_CLOSE_GRACE_US;
        if (w->process.control >= 0) { /* closing it tells the worker to end */
            (void)epoll_ctl(w->hub->supervisor_fd, EPOLL_CTL_DEL, w->process.control, NULL);
            gb_fd_close(&w->process.control);
        }
        pthread_cond_broadcast(&w->changed);
    }
    if (w->process.pid == 0) {
        w->state = GB_WORKER_CLOSED;
        pthread_cond_broadcast(&w->changed);
        return false;
    }
    if (now_us >= w->state_until_us) {
        gb_process_kill(&w->process);
        w->state_until_us = GB_NEVER;
    }
    *next_us = GB_MIN(*next_us, w->state_until_us);
    return true;
}

bool gb_worker_step(struct gb_worker *w, uint64_t now_us, uint64_t *next_us) {
    bool keep = true;
    pthread_mutex_lock(&w->lock);
    if (w->closing) {
        keep = close_step(w, now_us, next_us);
        gb_worker_unlock(w);
        return keep;
    }
    if (w->state == GB_WORKER_DOWN && now_us >= w->state_until_us) {
        restart(w);
    }
    if ((w->state == GB_WORKER_STARTING || w->state == GB_WORKER_LOADING) &&
        now_us >= w->state_until_us) {
        struct gb_error *reason = NULL;
        gb_fail(&reason, GB_BACKEND_LOST, "the worker of model \"%s\" did not load it in %llu ms",
                w->name, (unsigned long long)w->hub->options.load_timeout_ms);
        gb_worker_kill_locked(w, reason);
    }
    if (w->state == GB_WORKER_STARTING || w->state == GB_WORKER_LOADING ||
        w->state == GB_WORKER_DOWN) {
        *next_us = GB_MIN(*next_us, w->state_until_us);
    }
    gb_worker_jobs_step_locked(w, now_us, next_us);
    gb_worker_unlock(w);
    return keep;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of each process of a worker: spawned, hello, load, ports, loaded, death, restart. The
 * first load decides what the model is; a later process that says otherwise is broken.
 *
 * A death while serving restarts at once, then after 50 ms doubling; a model that was never loaded
 * is given up after two deaths, one that was after eight without a load in between.
 * Threads: the supervisor only, but for the two that kill. It makes every process, because the
 * kernel ties a worker's death to the end of the thread that made it: a worker that has been taken
 * over, and does not look at its channel, ends with a host that was killed, too.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "model/quarantine.h"
#include "model/worker_internal.h"

/* ---- starting ---- */

static bool watch(int epoll_fd, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data.u64 = data};
    return gb_sys(GB_SYS_EPOLL_ADD, -1, epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) == 0;
}

/* The supervisor tells control from death by the lowest bit; objects are aligned. */
static bool watch_process(struct gb_worker *w, struct gb_error **err) {
    uint64_t self = (uint64_t)(uintptr_t)w;
    /* Edges, so that nobody has to read the counter, which the worker may tamper with. */
    return (watch(w->hub->events_fd, w->process.complete, EPOLLIN | EPOLLET, self) &&
            watch(w->hub->supervisor_fd, w->process.control, EPOLLIN, self) &&
            watch(w->hub->supervisor_fd, w->process.pidfd, EPOLLIN, self | 1)) ||
           gb_fail_errno(err, GB_IO, errno, "could not watch a worker: %s", strerror(errno));
}

/* Closing alone would not do where a forked child of an embedder has copies. */
static void unwatch_process(struct gb_worker *w) {
    if (w->process.control >= 0) {
        (void)epoll_ctl(w->hub->supervisor_fd, EPOLL_CTL_DEL, w->process.control, NULL);
    }
    (void)epoll_ctl(w->hub->supervisor_fd, EPOLL_CTL_DEL, w->process.pidfd, NULL);
    (void)epoll_ctl(w->hub->events_fd, EPOLL_CTL_DEL, w->process.complete, NULL);
}

static bool spawn(struct gb_worker *w, struct gb_error **err) {
    struct gb_worker_hub *hub = w->hub;
    struct gb_process_config config = {
        .worker_path = hub->worker_path,
        .lib_path = hub->ort_lib_path,
        .engine = w->backend == GB_BACKEND_FAKE ? "fake" : "onnx",
        .jail = hub->options.jail,
        .slab_bytes = hub->options.slab_bytes,
        .keep_bytes = hub->options.keep_bytes,
        .host_account = hub->options.host_account,
        .as_bytes = gb_process_as_bytes(hub->options.slab_bytes, w->model_bytes, w->threads),
        .dies_with_thread = true,
        .data_bytes = w->data_bytes,
    };
    struct gb_process process;
    if (!gb_process_spawn(&config, &process, err)) {
        return false;
    }
    pthread_mutex_lock(&w->lock);
    w->process = process;
    if (!watch_process(w, err)) {
        unwatch_process(w);
        gb_process_end(&w->process);
        gb_worker_unlock(w);
        return false;
    }
    w->starts++;
    w->state = GB_WORKER_STARTING;
    w->state_until_us = gb_deadline_after_us(hub->options.load_timeout_ms * 1000);
    w->inputs_seen = 0;
    w->outputs_seen = 0;
    w->served = 0;
    w->distrusted = false;
    gb_error_clear(&w->reason);
    gb_worker_unlock(w);
    return true;
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
        /* Our own side may have failed too: a full table of files, no memory. */
        bool ours = detail && (detail->code == GB_IO || detail->code == GB_INTERNAL);
        const char *did = ours ? "could not be talked to" : "broke the protocol";
        gb_log(GB_LOG_WARN, "worker of model \"%s\" %s and is killed: %s", w->name, did,
               detail && detail->message ? detail->message : "nonsense in its ring");
        struct gb_error *reason = NULL;
        gb_fail(&reason, GB_BACKEND_LOST, "the worker of model \"%s\" %s and was ended", w->name,
                did);
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
        gb_ports_bind(w->inputs, w->inputs_len, w->outputs, w->outputs_len, w->outputs_bound);
        w->loaded = *loaded;
        w->run_us_average = GB_MIN(loaded->warm_us, 60 * (uint64_t)1000000);
    }
    w->ever_ready = true;
    w->deaths = 0;
    w->ready_since_us = gb_now_us();
    w->state = GB_WORKER_READY;
    gb_log(GB_LOG_DEBUG, "worker of model \"%s\" (process %d) is ready", w->name, w->process.pid);
    gb_worker_changed_locked(w);
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
    /* A failure cannot be called "ok": that would end a command with the status of success. */
    enum gb_code code = failed->code == GB_OK ? GB_BACKEND_FAILED : (enum gb_code)failed->code;
    gb_fail(&reason, code, "%s", gb_buf_text(&text));
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
    if (w->ever_ready || !w->one_try) {
        gb_hint(&e, "It is started again by itself; try again.");
    }
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
    gb_worker_changed_locked(w);
}

/* Decides what comes next. why is taken. */
static void after_death_locked(struct gb_worker *w, struct gb_error *why, bool refused,
                               bool was_loaded) {
    uint64_t now = gb_now_us();
    if (was_loaded && (w->served > 0 || now - w->ready_since_us >= GB_WORKER_HEALTHY_US)) {
        w->backoff_step = 0;
    }
    w->deaths++;
    uint32_t deaths_max = w->ever_ready ? GB_WORKER_DEATHS_MAX
                          : w->one_try  ? 1
                                        : GB_WORKER_FIRST_DEATHS_MAX;
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
        if (was_loaded && !w->closing && signal != SIGKILL && signal != SIGTERM) {
            gb_quarantine_on_death_locked(w);
        }
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
    gb_worker_changed_locked(w);
    gb_worker_unlock(w);
}

/* Locked; unlocks while spawning. Only this thread makes processes, so none appears meanwhile. */
static void restart(struct gb_worker *w) {
    struct gb_error *e = NULL;
    pthread_mutex_unlock(&w->lock);
    bool ok = spawn(w, &e);
    pthread_mutex_lock(&w->lock);
    if (ok) {
        return;
    }
    gb_log(GB_LOG_INFO, "worker of model \"%s\" could not be started again: %s", w->name,
           e ? e->message : "");
    after_death_locked(w, e, false, false);
    gb_worker_changed_locked(w);
}

/* The first process, for whom waits in gb_worker_start. Locked; unlocks while spawning. */
static void start(struct gb_worker *w) {
    struct gb_error *e = NULL;
    pthread_mutex_unlock(&w->lock);
    (void)spawn(w, &e);
    pthread_mutex_lock(&w->lock);
    gb_error_free(w->start_error);
    w->start_error = e;
    w->start_wanted = false;
    pthread_cond_broadcast(&w->changed);
}

static bool close_step(struct gb_worker *w, uint64_t now_us, uint64_t *next_us) {
    w->start_wanted = false;
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
        gb_worker_changed_locked(w);
    }
    if (w->process.pid == 0) {
        w->state = GB_WORKER_CLOSED;
        gb_worker_changed_locked(w);
        return false;
    }
    if (now_us >= w->state_until_us) {
        gb_process_kill(&w->process);
        w->state_until_us = GB_NEVER;
    }
    *next_us = GB_MIN(*next_us, w->state_until_us);
    return true;
}

/* Tensors go back to the slab at any time and on any thread, so this looks again while any are out
 * or kept. */
static void trim_step(struct gb_worker *w, uint64_t now_us, uint64_t *next_us) {
    if (w->trim_at_us != 0 && now_us >= w->trim_at_us) {
        bool more = w->process.slab && gb_slab_trim(w->process.slab);
        w->trim_at_us = more ? gb_deadline_after_us(w->hub->options.keep_ms * 1000) : 0;
    }
    if (w->trim_at_us != 0) {
        *next_us = GB_MIN(*next_us, w->trim_at_us);
    }
}

bool gb_worker_step(struct gb_worker *w, uint64_t now_us, uint64_t *next_us) {
    bool keep = true;
    pthread_mutex_lock(&w->lock);
    if (w->closing) {
        keep = close_step(w, now_us, next_us);
        gb_worker_unlock(w);
        return keep;
    }
    if (w->start_wanted) {
        start(w);
    } else if (w->state == GB_WORKER_DOWN && now_us >= w->state_until_us) {
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
    trim_step(w, now_us, next_us);
    gb_worker_unlock(w);
    return keep;
}

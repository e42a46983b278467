/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Models from bytes. The bytes are copied once, by the asker, into sealed memory; one thread then
 * checks them there and starts a worker, and the supervisor's notice that it has loaded (or not)
 * wakes the asker. So no thread that runs calls ever waits for any of it.
 *
 * What a load is charged is what it may take: the model, and the memory that its worker's limit
 * (RLIMIT_DATA) allows. It is given back with the last reference of its worker, which is after the
 * process was reaped; until then a dropped load is "ending", and who finds no room may wait for it.
 * Threads: as model.h says. Ownership: a load is held by its owners (gb_load_free, gb_model_unref),
 * the queue and its worker. Lock order: worker->lock, then load->lock; under loads->lock only the
 * ledger's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/num.h"
#include "model/model_internal.h"
#include "model/slab_internal.h"
#include "model/worker_internal.h"

#define MODEL_TIMES 4u /* what an engine makes of a model: its graph, constants, packed weights */

struct gb_loads {
    _Atomic uint64_t refs;
    struct gb_worker_hub *hub; /* until gb_loads_stop */
    uint32_t loads_max, threads;

    pthread_mutex_t lock; /* the fields below */
    pthread_cond_t queued;
    pthread_t thread;
    bool thread_runs, stop;
    uint32_t count;
    struct gb_load *all; /* that hold a charge */
    struct gb_load *queue_first, *queue_last;
    struct gb_load_wait *waits;
};

struct gb_load_wait {
    struct gb_loads *loads;
    struct gb_load_wait *prev, *next;
    void (*done)(void *user);
    void *user;
};

struct gb_load {
    _Atomic uint64_t refs;
    _Atomic uint64_t holders; /* the owner, and references of the model */
    struct gb_loads *loads;
    struct gb_account *account;
    uint64_t charged_bytes;
    uint64_t data_bytes;
    int fd; /* the model, sealed */
    enum gb_backend_kind backend;
    struct gb_model *model;
    enum gb_load_state state; /* the owner's thread */

    struct gb_load *prev, *next; /* loads->lock */
    struct gb_load *next_queued;
    bool ending;

    pthread_mutex_t lock; /* the fields below */
    bool cancelled;
    struct gb_worker *worker;
    struct gb_error *error;
    void (*done)(void *user);
    void *user;
};

/* ---- all loads of a registry ---- */

struct gb_loads *gb_loads_new(const struct gb_registry_options *options, struct gb_worker_hub *hub,
                              struct gb_error **err) {
    struct gb_loads *loads = gb_calloc(1, sizeof *loads, err);
    if (loads) {
        atomic_init(&loads->refs, 1);
        loads->hub = hub;
        loads->loads_max = options->loads_max;
        loads->threads = GB_MIN(GB_MAX(options->load_threads, 1u), GB_WIRE_THREADS_MAX);
        pthread_mutex_init(&loads->lock, NULL);
        pthread_cond_init(&loads->queued, NULL);
    }
    return loads;
}

void gb_loads_unref(struct gb_loads *loads) {
    if (loads && atomic_fetch_sub_explicit(&loads->refs, 1, memory_order_acq_rel) == 1) {
        pthread_cond_destroy(&loads->queued);
        pthread_mutex_destroy(&loads->lock);
        gb_free(loads);
    }
}

static struct gb_loads *loads_ref(struct gb_loads *loads) {
    atomic_fetch_add_explicit(&loads->refs, 1, memory_order_relaxed);
    return loads;
}

static void load_ref(struct gb_load *l) {
    atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
}

static void unlist(struct gb_load *l) {
    struct gb_loads *loads = l->loads;
    pthread_mutex_lock(&loads->lock);
    *(l->prev ? &l->prev->next : &loads->all) = l->next;
    if (l->next) {
        l->next->prev = l->prev;
    }
    loads->count--;
    for (struct gb_load_wait *wait = loads->waits; wait; wait = wait->next) {
        wait->done(wait->user);
    }
    pthread_mutex_unlock(&loads->lock);
}

static void load_unref(void *load) {
    struct gb_load *l = load;
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    gb_fd_close(&l->fd);
    if (l->model) {
        l->model->worker = NULL;
        gb_model_free(l->model);
    }
    gb_error_free(l->error);
    gb_uncharge(l->account, GB_CHARGE_GRAPH, l->charged_bytes);
    gb_account_unref(l->account);
    unlist(l);
    gb_loads_unref(l->loads);
    pthread_mutex_destroy(&l->lock);
    gb_free(l);
}

/* ---- the thread: checks, and starts workers ---- */

static void tell(struct gb_load *l) {
    if (l->done) {
        l->done(l->user);
    }
}

static void on_changed(void *load) {
    struct gb_load *l = load;
    pthread_mutex_lock(&l->lock);
    tell(l);
    pthread_mutex_unlock(&l->lock);
}

static bool check(struct gb_load *l, struct gb_error **err) {
    struct gb_model *m = l->model;
    struct gb_span bytes;
    if (!gb_model_map(l->fd, m->info.bytes, &bytes, err)) {
        return false;
    }
    m->info.backend = l->backend != GB_BACKEND_AUTO ? l->backend
                      : gb_sniff_is_gguf(bytes)     ? GB_BACKEND_GGML
                                                    : GB_BACKEND_ONNX;
    bool ok = gb_digest_sha256(bytes, m->digest, err) && gb_model_check(m, bytes, err);
    gb_model_unmap(bytes);
    return ok;
}

static struct gb_worker *start(struct gb_load *l, struct gb_error **err) {
    struct gb_model *m = l->model;
    struct gb_worker_spec spec = {
        .name = m->name,
        .digest = m->digest,
        .bytes = gb_span_make(NULL, (size_t)m->info.bytes),
        .stored_fd = l->fd,
        .backend = m->info.backend,
        .threads = l->loads->threads,
        .optimise = true,
        .data_bytes = l->data_bytes,
        .one_try = true,
        .changed = on_changed,
        .gone = load_unref,
        .user = l,
    };
    load_ref(l); /* the worker's */
    struct gb_worker *w = gb_worker_new(l->loads->hub, &spec, err);
    if (!w) {
        load_unref(l);
        return NULL;
    }
    if (!gb_worker_start(w, err)) {
        gb_worker_drop(w);
        return NULL;
    }
    return w;
}

static void process(struct gb_load *l) {
    struct gb_error *error = NULL;
    pthread_mutex_lock(&l->lock);
    bool wanted = !l->cancelled;
    pthread_mutex_unlock(&l->lock);
    struct gb_worker *w = wanted && check(l, &error) ? start(l, &error) : NULL;
    pthread_mutex_lock(&l->lock);
    if (!l->cancelled) {
        l->worker = gb_take(&w);
        l->error = gb_take(&error);
        tell(l);
    }
    pthread_mutex_unlock(&l->lock);
    gb_worker_drop(w);
    gb_error_free(error);
}

static void *run(void *arg) {
    struct gb_loads *loads = arg;
    pthread_mutex_lock(&loads->lock);
    while (!loads->stop) {
        struct gb_load *l = loads->queue_first;
        if (!l) {
            pthread_cond_wait(&loads->queued, &loads->lock);
            continue;
        }
        loads->queue_first = l->next_queued;
        pthread_mutex_unlock(&loads->lock);
        process(l);
        load_unref(l);
        pthread_mutex_lock(&loads->lock);
    }
    pthread_mutex_unlock(&loads->lock);
    return NULL;
}

/* Locked. */
static bool ensure_thread(struct gb_loads *loads, struct gb_error **err) {
    if (loads->thread_runs || loads->stop) {
        return true;
    }
    sigset_t all;
    sigset_t old;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = gb_sys(GB_SYS_THREAD, errno, pthread_create(&loads->thread, NULL, run, loads));
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    loads->thread_runs = rc == 0;
    return rc == 0 ||
           gb_fail_errno(err, GB_IO, rc, "could not start a thread: %s", strerrordesc_np(rc));
}

void gb_loads_stop(struct gb_loads *loads) {
    if (!loads) {
        return;
    }
    pthread_mutex_lock(&loads->lock);
    loads->stop = true;
    pthread_cond_broadcast(&loads->queued);
    bool runs = loads->thread_runs;
    pthread_mutex_unlock(&loads->lock);
    if (runs) {
        pthread_join(loads->thread, NULL);
    }
    while (loads->queue_first) {
        struct gb_load *l = loads->queue_first;
        loads->queue_first = l->next_queued;
        load_unref(l);
    }
}

/* ---- making ---- */

/* What this process has for a model and its worker, at most: our objects, and a byte for each page
 * of its slab. What the slab keeps warm is charged to the host while it is kept, and what it hands
 * out to whom it goes to. */
static uint64_t host_bytes(const struct gb_loads *loads) {
    return sizeof(struct gb_load) + sizeof(struct gb_model) + sizeof(struct gb_worker) +
           4 * GB_WIRE_PORTS_MAX * sizeof(struct gb_port) +
           loads->hub->options.slab_bytes / GB_PAGE_BYTES;
}

static uint64_t data_bytes(uint64_t bytes, uint64_t worker_bytes) {
    uint64_t sum;
    return gb_mul_u64(bytes, MODEL_TIMES, &sum) && gb_add_u64(sum, worker_bytes, &sum) ? sum
                                                                                       : UINT64_MAX;
}

static uint64_t cost(const struct gb_loads *loads, uint64_t bytes, uint64_t worker_bytes) {
    uint64_t sum;
    return gb_add_u64(data_bytes(bytes, worker_bytes), bytes, &sum) &&
                   gb_add_u64(sum, host_bytes(loads), &sum)
               ? sum
               : UINT64_MAX;
}

static bool check_size(const struct gb_load_spec *spec, struct gb_error **err) {
    if (spec->bytes.len == 0) {
        return gb_fail(err, GB_MODEL_INVALID, "the model has no bytes");
    }
    if (spec->bytes.len > spec->bytes_max) {
        gb_fail(err, GB_MODEL_TOO_LARGE,
                "the model has %zu bytes; a guest may load one of at most %llu", spec->bytes.len,
                (unsigned long long)spec->bytes_max);
        return gb_hint(err, "Give the host the model with --model NAME=PATH and open it by name.");
    }
    return true;
}

/* Is a load ending whose room would do? account NULL: any. Locked. */
static bool room_comes(const struct gb_loads *loads, const struct gb_account *account) {
    for (const struct gb_load *l = loads->all; l; l = l->next) {
        if (l->ending &&
            (!account || gb_account_parent(l->account) == gb_account_parent(account))) {
            return true;
        }
    }
    return false;
}

/* Locked. */
static bool wait_new(struct gb_loads *loads, const struct gb_load_spec *spec,
                     struct gb_load_wait **wait, struct gb_error **err) {
    if (*wait) {
        return true;
    }
    struct gb_load_wait *made = gb_calloc(1, sizeof *made, err);
    if (!made) {
        return false;
    }
    made->loads = loads_ref(loads);
    made->done = spec->done;
    made->user = spec->user;
    made->next = loads->waits;
    if (made->next) {
        made->next->prev = made;
    }
    loads->waits = made;
    *wait = made;
    return true;
}

void gb_load_wait_free(struct gb_load_wait *wait) {
    if (!wait) {
        return;
    }
    struct gb_loads *loads = wait->loads;
    pthread_mutex_lock(&loads->lock);
    *(wait->prev ? &wait->prev->next : &loads->waits) = wait->next;
    if (wait->next) {
        wait->next->prev = wait->prev;
    }
    pthread_mutex_unlock(&loads->lock);
    gb_free(wait);
    gb_loads_unref(loads);
}

/* A place among all loads and the charge; l is listed on success. */
static bool admit(struct gb_load *l, const struct gb_load_spec *spec, struct gb_load_wait **wait,
                  struct gb_error **err) {
    struct gb_loads *loads = l->loads;
    struct gb_error *why = NULL;
    pthread_mutex_lock(&loads->lock);
    bool ok = ensure_thread(loads, err);
    bool full = ok && loads->count >= loads->loads_max;
    if (full) {
        gb_fail(&why, GB_OVERLOADED, "this host holds %u models loaded by guests, its limit",
                loads->loads_max);
        gb_hint(&why, "Try again later; a model given with --model NAME=PATH is shared by all.");
    }
    ok = ok && !full && gb_charge(spec->account, GB_CHARGE_GRAPH, l->charged_bytes, &why);
    if (ok) {
        l->next = loads->all;
        if (l->next) {
            l->next->prev = l;
        }
        loads->all = l;
        loads->count++;
    } else if (why && room_comes(loads, full ? NULL : spec->account)) {
        gb_error_clear(&why);
        (void)wait_new(loads, spec, wait, err);
    }
    pthread_mutex_unlock(&loads->lock);
    if (why) {
        gb_error_move(err, why);
    }
    return ok;
}

/* The one copy. */
static bool copy(struct gb_load *l, struct gb_span bytes, struct gb_error **err) {
    const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    l->fd = gb_memfd_new("glovebox-model", err);
    if (l->fd < 0 || !gb_write_all(l->fd, bytes.ptr, bytes.len, err)) {
        return false;
    }
    if (gb_sys(GB_SYS_SEAL, -1, fcntl(l->fd, F_ADD_SEALS, seals)) != 0) {
        int eno = errno;
        return gb_fail_errno(err, GB_IO, eno, "could not seal the model: %s", strerrordesc_np(eno));
    }
    return true;
}

static void enqueue(struct gb_load *l) {
    struct gb_loads *loads = l->loads;
    load_ref(l);
    pthread_mutex_lock(&loads->lock);
    *(loads->queue_first ? &loads->queue_last->next_queued : &loads->queue_first) = l;
    loads->queue_last = l;
    pthread_cond_signal(&loads->queued);
    pthread_mutex_unlock(&loads->lock);
}

struct gb_load *gb_load_new(struct gb_registry *r, const struct gb_load_spec *spec,
                            struct gb_load_wait **ret_wait, struct gb_error **err) {
    struct gb_load *l = check_size(spec, err) ? gb_calloc(1, sizeof *l, err) : NULL;
    if (!l) {
        return NULL;
    }
    atomic_init(&l->refs, 1);
    atomic_init(&l->holders, 1);
    l->loads = r->loads;
    l->fd = -1;
    l->charged_bytes = cost(l->loads, spec->bytes.len, spec->worker_bytes);
    l->data_bytes = data_bytes(spec->bytes.len, spec->worker_bytes);
    l->backend = spec->backend;
    l->done = spec->done;
    l->user = spec->user;
    if (!admit(l, spec, ret_wait, err)) {
        gb_free(l);
        return NULL;
    }
    loads_ref(l->loads);
    pthread_mutex_init(&l->lock, NULL);
    l->account = gb_account_ref(spec->account);
    l->model = gb_model_new(spec->name, "", err);
    if (!l->model || !copy(l, spec->bytes, err)) {
        load_unref(l);
        return NULL;
    }
    l->model->load = l;
    l->model->info.loaded = true;
    l->model->info.bytes = spec->bytes.len;
    enqueue(l);
    return l;
}

/* ---- using ---- */

enum gb_load_state gb_load_state(struct gb_load *l) {
    if (l->state != GB_LOAD_RUNNING) {
        return l->state;
    }
    struct gb_worker_ready ready;
    pthread_mutex_lock(&l->lock);
    struct gb_worker *w = l->worker;
    struct gb_error *error = gb_take(&l->error);
    pthread_mutex_unlock(&l->lock);
    if (!error && (!w || !gb_worker_settled(w))) {
        return GB_LOAD_RUNNING;
    }
    if (!error && gb_worker_wait_ready(w, GB_NEVER, &ready, &error) &&
        gb_model_accept(l->model, &ready, &error)) {
        l->model->worker = w;
        l->state = GB_LOAD_READY;
    } else {
        gb_model_reject(l->model, error);
        l->state = GB_LOAD_FAILED;
    }
    return l->state;
}

struct gb_model *gb_load_model(struct gb_load *l) {
    return gb_model_ref(l->model);
}

struct gb_error *gb_load_error(const struct gb_load *l) {
    return gb_error_copy(l->model->reason);
}

static bool let_go(struct gb_load *l) {
    if (atomic_fetch_sub_explicit(&l->holders, 1, memory_order_acq_rel) != 1) {
        return false;
    }
    pthread_mutex_lock(&l->lock);
    l->cancelled = true;
    l->done = NULL;
    struct gb_worker *w = gb_take(&l->worker);
    pthread_mutex_unlock(&l->lock);
    pthread_mutex_lock(&l->loads->lock);
    l->ending = true;
    pthread_mutex_unlock(&l->loads->lock);
    gb_worker_drop(w);
    load_unref(l);
    return true;
}

bool gb_load_free(struct gb_load *l) {
    pthread_mutex_lock(&l->lock);
    l->done = NULL;
    pthread_mutex_unlock(&l->lock);
    return let_go(l);
}

struct gb_model *gb_model_ref(struct gb_model *m) {
    atomic_fetch_add_explicit(&m->load->holders, 1, memory_order_relaxed);
    return m;
}

bool gb_model_unref(struct gb_model *m) {
    return let_go(m->load);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading a model into this process, and the admission rule: the 99th percentile of warm runs on
 * zeros must be below a millisecond, because nothing can end an inference that runs here.
 *
 * The library is opened at the first such model and stays until the hub goes.
 * Threads: loading by one thread at a time, as the registry does.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/num.h"
#include "model/inline_internal.h"

#define WARM_BYTES_MAX (256 * GB_MIB)
#define WARM_RUNS 3u          /* not counted: the engine's first runs allocate */
#define MEASURE_US_MAX 200000u
/* With so many slow ones among all runs the percentile is above the bound whatever follows. */
#define SLOW_RUNS_MAX (GB_INLINE_RUNS_MAX / 100 + 1)

struct gb_inline_engine {
    const struct gb_backend *backend;
    struct gb_engine *engine;
};

bool gb_inline_environment(struct gb_error **err) {
    const char *value = getenv("ORT_DISABLE_TELEMETRY");
    if ((value && strcmp(value, "1") == 0) || setenv("ORT_DISABLE_TELEMETRY", "1", 1) == 0) {
        return true;
    }
    return gb_fail_errno(err, GB_INTERNAL, errno, "the environment could not be set");
}

void gb_inline_engine_free(struct gb_inline_engine *e) {
    if (e) {
        e->backend->engine_close(e->engine);
        gb_free(e);
    }
}

static struct gb_inline_engine *engine_open(struct gb_worker_hub *hub, struct gb_error **err) {
    if (hub->inline_engine) {
        return hub->inline_engine;
    }
    GB_CLEANUP(gb_free_cleanup) char *path = gb_worker_locate_ort(&hub->options, err);
    struct gb_inline_engine *e = path ? gb_calloc(1, sizeof *e, err) : NULL;
    if (!e || !gb_inline_environment(err)) {
        gb_free(e);
        return NULL;
    }
    e->backend = gb_backend_find("onnx");
    e->engine = e->backend->engine_open(path, err);
    if (!e->engine || !e->backend->engine_start(e->engine, err)) {
        gb_hint(err, "Set GLOVEBOX_ORT_LIB or --ort-lib PATH to libonnxruntime.so.1.");
        gb_inline_engine_free(e);
        return NULL;
    }
    hub->inline_engine = e;
    return e;
}

void gb_inline_free(struct gb_inline *model) {
    if (model) {
        model->backend->session_close(model->session);
        gb_slab_unref(model->slab);
        gb_free(model);
    }
}

struct gb_slab *gb_inline_slab(struct gb_inline *model) {
    return model->slab;
}

/* ---- admission ---- */

/* Zeros for every input, in one block; free dimensions are 1. */
static uint8_t *zero_inputs(const struct gb_port *ports, uint32_t len,
                            struct gb_backend_tensor *inputs, struct gb_error **err) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < len; i++) {
        struct gb_backend_tensor *in = &inputs[i];
        in->rank = ports[i].rank;
        for (size_t d = 0; d < in->rank; d++) {
            in->dims[d] = ports[i].dims[d] < 0 ? 1 : (uint64_t)ports[i].dims[d];
        }
        if (ports[i].type == GB_TYPE_OTHER ||
            !gb_tensor_bytes((enum gb_type)ports[i].type, in->dims, in->rank, &in->bytes) ||
            in->bytes > WARM_BYTES_MAX - total) {
            gb_fail(err, GB_MODEL_REJECTED,
                    "its input \"%s\" cannot be filled to measure it, as inline placement asks",
                    ports[i].name);
            gb_hint(err, "Run it with placement worker.");
            return NULL;
        }
        total += gb_round_up_u64(in->bytes, GB_SLAB_ALIGN);
    }
    uint8_t *zeros = gb_calloc(1, (size_t)total + GB_SLAB_ALIGN, err);
    uint64_t at = 0;
    for (uint32_t i = 0; zeros && i < len; i++) {
        inputs[i].ptr = zeros + at;
        at += gb_round_up_u64(inputs[i].bytes, GB_SLAB_ALIGN);
    }
    return zeros;
}

/* What this thread has computed: on a busy machine a fast model is still a fast model. The engine
 * uses no other thread. */
static uint64_t cpu_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static bool run_once(struct gb_inline *model, const struct gb_backend_tensor *inputs,
                     struct gb_backend_tensor *outputs, uint64_t *ret_us, struct gb_error **err) {
    bool kept = false;
    memset(outputs, 0, GB_WIRE_PORTS_MAX * sizeof *outputs);
    uint64_t start = cpu_us();
    struct gb_run *run = model->backend->run_new(model->session, err);
    if (!run) {
        return false;
    }
    bool ok = model->backend->run_go(run, inputs, outputs, &kept, err);
    model->backend->run_free(run);
    *ret_us = GB_MAX(cpu_us() - start, (uint64_t)1);
    return ok;
}

static int compare_us(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

struct measured {
    uint64_t us[GB_INLINE_RUNS_MAX]; /* sorted */
    size_t len;
};

static bool measure(struct gb_inline *model, const struct gb_backend_tensor *inputs,
                    struct gb_backend_tensor *outputs, struct measured *ret,
                    struct gb_error **err) {
    uint64_t until_us = gb_deadline_after_us(MEASURE_US_MAX);
    uint64_t us = 0;
    size_t slow = 0;
    for (unsigned i = 0; i < WARM_RUNS; i++) {
        if (!run_once(model, inputs, outputs, &us, err)) {
            return false;
        }
        if (us > MEASURE_US_MAX) {
            break;
        }
    }
    ret->len = 0;
    while (ret->len < GB_INLINE_RUNS_MAX && slow < SLOW_RUNS_MAX &&
           (ret->len == 0 || gb_now_us() < until_us)) {
        if (!run_once(model, inputs, outputs, &us, err)) {
            return false;
        }
        slow += us >= GB_INLINE_P99_US_MAX;
        ret->us[ret->len++] = us;
    }
    qsort(ret->us, ret->len, sizeof ret->us[0], compare_us);
    return true;
}

/* *ret_us: the median, as what a warm inference takes. */
static bool admit(struct gb_inline *model, const struct gb_worker *w, uint64_t *ret_us,
                  struct gb_error **err) {
    struct measured m = {.len = 0};
    struct gb_error *why = NULL;
    struct gb_backend_tensor *tensors =
        gb_calloc((size_t)2 * GB_WIRE_PORTS_MAX, sizeof *tensors, err);
    uint8_t *zeros =
        tensors ? zero_inputs(w->inputs, (uint32_t)w->inputs_len, tensors, err) : NULL;
    bool ok = zeros && measure(model, tensors, tensors + GB_WIRE_PORTS_MAX, &m, &why);
    gb_free(zeros);
    gb_free(tensors);
    if (why) {
        gb_fail(err, GB_MODEL_REJECTED, "it could not be measured, as inline placement asks: %s",
                why->message);
        gb_hint(err, "Run it with placement worker.");
        gb_error_free(why);
    }
    if (!ok) {
        return false;
    }
    uint64_t p99_us = m.us[(m.len * 99 + 99) / 100 - 1];
    if (p99_us >= GB_INLINE_P99_US_MAX) {
        gb_fail(err, GB_MODEL_REJECTED,
                "it is too slow for inline placement: the 99th percentile of %zu warm runs is %llu "
                "us of processor time, and it must be below %u us",
                m.len, (unsigned long long)p99_us, GB_INLINE_P99_US_MAX);
        return gb_hint(err, "Run it with placement worker, where a deadline can end it.");
    }
    *ret_us = m.us[m.len / 2];
    return true;
}

/* ---- the worker that stands for it ---- */

static bool load(struct gb_worker *w, const struct gb_worker_spec *spec, struct gb_error **err) {
    struct gb_inline_engine *e = engine_open(w->hub, err);
    struct gb_inline *model = e ? gb_calloc(1, sizeof *model, err) : NULL;
    if (!model) {
        return false;
    }
    struct gb_backend_load what = {.model = spec->bytes, .optimise = spec->optimise};
    uint64_t start = gb_now_us();
    model->backend = e->backend;
    model->session = e->backend->session_load(e->engine, &what, err);
    w->loaded.load_us = gb_now_us() - start;
    if (!model->session) {
        gb_free(model);
        return false;
    }
    w->in_line = model; /* freed with w from here on */
    int none = -1;
    const struct gb_slab_options slab = {.bytes = w->hub->options.slab_bytes,
                                         .keep_bytes = w->hub->options.keep_bytes,
                                         .account = w->hub->options.host_account,
                                         .is_private = true};
    model->slab = gb_slab_new(&slab, &none, err);
    if (!model->slab) {
        return false;
    }
    uint32_t inputs = 0;
    uint32_t outputs = 0;
    const struct gb_port *in = e->backend->session_ports(model->session, false, &inputs);
    const struct gb_port *out = e->backend->session_ports(model->session, true, &outputs);
    memcpy(w->inputs, in, inputs * sizeof *in);
    memcpy(w->outputs, out, outputs * sizeof *out);
    w->inputs_len = inputs;
    w->outputs_len = outputs;
    gb_ports_bind(w->inputs, inputs, w->outputs, outputs, w->outputs_bound);
    return admit(model, w, &w->loaded.warm_us, err);
}

struct gb_worker *gb_inline_worker_new(struct gb_worker_hub *hub, const struct gb_worker_spec *spec,
                                       struct gb_worker_ready *ret_ready, struct gb_error **err) {
    struct gb_worker *w = gb_worker_make(hub, spec, err);
    if (!w || !load(w, spec, err)) {
        gb_worker_unref(w);
        return NULL;
    }
    w->run_us_average = w->loaded.warm_us;
    w->ever_ready = true;
    w->state = GB_WORKER_INLINE;
    *ret_ready = (struct gb_worker_ready){
        .inputs = w->inputs,
        .inputs_len = w->inputs_len,
        .outputs = w->outputs,
        .outputs_len = w->outputs_len,
        .load_us = w->loaded.load_us,
        .warm_us = w->loaded.warm_us,
        .warm_text = "",
        .engine = hub->inline_engine->backend->engine_text(hub->inline_engine->engine),
    };
    pthread_mutex_lock(&hub->lock);
    w->next = hub->inlines;
    hub->inlines = w;
    pthread_mutex_unlock(&hub->lock);
    return w;
}

void gb_inline_worker_free(struct gb_worker *w) {
    struct gb_error *stopped = NULL;
    pthread_mutex_lock(&w->hub->lock);
    for (struct gb_worker **at = &w->hub->inlines; *at; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    pthread_mutex_unlock(&w->hub->lock);
    gb_fail(&stopped, GB_BACKEND_LOST, "the model \"%s\" was stopped", w->name);
    pthread_mutex_lock(&w->lock);
    w->state = GB_WORKER_CLOSED;
    gb_worker_fail_jobs_locked(w, stopped, true);
    gb_error_free(w->reason);
    w->reason = stopped;
    gb_worker_unlock(w);
    gb_worker_unref(w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading: the model's bytes come as a sealed memfd, so nobody can change them while the engine
 * reads; they are unmapped afterwards. One warm-up run with zeros shows whether the model runs at
 * all, and a second one what a warm inference takes; its failure is reported and is no refusal,
 * because zeros and free dimensions of one are only a guess at an input.
 * Errors: GB_MSG_FAILED, and the worker ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/num.h"
#include "worker/serve.h"

#define WARM_BYTES_MAX (256 * GB_MIB) /* of all inputs together */
#define WARM_AGAIN_US 200000u         /* a slower model is measured by its first run */
#define NEEDED_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static bool map_slab(struct gb_serve *s, struct gb_error **err) {
    off_t end = lseek(GB_WIRE_FD_SLAB, 0, SEEK_END);
    if (end < 0 || (uint64_t)end < s->load.slab_bytes) {
        return gb_fail(err, GB_INTERNAL, "the slab has fewer than %llu bytes",
                       (unsigned long long)s->load.slab_bytes);
    }
    void *at = gb_sys(GB_SYS_MMAP, MAP_FAILED,
                      mmap(NULL, (size_t)s->load.slab_bytes, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_NORESERVE, GB_WIRE_FD_SLAB, 0));
    if (at == MAP_FAILED) {
        int eno = errno;
        return gb_fail_errno(err, GB_BACKEND_FAILED, eno, "the slab could not be mapped: %s",
                             strerror(eno));
    }
    s->slab = at;
    s->head = at;
    s->slab_bytes = s->load.slab_bytes;
    return gb_slab_check(s->head, s->slab_bytes, err);
}

/* A file of the host's store of large models, which nobody may write. By number, because the C
 * library's function asks with a path, which the filter does not allow. */
static bool is_stored(int fd) {
    struct stat st;
    return syscall(SYS_fstat, fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0222) == 0;
}

static bool map_model(struct gb_serve *s, struct gb_span *ret_bytes, struct gb_error **err) {
    int seals = gb_sys(GB_SYS_FCNTL, -1, fcntl(s->model_fd, F_GET_SEALS));
    if ((seals < 0 || (seals & NEEDED_SEALS) != NEEDED_SEALS) && !is_stored(s->model_fd)) {
        return gb_fail(err, GB_INTERNAL, "the model's bytes are not sealed");
    }
    off_t end = lseek(s->model_fd, 0, SEEK_END);
    if (end == 0) {
        return gb_fail(err, GB_MODEL_INVALID, "the model is empty");
    }
    if (end < 0 || (uint64_t)end != s->load.model_bytes) {
        return gb_fail(err, GB_INTERNAL, "the model has %lld bytes instead of %llu",
                       (long long)end, (unsigned long long)s->load.model_bytes);
    }
    void *at = gb_sys(GB_SYS_MMAP, MAP_FAILED,
                      mmap(NULL, (size_t)end, PROT_READ, MAP_PRIVATE, s->model_fd, 0));
    if (at == MAP_FAILED) {
        int eno = errno;
        return gb_fail_errno(err, GB_MODEL_TOO_LARGE, eno, "the model could not be mapped: %s",
                             strerror(eno));
    }
    *ret_bytes = gb_span_make(at, (size_t)end);
    return true;
}

/* Zeros for every input, in one block. */
static uint8_t *warm_inputs(const struct gb_serve *s, struct gb_backend_tensor *inputs,
                            struct gb_error **err) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < s->inputs_len; i++) {
        const struct gb_port *port = &s->inputs[i];
        struct gb_backend_tensor *in = &inputs[i];
        in->rank = port->rank;
        for (size_t d = 0; d < port->rank; d++) {
            in->dims[d] = port->dims[d] < 0 ? 1 : (uint64_t)port->dims[d];
        }
        if (port->type == GB_TYPE_OTHER) {
            gb_fail(err, GB_INPUT_TYPE, "input \"%s\" has a type that cannot be fed", port->name);
            return NULL;
        }
        if (!gb_tensor_bytes((enum gb_type)port->type, in->dims, in->rank, &in->bytes) ||
            in->bytes > WARM_BYTES_MAX - total) {
            gb_fail(err, GB_MODEL_TOO_LARGE, "the inputs are too large for a warm-up");
            return NULL;
        }
        total += gb_round_up_u64(in->bytes, GB_SLAB_ALIGN);
    }
    uint8_t *zeros = gb_calloc(1, (size_t)total + GB_SLAB_ALIGN, err);
    uint64_t at = 0;
    for (uint32_t i = 0; zeros != NULL && i < s->inputs_len; i++) {
        inputs[i].ptr = zeros + at;
        at += gb_round_up_u64(inputs[i].bytes, GB_SLAB_ALIGN);
    }
    return zeros;
}

static bool warm_once(struct gb_serve *s, const struct gb_backend_tensor *inputs,
                      uint64_t *ret_us, struct gb_error **err) {
    struct gb_backend_tensor outputs[GB_WIRE_PORTS_MAX];
    memset(outputs, 0, sizeof outputs);
    bool kept = false;
    struct gb_run *run = s->backend->run_new(s->session, err);
    if (run == NULL) {
        return false;
    }
    uint64_t start = gb_now_us();
    bool ok = s->backend->run_go(run, inputs, outputs, &kept, err);
    *ret_us = GB_MAX(gb_now_us() - start, 1u);
    s->backend->run_free(run);
    return ok;
}

static void warm_up(struct gb_serve *s, struct gb_msg_loaded *loaded) {
    struct gb_backend_tensor inputs[GB_WIRE_PORTS_MAX];
    memset(inputs, 0, sizeof inputs);
    struct gb_error *err = NULL;
    uint64_t us = 0;
    uint8_t *zeros = warm_inputs(s, inputs, &err);
    bool ok = zeros != NULL && warm_once(s, inputs, &us, &err);
    if (ok && us < WARM_AGAIN_US) {
        ok = warm_once(s, inputs, &us, &err);
    }
    gb_free(zeros);
    if (ok) {
        loaded->warm_us = us ? us : 1; /* 0 stands for "not measured" */
        return;
    }
    loaded->warm_failed = 1;
    const char *text = err != NULL && err->message != NULL ? err->message : "";
    size_t len = GB_MIN(strlen(text), sizeof loaded->warm_text - 1);
    memcpy(loaded->warm_text, text, len);
    gb_error_free(err);
}

static void send_ports(struct gb_serve *s, bool outputs) {
    const struct gb_port *ports = outputs ? s->outputs : s->inputs;
    uint32_t len = outputs ? s->outputs_len : s->inputs_len;
    for (uint32_t i = 0; i < len; i++) {
        struct gb_msg_port message = {.is_output = outputs, .index = i, .port = ports[i]};
        gb_serve_send(s, GB_MSG_PORT, &message, sizeof message);
    }
}

/* All the threads there will ever be, and what they need: before a byte of the model is read, so
 * that nothing in it can start more. They wait until it is loaded. */
static bool start_threads(struct gb_serve *s, struct gb_infer **ret_own, struct gb_error **err) {
    *ret_own = gb_infer_new(s, err);
    for (uint32_t i = 1; *ret_own != NULL && i < s->load.threads; i++) {
        struct gb_infer *in = gb_infer_new(s, err);
        if (in == NULL || !gb_serve_thread(gb_infer_thread, in, err)) {
            return false; /* the process ends */
        }
    }
    return *ret_own != NULL && gb_serve_no_more_threads(s, err);
}

static bool load(struct gb_serve *s, struct gb_infer **ret_own, struct gb_error **err) {
    struct gb_span model = {0};
    if (s->load.threads < 1 || s->load.threads > GB_WIRE_THREADS_MAX) {
        return gb_fail(err, GB_INTERNAL, "%u threads were asked for", s->load.threads);
    }
    if (!map_slab(s, err) || !start_threads(s, ret_own, err) || !map_model(s, &model, err)) {
        return false;
    }
    uint64_t start = gb_now_us();
    struct gb_backend_load what = {.model = model, .optimise = s->load.optimise != 0};
    s->session = s->backend->session_load(s->engine, &what, err);
    uint64_t load_us = gb_now_us() - start;
    const void *mapped = model.ptr;
    munmap((void *)(uintptr_t)mapped, model.len);
    close(s->model_fd);
    if (s->session == NULL) {
        return false;
    }
    s->inputs = s->backend->session_ports(s->session, false, &s->inputs_len);
    s->outputs = s->backend->session_ports(s->session, true, &s->outputs_len);
    struct gb_msg_loaded loaded = {
        .inputs = s->inputs_len, .outputs = s->outputs_len, .load_us = load_us};
    if (s->load.warm_up != 0) {
        warm_up(s, &loaded);
    }
    send_ports(s, false);
    send_ports(s, true);
    gb_serve_send(s, GB_MSG_LOADED, &loaded, sizeof loaded);
    return true;
}

void *gb_load_thread(void *serve) {
    struct gb_error *err = NULL;
    struct gb_infer *own = NULL;
    struct gb_serve *s = serve;
    pthread_mutex_lock(&s->load_lock);
    if (!load(s, &own, &err)) {
        gb_serve_fail(s, err);
    }
    pthread_mutex_unlock(&s->load_lock);
    return gb_infer_thread(own);
}

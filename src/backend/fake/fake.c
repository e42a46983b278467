/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that misbehaves on demand, for tests of faults and races; in test builds only.
 *
 * A model is the line GLOVEBOX-FAKE and then key=value lines:
 *   mode=ok|fail|hang|slow_cancel|crash|exit|scribble_late|bad_completion|bad_ring|bad_offsets|
 *        bad_shape|bad_control|flood|load_fail|load_hang|load_crash
 *   inputs=1 outputs=1 dim=3 (0: free, and outputs need space)   all f32[dim]
 *   run_ms=0 late_ms=20 load_ms=0
 * Every output is a copy of the first input. A run whose first number is zero behaves well and
 * takes no time whatever the model says, so warm-ups pass and each job of a test can choose.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backend/backend.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/num.h"

#define MAGIC "GLOVEBOX-FAKE\n"

enum mode {
    MODE_OK, MODE_FAIL, MODE_HANG, MODE_SLOW_CANCEL, MODE_CRASH, MODE_EXIT, MODE_SCRIBBLE_LATE,
    MODE_BAD_COMPLETION, MODE_BAD_RING, MODE_BAD_OFFSETS, MODE_BAD_SHAPE, MODE_BAD_CONTROL,
    MODE_FLOOD, MODE_LOAD_FAIL, MODE_LOAD_HANG, MODE_LOAD_CRASH, MODE_COUNT
};
static const char *const mode_names[MODE_COUNT] = {
    "ok", "fail", "hang", "slow_cancel", "crash", "exit", "scribble_late", "bad_completion",
    "bad_ring", "bad_offsets", "bad_shape", "bad_control", "flood", "load_fail", "load_hang",
    "load_crash",
};

struct gb_engine {
    struct gb_slab_head *slab; /* its own view, to do harm with */
};

struct gb_session {
    struct gb_engine *engine;
    enum mode mode;
    uint32_t inputs_len;
    uint32_t outputs_len;
    uint64_t dim;
    uint64_t run_ms;
    uint64_t late_ms;
    uint64_t load_ms;
    struct gb_port inputs[GB_WIRE_PORTS_MAX];
    struct gb_port outputs[GB_WIRE_PORTS_MAX];
};

struct gb_run {
    struct gb_session *session;
    _Atomic bool cancelled;
    float *kept;
    uint64_t kept_bytes;
};

static void sleep_ms(uint64_t ms) {
    struct timespec left = {.tv_sec = (time_t)(ms / 1000),
                            .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

static struct gb_engine *fake_open(const char *lib_path, struct gb_error **err) {
    (void)lib_path;
    return gb_calloc(1, sizeof(struct gb_engine), err);
}

/* Writes to be done late, in the order of their times. Their thread exists from the start, because
 * the jail allows none later. */
struct scribble {
    struct scribble *next;
    void *at;
    uint64_t bytes;
    uint64_t due_us;
};
static struct {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct scribble *first, *last;
} scribbles = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER};

static void *scribble_thread(void *unused) {
    (void)unused;
    for (;;) {
        pthread_mutex_lock(&scribbles.lock);
        while (scribbles.first == NULL) {
            pthread_cond_wait(&scribbles.some, &scribbles.lock);
        }
        struct scribble *what = scribbles.first;
        scribbles.first = what->next;
        pthread_mutex_unlock(&scribbles.lock);
        uint64_t now = gb_now_us();
        sleep_ms(what->due_us > now ? (what->due_us - now + 999) / 1000 : 0);
        memset(what->at, 0xAA, (size_t)what->bytes);
        gb_free(what);
    }
    return NULL;
}

static bool fake_start(struct gb_engine *engine, struct gb_error **err) {
    pthread_t thread;
    (void)engine;
    if (pthread_create(&thread, NULL, scribble_thread, NULL) != 0) {
        return gb_fail(err, GB_BACKEND_FAILED, "the fake engine could not start its thread");
    }
    pthread_detach(thread);
    return true;
}

static void fake_close(struct gb_engine *engine) {
    gb_free(engine);
}

static const char *fake_text(const struct gb_engine *engine) {
    (void)engine;
    return "fake 1";
}

static bool parse_line(struct gb_session *session, const char *line, struct gb_error **err) {
    const struct {
        const char *key;
        uint64_t *to;
    } numbers[] = {
        {"dim=", &session->dim},         {"run_ms=", &session->run_ms},
        {"late_ms=", &session->late_ms}, {"load_ms=", &session->load_ms},
    };
    if (strncmp(line, "mode=", 5) == 0) {
        for (int i = 0; i < MODE_COUNT; i++) {
            if (strcmp(line + 5, mode_names[i]) == 0) {
                session->mode = (enum mode)i;
                return true;
            }
        }
    }
    for (size_t i = 0; i < GB_COUNT(numbers); i++) {
        size_t len = strlen(numbers[i].key);
        if (strncmp(line, numbers[i].key, len) == 0) {
            *numbers[i].to = strtoull(line + len, NULL, 10);
            return true;
        }
    }
    bool inputs = strncmp(line, "inputs=", 7) == 0;
    if (inputs || strncmp(line, "outputs=", 8) == 0) {
        unsigned long count = strtoul(strchr(line, '=') + 1, NULL, 10);
        if (count <= GB_WIRE_PORTS_MAX) {
            *(inputs ? &session->inputs_len : &session->outputs_len) = (uint32_t)count;
            return true;
        }
    }
    return line[0] == '\0' || gb_fail(err, GB_MODEL_INVALID, "fake model: \"%s\"?", line);
}

static bool parse(struct gb_session *session, struct gb_span model, struct gb_error **err) {
    size_t at = strlen(MAGIC);
    if (model.len < at || memcmp(model.ptr, MAGIC, at) != 0) {
        return gb_fail(err, GB_MODEL_INVALID, "this is no fake model");
    }
    while (at < model.len) {
        char line[80];
        const uint8_t *end = memchr(model.ptr + at, '\n', model.len - at);
        size_t len = end != NULL ? (size_t)(end - model.ptr) - at : model.len - at;
        if (len >= sizeof line) {
            return gb_fail(err, GB_MODEL_INVALID, "fake model: a long line");
        }
        memcpy(line, model.ptr + at, len);
        line[len] = '\0';
        if (!parse_line(session, line, err)) {
            return false;
        }
        at += len + 1;
    }
    return true;
}

static void make_ports(struct gb_session *session) {
    for (uint32_t i = 0; i < GB_WIRE_PORTS_MAX; i++) {
        struct gb_port port = {.type = GB_TYPE_F32, .rank = 1};
        port.dims[0] = session->dim == 0 ? -1 : (int64_t)session->dim;
        if (session->dim == 0) {
            (void)snprintf(port.symbols[0], sizeof port.symbols[0], "n");
        }
        (void)snprintf(port.name, sizeof port.name, "in%u", i);
        session->inputs[i] = port;
        (void)snprintf(port.name, sizeof port.name, "out%u", i);
        session->outputs[i] = port;
    }
}

static struct gb_session *fake_load(struct gb_engine *engine, const struct gb_backend_load *load,
                                    struct gb_error **err) {
    struct gb_session *session = gb_calloc(1, sizeof *session, err);
    if (session == NULL) {
        return NULL;
    }
    *session = (struct gb_session){
        .engine = engine, .inputs_len = 1, .outputs_len = 1, .dim = 3, .late_ms = 20};
    if (!parse(session, load->model, err)) {
        gb_free(session);
        return NULL;
    }
    make_ports(session);
    off_t slab_bytes = lseek(GB_WIRE_FD_SLAB, 0, SEEK_END);
    if (slab_bytes > 0) {
        void *at = mmap(NULL, (size_t)slab_bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, GB_WIRE_FD_SLAB, 0);
        engine->slab = at == MAP_FAILED ? NULL : at;
    }
    sleep_ms(session->load_ms);
    if (session->mode == MODE_LOAD_CRASH) {
        abort();
    }
    while (session->mode == MODE_LOAD_HANG) {
        sleep_ms(1000);
    }
    if (session->mode == MODE_LOAD_FAIL) {
        gb_fail(err, GB_MODEL_INVALID, "this fake model refuses to load");
        gb_free(session);
        return NULL;
    }
    return session;
}

static void fake_session_close(struct gb_session *session) {
    gb_free(session);
}

static const struct gb_port *fake_ports(const struct gb_session *session, bool outputs,
                                        uint32_t *ret_len) {
    *ret_len = outputs ? session->outputs_len : session->inputs_len;
    return outputs ? session->outputs : session->inputs;
}

static struct gb_run *fake_run_new(struct gb_session *session, struct gb_error **err) {
    struct gb_run *run = gb_calloc(1, sizeof *run, err);
    if (run != NULL) {
        run->session = session;
    }
    return run;
}

static void scribble_late(const struct gb_session *session, struct gb_backend_tensor *out) {
    struct scribble *what = gb_calloc(1, sizeof *what, NULL);
    if (what == NULL || out->ptr == NULL) {
        gb_free(what);
        return;
    }
    *what = (struct scribble){.at = out->ptr, .bytes = out->bytes,
                              .due_us = gb_deadline_after_us(session->late_ms * 1000)};
    pthread_mutex_lock(&scribbles.lock);
    if (scribbles.first == NULL) {
        scribbles.first = what;
    } else {
        scribbles.last->next = what;
    }
    scribbles.last = what;
    pthread_mutex_unlock(&scribbles.lock);
    pthread_cond_signal(&scribbles.some);
}

static void ring_complete(unsigned times) {
    const uint64_t one = 1;
    for (unsigned i = 0; i < times; i++) {
        (void)!write(GB_WIRE_FD_COMPLETE, &one, sizeof one);
    }
}

/* Harm done to what is shared with the host, before the run ends as if nothing were wrong. */
static void harm_shared(struct gb_session *session) {
    struct gb_slab_head *slab = session->engine->slab;
    if (slab == NULL) {
        return;
    }
    if (session->mode == MODE_BAD_COMPLETION) {
        struct gb_completion c = {.job_id = UINT64_MAX / 3, .status = 99, .code = 4000};
        (void)gb_ring_complete(slab, &c);
        ring_complete(1);
    } else if (session->mode == MODE_BAD_RING) {
        atomic_fetch_add(&slab->complete.tail, 100000);
        ring_complete(1);
    } else if (session->mode == MODE_BAD_OFFSETS) {
        /* With one thread the last submission taken is the one that runs. */
        uint64_t last = atomic_load(&slab->submit.head) - 1;
        void *at = (uint8_t *)slab + slab->submissions[last % GB_WIRE_RING_SLOTS].job_offset;
        struct gb_wire_job *job = at;
        for (uint32_t i = 0; i < session->outputs_len; i++) {
            job->tensors[session->inputs_len + i].offset = UINT64_MAX - 63;
        }
    } else if (session->mode == MODE_FLOOD) {
        ring_complete(100000);
    } else if (session->mode == MODE_BAD_CONTROL) {
        char text[] = "not a message"; /* by sendmsg: the filter knows no other */
        struct iovec part = {.iov_base = text, .iov_len = sizeof text};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
        (void)sendmsg(GB_WIRE_FD_CONTROL, &message, MSG_NOSIGNAL);
    }
}

/* Waits run_ms in small steps; false when cancelled. */
static bool wait_run(struct gb_run *run) {
    const struct gb_session *session = run->session;
    for (uint64_t ms = 0; ms < session->run_ms; ms++) {
        if (atomic_load(&run->cancelled)) {
            if (session->mode == MODE_SLOW_CANCEL) {
                sleep_ms(session->late_ms);
            }
            return false;
        }
        sleep_ms(1);
    }
    return !atomic_load(&run->cancelled);
}

/* A model without inputs has no bytes to copy from. */
static void copy_bytes(void *to, const void *from, uint64_t bytes) {
    if (bytes > 0) {
        memcpy(to, from, (size_t)bytes);
    }
}

static bool copy_outputs(struct gb_run *run, const struct gb_backend_tensor *in,
                         struct gb_backend_tensor *outputs, bool *ret_kept,
                         struct gb_error **err) {
    *ret_kept = false;
    run->kept = gb_calloc(1, (size_t)in->bytes, err);
    if (run->kept == NULL) {
        return false;
    }
    copy_bytes(run->kept, in->ptr, in->bytes);
    run->kept_bytes = in->bytes;
    for (uint32_t i = 0; i < run->session->outputs_len; i++) {
        struct gb_backend_tensor *out = &outputs[i];
        if (out->ptr != NULL && out->bytes >= in->bytes) {
            copy_bytes(out->ptr, in->ptr, in->bytes);
        } else {
            *ret_kept = true;
        }
        out->rank = 1;
        out->dims[0] = in->dims[0];
        out->bytes = in->bytes;
    }
    return true;
}

static bool fake_run_go(struct gb_run *run, const struct gb_backend_tensor *inputs,
                        struct gb_backend_tensor *outputs, bool *ret_kept, struct gb_error **err) {
    struct gb_session *session = run->session;
    const struct gb_backend_tensor none = {.rank = 1};
    const struct gb_backend_tensor *in = session->inputs_len > 0 ? &inputs[0] : &none;
    float first = 0;
    if (in->bytes >= sizeof first) {
        memcpy(&first, in->ptr, sizeof first);
    }
    bool good = !(first < 0 || first > 0);
    while (!good && session->mode == MODE_HANG) {
        sleep_ms(1000);
    }
    if (!good && !wait_run(run)) {
        return gb_fail(err, GB_CANCELLED, "the inference was cancelled");
    }
    if (!good) {
        if (session->mode == MODE_CRASH) {
            abort();
        }
        if (session->mode == MODE_EXIT) {
            _exit(9);
        }
        if (session->mode == MODE_FAIL) {
            return gb_fail(err, GB_BACKEND_FAILED, "this fake model refuses to run");
        }
        harm_shared(session);
    }
    if (!copy_outputs(run, in, outputs, ret_kept, err)) {
        return false;
    }
    if (!good && session->mode == MODE_SCRIBBLE_LATE && session->outputs_len > 0) {
        scribble_late(session, &outputs[0]);
    }
    if (!good && session->mode == MODE_BAD_SHAPE && session->outputs_len > 0) {
        outputs[0].dims[0] = UINT64_C(1) << 40;
        outputs[0].bytes = UINT64_C(1) << 42;
    }
    return true;
}

static bool fake_run_fetch(struct gb_run *run, const struct gb_backend_tensor *outputs,
                           struct gb_error **err) {
    for (uint32_t i = 0; i < run->session->outputs_len; i++) {
        if (outputs[i].ptr == NULL || outputs[i].bytes < run->kept_bytes) {
            return gb_fail(err, GB_INTERNAL, "an output has no room");
        }
        copy_bytes(outputs[i].ptr, run->kept, run->kept_bytes);
    }
    return true;
}

static void fake_run_cancel(struct gb_run *run) {
    atomic_store(&run->cancelled, true);
}

static void fake_run_free(struct gb_run *run) {
    gb_free(run->kept);
    gb_free(run);
}

const struct gb_backend gb_backend_fake = {
    .version = GB_BACKEND_VERSION,
    .name = "fake",
    .engine_open = fake_open,
    .engine_start = fake_start,
    .engine_close = fake_close,
    .engine_text = fake_text,
    .session_load = fake_load,
    .session_close = fake_session_close,
    .session_ports = fake_ports,
    .run_new = fake_run_new,
    .run_go = fake_run_go,
    .run_fetch = fake_run_fetch,
    .run_cancel = fake_run_cancel,
    .run_free = fake_run_free,
};

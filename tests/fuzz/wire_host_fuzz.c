/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host against a hostile worker, without a process: one worker object with a slab in this
 * process and a socket pair. The input is a program of orders: say something on the control
 * channel, submit and cancel jobs, complete them with any numbers, write anywhere into job blocks
 * and ring counters, let the host look.
 * It must hold: no crash and no leak, every job ends, a job that is done has outputs of the model's
 * ports that lie in their memory, a job that failed has a code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/num.h"
#include "model/worker_internal.h"

#define JOBS_MAX 24u
#define ORDERS_MAX 256u
#define SLAB_BYTES GB_MIB
#define NO_SUCH_PID 0x7fffffff

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct input {
    const uint8_t *at;
    size_t len;
};

struct fuzz {
    struct gb_worker_hub *hub;
    struct gb_worker *w;
    int peer; /* the worker's end of the control channel */
    struct gb_job *jobs[JOBS_MAX];
    size_t jobs_len;
    unsigned told;
};

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static uint64_t take(struct input *in, size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint64_t byte = in->len > 0 ? *in->at : 0;
        in->at += in->len > 0;
        in->len -= in->len > 0;
        value |= byte << (8 * i);
    }
    return value;
}

static size_t take_bytes(struct input *in, void *to, size_t bytes) {
    size_t n = GB_MIN(bytes, in->len);
    memcpy(to, in->at, n);
    in->at += n;
    in->len -= n;
    return n;
}

static void on_done(void *user) {
    (*(unsigned *)user)++;
}

/* ---- the worker that the host believes in ---- */

static void make(struct fuzz *f) {
    struct gb_registry_options options = gb_registry_options_default();
    struct gb_worker_spec spec = {.name = "m",
                                  .bytes = gb_span_of("model"),
                                  .backend = GB_BACKEND_FAKE,
                                  .threads = 2};
    struct gb_error *err = NULL;
    int pair[2];
    int slab_fd = -1;
    f->hub = gb_worker_hub_new(&options, &err);
    f->w = f->hub ? gb_worker_new(f->hub, &spec, &err) : NULL;
    const int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;
    require(f->w && socketpair(AF_UNIX, type, 0, pair) == 0, "a worker can be made");
    struct gb_process *p = &f->w->process;
    const struct gb_slab_options slab = {.bytes = SLAB_BYTES};
    p->slab = gb_slab_new(&slab, &slab_fd, &err);
    require(p->slab != NULL, "a slab can be made");
    gb_fd_close(&slab_fd);
    p->control = pair[0];
    f->peer = pair[1];
    p->submit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->complete = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    p->pid = NO_SUCH_PID;
    f->w->state = GB_WORKER_STARTING;
    f->w->state_until_us = GB_NEVER;
}

static struct gb_msg_port default_port(uint32_t is_output, bool free_dimension) {
    struct gb_msg_port m = {.is_output = is_output,
                            .port = {.type = GB_TYPE_F32, .rank = 2, .name = "x"}};
    m.port.dims[0] = free_dimension ? -1 : 2;
    m.port.dims[1] = 4;
    return m;
}

static void say(struct fuzz *f, enum gb_message_type type, const void *body, size_t bytes) {
    (void)gb_wire_send(f->peer, type, body, bytes, -1, NULL);
    gb_worker_on_control(f->w);
}

/* As a sane worker would. free_output: its shape does not follow from the inputs. */
static void become_ready(struct fuzz *f, bool free_output) {
    struct gb_msg_hello hello = {.pid = 1, .engine = "fuzz"};
    struct gb_msg_port input = default_port(0, false);
    struct gb_msg_port output = default_port(1, free_output);
    struct gb_msg_loaded loaded = {.inputs = 1, .outputs = 1};
    say(f, GB_MSG_HELLO, &hello, sizeof hello);
    say(f, GB_MSG_PORT, &input, sizeof input);
    say(f, GB_MSG_PORT, &output, sizeof output);
    say(f, GB_MSG_LOADED, &loaded, sizeof loaded);
}

/* ---- orders ---- */

static void order_message(struct fuzz *f, struct input *in, bool with_header) {
    static struct gb_packet packet;
    memset(&packet, 0, sizeof packet);
    size_t body = 0;
    if (with_header) {
        uint32_t type = (uint32_t)take(in, 1);
        (void)gb_wire_body_bytes(type, &body);
        packet.header = (struct gb_msg_header){.magic = GB_WIRE_MAGIC,
                                               .version = GB_WIRE_VERSION,
                                               .type = type,
                                               .bytes = (uint32_t)body};
        take_bytes(in, packet.body, body);
        body += sizeof packet.header;
    } else {
        body = take_bytes(in, &packet, (size_t)take(in, 1));
    }
    if (body > 0) {
        (void)!send(f->peer, &packet, body, MSG_NOSIGNAL);
    }
    gb_worker_on_control(f->w);
}

static void order_submit(struct fuzz *f) {
    struct gb_tensor_ref ref = {.rank = 2, .dims = {2, 4}};
    struct gb_worker *w = f->w;
    if (f->jobs_len == JOBS_MAX || !w->ever_ready || w->inputs_len != 1 ||
        w->inputs[0].rank != 2 || w->inputs[0].type != GB_TYPE_F32) {
        return;
    }
    struct gb_error *err = NULL;
    ref.mem = gb_worker_mem_new(w, 32, NULL, &err);
    struct gb_job_spec spec = {.inputs = &ref,
                               .inputs_len = 1,
                               .deadline_us = GB_NEVER,
                               .done = on_done,
                               .user = &f->told};
    struct gb_job *job = ref.mem ? gb_worker_job_submit(w, &spec, &err) : NULL;
    require((job != NULL) == (err == NULL), "an error if and only if it fails");
    gb_error_free(err);
    gb_mem_unref(ref.mem);
    if (job) {
        f->jobs[f->jobs_len++] = job;
    }
}

/* The block of a job that is with the worker; NULL: there is none. */
static struct gb_wire_job *block_of(struct fuzz *f, uint64_t index) {
    struct gb_worker *w = f->w;
    if (w->flights_len == 0 || !w->process.slab) {
        return NULL;
    }
    struct gb_job *job = w->flights[index % w->flights_len];
    return job->block ? (void *)gb_mem_ptr(job->block) : NULL;
}

static void order_complete(struct fuzz *f, struct input *in) {
    uint64_t which = take(in, 1);
    struct gb_completion c = {.status = (uint32_t)take(in, 1), .code = (uint32_t)take(in, 1)};
    const struct gb_wire_job *block = block_of(f, which);
    c.job_id = block && which < 0xf0 ? f->w->flights[which % f->w->flights_len]->id : take(in, 8);
    if (which & 1) {
        c.run_us = take(in, 8);
        c.queue_us = take(in, 8);
    }
    if (f->w->process.slab) {
        (void)gb_ring_complete(gb_slab_head(f->w->process.slab), &c);
    }
}

static void order_scribble(struct fuzz *f, struct input *in) {
    uint8_t *block = (uint8_t *)block_of(f, take(in, 1));
    size_t at = (size_t)take(in, 2) % gb_wire_job_bytes(1, 1);
    size_t bytes = GB_MIN((size_t)take(in, 1), gb_wire_job_bytes(1, 1) - at);
    uint8_t scratch[256];
    size_t got = take_bytes(in, scratch, bytes);
    if (block) {
        memcpy(block + at, scratch, got);
    }
}

/* The output is said to have `rows` rows of four. */
static void order_shape(struct fuzz *f, struct input *in) {
    struct gb_wire_job *block = block_of(f, take(in, 1));
    uint64_t rows = take(in, 2);
    if (block) {
        struct gb_wire_tensor *t = &block->tensors[1];
        t->port = 0;
        t->rank = 2;
        t->dims[0] = rows;
        t->dims[1] = 4;
        t->bytes = rows * 16;
    }
}

static void order_counter(struct fuzz *f, struct input *in) {
    uint64_t which = take(in, 1);
    uint64_t value = take(in, which & 0x10 ? 8 : 1);
    if (!f->w->process.slab) {
        return;
    }
    struct gb_slab_head *head = gb_slab_head(f->w->process.slab);
    _Atomic uint64_t *counters[] = {&head->submit.head, &head->submit.tail, &head->complete.head,
                                    &head->complete.tail};
    atomic_store(counters[which & 3], value);
    atomic_store(&head->worker_spinning, (uint32_t)(which >> 5));
}

static void order_cancel(struct fuzz *f, struct input *in) {
    if (f->jobs_len > 0) {
        gb_job_cancel(f->jobs[take(in, 1) % f->jobs_len]);
    }
}

static void order_unref(struct fuzz *f) {
    if (f->jobs_len > 0) {
        gb_job_unref(f->jobs[--f->jobs_len]);
    }
}

static void order_time(struct fuzz *f) {
    uint64_t next = GB_NEVER;
    pthread_mutex_lock(&f->w->lock);
    gb_worker_jobs_step_locked(f->w, gb_now_us() + 60000000, &next);
    gb_worker_unlock(f->w);
}

static void run_order(struct fuzz *f, struct input *in) {
    uint8_t order = (uint8_t)take(in, 1);
    switch (order % 12) {
    case 0:
        become_ready(f, order & 0x80);
        break;
    case 1:
    case 2:
        order_submit(f);
        break;
    case 3:
    case 4:
        order_complete(f, in);
        break;
    case 5:
        order_scribble(f, in);
        break;
    case 6:
        order_shape(f, in);
        break;
    case 7:
        order_counter(f, in);
        break;
    case 8:
        order_message(f, in, true);
        break;
    case 9:
        order_message(f, in, false);
        break;
    case 10:
        (order & 0x80 ? order_unref(f) : order_cancel(f, in));
        break;
    default:
        (order & 0x80 ? order_time(f) : gb_worker_hub_drain(f->hub));
    }
}

/* ---- what must hold ---- */

static void check_output(const struct fuzz *f, const struct gb_job *job) {
    struct gb_job_output out;
    uint64_t bytes = 0;
    require(gb_job_output(job, 0, &out), "a job that is done has its output");
    require(out.rank == f->w->outputs[0].rank, "the output has the port's rank");
    if (f->w->outputs[0].type != GB_TYPE_OTHER) {
        require(gb_tensor_bytes(out.type, out.dims, out.rank, &bytes), "its size is possible");
        /* An empty tensor may have no memory. */
        require((out.mem ? gb_mem_bytes(out.mem) : 0) == bytes, "its memory has that size");
        volatile uint8_t sum = 0;
        for (uint64_t i = 0; i < bytes; i++) {
            sum = (uint8_t)(sum + gb_mem_ptr(out.mem)[i]);
        }
    }
}

static void end(struct fuzz *f) {
    struct gb_worker *w = f->w;
    gb_worker_on_death(w);
    pthread_mutex_lock(&w->lock);
    struct gb_error *stopped = NULL;
    gb_fail(&stopped, GB_BACKEND_LOST, "the fuzzer ended it");
    gb_worker_fail_jobs_locked(w, stopped, true);
    gb_error_free(stopped);
    gb_worker_unlock(w);
    gb_worker_hub_drain(f->hub);
    require(w->flights_len == 0 && w->process.pid == 0, "nothing is with a dead worker");
    for (size_t i = 0; i < f->jobs_len; i++) {
        enum gb_job_state state = gb_job_state(f->jobs[i]);
        require(state != GB_JOB_WAITING, "every job ends");
        struct gb_error *e = state == GB_JOB_ERROR ? gb_job_error(f->jobs[i]) : NULL;
        require((state == GB_JOB_ERROR) == (e && e->code != GB_OK), "a failed job says why");
        gb_error_free(e);
        if (state == GB_JOB_DONE) {
            check_output(f, f->jobs[i]);
        }
        gb_job_unref(f->jobs[i]);
    }
    gb_worker_free(w);
    gb_worker_hub_free(f->hub);
    close(f->peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
    struct input in = {.at = bytes, .len = len};
    struct fuzz f = {0};
    gb_log_set_level(GB_LOG_OFF);
    make(&f);
    for (unsigned i = 0; i < ORDERS_MAX && in.len > 0; i++) {
        run_order(&f, &in);
        struct gb_slab *slab = f.w->process.slab;
        require(!slab || gb_slab_valid(slab), "the slab's lists are whole");
        require(f.w->flights_len <= GB_WORKER_FLIGHTS_MAX, "no more flights than there may be");
    }
    end(&f);
    return 0;
}

#include "replay.h"

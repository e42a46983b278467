/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of jobs and workers share: a hub with one fake worker, jobs, and waiting. A test
 * that includes this calls test_host_main_start first thing in main. */
#ifndef GB_TESTS_MODEL_TEST_HOST_H
#define GB_TESTS_MODEL_TEST_HOST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/num.h"
#include "model/worker.h"
#include "model_fake_worker.h"
#include "test_slack.h"

#define WAIT_US ((uint64_t)20 * 1000000)

struct test_host {
    struct gb_registry_options options;
    struct gb_worker_hub *hub;
    struct gb_worker *worker;
    struct gb_account *account;
};

static char test_own_path[PATH_MAX];

static inline void test_host_main_start(char **argv) {
    if (strcmp(argv[0], "glovebox-worker") == 0) {
        fake_worker_main();
    }
    if (!realpath("/proc/self/exe", test_own_path)) {
        abort();
    }
    gb_log_set_level(GB_LOG_OFF); /* workers die by the dozen */
}

static inline struct gb_registry_options test_options(void) {
    return (struct gb_registry_options){
        .worker_path = test_own_path,
        .ort_lib_path = "none",
        .jail = GB_JAIL_STRICT,
        .slab_bytes = 8 * GB_MIB,
        .load_timeout_ms = 10000,
        .cancel_grace_ms = test_slack(100),
        .queue_max = 8,
    };
}

static inline struct gb_worker *test_worker(struct gb_worker_hub *hub, const char *model,
                                            uint32_t threads) {
    struct gb_error *e = NULL;
    struct gb_worker_spec spec = {
        .name = "digits",
        .bytes = gb_span_of(model),
        .backend = GB_BACKEND_FAKE,
        .threads = threads,
    };
    struct gb_worker *w = gb_worker_new(hub, &spec, &e);
    assert_non_null(w);
    return w;
}

static inline void test_host_init(struct test_host *t, const char *model, uint32_t threads) {
    struct gb_error *e = NULL;
    struct gb_worker_ready ready;
    if (t->options.slab_bytes == 0) {
        t->options = test_options();
    }
    t->account = gb_account_new("default", NULL, 4 * GB_MIB, &e);
    t->hub = gb_worker_hub_new(&t->options, &e);
    assert_non_null(t->hub);
    t->worker = test_worker(t->hub, model, threads);
    assert_true(gb_worker_start(t->worker, &e));
    bool ok = gb_worker_wait_ready(t->worker, gb_deadline_after_us(WAIT_US), &ready, &e);
    if (!ok) {
        print_message("%s\n", e->message);
    }
    assert_true(ok);
    assert_int_equal(ready.inputs_len, 1);
    assert_string_equal(ready.inputs[0].name, "x");
    assert_string_equal(ready.engine, "fake 1");
}

/* Nothing may be left: no charge, no process. */
static inline void test_host_fini(struct test_host *t) {
    int pid = gb_worker_pid(t->worker);
    gb_worker_free(t->worker);
    gb_worker_hub_free(t->hub);
    if (pid > 0) {
        assert_int_equal(kill(pid, 0), -1);
    }
    assert_int_equal(gb_account_used(t->account), 0);
    gb_account_unref(t->account);
}

struct test_job {
    struct gb_job *job;
    int done;
    int place; /* among all that were answered */
};
static inline void test_done(void *user) {
    static _Atomic int answered;
    struct test_job *j = user;
    j->done++;
    j->place = ++answered;
}

/* batch rows of 4; the first number is the order, the others count up. */
static inline bool test_submit_to(struct gb_worker *w, struct gb_account *account, float order,
                                  uint64_t batch, uint64_t deadline_us, struct test_job *ret_job,
                                  struct gb_error **err) {
    struct gb_mem *mem = gb_worker_mem_new(w, batch * 16, account, err);
    assert_non_null(mem);
    float *x = (float *)(void *)gb_mem_ptr(mem);
    for (uint64_t i = 0; i < batch * 4; i++) {
        x[i] = i == 0 ? order : (float)i;
    }
    struct gb_tensor_ref input = {.port = 0, .dims = {batch, 4}, .rank = 2, .mem = mem};
    struct gb_job_spec spec = {
        .inputs = &input,
        .inputs_len = 1,
        .deadline_us = deadline_us,
        .account = account,
        .done = test_done,
        .user = ret_job,
    };
    ret_job->done = 0;
    ret_job->job = gb_worker_job_submit(w, &spec, err);
    gb_mem_unref(mem);
    return ret_job->job != NULL;
}
static inline void test_submit(struct test_host *t, float order, uint64_t batch,
                               struct test_job *ret_job) {
    struct gb_error *e = NULL;
    if (!test_submit_to(t->worker, t->account, order, batch, GB_NEVER, ret_job, &e)) {
        print_message("%s\n", e->message);
        fail();
    }
}

/* Drains until the job was answered. */
static inline void test_wait(struct test_host *t, struct test_job *j) {
    uint64_t deadline = gb_deadline_after_us(WAIT_US);
    struct pollfd fd = {.fd = gb_worker_hub_event_fd(t->hub), .events = POLLIN};
    while (j->done == 0) {
        assert_true(gb_now_us() < deadline);
        (void)poll(&fd, 1, gb_poll_timeout_ms(deadline));
        gb_worker_hub_drain(t->hub);
    }
    assert_int_equal(j->done, 1);
}

static inline void test_expect_done(struct test_job *j) {
    struct gb_error *e = gb_job_error(j->job);
    if (e) {
        print_message("%s: %s\n", gb_code_text(e->code), e->message);
        gb_error_free(e);
    }
    assert_int_equal(gb_job_state(j->job), GB_JOB_DONE);
}

static inline void test_expect_code(struct test_job *j, enum gb_code code) {
    assert_int_equal(gb_job_state(j->job), GB_JOB_ERROR);
    struct gb_error *e = gb_job_error(j->job);
    assert_non_null(e);
    if (e->code != code) {
        print_message("%s: %s\n", gb_code_text(e->code), e->message);
    }
    assert_int_equal(e->code, code);
    gb_error_free(e);
}

static inline void test_expect_message(struct test_job *j, const char *message) {
    struct gb_error *e = gb_job_error(j->job);
    assert_non_null(e);
    assert_string_equal(e->message, message);
    gb_error_free(e);
}

static inline void test_drop(struct test_job *j) {
    gb_job_unref(j->job);
    j->job = NULL;
}

/* The worker still answers. */
static inline void test_serves(struct test_host *t) {
    struct test_job j;
    struct gb_job_output y;
    test_submit(t, FAKE_ECHO, 2, &j);
    test_wait(t, &j);
    test_expect_done(&j);
    assert_true(gb_job_output(j.job, 0, &y));
    const float *numbers = (const float *)(const void *)gb_mem_ptr(y.mem);
    for (size_t i = 0; i < 8; i++) {
        assert_true(numbers[i] == (float)(i + 1));
    }
    test_drop(&j);
}

#endif

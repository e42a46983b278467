/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: shapes, queue, cancellation, deadlines, and a worker that lies, dies or writes late. */
#include "model_test_host.h"

#include "model/slab.h"

static void output_shape_follows_the_inputs_symbols(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 1);
    for (uint64_t batch = 0; batch < 40; batch += 13) {
        struct test_job j;
        struct gb_job_output y;
        test_submit(&t, FAKE_ECHO, batch, &j);
        test_wait(&t, &j);
        test_expect_done(&j);
        assert_true(gb_job_output(j.job, 0, &y));
        assert_int_equal(y.type, GB_TYPE_F32);
        assert_int_equal(y.rank, 2);
        assert_int_equal(y.dims[0], batch);
        assert_int_equal(y.dims[1], 4);
        assert_int_equal(gb_mem_bytes(y.mem), batch * 16);
        const float *numbers = (const float *)(const void *)gb_mem_ptr(y.mem);
        for (uint64_t i = 0; i < batch * 4; i++) {
            assert_true(numbers[i] == (float)(i + 1));
        }
        assert_false(gb_job_output(j.job, 1, &y));
        struct gb_job_times times = gb_job_times(j.job);
        assert_true(times.total_us > 0 && times.run_us + times.queue_us <= times.total_us);
        test_drop(&j);
    }
    test_host_fini(&t);
}

static void output_of_unknown_shape_is_fetched(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "dynamic", 1);
    for (int count = 0; count < 100000; count = count * 7 + 1) {
        struct test_job j;
        struct gb_job_output y;
        test_submit(&t, (float)count, 1, &j);
        test_wait(&t, &j);
        test_expect_done(&j);
        assert_true(gb_job_output(j.job, 0, &y));
        assert_int_equal(y.rank, 1);
        assert_int_equal(y.dims[0], count);
        assert_int_equal(gb_mem_bytes(y.mem), (uint64_t)count * 4);
        for (int i = 0; i < count; i++) {
            assert_true(((const float *)(const void *)gb_mem_ptr(y.mem))[i] == 1);
        }
        test_drop(&j);
    }
    test_host_fini(&t);
}

static void unknown_output_over_the_budget_is_forgotten(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "dynamic", 1);
    struct test_job j;
    test_submit(&t, 1500000, 1, &j); /* 6 MB of a budget of 4 MiB */
    test_wait(&t, &j);
    test_expect_code(&j, GB_BUDGET_EXCEEDED);
    test_drop(&j);
    test_submit(&t, 3e6F, 1, &j); /* more than the slab */
    test_wait(&t, &j);
    test_expect_code(&j, GB_BUDGET_EXCEEDED);
    test_drop(&j);
    test_submit(&t, 10, 1, &j);
    test_wait(&t, &j);
    test_expect_done(&j);
    test_drop(&j);
    assert_int_equal(gb_worker_starts(t.worker), 1);
    test_host_fini(&t);
}

static void wrong_inputs_never_reach_the_worker(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    test_host_init(&t, "echo", 1);
    struct gb_mem *mem = gb_worker_mem_new(t.worker, 16, t.account, &e);
    const struct {
        size_t len;
        struct gb_tensor_ref inputs[2];
    } cases[] = {
        {0, {{0}}},
        {1, {{.port = 0, .dims = {2, 4}, .rank = 2, .mem = mem}}},
        {1, {{.port = 0, .dims = {1, 5}, .rank = 2, .mem = mem}}},
        {1, {{.port = 0, .dims = {4}, .rank = 1, .mem = mem}}},
        {1, {{.port = 1, .dims = {1, 4}, .rank = 2, .mem = mem}}},
        {1, {{.port = 0, .dims = {UINT64_MAX, 4}, .rank = 2, .mem = mem}}},
        {2, {{.port = 0, .dims = {1, 4}, .rank = 2, .mem = mem},
             {.port = 0, .dims = {1, 4}, .rank = 2, .mem = mem}}},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_job_spec spec = {.inputs = cases[i].inputs, .inputs_len = cases[i].len,
                                   .deadline_us = GB_NEVER, .account = t.account};
        assert_null(gb_worker_job_submit(t.worker, &spec, &e));
        assert_true(e->code == GB_INPUT_SHAPE || e->code == GB_INVALID_ARGUMENT);
        gb_error_clear(&e);
    }
    gb_mem_unref(mem);
    test_host_fini(&t);
}

static void engine_failure_is_shown_without_control_characters(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 1);
    struct test_job j;
    test_submit(&t, FAKE_FAIL, 1, &j);
    test_wait(&t, &j);
    test_expect_code(&j, GB_BACKEND_FAILED);
    struct gb_error *e = gb_job_error(j.job);
    assert_non_null(strstr(e->message, "no\\x1b[2J such node"));
    gb_error_free(e);
    test_drop(&j);
    test_serves(&t);
    assert_int_equal(gb_worker_starts(t.worker), 1);
    test_host_fini(&t);
}

static void nonsense_kills_the_worker_and_it_comes_back(void **state) {
    (void)state;
    static const enum fake_order orders[] = {FAKE_WRONG_ID, FAKE_WRONG_DIMS, FAKE_BREAK_RING,
                                             FAKE_BAD_STATUS, FAKE_CRASH};
    struct test_host t = {0};
    test_host_init(&t, "echo", 1);
    for (size_t i = 0; i < GB_COUNT(orders); i++) {
        struct test_job j;
        test_submit(&t, (float)(int)orders[i], 1, &j);
        test_wait(&t, &j);
        test_expect_code(&j, GB_BACKEND_LOST);
        test_drop(&j);
        test_serves(&t);
        assert_int_equal(gb_worker_starts(t.worker), i + 2);
    }
    struct test_job j;
    test_submit(&t, FAKE_TWICE, 1, &j); /* answered, then found out */
    test_wait(&t, &j);
    test_expect_done(&j);
    test_drop(&j);
    uint64_t until = gb_deadline_after_us(WAIT_US);
    while (gb_worker_starts(t.worker) < GB_COUNT(orders) + 2) {
        assert_true(gb_now_us() < until);
        gb_worker_hub_drain(t.hub);
        usleep(1000);
    }
    test_serves(&t);
    test_host_fini(&t);
}

static void queue_is_bounded_and_keeps_its_order(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    test_host_init(&t, "echo", 1);
    struct test_job jobs[11];
    for (size_t i = 0; i < 10; i++) { /* 2 with the worker, until they are cancelled; 8 here */
        test_submit(&t, i < 2 ? FAKE_WAIT : FAKE_ECHO, 1, &jobs[i]);
    }
    assert_false(test_submit_to(t.worker, t.account, FAKE_ECHO, 1, GB_NEVER, &jobs[10], &e));
    assert_int_equal(e->code, GB_OVERLOADED);
    assert_string_equal(e->message, "8 inferences wait for model \"digits\" already");
    assert_non_null(strstr(e->hint, "Try again after"));
    gb_error_clear(&e);
    gb_job_cancel(jobs[9].job); /* makes room at once */
    test_submit(&t, FAKE_ECHO, 1, &jobs[10]);
    gb_job_cancel(jobs[0].job);
    gb_job_cancel(jobs[1].job);
    for (size_t i = 0; i < 11; i++) {
        test_wait(&t, &jobs[i]);
        if (i < 2 || i == 9) {
            test_expect_code(&jobs[i], GB_CANCELLED);
        } else {
            test_expect_done(&jobs[i]);
        }
    }
    for (size_t i = 2; i < 8; i++) {
        assert_true(jobs[i].place < jobs[i + 1].place);
    }
    assert_true(jobs[8].place < jobs[10].place);
    for (size_t i = 0; i < 11; i++) {
        test_drop(&jobs[i]);
    }
    test_host_fini(&t);
}

static void soft_cancel_answers_at_once_and_keeps_the_worker(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 1);
    struct test_job j;
    test_submit(&t, FAKE_WAIT, 1, &j);
    usleep(20000);
    uint64_t start = gb_now_us();
    gb_job_cancel(j.job);
    gb_job_cancel(j.job);
    test_wait(&t, &j);
    assert_true(gb_now_us() - start < test_slack(50000));
    test_expect_code(&j, GB_CANCELLED);
    test_drop(&j);
    test_serves(&t);
    assert_int_equal(gb_worker_starts(t.worker), 1);
    test_host_fini(&t);
}

static void deaf_inference_is_killed_after_the_grace(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 2);
    struct test_job deaf;
    struct test_job other;
    struct test_job queued[6];
    test_submit(&t, FAKE_HANG, 1, &deaf);
    test_submit(&t, FAKE_WAIT, 1, &other);
    for (size_t i = 0; i < GB_COUNT(queued); i++) {
        test_submit(&t, FAKE_ECHO, 1, &queued[i]);
    }
    uint64_t start = gb_now_us();
    gb_job_cancel(deaf.job);
    test_wait(&t, &deaf);
    assert_true(gb_now_us() - start < test_slack(50000));
    test_expect_code(&deaf, GB_CANCELLED);
    test_wait(&t, &other);
    uint64_t took = gb_now_us() - start;
    assert_true(took >= t.options.cancel_grace_ms * 1000 && took < test_slack(400000));
    test_expect_code(&other, GB_BACKEND_LOST);
    test_expect_message(&other, "the worker of model \"digits\" was ended because a cancelled "
                                "inference did not stop");
    /* Two had been sent and are lost; four had not and run on the next process. */
    for (size_t i = 0; i < GB_COUNT(queued); i++) {
        test_wait(&t, &queued[i]);
        assert_int_equal(gb_job_state(queued[i].job), i < 2 ? GB_JOB_ERROR : GB_JOB_DONE);
        test_drop(&queued[i]);
    }
    assert_int_equal(gb_worker_starts(t.worker), 2);
    test_drop(&deaf);
    test_drop(&other);
    test_serves(&t);
    test_host_fini(&t);
}

static void cancelled_job_behind_a_long_one_does_not_kill(void **state) {
    (void)state;
    struct test_host t = {0};
    t.options = test_options();
    t.options.cancel_grace_ms = 300;
    test_host_init(&t, "echo", 1);
    struct test_job slow;
    struct test_job behind;
    test_submit(&t, FAKE_SLOWER, 1, &slow); /* twice the grace */
    test_submit(&t, FAKE_ECHO, 1, &behind);
    gb_job_cancel(behind.job);
    test_wait(&t, &slow);
    assert_int_equal(gb_job_state(slow.job), GB_JOB_DONE);
    test_wait(&t, &behind);
    test_expect_code(&behind, GB_CANCELLED);
    assert_int_equal(gb_worker_starts(t.worker), 1);
    test_drop(&slow);
    test_drop(&behind);
    test_host_fini(&t);
}

static void deadline_ends_waiting_and_running_jobs(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    test_host_init(&t, "echo", 1);
    struct test_job jobs[4];
    uint64_t start = gb_now_us();
    uint64_t given = test_slack(60000);
    for (size_t i = 0; i < GB_COUNT(jobs); i++) {
        assert_true(test_submit_to(t.worker, t.account, FAKE_WAIT, 1, start + given, &jobs[i], &e));
    }
    for (size_t i = 0; i < GB_COUNT(jobs); i++) {
        test_wait(&t, &jobs[i]);
        uint64_t took = gb_now_us() - start;
        assert_true(took >= given && took < given + test_slack(50000));
        test_expect_code(&jobs[i], GB_DEADLINE_EXCEEDED);
        test_expect_message(&jobs[i],
                            i < 2 ? "the inference on model \"digits\" did not finish before the "
                                    "deadline"
                                  : "the deadline passed while an inference waited for model "
                                    "\"digits\"");
        test_drop(&jobs[i]);
    }
    test_serves(&t);
    assert_int_equal(gb_worker_starts(t.worker), 1);
    assert_false(test_submit_to(t.worker, t.account, FAKE_ECHO, 1, 1, &jobs[0], &e));
    assert_int_equal(e->code, GB_DEADLINE_EXCEEDED);
    gb_error_clear(&e);
    test_host_fini(&t);
}

static void empty_tensor_needs_no_memory(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    test_host_init(&t, "echo", 1);
    struct test_job j = {0};
    struct gb_tensor_ref input = {.port = 0, .dims = {0, 4}, .rank = 2, .mem = NULL};
    struct gb_job_spec spec = {.inputs = &input, .inputs_len = 1, .deadline_us = GB_NEVER,
                               .account = t.account, .done = test_done, .user = &j};
    j.job = gb_worker_job_submit(t.worker, &spec, &e);
    assert_non_null(j.job);
    test_wait(&t, &j);
    struct gb_job_output y;
    assert_true(gb_job_output(j.job, 0, &y));
    assert_int_equal(gb_mem_bytes(y.mem), 0);
    test_drop(&j);
    input.dims[0] = 1;
    assert_null(gb_worker_job_submit(t.worker, &spec, &e));
    assert_int_equal(e->code, GB_INPUT_SHAPE);
    gb_error_clear(&e);
    struct gb_mem *mem = gb_worker_mem_copy(t.worker, gb_span_of("0123456789abcdef"), t.account,
                                            &e);
    assert_memory_equal(gb_mem_ptr(mem), "0123456789abcdef", 16);
    assert_non_null(gb_mem_slab(mem));
    gb_mem_unref(mem);
    test_host_fini(&t);
}

/* Its owner is gone and answered; the blocks are not anybody's until the worker says so. */
static void blocks_of_a_dropped_job_are_not_reused_while_written(void **state) {
    (void)state;
    struct test_host t = {0};
    t.options = test_options();
    t.options.cancel_grace_ms = 5000;
    test_host_init(&t, "echo", 1);
    for (int round = 0; round < 3; round++) {
        struct test_job j;
        uint64_t idle = gb_account_used(t.account);
        test_submit(&t, FAKE_SCRIBBLE, 64, &j);
        usleep(10000);
        test_drop(&j);
        assert_true(gb_account_used(t.account) > idle); /* still charged */
        uint64_t until = gb_deadline_after_us(60000);
        size_t blocks = 0;
        while (gb_now_us() < until || blocks <= 100) {
            struct gb_mem *mem[20];
            for (size_t i = 0; i < GB_COUNT(mem); i++) {
                mem[i] = gb_worker_mem_new(t.worker, 64 * 16, t.account, NULL);
                assert_non_null(gb_mem_slab(mem[i]));
                memset(gb_mem_ptr(mem[i]), 0x11, 64 * 16);
            }
            usleep(3000);
            for (size_t i = 0; i < GB_COUNT(mem); i++) {
                for (size_t k = 0; k < 64 * 16; k++) {
                    assert_int_equal(gb_mem_ptr(mem[i])[k], 0x11);
                }
                gb_mem_unref(mem[i]);
            }
            blocks += GB_COUNT(mem);
        }
        test_serves(&t); /* which comes behind the scribbler's acknowledgement */
        assert_int_equal(gb_account_used(t.account), idle);
    }
    assert_int_equal(gb_worker_starts(t.worker), 1);
    test_host_fini(&t);
}

static void output_that_is_never_handed_over_costs_the_worker_its_life(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    struct test_job j;
    test_host_init(&t, "mute", 1);
    uint64_t start = gb_now_us();
    uint64_t deadline_us = start + test_slack(50000);
    assert_true(test_submit_to(t.worker, t.account, 100, 1, deadline_us, &j, &e));
    test_wait(&t, &j);
    assert_true(gb_now_us() < deadline_us + test_slack(50000));
    test_expect_code(&j, GB_DEADLINE_EXCEEDED);
    test_drop(&j);
    while (gb_account_used(t.account) != 0) { /* the grace, then the kill */
        assert_true(gb_now_us() - start < test_slack(500000));
        usleep(1000);
    }
    test_host_fini(&t);
}

struct racer {
    struct test_host *t;
    _Atomic bool stop;
};
static void *race_drain(void *arg) {
    struct racer *r = arg;
    struct pollfd fd = {.fd = gb_worker_hub_event_fd(r->t->hub), .events = POLLIN};
    while (!r->stop) {
        (void)poll(&fd, 1, 10);
        gb_worker_hub_drain(r->t->hub);
    }
    return NULL;
}

/* done never runs after unref returned: the object it would touch is gone then. */
static void done_is_not_called_after_unref_on_another_thread(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 2);
    struct racer r = {.t = &t};
    pthread_t drainers[2];
    for (size_t i = 0; i < GB_COUNT(drainers); i++) {
        assert_int_equal(pthread_create(&drainers[i], NULL, race_drain, &r), 0);
    }
    for (int i = 0; i < 1500; i++) {
        struct test_job *j = malloc(sizeof *j);
        assert_non_null(j);
        test_submit(&t, FAKE_ECHO, 1, j);
        usleep((useconds_t)(i % 40) * 20);
        test_drop(j);
        memset(j, 0xff, sizeof *j);
        free(j);
    }
    r.stop = true;
    for (size_t i = 0; i < GB_COUNT(drainers); i++) {
        assert_int_equal(pthread_join(drainers[i], NULL), 0);
    }
    test_host_fini(&t);
}

static void memory_of_a_dead_worker_stays_and_is_copied_to_the_next(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    test_host_init(&t, "echo", 1);
    struct gb_mem *mem = gb_worker_mem_new(t.worker, 16, t.account, &e);
    float *x = (float *)(void *)gb_mem_ptr(mem);
    x[1] = 41;
    assert_int_equal(kill(gb_worker_pid(t.worker), SIGKILL), 0);
    while (gb_worker_starts(t.worker) < 2) {
        usleep(1000);
    }
    assert_true(x[1] == 41);
    struct test_job j = {0};
    struct gb_tensor_ref input = {.port = 0, .dims = {1, 4}, .rank = 2, .mem = mem};
    struct gb_job_spec spec = {.inputs = &input, .inputs_len = 1, .deadline_us = GB_NEVER,
                               .account = t.account, .done = test_done, .user = &j};
    j.job = gb_worker_job_submit(t.worker, &spec, &e);
    assert_non_null(j.job);
    gb_mem_unref(mem);
    test_wait(&t, &j);
    struct gb_job_output y;
    assert_true(gb_job_output(j.job, 0, &y));
    assert_true(((const float *)(const void *)gb_mem_ptr(y.mem))[1] == 42);
    test_drop(&j);
    test_host_fini(&t);
}

static void budget_and_full_slab_refuse_and_recover(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    struct test_job j;
    test_host_init(&t, "echo", 1);
    /* 2.5 MiB in fit the budget of 4 MiB, 2.5 MiB out do not. */
    assert_false(test_submit_to(t.worker, t.account, FAKE_ECHO, 160 * 1024, GB_NEVER, &j, &e));
    assert_int_equal(e->code, GB_BUDGET_EXCEEDED);
    gb_error_clear(&e);
    assert_int_equal(gb_account_used(t.account), 0);
    struct gb_account *rich = gb_account_new("rich", NULL, GB_GIB, &e);
    struct gb_mem *hog = gb_worker_mem_new(t.worker, 7 * GB_MIB, rich, &e);
    struct gb_mem *heap = gb_worker_mem_new(t.worker, 2 * GB_MIB, rich, &e);
    assert_non_null(gb_mem_slab(hog));
    assert_null(gb_mem_slab(heap)); /* the slab is full: the heap, and still charged */
    assert_int_equal(gb_account_used(rich), 9 * GB_MIB);
    gb_mem_unref(heap);
    assert_true(test_submit_to(t.worker, rich, FAKE_ECHO, 60 * 1024, GB_NEVER, &j, &e));
    test_wait(&t, &j);
    test_expect_code(&j, GB_OVERLOADED);
    test_drop(&j);
    gb_mem_unref(hog);
    assert_true(test_submit_to(t.worker, rich, FAKE_ECHO, 60 * 1024, GB_NEVER, &j, &e));
    test_wait(&t, &j);
    test_expect_done(&j);
    test_drop(&j);
    assert_int_equal(gb_account_used(rich), 0);
    gb_account_unref(rich);
    test_host_fini(&t);
}

/* A tenant that holds on to what it never uses is moved to the heap; others find room. */
static void a_tenant_cannot_take_the_slab_from_the_others(void **state) {
    (void)state;
    struct test_host t = {0};
    struct gb_error *e = NULL;
    struct test_job j;
    test_host_init(&t, "echo", 1);
    struct gb_account *host = gb_account_new("host", NULL, GB_GIB, &e);
    struct gb_account *greedy = gb_account_new("greedy", host, GB_GIB, &e);
    struct gb_account *call = gb_account_new("call", greedy, GB_GIB, &e);
    struct gb_account *other = gb_account_new("other", host, GB_GIB, &e);
    struct gb_mem *held[80];
    size_t in_slab = 0;
    for (size_t i = 0; i < GB_COUNT(held); i++) {
        held[i] = gb_worker_mem_new(t.worker, 128 * 1024, i % 2 ? greedy : call, &e);
        assert_non_null(held[i]);
        in_slab += gb_mem_slab(held[i]) != NULL;
    }
    assert_in_range(in_slab, 16, 32);
    struct gb_account *const both[] = {other, greedy};
    for (size_t i = 0; i < GB_COUNT(both); i++) {
        assert_true(test_submit_to(t.worker, both[i], FAKE_ECHO, 60 * 1024, GB_NEVER, &j, &e));
        test_wait(&t, &j);
        test_expect_done(&j);
        struct gb_job_output y;
        assert_true(gb_job_output(j.job, 0, &y));
        struct gb_mem *kept = gb_mem_keep(y.mem);
        assert_true((gb_mem_slab(kept) != NULL) == (both[i] == other));
        test_drop(&j);
        gb_mem_unref(kept);
    }
    for (size_t i = 0; i < GB_COUNT(held); i++) {
        gb_mem_unref(held[i]);
    }
    assert_int_equal(gb_account_used(host), 0);
    gb_account_unref(call);
    gb_account_unref(greedy);
    gb_account_unref(other);
    gb_account_unref(host);
    test_host_fini(&t);
}

static void failed_allocations_in_a_job_are_errors(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "dynamic", 1);
    bool passed = false;
    for (uint64_t nth = 1; nth < 60 && !passed; nth++) {
        struct gb_error *e = NULL;
        struct test_job j;
        struct gb_mem *mem = gb_worker_mem_new(t.worker, 16, t.account, &e);
        *(float *)(void *)gb_mem_ptr(mem) = 100;
        struct gb_tensor_ref input = {.port = 0, .dims = {1, 4}, .rank = 2, .mem = mem};
        struct gb_job_spec spec = {.inputs = &input, .inputs_len = 1, .deadline_us = GB_NEVER,
                                   .account = t.account, .done = test_done, .user = &j};
        j.done = 0;
        uint64_t before = gb_alloc_count();
        gb_alloc_fail_at(nth);
        j.job = gb_worker_job_submit(t.worker, &spec, &e);
        gb_mem_unref(mem);
        assert_true((j.job != NULL) == (e == NULL));
        gb_error_clear(&e);
        if (j.job) {
            test_wait(&t, &j);
            passed = gb_alloc_count() - before < nth;
            assert_true(!passed || gb_job_state(j.job) == GB_JOB_DONE);
            test_drop(&j);
        }
        gb_alloc_fail_at(0);
    }
    assert_true(passed);
    assert_int_equal(gb_worker_starts(t.worker), 1);
    test_host_fini(&t);
}

static void wait_for_death(struct test_host *t, int pid) {
    uint64_t until = gb_deadline_after_us(WAIT_US);
    while (pid != 0 && gb_worker_pid(t->worker) == pid) {
        assert_true(gb_now_us() < until);
        usleep(1000);
    }
}

/* Kills and cancels at odd moments: each job is answered once, nothing stays charged. */
static void random_kills_and_cancels_lose_nothing(void **state) {
    (void)state;
    enum { JOBS = 8, ROUNDS = 60 };
    struct test_host t = {0};
    test_host_init(&t, "echo", 2);
    uint64_t seed = 12345;
    for (int round = 0; round < ROUNDS; round++) {
        struct test_job jobs[JOBS];
        static const enum fake_order orders[] = {FAKE_ECHO, FAKE_SLOW, FAKE_WAIT, FAKE_ECHO};
        for (size_t i = 0; i < JOBS; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            test_submit(&t, (float)(int)orders[seed >> 62], 1 + (seed >> 40) % 64, &jobs[i]);
        }
        usleep((useconds_t)(seed >> 33) % 5000);
        int killed = 0;
        if (round % 2 == 0) {
            int pid = gb_worker_pid(t.worker);
            if (pid > 0) {
                assert_int_equal(kill(pid, SIGKILL), 0);
                killed = pid;
            }
        }
        for (size_t i = 0; i < JOBS; i++) {
            if (i % 3 == 0) {
                gb_worker_hub_drain(t.hub);
                test_drop(&jobs[i]);
            } else {
                gb_job_cancel(jobs[i].job);
            }
        }
        for (size_t i = 0; i < JOBS; i++) {
            if (jobs[i].job) {
                test_wait(&t, &jobs[i]);
                test_drop(&jobs[i]);
            }
        }
        /* Until its death is seen, the dead one would still be given the next job, and lose it. */
        wait_for_death(&t, killed);
        test_serves(&t);
    }
    test_host_fini(&t);
}

int main(int argc, char **argv) {
    (void)argc;
    test_host_main_start(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_shape_follows_the_inputs_symbols),
        cmocka_unit_test(output_of_unknown_shape_is_fetched),
        cmocka_unit_test(unknown_output_over_the_budget_is_forgotten),
        cmocka_unit_test(wrong_inputs_never_reach_the_worker),
        cmocka_unit_test(engine_failure_is_shown_without_control_characters),
        cmocka_unit_test(nonsense_kills_the_worker_and_it_comes_back),
        cmocka_unit_test(queue_is_bounded_and_keeps_its_order),
        cmocka_unit_test(soft_cancel_answers_at_once_and_keeps_the_worker),
        cmocka_unit_test(deaf_inference_is_killed_after_the_grace),
        cmocka_unit_test(cancelled_job_behind_a_long_one_does_not_kill),
        cmocka_unit_test(deadline_ends_waiting_and_running_jobs),
        cmocka_unit_test(empty_tensor_needs_no_memory),
        cmocka_unit_test(blocks_of_a_dropped_job_are_not_reused_while_written),
        cmocka_unit_test(output_that_is_never_handed_over_costs_the_worker_its_life),
        cmocka_unit_test(done_is_not_called_after_unref_on_another_thread),
        cmocka_unit_test(memory_of_a_dead_worker_stays_and_is_copied_to_the_next),
        cmocka_unit_test(budget_and_full_slab_refuse_and_recover),
        cmocka_unit_test(a_tenant_cannot_take_the_slab_from_the_others),
        cmocka_unit_test(failed_allocations_in_a_job_are_errors),
        cmocka_unit_test(random_kills_and_cancels_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

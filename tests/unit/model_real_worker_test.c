/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side on the real worker and engine: right answers, unknown shapes, overlap, soft stop,
 * hard stop, the jail's self-test, and kills at odd moments. Skipped where no worker was built. */
#include <sys/syscall.h>

#include "model_test_host.h"

#define SKIP 77

static struct gb_worker_hub *real_hub(uint64_t grace_ms) {
    struct gb_error *e = NULL;
    struct gb_registry_options options = test_options();
    options.worker_path = NULL; /* GLOVEBOX_WORKER */
    options.ort_lib_path = NULL;
    options.slab_bytes = 256 * GB_MIB;
    options.queue_max = 64;
    options.load_timeout_ms = 60000;
    options.cancel_grace_ms = test_slack(grace_ms);
    struct gb_worker_hub *hub = gb_worker_hub_new(&options, &e);
    assert_non_null(hub);
    return hub;
}

static struct gb_worker *real_worker(struct gb_worker_hub *hub, const char *name, uint32_t threads,
                                     struct gb_worker_ready *ret_ready) {
    struct gb_error *e = NULL;
    char path[PATH_MAX];
    uint8_t *bytes = NULL;
    size_t len = 0;
    (void)snprintf(path, sizeof path, GB_TEST_SOURCE_DIR "/models/%s.onnx", name);
    assert_true(gb_file_read(path, GB_MIB, GB_MODEL_TOO_LARGE, &bytes, &len, &e));
    struct gb_worker_spec spec = {.name = name, .bytes = gb_span_make(bytes, len),
                                  .backend = GB_BACKEND_ONNX, .threads = threads, .warm_up = true};
    struct gb_worker *w = gb_worker_new(hub, &spec, &e);
    gb_free(bytes);
    assert_non_null(w);
    assert_true(gb_worker_start(w, &e));
    bool ok = gb_worker_wait_ready(w, gb_deadline_after_us(60 * (uint64_t)1000000), ret_ready, &e);
    if (!ok) {
        print_message("%s: %s\n", name, e->message);
    }
    assert_true(ok);
    return w;
}

static struct gb_job *submit(struct gb_worker *w, struct test_job *j, const float *numbers,
                             size_t count, struct gb_tensor_ref input) {
    struct gb_error *e = NULL;
    input.mem = gb_worker_mem_new(w, count * 4, NULL, &e);
    assert_non_null(input.mem);
    memcpy(gb_mem_ptr(input.mem), numbers, count * 4);
    struct gb_job_spec spec = {.inputs = &input, .inputs_len = 1, .deadline_us = GB_NEVER,
                               .done = test_done, .user = j};
    j->done = 0;
    j->job = gb_worker_job_submit(w, &spec, &e);
    if (!j->job) {
        print_message("%s\n", e->message);
    }
    assert_non_null(j->job);
    gb_mem_unref(input.mem);
    return j->job;
}

static struct gb_job_output output(struct test_job *j) {
    struct gb_job_output y;
    struct gb_error *e = gb_job_error(j->job);
    if (e) {
        print_message("%s: %s\n", gb_code_text(e->code), e->message);
        gb_error_free(e);
    }
    assert_int_equal(gb_job_state(j->job), GB_JOB_DONE);
    assert_true(gb_job_output(j->job, 0, &y));
    return y;
}

static void relu_answers_and_a_call_is_quick(void **state) {
    (void)state;
    enum { CALLS = 2000 };
    struct gb_worker_ready ready;
    struct test_host t = {.hub = real_hub(200)};
    struct gb_worker *w = real_worker(t.hub, "test/relu3", 1, &ready);
    assert_int_equal(ready.missing_walls, 0);
    assert_true(ready.warm_us > 0);
    uint64_t start = gb_now_us();
    for (int i = 0; i < CALLS; i++) {
        struct test_job j;
        const float x[3] = {-1, (float)i, 2};
        submit(w, &j, x, 3, (struct gb_tensor_ref){.dims = {3}, .rank = 1});
        test_wait(&t, &j);
        struct gb_job_output y = output(&j);
        const float *numbers = (const float *)(const void *)gb_mem_ptr(y.mem);
        assert_true(numbers[0] == 0 && numbers[1] == (float)i && numbers[2] == 2);
        test_drop(&j);
    }
    print_message("relu3: %.1f us per call\n", (double)(gb_now_us() - start) / CALLS);
    gb_worker_free(w);
    gb_worker_hub_free(t.hub);
}

static void unknown_and_scalar_shapes_come_out(void **state) {
    (void)state;
    struct gb_worker_ready ready;
    struct test_host t = {.hub = real_hub(200)};
    struct gb_worker *w = real_worker(t.hub, "test/dynout", 1, &ready);
    struct test_job j;
    const float x[5] = {0, 3, 0, -1, 8};
    submit(w, &j, x, 5, (struct gb_tensor_ref){.dims = {5}, .rank = 1});
    test_wait(&t, &j);
    struct gb_job_output y = output(&j);
    const int64_t *places = (const int64_t *)(const void *)gb_mem_ptr(y.mem);
    assert_int_equal(y.type, GB_TYPE_I64);
    assert_int_equal(y.dims[0], 1);
    assert_int_equal(y.dims[1], 3);
    assert_true(places[0] == 1 && places[1] == 3 && places[2] == 4);
    test_drop(&j);
    gb_worker_free(w);
    w = real_worker(t.hub, "test/scalar", 1, &ready);
    submit(w, &j, x + 1, 1, (struct gb_tensor_ref){.rank = 0});
    test_wait(&t, &j);
    y = output(&j);
    assert_int_equal(y.rank, 0);
    assert_true(*(const float *)(const void *)gb_mem_ptr(y.mem) == 6);
    test_drop(&j);
    gb_worker_free(w);
    gb_worker_hub_free(t.hub);
}

static void two_threads_overlap_and_a_soft_stop_keeps_the_worker(void **state) {
    (void)state;
    struct gb_worker_ready ready;
    struct test_host t = {.hub = real_hub(200)};
    struct gb_worker *w = real_worker(t.hub, "test/slow200", 2, &ready);
    struct test_job jobs[8];
    const float x = 0.5F;
    const struct gb_tensor_ref one = {.dims = {1}, .rank = 1};
    uint64_t start = gb_now_us();
    for (size_t i = 0; i < GB_COUNT(jobs); i++) {
        submit(w, &jobs[i], &x, 1, one);
    }
    uint64_t serial = 0;
    for (size_t i = 0; i < GB_COUNT(jobs); i++) {
        test_wait(&t, &jobs[i]);
        (void)output(&jobs[i]);
        serial += gb_job_times(jobs[i].job).run_us;
        test_drop(&jobs[i]);
    }
    print_message("slow200: 8 calls in %llu ms, %llu ms inside the engine\n",
                  (unsigned long long)(gb_now_us() - start) / 1000,
                  (unsigned long long)serial / 1000);
    assert_true((gb_now_us() - start) * 10 < serial * 8);
    submit(w, &jobs[0], &x, 1, one);
    usleep(50000);
    start = gb_now_us();
    uint64_t starved_us = test_starved_us();
    gb_job_cancel(jobs[0].job);
    test_wait(&t, &jobs[0]);
    assert_true(gb_now_us() - start < test_slack(50000) + test_starved_us() - starved_us);
    test_expect_code(&jobs[0], GB_CANCELLED);
    test_drop(&jobs[0]);
    submit(w, &jobs[0], &x, 1, one);
    test_wait(&t, &jobs[0]);
    (void)output(&jobs[0]);
    test_drop(&jobs[0]);
    assert_int_equal(gb_worker_starts(w), 1);
    gb_worker_free(w);
    gb_worker_hub_free(t.hub);
}

static uint64_t cpu_us(int pid) {
    clockid_t clock;
    struct timespec used;
    assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
    assert_int_equal(clock_gettime(clock, &used), 0);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

static void wait_for_work(int pid, uint64_t until_cpu_us) {
    uint64_t deadline_us = gb_deadline_after_us(WAIT_US);
    while (cpu_us(pid) < until_cpu_us) {
        assert_true(gb_now_us() < deadline_us);
        usleep(5000);
    }
}

static void one_long_kernel_is_stopped_by_the_kill(void **state) {
    (void)state;
    struct gb_worker_ready ready;
    struct test_host t = {.hub = real_hub(100)};
    struct gb_worker *w = real_worker(t.hub, "test/matmul", 1, &ready);
    struct test_job j;
    const float x = 0.5F;
    int pid = gb_worker_pid(w);
    uint64_t idle_us = cpu_us(pid);
    submit(w, &j, &x, 1, (struct gb_tensor_ref){.dims = {1}, .rank = 1});
    wait_for_work(pid, idle_us + 300000); /* in the node: between two a soft stop would do */
    uint64_t start = gb_now_us();
    uint64_t starved_us = test_starved_us();
    gb_job_cancel(j.job);
    test_wait(&t, &j);
    assert_true(gb_now_us() - start < test_slack(50000) + test_starved_us() - starved_us);
    test_drop(&j);
    while (kill(pid, 0) == 0) {
        assert_true(gb_now_us() - start < test_slack(1000000));
        usleep(1000);
    }
    print_message("matmul: ended %llu ms after the cancel\n",
                  (unsigned long long)(gb_now_us() - start) / 1000);
    gb_worker_free(w);
    gb_worker_hub_free(t.hub);
}

static void kills_at_odd_moments_are_answered_in_time(void **state) {
    (void)state;
    enum { ROUNDS = 14, JOBS = 8 };
    struct gb_worker_ready ready;
    struct test_host t = {.hub = real_hub(200)};
    struct gb_worker *w = real_worker(t.hub, "test/slow200", 2, &ready);
    const struct gb_tensor_ref one = {.dims = {1}, .rank = 1};
    const float x = 0.5F;
    uint64_t seed = 99;
    size_t lost = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct test_job jobs[JOBS];
        uint64_t submitted_us[JOBS];
        for (size_t i = 0; i < JOBS; i++) {
            submitted_us[i] = gb_now_us();
            submit(w, &jobs[i], &x, 1, one);
        }
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        usleep((useconds_t)(seed >> 33) % 30000);
        uint64_t starts = gb_worker_starts(w);
        uint64_t killed_us = gb_now_us();
        int pid = gb_worker_pid(w);
        if (pid > 0) {
            int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
            assert_int_equal(kill(pid, SIGKILL), 0);
            /* Dying takes CPU time, too, for which a loaded machine makes it wait. */
            (void)poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, 5000);
            (void)close(pidfd);
        }
        uint64_t dead_us = gb_now_us();
        while (gb_worker_starts(w) == starts) {
            assert_true(gb_now_us() - killed_us < WAIT_US);
            usleep(1000);
        }
        /* What had been sent is lost, in time; the rest waits for the new process. */
        gb_worker_hub_drain(t.hub);
        for (size_t i = 0; i < JOBS; i++) {
            if (gb_job_state(jobs[i].job) == GB_JOB_ERROR) {
                test_expect_code(&jobs[i], GB_BACKEND_LOST);
                uint64_t answered_us = submitted_us[i] + gb_job_times(jobs[i].job).total_us;
                assert_true(answered_us < dead_us + test_slack(100000));
                assert_int_equal(jobs[i].done, 1);
                lost++;
            }
            test_drop(&jobs[i]);
        }
        /* Every second process is left to load, or the model would be given up. */
        if (round % 2 == 0) {
            struct test_job served;
            submit(w, &served, &x, 1, one);
            test_wait(&t, &served);
            (void)output(&served);
            test_drop(&served);
        }
    }
    assert_true(lost > 0);
    struct test_job j;
    uint64_t start = gb_now_us();
    submit(w, &j, &x, 1, one);
    test_wait(&t, &j);
    (void)output(&j);
    print_message("served again after %llu ms\n",
                  (unsigned long long)(gb_now_us() - start) / 1000);
    test_drop(&j);
    gb_worker_free(w);
    gb_worker_hub_free(t.hub);
}

static void selftest_finds_everything_denied(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct gb_registry_options options = test_options();
    options.worker_path = NULL;
    options.ort_lib_path = NULL;
    struct gb_probe *probes = NULL;
    size_t len = 0;
    char engine[64];
    uint32_t missing = 0;
    bool ok = gb_worker_selftest(&options, &probes, &len, engine, &missing, &e);
    if (!ok) {
        print_message("%s\n", e->message);
    }
    assert_true(ok);
    assert_int_equal(missing, 0);
    assert_true(len >= 5);
    assert_non_null(strstr(engine, "onnxruntime"));
    for (size_t i = 0; i < len; i++) {
        if (!probes[i].denied) {
            print_message("not denied: %s\n", probes[i].name);
        }
        assert_true(probes[i].denied);
    }
    gb_free(probes);
}

static void missing_engine_is_named(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct gb_registry_options options = test_options();
    options.worker_path = NULL;
    options.ort_lib_path = "/nowhere/libonnxruntime.so.1";
    struct gb_worker_ready ready;
    struct gb_worker_hub *hub = gb_worker_hub_new(&options, &e);
    struct gb_worker_spec spec = {.name = "digits", .bytes = gb_span_of("x"),
                                  .backend = GB_BACKEND_ONNX, .threads = 1};
    struct gb_worker *w = gb_worker_new(hub, &spec, &e);
    assert_true(gb_worker_start(w, &e));
    assert_false(gb_worker_wait_ready(w, gb_deadline_after_us(WAIT_US), &ready, &e));
    assert_int_equal(e->code, GB_BACKEND_MISSING);
    assert_non_null(strstr(e->message, "/nowhere/libonnxruntime.so.1"));
    assert_non_null(strstr(e->hint, "GLOVEBOX_ORT_LIB"));
    gb_error_clear(&e);
    gb_worker_free(w);
    gb_worker_hub_free(hub);
}

int main(int argc, char **argv) {
    (void)argc;
    test_host_main_start(argv);
    struct gb_registry_options options = test_options();
    options.worker_path = NULL;
    char path[4096];
    if (!gb_worker_locate(&options, path, sizeof path, NULL)) {
        print_message("skipped: no glovebox-worker was built\n");
        return SKIP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu_answers_and_a_call_is_quick),
        cmocka_unit_test(unknown_and_scalar_shapes_come_out),
        cmocka_unit_test(two_threads_overlap_and_a_soft_stop_keeps_the_worker),
        cmocka_unit_test(one_long_kernel_is_stopped_by_the_kill),
        cmocka_unit_test(kills_at_odd_moments_are_answered_in_time),
        cmocka_unit_test(selftest_finds_everything_denied),
        cmocka_unit_test(missing_engine_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

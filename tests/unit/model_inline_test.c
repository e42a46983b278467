/* SPDX-License-Identifier: Apache-2.0 */
/* Inline placement on the real engine: right answers, shapes known only afterwards, admission,
 * budgets, cancellation in the queue, memory of a worker copied first, and no process anywhere. */
#include "model_test_host.h"

#include <errno.h>
#include <sys/wait.h>

#include "model/inline.h"
#include "model/slab.h"

#define SKIP 77

static struct gb_registry *registry_of(const char *name, struct gb_error **err) {
    struct gb_registry_options options = gb_registry_options_default();
    char path[PATH_MAX];
    options.worker_path = "/nonexistent/glovebox-worker"; /* none is needed */
    options.placement = GB_PLACEMENT_INLINE;
    struct gb_registry *r = gb_registry_new(&options, err);
    assert_non_null(r);
    (void)snprintf(path, sizeof path, GB_TEST_SOURCE_DIR "/models/test/%s.onnx", name);
    assert_true(gb_registry_add_file(r, "m", path, GB_BACKEND_AUTO, err));
    assert_true(gb_registry_start(r, NULL, 0, err));
    return r;
}

static struct gb_model *model_of(struct gb_registry *r) {
    struct gb_model *m = gb_registry_find(r, gb_span_of("m"));
    const struct gb_model_info *info = gb_model_info(m);
    if (info->state != GB_MODEL_STATE_READY) {
        fail_msg("%s", info->reason ? info->reason->message : "not ready");
    }
    assert_int_equal(info->placement, GB_PLACEMENT_INLINE);
    return m;
}

static bool submit(struct gb_model *m, struct gb_account *account, const float *numbers,
                   uint64_t count, uint64_t deadline_us, struct test_job *j,
                   struct gb_error **err) {
    struct gb_span bytes = gb_span_make(numbers, count * 4);
    struct gb_tensor_ref input = {.dims = {count}, .rank = 1};
    input.mem = gb_mem_copy(m, bytes, account, err);
    assert_non_null(input.mem);
    struct gb_job_spec spec = {.inputs = &input, .inputs_len = 1, .deadline_us = deadline_us,
                               .account = account, .done = test_done, .user = j};
    j->done = 0;
    j->job = gb_job_submit(m, &spec, err);
    gb_mem_unref(input.mem);
    return j->job != NULL;
}

/* The descriptor must become readable by itself. */
static void wait_job(struct gb_registry *r, struct test_job *j) {
    struct pollfd fd = {.fd = gb_registry_event_fd(r), .events = POLLIN};
    while (j->done == 0) {
        assert_int_equal(poll(&fd, 1, 20000), 1);
        gb_registry_drain(r);
    }
    assert_int_equal(j->done, 1);
}

static void relu_answers_without_a_process(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct test_job j;
    struct gb_job_output y;
    struct gb_account *account = gb_account_new("t", NULL, GB_MIB, &e);
    struct gb_registry *r = registry_of("relu3", &e);
    struct gb_model *m = model_of(r);
    assert_true(gb_model_info(m)->warm_us > 0);
    for (int i = 0; i < 200; i++) {
        const float x[3] = {-1, (float)i, 2};
        assert_true(submit(m, account, x, 3, GB_NEVER, &j, &e));
        assert_int_equal(gb_job_state(j.job), GB_JOB_WAITING);
        wait_job(r, &j);
        assert_true(gb_job_output(j.job, 0, &y));
        const float *numbers = (const float *)(const void *)gb_mem_ptr(y.mem);
        assert_true(numbers[0] == 0 && numbers[1] == (float)i && numbers[2] == 2);
        test_drop(&j);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(gb_account_used(account), 0);
    gb_registry_free(r);
    gb_account_unref(account);
}

static void a_stepping_thread_is_not_rung_and_runs_what_waits(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct test_job j;
    struct gb_registry *r = registry_of("relu3", &e);
    struct gb_model *m = model_of(r);
    const float x[3] = {1, 2, 3};
    struct pollfd fd = {.fd = gb_registry_event_fd(r), .events = POLLIN};
    gb_registry_stepping(r, true);
    assert_false(gb_registry_run_inline(r));
    assert_true(submit(m, NULL, x, 3, GB_NEVER, &j, &e));
    assert_int_equal(poll(&fd, 1, 0), 0);
    assert_true(gb_registry_run_inline(r));
    assert_int_equal(j.done, 1);
    test_drop(&j);
    /* What is left when stepping ends rings after all. */
    assert_true(submit(m, NULL, x, 3, GB_NEVER, &j, &e));
    gb_registry_stepping(r, false);
    wait_job(r, &j);
    test_drop(&j);
    gb_registry_free(r);
}

static void shapes_known_only_afterwards_come_out(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct test_job j;
    struct gb_job_output y;
    struct gb_account *account = gb_account_new("t", NULL, GB_MIB, &e);
    struct gb_registry *r = registry_of("dynout", &e);
    const float x[5] = {0, 3, 0, -1, 8};
    assert_true(submit(model_of(r), account, x, 5, GB_NEVER, &j, &e));
    wait_job(r, &j);
    assert_true(gb_job_output(j.job, 0, &y));
    const int64_t *places = (const int64_t *)(const void *)gb_mem_ptr(y.mem);
    assert_int_equal(y.dims[0], 1);
    assert_int_equal(y.dims[1], 3);
    assert_true(places[0] == 1 && places[1] == 3 && places[2] == 4);
    test_drop(&j);
    assert_int_equal(gb_account_used(account), 0);
    gb_registry_free(r);
    gb_account_unref(account);
}

static void a_slow_model_is_refused_with_what_was_measured(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct gb_registry *r = registry_of("slow200", &e);
    const struct gb_model_info *info = gb_model_info(gb_registry_find(r, gb_span_of("m")));
    assert_int_equal(info->state, GB_MODEL_STATE_REJECTED);
    assert_int_equal(info->reason->code, GB_MODEL_REJECTED);
    assert_non_null(strstr(info->reason->message, "too slow for inline placement"));
    assert_non_null(strstr(info->reason->message, "99th percentile"));
    assert_non_null(strstr(info->reason->hint, "worker"));
    gb_registry_free(r);
}

static void a_budget_a_deadline_and_a_cancel_end_a_job(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct test_job j;
    struct gb_registry *r = registry_of("relu3", &e);
    struct gb_model *m = model_of(r);
    const float x[3] = {1, 2, 3};
    assert_false(submit(m, NULL, x, 3, 1, &j, &e));
    assert_int_equal(e->code, GB_DEADLINE_EXCEEDED);
    gb_error_clear(&e);
    assert_true(submit(m, NULL, x, 3, gb_deadline_after_us(1000), &j, &e));
    usleep(2000);
    wait_job(r, &j);
    test_expect_code(&j, GB_DEADLINE_EXCEEDED);
    test_drop(&j);
    assert_true(submit(m, NULL, x, 3, GB_NEVER, &j, &e));
    gb_job_cancel(j.job);
    wait_job(r, &j);
    test_expect_code(&j, GB_CANCELLED);
    test_drop(&j);
    /* Room for the input and the job, none for the output. */
    struct gb_account *account = gb_account_new("t", NULL, GB_MIB, &e);
    assert_true(submit(m, account, x, 3, GB_NEVER, &j, &e));
    uint64_t used = gb_account_used(account);
    assert_true(gb_charge(account, GB_CHARGE_OUTPUT, GB_MIB - used, &e));
    wait_job(r, &j);
    test_expect_code(&j, GB_BUDGET_EXCEEDED);
    test_drop(&j);
    gb_uncharge(account, GB_CHARGE_OUTPUT, GB_MIB - used);
    assert_int_equal(gb_account_used(account), 0);
    gb_account_unref(account);
    /* An owner that lets go while the job waits, and a registry that ends with one waiting. */
    assert_true(submit(m, NULL, x, 3, GB_NEVER, &j, &e));
    gb_job_unref(j.job);
    assert_true(submit(m, NULL, x, 3, GB_NEVER, &j, &e));
    gb_registry_free(r);
    test_expect_code(&j, GB_BACKEND_LOST);
    test_drop(&j);
}

static void shared_memory_of_a_worker_is_copied_before_it_is_used(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct test_job j;
    struct gb_job_output y;
    int fd = -1;
    struct gb_registry *r = registry_of("relu3", &e);
    struct gb_slab *slab = gb_slab_new(&(struct gb_slab_options){.bytes = GB_MIB}, &fd, &e);
    assert_non_null(slab);
    struct gb_mem *shared = gb_mem_new_in(slab, 12, true, NULL, &e);
    float *x = (float *)(void *)gb_mem_ptr(shared);
    x[1] = 7;
    struct gb_tensor_ref input = {.dims = {3}, .rank = 1, .mem = shared};
    struct gb_job_spec spec = {.inputs = &input, .inputs_len = 1, .deadline_us = GB_NEVER,
                               .done = test_done, .user = &j};
    j.done = 0;
    j.job = gb_job_submit(model_of(r), &spec, &e);
    wait_job(r, &j);
    assert_true(gb_job_output(j.job, 0, &y));
    assert_true(((const float *)(const void *)gb_mem_ptr(y.mem))[1] == 7);
    assert_null(gb_mem_slab(y.mem));
    test_drop(&j);
    gb_mem_unref(shared);
    gb_slab_unref(slab);
    close(fd);
    gb_registry_free(r);
}

static void a_missing_library_is_said_plainly(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct gb_registry_options options = gb_registry_options_default();
    options.ort_lib_path = "/nonexistent/libonnxruntime.so.1";
    options.placement = GB_PLACEMENT_INLINE;
    struct gb_registry *r = gb_registry_new(&options, &e);
    assert_true(gb_registry_add_file(r, "m", GB_TEST_SOURCE_DIR "/models/test/relu3.onnx",
                                     GB_BACKEND_AUTO, &e));
    assert_false(gb_registry_start(r, NULL, 0, &e));
    assert_int_equal(e->code, GB_BACKEND_MISSING);
    assert_non_null(strstr(e->hint, "--ort-lib"));
    gb_error_free(e);
    gb_registry_free(r);
}

static void every_failed_allocation_of_a_job_is_an_error(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct gb_registry *r = registry_of("relu3", &e);
    struct gb_model *m = model_of(r);
    const float x[3] = {1, 2, 3};
    bool clean = false;
    for (uint64_t nth = 3; !clean && nth < 60; nth++) { /* two make the test's own input */
        struct test_job j;
        gb_alloc_fail_at(nth);
        bool ok = submit(m, NULL, x, 3, GB_NEVER, &j, &e);
        if (ok) {
            wait_job(r, &j);
        }
        gb_alloc_fail_at(0);
        assert_int_equal(ok, e == NULL);
        clean = ok && gb_job_state(j.job) == GB_JOB_DONE && gb_alloc_fail_hits() == 0;
        if (ok) {
            test_drop(&j);
        }
        gb_error_clear(&e);
    }
    gb_registry_free(r);
}

int main(int argc, char **argv) {
    (void)argc;
    test_host_main_start(argv);
    if (!getenv("GLOVEBOX_ORT_LIB")) {
        print_message("no engine library is named: skipped\n");
        return SKIP;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu_answers_without_a_process),
        cmocka_unit_test(a_stepping_thread_is_not_rung_and_runs_what_waits),
        cmocka_unit_test(shapes_known_only_afterwards_come_out),
        cmocka_unit_test(a_slow_model_is_refused_with_what_was_measured),
        cmocka_unit_test(a_budget_a_deadline_and_a_cancel_end_a_job),
        cmocka_unit_test(shared_memory_of_a_worker_is_copied_before_it_is_used),
        cmocka_unit_test(a_missing_library_is_said_plainly),
        cmocka_unit_test(every_failed_allocation_of_a_job_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

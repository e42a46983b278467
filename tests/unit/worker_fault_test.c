/* SPDX-License-Identifier: Apache-2.0 */
/* The worker with the fake engine: that the faults which the host's tests rely on really happen. */
#include "worker_harness.h"

static void open_fake(struct harness *h, const char *text, uint32_t threads) {
    char model[256];
    int len = snprintf(model, sizeof model, "GLOVEBOX-FAKE\n%s", text);
    harness_open_fake(h);
    harness_hello(h);
    assert_string_equal(h->hello.engine, "fake 1");
    harness_send_load(h, model, (size_t)len, threads, true);
    assert_true(harness_loaded(h));
    assert_int_equal(h->loaded.warm_failed, 0);
}

static struct gb_wire_job *fake_job(struct harness *h, float first, bool placed) {
    struct gb_wire_job *job = harness_job(h);
    const uint64_t three = 3;
    float *x = harness_tensor(h, &job->tensors[0], GB_TYPE_F32, 1, &three);
    x[0] = first;
    x[1] = 5.0f;
    if (placed) {
        (void)harness_tensor(h, &job->tensors[1], GB_TYPE_F32, 1, &three);
    }
    harness_submit(h, job, GB_OP_RUN);
    return job;
}

static struct gb_completion run_fake(struct harness *h, const char *text, float first) {
    open_fake(h, text, 1);
    (void)fake_job(h, first, true);
    return harness_completion(h);
}

static void good_runs_copy_and_free_dimensions_need_space(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=crash\ndim=0\n", 1);
    struct gb_wire_job *job = fake_job(&h, 0.0f, false);
    assert_int_equal(harness_completion(&h).status, GB_JOB_NEED_SPACE);
    const uint64_t three = 3;
    const float *y = harness_tensor(&h, &job->tensors[1], GB_TYPE_F32, 1, &three);
    harness_submit(&h, job, GB_OP_FETCH);
    assert_int_equal(harness_completion(&h).status, GB_JOB_OK);
    const float five = 5.0f;
    assert_memory_equal(&y[1], &five, sizeof five);
    harness_close(&h);
}

/* A host that has lost count: the second one must not get the first one's outputs. */
static void a_number_in_use_is_refused_and_keeps_its_outputs(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "dim=0\n", 1);
    struct gb_wire_job *job = fake_job(&h, 0.0f, false);
    assert_int_equal(harness_completion(&h).status, GB_JOB_NEED_SPACE);
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_FAILED);
    assert_int_equal(c.code, GB_INTERNAL);
    assert_non_null(strstr(job->text, "of that number already"));
    const uint64_t three = 3;
    const float *y = harness_tensor(&h, &job->tensors[1], GB_TYPE_F32, 1, &three);
    harness_submit(&h, job, GB_OP_FETCH);
    assert_int_equal(harness_completion(&h).status, GB_JOB_OK);
    const float five = 5.0f;
    assert_memory_equal(&y[1], &five, sizeof five);
    harness_close(&h);
}

static void crash_and_exit_end_the_process(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=crash\n", 1);
    (void)fake_job(&h, 1.0f, true);
    int status = harness_reap(&h, 2000);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    harness_close(&h);
    open_fake(&h, "mode=exit\n", 1);
    (void)fake_job(&h, 1.0f, true);
    assert_int_equal(WEXITSTATUS(harness_reap(&h, 2000)), 9);
    harness_close(&h);
}

static void hang_ignores_a_cancel(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=hang\n", 1);
    struct gb_wire_job *job = fake_job(&h, 1.0f, true);
    usleep(20000);
    harness_cancel(&h, job->job_id);
    struct gb_completion c;
    assert_false(harness_try_reap(&h, &c, 150));
    harness_close(&h);
}

static void slow_cancel_takes_its_time(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=slow_cancel\nrun_ms=5000\nlate_ms=80\n", 1);
    struct gb_wire_job *job = fake_job(&h, 1.0f, true);
    usleep(30000);
    uint64_t start = gb_now_us();
    harness_cancel(&h, job->job_id);
    assert_int_equal(harness_completion(&h).status, GB_JOB_CANCELLED);
    assert_true(gb_now_us() - start >= 75000);
    harness_close(&h);
}

static void failure_carries_code_and_text(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=fail\n", 1);
    struct gb_wire_job *job = fake_job(&h, 1.0f, true);
    struct gb_completion c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_FAILED);
    assert_int_equal(c.code, GB_BACKEND_FAILED);
    assert_string_equal(job->text, "this fake model refuses to run");
    harness_close(&h);
}

static void bad_completion_is_seen_by_the_check(void **state) {
    (void)state;
    struct harness h;
    struct gb_completion c = run_fake(&h, "mode=bad_completion\n", 1.0f);
    assert_false(gb_wire_completion_check(&c, 1, NULL));
    harness_close(&h);
}

static void bad_ring_is_reported_broken(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=bad_ring\n", 1);
    (void)fake_job(&h, 1.0f, true);
    bool broken = false;
    for (int i = 0; i < 2000 && !broken; i++) {
        struct gb_completion c;
        assert_false(gb_ring_reap(h.head, &c, &broken));
        usleep(1000);
    }
    assert_true(broken);
    harness_close(&h);
}

static bool job_check_passes(struct harness *h, const struct gb_wire_job *job,
                             struct gb_wire_block block) {
    uint64_t buffer[512];
    assert_true(gb_wire_job_bytes(1, 1) <= sizeof buffer);
    memcpy(buffer, job, gb_wire_job_bytes(1, 1));
    void *copy = buffer;
    return gb_wire_job_check(copy, job->job_id, 1, h->outputs, 1, &block, false, GB_MIB, NULL);
}

static void bad_offsets_and_bad_shape_fail_the_job_check(void **state) {
    (void)state;
    const char *const models[] = {"mode=bad_offsets\n", "mode=bad_shape\n", "mode=ok\n"};
    for (size_t i = 0; i < GB_COUNT(models); i++) {
        struct harness h;
        open_fake(&h, models[i], 1);
        struct gb_wire_job *job = harness_job(&h);
        const uint64_t three = 3;
        float *x = harness_tensor(&h, &job->tensors[0], GB_TYPE_F32, 1, &three);
        x[0] = 1.0f;
        (void)harness_tensor(&h, &job->tensors[1], GB_TYPE_F32, 1, &three);
        struct gb_wire_block block = {.offset = job->tensors[1].offset, .capacity = 12};
        harness_submit(&h, job, GB_OP_RUN);
        assert_int_equal(harness_completion(&h).status, GB_JOB_OK);
        assert_int_equal(job_check_passes(&h, job, block), i == 2);
        harness_close(&h);
    }
}

static void scribble_comes_after_the_completion(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=scribble_late\nlate_ms=60\n", 1);
    struct gb_wire_job *job = fake_job(&h, 1.0f, true);
    assert_int_equal(harness_completion(&h).status, GB_JOB_OK);
    const volatile uint8_t *out = h.slab + job->tensors[1].offset;
    assert_int_not_equal(out[4], 0xAA);
    usleep(200000);
    assert_int_equal(out[4], 0xAA);
    harness_close(&h);
}

static void bad_control_message_is_refused(void **state) {
    (void)state;
    struct harness h;
    open_fake(&h, "mode=bad_control\n", 1);
    (void)fake_job(&h, 1.0f, true);
    (void)harness_completion(&h);
    struct gb_packet packet;
    int fd = -1;
    struct gb_error *err = NULL;
    assert_false(gb_wire_recv(h.control, &packet, &fd, &err));
    assert_non_null(err);
    assert_int_equal(err->code, GB_BACKEND_FAILED);
    gb_error_free(err);
    harness_close(&h);
}

static void load_faults_are_what_they_say(void **state) {
    (void)state;
    struct harness h;
    const char fail[] = "GLOVEBOX-FAKE\nmode=load_fail\n";
    harness_open_fake(&h);
    harness_hello(&h);
    harness_send_load(&h, fail, strlen(fail), 1, true);
    assert_false(harness_loaded(&h));
    assert_int_equal(h.failed.code, GB_MODEL_INVALID);
    harness_close(&h);
    const char crash[] = "GLOVEBOX-FAKE\nmode=load_crash\n";
    harness_open_fake(&h);
    harness_hello(&h);
    harness_send_load(&h, crash, strlen(crash), 1, true);
    struct gb_packet packet;
    assert_false(harness_recv(&h, &packet));
    assert_true(WIFSIGNALED(harness_reap(&h, 2000)));
    harness_close(&h);
    /* Hanging in a load does not keep it from seeing the host go. */
    const char hang[] = "GLOVEBOX-FAKE\nmode=load_hang\n";
    harness_open_fake(&h);
    harness_hello(&h);
    harness_send_load(&h, hang, strlen(hang), 1, true);
    usleep(20000);
    close(h.control);
    h.control = -1;
    (void)harness_reap(&h, 100);
    harness_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_runs_copy_and_free_dimensions_need_space),
        cmocka_unit_test(a_number_in_use_is_refused_and_keeps_its_outputs),
        cmocka_unit_test(crash_and_exit_end_the_process),
        cmocka_unit_test(hang_ignores_a_cancel),
        cmocka_unit_test(slow_cancel_takes_its_time),
        cmocka_unit_test(failure_carries_code_and_text),
        cmocka_unit_test(bad_completion_is_seen_by_the_check),
        cmocka_unit_test(bad_ring_is_reported_broken),
        cmocka_unit_test(bad_offsets_and_bad_shape_fail_the_job_check),
        cmocka_unit_test(scribble_comes_after_the_completion),
        cmocka_unit_test(bad_control_message_is_refused),
        cmocka_unit_test(load_faults_are_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

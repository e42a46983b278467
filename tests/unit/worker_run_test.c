/* SPDX-License-Identifier: Apache-2.0 */
/* Inferences through the slab, on the real program and engine. */
#include "test_slack.h"
#include "worker_harness.h"

static void open_model(struct harness *h, const char *path, uint32_t threads) {
    harness_open(h);
    harness_hello(h);
    harness_load_file(h, path, threads);
    assert_int_equal(h->loaded.warm_failed, 0);
}

static void expect_ok(const struct gb_completion *c, const struct gb_wire_job *job) {
    if (c->status != GB_JOB_OK) {
        fail_msg("status %u, code %u: %s", c->status, c->code, job->text);
    }
    assert_int_equal(c->job_id, job->job_id);
    assert_int_equal(c->code, GB_OK);
}

static void check_outputs(struct harness *h, const struct gb_wire_job *job, bool need_space) {
    struct gb_wire_block blocks[GB_WIRE_PORTS_MAX] = {{0, 0}};
    size_t bytes = gb_wire_job_bytes(job->inputs, job->outputs);
    struct gb_wire_job *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, job, bytes);
    for (uint32_t i = 0; i < job->outputs; i++) {
        const struct gb_wire_tensor *t = &job->tensors[job->inputs + i];
        blocks[i] = (struct gb_wire_block){.offset = t->offset, .capacity = t->bytes};
    }
    struct gb_error *err = NULL;
    if (!gb_wire_job_check(copy, job->job_id, job->inputs, h->outputs, job->outputs, blocks,
                           need_space, GB_MIB, &err)) {
        fail_msg("%s", err->message);
    }
    free(copy);
}

static void relu3_computes_into_the_given_place(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/relu3.onnx", 1);
    assert_int_equal(h.loaded.inputs, 1);
    assert_int_equal(h.loaded.outputs, 1);
    assert_string_equal(h.inputs[0].name, "x");
    assert_int_equal(h.inputs[0].rank, 1);
    assert_int_equal(h.inputs[0].dims[0], 3);
    assert_true(h.loaded.warm_us > 0);
    for (int round = 0; round < 300; round++) {
        h.next_offset = GB_SLAB_DATA_OFFSET;
        struct gb_wire_job *job = harness_job(&h);
        const uint64_t three = 3;
        float *x = harness_tensor(&h, &job->tensors[0], GB_TYPE_F32, 1, &three);
        const float *y = harness_tensor(&h, &job->tensors[1], GB_TYPE_F32, 1, &three);
        x[0] = -1.0f;
        x[1] = (float)round;
        x[2] = 0.5f;
        harness_submit(&h, job, GB_OP_RUN);
        struct gb_completion c = harness_completion(&h);
        expect_ok(&c, job);
        check_outputs(&h, job, false);
        assert_true(y[0] >= 0.0f && y[0] <= 0.0f);
        assert_memory_equal(&y[1], &x[1], 8);
        assert_true(c.queue_us < 5000000);
    }
    harness_close(&h);
}

static void digits_names_a_held_out_row_with_a_symbolic_dimension(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/digits.onnx", 1);
    assert_int_equal(h.inputs[0].dims[0], -1);
    assert_string_equal(h.inputs[0].symbols[0], "batch");
    FILE *rows = fopen("models/digits_heldout.csv", "r");
    assert_non_null(rows);
    int right = 0;
    for (int row = 0; row < 50; row++) {
        h.next_offset = GB_SLAB_DATA_OFFSET;
        struct gb_wire_job *job = harness_job(&h);
        const uint64_t in_dims[] = {1, 64};
        const uint64_t out_dims[] = {1, 10};
        float *x = harness_tensor(&h, &job->tensors[0], GB_TYPE_F32, 2, in_dims);
        const float *y = harness_tensor(&h, &job->tensors[1], GB_TYPE_F32, 2, out_dims);
        int label = 0;
        assert_int_equal(fscanf(rows, "%d", &label), 1);
        for (int i = 0; i < 64; i++) {
            assert_int_equal(fscanf(rows, ",%f", &x[i]), 1);
        }
        harness_submit(&h, job, GB_OP_RUN);
        struct gb_completion c = harness_completion(&h);
        expect_ok(&c, job);
        int best = 0;
        for (int i = 1; i < 10; i++) {
            best = y[i] > y[best] ? i : best;
        }
        right += best == label;
    }
    (void)fclose(rows);
    assert_true(right >= 47);
    harness_close(&h);
}

/* x of n values, every second one above zero. */
static struct gb_wire_job *dynout_job(struct harness *h, uint64_t n) {
    struct gb_wire_job *job = harness_job(h);
    float *x = harness_tensor(h, &job->tensors[0], GB_TYPE_F32, 1, &n);
    for (uint64_t i = 0; i < n; i++) {
        x[i] = i % 2 == 0 ? 0.0f : 1.0f;
    }
    return job;
}

static void unknown_output_needs_space_and_is_fetched(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/dynout.onnx", 1);
    struct gb_wire_job *job = dynout_job(&h, 10);
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_NEED_SPACE);
    check_outputs(&h, job, true);
    struct gb_wire_tensor *out = &job->tensors[1];
    assert_int_equal(out->rank, 2);
    assert_int_equal(out->dims[1], 5);
    const uint64_t dims[] = {1, 5};
    const int64_t *places = harness_tensor(&h, out, GB_TYPE_I64, 2, dims);
    harness_submit(&h, job, GB_OP_FETCH);
    c = harness_completion(&h);
    expect_ok(&c, job);
    check_outputs(&h, job, false);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(places[i], 2 * i + 1);
    }
    /* Nothing is kept any more. */
    harness_submit(&h, job, GB_OP_FETCH);
    c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_FAILED);
    harness_submit(&h, job, GB_OP_FORGET);
    c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_OK);
    harness_close(&h);
}

static void wrongly_guessed_output_shape_is_run_again_with_room(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/dynout.onnx", 1);
    struct gb_wire_job *job = dynout_job(&h, 10);
    const uint64_t large[] = {1, 64};
    const int64_t *places = harness_tensor(&h, &job->tensors[1], GB_TYPE_I64, 2, large);
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    expect_ok(&c, job); /* it fits: copied */
    assert_int_equal(job->tensors[1].dims[1], 5);
    assert_int_equal(job->tensors[1].bytes, 40);
    assert_int_equal(places[4], 9);
    job = dynout_job(&h, 10);
    const uint64_t small[] = {1, 2};
    (void)harness_tensor(&h, &job->tensors[1], GB_TYPE_I64, 2, small);
    harness_submit(&h, job, GB_OP_RUN);
    c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_NEED_SPACE);
    assert_int_equal(job->tensors[1].bytes, 40);
    harness_submit(&h, job, GB_OP_FORGET);
    c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_OK);
    harness_close(&h);
}

static void empty_output_needs_no_space(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/dynout.onnx", 1);
    struct gb_wire_job *job = dynout_job(&h, 1); /* one zero: nothing is found */
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    expect_ok(&c, job);
    assert_int_equal(job->tensors[1].bytes, 0);
    check_outputs(&h, job, false);
    harness_close(&h);
}

static void every_type_goes_in_and_out(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/types.onnx", 1);
    assert_int_equal(h.loaded.inputs, GB_TYPE_COUNT);
    struct gb_wire_job *job = harness_job(&h);
    uint8_t *in[GB_TYPE_COUNT];
    const uint8_t *out[GB_TYPE_COUNT];
    for (uint32_t i = 0; i < GB_TYPE_COUNT; i++) {
        uint64_t dims[GB_WIRE_RANK_MAX];
        enum gb_type type = (enum gb_type)h.inputs[i].type;
        for (uint32_t d = 0; d < h.inputs[i].rank; d++) {
            dims[d] = h.inputs[i].dims[d] < 0 ? 2 : (uint64_t)h.inputs[i].dims[d];
        }
        in[i] = harness_tensor(&h, &job->tensors[i], type, h.inputs[i].rank, dims);
        memset(in[i], 0x11 * ((int)i + 1), job->tensors[i].bytes);
        dims[0] *= 2;
        out[i] = harness_tensor(&h, &job->tensors[GB_TYPE_COUNT + i], type, h.inputs[i].rank,
                                dims);
    }
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    expect_ok(&c, job);
    check_outputs(&h, job, false);
    for (uint32_t i = 0; i < GB_TYPE_COUNT; i++) {
        size_t bytes = job->tensors[i].bytes;
        assert_memory_equal(out[i], in[i], bytes);
        assert_memory_equal(out[i] + bytes, in[i], bytes);
    }
    harness_close(&h);
}

static void scalar_has_rank_zero(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/scalar.onnx", 1);
    assert_int_equal(h.inputs[0].rank, 0);
    struct gb_wire_job *job = harness_job(&h);
    float *x = harness_tensor(&h, &job->tensors[0], GB_TYPE_F32, 0, NULL);
    const float *y = harness_tensor(&h, &job->tensors[1], GB_TYPE_F32, 0, NULL);
    *x = 21.0f;
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    expect_ok(&c, job);
    const float expected = 42.0f;
    assert_memory_equal(y, &expected, sizeof expected);
    harness_close(&h);
}

static void port_of_another_type_is_reported_and_refused(void **state) {
    (void)state;
    struct harness h;
    harness_open(&h);
    harness_hello(&h);
    harness_load_file(&h, "models/test/flags.onnx", 1);
    assert_int_equal(h.inputs[0].type, GB_TYPE_OTHER);
    assert_int_equal(h.loaded.warm_failed, 1);
    assert_non_null(strstr(h.loaded.warm_text, "cannot be fed"));
    struct gb_wire_job *job = harness_job(&h);
    job->tensors[0].offset = harness_block(&h, 1);
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_FAILED);
    assert_int_equal(c.code, GB_INPUT_TYPE);
    harness_close(&h);
}

static void wrong_shape_fails_with_the_engine_s_words(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/relu3.onnx", 1);
    struct gb_wire_job *job = harness_job(&h);
    const uint64_t four = 4;
    (void)harness_tensor(&h, &job->tensors[0], GB_TYPE_F32, 1, &four);
    harness_submit(&h, job, GB_OP_RUN);
    struct gb_completion c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_FAILED);
    assert_int_equal(c.code, GB_BACKEND_FAILED);
    assert_non_null(strstr(job->text, "the inference failed: "));
    harness_close(&h);
}

/* Blocks that a broken host might send: the worker answers and lives. */
static void nonsense_blocks_are_answered(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/relu3.onnx", 1);
    const uint64_t offsets[] = {0, 1, GB_SLAB_DATA_OFFSET + 1, HARNESS_SLAB_BYTES - 64,
                                UINT64_MAX - 63, UINT64_MAX};
    for (size_t i = 0; i < GB_COUNT(offsets); i++) {
        struct gb_submission s = {.job_id = 900 + i, .operation = GB_OP_RUN,
                                  .job_offset = offsets[i]};
        bool broken = false;
        assert_true(gb_ring_submit(h.head, &s, &broken));
        const uint64_t one = 1;
        assert_int_equal(write(h.submit, &one, sizeof one), sizeof one);
        struct gb_completion c = harness_completion(&h);
        assert_int_equal(c.job_id, 900 + i);
        assert_int_equal(c.status, GB_JOB_FAILED);
        assert_int_equal(c.code, GB_INTERNAL);
    }
    struct gb_wire_job *job = harness_job(&h);
    const uint64_t three = 3;
    (void)harness_tensor(&h, &job->tensors[0], GB_TYPE_F32, 1, &three);
    const uint64_t places[] = {HARNESS_SLAB_BYTES - 8, job->tensors[0].offset + 4, 64};
    struct gb_completion c;
    for (size_t i = 0; i < GB_COUNT(places); i++) {
        job->tensors[0].offset = places[i];
        harness_submit(&h, job, GB_OP_RUN);
        c = harness_completion(&h);
        assert_int_equal(c.status, GB_JOB_FAILED);
        assert_int_equal(c.code, GB_INTERNAL);
    }
    harness_submit(&h, job, (enum gb_operation)77);
    c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_FAILED);
    harness_close(&h);
}

static struct gb_wire_job *slow_job(struct harness *h) {
    struct gb_wire_job *job = harness_job(h);
    const uint64_t one = 1;
    float *x = harness_tensor(h, &job->tensors[0], GB_TYPE_F32, 1, &one);
    (void)harness_tensor(h, &job->tensors[1], GB_TYPE_F32, 1, &one);
    *x = 1.0f;
    return job;
}

static void running_job_is_cancelled_softly(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/slow200.onnx", 1);
    struct gb_wire_job *job = slow_job(&h);
    harness_submit(&h, job, GB_OP_RUN);
    usleep(40000);
    uint64_t start = gb_now_us();
    harness_cancel(&h, job->job_id);
    struct gb_completion c = harness_completion(&h);
    assert_int_equal(c.status, GB_JOB_CANCELLED);
    assert_int_equal(c.code, GB_OK);
    assert_true(gb_now_us() - start < test_slack(60000));
    /* The worker goes on, and a cancel of a job that is over is forgotten. */
    harness_cancel(&h, job->job_id);
    job = slow_job(&h);
    harness_submit(&h, job, GB_OP_RUN);
    c = harness_completion(&h);
    expect_ok(&c, job);
    harness_close(&h);
}

static void queued_job_is_cancelled_without_running(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/slow200.onnx", 1);
    struct gb_wire_job *first = slow_job(&h);
    struct gb_wire_job *second = slow_job(&h);
    struct gb_wire_job *third = slow_job(&h);
    harness_submit(&h, first, GB_OP_RUN);
    usleep(20000);
    harness_submit(&h, second, GB_OP_RUN);
    harness_submit(&h, third, GB_OP_RUN);
    harness_cancel(&h, second->job_id);
    harness_cancel(&h, second->job_id);
    struct gb_completion c = harness_completion(&h);
    expect_ok(&c, first);
    c = harness_completion(&h);
    assert_int_equal(c.job_id, second->job_id);
    assert_int_equal(c.status, GB_JOB_CANCELLED);
    assert_int_equal(c.run_us, 0);
    c = harness_completion(&h);
    expect_ok(&c, third);
    harness_close(&h);
}

static void two_threads_run_two_inferences_at_once(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/slow200.onnx", 2);
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        skip();
    }
    struct gb_wire_job *jobs[8];
    uint64_t start = gb_now_us();
    for (size_t i = 0; i < GB_COUNT(jobs); i++) {
        jobs[i] = slow_job(&h);
        harness_submit(&h, jobs[i], GB_OP_RUN);
    }
    /* Overlap, whatever else the machine does: more time inside the engine than went by. */
    uint64_t inside = 0;
    for (size_t i = 0; i < GB_COUNT(jobs); i++) {
        struct gb_completion c = harness_completion(&h);
        assert_int_equal(c.status, GB_JOB_OK);
        inside += c.run_us;
    }
    uint64_t passed = gb_now_us() - start;
    assert_true((double)inside > 1.5 * (double)passed);
    harness_close(&h);
}

/* Doorbells must not be lost while threads go to sleep and wake: many bursts, no wait. */
static void ten_thousand_jobs_in_bursts_all_come_back(void **state) {
    (void)state;
    struct harness h;
    open_model(&h, "models/test/relu3.onnx", 4);
    struct gb_wire_job *jobs[32];
    const uint64_t three = 3;
    for (size_t i = 0; i < GB_COUNT(jobs); i++) {
        jobs[i] = harness_job(&h);
        (void)harness_tensor(&h, &jobs[i]->tensors[0], GB_TYPE_F32, 1, &three);
        (void)harness_tensor(&h, &jobs[i]->tensors[1], GB_TYPE_F32, 1, &three);
    }
    unsigned total = 0;
    for (unsigned burst = 0; total < 10000; burst++) {
        size_t size = 1 + (burst * 7) % GB_COUNT(jobs);
        for (size_t i = 0; i < size; i++) {
            jobs[i]->job_id = h.next_job++;
            harness_submit(&h, jobs[i], GB_OP_RUN);
        }
        for (size_t i = 0; i < size; i++) {
            struct gb_completion c = harness_completion(&h);
            assert_int_equal(c.status, GB_JOB_OK);
        }
        total += (unsigned)size;
        if (burst % 16 == 0) {
            usleep(burst % 5 * 20);
        }
    }
    harness_close(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu3_computes_into_the_given_place),
        cmocka_unit_test(digits_names_a_held_out_row_with_a_symbolic_dimension),
        cmocka_unit_test(unknown_output_needs_space_and_is_fetched),
        cmocka_unit_test(wrongly_guessed_output_shape_is_run_again_with_room),
        cmocka_unit_test(empty_output_needs_no_space),
        cmocka_unit_test(every_type_goes_in_and_out),
        cmocka_unit_test(scalar_has_rank_zero),
        cmocka_unit_test(port_of_another_type_is_reported_and_refused),
        cmocka_unit_test(wrong_shape_fails_with_the_engine_s_words),
        cmocka_unit_test(nonsense_blocks_are_answered),
        cmocka_unit_test(running_job_is_cancelled_softly),
        cmocka_unit_test(queued_job_is_cancelled_without_running),
        cmocka_unit_test(two_threads_run_two_inferences_at_once),
        cmocka_unit_test(ten_thousand_jobs_in_bursts_all_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

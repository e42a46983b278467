/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that kill workers: the table by itself, and a real worker with an engine that crashes
 * when it is told to. */
#include "model_test_host.h"

#include "model/quarantine.h"

static void key(uint8_t *bytes, unsigned n) {
    memset(bytes, 0, GB_QUARANTINE_KEY_BYTES);
    bytes[0] = (uint8_t)n;
    bytes[1] = (uint8_t)(n >> 8);
}

static void two_deaths_are_refused_until_the_time_is_over(void **state) {
    (void)state;
    uint8_t a[GB_QUARANTINE_KEY_BYTES];
    uint8_t b[GB_QUARANTINE_KEY_BYTES];
    struct gb_quarantine *q = gb_quarantine_new(NULL);
    key(a, 1);
    key(b, 2);
    assert_false(gb_quarantine_count(q, a, 1000));
    assert_int_equal(gb_quarantine_left(q, a, 1000), 0);
    assert_true(gb_quarantine_count(q, a, 2000));
    assert_int_equal(gb_quarantine_left(q, a, 2000), GB_QUARANTINE_US);
    assert_int_equal(gb_quarantine_left(q, b, 2000), 0);
    assert_int_equal(gb_quarantine_left(q, a, 1999 + GB_QUARANTINE_US), 1);
    assert_int_equal(gb_quarantine_left(q, a, 2000 + GB_QUARANTINE_US), 0);
    /* Forgotten altogether: it takes two deaths again, within the time of each other. */
    uint64_t later = 3000 + GB_QUARANTINE_US;
    assert_false(gb_quarantine_count(q, a, later));
    assert_false(gb_quarantine_count(q, a, later + GB_QUARANTINE_US));
    gb_quarantine_free(q);
}

static void a_full_table_forgets_the_oldest(void **state) {
    (void)state;
    uint8_t k[GB_QUARANTINE_KEY_BYTES];
    struct gb_quarantine *q = gb_quarantine_new(NULL);
    for (unsigned i = 0; i <= GB_QUARANTINE_MAX; i++) {
        key(k, i);
        assert_false(gb_quarantine_count(q, k, 1000 + 2 * i));
        assert_true(gb_quarantine_count(q, k, 1001 + 2 * i));
    }
    key(k, 0);
    assert_int_equal(gb_quarantine_left(q, k, 5000), 0);
    for (unsigned i = 1; i <= GB_QUARANTINE_MAX; i++) {
        key(k, i);
        assert_true(gb_quarantine_left(q, k, 5000) > 0);
    }
    gb_quarantine_free(q);
}

/* ---- with a worker ---- */

static const char *worker_program;

static void host_init(struct test_host *t, const char *model) {
    struct gb_error *e = NULL;
    struct gb_worker_ready ready;
    t->options = test_options();
    t->options.worker_path = worker_program;
    t->hub = gb_worker_hub_new(&t->options, &e);
    t->account = gb_account_new("one", NULL, 4 * GB_MIB, &e);
    t->worker = test_worker(t->hub, model, 1);
    assert_true(gb_worker_start(t->worker, &e));
    if (!gb_worker_wait_ready(t->worker, gb_deadline_after_us(WAIT_US), &ready, &e)) {
        fail_msg("%s", e->message);
    }
}

static bool request(struct test_host *t, struct gb_account *account, float first, float second,
                 struct test_job *j, struct gb_error **err) {
    const float x[3] = {first, second, 0};
    struct gb_tensor_ref input = {.dims = {3}, .rank = 1};
    input.mem = gb_worker_mem_copy(t->worker, gb_span_make(x, sizeof x), account, err);
    struct gb_job_spec spec = {.inputs = &input, .inputs_len = 1, .deadline_us = GB_NEVER,
                               .account = account, .done = test_done, .user = j};
    j->done = 0;
    j->job = gb_worker_job_submit(t->worker, &spec, err);
    gb_mem_unref(input.mem);
    return j->job != NULL;
}

static bool is_quarantined(struct gb_error *e) {
    bool found = e && e->code == GB_BACKEND_LOST && strstr(e->message, "is quarantined");
    gb_error_free(e);
    return found;
}

static void crash_once(struct test_host *t, struct gb_account *account, float second,
                       bool quarantined) {
    struct gb_error *e = NULL;
    struct test_job j;
    assert_true(request(t, account, 1, second, &j, &e));
    test_wait(t, &j);
    assert_int_equal(gb_job_state(j.job), GB_JOB_ERROR);
    assert_int_equal(is_quarantined(gb_job_error(j.job)), quarantined);
    test_drop(&j);
}

static void serve_once(struct test_host *t) {
    struct gb_error *e = NULL;
    struct test_job j;
    assert_true(request(t, t->account, 0, 5, &j, &e));
    test_wait(t, &j);
    assert_int_equal(gb_job_state(j.job), GB_JOB_DONE);
    test_drop(&j);
}

static void a_request_that_killed_two_workers_is_refused(void **state) {
    (void)state;
    struct test_host t = {.hub = NULL};
    struct gb_error *e = NULL;
    struct test_job j;
    host_init(&t, "GLOVEBOX-FAKE\nmode=crash\n");
    crash_once(&t, t.account, 7, false);
    serve_once(&t);
    crash_once(&t, t.account, 7, true);
    uint64_t starts = gb_worker_starts(t.worker);
    for (int i = 0; i < 3; i++) {
        assert_false(request(&t, t.account, 1, 7, &j, &e));
        assert_true(is_quarantined(gb_take(&e)));
    }
    serve_once(&t); /* other inputs are served */
    assert_true(gb_worker_starts(t.worker) <= starts + 1);
    crash_once(&t, t.account, 8, false); /* another request has its own count */
    struct gb_account *other = gb_account_new("two", NULL, GB_MIB, &e);
    crash_once(&t, other, 7, false); /* and so has another tenant */
    serve_once(&t);
    assert_int_equal(gb_account_used(other), 0);
    gb_account_unref(other);
    test_host_fini(&t);
}

static void what_waits_behind_it_is_not_tried_again(void **state) {
    (void)state;
    struct test_host t = {.hub = NULL};
    struct gb_error *e = NULL;
    struct test_job bad[5];
    struct test_job good;
    host_init(&t, "GLOVEBOX-FAKE\nmode=crash\nrun_ms=30\n");
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        assert_true(request(&t, t.account, 1, 7, &bad[i], &e));
    }
    assert_true(request(&t, t.account, 0, 1, &good, &e));
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        test_wait(&t, &bad[i]);
        assert_int_equal(gb_job_state(bad[i].job), GB_JOB_ERROR);
        test_drop(&bad[i]);
    }
    test_wait(&t, &good);
    assert_int_equal(gb_job_state(good.job), GB_JOB_DONE);
    test_drop(&good);
    assert_true(gb_worker_starts(t.worker) <= 3);
    test_host_fini(&t);
}

static void a_kill_from_outside_is_nobodys_fault(void **state) {
    (void)state;
    struct test_host t = {.hub = NULL};
    struct gb_error *e = NULL;
    host_init(&t, "GLOVEBOX-FAKE\nmode=hang\n");
    for (int i = 0; i < 3; i++) {
        struct test_job j;
        assert_true(request(&t, t.account, 1, 7, &j, &e));
        while (gb_worker_pid(t.worker) == 0) {
            usleep(1000);
        }
        usleep(20000);
        int pid = gb_worker_pid(t.worker);
        if (pid > 0) {
            kill(pid, SIGKILL);
        }
        while (gb_job_state(j.job) == GB_JOB_WAITING && j.done == 0) {
            gb_worker_hub_drain(t.hub);
            if (gb_worker_pid(t.worker) > 0 && gb_worker_pid(t.worker) != pid) {
                usleep(20000);
                pid = gb_worker_pid(t.worker);
                if (pid > 0) {
                    kill(pid, SIGKILL);
                }
            }
            usleep(1000);
        }
        assert_false(is_quarantined(gb_job_error(j.job)));
        test_drop(&j);
    }
    serve_once(&t);
    test_host_fini(&t);
}

int main(int argc, char **argv) {
    (void)argc;
    test_host_main_start(argv);
    worker_program = getenv("GLOVEBOX_WORKER_TEST");
    const struct CMUnitTest table[] = {
        cmocka_unit_test(two_deaths_are_refused_until_the_time_is_over),
        cmocka_unit_test(a_full_table_forgets_the_oldest),
    };
    const struct CMUnitTest whole[] = {
        cmocka_unit_test(a_request_that_killed_two_workers_is_refused),
        cmocka_unit_test(what_waits_behind_it_is_not_tried_again),
        cmocka_unit_test(a_kill_from_outside_is_nobodys_fault),
    };
    int failed = cmocka_run_group_tests(table, NULL, NULL);
    return failed + (worker_program ? cmocka_run_group_tests(whole, NULL, NULL) : 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Workers: starting, refusing, dying, coming back, being given up, and leaving nothing behind. */
#include "model_test_host.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/wait.h>

static void worker_is_ready_and_ends_with_its_owner(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 2);
    assert_true(gb_worker_pid(t.worker) > 0);
    assert_int_equal(gb_worker_starts(t.worker), 1);
    test_serves(&t);
    uint64_t start = gb_now_us();
    test_host_fini(&t);
    assert_true(gb_now_us() - start < test_slack(1000000));
}

/* What /proc tells of the worker's descriptors, environment and session. */
static void worker_gets_four_descriptors_and_no_environment(void **state) {
    (void)state;
    struct test_host t = {0};
    int leak = dup(1); /* without close-on-exec: what an embedder forgot */
    assert_true(leak >= 0);
    assert_int_equal(setenv("GLOVEBOX_TEST_SECRET", "1", 1), 0);
    test_host_init(&t, "echo", 1);
    char path[64];
    int pid = gb_worker_pid(t.worker);
    (void)snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    size_t count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += entry->d_name[0] != '.';
        long fd = strtol(entry->d_name, NULL, 10); /* 0 for "." and ".." */
        assert_true(fd <= GB_WIRE_FD_COMPLETE);
    }
    closedir(dir);
    assert_int_equal(count, 7); /* 0 to 2 are /dev/null */
    (void)snprintf(path, sizeof path, "/proc/%d/environ", pid);
    FILE *environment = fopen(path, "r");
    assert_non_null(environment);
    assert_int_equal(fgetc(environment), EOF);
    (void)fclose(environment);
    assert_int_equal(getsid(pid), pid);
    test_host_fini(&t);
    close(leak);
    unsetenv("GLOVEBOX_TEST_SECRET");
}

static void expect_not_ready(const char *model, enum gb_code code, const char *message,
                             uint64_t load_timeout_ms) {
    struct gb_error *e = NULL;
    struct gb_worker_ready ready;
    struct gb_registry_options options = test_options();
    options.load_timeout_ms = load_timeout_ms;
    struct gb_worker_hub *hub = gb_worker_hub_new(&options, &e);
    struct gb_worker *w = test_worker(hub, model, 1);
    assert_true(gb_worker_start(w, &e));
    assert_false(gb_worker_wait_ready(w, gb_deadline_after_us(WAIT_US), &ready, &e));
    assert_int_equal(e->code, code);
    assert_string_equal(e->message, message);
    gb_error_clear(&e);
    struct test_job j;
    struct gb_account *account = gb_account_new("default", NULL, GB_MIB, &e);
    assert_false(test_submit_to(w, account, FAKE_ECHO, 1, GB_NEVER, &j, &e));
    assert_int_equal(e->code, code);
    gb_error_clear(&e);
    assert_int_equal(gb_account_used(account), 0);
    gb_account_unref(account);
    gb_worker_free(w);
    gb_worker_hub_free(hub);
}

static void model_that_is_refused_keeps_the_workers_error(void **state) {
    (void)state;
    expect_not_ready("refuse", GB_MODEL_INVALID, "not a model", 10000);
    expect_not_ready("refuse-ok", GB_BACKEND_FAILED, "not a model", 10000);
}

static void model_that_kills_its_worker_is_given_up(void **state) {
    (void)state;
    expect_not_ready("crash", GB_BACKEND_LOST,
                     "the worker of model \"digits\" ended by signal 9 while it loaded the model",
                     10000);
}

static void load_that_hangs_is_ended(void **state) {
    (void)state;
    expect_not_ready("hang", GB_BACKEND_LOST,
                     "the worker of model \"digits\" did not load it in 200 ms", 200);
}

static void missing_program_names_where_it_was_looked_for(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct gb_registry_options options = test_options();
    options.worker_path = "/nowhere/glovebox-worker";
    struct gb_worker_hub *hub = gb_worker_hub_new(&options, &e);
    struct gb_worker *w = test_worker(hub, "echo", 1);
    assert_false(gb_worker_start(w, &e));
    assert_int_equal(e->code, GB_BACKEND_MISSING);
    assert_string_equal(e->message, "the worker program \"glovebox-worker\" was not found (looked "
                                    "in \"/nowhere/glovebox-worker\")");
    assert_non_null(strstr(e->hint, "GLOVEBOX_WORKER"));
    gb_error_clear(&e);
    gb_worker_free(w);
    gb_worker_hub_free(hub);
    options.worker_path = NULL;
    char *old = getenv("GLOVEBOX_WORKER") ? strdup(getenv("GLOVEBOX_WORKER")) : NULL;
    unsetenv("GLOVEBOX_WORKER");
    char path[4096];
    if (!gb_worker_locate(&options, path, sizeof path, &e)) {
        assert_non_null(strstr(e->message, "/libexec/glovebox/glovebox-worker\""));
        gb_error_clear(&e);
    }
    if (old) {
        setenv("GLOVEBOX_WORKER", old, 1);
        free(old);
    }
}

static void killed_worker_comes_back_and_serves(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 1);
    for (int round = 0; round < 5; round++) {
        struct test_job j;
        test_submit(&t, FAKE_HANG, 1, &j);
        uint64_t start = gb_now_us();
        assert_int_equal(kill(gb_worker_pid(t.worker), SIGKILL), 0);
        test_wait(&t, &j);
        assert_true(gb_now_us() - start < test_slack(100000));
        test_expect_code(&j, GB_BACKEND_LOST);
        test_expect_message(&j, "the worker of model \"digits\" ended by signal 9");
        test_drop(&j);
        start = gb_now_us();
        test_serves(&t);
        assert_true(gb_now_us() - start < test_slack(1000000));
    }
    assert_int_equal(gb_worker_starts(t.worker), 6);
    test_host_fini(&t);
}

static void worker_that_cannot_be_started_again_is_lost(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 1);
    test_serves(&t);
    /* Without descriptors every restart fails before there is a process. */
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    struct rlimit none = {.rlim_cur = 3, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(kill(gb_worker_pid(t.worker), SIGKILL), 0);
    struct gb_error *e = NULL;
    struct test_job j;
    uint64_t deadline = gb_deadline_after_us(60 * (uint64_t)1000000);
    bool waited = false;
    while (test_submit_to(t.worker, t.account, FAKE_ECHO, 1, GB_NEVER, &j, &e)) {
        test_wait(&t, &j); /* answered when the worker is given up */
        waited = waited || gb_job_state(j.job) == GB_JOB_ERROR;
        test_drop(&j);
        assert_true(gb_now_us() < deadline);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(e->code, GB_BACKEND_LOST);
    assert_string_equal(e->message, "the worker of model \"digits\" ended 8 times in a row and is "
                                    "not started again");
    assert_non_null(e->cause);
    assert_non_null(e->hint);
    gb_error_clear(&e);
    assert_true(waited);
    test_host_fini(&t);
}

static void shortage_of_descriptors_is_an_error_with_a_hint(void **state) {
    (void)state;
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    bool enough = false;
    for (rlim_t limit = 3; limit <= 64 && !enough; limit++) {
        struct gb_error *e = NULL;
        struct gb_registry_options options = test_options();
        struct rlimit low = {.rlim_cur = limit, .rlim_max = old.rlim_max};
        struct gb_worker_spec spec = {.name = "digits", .bytes = gb_span_of("echo"),
                                      .backend = GB_BACKEND_FAKE, .threads = 1};
        struct gb_worker_ready ready;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        struct gb_worker_hub *hub = gb_worker_hub_new(&options, &e);
        struct gb_worker *w = hub ? gb_worker_new(hub, &spec, &e) : NULL;
        enough = w && gb_worker_start(w, &e) &&
                 gb_worker_wait_ready(w, gb_deadline_after_us(WAIT_US), &ready, &e);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
        if (!enough) {
            assert_int_equal(e->code, GB_IO);
            gb_error_clear(&e);
        } else {
            assert_true(limit <= 32);
        }
        gb_worker_free(w);
        gb_worker_hub_free(hub);
    }
    assert_true(enough);
}

static void failed_allocations_while_starting_are_errors(void **state) {
    (void)state;
    bool passed = false;
    for (uint64_t nth = 1; nth < 100 && !passed; nth++) {
        struct gb_error *e = NULL;
        struct gb_registry_options options = test_options();
        struct gb_worker_spec spec = {.name = "digits", .bytes = gb_span_of("echo"),
                                      .backend = GB_BACKEND_FAKE, .threads = 1};
        gb_alloc_fail_at(nth);
        uint64_t before = gb_alloc_count();
        struct gb_worker_hub *hub = gb_worker_hub_new(&options, &e);
        struct gb_worker *w = hub ? gb_worker_new(hub, &spec, &e) : NULL;
        bool ok = w && gb_worker_start(w, &e);
        passed = gb_alloc_count() - before < nth;
        gb_alloc_fail_at(0);
        assert_true(ok == (e == NULL));
        gb_error_clear(&e);
        gb_worker_free(w);
        gb_worker_hub_free(hub);
    }
    assert_true(passed);
}

static void hub_that_goes_first_takes_its_workers_along(void **state) {
    (void)state;
    struct test_host t = {0};
    test_host_init(&t, "echo", 1);
    struct test_job j;
    test_submit(&t, FAKE_HANG, 1, &j);
    int pid = gb_worker_pid(t.worker);
    gb_worker_hub_free(t.hub);
    assert_int_equal(kill(pid, 0), -1);
    test_expect_code(&j, GB_BACKEND_LOST);
    assert_int_equal(j.done, 0);
    test_drop(&j);
    gb_worker_free(t.worker);
    assert_int_equal(gb_account_used(t.account), 0);
    gb_account_unref(t.account);
}

static void worker_of_a_host_that_was_killed_ends_by_itself(void **state) {
    (void)state;
    int channel[2];
    int worker_pid = 0;
    assert_int_equal(pipe(channel), 0);
    pid_t host = fork();
    assert_true(host >= 0);
    if (host == 0) {
        struct test_host t = {0};
        test_host_init(&t, "echo", 1);
        int pid = gb_worker_pid(t.worker);
        (void)!write(channel[1], &pid, sizeof pid);
        kill(getpid(), SIGKILL);
    }
    close(channel[1]);
    assert_int_equal(read(channel[0], &worker_pid, sizeof worker_pid), sizeof worker_pid);
    close(channel[0]);
    assert_int_equal(waitpid(host, NULL, 0), host);
    char path[64];
    char line[256] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/stat", worker_pid);
    uint64_t until = gb_deadline_after_us(2000000);
    for (;;) { /* gone, or a zombie that nobody here may reap */
        FILE *file = fopen(path, "r");
        bool gone = !file || !fgets(line, sizeof line, file) || strstr(line, ") Z ");
        if (file) {
            (void)fclose(file);
        }
        if (gone) {
            break;
        }
        assert_true(gb_now_us() < until);
        usleep(1000);
    }
}

static void host_that_ignores_its_children_sees_their_deaths(void **state) {
    (void)state;
    struct test_host t = {0};
    void (*old)(int) = signal(SIGCHLD, SIG_IGN);
    test_host_init(&t, "echo", 1);
    struct test_job j;
    test_submit(&t, FAKE_HANG, 1, &j);
    assert_int_equal(kill(gb_worker_pid(t.worker), SIGKILL), 0);
    test_wait(&t, &j);
    test_expect_code(&j, GB_BACKEND_LOST);
    test_drop(&j);
    test_serves(&t);
    test_host_fini(&t);
    (void)signal(SIGCHLD, old);
}

int main(int argc, char **argv) {
    (void)argc;
    test_host_main_start(argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worker_is_ready_and_ends_with_its_owner),
        cmocka_unit_test(worker_gets_four_descriptors_and_no_environment),
        cmocka_unit_test(model_that_is_refused_keeps_the_workers_error),
        cmocka_unit_test(model_that_kills_its_worker_is_given_up),
        cmocka_unit_test(load_that_hangs_is_ended),
        cmocka_unit_test(missing_program_names_where_it_was_looked_for),
        cmocka_unit_test(killed_worker_comes_back_and_serves),
        cmocka_unit_test(worker_that_cannot_be_started_again_is_lost),
        cmocka_unit_test(shortage_of_descriptors_is_an_error_with_a_hint),
        cmocka_unit_test(failed_allocations_while_starting_are_errors),
        cmocka_unit_test(worker_of_a_host_that_was_killed_ends_by_itself),
        cmocka_unit_test(host_that_ignores_its_children_sees_their_deaths),
        cmocka_unit_test(hub_that_goes_first_takes_its_workers_along),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The runner: many calls on one thread, cancelling, sleeping, and what a late waker may do. */
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "sandbox/sandbox_internal.h"
#include "sandbox_harness.h"
#include "test_slack.h"

static void eight_spinning_calls_share_the_thread(void **state) {
    struct bench *b = *state;
    b->limits.fuel = UINT64_C(1) << 60; /* measures the work of each */
    b->limits.deadline_us = 400000;
    struct gb_program *p = load(b, AGENT_SPIN_CALLING);
    struct gb_call_result r[8];
    uint64_t start_us = gb_now_us();
    uint64_t starved_us = test_starved_us();
    for (size_t i = 0; i < 8; i++) {
        start(b, p, &r[i]);
    }
    run_all(b);
    starved_us = test_starved_us() - starved_us;
    assert_true(gb_now_us() - start_us < 400000 + test_slack(70000) + starved_us);
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (size_t i = 0; i < 8; i++) {
        assert_error(r[i].error, GB_DEADLINE_EXCEEDED, NULL, NULL);
        assert_true(r[i].usage.wall_us <= 400000 + test_slack(50000) + starved_us);
        least = GB_MIN(least, r[i].usage.fuel);
        most = GB_MAX(most, r[i].usage.fuel);
        gb_call_result_fini(&r[i]);
    }
    /* Slices are wall time: nothing can be said where others had more of it than we. */
    if (starved_us < 200000 && most > 5 * least) {
        print_error("least %llu, most %llu\n", (unsigned long long)least, (unsigned long long)most);
        fail();
    }
    gb_program_unref(p);
}

static void a_short_call_is_not_held_up_by_spinning_ones(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = test_slack(300000);
    struct gb_program *spin = load(b, AGENT_SPIN);
    struct gb_program *echo = load(b, AGENT_ECHO);
    struct gb_call_result r[5];
    uint64_t starved_us = test_starved_us();
    for (size_t i = 0; i < 4; i++) {
        start(b, spin, &r[i]);
    }
    start(b, echo, &r[4]);
    run_all(b);
    starved_us = test_starved_us() - starved_us;
    assert_true(r[4].usage.wall_us < test_slack(50000) + starved_us);
    assert_ok(&r[4], "hello");
    for (size_t i = 0; i < 4; i++) {
        assert_error(r[i].error, GB_DEADLINE_EXCEEDED, NULL, NULL);
        gb_call_result_fini(&r[i]);
    }
    gb_program_unref(spin);
    gb_program_unref(echo);
}

static void cancelling_ends_a_call(void **state) {
    struct bench *b = *state;
    struct gb_program *spin = load(b, AGENT_SPIN);
    struct gb_program *sleeper = load(b, COMMAND("", "(call $sleep (i64.const 9000000000))"));
    struct gb_call_result r[3];
    struct gb_call *first = start(b, spin, &r[0]);
    struct gb_call *second = start(b, sleeper, &r[1]);
    gb_runner_step(b->runner, 0);
    gb_runner_step(b->runner, 0);
    uint64_t start_us = gb_now_us();
    uint64_t starved_us = test_starved_us();
    gb_call_cancel(first, GB_CANCELLED);
    gb_call_cancel(second, GB_INTERRUPTED);
    gb_call_cancel(start(b, spin, &r[2]), GB_CANCELLED); /* before it ran at all */
    run_all(b);
    starved_us = test_starved_us() - starved_us;
    assert_true(gb_now_us() - start_us < test_slack(50000) + starved_us);
    assert_error(r[0].error, GB_CANCELLED, "the call was cancelled", NULL);
    assert_error(r[1].error, GB_INTERRUPTED, "the call was interrupted", NULL);
    assert_error(r[2].error, GB_CANCELLED, NULL, NULL);
    for (size_t i = 0; i < 3; i++) {
        gb_call_result_fini(&r[i]);
    }
    gb_program_unref(spin);
    gb_program_unref(sleeper);
}

static void freeing_the_runner_cancels_what_runs(void **state) {
    struct bench *b = *state;
    struct gb_program *spin = load(b, AGENT_SPIN);
    struct gb_program *sleeper = load(b, COMMAND("", "(call $sleep (i64.const 20000000))"));
    struct gb_call_result r[2];
    start(b, spin, &r[0]);
    start(b, sleeper, &r[1]);
    gb_runner_step(b->runner, 0);
    gb_runner_free(b->runner);
    assert_error(r[0].error, GB_CANCELLED, NULL, NULL);
    assert_error(r[1].error, GB_CANCELLED, NULL, NULL);
    gb_call_result_fini(&r[0]);
    gb_call_result_fini(&r[1]);
    gb_program_unref(spin);
    gb_program_unref(sleeper);
    usleep(40000); /* a timer of the dropped sleep that still fired would fire now */
    b->runner = gb_runner_new(b->sandbox, NULL, NULL);
    assert_non_null(b->runner);
}

static void the_descriptor_is_readable_when_there_is_something_to_do(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = 50000;
    struct pollfd fd = {.fd = gb_runner_fd(b->runner), .events = POLLIN};
    assert_int_equal(poll(&fd, 1, 0), 0);
    struct gb_program *spin = load(b, AGENT_SPIN);
    struct gb_call_result r;
    start(b, spin, &r);
    assert_int_equal(poll(&fd, 1, 0), 1);
    while (gb_runner_step(b->runner, 0) > 0) {
        assert_int_equal(poll(&fd, 1, 10000), 1);
    }
    assert_error(r.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    gb_call_result_fini(&r);
    gb_program_unref(spin);
}

static void a_sleep_is_ended_by_the_timer_alone(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = 80000;
    struct gb_program *sleeper = load(b, COMMAND("", "(call $sleep (i64.const 9000000000))"));
    struct gb_call_result r;
    uint64_t starved_us = test_starved_us();
    start(b, sleeper, &r);
    size_t steps = 1;
    while (gb_runner_step(b->runner, -1) > 0) {
        steps++;
    }
    assert_error(r.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    assert_true(r.usage.wall_us <= 80000 + test_slack(50000) + test_starved_us() - starved_us);
    assert_true(steps < 20); /* it waited, it did not spin */
    gb_call_result_fini(&r);
    gb_program_unref(sleeper);
}

static void *wake_late(void *user) {
    for (int i = 0; i < 1000; i++) {
        gb_wake_cell_wake(user);
    }
    gb_wake_cell_unref(user);
    return NULL;
}

static void wakers_may_fire_after_the_runner_is_gone(void **state) {
    (void)state;
    struct gb_error *error = NULL;
    for (int round = 0; round < 20; round++) {
        struct gb_wake_list *list = gb_wake_list_new(&error);
        assert_non_null(list);
        struct gb_wake_cell *cell = gb_wake_cell_new(list, NULL, &error);
        assert_non_null(cell);
        gb_wake_cell_ref(cell);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_late, cell), 0);
        for (size_t i = gb_wake_list_begin(list); i > 0; i--) {
            gb_wake_cell_unref(gb_wake_list_pop(list));
        }
        gb_wake_list_end(list);
        gb_wake_cell_unref(cell);
        gb_wake_list_close(list);
        pthread_join(thread, NULL);
    }
}

struct chain {
    struct bench *b;
    struct gb_program *p;
    int left;
};

static void start_next(void *user, struct gb_call_result *result) {
    struct chain *chain = user;
    assert_ok(result, "hello");
    if (--chain->left > 0) {
        struct gb_call_result unused;
        struct gb_call_spec spec = spec_of(chain->b, chain->p, &unused);
        spec.done = start_next;
        spec.user = chain;
        assert_non_null(gb_runner_call(chain->b->runner, &spec, NULL));
    }
}

static void done_may_start_the_next_call(void **state) {
    struct bench *b = *state;
    struct chain chain = {.b = b, .p = load(b, AGENT_ECHO), .left = 2000};
    struct gb_call_result unused;
    struct gb_call_spec spec = spec_of(b, chain.p, &unused);
    spec.done = start_next;
    spec.user = &chain;
    assert_non_null(gb_runner_call(b->runner, &spec, NULL));
    uint64_t start_us = gb_now_us();
    run_all(b);
    assert_int_equal(chain.left, 0);
    print_message("%.1f us per call\n", (double)(gb_now_us() - start_us) / 2000.0);
    gb_program_unref(chain.p);
}

static void the_ticker_parks_when_nothing_runs(void **state) {
    struct bench *b = *state;
    struct gb_call_result r = run(b, AGENT_ECHO);
    assert_ok(&r, "hello");
    for (int i = 0; i < 100 && !gb_ticker_is_parked(&b->sandbox->ticker); i++) {
        usleep(20000);
    }
    assert_true(gb_ticker_is_parked(&b->sandbox->ticker));
    b->limits.deadline_us = 30000; /* and it wakes up again */
    r = run(b, AGENT_SPIN);
    assert_error(r.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    gb_call_result_fini(&r);
}

static void more_calls_than_slots_are_overloaded(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = 60000000;
    struct gb_program *spin = load(b, AGENT_SPIN);
    struct gb_call_result r[20];
    struct gb_call *calls[20];
    size_t overloaded = 0;
    for (size_t i = 0; i < 20; i++) {
        calls[i] = start(b, spin, &r[i]);
    }
    for (int step = 0; step < 1000 && overloaded < 4; step++) {
        gb_runner_step(b->runner, 1);
        overloaded = 0;
        for (size_t i = 0; i < 20; i++) {
            overloaded += r[i].error != NULL;
        }
    }
    for (size_t i = 0; i < 20; i++) {
        if (!r[i].error) {
            gb_call_cancel(calls[i], GB_CANCELLED);
        }
    }
    run_all(b);
    overloaded = 0;
    for (size_t i = 0; i < 20; i++) {
        overloaded += r[i].error->code == GB_OVERLOADED;
        gb_call_result_fini(&r[i]);
    }
    assert_int_equal(overloaded, 4);
    gb_program_unref(spin);
}

/* Fails every allocation in turn: each ends in an error or a result, never in a leak. */
static void every_allocation_may_fail(void **state) {
    struct bench *b = *state;
    struct gb_program *p = load(b, AGENT_REFUSE);
    bool whole = false;
    for (uint64_t n = 1; !whole; n++) {
        assert_true(n < 200);
        struct gb_call_result r = {0};
        struct gb_call_spec spec = spec_of(b, p, &r);
        struct gb_error *error = NULL;
        gb_alloc_fail_at(n);
        uint64_t before = gb_alloc_count();
        struct gb_call *c = gb_runner_call(b->runner, &spec, &error);
        run_all(b);
        whole = gb_alloc_count() - before < n;
        gb_alloc_fail_at(0);
        assert_true(c ? r.error != NULL && !error : error != NULL);
        gb_error_free(error);
        gb_call_result_fini(&r);
        assert_int_equal(gb_account_used(b->account), 0);
    }
    gb_program_unref(p);
}

static bool is_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void a_loop_that_holds_rings_nothing_for_itself(void **state) {
    struct bench *b = *state;
    struct gb_program *p = load(b, AGENT_ECHO);
    struct gb_program *sleeper = load(b, COMMAND("", "(call $sleep (i64.const 20000000))"));
    struct gb_call_result r;
    gb_runner_hold(b->runner);
    start(b, p, &r);
    assert_false(is_readable(gb_runner_fd(b->runner)));
    while (gb_runner_turn(b->runner)) {
    }
    assert_ok(&r, "hello");
    start(b, sleeper, &r);
    while (gb_runner_turn(b->runner)) {
    }
    struct pollfd waits = {.fd = gb_runner_fd(b->runner), .events = POLLIN};
    assert_int_equal(poll(&waits, 1, 5000), 1); /* another thread's wake rings */
    run_all(b);
    assert_ok(&r, NULL);
    gb_program_unref(p);
    gb_program_unref(sleeper);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SANDBOX_TEST(eight_spinning_calls_share_the_thread),
        SANDBOX_TEST(a_short_call_is_not_held_up_by_spinning_ones),
        SANDBOX_TEST(cancelling_ends_a_call),
        SANDBOX_TEST(a_loop_that_holds_rings_nothing_for_itself),
        SANDBOX_TEST(freeing_the_runner_cancels_what_runs),
        SANDBOX_TEST(the_descriptor_is_readable_when_there_is_something_to_do),
        SANDBOX_TEST(a_sleep_is_ended_by_the_timer_alone),
        cmocka_unit_test(wakers_may_fire_after_the_runner_is_gone),
        SANDBOX_TEST(done_may_start_the_next_call),
        SANDBOX_TEST(the_ticker_parks_when_nothing_runs),
        SANDBOX_TEST(more_calls_than_slots_are_overloaded),
        SANDBOX_TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes: calls that need longer than a slice leave their runner's thread, and share by weight. */
#include <stdatomic.h>
#include <unistd.h>

#include "sandbox/sandbox_internal.h"
#include "sandbox_harness.h"
#include "test_slack.h"

struct lanes_bench {
    struct bench b;
    struct gb_lanes *lanes;
    struct gb_flow *flows[2];
};

static int setup_with(void **state, uint32_t threads, uint32_t weight) {
    static struct lanes_bench l;
    struct gb_error *error = NULL;
    bench_init(&l.b);
    l.lanes = gb_lanes_new(threads, 0, &error);
    l.flows[0] = gb_flow_new(1, &error);
    l.flows[1] = gb_flow_new(weight, &error);
    assert_true(l.lanes && l.flows[0] && l.flows[1]);
    gb_runner_use_lanes(l.b.runner, l.lanes);
    *state = &l;
    return 0;
}

static int setup_two(void **state) {
    return setup_with(state, 2, 1);
}

static int setup_one(void **state) {
    return setup_with(state, 1, 1);
}

static int setup_weighted(void **state) {
    return setup_with(state, 1, 3);
}

static int teardown(void **state) {
    struct lanes_bench *l = *state;
    gb_lanes_free(l->lanes);
    bench_fini(&l->b);
    gb_flow_unref(l->flows[0]);
    gb_flow_unref(l->flows[1]);
    return 0;
}

static struct gb_call *start_in(struct lanes_bench *l, size_t flow, struct gb_program *p,
                                struct gb_call_result *ret) {
    struct gb_error *error = NULL;
    struct gb_call_spec spec = spec_of(&l->b, p, ret);
    spec.flow = l->flows[flow];
    struct gb_call *c = gb_runner_call(l->b.runner, &spec, &error);
    if (!c) {
        fail_with(error);
    }
    return c;
}

static void spinning_calls_do_not_hold_the_runner(void **state) {
    struct lanes_bench *l = *state;
    uint64_t given_us = test_slack(300000);
    l->b.limits.deadline_us = given_us;
    struct gb_program *spin = load(&l->b, AGENT_SPIN);
    struct gb_program *echo = load(&l->b, AGENT_ECHO);
    struct gb_call_result r[4];
    struct gb_call_result short_one;
    for (size_t i = 0; i < 4; i++) {
        start_in(l, i % 2, spin, &r[i]);
    }
    for (int i = 0; i < 20; i++) { /* until all have left this thread */
        gb_runner_step(l->b.runner, 5);
    }
    uint64_t worst_us = 0;
    for (int i = 0; i < 50; i++) {
        start_in(l, 0, echo, &short_one);
        while (!short_one.text && !short_one.error) {
            gb_runner_step(l->b.runner, -1);
        }
        worst_us = GB_MAX(worst_us, short_one.usage.wall_us);
        assert_ok(&short_one, "hello");
    }
    assert_true(worst_us < test_slack(50000));
    run_all(&l->b);
    for (size_t i = 0; i < 4; i++) {
        assert_error(r[i].error, GB_DEADLINE_EXCEEDED, NULL, NULL);
        assert_true(r[i].usage.wall_us <= given_us + test_slack(50000));
        gb_call_result_fini(&r[i]);
    }
    gb_program_unref(spin);
    gb_program_unref(echo);
}

/* The work of flow 1 over that of flow 0, which has eight calls against one; -1 where others
 * had the time that was ours, which says nothing then. */
static double share(struct lanes_bench *l) {
    uint64_t starved_us = test_starved_us();
    l->b.limits.fuel = UINT64_C(1) << 60;
    l->b.limits.deadline_us = 1500000;
    struct gb_program *p = load(&l->b, AGENT_SPIN_CALLING);
    struct gb_call_result r[9];
    for (size_t i = 0; i < 9; i++) {
        start_in(l, i == 0, p, &r[i]);
    }
    run_all(&l->b);
    starved_us = test_starved_us() - starved_us;
    uint64_t work[2] = {0};
    for (size_t i = 0; i < 9; i++) {
        assert_error(r[i].error, GB_DEADLINE_EXCEEDED, NULL, NULL);
        assert_true(r[i].usage.wall_us <= 1500000 + test_slack(200000) + starved_us);
        work[i == 0] += r[i].usage.fuel;
        gb_call_result_fini(&r[i]);
    }
    gb_program_unref(p);
    if (starved_us > 500000) {
        print_message("not judged: starved for %llu ms\n", (unsigned long long)starved_us / 1000);
        return -1;
    }
    return (double)work[1] / (double)work[0];
}

static void many_calls_get_no_more_than_one(void **state) {
    double got = share(*state);
    if (got >= 0 && (got < 0.6 || got > 1.7)) {
        fail_msg("the share is %f", got);
    }
}

static void weights_are_shares(void **state) {
    double got = share(*state);
    if (got >= 0 && (got < 1.8 || got > 5.0)) {
        fail_msg("the share is %f", got);
    }
}

static void calls_on_lanes_are_cancelled(void **state) {
    struct lanes_bench *l = *state;
    struct gb_program *spin = load(&l->b, AGENT_SPIN);
    struct gb_call_result r[6];
    struct gb_call *calls[6];
    for (size_t i = 0; i < 6; i++) {
        calls[i] = start_in(l, 0, spin, &r[i]);
    }
    for (int i = 0; i < 30; i++) {
        gb_runner_step(l->b.runner, 5);
    }
    uint64_t start_us = gb_now_us();
    for (size_t i = 0; i < 6; i++) {
        gb_call_cancel(calls[i], i % 2 ? GB_CANCELLED : GB_INTERRUPTED);
    }
    run_all(&l->b);
    assert_true(gb_now_us() - start_us < test_slack(100000));
    for (size_t i = 0; i < 6; i++) {
        assert_error(r[i].error, i % 2 ? GB_CANCELLED : GB_INTERRUPTED, NULL, NULL);
        gb_call_result_fini(&r[i]);
    }
    gb_program_unref(spin);
}

static void a_call_that_waits_on_a_lane_meets_its_deadline(void **state) {
    struct lanes_bench *l = *state;
    l->b.limits.deadline_us = 150000;
    struct gb_program *p = load(
        &l->b, COMMAND("", "(local.set $n (i32.const 60000000)) (loop $l (local.set $n (i32.sub"
                           " (local.get $n) (i32.const 1))) (br_if $l (local.get $n)))"
                           " (call $sleep (i64.const 9000000000))"));
    struct gb_call_result r;
    start_in(l, 0, p, &r);
    uint64_t start_us = gb_now_us();
    run_all(&l->b);
    assert_true(gb_now_us() - start_us < 150000 + test_slack(100000));
    assert_error(r.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    gb_call_result_fini(&r);
    gb_program_unref(p);
}

static void a_call_that_slept_on_a_lane_ends_well(void **state) {
    struct lanes_bench *l = *state;
    struct gb_program *p = load(
        &l->b, COMMAND("", "(local.set $n (i32.const 20000000)) (loop $l (local.set $n (i32.sub"
                           " (local.get $n) (i32.const 1))) (br_if $l (local.get $n)))"
                           " (call $sleep (i64.const 20000000)) (call $sleep (i64.const 1000))"));
    struct gb_call_result r[3];
    for (size_t i = 0; i < 3; i++) {
        start_in(l, 0, p, &r[i]);
    }
    run_all(&l->b);
    for (size_t i = 0; i < 3; i++) {
        assert_ok(&r[i], NULL);
    }
    gb_program_unref(p);
}

static void what_still_runs_at_the_end_is_cancelled(void **state) {
    struct lanes_bench *l = *state;
    struct gb_program *spin = load(&l->b, AGENT_SPIN);
    static struct gb_call_result r[3];
    for (size_t i = 0; i < 3; i++) {
        start_in(l, i % 2, spin, &r[i]);
    }
    for (int i = 0; i < 10; i++) {
        gb_runner_step(l->b.runner, 5);
    }
    gb_program_unref(spin);
    gb_lanes_free(l->lanes);
    l->lanes = NULL;
    gb_runner_free(l->b.runner);
    l->b.runner = NULL;
    for (size_t i = 0; i < 3; i++) {
        assert_error(r[i].error, GB_CANCELLED, NULL, NULL);
        gb_call_result_fini(&r[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(spinning_calls_do_not_hold_the_runner, setup_two, teardown),
        cmocka_unit_test_setup_teardown(many_calls_get_no_more_than_one, setup_one, teardown),
        cmocka_unit_test_setup_teardown(weights_are_shares, setup_weighted, teardown),
        cmocka_unit_test_setup_teardown(calls_on_lanes_are_cancelled, setup_one, teardown),
        cmocka_unit_test_setup_teardown(a_call_that_waits_on_a_lane_meets_its_deadline, setup_one,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_call_that_slept_on_a_lane_ends_well, setup_two, teardown),
        cmocka_unit_test_setup_teardown(what_still_runs_at_the_end_is_cancelled, setup_two,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

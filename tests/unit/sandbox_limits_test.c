/* SPDX-License-Identifier: Apache-2.0 */
/* Limits: each ends a call with its own code, in time, and gives everything back. */
#include "sandbox_harness.h"
#include "test_slack.h"

/* Grows by $n pages once; traps when that fails. */
#define AGENT_GROW(PAGES, AND_THEN)                                                                \
    AGENT("(if (i32.eq (memory.grow (i32.const " PAGES ")) (i32.const -1))"                        \
          " (then " AND_THEN ")) (call $ok (local.get $ptr) (local.get $len))")

static void spinning_agent_ends_at_its_deadline(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = 100000;
    uint64_t start_us = gb_now_us();
    struct gb_call_result r = run(b, AGENT_SPIN);
    uint64_t took_us = gb_now_us() - start_us;
    assert_error(r.error, GB_DEADLINE_EXCEEDED,
                 "the call did not finish before its deadline of 100 ms",
                 "Raise the deadline with --deadline, or let the guest do less.");
    assert_true(r.usage.wall_us >= 100000 && r.usage.wall_us <= 100000 + test_slack(50000));
    assert_true(took_us >= 100000);
    gb_call_result_fini(&r);
}

static void spinning_start_function_ends_at_its_deadline(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = 50000;
    struct gb_call_result r =
        run(b, "(module (func $s (loop $l (br $l))) (start $s) (func (export \"_start\")))");
    assert_error(r.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    assert_true(r.usage.wall_us <= 50000 + test_slack(50000));
    gb_call_result_fini(&r);
}

static void sleeping_command_ends_at_its_deadline(void **state) {
    struct bench *b = *state;
    b->limits.deadline_us = 60000;
    struct gb_call_result r = run(b, COMMAND("", "(call $sleep (i64.const 5000000000))"));
    assert_error(r.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    assert_true(r.usage.wall_us >= 60000 && r.usage.wall_us <= 60000 + test_slack(50000));
    gb_call_result_fini(&r);
    r = run(b, COMMAND("", "(call $sleep (i64.const 5000000))"));
    assert_true(r.usage.wall_us >= 5000);
    assert_ok(&r, NULL);
}

static void fuel_runs_out(void **state) {
    struct bench *b = *state;
    b->limits.fuel = 100000;
    struct gb_call_result r = run(b, AGENT_SPIN);
    assert_error(r.error, GB_FUEL_EXHAUSTED, "the guest used up its fuel of 100,000",
                 "Raise the limit with --fuel.");
    assert_true(r.usage.fuel_measured);
    assert_int_equal(r.usage.fuel, 100000);
    gb_call_result_fini(&r);
    r = run(b, AGENT_ECHO);
    assert_true(r.usage.fuel > 0 && r.usage.fuel < 1000);
    assert_ok(&r, "hello");
}

/* The engine writes its count back when the guest calls something. */
static void fuel_is_known_after_a_deadline(void **state) {
    struct bench *b = *state;
    b->limits.fuel = UINT64_C(1) << 60;
    b->limits.deadline_us = 20000;
    struct gb_call_result r = run(b, AGENT_SPIN_CALLING);
    assert_error(r.error, GB_DEADLINE_EXCEEDED, NULL, NULL);
    assert_true(r.usage.fuel > 1000 && r.usage.fuel < UINT64_C(1) << 50);
    gb_call_result_fini(&r);
}

static void deep_recursion_is_stack_overflow(void **state) {
    assert_run_fails(*state,
                     AGENT_WITH("1",
                                "(func $deep (param i32) (result i32) (i32.add (i32.const 1)"
                                " (call $deep (i32.add (local.get 0) (i32.const 1)))))",
                                "(call $deep (i32.const 0))"),
                     GB_STACK_OVERFLOW, "the guest's call stack grew past its limit of 512 KiB",
                     GB_OK);
}

static void denied_growth_then_trap_is_memory_limit(void **state) {
    struct bench *b = *state;
    b->limits.memory_bytes = 10 * 65536;
    struct gb_call_result r = run(b, AGENT_GROW("10", "(unreachable)"));
    assert_error(r.error, GB_MEMORY_LIMIT,
                 "the guest asked for 704 KiB of linear memory; the limit is 640 KiB",
                 "Raise the limit with --memory, or let the guest use less.");
    assert_error(r.error->cause, GB_GUEST_TRAP, NULL, NULL);
    gb_call_result_fini(&r);
    r = run(b, AGENT_GROW("9", "(unreachable)"));
    assert_int_equal(r.usage.memory_peak_bytes, 10 * 65536);
    assert_ok(&r, "hello");
}

static void a_growth_of_4_gib_at_once_is_memory_limit(void **state) {
    assert_run_fails(*state, AGENT_GROW("65536", "(unreachable)"), GB_MEMORY_LIMIT,
                     "the guest asked for 4.01 GiB of linear memory; the limit is 64 MiB",
                     GB_GUEST_TRAP);
}

static void denied_growth_that_the_guest_survives_is_no_error(void **state) {
    struct bench *b = *state;
    b->limits.memory_bytes = 2 * 65536;
    struct gb_call_result r = run(b, AGENT_GROW("100", ""));
    assert_ok(&r, "hello");
    /* A growth that succeeded since: the trap is the guest's own. */
    assert_run_fails(b, AGENT_GROW("100", "(drop (memory.grow (i32.const 1))) (unreachable)"),
                     GB_GUEST_TRAP, NULL, GB_OK);
    /* err is the guest's to say. */
    assert_run_fails(b, AGENT_GROW("100", "(return (call $err (local.get $ptr) (local.get $len)))"),
                     GB_GUEST_ERROR, NULL, GB_OK);
}

static void growth_past_the_declared_maximum_is_no_limit_of_ours(void **state) {
    assert_run_fails(*state,
                     AGENT_WITH("1 2", "",
                                "(if (i32.eq (memory.grow (i32.const 5)) (i32.const -1))"
                                " (then (unreachable))) (unreachable)"),
                     GB_GUEST_TRAP, NULL, GB_OK);
}

/* A growth that cannot be represented fails without having been asked about; taking that report for
 * the last growth would un-charge memory which the guest has. */
static void impossible_growths_do_not_make_room(void **state) {
    struct bench *b = *state;
    b->limits.memory_bytes = 8 * 65536;
    struct gb_call_result r =
        run(b, AGENT("(local.set $n (i32.const 0))"
                     "(loop $l (drop (memory.grow (i32.const 65536)))"
                     " (drop (memory.grow (i32.const 1)))"
                     " (local.set $n (i32.add (local.get $n) (i32.const 1)))"
                     " (br_if $l (i32.lt_u (local.get $n) (i32.const 100))))"
                     "(if (i32.ne (memory.size) (i32.const 8)) (then (unreachable)))"
                     "(call $ok (local.get $ptr) (local.get $len))"));
    assert_int_equal(r.usage.memory_peak_bytes, 8 * 65536);
    assert_ok(&r, "hello");
}

static void initial_memory_above_the_limit_is_memory_limit(void **state) {
    struct bench *b = *state;
    b->limits.memory_bytes = 65536;
    assert_run_fails(b, AGENT_WITH("3", "", "(unreachable)"), GB_MEMORY_LIMIT,
                     "the program starts with 192 KiB of linear memory; the limit is 64 KiB",
                     GB_OK);
    b->limits.memory_bytes = 64 * GB_MIB;
    /* Larger than a slot of the pool: found out before it runs. */
    assert_load_fails(b, AGENT_WITH("2000", "", "(unreachable)"), GB_MEMORY_LIMIT, NULL,
                      "Raise the limit with --memory.");
}

static void memories_of_one_call_are_summed(void **state) {
    struct bench *b = *state;
    b->limits.memory_bytes = 3 * 65536;
    assert_run_fails(b,
                     "(component (core module $m (memory 2)) (core instance (instantiate $m))"
                     " (core instance (instantiate $m))"
                     " (core module $r (func (export \"run\") (result i32) (i32.const 0)))"
                     " (core instance $i (instantiate $r))"
                     " (func $run (result (result)) (canon lift (core func $i \"run\")))"
                     " (instance $face (export \"run\" (func $run)))"
                     " (export \"wasi:cli/run@0.2.0\" (instance $face)))",
                     GB_MEMORY_LIMIT,
                     "the program starts with 256 KiB of linear memory; the limit is 192 KiB",
                     GB_OK);
}

static void tables_have_a_limit(void **state) {
    struct bench *b = *state;
    b->limits.table_elements = 100;
    assert_run_fails(b,
                     AGENT_WITH("1", "(table $t 10 funcref)",
                                "(if (i32.eq (table.grow $t (ref.null func) (i32.const 91))"
                                " (i32.const -1)) (then (unreachable)))"
                                "(call $ok (local.get $ptr) (local.get $len))"),
                     GB_TABLE_LIMIT, "the guest asked for 101 table elements; the limit is 100",
                     GB_GUEST_TRAP);
    assert_run_fails(b, AGENT_WITH("1", "(table 101 funcref)", "(unreachable)"), GB_TABLE_LIMIT,
                     "the program starts with 101 table elements; the limit is 100", GB_OK);
}

/* An empty one, made later, must not make the limiter forget what is there. */
static void empty_tables_and_memories_hide_nothing(void **state) {
    struct bench *b = *state;
    b->limits.table_elements = 100;
    assert_run_fails(b,
                     AGENT_WITH("1", "(table $full 100 funcref) (table $empty 0 funcref)",
                                "(if (i32.eq (table.grow $empty (ref.null func) (i32.const 1))"
                                " (i32.const -1)) (then (unreachable)))"
                                "(call $ok (local.get $ptr) (local.get $len))"),
                     GB_TABLE_LIMIT, "the guest asked for 101 table elements; the limit is 100",
                     GB_GUEST_TRAP);
    b->limits = gb_limits_default();
    b->limits.memory_bytes = 2 * 64 * GB_KIB;
    assert_run_fails(b,
                     AGENT_WITH("2", "(memory $empty 0)",
                                "(if (i32.eq (memory.grow $empty (i32.const 1)) (i32.const -1))"
                                " (then (unreachable)))"
                                "(call $ok (local.get $ptr) (local.get $len))"),
                     GB_MEMORY_LIMIT,
                     "the guest asked for 192 KiB of linear memory; the limit is 128 KiB",
                     GB_GUEST_TRAP);
}

static void the_ledger_denies_growth(void **state) {
    struct bench *b = *state;
    struct gb_account *tenant = b->account;
    struct gb_error *error = NULL;
    b->account = gb_account_new("small", tenant, 3 * 65536 + 5, &error);
    struct gb_call_result r = run(b, AGENT_GROW("3", "(unreachable)"));
    assert_error(r.error, GB_BUDGET_EXCEEDED, NULL, NULL);
    assert_non_null(r.error->hint);
    assert_error(r.error->cause, GB_GUEST_TRAP, NULL, NULL);
    gb_call_result_fini(&r);
    r = run(b, AGENT_WITH("4", "", "(unreachable)"));
    assert_error(r.error, GB_BUDGET_EXCEEDED, NULL, NULL);
    gb_call_result_fini(&r);
    r = run(b, AGENT_GROW("2", "(unreachable)"));
    assert_ok(&r, "hello");
    gb_account_unref(b->account);
    b->account = tenant;
}

#define FLOOD(COUNT)                                                                               \
    COMMAND("", "(loop $l (call $print (i32.const 1) (i32.const 1024) (i32.const 1000))"           \
                " (local.set $n (i32.add (local.get $n) (i32.const 1)))"                           \
                " (br_if $l (i32.lt_u (local.get $n) (i32.const " COUNT "))))")

static void output_past_the_limit_ends_the_call(void **state) {
    struct gb_call_result r = run(*state, FLOOD("100000000"));
    assert_error(r.error, GB_OUTPUT_LIMIT, "the guest wrote more than 64 KiB to stdout",
                 "Raise the limit with --output-limit, or drop the rest with --on-overflow drop.");
    assert_int_equal(r.stdout_len, 65536);
    assert_int_equal(r.usage.stdout_bytes, 65536);
    assert_true(r.usage.ledger_peak_bytes >= 3 * 65536); /* two pages and the output */
    gb_call_result_fini(&r);
}

static void output_past_the_limit_is_dropped_when_asked(void **state) {
    struct bench *b = *state;
    b->limits.overflow = GB_OVERFLOW_DROP;
    b->limits.output_bytes = 1500;
    struct gb_call_result r = run(b, FLOOD("5"));
    assert_int_equal(r.stdout_len, 1500);
    assert_int_equal(r.usage.stdout_bytes, 1500);
    assert_int_equal(r.usage.stdout_dropped_bytes, 3500);
    assert_ok(&r, NULL);
}

static void too_many_random_bytes_are_hostcall_limit(void **state) {
    assert_run_fails(*state, COMMAND("", "(drop (call $random (i32.const 0) (i32.const 70000)))"),
                     GB_HOSTCALL_LIMIT, NULL, GB_OK);
}

static void core_instances_have_a_limit(void **state) {
    struct bench *b = *state;
    b->limits.instances = 2;
    assert_run_fails(b,
                     "(component (core module $m) (core instance (instantiate $m))"
                     " (core instance (instantiate $m))"
                     " (core module $r (func (export \"run\") (result i32) (i32.const 0)))"
                     " (core instance $i (instantiate $r))"
                     " (func $run (result (result)) (canon lift (core func $i \"run\")))"
                     " (instance $face (export \"run\" (func $run)))"
                     " (export \"wasi:cli/run@0.2.0\" (instance $face)))",
                     GB_INSTANCE_LIMIT, NULL, GB_OK);
}

static void everything_works_without_a_pool(void **state) {
    struct bench *b = *state;
    gb_runner_free(b->runner);
    gb_account_unref(b->account);
    gb_sandbox_free(b->sandbox);
    b->options.pooling = false;
    bench_open(b);
    struct gb_sandbox_facts facts;
    assert_true(gb_sandbox_facts(b->sandbox, &facts, NULL));
    assert_false(facts.pooling);
    assert_string_equal(facts.pooling_reason, "switched off");
    struct gb_call_result r = run(b, AGENT_ECHO);
    assert_ok(&r, "hello");
    b->limits.memory_bytes = 10 * 65536;
    assert_run_fails(b, AGENT_GROW("10", "(unreachable)"), GB_MEMORY_LIMIT, NULL, GB_GUEST_TRAP);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SANDBOX_TEST(spinning_agent_ends_at_its_deadline),
        SANDBOX_TEST(spinning_start_function_ends_at_its_deadline),
        SANDBOX_TEST(sleeping_command_ends_at_its_deadline),
        SANDBOX_TEST(fuel_runs_out),
        SANDBOX_TEST(fuel_is_known_after_a_deadline),
        SANDBOX_TEST(deep_recursion_is_stack_overflow),
        SANDBOX_TEST(denied_growth_then_trap_is_memory_limit),
        SANDBOX_TEST(a_growth_of_4_gib_at_once_is_memory_limit),
        SANDBOX_TEST(denied_growth_that_the_guest_survives_is_no_error),
        SANDBOX_TEST(growth_past_the_declared_maximum_is_no_limit_of_ours),
        SANDBOX_TEST(impossible_growths_do_not_make_room),
        SANDBOX_TEST(initial_memory_above_the_limit_is_memory_limit),
        SANDBOX_TEST(memories_of_one_call_are_summed),
        SANDBOX_TEST(tables_have_a_limit),
        SANDBOX_TEST(empty_tables_and_memories_hide_nothing),
        SANDBOX_TEST(the_ledger_denies_growth),
        SANDBOX_TEST(output_past_the_limit_ends_the_call),
        SANDBOX_TEST(output_past_the_limit_is_dropped_when_asked),
        SANDBOX_TEST(too_many_random_bytes_are_hostcall_limit),
        SANDBOX_TEST(core_instances_have_a_limit),
        SANDBOX_TEST(everything_works_without_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

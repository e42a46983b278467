/* SPDX-License-Identifier: Apache-2.0 */
/* How calls end: what the guest says, and which code wins. */
#include "sandbox_harness.h"

static void agent_ok_text_is_the_result(void **state) {
    struct gb_call_result r = run(*state, AGENT_ECHO);
    assert_int_equal(r.text_bytes, 5);
    assert_false(r.has_exit_status);
    assert_true(r.usage.memory_peak_bytes == 65536);
    assert_true(r.usage.ledger_peak_bytes >= 65536);
    assert_false(r.usage.fuel_measured);
    assert_ok(&r, "hello");
}

static void agent_err_is_guest_error_with_the_value(void **state) {
    struct gb_call_result r = run(*state, AGENT_REFUSE);
    assert_error(r.error, GB_GUEST_ERROR, "the agent answered with the error \"hello\"", NULL);
    assert_string_equal(r.error->value, "hello");
    assert_null(r.error->cause);
    assert_null(r.text);
    gb_call_result_fini(&r);
}

static void agent_err_with_terminal_codes_is_escaped_in_the_message(void **state) {
    struct gb_call_result r = run(*state, AGENT_WITH("1", "(data (i32.const 64) \"a\\1b[31m\\nb\")",
                                                     "(call $err (i32.const 64) (i32.const 8))"));
    assert_error(r.error, GB_GUEST_ERROR, "the agent answered with the error \"a\\x1b[31m b\"",
                 NULL);
    assert_string_equal(r.error->value, "a\x1b[31m\nb");
    gb_call_result_fini(&r);
}

static void trap_is_guest_trap(void **state) {
    struct gb_call_result r = run(*state, AGENT_TRAP);
    assert_error(r.error, GB_GUEST_TRAP,
                 "the guest trapped: wasm trap: wasm `unreachable` instruction executed", NULL);
    gb_call_result_fini(&r);
    r = run(*state, AGENT("(i32.load (i32.const 0x7fffffff))"));
    assert_error(r.error, GB_GUEST_TRAP, NULL, NULL);
    gb_call_result_fini(&r);
}

static void bad_answer_pointer_is_guest_trap(void **state) {
    assert_run_fails(*state, AGENT("(call $ok (i32.const 0x7ffffff0) (i32.const 64))"),
                     GB_GUEST_TRAP, NULL, GB_OK);
}

static void command_exit_status_is_passed_on(void **state) {
    struct gb_call_result r = run(*state, COMMAND("", "(call $exit (i32.const 0))"));
    assert_true(r.has_exit_status);
    assert_int_equal(r.exit_status, 0);
    assert_null(r.text);
    assert_ok(&r, NULL);
    r = run(*state, COMMAND("", ""));
    assert_true(r.has_exit_status);
    assert_ok(&r, NULL);
    r = run(*state, COMMAND("", "(call $exit (i32.const 7))"));
    assert_error(r.error, GB_GUEST_EXIT, "the guest exited with status 7", NULL);
    assert_true(r.has_exit_status);
    assert_int_equal(r.exit_status, 7);
    gb_call_result_fini(&r);
    assert_run_fails(*state, COMMAND("", "(call $exit (i32.const 134))"), GB_GUEST_TRAP, NULL,
                     GB_OK);
}

static void component_command_runs(void **state) {
    struct gb_call_result r = run(*state, COMPONENT_COMMAND("0"));
    assert_true(r.has_exit_status);
    assert_ok(&r, NULL);
    r = run(*state, COMPONENT_COMMAND("1"));
    assert_error(r.error, GB_GUEST_EXIT, "the guest exited with status 1", NULL);
    assert_int_equal(r.exit_status, 1);
    gb_call_result_fini(&r);
}

static void output_is_captured(void **state) {
    struct gb_call_result r =
        run(*state, COMMAND("(data (i32.const 512) \"outerr\")",
                            "(call $print (i32.const 1) (i32.const 512) (i32.const 3))"
                            "(call $print (i32.const 2) (i32.const 515) (i32.const 3))"));
    assert_int_equal(r.stdout_len, 3);
    assert_memory_equal(r.stdout_bytes, "out", 3);
    assert_int_equal(r.stderr_len, 3);
    assert_memory_equal(r.stderr_bytes, "err", 3);
    assert_int_equal(r.usage.stdout_bytes, 3);
    assert_ok(&r, NULL);
}

/* Opens the model named by its argument; when that fails it does what ON_ERROR says. */
#define NN_AGENT(ON_ERROR)                                                                         \
    "(component (import \"wasi:nn/errors@0.2.0-rc-2024-10-28\" (instance $errors"                  \
    "  (export \"error\" (type (sub resource)))))"                                                 \
    " (alias export $errors \"error\" (type $error))"                                              \
    " (import \"wasi:nn/graph@0.2.0-rc-2024-10-28\" (instance $graph"                              \
    "  (export \"graph\" (type $g (sub resource)))"                                                \
    "  (alias outer 1 $error (type $e0)) (export \"error\" (type $e (eq $e0)))"                    \
    "  (export \"load-by-name\" (func (param \"name\" string)"                                     \
    "   (result (result (own $g) (error (own $e))))))))"                                           \
    " (core module $memory (memory (export \"memory\") 1)"                                         \
    "  (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))"         \
    " (core instance $mem (instantiate $memory))"                                                  \
    " (core func $load (canon lower (func $graph \"load-by-name\")"                                \
    "  (memory (core memory $mem \"memory\"))))"                                                   \
    " (core module $m (import \"mem\" \"memory\" (memory 1))"                                      \
    "  (import \"nn\" \"load\" (func $load (param i32 i32 i32)))"                                  \
    "  (data (i32.const 64) \"refused\")"                                                          \
    "  (func (export \"run\") (param i32 i32) (result i32)"                                        \
    "   (call $load (local.get 0) (local.get 1) (i32.const 32))"                                   \
    "   (if (i32.load8_u (i32.const 32)) (then " ON_ERROR "))"                                     \
    "   (i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 64))"       \
    "   (i32.store (i32.const 24) (i32.const 7)) (i32.const 16)))"                                 \
    " (core instance $i (instantiate $m (with \"mem\" (instance $mem))"                            \
    "  (with \"nn\" (instance (export \"load\" (func $load))))))"                                  \
    " (func (export \"run\") (param \"arg\" string) (result (result string (error string)))"       \
    "  (canon lift (core func $i \"run\") (memory (core memory $mem \"memory\"))"                  \
    "   (realloc (core func $mem \"realloc\")))))"

static void the_last_error_of_wasi_nn_is_the_cause(void **state) {
    assert_run_fails(*state, NN_AGENT(""), GB_GUEST_ERROR,
                     "the agent answered with the error \"refused\"", GB_MODEL_NOT_FOUND);
    assert_run_fails(*state, NN_AGENT("(unreachable)"), GB_GUEST_TRAP, NULL, GB_MODEL_NOT_FOUND);
}

static void handles_of_wasi_nn_have_a_limit(void **state) {
    struct bench *b = *state;
    b->limits.handles = 5; /* each failure is an error handle that is never dropped */
    assert_run_fails(b,
                     NN_AGENT("(loop $l (call $load (local.get 0) (local.get 1) (i32.const 32))"
                              " (br $l))"),
                     GB_HANDLE_LIMIT, NULL, GB_OK);
}

static void what_is_no_wasm_is_refused(void **state) {
    assert_load_fails(*state, "hello", GB_WASM_INVALID, NULL, NULL);
    struct gb_error *error = NULL;
    struct bench *b = *state;
    static const uint8_t cut[] = {0, 'a', 's', 'm', 1, 0, 0, 0, 1, 200};
    assert_null(gb_program_load(b->sandbox, "cut.wasm", gb_span_make(cut, sizeof cut), &b->limits,
                                &b->grants, &error));
    assert_error(error, GB_WASM_INVALID, NULL, NULL);
    gb_error_clear(&error);
    static const uint8_t component[] = {0, 'a', 's', 'm', 13, 0, 1, 0, 1, 200};
    assert_null(gb_program_load(b->sandbox, "cut.wasm", gb_span_make(component, sizeof component),
                                &b->limits, &b->grants, &error));
    assert_error(error, GB_COMPONENT_INVALID, NULL, NULL);
    gb_error_free(error);
}

static void program_past_its_size_is_refused(void **state) {
    struct bench *b = *state;
    b->limits.program_bytes = 10;
    assert_load_fails(b, "(component  )", GB_PROGRAM_TOO_LARGE,
                      "\"guest.wasm\" has 13 bytes; the limit is 10 bytes", NULL);
}

static void nothing_to_run_names_the_exports(void **state) {
    assert_load_fails(*state, "(component)", GB_COMPONENT_INVALID,
                      "\"guest.wasm\" has nothing to run",
                      "It exports nothing: export run: func(string) -> result<string, string>, or "
                      "wasi:cli/run@0.2.0.");
    assert_load_fails(*state, "(module (func (export \"_initialize\")) (memory (export \"m\") 1))",
                      GB_COMPONENT_INVALID, "\"guest.wasm\" has nothing to run",
                      "It exports \"_initialize\", \"m\", but none of _start. Call another "
                      "export with --call.");
}

static void run_of_another_type_is_named(void **state) {
    assert_load_fails(
        *state,
        "(component (core module $m (func (export \"run\") (param i32) (result i32) (local.get 0)))"
        " (core instance $i (instantiate $m))"
        " (func (export \"run\") (param \"n\" u32) (result u32)"
        "  (canon lift (core func $i \"run\"))))",
        GB_COMPONENT_INVALID,
        "\"run\" of \"guest.wasm\" is a func(n: u32) -> u32; an agent's is a func(string) -> "
        "result<string, string>",
        "Change the type of \"run\", or export wasi:cli/run@0.2.0.");
}

static void argument_past_its_limit_is_refused(void **state) {
    struct bench *b = *state;
    b->limits.text_bytes = 4;
    struct gb_program *p = load(b, AGENT_ECHO);
    struct gb_call_result result;
    struct gb_call_spec spec = spec_of(b, p, &result);
    struct gb_error *error = NULL;
    assert_null(gb_runner_call(b->runner, &spec, &error));
    assert_error(error, GB_INVALID_ARGUMENT, "the argument has 5 bytes; the limit is 4 bytes",
                 NULL);
    gb_error_free(error);
    gb_program_unref(p);
}

static void answer_past_its_limit_is_hostcall_limit(void **state) {
    struct bench *b = *state;
    b->limits.text_bytes = 1024;
    assert_run_fails(b, AGENT("(call $ok (i32.const 64) (i32.const 2048))"), GB_HOSTCALL_LIMIT,
                     "the guest's answer is longer than 1 KiB", GB_OK);
}

static void inspection_lists_imports_and_exports(void **state) {
    struct bench *b = *state;
    struct gb_inspection i;
    struct gb_error *error = NULL;
    const char *text = "(component (import \"wasi:io/error@0.2.3\" (instance))"
                       " (import \"wasi:http/outgoing-handler@0.2.0\" (instance))"
                       " (import \"x:y/z@1.0.0\" (instance)))";
    assert_true(
        gb_program_inspect(b->sandbox, "guest.wasm", gb_span_of(text), &b->grants, &i, &error));
    assert_true(i.is_component);
    assert_false(i.has_entry);
    assert_int_equal(i.imports_len, 3);
    assert_string_equal(i.imports[0].name, "wasi:io/error");
    assert_string_equal(i.imports[0].version, "0.2.3");
    assert_true(i.imports[0].satisfied);
    assert_false(i.imports[1].satisfied);
    assert_string_equal(i.imports[1].grant, "http");
    assert_string_equal(i.imports[2].note, "this host does not have it");
    gb_inspection_fini(&i);
    assert_true(gb_program_inspect(b->sandbox, "guest.wasm", gb_span_of(AGENT_ECHO), &b->grants, &i,
                                   &error));
    assert_true(i.has_entry);
    assert_int_equal(i.entry, GB_ENTRY_AGENT);
    assert_int_equal(i.exports_len, 1);
    assert_string_equal(i.exports[0].name, "run");
    assert_string_equal(i.exports[0].type, "func(arg: string) -> result<string, string>");
    gb_inspection_fini(&i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SANDBOX_TEST(agent_ok_text_is_the_result),
        SANDBOX_TEST(agent_err_is_guest_error_with_the_value),
        SANDBOX_TEST(agent_err_with_terminal_codes_is_escaped_in_the_message),
        SANDBOX_TEST(trap_is_guest_trap),
        SANDBOX_TEST(bad_answer_pointer_is_guest_trap),
        SANDBOX_TEST(command_exit_status_is_passed_on),
        SANDBOX_TEST(component_command_runs),
        SANDBOX_TEST(output_is_captured),
        SANDBOX_TEST(the_last_error_of_wasi_nn_is_the_cause),
        SANDBOX_TEST(handles_of_wasi_nn_have_a_limit),
        SANDBOX_TEST(what_is_no_wasm_is_refused),
        SANDBOX_TEST(program_past_its_size_is_refused),
        SANDBOX_TEST(nothing_to_run_names_the_exports),
        SANDBOX_TEST(run_of_another_type_is_named),
        SANDBOX_TEST(argument_past_its_limit_is_refused),
        SANDBOX_TEST(answer_past_its_limit_is_hostcall_limit),
        SANDBOX_TEST(inspection_lists_imports_and_exports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

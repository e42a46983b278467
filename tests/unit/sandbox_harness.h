/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small guests in the text format and the few lines that run one. The real bridge is underneath, so
 * these tests see what users see.
 *
 * Under AddressSanitizer: guests trap by touching guard pages and by illegal instructions.
 * Wasmtime's signal handlers are installed after the sanitizer's and take those faults, so no
 * ASAN_OPTIONS are needed. cmocka installs handlers of its own before every test, though, and
 * Wasmtime its own only once; so they are kept when the first program was loaded and put back
 * whenever one is.
 */
#ifndef GB_TEST_SANDBOX_HARNESS_H
#define GB_TEST_SANDBOX_HARNESS_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants those before it. */
#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/num.h"
#include "sandbox/sandbox.h"

/* An agent. MEMORY: pages of its memory; ITEMS: more of the core module; BODY: of
 * run(ptr, len) -> pointer to { u8 is_err; ptr; len }, with the local $n to use. */
#define AGENT_WITH(MEMORY, ITEMS, BODY)                                                            \
    "(component (core module $m (memory (export \"memory\") " MEMORY ")"                           \
    " (global $next (mut i32) (i32.const 4096))"                                                   \
    " (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (local $at i32)"             \
    "  (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))"      \
    "  (global.set $next (i32.add (local.get $at) (local.get 3))) (local.get $at))"                \
    " (func $ok (param i32 i32) (result i32) (i32.store8 (i32.const 16) (i32.const 0))"            \
    "  (i32.store (i32.const 20) (local.get 0)) (i32.store (i32.const 24) (local.get 1))"          \
    "  (i32.const 16))"                                                                            \
    " (func $err (param i32 i32) (result i32) (drop (call $ok (local.get 0) (local.get 1)))"       \
    "  (i32.store8 (i32.const 16) (i32.const 1)) (i32.const 16))" ITEMS                            \
    " (func (export \"run\") (param $ptr i32) (param $len i32) (result i32) (local $n i32)" BODY   \
    ")) (core instance $i (instantiate $m))"                                                       \
    " (func (export \"run\") (param \"arg\" string) (result (result string (error string)))"       \
    "  (canon lift (core func $i \"run\") (memory (core memory $i \"memory\"))"                    \
    "   (realloc (core func $i \"realloc\")))))"
#define AGENT(BODY) AGENT_WITH("1", "", BODY)

#define AGENT_ECHO AGENT("(call $ok (local.get $ptr) (local.get $len))")
#define AGENT_REFUSE AGENT("(call $err (local.get $ptr) (local.get $len))")
#define AGENT_SPIN AGENT("(loop $l (br $l)) (unreachable)")
#define AGENT_SPIN_CALLING                                                                         \
    AGENT_WITH("1", "(func $nothing)", "(loop $l (call $nothing) (br $l)) (unreachable)")
#define AGENT_TRAP AGENT("(unreachable)")

/* A WASI command of the first preview. */
#define COMMAND(ITEMS, BODY)                                                                       \
    "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))"           \
    " (import \"wasi_snapshot_preview1\" \"fd_write\""                                             \
    "  (func $fd_write (param i32 i32 i32 i32) (result i32)))"                                     \
    " (import \"wasi_snapshot_preview1\" \"poll_oneoff\""                                          \
    "  (func $poll (param i32 i32 i32 i32) (result i32)))"                                         \
    " (import \"wasi_snapshot_preview1\" \"random_get\""                                           \
    "  (func $random (param i32 i32) (result i32)))"                                               \
    " (memory (export \"memory\") 2)"                                                              \
    " (func $print (param $fd i32) (param $ptr i32) (param $len i32)"                              \
    "  (i32.store (i32.const 0) (local.get $ptr)) (i32.store (i32.const 4) (local.get $len))"      \
    "  (drop (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))"         \
    " (func $sleep (param $ns i64) (i32.store (i32.const 16) (i32.const 0))"                       \
    "  (i32.store8 (i32.const 24) (i32.const 0)) (i32.store (i32.const 32) (i32.const 1))"         \
    "  (i64.store (i32.const 40) (local.get $ns)) (i64.store (i32.const 48) (i64.const 0))"        \
    "  (i32.store16 (i32.const 56) (i32.const 0))"                                                 \
    "  (drop (call $poll (i32.const 16) (i32.const 128) (i32.const 1) (i32.const 256))))" ITEMS    \
    " (func (export \"_start\") (local $n i32)" BODY "))"

#define COMPONENT_COMMAND(RESULT)                                                                  \
    "(component (core module $m (func (export \"run\") (result i32) (i32.const " RESULT ")))"      \
    " (core instance $i (instantiate $m))"                                                         \
    " (func $run (result (result)) (canon lift (core func $i \"run\")))"                           \
    " (instance $face (export \"run\" (func $run)))"                                               \
    " (export \"wasi:cli/run@0.2.0\" (instance $face)))"

struct bench {
    struct gb_sandbox *sandbox;
    struct gb_runner *runner;
    struct gb_account *account;
    struct gb_limits limits;
    struct gb_grants grants;
    struct gb_sandbox_options options;
};

/* Leaves the error to the sanitizer's leak report: the test has failed anyway. */
static inline void fail_with(const struct gb_error *error) {
    for (; error; error = error->cause) {
        print_error("%s: %s\n", gb_code_text(error->code), error->message);
    }
    fail_msg("an unexpected error");
}

static inline void bench_open(struct bench *b) {
    struct gb_error *error = NULL;
    b->sandbox = gb_sandbox_new(&b->options, &error);
    b->account = b->sandbox ? gb_account_new("test", NULL, 256 * GB_MIB, &error) : NULL;
    b->runner = b->account ? gb_runner_new(b->sandbox, NULL, &error) : NULL;
    if (!b->runner) {
        fail_with(error);
    }
}

static inline void bench_init(struct bench *b) {
    *b = (struct bench){.limits = gb_limits_default(), .grants = {.all_models = true}};
    b->options = gb_sandbox_options_default();
    bench_open(b);
}

/* Whatever a test did, nothing may be charged any more. */
static inline void bench_fini(struct bench *b) {
    gb_runner_free(b->runner);
    assert_int_equal(gb_account_used(b->account), 0);
    gb_account_unref(b->account);
    gb_sandbox_free(b->sandbox);
}

static inline void keep_guest_signals(void) {
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    static struct sigaction kept[GB_COUNT(numbers)];
    static bool known;
    for (size_t i = 0; i < GB_COUNT(numbers); i++) {
        sigaction(numbers[i], known ? &kept[i] : NULL, known ? NULL : &kept[i]);
    }
    known = true;
}

static inline struct gb_program *try_load(struct bench *b, const char *text,
                                          struct gb_error **err) {
    struct gb_program *p =
        gb_program_load(b->sandbox, "guest.wasm", gb_span_of(text), &b->limits, &b->grants, err);
    keep_guest_signals();
    return p;
}

static inline struct gb_program *load(struct bench *b, const char *text) {
    struct gb_error *error = NULL;
    struct gb_program *p = try_load(b, text, &error);
    if (!p) {
        fail_with(error);
    }
    return p;
}

static inline void keep_result(void *user, struct gb_call_result *result) {
    *(struct gb_call_result *)user = *result;
}

static inline struct gb_call_spec spec_of(struct bench *b, struct gb_program *p,
                                          struct gb_call_result *ret) {
    *ret = (struct gb_call_result){0};
    return (struct gb_call_spec){
        .program = p,
        .account = b->account,
        .limits = &b->limits,
        .grants = &b->grants,
        .argument = gb_span_of("hello"),
        .done = keep_result,
        .user = ret,
    };
}

static inline struct gb_call *start(struct bench *b, struct gb_program *p,
                                    struct gb_call_result *ret) {
    struct gb_error *error = NULL;
    struct gb_call_spec spec = spec_of(b, p, ret);
    struct gb_call *c = gb_runner_call(b->runner, &spec, &error);
    if (!c) {
        fail_with(error);
    }
    return c;
}

static inline void run_all(struct bench *b) {
    while (gb_runner_step(b->runner, -1) > 0) {
    }
}

static inline struct gb_call_result run(struct bench *b, const char *text) {
    struct gb_program *p = load(b, text);
    struct gb_call_result result;
    start(b, p, &result);
    run_all(b);
    gb_program_unref(p);
    assert_int_equal(gb_account_used(b->account), 0);
    return result;
}

static inline void assert_ok(struct gb_call_result *r, const char *text) {
    if (r->error) {
        fail_with(r->error);
    }
    if (text) {
        assert_string_equal(r->text, text);
    }
    gb_call_result_fini(r);
}

/* code, message and hint (NULL: not looked at). */
static inline void assert_error(const struct gb_error *e, enum gb_code code, const char *message,
                                const char *hint) {
    assert_non_null(e);
    if (e->code != code) {
        fail_with(e);
    }
    if (message) {
        assert_string_equal(e->message, message);
    }
    if (hint) {
        assert_string_equal(e->hint, hint);
    }
}

/* Loads, runs, and expects that error at the top; the cause's code, GB_OK for none. */
static inline void assert_run_fails(struct bench *b, const char *text, enum gb_code code,
                                    const char *message, enum gb_code cause) {
    struct gb_call_result r = run(b, text);
    assert_error(r.error, code, message, NULL);
    assert_int_equal(r.error->cause ? r.error->cause->code : GB_OK, cause);
    gb_call_result_fini(&r);
}

static inline void assert_load_fails(struct bench *b, const char *text, enum gb_code code,
                                     const char *message, const char *hint) {
    struct gb_error *error = NULL;
    struct gb_program *p = try_load(b, text, &error);
    assert_null(p);
    assert_error(error, code, message, hint);
    gb_error_free(error);
}

static inline int bench_setup(void **state) {
    static struct bench b;
    bench_init(&b);
    *state = &b;
    return 0;
}

static inline int bench_teardown(void **state) {
    bench_fini(*state);
    return 0;
}

#define SANDBOX_TEST(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, bench_setup, bench_teardown)

#endif

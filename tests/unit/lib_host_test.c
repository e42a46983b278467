/* SPDX-License-Identifier: Apache-2.0 */
/* The public library, as an embedder uses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/error.h"
#include "glovebox/glovebox.h"
#include "lib/json.h"

static const char hello[] =
    "(module (import \"wasi_snapshot_preview1\" \"fd_write\""
    "  (func $write (param i32 i32 i32 i32) (result i32)))"
    "  (memory (export \"memory\") 1) (data (i32.const 16) \"hello\\n\")"
    "  (func (export \"_start\") (i32.store (i32.const 0) (i32.const 16))"
    "    (i32.store (i32.const 4) (i32.const 6))"
    "    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))";
static const char endless[] =
    "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop (br 0))))";

static struct gb_host *host_new(void) {
    struct gb_host_options options;
    gb_host_options_default(&options);
    options.calls_max = 4;
    struct gb_error *e = NULL;
    struct gb_host *host = gb_host_new(&options, &e);
    if (!host) {
        fail_msg("%s: %s", gb_error_code(e), gb_error_message(e));
    }
    return host;
}

static struct gb_guest *guest_new(struct gb_host *host, const char *text, uint64_t deadline_us) {
    char path[] = GB_TEST_BINARY_DIR "/lib_host_test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    struct gb_limit_options limits;
    gb_limit_options_default(&limits);
    limits.deadline_us = deadline_us;
    struct gb_error *e = NULL;
    struct gb_guest *guest = gb_guest_load_file(host, path, NULL, &limits, &e);
    unlink(path);
    if (!guest) {
        fail_msg("%s: %s", gb_error_code(e), gb_error_message(e));
    }
    return guest;
}

static void keep_result(void *user, struct gb_result *result) {
    *(struct gb_result **)user = result;
}

static struct gb_result *call(struct gb_host *host, struct gb_guest *guest, bool cancel) {
    struct gb_result *result = NULL;
    const char *args[] = {"guest"};
    struct gb_call_options options = {.size = sizeof options,
                                      .args = args,
                                      .args_len = 1,
                                      .done = keep_result,
                                      .user = (void *)&result};
    assert_true(gb_guest_call(guest, &options, NULL));
    assert_null(result); /* never from gb_guest_call */
    if (cancel) {
        gb_host_step(host, 0);
        gb_host_cancel_all(host, true);
    }
    while (gb_host_step(host, 1000) > 0) {
    }
    assert_non_null(result);
    return result;
}

static void a_guest_runs_again_and_again(void **state) {
    (void)state;
    struct gb_host *host = host_new();
    struct gb_guest *guest = guest_new(host, hello, 10000000);
    assert_false(gb_guest_is_agent(guest));
    assert_false(gb_guest_uses_models(guest));
    for (int i = 0; i < 3; i++) {
        struct gb_result *r = call(host, guest, false);
        size_t len;
        assert_null(gb_result_error(r));
        assert_string_equal(gb_result_stdout(r, &len), "hello\n");
        assert_int_equal(len, 6);
        assert_null(gb_result_text(r, NULL));
        int status = -1;
        assert_true(gb_result_exit_status(r, &status));
        assert_int_equal(status, 0);
        struct gb_usage_report usage;
        gb_result_usage(r, &usage);
        assert_int_equal(usage.stdout_bytes, 6);
        assert_true(usage.memory_peak_bytes >= 65536);
        gb_result_free(r);
    }
    gb_guest_free(guest);
    gb_host_free(host);
}

static void all_calls_can_be_cancelled(void **state) {
    (void)state;
    struct gb_host *host = host_new();
    struct gb_guest *guest = guest_new(host, endless, 60000000);
    struct gb_result *r = call(host, guest, true);
    assert_string_equal(gb_error_code(gb_result_error(r)), "interrupted");
    assert_int_equal(gb_error_exit_status(gb_result_error(r)), 130);
    gb_result_free(r);
    gb_guest_free(guest);
    gb_host_free(host);
}

static void a_deadline_is_kept(void **state) {
    (void)state;
    struct gb_host *host = host_new();
    struct gb_guest *guest = guest_new(host, endless, 50000);
    struct gb_result *r = call(host, guest, false);
    assert_string_equal(gb_error_code(gb_result_error(r)), "deadline-exceeded");
    gb_result_free(r);
    gb_guest_free(guest);
    gb_host_free(host);
}

static void options_of_another_version_are_refused(void **state) {
    (void)state;
    struct gb_host_options options;
    struct gb_error *e = NULL;
    gb_host_options_default(&options);
    options.size = sizeof options + 8;
    assert_null(gb_host_new(&options, &e));
    assert_string_equal(gb_error_code(e), "invalid-argument");
    gb_error_clear(&e);
    options.size = 0;
    assert_null(gb_host_new(&options, &e));
    gb_error_clear(&e);
    /* A caller built against an older, smaller struct gets the defaults for the rest. */
    gb_host_options_default(&options);
    options.size = offsetof(struct gb_host_options, calls_max);
    options.calls_max = 0;
    struct gb_host *host = gb_host_new(&options, &e);
    assert_non_null(host);
    gb_host_free(host);
}

static void wrong_arguments_are_errors(void **state) {
    (void)state;
    struct gb_host *host = host_new();
    struct gb_error *e = NULL;
    assert_null(gb_guest_load_file(host, "no such file", NULL, NULL, &e));
    assert_string_equal(gb_error_code(e), "not-found");
    gb_error_clear(&e);
    struct gb_grant_options grants;
    gb_grant_options_default(&grants);
    const char *dirs[] = {"a", "b", "sideways"};
    grants.dirs = dirs;
    for (size_t len = 1; len <= 3; len++) { /* no triple, no triple, a wrong mode */
        grants.dirs_len = len;
        assert_null(gb_guest_load_file(host, "no such file", &grants, NULL, &e));
        assert_string_equal(gb_error_code(e), "invalid-argument");
        gb_error_clear(&e);
    }
    assert_false(gb_host_add_model(host, "m", "m.bin", "tflite", &e));
    assert_string_equal(gb_error_code(e), "invalid-argument");
    gb_error_clear(&e);
    assert_false(gb_host_add_model(host, "m", "m.gguf", "GGML", &e));
    assert_string_equal(gb_error_code(e), "backend-missing");
    gb_error_clear(&e);
    struct gb_guest *guest = guest_new(host, hello, 1000000);
    struct gb_call_options without_done = {.size = sizeof without_done};
    assert_false(gb_guest_call(guest, &without_done, &e));
    assert_string_equal(gb_error_code(e), "invalid-argument");
    gb_error_clear(&e);
    gb_guest_free(guest);
    gb_host_free(host);
}

static void a_host_copes_with_every_failed_allocation(void **state) {
    (void)state;
    bool made = false;
    for (uint64_t nth = 1; !made && nth < 500; nth++) {
        struct gb_error *e = NULL;
        gb_alloc_fail_at(nth);
        struct gb_host *host = gb_host_new(NULL, &e);
        gb_alloc_fail_at(0);
        made = host != NULL;
        assert_true(made || e);
        gb_error_free(e);
        gb_host_free(host);
    }
    assert_true(made);
}

/* ---- JSON ---- */

static void an_error_as_json(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    gb_fail(&e, GB_IO, "inner \xff \"quoted\"");
    struct gb_error *cause = e;
    e = NULL;
    gb_fail(&e, GB_GUEST_ERROR, "outer");
    gb_error_set_cause(&e, cause);
    gb_hint(&e, "Do it.");
    gb_error_set_value(&e, "line\n2", 6);
    char *text = gb_error_json(e, NULL);
    assert_string_equal(text, "{\"code\":\"guest-error\",\"message\":\"outer\",\"hint\":\"Do it.\","
                              "\"value\":\"line\\n2\",\"cause\":{\"code\":\"io\",\"message\":"
                              "\"inner \xef\xbf\xbd \\\"quoted\\\"\",\"hint\":null}}");
    gb_text_free(text);
    for (uint64_t nth = 1; nth <= 3; nth++) {
        struct gb_error *why = NULL;
        gb_alloc_fail_at(nth);
        text = gb_error_json(e, &why);
        gb_alloc_fail_at(0);
        assert_true(text || (why && why->code == GB_INTERNAL));
        gb_text_free(text);
        gb_error_free(why);
    }
    gb_error_free(e);
}

static void bytes_that_are_no_text_become_base64(void **state) {
    (void)state;
    struct gb_host *host = host_new();
    static const char binary[] =
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\""
        "  (func $write (param i32 i32 i32 i32) (result i32)))"
        "  (memory (export \"memory\") 1) (data (i32.const 16) \"\\ff\\00\\01\\02\")"
        "  (func (export \"_start\") (i32.store (i32.const 0) (i32.const 16))"
        "    (i32.store (i32.const 4) (i32.const 4))"
        "    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))";
    struct gb_guest *guest = guest_new(host, binary, 10000000);
    struct gb_result *r = call(host, guest, false);
    struct gb_run_report report = {.size = sizeof report, .result = r};
    char *text = gb_run_report_json(&report, NULL);
    static const char expected[] = "{\"ok\":true,\"result\":null,\"exit_status\":0,"
                                   "\"stdout_base64\":\"/wABAg==\",\"stderr\":\"\",\"usage\":{";
    assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
    gb_text_free(text);
    gb_result_free(r);
    gb_guest_free(guest);
    gb_host_free(host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_guest_runs_again_and_again),
        cmocka_unit_test(all_calls_can_be_cancelled),
        cmocka_unit_test(a_deadline_is_kept),
        cmocka_unit_test(options_of_another_version_are_refused),
        cmocka_unit_test(wrong_arguments_are_errors),
        cmocka_unit_test(a_host_copes_with_every_failed_allocation),
        cmocka_unit_test(an_error_as_json),
        cmocka_unit_test(bytes_that_are_no_text_become_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

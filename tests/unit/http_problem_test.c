/* SPDX-License-Identifier: Apache-2.0 */
/* Error answers, request ids. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/fault.h"
#include "base/num.h"
#include "http/problem.h"

#include "yyjson.h"

static void statuses_of_the_contract(void **state) {
    (void)state;
    static const struct {
        enum gb_code code;
        unsigned plain, model;
    } cases[] = {
        {GB_INVALID_ARGUMENT, 400, 400},
        {GB_IO, 500, 500},
        {GB_INTERNAL, 500, 500},
        {GB_UNAUTHORIZED, 401, 401},
        {GB_PERMISSION_DENIED, 403, 403},
        {GB_EGRESS_DENIED, 403, 403},
        {GB_NOT_FOUND, 404, 404},
        {GB_METHOD_NOT_ALLOWED, 405, 405},
        {GB_REQUEST_TIMEOUT, 408, 408},
        {GB_PAYLOAD_TOO_LARGE, 413, 413},
        {GB_GUEST_ERROR, 422, 422},
        {GB_OUTPUT_NOT_JSON, 422, 422},
        {GB_OUTPUT_SCHEMA_VIOLATION, 422, 422},
        {GB_INPUT_REJECTED, 422, 422},
        {GB_HEADER_TOO_LARGE, 431, 431},
        {GB_RATE_LIMITED, 429, 429},
        {GB_QUOTA_EXCEEDED, 429, 429},
        {GB_BUDGET_EXCEEDED, 429, 429},
        {GB_CANCELLED, 499, 499},
        {GB_GUEST_TRAP, 500, 500},
        {GB_GUEST_EXIT, 500, 500},
        {GB_FUEL_EXHAUSTED, 500, 500},
        {GB_MEMORY_LIMIT, 500, 500},
        {GB_MODEL_NOT_FOUND, 404, 404},
        {GB_INPUT_SHAPE, 400, 400},
        {GB_INPUT_TYPE, 400, 400},
        {GB_CONTEXT_FULL, 400, 400},
        {GB_SCHEMA_INVALID, 400, 400},
        {GB_MODEL_INVALID, 502, 502},
        {GB_BACKEND_LOST, 502, 502},
        {GB_OVERLOADED, 503, 503},
        {GB_DEADLINE_EXCEEDED, 500, 504},
        {GB_REQUEST_MALFORMED, 400, 400},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        assert_int_equal(gb_problem_status(cases[i].code, GB_PROBLEM_PLAIN), cases[i].plain);
        assert_int_equal(gb_problem_status(cases[i].code, GB_PROBLEM_MODEL), cases[i].model);
    }
    /* Every 429 and 503 says when to come back, and nothing else does. */
    for (unsigned c = 1; c < GB_CODE_COUNT; c++) {
        unsigned status = gb_problem_status((enum gb_code)c, GB_PROBLEM_PLAIN);
        assert_int_equal(gb_problem_retry_after_s((enum gb_code)c) > 0,
                         status == 429 || status == 503);
    }
}

static bool is_json(struct gb_buf *text) {
    yyjson_doc *doc = yyjson_read_opts((char *)text->ptr, text->len, NULL, NULL);
    bool ok = doc != NULL;
    yyjson_doc_free(doc);
    return ok;
}

static void bodies(void **state) {
    (void)state;
    struct gb_error *e = NULL;
    struct gb_buf out;
    gb_buf_init(&out, 4096);
    gb_fail(&e, GB_NOT_FOUND, "no route for \"/a\\b\x01\x7f\xff\xc2\x85\xc3\xa3\"");
    gb_hint(&e, "Routes:\n/x");
    assert_true(gb_problem_write(e, gb_span_of("id-1"), &out, NULL));
    assert_string_equal(gb_buf_text(&out),
                        "{\"error\":{\"code\":\"not-found\",\"message\":\"no route for "
                        "\\\"/a\\\\b\\u0001\\u007f\\ufffd\\u0085\xc3\xa3\\\"\","
                        "\"hint\":\"Routes:\\u000a/x\",\"request_id\":\"id-1\"}}");
    assert_true(is_json(&out));
    gb_error_clear(&e);
    gb_buf_fini(&out);
    gb_fail(&e, GB_IO, "could not open \"/etc/secret\"");
    gb_hint(&e, "Look at /etc.");
    struct gb_error *outer = NULL;
    gb_fail(&outer, GB_INTERNAL, "the tenant \"other\" broke it");
    gb_error_set_cause(&outer, e);
    e = outer;
    assert_true(gb_problem_write(e, gb_span_make(NULL, 0), &out, NULL));
    assert_null(strstr(gb_buf_text(&out), "other"));
    assert_null(strstr(gb_buf_text(&out), "/etc"));
    assert_null(strstr(gb_buf_text(&out), "request_id"));
    gb_error_clear(&e);
    gb_buf_fini(&out);
    gb_fail(&e, GB_IO, "could not open \"/etc/secret\"");
    assert_true(gb_problem_write(e, gb_span_make(NULL, 0), &out, NULL));
    assert_null(strstr(gb_buf_text(&out), "/etc"));
    gb_error_clear(&e);
    gb_buf_fini(&out);
}

static void strings_are_json_whatever_they_hold(void **state) {
    (void)state;
    uint8_t bytes[4];
    uint32_t random = 1;
    for (unsigned i = 0; i < 20000; i++) {
        for (unsigned k = 0; k < sizeof bytes; k++) {
            random = random * 1664525 + 1013904223;
            bytes[k] = (uint8_t)(random >> 24);
        }
        struct gb_buf out;
        gb_buf_init(&out, 64);
        assert_true(gb_problem_write_string(gb_span_make(bytes, i % 5), &out, NULL));
        assert_true(is_json(&out));
        gb_buf_fini(&out);
    }
}

static void request_ids(void **state) {
    (void)state;
    static const char *const good[] = {"a", "A-b_c.9",
                                       "0123456789012345678901234567890123456789"
                                       "012345678901234567890123"};
    static const char *const bad[] = {"",
                                      "a b",
                                      "a/b",
                                      "a\n",
                                      "\"",
                                      "\xc3\xa3",
                                      "a,b",
                                      "0123456789012345678901234567890123456789"
                                      "0123456789012345678901234"};
    for (size_t i = 0; i < GB_COUNT(good); i++) {
        assert_true(gb_request_id_valid(gb_span_of(good[i])));
    }
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        assert_false(gb_request_id_valid(gb_span_of(bad[i])));
    }
    struct gb_request_ids ids = {0};
    static char made[100][GB_REQUEST_ID_MADE_BYTES + 1];
    for (size_t i = 0; i < GB_COUNT(made); i++) {
        assert_true(gb_request_id_make(&ids, made[i], NULL));
        assert_int_equal(strlen(made[i]), GB_REQUEST_ID_MADE_BYTES);
        assert_true(gb_request_id_valid(gb_span_of(made[i])));
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(made[i], made[k]);
        }
    }
    ids.left = 0;
    gb_fault_sys_kind_at(GB_SYS_RANDOM, 1, false);
    struct gb_error *err = NULL;
    assert_false(gb_request_id_make(&ids, made[0], &err));
    gb_fault_sys_kind_at(GB_SYS_RANDOM, 0, false);
    assert_int_equal(err->code, GB_IO);
    gb_error_free(err);
    uint8_t much[sizeof ids.stock + 1];
    assert_false(gb_request_ids_random(&ids, much, sizeof much, NULL));
    assert_true(gb_request_ids_random(&ids, much, sizeof ids.stock, NULL));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_of_the_contract),
        cmocka_unit_test(bodies),
        cmocka_unit_test(strings_are_json_whatever_they_hold),
        cmocka_unit_test(request_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Values as JSON and back, base64, types of host functions; every allocation failed in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants those before it. */
#include <cmocka.h>
#include <string.h>

#include "../fuzz/value_types.h"
#include "base/alloc.h"
#include "base/num.h"
#include "sandbox/custom.h"

static struct gb_values *read_text(uint32_t type, const char *json, struct gb_error **err) {
    return gb_values_read_one(&t_signature, type, "v", gb_span_of(json), 10000, NULL, err);
}

static void assert_same(uint32_t type, const char *json, const char *wanted) {
    struct gb_error *err = NULL;
    struct gb_buf out;
    size_t len;
    struct gb_values *v = read_text(type, json, &err);
    assert_null(err);
    assert_non_null(v);
    gb_buf_init(&out, 10000);
    assert_true(gb_value_write(&t_signature, type, gb_values_items(v, &len), &out, NULL));
    assert_string_equal(gb_buf_text(&out), wanted);
    gb_buf_fini(&out);
    gb_values_free(v);
}

static void assert_refused(uint32_t type, const char *json, const char *message) {
    struct gb_error *err = NULL;
    assert_null(read_text(type, json, &err));
    assert_non_null(err);
    assert_string_equal(err->message, message);
    gb_error_free(err);
}

static void values_read_and_write(void **state) {
    (void)state;
    assert_same(0, "true", "true");
    assert_same(7, "-9223372036854775808", "-9223372036854775808");
    assert_same(8, "\"18446744073709551615\"", "18446744073709551615");
    assert_same(9, "0.1", "0.1");
    assert_same(9, "16777217", "16777216.0");
    assert_same(10, "\"-Infinity\"", "\"-Infinity\"");
    assert_same(11, "\"\\ud83e\\udd80\"", "\"\xf0\x9f\xa6\x80\"");
    assert_same(12, "\"\\\"\\\\\\n\\u0001\\u007f\"", "\"\\\"\\\\\\n\\u0001\\u007f\"");
    assert_same(13, "[104, \"105\"]", "{\"base64\":\"aGk=\"}");
    assert_same(T_RECORD, "{\"last-name\":[\"b\"],\"first\":\"a\"}",
                "{\"first\":\"a\",\"last-name\":[\"b\"]}");
    assert_same(T_VARIANT, "{\"opt\":null}", "{\"opt\":null}");
    assert_same(T_VARIANT, "\"none\"", "\"none\"");
    assert_same(T_NESTED, "{\"some\":null}", "{\"some\":null}");
    assert_same(T_NESTED, "{\"some\":7}", "{\"some\":7}");
    assert_same(T_RESULT, "{\"err\":null}", "{\"err\":null}");
    assert_same(T_FLAGS, "[\"run-fast\",\"read\"]", "[\"read\",\"run-fast\"]");
    assert_same(T_RECORDS, "[]", "[]");
}

static void places_of_wrong_values(void **state) {
    (void)state;
    assert_refused(T_RECORDS, "[{\"first\":\"a\",\"last-name\":[\"b\",1]}]",
                   "v[0].last-name[1]: expected string, got number");
    assert_refused(T_VARIANT, "{\"rec\":{\"first\":1}}",
                   "v.rec.first: expected string, got number");
    assert_refused(T_VARIANT, "{\"num\":1,\"none\":2}", "v: expected variant, got object");
    assert_refused(T_RESULT, "{\"ok\":[300]}",
                   "v.ok[0]: expected u8 (0 to 255), got another number");
    assert_refused(T_NESTED, "{\"some\":\"x\"}",
                   "v.some: expected u32 (0 to 4294967295), got another string");
    assert_refused(T_OTHER, "1", "v: a resource cannot be given as a value");
    assert_refused(2, "", "v: not JSON: input length is 0 at byte 0");
}

static void base64_is_canonical(void **state) {
    (void)state;
    static const char *const good[] = {"", "AA==", "AAE=", "AAEC", "+/+/", "/w=="};
    static const char *const bad[] = {
        "A",    "AA",       "AAA",   "AA=",  "AAF=", "AB==",
        "A===", "AA==AA==", "AA\n=", "AA=A", "====", "\xff\xff\xff\xff"};
    uint8_t room[16];
    size_t len;
    for (size_t i = 0; i < GB_COUNT(good); i++) {
        struct gb_buf out;
        gb_buf_init(&out, 100);
        assert_true(gb_base64_decode(gb_span_of(good[i]), room, &len));
        assert_true(gb_base64_append(&out, gb_span_make(room, len), NULL));
        assert_string_equal(gb_buf_text(&out), good[i]);
        gb_buf_fini(&out);
    }
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        assert_false(gb_base64_decode(gb_span_of(bad[i]), room, &len));
    }
}

/* A value of an embedder's that is not of its type. */
static void values_that_lie_are_refused(void **state) {
    (void)state;
    static const struct gb_value one = {.kind = GB_VALUE_STRING, .of.text = {"\xff", 1}};
    const struct {
        uint32_t type;
        struct gb_value value;
    } lies[] = {
        {0, {.kind = GB_VALUE_U8}},
        {12, one},
        {11, {.kind = GB_VALUE_CHAR, .of.natural = 0xd800}},
        {11, {.kind = GB_VALUE_CHAR, .of.natural = 0x110000}},
        {T_TUPLE, {.kind = GB_VALUE_TUPLE, .of.list = {&one, 1}}},
        {T_ENUM, {.kind = GB_VALUE_ENUM, .which = 2}},
        {T_VARIANT, {.kind = GB_VALUE_VARIANT, .which = 4}},
        {T_VARIANT, {.kind = GB_VALUE_VARIANT, .which = 1}},
        {T_OPTION, {.kind = GB_VALUE_OPTION, .which = 2}},
        {T_RESULT, {.kind = GB_VALUE_RESULT, .which = 1, .of.list = {&one, 1}}},
    };
    for (size_t i = 0; i < GB_COUNT(lies); i++) {
        struct gb_error *err = NULL;
        struct gb_buf out;
        gb_buf_init(&out, 1000);
        assert_false(gb_value_write(&t_signature, lies[i].type, &lies[i].value, &out, &err));
        assert_int_equal(err->code, GB_INVALID_ARGUMENT);
        gb_error_free(err);
        gb_buf_fini(&out);
    }
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    static const char json[] = "{\"rest\":{\"rec\":{\"first\":\"é\",\"last-name\":[\"a\"]}},"
                               "\"person\":{\"first\":\"x\",\"last-name\":[\"b\",\"c\"]}}";
    struct gb_account *account = gb_account_new("tenant", NULL, 1 << 20, NULL);
    bool ok = false;
    for (uint64_t n = 1; !ok; n++) {
        struct gb_error *err = NULL;
        gb_alloc_fail_at(n);
        struct gb_values *v = gb_values_read(&t_signature, gb_span_of(json), 10000, account, &err);
        gb_alloc_fail_at(0);
        ok = v != NULL;
        assert_true(ok == (err == NULL));
        assert_true(n < 100);
        gb_values_free(v);
        gb_error_free(err);
        assert_int_equal(gb_account_used(account), 0);
    }
    gb_account_unref(account);
}

/* What is read is charged before it is allocated, and given back when it is freed. */
static void values_are_charged(void **state) {
    (void)state;
    static const char json[] = "[\"one\",\"two\",\"three\"]";
    struct gb_account *account = gb_account_new("tenant", NULL, 1 << 20, NULL);
    struct gb_values *v =
        gb_values_read_one(&t_signature, T_LIST, "v", gb_span_of(json), 10000, account, NULL);
    assert_non_null(v);
    uint64_t wants = gb_account_peak(account);
    assert_true(gb_account_used_for(account, GB_CHARGE_VALUE) >= 3 * sizeof(struct gb_value));
    assert_int_equal(gb_account_used(account), gb_account_used_for(account, GB_CHARGE_VALUE));
    gb_values_free(v);
    assert_int_equal(gb_account_used(account), 0);
    gb_account_unref(account);
    for (uint64_t bytes = 0; bytes < wants; bytes++) {
        struct gb_error *err = NULL;
        account = gb_account_new("tenant", NULL, bytes, NULL);
        assert_null(gb_values_read_one(&t_signature, T_LIST, "v", gb_span_of(json), 10000, account,
                                       &err));
        assert_int_equal(err->code, GB_BUDGET_EXCEEDED);
        gb_error_free(err);
        assert_int_equal(gb_account_used(account), 0);
        gb_account_unref(account);
    }
    account = gb_account_new("tenant", NULL, wants, NULL);
    v = gb_values_read_one(&t_signature, T_LIST, "v", gb_span_of(json), 10000, account, NULL);
    assert_non_null(v);
    gb_values_free(v);
    gb_account_unref(account);
}

static void types_of_host_functions(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"func()", "func()"},
        {" func( name :string,value: u64, ) ", "func(name: string, value: u64)"},
        {"func(a:list<u8>)->result<_,string>", "func(a: list<u8>) -> result<_, string>"},
        {"func() -> result", "func() -> result"},
        {"func(r: record{x:f32,y:option<option<s8>>,}) -> tuple<u8,bool>",
         "func(r: record { x: f32, y: option<option<s8>> }) -> tuple<u8, bool>"},
        {"func(v:variant{none,some-thing(list<string>)},e:enum{a,b},f:flags{x})",
         "func(v: variant { none, some-thing(list<string>) }, e: enum { a, b }, f: flags { x })"},
    };
    static const char *const bad[] = {"",
                                      "fun()",
                                      "func",
                                      "func(a)",
                                      "func(a: )",
                                      "func(a: level)",
                                      "func(a: list)",
                                      "func(a: list<u8)",
                                      "func(a: list<u8, u8>)",
                                      "func(a: option<_>)",
                                      "func() -> ",
                                      "func() x",
                                      "func() -> u8 -> u8",
                                      "func(r: record {})",
                                      "func(,)",
                                      "func(a: u8 b: u8)"};
    for (size_t i = 0; i < GB_COUNT(rows); i++) {
        char *text = gb_custom_type(rows[i][0], NULL);
        assert_non_null(text);
        assert_string_equal(text, rows[i][1]);
        gb_free(text);
    }
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        struct gb_error *err = NULL;
        assert_null(gb_custom_type(bad[i], &err));
        assert_int_equal(err->code, GB_INVALID_ARGUMENT);
        gb_error_free(err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_read_and_write),     cmocka_unit_test(places_of_wrong_values),
        cmocka_unit_test(base64_is_canonical),       cmocka_unit_test(values_that_lie_are_refused),
        cmocka_unit_test(every_allocation_may_fail), cmocka_unit_test(values_are_charged),
        cmocka_unit_test(types_of_host_functions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

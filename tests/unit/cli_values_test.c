/* SPDX-License-Identifier: Apache-2.0 */
/* Values of options. The command line is no library: the files under test are included. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/values.c"

typedef bool number_fn(const char *option, const char *text, const char *example, uint64_t *ret,
                       struct gb_error **err);

static void accepts(number_fn *read, const char *text, uint64_t expected) {
    uint64_t number = 0;
    assert_true(read("x", text, "1", &number, NULL));
    assert_true(number == expected);
}

static void refuses(number_fn *read, const char *text) {
    uint64_t number = 4711;
    struct gb_error *e = NULL;
    assert_false(read("x", text, "1", &number, &e));
    assert_int_equal(e->code, GB_USAGE_ERROR);
    assert_non_null(strstr(e->message, "--x"));
    assert_non_null(strstr(e->hint, "--x"));
    gb_error_free(e);
}

static void sizes(void **state) {
    (void)state;
    accepts(gb_value_size, "0", 0);
    accepts(gb_value_size, "65536", 65536);
    accepts(gb_value_size, "1KiB", 1024);
    accepts(gb_value_size, "64MiB", 64 * GB_MIB);
    accepts(gb_value_size, "3GiB", 3 * GB_GIB);
    accepts(gb_value_size, "18446744073709551615", UINT64_MAX);
    accepts(gb_value_size, "17179869183GiB", 17179869183 * GB_GIB);
    static const char *const wrong[] = {"",      "MiB",   "1MB",    "1kib", "1 MiB", "1.5MiB", "-1",
                                        "+1",    "0x10",  "1MiBx",  "1K",   " 1",    "1e3",    "k",
                                        "17179869184GiB", "18446744073709551616",
                                        "99999999999999999999999"};
    for (size_t i = 0; i < GB_COUNT(wrong); i++) {
        refuses(gb_value_size, wrong[i]);
    }
}

static void durations(void **state) {
    (void)state;
    accepts(gb_value_duration, "250us", 250);
    accepts(gb_value_duration, "500ms", 500000);
    accepts(gb_value_duration, "30s", 30000000);
    accepts(gb_value_duration, "5m", 300000000);
    accepts(gb_value_duration, "0s", 0);
    static const char *const wrong[] = {"",   "500", "ms", "1h", "1 s", "1.5s", "-1s", "1S", "1min",
                                        "18446744073709551615s", "1sec"};
    for (size_t i = 0; i < GB_COUNT(wrong); i++) {
        refuses(gb_value_duration, wrong[i]);
    }
}

static void a_bare_number_is_shown_its_right_form(void **state) {
    (void)state;
    uint64_t us;
    struct gb_error *e = NULL;
    assert_false(gb_value_duration("deadline", "500", "30s", &us, &e));
    assert_non_null(strstr(e->hint, "--deadline 500ms"));
    gb_error_free(e);
}

static void counts(void **state) {
    (void)state;
    accepts(gb_value_count, "0", 0);
    accepts(gb_value_count, "007", 7);
    accepts(gb_value_count, "18446744073709551615", UINT64_MAX);
    refuses(gb_value_count, "18446744073709551616");
    refuses(gb_value_count, "1KiB");
    refuses(gb_value_count, "");
    refuses(gb_value_count, "-1");
}

static void check_dir(const char *text, const char *host, const char *guest, bool writable) {
    struct gb_dir_value d;
    assert_true(gb_value_dir(text, &d, NULL));
    assert_string_equal(d.host, host);
    assert_string_equal(d.guest, guest);
    assert_int_equal(d.writable, writable);
    gb_dir_value_fini(&d);
}

static void directories_in_three_forms(void **state) {
    (void)state;
    check_dir("data", "data", "data", false);
    check_dir("/srv/data::/data", "/srv/data", "/data", false);
    check_dir("/srv/data::/data::rw", "/srv/data", "/data", true);
    check_dir("/srv/data::/data::ro", "/srv/data", "/data", false);
    check_dir("/data:/srv/data", "/srv/data", "/data", false);
    check_dir("/data:/srv/data:readonly", "/srv/data", "/data", false);
    check_dir("/srv/a:b::/data", "/srv/a:b", "/data", false); /* "::" selects the first form */
    static const char *const wrong[] = {"",       "::",      "::/g",         "/h::",     "/h::::rw",
                                        ":/h",    "/g:",     "/h::/g::",     "/h::/g::w",
                                        "/g:/h:rw",
                                        "/g:/h:", "/h::/g::rw::", "/g:/h:readonly:"};
    for (size_t i = 0; i < GB_COUNT(wrong); i++) {
        struct gb_dir_value d = {0};
        struct gb_error *e = NULL;
        assert_false(gb_value_dir(wrong[i], &d, &e));
        assert_int_equal(e->code, GB_USAGE_ERROR);
        assert_null(d.host);
        gb_error_free(e);
    }
}

static void models_in_two_forms(void **state) {
    (void)state;
    struct gb_model_value m;
    assert_true(gb_value_model("a=b=c.onnx", &m, NULL));
    assert_string_equal(m.name, "a");
    assert_string_equal(m.path, "b=c.onnx");
    assert_null(m.encoding);
    gb_model_value_fini(&m);
    assert_true(gb_value_preload("a:ONNX:Auto:dir:with/colons.onnx", &m, NULL));
    assert_string_equal(m.name, "a");
    assert_string_equal(m.encoding, "onnx");
    assert_string_equal(m.target, "auto");
    assert_string_equal(m.path, "dir:with/colons.onnx");
    gb_model_value_fini(&m);
    static const char *const wrong_models[] = {"", "a", "=b", "a="};
    for (size_t i = 0; i < GB_COUNT(wrong_models); i++) {
        assert_false(gb_value_model(wrong_models[i], &m, NULL));
    }
    static const char *const wrong_preloads[] = {"", "a", "a:onnx", "a:onnx:cpu", "a:onnx:cpu:",
                                                 "a::cpu:p", ":onnx:cpu:p", "a:onnx::p",
                                                 "a:tflite:cpu:p", "a:onnx:npu:p"};
    for (size_t i = 0; i < GB_COUNT(wrong_preloads); i++) {
        struct gb_error *e = NULL;
        assert_false(gb_value_preload(wrong_preloads[i], &m, &e));
        assert_int_equal(e->code, GB_USAGE_ERROR);
        gb_error_free(e);
    }
}

static void variables(void **state) {
    (void)state;
    char *pair = NULL;
    assert_true(gb_value_env("K=", &pair, NULL));
    assert_string_equal(pair, "K=");
    gb_free(pair);
    setenv("GB_VALUES_TEST", "of ours", 1);
    assert_true(gb_value_env("GB_VALUES_TEST", &pair, NULL));
    assert_string_equal(pair, "GB_VALUES_TEST=of ours");
    gb_free(pair);
    unsetenv("GB_VALUES_TEST");
    pair = NULL;
    assert_false(gb_value_env("GB_VALUES_TEST", &pair, NULL));
    assert_false(gb_value_env("=x", &pair, NULL));
    assert_false(gb_value_env("", &pair, NULL));
    assert_null(pair);
}

static void the_nearest_is_what_was_meant(void **state) {
    (void)state;
    static const char *const names[] = {"memory", "models", "model", "deadline", "dir", "fuel"};
    size_t len = GB_COUNT(names);
    assert_string_equal(gb_nearest("memroy", names, len), "memory"); /* neighbours swapped */
    assert_string_equal(gb_nearest("modls", names, len), "models");
    assert_string_equal(gb_nearest("dedline", names, len), "deadline");
    assert_string_equal(gb_nearest("fule", names, len), "fuel");
    assert_null(gb_nearest("x", names, len));
    assert_null(gb_nearest("", names, len));
    assert_null(gb_nearest("frobnicate", names, len));
    char text[200];
    memset(text, 'm', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_null(gb_nearest(text, names, len)); /* longer than the table of distances */
}

static void values_cope_without_memory(void **state) {
    (void)state;
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct gb_model_value m = {0};
        struct gb_error *e = NULL;
        gb_alloc_fail_at(nth);
        assert_false(gb_value_preload("a:onnx:cpu:p", &m, &e));
        gb_alloc_fail_at(0);
        assert_int_equal(e->code, GB_INTERNAL);
        assert_null(m.name);
        gb_error_free(e);
    }
    struct gb_dir_value d = {0};
    gb_alloc_fail_at(2);
    assert_false(gb_value_dir("a::b", &d, NULL));
    gb_alloc_fail_at(0);
    assert_null(d.host);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(durations),
        cmocka_unit_test(a_bare_number_is_shown_its_right_form),
        cmocka_unit_test(counts),
        cmocka_unit_test(directories_in_three_forms),
        cmocka_unit_test(models_in_two_forms),
        cmocka_unit_test(variables),
        cmocka_unit_test(the_nearest_is_what_was_meant),
        cmocka_unit_test(values_cope_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

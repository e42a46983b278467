/* SPDX-License-Identifier: Apache-2.0 */
/* Sidecar files and digests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "model/model_internal.h"

#define DIGEST "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void sha256_of_abc_is_the_standards(void **state) {
    (void)state;
    char text[GB_DIGEST_TEXT_BYTES];
    assert_true(gb_digest_sha256(gb_span_of("abc"), text, NULL));
    assert_string_equal(text, DIGEST);
    assert_true(gb_digest_text_ok(gb_span_of(text)));
    assert_true(gb_digest_sha256(gb_span_make(NULL, 0), text, NULL));
    assert_string_equal(text,
                        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void digest_text_is_exact(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "sha256:",
        "sha256:ba78",
        "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sha256:ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        DIGEST "0",
    };
    for (size_t i = 0; i < GB_COUNT(bad); i++) {
        assert_false(gb_digest_text_ok(gb_span_of(bad[i])));
    }
}

static void all_keys_are_read(void **state) {
    (void)state;
    struct gb_sidecar s;
    struct gb_error *err = NULL;
    bool ok = gb_sidecar_parse(gb_span_of("digest = \"" DIGEST "\"\n"
                                          "placement = \"worker\"\n"
                                          "threads = 4\n"
                                          "deadline = \"250ms\"\n"
                                          "warm-up = false\n"
                                          "max-batch = 1\n"
                                          "layout = \"NCHW, 0 to 1\"\n"
                                          "context = 4096\n"
                                          "parallel = 4\n"
                                          "kv-budget = \"256MiB\"\n"),
                               "m.toml", &s, &err);
    assert_null(err);
    assert_true(ok);
    assert_string_equal(s.digest, DIGEST);
    assert_string_equal(s.layout, "NCHW, 0 to 1");
    assert_int_equal(s.threads, 4);
    assert_int_equal(s.deadline_us, 250000);
    assert_false(s.warm_up);
    gb_sidecar_fini(&s);
}

static void an_empty_sidecar_keeps_the_defaults(void **state) {
    (void)state;
    struct gb_sidecar s;
    assert_true(gb_sidecar_parse(gb_span_of("# nothing\n"), "m.toml", &s, NULL));
    assert_string_equal(s.digest, "");
    assert_null(s.layout);
    assert_int_equal(s.threads, 0);
    assert_true(s.warm_up);
    gb_sidecar_fini(&s);
}

static void wrong_sidecars_say_where_and_why(void **state) {
    (void)state;
    static const struct {
        const char *text;
        enum gb_code code;
        const char *message;
        const char *hint;
    } cases[] = {
        {"layout = \"x\"\nthread = 2\n", GB_MANIFEST_INVALID, "m.toml:2:1: unknown key \"thread\"",
         "Did you mean \"threads\"?"},
        {"threads = 17", GB_MANIFEST_INVALID, "m.toml:1:1: \"threads\" takes", NULL},
        {"digest = \"md5:1\"", GB_MANIFEST_INVALID, "m.toml:1:1: \"md5:1\" is no digest",
         "64 lower-case"},
        {"placement = \"cloud\"", GB_MANIFEST_INVALID, "not \"cloud\"", NULL},
        {"max-batch = 8", GB_UNSUPPORTED, "batching is not built yet", "max-batch = 1"},
        {"max-batch = 0", GB_MANIFEST_INVALID, "\"max-batch\" takes", NULL},
        {"deadline = 3", GB_MANIFEST_INVALID, "\"deadline\" takes a duration", NULL},
        {"[threads]\na = 1", GB_MANIFEST_INVALID, "\"threads\" takes", NULL},
        {"layout = [1]", GB_MANIFEST_INVALID, "\"layout\" takes text", NULL},
        {"layout = \"x", GB_MANIFEST_INVALID, "m.toml:1:", NULL},
    };
    for (size_t i = 0; i < GB_COUNT(cases); i++) {
        struct gb_sidecar s = {.threads = 99};
        struct gb_error *err = NULL;
        assert_false(gb_sidecar_parse(gb_span_of(cases[i].text), "m.toml", &s, &err));
        if (err->code != cases[i].code || !strstr(err->message, cases[i].message) ||
            (cases[i].hint && !strstr(err->hint, cases[i].hint))) {
            fail_msg("%s: got %s: %s (%s)", cases[i].text, gb_code_text(err->code), err->message,
                     err->hint ? err->hint : "no hint");
        }
        assert_int_equal(s.threads, 99); /* untouched */
        gb_error_free(err);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_of_abc_is_the_standards),
        cmocka_unit_test(digest_text_is_exact),
        cmocka_unit_test(all_keys_are_read),
        cmocka_unit_test(an_empty_sidecar_keeps_the_defaults),
        cmocka_unit_test(wrong_sidecars_say_where_and_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
